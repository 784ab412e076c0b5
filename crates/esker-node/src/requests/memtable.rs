//! `memtable_*`: a look at the writes that no table holds yet.

use super::{Call, lsm};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::store::Bounds;

/// An `lsm_put` with another reply.
pub(super) fn put(call: &mut Call<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    lsm::put(call, reply)?;
    reply.count("size_bytes", call.store.memtable_bytes());
    Ok(())
}

pub(super) fn get(call: &mut Call<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let value = call.store.memtable_get(&call.body.key("key")?)?;
    reply.value("value", value.as_deref());
    match value {
        Some(_) => reply.string("source", "memtable"),
        None => reply.null("source"),
    }
    Ok(())
}

pub(super) fn scan(call: &mut Call<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let (start, end) = (call.body.string("start")?, call.body.string("end")?);
    reply.entries(call.store.memtable_range(&Bounds::new(&start, Some(&end))))
}

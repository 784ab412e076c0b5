//! `read`, `write`, `cas`: Maelstrom's lin-kv, in a keyspace of its own.
//!
//! Keys are any JSON value and are stored by their canonical text, so `{"a":1,"b":2}` and
//! `{"b":2,"a":1}` are one key. One session answers one request at a time, so a `cas` that reads,
//! compares and writes is atomic.

use super::Call;
use crate::fields::check_key;
use crate::refusal::{Code, Refusal};
use crate::reply::Reply;
use crate::value::{canonical, stored_text};

pub(super) fn read(call: &mut Call<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let value = call.store.lin_kv_get(&key(call)?)?.ok_or_else(missing)?;
    reply.value("value", Some(&value));
    Ok(())
}

pub(super) fn write(call: &mut Call<'_, '_>, _: &mut Reply<'_>) -> Result<(), Refusal> {
    let (key, value) = (key(call)?, call.body.value("value")?);
    call.store.lin_kv_put(&key, &value)
}

pub(super) fn cas(call: &mut Call<'_, '_>, _: &mut Reply<'_>) -> Result<(), Refusal> {
    let key = key(call)?;
    let from = call.body.canonical("from")?;
    let to = call.body.value("to")?;
    let create = call.body.flag("create_if_not_exists")?;
    match call.store.lin_kv_get(&key)? {
        Some(stored) if canonical(&stored_text(&stored)) != from => Err(Refusal::new(
            Code::PreconditionFailed,
            "the key holds another value than field `from`",
        )),
        None if !create => Err(missing()),
        _ => call.store.lin_kv_put(&key, &to),
    }
}

fn key(call: &Call<'_, '_>) -> Result<Vec<u8>, Refusal> {
    let key = call.body.canonical("key")?;
    check_key("key", &key)?;
    Ok(key)
}

fn missing() -> Refusal {
    Refusal::new(Code::KeyDoesNotExist, "field `key`: no such key")
}

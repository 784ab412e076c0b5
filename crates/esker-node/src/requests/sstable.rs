//! `sstable_*` and `lsm_flush`: from the memtable to a table, and a look into one table.

use super::Call;
use crate::refusal::Refusal;
use crate::reply::Reply;

const MEMTABLE_BYTES_MIN: u64 = 1 << 10;
const MEMTABLE_BYTES_MAX: u64 = 256 << 20;

pub(super) fn lsm_flush(call: &mut Call<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    match call.store.flush()? {
        Some(table) => {
            reply.string("sstable_file", &table.file);
            reply.count("entries", table.entries);
            reply.count("bloom_filter_bits", table.filter_bits);
            reply.count("size_bytes", table.bytes);
        }
        None => {
            reply.null("sstable_file");
            reply.count("entries", 0);
            reply.count("bloom_filter_bits", 0);
            reply.count("size_bytes", 0);
        }
    }
    Ok(())
}

pub(super) fn flush(call: &mut Call<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let range = MEMTABLE_BYTES_MIN..=MEMTABLE_BYTES_MAX;
    if let Some(bytes) = call.body.optional_integer("memtable_size_bytes", range)? {
        call.store.set_memtable_bytes(bytes)?;
    }
    lsm_flush(call, reply)
}

pub(super) fn lookup(call: &mut Call<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let (table, key) = (call.body.string("sstable")?, call.body.key("key")?);
    let lookup = call.store.table_lookup(&table, &key)?.ok_or_else(|| {
        Refusal::malformed(format!("field `sstable`: {table:?} is no table that can be read"))
    })?;
    reply.flag("found", lookup.found.is_some());
    reply.value("value", lookup.found.as_deref());
    reply.flag("bloom_checked", true);
    reply.count("disk_reads", lookup.disk_reads.into());
    Ok(())
}

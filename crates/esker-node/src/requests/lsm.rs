//! `lsm_*`: the store as a map, and the pictures it gives of its levels.

use esker::WriteBatch;
use esker::internals::Place;

use super::Call;
use crate::fields::Fields;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::store::Bounds;

/// The deepest level that a merge may start from: the one above the last.
const SOURCE_LEVEL_MAX: u64 = 5;

pub(super) fn put(call: &mut Call<'_, '_>, _: &mut Reply<'_>) -> Result<(), Refusal> {
    let (key, value) = (call.body.key("key")?, call.body.value("value")?);
    call.store.put(&key, &value)
}

pub(super) fn get(call: &mut Call<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let value = call.store.get(&call.body.key("key")?)?;
    reply.value("value", value.as_deref());
    Ok(())
}

pub(super) fn delete(call: &mut Call<'_, '_>, _: &mut Reply<'_>) -> Result<(), Refusal> {
    call.store.delete(&call.body.key("key")?)
}

pub(super) fn scan(call: &mut Call<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let start = call.body.optional_string("start")?.unwrap_or_default();
    let end = call.body.optional_string("end")?;
    let prefix = call.body.optional_string("prefix")?.unwrap_or_default();
    let limit = call.body.optional_integer("limit", 0..=u64::MAX)?.unwrap_or(u64::MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let reverse = call.body.flag("reverse")?;

    let bounds = Bounds::new(&start, end.as_deref()).within_prefix(&prefix);
    let entries = call.store.range(&bounds);
    if reverse {
        reply.entries(entries.rev().take(limit))
    } else {
        reply.entries(entries.take(limit))
    }
}

pub(super) fn batch(call: &mut Call<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let mut batch = WriteBatch::new();
    call.body.elements("ops", |index, op| {
        add_op(&mut batch, op.get()).map_err(|refusal| {
            Refusal::malformed(format!("field `ops[{index}]`: {}", refusal.text))
        })
    })?;
    let applied = batch.len() as u64;
    call.store.write(batch)?;
    reply.count("applied", applied);
    Ok(())
}

fn add_op(batch: &mut WriteBatch, json: &str) -> Result<(), Refusal> {
    const OP_FIELDS: [&str; 3] = ["op", "key", "value"];
    let op = Fields::parse(json, &OP_FIELDS)
        .map_err(|error| Refusal::malformed(format!("not an operation: {error}")))?;
    match &*op.string("op")? {
        "put" => batch.put(&*op.key("key")?, &*op.value("value")?),
        "delete" => batch.delete(&*op.key("key")?),
        other => {
            let text = format!("field `op` must be \"put\" or \"delete\", not {other:?}");
            return Err(Refusal::malformed(text));
        }
    }
    Ok(())
}

pub(super) fn read(call: &mut Call<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let located = call.store.locate(&call.body.key("key")?)?;
    reply.value("value", located.value.as_deref());
    match located.found_at {
        None => reply.null("found_at"),
        Some(Place::Memtable) => reply.string("found_at", "memtable"),
        Some(Place::Level(level)) => reply.string("found_at", &format!("L{level}")),
    }
    reply.count("levels_checked", located.levels_checked as u64);
    Ok(())
}

pub(super) fn compact(call: &mut Call<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let source = call.body.integer("source_level", 0..=SOURCE_LEVEL_MAX)?;
    let target = call.body.integer("target_level", 0..=SOURCE_LEVEL_MAX + 1)?;
    if target != source + 1 {
        let text = format!("field `target_level` must be {}: `source_level` + 1", source + 1);
        return Err(Refusal::malformed(text));
    }
    let report = call.store.compact_level(source as usize)?;
    reply.count("sstables_merged", report.tables_in);
    reply.count("new_sstables", report.tables_out);
    reply.count("keys_deduplicated", report.superseded);
    reply.count("bytes_read", report.bytes_read);
    reply.count("bytes_written", report.bytes_written);
    reply.ratio("write_amplification", call.store.stats().write_amplification);
    Ok(())
}

pub(super) fn compact_status(
    call: &mut Call<'_, '_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let stats = call.store.stats();
    reply.count("pending_compactions", stats.compactions_pending);
    reply.count("total_compactions", stats.compactions);
    reply.count("total_bytes_compacted", stats.compaction_bytes_read);
    Ok(())
}

pub(super) fn level_info(call: &mut Call<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    reply.objects("levels", call.store.levels(), |reply, level| {
        reply.count("level", level.level as u64);
        reply.count("sstables", level.tables as u64);
        reply.count("total_bytes", level.bytes);
        match level.sorted {
            true => reply.yes("sorted"),
            false => reply.no("sorted"),
        }
        reply.count("max_bytes", level.max_bytes);
    });
    Ok(())
}

pub(super) fn stats(call: &mut Call<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let stats = call.store.stats();
    reply.ratio("write_amplification", stats.write_amplification);
    reply.count("read_amplification", stats.read_amplification);
    reply.ratio("space_amplification", stats.space_amplification);
    reply.count("user_bytes", stats.user_bytes);
    reply.count("flushes", stats.flushes);
    reply.count("flush_bytes", stats.flush_bytes);
    reply.count("compactions", stats.compactions);
    reply.count("moves", stats.moves);
    reply.count("compaction_bytes_read", stats.compaction_bytes_read);
    reply.count("compaction_bytes_written", stats.compaction_bytes_written);
    reply.count("pending_compactions", stats.compactions_pending);
    reply.count("tables", stats.tables);
    reply.count("table_bytes", stats.table_bytes);
    reply.count("memtable_bytes", stats.memtable_bytes);
    reply.count("log_bytes_written", stats.log_bytes_written);
    reply.count("cache_bytes", stats.cache_bytes);
    reply.string("health", &stats.health.to_string());
    Ok(())
}

//! The payload of a manifest's records.
//!
#![doc = include_str!("FORMAT.md")]

use std::sync::Arc;

use crate::base::codec::{Reader, put_bytes, put_varint};
use crate::base::key::{KeyspaceId, SegmentNo, SeqNo, TableId};
use crate::base::limits::{self, KEY_BYTES_MAX, KEYSPACE_NAME_BYTES_MAX, LEVELS};
use crate::base::range::KeyRange;
use crate::version::fields::{BadField, Decoded, once, put_field, read_fields};
use crate::version::{Edit, FixedOptions, KeyspaceCounters, KeyspaceEdit, Sweep, TableMeta};
use crate::wal::{LogPosition, LogState, SealedSegment};

/// Tags of a record's fields.
mod tag {
    pub const FIXED: u64 = 2;
    pub const NEXT_FILE: u64 = 4;
    pub const NEXT_KEYSPACE: u64 = 6;
    pub const LAST_SEQ: u64 = 8;
    pub const LOG: u64 = 10;
    pub const HORIZON: u64 = 12;
    pub const DROPPED: u64 = 14;
    pub const CREATED: u64 = 16;
    pub const KEYSPACE: u64 = 18;
}

/// Tags of the fields of the options that were fixed at creation.
mod fixed_tag {
    pub const LEVEL_BASE_BYTES: u64 = 2;
}

/// Tags of the fields of a keyspace's edit.
mod keyspace_tag {
    pub const REMOVED: u64 = 2;
    pub const ADDED: u64 = 4;
    pub const FLUSHED_SEQ: u64 = 6;
    pub const SWEEP: u64 = 8;
    pub const COUNTERS: u64 = 1;
}

/// The payload of an edit's record, or, with `fixed`, of a snapshot's.
pub fn encode(fixed: Option<FixedOptions>, edit: &Edit) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(fixed) = fixed {
        put_field(&mut out, tag::FIXED, |out| {
            put_number(out, fixed_tag::LEVEL_BASE_BYTES, fixed.level_base_bytes);
        });
    }
    put_number(&mut out, tag::NEXT_FILE, edit.next_file);
    if let Some(next) = edit.next_keyspace {
        put_number(&mut out, tag::NEXT_KEYSPACE, u64::from(next));
    }
    if let Some(seq) = edit.last_seq {
        put_number(&mut out, tag::LAST_SEQ, seq.get());
    }
    if let Some(log) = &edit.log {
        put_field(&mut out, tag::LOG, |out| put_log(out, log));
    }
    if let Some(horizon) = edit.horizon.filter(|horizon| horizon.offset > 0) {
        put_field(&mut out, tag::HORIZON, |out| put_position(out, Some(horizon)));
    }
    for id in &edit.dropped {
        put_number(&mut out, tag::DROPPED, u64::from(id.0));
    }
    for (id, name) in &edit.created {
        put_field(&mut out, tag::CREATED, |out| {
            put_varint(out, u64::from(id.0));
            put_bytes(out, name.as_bytes());
        });
    }
    for (id, edit) in &edit.keyspaces {
        put_field(&mut out, tag::KEYSPACE, |out| {
            put_varint(out, u64::from(id.0));
            put_keyspace_edit(out, edit);
        });
    }
    out
}

/// Reads such a payload.
pub fn decode(payload: &[u8]) -> Decoded<(Option<FixedOptions>, Edit)> {
    let (mut fixed, mut next_file, mut edit) = (None, None, Edit::default());
    read_fields("record", Reader::new(payload), &mut |tag, field| {
        Some(match tag {
            tag::FIXED => read_fixed(*field).and_then(|read| {
                field.take(field.remaining());
                once(&mut fixed, "fixed options", Some(read))
            }),
            tag::NEXT_FILE => once(&mut next_file, "next file", field.varint()),
            tag::NEXT_KEYSPACE => {
                once(&mut edit.next_keyspace, "next keyspace", field.varint_u32())
            }
            tag::LAST_SEQ => once(&mut edit.last_seq, "last sequence number", read_seq(field)),
            tag::LOG => once(&mut edit.log, "log", read_log(field)),
            tag::HORIZON => {
                let position = read_position(field).flatten();
                once(&mut edit.horizon, "durable position of the log", position)
            }
            tag::DROPPED => {
                push(&mut edit.dropped, "dropped keyspace", field.varint_u32().map(KeyspaceId))
            }
            tag::CREATED => push(&mut edit.created, "created keyspace", read_created(field)),
            tag::KEYSPACE => read_keyspace_edit(field).map(|read| edit.keyspaces.push(read)),
            _ => return None,
        })
    })?;
    edit.next_file = next_file.ok_or(BadField::Malformed("next file"))?;
    Ok((fixed, edit))
}

fn read_fixed(reader: Reader<'_>) -> Decoded<FixedOptions> {
    let mut level_base_bytes = None;
    read_fields("fixed options", reader, &mut |tag, field| {
        (tag == fixed_tag::LEVEL_BASE_BYTES)
            .then(|| once(&mut level_base_bytes, "level base", field.varint()))
    })?;
    let level_base_bytes = level_base_bytes.ok_or(BadField::Malformed("level base"))?;
    Ok(FixedOptions { level_base_bytes })
}

fn put_log(out: &mut Vec<u8>, log: &LogState) {
    put_varint(out, log.live_from.0);
    put_position(out, log.horizon);
    for sealed in &log.sealed {
        put_varint(out, sealed.segment.0);
        put_varint(out, sealed.bytes);
    }
}

fn read_log(reader: &mut Reader<'_>) -> Option<LogState> {
    let live_from = SegmentNo(reader.varint()?);
    let horizon = read_position(reader)?;
    let mut sealed = Vec::new();
    while !reader.is_empty() {
        let segment = SegmentNo(reader.varint()?);
        sealed.push(SealedSegment { segment, bytes: reader.varint()? });
    }
    Some(LogState { sealed, live_from, horizon })
}

/// A position; offset 0 stands for none, because it says nothing.
fn put_position(out: &mut Vec<u8>, position: Option<LogPosition>) {
    let position = position.unwrap_or(LogPosition { segment: SegmentNo(0), offset: 0 });
    put_varint(out, position.segment.0);
    put_varint(out, position.offset);
}

fn read_position(reader: &mut Reader<'_>) -> Option<Option<LogPosition>> {
    let position = LogPosition { segment: SegmentNo(reader.varint()?), offset: reader.varint()? };
    Some(Some(position).filter(|position| position.offset > 0))
}

fn read_created(reader: &mut Reader<'_>) -> Option<(KeyspaceId, String)> {
    let id = KeyspaceId(reader.varint_u32()?);
    let name = std::str::from_utf8(reader.bytes(KEYSPACE_NAME_BYTES_MAX)?).ok()?;
    limits::check_keyspace_name(name).ok()?;
    Some((id, name.to_owned()))
}

fn put_keyspace_edit(out: &mut Vec<u8>, edit: &KeyspaceEdit) {
    for (level, id) in &edit.removed {
        put_field(out, keyspace_tag::REMOVED, |out| {
            out.push(*level);
            put_varint(out, id.0);
        });
    }
    for (level, table) in &edit.added {
        put_field(out, keyspace_tag::ADDED, |out| {
            out.push(*level);
            put_table(out, table);
        });
    }
    if let Some(seq) = edit.flushed_seq {
        put_number(out, keyspace_tag::FLUSHED_SEQ, seq.get());
    }
    if let Some(counters) = &edit.counters {
        put_field(out, keyspace_tag::COUNTERS, |out| {
            counters.totals().into_iter().for_each(|total| put_varint(out, total));
        });
    }
    if let Some(sweep) = &edit.sweep {
        put_field(out, keyspace_tag::SWEEP, |out| {
            put_bytes(out, &sweep.cursor);
            sweep.tables.iter().for_each(|table| put_varint(out, table.0));
        });
    }
}

fn read_keyspace_edit(reader: &mut Reader<'_>) -> Decoded<(KeyspaceId, KeyspaceEdit)> {
    let id = reader.varint_u32().map(KeyspaceId).ok_or(BadField::Malformed("keyspace"))?;
    let mut edit = KeyspaceEdit::default();
    let fields = Reader::new(reader.take(reader.remaining()).unwrap_or_default());
    read_fields("keyspace", fields, &mut |tag, field| {
        use keyspace_tag as t;
        Some(match tag {
            t::REMOVED => {
                let removed = read_level(field).zip(field.varint().map(TableId));
                push(&mut edit.removed, "removed table", removed)
            }
            t::ADDED => read_added(field).map(|added| edit.added.push(added)),
            t::FLUSHED_SEQ => {
                once(&mut edit.flushed_seq, "flushed sequence number", read_seq(field))
            }
            t::COUNTERS => once(&mut edit.counters, "counters", read_counters(field)),
            t::SWEEP => once(&mut edit.sweep, "sweep", read_sweep(field)),
            _ => return None,
        })
    })?;
    Ok((id, edit))
}

/// A newer version may have put further totals behind those that we know.
fn read_counters(reader: &mut Reader<'_>) -> Option<KeyspaceCounters> {
    let mut totals = KeyspaceCounters::default().totals();
    for total in &mut totals {
        if !reader.is_empty() {
            *total = reader.varint()?;
        }
    }
    reader.take(reader.remaining());
    Some(KeyspaceCounters::from_totals(totals))
}

fn read_sweep(reader: &mut Reader<'_>) -> Option<Sweep> {
    let cursor = reader.bytes(KEY_BYTES_MAX)?.to_vec();
    let mut tables = Vec::new();
    while !reader.is_empty() {
        tables.push(TableId(reader.varint()?));
    }
    Some(Sweep { cursor, tables })
}

fn put_table(out: &mut Vec<u8>, table: &TableMeta) {
    for number in [
        table.id.0,
        table.bytes,
        table.entries,
        table.tombstones,
        table.keys,
        table.seq_min.get(),
        table.seq_max.get(),
        table.key_bytes,
        table.value_bytes,
        table.filter_bits,
    ] {
        put_varint(out, number);
    }
    put_bytes(out, table.range.lo());
    put_bytes(out, table.range.hi());
}

/// Level, table, and fields that a newer version may have put behind them.
fn read_added(reader: &mut Reader<'_>) -> Decoded<(u8, Arc<TableMeta>)> {
    let added = read_level(reader).zip(read_table(reader));
    let (level, table) = added.ok_or(BadField::Malformed("added table"))?;
    let rest = Reader::new(reader.take(reader.remaining()).unwrap_or_default());
    read_fields("table", rest, &mut |_, _| None)?;
    Ok((level, Arc::new(table)))
}

fn read_table(reader: &mut Reader<'_>) -> Option<TableMeta> {
    let id = TableId(reader.varint()?);
    let [bytes, entries, tombstones, keys] = read_numbers(reader)?;
    let (seq_min, seq_max) = (read_seq(reader)?, read_seq(reader)?);
    let [key_bytes, value_bytes, filter_bits] = read_numbers(reader)?;
    let (lo, hi) = (reader.bytes(KEY_BYTES_MAX)?, reader.bytes(KEY_BYTES_MAX)?);
    if lo > hi || seq_min > seq_max {
        return None;
    }
    let range = KeyRange::new(lo, hi);
    Some(TableMeta {
        id,
        bytes,
        entries,
        tombstones,
        keys,
        range,
        seq_min,
        seq_max,
        key_bytes,
        value_bytes,
        filter_bits,
    })
}

fn read_numbers<const N: usize>(reader: &mut Reader<'_>) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = reader.varint()?;
    }
    Some(numbers)
}

fn read_level(reader: &mut Reader<'_>) -> Option<u8> {
    reader.u8().filter(|level| usize::from(*level) < LEVELS)
}

fn read_seq(reader: &mut Reader<'_>) -> Option<SeqNo> {
    reader.varint().filter(|seq| *seq <= SeqNo::MAX.get()).map(SeqNo::new)
}

fn put_number(out: &mut Vec<u8>, tag: u64, number: u64) {
    put_field(out, tag, |out| put_varint(out, number));
}

fn push<T>(list: &mut Vec<T>, what: &'static str, value: Option<T>) -> Decoded<()> {
    list.push(value.ok_or(BadField::Malformed(what))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::testing::{arbitrary_edit, table};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn an_edit_is_read_back(edit in arbitrary_edit(), base: Option<u64>) {
            let fixed = base.map(|level_base_bytes| FixedOptions { level_base_bytes });
            prop_assert_eq!(decode(&encode(fixed, &edit)), Ok((fixed, edit)));
        }

        #[test]
        fn an_edit_with_other_bytes_is_an_answer(
            edit in arbitrary_edit(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut: prop::sample::Index,
        ) {
            let mut bytes = encode(None, &edit);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = decode(&bytes);
            let _ = decode(&bytes[..cut.index(bytes.len())]);
        }

        #[test]
        fn any_bytes_are_an_answer(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }

    fn fields(fill: impl FnOnce(&mut Vec<u8>)) -> Decoded<(Option<FixedOptions>, Edit)> {
        let mut bytes = encode(None, &Edit::default());
        fill(&mut bytes);
        decode(&bytes)
    }

    #[test]
    fn newer_fields_are_skipped_if_they_are_optional() {
        assert!(fields(|out| put_number(out, 21, 5)).is_ok());
        let newer = BadField::Unknown { list: "record", tag: 20 };
        assert_eq!(fields(|out| put_number(out, 20, 5)).unwrap_err(), newer);
    }

    #[test]
    fn fields_of_which_there_is_one_come_once() {
        let twice = fields(|out| put_number(out, tag::NEXT_FILE, 5));
        assert_eq!(twice.unwrap_err(), BadField::Malformed("next file"));
        assert_eq!(decode(b"").unwrap_err(), BadField::Malformed("next file"), "nor never");
    }

    #[test]
    fn tables_that_cannot_be_are_malformed() {
        let added = |level: u8, fill: &dyn Fn(&mut Vec<u8>)| {
            fields(|out| {
                put_field(out, tag::KEYSPACE, |out| {
                    put_varint(out, 0);
                    put_field(out, keyspace_tag::ADDED, |out| {
                        out.push(level);
                        fill(out);
                    });
                });
            })
        };
        let good = table(7, "a", "b", 1, 2);
        assert!(added(6, &|out| put_table(out, &good)).is_ok());
        assert!(added(7, &|out| put_table(out, &good)).is_err(), "there is no L7");
        let ends_swapped = |out: &mut Vec<u8>| {
            put_table(out, &good);
            let end = out.len();
            out.swap(end - 3, end - 1);
        };
        assert!(added(0, &ends_swapped).is_err());
        let seqs_swapped = TableMeta { seq_min: SeqNo::new(3), ..good.clone() };
        assert!(added(0, &|out| put_table(out, &seqs_swapped)).is_err());
        let with_field = |tag| {
            added(0, &move |out| {
                put_table(out, &table(7, "a", "b", 1, 2));
                put_number(out, tag, 1);
            })
        };
        assert!(with_field(1).is_ok(), "a newer version may know more of a table");
        assert!(matches!(with_field(2), Err(BadField::Unknown { list: "table", tag: 2 })));
    }

    #[test]
    fn counters_of_a_newer_version_are_read_as_far_as_they_are_known() {
        let bytes: Vec<u8> = (1..=11).collect();
        let counters = read_counters(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(counters.totals(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let fewer = read_counters(&mut Reader::new(&bytes[..2])).unwrap();
        assert_eq!(fewer.totals(), [1, 2, 0, 0, 0, 0, 0, 0, 0]);
    }
}

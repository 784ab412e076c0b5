//! A readable print of a manifest.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::base::error::Result;
use crate::base::limits::MANIFEST_RECORD_BYTES_MAX;
use crate::version::codec;
use crate::version::current::{MANIFEST_HEADER_BYTES, read_header};
use crate::version::{Edit, KeyspaceEdit};
use crate::vfs::ReadFile;
use crate::wal::reader::{Next, RecordReader};
use crate::wal::record::RecordKind;

/// What a manifest holds, record by record up to the first hole.
///
/// # Errors
/// `Corruption` for a header that is no manifest's; `Io`.
pub fn describe(file: &Arc<dyn ReadFile>) -> Result<String> {
    let name = file.name();
    let store_id = read_header(&**file, name.number().unwrap_or(0))?;
    let mut out = format!("{name}: manifest of store {store_id:016x}, {} bytes\n", file.len());
    let start = MANIFEST_HEADER_BYTES as u64;
    let mut reader =
        RecordReader::new(Arc::clone(file), store_id, start, MANIFEST_RECORD_BYTES_MAX);
    loop {
        match reader.next(file.len())? {
            Next::Record { offset, header, payload } => {
                let kind = RecordKind::from_u8(header.kind);
                let kind = kind.map_or_else(|| header.kind.to_string(), |k| format!("{k:?}"));
                let durable = header.synced_upto;
                let _ = writeln!(out, "{offset:>10}  {kind} {}; durable: {durable}", header.seq);
                match codec::decode(payload) {
                    // A mark holds nothing.
                    _ if header.kind == RecordKind::Mark as u8 => {}
                    Ok((fixed, edit)) => {
                        if let Some(fixed) = fixed {
                            let _ = writeln!(out, "    {fixed:?}");
                        }
                        print_edit(&mut out, &edit);
                    }
                    Err(bad) => {
                        let _ = writeln!(out, "    unreadable: {bad:?}");
                    }
                }
            }
            Next::Hole(hole) => {
                let at = hole.offset;
                let _ = writeln!(out, "{at:>10}  no record: {}", hole.mismatch.describe());
                return Ok(out);
            }
            Next::End => {
                let _ = writeln!(out, "{:>10}  end", file.len());
                return Ok(out);
            }
        }
    }
}

fn print_edit(out: &mut String, edit: &Edit) {
    for (id, name) in &edit.created {
        let _ = writeln!(out, "    keyspace {} {name:?} is made", id.0);
    }
    for (id, edit) in &edit.keyspaces {
        print_keyspace_edit(out, id.0, edit);
    }
    for id in &edit.dropped {
        let _ = writeln!(out, "    keyspace {} is dropped", id.0);
    }
    if let Some(log) = &edit.log {
        let sealed: Vec<_> =
            log.sealed.iter().map(|s| format!("{}:{}", s.segment, s.bytes)).collect();
        let _ = writeln!(
            out,
            "    log: sealed [{}], live from {}, durable up to {:?}",
            sealed.join(" "),
            log.live_from,
            log.horizon
        );
    }
}

fn print_keyspace_edit(out: &mut String, id: u32, edit: &KeyspaceEdit) {
    for (level, table) in &edit.removed {
        let _ = writeln!(out, "    keyspace {id}: table {table} leaves L{level}");
    }
    for (level, table) in &edit.added {
        let _ = writeln!(
            out,
            "    keyspace {id}: table {} enters L{level}: [{} .. {}] {} entries, {} bytes, #{} to #{}",
            table.id,
            table.range.lo().escape_ascii(),
            table.range.hi().escape_ascii(),
            table.entries,
            table.bytes,
            table.seq_min,
            table.seq_max
        );
    }
    if let Some(sweep) = &edit.sweep {
        let tables: Vec<_> = sweep.tables.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            out,
            "    keyspace {id}: tables [{}] are swept up to {}",
            tables.join(" "),
            sweep.cursor.escape_ascii()
        );
    }
    if let Some(seq) = edit.flushed_seq {
        let _ = writeln!(out, "    keyspace {id}: flushed up to #{seq}");
    }
}

//! A readable print of a log segment.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::base::codec::Reader;
use crate::base::error::Result;
use crate::base::key::SegmentNo;
use crate::base::limits::BATCH_BYTES_MAX;
use crate::vfs::ReadFile;
use crate::wal::reader::{Next, RecordReader};
use crate::wal::segment::{SEGMENT_HEADER_BYTES, STORE_ID_AT, SegmentHeader};

/// What a segment holds, record by record up to the first hole. `ops` prints a record's payload.
///
/// # Errors
/// `Corruption` for a header that is no segment's; `Io`.
pub fn describe(file: &Arc<dyn ReadFile>, ops: &mut dyn FnMut(&[u8]) -> String) -> Result<String> {
    let name = file.name();
    let number = SegmentNo(name.number().unwrap_or(0));
    let mut header = [0; SEGMENT_HEADER_BYTES];
    file.read_exact_at(&mut header, 0)?;
    let store_id = Reader::new(&header[STORE_ID_AT..]).u64().unwrap_or(0);
    let decoded = SegmentHeader::decode(&header, store_id, number)?
        .map_err(|mismatch| mismatch.into_error(name, 0))?;
    let mut out = format!("{name}: log segment of store {store_id:016x}, {} bytes\n", file.len());
    let _ = writeln!(out, "first sequence number {}", decoded.first_seq);
    if let Some(prev) = decoded.prev {
        let _ = writeln!(out, "follows segment {} of {} bytes", prev.segment, prev.bytes);
    }
    if let Some(horizon) = decoded.horizon {
        let _ = writeln!(out, "durable when it was made: up to {horizon}");
    }
    let start = SEGMENT_HEADER_BYTES as u64;
    let mut reader = RecordReader::new(Arc::clone(file), store_id, start, BATCH_BYTES_MAX);
    loop {
        match reader.next(file.len())? {
            Next::Record { offset, header, payload } => {
                let (seq, count) = (header.seq, header.op_count);
                let _ = writeln!(
                    out,
                    "{offset:>10}  batch at #{seq}, {count} operations, {} bytes; durable: {}",
                    header.payload_bytes, header.synced_upto
                );
                out.push_str(&ops(payload));
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

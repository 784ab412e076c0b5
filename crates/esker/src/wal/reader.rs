//! Reading a file of records from front to back, and looking behind a hole.
//!
//! One buffer holds what was read: [`WINDOW_BYTES`], or one record if that is longer. A length on
//! disk makes it grow only to what the file has. Every byte is read at most about twice.

use std::sync::Arc;

use crate::base::error::{ErrorKind, Result};
use crate::base::key::SeqNo;
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::vfs::ReadFile;
use crate::wal::record::{
    Checked, Mismatch, Place, RECORD_ALIGN, RECORD_HEADER_BYTES, RecordHeader, header_bytes,
};

/// What is read at once. A multiple of [`RECORD_ALIGN`].
pub const WINDOW_BYTES: usize = 256 << 10;

/// A file of records.
pub struct RecordReader {
    window: Window,
    store_id: u64,
    payload_bytes_max: usize,
    at: u64,
}

/// What stands at a place of a file.
#[derive(Debug)]
pub enum Next<'a> {
    /// A record; the reader stands behind it now.
    Record {
        /// Where it begins.
        offset: u64,
        /// What it states.
        header: RecordHeader,
        /// What it holds.
        payload: &'a [u8],
    },
    /// The end: nothing is left below the limit.
    End,
    /// No record. The reader still stands in front of it.
    Hole(Hole),
}

/// The place where a file of records stops making sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Where the next record should begin.
    pub offset: u64,
    /// What is there instead.
    pub mismatch: Mismatch,
    /// Whether the file just ends too early.
    pub is_short: bool,
}

impl RecordReader {
    /// Reads `file` from offset `at` on, a multiple of 8. A longer payload than
    /// `payload_bytes_max` is no record.
    pub fn new(file: Arc<dyn ReadFile>, store_id: u64, at: u64, payload_bytes_max: usize) -> Self {
        Self { window: Window::new(file), store_id, payload_bytes_max, at }
    }

    /// Where the reader stands.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The file's length.
    pub fn file_bytes(&self) -> u64 {
        self.window.file.len()
    }

    /// The file's name.
    pub fn name(&self) -> FileName {
        self.window.file.name()
    }

    /// The next record that ends at or before `limit`, at most the file's length.
    pub fn next(&mut self, limit: u64) -> Result<Next<'_>> {
        let offset = self.at;
        if offset >= limit {
            return Ok(Next::End);
        }
        let checked = match self.header(offset, limit)? {
            Ok(checked) => checked,
            Err(hole) => return Ok(Next::Hole(hole)),
        };
        let header = checked.header;
        let start = offset + RECORD_HEADER_BYTES as u64;
        let Some(payload) = self.window.bytes(start, header.payload_bytes as usize)? else {
            return Ok(Next::Hole(short(offset, header.record_bytes(), limit)));
        };
        if let Err((computed, stored)) = checked.check_payload(payload)
            && !planted::is_on(Bug::HeaderChecksumOnly)
        {
            let mismatch = Mismatch::checksum("record checksum", computed, stored);
            return Ok(Next::Hole(Hole { offset, mismatch, is_short: false }));
        }
        self.at = offset + header.record_bytes();
        Ok(Next::Record { offset, header, payload })
    }

    /// The header at `offset`, of a record that fits below `limit`.
    fn header(&mut self, offset: u64, limit: u64) -> Result<std::result::Result<Checked, Hole>> {
        let hole = |mismatch| Hole { offset, mismatch, is_short: false };
        let head_end = offset + RECORD_HEADER_BYTES as u64;
        let place = self.place(offset);
        let bytes = match head_end <= limit {
            true => self.window.bytes(offset, RECORD_HEADER_BYTES)?,
            false => None,
        };
        let Some(bytes) = bytes.and_then(header_bytes) else {
            return Ok(Err(short(offset, RECORD_HEADER_BYTES as u64, limit)));
        };
        let checked = match RecordHeader::decode(bytes, place) {
            Ok(checked) => checked,
            Err(fault) => return Ok(Err(hole(fault.into()))),
        };
        let payload_bytes = checked.header.payload_bytes as usize;
        if payload_bytes > self.payload_bytes_max {
            let at_most = format!("at most {}", self.payload_bytes_max);
            let mismatch = Mismatch::new("payload length", at_most, payload_bytes.to_string());
            return Ok(Err(hole(mismatch)));
        }
        if checked.header.record_bytes() > limit - offset {
            return Ok(Err(short(offset, checked.header.record_bytes(), limit)));
        }
        Ok(Ok(checked))
    }

    /// Goes on behind a hole, to the next place where a whole record stands that ends at or before
    /// `limit`; false if there is none.
    pub fn skip_hole(&mut self, limit: u64) -> Result<bool> {
        let mut offset = self.at;
        loop {
            offset += RECORD_ALIGN;
            if offset >= limit {
                self.at = limit;
                return Ok(false);
            }
            if self.header(offset, limit)?.is_err() {
                continue;
            }
            self.at = offset;
            if matches!(self.next(limit)?, Next::Record { .. }) {
                self.at = offset;
                return Ok(true);
            }
        }
    }

    /// Looks at every place from `offset` to the end of the file for the header of a record with a
    /// sequence number of at least `seq_min`, and hands what it states to `found`. A header whose
    /// payload is torn counts: linear in what is read, whatever is read.
    pub fn scan(
        &mut self,
        mut offset: u64,
        seq_min: SeqNo,
        found: &mut dyn FnMut(RecordHeader),
    ) -> Result<()> {
        let place = self.place(offset);
        while let Some(bytes) = self.window.bytes(offset, RECORD_HEADER_BYTES)? {
            let place = Place { offset, ..place };
            let checked = header_bytes(bytes).map(|bytes| RecordHeader::decode(bytes, place));
            if let Some(Ok(checked)) = checked
                && checked.header.seq >= seq_min
            {
                found(checked.header);
            }
            offset += RECORD_ALIGN;
        }
        Ok(())
    }

    fn place(&self, offset: u64) -> Place {
        Place { store_id: self.store_id, file_number: self.number(), offset }
    }

    fn number(&self) -> u64 {
        self.name().number().unwrap_or_default()
    }

    /// What a torn batch at the reader's place still holds, for the planted bug that believes it.
    #[cfg(any(test, feature = "planted"))]
    pub fn torn_payload(&mut self) -> Result<Option<(RecordHeader, Vec<u8>)>> {
        let place = self.place(self.at);
        let bytes = self.window.bytes(self.at, RECORD_HEADER_BYTES)?;
        let decoded = bytes.and_then(header_bytes).map(|b| RecordHeader::decode(b, place));
        let Some(Ok(checked)) = decoded else { return Ok(None) };
        let start = self.at + RECORD_HEADER_BYTES as u64;
        let there = (self.file_bytes() - start).min(u64::from(checked.header.payload_bytes));
        let payload = self.window.bytes(start, there as usize)?.unwrap_or_default();
        Ok(Some((checked.header, payload.to_vec())))
    }
}

fn short(offset: u64, wanted: u64, limit: u64) -> Hole {
    let mismatch = Mismatch::new(
        "record",
        format!("{wanted} bytes"),
        format!("{} bytes up to the end", limit.saturating_sub(offset)),
    );
    Hole { offset, mismatch, is_short: true }
}

/// The part of a file that is in memory.
struct Window {
    file: Arc<dyn ReadFile>,
    start: u64,
    buffer: Vec<u8>,
}

impl Window {
    fn new(file: Arc<dyn ReadFile>) -> Self {
        Self { file, start: 0, buffer: Vec::new() }
    }

    /// `len` bytes from `offset`, or `None` if the file has not so many.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>> {
        let rest = self.file.len().saturating_sub(offset);
        if rest < len as u64 {
            return Ok(None);
        }
        let end = self.start + self.buffer.len() as u64;
        if offset < self.start || offset + len as u64 > end {
            let wanted = (len.max(WINDOW_BYTES) as u64).min(rest) as usize;
            self.start = offset;
            self.buffer.resize(wanted, 0);
            self.buffer.shrink_to(WINDOW_BYTES);
            if let Err(error) = self.file.read_exact_at(&mut self.buffer, offset) {
                self.buffer.clear();
                if error.kind() == ErrorKind::Io && planted::is_on(Bug::ReadErrorIsEnd) {
                    return Ok(None);
                }
                return Err(error);
            }
        }
        let from = (offset - self.start) as usize;
        Ok(self.buffer.get(from..from + len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::SegmentNo;
    use crate::wal::record::{Record, RecordKind};

    #[derive(Debug)]
    pub struct Bytes(pub Vec<u8>);

    impl ReadFile for Bytes {
        fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<()> {
            out.copy_from_slice(&self.0[offset as usize..][..out.len()]);
            Ok(())
        }
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
        fn name(&self) -> FileName {
            FileName::Log(SegmentNo(7))
        }
    }

    fn record(seq: u64, payload: &[u8]) -> Record<'_> {
        let (kind, seq) = (RecordKind::Batch, SeqNo::new(seq));
        Record { kind, seq, op_count: 1, synced_upto: 0, payload }
    }

    fn file(payloads: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, len) in payloads.iter().enumerate() {
            let place = Place { store_id: 1, file_number: 7, offset: out.len() as u64 };
            record(i as u64, &vec![i as u8; *len]).encode(place, &mut out);
        }
        out
    }

    fn reader(bytes: Vec<u8>) -> RecordReader {
        RecordReader::new(Arc::new(Bytes(bytes)), 1, 0, 1 << 20)
    }

    #[test]
    fn records_longer_than_the_window_and_across_its_end_are_read() {
        let payloads = [10, WINDOW_BYTES - 100, 77, 3 * WINDOW_BYTES, 0, 5];
        let bytes = file(&payloads);
        let limit = bytes.len() as u64;
        let mut reader = reader(bytes);
        for (i, len) in payloads.iter().enumerate() {
            let Next::Record { header, payload, .. } = reader.next(limit).unwrap() else {
                panic!("record {i} is there")
            };
            assert_eq!((header.seq.get(), payload), (i as u64, &vec![i as u8; *len][..]));
        }
        assert!(matches!(reader.next(limit).unwrap(), Next::End));
    }

    #[test]
    fn a_file_cut_anywhere_ends_in_a_hole_at_a_record() {
        let bytes = file(&[10, 20, 30]);
        for len in 1..bytes.len() {
            let mut reader = reader(bytes[..len].to_vec());
            let limit = len as u64;
            let hole = loop {
                match reader.next(limit).unwrap() {
                    Next::Record { .. } => {}
                    Next::End => break None,
                    Next::Hole(hole) => break Some(hole),
                }
            };
            let at_record = [48, 104].contains(&len);
            assert_eq!(hole.is_none(), at_record, "cut at {len}");
            assert!(hole.is_none_or(|hole| hole.is_short && hole.offset < limit), "cut at {len}");
        }
    }

    #[test]
    fn a_scan_finds_headers_behind_garbage_even_with_a_torn_payload() {
        let mut bytes = file(&[10, 600_000, 30]);
        bytes[0] ^= 1;
        bytes[100] ^= 1;
        let mut reader = reader(bytes.clone());
        assert!(matches!(reader.next(bytes.len() as u64).unwrap(), Next::Hole(_)));
        let mut seen = Vec::new();
        reader.scan(0, SeqNo::new(1), &mut |header| seen.push(header.seq.get())).unwrap();
        assert_eq!(seen, [1, 2]);
    }

    #[test]
    fn a_length_beyond_the_file_or_the_limit_allocates_nothing() {
        let mut bytes = Vec::new();
        let place = Place { store_id: 1, file_number: 7, offset: 0 };
        record(1, &[0; 4096]).encode(place, &mut bytes);
        let mut cut = reader(bytes[..64].to_vec());
        assert!(matches!(cut.next(64).unwrap(), Next::Hole(Hole { is_short: true, .. })));
        assert!(cut.window.buffer.len() <= 64);
        let limit = bytes.len() as u64;
        let mut small = RecordReader::new(Arc::new(Bytes(bytes)), 1, 0, 100);
        let Next::Hole(hole) = small.next(limit).unwrap() else { panic!("a hole") };
        assert_eq!(hole.mismatch.part, "payload length");
    }
}

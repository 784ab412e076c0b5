//! The header of a log segment: whose it is, what came before it, what was durable by then.

use crate::base::codec::{Reader, put_u32, put_u64};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::hash::record_checksum;
use crate::base::key::{SegmentNo, SeqNo};
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::vfs::ReadFile;
use crate::wal::record::{Mismatch, RECORD_ALIGN};
use crate::wal::{LogPosition, SealedSegment};

/// Bytes of a segment's header; its first record stands behind them.
pub const SEGMENT_HEADER_BYTES: usize = 128;

/// Where the id of the store stands in the header.
pub const STORE_ID_AT: usize = 24;

const MAGIC: [u8; 8] = *b"eskerlog";
const VERSION: u32 = 1;
/// Features that this build knows; a set bit outside is `Unsupported`.
const FEATURES: u64 = 0;
const CHECKSUM_AT: usize = SEGMENT_HEADER_BYTES - 4;

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Its own number.
    pub segment: SegmentNo,
    /// The sequence number of its first record's first operation.
    pub first_seq: SeqNo,
    /// The segment before it, with its final length.
    pub prev: Option<SealedSegment>,
    /// How far the log was durable when the header was written.
    pub horizon: Option<LogPosition>,
}

impl SegmentHeader {
    /// The bytes of the header in the store with this id.
    pub fn encode(&self, store_id: u64) -> Vec<u8> {
        let prev = self.prev.unwrap_or(SealedSegment { segment: SegmentNo(0), bytes: 0 });
        let horizon = self.horizon.unwrap_or(LogPosition { segment: SegmentNo(0), offset: 0 });
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        put_u32(&mut out, VERSION);
        put_u32(&mut out, 0);
        put_u64(&mut out, FEATURES);
        for word in [store_id, self.segment.0, self.first_seq.get()] {
            put_u64(&mut out, word);
        }
        for word in [prev.segment.0, prev.bytes, horizon.segment.0, horizon.offset] {
            put_u64(&mut out, word);
        }
        out.resize(CHECKSUM_AT, 0);
        let checksum = record_checksum(&out, store_id, self.segment.0, 0);
        put_u32(&mut out, checksum);
        out
    }

    /// Reads the header of `segment`. The outer error is a newer version's header; the inner one
    /// is no header of this segment in this store.
    pub fn decode(
        bytes: &[u8],
        store_id: u64,
        segment: SegmentNo,
    ) -> Result<std::result::Result<Self, Mismatch>> {
        let Some((body, stored)) = split(bytes) else {
            return Ok(Err(Mismatch::new(
                "segment header",
                format!("{SEGMENT_HEADER_BYTES} bytes"),
                format!("{} bytes", bytes.len()),
            )));
        };
        let computed = record_checksum(body, store_id, segment.0, 0);
        if stored != computed {
            return Ok(Err(explain_mismatch(body, store_id, segment, computed, stored)));
        }
        let Some((version, features, header)) = read_fields(body) else {
            return Ok(Err(Mismatch::new(
                "segment header",
                "valid fields",
                "a number out of range",
            )));
        };
        check_known(segment, version, features)?;
        if header.segment != segment && !planted::is_on(Bug::ChecksumWithoutSegment) {
            return Ok(Err(explain_mismatch(body, store_id, segment, computed, stored)));
        }
        Ok(header.check())
    }

    fn check(self) -> std::result::Result<Self, Mismatch> {
        let Self { segment, prev, horizon, .. } = self;
        if let Some(prev) = prev {
            let whole = prev.bytes >= SEGMENT_HEADER_BYTES as u64
                && prev.bytes.is_multiple_of(RECORD_ALIGN)
                && prev.segment < segment;
            if !whole {
                let found = format!("{} bytes of segment {}", prev.bytes, prev.segment);
                return Err(Mismatch::new("previous segment", "an earlier whole segment", found));
            }
        }
        match horizon {
            Some(at) if at.segment >= segment => {
                Err(Mismatch::new("durable position", "one in an earlier segment", at.to_string()))
            }
            _ => Ok(self),
        }
    }
}

/// The store that a segment says it belongs to, by its file alone.
pub fn read_owner(file: &dyn ReadFile) -> Result<u64> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    file.read_exact_at(&mut bytes, 0)?;
    let store_id = Reader::new(&bytes[STORE_ID_AT..]).u64().unwrap_or_default();
    let segment = SegmentNo(file.name().number().unwrap_or_default());
    let decoded = SegmentHeader::decode(&bytes, store_id, segment)?;
    decoded.map(|_| store_id).map_err(|mismatch| mismatch.into_error(file.name(), 0))
}

fn split(bytes: &[u8]) -> Option<(&[u8], u32)> {
    let (body, checksum) = bytes.get(..SEGMENT_HEADER_BYTES)?.split_at_checked(CHECKSUM_AT)?;
    Some((body, Reader::new(checksum).u32()?))
}

/// Version, features and the rest. The frame (magic, version, features, checksum) keeps its
/// place in every version.
fn read_fields(body: &[u8]) -> Option<(u32, u64, SegmentHeader)> {
    let mut reader = Reader::new(body.get(MAGIC.len()..)?);
    let version = reader.u32()?;
    let _flags = reader.u32()?;
    let features = reader.u64()?;
    let _store_id = reader.u64()?;
    let segment = SegmentNo(reader.u64()?);
    let first_seq = reader.u64().filter(|seq| *seq <= SeqNo::MAX.get()).map(SeqNo::new)?;
    let prev = SealedSegment { segment: SegmentNo(reader.u64()?), bytes: reader.u64()? };
    let horizon = LogPosition { segment: SegmentNo(reader.u64()?), offset: reader.u64()? };
    let header = SegmentHeader {
        segment,
        first_seq,
        prev: (prev.bytes > 0).then_some(prev),
        horizon: (horizon.offset > 0).then_some(horizon),
    };
    Some((version, features, header))
}

fn check_known(segment: SegmentNo, version: u32, features: u64) -> Result<()> {
    if version == VERSION && features & !FEATURES == 0 {
        return Ok(());
    }
    let text = format!(
        "{}: log format {version} with features {features:#x}; this build reads format {VERSION} with features {FEATURES:#x}",
        FileName::Log(segment)
    );
    Err(Error::new(ErrorKind::Unsupported, text))
}

/// Says whether it is a header of another store, of an earlier life of the file, or none.
fn explain_mismatch(
    body: &[u8],
    store_id: u64,
    segment: SegmentNo,
    computed: u32,
    stored: u32,
) -> Mismatch {
    let mut reader = Reader::new(body.get(24..).unwrap_or_default());
    let (of_store, of_segment) = (reader.u64(), reader.u64());
    if !body.starts_with(&MAGIC) {
        Mismatch::new("segment header", "a log segment's magic", "other bytes")
    } else if of_store != Some(store_id) {
        Mismatch::new("segment header", "this store's id", "another store's header")
    } else if of_segment != Some(segment.0) {
        Mismatch::new("segment header", format!("segment {segment}"), "another segment's header")
    } else {
        Mismatch::new(
            "segment header checksum",
            format!("{computed:#010x}"),
            format!("{stored:#010x}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            segment: SegmentNo(9),
            first_seq: SeqNo::new(100),
            prev: Some(SealedSegment { segment: SegmentNo(7), bytes: 4096 }),
            horizon: Some(LogPosition { segment: SegmentNo(7), offset: 512 }),
        }
    }

    fn decode(bytes: &[u8]) -> std::result::Result<SegmentHeader, Mismatch> {
        SegmentHeader::decode(bytes, 1, SegmentNo(9)).unwrap()
    }

    /// The bytes after `change`, with the checksum that belongs to them.
    fn changed(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = header().encode(1);
        change(&mut bytes);
        let checksum = record_checksum(&bytes[..CHECKSUM_AT], 1, 9, 0);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    #[test]
    fn a_header_is_read_back() {
        let bytes = header().encode(1);
        assert_eq!(bytes.len(), SEGMENT_HEADER_BYTES);
        assert_eq!(decode(&bytes), Ok(header()));
        let first = SegmentHeader { prev: None, horizon: None, ..header() };
        assert_eq!(decode(&first.encode(1)), Ok(first));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen() {
        let bytes = header().encode(1);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn a_header_of_another_store_or_another_life_is_none() {
        let found = |bytes: &[u8]| decode(bytes).unwrap_err().found;
        assert_eq!(found(&header().encode(2)), "another store's header");
        let earlier = SegmentHeader { segment: SegmentNo(8), ..header() };
        assert_eq!(found(&earlier.encode(1)), "another segment's header");
        assert_eq!(found(&[0; SEGMENT_HEADER_BYTES]), "other bytes");
    }

    #[test]
    fn a_newer_version_is_unsupported_only_with_a_right_checksum() {
        for at in [8, 16] {
            let newer = changed(|bytes| bytes[at] ^= 2);
            let error = SegmentHeader::decode(&newer, 1, SegmentNo(9)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let mut torn = header().encode(1);
            torn[at] ^= 2;
            assert!(decode(&torn).is_err());
        }
    }

    #[test]
    fn links_that_lead_forward_or_into_a_record_are_refused() {
        let word = |at: usize, word: u64| {
            changed(|bytes| bytes[at..at + 8].copy_from_slice(&word.to_le_bytes()))
        };
        for (bytes, part) in [
            (word(48, 9), "previous segment"),
            (word(56, 4095), "previous segment"),
            (word(56, 64), "previous segment"),
            (word(64, 9), "durable position"),
            (word(40, u64::MAX), "segment header"),
        ] {
            assert_eq!(decode(&bytes).unwrap_err().part, part);
        }
    }
}

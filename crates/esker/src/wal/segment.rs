//! The header of a log segment: whose it is, what came before it, what was durable by then.

use crate::base::codec::{Reader, put_u32, put_u64};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::hash::record_checksum;
use crate::base::key::{SegmentNo, SeqNo};
use crate::base::names::FileName;
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

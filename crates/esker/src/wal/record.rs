//! The frame of one record, shared by log segments and manifests.
//!
//! A record is a header of 32 bytes and a payload, padded with zeros to a multiple of 8. Both
//! checksums are bound to the record's [`Place`]: a well-formed record somewhere else is none.
//! The header has a checksum of its own, so that what it *states* (how much of the file was
//! durable when it was written) can be believed even when the payload is torn.
//!
#![doc = include_str!("FORMAT.md")]

use crate::base::codec::round_up;
use crate::base::error::Error;
use crate::base::hash::{record_checksum, record_checksum_append};
use crate::base::invariant;
use crate::base::key::SeqNo;
use crate::base::names::FileName;

/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 32;

/// Records begin at multiples of this.
pub const RECORD_ALIGN: u64 = 8;

/// What a record holds. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// One whole batch of a log.
    Batch = 1,
    /// The whole state of a store: the first record of a manifest.
    Snapshot = 2,
    /// An edit of a manifest.
    Edit = 3,
    /// Nothing but the statement in its header, in a manifest.
    Mark = 4,
}

impl RecordKind {
    /// The kind with this number, if this build knows it.
    pub fn from_u8(n: u8) -> Option<Self> {
        [Self::Batch, Self::Snapshot, Self::Edit, Self::Mark].into_iter().find(|k| *k as u8 == n)
    }
}

/// Where a record stands; part of its checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The store.
    pub store_id: u64,
    /// The number in the file's name.
    pub file_number: u64,
    /// The offset of the record's first byte.
    pub offset: u64,
}

/// What a record says besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The sequence number of a batch's first operation; in a manifest the record's ordinal.
    pub seq: SeqNo,
    /// The number of its [`RecordKind`], which a newer version may have invented.
    pub kind: u8,
    /// Operations of a batch; 0 in a manifest.
    pub op_count: u32,
    /// So many first bytes of this file were durable when the record was written.
    pub synced_upto: u64,
    /// Length of the payload.
    pub payload_bytes: u32,
}

/// A decoded header and the checksums that stand beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What it says.
    pub header: RecordHeader,
    payload_checksum: u32,
    header_checksum: u32,
}

/// Why 32 bytes are not the header of a record at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// The kind is zero, which none has: space that nobody wrote to.
    Empty,
    /// The reserved word is not zero.
    Reserved(u32),
    /// The checksum is another one.
    Checksum {
        /// Of the bytes that are there.
        computed: u32,
        /// That is there.
        stored: u32,
    },
    /// It states as durable what was not even written before it.
    Statement(u64),
}

/// What is not as it should be, in words for a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Which part of the file.
    pub part: &'static str,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Mismatch {
    /// `part` should be `expected`, and is `found`.
    pub fn new(part: &'static str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { part, expected: expected.into(), found: found.into() }
    }

    /// A checksum that is not the computed one.
    pub fn checksum(part: &'static str, computed: u32, stored: u32) -> Self {
        Self::new(part, format!("{computed:#010x}"), format!("{stored:#010x}"))
    }

    /// The mismatch in words.
    pub fn describe(&self) -> String {
        format!("{}: expected {}, found {}", self.part, self.expected, self.found)
    }

    /// The mismatch as damage of `file`.
    pub fn into_error(self, file: FileName, offset: u64) -> Error {
        Error::corrupt(file, offset, self.part, self.expected, self.found)
    }
}

impl From<HeaderFault> for Mismatch {
    fn from(fault: HeaderFault) -> Self {
        match fault {
            HeaderFault::Empty => Self::new("record kind", "one that is not 0", "0"),
            HeaderFault::Reserved(word) => {
                Self::new("reserved word of a record", "0", format!("{word:#010x}"))
            }
            HeaderFault::Checksum { computed, stored } => {
                Self::checksum("record header checksum", computed, stored)
            }
            HeaderFault::Statement(upto) => {
                Self::new("durable length", "at most the record's offset", upto.to_string())
            }
        }
    }
}

impl RecordHeader {
    /// How many bytes the record takes, padding included.
    pub fn record_bytes(&self) -> u64 {
        record_bytes(self.payload_bytes as usize)
    }

    /// Appends the record to `out`, as it has to stand at `place`; `payload` appends what it
    /// holds, whose length takes the place of the one stated here.
    pub fn encode(self, place: Place, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
        let Self { seq, kind, op_count, synced_upto, .. } = self;
        invariant!(W4, synced_upto <= place.offset, "{synced_upto} stated at {}", place.offset);
        debug_assert!(place.offset.is_multiple_of(RECORD_ALIGN));
        let start = out.len();
        out.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        payload(out);
        let (header, payload) = out[start..].split_at_mut(RECORD_HEADER_BYTES);
        let payload_bytes = u32::try_from(payload.len()).expect("limits keep payloads below 4 GiB");
        header[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
        header[8..16].copy_from_slice(&(seq.get() << 8 | u64::from(kind)).to_le_bytes());
        header[16..20].copy_from_slice(&op_count.to_le_bytes());
        header[20..24].copy_from_slice(&stated(synced_upto).to_le_bytes());
        let header_checksum = header_checksum(&header[4..24], place);
        header[24..28].copy_from_slice(&header_checksum.to_le_bytes());
        let payload_checksum = record_checksum_append(header_checksum, payload);
        header[0..4].copy_from_slice(&payload_checksum.to_le_bytes());
        let padded = start as u64 + record_bytes(payload.len());
        out.resize(padded as usize, 0);
    }

    /// Reads the header of the record at `place`.
    pub fn decode(bytes: &[u8; RECORD_HEADER_BYTES], place: Place) -> Result<Checked, HeaderFault> {
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        if bytes[8] == 0 {
            return Err(HeaderFault::Empty);
        }
        let reserved = word(28);
        if reserved != 0 {
            return Err(HeaderFault::Reserved(reserved));
        }
        let synced_upto = u64::from(word(20)) * RECORD_ALIGN;
        let stored = word(24);
        let computed = header_checksum(&bytes[4..24], place);
        if computed != stored {
            return Err(HeaderFault::Checksum { computed, stored });
        }
        if synced_upto > place.offset {
            return Err(HeaderFault::Statement(synced_upto));
        }
        let seq_and_kind = u64::from(word(8)) | u64::from(word(12)) << 32;
        let header = RecordHeader {
            seq: SeqNo::new(seq_and_kind >> 8),
            kind: seq_and_kind as u8,
            op_count: word(16),
            synced_upto,
            payload_bytes: word(4),
        };
        Ok(Checked { header, payload_checksum: word(0), header_checksum: computed })
    }
}

impl Checked {
    /// `Err` with the computed and the stored checksum if `payload` is not the record's.
    pub fn check_payload(&self, payload: &[u8]) -> Result<(), (u32, u32)> {
        let computed = record_checksum_append(self.header_checksum, payload);
        if computed == self.payload_checksum {
            return Ok(());
        }
        Err((computed, self.payload_checksum))
    }
}

/// How many bytes a record with such a payload takes.
pub fn record_bytes(payload_bytes: usize) -> u64 {
    round_up((RECORD_HEADER_BYTES + payload_bytes) as u64, RECORD_ALIGN)
        .expect("a payload's length is far below the end of u64")
}

/// A record to be written: its fields as in [`RecordHeader`], and its payload.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What it holds.
    pub kind: RecordKind,
    /// Its sequence number.
    pub seq: SeqNo,
    /// Operations of a batch.
    pub op_count: u32,
    /// How much of the file is durable.
    pub synced_upto: u64,
    /// Its payload.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Appends the record to `out`, as it has to stand at `place`.
    pub fn encode(&self, place: Place, out: &mut Vec<u8>) {
        let Self { kind, seq, op_count, synced_upto, payload } = *self;
        let header =
            RecordHeader { seq, kind: kind as u8, op_count, synced_upto, payload_bytes: 0 };
        out.reserve(record_bytes(payload.len()) as usize);
        header.encode(place, out, |out| out.extend_from_slice(payload));
    }
}

/// A durable length in the unit of the format. Rounding down, or stopping at 32 GiB, states less
/// than is true, which is always allowed.
fn stated(synced_upto: u64) -> u32 {
    u32::try_from(synced_upto / RECORD_ALIGN).unwrap_or(u32::MAX)
}

fn header_checksum(bytes_4_to_24: &[u8], place: Place) -> u32 {
    record_checksum(bytes_4_to_24, place.store_id, place.file_number, place.offset)
}

/// The 32 bytes at the front of `bytes`, if there are so many.
pub fn header_bytes(bytes: &[u8]) -> Option<&[u8; RECORD_HEADER_BYTES]> {
    bytes.first_chunk()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { store_id: 1, file_number: 7, offset: 128 };

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let (kind, seq) = (RecordKind::Batch, SeqNo::new(9));
        Record { kind, seq, op_count: 2, synced_upto: 64, payload }.encode(PLACE, &mut out);
        out
    }

    fn decode(bytes: &[u8], place: Place) -> Option<RecordHeader> {
        let checked = RecordHeader::decode(header_bytes(bytes)?, place).ok()?;
        let payload = &bytes[32..32 + checked.header.payload_bytes as usize];
        checked.check_payload(payload).ok().map(|()| checked.header)
    }

    #[test]
    fn a_record_is_read_back_with_what_it_states() {
        for len in [0, 1, 8, 100] {
            let bytes = record(&vec![0xab; len]);
            assert_eq!(bytes.len() as u64, record_bytes(len));
            let header = decode(&bytes, PLACE).unwrap();
            assert_eq!((header.seq, header.kind, header.op_count), (SeqNo::new(9), 1, 2));
            assert_eq!((header.synced_upto, header.payload_bytes), (64, len as u32));
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_but_in_the_padding_is_seen() {
        let bytes = record(b"payload");
        for bit in 0..(32 + 7) * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if damaged[4..8] == bytes[4..8] {
                assert_eq!(decode(&damaged, PLACE), None, "bit {bit}");
            } else {
                assert!(RecordHeader::decode(header_bytes(&damaged).unwrap(), PLACE).is_err());
            }
        }
    }

    #[test]
    fn a_record_somewhere_else_is_none() {
        let bytes = record(b"payload");
        for place in [
            Place { store_id: 2, ..PLACE },
            Place { file_number: 8, ..PLACE },
            Place { offset: 136, ..PLACE },
        ] {
            assert_eq!(decode(&bytes, place), None, "{place:?}");
        }
    }

    #[test]
    #[should_panic(expected = "W4")]
    fn w4_a_record_cannot_state_more_than_precedes_it() {
        let (kind, seq) = (RecordKind::Mark, SeqNo::new(1));
        let mark = Record { kind, seq, op_count: 0, synced_upto: 136, payload: b"" };
        mark.encode(PLACE, &mut Vec::new());
    }

    #[test]
    fn w4_a_header_that_states_more_than_precedes_it_is_no_header() {
        let place = Place { offset: 0, ..PLACE };
        let mut bytes = record(b"");
        let checksum = header_checksum(&bytes[4..24], place);
        bytes[24..28].copy_from_slice(&checksum.to_le_bytes());
        let fault = RecordHeader::decode(header_bytes(&bytes).unwrap(), place).unwrap_err();
        assert_eq!(fault, HeaderFault::Statement(64));
    }
}

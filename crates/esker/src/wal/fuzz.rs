//! Hostile logs: see [`crate::base::fuzz`].

use crate::base::batch::WriteBatch;
use crate::base::codec::Reader;
use crate::base::fuzz::{FEW_COPIES_BYTES, Target, cuts, edit, edits};
use crate::base::hash::{record_checksum, record_checksum_append};
use crate::base::key::{SegmentNo, SeqNo};
use crate::base::limits::BATCH_BYTES_MAX;
use crate::base::names::FileName;
use crate::vfs::Disk;
use crate::vfs::sim::SimDisk;
use crate::wal::reader::{Next, RecordReader};
use crate::wal::record::{
    Place, RECORD_HEADER_BYTES, Record, RecordHeader, RecordKind, header_bytes, record_bytes,
};
use crate::wal::recover::RecoveredLog;
use crate::wal::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::wal::{LogPosition, LogState, SealedSegment, describe, recover};

/// The targets of this folder.
pub const TARGETS: [Target; 4] = [
    Target {
        name: "log_header",
        run: log_header,
        seeds: log_header_seeds,
        memory_bytes_max: FEW_COPIES_BYTES,
    },
    Target { name: "record", run: record, seeds: record_seeds, memory_bytes_max: FEW_COPIES_BYTES },
    Target {
        name: "log_segment",
        run: log_segment,
        seeds: log_segment_seeds,
        memory_bytes_max: FEW_COPIES_BYTES,
    },
    Target { name: "log", run: log, seeds: log_seeds, memory_bytes_max: FEW_COPIES_BYTES },
];

const STORE: u64 = 42;
const SEGMENT: SegmentNo = SegmentNo(7);

/// Puts the right checksums over the header and the records of a log segment.
pub fn right_segment(bytes: &mut [u8], store_id: u64, segment: SegmentNo) {
    let Some((header, records)) = bytes.split_at_mut_checked(SEGMENT_HEADER_BYTES) else { return };
    let (body, checksum) = header.split_at_mut(SEGMENT_HEADER_BYTES - 4);
    checksum.copy_from_slice(&record_checksum(body, store_id, segment.0, 0).to_le_bytes());
    let offset = SEGMENT_HEADER_BYTES as u64;
    right_records(records, Place { store_id, file_number: segment.0, offset });
}

/// Puts the right checksums over records that follow each other from `place` on, up to the first
/// that does not fit or is no record whatever its checksum.
pub fn right_records(mut bytes: &mut [u8], mut place: Place) {
    while let Some(record_bytes) = right_record(bytes, place) {
        let Some((_, behind)) = bytes.split_at_mut_checked(record_bytes as usize) else { return };
        (bytes, place.offset) = (behind, place.offset + record_bytes);
    }
}

/// The same for one record; returns its length if all of its payload is there.
fn right_record(bytes: &mut [u8], place: Place) -> Option<u64> {
    let (header, behind) = bytes.split_at_mut_checked(RECORD_HEADER_BYTES)?;
    let payload_bytes = Reader::new(header.get(4..)?).u32()? as usize;
    let Place { store_id, file_number, offset } = place;
    let header_checksum = record_checksum(&header[4..24], store_id, file_number, offset);
    header[24..28].copy_from_slice(&header_checksum.to_le_bytes());
    let payload = behind.get(..payload_bytes).filter(|_| header[8] != 0)?;
    let payload_checksum = record_checksum_append(header_checksum, payload);
    header[..4].copy_from_slice(&payload_checksum.to_le_bytes());
    Some(record_bytes(payload_bytes))
}

/// The header of a segment.
fn log_header(input: &[u8]) {
    let decode = |bytes: &[u8]| SegmentHeader::decode(bytes, STORE, SEGMENT);
    let _ = decode(input);
    let mut bytes = input.to_vec();
    right_segment(&mut bytes, STORE, SEGMENT);
    let Ok(Ok(header)) = decode(&bytes) else { return };
    let again = decode(&header.encode(STORE)).expect("a known version");
    assert_eq!(again, Ok(header));
    for cut in cuts(SEGMENT_HEADER_BYTES, 64) {
        let shorter = decode(&bytes[..cut]).expect("a version is believed under a checksum alone");
        assert!(shorter.is_err(), "a header of {cut} bytes");
    }
}

/// One record.
fn record(input: &[u8]) {
    let place = Place { store_id: STORE, file_number: SEGMENT.0, offset: 4096 };
    let decode = |bytes: &[u8]| RecordHeader::decode(header_bytes(bytes)?, place).ok();
    decode(input);
    let mut bytes = input.to_vec();
    right_record(&mut bytes, place);
    let Some(checked) = decode(&bytes) else { return };
    let header = checked.header;
    let end = RECORD_HEADER_BYTES + header.payload_bytes as usize;
    let Some(payload) = bytes.get(RECORD_HEADER_BYTES..end) else { return };
    assert_eq!(checked.check_payload(payload), Ok(()));
    let mut again = Vec::new();
    header.encode(place, &mut again, |out| out.extend_from_slice(payload));
    assert_eq!(again[..end], bytes[..end], "equal records have equal bytes");
}

/// A record as it was read: where it begins, what it states and what it holds.
type ReadRecord = (u64, RecordHeader, Vec<u8>);

/// One segment, read and recovered.
fn log_segment(input: &[u8]) {
    let mut bytes = input.to_vec();
    right_segment(&mut bytes, STORE, SEGMENT);
    let disk = SimDisk::new();
    let read = |len: usize| {
        disk.put_file(FileName::Log(SEGMENT), &bytes[..len]);
        let state = LogState { sealed: Vec::new(), live_from: SEGMENT, horizon: None };
        (records(&disk), batches(&disk, &state).0)
    };
    let (all_records, all_batches) = read(bytes.len());
    let file = disk.open(FileName::Log(SEGMENT)).expect("it was put there");
    let _ = describe(&file, &mut |ops| ops.len().to_string());
    for cut in cuts(bytes.len(), 16) {
        let (records, batches) = read(cut);
        assert!(all_records.starts_with(&records), "records of {cut} bytes: {records:?}");
        assert!(all_batches.starts_with(&batches), "batches of {cut} bytes: {batches:?}");
    }
}

/// What a reader finds behind the segment's header.
fn records(disk: &SimDisk) -> Vec<ReadRecord> {
    let file = disk.open(FileName::Log(SEGMENT)).expect("it was put there");
    let len = file.len();
    let start = SEGMENT_HEADER_BYTES as u64;
    let mut reader = RecordReader::new(file, STORE, start, BATCH_BYTES_MAX);
    let mut found = Vec::new();
    while let Ok(Next::Record { offset, header, payload }) = reader.next(len) {
        found.push((offset, header, payload.to_vec()));
    }
    let behind = found.last().map_or(start, |(offset, header, _)| offset + header.record_bytes());
    let _ = reader.scan(behind, SeqNo::ZERO, &mut |_| {});
    found
}

/// A batch as recovery hands it over.
type Batch = (SeqNo, Vec<u8>, LogPosition);

/// What recovery hands over, also before an error.
fn batches(disk: &SimDisk, state: &LogState) -> (Vec<Batch>, Option<RecoveredLog>) {
    let mut found = Vec::new();
    let recovered = recover(disk, STORE, state, &mut |seq, ops, position| {
        found.push((seq, ops.to_vec(), position));
        Ok(())
    });
    (found, recovered.ok())
}

/// Several segments: `checksums u8`, then edits of the files of [`valid_log`]. If the first byte is
/// odd, headers and records are as they became, under checksums that are wrong where they changed.
fn log(input: &[u8]) {
    let Some((mode, input)) = input.split_first() else { return };
    let (mut files, state) = valid_log();
    for edit in edits(input) {
        let (segment, bytes) = &mut files[edit.piece % 4];
        edit.apply(bytes);
        if mode % 2 == 0 {
            right_segment(bytes, STORE, *segment);
        }
    }
    let disk = SimDisk::new();
    for (segment, bytes) in &files {
        disk.put_file(FileName::Log(*segment), bytes);
    }
    let (found, Some(recovered)) = batches(&disk, &state) else { return };
    assert_eq!(found.len() as u64, recovered.records);
    // What the next manifest says of it leads to the same, whatever else lies about.
    let horizon =
        recovered.sealed.last().map(|s| LogPosition { segment: s.segment, offset: s.bytes });
    let state = LogState { sealed: recovered.sealed.clone(), live_from: SegmentNo(100), horizon };
    let (again, recovered_again) = batches(&disk, &state);
    assert_eq!(again, found, "a log is recovered to the same a second time");
    let recovered_again = recovered_again.expect("what was kept is whole");
    assert_eq!(recovered_again.next_seq, recovered.next_seq);
    assert_eq!(recovered_again.sealed, recovered.sealed);
}

/// Segment 5, for which the manifest vouches; 6 and 7, which are live; and 9, a spare whose new life
/// has not begun. Its sequence numbers are of its life as segment 3.
fn valid_log() -> ([(SegmentNo, Vec<u8>); 4], LogState) {
    let fifth = segment(5, 1, None, &[2, 1]);
    let sealed = SealedSegment { segment: SegmentNo(5), bytes: fifth.len() as u64 };
    let sixth = segment(6, 4, Some(sealed), &[1, 3, 1]);
    let prev = SealedSegment { segment: SegmentNo(6), bytes: sixth.len() as u64 };
    let seventh = segment(7, 9, Some(prev), &[1, 2]);
    let spare = segment(3, 0, None, &[1, 1]);
    let horizon = Some(LogPosition { segment: SegmentNo(5), offset: sealed.bytes });
    let state = LogState { sealed: vec![sealed], live_from: SegmentNo(6), horizon };
    let numbers = [5, 6, 7, 9].map(SegmentNo);
    let mut files = [fifth, sixth, seventh, spare].into_iter();
    (numbers.map(|number| (number, files.next().unwrap_or_default())), state)
}

/// A segment with batches of so many operations, the first of them at `first`. Each record but the
/// first states the one before it as durable.
fn segment(number: u64, first: u64, prev: Option<SealedSegment>, batches: &[u64]) -> Vec<u8> {
    let horizon = prev.map(|prev| LogPosition { segment: prev.segment, offset: prev.bytes });
    let segment = SegmentNo(number);
    let header = SegmentHeader { segment, first_seq: SeqNo::new(first), prev, horizon };
    let mut bytes = header.encode(STORE);
    let (mut next, mut synced_upto) = (first, 0);
    for ops in batches {
        let payload = payload(*ops);
        let place = Place { store_id: STORE, file_number: number, offset: bytes.len() as u64 };
        let (kind, seq, op_count) = (RecordKind::Batch, SeqNo::new(next), *ops as u32);
        let record = Record { kind, seq, op_count, synced_upto, payload: &payload };
        synced_upto = place.offset;
        record.encode(place, &mut bytes);
        next += ops;
    }
    bytes
}

/// A batch of so many operations.
fn payload(ops: u64) -> Vec<u8> {
    let mut batch = WriteBatch::new();
    for n in 0..ops {
        if n % 3 == 2 { batch.delete("gone") } else { batch.put(format!("k{n}"), "value") }
    }
    batch.ops().to_vec()
}

fn log_header_seeds() -> Vec<Vec<u8>> {
    let prev = SealedSegment { segment: SegmentNo(5), bytes: 4096 };
    let seeds = [segment(SEGMENT.0, 3, None, &[]), segment(SEGMENT.0, 3, Some(prev), &[])];
    seeds.into()
}

fn record_seeds() -> Vec<Vec<u8>> {
    let place = Place { store_id: STORE, file_number: SEGMENT.0, offset: 4096 };
    let record = |kind, op_count, payload: &[u8]| {
        let mut bytes = Vec::new();
        let seq = SeqNo::new(9);
        Record { kind, seq, op_count, synced_upto: 4096, payload }.encode(place, &mut bytes);
        bytes
    };
    let batch = payload(3);
    vec![record(RecordKind::Batch, 3, &batch), record(RecordKind::Mark, 0, b"")]
}

fn log_segment_seeds() -> Vec<Vec<u8>> {
    let batches: [&[u64]; 3] = [&[], &[1], &[2, 1, 3]];
    let mut seeds: Vec<_> =
        batches.iter().map(|batches| segment(SEGMENT.0, 1, None, batches)).collect();
    // Space allocated ahead.
    seeds.push([&segment(SEGMENT.0, 1, None, &[2])[..], &[0; 256]].concat());
    seeds
}

fn log_seeds() -> Vec<Vec<u8>> {
    let with = |mode: u8, edits: &[Vec<u8>]| [&[mode][..], &edits.concat()].concat();
    vec![
        with(0, &[]),
        // Segment 7 ends in its second record; segment 6 does; the spare gets a header of its own.
        with(0, &[edit(2, 200, b"")]),
        with(1, &[edit(1, 250, b"\xff")]),
        with(0, &[edit(3, 32, &[9]), edit(3, 48, &[7])]),
        // Segment 6 says that 7 operations are in its first record.
        with(0, &[edit(1, 128 + 16, &[7])]),
    ]
}

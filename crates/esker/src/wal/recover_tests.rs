//! Recovery, case by case: holes below and above the horizon, chains, damage, hostile bytes.

use std::sync::Arc;

use proptest::prelude::*;

use super::record::{Place, Record, RecordKind, record_bytes};
use super::recover::RecoveredLog;
use super::segment::SegmentHeader;
use super::*;
use crate::base::batch::WriteBatch;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::key::SeqNo;
use crate::vfs::sim::SimDisk;

const STORE: u64 = 0x0e5c;

const LIVE: LogState = LogState { sealed: Vec::new(), live_from: SegmentNo(1), horizon: None };

/// A batch of `puts` puts whose first one has the key `seq`.
fn ops(seq: u64, puts: u64) -> Vec<u8> {
    let mut batch = WriteBatch::new();
    (seq..seq + puts).for_each(|seq| batch.put(seq.to_string(), "some value"));
    batch.ops().to_vec()
}

fn name(segment: u64) -> FileName {
    FileName::Log(SegmentNo(segment))
}

fn position(segment: u64, offset: u64) -> Option<LogPosition> {
    Some(LogPosition { segment: SegmentNo(segment), offset })
}

/// Writes segments by hand, so that they can state anything.
struct Segment {
    number: u64,
    bytes: Vec<u8>,
    next_seq: u64,
}

impl Segment {
    fn new(number: u64, first_seq: u64, prev: Option<(u64, u64)>, horizon: (u64, u64)) -> Self {
        let sealed = |(segment, bytes)| SealedSegment { segment: SegmentNo(segment), bytes };
        let header = SegmentHeader {
            segment: SegmentNo(number),
            first_seq: SeqNo::new(first_seq),
            prev: prev.map(sealed),
            horizon: position(horizon.0, horizon.1).filter(|at| at.offset > 0),
        };
        Self { number, bytes: header.encode(STORE), next_seq: first_seq }
    }

    fn record(mut self, record: Record<'_>) -> Self {
        let offset = self.bytes.len() as u64;
        let place = Place { store_id: STORE, file_number: self.number, offset };
        record.encode(place, &mut self.bytes);
        self
    }

    /// One more batch of one put, stating that `synced` bytes are durable.
    fn batch(mut self, synced: u64) -> Self {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.record(Record { synced_upto: synced, ..batch(seq, &ops(seq, 1)) })
    }

    fn on(&self, disk: &SimDisk) -> u64 {
        disk.put_file(name(self.number), &self.bytes);
        self.bytes.len() as u64
    }
}

/// A batch of one operation that states nothing.
fn batch(seq: u64, payload: &[u8]) -> Record<'_> {
    let (kind, seq) = (RecordKind::Batch, SeqNo::new(seq));
    Record { kind, seq, op_count: 1, synced_upto: 0, payload }
}

/// Bytes of the record of one batch of one put with a sequence number of one digit.
fn one() -> u64 {
    record_bytes(ops(1, 1).len())
}

fn read(disk: &SimDisk, state: &LogState) -> Result<(RecoveredLog, Vec<u64>)> {
    let mut seqs = Vec::new();
    let recovered = recover(disk, STORE, state, &mut |seq, _, at| {
        assert!(at.offset >= 128);
        seqs.push(seq.get());
        Ok(())
    })?;
    Ok((recovered, seqs))
}

fn kept(disk: &SimDisk, state: &LogState) -> Vec<u64> {
    read(disk, state).unwrap().1
}

/// The file, offset and part of the damage that recovery reports.
fn damage(disk: &SimDisk, state: &LogState) -> (String, u64, String) {
    let error = read(disk, state).unwrap_err();
    let place = error.corruption().unwrap_or_else(|| panic!("{error}")).clone();
    (place.file, place.offset, place.part.into_owned())
}

/// Two segments of three batches each, as a process left them that never synced.
fn two_segments() -> (Arc<SimDisk>, u64) {
    let disk = SimDisk::new();
    let first = Segment::new(1, 1, None, (0, 0)).batch(0).batch(0).batch(0);
    let len = first.on(&disk);
    Segment::new(2, 4, Some((1, len)), (0, 0)).batch(0).batch(0).batch(0).on(&disk);
    (disk, len)
}

#[test]
fn a_log_is_read_along_its_chain_and_made_durable() {
    let (disk, len) = two_segments();
    let (recovered, seqs) = read(&disk, &LIVE).unwrap();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
    let sealed = |segment, bytes| SealedSegment { segment: SegmentNo(segment), bytes };
    assert_eq!(recovered.sealed, [sealed(1, len), sealed(2, len)]);
    assert_eq!(recovered.next_seq, Some(SeqNo::new(7)));
    assert_eq!((recovered.records, recovered.discarded_bytes), (6, 0));
}

#[test]
fn no_log_at_all_is_an_empty_one() {
    let disk = SimDisk::new();
    let (recovered, seqs) = read(&disk, &LIVE).unwrap();
    assert!(seqs.is_empty() && recovered.sealed.is_empty());
    assert_eq!(recovered.next_seq, None);
    disk.put_file(name(1), b"");
    assert!(kept(&disk, &LIVE).is_empty());
    let horizon = LogState { horizon: position(1, 8), ..LIVE };
    assert_eq!(damage(&disk, &horizon).2, "segment header");
}

#[test]
fn a_hole_above_the_horizon_discards_all_behind_it() {
    let (disk, len) = two_segments();
    disk.truncate(name(1), len - 8);
    let (recovered, seqs) = read(&disk, &LIVE).unwrap();
    assert_eq!(seqs, [1, 2]);
    assert_eq!(recovered.sealed[0].bytes, len - one());
    assert_eq!(recovered.sealed.len(), 1);
    assert_eq!(recovered.discarded_bytes, one() - 8 + len);
    let two_are_durable = LogState { horizon: position(1, len - one()), ..LIVE };
    assert_eq!(kept(&disk, &two_are_durable), [1, 2]);
}

#[test]
fn a_hole_below_the_horizon_of_the_manifest_is_damage() {
    let (disk, len) = two_segments();
    disk.truncate(name(1), len - 8);
    let hole = (name(1).to_string(), len - one());
    for horizon in [position(1, len - 8), position(1, len), position(2, 128)] {
        let (file, offset, part) = damage(&disk, &LogState { horizon, ..LIVE });
        assert_eq!(((file, offset), part.as_str()), (hole.clone(), "record"));
    }
}

#[test]
fn statements_behind_the_hole_count_wherever_they_stand() {
    let first = || Segment::new(1, 1, None, (0, 0)).batch(0).batch(0);
    let end = first().bytes.len() as u64;
    let stated_by = |later: Option<Segment>, tail: Segment| {
        let disk = SimDisk::new();
        tail.on(&disk);
        if let Some(later) = later {
            later.on(&disk);
        }
        disk.damage(name(1), 128 + 40, 1);
        read(&disk, &LIVE).map(|(_, seqs)| seqs)
    };
    // In the same segment: durable up to and behind the first record, or only the header.
    assert!(stated_by(None, first().batch(128 + one())).is_err());
    assert_eq!(stated_by(None, first().batch(128)).unwrap(), []);
    // In the next one: by its header, or by a record in it.
    let next = |horizon| Segment::new(2, 3, Some((1, end)), horizon);
    assert!(stated_by(Some(next((1, end))), first()).is_err());
    assert_eq!(stated_by(Some(next((1, 128))), first()).unwrap(), []);
    assert!(stated_by(Some(next((0, 0)).batch(0).batch(128)), first()).is_err());
    assert_eq!(stated_by(Some(next((0, 0)).batch(0)), first()).unwrap(), []);
}

#[test]
fn a_torn_record_still_states_what_its_header_says() {
    let (disk, end) = two_segments();
    let torn = Segment::new(2, 4, Some((1, end)), (0, 0)).batch(0).batch(128 + one());
    torn.on(&disk);
    disk.damage(name(2), 128 + 40, 1);
    disk.damage(name(2), 128 + one() + 40, 1);
    assert_eq!(damage(&disk, &LIVE), (name(2).to_string(), 128, "record checksum".to_owned()));
    // Without a header nothing can be believed.
    disk.damage(name(2), 128 + one() + 20, 1);
    assert_eq!(kept(&disk, &LIVE), [1, 2, 3]);
}

#[test]
fn statements_of_records_that_are_not_newer_do_not_count() {
    let disk = SimDisk::new();
    // What stands behind the hole is a record from before it: no process writes that.
    let segment = Segment::new(1, 5, None, (0, 0)).batch(0);
    let segment = segment.record(batch(9, &ops(9, 1)));
    segment.record(Record { synced_upto: 128 + one(), ..batch(5, &ops(5, 1)) }).on(&disk);
    assert_eq!(kept(&disk, &LIVE), [5]);
}

#[test]
fn a_missing_segment_is_a_hole() {
    let disk = SimDisk::new();
    let len = Segment::new(1, 1, None, (0, 0)).batch(0).on(&disk);
    let third = |horizon| Segment::new(3, 3, Some((2, 500 * 8)), horizon).batch(0);
    third((0, 0)).on(&disk);
    let (recovered, seqs) = read(&disk, &LIVE).unwrap();
    assert_eq!((seqs, recovered.sealed.len()), (vec![1], 1));
    third((1, len)).on(&disk);
    assert_eq!(kept(&disk, &LIVE), [1]);
    third((2, 128)).on(&disk);
    assert_eq!(damage(&disk, &LIVE), (name(2).to_string(), 0, "log segment".to_owned()));
}

#[test]
fn a_segment_without_a_header_is_a_hole_and_so_is_the_rest() {
    let (disk, len) = two_segments();
    Segment::new(3, 7, Some((2, len)), (0, 0)).batch(0).on(&disk);
    disk.damage(name(2), 30, 1);
    assert_eq!(kept(&disk, &LIVE), [1, 2, 3]);
    Segment::new(3, 7, Some((2, len)), (2, 128)).batch(0).on(&disk);
    assert_eq!(damage(&disk, &LIVE).0, name(2).to_string());
}

#[test]
fn what_no_header_names_is_the_remains_of_a_failed_creation() {
    let (disk, len) = two_segments();
    // 3 never got a header, 4 got one and was replaced by 5, 6 never got one.
    disk.put_file(name(3), b"eskerlog");
    Segment::new(4, 7, Some((2, len)), (0, 0)).on(&disk);
    Segment::new(5, 7, Some((2, len)), (0, 0)).batch(0).on(&disk);
    disk.put_file(name(6), b"");
    let (recovered, seqs) = read(&disk, &LIVE).unwrap();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6, 7]);
    let numbers: Vec<_> = recovered.sealed.iter().map(|sealed| sealed.segment.0).collect();
    assert_eq!(numbers, [1, 2, 5]);
}

#[test]
fn bytes_behind_a_sealed_length_mean_nothing() {
    let disk = SimDisk::new();
    let segment = Segment::new(1, 1, None, (0, 0)).batch(0).batch(0);
    // The second batch was a failed group, and its number is used again.
    segment.on(&disk);
    Segment::new(2, 2, Some((1, 128 + one())), (0, 0)).batch(0).on(&disk);
    let (recovered, seqs) = read(&disk, &LIVE).unwrap();
    assert_eq!((seqs, recovered.sealed[0].bytes), (vec![1, 2], 128 + one()));
    let sealed = vec![SealedSegment { segment: SegmentNo(1), bytes: 128 + one() }];
    let state = LogState { sealed, live_from: SegmentNo(2), horizon: None };
    assert_eq!(kept(&disk, &state), [1, 2]);
}

#[test]
fn sealed_segments_must_be_there_whole() {
    let sealed = |bytes| vec![SealedSegment { segment: SegmentNo(1), bytes }];
    let state = |bytes| LogState { sealed: sealed(bytes), live_from: SegmentNo(2), horizon: None };
    let (disk, len) = two_segments();
    assert_eq!(kept(&disk, &state(len)), [1, 2, 3, 4, 5, 6]);
    for wrong in [len + 8, len - 8, 0] {
        assert_eq!(
            damage(&disk, &state(wrong)).0,
            name(if wrong == 0 { 2 } else { 1 }).to_string()
        );
    }
    disk.damage(name(1), len - 9, 1);
    assert_eq!(damage(&disk, &state(len)).2, "record checksum");
    let gone = SimDisk::new();
    assert_eq!(damage(&gone, &state(len)), (name(1).to_string(), 0, "sealed log segment".into()));
}

#[test]
fn the_first_live_segment_names_the_last_sealed_one_or_one_that_is_gone() {
    let disk = SimDisk::new();
    let len = Segment::new(3, 1, None, (0, 0)).batch(0).on(&disk);
    Segment::new(5, 9, Some((3, len)), (3, len)).batch(0).on(&disk);
    let sealed = vec![SealedSegment { segment: SegmentNo(3), bytes: len }];
    let state = LogState { sealed, live_from: SegmentNo(4), horizon: position(3, len) };
    assert_eq!(kept(&disk, &state), [1, 9], "the first one may leave numbers out");
    let freed = LogState { sealed: Vec::new(), ..state.clone() };
    assert_eq!(kept(&disk, &freed), [9]);
    Segment::new(5, 9, Some((2, len)), (0, 0)).batch(0).on(&disk);
    assert_eq!(damage(&disk, &state).2, "previous segment");
    Segment::new(5, 9, None, (0, 0)).batch(0).on(&disk);
    assert_eq!(damage(&disk, &state).2, "previous segment");
    assert_eq!(kept(&disk, &freed), [9]);
}

#[test]
fn w1_a_gap_in_the_row_of_numbers_is_a_hole() {
    let disk = SimDisk::new();
    let first = Segment::new(1, 1, None, (0, 0)).batch(0);
    let len = first.on(&disk);
    Segment::new(2, 3, Some((1, len)), (0, 0)).batch(0).on(&disk);
    assert_eq!(kept(&disk, &LIVE), [1], "between segments");
    first.record(batch(3, &ops(3, 1))).on(&disk);
    disk.put_file(name(2), b"");
    assert_eq!(kept(&disk, &LIVE), [1], "between records");
    let state = LogState { horizon: position(1, len + 8), ..LIVE };
    assert_eq!(damage(&disk, &state).2, "sequence number");
}

#[test]
fn w5_a_segment_is_sealed_at_the_end_of_a_record_wherever_it_is_cut() {
    let (disk, len) = two_segments();
    let bytes = disk.bytes(name(2)).unwrap();
    for cut in 0..=len {
        disk.put_file(name(2), &bytes[..cut as usize]);
        let (recovered, seqs) = read(&disk, &LIVE).unwrap();
        let whole = cut.checked_sub(128).map(|rest| rest / one());
        assert_eq!(seqs.len() as u64, 3 + whole.unwrap_or(0), "cut at {cut}");
        let kept = recovered.sealed.get(1).map(|sealed| sealed.bytes);
        assert_eq!(kept, whole.map(|whole| 128 + whole * one()), "cut at {cut}");
    }
}

#[test]
fn valid_records_that_make_no_sense_are_damage_or_newer() {
    let with = |kind: RecordKind, count: u32, payload: &[u8]| {
        let disk = SimDisk::new();
        let record = Record { kind, op_count: count, ..batch(1, payload) };
        Segment::new(1, 1, None, (0, 0)).record(record).on(&disk);
        read(&disk, &LIVE).map(|(_, seqs)| seqs).map_err(|error| error.kind())
    };
    assert_eq!(with(RecordKind::Batch, 2, &ops(1, 2)), Ok(vec![1]));
    assert_eq!(with(RecordKind::Batch, 3, &ops(1, 2)), Err(ErrorKind::Corruption));
    assert_eq!(with(RecordKind::Batch, 0, b""), Err(ErrorKind::Corruption));
    assert_eq!(with(RecordKind::Batch, 1, b"\x01"), Err(ErrorKind::Corruption));
    assert_eq!(with(RecordKind::Batch, 1, b"\x04\0\0"), Err(ErrorKind::Unsupported));
    assert_eq!(with(RecordKind::Edit, 0, b""), Ok(vec![]), "not a log's record");
}

#[test]
fn an_error_of_the_reader_is_the_error_of_recovery() {
    let (disk, _) = two_segments();
    let error = recover(&*disk, STORE, &LIVE, &mut |seq, _, _| match seq.get() {
        5 => Err(Error::new(ErrorKind::Busy, "no room")),
        _ => Ok(()),
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Busy);
}

/// What recovery answers when each bit of the log in turn is another one.
fn flip_every_byte(disk: &Arc<SimDisk>, state: &LogState, check: &dyn Fn(&str, Result<Vec<u64>>)) {
    for (file, len) in disk.files() {
        for offset in 0..len {
            let mask = 1 << (offset % 8);
            disk.damage(file, offset, mask);
            check(&format!("{file}:{offset}"), read(disk, state).map(|(_, seqs)| seqs));
            disk.damage(file, offset, mask);
        }
    }
}

#[test]
fn a_flipped_byte_of_a_closed_log_is_damage_or_nothing() {
    let (disk, _) = two_segments();
    let sealed = read(&disk, &LIVE).unwrap().0.sealed;
    let state = LogState { sealed, live_from: SegmentNo(3), horizon: None };
    let padding = (one() - 32 - ops(1, 1).len() as u64) * 6;
    let unseen = std::cell::Cell::new(0);
    flip_every_byte(&disk, &state, &|place, answer| match answer {
        Ok(seqs) => {
            assert_eq!(seqs, [1, 2, 3, 4, 5, 6], "{place}");
            unseen.set(unseen.get() + 1);
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corruption, "{place}"),
    });
    assert_eq!(unseen.get(), padding, "only padding means nothing");
}

#[test]
fn a_flipped_byte_of_an_open_log_is_a_shorter_one_or_damage_of_what_was_durable() {
    let disk = SimDisk::new();
    let mut log = Log::create(disk.clone(), STORE, SegmentNo(1), None, SeqNo::new(1), 0).unwrap();
    let put = |log: &mut Log, seq| {
        log.add(SeqNo::new(seq), 1, &ops(seq, 1));
        log.write().unwrap();
    };
    put(&mut log, 1);
    put(&mut log, 2);
    let durable = log.syncer().sync().unwrap().offset;
    put(&mut log, 3);
    log.rotate(SegmentNo(2), SeqNo::new(4), None).unwrap();
    put(&mut log, 4);
    let all = [1, 2, 3, 4];
    flip_every_byte(&disk, &LIVE, &|place, answer| {
        let (file, offset) = place.split_once(':').unwrap();
        let is_durable = file == name(1).to_string() && offset.parse::<u64>().unwrap() < durable;
        match answer {
            Ok(seqs) => {
                assert!(all.starts_with(&seqs), "{place}: {seqs:?}");
                assert!(seqs.len() == 4 || !is_durable, "{place}: {seqs:?}");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corruption, "{place}");
                assert!(is_durable, "{place}: {error}");
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn hostile_bytes_are_an_answer_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        keep in 0_usize..600,
        at in 0_usize..2,
        sealed: Option<u16>,
    ) {
        let (disk, len) = two_segments();
        let file = name(at as u64 + 1);
        let mut image = disk.bytes(file).unwrap();
        image.truncate(keep);
        image.extend_from_slice(&bytes);
        disk.put_file(file, &image);
        let sealed: Vec<_> = sealed
            .map(|bytes| SealedSegment { segment: SegmentNo(1), bytes: u64::from(bytes) % (len * 2) })
            .into_iter()
            .collect();
        let live_from = SegmentNo(1 + sealed.len() as u64);
        let state = LogState { sealed, live_from, horizon: None };
        if let Ok((recovered, seqs)) = read(&disk, &state) {
            prop_assert!([1, 2, 3, 4, 5, 6].starts_with(&seqs));
            prop_assert_eq!(recovered.records as usize, seqs.len());
        }
    }

    /// Headers and records whose checksums hold, and whose fields are anything.
    #[test]
    fn hostile_fields_are_an_answer_or_an_error(
        numbers in prop::collection::vec((0_u64..6, 0_u64..400, 0_u64..6, 0_u64..400), 1..5),
        records in prop::collection::vec((0_u64..4, any::<u32>(), 0_u64..200, any::<bool>()), 0..6),
    ) {
        let disk = SimDisk::new();
        for (i, (prev, bytes, horizon, offset)) in numbers.into_iter().enumerate() {
            let number = i as u64 + 1;
            let mut segment = Segment::new(number, 1, Some((prev, bytes * 8)), (horizon, offset));
            for (seq, count, synced, sane) in &records {
                let count = if *sane { 1 } else { *count };
                let seq = if *sane { *seq } else { SeqNo::MAX.get() - seq };
                let synced = synced.min(&(segment.bytes.len() as u64 / 8)) * 8;
                let ops = ops(1, 1);
                let record = batch(seq, &ops);
                segment = segment.record(Record { op_count: count, synced_upto: synced, ..record });
            }
            segment.on(&disk);
        }
        let _ = read(&disk, &LIVE);
    }
}

/// Takes the bytes out of a ```` ```hex ```` fence: hex digits; what follows `|` is a remark.
fn hex_example(document: &str) -> Vec<u8> {
    let fence = document.split("```hex\n").nth(1).unwrap().split("```").next().unwrap();
    let digits = fence.lines().flat_map(|line| line.split('|').next().unwrap().split_whitespace());
    digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
}

#[test]
fn the_example_of_the_format_is_what_is_read_and_written() {
    let bytes = hex_example(include_str!("FORMAT.md"));
    let disk = SimDisk::new();
    disk.put_file(name(7), &bytes);
    let sealed = vec![SealedSegment { segment: SegmentNo(7), bytes: bytes.len() as u64 }];
    let state = LogState { sealed, live_from: SegmentNo(8), horizon: None };
    let mut read = Vec::new();
    recover(&*disk, 42, &state, &mut |seq, ops, at| {
        read.push((seq, ops.to_vec(), at.offset));
        Ok(())
    })
    .unwrap();

    let mut first = WriteBatch::new();
    first.put("a", "1");
    let mut second = WriteBatch::new();
    second.delete("a");
    second.put("b", "2");
    let (three, four) = (SeqNo::new(3), SeqNo::new(4));
    assert_eq!(read, [(three, first.ops().to_vec(), 128), (four, second.ops().to_vec(), 168)]);

    let disk = SimDisk::new();
    let prev = SealedSegment { segment: SegmentNo(5), bytes: 4096 };
    let mut log = Log::create(disk.clone(), 42, SegmentNo(7), Some(prev), three, 0).unwrap();
    log.add(three, 1, first.ops());
    log.write().unwrap();
    log.syncer().sync().unwrap();
    log.add(four, 2, second.ops());
    log.write().unwrap();
    assert_eq!(disk.bytes(name(7)).unwrap(), bytes);
}

//! The manifest on the simulated disk: what is written is read, whatever crashes or rots.

use std::cell::Cell;
use std::sync::Arc;

use super::current::encode_current;
use super::testing::{arbitrary_state, flush, table};
use super::*;
use crate::base::error::{ErrorKind, Result};
use crate::base::key::{KeyspaceId, TableId};
use crate::base::names::FileName;
use crate::base::random::Random;
use crate::vfs::Disk;
use crate::vfs::faults::{DiskOp, Errno, Fault, FaultPlan, FaultRule, When};
use crate::vfs::sim::{CrashPolicy, SimDisk};
use crate::wal::record::{Place, Record, RecordKind};
use proptest::prelude::*;

fn new_state(store_id: u64) -> StoreState {
    StoreState::new(store_id, FixedOptions { level_base_bytes: 40 << 20 })
}

fn create(disk: &Arc<SimDisk>, number: u64, state: &StoreState) -> Result<Manifest> {
    let disk: Arc<dyn Disk> = disk.clone();
    Manifest::create(&disk, number, state)
}

fn found(disk: &SimDisk) -> Result<Found> {
    read_manifest(disk, &disk.list().unwrap())
}

fn state(disk: &SimDisk) -> Result<StoreState> {
    match found(disk)? {
        Found::Store { state, .. } => Ok(state),
        other => panic!("{other:?}"),
    }
}

const FIRST: FileName = FileName::Manifest(Manifest::FIRST_NUMBER);

/// A manifest with two edits behind its snapshot, the first one marked; the states after each.
fn with_two_edits() -> (Arc<SimDisk>, [StoreState; 3]) {
    let disk = SimDisk::new();
    let new = new_state(1);
    let mut manifest = create(&disk, 1, &new).unwrap();
    let (one, two) = (flush(5, 1, 3), flush(6, 4, 9));
    let states = [new.clone(), new.apply(&one), new.apply(&one).apply(&two)];
    manifest.append(&one).unwrap();
    manifest.mark().unwrap();
    manifest.append(&two).unwrap();
    assert_eq!(disk.files().last(), Some(&(FIRST, manifest.bytes())));
    (disk, states)
}

#[test]
fn the_state_is_that_after_the_last_edit() {
    let (disk, states) = with_two_edits();
    let store = Found::Store { state: states[2].clone(), manifest_number: 1 };
    assert_eq!(found(&disk).unwrap(), store);
    let manifest = create(&disk, 3, &states[1]).unwrap();
    let store = Found::Store { state: states[1].clone(), manifest_number: manifest.number() };
    assert_eq!(found(&disk).unwrap(), store, "the newer manifest is in force");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_state_is_read_back(before in arbitrary_state()) {
        let disk = SimDisk::new();
        create(&disk, 1, &before).unwrap();
        prop_assert_eq!(state(&disk).unwrap(), before);
    }

    #[test]
    fn hostile_bytes_are_an_answer_or_an_error(keep: u8, bytes: Vec<u8>, current in ".{0,40}") {
        let (disk, _) = with_two_edits();
        let mut image = disk.bytes(FIRST).unwrap();
        image.truncate(usize::from(keep));
        image.extend_from_slice(&bytes);
        disk.put_file(FIRST, &image);
        let _ = state(&disk);
        disk.put_file(FileName::Current, current.as_bytes());
        prop_assert_eq!(state(&disk).unwrap_err().kind(), ErrorKind::Corruption);
    }
}

#[test]
fn a_flipped_byte_is_damage_or_takes_an_edit_that_nothing_was_built_on() {
    let (disk, states) = with_two_edits();
    let bytes = disk.bytes(FIRST).unwrap();
    let [shorter, unseen] = [Cell::new(0), Cell::new(0)];
    for (file, len) in disk.files() {
        for offset in 0..len {
            disk.damage(file, offset, 1 << (offset % 8));
            match state(&disk) {
                Ok(state) if state == states[2] => unseen.set(unseen.get() + 1),
                Ok(state) => {
                    assert_eq!(state, states[1], "{file}:{offset}");
                    shorter.set(shorter.get() + 1);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corruption, "{file}:{offset}"),
            }
            disk.damage(file, offset, 1 << (offset % 8));
        }
    }
    // The mark, up to the durable length that it states, is durable by the second edit's word.
    assert!(unseen.get() < 3 * 7, "only padding means nothing: {}", unseen.get());
    assert!(shorter.get() > 32 && shorter.get() < bytes.len() / 2, "{}", shorter.get());
}

#[test]
fn a_manifest_cut_below_what_it_states_is_damage() {
    let (disk, states) = with_two_edits();
    let bytes = disk.bytes(FIRST).unwrap();
    let mut seen = Vec::new();
    for len in 0..=bytes.len() {
        disk.put_file(FIRST, &bytes[..len]);
        let answer = state(&disk).map_err(|error| error.kind());
        if seen.last() != Some(&answer) {
            seen.push(answer);
        }
    }
    // Cut anywhere it is a manifest that crashed earlier: only behind a hole can a statement stand.
    let [a, b, c] = states.map(Ok);
    assert_eq!(seen, [Err(ErrorKind::Corruption), a, b, c]);
}

#[test]
fn a_hole_in_front_of_a_mark_is_damage() {
    let disk = SimDisk::new();
    let mut manifest = create(&disk, 1, &new_state(1)).unwrap();
    manifest.append(&flush(5, 1, 3)).unwrap();
    let durable = manifest.bytes();
    disk.damage(FIRST, durable - 20, 1);
    assert_eq!(state(&disk).unwrap(), new_state(1), "nobody says that the edit was durable");
    manifest.mark().unwrap();
    let error = state(&disk).unwrap_err();
    let place = error.corruption().unwrap();
    assert_eq!((place.file.as_str(), &*place.part), ("MANIFEST-000001", "record checksum"));
}

/// Opens, edits, switches; at every operation the machine may stand still, and at every crash the
/// state is the last acknowledged one or the next.
#[test]
fn whatever_crash_leaves_the_last_state_or_the_next() {
    let history = |disk: &Arc<SimDisk>, acknowledged: &mut Vec<StoreState>| -> Result<()> {
        let mut state = new_state(7);
        let mut manifest = create(disk, 1, &state)?;
        acknowledged.push(state.clone());
        for id in 3..9 {
            let edit = flush(id, id * 10, id * 10 + 5);
            state = state.apply(&edit);
            acknowledged.push(state.clone());
            if id == 6 {
                manifest = create(disk, id, &state)?;
            } else {
                manifest.append(&edit)?;
            }
            if id % 2 == 0 {
                manifest.mark()?;
            }
        }
        Ok(())
    };
    let whole = SimDisk::new();
    history(&whole, &mut Vec::new()).unwrap();
    let mut random = Random::new(5);
    for stop in 0..whole.operations() {
        for policy in CrashPolicy::ALL {
            let (disk, mut states) = (SimDisk::new(), Vec::new());
            disk.set_crash_at(stop);
            let ended = history(&disk, &mut states);
            let crashed = disk.crash(policy, random.next_u64());
            let place = format!("{policy:?} at operation {stop}");
            let last = states.last();
            let one_before = states.len().checked_sub(2).map(|i| &states[i]);
            match found(&crashed).unwrap_or_else(|error| panic!("{place}: {error}")) {
                Found::Store { state, .. } => {
                    assert!(
                        Some(&state) == last || Some(&state) == one_before || states.is_empty()
                    );
                    assert!(ended.is_err() || Some(&state) == last, "{place}");
                }
                Found::Nothing | Found::Crashed(_) => assert!(states.is_empty(), "{place}"),
            }
        }
    }
}

#[test]
fn v7_nothing_follows_a_failed_edit_but_another_manifest() {
    for op in [DiskOp::Append, DiskOp::Sync] {
        let disk = SimDisk::new();
        let new = new_state(1);
        let mut manifest = create(&disk, 1, &new).unwrap();
        let rule = FaultRule::new(When::Nth(1), Fault::Error(Errno::IO)).op(op);
        disk.set_faults(FaultPlan::new(0).rule(rule));
        let edit = flush(5, 1, 3);
        assert_eq!(manifest.append(&edit).unwrap_err().kind(), ErrorKind::Io);
        let next = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| manifest.mark()));
        let message = *next.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("V7"), "{message}");
        let state_after = new.apply(&edit);
        create(&disk, 6, &StoreState { next_file: 7, ..state_after.clone() }).unwrap();
        assert_eq!(state(&disk).unwrap().keyspaces, state_after.keyspaces);
    }
}

#[test]
fn a_directory_without_current_is_new_or_crashed_or_damaged() {
    let disk = SimDisk::new();
    assert_eq!(found(&disk).unwrap(), Found::Nothing);
    disk.put_file(FileName::Lock, b"");
    disk.add_foreign("notes.txt");
    assert_eq!(found(&disk).unwrap(), Found::Nothing);
    for name in [FileName::Reserve, FileName::CurrentTmp, FIRST] {
        disk.put_file(name, b"half");
    }
    let crashed = vec![FileName::CurrentTmp, FileName::Reserve, FIRST];
    assert_eq!(found(&disk).unwrap(), Found::Crashed(crashed));
    for name in ["MANIFEST-000002", "000000000001.log", "000000000003.sst", "000000000003.spare"] {
        let damaged = disk.crash(CrashPolicy::KeepAll, 0);
        damaged.put_file(FileName::parse(name).unwrap(), b"");
        let error = found(&damaged).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn current_names_a_manifest_that_is_there() {
    let (disk, _) = with_two_edits();
    disk.remove(FIRST).unwrap();
    let error = found(&disk).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption);
    assert!(error.to_string().contains("MANIFEST-000001"), "{error}");
}

#[test]
fn a_manifest_of_another_number_is_none() {
    let (disk, _) = with_two_edits();
    disk.put_file(FileName::Manifest(2), &disk.bytes(FIRST).unwrap());
    disk.put_file(FileName::Current, encode_current(2).as_bytes());
    assert_eq!(found(&disk).unwrap_err().corruption().unwrap().part, "header checksum");
}

#[test]
fn newer_formats_are_unsupported() {
    let kind = |disk: &SimDisk| found(disk).unwrap_err().kind();
    let (disk, _) = with_two_edits();
    let newer = encode_current(1).replace("esker 1", "esker 2");
    let text = newer.rsplit_once(' ').unwrap().0;
    let checksum = crate::base::hash::record_checksum(text.as_bytes(), 0, 0, 0);
    disk.put_file(FileName::Current, newer.as_bytes());
    assert_eq!(kind(&disk), ErrorKind::Corruption, "the checksum is looked at first");
    disk.put_file(FileName::Current, format!("{text} {checksum:08x}\n").as_bytes());
    assert_eq!(kind(&disk), ErrorKind::Unsupported);
    for at in [8, 16] {
        let (disk, _) = with_two_edits();
        let mut header = disk.bytes(FIRST).unwrap();
        header[at] ^= 2;
        let checksum = crate::base::hash::record_checksum(&header[..60], 1, 1, 0);
        header[60..64].copy_from_slice(&checksum.to_le_bytes());
        disk.put_file(FIRST, &header);
        assert_eq!(kind(&disk), ErrorKind::Unsupported, "byte {at}");
    }
}

/// A manifest with one more record, whose checksums hold.
fn with_record(kind: RecordKind, payload: &[u8]) -> Result<StoreState> {
    let (disk, _) = with_two_edits();
    let mut bytes = disk.bytes(FIRST).unwrap();
    let place = Place { store_id: 1, file_number: 1, offset: bytes.len() as u64 };
    let seq = crate::base::key::SeqNo::new(5);
    Record { kind, seq, op_count: 0, synced_upto: 0, payload }.encode(place, &mut bytes);
    disk.put_file(FIRST, &bytes);
    state(&disk)
}

#[test]
fn valid_records_that_make_no_sense_are_damage_or_newer() {
    let edit = |edit: KeyspaceEdit| {
        let keyspaces = vec![(KeyspaceId::DEFAULT, edit)];
        let edit = Edit { keyspaces, next_file: 9, ..Edit::default() };
        with_record(RecordKind::Edit, &codec::encode(None, &edit)).map_err(|error| error.kind())
    };
    let added = |level, id| KeyspaceEdit {
        added: vec![(level, Arc::new(table(id, "a", "b", 20, 30)))],
        ..KeyspaceEdit::default()
    };
    assert!(edit(added(0, 8)).is_ok());
    assert_eq!(edit(added(1, 5)), Err(ErrorKind::Corruption), "in two places");
    assert_eq!(edit(added(1, 9)), Err(ErrorKind::Corruption), "a number that is not given out");
    let sweep = Some(Sweep { cursor: b"b".to_vec(), tables: vec![TableId(9)] });
    let sweep = KeyspaceEdit { sweep, ..KeyspaceEdit::default() };
    assert_eq!(edit(sweep), Err(ErrorKind::Corruption), "a sweep of no table of L0");
    let unreadable = with_record(RecordKind::Edit, b"\xff").unwrap_err();
    assert_eq!(unreadable.kind(), ErrorKind::Corruption);
    let fixed = FixedOptions { level_base_bytes: 1 };
    let snapshot = codec::encode(Some(fixed), &Edit::default());
    assert!(with_record(RecordKind::Edit, &snapshot).is_err(), "fixed options do not change");
    let states = with_two_edits().1;
    assert_eq!(with_record(RecordKind::Snapshot, &snapshot).unwrap(), states[2], "a hole");
    assert_eq!(with_record(RecordKind::Mark, b"").unwrap(), states[2]);
}

/// Takes the bytes out of a ```` ```hex ```` fence: hex digits; what follows `|` is a remark.
fn hex_example(document: &str) -> Vec<u8> {
    let fence = document.split("```hex\n").nth(1).unwrap().split("```").next().unwrap();
    let digits = fence.lines().flat_map(|line| line.split('|').next().unwrap().split_whitespace());
    digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
}

#[test]
fn the_examples_of_the_format_are_what_is_read_and_written() {
    let document = include_str!("FORMAT.md");
    let bytes = hex_example(document);
    let disk = SimDisk::new();
    let new = new_state(42);
    let mut manifest = create(&disk, 1, &new).unwrap();
    let edit = flush(5, 1, 3);
    manifest.append(&edit).unwrap();
    manifest.mark().unwrap();
    let current = disk.bytes(FileName::Current).unwrap();
    assert!(document.contains(std::str::from_utf8(&current).unwrap()));
    let written = disk.bytes(FIRST).unwrap();
    assert_eq!(written.len(), bytes.len());
    assert_eq!(written, bytes);
    disk.put_file(FIRST, &bytes);
    assert_eq!(state(&disk).unwrap(), new.apply(&edit));
}

//! Hostile manifests: see [`crate::base::fuzz`].

use std::sync::Arc;

use crate::base::codec::Reader;
use crate::base::fuzz::{FEW_COPIES_BYTES, Target, cuts};
use crate::base::hash::record_checksum;
use crate::base::key::{KeyspaceId, SegmentNo, SeqNo, TableId};
use crate::base::limits::MANIFEST_RECORD_BYTES_MAX;
use crate::base::names::FileName;
use crate::base::range::KeyRange;
use crate::version::current::{MANIFEST_HEADER_BYTES, encode_current, read_current};
use crate::version::{
    Edit, FixedOptions, Found, KeyspaceCounters, KeyspaceEdit, Manifest, StoreState, Sweep,
    TableMeta, codec, describe, read_manifest,
};
use crate::vfs::sim::SimDisk;
use crate::vfs::{Disk, Listing};
use crate::wal::fuzz::right_records;
use crate::wal::reader::{Next, RecordReader};
use crate::wal::record::{Place, Record, RecordKind};
use crate::wal::{LogPosition, LogState, SealedSegment};

/// The targets of this folder.
pub const TARGETS: [Target; 3] = [
    Target {
        name: "current",
        run: current,
        seeds: current_seeds,
        memory_bytes_max: FEW_COPIES_BYTES,
    },
    // A table of 13 bytes takes 180 in memory.
    Target {
        name: "manifest_edit",
        run: manifest_edit,
        seeds: manifest_edit_seeds,
        memory_bytes_max: 8 << 20,
    },
    Target { name: "manifest", run: manifest, seeds: manifest_seeds, memory_bytes_max: 8 << 20 },
];

const STORE_ID_AT: usize = 24;

/// Puts the right checksum behind the text of a `CURRENT`.
pub fn right_current(bytes: &mut Vec<u8>) {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    let Some((text, _)) = line.rsplit_once(' ') else { return };
    let checksum = record_checksum(text.as_bytes(), 0, 0, 0);
    *bytes = format!("{text} {checksum:08x}\n").into_bytes();
}

/// Puts the right checksums over the header and the records of a manifest.
pub fn right_manifest(bytes: &mut [u8], number: u64) {
    let Some((header, records)) = bytes.split_at_mut_checked(MANIFEST_HEADER_BYTES) else { return };
    let store_id = Reader::new(&header[STORE_ID_AT..]).u64().unwrap_or_default();
    let (body, checksum) = header.split_at_mut(MANIFEST_HEADER_BYTES - 4);
    checksum.copy_from_slice(&record_checksum(body, store_id, number, 0).to_le_bytes());
    let offset = MANIFEST_HEADER_BYTES as u64;
    right_records(records, Place { store_id, file_number: number, offset });
}

/// Appends an edit with this payload to a manifest, behind its last record.
pub fn append_edit(bytes: &mut Vec<u8>, number: u64, payload: &[u8]) {
    let (store_id, ends) = record_ends(bytes, number);
    bytes.truncate(ends.last().copied().unwrap_or(MANIFEST_HEADER_BYTES));
    let place = Place { store_id, file_number: number, offset: bytes.len() as u64 };
    let (kind, seq) = (RecordKind::Edit, SeqNo::new(ends.len() as u64 + 1));
    Record { kind, seq, op_count: 0, synced_upto: 0, payload }.encode(place, bytes);
}

/// `CURRENT`.
fn current(input: &[u8]) {
    let disk = SimDisk::new();
    let read = |bytes: &[u8]| {
        disk.put_file(FileName::Current, bytes);
        read_current(&*disk.open(FileName::Current).expect("it was put there"))
    };
    let _ = read(input);
    let mut bytes = input.to_vec();
    right_current(&mut bytes);
    let Ok(number) = read(&bytes) else { return };
    assert_eq!(encode_current(number).as_bytes(), bytes, "one manifest has one line");
    for cut in 0..bytes.len() {
        assert!(read(&bytes[..cut]).is_err(), "{cut} bytes of it");
    }
}

/// The payload of a record: a list of fields.
fn manifest_edit(input: &[u8]) {
    let Ok((fixed, edit)) = codec::decode(input) else { return };
    let again = codec::decode(&codec::encode(fixed, &edit));
    assert_eq!(again, Ok((fixed, edit.clone())));
    for cut in cuts(input.len(), 64) {
        if let Ok((fixed_there, there)) = codec::decode(&input[..cut]) {
            assert!(fixed_there.is_none() || fixed_there == fixed, "{cut} bytes");
            assert!(is_beginning(&there, &edit), "{there:?} from {cut} bytes");
        }
    }
    let fixed = fixed.unwrap_or(FixedOptions { level_base_bytes: 1 << 20 });
    let mut state = StoreState::empty(1, fixed);
    if state.change(&edit).is_err() || state.check_one_place().is_err() {
        return;
    }
    let (_, whole) = codec::decode(&codec::encode(Some(fixed), &state.as_edit())).expect("its own");
    let mut again = StoreState::empty(1, fixed);
    again.change(&whole).expect("a state is the edit that makes it");
    assert_eq!(again, state);
    let _ = state.change(&edit);
}

/// Whether `there` has a part of what `whole` has, in the order of the fields.
fn is_beginning(there: &Edit, whole: &Edit) -> bool {
    fn is_part<T: PartialEq>(there: &Option<T>, whole: &Option<T>) -> bool {
        there.is_none() || there == whole
    }
    there.next_file == whole.next_file
        && is_part(&there.next_keyspace, &whole.next_keyspace)
        && is_part(&there.last_seq, &whole.last_seq)
        && is_part(&there.log, &whole.log)
        && is_part(&there.horizon, &whole.horizon)
        && whole.created.starts_with(&there.created)
        && whole.keyspaces.starts_with(&there.keyspaces)
        && whole.dropped.starts_with(&there.dropped)
}

const NUMBER: u64 = Manifest::FIRST_NUMBER;

/// A whole manifest.
fn manifest(input: &[u8]) {
    let mut bytes = input.to_vec();
    right_manifest(&mut bytes, NUMBER);
    let disk = SimDisk::new();
    disk.put_file(FileName::Current, encode_current(NUMBER).as_bytes());
    let read = |len: usize| {
        disk.put_file(FileName::Manifest(NUMBER), &bytes[..len]);
        state_on(&*disk)
    };
    let (_, ends) = record_ends(&bytes, NUMBER);
    for cut in cuts(bytes.len(), 16) {
        let Some(state) = read(cut) else { continue };
        let end = ends.iter().rev().find(|end| **end <= cut).copied();
        let at_a_record = end.and_then(&read);
        assert_eq!(Some(state), at_a_record, "{cut} bytes hold what {end:?} hold");
    }
    let whole = read(bytes.len());
    let file = disk.open(FileName::Manifest(NUMBER)).expect("it was put there");
    let _ = describe(&file);
    let Some(state) = whole.filter(|state| state.next_file > NUMBER) else { return };
    let disk: Arc<dyn Disk> = SimDisk::new();
    Manifest::create(&disk, NUMBER, &state).expect("the disk does not fail");
    assert_eq!(state_on(&*disk), Some(state));
}

/// What the manifest in force says.
fn state_on(disk: &dyn Disk) -> Option<StoreState> {
    let listing: Listing = disk.list().expect("the disk does not fail");
    match read_manifest(disk, &listing) {
        Ok(Found::Store { state, .. }) => Some(state),
        _ => None,
    }
}

/// The store's id, and where the records of a manifest end, up to the first hole.
fn record_ends(bytes: &[u8], number: u64) -> (u64, Vec<usize>) {
    let disk = SimDisk::new();
    disk.put_file(FileName::Manifest(number), bytes);
    let file = disk.open(FileName::Manifest(number)).expect("it was put there");
    let store_id = bytes.get(STORE_ID_AT..).and_then(|bytes| Reader::new(bytes).u64());
    let store_id = store_id.unwrap_or_default();
    let start = MANIFEST_HEADER_BYTES as u64;
    let mut reader = RecordReader::new(file, store_id, start, MANIFEST_RECORD_BYTES_MAX);
    let mut ends = Vec::new();
    while let Ok(Next::Record { offset, header, .. }) = reader.next(bytes.len() as u64) {
        ends.push((offset + header.record_bytes()) as usize);
    }
    (store_id, ends)
}

fn current_seeds() -> Vec<Vec<u8>> {
    [NUMBER, 12_345_678].map(|number| encode_current(number).into_bytes()).into()
}

/// Edits that follow each other, with every field there is.
fn valid_edits() -> Vec<Edit> {
    let table = |id: u64, seqs: (u64, u64)| TableMeta {
        id: TableId(id),
        bytes: 4096,
        entries: 20,
        tombstones: 3,
        keys: 18,
        range: KeyRange::new("apple", "quince"),
        seq_min: SeqNo::new(seqs.0),
        seq_max: SeqNo::new(seqs.1),
        key_bytes: 100,
        value_bytes: 2000,
        filter_bits: 512,
    };
    let default = |edit| vec![(KeyspaceId::DEFAULT, edit)];
    let flush = |id, seqs| KeyspaceEdit {
        added: vec![(0, Arc::new(table(id, seqs)))],
        flushed_seq: Some(SeqNo::new(seqs.1)),
        counters: Some(KeyspaceCounters { flushes: id, ..KeyspaceCounters::default() }),
        ..KeyspaceEdit::default()
    };
    let horizon = Some(LogPosition { segment: SegmentNo(2), offset: 640 });
    let sealed = vec![SealedSegment { segment: SegmentNo(2), bytes: 4096 }];
    let sweep = Sweep { cursor: b"m".to_vec(), tables: vec![TableId(4)] };
    let swept = KeyspaceEdit {
        added: vec![(1, Arc::new(table(6, (1, 10))))],
        sweep: Some(sweep),
        ..KeyspaceEdit::default()
    };
    let moved = KeyspaceEdit {
        added: vec![(2, Arc::new(table(6, (1, 10))))],
        removed: vec![(1, TableId(6)), (0, TableId(4))],
        sweep: Some(Sweep::default()),
        ..KeyspaceEdit::default()
    };
    let users = (KeyspaceId(1), "users".to_owned());
    vec![
        Edit { keyspaces: default(flush(4, (1, 10))), next_file: 5, horizon, ..Edit::default() },
        Edit { keyspaces: default(flush(5, (11, 30))), next_file: 6, ..Edit::default() },
        Edit { keyspaces: default(swept), next_file: 7, ..Edit::default() },
        Edit {
            created: vec![users],
            log: Some(LogState { sealed, live_from: SegmentNo(8), horizon }),
            next_file: 9,
            last_seq: Some(SeqNo::new(40)),
            ..Edit::default()
        },
        Edit { keyspaces: default(moved), dropped: vec![KeyspaceId(1)], ..Edit::default() },
    ]
}

/// Single edits, and the snapshot after all of them.
pub fn manifest_edit_seeds() -> Vec<Vec<u8>> {
    let edits = valid_edits();
    let fixed = FixedOptions { level_base_bytes: 40 << 20 };
    let new = StoreState::new(42, fixed);
    let before_the_last = edits[..4].iter().fold(new, |state, edit| state.apply(edit));
    let mut seeds: Vec<_> = edits.iter().map(|edit| codec::encode(None, edit)).collect();
    seeds.push(codec::encode(Some(fixed), &before_the_last.as_edit()));
    seeds
}

/// A new store's manifest, and one after some edits.
fn manifest_seeds() -> Vec<Vec<u8>> {
    let new = StoreState::new(42, FixedOptions { level_base_bytes: 40 << 20 });
    let write = |edits: &[Edit]| {
        let disk = SimDisk::new();
        let as_disk: Arc<dyn Disk> = disk.clone();
        let mut manifest =
            Manifest::create(&as_disk, NUMBER, &new).expect("the disk does not fail");
        for edit in edits {
            manifest.append(edit).expect("the disk does not fail");
        }
        manifest.mark().expect("the disk does not fail");
        disk.bytes(FileName::Manifest(NUMBER)).expect("it is in force")
    };
    vec![write(&[]), write(&valid_edits())]
}

//! Hostile stores: a whole directory with some bytes changed, opened, read, written to and merged.
//! See [`crate::base::fuzz`].
//!
//! Right checksums over wrong bytes are more than a disk does by accident, and all that a store is
//! asked here is to answer: with an error, or with something. It may not stop the process.

use std::sync::{Arc, OnceLock};

use crate::base::error::Result;
use crate::base::fuzz::{Target, edit, edits};
use crate::base::names::FileName;
use crate::db::Db;
use crate::db::options::{IfMissing, Options};
use crate::env::pump::PumpEnv;
use crate::sstable::fuzz::{PieceOfTable, pieces_of, right_pieces};
use crate::version::fuzz::{append_edit, manifest_edit_seeds, right_current, right_manifest};
use crate::vfs::sim::SimDisk;
use crate::wal::fuzz::right_segment;

/// The targets of this folder.
pub const TARGETS: [Target; 2] = [
    Target { name: "store", run: store, seeds: store_seeds, memory_bytes_max: 96 << 20 },
    Target {
        name: "store_edit",
        run: store_edit,
        seeds: store_edit_seeds,
        memory_bytes_max: 96 << 20,
    },
];

const MEMORY_BYTES: u64 = 64 << 20;

/// The files of a store before something is changed.
struct Valid {
    store_id: u64,
    files: Vec<ValidFile>,
}

struct ValidFile {
    name: FileName,
    bytes: Vec<u8>,
    /// Of a table.
    pieces: Vec<PieceOfTable>,
}

/// `mode u8`, then edits of the files of a store. Bit 0: it was killed and not closed; bit 1:
/// checksums stay as they become.
fn store(input: &[u8]) {
    let Some((mode, input)) = input.split_first() else { return };
    let valid = Valid::number(mode % 2);
    let disk = SimDisk::new();
    let mut changed: Vec<_> = valid.files.iter().map(|file| file.bytes.clone()).collect();
    for edit in edits(input) {
        edit.apply(&mut changed[edit.piece % valid.files.len()]);
    }
    for (file, bytes) in valid.files.iter().zip(&mut changed) {
        if mode & 2 == 0 && *bytes != file.bytes {
            file.put_right(bytes, valid.store_id);
        }
        disk.put_file(file.name, bytes);
    }
    use_disk(&disk);
}

/// `mode u8`, then the payload of an edit, which the manifest of a store gets behind its last
/// record. Bit 0 of `mode` as in [`store`].
fn store_edit(input: &[u8]) {
    let Some((mode, payload)) = input.split_first() else { return };
    let disk = SimDisk::new();
    for ValidFile { name, bytes, .. } in &Valid::number(mode % 2).files {
        let mut bytes = bytes.clone();
        if let FileName::Manifest(number) = name {
            append_edit(&mut bytes, *number, payload);
        }
        disk.put_file(*name, &bytes);
    }
    use_disk(&disk);
}

/// Opens the store, does everything, and opens it again.
fn use_disk(disk: &Arc<SimDisk>) {
    let env = PumpEnv::new(1);
    let _ = open(disk, &env).and_then(|db| {
        let used = use_store(&db);
        let closed = db.close();
        used.and(closed)
    });
    let _ = open(disk, &env).and_then(|db| db.close());
    assert_eq!(env.job_panics(), [""; 0], "background work stops with errors alone");
}

fn open(disk: &Arc<SimDisk>, env: &Arc<PumpEnv>) -> Result<Db> {
    let settings = Options::tiny().settle(MEMORY_BYTES)?;
    Db::open_on(disk.clone(), env.clone(), settings, IfMissing::Create)
}

/// Everything that a user may do. Goes on after errors where a user would.
fn use_store(db: &Db) -> Result<()> {
    let snapshot = db.snapshot();
    for name in db.keyspaces() {
        let keyspace = db.keyspace(&name)?;
        let forward = keyspace.iter().take_while(|entry| entry.is_ok()).count();
        let back = keyspace.iter().rev().take_while(|entry| entry.is_ok()).count();
        assert!(forward.max(back) < 1_000_000, "a walk ends");
        for n in 0..40 {
            let _ = keyspace.get(key(n));
        }
        let _ = keyspace.multi_get([key(1), key(2), "zebra".to_owned()]);
        let _ = (keyspace.levels(), keyspace.stats());
    }
    let _ = db.check();
    for n in 0..30 {
        let _ = db.put(key(n), "written later");
    }
    drop(snapshot);
    let _ = db.flush();
    let _ = db.settle();
    let _ = db.compact();
    let _ = db.keyspace("another")?;
    let _ = db.drop_keyspace("users");
    let _ = db.iter().take_while(|entry| entry.is_ok()).count();
    db.sync()
}

fn key(n: usize) -> String {
    format!("key/{n:03}")
}

impl Valid {
    /// One of two, made once: closed, or killed.
    fn number(which: u8) -> &'static Self {
        static ALL: [OnceLock<Valid>; 2] = [const { OnceLock::new() }; 2];
        ALL[usize::from(which)].get_or_init(|| Self::new(which == 0))
    }

    /// Two keyspaces, tables in three levels, and a log.
    fn new(is_closed: bool) -> Self {
        let disk = SimDisk::new();
        let env = PumpEnv::new(7);
        let db = open(&disk, &env).expect("the disk does not fail");
        fill(&db).expect("the disk does not fail");
        let store_id = db.store().store_id;
        let before_the_end = files_of(&disk);
        db.close().expect("the disk does not fail");
        let files = if is_closed { files_of(&disk) } else { before_the_end };
        Self { store_id, files }
    }
}

fn fill(db: &Db) -> Result<()> {
    let users = db.keyspace("users")?;
    for round in 0..3 {
        for n in 0..12 {
            db.put(key(n * 7 % 40), format!("value {n} of round {round}, {}", "x".repeat(n)))?;
            users.put(format!("user/{n}"), "ann")?;
            db.delete(key(n * 3 % 40))?;
        }
        db.flush()?;
        if round < 2 {
            db.compact()?;
        }
    }
    for n in 0..8 {
        db.put(key(n), "in the log")?;
    }
    db.sync()?;
    users.put("user/1", "after the sync")
}

/// All files that hold something.
fn files_of(disk: &SimDisk) -> Vec<ValidFile> {
    let names = disk.files().into_iter().map(|(name, _)| name);
    let files = names.filter_map(|name| {
        let bytes = disk.bytes(name).filter(|bytes| !bytes.is_empty())?;
        let is_table = matches!(name, FileName::Table(_));
        let pieces = if is_table { pieces_of(&bytes) } else { Vec::new() };
        Some(ValidFile { name, bytes, pieces })
    });
    files.collect()
}

impl ValidFile {
    /// Puts the right checksums over what the file became.
    fn put_right(&self, bytes: &mut Vec<u8>, store_id: u64) {
        match self.name {
            FileName::Current => right_current(bytes),
            FileName::Manifest(number) => right_manifest(bytes, number),
            FileName::Log(number) => right_segment(bytes, store_id, number),
            FileName::Table(id) => right_pieces(bytes, &self.pieces, store_id, id.0),
            _ => {}
        }
    }
}

fn store_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0], vec![1]];
    for mode in 0..2 {
        let files = &Valid::number(mode).files;
        for (n, file) in files.iter().enumerate() {
            let middle = file.bytes.len() as u16 / 2;
            let number = n as u8;
            seeds.push([vec![mode], edit(number, middle, b"")].concat());
            seeds.push([vec![mode], edit(number, middle, &[0xff; 4])].concat());
        }
    }
    seeds
}

fn store_edit_seeds() -> Vec<Vec<u8>> {
    let edits = manifest_edit_seeds();
    let seeds =
        (0..2_u8).flat_map(|mode| edits.iter().map(move |edit| [&[mode], &edit[..]].concat()));
    // Nothing but: file numbers, keyspaces, sequence numbers are used up; the log has no end.
    let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    let seqs_max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let last_files = [&[0, 4, 10][..], &max].concat();
    let last_seq = [&[0, 4, 1, 0, 8, 8][..], &seqs_max].concat();
    let last_keyspace = [0, 4, 1, 0, 6, 5, 0xff, 0xff, 0xff, 0xff, 0x0f].to_vec();
    let log = [&[0, 4, 1, 0, 12, 20][..], &max, &max].concat();
    seeds.chain([last_files, last_seq, last_keyspace, log]).collect()
}

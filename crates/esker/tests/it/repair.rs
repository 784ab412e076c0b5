//! `repair`: what is left of a damaged store, and nothing that is not said.

use std::collections::BTreeMap;
use std::sync::Arc;

use esker::internals::names::FileName;
use esker::internals::{CrashPolicy, Disk, PumpEnv, SimDisk, open, repair, verify};
use esker::{Db, Depth, ErrorKind, Loss, Options, RepairReport};

use crate::verify::{closed_store, killed_store, logged_store, picture, tables};

/// Keys and values of every keyspace.
pub type Contents = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

pub fn opened(disk: &Arc<SimDisk>) -> Db {
    open(disk.clone(), PumpEnv::new(3), &Options::tiny()).expect("it opens")
}

pub fn contents(db: &Db) -> Contents {
    let names = db.keyspaces().into_iter();
    let all = names.map(|name| {
        let keyspace = db.keyspace(&name).unwrap();
        let entries = keyspace.iter().map(|entry| {
            let (key, value) = entry.expect("it can be read");
            (key.to_vec(), value.to_vec())
        });
        (name, entries.collect())
    });
    all.collect()
}

/// What a store holds; a copy is opened.
pub fn contents_of(disk: &SimDisk) -> Contents {
    contents(&opened(&disk.crash(CrashPolicy::ProcessCrash, 1)))
}

fn repaired(from: &SimDisk) -> (RepairReport, Arc<SimDisk>) {
    let to = SimDisk::new();
    let disk: Arc<dyn Disk> = to.clone();
    let report = repair(from, &disk, 99).expect("it can be repaired");
    assert_eq!(verify(&*to, Depth::Full).unwrap().findings, []);
    (report, to)
}

/// Whether a loss says that this key may be wrong.
fn covers(loss: &Loss, keyspace: &str, key: &[u8]) -> bool {
    loss.keyspace.as_deref().is_none_or(|name| name == keyspace)
        && loss.first_key.as_deref().is_none_or(|first| first <= key)
        && loss.last_key.as_deref().is_none_or(|last| key <= last)
}

/// Whatever differs between the two is in the range of a loss.
pub fn assert_losses_cover(report: &RepairReport, expected: &Contents, found: &Contents) {
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (keyspace, expected) in expected {
        let found = &found[keyspace];
        for key in expected.keys().chain(found.keys()) {
            let is_said = report.losses.iter().any(|loss| covers(loss, keyspace, key));
            let same = expected.get(key) == found.get(key);
            assert!(same || is_said, "{keyspace} {}: {report:?}", key.escape_ascii());
        }
    }
}

#[test]
fn f1_a_sound_store_is_repaired_into_the_same_contents() {
    for disk in [closed_store(), killed_store()] {
        let before = picture(&disk);
        let (report, to) = repaired(&disk);
        assert_eq!(report.losses, []);
        assert!(picture(&disk) == before, "the old store is only read");
        let db = opened(&to);
        let expected = contents_of(&disk);
        assert_eq!(contents(&db), expected);
        let keys: Vec<_> = report.keyspaces.iter().map(|k| (k.name.clone(), k.keys)).collect();
        let counts = expected.iter().map(|(name, entries)| (name.clone(), entries.len() as u64));
        assert_eq!(keys, counts.collect::<Vec<_>>());
        db.put("more", "goes on").unwrap();
        db.compact().unwrap();
        db.check().unwrap();
    }
}

#[test]
fn what_a_damaged_table_lost_is_said_and_all_else_is_there() {
    let sound = killed_store();
    let expected = contents_of(&sound);
    for (table, bytes) in tables(&sound) {
        for offset in (0..bytes).step_by(97) {
            let disk = sound.crash(CrashPolicy::ProcessCrash, 1);
            disk.damage(table, offset, 4);
            let (report, to) = repaired(&disk);
            assert_losses_cover(&report, &expected, &contents(&opened(&to)));
        }
    }
}

#[test]
fn a_table_that_is_gone_is_a_loss_with_its_range() {
    let disk = closed_store();
    let expected = contents_of(&disk);
    for (table, _) in tables(&disk) {
        let disk = disk.crash(CrashPolicy::ProcessCrash, 1);
        Disk::remove(&*disk, table).unwrap();
        let (report, to) = repaired(&disk);
        let loss = report.losses.iter().find(|loss| loss.file == table.to_string());
        assert!(loss.expect("the table").entries_lost > Some(0));
        assert_losses_cover(&report, &expected, &contents(&opened(&to)));
    }
}

#[test]
fn a_repair_forgot_the_log_segment_whose_file_was_gone() {
    let disk = SimDisk::new();
    let db = open(disk.clone(), PumpEnv::new(1), &Options::tiny()).unwrap();
    // More than a memtable holds: the log goes on in another segment, and nothing is flushed yet.
    db.put("large", "x".repeat(6 << 10)).unwrap();
    db.put("small", "y").unwrap();
    db.sync().unwrap();
    db.put("last", "z").unwrap();
    let disk = disk.crash(CrashPolicy::ProcessCrash, 1);
    let expected = contents_of(&disk);
    let logs = disk.files().into_iter().map(|(name, _)| name);
    let logs: Vec<_> = logs.filter(|name| matches!(name, FileName::Log(_))).collect();
    let (first, last) = (logs[0], logs[logs.len() - 1]);
    assert!(first < last, "{logs:?}");
    for gone in logs {
        let disk = disk.crash(CrashPolicy::ProcessCrash, 1);
        Disk::remove(&*disk, gone).unwrap();
        let (report, to) = repaired(&disk);
        if gone != last {
            assert_losses_cover(&report, &expected, &contents(&opened(&to)));
            assert!(report.losses.iter().any(|loss| loss.file == gone.to_string()));
        }
    }
}

#[test]
fn a_repair_forgot_the_records_that_a_file_was_cut_short_of() {
    let disk = SimDisk::new();
    let db = open(disk.clone(), PumpEnv::new(1), &Options::tiny()).unwrap();
    db.put("a", "x").unwrap();
    db.sync().unwrap();
    // An edit of the manifest says how far the log is durable.
    db.keyspace("users").unwrap();
    let disk = disk.crash(CrashPolicy::ProcessCrash, 1);
    let expected = contents_of(&disk);
    let mut files = disk.files().into_iter().map(|(name, _)| name);
    let log = files.rfind(|name| matches!(name, FileName::Log(_))).unwrap();
    disk.truncate(log, 128);
    let (report, to) = repaired(&disk);
    assert_losses_cover(&report, &expected, &contents(&opened(&to)));
    assert!(report.losses.iter().any(|loss| loss.file == log.to_string()));
}

#[test]
fn without_a_manifest_keyspaces_are_told_apart_by_their_numbers() {
    for disk in [closed_store(), killed_store()] {
        let mut expected = contents_of(&disk);
        let manifests = disk.files().into_iter();
        for (name, _) in manifests.filter(|(name, _)| matches!(name, FileName::Manifest(_))) {
            Disk::remove(&*disk, name).unwrap();
        }
        let (report, to) = repaired(&disk);
        assert_eq!(report.losses.len(), 1, "{:?}", report.losses);
        assert!(report.notes.iter().any(|note| note.contains("keyspace-1")), "{report:?}");
        let found = contents(&opened(&to));
        let users = expected.remove("users").unwrap();
        expected.insert("keyspace-1".to_owned(), users);
        for (keyspace, expected) in &expected {
            for (key, value) in expected {
                assert_eq!(found[keyspace].get(key), Some(value), "{keyspace} {key:?}");
            }
        }
    }
}

#[test]
fn a_damaged_current_leaves_the_names_of_keyspaces() {
    let disk = closed_store();
    let expected = contents_of(&disk);
    disk.overwrite(FileName::Current, 0, b"nonsense");
    let (report, to) = repaired(&disk);
    assert!(!report.losses.is_empty());
    assert_losses_cover(&report, &expected, &contents(&opened(&to)));
}

#[test]
fn records_behind_a_hole_of_the_log_are_kept_and_the_gap_is_named() {
    let (disk, log, _) = logged_store();
    let expected = contents_of(&disk);
    disk.damage(log, 170, 1);
    assert!(
        open(disk.crash(CrashPolicy::ProcessCrash, 1), PumpEnv::new(1), &Options::tiny()).is_err()
    );
    let (report, to) = repaired(&disk);
    let found = contents(&opened(&to));
    assert_eq!(found["default"][&b"last"[..]], b"one");
    let loss = report.losses.iter().find(|loss| loss.file == log.to_string()).expect("the gap");
    assert!(loss.first_seq.is_some() && loss.first_seq <= loss.last_seq, "{loss:?}");
    assert_losses_cover(&report, &expected, &found);
}

#[test]
fn a_repair_that_is_interrupted_anywhere_leaves_no_half_store() {
    let from = killed_store();
    let before = picture(&from);
    let expected = contents_of(&from);
    for crash_at in 0.. {
        let to = SimDisk::new();
        to.set_crash_at(crash_at);
        let disk: Arc<dyn Disk> = to.clone();
        let finished = repair(&*from, &disk, 99).is_ok();
        assert!(picture(&from) == before, "the old store is untouched");
        for policy in CrashPolicy::ALL {
            let left = to.crash(policy, crash_at);
            let is_empty = left.files().iter().all(|(name, _)| *name == FileName::Lock);
            if let Ok(db) = open(left.clone(), PumpEnv::new(1), &Options::tiny()) {
                let has_begun = !contents(&db)["default"].is_empty();
                assert!(!has_begun || contents(&db) == expected, "{crash_at} {policy:?}");
                assert!(has_begun || is_empty || !finished);
            } else {
                let again: Arc<dyn Disk> = left;
                let refused = repair(&*from, &again, 100).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
            }
        }
        if finished {
            return;
        }
    }
}

#[test]
fn a_directory_with_anything_in_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    Db::open(&old).unwrap().put("k", "v").unwrap();
    std::fs::create_dir(&new).unwrap();
    std::fs::write(new.join("notes.txt"), "mine").unwrap();
    for to in [&new, &old] {
        let error = esker::repair(&old, to).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    std::fs::remove_file(new.join("notes.txt")).unwrap();
    assert_eq!(esker::repair(&old, &new).unwrap().losses, []);
    assert_eq!(Db::open(&new).unwrap().get("k").unwrap().unwrap(), "v");
    let absent = dir.path().join("absent");
    assert_eq!(esker::repair(&absent, &new).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(!absent.exists());
}

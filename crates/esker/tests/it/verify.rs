//! `verify`: finds all that is wrong with a store that is not open, and changes nothing.

use std::sync::Arc;

use esker::internals::names::FileName;
use esker::internals::{CrashPolicy, Disk, PumpEnv, SimDisk, open, verify};
use esker::{Db, Depth, ErrorKind, Finding, Options};

use crate::Bench;

/// A closed store of two keyspaces with tables in several levels, and a log that is not flushed.
pub fn closed_store() -> Arc<SimDisk> {
    let Bench { db, disk } = Bench::new(11);
    fill(&db);
    db.close().unwrap();
    disk
}

/// The same, killed and not closed.
pub fn killed_store() -> Arc<SimDisk> {
    let Bench { db, disk } = Bench::new(12);
    fill(&db);
    db.sync().unwrap();
    db.put("last", "one").unwrap();
    disk.crash(CrashPolicy::ProcessCrash, 1)
}

fn fill(db: &Db) {
    let users = db.keyspace("users").unwrap();
    for round in 0..4 {
        for i in 0..60 {
            let key = format!("{:03}", (i * 7 + round * 13) % 100);
            if (i + round) % 9 == 0 {
                db.delete(&key).unwrap();
            } else {
                db.put(&key, format!("{round} {}", "x".repeat(40))).unwrap();
            }
            if i % 4 == 0 {
                users.put(&key, format!("user of {round} {}", "y".repeat(40))).unwrap();
            }
        }
        match round {
            0 => db.compact().unwrap(),
            1 => db.settle().unwrap(),
            _ => db.flush().unwrap(),
        }
    }
    for i in 0..8 {
        db.put(format!("{i:03}"), "in the log").unwrap();
        users.put(format!("{i:03}"), "in the log").unwrap();
    }
    db.delete("050").unwrap();
}

/// Names, lengths and bytes of all files.
pub fn picture(disk: &SimDisk) -> Vec<(FileName, Vec<u8>)> {
    let files = disk.files().into_iter();
    files.map(|(name, _)| (name, disk.bytes(name).expect("it is there"))).collect()
}

pub fn tables(disk: &SimDisk) -> Vec<(FileName, u64)> {
    let files = disk.files().into_iter();
    files.filter(|(name, _)| matches!(name, FileName::Table(_))).collect()
}

fn findings(disk: &SimDisk, depth: Depth) -> Vec<Finding> {
    verify(disk, depth).unwrap().findings
}

#[test]
fn a_sound_store_has_no_findings_and_stays_as_it_is() {
    for disk in [closed_store(), killed_store()] {
        let before = picture(&disk);
        for depth in [Depth::Fast, Depth::Full] {
            let report = verify(&*disk, depth).unwrap();
            assert_eq!(report.findings, [], "{depth:?}");
            assert!(report.tables > 2 && report.tables <= tables(&disk).len() as u64);
        }
        assert!(picture(&disk) == before, "verify changes nothing");
        open(disk, PumpEnv::new(1), &Options::tiny()).unwrap();
    }
}

#[test]
fn a_store_that_is_open_is_locked_and_none_is_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let kind = |path| esker::verify(path, Depth::Fast).unwrap_err().kind();
    assert_eq!(kind(path.clone()), ErrorKind::InvalidArgument);
    assert!(!path.exists(), "looking makes no directory");
    let db = Db::open(&path).unwrap();
    assert_eq!(kind(path.clone()), ErrorKind::Locked);
    db.close().unwrap();
    assert_eq!(esker::verify(&path, Depth::Full).unwrap().findings, []);
}

#[test]
fn every_damaged_block_is_found_with_its_level_and_keys() {
    let disk = closed_store();
    let all = tables(&disk);
    for (name, len) in &all {
        disk.damage(*name, 100, 1);
        disk.damage(*name, len - 400, 1);
    }
    assert_eq!(findings(&disk, Depth::Fast), [], "footers and manifest are sound");
    let found = findings(&disk, Depth::Full);
    assert!(found.len() > all.len(), "not only the first of each table: {found:?}");
    for (name, _) in &all {
        let name = name.to_string();
        let is_block = |finding: &&Finding| finding.file == name && finding.offset == 0;
        let block = found.iter().find(is_block).unwrap_or_else(|| panic!("{name}: {found:?}"));
        assert_eq!(block.part, "data block checksum");
        assert!(block.table.is_some());
        let (first, last) = block.keys.clone().expect("the keys of the block");
        assert!(first <= last);
    }
}

#[test]
fn a_fast_look_finds_missing_and_shortened_files_and_damaged_footers() {
    let disk = closed_store();
    let all = tables(&disk);
    Disk::remove(&*disk, all[0].0).unwrap();
    disk.truncate(all[1].0, all[1].1 - 64);
    disk.damage(all[2].0, all[2].1 - 10, 1);
    let found = findings(&disk, Depth::Fast);
    for (name, part) in
        [(all[0].0, "table"), (all[1].0, "length of the table"), (all[2].0, "footer checksum")]
    {
        let name = name.to_string();
        let is_it = |finding: &&Finding| finding.file == name && finding.part == part;
        let finding = found.iter().find(is_it).unwrap_or_else(|| panic!("{name}: {found:?}"));
        assert!(finding.keys.is_some(), "all of the table's keys: {finding:?}");
    }
}

#[test]
fn without_a_manifest_tables_are_checked_all_the_same() {
    let disk = closed_store();
    let (table, _) = tables(&disk)[0];
    disk.damage(table, 100, 1);
    disk.overwrite(FileName::Current, 0, b"nonsense");
    let report = verify(&*disk, Depth::Full).unwrap();
    assert!(report.findings.iter().any(|finding| finding.file == "CURRENT"));
    assert!(report.findings.iter().any(|finding| finding.file == table.to_string()));
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
}

/// A killed store whose log is all that there is, its file, and where the last record ends.
pub fn logged_store() -> (Arc<SimDisk>, FileName, u64) {
    let Bench { db, disk } = Bench::new(13);
    for i in 0..20 {
        db.put(format!("{i:03}"), format!("value {i}")).unwrap();
    }
    db.sync().unwrap();
    db.put("last", "one").unwrap();
    let disk = disk.crash(CrashPolicy::ProcessCrash, 1);
    let mut logs = disk.files().into_iter().filter(|(name, _)| matches!(name, FileName::Log(_)));
    let (log, _) = logs.next().expect("there is a log");
    assert!(logs.next().is_none(), "and one alone");
    let bytes = disk.bytes(log).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    (disk, log, end)
}

#[test]
fn all_holes_of_the_log_are_found_but_not_the_tail_of_a_crash() {
    let (disk, log, end) = logged_store();
    disk.damage(log, end - 3, 1);
    assert_eq!(findings(&disk, Depth::Full), [], "the last record may be torn");
    disk.damage(log, 140, 1);
    disk.damage(log, end / 2, 1);
    let found = findings(&disk, Depth::Full);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|finding| finding.file == log.to_string()));
    assert!(open(disk, PumpEnv::new(1), &Options::tiny()).is_err());
}

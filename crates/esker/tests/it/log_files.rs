//! The files of the log: used again while a store is written to, gone when it is settled or
//! closed, also after a bad day.

use std::path::Path;
use std::sync::Arc;

use esker::internals::faults::{DiskOp, Errno, Fault, FaultPlan, FaultRule, FileClass, When};
use esker::internals::names::FileName;
use esker::internals::{CrashPolicy, LogWrites, OsDisk, ThreadEnv, open};
use esker::{Db, ErrorKind, Options};

use crate::{Bench, entries};

const MIB: u64 = 1 << 20;

fn segments(files: &[(FileName, u64)]) -> Vec<u64> {
    files.iter().filter(|(name, _)| matches!(name, FileName::Log(_))).map(|(_, len)| *len).collect()
}

fn spares(files: &[(FileName, u64)]) -> usize {
    files.iter().filter(|(name, _)| matches!(name, FileName::Spare(_))).count()
}

fn fill(db: &Db, keys: std::ops::Range<u32>) {
    for key in keys {
        db.put(key.to_be_bytes(), [7; 100]).unwrap();
    }
}

#[test]
fn segments_are_used_again_and_none_is_left_over() {
    let Bench { db, disk } = Bench::new(1);
    fill(&db, 0..300);
    db.flush().unwrap();
    let kept = spares(&disk.files());
    assert!((1..=4).contains(&kept), "{kept} spares");
    fill(&db, 300..330);
    assert!(spares(&disk.files()) < kept || disk.files().len() > 3, "one was taken");
    db.settle().unwrap();
    assert_eq!((spares(&disk.files()), segments(&disk.files())), (0, vec![128]));
    fill(&db, 330..340);
    db.close().unwrap();
    let files = disk.files();
    assert_eq!((spares(&files), segments(&files).len()), (0, 1));
    let Bench { db, .. } = Bench::on(disk, 2);
    assert_eq!(db.iter().count(), 340);
}

/// The same with real files and threads, mapped and written.
#[test]
fn real_segments_are_used_again_and_none_is_left_over() {
    let options = Options::new().memory_budget(16 * MIB).memtable_bytes(MIB);
    for how in [LogWrites::Mapped, LogWrites::Write] {
        let dir = tempfile::tempdir().unwrap();
        let disk = |path: &Path| OsDisk::open_dir_with(path, how).unwrap();
        let db = open(disk(dir.path()), ThreadEnv::new(), &options).unwrap();
        let files = || {
            let disk: Arc<dyn esker::internals::Disk> = disk(dir.path());
            disk.list().unwrap().files
        };
        fill(&db, 0..100_000);
        db.flush().unwrap();
        assert!((1..=4).contains(&spares(&files())), "{how:?}: {:?}", files());
        db.settle().unwrap();
        assert_eq!((spares(&files()), segments(&files())), (0, vec![128]), "{how:?}");
        fill(&db, 100_000..100_010);
        db.close().unwrap();
        let left = segments(&files());
        assert!(left.len() == 1 && left[0] < 2_000, "{how:?}: {left:?}");
        let db = open(disk(dir.path()), ThreadEnv::new(), &options).unwrap();
        assert_eq!(db.iter().count(), 100_010, "{how:?}");
    }
}

#[test]
fn a_close_on_a_full_disk_keeps_what_was_acknowledged_from_a_power_cut() {
    let Bench { db, disk } = Bench::new(2);
    let used_bytes: u64 = disk.files().iter().map(|(_, len)| len).sum();
    disk.set_capacity(used_bytes + 1_000);
    let mut written = 0;
    let error = loop {
        match db.put(format!("{written:04}"), "x".repeat(100)) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    let all = entries(&db);
    disk.set_capacity(used_bytes + 3_000);
    let _ = db.close();
    for policy in [CrashPolicy::LoseUnsynced, CrashPolicy::TornSectors] {
        let after = Bench::on(disk.crash(policy, 3), 3);
        assert_eq!(entries(&after.db), all, "{policy:?}");
    }
}

#[test]
fn what_a_failed_rotation_leaves_is_removed_once_one_has_succeeded() {
    let Bench { db, disk } = Bench::new(3);
    fill(&db, 0..3);
    let header = FaultRule::new(When::Nth(1), Fault::Short(60, Errno::IO)).op(DiskOp::Append);
    // The first append to a log after this is the header of the next segment.
    disk.set_faults(FaultPlan::new(1).rule(header.class(FileClass::Log)));
    assert!(db.flush().is_err());
    assert_eq!(disk.faults_fired(), 1);
    assert_eq!(segments(&disk.files()).len(), 3, "the old one, the failed one, the new one");
    fill(&db, 3..6);
    db.flush().unwrap();
    assert_eq!(segments(&disk.files()).len(), 1, "{:?}", disk.files());
    db.settle().unwrap();
    assert_eq!(spares(&disk.files()), 0);
    assert_eq!(db.iter().count(), 6);
}

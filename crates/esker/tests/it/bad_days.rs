//! Locks, full disks, failing disks, damage.

use esker::internals::faults::{DiskOp, Errno, Fault, FaultPlan, FaultRule, FileClass, When};
use esker::internals::names::FileName;
use esker::internals::{CrashPolicy, PumpEnv, SimDisk, open};
use esker::{Db, ErrorKind, HealthState, Options};

use crate::{Bench, entries, pair};

#[test]
fn a_second_opener_is_told_that_the_store_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    assert_eq!(Db::open(dir.path()).unwrap_err().kind(), ErrorKind::Locked);
    db.put("k", "v").unwrap();
    db.close().unwrap();
    assert_eq!(Db::open(dir.path()).unwrap().get("k").unwrap().unwrap(), "v");
}

#[test]
fn a_full_disk_refuses_writes_and_answers_reads_and_recovers_by_itself() {
    let Bench { db, disk } = Bench::new(1);
    let mut written = 0;
    for i in 0..20 {
        db.put(format!("{i:04}"), "x".repeat(100)).unwrap();
        written = i;
    }
    let used_bytes: u64 = disk.files().iter().map(|(_, len)| len).sum();
    disk.set_capacity(used_bytes + 600);
    let error = loop {
        match db.put(format!("{:04}", written + 1), "x".repeat(100)) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(matches!(db.stats().health, HealthState::NoSpace(_)));
    assert_eq!(db.put("more", "x".repeat(500)).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(db.iter().map(Result::unwrap).count(), written + 1, "reads go on");
    disk.set_capacity(1 << 40);
    db.put("more", "again").unwrap();
    assert!(matches!(db.stats().health, HealthState::Healthy));
    db.settle().unwrap();
    let crashed = disk.crash(CrashPolicy::ProcessCrash, 1);
    let after = Bench::on(crashed, 2);
    assert_eq!(entries(&after.db), entries(&db));
    assert_eq!(after.db.get("more").unwrap().unwrap(), "again");
    assert_eq!(after.db.iter().count(), written + 2, "a refused write never comes back");
}

#[test]
fn a_failed_sync_fences_writes_until_the_store_is_reopened() {
    let Bench { db, disk } = Bench::new(2);
    db.put("before", "1").unwrap();
    db.sync().unwrap();
    db.put("os", "2").unwrap();
    disk.set_faults(
        FaultPlan::new(1).rule(
            FaultRule::new(When::Nth(1), Fault::Error(Errno::IO))
                .op(DiskOp::Sync)
                .class(FileClass::Log),
        ),
    );
    assert_eq!(db.sync().unwrap_err().kind(), ErrorKind::Io);
    disk.set_faults(FaultPlan::new(1));
    assert_eq!(db.sync().unwrap_err().kind(), ErrorKind::ReadOnly, "a failed sync is not retried");
    assert_eq!(db.put("k", "v").unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(entries(&db), [pair("before", "1"), pair("os", "2")], "reads go on");
    drop(db);
    let Bench { db, .. } = Bench::on(disk, 3);
    db.put("k", "v").unwrap();
}

#[test]
fn t2_a_failed_append_is_not_acknowledged_and_the_log_goes_on_in_a_new_segment() {
    let Bench { db, disk } = Bench::new(3);
    db.put("before", "1").unwrap();
    disk.set_faults(
        FaultPlan::new(1).rule(
            FaultRule::new(When::Nth(1), Fault::Short(7, Errno::IO))
                .op(DiskOp::Append)
                .class(FileClass::Log),
        ),
    );
    assert!(db.put("failed", "2").is_err());
    disk.set_faults(FaultPlan::new(1));
    db.put("after", "3").unwrap();
    let expected = [pair("after", "3"), pair("before", "1")];
    assert_eq!(entries(&db), expected);
    let crashed = disk.crash(CrashPolicy::ProcessCrash, 1);
    assert_eq!(entries(&Bench::on(crashed, 4).db), expected);
}

#[test]
fn a_read_error_is_an_error_and_never_an_older_value() {
    let Bench { db, disk } = Bench::new(4);
    db.put("k", "old").unwrap();
    db.compact().unwrap();
    db.put("k", "new").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    let Bench { db, .. } = Bench::on(disk.clone(), 5);
    disk.set_faults(
        FaultPlan::new(1).rule(
            FaultRule::new(When::From(1), Fault::Error(Errno::IO))
                .op(DiskOp::Read)
                .class(FileClass::Table),
        ),
    );
    assert_eq!(db.get("k").unwrap_err().kind(), ErrorKind::Io);
    let mut iter = db.iter();
    assert_eq!(iter.next().unwrap().unwrap_err().kind(), ErrorKind::Io);
    assert!(iter.next().unwrap().is_err(), "a failed iterator stays failed");
    disk.set_faults(FaultPlan::new(1));
    assert!(iter.next().unwrap().is_err());
    assert_eq!(db.get("k").unwrap().unwrap(), "new");
}

#[test]
fn a_missing_table_is_named_when_the_store_is_opened() {
    let Bench { db, disk } = Bench::new(5);
    db.put("k", "v").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    let files = disk.files();
    let table = files.into_iter().find(|(name, _)| matches!(name, FileName::Table(_))).unwrap().0;
    esker::internals::Disk::remove(&*disk, table).unwrap();
    let error = open(disk, PumpEnv::new(6), &Options::tiny()).unwrap_err();
    assert!(error.to_string().contains(&table.to_string()), "{error}");
}

#[test]
fn a_directory_with_tables_and_no_current_is_damaged_not_new() {
    let Bench { db, disk } = Bench::new(6);
    db.put("k", "v").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    esker::internals::Disk::remove(&*disk, FileName::Current).unwrap();
    let error = open(disk, PumpEnv::new(7), &Options::tiny()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
}

#[test]
fn foreign_files_are_left_alone_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let db = Db::open(dir.path()).unwrap();
    assert_eq!(db.stats().foreign_files, ["notes.txt"]);
    db.close().unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("notes.txt")).unwrap(), "mine");
}

#[test]
fn check_finds_a_flipped_byte_in_a_table() {
    let Bench { db, disk } = Bench::new(8);
    for i in 0..50 {
        db.put(format!("{i:04}"), "x".repeat(40)).unwrap();
    }
    db.compact().unwrap();
    db.check().unwrap();
    let files = disk.files();
    let (table, len) =
        files.into_iter().find(|(name, _)| matches!(name, FileName::Table(_))).unwrap();
    disk.damage(table, len / 3, 0x10);
    let error = db.check().unwrap_err();
    let place = error.corruption().expect("a place");
    assert_eq!(place.file, table.to_string());
}

#[test]
fn nothing_of_an_interrupted_creation_stands_in_the_way() {
    for crash_at in 0..60 {
        let disk = SimDisk::new();
        disk.set_crash_at(crash_at);
        let created = open(disk.clone(), PumpEnv::new(crash_at), &Options::tiny());
        let finished = created.is_ok();
        drop(created);
        for policy in CrashPolicy::ALL {
            let disk = disk.crash(policy, crash_at);
            let Bench { db, .. } = Bench::on(disk, 1);
            db.put("k", "v").unwrap();
            assert_eq!(entries(&db), [pair("k", "v")]);
        }
        if finished {
            return;
        }
    }
    panic!("creating a store takes fewer than 60 operations");
}

//! Bugs that were found once, each named after what went wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use esker::internals::faults::{DiskOp, Errno, Fault, FaultPlan, FaultRule, FileClass, When};
use esker::internals::names::FileName;
use esker::internals::{CrashPolicy, PumpEnv, SimDisk, ThreadEnv, open};
use esker::{Db, ErrorKind, HealthState, Options, Result};

use crate::hooked::HookedDisk;
use crate::{Bench, entries, pair};

fn is_manifest(name: Option<FileName>) -> bool {
    matches!(name, Some(FileName::Manifest(_)))
}

fn one_fault(when: When, fault: Fault, op: DiskOp, class: FileClass) -> FaultPlan {
    FaultPlan::new(1).rule(FaultRule::new(when, fault).op(op).class(class))
}

#[test]
fn sequence_numbers_below_a_flush_were_given_out_again_after_a_power_cut() {
    let Bench { db, disk } = Bench::new(1);
    db.put("a", "1").unwrap();
    let users = db.keyspace("users").unwrap();
    for i in 0..9 {
        users.put(format!("{i}"), "v").unwrap();
    }
    db.drop_keyspace("users").unwrap();
    db.flush().unwrap();
    let Bench { db, disk } = Bench::on(disk.crash(CrashPolicy::LoseUnsynced, 1), 2);
    db.put("k", "v").unwrap();
    let Bench { db, .. } = Bench::on(disk.crash(CrashPolicy::ProcessCrash, 1), 3);
    assert_eq!(entries(&db), [pair("a", "1"), pair("k", "v")]);
}

#[test]
fn writes_were_acknowledged_in_a_keyspace_whose_drop_was_in_doubt() {
    let Bench { db, disk } = Bench::new(1);
    let users = db.keyspace("users").unwrap();
    let broken = Fault::Error(Errno::IO);
    disk.set_faults(one_fault(When::Nth(1), broken, DiskOp::Sync, FileClass::Manifest));
    db.drop_keyspace("users").unwrap_err();
    disk.set_faults(FaultPlan::new(1));
    let acknowledged = users.put("k", "v").is_ok();
    let Bench { db, .. } = Bench::on(disk.crash(CrashPolicy::ProcessCrash, 1), 2);
    let left = entries(&db.keyspace("users").unwrap());
    assert!(!acknowledged || left == [pair("k", "v")], "{left:?}");
}

#[test]
fn a_drop_on_a_full_disk_refused_writes_for_ever() {
    let Bench { db, disk } = Bench::new(1);
    let users = db.keyspace("users").unwrap();
    users.put("k", "v").unwrap();
    db.flush().unwrap();
    disk.set_capacity(disk.files().iter().map(|(_, len)| len).sum());
    db.drop_keyspace("users").unwrap_err();
    assert_eq!(users.put("k", "w").unwrap_err().kind(), ErrorKind::NoSpace);
    disk.set_capacity(1 << 40);
    users.put("k", "w").unwrap();
    let Bench { db, .. } = Bench::on(disk.crash(CrashPolicy::ProcessCrash, 1), 2);
    assert_eq!(entries(&db.keyspace("users").unwrap()), [pair("k", "w")]);
}

#[test]
fn a_put_in_a_destructor_during_a_panic_poisoned_the_store() {
    struct PutOnDrop<'a>(&'a Db);
    impl Drop for PutOnDrop<'_> {
        fn drop(&mut self) {
            self.0.put("k", "v").unwrap();
        }
    }
    let Bench { db, .. } = Bench::new(1);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = PutOnDrop(&db);
        panic!("planned");
    }));
    assert!(panicked.is_err());
    assert_eq!(db.get("k").unwrap().unwrap(), "v");
    db.put("k", "w").unwrap();
}

#[test]
fn nobody_woke_the_waiters_of_a_leader_that_panicked() {
    let (disk, hook) = HookedDisk::new(&SimDisk::new());
    let db = open(disk, ThreadEnv::new(), &Options::tiny()).unwrap();
    db.put("k", "v").unwrap();
    let (leads, is_leading) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    hook.set(move |op, _| {
        if op == DiskOp::Space {
            leads.send(()).unwrap();
            may_go.recv().unwrap();
            panic!("planned");
        }
        false
    });
    let leader = std::thread::spawn({
        let db = db.clone();
        move || db.flush()
    });
    is_leading.recv().unwrap();
    let waiters: Vec<_> = (0..3)
        .map(|i| {
            let db = db.clone();
            std::thread::spawn(move || db.put(format!("{i}"), "v"))
        })
        .collect();
    // They sleep or are about to; either way they must come back.
    std::thread::yield_now();
    go.send(()).unwrap();
    assert!(leader.join().is_err());
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::Poisoned);
    }
    assert_eq!(db.close().unwrap_err().kind(), ErrorKind::Poisoned);
}

#[test]
fn a_segment_that_the_manifest_still_named_was_removed() {
    let disk = SimDisk::new();
    let (hooked, hook) = HookedDisk::new(&disk);
    let db = open(hooked, PumpEnv::new(1), &Options::tiny()).unwrap();
    db.put("a", "1").unwrap();
    // While the flush's edit is on its way to the disk, an append fails and the log goes on in
    // a new segment.
    let (other, faulty) = (db.clone(), Arc::clone(&disk));
    hook.set(move |op, name| {
        if op != DiskOp::Sync || !is_manifest(name) {
            return false;
        }
        let short = Fault::Short(7, Errno::IO);
        faulty.set_faults(one_fault(When::Nth(1), short, DiskOp::Append, FileClass::Log));
        assert!(other.put("failed", "2").is_err());
        true
    });
    db.flush().unwrap();
    db.put("b", "2").unwrap();
    let Bench { db, .. } = Bench::on(disk.crash(CrashPolicy::ProcessCrash, 1), 2);
    assert_eq!(entries(&db), [pair("a", "1"), pair("b", "2")]);
}

#[test]
fn a_failed_sync_of_the_log_for_lack_of_space_passed_for_a_full_disk() {
    let Bench { db, disk } = Bench::new(1);
    db.put("a", "1").unwrap();
    disk.set_faults(
        one_fault(When::Nth(1), Fault::Short(7, Errno::IO), DiskOp::Append, FileClass::Log).rule(
            FaultRule::new(When::Nth(2), Fault::Error(Errno::NOSPC))
                .op(DiskOp::Sync)
                .class(FileClass::Log),
        ),
    );
    db.put("failed", "2").unwrap_err();
    assert_eq!(disk.faults_fired(), 2);
    disk.set_faults(FaultPlan::new(1));
    assert_eq!(db.put("b", "3").unwrap_err().kind(), ErrorKind::ReadOnly);
    assert!(matches!(db.stats().health, HealthState::WriteFenced(_)));
}

#[test]
fn only_a_put_ended_the_refusals_of_a_full_disk() {
    type Call = fn(&Db) -> Result<()>;
    let calls: [Call; 6] = [
        |db| db.flush(),
        |db| db.compact(),
        |db| db.settle(),
        |db| db.sync(),
        |db| db.keyspace("more").map(drop),
        |db| db.drop_keyspace("users"),
    ];
    for call in calls {
        let Bench { db, disk } = Bench::new(1);
        db.keyspace("users").unwrap();
        disk.set_capacity(disk.files().iter().map(|(_, len)| len).sum());
        assert_eq!(db.put("k", "v").unwrap_err().kind(), ErrorKind::NoSpace);
        disk.set_capacity(1 << 40);
        call(&db).unwrap();
        db.put("k", "v").unwrap();
        db.close().unwrap();
    }
}

#[test]
fn manifests_that_failed_stayed_until_the_store_was_reopened() {
    let Bench { db, disk } = Bench::new(1);
    db.put("a", "1").unwrap();
    let broken = Fault::Error(Errno::IO);
    disk.set_faults(one_fault(When::From(1), broken, DiskOp::Sync, FileClass::Manifest));
    db.flush().unwrap_err();
    db.flush().unwrap_err();
    disk.set_faults(FaultPlan::new(1));
    db.flush().unwrap();
    db.settle().unwrap();
    let names = disk.files().into_iter().map(|(name, _)| name);
    let manifests: Vec<_> = names.filter(|name| is_manifest(Some(*name))).collect();
    assert_eq!(manifests.len(), 1, "{manifests:?}");
}

#[test]
fn a_second_close_gave_the_lock_away_while_the_first_still_wrote() {
    let (disk, hook) = HookedDisk::new(&SimDisk::new());
    let db = open(disk, ThreadEnv::new(), &Options::tiny()).unwrap();
    db.put("k", "v").unwrap();
    let finished = Arc::new(AtomicBool::new(false));
    let (tell, answer) = mpsc::channel();
    let (second, first_has_finished) = (db.clone(), Arc::clone(&finished));
    let mut second = Some(second);
    hook.set(move |op, name| {
        if op != DiskOp::Seal || !matches!(name, Some(FileName::Log(_))) {
            return false;
        }
        let (tell, first) = (tell.clone(), Arc::clone(&first_has_finished));
        let second = second.take().expect("the log is sealed once");
        let (early, came_early) = mpsc::channel();
        std::thread::spawn(move || {
            second.close().unwrap();
            let _ = early.send(());
            tell.send(first.load(Ordering::SeqCst)).unwrap();
        });
        let waited = came_early.recv_timeout(Duration::from_millis(100)).is_err();
        first_has_finished.store(waited, Ordering::SeqCst);
        true
    });
    db.close().unwrap();
    assert!(answer.recv().unwrap(), "the second close returned while the first sealed the log");
}

#[test]
fn a_panic_behind_a_durable_edit_took_the_table_with_it() {
    let disk = SimDisk::new();
    let (hooked, hook) = HookedDisk::new(&disk);
    let env = PumpEnv::new(1);
    let db = open(hooked, env.clone(), &Options::tiny()).unwrap();
    db.put("a", "1").unwrap();
    hook.set(|op, name| {
        assert!(op != DiskOp::Sync || !is_manifest(name), "planned: the edit is in the file");
        false
    });
    assert_eq!(db.flush().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(env.job_panics().len(), 1);
    let Bench { db, .. } = Bench::on(disk.crash(CrashPolicy::ProcessCrash, 1), 2);
    assert_eq!(entries(&db), [pair("a", "1")]);
}

#[test]
fn a_compaction_that_panicked_was_reported_as_a_closed_store() {
    let (hooked, hook) = HookedDisk::new(&SimDisk::new());
    let db = open(hooked, PumpEnv::new(1), &Options::tiny()).unwrap();
    db.put("a", "1").unwrap();
    db.flush().unwrap();
    hook.set(|op, name| {
        assert!(op != DiskOp::Create || !matches!(name, Some(FileName::Table(_))), "planned");
        false
    });
    assert_eq!(db.compact().unwrap_err().kind(), ErrorKind::Poisoned);
}

#[test]
fn a_strangers_file_with_the_highest_number_stopped_the_count() {
    let Bench { db, disk } = Bench::new(1);
    db.put("k", "v").unwrap();
    db.close().unwrap();
    let name = FileName::parse("18446744073709551615.sst").unwrap();
    disk.put_file(name, b"not ours");
    let error = open(disk, PumpEnv::new(2), &Options::tiny()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
}

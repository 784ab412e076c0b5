//! Trouble that ends without a restart: `resume()`, and the states of health around it.

use std::sync::Arc;

use esker::internals::faults::{DiskOp, Errno, Fault, FaultPlan, FaultRule, FileClass, When};
use esker::internals::names::FileName;
use esker::internals::{CrashPolicy, SimDisk};
use esker::{Durability, ErrorKind, HealthState, WriteBatch, WriteOptions};

use crate::{Bench, entries, pair};

fn failing(when: When, op: DiskOp, class: FileClass) -> FaultPlan {
    let rule = FaultRule::new(when, Fault::Error(Errno::IO)).op(op).class(class);
    FaultPlan::new(1).rule(rule)
}

fn log_segments(disk: &SimDisk) -> Vec<FileName> {
    let names = disk.files().into_iter().map(|(name, _)| name);
    names.filter(|name| matches!(name, FileName::Log(_))).collect()
}

/// A store whose log is in doubt: `a` and `b` were written, a batch with `c` was refused.
fn fenced() -> Bench {
    let bench = Bench::new(1);
    let Bench { db, disk } = &bench;
    let users = db.keyspace("users").unwrap();
    let mut batch = WriteBatch::new();
    batch.put("a", "1");
    batch.put_in(&users, "a", "2");
    db.write(batch).unwrap();
    db.put("b", "3").unwrap();
    disk.set_faults(failing(When::Nth(1), DiskOp::Sync, FileClass::Log));
    let mut refused = WriteBatch::new();
    refused.put("c", "4");
    refused.put_in(&users, "c", "5");
    let sync = WriteOptions::durability(Durability::Sync);
    assert_eq!(db.write_with(refused, sync).unwrap_err().kind(), ErrorKind::Io);
    disk.set_faults(FaultPlan::new(1));
    assert!(matches!(db.health(), HealthState::WriteFenced(_)));
    assert_eq!(db.put("d", "6").unwrap_err().kind(), ErrorKind::ReadOnly);
    bench
}

/// What [`fenced`] acknowledged, and what was written since.
fn holds_what_was_acknowledged(bench: &Bench, since: &[(String, String)]) {
    let users = bench.db.keyspace("users").unwrap();
    let expected = [&[pair("a", "1"), pair("b", "3")], since].concat();
    assert_eq!(entries(&bench.db), expected);
    assert_eq!(entries(&users), [pair("a", "2")]);
}

#[test]
fn t6_after_a_resume_no_older_log_is_needed_and_no_refused_batch_comes_back() {
    let bench = fenced();
    let before = log_segments(&bench.disk);
    bench.db.resume().unwrap();
    assert!(matches!(bench.db.health(), HealthState::Healthy));
    let after = log_segments(&bench.disk);
    assert!(after.len() == 1 && !before.contains(&after[0]), "{before:?} became {after:?}");
    for policy in [CrashPolicy::LoseUnsynced, CrashPolicy::ProcessCrash] {
        let crashed = Bench::on(bench.disk.crash(policy, 1), 2);
        holds_what_was_acknowledged(&crashed, &[]);
    }
    bench.db.put("d", "6").unwrap();
    bench.db.sync().unwrap();
    let crashed = bench.disk.crash(CrashPolicy::LoseUnsynced, 1);
    holds_what_was_acknowledged(&Bench::on(crashed, 2), &[pair("d", "6")]);
}

#[test]
fn a_resume_moves_no_snapshot_and_no_iterator() {
    let Bench { db, disk } = fenced();
    let (snapshot, mut iter) = (db.snapshot(), db.iter());
    db.resume().unwrap();
    db.put("a", "later").unwrap();
    assert_eq!(snapshot.get("a").unwrap().unwrap(), "1");
    assert_eq!(iter.next().unwrap().unwrap().1, "1");
    assert_eq!(iter.count(), 1);
    db.compact().unwrap();
    assert_eq!(snapshot.get("a").unwrap().unwrap(), "1");
    drop(disk);
}

#[test]
fn a_resume_fails_at_any_operation_of_the_disk_and_succeeds_later() {
    let mut failed = 0;
    for k in 1.. {
        let bench = fenced();
        let rule = FaultRule::new(When::Nth(k), Fault::Error(Errno::IO));
        bench.disk.set_faults(FaultPlan::new(1).rule(rule));
        let resumed = bench.db.resume();
        let fell = bench.disk.faults_fired() > 0;
        bench.disk.set_faults(FaultPlan::new(1));
        if resumed.is_err() {
            failed += 1;
            let crashed = bench.disk.crash(CrashPolicy::ProcessCrash, k);
            drop(Bench::on(crashed, 2));
            bench.db.resume().unwrap();
        }
        bench.db.put("d", "6").unwrap();
        holds_what_was_acknowledged(&bench, &[pair("d", "6")]);
        let crashed = bench.disk.crash(CrashPolicy::ProcessCrash, k);
        holds_what_was_acknowledged(&Bench::on(crashed, 2), &[pair("d", "6")]);
        if !fell {
            break;
        }
    }
    assert!(failed > 10, "{failed} operations of a resume could fail");
}

#[test]
fn a_resume_of_a_healthy_store_touches_nothing() {
    let Bench { db, disk } = Bench::new(2);
    db.put("a", "1").unwrap();
    let before = disk.operations();
    db.resume().unwrap();
    assert_eq!(disk.operations(), before);
}

#[test]
fn background_work_that_keeps_failing_is_said_and_hinders_nobody() {
    let Bench { db, disk } = Bench::new(3);
    disk.set_faults(failing(When::From(1), DiskOp::Create, FileClass::Table));
    db.put("a", "1").unwrap();
    assert_eq!(db.flush().unwrap_err().kind(), ErrorKind::Io);
    let HealthState::CompactionStopped(error) = db.health() else {
        panic!("{:?}", db.health());
    };
    assert_eq!(error.kind(), ErrorKind::Io);
    db.put("b", "2").unwrap();
    assert_eq!(entries(&db), [pair("a", "1"), pair("b", "2")]);
    disk.set_faults(FaultPlan::new(1));
    db.resume().unwrap();
    assert!(matches!(db.health(), HealthState::Healthy));
    db.settle().unwrap();
    assert_eq!(db.stats().flushes, 2);
}

#[test]
fn a_closed_store_does_not_resume() {
    let Bench { db, disk } = Bench::new(4);
    let other = db.clone();
    db.close().unwrap();
    assert_eq!(other.resume().unwrap_err().kind(), ErrorKind::Closed);
    assert!(matches!(other.health(), HealthState::Closed));
    drop(Arc::clone(&disk));
}

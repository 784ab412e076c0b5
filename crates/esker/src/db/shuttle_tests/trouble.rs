//! Disks that fail beside writers, closes and resumes: each call ends, a write that was refused is
//! seen by nobody, and one that was acknowledged is kept.

use std::sync::Arc;

use super::{Bench, get, is_closed, join, play, spawn, value};
use crate::base::error::ErrorKind;
use crate::vfs::faults::{DiskOp, Errno, Fault, FaultPlan, FaultRule, FileClass, When};
use crate::vfs::sim::{CrashPolicy, SimDisk};
use crate::{Db, Keyspace, WriteBatch, WriteOptions};

/// A disk on which no table can be made: flushes fail, then pause, and writers wait for them.
fn without_tables() -> Arc<SimDisk> {
    let disk = SimDisk::new();
    Bench::on(disk.clone()).close();
    let rule = FaultRule::new(When::From(1), Fault::Error(Errno::IO));
    disk.set_faults(FaultPlan::new(1).rule(rule.op(DiskOp::Create).class(FileClass::Table)));
    disk
}

pub(super) fn a_close_beside_writers_that_wait_for_failing_flushes() {
    let disk = without_tables();
    let Bench { db, .. } = Bench::on(disk.clone());
    let writers: Vec<_> = ["a", "b"]
        .into_iter()
        .map(|key| {
            let db = db.clone();
            spawn(move || {
                let mut acknowledged = 0;
                for n in 1..=12 {
                    match db.put(key, value(n, 250)) {
                        Ok(()) => acknowledged = n,
                        Err(error) if error.kind() == ErrorKind::Busy => {}
                        Err(error) => assert!(is_closed(&error), "{error}"),
                    }
                }
                acknowledged
            })
        })
        .collect();
    // It may say that what is large could not be flushed.
    let _ = db.close();
    let acknowledged = join(writers);
    disk.set_faults(FaultPlan::new(1));
    let reopened = Bench::on(disk);
    assert_eq!(vec![get(&reopened.db, "a"), get(&reopened.db, "b")], acknowledged);
    reopened.close();
}

/// How often a writer may have to resume: once for each sync that was under way beside it.
const RESUMES_MAX: usize = 4;

/// Writes ascending numbers, synced; resumes where one is refused. The last number acknowledged.
fn write_and_resume(db: &Db, here: &Keyspace) -> u64 {
    let (mut acknowledged, mut resumes) = (0, 0);
    for n in 1..=5 {
        let mut batch = WriteBatch::new();
        batch.put_in(here, "n", value(n, 250));
        match db.write_with(batch, WriteOptions::sync()) {
            Ok(()) => acknowledged = n,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::ReadOnly), "{error}");
                assert_eq!(get(here, "n"), acknowledged, "a refused write is seen");
                db.resume().expect("the disk is well again");
                resumes += 1;
                assert!(resumes <= RESUMES_MAX, "it is refused again and again");
            }
        }
    }
    acknowledged
}

/// One sync of the log fails, and loses what it was to keep; two keyspaces hold something.
pub(super) fn resumes_beside_each_other_and_a_sync() {
    let bench = Bench::new();
    let there = bench.db.keyspace("there").expect("it is created");
    let rule = FaultRule::new(When::Nth(3), Fault::SyncLost);
    bench.disk.set_faults(FaultPlan::new(1).rule(rule.op(DiskOp::Sync).class(FileClass::Log)));
    let writers = [(*bench.db).clone(), there.clone()].map(|here| {
        let db = bench.db.clone();
        spawn(move || write_and_resume(&db, &here))
    });
    let _ = bench.db.sync();
    let acknowledged = join(writers);
    drop(there);
    let disk = Arc::clone(&bench.disk);
    let cut = disk.crash(CrashPolicy::LoseUnsynced, 1);
    for after in [bench.reopened(), Bench::on(cut)] {
        let there = after.db.keyspace("there").expect("it is there");
        assert_eq!(vec![get(&after.db, "n"), get(&there, "n")], acknowledged, "something is lost");
        drop(there);
        after.close();
    }
}

#[test]
fn a_close_ends_writers_that_are_stalled() {
    play(a_close_beside_writers_that_wait_for_failing_flushes);
}

#[test]
fn writes_go_on_after_resumes() {
    play(resumes_beside_each_other_and_a_sync);
}

//! `verify` and `repair` where each operation of the disk fails once, in every way that it can.
//!
//! Counted in a run without faults, then struck one by one. What comes of it is right, or an error
//! that says what was done to which file; the store that is looked at is never written to, and the
//! new one is whole or none.

use std::sync::Arc;

use esker::internals::faults::{DiskOp, Errno, Fault, FileClass};
use esker::internals::names::FileName;
use esker::internals::strike::{Look, Met, Strike};
use esker::internals::{CrashPolicy, Disk, PumpEnv, SimDisk, open, repair, verify};
use esker::{Depth, Error, Options, RepairReport};

use crate::Bench;
use crate::repair::{Contents, assert_losses_cover, contents, contents_of, opened};
use crate::verify::{picture, tables};

const SPOILED: [Fault; 3] = [Fault::FlipBit, Fault::Zero, Fault::Misdirect];

/// A killed store of few tables, two keyspaces, and a log.
pub fn small_store() -> Arc<SimDisk> {
    let Bench { db, disk } = Bench::new(31);
    let users = db.keyspace("users").unwrap();
    for round in 0..3 {
        for i in 0..14 {
            db.put(format!("{:02}", i * 5 % 17), format!("{round} {}", "x".repeat(40))).unwrap();
        }
        db.delete(format!("{round:02}")).unwrap();
        users.put(format!("{round}"), "user").unwrap();
        db.flush().unwrap();
        if round == 0 {
            db.compact().unwrap();
        }
    }
    for i in 0..8 {
        db.put(format!("{i:02}"), "in the log").unwrap();
    }
    db.sync().unwrap();
    db.put("last", "one").unwrap();
    disk.crash(CrashPolicy::ProcessCrash, 1)
}

/// Stores to look at, and what they held before they were damaged.
fn stores() -> Vec<(&'static str, Arc<SimDisk>, Contents)> {
    let sound = small_store();
    let expected = contents_of(&sound);
    let damaged = sound.crash(CrashPolicy::ProcessCrash, 1);
    let (table, _) = tables(&damaged)[1];
    damaged.damage(table, 100, 1);
    let files = damaged.files();
    let log = files.iter().find(|(name, bytes)| matches!(name, FileName::Log(_)) && *bytes > 200);
    damaged.damage(log.expect("there is a log").0, 140, 1);
    vec![("sound", sound, expected.clone()), ("damaged", damaged, expected)]
}

fn copy(disk: &SimDisk) -> Arc<SimDisk> {
    disk.crash(CrashPolicy::ProcessCrash, 1)
}

fn repaired(from: &SimDisk, to: &Arc<SimDisk>) -> esker::Result<RepairReport> {
    let to: Arc<dyn Disk> = to.clone();
    repair(from, &to, 99)
}

/// What `work` does to `disk`.
fn watched(disk: &SimDisk, work: impl FnOnce()) -> Vec<Met> {
    disk.arm(Some(Strike::never(Look::AtOperations)));
    work();
    disk.arm(None).expect("it was armed").into_met()
}

/// `work` with a fault at one operation of `disk`.
fn struck<T>(disk: &SimDisk, n: u64, fault: Fault, work: impl FnOnce() -> T) -> T {
    disk.arm(Some(Strike::at(n, fault)));
    let done = work();
    assert!(disk.arm(None).is_some_and(|strike| strike.fell() == 1), "operation {n}: {fault:?}");
    done
}

/// Every operation with every one of these faults that can happen to it.
fn cases<'a>(met: &'a [Met], faults: &'a [Fault]) -> impl Iterator<Item = (u64, &'a Met, Fault)> {
    met.iter().zip(1..).flat_map(move |(met, n)| {
        let faults = faults.iter().copied().filter(|fault| fault.can_happen_to(met.op));
        faults.map(move |fault| (n, met, fault))
    })
}

/// A read of a log or a manifest that is wrong at the very end looks as after a crash.
fn may_look_like_a_crash(met: &Met, fault: Fault) -> bool {
    let has_tail = matches!(met.class, Some(FileClass::Log | FileClass::Manifest));
    has_tail && SPOILED.contains(&fault)
}

fn assert_names_file_and_operation(error: &Error, met: &Met) {
    let text = error.to_string();
    let file = match met.class {
        None => "",
        Some(FileClass::Current) => "CURRENT",
        Some(FileClass::Lock) => "LOCK",
        Some(FileClass::Reserve) => "RESERVE",
        Some(FileClass::Manifest) => "MANIFEST",
        Some(FileClass::Log) => ".log",
        Some(FileClass::Table) => ".sst",
        Some(FileClass::Spare) => ".spare",
    };
    assert!(text.contains(file) && text.contains(&met.op.to_string()), "{met:?}: {text}");
}

#[test]
fn whatever_fails_where_a_repair_reads_the_repair_is_right_or_says_so() {
    for (kind, from, expected) in stores() {
        let met = watched(&from, || drop(repaired(&from, &SimDisk::new())));
        let reads = [DiskOp::List, DiskOp::Lock, DiskOp::Open, DiskOp::Read];
        assert!(met.iter().all(|met| reads.contains(&met.op)), "it only reads: {met:?}");
        let faults = [Fault::Error(Errno::IO), Fault::Error(Errno::MFILE)];
        let faults = [&faults[..], &SPOILED].concat();
        let (before, sound) = (picture(&from), kind == "sound");
        for (n, met, fault) in cases(&met, &faults) {
            let (from, to) = (copy(&from), SimDisk::new());
            let done = struck(&from, n, fault, || repaired(&from, &to));
            assert!(picture(&from) == before);
            let report = match done {
                Ok(report) => report,
                Err(error) => {
                    assert_names_file_and_operation(&error, met);
                    assert!(to.files().iter().all(|(name, _)| *name == FileName::Lock));
                    continue;
                }
            };
            assert_eq!(verify(&*to, Depth::Full).unwrap().findings, []);
            let found = contents(&opened(&to));
            if may_look_like_a_crash(met, fault) {
                continue;
            }
            assert_losses_cover(&report, &expected, &found);
            assert!(!sound || report.losses.is_empty(), "{met:?} {fault:?}: {report:?}");
        }
    }
}

#[test]
fn whatever_fails_where_a_repair_writes_there_is_a_whole_store_or_none() {
    let from = small_store();
    let expected = contents_of(&from);
    let to = SimDisk::new();
    let met = watched(&to, || drop(repaired(&from, &to)));
    let faults = [
        Fault::Error(Errno::IO),
        Fault::Error(Errno::NOSPC),
        Fault::Error(Errno::ROFS),
        Fault::Short(1, Errno::IO),
        Fault::Short(100, Errno::NOSPC),
        Fault::SyncLost,
    ];
    for (n, met, fault) in cases(&met, &faults) {
        let to = SimDisk::new();
        let done = struck(&to, n, fault, || repaired(&from, &to));
        let is_done = done.is_ok();
        for policy in [
            CrashPolicy::LoseUnsynced,
            CrashPolicy::KeepAll,
            CrashPolicy::DirectorySubset,
            CrashPolicy::OnlyRemovesKept,
            CrashPolicy::NamesLost,
        ] {
            let left = to.crash(policy, n);
            let is_empty = left.files().iter().all(|(name, _)| *name == FileName::Lock);
            match open(left.clone(), PumpEnv::new(1), &Options::tiny()) {
                Ok(_) if is_empty => assert!(!is_done),
                Ok(db) => {
                    let found = contents(&db);
                    let is_new = !is_done && found.values().all(|of| of.is_empty());
                    assert!(is_new || found == expected, "{met:?} {fault:?} {policy:?}");
                }
                Err(_) => assert!(!is_done, "{met:?} {fault:?} {policy:?}"),
            }
        }
        match done {
            Ok(_) => assert_eq!(contents(&opened(&to)), expected),
            Err(error) => {
                assert_names_file_and_operation(&error, met);
                assert!(to.files().iter().all(|(name, _)| *name == FileName::Lock), "{n}: {to:?}");
                repaired(&from, &to).expect("the directory is as good as new");
            }
        }
    }
}

#[test]
fn whatever_fails_where_verify_reads_is_a_finding_or_an_error() {
    for (kind, disk, _) in stores() {
        let before = picture(&disk);
        for depth in [Depth::Fast, Depth::Full] {
            let met = watched(&disk, || drop(verify(&*disk, depth)));
            let unharmed = verify(&*disk, depth).unwrap();
            let faults = [&[Fault::Error(Errno::IO)], &SPOILED[..]].concat();
            for (n, met, fault) in cases(&met, &faults) {
                let disk = copy(&disk);
                let done = struck(&disk, n, fault, || verify(&*disk, depth));
                assert!(picture(&disk) == before, "verify changes nothing");
                match done {
                    Err(error) => assert_names_file_and_operation(&error, met),
                    Ok(_) if may_look_like_a_crash(met, fault) => {}
                    // Another read of that length may have found the same, or there was none.
                    Ok(_) if fault == Fault::Misdirect => {}
                    Ok(report) => assert!(
                        !report.findings.is_empty() || (kind, depth) == ("damaged", Depth::Fast),
                        "{kind} {depth:?} {met:?} {fault:?}: {report:?} instead of {unharmed:?}"
                    ),
                }
            }
        }
    }
}

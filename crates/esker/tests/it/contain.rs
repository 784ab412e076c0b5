//! Damage that an open store meets: who is told, who goes on, and what is left alone.

use std::sync::Arc;

use esker::internals::faults::{DiskOp, Errno, Fault, FaultPlan, FaultRule, FileClass, When};
use esker::internals::names::FileName;
use esker::internals::{CrashPolicy, PumpEnv, SimDisk, open, verify_file};
use esker::{Depth, ErrorKind, HealthState, Options};

use crate::Bench;
use crate::verify::{picture, tables};

/// A store whose default keyspace has several tables in L1 or deeper, and reopened so that nothing
/// of them is in memory.
fn store() -> Bench {
    let Bench { db, disk } = Bench::new(21);
    for i in 0..400 {
        db.put(format!("{i:03}"), format!("value {i} {}", "x".repeat(60))).unwrap();
    }
    db.keyspace("other").unwrap().put("k", "v").unwrap();
    db.settle().unwrap();
    db.close().unwrap();
    Bench::on(disk, 22)
}

/// Damages the first block of a table and meets it by a read.
fn damaged(bench: &Bench) -> (FileName, String) {
    let (table, _) = tables(&bench.disk)[1];
    bench.disk.damage(table, 100, 1);
    let failed =
        (0..400).find_map(|i| bench.db.get(format!("{i:03}")).err().map(|error| (i, error)));
    let (key, error) = failed.expect("some key was in the block");
    assert_eq!(error.kind(), ErrorKind::Corruption);
    (table, format!("{key:03}"))
}

#[test]
fn a_read_that_meets_damage_marks_its_keys_and_others_go_on() {
    let bench = store();
    assert!(bench.db.stats().corrupt_ranges.is_empty());
    let (table, key) = damaged(&bench);
    let stats = bench.db.stats();
    assert!(matches!(stats.health, HealthState::CorruptRanges(_)), "{:?}", stats.health);
    let [range] = &stats.corrupt_ranges[..] else { panic!("{:?}", stats.corrupt_ranges) };
    assert_eq!((range.file.as_str(), range.keyspace.as_str()), (&*table.to_string(), "default"));
    assert!(range.level > 0);
    let is_inside = |key: &str| {
        range.first_key.as_slice() <= key.as_bytes() && key.as_bytes() <= range.last_key.as_slice()
    };
    assert!(is_inside(&key));
    let mut refused = 0;
    for i in 0..400 {
        let key = format!("{i:03}");
        match bench.db.get(&key) {
            Ok(value) => assert!(value.is_some()),
            Err(error) => {
                assert!(is_inside(&key), "{key}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused < 40, "a block and not a table: {refused}");
    bench.db.put(&key, "new").unwrap();
    assert_eq!(bench.db.get(&key).unwrap().unwrap(), "new", "what is newer is not touched");
}

#[test]
fn no_merge_takes_a_damaged_table_in_and_others_go_on() {
    let bench = store();
    let (table, _) = damaged(&bench);
    let before = bench.disk.bytes(table).unwrap();
    for round in 0..6 {
        for i in 0..100 {
            bench
                .db
                .put(format!("{:03}", i * 4), format!("round {round} {}", "y".repeat(60)))
                .unwrap();
        }
        bench.db.flush().unwrap();
    }
    assert!(bench.db.stats().compactions > 0);
    assert_eq!(bench.disk.bytes(table), Some(before), "it stays as it is");
    let error = bench.db.compact().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
    assert!(error.to_string().contains(&table.to_string()), "{error}");
    assert!(error.to_string().contains("repair"), "it says what to do: {error}");
    // It ends, whether or not something was due that the damage bars.
    let settled = bench.db.settle();
    assert!(
        settled.is_ok_and(|()| bench.db.levels()[0].tables == 0) || bench.db.levels()[0].tables > 0
    );
    assert_eq!(bench.db.keyspace("other").unwrap().get("k").unwrap().unwrap(), "v");
    for i in 0..100 {
        let key = format!("{:03}", i * 4);
        assert!(bench.db.get(&key).unwrap().unwrap().starts_with(b"round 5"), "{key}");
    }
    let pictured = picture(&bench.disk).len();
    bench.disk.damage(table, 100, 1);
    bench.db.compact().unwrap();
    assert!(bench.db.stats().corrupt_ranges.is_empty(), "whole again: the mark is gone");
    assert!(picture(&bench.disk).len() < pictured);
    bench.db.check().unwrap();
}

#[test]
fn a_read_that_is_spoiled_on_its_way_marks_nothing() {
    let bench = store();
    // The first read is of the filter, which a get can do without.
    let rule = FaultRule::new(When::Nth(2), Fault::FlipBit).op(DiskOp::Read);
    bench.disk.set_faults(FaultPlan::new(3).rule(rule.class(FileClass::Table)));
    assert_eq!(bench.db.get("200").unwrap_err().kind(), ErrorKind::Corruption);
    assert!(bench.db.stats().corrupt_ranges.is_empty());
    assert!(bench.db.get("200").unwrap().is_some());
}

/// Damages the first page of the filter of a table.
fn damage_filter(disk: &SimDisk, table: FileName, bytes: u64) {
    let is_filter = |offset: &u64| {
        let copy = disk.crash(CrashPolicy::ProcessCrash, 1);
        copy.damage(table, *offset, 1);
        let findings = verify_file(&*copy, Depth::Full, table).unwrap().findings;
        findings.iter().any(|finding| finding.part.starts_with("filter page"))
    };
    let offset = (0..bytes).step_by(64).find(is_filter).expect("it has a filter");
    disk.damage(table, offset + 64, 1);
}

#[test]
fn a_damaged_filter_costs_no_read_and_the_next_merge_makes_a_new_one() {
    let sound = store();
    sound.db.close().unwrap();
    for (table, bytes) in tables(&sound.disk) {
        damage_filter(&sound.disk, table, bytes);
    }
    let bench = Bench::on(sound.disk, 23);
    let keys: Vec<_> = (0..400).map(|i| format!("{i:03}")).collect();
    for key in &keys {
        assert!(bench.db.get(key).unwrap().is_some(), "{key}");
        assert!(bench.db.get(format!("{key}?")).unwrap().is_none(), "{key}");
    }
    assert!(bench.db.multi_get(&keys).unwrap().iter().all(Option::is_some));
    let stats = bench.db.stats();
    assert!(matches!(stats.health, HealthState::CorruptRanges(_)), "{:?}", stats.health);
    assert!(stats.corrupt_ranges.len() > 2);
    for range in &stats.corrupt_ranges {
        assert!(range.is_readable && range.error.to_string().contains("filter page"), "{range:?}");
    }
    assert_eq!(bench.db.check().unwrap_err().kind(), ErrorKind::Corruption);
    assert_eq!(bench.db.scrub().unwrap_err().kind(), ErrorKind::Corruption);
    let scrubbed = bench.db.stats().corrupt_ranges;
    assert!(scrubbed.iter().all(|range| range.is_readable) && !scrubbed.is_empty());
    assert!(bench.db.get("200").unwrap().is_some());
    bench.db.compact().unwrap();
    let left = bench.db.stats().corrupt_ranges;
    assert!(left.iter().all(|range| range.keyspace == "other"), "a table that was alone: {left:?}");
    bench.db.keyspace("other").unwrap().put("k", "new").unwrap();
    bench.db.compact().unwrap();
    assert!(bench.db.stats().corrupt_ranges.is_empty());
    bench.db.check().unwrap();
}

#[test]
fn a_filter_that_the_device_refuses_once_costs_no_read() {
    for fault in [Fault::Error(Errno::IO), Fault::FlipBit, Fault::Zero] {
        let bench = store();
        let rule = FaultRule::new(When::Nth(1), fault).op(DiskOp::Read).class(FileClass::Table);
        bench.disk.set_faults(FaultPlan::new(3).rule(rule));
        assert!(bench.db.get("200").unwrap().is_some());
        assert_eq!(bench.disk.faults_fired(), 1);
        assert!(bench.db.stats().corrupt_ranges.is_empty());
    }
}

#[test]
fn a_scrub_finds_damage_before_anybody_needs_the_data() {
    let bench = store();
    bench.db.scrub().unwrap();
    let stats = bench.db.stats();
    assert_eq!((stats.scrub.passes, stats.scrub.is_running), (1, false));
    assert!(stats.scrub.bytes_read >= stats.scrub.bytes && stats.scrub.bytes > 0);
    let (table, _) = tables(&bench.disk)[1];
    bench.disk.damage(table, 100, 1);
    assert_eq!(bench.db.scrub().unwrap_err().kind(), ErrorKind::Corruption);
    let stats = bench.db.stats();
    assert_eq!(stats.scrub.passes, 2);
    assert_eq!(stats.corrupt_ranges[0].file, table.to_string());
    bench.disk.damage(table, 100, 1);
    bench.db.scrub().unwrap();
    assert!(bench.db.stats().corrupt_ranges.is_empty());
}

#[test]
fn a_scrub_takes_its_time() {
    let (disk, env) = (SimDisk::new(), PumpEnv::new(1));
    let db = open(disk, env.clone(), &Options::tiny()).unwrap();
    for i in 0..300 {
        db.put(format!("{i:04}"), "x".repeat(500)).unwrap();
    }
    db.settle().unwrap();
    let now = |env: &Arc<PumpEnv>| esker::internals::Env::now_nanos(&**env);
    let begun = now(&env);
    db.scrub().unwrap();
    let bytes = db.stats().scrub.bytes;
    let nanos = now(&env) - begun;
    assert!(bytes > 100 << 10, "{bytes}");
    assert!(nanos > bytes * 1_000_000_000 / (9 << 20), "{bytes} bytes in {nanos} ns");
}

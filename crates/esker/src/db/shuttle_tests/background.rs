//! Background work beside readers and writers: no read ever meets a moment at which something is
//! neither here nor there, and a snapshot does not move.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Bench, get, join, numbers, play, spawn, value};
use crate::vfs::sim::CrashPolicy;
use crate::{Db, Keyspace, WriteBatch};

/// Ascending numbers under one key, so long that every fifth freezes a memtable.
fn write_numbers(db: &Db, count: u64, acknowledged: &AtomicU64) {
    for n in 1..=count {
        db.put("n", value(n, 250)).expect("it is written");
        acknowledged.store(n, Ordering::Relaxed);
    }
}

/// By a get and by a scan: the number that grows, and the one that is always there.
fn read_numbers(db: &Db, acknowledged: &AtomicU64, times: usize) {
    let mut last = 0;
    for _ in 0..times {
        let told = acknowledged.load(Ordering::Relaxed);
        let n = get(db, "n");
        assert!(n >= told.max(last), "{n}, though {told} was acknowledged and {last} seen");
        let told = acknowledged.load(Ordering::Relaxed).max(n);
        let scanned = numbers(db.range("m"..));
        last = scanned.iter().find(|(key, _)| key == "n").map_or(0, |(_, n)| *n);
        assert!(last >= told, "a scan shows {last}, though {told} was acknowledged or seen");
        assert_eq!(get(db, "base"), 7, "what was always there");
    }
}

pub(super) fn reads_beside_flushes_and_rotations() {
    let bench = Bench::new();
    bench.db.put("base", value(7, 20)).expect("it is written");
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writer = {
        let (db, acknowledged) = (bench.db.clone(), Arc::clone(&acknowledged));
        spawn(move || write_numbers(&db, 14, &acknowledged))
    };
    let flusher = {
        let db = bench.db.clone();
        spawn(move || db.flush().expect("it is flushed"))
    };
    read_numbers(&bench.db, &acknowledged, 3);
    join([writer, flusher]);
    let reopened = bench.reopened();
    assert_eq!((get(&reopened.db, "n"), get(&reopened.db, "base")), (14, 7));
    reopened.close();
}

/// Tables over each other, some with tombstones: eight keys of which every other one is deleted.
fn filled() -> Bench {
    let bench = Bench::new();
    for round in 1..=2 {
        for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            bench.db.put(key, value(round, 20)).expect("it is written");
        }
        bench.db.flush().expect("it is flushed");
    }
    for key in ["b", "d", "f", "h"] {
        bench.db.delete(key).expect("it is deleted");
    }
    bench
}

const LEFT: [(&str, u64); 4] = [("a", 2), ("c", 2), ("e", 2), ("g", 2)];

fn left() -> Vec<(String, u64)> {
    LEFT.map(|(key, n)| (key.to_owned(), n)).to_vec()
}

/// Overwrites what is there, and what is not.
fn overwrite(db: &Db) {
    for key in ["a", "b", "g", "h"] {
        db.put(key, value(3, 250)).expect("it is written");
    }
    db.delete("c").expect("it is deleted");
}

pub(super) fn snapshots_and_iterators_beside_merges() {
    let bench = filled();
    let snapshot = bench.db.snapshot();
    let mut forward = bench.db.iter();
    let first = forward.next().expect("there are four").expect("it can be read");
    assert_eq!(first.0, "a");
    let writer = {
        let db = bench.db.clone();
        spawn(move || overwrite(&db))
    };
    let merger = {
        let db = bench.db.clone();
        spawn(move || db.compact().expect("it is merged"))
    };
    assert_eq!(numbers(snapshot.iter()), left(), "a snapshot moves");
    assert_eq!(snapshot.get("b").expect("it can be read"), None, "a deleted key comes back");
    let rest: Vec<_> = numbers(forward);
    assert_eq!(rest, left()[1..], "an iterator sees what was written later");
    join([writer, merger]);
    let backward: Vec<_> =
        snapshot.iter().rev().map(|entry| entry.expect("it can be read").0).collect();
    assert_eq!(backward, ["g", "e", "c", "a"], "a snapshot moves");
    drop(snapshot);
    let expected =
        [("a", 3), ("b", 3), ("e", 2), ("g", 3), ("h", 3)].map(|(key, n)| (key.to_owned(), n));
    assert_eq!(numbers(bench.db.iter()), expected);
    let reopened = bench.reopened();
    assert_eq!(numbers(reopened.db.iter()), expected);
    reopened.close();
}

/// Snapshots that come and go while what they see is superseded, flushed and merged.
pub(super) fn snapshots_taken_beside_flushes_and_merges() {
    let bench = Bench::new();
    bench.db.put("n", value(1, 20)).expect("it is written");
    let writer = {
        let db = bench.db.clone();
        spawn(move || {
            for n in 2..=12 {
                db.put("n", value(n, 200)).expect("it is written");
            }
        })
    };
    let merger = {
        let db = bench.db.clone();
        spawn(move || {
            for _ in 0..2 {
                db.flush().expect("it is flushed");
            }
            db.compact().expect("it is merged");
        })
    };
    let mut taken: Vec<(crate::Snapshot, Vec<(String, u64)>)> = Vec::new();
    for _ in 0..3 {
        let snapshot = bench.db.snapshot();
        let seen = numbers(snapshot.iter());
        assert!(taken.last().is_none_or(|(_, before)| before[0].1 <= seen[0].1), "time runs back");
        taken.push((snapshot, seen));
        still(&taken);
    }
    join([writer, merger]);
    bench.db.flush().expect("it is flushed");
    still(&taken);
    drop(taken);
    bench.close();
}

fn still(taken: &[(crate::Snapshot, Vec<(String, u64)>)]) {
    for (snapshot, seen) in taken {
        assert_eq!(numbers(snapshot.iter()), *seen, "a snapshot moves");
    }
}

fn of_both(here: &Keyspace, there: &Keyspace) -> (u64, u64) {
    (get(here, "n"), get(there, "n"))
}

/// A power cut while one of two keyspaces is flushed: it leaves both with the same batch.
pub(super) fn a_power_cut_beside_the_flush_of_one_keyspace() {
    let bench = Bench::new();
    let there = bench.db.keyspace("there").expect("it is created");
    let writer = {
        let (db, there) = (bench.db.clone(), there.clone());
        spawn(move || {
            for n in 1..=4 {
                let mut batch = WriteBatch::new();
                batch.put("n", value(n, 20));
                batch.put_in(&there, "n", value(n, 20));
                db.write(batch).expect("it is written");
            }
        })
    };
    let flusher = {
        let db = bench.db.clone();
        let id = there.core().id;
        spawn(move || drop(db.store().flush_keyspace(id).expect("it is flushed")))
    };
    // Somewhere in the middle, and at the end.
    bench.db.get("n").expect("it can be read");
    let disk = Arc::clone(&bench.disk);
    let mut cuts = vec![disk.crash(CrashPolicy::LoseUnsynced, 1)];
    join([writer, flusher]);
    cuts.push(disk.crash(CrashPolicy::LoseUnsynced, 1));
    drop(there);
    bench.close();
    for cut in cuts {
        let after = Bench::on(cut);
        let there = after.db.keyspace("there").expect("it is there");
        let (n, m) = of_both(&after.db, &there);
        assert_eq!(n, m, "a batch is torn");
        drop(there);
        after.close();
    }
}

#[test]
fn nothing_is_missed_beside_flushes() {
    play(reads_beside_flushes_and_rotations);
}

#[test]
fn snapshots_and_iterators_stand_still_beside_merges() {
    play(snapshots_and_iterators_beside_merges);
}

#[test]
fn snapshots_stand_still_beside_flushes_and_merges() {
    play(snapshots_taken_beside_flushes_and_merges);
}

#[test]
fn batches_are_whole_after_a_power_cut_beside_a_flush() {
    play(a_power_cut_beside_the_flush_of_one_keyspace);
}

//! Writers beside each other and beside readers: what is acknowledged is seen, in order, whole,
//! and kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Bench, get, join, number_of, play, spawn, value};
use crate::base::sync::thread::JoinHandle;
use crate::vfs::sim::{CrashPolicy, SimDisk};
use crate::{Db, Durability, Snapshot, WriteBatch, WriteOptions};

const WRITERS: usize = 3;
const WRITES: u64 = 3;

/// Writes numbers in ascending order, each under two keys in one batch.
fn write(db: &Db, writer: usize, n: u64, durability: Durability) {
    let mut batch = WriteBatch::new();
    batch.put(format!("left-{writer}"), value(n, 60));
    batch.put(format!("right-{writer}"), value(n, 60));
    db.write_with(batch, WriteOptions::durability(durability)).expect("it is written");
}

/// What a snapshot shows of one writer: the same number twice.
fn seen(snapshot: &Snapshot, writer: usize) -> u64 {
    let number = |side: &str| {
        let found = snapshot.get(format!("{side}-{writer}")).expect("it can be read");
        number_of(found.as_deref())
    };
    let (left, right) = (number("left"), number("right"));
    assert_eq!(left, right, "half of a batch is visible");
    left
}

/// What writers were told, kept outside of the store.
#[derive(Clone, Default)]
struct Told {
    acknowledged: Arc<[AtomicU64; WRITERS]>,
    synced: Arc<[AtomicU64; WRITERS]>,
}

fn all(of: &[AtomicU64; WRITERS]) -> Vec<u64> {
    of.iter().map(|n| n.load(Ordering::Relaxed)).collect()
}

/// One writer: numbers from 1 on, every other one synced.
fn write_numbers(db: &Db, writer: usize, told: &Told) {
    for n in 1..=WRITES {
        let is_synced = (n + writer as u64).is_multiple_of(2);
        write(db, writer, n, if is_synced { Durability::Sync } else { Durability::Os });
        told.acknowledged[writer].store(n, Ordering::Relaxed);
        if is_synced {
            told.synced[writer].store(n, Ordering::Relaxed);
        }
        assert_eq!(seen(&db.snapshot(), writer), n, "an acknowledged write is visible");
    }
}

/// Snapshots one after the other: each shows at least what was acknowledged before, and nothing
/// older than the one before it; and it shows the same again.
fn read_numbers(db: &Db, told: &Told) {
    let mut last = vec![0; WRITERS];
    for _ in 0..3 {
        let acknowledged = all(&told.acknowledged);
        let snapshot = db.snapshot();
        let now: Vec<_> = (0..WRITERS).map(|writer| seen(&snapshot, writer)).collect();
        for writer in 0..WRITERS {
            assert!(now[writer] >= last[writer].max(acknowledged[writer]), "{now:?}");
            assert_eq!(seen(&snapshot, writer), now[writer], "a snapshot moves");
        }
        last = now;
    }
}

/// What is on a disk that a crash has left.
fn numbers_on(disk: Arc<SimDisk>) -> Vec<u64> {
    let after = Bench::on(disk);
    let snapshot = after.db.snapshot();
    let found = (0..WRITERS).map(|writer| seen(&snapshot, writer)).collect();
    drop(snapshot);
    after.close();
    found
}

fn at_least(found: &[u64], told: &[u64]) -> bool {
    found.iter().zip(told).all(|(found, told)| found >= told)
}

fn spawn_writers(db: &Db, told: &Told) -> Vec<JoinHandle<()>> {
    let begin = |writer| {
        let (db, told) = (db.clone(), told.clone());
        spawn(move || write_numbers(&db, writer, &told))
    };
    (0..WRITERS).map(begin).collect()
}

pub(super) fn writers_beside_each_other_and_a_reader() {
    let bench = Bench::new();
    let told = Told::default();
    let writers = spawn_writers(&bench.db, &told);
    read_numbers(&bench.db, &told);
    join(writers);
    let reopened = bench.reopened();
    let snapshot = reopened.db.snapshot();
    assert!((0..WRITERS).all(|writer| seen(&snapshot, writer) == WRITES));
    drop(snapshot);
    reopened.close();
}

pub(super) fn writers_beside_a_crash() {
    let bench = Bench::new();
    let told = Told::default();
    let writers = spawn_writers(&bench.db, &told);
    // Somewhere in the middle.
    bench.db.get("left-0").expect("it can be read");
    let (acknowledged, synced) = (all(&told.acknowledged), all(&told.synced));
    let killed = bench.disk.crash(CrashPolicy::ProcessCrash, 1);
    let cut = bench.disk.crash(CrashPolicy::LoseUnsynced, 1);
    join(writers);
    bench.close();
    assert!(at_least(&numbers_on(killed), &acknowledged), "{acknowledged:?} were acknowledged");
    assert!(at_least(&numbers_on(cut), &synced), "{synced:?} were acknowledged as synced");
}

pub(super) fn a_sync_covers_what_was_acknowledged_before() {
    let bench = Bench::new();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writer = {
        let (db, acknowledged) = (bench.db.clone(), Arc::clone(&acknowledged));
        spawn(move || {
            for n in 1..=8 {
                db.put("n", value(n, 400)).expect("it is written");
                acknowledged.store(n, Ordering::Relaxed);
            }
        })
    };
    let mut told = 0;
    for _ in 0..2 {
        let before = acknowledged.load(Ordering::Relaxed);
        bench.db.sync().expect("it is synced");
        told = before;
    }
    let cut = bench.disk.crash(CrashPolicy::LoseUnsynced, 1);
    join([writer]);
    bench.close();
    let after = Bench::on(cut);
    assert!(get(&after.db, "n") >= told, "{told} was synced");
    after.close();
}

#[test]
fn writers_see_their_writes_in_order_and_whole() {
    play(writers_beside_each_other_and_a_reader);
}

#[test]
fn a_crash_beside_writers_keeps_what_they_were_told() {
    play(writers_beside_a_crash);
}

#[test]
fn a_sync_beside_a_writer_and_its_rotations() {
    play(a_sync_covers_what_was_acknowledged_before);
}

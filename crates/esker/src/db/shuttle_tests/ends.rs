//! Ends of a store and of keyspaces beside everything else: each call ends, with its answer or
//! `Closed`, and what was acknowledged is in the store that is opened next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Bench, get, is_closed, join, numbers, play, spawn, value};
use crate::vfs::Disk;
use crate::{Db, Result, WriteBatch};

/// Writes ascending numbers until the store is closed.
fn write_until_closed(db: &Db, acknowledged: &AtomicU64) {
    for n in 1..=16 {
        match db.put("n", value(n, 250)) {
            Ok(()) => acknowledged.store(n, Ordering::Relaxed),
            Err(error) => return assert!(is_closed(&error), "{error}"),
        }
    }
}

/// An answer, or `Closed`.
fn answered<T>(answer: Result<T>) {
    if let Err(error) = answer {
        assert!(is_closed(&error), "{error}");
    }
}

pub(super) fn a_close_beside_everything() {
    let bench = Bench::new();
    bench.db.put("base", value(7, 20)).expect("it is written");
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut iterator = bench.db.iter();
    let writer = {
        let (db, acknowledged) = (bench.db.clone(), Arc::clone(&acknowledged));
        spawn(move || write_until_closed(&db, &acknowledged))
    };
    let caller = {
        let db = bench.db.clone();
        spawn(move || {
            answered(db.flush());
            answered(db.compact());
            answered(db.sync());
        })
    };
    let reader = {
        let db = bench.db.clone();
        spawn(move || {
            answered(db.get("base"));
            answered(db.snapshot().iter().try_for_each(|entry| entry.map(drop)));
        })
    };
    let told = acknowledged.load(Ordering::Relaxed);
    let Bench { disk, db } = bench;
    db.close().expect("it closes");
    let second = Bench::on(disk.clone());
    assert!(get(&second.db, "n") >= told, "{told} was acknowledged before the close");
    second.close();
    join([writer, caller, reader]);
    let (_, base) = iterator.next().expect("iterators go on").expect("it can be read");
    assert_eq!(super::number_of(Some(&base)), 7);
    let reopened = Bench::on(disk);
    assert_eq!(get(&reopened.db, "n"), acknowledged.load(Ordering::Relaxed));
    reopened.db.check().expect("it is sound");
    reopened.close();
}

/// Whoever of two calls comes second waits for the first: the directory is free then.
pub(super) fn two_closes() {
    let bench = Bench::new();
    bench.db.put("n", value(1, 250)).expect("it is written");
    let Bench { disk, db } = bench;
    let closers: Vec<_> = (0..2)
        .map(|_| {
            let (db, disk) = (db.clone(), disk.clone());
            spawn(move || {
                db.close().expect("it closes");
                disk.lock().map(drop)
            })
        })
        .collect();
    drop(db);
    let locked = join(closers);
    // One may meet the other's lock, which is no store's.
    assert!(locked.iter().any(Result::is_ok), "{locked:?}");
    let reopened = Bench::on(disk);
    assert_eq!(get(&reopened.db, "n"), 1);
    reopened.close();
}

/// Nobody closes: the last handle of any kind does, in whichever thread it goes.
pub(super) fn the_last_handles_go_in_three_threads() {
    let bench = Bench::new();
    let store = Arc::downgrade(bench.db.store());
    let Bench { disk, db } = bench;
    for n in 1..=5 {
        db.put("n", value(n, 250)).expect("it is written");
    }
    let (snapshot, other) = (db.snapshot(), db.clone());
    let holders = [
        spawn(move || assert_eq!(numbers(snapshot.iter()), [("n".to_owned(), 5)])),
        spawn(move || other.put("n", value(6, 250)).expect("it is written")),
    ];
    drop(db);
    join(holders);
    assert_eq!(store.strong_count(), 0, "somebody holds a store without handles");
    let reopened = Bench::on(disk);
    assert_eq!(get(&reopened.db, "n"), 6);
    reopened.close();
}

/// Batches over two keyspaces, of which one goes: each is written whole or refused whole.
pub(super) fn a_drop_of_a_keyspace_beside_everything() {
    let bench = Bench::new();
    let there = bench.db.keyspace("there").expect("it is created");
    for n in 1..=5 {
        there.put("n", value(n, 250)).expect("it is written");
    }
    let mut iterator = there.iter();
    let writer = {
        let (db, there) = (bench.db.clone(), there.clone());
        spawn(move || {
            let mut acknowledged = 0;
            for n in 1..=4 {
                let mut batch = WriteBatch::new();
                batch.put("n", value(n, 20));
                batch.put_in(&there, "n", value(5 + n, 250));
                match db.write(batch) {
                    Ok(()) => acknowledged = n,
                    Err(error) => assert!(is_closed(&error), "{error}"),
                }
            }
            acknowledged
        })
    };
    let caller = {
        let (db, there) = (bench.db.clone(), there.clone());
        spawn(move || {
            answered(db.flush());
            if let Ok(n) = there.get("n") {
                assert!(super::number_of(n.as_deref()) >= 5, "what was there is missed");
            }
            answered(there.iter().try_for_each(|entry| entry.map(drop)));
            answered(db.compact());
        })
    };
    bench.db.drop_keyspace("there").expect("it is dropped");
    assert!(there.get("n").is_err_and(|error| is_closed(&error)), "a dropped keyspace answers");
    let again = bench.db.keyspace("there").expect("it is created anew");
    assert_eq!(again.get("n").expect("it can be read"), None, "a dropped key comes back");
    let acknowledged = join([writer])[0];
    join([caller]);
    let (_, five) = iterator.next().expect("iterators go on").expect("it can be read");
    assert_eq!(super::number_of(Some(&five)), 5);
    assert_eq!(get(&bench.db, "n"), acknowledged, "half of a batch was written, or none");
    drop((there, again, iterator));
    let reopened = bench.reopened();
    let there = reopened.db.keyspace("there").expect("it is there");
    assert_eq!((get(&reopened.db, "n"), get(&there, "n")), (acknowledged, 0));
    drop(there);
    reopened.close();
}

#[test]
fn a_close_ends_everything_and_keeps_what_was_acknowledged() {
    play(a_close_beside_everything);
}

#[test]
fn the_second_of_two_closes_waits_for_the_first() {
    play(two_closes);
}

#[test]
fn the_last_of_several_handles_closes() {
    play(the_last_handles_go_in_three_threads);
}

#[test]
fn a_keyspace_goes_beside_everything() {
    play(a_drop_of_a_keyspace_beside_everything);
}

//! Readers beside the writer in every order that the memory model allows, played by loom:
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release -p esker --lib loom_tests
//! ```
//!
//! Trees have nodes of three slots, so that one insert splits as many levels as a test wants; they
//! are filled before the threads start. Loom tries each way of interrupting a thread up to twice,
//! and each older value that a relaxed load may still return. It also fails when a vector search
//! would meet a store of another thread.

use std::sync::Arc;

use super::{ChunkPool, Memtable};
use crate::base::cursor::Cursor;
use crate::base::hash::key_hash;
use crate::base::key::{Kind, SeqNo, Tag};

fn put(seq: u64) -> Tag {
    Tag::new(SeqNo::new(seq), Kind::Put)
}

/// Keys that differ in their last byte, which is `n`.
fn key(n: u8) -> [u8; 2] {
    [b'k', n]
}

/// A tree with these keys, inserted in this order.
fn filled(keys: &[u8]) -> Arc<Memtable<3>> {
    let memtable = Arc::new(Memtable::with_width(0, &Arc::new(ChunkPool::new(4096, 0))));
    for n in keys {
        memtable.insert(&key(*n), put(1), b"old");
    }
    memtable
}

/// Plays `write` beside `read` in all orders.
fn beside(
    keys: &'static [u8],
    write: impl Fn(&Memtable<3>) + Copy + Send + Sync + 'static,
    read: impl Fn(&Arc<Memtable<3>>) + Copy + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 20_000;
    builder.check(move || {
        let memtable = filled(keys);
        let reader = {
            let memtable = Arc::clone(&memtable);
            loom::thread::spawn(move || read(&memtable))
        };
        write(&memtable);
        reader.join().expect("the reader");
        memtable.check();
    });
}

fn get(memtable: &Memtable<3>, n: u8) -> Option<(Tag, &[u8])> {
    memtable.get(&key(n), key_hash(&key(n)), SeqNo::MAX)
}

fn insert(memtable: &Memtable<3>, n: u8, seq: u64) {
    memtable.insert(&key(n), put(seq), b"new");
}

/// All that a cursor meets from the first key on.
fn walk(memtable: &Arc<Memtable<3>>) -> Vec<u8> {
    let mut cursor = memtable.cursor();
    let mut keys = Vec::new();
    cursor.seek_first().expect("no I/O");
    while cursor.valid() {
        keys.push(cursor.key()[1]);
        cursor.next().expect("no I/O");
    }
    keys
}

#[test]
fn a_get_beside_an_insert_into_its_leaf() {
    beside(
        &[10, 30],
        |memtable| insert(memtable, 20, 2),
        |memtable| {
            assert_eq!(get(memtable, 30), Some((put(1), &b"old"[..])));
            assert!(matches!(get(memtable, 20), None | Some((_, b"new"))));
        },
    );
}

#[test]
fn a_get_beside_a_split_of_the_root() {
    beside(
        &[10, 20, 30],
        |memtable| insert(memtable, 15, 2),
        |memtable| assert_eq!(get(memtable, 30), Some((put(1), &b"old"[..]))),
    );
}

#[test]
fn a_get_beside_a_split_of_a_leaf() {
    beside(
        &[10, 20, 30, 40],
        |memtable| {
            insert(memtable, 35, 2);
            insert(memtable, 37, 3);
        },
        |memtable| assert_eq!(get(memtable, 40), Some((put(1), &b"old"[..]))),
    );
}

#[test]
fn a_get_beside_a_split_of_all_levels() {
    // Ascending keys leave two slots to each node that is split, the last ones fill the path.
    beside(
        &[10, 20, 30, 40, 50, 60, 70, 80],
        |memtable| insert(memtable, 75, 2),
        |memtable| {
            assert_eq!(get(memtable, 80), Some((put(1), &b"old"[..])));
            assert_eq!(get(memtable, 99), None);
        },
    );
}

#[test]
fn a_get_beside_newer_versions_of_its_key() {
    beside(
        &[10, 20],
        |memtable| {
            insert(memtable, 20, 2);
            insert(memtable, 20, 3);
        },
        |memtable| {
            let (first, _) = get(memtable, 20).expect("it is there");
            let (second, value) = get(memtable, 20).expect("it is there");
            assert!(first <= second, "time runs forward");
            assert_eq!(value, if second == put(1) { &b"old"[..] } else { b"new" });
            let at_1 = memtable.get(&key(20), key_hash(&key(20)), SeqNo::new(1));
            assert_eq!(at_1, Some((put(1), &b"old"[..])));
        },
    );
}

#[test]
fn a_get_beside_a_key_without_the_common_prefix() {
    beside(
        &[10, 20, 30, 40],
        |memtable| memtable.insert(b"a", put(2), b"new"),
        |memtable| assert_eq!(get(memtable, 30), Some((put(1), &b"old"[..]))),
    );
}

#[test]
fn a_cursor_beside_a_split() {
    beside(
        &[10, 20, 30],
        |memtable| insert(memtable, 25, 2),
        |memtable| {
            let keys = walk(memtable);
            assert!(keys == [10, 20, 30] || keys == [10, 20, 25, 30], "{keys:?}");
        },
    );
}

#[test]
fn a_cursor_backward_beside_a_split() {
    beside(
        &[10, 20, 30],
        |memtable| insert(memtable, 25, 2),
        |memtable| {
            let mut cursor = memtable.cursor();
            let mut keys = Vec::new();
            cursor.seek_last().expect("no I/O");
            while cursor.valid() {
                keys.push(cursor.key()[1]);
                cursor.prev().expect("no I/O");
            }
            assert!(keys == [30, 20, 10] || keys == [30, 25, 20, 10], "{keys:?}");
        },
    );
}

#[test]
fn a_get_with_vectors_beside_the_freeze() {
    beside(
        &[10, 20],
        |memtable| {
            insert(memtable, 15, 2);
            memtable.freeze();
        },
        |memtable| assert_eq!(get(memtable, 20), Some((put(1), &b"old"[..]))),
    );
}

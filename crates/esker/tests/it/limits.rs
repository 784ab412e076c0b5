//! Bad input is refused before anything happens.

use esker::{Db, ErrorKind, Options, WriteBatch};

use crate::{Bench, entries, pair};

#[test]
fn keys_and_values_over_their_limits_are_refused_and_nothing_is_written() {
    let Bench { db, disk } = Bench::new(1);
    db.put("k", "v").unwrap();
    let before = disk.operations();
    let long_key = vec![b'k'; 65_536];
    let long_value = vec![b'v'; (64 << 20) + 1];
    assert_eq!(db.put(&long_key, "v").unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(db.put("k", &long_value).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(db.delete(&long_key).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut batch = WriteBatch::new();
    batch.put("fine", "v");
    batch.put(&long_key, "v");
    assert_eq!(db.write(batch).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(disk.operations(), before, "the disk was not touched");
    assert_eq!(entries(&db), [pair("k", "v")]);
}

#[test]
fn the_longest_key_and_a_value_over_every_block_size_are_kept() {
    let Bench { db, disk } = Bench::new(2);
    let (key, value) = (vec![b'k'; 65_535], vec![b'v'; 100_000]);
    db.put(&key, &value).unwrap();
    db.put("small", "v").unwrap();
    db.compact().unwrap();
    db.close().unwrap();
    let Bench { db, .. } = Bench::on(disk, 3);
    assert_eq!(&*db.get(&key).unwrap().unwrap(), &value[..]);
    assert_eq!(db.iter().count(), 2);
}

#[test]
fn a_batch_with_a_handle_of_another_store_is_refused() {
    let (one, other) = (Bench::new(3), Bench::new(4));
    let theirs = other.db.keyspace("users").unwrap();
    let mut batch = WriteBatch::new();
    batch.put("k", "v");
    batch.put_in(&theirs, "k", "v");
    assert_eq!(one.db.write(batch.clone()).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(entries(&one.db).is_empty());
    other.db.write(batch).unwrap();
    let snapshot = one.db.snapshot().keyspace(&theirs);
    assert_eq!(snapshot.get("k").unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(snapshot.iter().next().unwrap().is_err());
}

#[test]
fn options_that_contradict_each_other_create_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let error = Options::new().memory_budget(1 << 20).memtable_bytes(1 << 30).open(&path);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let error = Options::new().open_existing(&path);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(!path.exists());
    let error = Options::new().open_existing(dir.path());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn names_of_keyspaces_have_limits() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    for name in ["", &"x".repeat(256)] {
        assert_eq!(db.keyspace(name).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    db.keyspace(&"x".repeat(255)).unwrap();
    assert_eq!(db.keyspace("default").unwrap().name(), "default");
}

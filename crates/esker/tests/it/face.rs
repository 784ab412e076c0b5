//! Everything a user calls, as a user meets it.

use esker::{Db, Durability, ErrorKind, Options, WriteBatch, WriteOptions};

use crate::{Bench, entries, pair, text};

#[test]
fn what_was_put_is_got_until_it_is_deleted() {
    let Bench { db, .. } = Bench::new(1);
    db.put("k", "v").unwrap();
    assert_eq!(db.get("k").unwrap().unwrap(), "v");
    assert_eq!(db.get_with("k", |bytes| bytes.len()).unwrap(), Some(1));
    assert!(db.contains_key("k").unwrap());
    db.delete("k").unwrap();
    db.delete("never there").unwrap();
    assert_eq!(db.get("k").unwrap(), None::<esker::Value>);
    assert_eq!(db.get_with("k", |_| ()).unwrap(), None);
    assert!(!db.contains_key("k").unwrap());
}

#[test]
fn the_empty_key_and_the_empty_value_are_like_any_other() {
    let Bench { db, .. } = Bench::new(2);
    db.put("", "empty key").unwrap();
    db.put("empty value", "").unwrap();
    db.flush().unwrap();
    assert_eq!(db.get("").unwrap().unwrap(), "empty key");
    assert_eq!(db.get("empty value").unwrap().unwrap(), "");
    assert_eq!(entries(&db), [pair("", "empty key"), pair("empty value", "")]);
}

#[test]
fn multi_get_answers_in_the_order_of_the_question() {
    let Bench { db, .. } = Bench::new(3);
    db.put("a", "1").unwrap();
    db.flush().unwrap();
    db.put("b", "2").unwrap();
    let values = db.multi_get(["b", "missing", "a", "b"]).unwrap();
    let values: Vec<_> = values.into_iter().map(|v| v.map(|v| v.to_vec())).collect();
    assert_eq!(values, [Some(b"2".to_vec()), None, Some(b"1".to_vec()), Some(b"2".to_vec())]);
}

#[test]
fn a_batch_happens_in_its_order_and_over_keyspaces() {
    let Bench { db, .. } = Bench::new(4);
    let users = db.keyspace("users").unwrap();
    let mut batch = WriteBatch::new();
    batch.put("k", "first");
    batch.put("k", "last");
    batch.put_in(&users, "k", "theirs");
    batch.put_in(&users, "gone", "x");
    batch.delete_in(&users, "gone");
    db.write_with(batch, WriteOptions::sync()).unwrap();
    assert_eq!(entries(&db), [pair("k", "last")]);
    assert_eq!(entries(&users), [pair("k", "theirs")]);
    db.write(WriteBatch::new()).unwrap();
}

#[test]
fn ranges_are_walked_from_both_ends_and_meet() {
    let Bench { db, .. } = Bench::new(5);
    for (i, key) in ["a", "b", "c", "d", "e"].iter().enumerate() {
        db.put(key, i.to_string()).unwrap();
        if i == 2 {
            db.flush().unwrap();
        }
    }
    let keys = |iter: esker::Iter| -> String { iter.map(|kv| text(kv.unwrap()).0).collect() };
    assert_eq!(keys(db.range("b".."d")), "bc");
    assert_eq!(keys(db.range("b"..="d")), "bcd");
    assert_eq!(keys(db.range(.."c")), "ab");
    assert_eq!(keys(db.range("c"..)), "cde");
    assert_eq!(keys(db.range(..)), "abcde");
    assert_eq!(keys(db.range("d".."b")), "");
    assert_eq!(db.iter().rev().map(|kv| text(kv.unwrap()).0).collect::<String>(), "edcba");
    let mut iter = db.iter();
    let mut met = String::new();
    while let (Some(front), back) = (iter.next(), iter.next_back()) {
        met.push_str(&text(front.unwrap()).0);
        met.extend(back.map(|kv| text(kv.unwrap()).0));
    }
    assert_eq!(met, "aebdc");
    assert!(iter.next().is_none() && iter.next_back().is_none());
}

#[test]
fn a_prefix_is_a_range() {
    let Bench { db, .. } = Bench::new(6);
    for key in ["user", "user:", "user:1", "user:2", "user;", "v"] {
        db.put(key, "").unwrap();
    }
    let keys: Vec<_> = db.prefix("user:").map(|kv| text(kv.unwrap()).0).collect();
    assert_eq!(keys, ["user:", "user:1", "user:2"]);
}

#[test]
fn a_cursor_seeks_both_ways_and_steps_without_allocating() {
    let Bench { db, .. } = Bench::new(7);
    for key in ["b", "d", "f"] {
        db.put(key, key.to_uppercase()).unwrap();
    }
    let mut cursor = db.cursor();
    assert_eq!(cursor.key(), None, "a new cursor stands nowhere");
    assert!(cursor.seek("c").unwrap());
    assert_eq!((cursor.key(), cursor.value()), (Some(&b"d"[..]), Some(&b"D"[..])));
    assert!(cursor.seek_back("e").unwrap());
    assert_eq!(cursor.key(), Some(&b"d"[..]));
    assert!(cursor.seek_back("d").unwrap());
    assert_eq!(cursor.key(), Some(&b"d"[..]), "seek_back finds the key itself");
    assert!(cursor.next().unwrap());
    assert_eq!(cursor.key(), Some(&b"f"[..]));
    assert!(!cursor.next().unwrap());
    assert_eq!(cursor.key(), None);
    assert!(!cursor.seek("g").unwrap());
    assert!(!cursor.seek_back("a").unwrap());
    assert!(cursor.seek_last().unwrap() && cursor.prev().unwrap() && cursor.prev().unwrap());
    assert_eq!(cursor.key(), Some(&b"b"[..]));
    assert!(!cursor.prev().unwrap());
}

#[test]
fn a_snapshot_sees_one_commit_in_all_keyspaces_across_flush_and_merge() {
    let Bench { db, .. } = Bench::new(8);
    let users = db.keyspace("users").unwrap();
    db.put("k", "1").unwrap();
    users.put("u", "1").unwrap();
    let snapshot = db.snapshot();
    db.put("k", "2").unwrap();
    users.delete("u").unwrap();
    db.compact().unwrap();
    db.delete("k").unwrap();
    db.compact().unwrap();
    assert_eq!(snapshot.get("k").unwrap().unwrap(), "1");
    assert_eq!(snapshot.keyspace(&users).get("u").unwrap().unwrap(), "1");
    assert_eq!(snapshot.range(..).count(), 1);
    assert!(db.iter().next().is_none() && users.iter().next().is_none());
    drop(snapshot);
    db.put("x", "y").unwrap();
    db.compact().unwrap();
    assert_eq!(db.levels().iter().map(|level| level.tables).sum::<usize>(), 1);
}

#[test]
fn iterators_see_what_was_there_when_they_began_and_outlive_the_store() {
    let Bench { db, .. } = Bench::new(9);
    db.put("a", "1").unwrap();
    db.flush().unwrap();
    db.put("b", "2").unwrap();
    let iter = db.iter();
    db.put("c", "3").unwrap();
    db.delete("a").unwrap();
    db.compact().unwrap();
    db.close().unwrap();
    let walked = std::thread::spawn(move || iter.map(|kv| text(kv.unwrap())).collect::<Vec<_>>());
    assert_eq!(walked.join().unwrap(), [pair("a", "1"), pair("b", "2")]);
}

#[test]
fn keyspaces_are_separate_and_can_be_dropped() {
    let Bench { db, disk } = Bench::new(10);
    let users = db.keyspace("users").unwrap();
    users.put("k", "v").unwrap();
    assert_eq!(db.get("k").unwrap(), None::<esker::Value>);
    assert_eq!(db.keyspaces(), ["default", "users"]);
    db.drop_keyspace("users").unwrap();
    assert_eq!(db.keyspaces(), ["default"]);
    assert_eq!(users.get("k").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(users.put("k", "v").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(users.iter().next().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(db.drop_keyspace("users").unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(db.drop_keyspace("default").unwrap_err().kind(), ErrorKind::InvalidArgument);
    let again = db.keyspace("users").unwrap();
    assert!(again.iter().next().is_none(), "a dropped keyspace does not come back with its data");
    db.close().unwrap();
    let Bench { db, .. } = Bench::on(disk, 11);
    assert_eq!(db.keyspaces(), ["default", "users"]);
    assert!(db.keyspace("users").unwrap().iter().next().is_none());
}

#[test]
fn after_a_close_handles_answer_closed_and_the_store_opens_again() {
    let Bench { db, disk } = Bench::new(12);
    db.put("k", "v").unwrap();
    let other = db.clone();
    db.close().unwrap();
    assert_eq!(other.get("k").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(other.put("k", "v").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(other.flush().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(other.settle().unwrap_err().kind(), ErrorKind::Closed);
    let Bench { db, .. } = Bench::on(disk, 13);
    assert_eq!(db.get("k").unwrap().unwrap(), "v");
}

#[test]
fn dropping_the_last_handle_closes_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    let users = db.keyspace("users").unwrap();
    db.put("k", "v").unwrap();
    drop(db);
    users.put("still", "open").unwrap();
    drop(users);
    let db = Options::new().durability(Durability::Sync).open_existing(dir.path()).unwrap();
    assert_eq!(db.get("k").unwrap().unwrap(), "v");
    assert_eq!(db.keyspace("users").unwrap().get("still").unwrap().unwrap(), "open");
}

#[test]
fn t3_many_writers_and_readers_on_real_threads_never_see_half_a_batch() {
    const WRITERS: usize = 4;
    const PUTS: usize = 2_000;
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new().memtable_bytes(64 << 10).open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let db = db.clone();
            scope.spawn(move || {
                for i in 0..PUTS {
                    let mut batch = WriteBatch::new();
                    batch.put(format!("{i:06}:{writer}"), format!("{i}"));
                    batch.put(format!("last:{writer}"), format!("{i}"));
                    db.write(batch).unwrap();
                    if i % 500 == 0 {
                        db.sync().unwrap();
                    }
                }
            });
        }
        let db = db.clone();
        scope.spawn(move || {
            for _ in 0..50 {
                let snapshot = db.snapshot();
                for writer in 0..WRITERS {
                    let last = snapshot.get(format!("last:{writer}")).unwrap();
                    let Some(last) = last else { continue };
                    let last: usize = std::str::from_utf8(&last).unwrap().parse().unwrap();
                    let key = format!("{last:06}:{writer}");
                    assert!(snapshot.get(key).unwrap().is_some(), "half a batch is seen");
                }
            }
        });
    });
    db.settle().unwrap();
    assert_eq!(db.iter().count(), WRITERS * PUTS + WRITERS);
    db.check().unwrap();
}

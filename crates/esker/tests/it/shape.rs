//! Flushes, compactions and their exact figures.

use esker::internals::names::FileName;
use esker::internals::{self, Place, compact_level, locate, table_lookup};

use crate::{Bench, entries, pair};

fn table_bytes_on_disk(bench: &Bench) -> u64 {
    let files = bench.disk.files();
    files.iter().filter(|(name, _)| matches!(name, FileName::Table(_))).map(|(_, len)| len).sum()
}

#[test]
fn a_flush_makes_one_l0_table_and_names_it() {
    let bench = Bench::new(1);
    assert_eq!(internals::flush(&bench.db).unwrap(), None);
    for key in ["a", "b", "a"] {
        bench.db.put(key, "v").unwrap();
    }
    bench.db.delete("c").unwrap();
    let table = internals::flush(&bench.db).unwrap().unwrap();
    assert_eq!(table.entries, 3, "a superseded version is dropped, a tombstone never");
    assert!(table.filter_bits >= 30);
    let levels = bench.db.levels();
    assert_eq!((levels[0].tables, levels[0].bytes), (1, table.bytes));
    assert_eq!(table_bytes_on_disk(&bench), table.bytes);
    let found = table_lookup(&bench.db, &table.file, b"a").unwrap().unwrap();
    assert_eq!((found.found.unwrap().to_vec(), found.disk_reads), (b"v".to_vec(), 1));
    assert_eq!(table_lookup(&bench.db, "000000000000.sst", b"a").unwrap(), None);
    assert_eq!(table_lookup(&bench.db, "../CURRENT", b"a").unwrap(), None);
}

#[test]
fn places_follow_an_entry_down() {
    let Bench { db, .. } = Bench::new(2);
    let at = |key: &str| {
        let found = locate(&db, key.as_bytes()).unwrap();
        (found.found_at, found.levels_checked)
    };
    assert_eq!(at("k"), (None, 0), "an empty store");
    db.put("k", "v").unwrap();
    assert_eq!(at("k"), (Some(Place::Memtable), 0));
    assert_eq!(at("missing"), (None, 0));
    db.flush().unwrap();
    assert_eq!(at("k"), (Some(Place::Level(0)), 1));
    compact_level(&db, 0).unwrap();
    assert_eq!(at("k"), (Some(Place::Level(1)), 2));
    assert_eq!(at("missing"), (None, 2));
    db.delete("k").unwrap();
    assert_eq!(at("k"), (None, 0), "the tombstone in the memtable decides");
}

#[test]
fn a_compaction_counts_its_bytes_exactly() {
    let bench = Bench::new(3);
    bench.db.put("a", "old").unwrap();
    bench.db.put("b", "1").unwrap();
    bench.db.flush().unwrap();
    bench.db.put("a", "new").unwrap();
    bench.db.delete("b").unwrap();
    bench.db.flush().unwrap();
    let before = table_bytes_on_disk(&bench);
    let report = compact_level(&bench.db, 0).unwrap();
    assert_eq!((report.tables_in, report.tables_out), (2, 1));
    assert_eq!(report.bytes_read, before);
    assert_eq!(report.bytes_written, table_bytes_on_disk(&bench), "inputs are gone at once");
    assert_eq!(report.superseded, 2, "a=old and b=1");
    assert_eq!(report.tombstones_dropped, 1, "nothing deeper can hold b");
    assert_eq!(entries(&bench.db), [pair("a", "new")]);
    let stats = bench.db.stats();
    assert_eq!(stats.compactions, 1);
    assert_eq!(stats.compaction_bytes_written, report.bytes_written);
    assert_eq!(stats.flush_bytes, before);
    let user_bytes = (1 + 3) + (1 + 1) + (1 + 3) + 1;
    assert_eq!(stats.user_bytes, user_bytes);
    let table_bytes = (before + report.bytes_written) as f64;
    assert!((stats.write_amplification - table_bytes / user_bytes as f64).abs() < 1e-9);
    let empty = compact_level(&bench.db, 0).unwrap();
    assert_eq!(empty, internals::CompactionReport::default());
    assert!(compact_level(&bench.db, 6).is_err());
}

#[test]
fn over_four_l0_tables_are_merged_without_being_asked() {
    let Bench { db, .. } = Bench::new(4);
    for i in 0..5 {
        db.put("k", i.to_string()).unwrap();
        db.flush().unwrap();
    }
    db.settle().unwrap();
    assert_eq!(db.levels()[0].tables, 0);
    assert!(db.stats().compactions >= 1);
    assert_eq!(entries(&db), [pair("k", "4")]);
}

#[test]
fn t5_every_level_fills_and_stays_sorted_and_the_oldest_version_is_never_seen() {
    let Bench { db, disk } = Bench::new(5);
    let mut deepest = 0;
    for round in 0..40_u64 {
        for i in 0..40_u64 {
            let key = (round * 7919 + i * 104_729) % 600;
            db.put(format!("{key:05}"), format!("{round}-{i}-{}", "x".repeat(20))).unwrap();
        }
        db.delete(format!("{:05}", round * 13 % 600)).unwrap();
        deepest = deepest.max(db.levels().iter().rposition(|l| l.tables > 0).unwrap_or(0));
    }
    db.settle().unwrap();
    deepest = deepest.max(db.levels().iter().rposition(|l| l.tables > 0).unwrap_or(0));
    assert!(deepest >= 3, "only L{deepest} was reached");
    db.check().unwrap();
    let settled = entries(&db);
    db.compact().unwrap();
    assert_eq!(entries(&db), settled);
    assert_eq!(db.levels().iter().filter(|level| level.tables > 0).count(), 1);
    db.close().unwrap();
    let Bench { db, .. } = Bench::on(disk, 6);
    assert_eq!(entries(&db), settled);
    db.check().unwrap();
}

#[test]
fn the_totals_travel_in_the_manifest() {
    let Bench { db, disk } = Bench::new(6);
    db.put("k", "v").unwrap();
    db.compact().unwrap();
    db.put("in memory", "only").unwrap();
    let before = db.stats();
    db.close().unwrap();
    let Bench { db, .. } = Bench::on(disk, 7);
    let after = db.stats();
    assert_eq!(before.user_bytes, after.user_bytes);
    assert_eq!(before.flush_bytes, after.flush_bytes);
    assert_eq!(before.compactions, after.compactions);
    assert_eq!(before.write_amplification, after.write_amplification);
}

#[test]
fn a_settled_store_has_an_empty_log_and_no_garbage() {
    let bench = Bench::new(8);
    let users = bench.db.keyspace("users").unwrap();
    for i in 0..200 {
        bench.db.put(format!("{i:04}"), "x".repeat(30)).unwrap();
        users.put(format!("{i:04}"), "y".repeat(30)).unwrap();
    }
    bench.db.settle().unwrap();
    let files = bench.disk.files();
    let logs: Vec<_> = files.iter().filter(|(name, _)| matches!(name, FileName::Log(_))).collect();
    assert_eq!(logs.len(), 1, "{logs:?}");
    let named: u64 = bench.db.stats().table_bytes + users.stats().table_bytes;
    assert_eq!(table_bytes_on_disk(&bench), named, "every table on the disk is one of the store");
}

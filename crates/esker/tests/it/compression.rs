//! Compression by level: what is compressed, what it takes, and what a build without a codec says.

use std::sync::Arc;

use esker::internals::{PumpEnv, SimDisk, compact_level, open};
use esker::{Compression, Db, ErrorKind, Options};

const NONE: [Compression; 7] = [Compression::None; 7];

fn built_in() -> impl Iterator<Item = Compression> {
    [Compression::Lz4, Compression::Zstd].into_iter().filter(|c| c.is_built_in())
}

fn opened(disk: &Arc<SimDisk>, levels: [Compression; 7]) -> Db {
    open(disk.clone(), PumpEnv::new(1), &Options::tiny().compression_by_level(levels)).unwrap()
}

/// Entries `from..to`, whose values compress.
fn put(db: &Db, from: u32, to: u32) {
    for n in from..to {
        db.put(format!("key{n:04}"), value(n)).unwrap();
    }
}

fn value(n: u32) -> String {
    format!("{n:04}").repeat(10)
}

fn check(db: &Db, count: u32) {
    let expected = || (0..count).map(|n| (format!("key{n:04}"), value(n)));
    let text = |entry: esker::Result<(esker::Value, esker::Value)>| {
        let (key, value) = entry.unwrap();
        (String::from_utf8(key.into()).unwrap(), String::from_utf8(value.into()).unwrap())
    };
    assert!(db.iter().map(text).eq(expected()));
    assert!(db.iter().rev().map(text).eq(expected().rev()));
    let keys: Vec<String> = expected().map(|(key, _)| key).collect();
    for (n, found) in db.multi_get(&keys).unwrap().into_iter().enumerate() {
        assert_eq!(found.unwrap().to_vec(), value(n as u32).into_bytes());
    }
    for n in (0..count).step_by(7) {
        assert_eq!(&*db.get(&keys[n as usize]).unwrap().unwrap(), value(n).as_bytes());
    }
    assert!(db.get("key").unwrap().is_none());
    db.check().unwrap();
}

#[test]
fn each_level_alone_is_compressed_and_read_both_ways() {
    for compression in built_in() {
        for level in 0..6 {
            let mut levels = NONE;
            levels[level] = compression;
            let disk = SimDisk::new();
            let db = opened(&disk, levels);
            put(&db, 0, 20);
            db.flush().unwrap();
            for n in 0..level {
                compact_level(&db, n).unwrap();
            }
            for info in db.levels() {
                assert_eq!(info.tables > 0, info.level == level, "{info:?}");
                let is_smaller = info.bytes < info.uncompressed_bytes;
                assert_eq!(is_smaller, info.level == level, "{compression:?} {info:?}");
            }
            check(&db, 20);
            let stats = db.stats();
            assert!(stats.table_bytes < stats.table_bytes_uncompressed);
            compact_level(&db, level).unwrap();
            assert_eq!(db.levels()[level + 1].bytes, db.levels()[level + 1].uncompressed_bytes);
            check(&db, 20);
        }
    }
}

#[test]
fn sizes_are_those_of_what_is_stored() {
    for compression in built_in() {
        let disk = SimDisk::new();
        let db = opened(&disk, [compression; 7]);
        put(&db, 0, 40);
        db.flush().unwrap();
        let on_disk = |table: &(esker::internals::names::FileName, u64)| {
            table.0.to_string().ends_with(".sst").then_some(table.1)
        };
        let files: u64 = disk.files().iter().filter_map(on_disk).sum();
        assert_eq!(db.stats().table_bytes, files);
        assert_eq!(db.levels().iter().map(|info| info.bytes).sum::<u64>(), files);
    }
}

#[test]
fn a_store_is_opened_with_other_settings_at_any_time() {
    let disk = SimDisk::new();
    let mut count = 0;
    for levels in built_in().flat_map(|compression| [[compression; 7], NONE]) {
        let db = opened(&disk, levels);
        check(&db, count);
        put(&db, count, count + 100);
        count += 100;
        db.settle().unwrap();
        check(&db, count);
        db.close().unwrap();
    }
    let db = opened(&disk, NONE);
    check(&db, count);
    db.compact().unwrap();
    let stats = db.stats();
    assert_eq!(stats.table_bytes, stats.table_bytes_uncompressed, "all of it was rewritten");
    check(&db, count);
}

#[test]
fn a_compression_that_is_not_built_in_is_refused_before_anything_happens() {
    let dir = tempfile::tempdir().unwrap();
    for compression in [Compression::Lz4, Compression::Zstd] {
        let path = dir.path().join(compression.name());
        let opened = Options::new().compression(compression).open(&path);
        if compression.is_built_in() {
            opened.unwrap().close().unwrap();
            continue;
        }
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("build esker with its feature"), "{error}");
        assert!(!path.exists());
    }
}

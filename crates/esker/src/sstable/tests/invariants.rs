//! One test per invariant.

use proptest::prelude::*;

use super::*;
use crate::base::limits::KEY_BYTES_MAX;
use crate::vfs::faults::{DiskOp, Errno, Fault, FaultPlan, FaultRule, When};
use crate::vfs::sim::CrashPolicy;

fn writer(disk: &SimDisk) -> TableWriter {
    TableWriter::create(disk, STORE, KEYSPACE, TABLE, settings(8 << 10)).unwrap()
}

fn add(writer: &mut TableWriter, (key, tag, value): Entry) {
    writer.add(&key, tag, &value).unwrap();
}

#[test]
#[should_panic(expected = "invariant S1 is broken")]
fn s1_a_key_before_the_last_is_refused() {
    let mut writer = writer(&SimDisk::new());
    add(&mut writer, put("b", 1, ""));
    add(&mut writer, put("a", 2, ""));
}

#[test]
#[should_panic(expected = "invariant S1 is broken")]
fn s1_an_older_version_before_a_newer_is_refused() {
    let mut writer = writer(&SimDisk::new());
    add(&mut writer, put("a", 1, ""));
    add(&mut writer, put("a", 2, ""));
}

#[test]
#[should_panic(expected = "invariant S1 is broken")]
fn s1_an_entry_twice_is_refused() {
    let mut writer = writer(&SimDisk::new());
    add(&mut writer, put("a", 1, ""));
    add(&mut writer, put("a", 1, ""));
}

#[test]
#[should_panic(expected = "invariant S2 is broken")]
fn s2_a_table_without_entries_is_refused() {
    let _ = writer(&SimDisk::new()).finish();
}

#[test]
fn s3_pieces_begin_at_lines_and_lie_end_to_end() {
    for block_bytes in [128, 1000, 8 << 10] {
        let fixture = Fixture::new(settings(block_bytes), &plain_entries(3000));
        let mut end = 0;
        for (kind, span) in fixture.pieces() {
            assert_eq!(span.offset, end, "{kind}");
            assert_eq!(span.offset % 64, 0, "{kind}");
            end = span.end();
        }
        assert_eq!(end, fixture.summary.bytes);
    }
}

#[test]
#[should_panic(expected = "invariant S4 is broken")]
fn s4_a_tombstone_with_a_value_is_refused() {
    let (key, tag, _) = delete("a", 1);
    let _ = writer(&SimDisk::new()).add(&key, tag, b"value");
}

#[test]
fn s5_separators_are_the_shortest_that_divide() {
    let entries = [
        put("apple", 1, "1"),
        put("banana", 9, "2"),
        put("bandana", 1, "3"),
        put("bandana", 0, "4"),
        put("bandanas", 1, "5"),
        put("c", 1, "6"),
    ];
    let table = Fixture::new(settings(0), &entries).table();
    let (_, leaf) = leaves(table.source(), &table.footer).remove(0);
    let separators: Vec<_> = (0..leaf.children())
        .map(|n| (leaf.separator(n).suffix(), leaf.separator(n).continues))
        .collect();
    let expected = [
        ("", false),
        ("b", false),
        ("band", false),
        ("bandana", true),
        ("bandanas", false),
        ("c", false),
    ];
    let expected = expected.map(|(key, continues)| (key.as_bytes().to_vec(), continues));
    assert_eq!(separators, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn s6_only_a_block_of_one_entry_is_longer_than_asked(
        values in proptest::collection::vec((0_usize..9, 0_usize..400, any::<bool>()), 1..300),
        block_bytes in prop_oneof![Just(64_usize), Just(512), Just(2048), Just(70_000)],
    ) {
        let entries: Vec<Entry> = values.iter().enumerate()
            .map(|(n, (pad, len, far))| {
                let seq = if *far { 1 << 40 } else { n as u64 };
                put([format!("{n:05}").into_bytes(), vec![b'x'; *pad]].concat(), seq, vec![7; *len])
            })
            .collect();
        let fixture = Fixture::new(settings(block_bytes), &entries);
        let table = fixture.table();
        for (kind, span) in fixture.pieces() {
            if kind == "block" {
                let block = Block::trusted(table.source().load::<super::super::block::BlockRef>(span).unwrap());
                prop_assert!(block.layout().end <= block_bytes || block.entries() == 1);
            }
        }
    }
}

#[test]
#[should_panic(expected = "invariant S7 is broken")]
fn s7_a_key_too_long_is_refused() {
    let _ = writer(&SimDisk::new()).add(
        &vec![b'k'; KEY_BYTES_MAX + 1],
        Tag::new(SeqNo::new(1), Kind::Put),
        b"",
    );
}

#[test]
fn s8_a_finished_table_survives_a_power_cut() {
    let entries = plain_entries(20_000);
    let fixture = Fixture::new(settings(8 << 10), &entries);
    fixture.disk.sync_dir().unwrap();
    for seed in 0..3 {
        let disk = fixture.disk.crash(CrashPolicy::LoseUnsynced, seed);
        let after = Fixture { disk, summary: fixture.summary.clone() };
        after.table().verify().unwrap();
    }
}

#[test]
fn a_writer_whose_file_failed_stays_failed() {
    let disk = SimDisk::new();
    let rule = FaultRule::new(When::Nth(2), Fault::Error(Errno::NOSPC)).op(DiskOp::Append);
    disk.set_faults(FaultPlan::new(1).rule(rule));
    let mut writer = writer(&disk);
    let failed = plain_entries(20_000)
        .into_iter()
        .find_map(|(key, tag, value)| writer.add(&key, tag, &value).err());
    assert_eq!(failed.expect("the second append fails").kind(), ErrorKind::NoSpace);
    let (key, tag, value) = put("zzz", 1, "");
    assert_eq!(writer.add(&key, tag, &value).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::NoSpace);
}

#[test]
fn a_sync_that_fails_finishes_no_table() {
    let disk = SimDisk::new();
    let rule = FaultRule::new(When::Nth(1), Fault::Error(Errno::IO)).op(DiskOp::Sync);
    disk.set_faults(FaultPlan::new(1).rule(rule));
    let mut writer = writer(&disk);
    add(&mut writer, put("a", 1, ""));
    assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_cursor_that_failed_returns_its_error_for_ever() {
    let entries = plain_entries(500);
    let fixture = Fixture::new(settings(1024), &entries);
    let table = fixture.table();
    let mut cursor = table.cursor();
    cursor.seek_first().unwrap();
    let rule = FaultRule::new(When::Nth(3), Fault::Error(Errno::IO)).op(DiskOp::Read);
    fixture.disk.set_faults(FaultPlan::new(1).rule(rule));
    let error = (0..500).find_map(|_| cursor.next().err()).expect("a read fails");
    assert!(!cursor.valid());
    let key = &entries[0].0;
    for again in [
        cursor.seek_first(),
        cursor.seek_last(),
        cursor.seek(key, SeqNo::MAX),
        cursor.seek_before(key),
        cursor.next(),
        cursor.prev(),
    ] {
        assert_eq!(again.unwrap_err().to_string(), error.to_string());
    }
    assert_eq!(scan(&mut table.cursor()).unwrap(), entries, "others go on");
}

#[test]
fn estimates_are_close() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    for entry in plain_entries(20_000) {
        add(&mut writer, entry);
    }
    let estimate = writer.estimated_bytes();
    let bytes = writer.finish().unwrap().bytes;
    assert!(estimate.abs_diff(bytes) < bytes / 100, "{estimate} for {bytes}");
}

//! Damaged tables: found, never believed, never a panic.

use proptest::prelude::*;

use super::super::page::{Place, seal};
use super::*;
use crate::base::cursor::Direction;
use crate::base::range::Bounds;

/// A table of about 2 KiB with everything: versions over blocks, a tombstone, two levels of index.
fn small() -> (Fixture, Vec<Entry>) {
    small_with(Compression::None)
}

/// The same, with blocks that are compressed and blocks that are not.
fn small_with(compression: Compression) -> (Fixture, Vec<Entry>) {
    let mut entries = vec![put("apple", 7, "red"), delete("banana", 9), put("banana", 2, "yellow")];
    entries.extend((1..6).rev().map(|seq| put("cherry", seq, vec![seq as u8; 50])));
    entries.push(put("damson", 3, vec![b'd'; 200]));
    (Fixture::new(packed(160, compression), &entries), entries)
}

/// Separators of 5,000 bytes: few fit a page, so the index has a root.
fn deep() -> (Fixture, Vec<Entry>) {
    deep_with(Compression::None)
}

fn deep_with(compression: Compression) -> (Fixture, Vec<Entry>) {
    let key = |n: u8| [&vec![b'k'; 5000][..], &[n; 10][..]].concat();
    let mut entries = vec![put("apple", 1, "")];
    entries.extend((0..6).map(|n| put(key(n), 5, vec![n; 30])));
    (Fixture::new(packed(160, compression), &entries), entries)
}

/// Every read of the table is right or an error.
fn reads_are_right_or_fail(table: &Arc<Table>, entries: &[Entry]) {
    for (key, tag, value) in entries {
        if let Ok(found) = get(table, key, tag.seq().get()) {
            let (found_tag, found_value) = found.expect("there, or an error");
            assert_eq!((found_tag, &*found_value), (*tag, &value[..]));
        }
    }
    if let Ok(found) = scan(&mut table.cursor()) {
        assert_eq!(found, entries);
    }
    let mut cursor = table.cursor();
    for entry in entries.iter().rev() {
        let moved = if cursor.valid() { cursor.prev() } else { cursor.seek_last() };
        if moved.is_err() {
            return;
        }
        assert_eq!((cursor.key(), cursor.tag()), (&entry.0[..], entry.1));
    }
}

fn every_flip_is_found(fixture: &Fixture, entries: &[Entry], step: usize) {
    let opened_before = fixture.open_with(&FramePool::for_tests(0)).unwrap();
    for offset in (0..fixture.summary.bytes).step_by(step) {
        let mask = 1 << (offset % 8);
        fixture.disk.damage(NAME, offset, mask);
        let found = |table: &Table| {
            let error = table.verify().expect_err("a flipped bit is found");
            assert_eq!(error.kind(), ErrorKind::Corruption, "{offset}: {error}");
        };
        found(&opened_before);
        reads_are_right_or_fail(&opened_before, entries);
        match fixture.open() {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corruption, "{offset}: {error}"),
            Ok(table) => {
                found(&table);
                reads_are_right_or_fail(&table, entries);
            }
        }
        let file = fixture.disk.open(NAME).unwrap();
        assert!(describe(&*file).map_or(true, |text| text.contains("damaged")), "{offset}");
        fixture.disk.damage(NAME, offset, mask);
    }
    opened_before.verify().expect("whole again");
}

#[test]
fn a_flip_of_any_byte_is_found() {
    let (fixture, entries) = small();
    every_flip_is_found(&fixture, &entries, 1);
}

#[test]
fn a_flip_of_any_byte_of_a_compressed_table_is_found() {
    for compression in compressions().skip(1) {
        let (fixture, entries) = small_with(compression);
        assert!(fixture.packed_blocks() > 0, "{compression:?}");
        every_flip_is_found(&fixture, &entries, 1);
    }
}

#[test]
fn a_flip_in_a_deep_index_is_found() {
    let (fixture, entries) = deep();
    assert!(fixture.pieces().iter().any(|(kind, _)| *kind == "root"));
    every_flip_is_found(&fixture, &entries, 97);
}

#[test]
fn a_table_of_another_length_store_or_number_is_damage() {
    let (fixture, _) = small();
    let cache = FramePool::for_tests(0);
    let bytes = fixture.summary.bytes;
    let image = fixture.disk.bytes(NAME).unwrap();
    fixture.disk.put_file(FileName::Table(TableId(8)), &image);
    let refused = |store, id, bytes| {
        let error = Table::open(&*fixture.disk, store, id, bytes, &cache).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption);
        error.to_string()
    };
    assert!(refused(STORE, TABLE, bytes - 64).contains("length of the table"));
    assert!(refused(STORE + 1, TABLE, bytes).contains("store id"));
    assert!(refused(STORE, TableId(8), bytes).contains("table id"));
    for len in [0, 1, 100, 192, image.len() - 64] {
        fixture.disk.put_file(NAME, &image[..len]);
        refused(STORE, TABLE, len as u64);
    }
}

#[test]
fn a_block_in_the_place_of_another_is_damage() {
    let entries = plain_entries(200);
    let fixture = Fixture::new(settings(1024), &entries);
    let blocks: Vec<Span> =
        fixture.pieces().iter().filter(|(kind, _)| *kind == "block").map(|(_, s)| *s).collect();
    let (from, to) = (blocks[1], blocks[2]);
    assert_eq!(from.bytes, to.bytes);
    let image = fixture.disk.bytes(NAME).unwrap();
    fixture.disk.overwrite(NAME, to.offset, &image[from.offset as usize..from.end() as usize]);
    let error = fixture.table().verify().unwrap_err();
    assert!(error.to_string().contains("data block checksum"), "{error}");
    assert_eq!(error.corruption().unwrap().offset, to.offset);
}

/// Puts the right checksums on all pieces again.
fn reseal(image: &mut [u8], pieces: &[(&'static str, Span)]) {
    let place = Place { store_id: STORE, table: TABLE };
    for (_, span) in pieces {
        seal(&mut image[span.offset as usize..span.end() as usize], place, span.offset);
    }
}

#[test]
fn versions_features_and_compressions_of_the_future_are_unsupported() {
    let (fixture, entries) = small();
    let pieces = fixture.pieces();
    let place = |kind| pieces.iter().find(|(k, _)| *k == kind).unwrap().1.offset as usize;
    let (footer, properties) = (place("footer"), place("properties"));
    let image = fixture.disk.bytes(NAME).unwrap();
    let changed = |at: usize, byte: u8| {
        let mut image = image.clone();
        image[at] = byte;
        reseal(&mut image, &pieces);
        fixture.disk.put_file(NAME, &image);
    };
    for (at, byte) in
        [(footer + 16, 2), (footer + 24, 1), (footer + 31, 0x80), (properties + 91, 3)]
    {
        changed(at, byte);
        assert_eq!(fixture.open().unwrap_err().kind(), ErrorKind::Unsupported, "{at}");
    }
    // In the first block: flags, width of tags, sampling of heads, kind 3.
    for (at, byte) in [(23, 0x80), (28, 3), (29, 4), (32, 3)] {
        changed(at, byte);
        let error = get(&fixture.table(), &entries[0].0, 100).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{at}: {error}");
    }
    // Whether its keys are distinct, which scans rely on.
    changed(23, image[23] ^ 16);
    let error = get(&fixture.table(), &entries[0].0, 100).unwrap_err();
    assert!(error.to_string().contains("distinct keys"), "{error}");
    // A compressed block where the table says that there are none.
    changed(22, 1);
    let error = get(&fixture.table(), &entries[0].0, 100).unwrap_err();
    assert!(error.to_string().contains("data block compression"), "{error}");
}

/// Wrong from the start, with right checksums: what only the whole table together shows.
#[test]
fn verify_finds_parts_that_do_not_agree() {
    let (fixture, _) = small();
    let pieces = fixture.pieces();
    let place = |kind| pieces.iter().find(|(k, _)| *k == kind).unwrap().1.offset as usize;
    let (filter, properties, leaf) = (place("filter"), place("properties"), place("leaf"));
    let image = fixture.disk.bytes(NAME).unwrap();
    let children = usize::from(image[leaf + 12]);
    let second_length = leaf + 16 + 8 * children + 4 * (children + 1) + 1;
    let mut wrong = vec![
        (23, image[23] | 8, "continuation"),
        (64, !image[64], "fingerprint"),
        (leaf + 8, 1, "number of a leaf"),
        (second_length, image[second_length] | 0x80, "continuation"),
        (filter + 8, 1, "number"),
        (filter + 14, 5, "probes"),
        (properties + 90, 5, "probes"),
        (properties + 96, b'Z', "smallest key"),
        (properties + 96 + 5, b'z', "largest key"),
    ];
    let names = [
        "entries",
        "tombstones",
        "keys",
        "data blocks",
        "lowest sequence number",
        "highest sequence number",
        "bytes of keys",
        "bytes of values",
        "bytes without compression",
    ];
    for (n, name) in names.into_iter().enumerate() {
        let at = properties + 8 + 8 * n;
        wrong.push((at, image[at] ^ 1, name));
    }
    let ends = pieces.iter().filter(|(kind, _)| *kind != "filter").map(|(_, span)| span.end());
    let padded = ends.map(|end| end as usize - 1).filter(|last| image[*last] == 0);
    wrong.extend(padded.map(|last| (last, 1, "padding")));
    wrong.push((filter + 63, 1, "padding"));
    let line = image.iter().enumerate().skip(filter + 64).take(64);
    let set = line.filter(|(_, byte)| **byte != 0);
    wrong.extend(set.map(|(at, _)| (at, 0, "one that the filter has")));
    for (at, byte, part) in wrong {
        let mut image = image.clone();
        image[at] = byte;
        reseal(&mut image, &pieces);
        fixture.disk.put_file(NAME, &image);
        let error = fixture.open().and_then(|table| table.verify()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert!(error.to_string().contains(part), "{at}: {part}: {error}");
    }
}

/// Uses a table in every way; whatever the bytes are, only errors and odd answers are allowed.
fn use_all(fixture: &Fixture, entries: &[Entry]) {
    if let Ok(file) = fixture.disk.open(NAME) {
        let _ = describe(&*file);
    }
    let Ok(table) = fixture.open() else { return };
    let _ = table.verify();
    for (key, tag, _) in entries {
        let _ = get(&table, key, tag.seq().get());
        let _ = get(&table, &[&key[..], b"\0"].concat(), u64::from(u32::MAX));
    }
    let mut cursor = table.cursor();
    for (key, _, _) in entries {
        let _ = cursor.seek(key, SeqNo::MAX);
        walk_alone(&cursor, Direction::Forward);
        let _ = cursor.next();
        let _ = cursor.seek_before(key);
        walk_alone(&cursor, Direction::Back);
        let _ = cursor.prev();
    }
    let mut cursor = table.cursor();
    let mut steps = 0;
    let _ = cursor.seek_last();
    while cursor.valid() {
        steps += cursor.key().len().min(1) + cursor.value().len().min(1) + 1;
        let _ = cursor.tag();
        let _ = cursor.prev();
        assert!(steps < 1_000_000, "a walk ends");
    }
}

/// Walks over the stretch that a cursor lends.
fn walk_alone(cursor: &TableCursor, direction: Direction) {
    let terms = Terms { direction, seq: SeqNo::MAX, bounds: &Bounds::all(), rival: None };
    let Some(mut stretch) = cursor.lend(terms, &mut Vec::new()) else { return };
    let mut step = || match direction {
        Direction::Forward => stretch.next(),
        Direction::Back => stretch.prev(),
    };
    while step() {}
    let _ = (stretch.key(), stretch.value());
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), Just(0), Just(0xff)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(700))]

    #[test]
    fn hostile_bytes_with_right_checksums_do_not_panic(
        deep_index: bool,
        compression in prop::sample::select(compressions().collect::<Vec<_>>()),
        piece: prop::sample::Index,
        changes in proptest::collection::vec(
            (any::<prop::sample::Index>(), byte(), 1_usize..4),
            1..4,
        ),
        near_front: bool,
    ) {
        let (fixture, entries) =
            if deep_index { deep_with(compression) } else { small_with(compression) };
        let pieces = fixture.pieces();
        let mut image = fixture.disk.bytes(NAME).unwrap();
        let (_, span) = pieces[piece.index(pieces.len())];
        let reach = if near_front { span.bytes.min(160) } else { span.bytes } as usize;
        for (at, byte, run) in &changes {
            let start = span.offset as usize + at.index(reach);
            let end = (start + run).min(span.end() as usize);
            image[start..end].fill(*byte);
        }
        reseal(&mut image, &pieces);
        fixture.disk.put_file(NAME, &image);
        use_all(&fixture, &entries);
    }
}

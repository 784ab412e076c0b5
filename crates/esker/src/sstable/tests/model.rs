//! Tables against a sorted vector.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::*;

fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = || prop_oneof![Just(0_u8), Just(b'a'), Just(b'b'), Just(0xff)];
    prop_oneof![
        8 => vec(byte(), 0..5),
        4 => vec(byte(), 6..12),
        4 => vec(byte(), 0..4).prop_map(|end| [&b"a common beginning of keys/"[..], &end].concat()),
        1 => vec(byte(), 0..3).prop_map(|end| [&[b'k'; 300][..], &end].concat()),
    ]
}

/// Tables whose keys all begin alike cut that off, so some have nothing else.
fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => Just(Vec::new()),
        1 => Just(b"tables/".to_vec()),
        1 => Just(vec![0xff; 40]),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(Vec::new()),
        4 => vec(any::<u8>(), 1..20),
        2 => vec(any::<u8>(), 100..=100),
        1 => (any::<u8>(), 200_usize..3000).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

/// Sequence number to value; `None` is a tombstone. Now and then enough to fill many blocks.
fn versions() -> impl Strategy<Value = BTreeMap<u64, Option<Vec<u8>>>> {
    let version = || prop_oneof![3 => value().prop_map(Some), 1 => Just(None)];
    let seq = || prop_oneof![4 => 1_u64..60, 1 => Just(0), 1 => Just(SeqNo::MAX.get())];
    prop_oneof![
        8 => btree_map(seq(), version(), 1..3),
        1 => btree_map(0_u64..60, version(), 5..40),
    ]
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    (keys(), btree_map(key(), versions(), 1..40)).prop_map(|(prefix, model)| {
        let mut entries = Vec::new();
        for (key, versions) in model {
            let key = [&prefix[..], &key].concat();
            for (seq, value) in versions.into_iter().rev() {
                entries.push(match value {
                    Some(value) => put(key.clone(), seq, value),
                    None => delete(key.clone(), seq),
                });
            }
        }
        entries
    })
}

fn table_settings() -> impl Strategy<Value = TableSettings> {
    let block_bytes = prop_oneof![Just(0_usize), Just(128), Just(256), Just(1024), Just(8192)];
    let filter_bits = prop_oneof![Just(0_u32), Just(1), Just(10), Just(40)];
    let compression = prop::sample::select(compressions().collect::<Vec<_>>());
    (block_bytes, filter_bits, compression).prop_map(
        |(block_bytes, filter_bits_per_key, compression)| TableSettings {
            block_bytes,
            filter_bits_per_key,
            compression,
        },
    )
}

#[derive(Clone, Debug)]
enum Motion {
    First,
    Last,
    Seek(Vec<u8>, u64),
    SeekBefore(Vec<u8>),
    /// To the key of the entry with this number, or close to it.
    SeekEntry(prop::sample::Index, u64),
    SeekBeforeEntry(prop::sample::Index),
    Next(u8),
    Prev(u8),
}

fn motion() -> impl Strategy<Value = Motion> {
    let seq = || prop_oneof![0_u64..70, Just(SeqNo::MAX.get())];
    prop_oneof![
        Just(Motion::First),
        Just(Motion::Last),
        (key(), seq()).prop_map(|(key, seq)| Motion::Seek(key, seq)),
        key().prop_map(Motion::SeekBefore),
        (any::<prop::sample::Index>(), seq()).prop_map(|(at, seq)| Motion::SeekEntry(at, seq)),
        any::<prop::sample::Index>().prop_map(Motion::SeekBeforeEntry),
        (1_u8..10).prop_map(Motion::Next),
        (1_u8..10).prop_map(Motion::Prev),
    ]
}

fn play(motion: &Motion, entries: &[Entry], cursor: &mut dyn Cursor) -> Result<()> {
    match motion {
        Motion::First => cursor.seek_first(),
        Motion::Last => cursor.seek_last(),
        Motion::Seek(key, seq) => cursor.seek(key, SeqNo::new(*seq)),
        Motion::SeekBefore(key) => cursor.seek_before(key),
        Motion::SeekEntry(at, seq) => cursor.seek(&at.get(entries).0, SeqNo::new(*seq)),
        Motion::SeekBeforeEntry(at) => cursor.seek_before(&at.get(entries).0),
        Motion::Next(times) => (0..*times).try_for_each(|_| cursor.next()),
        Motion::Prev(times) => (0..*times).try_for_each(|_| cursor.prev()),
    }
}

fn standing(cursor: &dyn Cursor) -> Option<Entry> {
    cursor.valid().then(|| (cursor.key().to_vec(), cursor.tag(), cursor.value().to_vec()))
}

fn check_gets(table: &Table, entries: &[Entry], seqs: &[u64], others: &[Vec<u8>]) {
    let near = |key: &Vec<u8>| {
        let shorter = key[..key.len().saturating_sub(1)].to_vec();
        [key.clone(), [&key[..], b"\0"].concat(), shorter]
    };
    for key in entries.iter().flat_map(|(key, _, _)| near(key)).chain(others.iter().cloned()) {
        for seq in seqs {
            let found = get(table, &key, *seq).unwrap().map(|(tag, value)| (tag, value.to_vec()));
            assert_eq!(found, expected(entries, &key, *seq), "{} at {seq}", key.escape_ascii());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_table_answers_as_a_sorted_vector_does(
        entries in entries(),
        settings in table_settings(),
        cache_bytes in prop_oneof![Just(0_usize), Just(24 << 10), Just(1 << 20)],
        seqs in btree_set(0_u64..70, 1..4),
        others in vec(key(), 0..10),
        motions in vec(motion(), 0..60),
    ) {
        let fixture = Fixture::new(settings, &entries);
        let table = fixture.open_with(&FramePool::for_tests(cache_bytes)).unwrap();
        prop_assert_eq!(table.summary(), &fixture.summary);
        table.verify().unwrap();
        let seqs: Vec<u64> = seqs.into_iter().chain([SeqNo::MAX.get()]).collect();
        check_gets(&table, &entries, &seqs, &others);

        let (mut cursor, mut model) = (table.cursor(), VecCursor::new(entries.clone()));
        prop_assert!(!cursor.valid());
        for motion in &motions {
            play(motion, &entries, &mut cursor).unwrap();
            play(motion, &entries, &mut model).unwrap();
            prop_assert_eq!(standing(&cursor), standing(&model), "after {:?}", motion);
        }
        prop_assert_eq!(scan(&mut table.cursor()).unwrap(), entries);
    }

    #[test]
    fn a_summary_counts_what_was_added(entries in entries(), settings in table_settings()) {
        let fixture = Fixture::new(settings, &entries);
        let summary = &fixture.summary;
        let mut keys: Vec<&[u8]> = entries.iter().map(|(key, _, _)| &key[..]).collect();
        keys.dedup();
        let seqs = || entries.iter().map(|(_, tag, _)| tag.seq());
        let bytes = |field: fn(&Entry) -> usize| entries.iter().map(field).sum::<usize>() as u64;
        prop_assert_eq!(summary.entries, entries.len() as u64);
        prop_assert_eq!(summary.keys, keys.len() as u64);
        let tombstones = entries.iter().filter(|(_, tag, _)| tag.is_delete()).count();
        prop_assert_eq!(summary.tombstones, tombstones as u64);
        prop_assert_eq!(Some(summary.seq_min), seqs().min());
        prop_assert_eq!(Some(summary.seq_max), seqs().max());
        prop_assert_eq!(summary.key_bytes, bytes(|(key, _, _)| key.len()));
        prop_assert_eq!(summary.value_bytes, bytes(|(_, _, value)| value.len()));
        prop_assert_eq!(summary.range.lo(), keys[0]);
        prop_assert_eq!(summary.range.hi(), keys[keys.len() - 1]);
        let on_disk = fixture.disk.bytes(NAME).unwrap().len();
        prop_assert_eq!(summary.bytes, on_disk as u64);
        let plain = TableSettings { compression: Compression::None, ..settings };
        let plain = Fixture::new(plain, &entries).summary;
        prop_assert_eq!((plain.bytes, plain.bytes), (summary.uncompressed_bytes, plain.uncompressed_bytes));
    }
}

#[test]
fn many_leaves_and_filter_pages_answer_as_few_do() {
    let entries = plain_entries(20_000);
    let fixture = Fixture::new(settings(256), &entries);
    let table = fixture.table();
    table.verify().unwrap();
    let count = |kind| fixture.pieces().iter().filter(|(name, _)| *name == kind).count();
    assert!(count("leaf") > 10 && count("root") == 1 && count("filter") > 2);
    assert_eq!(scan(&mut table.cursor()).unwrap(), entries);
    for (n, (key, tag, value)) in entries.iter().enumerate().step_by(7) {
        let found = get(&table, key, 2000).unwrap().expect("it was put");
        assert_eq!((found.0, &*found.1), (*tag, &value[..]));
        let mut cursor = table.cursor();
        cursor.seek_before(key).unwrap();
        assert_eq!(standing(&cursor).as_ref(), n.checked_sub(1).map(|n| &entries[n]));
        cursor.seek(&[&key[..], b"\0"].concat(), SeqNo::MAX).unwrap();
        assert_eq!(standing(&cursor).as_ref(), entries.get(n + 1));
    }
}

#[test]
fn the_longest_keys_and_values_beyond_16_and_24_bits_come_back() {
    let long = |end: u8| [&vec![b'k'; 65_534][..], &[end]].concat();
    let entries = vec![
        put("a", 9, vec![1; 17 << 20]),
        put("b", 3, vec![2; 65_536]),
        put("c", 3, vec![3; 65_535]),
        put(long(b'a'), 5, "new"),
        put(long(b'a'), 4, vec![4; 70_000]),
        delete(long(b'b'), 5),
        put(long(b'b'), 1, ""),
        put(long(b'c'), 5, "last"),
    ];
    let block_bytes = [128, 8 << 10, 1 << 20].into_iter();
    for settings in block_bytes.flat_map(|bytes| compressions().map(move |c| packed(bytes, c))) {
        let table = Fixture::new(settings, &entries).table();
        table.verify().unwrap();
        assert_eq!(scan(&mut table.cursor()).unwrap(), entries);
        for (key, tag, value) in &entries {
            let found = get(&table, key, tag.seq().get()).unwrap().expect("it was put");
            assert_eq!((found.0, &*found.1), (*tag, &value[..]));
        }
        assert!(get(&table, &long(b'b'), 0).unwrap().is_none());
        assert!(get(&table, &vec![b'k'; 65_534], 9).unwrap().is_none());
    }
}

#[test]
fn versions_of_one_key_over_many_blocks_are_all_found() {
    let mut entries = vec![put("a", 1, "x")];
    entries.extend((1..=500).rev().map(|seq| put("key", seq * 2, seq.to_string())));
    entries.push(put("z", 1, "y"));
    let fixture = Fixture::new(settings(256), &entries);
    let table = fixture.table();
    table.verify().unwrap();
    for seq in 0..=1001 {
        let found = get(&table, b"key", seq).unwrap().map(|(_, value)| value.to_vec());
        let visible = (seq.min(1000) / 2 > 0).then(|| (seq.min(1000) / 2).to_string().into_bytes());
        assert_eq!(found, visible, "at {seq}");
        let mut cursor = table.cursor();
        cursor.seek(b"key", SeqNo::new(seq)).unwrap();
        assert_eq!(cursor.value(), visible.as_deref().unwrap_or(b"y"), "at {seq}");
        cursor.seek_before(b"key").unwrap();
        assert_eq!(cursor.key(), b"a");
        cursor.seek_before(b"z").unwrap();
        assert_eq!((cursor.key(), cursor.value()), (&b"key"[..], &b"1"[..]));
    }
}

#[test]
fn a_lookup_counts_what_it_took() {
    let entries = plain_entries(2000);
    let fixture = Fixture::new(settings(8 << 10), &entries);
    let table = fixture.table();
    let mut how = Lookup::default();
    let ask = |key: &[u8], how: &mut Lookup| {
        table.get(key, key_hash(key), SeqNo::MAX, how).unwrap();
    };
    ask(&entries[5].0, &mut how);
    assert_eq!((how.filter_probes, how.filter_negatives, how.blocks_read), (1, 0, 1));
    ask(b"before all keys", &mut how);
    ask(b"zzz", &mut how);
    assert_eq!((how.filter_probes, how.filter_negatives, how.blocks_read), (1, 0, 1), "range");
    ask(b"key0000000000001", &mut how);
    assert_eq!((how.filter_probes, how.filter_negatives, how.blocks_read), (2, 1, 1), "filter");
    how.filters = Filters::Ignore;
    ask(b"key0000000000001", &mut how);
    assert_eq!((how.filter_probes, how.filter_negatives, how.blocks_read), (2, 1, 2), "block");
}

#[test]
fn short_values_are_copied_and_long_ones_shared() {
    let cache = FramePool::for_tests(1 << 20);
    let entries = [put("long", 1, vec![1; 1025]), put("short", 1, vec![2; 1024])];
    let table = Fixture::new(settings(8 << 10), &entries).open_with(&cache).unwrap();
    let (_, long) = get(&table, b"long", 1).unwrap().unwrap();
    let (_, short) = get(&table, b"short", 1).unwrap().unwrap();
    let again = |key| get(&table, key, 1).unwrap().unwrap().1;
    assert_eq!(long.as_ptr(), again(b"long").as_ptr());
    assert_ne!(short.as_ptr(), again(b"short").as_ptr());
}

#[test]
fn what_is_cached_is_not_read_again() {
    let entries = plain_entries(500);
    let fixture = Fixture::new(settings(1024), &entries);
    let table = fixture.table();
    for _ in 0..3 {
        assert_eq!(scan(&mut table.cursor()).unwrap(), entries);
        assert!(get(&table, &entries[77].0, SeqNo::MAX.get()).unwrap().is_some());
    }
    let reads = fixture.disk.operations();
    assert_eq!(scan(&mut table.cursor()).unwrap(), entries);
    assert!(get(&table, &entries[77].0, SeqNo::MAX.get()).unwrap().is_some());
    assert_eq!(fixture.disk.operations(), reads);
}

#[test]
fn opening_reads_footer_and_properties_alone() {
    let fixture = Fixture::new(settings(1024), &plain_entries(500));
    let before = fixture.disk.operations();
    let _table = fixture.table();
    assert_eq!(fixture.disk.operations() - before, 3, "open and two reads");
}

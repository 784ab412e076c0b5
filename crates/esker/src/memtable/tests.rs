//! The memtable against a sorted map, alone and under concurrent inserts.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::{ChunkPool, Memtable};
use crate::base::cursor::{Cursor, VecCursor};
use crate::base::hash::key_hash;
use crate::base::key::{Kind, SeqNo, Tag, compare};

type Model = BTreeMap<(Vec<u8>, Reverse<Tag>), Vec<u8>>;
type Row = (Vec<u8>, Tag, Vec<u8>);

/// A memtable of nodes with `WIDTH` slots and of small chunks, without a filter.
fn memtable<const WIDTH: usize>() -> Memtable<WIDTH> {
    Memtable::with_width(0, &Arc::new(ChunkPool::new(512, 0)))
}

fn get<'m, const WIDTH: usize>(
    memtable: &'m Memtable<WIDTH>,
    key: &[u8],
    seq: SeqNo,
) -> Option<(Tag, &'m [u8])> {
    memtable.get(key, key_hash(key), seq)
}

fn put(seq: u64) -> Tag {
    Tag::new(SeqNo::new(seq), Kind::Put)
}

/// What the keys of a test look like.
#[derive(Clone, Copy, Debug)]
enum Keys {
    /// Short, of few different bytes, zeros among them: prefixes of one another, equal heads.
    Short,
    /// 16 bytes that differ early.
    Random,
    /// Zero-padded decimals behind a prefix, drawn at random.
    Decimal,
    /// Those, in order; or the other way round.
    Ascending,
    Descending,
    /// Some groups, whose keys differ only behind 20 bytes.
    Groups,
}

impl Keys {
    const ALL: [Self; 6] =
        [Self::Short, Self::Random, Self::Decimal, Self::Ascending, Self::Descending, Self::Groups];

    /// The key of the `i`th operation, chosen by `n`.
    fn key(self, i: usize, n: u32) -> Vec<u8> {
        match self {
            Self::Short => {
                let byte = |digit: u32| [0, 1, b'a', 0xff][(digit % 4) as usize];
                (0..n % 11).map(|digit| byte(n >> (4 + 2 * digit))).collect()
            }
            Self::Random => {
                let half = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                [half.to_be_bytes(), half.to_le_bytes()].concat()
            }
            Self::Decimal => format!("user{:012}", n % 1000).into_bytes(),
            Self::Ascending => format!("user{:012}", i).into_bytes(),
            Self::Descending => format!("user{:012}", 100_000 - i).into_bytes(),
            Self::Groups => format!("{}{:020}{}", n % 7, 0, (n >> 8) % 50).into_bytes(),
        }
    }
}

#[derive(Clone, Debug)]
enum Move {
    First,
    Last,
    Seek(u32, u64),
    SeekBefore(u32),
    Next,
    Prev,
}

fn keys() -> impl Strategy<Value = Keys> {
    prop::sample::select(Keys::ALL.to_vec())
}

/// Numbers with repetitions, so that there are overwrites.
fn numbers(count_max: usize) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![any::<u32>(), 0..40_u32], 0..count_max)
}

fn moves(count_max: usize) -> impl Strategy<Value = Vec<Move>> {
    let number = || prop_oneof![any::<u32>(), 0..40_u32];
    let one = prop_oneof![
        1 => Just(Move::First),
        1 => Just(Move::Last),
        2 => (number(), 0..500_u64).prop_map(|(n, seq)| Move::Seek(n, seq)),
        2 => number().prop_map(Move::SeekBefore),
        20 => Just(Move::Next),
        20 => Just(Move::Prev),
    ];
    // In runs, because single steps to and fro would stay inside one leaf.
    prop::collection::vec((one, 1..12_usize), 0..count_max)
        .prop_map(|runs| runs.into_iter().flat_map(|(one, n)| vec![one; n]).collect())
}

/// Inserts the `i`th operation into both.
fn insert<const WIDTH: usize>(
    memtable: &Memtable<WIDTH>,
    model: &mut Model,
    keys: Keys,
    i: usize,
    n: u32,
) {
    let kind = if n.is_multiple_of(5) { Kind::Delete } else { Kind::Put };
    let tag = Tag::new(SeqNo::new(1 + i as u64), kind);
    let value = if kind == Kind::Delete { vec![] } else { vec![i as u8; n as usize % 50] };
    memtable.insert(&keys.key(i, n), tag, &value);
    model.insert((keys.key(i, n), Reverse(tag)), value);
}

fn fill<const WIDTH: usize>(keys: Keys, numbers: &[u32]) -> (Arc<Memtable<WIDTH>>, Model) {
    let memtable = Arc::new(memtable());
    let mut model = Model::new();
    for (i, &n) in numbers.iter().enumerate() {
        insert(&memtable, &mut model, keys, i, n);
    }
    (memtable, model)
}

fn step(cursor: &mut dyn Cursor, step: &Move, keys: Keys) {
    let done = match step {
        Move::First => cursor.seek_first(),
        Move::Last => cursor.seek_last(),
        Move::Seek(n, seq) => cursor.seek(&keys.key(*n as usize % 500, *n), SeqNo::new(*seq)),
        Move::SeekBefore(n) => cursor.seek_before(&keys.key(*n as usize % 500, *n)),
        Move::Next => cursor.next(),
        Move::Prev => cursor.prev(),
    };
    done.expect("a memtable has no errors");
}

fn row(cursor: &dyn Cursor) -> Option<Row> {
    cursor.valid().then(|| (cursor.key().to_vec(), cursor.tag(), cursor.value().to_vec()))
}

fn check_cursor<const WIDTH: usize>(
    keys: Keys,
    numbers: &[u32],
    moves: &[Move],
) -> Result<(), TestCaseError> {
    let (memtable, model) = fill::<WIDTH>(keys, numbers);
    memtable.check();
    if numbers.len().is_multiple_of(2) {
        memtable.freeze();
    }
    let rows = model.into_iter().map(|((key, Reverse(tag)), value)| (key, tag, value)).collect();
    let (mut cursor, mut expected) = (memtable.cursor(), VecCursor::new(rows));
    prop_assert!(!cursor.valid());
    for one in moves {
        step(&mut cursor, one, keys);
        step(&mut expected, one, keys);
        prop_assert_eq!(row(&cursor), row(&expected), "after {:?}", one);
    }
    Ok(())
}

fn check_get<const WIDTH: usize>(
    keys: Keys,
    numbers: &[u32],
    probes: &[(u32, u64)],
) -> Result<(), TestCaseError> {
    let (memtable, model) = fill::<WIDTH>(keys, numbers);
    // Readers of a frozen memtable search with vectors.
    if numbers.len().is_multiple_of(2) {
        memtable.freeze();
    }
    let stored = numbers.iter().enumerate().map(|(i, &n)| (keys.key(i, n), i as u64 / 2));
    let others = probes.iter().map(|&(n, seq)| (keys.key(n as usize % 500, n), seq));
    for (key, seq) in stored.chain(others) {
        for seq in [SeqNo::ZERO, SeqNo::new(seq), SeqNo::new(seq + 1), SeqNo::MAX] {
            let expected = model
                .range((key.clone(), Reverse(Tag::search(seq)))..)
                .next()
                .filter(|((found, _), _)| *found == key)
                .map(|((_, Reverse(tag)), value)| (*tag, value.as_slice()));
            prop_assert_eq!(get(&memtable, &key, seq), expected, "{:?} at {}", key, seq);
        }
    }
    Ok(())
}

/// Moves a cursor while inserts go on. Every entry that was there when the cursor was last
/// positioned must be met; newer ones may be.
fn check_cursor_beside_inserts<const WIDTH: usize>(
    keys: Keys,
    numbers: &[u32],
    moves: &[Move],
) -> Result<(), TestCaseError> {
    let (first, later) = numbers.split_at(numbers.len() / 3);
    let (memtable, mut model) = fill::<WIDTH>(keys, first);
    let mut later = later.iter().enumerate().map(|(i, &n)| (first.len() + i, n));
    let mut cursor = memtable.cursor();
    let mut old: Vec<(Vec<u8>, Tag)> = Vec::new();
    for one in moves {
        let before = row(&cursor).map(|(key, tag, _)| (key, tag));
        if !matches!(one, Move::Next | Move::Prev) {
            old = model.keys().map(|(key, Reverse(tag))| (key.clone(), *tag)).collect();
        }
        step(&mut cursor, one, keys);
        for (i, n) in later.by_ref().take(2) {
            insert(&memtable, &mut model, keys, i, n);
        }
        let after = row(&cursor);
        if let Some((key, tag, value)) = &after {
            prop_assert_eq!(model.get(&(key.clone(), Reverse(*tag))), Some(value));
        }
        let after = after.map(|(key, tag, _)| (key, tag));
        if let (Move::Next | Move::Prev, Some(before)) = (one, before) {
            check_step(one, &old, &before, after.as_ref())?;
        }
    }
    memtable.check();
    Ok(())
}

/// From `before` to `after` (or off the end) in one step, without skipping an `old` entry.
fn check_step(
    one: &Move,
    old: &[(Vec<u8>, Tag)],
    before: &(Vec<u8>, Tag),
    after: Option<&(Vec<u8>, Tag)>,
) -> Result<(), TestCaseError> {
    let order = |a: &(Vec<u8>, Tag), b: &(Vec<u8>, Tag)| match one {
        Move::Next => compare((&a.0, a.1), (&b.0, b.1)),
        _ => compare((&b.0, b.1), (&a.0, a.1)),
    };
    if let Some(after) = after {
        prop_assert!(order(before, after).is_lt(), "{:?} from {:?} to {:?}", one, before, after);
    }
    let skipped = old.iter().find(|entry| {
        order(before, entry).is_lt() && after.is_none_or(|after| order(entry, after).is_lt())
    });
    prop_assert_eq!(skipped, None, "{:?} from {:?} to {:?}", one, before, after);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn m1_a_cursor_walks_as_over_a_sorted_list(
        keys in keys(), numbers in numbers(400), moves in moves(60),
    ) {
        check_cursor::<3>(keys, &numbers, &moves)?;
        check_cursor::<4>(keys, &numbers, &moves)?;
        check_cursor::<64>(keys, &numbers, &moves)?;
    }

    #[test]
    fn m1_a_cursor_skips_and_repeats_nothing_beside_inserts(
        keys in keys(), numbers in numbers(400), moves in moves(60),
    ) {
        check_cursor_beside_inserts::<3>(keys, &numbers, &moves)?;
        check_cursor_beside_inserts::<4>(keys, &numbers, &moves)?;
        check_cursor_beside_inserts::<64>(keys, &numbers, &moves)?;
    }

    #[test]
    fn m4_a_get_finds_the_newest_version_that_its_snapshot_sees(
        keys in keys(),
        numbers in numbers(400),
        probes in prop::collection::vec((any::<u32>(), 0..400_u64), 0..50),
    ) {
        check_get::<3>(keys, &numbers, &probes)?;
        check_get::<4>(keys, &numbers, &probes)?;
        check_get::<64>(keys, &numbers, &probes)?;
    }
}

/// Checks the tree after every insert while it is small, then every 97th.
fn check_growth<const WIDTH: usize>(keys: Keys, count: usize) {
    let memtable = memtable::<WIDTH>();
    let mut model = Model::new();
    for i in 0..count {
        insert(&memtable, &mut model, keys, i, (i as u32).wrapping_mul(2_654_435_761) >> 5);
        if i < 150 || i % 97 == 0 {
            memtable.check();
        }
    }
    memtable.check();
}

#[test]
fn m2_and_m5_hold_while_trees_of_all_widths_grow() {
    for keys in Keys::ALL {
        check_growth::<3>(keys, 1500);
        check_growth::<4>(keys, 1500);
        check_growth::<7>(keys, 1500);
        check_growth::<64>(keys, 3000);
    }
}

fn leaves(memtable: &Memtable) -> usize {
    let first = memtable.tree.first_leaf().expect("nobody writes").map(|leaf| leaf.node);
    std::iter::successors(first, |leaf| leaf.right()).count()
}

#[test]
fn m5_ascending_keys_fill_the_leaves() {
    let memtable = memtable::<64>();
    for i in 0..50_000_u64 {
        memtable.insert(&i.to_be_bytes(), put(i), b"");
    }
    memtable.check();
    let leaves = leaves(&memtable);
    assert_eq!(leaves, 50_000_usize.div_ceil(60));
}

#[test]
fn m5_keys_that_descend_into_a_gap_do_not_get_a_leaf_each() {
    let memtable = memtable::<64>();
    for i in (0..64).chain((1000..21_000).rev()) {
        memtable.insert(&u64::to_be_bytes(i), put(i), b"");
    }
    memtable.check();
    let leaves = leaves(&memtable);
    assert!(leaves <= 20_000 / 30, "{leaves} leaves");
}

#[test]
fn m3_heads_tell_keys_with_a_long_common_prefix_apart_at_the_edges_too() {
    let memtable = memtable::<8>();
    for i in 0..5000_u64 {
        let key = format!("a/rather/long/directory/user{:012}", i * 7919 % 5000);
        memtable.insert(key.as_bytes(), put(i), b"");
    }
    let root = memtable.tree.root().expect("not empty");
    let heads: Vec<u64> = (0..root.count()).map(|at| root.head_at(at)).collect();
    assert!(heads.windows(2).all(|pair| pair[0] < pair[1]), "{heads:x?}");
    memtable.check();

    // A key without the prefix: the heads of both edges change, and nothing is lost.
    memtable.insert(b"a/r", put(5000), b"short");
    memtable.check();
    memtable.insert(b"", put(5001), b"empty");
    memtable.insert(b"\xff", put(5002), b"last");
    memtable.check();
    assert_eq!(get(&memtable, b"", SeqNo::MAX), Some((put(5001), &b"empty"[..])));
    assert_eq!(get(&memtable, b"a/r", SeqNo::MAX), Some((put(5000), &b"short"[..])));
    let key = b"a/rather/long/directory/user000000000042";
    assert!(get(&memtable, key, SeqNo::MAX).is_some());
}

#[test]
#[should_panic(expected = "invariant M4")]
fn m4_a_version_that_is_not_newer_is_refused() {
    let memtable = memtable::<64>();
    memtable.insert(b"k", put(7), b"");
    memtable.insert(b"k", put(7), b"");
}

#[test]
fn m4_overwrites_of_a_hot_key_do_not_grow_the_tree() {
    let memtable = Arc::new(memtable::<64>());
    memtable.insert(b"a", put(1), b"first");
    memtable.insert(b"z", put(2), b"last");
    let before = memtable.bytes();
    for seq in 10..100_010_u64 {
        memtable.insert(b"hot", put(seq), &seq.to_le_bytes());
    }
    // 16 of header, 24 of links, 3 of key, 8 of value, rounded; the first one has no links.
    assert_eq!(memtable.bytes() - before, 100_000 * 56 - 24);
    assert_eq!(get(&memtable, b"hot", SeqNo::new(9)), None);
    for seq in (10..100_010_u64).step_by(101) {
        let value = seq.to_le_bytes();
        assert_eq!(get(&memtable, b"hot", SeqNo::new(seq)), Some((put(seq), &value[..])));
    }
    let mut cursor = memtable.cursor();
    cursor.seek_last().unwrap();
    for expected in [2_u64].into_iter().chain(10..100_010).chain([1]) {
        assert_eq!(cursor.tag(), put(expected));
        cursor.prev().unwrap();
    }
    assert!(!cursor.valid());
    memtable.check();
}

#[test]
fn m6_references_outlive_inserts_and_cursors_outlive_the_handle() {
    let memtable = Arc::new(memtable::<4>());
    let value = |i: u64| vec![i as u8; (i % 90) as usize];
    let mut held = Vec::new();
    for i in 0..3000_u64 {
        let key = (i * 7919 % 1000).to_be_bytes();
        memtable.insert(&key, put(i), &value(i));
        held.push(get(&memtable, &key, SeqNo::MAX).expect("just inserted"));
    }
    for (i, (tag, bytes)) in (0..).zip(held) {
        assert_eq!((tag, bytes), (put(i), &value(i)[..]));
    }
    let mut cursor = memtable.cursor();
    drop(memtable);
    let walk = std::thread::spawn(move || {
        let mut entries = 0;
        cursor.seek_first().unwrap();
        while cursor.valid() {
            assert_eq!(cursor.value(), value(cursor.tag().seq().get()));
            entries += 1;
            cursor.next().unwrap();
        }
        entries
    });
    assert_eq!(walk.join().unwrap(), 3000);
}

#[test]
fn m7_figures_count_what_was_inserted() {
    let memtable = memtable::<64>();
    assert!(memtable.is_empty());
    assert_eq!((memtable.bytes(), memtable.entries(), memtable.user_bytes()), (0, 0, 0));
    assert_eq!(memtable.seq_range(), None);
    let mut before = 0;
    let lengths = [(0, 0), (1, 0), (3, 100), (65_535, 0), (16, 3 << 20), (0, 1), (3, 5)];
    for (seq, (key_bytes, value_bytes)) in (20..).zip(lengths) {
        memtable.insert(&vec![b'k'; key_bytes], put(seq), &vec![b'v'; value_bytes]);
        let grown = memtable.bytes() - before;
        assert!(grown > key_bytes + value_bytes, "{grown} for {key_bytes} + {value_bytes}");
        before = memtable.bytes();
    }
    memtable.check();
    assert_eq!(memtable.entries(), 7);
    let expected: usize = lengths.iter().map(|(key, value)| key + value).sum();
    assert_eq!(memtable.user_bytes(), expected as u64);
    assert_eq!(memtable.seq_range(), Some((SeqNo::new(20), SeqNo::new(26))));
    assert!(!memtable.is_empty());
}

#[test]
#[should_panic(expected = "invariant M8")]
fn m8_an_insert_after_the_freeze_is_refused() {
    let memtable = memtable::<64>();
    memtable.insert(b"k", put(1), b"");
    memtable.freeze();
    memtable.insert(b"l", put(2), b"");
}

#[test]
fn m9_the_filter_passes_what_is_here_and_few_others() {
    let memtable = Memtable::new(1 << 20, &Arc::new(ChunkPool::new(4096, 0)));
    for i in 0..10_000_u64 {
        memtable.insert(&(i % 8000).to_be_bytes(), put(i), &[0; 40]);
    }
    memtable.check();
    let filter = memtable.filter.get().expect("a memtable of that size has one");
    let passes = |i: u64| filter.may_contain(key_hash(&i.to_be_bytes()));
    assert!((0..8000).all(passes));
    let foreign = (1 << 20..).take(10_000).filter(|i| passes(*i)).count();
    assert!(foreign < 300, "{foreign} of 10,000 others passed");
}

#[test]
fn a_successor_of_a_memtable_lives_in_its_memory() {
    let pool = Arc::new(ChunkPool::new(4096, 64 << 20));
    let fill = || {
        let memtable = Memtable::new(8 << 20, &pool);
        (0..60_000_u64).for_each(|i| memtable.insert(&i.to_le_bytes(), put(i), &[0; 100]));
        memtable
    };
    let first = fill();
    let (held_bytes, bytes) = (first.held_bytes(), first.bytes());
    assert!(held_bytes > bytes && bytes > 8 << 20, "{held_bytes} held for {bytes}");
    assert_eq!(pool.idle_bytes(), 0);
    drop(first);
    let idle_bytes = pool.idle_bytes();
    assert!(idle_bytes > 4 << 20, "{idle_bytes} kept");
    let second = fill();
    assert_eq!(second.bytes(), bytes);
    assert!(pool.idle_bytes() < idle_bytes / 2, "{} not used", pool.idle_bytes());
}

#[test]
#[should_panic(expected = "key of 65536 bytes")]
fn a_key_over_its_limit_is_refused() {
    memtable::<64>().insert(&[0; 65_536], put(1), b"");
}

#[test]
fn an_empty_memtable_has_nothing() {
    let memtable = Arc::new(memtable::<64>());
    memtable.check();
    assert_eq!(get(&memtable, b"", SeqNo::MAX), None);
    let mut cursor = memtable.cursor();
    let moves =
        [Move::First, Move::Last, Move::Seek(1, 1), Move::SeekBefore(1), Move::Next, Move::Prev];
    for one in moves {
        step(&mut cursor, &one, Keys::Short);
        assert!(!cursor.valid(), "{one:?}");
    }
}

/// The key and the value of the `seq`th insert of the concurrent test.
fn concurrent_key(seq: u64) -> Vec<u8> {
    format!("k{:05}", seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 51).into_bytes()
}

fn concurrent_value(key: &[u8], seq: u64) -> Vec<u8> {
    [key, &seq.to_le_bytes(), &[seq as u8; 40]].concat()
}

/// One writer publishes numbers as a commit does; readers at such a number must see all up to it.
fn check_concurrent_readers<const WIDTH: usize>(inserts: u64) {
    let pool = Arc::new(ChunkPool::new(4096, 0));
    let memtable = Arc::new(Memtable::<WIDTH>::with_width(4 << 20, &pool));
    let published = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for seq in 1..=inserts {
                let key = concurrent_key(seq);
                memtable.insert(&key, put(seq), &concurrent_value(&key, seq));
                published.store(seq, Release);
            }
            memtable.freeze();
        });
        scope.spawn(|| get_until(&memtable, &published, inserts));
        scope.spawn(|| scan_until(&memtable, &published, inserts));
    });
    memtable.check();
    assert!(memtable.filter.get().is_some(), "the filter was made meanwhile");
}

fn get_until<const WIDTH: usize>(memtable: &Memtable<WIDTH>, published: &AtomicU64, inserts: u64) {
    let mut probe = 0;
    let mut versions: BTreeMap<Vec<u8>, Vec<u64>> = BTreeMap::new();
    (1..=inserts).for_each(|seq| versions.entry(concurrent_key(seq)).or_default().push(seq));
    loop {
        let seq = published.load(Acquire);
        for _ in 0..100 {
            probe = probe % inserts + 1;
            let key = concurrent_key(probe * 31 % inserts + 1);
            let expected = versions[&key].iter().rfind(|&&version| version <= seq);
            assert_eq!(get(memtable, &[&key[..], b"+"].concat(), SeqNo::MAX), None);
            let found = get(memtable, &key, SeqNo::new(seq));
            assert_eq!(found.map(|(tag, _)| tag), expected.map(|&version| put(version)));
            if let Some((tag, value)) = found {
                assert_eq!(value, concurrent_value(&key, tag.seq().get()));
            }
        }
        if seq == inserts {
            return;
        }
    }
}

fn scan_until<const WIDTH: usize>(
    memtable: &Arc<Memtable<WIDTH>>,
    published: &AtomicU64,
    inserts: u64,
) {
    loop {
        let seq = published.load(Acquire);
        assert_eq!(scan(memtable, seq, Cursor::seek_first, Cursor::next), seq);
        assert_eq!(scan(memtable, seq, Cursor::seek_last, Cursor::prev), seq);
        if seq == inserts {
            return;
        }
    }
}

/// Walks from one end to the other; how many entries at or below `seq` there were, each whole.
fn scan<const WIDTH: usize>(
    memtable: &Arc<Memtable<WIDTH>>,
    seq: u64,
    start: impl Fn(&mut super::MemtableCursor<WIDTH>) -> crate::base::error::Result<()>,
    go: impl Fn(&mut super::MemtableCursor<WIDTH>) -> crate::base::error::Result<()>,
) -> u64 {
    let mut cursor = memtable.cursor();
    let mut seen = 0;
    let mut last: Option<(Vec<u8>, Tag)> = None;
    let mut direction = None;
    start(&mut cursor).unwrap();
    while cursor.valid() {
        let (key, tag) = (cursor.key(), cursor.tag());
        assert_eq!(cursor.value(), concurrent_value(key, tag.seq().get()));
        if let Some((last_key, last_tag)) = &last {
            let order = compare((last_key, *last_tag), (key, tag));
            assert!(order.is_ne());
            assert_eq!(*direction.get_or_insert(order), order, "one way only");
        }
        seen += u64::from(tag.seq().get() <= seq);
        last = Some((key.to_vec(), tag));
        go(&mut cursor).unwrap();
    }
    seen
}

#[test]
fn m6_readers_beside_a_writer_see_whole_entries_and_miss_none() {
    check_concurrent_readers::<4>(20_000);
    check_concurrent_readers::<64>(40_000);
}

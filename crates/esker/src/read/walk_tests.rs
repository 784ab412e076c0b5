//! Walks over whole views, of memtables, tables and levels, against the list that a reader at its
//! sequence number sees: whoever lends a stretch or takes one back, nothing is lost or shown twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::base::key::{KeyspaceId, Kind, SeqNo, TableId, Tag, compare};
use crate::base::range::Bounds;
use crate::cache::FramePool;
use crate::memtable::{ChunkPool, Memtable};
use crate::read::merge::MergeCursor;
use crate::read::view::{Sources, View};
use crate::read::visible::VisibleCursor;
use crate::sstable::{Compression, Table, TableSettings, TableWriter};
use crate::testing::Entry;
use crate::vfs::sim::SimDisk;

const STORE: u64 = 7;

/// A disk with tables, numbered from 1 on.
struct Tables {
    disk: Arc<SimDisk>,
    pool: Arc<FramePool>,
    block_bytes: usize,
    made: u64,
}

impl Tables {
    fn new(block_bytes: usize) -> Self {
        Self { disk: SimDisk::new(), pool: FramePool::for_tests(1 << 20), block_bytes, made: 0 }
    }

    fn table(&mut self, entries: &[Entry]) -> Arc<Table> {
        self.made += 1;
        let id = TableId(self.made);
        let settings = TableSettings {
            block_bytes: self.block_bytes,
            filter_bits_per_key: 10,
            compression: Compression::None,
        };
        let mut writer =
            TableWriter::create(&*self.disk, STORE, KeyspaceId::DEFAULT, id, settings).unwrap();
        for (key, tag, value) in entries {
            writer.add(key, *tag, value).unwrap();
        }
        let bytes = writer.finish().unwrap().bytes;
        Table::open(&*self.disk, STORE, id, bytes, &self.pool).unwrap()
    }

    /// Disjoint tables of about `each` entries: the versions of a key stay together.
    fn level(&mut self, entries: &[Entry], each: usize) -> Vec<Arc<Table>> {
        let mut tables = Vec::new();
        let mut start = 0;
        for end in 1..=entries.len() {
            let cut =
                end == entries.len() || end - start >= each && entries[end - 1].0 != entries[end].0;
            if cut {
                tables.push(self.table(&entries[start..end]));
                start = end;
            }
        }
        tables
    }

    /// A view of `runs`: the active memtable, a frozen one, two tables of L0, L1, L2.
    fn view(&mut self, mut runs: [Vec<Entry>; 6]) -> View {
        for run in &mut runs[2..] {
            run.sort_by(|a, b| compare((&a.0, a.1), (&b.0, b.1)));
        }
        let memtable = |entries: &[Entry]| {
            let memtable = Arc::new(Memtable::new(0, &Arc::new(ChunkPool::new(4096, 0))));
            entries.iter().for_each(|(key, tag, value)| memtable.insert(key, *tag, value));
            memtable
        };
        let mut view = View::new(memtable(&runs[0]));
        view.frozen = vec![memtable(&runs[1])];
        let newest = runs[2..4].iter().filter(|run| !run.is_empty());
        view.levels[0] = newest.map(|run| self.table(run)).collect();
        view.levels[1] = self.level(&runs[4], 20).into_iter().collect();
        view.levels[2] = self.level(&runs[5], 50).into_iter().collect();
        view
    }
}

/// What a reader sees, and where it is: an independent cursor.
struct Model {
    shown: Vec<(Vec<u8>, Vec<u8>)>,
    here: Option<usize>,
}

#[derive(Clone, Debug)]
enum Motion {
    First,
    Last,
    Seek(u8),
    SeekBack(u8),
    Next(usize),
    Prev(usize),
}

impl Model {
    fn new(entries: &[Entry], seq: SeqNo, bounds: &Bounds) -> Self {
        let mut newest: BTreeMap<&[u8], &Entry> = BTreeMap::new();
        for entry in entries.iter().filter(|e| e.1.seq() <= seq && bounds.contains(&e.0)) {
            newest.insert(&entry.0, entry);
        }
        let shown = newest.into_values().filter(|entry| !entry.1.is_delete());
        Self { shown: shown.map(|e| (e.0.clone(), e.2.clone())).collect(), here: None }
    }

    fn go(&mut self, motion: &Motion) {
        let behind = |key: &[u8]| self.shown.partition_point(|(k, _)| k.as_slice() <= key);
        let at = match motion {
            Motion::First => Some(0),
            Motion::Last => self.shown.len().checked_sub(1),
            Motion::Seek(n) => Some(self.shown.partition_point(|(k, _)| *k < key(*n))),
            Motion::SeekBack(n) => behind(&key(*n)).checked_sub(1),
            Motion::Next(_) => self.here.map(|here| here + 1),
            Motion::Prev(_) => self.here.and_then(|here| here.checked_sub(1)),
        };
        self.here = at.filter(|at| *at < self.shown.len());
    }
}

fn go(cursor: &mut VisibleCursor<MergeCursor>, motion: &Motion) {
    match motion {
        Motion::First => cursor.seek_first(),
        Motion::Last => cursor.seek_last(),
        Motion::Seek(n) => cursor.seek(&key(*n)),
        Motion::SeekBack(n) => cursor.seek_back(&key(*n)),
        Motion::Next(_) => cursor.next(),
        Motion::Prev(_) => cursor.prev(),
    }
    .expect("this disk never fails");
}

fn key(n: u8) -> Vec<u8> {
    match n {
        0..200 => format!("a common prefix, {n:03}").into_bytes(),
        n => vec![b'a'; usize::from(n - 198)],
    }
}

fn motion() -> impl Strategy<Value = Motion> {
    prop_oneof![
        1 => Just(Motion::First),
        1 => Just(Motion::Last),
        3 => any::<u8>().prop_map(Motion::Seek),
        3 => any::<u8>().prop_map(Motion::SeekBack),
        8 => (1..60usize).prop_map(Motion::Next),
        8 => (1..60usize).prop_map(Motion::Prev),
    ]
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (prop::option::of(any::<u8>()), prop::option::of(any::<u8>())).prop_map(|(start, end)| Bounds {
        start: start.map_or_else(Vec::new, key),
        end: end.map(key),
    })
}

/// A key, which run, and what kind: half of the entries are in the deepest level.
fn entry() -> impl Strategy<Value = (u8, usize, bool)> {
    let run = prop_oneof![1 => Just(0), 1 => Just(1), 1 => 2..4usize, 2 => Just(4), 5 => Just(5)];
    (any::<u8>(), run, prop::bool::weighted(0.2))
}

/// Deals entries out, with a sequence number each, oldest first.
fn deal(entries: Vec<(u8, usize, bool)>, fixed: bool) -> (Vec<Entry>, [Vec<Entry>; 6]) {
    let mut runs: [Vec<Entry>; 6] = Default::default();
    let mut all = Vec::new();
    for (n, (number, run, delete)) in entries.into_iter().enumerate() {
        let kind = if delete { Kind::Delete } else { Kind::Put };
        let value_bytes = if delete {
            0
        } else if fixed {
            5
        } else {
            n % 7
        };
        let tag = Tag::new(SeqNo::new(n as u64 + 1), kind);
        let entry = (key(number), tag, vec![n as u8; value_bytes]);
        runs[run].push(entry.clone());
        all.push(entry);
    }
    (all, runs)
}

fn check(view: &View, all: &[Entry], seq: SeqNo, bounds: &Bounds, motions: &[Motion]) {
    let mut model = Model::new(all, seq, bounds);
    let source = view.cursor(bounds, Sources::All);
    let mut cursor = VisibleCursor::new(source, seq, bounds.clone());
    for motion in motions {
        let (Motion::Next(times) | Motion::Prev(times)) = motion else {
            model.go(motion);
            go(&mut cursor, motion);
            assert_same(&cursor, &model, motion);
            continue;
        };
        for _ in 0..*times {
            model.go(motion);
            go(&mut cursor, motion);
            assert_same(&cursor, &model, motion);
        }
    }
}

fn assert_same(cursor: &VisibleCursor<MergeCursor>, model: &Model, motion: &Motion) {
    let shown = cursor.valid().then(|| (cursor.key(), cursor.value()));
    let expected = model.here.map(|at| (&*model.shown[at].0, &*model.shown[at].1));
    assert_eq!(shown, expected, "after {motion:?}");
}

proptest! {
    /// Many runs, versions and tombstones in all of them, readers old and new.
    #[test]
    fn a_view_is_walked_like_the_list_of_what_is_visible(
        entries in prop::collection::vec(entry(), 0..400),
        fixed: bool,
        block_bytes in prop_oneof![Just(200usize), Just(400), Just(1000)],
        past in prop_oneof![3 => Just(0u64), 1 => 0..300u64],
        bounds in bounds(),
        motions in prop::collection::vec(motion(), 1..30),
    ) {
        let seq = SeqNo::new((entries.len() as u64).saturating_sub(past));
        let (all, runs) = deal(entries, fixed);
        let view = Tables::new(block_bytes).view(runs);
        check(&view, &all, seq, &bounds, &motions);
        check(&view, &all, seq, &Bounds::all(), &motions);
    }

    /// One sorted run, which is walked block by block, and a few entries that lie across it.
    #[test]
    fn a_level_with_little_beside_it_is_walked_in_stretches(
        kinds in prop::collection::vec(0..10u8, 256),
        tombstones in 0..11u8,
        beside in prop::collection::vec((any::<u8>(), 0..5usize, any::<bool>()), 0..5),
        unseen in 0..3u64,
        bounds in bounds(),
        motions in prop::collection::vec(motion(), 1..30),
    ) {
        let keys = (0..=255).zip(&kinds);
        let mut entries: Vec<_> = keys.map(|(n, kind)| (n, 5, *kind < tombstones)).collect();
        entries.extend(beside);
        let seq = SeqNo::new(entries.len() as u64 - unseen.min(1));
        let (all, runs) = deal(entries, true);
        let view = Tables::new(300).view(runs);
        check(&view, &all, seq, &bounds, &motions);
        check(&view, &all, seq, &Bounds::all(), &motions);
    }
}

/// What a memtable gains while a cursor stands in a stretch of a table is newer than the reader.
#[test]
fn a_cursor_does_not_see_what_is_written_while_it_is_open() {
    let entries = (0..200).map(|n| (n, 5, false)).collect();
    let (all, runs) = deal(entries, true);
    let view = Tables::new(300).view(runs);
    view.active.insert(&key(100), Tag::new(SeqNo::new(201), Kind::Put), b"too new");
    let seq = SeqNo::new(200);
    let mut model = Model::new(&all, seq, &Bounds::all());
    let source = view.cursor(&Bounds::all(), Sources::All);
    let mut cursor = VisibleCursor::new(source, seq, Bounds::all());
    let motions = std::iter::once(Motion::First).chain((0..200).map(|_| Motion::Next(1)));
    let motions = motions.chain([Motion::Last]).chain((0..200).map(|_| Motion::Prev(1)));
    for (n, motion) in (0u64..).zip(motions) {
        go(&mut cursor, &motion);
        model.go(&motion);
        assert_same(&cursor, &model, &motion);
        for (seq, number) in [(300 + 2 * n, n * 7 % 200), (301 + 2 * n, n % 200)] {
            let tag = Tag::new(SeqNo::new(seq), Kind::Delete);
            view.active.insert(&key(number as u8), tag, b"");
        }
    }
}

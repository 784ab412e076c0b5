//! The cursor over what is visible, against a model of it, in scenarios, and when its source fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::visible::*;
use crate::base::cursor::{Cursor, VecCursor};
use crate::base::error::Result;
use crate::base::key::{Kind, SeqNo, Tag, compare};
use crate::base::range::{Bounds, KeyBounds as _};
use crate::read::merge::MergeCursor;
use crate::read::run::{Lender, RunCursor};
use crate::testing::{Entry, FailingCursor, Scenario, parse_entries, parse_seq, run_scenarios};

#[derive(Clone, Debug)]
enum Motion {
    First,
    Last,
    Seek(Vec<u8>),
    SeekBack(Vec<u8>),
    Next,
    Prev,
}

fn run<C: Lender>(cursor: &mut VisibleCursor<C>, motion: &Motion) -> Result<()> {
    match motion {
        Motion::First => cursor.seek_first(),
        Motion::Last => cursor.seek_last(),
        Motion::Seek(key) => cursor.seek(key),
        Motion::SeekBack(key) => cursor.seek_back(key),
        Motion::Next => cursor.next(),
        Motion::Prev => cursor.prev(),
    }
}

fn show<C: Lender>(cursor: &VisibleCursor<C>) -> Option<(Vec<u8>, Vec<u8>)> {
    cursor.valid().then(|| (cursor.key().to_vec(), cursor.value().to_vec()))
}

fn parse_motion(line: &str) -> Motion {
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        ["first"] => Motion::First,
        ["last"] => Motion::Last,
        ["seek", key] => Motion::Seek(key.into()),
        ["seek_back", key] => Motion::SeekBack(key.into()),
        ["next"] => Motion::Next,
        ["prev"] => Motion::Prev,
        _ => panic!("unknown motion {line:?}"),
    }
}

/// `entries` sets what there is; `at 5 from a to c` reads it, a motion a line.
fn answer(entries: &mut Vec<Entry>, scenario: &Scenario) -> String {
    if scenario.word(0) == "entries" {
        *entries = scenario.input.iter().flat_map(|line| parse_entries(line)).collect();
        return String::new();
    }
    let words: Vec<_> = scenario.command.split_whitespace().collect();
    let (seq, bounds) = match words[..] {
        ["at", seq] => (seq, Bounds::all()),
        ["at", seq, "from", start] => (seq, (start..).to_bounds()),
        ["at", seq, "to", end] => (seq, (..end).to_bounds()),
        ["at", seq, "from", start, "to", end] => (seq, (start..end).to_bounds()),
        _ => panic!("unknown command {:?}", scenario.command),
    };
    let source = VecCursor::new(entries.clone());
    let mut cursor = VisibleCursor::new(source, parse_seq(seq), bounds);
    let mut answer = String::new();
    for line in &scenario.input {
        run(&mut cursor, &parse_motion(line)).expect("this source never fails");
        let here = show(&cursor).map_or("-".into(), |(key, value)| {
            format!("{}={}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value))
        });
        writeln!(answer, "{line}: {here}").expect("a string takes all");
    }
    answer
}

#[test]
fn scenarios() {
    run_scenarios("visible", || {
        let mut entries = Vec::new();
        move |scenario| answer(&mut entries, scenario)
    });
}

/// What a reader at `seq` sees within `bounds`.
fn model(entries: &[Entry], seq: SeqNo, bounds: &Bounds) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut newest: BTreeMap<&[u8], &Entry> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.1.seq() <= seq) {
        let slot = newest.entry(&entry.0).or_insert(entry);
        if slot.1 < entry.1 {
            *slot = entry;
        }
    }
    let shown = newest.into_values().filter(|e| !e.1.is_delete() && bounds.contains(&e.0));
    shown.map(|(key, _, value)| (key.clone(), value.clone())).collect()
}

/// Where `motion` leads from `here` in `model`.
fn walk(
    model: &BTreeMap<Vec<u8>, Vec<u8>>,
    here: Option<Vec<u8>>,
    motion: &Motion,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let own = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
    let mut all = model.iter();
    match motion {
        Motion::First => all.next(),
        Motion::Last => all.next_back(),
        Motion::Seek(key) => all.find(|(k, _)| *k >= key),
        Motion::SeekBack(key) => all.rfind(|(k, _)| *k <= key),
        Motion::Next => here.and_then(|here| all.find(|(k, _)| **k > here)),
        Motion::Prev => here.and_then(|here| all.rfind(|(k, _)| **k < here)),
    }
    .map(own)
}

const KEYS: [&[u8]; 7] =
    [b"", b"a", b"a\0", b"b", b"bb", b"c", b"\xff\xff\xff\xff\xff\xff\xff\xff"];

fn key() -> impl Strategy<Value = Vec<u8>> {
    (0..KEYS.len()).prop_map(|n| KEYS[n].to_vec())
}

fn motion() -> impl Strategy<Value = Motion> {
    prop_oneof![
        1 => Just(Motion::First),
        1 => Just(Motion::Last),
        2 => key().prop_map(Motion::Seek),
        2 => key().prop_map(Motion::SeekBack),
        10 => Just(Motion::Next),
        10 => Just(Motion::Prev),
    ]
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (prop_oneof![Just(Vec::new()), key()], prop::option::of(key()))
        .prop_map(|(start, end)| Bounds { start, end })
}

proptest! {
    /// A visible cursor, over one source or a merge of many, walks like the map that a reader
    /// at its sequence number sees. Few keys and many entries make long runs of versions.
    #[test]
    fn walks_like_a_map(
        entries in prop::collection::vec((key(), 0..4usize, 0..4u8), 0..120),
        seq in 0..130u64,
        bounds in bounds(),
        motions in prop::collection::vec(motion(), 1..60),
    ) {
        let mut dealt = vec![Vec::new(); 4];
        let mut all = Vec::new();
        for (n, (key, source, kind)) in entries.into_iter().enumerate() {
            let kind = if kind == 0 { Kind::Delete } else { Kind::Put };
            let value = if kind == Kind::Put { vec![n as u8; n % 5] } else { Vec::new() };
            let entry = (key, Tag::new(SeqNo::new(n as u64 + 1), kind), value);
            dealt[source].push(entry.clone());
            all.push(entry);
        }
        let seq = SeqNo::new(seq);
        let model = model(&all, seq, &bounds);
        let in_order = |a: &Entry, b: &Entry| compare((&a.0, a.1), (&b.0, b.1));
        all.sort_by(in_order);
        dealt.iter_mut().for_each(|source| source.sort_by(in_order));
        let boxed = |entries| RunCursor::Other(Box::new(VecCursor::new(entries)));
        let merge = MergeCursor::new(dealt.into_iter().map(boxed).collect());
        let mut of_merge = VisibleCursor::new(merge, seq, bounds.clone());
        let mut of_one = VisibleCursor::new(VecCursor::new(all), seq, bounds);
        let mut here = None;
        for motion in &motions {
            let there = walk(&model, here, motion);
            run(&mut of_one, motion).unwrap();
            run(&mut of_merge, motion).unwrap();
            prop_assert_eq!(&show(&of_one), &there, "after {:?}", motion);
            prop_assert_eq!(&show(&of_merge), &there, "after {:?}", motion);
            here = there.map(|(key, _)| key);
        }
    }
}

/// Counts the moves of its source.
struct Counting(VecCursor, Arc<AtomicUsize>);

impl Counting {
    fn count(&mut self) -> &mut VecCursor {
        self.1.fetch_add(1, Ordering::Relaxed);
        &mut self.0
    }
}

impl Lender for Counting {}
impl Cursor for Counting {
    fn valid(&self) -> bool {
        self.0.valid()
    }
    fn seek_first(&mut self) -> Result<()> {
        self.count().seek_first()
    }
    fn seek_last(&mut self) -> Result<()> {
        self.count().seek_last()
    }
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.count().seek(key, seq)
    }
    fn seek_before(&mut self, key: &[u8]) -> Result<()> {
        self.count().seek_before(key)
    }
    fn next(&mut self) -> Result<()> {
        self.count().next()
    }
    fn prev(&mut self) -> Result<()> {
        self.count().prev()
    }
    fn key(&self) -> &[u8] {
        self.0.key()
    }
    fn tag(&self) -> Tag {
        self.0.tag()
    }
    fn value(&self) -> &[u8] {
        self.0.value()
    }
}

#[test]
fn a_key_with_many_hidden_versions_is_passed_by_a_search() {
    let put = |seq| Tag::new(SeqNo::new(seq), Kind::Put);
    let mut entries = vec![(b"a".to_vec(), put(1), Vec::new())];
    entries.extend((2..10_000).rev().map(|seq| (b"b".to_vec(), put(seq), Vec::new())));
    entries.push((b"c".to_vec(), put(10_000), Vec::new()));
    for seq in [1, 2, 5_000, 9_999, 10_000] {
        let moves = Arc::new(AtomicUsize::new(0));
        let source = Counting(VecCursor::new(entries.clone()), Arc::clone(&moves));
        let mut cursor = VisibleCursor::new(source, SeqNo::new(seq), Bounds::all());
        cursor.seek_first().unwrap();
        while cursor.valid() {
            cursor.next().unwrap();
        }
        cursor.seek_last().unwrap();
        while cursor.valid() {
            cursor.prev().unwrap();
        }
        let moves = moves.load(Ordering::Relaxed);
        assert!(moves < 8 * STEPS_MAX, "{moves} moves at #{seq}");
    }
}

#[test]
fn an_error_is_every_later_motions_answer() {
    for good_moves in 0..10 {
        let source = VecCursor::new(parse_entries("a#3,put=x a#1,put=y b#2,delete c#4,put=z"));
        let source = FailingCursor::new(source, good_moves);
        let mut cursor = VisibleCursor::new(source, SeqNo::new(9), Bounds::all());
        let motions = [Motion::First, Motion::Next, Motion::Prev, Motion::Last, Motion::Prev];
        let motions = motions.iter().cycle().take(20);
        let results: Vec<_> = motions.map(|m| run(&mut cursor, m).is_ok()).collect();
        let failed_at = results.iter().position(|ok| !ok).expect("a motion fails");
        assert!(results[failed_at..].iter().all(|ok| !ok), "{results:?}");
        assert!(!cursor.valid());
    }
}

/// Stands on `a`, then on `b`, then on `a` again, whichever way it goes.
struct Circle(usize);

impl Lender for Circle {}
impl Cursor for Circle {
    fn valid(&self) -> bool {
        true
    }
    fn seek_first(&mut self) -> Result<()> {
        Ok(())
    }
    fn seek_last(&mut self) -> Result<()> {
        Ok(())
    }
    fn seek(&mut self, _: &[u8], _: SeqNo) -> Result<()> {
        Ok(())
    }
    fn seek_before(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn next(&mut self) -> Result<()> {
        self.0 += 1;
        Ok(())
    }
    fn prev(&mut self) -> Result<()> {
        self.next()
    }
    fn key(&self) -> &[u8] {
        [&b"a"[..], b"b"][self.0 % 2]
    }
    fn tag(&self) -> Tag {
        Tag::new(SeqNo::new(1), Kind::Put)
    }
    fn value(&self) -> &[u8] {
        b""
    }
}

#[test]
#[should_panic(expected = "invariant R2")]
fn r2_a_source_that_goes_back_while_it_goes_forward_is_refused() {
    let mut cursor = VisibleCursor::new(Circle(0), SeqNo::new(9), Bounds::all());
    cursor.seek_first().unwrap();
    cursor.next().unwrap();
    cursor.next().unwrap();
}

#[test]
#[should_panic(expected = "invariant R2")]
fn r2_a_source_that_goes_forward_while_it_goes_back_is_refused() {
    let mut cursor = VisibleCursor::new(Circle(0), SeqNo::new(9), Bounds::all());
    cursor.seek_last().unwrap();
    cursor.prev().unwrap();
}

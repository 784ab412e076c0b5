//! What a reader at one sequence number sees of a source: the newest version of each key that is
//! not newer than the reader, unless it is a tombstone.
//!
//! Versions of a key come newest first, so going forward the first one that is old enough decides.
//! The source then stands on the entry that is shown. Going back they come oldest first, and the
//! last one that is old enough decides: candidates are copied into two buffers that are kept, and
//! the source stands before the entry that is shown.
//!
//! ```text
//!  reader at #5    a#7   a#4=x  a#2     b#5,delete  b#1     c#3=y
//!  forward         new   SHOWN  passed  hides b     passed  SHOWN
//!  back            new   SHOWN  copied  hides b     copied  SHOWN
//! ```
//!
//! A key with many versions that are not shown is not walked through: after a few of them the
//! source searches for the place where the next decision falls.
//!
//! Where a source can show that its next entries need no such care it lends them as a [`Stretch`],
//! which is walked without asking anybody: all of a store that is one sorted run, but for the
//! first entry of each block.

use crate::base::cursor::Direction;
use crate::base::error::{Error, Result};
use crate::base::invariant;
use crate::base::key::SeqNo;
use crate::base::range::Bounds;
use crate::read::run::Lender;
use crate::sstable::{Stretch, Terms};

/// Versions of one key that are walked through before the source searches instead: a search of
/// a merge costs about as much as this many steps.
const STEPS_MAX: usize = 8;

/// Keys with a visible value, within bounds, in both directions.
///
/// It is not positioned at first. Walking off either end leaves it invalid, which is no error;
/// `next` and `prev` then do nothing. After an error every call returns that error.
pub struct VisibleCursor<C> {
    source: C,
    seq: SeqNo,
    bounds: Bounds,
    at: At,
    /// The key whose versions were looked at last, and the entry's key in [`At::Copied`].
    key: Vec<u8>,
    /// The entry's value in [`At::Copied`].
    value: Vec<u8>,
    failed: Option<Error>,
}

/// Where the entry that is shown lies.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one per cursor; a box would be one per block"
)]
enum At {
    /// There is none.
    Nowhere,
    /// The source stands on it.
    Source,
    /// In the buffers; the source stands on an entry of the same key, or before all of them.
    Copied,
    /// The stretch stands on it; the source on one of its entries.
    Stretch(Stretch),
}

impl<C: Lender> VisibleCursor<C> {
    /// What a reader at `seq` sees of `source` within `bounds`; not positioned.
    pub fn new(source: C, seq: SeqNo, bounds: Bounds) -> Self {
        Self {
            source,
            seq,
            bounds,
            at: At::Nowhere,
            key: Vec::new(),
            value: Vec::new(),
            failed: None,
        }
    }

    /// Whether it stands on an entry.
    #[inline]
    pub fn valid(&self) -> bool {
        !matches!(self.at, At::Nowhere)
    }

    /// The key it stands on.
    #[inline]
    pub fn key(&self) -> &[u8] {
        match &self.at {
            At::Stretch(stretch) => stretch.key(),
            At::Source => self.source.key(),
            At::Copied => &self.key,
            At::Nowhere => panic!("the cursor stands on no entry"),
        }
    }

    /// The value it stands on.
    #[inline]
    pub fn value(&self) -> &[u8] {
        match &self.at {
            At::Stretch(stretch) => stretch.value(),
            At::Source => self.source.value(),
            At::Copied => &self.value,
            At::Nowhere => panic!("the cursor stands on no entry"),
        }
    }

    /// To the first visible key.
    pub fn seek_first(&mut self) -> Result<()> {
        self.guard(|this| {
            if this.bounds.is_empty() {
                return Ok(());
            }
            this.source.seek(&this.bounds.start, this.seq)?;
            this.find_forward()
        })
    }

    /// To the last visible key.
    pub fn seek_last(&mut self) -> Result<()> {
        self.guard(|this| {
            if this.bounds.is_empty() {
                return Ok(());
            }
            match &this.bounds.end {
                Some(end) => this.source.seek_before(end)?,
                None => this.source.seek_last()?,
            }
            this.find_back()
        })
    }

    /// To the first visible key at or after `key`.
    pub fn seek(&mut self, key: &[u8]) -> Result<()> {
        if key <= self.bounds.start.as_slice() {
            return self.seek_first();
        }
        self.guard(|this| {
            if this.bounds.is_past_end(key) {
                return Ok(());
            }
            this.source.seek(key, this.seq)?;
            this.find_forward()
        })
    }

    /// To the last visible key at or before `key`.
    pub fn seek_back(&mut self, key: &[u8]) -> Result<()> {
        if self.bounds.is_past_end(key) {
            return self.seek_last();
        }
        self.guard(|this| {
            if key < this.bounds.start.as_slice() {
                return Ok(());
            }
            // `key ++ 0x00` is the key right after `key`.
            this.key.clear();
            this.key.extend_from_slice(key);
            this.key.push(0);
            this.source.seek_before(&this.key)?;
            this.find_back()
        })
    }

    /// To the next visible key.
    #[inline]
    pub fn next(&mut self) -> Result<()> {
        if let At::Stretch(stretch) = &mut self.at
            && stretch.next()
        {
            return Ok(());
        }
        self.next_by_source()
    }

    /// To the visible key before.
    #[inline]
    pub fn prev(&mut self) -> Result<()> {
        if let At::Stretch(stretch) = &mut self.at
            && stretch.prev()
        {
            return Ok(());
        }
        self.prev_by_source()
    }

    fn next_by_source(&mut self) -> Result<()> {
        self.guard_from(|this, from| match from {
            At::Nowhere => Ok(()),
            At::Source => {
                copy(&mut this.key, this.source.key());
                this.source.next()?;
                this.pass_forward()
            }
            At::Copied => {
                this.source.seek(&this.key, SeqNo::ZERO)?;
                this.pass_forward()
            }
            At::Stretch(stretch) => {
                this.give_back(stretch);
                this.source.next()?;
                this.pass_forward()
            }
        })
    }

    fn prev_by_source(&mut self) -> Result<()> {
        self.guard_from(|this, from| match from {
            At::Nowhere => Ok(()),
            At::Source => {
                copy(&mut this.key, this.source.key());
                this.source.prev()?;
                this.pass_back()
            }
            At::Copied => this.pass_back(),
            At::Stretch(stretch) => {
                this.give_back(stretch);
                this.source.prev()?;
                this.pass_back()
            }
        })
    }

    /// A stretch from where the source stands, on the first entry of its key on the way.
    fn borrow(&mut self, direction: Direction) -> Option<Stretch> {
        let terms = Terms { direction, seq: self.seq, bounds: &self.bounds, rival: None };
        self.source.lend(terms, &mut self.key)
    }

    /// Ends a stretch: the source stands where it stood, and its key is in the buffer.
    fn give_back(&mut self, stretch: Stretch) {
        self.source.take_back(&stretch);
        self.key = stretch.into_key();
    }

    /// Runs a motion that finds its own way; its error, if it has one, is every later answer.
    fn guard(&mut self, motion: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.guard_from(|this, from| {
            if let At::Stretch(stretch) = from {
                this.key = stretch.into_key();
            }
            motion(this)
        })
    }

    /// Runs a motion that depends on where the cursor stood. It stands nowhere unless the motion
    /// finds something.
    fn guard_from(&mut self, motion: impl FnOnce(&mut Self, At) -> Result<()>) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let from = std::mem::replace(&mut self.at, At::Nowhere);
        let result = motion(self, from);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    /// Shows the first visible key from where the source stands on.
    fn find_forward(&mut self) -> Result<()> {
        while self.source.valid() && !self.bounds.is_past_end(self.source.key()) {
            if let Some(mut stretch) = self.borrow(Direction::Forward) {
                if !stretch.is_tombstone() || stretch.next() {
                    self.at = At::Stretch(stretch);
                    return Ok(());
                }
                self.give_back(stretch);
                self.source.next()?;
                self.skip_forward(SeqNo::ZERO)?;
                continue;
            }
            let tag = self.source.tag();
            let too_new = tag.seq() > self.seq;
            if !too_new && !tag.is_delete() {
                self.at = At::Source;
                return Ok(());
            }
            copy(&mut self.key, self.source.key());
            if too_new {
                self.skip_forward(self.seq)?;
            } else {
                self.skip_forward(SeqNo::ZERO)?;
            }
        }
        Ok(())
    }

    /// Passes what is left of the key in the buffer, then shows the next visible one.
    fn pass_forward(&mut self) -> Result<()> {
        self.skip_forward(SeqNo::ZERO)?;
        self.find_forward()
    }

    /// Moves forward past the versions of the buffered key that are newer than `seq`.
    /// [`SeqNo::ZERO`] passes them all, for no entry has that number.
    fn skip_forward(&mut self, seq: SeqNo) -> Result<()> {
        for _ in 0..STEPS_MAX {
            if !self.stands_on_newer(seq) {
                return Ok(());
            }
            self.source.next()?;
        }
        self.source.seek(&self.key, seq)
    }

    /// Whether the source, going forward, stands on a version of the buffered key newer than
    /// `seq`.
    fn stands_on_newer(&self, seq: SeqNo) -> bool {
        if !self.source.valid() {
            return false;
        }
        let order = self.source.key().cmp(&self.key);
        invariant!(R2, order.is_ge(), "forward from {:?} to {:?}", self.key, self.source.key());
        order.is_eq() && self.source.tag().seq() > seq
    }

    /// Copies the last visible key up to where the source stands on.
    fn find_back(&mut self) -> Result<()> {
        while self.source.valid() && self.bounds.start.as_slice() <= self.source.key() {
            if let Some(mut stretch) = self.borrow(Direction::Back) {
                if !stretch.is_tombstone() || stretch.prev() {
                    self.at = At::Stretch(stretch);
                    return Ok(());
                }
                self.give_back(stretch);
                self.source.prev()?;
                self.skip_back()?;
                continue;
            }
            copy(&mut self.key, self.source.key());
            if self.copy_newest_visible()? {
                self.at = At::Copied;
                return Ok(());
            }
            self.skip_back()?;
        }
        Ok(())
    }

    /// Passes what is left of the key in the buffer, then copies the visible one before it.
    fn pass_back(&mut self) -> Result<()> {
        self.skip_back()?;
        self.find_back()
    }

    /// Looks at the versions of the buffered key, of which the source stands on the oldest, and
    /// copies the value of the newest that is old enough; false if that is none or a tombstone.
    fn copy_newest_visible(&mut self) -> Result<bool> {
        let mut shown = false;
        for _ in 0..STEPS_MAX {
            if !self.stands_on_key() || self.source.tag().seq() > self.seq {
                return Ok(shown);
            }
            shown = self.copy_put();
            self.source.prev()?;
        }
        self.source.seek(&self.key, self.seq)?;
        invariant!(R2, self.stands_on_key(), "{:?} has lost its visible versions", self.key);
        Ok(self.copy_put())
    }

    /// Copies the value that the source stands on; false if it is a tombstone.
    fn copy_put(&mut self) -> bool {
        let is_put = !self.source.tag().is_delete();
        if is_put {
            copy(&mut self.value, self.source.value());
        }
        is_put
    }

    /// Moves back past all versions of the buffered key.
    fn skip_back(&mut self) -> Result<()> {
        for _ in 0..STEPS_MAX {
            if !self.stands_on_key() {
                return Ok(());
            }
            self.source.prev()?;
        }
        self.source.seek_before(&self.key)
    }

    /// Whether the source, going back, stands on a version of the buffered key.
    fn stands_on_key(&self) -> bool {
        if !self.source.valid() {
            return false;
        }
        let order = self.source.key().cmp(&self.key);
        invariant!(R2, order.is_le(), "back from {:?} to {:?}", self.key, self.source.key());
        order.is_eq()
    }
}

/// Replaces what `buffer` holds, in the memory it has.
fn copy(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::base::cursor::{Cursor, VecCursor};
    use crate::base::key::{Kind, Tag, compare};
    use crate::base::range::KeyBounds as _;
    use crate::read::merge::MergeCursor;
    use crate::read::run::RunCursor;
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
}

//! `Clamp`: what a sweep has left of the oldest tables of L0.
//!
//! A sweep moves L0 into L1 a range of keys at a time. Its tables stay until it ends, but below
//! its cursor they are dead: their entries are in L1, merged with what was there, and some of them
//! are gone for good. A read that looked at the dead part would meet entries twice and values that
//! a dropped tombstone hid.
//!
//! ```text
//! L0  3:[a-z]            newer than the sweep
//!     2:[..h-z] 1:[..k-p]     clamped: from h on
//! L1  [a-d][e-g]   [i-m][n-z]
//! ```
//!
//! The clamp is part of a view, so a read sees the tables of L1 and the clamp that belong together.

use std::sync::Arc;

use crate::base::cursor::Cursor;
use crate::base::error::Result;
use crate::base::invariant;
use crate::base::key::{SeqNo, Tag};
use crate::base::planted::{Bug, is_on};
use crate::base::range::Bounds;
use crate::read::run::RunCursor;
use crate::read::view::View;
use crate::sstable::{Table, TableCursor};

/// From where on the oldest tables of L0 count.
#[derive(Clone, Debug)]
pub struct Clamp {
    from: Arc<[u8]>,
    tables: usize,
}

/// A table of L0, as far as it counts.
#[derive(Clone, Copy, Debug)]
pub struct L0Table<'v> {
    /// All of it.
    pub table: &'v Arc<Table>,
    from: Option<&'v Arc<[u8]>>,
}

impl Clamp {
    /// The oldest `tables` of L0 count from the key `from` on.
    pub fn new(from: &[u8], tables: usize) -> Self {
        Self { from: from.into(), tables }
    }
}

impl View {
    /// The tables of L0 as far as they count, newest first.
    pub fn l0(&self) -> impl Iterator<Item = L0Table<'_>> {
        let l0: &[Arc<Table>] = &self.levels[0];
        let clamp = self.clamp.as_ref().filter(|_| !is_on(Bug::SweepWithoutClamp));
        let clamped = clamp.map_or(0, |clamp| clamp.tables);
        invariant!(R4, clamped <= l0.len(), "{clamped} of {} tables are clamped", l0.len());
        let whole = l0.len() - clamped;
        l0.iter().enumerate().map(move |(n, table)| {
            let from = clamp.filter(|_| n >= whole).map(|clamp| &clamp.from);
            L0Table { table, from }
        })
    }
}

impl L0Table<'_> {
    /// Whether it may hold `key` where it counts.
    pub fn may_hold(&self, key: &[u8]) -> bool {
        self.table.summary().range.contains(key) && self.from.is_none_or(|from| **from <= *key)
    }

    /// Whether it may hold something within `bounds` where it counts.
    pub fn overlaps(&self, bounds: &Bounds) -> bool {
        let dead = self.from.is_some_and(|from| bounds.is_past_end(from));
        bounds.overlaps(&self.table.summary().range) && !dead
    }

    /// Its entries where it counts.
    pub fn cursor(&self) -> RunCursor {
        self.clamped(self.table.cursor())
    }

    /// The same for a walk over everything, whose blocks nobody will ask for again.
    pub fn cursor_once(&self) -> RunCursor {
        self.clamped(self.table.cursor_once())
    }

    fn clamped(&self, cursor: TableCursor) -> RunCursor {
        match self.from {
            None => RunCursor::Table(cursor),
            Some(from) => RunCursor::Clamped(ClampedCursor::new(cursor, Arc::clone(from))),
        }
    }
}

/// A cursor that never stands on a key below `from`.
pub struct ClampedCursor<C = TableCursor> {
    inside: C,
    from: Arc<[u8]>,
    /// Whether `inside` has gone below, where this cursor has no entries.
    below: bool,
}

impl<C: Cursor> ClampedCursor<C> {
    /// The entries of `inside` from the key `from` on.
    pub fn new(inside: C, from: Arc<[u8]>) -> Self {
        Self { inside, from, below: false }
    }

    /// After a motion that may have gone too far back.
    fn look(&mut self) {
        self.below = self.inside.valid() && self.inside.key() < &*self.from;
    }
}

impl<C: Cursor> Cursor for ClampedCursor<C> {
    fn valid(&self) -> bool {
        !self.below && self.inside.valid()
    }

    fn seek_first(&mut self) -> Result<()> {
        self.below = false;
        self.inside.seek(&self.from, SeqNo::MAX)
    }

    fn seek_last(&mut self) -> Result<()> {
        self.inside.seek_last()?;
        self.look();
        Ok(())
    }

    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        if key < &*self.from {
            return self.seek_first();
        }
        self.below = false;
        self.inside.seek(key, seq)
    }

    fn seek_before(&mut self, key: &[u8]) -> Result<()> {
        self.inside.seek_before(key)?;
        self.look();
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        if self.below { Ok(()) } else { self.inside.next() }
    }

    fn prev(&mut self) -> Result<()> {
        if !self.below {
            self.inside.prev()?;
            self.look();
        }
        Ok(())
    }

    fn key(&self) -> &[u8] {
        assert!(self.valid(), "the cursor stands on an entry");
        self.inside.key()
    }

    fn tag(&self) -> Tag {
        self.inside.tag()
    }

    fn value(&self) -> &[u8] {
        self.inside.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cursor::VecCursor;
    use crate::memtable::{ChunkPool, Memtable};
    use crate::testing::parse_entries;
    use proptest::prelude::*;

    const ENTRIES: &str = "a#9,put=1 b#8,put=2 b#3,delete c#7,put=3 d#6,put=4 d#2,put=5";

    proptest! {
        /// A clamped cursor walks as one over the entries that are left.
        #[test]
        fn walks_like_a_cursor_over_what_is_left(
            from in "[a-e]",
            motions in prop::collection::vec((0..6u8, "[a-e]", 0..10u64), 1..40),
        ) {
            let all = parse_entries(ENTRIES);
            let left: Vec<_> = all.iter().filter(|e| e.0 >= from.as_bytes().to_vec()).cloned().collect();
            let mut clamped = ClampedCursor::new(VecCursor::new(all), from.as_bytes().into());
            let mut model = VecCursor::new(left);
            for (motion, key, seq) in motions {
                let go = |cursor: &mut dyn Cursor| match motion {
                    0 => cursor.seek_first(),
                    1 => cursor.seek_last(),
                    2 => cursor.seek(key.as_bytes(), SeqNo::new(seq)),
                    3 => cursor.seek_before(key.as_bytes()),
                    4 => cursor.next(),
                    _ => cursor.prev(),
                };
                go(&mut clamped).unwrap();
                go(&mut model).unwrap();
                prop_assert_eq!(clamped.valid(), model.valid());
                if model.valid() {
                    prop_assert_eq!((clamped.key(), clamped.tag()), (model.key(), model.tag()));
                    prop_assert_eq!(clamped.value(), model.value());
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "invariant R4")]
    fn r4_a_clamp_of_more_tables_than_there_are_is_refused() {
        let mut view =
            View::new(Arc::new(Memtable::new(1 << 10, &Arc::new(ChunkPool::new(1 << 10, 0)))));
        view.clamp = Some(Clamp::new(b"k", 1));
        let _ = view.l0().count();
    }
}

//! The walk over a memtable, forward and backward, beside inserts.
//!
//! A cursor copies the slots of one leaf at a time, with the leaf's high fence, makes sure that the
//! leaf did not change meanwhile, and walks the copy: entries never change and never move. Behind
//! the copy it goes on
//! at the high fence, before it at the first key copied, each by a new descent; since nothing is
//! removed, what lies there is all that lay there when the leaf was copied, and perhaps more.
//! So an entry older than the last `seek*` is met exactly once, in order; a newer one is
//! met in order, or not at all.
//!
//! Cost: one descent per leaf (some 30 to 64 keys), a few ns per key for both.

use std::sync::Arc;

use super::descent::Glimpse;
use super::entry::{Entry, EntryPtr};
use super::node::Torn;
use super::search::Heads;
use super::tree::Tree;
use super::{DEFAULT_WIDTH, Memtable};
use crate::base::cursor::Cursor;
use crate::base::error;
use crate::base::key::{SeqNo, Tag};

/// A [`Cursor`] over all versions in a memtable, which it keeps alive.
pub struct MemtableCursor<const WIDTH: usize = DEFAULT_WIDTH> {
    memtable: Arc<Memtable<WIDTH>>,
    leaf: LeafCopy<WIDTH>,
    /// The slot in `leaf` of the current entry's key.
    at: usize,
    /// The current entry: the one in that slot, or an older version of its key.
    current: Option<EntryPtr>,
}

/// A walk forward asks for the entry this many keys ahead: entries lie in memory in the order in
/// which they were written, so each would be a miss.
const KEYS_AHEAD: usize = 8;

/// A slot of a leaf, unless there is none.
type Place<'t, const WIDTH: usize> = Option<(Glimpse<'t, WIDTH>, usize)>;

/// What a leaf held at one moment.
struct LeafCopy<const WIDTH: usize> {
    /// The newest version of each key, `count` of them; behind them whatever was there before.
    slots: [Option<EntryPtr>; WIDTH],
    count: usize,
    high: Option<EntryPtr>,
}

impl<const WIDTH: usize> MemtableCursor<WIDTH> {
    pub(super) fn new(memtable: Arc<Memtable<WIDTH>>) -> Self {
        let leaf = LeafCopy { slots: [None; WIDTH], count: 0, high: None };
        Self { memtable, leaf, at: 0, current: None }
    }

    /// To the newest version of the key behind the current one.
    fn next_key(&mut self) {
        if self.at + 1 < self.leaf.count {
            self.at += 1;
            self.current = self.leaf.slots[self.at];
            if let Some(Some(ahead)) = self.leaf.slots.get(self.at + KEYS_AHEAD) {
                entry_of(&self.memtable, *ahead).prefetch();
            }
            return;
        }
        let Self { memtable, leaf, .. } = self;
        let Some(high) = leaf.high else {
            self.current = None;
            return;
        };
        let key = entry_of(memtable, high).key();
        leaf.copy(memtable, |tree, heads| tree.at_or_after(key, heads));
        self.at = 0;
        self.current = leaf.slots[0];
    }

    /// To the oldest version of the key before the current one.
    fn prev_key(&mut self) {
        if self.at > 0 {
            self.at -= 1;
            return self.stand_on_oldest();
        }
        let Self { memtable, leaf, .. } = self;
        let first = leaf.slots[0].expect("a copied leaf holds an entry");
        let key = entry_of(memtable, first).key();
        let found = leaf.copy(memtable, |tree, heads| tree.before(key, heads));
        self.stand_at(found);
    }

    fn stand_at(&mut self, found: Option<usize>) {
        match found {
            Some(at) => {
                self.at = at;
                self.stand_on_oldest();
            }
            None => self.current = None,
        }
    }

    fn stand_on_oldest(&mut self) {
        let oldest = self.newest().oldest_where(|_| true);
        self.current = oldest.map(Entry::ptr);
    }

    /// The newest version of the current key, as of the leaf's copy.
    fn newest(&self) -> Entry<'_> {
        entry_of(&self.memtable, self.leaf.slots[self.at].expect("a slot that was copied"))
    }

    fn entry(&self) -> Entry<'_> {
        entry_of(&self.memtable, self.current.expect("the cursor stands on no entry"))
    }
}

/// The entry at `ptr`, which a cursor over `memtable` got out of that memtable.
fn entry_of<const WIDTH: usize>(_memtable: &Arc<Memtable<WIDTH>>, ptr: EntryPtr) -> Entry<'_> {
    // SAFETY: cursors keep pointers into their own memtable only, and it is borrowed here for as
    // long as the entry is (M6).
    unsafe { ptr.get() }
}

impl<const WIDTH: usize> LeafCopy<WIDTH> {
    /// Copies the leaf that `find` finds, and returns the slot that it names. Without one the copy
    /// is worth nothing.
    fn copy(
        &mut self,
        memtable: &Memtable<WIDTH>,
        find: impl for<'t> Fn(&'t Tree<WIDTH>, Heads) -> Result<Place<'t, WIDTH>, Torn>,
    ) -> Option<usize> {
        memtable.read(|tree, heads| {
            let Some((leaf, at)) = find(tree, heads)? else { return Ok(None) };
            self.count = leaf.node.count();
            for (slot, i) in self.slots.iter_mut().zip(0..self.count) {
                *slot = leaf.node.entry(i).map(Entry::ptr);
            }
            self.high = leaf.node.high().map(Entry::ptr);
            leaf.holds()?;
            Ok(Some(at))
        })
    }
}

impl<const WIDTH: usize> Cursor for MemtableCursor<WIDTH> {
    fn valid(&self) -> bool {
        self.current.is_some()
    }

    fn seek_first(&mut self) -> error::Result<()> {
        let found =
            self.leaf.copy(&self.memtable, |tree, _| Ok(tree.first_leaf()?.map(|leaf| (leaf, 0))));
        self.at = 0;
        self.current = found.and_then(|at| self.leaf.slots[at]);
        Ok(())
    }

    fn seek_last(&mut self) -> error::Result<()> {
        let found = self.leaf.copy(&self.memtable, |tree, _| {
            Ok(tree.last_leaf()?.map(|leaf| (leaf, leaf.node.last_slot())))
        });
        self.stand_at(found);
        Ok(())
    }

    fn seek(&mut self, key: &[u8], seq: SeqNo) -> error::Result<()> {
        let Some(at) = self.leaf.copy(&self.memtable, |tree, heads| tree.at_or_after(key, heads))
        else {
            self.current = None;
            return Ok(());
        };
        if at == self.leaf.count {
            self.at = at - 1;
            self.next_key();
            return Ok(());
        }
        self.at = at;
        let newest = self.newest();
        let version = if newest.key() == key { newest.version_at(seq) } else { Some(newest) };
        self.current = version.map(Entry::ptr);
        if self.current.is_none() {
            self.next_key();
        }
        Ok(())
    }

    fn seek_before(&mut self, key: &[u8]) -> error::Result<()> {
        let found = self.leaf.copy(&self.memtable, |tree, heads| tree.before(key, heads));
        self.stand_at(found);
        Ok(())
    }

    fn next(&mut self) -> error::Result<()> {
        if !self.valid() {
            return Ok(());
        }
        match self.entry().older().map(Entry::ptr) {
            Some(older) => self.current = Some(older),
            None => self.next_key(),
        }
        Ok(())
    }

    fn prev(&mut self) -> error::Result<()> {
        if !self.valid() {
            return Ok(());
        }
        let tag = self.tag();
        match self.newest().oldest_where(|newer| newer > tag).map(Entry::ptr) {
            Some(newer) => self.current = Some(newer),
            None => self.prev_key(),
        }
        Ok(())
    }

    fn key(&self) -> &[u8] {
        self.entry().key()
    }

    fn tag(&self) -> Tag {
        self.entry().tag()
    }

    fn value(&self) -> &[u8] {
        self.entry().value()
    }
}

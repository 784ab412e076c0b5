//! The walk over a memtable, forward and backward, beside inserts.
//!
//! A cursor copies the slots of one leaf at a time under the latch, with the leaf's high fence,
//! and walks the copy without it: entries never change and never move. Behind the copy it goes on
//! at the high fence, before it at the first key copied, each by a new descent; since nothing is
//! removed, what lies there is all that lay there when the leaf was copied, and perhaps more.
//! So an entry older than the last `seek*` is met exactly once, in order; a newer one is
//! met in order, or not at all.
//!
//! Cost: one latch and one descent per leaf (some 30 to 64 keys), a few ns per key for both.

use std::sync::Arc;

use super::entry::{Entry, EntryPtr};
use super::node::Node;
use super::tree::Tree;
use super::{DEFAULT_WIDTH, Memtable};
use crate::base::cursor::Cursor;
use crate::base::error::Result;
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

/// What a leaf held at one moment.
struct LeafCopy<const WIDTH: usize> {
    /// The newest version of each key, then `None`s.
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
            return;
        }
        let Self { memtable, leaf, .. } = self;
        let Some(high) = leaf.high else {
            self.current = None;
            return;
        };
        let key = entry_of(memtable, high).key();
        leaf.copy(memtable, |tree| tree.at_or_after(key));
        self.at = 0;
        self.current = leaf.slots[0];
    }

    /// To the oldest version of the key before the current one.
    fn prev_key(&mut self) {
        if self.at > 0 {
            self.at -= 1;
            return self.to_oldest_version();
        }
        let Self { memtable, leaf, .. } = self;
        let first = leaf.slots[0].expect("a copied leaf holds an entry");
        let key = entry_of(memtable, first).key();
        let found = leaf.copy(memtable, |tree| tree.before(key));
        self.to_oldest_version_at(found);
    }

    fn to_oldest_version_at(&mut self, found: Option<usize>) {
        match found {
            Some(at) => {
                self.at = at;
                self.to_oldest_version();
            }
            None => self.current = None,
        }
    }

    fn to_oldest_version(&mut self) {
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
    /// Copies the leaf that `find` finds, and returns the slot that it names. Without one the
    /// copy stays as it is.
    fn copy(
        &mut self,
        memtable: &Memtable<WIDTH>,
        find: impl for<'t> FnOnce(&'t Tree<WIDTH>) -> Option<(&'t Node<WIDTH>, usize)>,
    ) -> Option<usize> {
        memtable.read(|tree| {
            let (node, at) = find(tree)?;
            self.count = node.count();
            for (slot, i) in self.slots.iter_mut().zip(0..node.count()) {
                *slot = Some(node.entry(i).ptr());
            }
            self.high = node.high().map(Entry::ptr);
            Some(at)
        })
    }
}

impl<const WIDTH: usize> Cursor for MemtableCursor<WIDTH> {
    fn valid(&self) -> bool {
        self.current.is_some()
    }

    fn seek_first(&mut self) -> Result<()> {
        let found = self.leaf.copy(&self.memtable, |tree| tree.first_leaf().map(|leaf| (leaf, 0)));
        self.at = 0;
        self.current = found.and_then(|at| self.leaf.slots[at]);
        Ok(())
    }

    fn seek_last(&mut self) -> Result<()> {
        let found = self
            .leaf
            .copy(&self.memtable, |tree| tree.last_leaf().map(|leaf| (leaf, leaf.count() - 1)));
        self.to_oldest_version_at(found);
        Ok(())
    }

    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        let Some(at) = self.leaf.copy(&self.memtable, |tree| tree.at_or_after(key)) else {
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

    fn seek_before(&mut self, key: &[u8]) -> Result<()> {
        let found = self.leaf.copy(&self.memtable, |tree| tree.before(key));
        self.to_oldest_version_at(found);
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        if !self.valid() {
            return Ok(());
        }
        match self.entry().older().map(Entry::ptr) {
            Some(older) => self.current = Some(older),
            None => self.next_key(),
        }
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
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

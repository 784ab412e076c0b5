//! The `Cursor` trait: the only abstraction that all sources of entries share.
//!
//! Memtables, tables, levels and merges implement it; floors above combine it. The contract:
//!
//! - A cursor walks *entries* (all versions, tombstones included) in the order of
//!   [`compare`](crate::base::key::compare). A new cursor is not positioned: `valid()` is false.
//! - `valid()` is true exactly when the cursor stands on an entry; `key`, `tag` and `value` may
//!   be called only then (a panic otherwise is a bug of the caller).
//! - `key()` and `value()` borrow from the cursor: they end with the next move.
//! - Walking off either end makes the cursor invalid, which is no error. From there only a
//!   `seek*` brings it back; `next` and `prev` on an invalid cursor stay invalid.
//! - After an error the cursor is invalid and *every* later call returns the same error (P8 of
//!   the protocol rules: an I/O error is never the end of the data).
//! - A cursor owns what it reads from (`Send + 'static`): files and memtables it needs live as
//!   long as it does, whatever is flushed, merged or deleted meanwhile.

use crate::base::error::Result;
use crate::base::key::{SeqNo, Tag};

/// Which way a cursor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Keys ascend.
    Forward,
    /// Keys descend.
    Back,
}

/// A position in a sorted sequence of entries. See the module's contract.
pub trait Cursor: Send {
    /// Whether the cursor stands on an entry.
    fn valid(&self) -> bool;

    /// To the first entry.
    fn seek_first(&mut self) -> Result<()>;

    /// To the last entry.
    fn seek_last(&mut self) -> Result<()>;

    /// To the first entry at or after `(key, seq)`: the newest version of `key` that a read at
    /// `seq` sees, or, if there is none, the first entry of the next greater key.
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()>;

    /// To the last entry whose key is less than `key`: the oldest version of the key before it.
    fn seek_before(&mut self, key: &[u8]) -> Result<()>;

    /// To the next entry.
    fn next(&mut self) -> Result<()>;

    /// To the entry before.
    fn prev(&mut self) -> Result<()>;

    /// The user key of the entry.
    fn key(&self) -> &[u8];

    /// Sequence number and kind of the entry.
    fn tag(&self) -> Tag;

    /// The value of the entry; empty for a tombstone.
    fn value(&self) -> &[u8];
}

impl Cursor for Box<dyn Cursor> {
    #[inline]
    fn valid(&self) -> bool {
        (**self).valid()
    }
    #[inline]
    fn seek_first(&mut self) -> Result<()> {
        (**self).seek_first()
    }
    #[inline]
    fn seek_last(&mut self) -> Result<()> {
        (**self).seek_last()
    }
    #[inline]
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        (**self).seek(key, seq)
    }
    #[inline]
    fn seek_before(&mut self, key: &[u8]) -> Result<()> {
        (**self).seek_before(key)
    }
    #[inline]
    fn next(&mut self) -> Result<()> {
        (**self).next()
    }
    #[inline]
    fn prev(&mut self) -> Result<()> {
        (**self).prev()
    }
    #[inline]
    fn key(&self) -> &[u8] {
        (**self).key()
    }
    #[inline]
    fn tag(&self) -> Tag {
        (**self).tag()
    }
    #[inline]
    fn value(&self) -> &[u8] {
        (**self).value()
    }
}

/// A cursor over entries held in memory, for tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub struct VecCursor {
    entries: Vec<(Vec<u8>, Tag, Vec<u8>)>,
    /// `entries.len()` means: not positioned.
    at: usize,
}

#[cfg(test)]
impl VecCursor {
    /// A cursor over `entries`, which must be in order.
    pub fn new(entries: Vec<(Vec<u8>, Tag, Vec<u8>)>) -> Self {
        let in_order = entries.windows(2).all(|pair| {
            crate::base::key::compare((&pair[0].0, pair[0].1), (&pair[1].0, pair[1].1)).is_lt()
        });
        assert!(in_order, "entries must be in order");
        let at = entries.len();
        Self { entries, at }
    }
}

#[cfg(test)]
impl Cursor for VecCursor {
    fn valid(&self) -> bool {
        self.at < self.entries.len()
    }
    fn seek_first(&mut self) -> Result<()> {
        self.at = 0;
        Ok(())
    }
    fn seek_last(&mut self) -> Result<()> {
        self.at = self.entries.len().checked_sub(1).unwrap_or(self.entries.len());
        Ok(())
    }
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        let target = (key, Tag::search(seq));
        self.at = self
            .entries
            .partition_point(|(k, t, _)| crate::base::key::compare((k, *t), target).is_lt());
        Ok(())
    }
    fn seek_before(&mut self, key: &[u8]) -> Result<()> {
        let after = self.entries.partition_point(|(k, _, _)| k.as_slice() < key);
        self.at = after.checked_sub(1).unwrap_or(self.entries.len());
        Ok(())
    }
    fn next(&mut self) -> Result<()> {
        if self.valid() {
            self.at += 1;
        }
        Ok(())
    }
    fn prev(&mut self) -> Result<()> {
        if self.valid() {
            self.at = self.at.checked_sub(1).unwrap_or(self.entries.len());
        }
        Ok(())
    }
    fn key(&self) -> &[u8] {
        &self.entries[self.at].0
    }
    fn tag(&self) -> Tag {
        self.entries[self.at].1
    }
    fn value(&self) -> &[u8] {
        &self.entries[self.at].2
    }
}

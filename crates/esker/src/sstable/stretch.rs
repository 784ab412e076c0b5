//! `Stretch`: a piece of one block that a reader walks alone.
//!
//! In most blocks every entry is the only version of its key that the reader can meet: the block
//! says that its keys are distinct, the table that nothing in it is newer than the reader, and
//! whoever merges the table with others, up to where none of them has an entry. Between these
//! limits nothing needs to be asked of anybody: a step adds to a position, and the suffix of the
//! new key is written over that of the one before.
//!
//! ```text
//! this table    a  c  d  f | k  m        stretch from c, below the others' f: c d
//! the others    b     f             
//! ```

use std::ops::Range;

use super::block::{Block, SUFFIX_COPIED_BYTES};
use crate::base::cursor::Direction;
use crate::base::key::{SeqNo, Tag};
use crate::base::range::Bounds;
use crate::cache::Page;

/// So many entries at least are below the others' next one, or a stretch is not worth lending.
const WORTH_LENDING: usize = 4;

/// On what terms a stretch is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Which way the reader goes.
    pub direction: Direction,
    /// Up to which sequence number it sees entries.
    pub seq: SeqNo,
    /// What it walks over.
    pub bounds: &'a Bounds,
    /// The next key that somebody else has, in that direction.
    pub rival: Option<&'a [u8]>,
}

/// Neighbours in one block, distinct keys that nobody else has and the reader may see, of which
/// some may be tombstones. Stands on one of them, and keeps the block where it is.
#[derive(Debug)]
pub struct Stretch {
    block: Block<Page>,
    entries: Range<usize>,
    at: usize,
    has_tombstones: bool,
    /// The key, and perhaps something behind it.
    key: Vec<u8>,
    key_bytes: usize,
    prefix_bytes: usize,
}

impl Stretch {
    /// The stretch of `block` around entry `at`, which is on the reader's way; `None` if it would
    /// be too short. It takes the memory of `buffer`.
    pub(super) fn lend(
        block: &Block<Page>,
        at: usize,
        terms: Terms<'_>,
        buffer: &mut Vec<u8>,
    ) -> Option<Self> {
        if !block.is_distinct() {
            return None;
        }
        let entries = match terms.direction {
            Direction::Forward => at..end_of(block, at, terms),
            Direction::Back => start_of(block, at, terms)..at + 1,
        };
        if entries.is_empty() {
            return None;
        }
        block.prefetch_values(at, terms.direction);
        let mut key = std::mem::take(buffer);
        key.clear();
        key.reserve(block.prefix_bytes() + 2 * SUFFIX_COPIED_BYTES);
        key.extend_from_slice(block.prefix());
        key.resize(block.prefix().len() + SUFFIX_COPIED_BYTES, 0);
        let mut stretch = Self {
            has_tombstones: block.tombstones() > 0,
            block: block.clone(),
            entries,
            at,
            key,
            key_bytes: 0,
            prefix_bytes: block.prefix_bytes(),
        };
        stretch.stand_at(at);
        Some(stretch)
    }

    /// The key it stands on.
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.key[..self.key_bytes]
    }

    /// The value it stands on.
    #[inline]
    pub fn value(&self) -> &[u8] {
        self.block.value(self.at)
    }

    /// Whether it stands on a tombstone.
    pub fn is_tombstone(&self) -> bool {
        self.has_tombstones && self.block.is_tombstone(self.at)
    }

    /// The number of the entry in its block.
    pub fn entry(&self) -> usize {
        self.at
    }

    /// The key, in the memory that was given.
    pub fn into_key(mut self) -> Vec<u8> {
        self.key.truncate(self.key_bytes);
        self.key
    }

    /// To the next value; false if there is none, and then it stands on its last entry.
    #[inline]
    pub fn next(&mut self) -> bool {
        let next = self.at + 1;
        if self.has_tombstones || next >= self.entries.end {
            return self.find_next();
        }
        self.at = next;
        self.key_bytes = self.block.put_suffix(next, &mut self.key, self.prefix_bytes);
        true
    }

    /// To the value before; false if there is none, and then it stands on its first entry.
    #[inline]
    pub fn prev(&mut self) -> bool {
        if self.has_tombstones || self.at <= self.entries.start {
            return self.find_prev();
        }
        self.at -= 1;
        self.key_bytes = self.block.put_suffix(self.at, &mut self.key, self.prefix_bytes);
        true
    }

    fn find_next(&mut self) -> bool {
        let next = (self.at + 1..self.entries.end).find(|n| !self.block.is_tombstone(*n));
        self.stand_at(next.unwrap_or(self.entries.end - 1));
        next.is_some()
    }

    fn find_prev(&mut self) -> bool {
        let prev = (self.entries.start..self.at).rfind(|n| !self.block.is_tombstone(*n));
        self.stand_at(prev.unwrap_or(self.entries.start));
        prev.is_some()
    }

    fn stand_at(&mut self, at: usize) {
        self.at = at;
        self.key_bytes = self.block.put_suffix(at, &mut self.key, self.prefix_bytes);
    }
}

/// Before which entry a stretch forward from `at` ends.
fn end_of(block: &Block<Page>, at: usize, terms: Terms<'_>) -> usize {
    let first_at = |key: &[u8]| block.first_at(key, Tag::search(SeqNo::MAX));
    let mut end = block.entries();
    if let Some(bound) = &terms.bounds.end {
        end = end.min(first_at(bound));
    }
    if let Some(rival) = terms.rival {
        let far = at + WORTH_LENDING;
        if far >= end || block.compare_key(far, rival).is_ge() {
            return at;
        }
        end = end.min(first_at(rival));
    }
    end
}

/// With which entry a stretch back from `at` begins. The first of a block may be an older version
/// of the last key of the block before.
fn start_of(block: &Block<Page>, at: usize, terms: Terms<'_>) -> usize {
    let mut start = 1;
    if !terms.bounds.start.is_empty() {
        start = start.max(block.first_at(&terms.bounds.start, Tag::search(SeqNo::MAX)));
    }
    if let Some(rival) = terms.rival {
        let is_far = |far| far > start && block.compare_key(far, rival).is_gt();
        if !at.checked_sub(WORTH_LENDING).is_some_and(is_far) {
            return at + 1;
        }
        start = start.max(block.first_at(rival, Tag::search(SeqNo::ZERO)));
    }
    start
}

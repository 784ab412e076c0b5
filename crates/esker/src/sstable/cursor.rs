//! `TableCursor`: walks the entries of one table in both directions.
//!
//! It holds the block it stands in, so a step inside a block costs no look-up. Keys are put
//! together from prefix and suffix in one buffer that is used again; values are lent from the
//! block, never copied.

use std::cmp::Ordering;
use std::sync::Arc;

use super::block::{Block, SUFFIX_COPIED_BYTES};
use super::place::BlockPlace;
use super::reader::Table;
use super::stretch::{Stretch, Terms};
use crate::base::cursor::Cursor;
use crate::base::error::{Error, Result};
use crate::base::key::{SeqNo, Tag};
use crate::cache::{Keep, Page};

/// A position in a table. Owns what it reads from: the file stays readable while it lives.
#[derive(Debug)]
pub struct TableCursor {
    table: Arc<Table>,
    keep: Keep,
    at: Option<Position>,
    /// Where the next seek leads, if that is known already.
    aimed: Option<BlockPlace>,
    /// The key of the entry at `at`, and perhaps something behind it.
    key: Vec<u8>,
    key_bytes: usize,
    /// The first error, which every later call returns.
    failed: Option<Error>,
}

/// An entry of a block.
#[derive(Debug)]
struct Position {
    place: BlockPlace,
    block: Block<Page>,
    entry: usize,
}

/// Where to go in a table.
#[derive(Clone, Copy)]
enum Target<'k> {
    First,
    Last,
    /// The first entry at or after this.
    At(&'k [u8], Tag),
    /// The last entry before the key.
    Before(&'k [u8]),
}

impl TableCursor {
    pub(super) fn new(table: Arc<Table>, keep: Keep) -> Self {
        Self { table, keep, at: None, aimed: None, key: Vec::new(), key_bytes: 0, failed: None }
    }

    /// The error that it failed with, if it has.
    ///
    /// # Errors
    /// That one.
    pub fn check(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// The smallest and the largest key of the table.
    pub fn ends(&self) -> (&[u8], &[u8]) {
        let range = &self.table.summary().range;
        (range.lo(), range.hi())
    }

    /// A stretch of the block it stands in, from the entry it stands on, which the caller has found
    /// to be the first of its key on its way; `None` if the caller must look at each entry itself.
    /// It takes the memory of `buffer`.
    pub fn lend(&self, terms: Terms<'_>, buffer: &mut Vec<u8>) -> Option<Stretch> {
        if self.table.summary().seq_max > terms.seq {
            return None;
        }
        let at = self.at.as_ref()?;
        Stretch::lend(&at.block, at.entry, terms, buffer)
    }

    /// To where a stretch that it lent stands, without a move since.
    pub fn take_back(&mut self, stretch: &Stretch) {
        if let Some(at) = &mut self.at {
            at.entry = stretch.entry();
            self.change_suffix();
        }
    }

    /// Gets ready for a seek or a `seek_before` with this key, which must be the next call: finds
    /// the block and asks memory for its front. Whoever seeks in many tables aims in all of them
    /// before, so that the misses overlap.
    pub fn aim(&mut self, key: &[u8]) {
        let aimed = self.guarded(|cursor| {
            cursor.at = None;
            if key > cursor.table.summary().range.hi() {
                return Ok(());
            }
            let place = BlockPlace::of_key(&cursor.table, key, cursor.keep)?;
            place.prefetch(&cursor.table);
            cursor.aimed = Some(place);
            Ok(())
        });
        // The seek returns the error.
        drop(aimed);
    }

    fn go_to(&mut self, target: Target<'_>) -> Result<()> {
        self.guarded(|cursor| {
            cursor.at = None;
            let aimed = cursor.aimed.take();
            if let Some(at) = Position::find(&cursor.table, cursor.keep, target, aimed)? {
                cursor.stand_at(at);
            }
            Ok(())
        })
    }

    /// Does `work` unless the cursor has failed; if it fails, it stays so.
    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let done = work(self);
        if let Err(error) = &done {
            self.at = None;
            self.failed = Some(error.clone());
        }
        done
    }

    fn next_block(&mut self) -> Result<()> {
        let Some(mut at) = self.at.take() else { return Ok(()) };
        let tag = at.block.tag(at.entry);
        if at.place.move_next(&self.table)? {
            at.block = at.place.load(&self.table)?;
            at.entry = 0;
            self.require_order(&at, tag, Ordering::Greater)?;
            self.stand_at(at);
        }
        Ok(())
    }

    fn prev_block(&mut self) -> Result<()> {
        let Some(mut at) = self.at.take() else { return Ok(()) };
        let tag = at.block.tag(at.entry);
        if at.place.move_prev(&self.table)? {
            let at = Position::at_end_of(at.place, &self.table)?;
            self.require_order(&at, tag, Ordering::Less)?;
            self.stand_at(at);
        }
        Ok(())
    }

    /// Where a walk enters a block, its entry compares so with the one that it left, which has the
    /// cursor's key and this tag.
    fn require_order(&self, at: &Position, left: Tag, order: Ordering) -> Result<()> {
        let by_key = at.block.compare_key(at.entry, &self.key[..self.key_bytes]);
        if by_key.then_with(|| left.cmp(&at.block.tag(at.entry))) == order {
            return Ok(());
        }
        Err(at.place.out_of_order(&self.table))
    }

    fn stand_at(&mut self, at: Position) {
        let prefix = at.block.prefix();
        self.key.clear();
        self.key.reserve(prefix.len() + 2 * SUFFIX_COPIED_BYTES);
        self.key.extend_from_slice(prefix);
        self.key.resize(prefix.len() + SUFFIX_COPIED_BYTES, 0);
        self.at = Some(at);
        self.change_suffix();
    }

    /// After a step inside the block: the prefix stays.
    #[inline]
    fn change_suffix(&mut self) {
        if let Some(at) = &self.at {
            let prefix_bytes = at.block.prefix_bytes();
            self.key_bytes = at.block.put_suffix(at.entry, &mut self.key, prefix_bytes);
        }
    }

    fn position(&self) -> &Position {
        self.at.as_ref().expect("the cursor stands on an entry")
    }
}

impl Position {
    /// `aimed` is the block of the key, if that was found before.
    fn find(
        table: &Table,
        keep: Keep,
        target: Target<'_>,
        aimed: Option<BlockPlace>,
    ) -> Result<Option<Self>> {
        let range = &table.summary().range;
        let place_of = |key| match aimed {
            Some(place) => Ok(place),
            None => BlockPlace::of_key(table, key, keep),
        };
        match target {
            Target::First => {
                let place = BlockPlace::first(table, keep)?;
                Ok(Some(Self { block: place.load(table)?, place, entry: 0 }))
            }
            Target::Last => Self::at_end_of(BlockPlace::last(table, keep)?, table).map(Some),
            Target::At(key, _) if key > range.hi() => Ok(None),
            Target::At(key, tag) => Self::first_at(table, place_of(key)?, key, tag),
            Target::Before(key) if key <= range.lo() => Ok(None),
            Target::Before(key) => Self::last_before(table, place_of(key)?, key),
        }
    }

    fn at_end_of(place: BlockPlace, table: &Table) -> Result<Self> {
        let block = place.load(table)?;
        Ok(Self { entry: block.entries() - 1, block, place })
    }

    /// Versions of the key may fill blocks, all newer than the tag: then the search goes on.
    fn first_at(
        table: &Table,
        mut place: BlockPlace,
        key: &[u8],
        tag: Tag,
    ) -> Result<Option<Self>> {
        loop {
            let block = place.load(table)?;
            let entry = block.first_at(key, tag);
            if entry < block.entries() {
                return Ok(Some(Self { place, block, entry }));
            }
            if !place.move_next(table)? {
                return Ok(None);
            }
        }
    }

    fn last_before(table: &Table, mut place: BlockPlace, key: &[u8]) -> Result<Option<Self>> {
        let block = place.load(table)?;
        if let Some(entry) = block.first_at(key, Tag::search(SeqNo::MAX)).checked_sub(1) {
            return Ok(Some(Self { place, block, entry }));
        }
        if !place.move_prev(table)? {
            return Ok(None);
        }
        let at = Self::at_end_of(place, table)?;
        if at.block.compare_key(at.entry, key).is_ge() {
            return Err(at.place.out_of_order(table));
        }
        Ok(Some(at))
    }
}

impl Cursor for TableCursor {
    #[inline]
    fn valid(&self) -> bool {
        self.at.is_some()
    }

    fn seek_first(&mut self) -> Result<()> {
        self.go_to(Target::First)
    }

    fn seek_last(&mut self) -> Result<()> {
        self.go_to(Target::Last)
    }

    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.go_to(Target::At(key, Tag::search(seq)))
    }

    fn seek_before(&mut self, key: &[u8]) -> Result<()> {
        self.go_to(Target::Before(key))
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        match &mut self.at {
            Some(at) if at.entry + 1 < at.block.entries() => {
                at.entry += 1;
                self.change_suffix();
                Ok(())
            }
            _ => self.guarded(Self::next_block),
        }
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        match &mut self.at {
            Some(at) if at.entry > 0 => {
                at.entry -= 1;
                self.change_suffix();
                Ok(())
            }
            _ => self.guarded(Self::prev_block),
        }
    }

    #[inline]
    fn key(&self) -> &[u8] {
        assert!(self.valid(), "the cursor stands on an entry");
        &self.key[..self.key_bytes]
    }

    #[inline]
    fn tag(&self) -> Tag {
        let at = self.position();
        at.block.tag(at.entry)
    }

    #[inline]
    fn value(&self) -> &[u8] {
        let at = self.position();
        at.block.value(at.entry)
    }
}

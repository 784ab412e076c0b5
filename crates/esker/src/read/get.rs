//! Point lookup: newest source first, and the first version found decides.
//!
//! ```text
//! active memtable -> frozen ones, newest first -> L0, newest first -> L1 -> ... -> L6
//! ```
//!
//! Sources are ordered in time: everything in one is newer than everything about the same key in
//! the next. So the first version at or below the read's sequence number is the newest of all, and
//! a tombstone ends the search as a value does (R3). At most one table of each deeper level can
//! hold the key.
//!
//! A search works in memory and under the epoch ([`crate::sstable::Reach`]): it counts nothing,
//! copies nothing and waits for nothing. The tables that may hold the key are gathered first, and
//! the line of the filter of each is asked for before any is looked at: misses in memory overlap.
//!
//! Cost: one hash, one filter line per table whose range holds the key, one block of each whose
//! filter said maybe. No allocation but the answer's.

use crate::base::key::{SeqNo, Tag};
use crate::base::value::Value;
use crate::read::view::{Place, View};
use crate::sstable::{self, Filters, Lookup, Missed, Peek, Reach, Table};

/// So many tables are gathered before their filters are asked.
const CANDIDATES: usize = 16;

/// The newest entry of a key that a read may see, where it lies.
#[derive(Debug)]
pub struct FoundEntry<'g> {
    /// Its sequence number and kind.
    pub tag: Tag,
    /// Where it lies.
    pub place: Place,
    source: Source<'g>,
}

#[derive(Debug)]
enum Source<'g> {
    Memtable(&'g [u8]),
    Table(sstable::Found<'g>),
}

impl<'g> FoundEntry<'g> {
    /// Its value, empty for a tombstone, for as long as what was in reach stays.
    pub fn value(&self) -> &'g [u8] {
        match &self.source {
            Source::Memtable(value) => value,
            Source::Table(found) => found.value,
        }
    }

    /// Its value, to keep; `None` for a tombstone.
    pub fn to_value(&self) -> Option<Value> {
        if self.tag.is_delete() {
            return None;
        }
        Some(match &self.source {
            Source::Memtable(value) => Value::copy_from(value),
            Source::Table(found) => found.to_value(),
        })
    }
}

/// Tables whose range holds the key, newest first, and their levels.
pub(super) struct Candidates<'v> {
    tables: [Option<(&'v Table, usize)>; CANDIDATES],
    count: usize,
}

impl View {
    /// The newest entry of `key`, whose hash is `hash`, at or below `seq`, tombstones included.
    /// `how` says whether filters are heeded and counts what was looked at.
    ///
    /// # Errors
    /// A page that is not in memory: never an older version instead.
    pub fn find<'v: 'g, 'g>(
        &'v self,
        key: &[u8],
        hash: u64,
        seq: SeqNo,
        reach: Reach<'g>,
        how: &mut Lookup,
    ) -> Peek<Option<FoundEntry<'g>>, Missed<'v>> {
        if let Some((tag, value)) = self.find_in_memtables(key, hash, seq) {
            let source = Source::Memtable(value);
            return Ok(Some(FoundEntry { tag, place: Place::Memtable, source }));
        }
        let mut newer = 0;
        loop {
            let candidates = self.candidates(key, newer);
            if how.filters == Filters::Use && candidates.count > 1 {
                candidates.iter().for_each(|(table, _)| table.prefetch_filter(hash, reach));
            }
            for (table, level) in candidates.iter() {
                if let Some(found) = table.find_in_range(key, hash, seq, reach, how)? {
                    let (tag, place) = (found.tag, Place::Level(level));
                    return Ok(Some(FoundEntry { tag, place, source: Source::Table(found) }));
                }
            }
            if !candidates.is_full() {
                return Ok(None);
            }
            newer += candidates.count;
        }
    }

    /// As [`find`](Self::find), in the memtables alone.
    pub fn find_in_memtables(&self, key: &[u8], hash: u64, seq: SeqNo) -> Option<(Tag, &[u8])> {
        for memtable in self.memtables() {
            if let Some(found) = memtable.get(key, hash, seq) {
                return Some(found);
            }
        }
        None
    }

    /// The tables whose range holds `key`, newest first, without the first `newer` of them.
    #[inline]
    pub(super) fn candidates(&self, key: &[u8], newer: usize) -> Candidates<'_> {
        let mut found = Candidates { tables: [None; CANDIDATES], count: 0 };
        let mut skip = newer;
        let mut add = |table, level| {
            if skip > 0 {
                skip -= 1;
            } else if found.count < CANDIDATES {
                found.tables[found.count] = Some((table, level));
                found.count += 1;
            }
        };
        if !self.levels[0].is_empty() {
            self.l0().filter(|l0| l0.may_hold(key)).for_each(|l0| add(&**l0.table, 0));
        }
        for (level, tables) in self.levels.iter().enumerate().skip(1) {
            if !tables.is_empty()
                && let Some(table) = tables.table_for(key)
            {
                add(&**table, level);
            }
        }
        found
    }
}

impl<'v> Candidates<'v> {
    /// Whether there may be more of them.
    pub(super) fn is_full(&self) -> bool {
        self.count == CANDIDATES
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'v Table, usize)> {
        self.tables[..self.count].iter().copied().flatten()
    }
}

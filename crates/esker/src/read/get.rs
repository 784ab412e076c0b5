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
//! the line of the filter of each is asked for before any is looked at: misses in memory overlap,
//! so a further run costs about 10 ns and not 150.
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

/// A table that may hold the key.
#[derive(Clone, Copy)]
struct Candidate<'v> {
    table: &'v Table,
    level: usize,
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
        if let Some((tag, value)) = self.find_in_memtables(key, seq) {
            let source = Source::Memtable(value);
            return Ok(Some(FoundEntry { tag, place: Place::Memtable, source }));
        }
        let mut tables = self.tables_for(key);
        loop {
            let (candidates, count) = gather(&mut tables);
            let candidates = candidates.iter().take(count).flatten();
            if how.filters == Filters::Use && count > 1 {
                candidates.clone().for_each(|c| c.table.prefetch_filter(hash, reach));
            }
            for Candidate { table, level } in candidates {
                if let Some(found) = table.find(key, hash, seq, reach, how)? {
                    let (tag, place) = (found.tag, Place::Level(*level));
                    return Ok(Some(FoundEntry { tag, place, source: Source::Table(found) }));
                }
            }
            if count < CANDIDATES {
                return Ok(None);
            }
        }
    }

    /// As [`find`](Self::find), in the memtables alone.
    pub fn find_in_memtables(&self, key: &[u8], seq: SeqNo) -> Option<(Tag, &[u8])> {
        self.memtables().find_map(|memtable| memtable.get(key, seq))
    }

    /// The tables whose range holds `key`, newest first.
    fn tables_for(&self, key: &[u8]) -> impl Iterator<Item = Candidate<'_>> {
        let newest = self.l0().filter(move |l0| l0.may_hold(key));
        let newest = newest.map(|l0| Candidate { table: l0.table, level: 0 });
        let deeper = (1..self.levels.len()).filter_map(move |level| {
            let table = self.table_for(level, key)?;
            Some(Candidate { table, level })
        });
        newest.chain(deeper)
    }
}

impl View {
    /// Asks for the filter lines that a search for `key` will look at.
    pub fn prefetch_filters(&self, key: &[u8], hash: u64, reach: Reach<'_>) {
        self.tables_for(key).for_each(|c| c.table.prefetch_filter(hash, reach));
    }

    /// Asks for the blocks that a search for `key` will look at.
    pub fn prefetch_blocks(&self, key: &[u8], hash: u64, reach: Reach<'_>) {
        let passes = |c: &Candidate<'_>| c.table.passes(hash, reach).unwrap_or(false);
        self.tables_for(key).filter(passes).for_each(|c| c.table.prefetch_block(key, reach));
    }
}

/// The next few candidates, and how many.
fn gather<'v>(
    tables: &mut impl Iterator<Item = Candidate<'v>>,
) -> ([Option<Candidate<'v>>; CANDIDATES], usize) {
    let mut candidates = [None; CANDIDATES];
    let mut count = 0;
    for (slot, candidate) in candidates.iter_mut().zip(tables) {
        *slot = Some(candidate);
        count += 1;
    }
    (candidates, count)
}

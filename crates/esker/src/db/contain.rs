//! Containing damage: what is known to be wrong, who must keep away from it, and how it is found.
//!
//! A read that meets a bad block answers `Corruption`, and so does every other read that would need
//! it; all other keys are served. The table is marked. Compactions leave marked tables where they
//! are: merged with others, what is left of them would get new checksums, and nobody could tell any
//! more that something is missing. What is due around them goes on.
//!
//! Marks are in memory: a reopened store finds the damage again when it reads it. A scrub looks for
//! damage before somebody needs the data: it reads all tables, slowly, past the cache, and marks.
//! A mark goes when its table is checked again and nothing is wrong with it: by a scrub, by `check`,
//! or when somebody asks for a compaction. A device that lied once is not held against the data.
//!
//! Damage of a filter takes no key: reads go on without it, and so do merges, which make a new one.
//! It is told all the same.
//!
//! A scrub is a call, its rate a constant, and each one reads all tables from the first on: the
//! store makes none of its own accord, and a place to go on at is not kept. Why:
//! docs/decisions/0010-a-scrub-is-a-call.md.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::error::{Error, Result};
use crate::base::key::TableId;
use crate::base::limits::LEVELS;
use crate::base::names::FileName;
use crate::base::sync::{AtomicBool, AtomicU64};
use crate::db::store::{KeyspaceCore, Store};
use crate::sstable::{Table, TableDamage};

/// A scrub reads so many bytes a second.
const SCRUB_BYTES_PER_SECOND: u64 = 8 << 20;

/// It pauses when it is so far ahead of that.
const SCRUB_PAUSE_NANOS_MIN: u64 = 5_000_000;

/// Keys of a table that is damaged.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CorruptRange {
    /// The name of the keyspace.
    pub keyspace: String,
    /// The table's level, 0 to 6.
    pub level: usize,
    /// The table's file.
    pub file: String,
    /// The first key.
    pub first_key: Vec<u8>,
    /// The last key.
    pub last_key: Vec<u8>,
    /// Whether they can be read all the same: a filter is damaged, and is not asked. The next merge
    /// that rewrites the table makes a new one.
    pub is_readable: bool,
    /// What is wrong, and where.
    pub error: Error,
}

/// How far a scrub has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubStats {
    /// Whether one is under way.
    pub is_running: bool,
    /// Whole passes since the store was opened.
    pub passes: u64,
    /// Bytes that the present or the last pass has read.
    pub bytes_read: u64,
    /// Bytes that it has to read, about.
    pub bytes: u64,
}

/// The state of scrubs.
#[derive(Default)]
pub(crate) struct Scrub {
    is_running: AtomicBool,
    passes: AtomicU64,
    bytes_read: AtomicU64,
    bytes: AtomicU64,
}

/// Ends a scrub, also one that panics.
struct Running<'a>(&'a Scrub);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.is_running.store(false, Ordering::Release);
    }
}

impl Scrub {
    pub fn stats(&self) -> ScrubStats {
        ScrubStats {
            is_running: self.is_running.load(Ordering::Acquire),
            passes: self.passes.load(Ordering::Relaxed),
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

impl KeyspaceCore {
    /// Its marked tables.
    pub fn damaged_tables(&self) -> Vec<TableId> {
        self.tables(0..LEVELS)
            .into_iter()
            .filter(|(_, table)| table.is_damaged())
            .map(|(_, table)| table.summary().id)
            .collect()
    }

    /// What is wrong with a marked table of these levels, if there is one.
    pub fn damage(&self, levels: Range<usize>) -> Option<Error> {
        let damaged = self.tables(levels).into_iter().filter(|(_, table)| table.is_damaged());
        let first = damaged.flat_map(|(_, table)| table.damage()).next();
        first.map(|damage| {
            damage.error.context(
                "a damaged table is not merged: restore it from a copy, repair the store, or \
                 quarantine the table",
            )
        })
    }

    fn tables(&self, levels: Range<usize>) -> Vec<(usize, Arc<Table>)> {
        let view = self.view();
        let of_level =
            |level: usize| view.levels[level].iter().map(move |table| (level, Arc::clone(table)));
        levels.filter(|level| *level < LEVELS).flat_map(of_level).collect()
    }
}

impl Store {
    /// All ranges of keys that damage is known of, over all keyspaces; readable ones last.
    pub fn corrupt_ranges(&self) -> Vec<CorruptRange> {
        let cores: Vec<_> = self.structure().keyspaces.values().cloned().collect();
        let mut ranges = Vec::new();
        for core in cores {
            for (level, table) in core.tables(0..LEVELS) {
                let all = &table.summary().range;
                ranges.extend(table.damage().into_iter().map(|TableDamage { error, keys }| {
                    let range = keys.as_ref().unwrap_or(all);
                    CorruptRange {
                        keyspace: core.name.clone(),
                        level,
                        file: FileName::Table(table.summary().id).to_string(),
                        first_key: range.lo().to_vec(),
                        last_key: range.hi().to_vec(),
                        is_readable: keys.is_none(),
                        error,
                    }
                }));
            }
        }
        let (mut ranges, readable): (Vec<_>, Vec<_>) =
            ranges.into_iter().partition(|range| !range.is_readable);
        ranges.extend(readable);
        ranges
    }

    /// Checks marked tables again: a mark goes where nothing is wrong any more.
    pub fn look_at_damage_again(&self) {
        for table in self.all_tables().iter().filter(|table| !table.damage().is_empty()) {
            // What is still wrong stays marked, and whoever needs the table hears of it.
            let _ = table.verify();
        }
    }

    /// `Db::scrub`.
    pub fn scrub(&self) -> Result<()> {
        self.health.check_reads()?;
        if self.scrub.is_running.swap(true, Ordering::AcqRel) {
            return Err(Error::busy("a scrub of this store is under way"));
        }
        let _running = Running(&self.scrub);
        let tables = self.all_tables();
        let bytes = tables.iter().map(|table| table.summary().bytes).sum();
        self.scrub.bytes.store(bytes, Ordering::Relaxed);
        self.scrub.bytes_read.store(0, Ordering::Relaxed);
        let begun = self.env.now_nanos();
        let mut first = Ok(());
        for table in tables {
            self.health.check_reads()?;
            let checked = table.verify_paced(&|bytes| self.pace_scrub(begun, bytes as u64));
            first = first.and(checked);
        }
        self.scrub.passes.fetch_add(1, Ordering::Relaxed);
        first
    }

    /// Before a read: pauses while the scrub is ahead of its rate.
    fn pace_scrub(&self, begun: u64, bytes: u64) {
        let read = self.scrub.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        let due =
            begun + (u128::from(read) * 1_000_000_000 / u128::from(SCRUB_BYTES_PER_SECOND)) as u64;
        let ahead = due.saturating_sub(self.env.now_nanos());
        if ahead >= SCRUB_PAUSE_NANOS_MIN {
            self.env.pause(ahead);
        }
    }

    /// The tables of all keyspaces.
    fn all_tables(&self) -> Vec<Arc<Table>> {
        let cores: Vec<_> = self.structure().keyspaces.values().cloned().collect();
        cores.iter().flat_map(|core| core.tables(0..LEVELS)).map(|(_, table)| table).collect()
    }
}

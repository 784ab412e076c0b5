//! The entries of a keyspace in order, from all that can be read of its tables and its log.
//!
//! Tables that do not overlap stand behind each other in one *run*, as in a level; so there are few
//! runs however many tables there are, one table of each is open at a time, and the smallest entry
//! is found by looking at all. The same entry may be in two runs: in a table that was merged away
//! and in the one that took its place, if no manifest says which of them counts.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::cursor::Cursor;
use crate::base::error::{Error, Result};
use crate::base::key::{Tag, compare};
use crate::base::names::FileName;
use crate::memtable::{Memtable, MemtableCursor};
use crate::repair::parts::TablePart;
use crate::repair::report::{Loss, RepairReport};
use crate::sstable::{LostPiece, SalvageCursor};
use crate::vfs::Disk;

/// What takes entries: key, tag, value.
pub type Take<'a> = dyn FnMut(&[u8], Tag, &[u8]) -> Result<()> + 'a;

/// A walk over the entries of one keyspace.
pub struct Merge<'a> {
    runs: Vec<Run<'a>>,
}

enum Run<'a> {
    Log(MemtableCursor),
    Tables(TableRun<'a>),
}

/// Tables without a key in common, one behind the other.
struct TableRun<'a> {
    from: Source<'a>,
    waiting: VecDeque<TablePart>,
    open: Option<(TablePart, SalvageCursor)>,
    losses: Vec<Loss>,
    notes: Vec<String>,
}

/// Where tables are read from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub disk: &'a dyn Disk,
    pub store_id: u64,
    /// The name of the keyspace.
    pub keyspace: &'a str,
}

impl<'a> Merge<'a> {
    /// All entries of these tables and of `memtable`.
    pub fn new(
        from: Source<'a>,
        tables: Vec<TablePart>,
        memtable: Option<&Arc<Memtable>>,
    ) -> Result<Self> {
        let mut runs = Vec::new();
        for waiting in arrange(tables) {
            let (losses, notes) = (Vec::new(), Vec::new());
            let mut run = TableRun { from, waiting, open: None, losses, notes };
            run.open_next()?;
            runs.push(Run::Tables(run));
        }
        if let Some(memtable) = memtable {
            let mut cursor = memtable.cursor();
            cursor.seek_first()?;
            runs.push(Run::Log(cursor));
        }
        Ok(Self { runs })
    }

    /// Hands the newest version of each key to `take`, in order, tombstones too.
    pub fn newest(&mut self, take: &mut Take<'_>) -> Result<()> {
        let mut last: Option<Vec<u8>> = None;
        while let Some(first) = self.first() {
            let run = &mut self.runs[first];
            let (key, tag, value) = run.entry().expect("it stands on an entry");
            if last.as_deref() != Some(key) {
                take(key, tag, value)?;
                let last = last.get_or_insert_default();
                last.clear();
                last.extend_from_slice(key);
            }
            run.next()?;
        }
        Ok(())
    }

    /// The run that stands on the first entry of all.
    fn first(&self) -> Option<usize> {
        let entries = self.runs.iter().enumerate().filter_map(|(n, run)| Some((n, run.entry()?)));
        let first = entries.min_by(|(_, a), (_, b)| compare((a.0, a.1), (b.0, b.1)));
        first.map(|(n, _)| n)
    }

    /// Tells what could not be read.
    pub fn report(self, report: &mut RepairReport) {
        for run in self.runs {
            if let Run::Tables(run) = run {
                report.losses.extend(run.losses);
                report.notes.extend(run.notes);
            }
        }
    }
}

/// Tables into as few runs as it takes: each behind the first run that ends before it.
fn arrange(mut tables: Vec<TablePart>) -> Vec<VecDeque<TablePart>> {
    tables.sort_unstable_by(|a, b| lo(a).cmp(&lo(b)).then(a.id.cmp(&b.id)));
    let mut runs: Vec<VecDeque<TablePart>> = Vec::new();
    for table in tables {
        let ends_before = |run: &&mut VecDeque<TablePart>| {
            let last = run.back().and_then(|last| last.range.as_ref());
            match (last, &table.range) {
                (Some(last), Some(range)) => last.hi() < range.lo(),
                _ => false,
            }
        };
        match runs.iter_mut().find(ends_before) {
            Some(run) => run.push_back(table),
            None => runs.push(VecDeque::from([table])),
        }
    }
    runs
}

fn lo(table: &TablePart) -> Option<&[u8]> {
    table.range.as_ref().map(|range| range.lo())
}

impl Run<'_> {
    fn entry(&self) -> Option<(&[u8], Tag, &[u8])> {
        match self {
            Self::Log(cursor) => {
                cursor.valid().then(|| (cursor.key(), cursor.tag(), cursor.value()))
            }
            Self::Tables(run) => {
                run.open.as_ref().map(|(_, cursor)| (cursor.key(), cursor.tag(), cursor.value()))
            }
        }
    }

    fn next(&mut self) -> Result<()> {
        match self {
            Self::Log(cursor) => cursor.next(),
            Self::Tables(run) => {
                if let Some((_, cursor)) = &mut run.open {
                    cursor.next()?;
                }
                run.skip_empty()
            }
        }
    }
}

impl TableRun<'_> {
    /// Opens the next table that has an entry.
    fn open_next(&mut self) -> Result<()> {
        while let Some(table) = self.waiting.pop_front() {
            let name = FileName::Table(table.id);
            let open = || self.from.disk.open(name);
            let file = match open().or_else(|_| open()) {
                Ok(file) => file,
                Err(error) => {
                    let loss =
                        self.loss(&table, &LostPiece { error, after: None, before: None }, 0);
                    self.losses.push(loss);
                    continue;
                }
            };
            let mut cursor = SalvageCursor::new(file, self.from.store_id, table.id)?;
            if let Some(swept_to) = &table.swept_to {
                while cursor.valid() && cursor.key() < swept_to.as_slice() {
                    cursor.next()?;
                }
            }
            let has_entries = cursor.valid();
            self.open = Some((table, cursor));
            if has_entries {
                return Ok(());
            }
            self.end_table();
        }
        Ok(())
    }

    /// Goes on to the next table if the open one is at its end.
    fn skip_empty(&mut self) -> Result<()> {
        if self.open.as_ref().is_some_and(|(_, cursor)| cursor.valid()) {
            return Ok(());
        }
        self.end_table();
        self.open_next()
    }

    /// Tells what the open table lacked.
    fn end_table(&mut self) {
        let Some((table, cursor)) = self.open.take() else { return };
        let name = FileName::Table(table.id);
        let kept = cursor.entries();
        let expected = table.entries.or(cursor.summary().map(|summary| summary.entries));
        if expected == Some(kept) {
            let damaged = cursor.lost().first();
            self.notes.extend(damaged.map(|piece| {
                format!("{name}: damaged, but all its entries were read: {}", piece.error)
            }));
            return;
        }
        for piece in cursor.lost() {
            let loss = self.loss(&table, piece, kept);
            self.losses.push(loss);
        }
        if let (Some(expected), []) = (expected, cursor.lost()) {
            let error = Error::corrupt(name, 0, "entries", expected, kept);
            let loss = self.loss(&table, &LostPiece { error, after: None, before: None }, kept);
            self.losses.push(loss);
        }
    }

    fn loss(&self, table: &TablePart, piece: &LostPiece, kept: u64) -> Loss {
        let range = table.range.as_ref();
        let (lo, hi) = (range.map(|r| r.lo().to_vec()), range.map(|r| r.hi().to_vec()));
        Loss {
            keyspace: Some(self.from.keyspace.to_owned()),
            first_key: piece.after.clone().or(lo),
            last_key: piece.before.clone().or(hi),
            first_seq: table.seqs.map(|(first, _)| first.get()),
            last_seq: table.seqs.map(|(_, last)| last.get()),
            entries_kept: Some(kept),
            entries_lost: table.entries.map(|entries| entries.saturating_sub(kept)),
            ..Loss::of(FileName::Table(table.id), &piece.error)
        }
    }
}

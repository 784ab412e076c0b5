//! `View`: what a read of one keyspace works on.
//!
//! A view is immutable: the memtables, the version, and an open reader for each of its tables,
//! side by side. A read loads the keyspace's current view once and sees nothing else. Iterators
//! hold theirs for as long as they live, so no flush or merge can pull anything from under them:
//! removed files stay readable through their open readers.
//!
//! Only `db` publishes views. A read loads the view **first** and the visible sequence number
//! **second**: in the other order a merge that finished in between could have dropped the version
//! that the older number needs.

use std::sync::Arc;

use crate::base::limits::LEVELS;
use crate::base::range::Bounds;
use crate::memtable::Memtable;
use crate::read::clamp::Clamp;
use crate::read::fences::Level;
use crate::read::level::LevelCursor;
use crate::read::merge::MergeCursor;
use crate::read::run::RunCursor;
use crate::sstable::Table;

/// One immutable picture of a keyspace: everything that a read may have to look at.
#[derive(Clone)]
pub struct View {
    /// Takes the writes.
    pub active: Arc<Memtable>,
    /// Wait for their flush, newest first.
    pub frozen: Vec<Arc<Memtable>>,
    /// The tables: L0 newest first, deeper levels by range.
    pub levels: [Level; LEVELS],
    /// What a sweep has left of the oldest tables of L0, while there is one.
    pub clamp: Option<Clamp>,
}

/// Which sources a cursor covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// Memtables and tables.
    All,
    /// The memtables alone.
    Memtables,
}

impl View {
    /// A view of nothing but `active`.
    pub fn new(active: Arc<Memtable>) -> Self {
        Self { active, frozen: Vec::new(), levels: Default::default(), clamp: None }
    }

    /// The memtables, newest first.
    pub fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        std::iter::once(&self.active).chain(&self.frozen)
    }

    /// How many sorted runs a get may have to look into: memtables that hold something, L0
    /// tables, deeper levels that hold something.
    pub fn runs(&self) -> u64 {
        let memtables = self.memtables().filter(|memtable| !memtable.is_empty()).count();
        let deeper = self.levels[1..].iter().filter(|tables| !tables.is_empty()).count();
        (memtables + self.levels[0].len() + deeper) as u64
    }

    /// The deepest level that holds a table.
    pub fn deepest_level(&self) -> Option<usize> {
        self.levels.iter().rposition(|tables| !tables.is_empty())
    }

    /// All entries that may lie within `bounds`, of all versions, in order.
    pub fn cursor(&self, bounds: &Bounds, sources: Sources) -> MergeCursor {
        let mut cursors = Vec::with_capacity(self.runs() as usize);
        for memtable in self.memtables().filter(|memtable| !memtable.is_empty()) {
            cursors.push(RunCursor::Memtable(Box::new(memtable.cursor())));
        }
        if sources == Sources::All {
            let l0 = self.l0().filter(|table| table.overlaps(bounds));
            cursors.extend(l0.map(|table| table.cursor()));
            for tables in &self.levels[1..] {
                match overlapping(tables, bounds) {
                    [] => {}
                    [table] => cursors.push(RunCursor::Table(table.cursor())),
                    _ => cursors.push(RunCursor::Level(LevelCursor::new(tables.clone()))),
                }
            }
        }
        MergeCursor::new(cursors)
    }
}

/// Those of a sorted level's tables that have something within `bounds`.
fn overlapping<'t>(tables: &'t Level, bounds: &Bounds) -> &'t [Arc<Table>] {
    let inside = &tables[tables.first_not_before(&bounds.start)..];
    let count = match &bounds.end {
        Some(end) => inside.partition_point(|table| table.summary().range.lo() < &**end),
        None => inside.len(),
    };
    &inside[..count]
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the active memtable or in one that waits for its flush.
    Memtable,
    /// In a table of this level.
    Level(usize),
}

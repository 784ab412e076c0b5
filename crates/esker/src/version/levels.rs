//! One immutable picture of the tables of a keyspace.

use std::sync::Arc;

use crate::base::limits::LEVELS;
use crate::base::range::KeyRange;
use crate::version::{KeyspaceEdit, TableMeta};

/// The tables of a keyspace, level by level. L0 has the newest first, the others are sorted by
/// key range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    levels: [Vec<Arc<TableMeta>>; LEVELS],
}

/// Which invariant an edit would break, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The number of the invariant.
    pub invariant: &'static str,
    /// What is wrong.
    pub text: String,
}

impl Version {
    /// The tables of level `n`.
    pub fn level(&self, n: usize) -> &[Arc<TableMeta>] {
        &self.levels[n]
    }

    /// This picture with `edit` made; removals come first.
    pub fn apply(&self, edit: &KeyspaceEdit) -> std::result::Result<Version, Broken> {
        let _ = edit;
        panic!("being written")
    }

    /// All tables with their levels, L0 first.
    pub fn tables(&self) -> impl Iterator<Item = (usize, &Arc<TableMeta>)> {
        self.levels.iter().enumerate().flat_map(|(n, level)| level.iter().map(move |t| (n, t)))
    }

    /// Bytes of the tables of level `n`.
    pub fn level_bytes(&self, n: usize) -> u64 {
        self.levels[n].iter().map(|table| table.bytes).sum()
    }

    /// Which table of level `n`, 1 or deeper, has `key` in its range.
    pub fn find(&self, n: usize, key: &[u8]) -> Option<usize> {
        let at = self.levels[n].partition_point(|table| table.range.hi() < key);
        self.levels[n].get(at).filter(|table| table.range.contains(key)).map(|_| at)
    }

    /// The tables of level `n` that have a key range in common with `range`, in their order.
    pub fn overlapping(&self, n: usize, range: &KeyRange) -> Vec<Arc<TableMeta>> {
        self.levels[n].iter().filter(|table| table.range.overlaps(range)).cloned().collect()
    }

    /// The deepest level that has a table.
    pub fn deepest_nonempty(&self) -> Option<usize> {
        self.levels.iter().rposition(|level| !level.is_empty())
    }
}

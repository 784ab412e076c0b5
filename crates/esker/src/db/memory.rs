//! The accountant: what the engine holds of its memory budget, and how the budget is divided.
//!
//! ```text
//! memory_budget = 4 memtables (one active, two frozen, one that is kept for the next)
//!               + frames: blocks, indexes and filters, whatever is left
//! ```
//!
//! Both halves are bounds, taken as they are needed: memtables by the flush threshold and the
//! number that may wait, frames by the pool's capacity. What users keep from being given back
//! (values that share a block, iterators over memtables that are tables by now) is shown apart.

use crate::db::store::{FROZEN_MAX, Store, Structure};

/// One takes writes, [`FROZEN_MAX`] wait for their flush, and the memory of one is kept.
pub(crate) const MEMTABLES_HELD_MAX: u64 = FROZEN_MAX as u64 + 2;

/// A memtable may have this part of the budget: all of them have half of it then.
pub(crate) const MEMTABLE_SHARE: u64 = 2 * MEMTABLES_HELD_MAX;

/// What of `budget` is for frames.
pub(crate) fn frames_bytes(budget: u64, memtable_bytes: u64) -> u64 {
    budget.saturating_sub(MEMTABLES_HELD_MAX * memtable_bytes)
}

/// Memory that a store holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryUse {
    /// Most that it should hold: [`Options::memory_budget`](crate::Options::memory_budget).
    pub budget_bytes: u64,
    /// Active and frozen memtables of all keyspaces, and what is kept for the next one.
    pub memtables_bytes: u64,
    /// Blocks, index pages and filter pages.
    pub frames_bytes: u64,
    /// Of these, what values, iterators and cursors keep from being evicted.
    pub pinned_bytes: u64,
}

impl MemoryUse {
    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        self.memtables_bytes + self.frames_bytes
    }
}

impl Store {
    /// What the store holds now.
    pub(crate) fn memory_use(&self, structure: &Structure) -> MemoryUse {
        let memtables: usize = structure.memtables().iter().map(|m| m.held_bytes()).sum();
        MemoryUse {
            budget_bytes: self.settings.memory_budget,
            memtables_bytes: (memtables + self.settings.chunks.idle_bytes()) as u64,
            frames_bytes: self.pool.bytes() as u64,
            pinned_bytes: self.pool.pinned_bytes() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_divided_without_a_rest() {
        assert_eq!(frames_bytes(1 << 30, 64 << 20), 768 << 20);
        assert_eq!(frames_bytes(8 << 20, 1 << 20), 4 << 20);
    }
}

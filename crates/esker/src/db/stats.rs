//! The store's figures: levels, work done, and the three amplifications as docs/guarantees.md and
//! the node's protocol define them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::limits::LEVELS;
use crate::compaction::shape;
use crate::db::contain::{CorruptRange, ScrubStats};
use crate::db::health::HealthState;
use crate::db::keyspace::Keyspace;
use crate::db::memory::MemoryUse;
use crate::sstable::Table;
use crate::version::KeyspaceCounters;

/// One level of a keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelInfo {
    /// 0 to 6.
    pub level: usize,
    /// How many tables it has.
    pub tables: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Their bytes if none were compressed.
    pub uncompressed_bytes: u64,
    /// Over this a compaction is due (L0: over 4 tables; its `max_bytes` is shown, not enforced).
    pub max_bytes: u64,
    /// Whether its tables are disjoint and in order: false for L0 alone.
    pub sorted: bool,
}

/// Figures of one keyspace, and of the store that it belongs to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes that flushes and compactions wrote, per byte of keys and values that users wrote,
    /// since the keyspace was created; 0 before the first flush.
    pub write_amplification: f64,
    /// Sorted runs that a get may have to look into now.
    pub read_amplification: u64,
    /// Bytes of all tables per byte of the deepest level's: an estimate of how much is garbage; 1
    /// while at most one level holds data.
    pub space_amplification: f64,
    /// Bytes of keys and values that users wrote.
    pub user_bytes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Bytes of the tables that they wrote.
    pub flush_bytes: u64,
    /// Compactions that had inputs, moves included.
    pub compactions: u64,
    /// Of these, the ones that only moved a table to the next level.
    pub moves: u64,
    /// Of these, the ones that merged tables of L0 into one of L0.
    pub l0_merges: u64,
    /// Steps of sweeps of L0 into L1; a whole sweep is one compaction.
    pub sweep_steps: u64,
    /// Bytes of the tables that they read.
    pub compaction_bytes_read: u64,
    /// Bytes of the tables that they wrote.
    pub compaction_bytes_written: u64,
    /// Compactions due or running now.
    pub compactions_pending: u64,
    /// Tables.
    pub tables: u64,
    /// Their bytes.
    pub table_bytes: u64,
    /// Their bytes if none were compressed.
    pub table_bytes_uncompressed: u64,
    /// Bytes of the active and the frozen memtables.
    pub memtable_bytes: u64,
    /// The whole store: bytes appended to the log since it was opened.
    pub log_bytes_written: u64,
    /// The whole store: nanoseconds for which writes were held back so that they need not stop.
    pub writes_paused_nanos: u64,
    /// The whole store: nanoseconds for which writes stood still because the disk did not take
    /// flushes as fast as they came.
    pub writes_stalled_nanos: u64,
    /// The whole store: bytes of cached blocks.
    pub cache_bytes: u64,
    /// The whole store: memory held, of the budget.
    pub memory: MemoryUse,
    /// The whole store: live snapshots.
    pub snapshots: u64,
    /// The whole store: what works.
    pub health: HealthState,
    /// The whole store: keys of damaged tables, most of them not readable, as far as reads, checks
    /// and scrubs have found out since it was opened.
    pub corrupt_ranges: Vec<CorruptRange>,
    /// The whole store: how far a [scrub](crate::Db::scrub) has come.
    pub scrub: ScrubStats,
    /// Names in the directory that are not the store's; they are left alone.
    pub foreign_files: Vec<String>,
}

impl Keyspace {
    /// Its levels, L0 to L6, the empty ones included.
    pub fn levels(&self) -> Vec<LevelInfo> {
        let base = self.store().structure().state.fixed.level_base_bytes;
        let view = self.core().view();
        (0..LEVELS)
            .map(|level| LevelInfo {
                level,
                tables: view.levels[level].len(),
                bytes: view.levels[level].iter().map(|table| table.summary().bytes).sum(),
                uncompressed_bytes: uncompressed_bytes(&view.levels[level]),
                max_bytes: shape::max_bytes(base, level),
                sorted: level > 0,
            })
            .collect()
    }

    /// Its figures.
    pub fn stats(&self) -> Stats {
        let store = self.store();
        let (counters, view, compactions_pending, memory) = {
            let structure = store.structure();
            let counters = structure
                .state
                .keyspaces
                .get(&self.core().id)
                .map_or_else(KeyspaceCounters::default, |keyspace| keyspace.counters);
            let pending = store.compactions_pending(&structure, self.core());
            (counters, self.core().view(), pending, store.memory_use(&structure))
        };
        let level_bytes: Vec<u64> = view
            .levels
            .iter()
            .map(|tables| tables.iter().map(|t| t.summary().bytes).sum())
            .collect();
        let in_memory: u64 = view.memtables().map(|memtable| memtable.user_bytes()).sum();
        let user_bytes = counters.user_bytes_flushed + in_memory;
        let table_bytes_written = counters.flush_bytes + counters.compaction_bytes_written;
        Stats {
            write_amplification: shape::write_amplification(table_bytes_written, user_bytes),
            read_amplification: view.runs(),
            space_amplification: shape::space_amplification(&level_bytes),
            user_bytes,
            flushes: counters.flushes,
            flush_bytes: counters.flush_bytes,
            compactions: counters.compactions,
            moves: counters.moves,
            l0_merges: counters.l0_merges,
            sweep_steps: counters.sweep_steps,
            compaction_bytes_read: counters.compaction_bytes_read,
            compaction_bytes_written: counters.compaction_bytes_written,
            compactions_pending,
            tables: view.levels.iter().map(|tables| tables.len() as u64).sum(),
            table_bytes: level_bytes.iter().sum(),
            table_bytes_uncompressed: view.levels.iter().map(|t| uncompressed_bytes(t)).sum(),
            memtable_bytes: view.memtables().map(|memtable| memtable.bytes() as u64).sum(),
            log_bytes_written: store.log_bytes_written.load(Ordering::Relaxed),
            writes_paused_nanos: store.pace.paused_nanos(),
            writes_stalled_nanos: store.pace.stalled_nanos(),
            cache_bytes: store.pool.bytes() as u64,
            memory,
            snapshots: store.snapshots.count() as u64,
            health: store.health_state(),
            corrupt_ranges: store.corrupt_ranges(),
            scrub: store.scrub.stats(),
            foreign_files: store.foreign_files.clone(),
        }
    }
}

fn uncompressed_bytes(tables: &[Arc<Table>]) -> u64 {
    tables.iter().map(|table| table.summary().uncompressed_bytes).sum()
}

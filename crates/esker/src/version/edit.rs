//! What changes between two states of a store: the values. Their bytes: [`super::codec`].

use std::sync::Arc;

use crate::base::key::{KeyspaceId, SeqNo, TableId};
use crate::version::TableMeta;
use crate::wal::{LogPosition, LogState};

/// A change of the store that happens whole or not at all: one record of the manifest.
///
/// Keyspaces are dropped first, then made, then changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Keyspaces that are made, with their names.
    pub created: Vec<(KeyspaceId, String)>,
    /// Tables that come and go.
    pub keyspaces: Vec<(KeyspaceId, KeyspaceEdit)>,
    /// Keyspaces that end, with all their tables.
    pub dropped: Vec<KeyspaceId>,
    /// The log, if the set of its segments changed. Its horizon, too, can only advance.
    pub log: Option<LogState>,
    /// How far the log is durable, if that is all that is new about it.
    pub horizon: Option<LogPosition>,
    /// The first number that no file has used. A lower one than the present leaves that.
    pub next_file: u64,
    /// The first number that no keyspace has used.
    pub next_keyspace: Option<u32>,
    /// A sequence number that is in use; the highest one of the added tables counts anyway.
    pub last_seq: Option<SeqNo>,
}

/// What changes in one keyspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceEdit {
    /// Tables and the levels they go to.
    pub added: Vec<(u8, Arc<TableMeta>)>,
    /// Tables that leave, and the levels where they are. A table that moves is in both lists.
    pub removed: Vec<(u8, TableId)>,
    /// Records of the log up to here are in tables.
    pub flushed_seq: Option<SeqNo>,
    /// The totals after this edit; `None` leaves them.
    pub counters: Option<KeyspaceCounters>,
    /// The sweep of L0 from this edit on; without tables it is over. `None` leaves it.
    pub sweep: Option<Sweep>,
}

/// Work done for a keyspace since it was made. Totals: they never go down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceCounters {
    /// Bytes of keys and values that users wrote and that were flushed.
    pub user_bytes_flushed: u64,
    /// Flushes.
    pub flushes: u64,
    /// Bytes of the tables that flushes wrote.
    pub flush_bytes: u64,
    /// Merges of tables.
    pub compactions: u64,
    /// Bytes of the tables that merges read.
    pub compaction_bytes_read: u64,
    /// Bytes of the tables that merges wrote.
    pub compaction_bytes_written: u64,
    /// Compactions that only moved tables to another level.
    pub moves: u64,
    /// Merges that left L0 with fewer and larger tables.
    pub l0_merges: u64,
    /// Steps of sweeps of L0 into L1.
    pub sweep_steps: u64,
}

impl KeyspaceCounters {
    /// All of them, in the order of the format; new ones go to the end.
    pub(super) fn totals(&self) -> [u64; 9] {
        [
            self.user_bytes_flushed,
            self.flushes,
            self.flush_bytes,
            self.compactions,
            self.compaction_bytes_read,
            self.compaction_bytes_written,
            self.moves,
            self.l0_merges,
            self.sweep_steps,
        ]
    }

    pub(super) fn from_totals(totals: [u64; 9]) -> Self {
        let [
            user_bytes_flushed,
            flushes,
            flush_bytes,
            compactions,
            compaction_bytes_read,
            compaction_bytes_written,
            moves,
            l0_merges,
            sweep_steps,
        ] = totals;
        Self {
            user_bytes_flushed,
            flushes,
            flush_bytes,
            compactions,
            compaction_bytes_read,
            compaction_bytes_written,
            moves,
            l0_merges,
            sweep_steps,
        }
    }
}

/// A sweep of L0 into L1 that is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Keys below are in L1, and dead in the swept tables.
    pub cursor: Vec<u8>,
    /// The swept tables that hold something from there on: the oldest of L0, in its order.
    pub tables: Vec<TableId>,
}

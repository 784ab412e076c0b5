//! The whole state of a store: what a manifest, read to its end, says.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::key::{KeyspaceId, SeqNo};
use crate::version::{Edit, KeyspaceCounters, Version};
use crate::wal::LogState;

/// Everything the manifest records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreState {
    /// Tells this store from every other one; part of all checksums.
    pub store_id: u64,
    /// Options that were fixed when the store was created.
    pub fixed: FixedOptions,
    /// The keyspaces.
    pub keyspaces: BTreeMap<KeyspaceId, KeyspaceState>,
    /// The first number that no keyspace has used.
    pub next_keyspace: u32,
    /// The first number that no file has used.
    pub next_file: u64,
    /// The highest sequence number known to be in use.
    pub last_seq: SeqNo,
    /// The log.
    pub log: LogState,
}

/// Options that cannot change after creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedOptions {
    /// The size of L0; each deeper level is ten times larger.
    pub level_base_bytes: u64,
}

/// One keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceState {
    /// What users call it.
    pub name: String,
    /// Records of the log up to here are in its tables.
    pub flushed_seq: SeqNo,
    /// Its tables.
    pub version: Arc<Version>,
    /// Work done for it.
    pub counters: KeyspaceCounters,
}

impl StoreState {
    /// A new store: the keyspace `default`, no tables, no log.
    pub fn new(store_id: u64, fixed: FixedOptions) -> Self {
        let _ = (store_id, fixed);
        panic!("being written")
    }

    /// The state after `edit`, which this process made itself: an edit that breaks an invariant
    /// is a bug and panics. Call it before the edit goes to the manifest.
    pub fn apply(&self, edit: &Edit) -> StoreState {
        let _ = edit;
        panic!("being written")
    }
}

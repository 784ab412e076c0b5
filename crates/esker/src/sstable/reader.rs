//! `Table`.
use std::sync::Arc;

use super::{Lookup, TableCursor, TableSummary};
use crate::base::error::Result;
use crate::base::key::{SeqNo, TableId, Tag};
use crate::base::value::Value;
use crate::cache::BlockCache;
use crate::vfs::Disk;

/// A table open for reading.
#[derive(Debug)]
pub struct Table;

impl Table {
    /// Opens table `id`, which is `bytes` long.
    pub fn open(
        _disk: &dyn Disk,
        _store_id: u64,
        _id: TableId,
        _bytes: u64,
        _cache: &Arc<BlockCache>,
    ) -> Result<Arc<Self>> {
        unimplemented!()
    }
    /// The newest version of `key` that a read at `seq` sees; a tombstone is one.
    pub fn get(
        &self,
        _key: &[u8],
        _hash: u64,
        _seq: SeqNo,
        _how: &mut Lookup,
    ) -> Result<Option<(Tag, Value)>> {
        unimplemented!()
    }
    /// Whether the filter lets the key with this hash through.
    pub fn may_contain(&self, _hash: u64) -> Result<bool> {
        unimplemented!()
    }
    /// A cursor over all entries.
    pub fn cursor(self: &Arc<Self>) -> TableCursor {
        unimplemented!()
    }
    /// What the table holds.
    pub fn summary(&self) -> &TableSummary {
        unimplemented!()
    }
    /// Checks every byte.
    pub fn verify(&self) -> Result<()> {
        unimplemented!()
    }
}

//! `TableWriter`.
use super::{TableSettings, TableSummary};
use crate::base::error::Result;
use crate::base::key::{TableId, Tag};
use crate::vfs::Disk;

/// Writes one table.
pub struct TableWriter;

impl TableWriter {
    /// Creates the file of table `id`.
    pub fn create(
        _disk: &dyn Disk,
        _store_id: u64,
        _id: TableId,
        _settings: TableSettings,
    ) -> Result<Self> {
        unimplemented!()
    }
    /// Adds the next entry: greater than all before it.
    pub fn add(&mut self, _key: &[u8], _tag: Tag, _value: &[u8]) -> Result<()> {
        unimplemented!()
    }
    /// About how long the file would be if it were finished now.
    pub fn estimated_bytes(&self) -> u64 {
        unimplemented!()
    }
    /// How many entries were added.
    pub fn entries(&self) -> u64 {
        unimplemented!()
    }
    /// Writes what follows the blocks and syncs the file; the directory is the caller's.
    pub fn finish(self) -> Result<TableSummary> {
        unimplemented!()
    }
}

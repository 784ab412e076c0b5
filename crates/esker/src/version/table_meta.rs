//! What the store knows about a table without opening it.

use crate::base::error::{Error, Result};
use crate::base::key::{KeyspaceId, SeqNo, TableId};
use crate::base::names::FileName;
use crate::base::range::KeyRange;
use crate::sstable::TableSummary;

/// A table as the manifest records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMeta {
    /// The number in the file's name.
    pub id: TableId,
    /// The file's exact length.
    pub bytes: u64,
    /// Entries, tombstones among them.
    pub entries: u64,
    /// Entries that are tombstones.
    pub tombstones: u64,
    /// Distinct keys.
    pub keys: u64,
    /// The first and the last key.
    pub range: KeyRange,
    /// The lowest sequence number.
    pub seq_min: SeqNo,
    /// The highest sequence number.
    pub seq_max: SeqNo,
    /// Bytes of all keys.
    pub key_bytes: u64,
    /// Bytes of all values.
    pub value_bytes: u64,
    /// Size of the filter.
    pub filter_bits: u64,
}

impl TableMeta {
    /// What the manifest keeps of a table.
    pub fn of(summary: &TableSummary) -> Self {
        Self {
            id: summary.id,
            bytes: summary.bytes,
            entries: summary.entries,
            tombstones: summary.tombstones,
            keys: summary.keys,
            range: summary.range.clone(),
            seq_min: summary.seq_min,
            seq_max: summary.seq_max,
            key_bytes: summary.key_bytes,
            value_bytes: summary.value_bytes,
            filter_bits: summary.filter_bits,
        }
    }

    /// `Ok` if the table, which the manifest has in this keyspace, says the same of itself.
    pub fn compare(&self, keyspace: KeyspaceId, summary: &TableSummary) -> Result<()> {
        let found = Self::of(summary);
        let name = FileName::Table(self.id);
        if *self == found {
            let (expected, found) = (keyspace.0, summary.keyspace.0);
            return match expected == found {
                true => Ok(()),
                false => Err(Error::corrupt(name, 0, "keyspace of the table", expected, found)),
            };
        }
        Err(Error::corrupt(name, 0, "properties against the manifest", self.words(), found.words()))
    }

    fn words(&self) -> String {
        format!(
            "{} entries ({} tombstones, {} keys) in {} bytes, [{} .. {}], #{} to #{}",
            self.entries,
            self.tombstones,
            self.keys,
            self.bytes,
            self.range.lo().escape_ascii(),
            self.range.hi().escape_ascii(),
            self.seq_min,
            self.seq_max
        )
    }
}

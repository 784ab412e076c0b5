//! What the store knows about a table without opening it.

use crate::base::key::{SeqNo, TableId};
use crate::base::range::KeyRange;

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

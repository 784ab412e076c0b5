//! Floor 2: the immutable sorted file. [`TableWriter`] makes one, [`Table`] reads it,
//! [`TableCursor`] walks it.

#![forbid(unsafe_code)]

use crate::base::key::{SeqNo, TableId};
use crate::base::range::KeyRange;

mod cursor;
mod describe;
mod reader;
mod writer;

pub use cursor::TableCursor;
pub use describe::describe;
pub use reader::Table;
pub use writer::TableWriter;

/// How a table is made. What a reader needs of it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSettings {
    /// A block is closed before it would grow over this; one entry may be a larger block.
    pub block_bytes: usize,
    /// Bits of filter for each distinct key; 0: no filter.
    pub filter_bits_per_key: u32,
}

/// What a table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSummary {
    /// The table, and the number in its file's name.
    pub id: TableId,
    /// Length of the file.
    pub bytes: u64,
    /// Entries: all versions, tombstones included.
    pub entries: u64,
    /// Entries that are tombstones.
    pub tombstones: u64,
    /// Distinct keys.
    pub keys: u64,
    /// From the smallest key to the largest.
    pub range: KeyRange,
    /// The lowest sequence number of an entry.
    pub seq_min: SeqNo,
    /// The highest sequence number of an entry.
    pub seq_max: SeqNo,
    /// Bytes of all entries' keys.
    pub key_bytes: u64,
    /// Bytes of all entries' values.
    pub value_bytes: u64,
    /// Bits of the filter, what rounding added included.
    pub filter_bits: u64,
    /// Data blocks.
    pub data_blocks: u64,
}

/// Whether a look-up asks the filter first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Filters {
    /// Yes: most keys that are not there cost no block.
    #[default]
    Use,
    /// No: look into the block, to show what a filter saves.
    Ignore,
}

/// How to look a key up, and what it took: the counts add up over tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Whether to ask filters.
    pub filters: Filters,
    /// Filters that were asked.
    pub filter_probes: u32,
    /// Filters that answered: not here.
    pub filter_negatives: u32,
    /// Data blocks consulted, cached or not.
    pub blocks_read: u32,
}

//! Floor 2: the immutable sorted file. [`TableWriter`] makes one, [`Table`] reads it,
//! [`TableCursor`] walks it.
//!
//! ```text
//! [data blocks][index pages][filter pages][range deletes][blobs][properties][footer]
//! ```
//!
//! - `page`: checksummed pieces, the unit of everything below
//! - `block`, `block_builder`, `block_check`, `block_layout`: entries as columns
//! - `compression`, `packed`: blocks that are stored in fewer bytes, and their way back
//! - `index`: which block holds a key
//! - `filter`: which keys surely are not there
//! - `footer`: where everything is, and what the table holds
//! - `search`: inner loops over columns
//! - `lookup`: one key, in memory, under the epoch; `place`: a cursor's way through the index
//! - `stretch`: a piece of a block that a reader walks alone
//! - [`writer`], [`reader`], [`cursor`]: the three faces
//! - `damage`: what is known to be wrong with an open one
//! - `verify`, [`mod@describe`]: every byte checked, every byte shown; `salvage`: what is left of a
//!   damaged one; `fuzz`: hostile bytes
//!
//! Invariants, asserted where the writer relies on its caller or on itself:
//! - `S1`: entries are added in the order of [`compare`](crate::base::key::compare), none twice.
//! - `S2`: a finished table has an entry.
//! - `S3`: every piece begins at a multiple of 64 bytes, and pieces lie end to end.
//! - `S4`: a tombstone has no value.
//! - `S5`: a block's separator is above the last key of the block before and not above its own
//!   first key; only if both are the same key it is that key.
//! - `S6`: a block is as long as was computed before it was laid out, so that only a block of one
//!   entry is longer than asked for.
//! - `S7`: lengths and counts fit the fields that store them.
//! - `S8`: a finished table is on stable storage from its first byte to its last.
//!
//! Threads and locks: a writer belongs to one thread; a `Table` may be used by any number at
//! once; its own lock is around what is known to be wrong with it (the frame pool has others); a cursor belongs to one thread at a time.
//!
//! A crash leaves an unfinished file that nobody names, or a finished one: a table is named by
//! the manifest after `finish` and after the directory was synced.
//!
//! Cost: a get that finds its key looks at one line of filter, two index pages, the first two or
//! three lines of a block, and the lines of key and value. Opening is two reads.
//!
//! Not here: which tables there are (`version`), merging (`read`, `compaction`), which level is
//! compressed how (`db`).
#![doc = include_str!("FORMAT.md")]
#![forbid(unsafe_code)]

use crate::base::error::Error;
use crate::base::key::{KeyspaceId, SeqNo, TableId};
use crate::base::range::KeyRange;

mod block;
mod block_builder;
mod block_check;
mod block_layout;
mod compression;
mod cursor;
mod damage;
mod describe;
mod filter;
mod footer;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod index;
mod lookup;
mod packed;
mod page;
mod place;
mod reader;
mod salvage;
mod search;
mod stretch;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use compression::Compression;
pub use cursor::TableCursor;
pub use describe::describe;
pub use lookup::{Found, Located, Missed, Peek, Reach, with_pages};
pub use page::PAGE_BYTES;
pub use reader::Table;
pub use salvage::{LostPiece, SalvageCursor, read_owner};
pub use stretch::{Stretch, Terms};
pub use verify::{inspect, read_summary};
pub use writer::TableWriter;

/// Bits of filter for each key that stores ask for: about 1 % false positives.
pub const FILTER_BITS_PER_KEY: u32 = 10;

/// Length of a block that stores ask for.
pub const BLOCK_BYTES: usize = 8 << 10;

/// How a table is made. What a reader needs of it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSettings {
    /// A block is closed before it would grow over this; one entry may be a larger block.
    pub block_bytes: usize,
    /// Bits of filter for each distinct key; 0: no filter.
    pub filter_bits_per_key: u32,
    /// How blocks are compressed that get shorter by it.
    pub compression: Compression,
}

/// What a table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSummary {
    /// The table, and the number in its file's name.
    pub id: TableId,
    /// The keyspace that it was written for.
    pub keyspace: KeyspaceId,
    /// Length of the file.
    pub bytes: u64,
    /// Length that the file would have without compression.
    pub uncompressed_bytes: u64,
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

/// Something wrong in the file of a table.
#[derive(Clone, Debug)]
pub struct TableDamage {
    /// What, and where.
    pub error: Error,
    /// The keys whose entries it may have taken; `None`: none, all of the table can be read.
    pub keys: Option<KeyRange>,
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

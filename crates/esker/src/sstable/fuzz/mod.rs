//! Hostile tables: see [`crate::base::fuzz`].
//!
//! - `pieces`: each kind of piece alone: footer, properties, block, pages of index and filter
//! - `table`: a whole table with some bytes changed, opened and used in every way

mod pieces;
mod table;

use std::sync::Arc;

pub use table::{PieceOfTable, pieces_of, right_pieces};

use super::page::{ALIGN, Place};
use super::{Compression, TableSettings, TableWriter};
use crate::base::fuzz::{FEW_COPIES_BYTES, Target};
use crate::base::key::{KeyspaceId, Kind, SeqNo, TableId, Tag};
use crate::base::names::FileName;
use crate::vfs::sim::SimDisk;

/// What a block may say of itself is bounded by the longest entry.
const LONGEST_BLOCK_BYTES: usize = 66 << 20;

/// The targets of this folder.
pub const TARGETS: [Target; 7] = [
    Target {
        name: "footer",
        run: pieces::footer,
        seeds: pieces::footer_seeds,
        memory_bytes_max: FEW_COPIES_BYTES,
    },
    Target {
        name: "properties",
        run: pieces::properties,
        seeds: pieces::properties_seeds,
        memory_bytes_max: FEW_COPIES_BYTES,
    },
    Target {
        name: "block",
        run: pieces::block,
        seeds: pieces::block_seeds,
        memory_bytes_max: 16 << 20,
    },
    Target {
        name: "packed_block",
        run: pieces::packed_block,
        seeds: pieces::packed_block_seeds,
        memory_bytes_max: LONGEST_BLOCK_BYTES + (16 << 20),
    },
    Target {
        name: "filter_page",
        run: pieces::filter_page,
        seeds: pieces::filter_page_seeds,
        memory_bytes_max: FEW_COPIES_BYTES,
    },
    Target {
        name: "index_page",
        run: pieces::index_page,
        seeds: pieces::index_page_seeds,
        memory_bytes_max: 8 << 20,
    },
    Target {
        name: "table",
        run: table::table,
        seeds: table::table_seeds,
        memory_bytes_max: LONGEST_BLOCK_BYTES + (16 << 20),
    },
];

const PLACE: Place = Place { store_id: 0x5ca1_ab1e, table: TableId(7) };
const KEYSPACE: KeyspaceId = KeyspaceId(3);
const NAME: FileName = FileName::Table(PLACE.table);

/// Key, tag and value.
type Entry = (Vec<u8>, Tag, Vec<u8>);

fn put(key: impl Into<Vec<u8>>, seq: u64, value: impl Into<Vec<u8>>) -> Entry {
    (key.into(), Tag::new(SeqNo::new(seq), Kind::Put), value.into())
}

fn delete(key: impl Into<Vec<u8>>, seq: u64) -> Entry {
    (key.into(), Tag::new(SeqNo::new(seq), Kind::Delete), Vec::new())
}

/// Versions over blocks, tombstones, values that compress.
fn entries() -> Vec<Entry> {
    let mut entries = vec![put("apple", 7, "red"), delete("banana", 9), put("banana", 2, "yellow")];
    entries.extend((1..6).rev().map(|seq| put("cherry", seq, vec![seq as u8; 50])));
    entries.push(put("damson", 3, vec![b'd'; 200]));
    entries
}

/// Separators of 5,000 bytes: few fit a page, so the index has a root.
fn long_entries() -> Vec<Entry> {
    let key = |n: u8| [&[b'k'; 5000][..], &[n; 10][..]].concat();
    let mut entries = vec![put("apple", 1, "")];
    entries.extend((0..6).map(|n| put(key(n), 5, vec![n; 30])));
    entries
}

/// The bytes of a table with these entries in blocks of about so many bytes.
fn table_bytes(entries: &[Entry], block_bytes: usize, compression: Compression) -> Vec<u8> {
    let disk: Arc<SimDisk> = SimDisk::new();
    let settings = TableSettings { block_bytes, filter_bits_per_key: 10, compression };
    let mut writer = TableWriter::create(&*disk, PLACE.store_id, KEYSPACE, PLACE.table, settings)
        .expect("the disk does not fail");
    for (key, tag, value) in entries {
        writer.add(key, *tag, value).expect("the disk does not fail");
    }
    writer.finish().expect("the disk does not fail");
    disk.bytes(NAME).expect("it was written")
}

/// What is compressed in this build, last.
fn compression() -> Compression {
    let known = [Compression::Zstd, Compression::Lz4];
    known.into_iter().find(|known| known.is_built_in()).unwrap_or_default()
}

/// Whole lines, as the index says of every piece.
fn in_lines(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    bytes.resize(input.len().next_multiple_of(ALIGN), 0);
    bytes
}

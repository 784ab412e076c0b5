//! Tests of whole tables: against a model, under damage, and of the written-down format.

use std::sync::Arc;

use super::block::Block;
use super::footer::Footer;
use super::index::{IndexPage, IndexRef, LEAF};
use super::page::{Source, Span};
use super::*;
use crate::base::cursor::{Cursor, VecCursor};
use crate::base::error::{ErrorKind, Result};
use crate::base::hash::key_hash;
use crate::base::key::{Kind, Tag};
use crate::base::names::FileName;
use crate::base::value::Value;
use crate::cache::FramePool;
use crate::vfs::Disk;
use crate::vfs::sim::SimDisk;

mod damage;
mod format;
mod invariants;
mod model;
mod packed;

const STORE: u64 = 0x5ca1_ab1e;
const KEYSPACE: KeyspaceId = KeyspaceId(0);
const TABLE: TableId = TableId(7);
const NAME: FileName = FileName::Table(TABLE);

type Entry = (Vec<u8>, Tag, Vec<u8>);

fn put(key: impl Into<Vec<u8>>, seq: u64, value: impl Into<Vec<u8>>) -> Entry {
    (key.into(), Tag::new(SeqNo::new(seq), Kind::Put), value.into())
}

fn delete(key: impl Into<Vec<u8>>, seq: u64) -> Entry {
    (key.into(), Tag::new(SeqNo::new(seq), Kind::Delete), Vec::new())
}

fn settings(block_bytes: usize) -> TableSettings {
    packed(block_bytes, Compression::None)
}

fn packed(block_bytes: usize, compression: Compression) -> TableSettings {
    TableSettings { block_bytes, filter_bits_per_key: 10, compression }
}

/// None, and what this build has: with the crate's features more is tested.
fn compressions() -> impl Iterator<Item = Compression> {
    let all = [Compression::None, Compression::Lz4, Compression::Zstd];
    all.into_iter().filter(|compression| compression.is_built_in())
}

/// A disk with table 7 on it.
struct Fixture {
    disk: Arc<SimDisk>,
    summary: TableSummary,
}

impl Fixture {
    fn new(settings: TableSettings, entries: &[Entry]) -> Self {
        let disk = SimDisk::new();
        let mut writer = TableWriter::create(&*disk, STORE, KEYSPACE, TABLE, settings).unwrap();
        for (key, tag, value) in entries {
            writer.add(key, *tag, value).unwrap();
        }
        let summary = writer.finish().unwrap();
        Self { disk, summary }
    }

    /// How many blocks are stored compressed.
    fn packed_blocks(&self) -> usize {
        let image = self.disk.bytes(NAME).unwrap();
        let pieces = self.pieces();
        let blocks = pieces.iter().filter(|(kind, _)| *kind == "block");
        blocks.filter(|(_, span)| image[span.offset as usize + 22] != 0).count()
    }

    fn open(&self) -> Result<Arc<Table>> {
        self.open_with(&FramePool::for_tests(1 << 20))
    }

    fn open_with(&self, cache: &Arc<FramePool>) -> Result<Arc<Table>> {
        Table::open(&*self.disk, STORE, TABLE, self.summary.bytes, cache)
    }

    fn table(&self) -> Arc<Table> {
        self.open().unwrap()
    }

    /// All pieces of the file, in the order in which they lie, with what they are.
    fn pieces(&self) -> Vec<(&'static str, Span)> {
        let table = self.table();
        let (source, footer) = (table.source(), &table.footer);
        let mut pieces = Vec::new();
        let leaves = leaves(source, footer);
        for (_, leaf) in &leaves {
            pieces.extend((0..leaf.children()).map(|n| ("block", leaf.child(n))));
        }
        pieces.extend(leaves.iter().map(|(span, _)| ("leaf", *span)));
        if footer.leaves().bytes > 0 {
            pieces.push(("root", footer.index_top));
        }
        let filter = table.properties.filter;
        pieces
            .extend((0..filter.pages()).map(|n| ("filter", filter.page(n, footer.filter.offset))));
        pieces.push(("properties", footer.properties));
        pieces.push(("footer", Span::between(footer.properties.end(), self.summary.bytes)));
        pieces
    }
}

fn leaves(source: Source<'_>, footer: &Footer) -> Vec<(Span, IndexPage<Vec<u8>>)> {
    let load = |span| IndexPage::trusted(source.load::<IndexRef>(span).unwrap());
    let top = load(footer.index_top);
    if top.level() == LEAF {
        return vec![(footer.index_top, top)];
    }
    let leaf = |n| (top.child(n), load(top.child(n)));
    (0..top.children()).map(leaf).collect()
}

fn get(table: &Table, key: &[u8], seq: u64) -> Result<Option<(Tag, Value)>> {
    table.get(key, key_hash(key), SeqNo::new(seq), &mut Lookup::default())
}

/// What a get must answer.
fn expected(entries: &[Entry], key: &[u8], seq: u64) -> Option<(Tag, Vec<u8>)> {
    let visible = |(k, tag, _): &&Entry| k == key && tag.seq().get() <= seq;
    entries.iter().find(visible).map(|(_, tag, value)| (*tag, value.clone()))
}

fn scan(cursor: &mut dyn Cursor) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    cursor.seek_first()?;
    while cursor.valid() {
        found.push((cursor.key().to_vec(), cursor.tag(), cursor.value().to_vec()));
        cursor.next()?;
    }
    Ok(found)
}

/// `n` entries with keys of 16 bytes and values of 100, and no versions.
fn plain_entries(n: u64) -> Vec<Entry> {
    (0..n).map(|i| put(format!("key{:013}", i * 3), 1 + i % 1000, vec![i as u8; 100])).collect()
}

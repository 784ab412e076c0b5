//! A valid table with some bytes changed, under right checksums.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::super::describe;
use super::super::footer::{FOOTER_BYTES, Footer, Properties};
use super::super::index::{IndexPage, IndexRef, LEAF};
use super::super::page::{Place, Source, Span, seal};
use super::super::reader::Table;
use super::super::{Compression, Lookup, TableCursor, Terms};
use super::{Entry, NAME, PLACE, compression, entries, long_entries, table_bytes};
use crate::base::cursor::{Cursor, Direction};
use crate::base::error::Result;
use crate::base::fuzz::{edit, edits};
use crate::base::hash::key_hash;
use crate::base::key::{SeqNo, TableId};
use crate::base::range::Bounds;
use crate::cache::FramePool;
use crate::env::pump::PumpEnv;
use crate::epoch::Domain;
use crate::vfs::Disk;
use crate::vfs::sim::SimDisk;

/// A piece of a table's file.
#[derive(Clone, Debug)]
pub struct PieceOfTable {
    /// `block`, `leaf`, `root`, `filter`, `properties` or `footer`.
    pub kind: &'static str,
    /// Where it lies.
    pub bytes: Range<usize>,
}

/// The pieces of a valid table, in the order in which they lie.
pub fn pieces_of(table: &[u8]) -> Vec<PieceOfTable> {
    let disk = SimDisk::new();
    disk.put_file(NAME, table);
    let file = disk.open(NAME).expect("it was put there");
    let footer = Footer::read(&*file).expect("a valid table");
    let source = Source { file: &*file, place: footer.place };
    let properties = Properties::read(source, &footer).expect("a valid table");
    let page = |span| IndexPage::trusted(source.load::<IndexRef<'_>>(span).expect("a valid table"));
    let mut pieces = Vec::new();
    let mut add = |kind, Span { offset, bytes }: Span| {
        pieces.push(PieceOfTable { kind, bytes: offset as usize..(offset + bytes) as usize });
    };
    let top = page(footer.index_top);
    let leaves: Vec<_> = match top.level() {
        LEAF => vec![(footer.index_top, top)],
        _ => (0..top.children()).map(|n| (top.child(n), page(top.child(n)))).collect(),
    };
    for (_, leaf) in &leaves {
        (0..leaf.children()).for_each(|n| add("block", leaf.child(n)));
    }
    leaves.iter().for_each(|(span, _)| add("leaf", *span));
    if footer.leaves().bytes > 0 {
        add("root", footer.index_top);
    }
    let filter = properties.filter;
    (0..filter.pages()).for_each(|n| add("filter", filter.page(n, footer.filter.offset)));
    add("properties", footer.properties);
    add("footer", Span { offset: footer.properties.end(), bytes: FOOTER_BYTES as u64 });
    pieces
}

/// Puts the right checksums on all pieces of what was table `id` of a store.
pub fn right_pieces(table: &mut [u8], pieces: &[PieceOfTable], store_id: u64, id: u64) {
    let place = Place { store_id, table: TableId(id) };
    for PieceOfTable { bytes, .. } in pieces {
        if let Some(piece) = table.get_mut(bytes.clone()) {
            seal(piece, place, bytes.start as u64);
        }
    }
}

/// A table before something is changed.
struct Valid {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    pieces: Vec<PieceOfTable>,
}

impl Valid {
    /// One of four, made once.
    fn number(which: u8) -> &'static Self {
        static ALL: [OnceLock<Valid>; 4] = [const { OnceLock::new() }; 4];
        let which = which % 4;
        ALL[usize::from(which)].get_or_init(|| {
            let compression =
                if which.is_multiple_of(2) { Compression::None } else { compression() };
            let entries = if which < 2 { long_entries() } else { entries() };
            let bytes = table_bytes(&entries, 160, compression);
            Valid { pieces: pieces_of(&bytes), entries, bytes }
        })
    }
}

/// `which u8`, then edits of the pieces of a valid table: 0 and 1 are one with a deep index, 2 and 3
/// are small; odd ones are compressed.
pub(super) fn table(input: &[u8]) {
    let Some((which, input)) = input.split_first() else { return };
    let Valid { entries, bytes, pieces } = Valid::number(*which);
    let mut bytes = bytes.clone();
    for edit in edits(input) {
        edit.overwrite(&mut bytes[pieces[edit.piece % pieces.len()].bytes.clone()]);
    }
    right_pieces(&mut bytes, pieces, PLACE.store_id, PLACE.table.0);
    let disk = SimDisk::new();
    disk.put_file(NAME, &bytes);
    if let Ok(file) = disk.open(NAME) {
        let _ = describe(&*file);
    }
    // Some frames, so that pages are evicted; then none.
    for pool_bytes in [64 << 10, 0] {
        let pool = FramePool::new(PumpEnv::new(1), Domain::new(), pool_bytes, 8 << 10);
        let opened = Table::open(&*disk, PLACE.store_id, PLACE.table, bytes.len() as u64, &pool);
        let Ok(table) = opened else { return };
        use_table(&table, entries);
        if table.verify().is_ok() {
            use_verified_table(&table);
        }
    }
}

/// Uses a table in every way: whatever its bytes are, it answers, if only with an error.
fn use_table(table: &Arc<Table>, entries: &[Entry]) {
    let get = |key: &[u8], seq: SeqNo| table.get(key, key_hash(key), seq, &mut Lookup::default());
    let mut cursor = table.cursor();
    for (key, tag, _) in entries {
        let _ = get(key, tag.seq());
        let _ = get(&[&key[..], b"\0"].concat(), SeqNo::MAX);
        let _ = cursor.seek(key, SeqNo::MAX);
        walk_alone(&cursor, Direction::Forward);
        let _ = cursor.next();
        let _ = cursor.seek_before(key);
        walk_alone(&cursor, Direction::Back);
        let _ = cursor.prev();
    }
    let mut steps = 0;
    let mut cursor = table.cursor_once();
    let _ = cursor.seek_last();
    while cursor.valid() {
        steps += 1;
        assert!(steps < 1_000_000, "a walk ends");
        let _ = cursor.prev();
    }
}

/// Walks over the stretch that a cursor lends.
fn walk_alone(cursor: &TableCursor, direction: Direction) {
    let terms = Terms { direction, seq: SeqNo::MAX, bounds: &Bounds::all(), rival: None };
    let Some(mut stretch) = cursor.lend(terms, &mut Vec::new()) else { return };
    let mut step = || match direction {
        Direction::Forward => stretch.next(),
        Direction::Back => stretch.prev(),
    };
    while step() {}
    let _ = (stretch.key(), stretch.value());
}

/// A table in which nothing is wrong: walks both ways see the same, and gets find all of it.
fn use_verified_table(table: &Arc<Table>) {
    let entries = walk(table, Direction::Forward).expect("verified");
    let mut back = walk(table, Direction::Back).expect("verified");
    back.reverse();
    assert_eq!(back, entries);
    assert_eq!(entries.len() as u64, table.summary().entries);
    for (key, tag, _) in &entries {
        let found = table.get(key, key_hash(key), tag.seq(), &mut Lookup::default());
        let (found_tag, found_value) = found.expect("verified").expect("it is there");
        // A number may be used twice in a hostile table, for a put and a delete.
        let is_it = |(other, tag_there, _): &&Entry| other == key && tag_there.seq() == tag.seq();
        let (_, tag, value) = entries.iter().find(is_it).expect("it was there");
        assert_eq!((found_tag, &*found_value), (*tag, &value[..]));
    }
}

fn walk(table: &Arc<Table>, direction: Direction) -> Result<Vec<Entry>> {
    let mut cursor = table.cursor();
    let mut found = Vec::new();
    match direction {
        Direction::Forward => cursor.seek_first()?,
        Direction::Back => cursor.seek_last()?,
    }
    while cursor.valid() {
        found.push((cursor.key().to_vec(), cursor.tag(), cursor.value().to_vec()));
        match direction {
            Direction::Forward => cursor.next()?,
            Direction::Back => cursor.prev()?,
        }
    }
    Ok(found)
}

pub(super) fn table_seeds() -> Vec<Vec<u8>> {
    let with = |which: u8, edits: &[Vec<u8>]| [&[which][..], &edits.concat()].concat();
    let pieces = pieces_of(&table_bytes(&entries(), 160, Compression::None));
    let number = |kind| pieces.iter().position(|piece| piece.kind == kind).unwrap_or(0) as u8;
    let mut seeds: Vec<_> = (0..4).map(|which| with(which, &[])).collect();
    seeds.extend([
        // The first block goes on with its last key; the index marks the second block; both.
        with(2, &[edit(0, 23, &[0x19])]),
        with(2, &[edit(number("leaf"), 17 * 8, &[0x80])]),
        with(2, &[edit(0, 23, &[0x19]), edit(number("leaf"), 17 * 8, &[0x80])]),
        with(2, &[edit(number("filter"), 12, &[2, 0])]),
        with(3, &[edit(number("properties"), 91, &[0])]),
        with(2, &[edit(number("footer"), 56, &[0x40])]),
        with(3, &[edit(0, 8, &[0xff, 0xff, 0, 0])]),
    ]);
    seeds
}

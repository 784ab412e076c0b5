//! One piece of a table at a time: the input is the piece.

use std::sync::Arc;

use super::super::block::{Block, BlockRef, Found, fingerprint};
use super::super::block_builder::BlockBuilder;
use super::super::block_layout::HEADER_BYTES;
use super::super::filter::{FilterPage, FilterRef, FilterShape};
use super::super::footer::{FOOTER_BYTES, Footer, Properties};
use super::super::index::{IndexBuilder, IndexPage, IndexRef, LEAF};
use super::super::packed::Packed;
use super::super::page::{ALIGN, At, PAGE_BYTES, Piece, Place, Source, Span, seal};
use super::super::page::{u16_at, u32_at, u64_at};
use super::{
    Entry, KEYSPACE, NAME, PLACE, entries, in_lines, long_entries, pieces_of, table_bytes,
};
use crate::base::fuzz::cuts;
use crate::base::hash::key_hash;
use crate::base::key::{SeqNo, TableId, compare, head};
use crate::base::simd::LINE_BITS_MAX;
use crate::sstable::Compression;
use crate::vfs::sim::SimDisk;
use crate::vfs::{Disk, ReadFile};

fn at<P: Piece>() -> At {
    At { file: NAME, offset: 0, part: P::PART }
}

fn file(bytes: &[u8]) -> Arc<dyn ReadFile> {
    let disk = SimDisk::new();
    disk.put_file(NAME, bytes);
    disk.open(NAME).expect("it was put there")
}

/// The end of a file that is as long as the input.
pub(super) fn footer(input: &[u8]) {
    let mut bytes = input.to_vec();
    let Some(offset) = bytes.len().checked_sub(FOOTER_BYTES) else {
        assert!(Footer::read(&*file(&bytes)).is_err());
        return;
    };
    let last = &mut bytes[offset..];
    let place = Place { store_id: u64_at(last, 32), table: TableId(u64_at(last, 40)) };
    seal(last, place, offset as u64);
    let Ok(footer) = Footer::read(&*file(&bytes)) else { return };
    let mut again = Vec::new();
    footer.write(&mut again);
    assert_eq!(again, bytes[offset..], "equal footers have equal bytes");
    assert!(footer.leaves().end() <= offset as u64);
    for cut in cuts(bytes.len(), 64) {
        assert!(Footer::read(&*file(&bytes[..cut])).is_err(), "a table of {cut} bytes");
    }
}

pub(super) fn footer_seeds() -> Vec<Vec<u8>> {
    let small = table_bytes(&entries()[..1], 160, Compression::None);
    let deep = table_bytes(&entries(), 160, Compression::None);
    // Where the sections lie is all that counts.
    let tail = |table: &[u8]| table[table.len() - FOOTER_BYTES..].to_vec();
    let blank = |table: &[u8]| [vec![0; table.len() - FOOTER_BYTES], tail(table)].concat();
    vec![blank(&small), blank(&deep), tail(&small)]
}

/// Properties that agree with a footer about filter and data.
pub(super) fn properties(input: &[u8]) {
    let read = |bytes: &[u8]| {
        let mut bytes = in_lines(bytes);
        if bytes.len() < 96 {
            return None;
        }
        seal(&mut bytes, PLACE, 0);
        let filter = FilterShape { lines: u32_at(&bytes, 84), probes: bytes[90] };
        let footer = Footer {
            place: PLACE,
            keyspace: KEYSPACE,
            data: Span { offset: 0, bytes: u64_at(&bytes, 72) },
            index: Span::default(),
            filter: Span { offset: 0, bytes: filter.bytes() },
            range_deletes: Span::default(),
            blobs: Span::default(),
            properties: Span { offset: 0, bytes: bytes.len() as u64 },
            index_top: Span::default(),
        };
        let file = file(&bytes);
        let properties = Properties::read(Source { file: &*file, place: PLACE }, &footer).ok()?;
        Some((properties, bytes))
    };
    let Some((properties, bytes)) = read(input) else { return };
    let mut again = Vec::new();
    properties.write(PLACE, 0, &mut again);
    // More lines of zeros than are needed mean nothing; the checksum covers them.
    assert_eq!(again[8..], bytes[8..again.len()], "equal properties have equal bytes");
    // A piece ends with a line.
    for lines in cuts(bytes.len() / ALIGN, 16) {
        if let Some((fewer, _)) = read(&bytes[..lines * ALIGN]) {
            assert_eq!(fewer, properties, "{lines} lines of them");
        }
    }
}

pub(super) fn properties_seeds() -> Vec<Vec<u8>> {
    let tables = [
        table_bytes(&entries(), 160, Compression::None),
        table_bytes(&[long()], 160, Compression::None),
    ];
    tables.iter().flat_map(|table| cut_out(table, "properties")).collect()
}

/// An entry whose key is 300 bytes long.
fn long() -> Entry {
    let (_, tag, value) = entries().remove(0);
    (vec![b'l'; 300], tag, value)
}

/// All pieces of a kind.
fn cut_out(table: &[u8], kind: &str) -> Vec<Vec<u8>> {
    let pieces = pieces_of(table).into_iter().filter(|piece| piece.kind == kind);
    pieces.map(|piece| table[piece.bytes].to_vec()).collect()
}

/// A data block as it lies in memory: the input, and the input with a length that fits.
pub(super) fn block(input: &[u8]) {
    let mut bytes = in_lines(input);
    use_block(&bytes);
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let len = (input.len() as u32).to_le_bytes();
    bytes[8..12].copy_from_slice(&len);
    bytes[12..16].copy_from_slice(&len);
    use_block(&bytes);
    let Ok(()) = BlockRef::check(&bytes, at::<BlockRef<'_>>()) else { return };
    let entries = entries_of(&Block::trusted(&bytes[..]));
    for cut in cuts(bytes.len(), 16) {
        if BlockRef::check(&bytes[..cut], at::<BlockRef<'_>>()).is_ok() {
            let fewer = entries_of(&Block::trusted(&bytes[..cut]));
            assert_eq!(fewer, entries, "only padding may be missing");
        }
    }
}

/// Looks for everything in a block, if it is one.
fn use_block(bytes: &[u8]) {
    if BlockRef::check(bytes, at::<BlockRef<'_>>()).is_err() {
        return;
    }
    let block = Block::trusted(bytes);
    let entries = entries_of(&block);
    assert!(entries.is_sorted_by(|(a, s, _), (b, t, _)| compare((a, *s), (b, *t)).is_lt()));
    for (n, (key, tag, value)) in entries.iter().enumerate() {
        assert_eq!(block.first_at(key, *tag), n);
        assert_eq!(block.is_tombstone(n), tag.is_delete());
        assert_eq!(block.suffix_head(n), head(block.suffix(n)));
        let mut copied = [block.prefix(), &[0; 16]].concat();
        let key_bytes = block.put_suffix(n, &mut copied, block.prefix_bytes());
        assert_eq!(copied[..key_bytes], key[..]);
        let found = block.clone().find(key, block.fingerprints()[n], tag.seq());
        let Found::Entry(found_tag, found_value) = found else { panic!("{key:?} is there") };
        assert_eq!(found_tag.seq(), tag.seq());
        assert!(found_tag != *tag || found_value == value, "{found:?}");
        block.clone().find(&[key, &b"\0"[..]].concat(), fingerprint(key_hash(key)), SeqNo::MAX);
    }
    let mut builder = BlockBuilder::default();
    for (key, tag, value) in &entries {
        builder.add((key, *tag, value), fingerprint(key_hash(key)), usize::MAX);
    }
    let mut again = Vec::new();
    builder.finish(block.goes_on(), &mut again);
    BlockRef::check(&again, at::<BlockRef<'_>>()).expect("what was built is a block");
    assert_eq!(entries_of(&Block::trusted(&again[..])), entries);
}

fn entries_of(block: &BlockRef<'_>) -> Vec<Entry> {
    let entry = |n| {
        let mut key = Vec::new();
        block.append_key(n, &mut key);
        (key, block.tag(n), block.value(n).to_vec())
    };
    (0..block.entries()).map(entry).collect()
}

pub(super) fn block_seeds() -> Vec<Vec<u8>> {
    let mut many: Vec<Entry> =
        (0..20_u8).map(|n| super::put([b'k', n], u64::from(n), "v")).collect();
    many.push(super::delete("zebra", 1 << 40));
    let long = super::put("long", 1, vec![7; 300]);
    [&entries()[..], &many, &[long], &[super::put("", 0, "")]]
        .iter()
        .flat_map(|entries| cut_out(&table_bytes(entries, 400, Compression::None), "block"))
        .collect()
}

/// A data block as a table with compression stores it.
pub(super) fn packed_block(input: &[u8]) {
    let mut bytes = in_lines(input);
    unpack(&bytes);
    if bytes.len() < HEADER_BYTES {
        return;
    }
    bytes[12..16].copy_from_slice(&(input.len() as u32).to_le_bytes());
    let Some(image) = unpack(&bytes) else { return };
    let entries = entries_of(&Block::trusted(&image[..]));
    for cut in cuts(bytes.len(), 16) {
        if let Some(image) = unpack(&bytes[..cut]) {
            assert_eq!(entries_of(&Block::trusted(&image[..])), entries);
        }
    }
}

/// The image, if the bytes are a block.
fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    let packed = Packed::read(bytes, at::<BlockRef<'_>>()).ok()?;
    let mut image = vec![0; packed.image_bytes()];
    packed.unpack(&mut image, at::<BlockRef<'_>>()).ok()?;
    use_block(&image);
    Some(image)
}

pub(super) fn packed_block_seeds() -> Vec<Vec<u8>> {
    let known = [Compression::None, Compression::Lz4, Compression::Zstd];
    let tables = known.into_iter().filter(|known| known.is_built_in());
    let tables = tables.map(|compression| table_bytes(&entries(), 400, compression));
    tables.flat_map(|table| cut_out(&table, "block")).collect()
}

/// A page of the filter, and a filter over the input as hashes of keys.
pub(super) fn filter_page(input: &[u8]) {
    let bytes = in_lines(input);
    if FilterRef::check(&bytes, at::<FilterRef<'_>>()).is_ok() {
        let page = FilterPage::trusted(&bytes[..]);
        let shape = FilterShape { lines: 1, probes: page.probes().min(LINE_BITS_MAX as u8) };
        let lines = u32::from(u16_at(&bytes, 12));
        let hits = (0..lines).filter(|line| shape.may_contain(page.line(*line), u64::MAX)).count();
        assert!(hits <= lines as usize && page.bits_set() as usize <= bytes.len() * 8);
        page.number();
    }
    let Some((bits_per_key, hashes)) = input.split_first() else { return };
    let hashes: Vec<u64> =
        hashes.as_chunks().0.iter().map(|hash| u64::from_le_bytes(*hash)).collect();
    let shape = FilterShape::new(hashes.len(), u32::from(bits_per_key % 65));
    let mut filter = Vec::new();
    shape.build(&hashes, PLACE, 0, &mut filter);
    assert_eq!(filter.len() as u64, shape.bytes());
    for n in 0..shape.pages() {
        let span = shape.page(n, 0);
        let page = &filter[span.offset as usize..span.end() as usize];
        FilterRef::check(page, at::<FilterRef<'_>>()).expect("what was built is a page");
        let page = FilterPage::trusted(page);
        let here = hashes.iter().map(|hash| (shape.place_of(*hash), hash));
        let mut here = here.filter(|((number, _), _)| *number == n);
        assert!(here.all(|((_, line), hash)| shape.may_contain(page.line(line), *hash)));
    }
}

pub(super) fn filter_page_seeds() -> Vec<Vec<u8>> {
    let hashes = (0..20_u64).flat_map(|n| key_hash(&n.to_le_bytes()).to_le_bytes());
    let mut seeds = cut_out(&table_bytes(&entries(), 160, Compression::None), "filter");
    seeds.push([10].into_iter().chain(hashes).collect());
    seeds
}

/// A page of the index.
pub(super) fn index_page(input: &[u8]) {
    let bytes = in_lines(input);
    if IndexRef::check(&bytes, at::<IndexRef<'_>>()).is_err() {
        return;
    }
    let page = IndexPage::trusted(&bytes[..]);
    assert!(page.covers().bytes > 0);
    let mut builder = IndexBuilder::default();
    for n in 0..page.children() {
        let separator = page.separator(n);
        let suffix = separator.suffix();
        check_find(&page, &suffix);
        check_find(&page, &[&suffix[..], b"\0"].concat());
        builder.add(&suffix, separator.continues, page.child(n).offset);
    }
    let mut again = Vec::new();
    let end = page.covers().end();
    let top = builder.finish(0, PLACE, end, &mut again);
    if top.bytes != again.len() as u64 || again.len() > PAGE_BYTES {
        return; // it became several
    }
    IndexRef::check(&again, at::<IndexRef<'_>>()).expect("what was built is a page");
    let built = IndexPage::trusted(&again[..]);
    assert_eq!((built.children(), built.level(), built.first()), (page.children(), LEAF, 0));
    for n in 0..page.children() {
        assert_eq!(built.child(n), page.child(n));
        assert_eq!(built.separator(n), page.separator(n));
    }
}

/// A search finds what looking at each separator does: the last whose separator is not above the
/// key, and which does not go on with the key.
fn check_find(page: &IndexRef<'_>, suffix: &[u8]) {
    let is_at_or_before = |n: &usize| {
        let separator = page.separator(*n);
        let order = separator.suffix()[..].cmp(suffix);
        order.is_lt() || order.is_eq() && !separator.continues
    };
    let expected = (0..page.children()).take_while(is_at_or_before).last().unwrap_or(0);
    assert_eq!(page.find(suffix, head(suffix)), expected, "{suffix:?}");
}

pub(super) fn index_page_seeds() -> Vec<Vec<u8>> {
    let small = table_bytes(&entries(), 160, Compression::None);
    let short = |(key, tag, value): Entry| (key.into_iter().skip(4900).collect(), tag, value);
    let deep: Vec<Entry> = long_entries().into_iter().map(short).collect();
    let deep = table_bytes(&deep, 64, Compression::None);
    let mut seeds = cut_out(&small, "leaf");
    seeds.extend(cut_out(&deep, "leaf"));
    // As a root.
    seeds.extend(seeds.first().cloned().map(|mut page| {
        page[14] = 1;
        page
    }));
    assert!(seeds.iter().all(|seed| seed.len().is_multiple_of(ALIGN)));
    seeds
}

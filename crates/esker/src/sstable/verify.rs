//! Checks every byte of a table, and that its parts agree.
//!
//! Reads past the cache: what was right when it was loaded may have been damaged since. Holds the
//! filter and the index in memory while it walks the data, 1.3 % of the table.

use super::Compression;
use super::block::{Block, BlockRef, fingerprint};
use super::filter::{FilterPage, FilterRef};
use super::footer::{Footer, Properties};
use super::index::{IndexPage, IndexRef, LEAF, ROOT, Separator};
use super::packed::load_image;
use super::page::{At, Piece, Source, Span};
use super::reader::{Table, check_children, read_ends};
use crate::base::error::Result;
use crate::base::hash::key_hash;
use crate::base::key::{SeqNo, Tag, compare};

/// See [`Table::verify`].
pub(super) fn verify(table: &Table) -> Result<()> {
    let source = table.source();
    let (footer, properties) = read_ends(source.file, source.place)?;
    let at = source.at(footer.properties.end(), "footer");
    let unchanged = footer == table.footer && properties == table.properties;
    at.require(unchanged, "and properties", "what they were when the table was opened")?;
    let filter = load_filter(source, &footer, &properties)?;
    let leaves = load_leaves(source, &footer)?;
    let mut walk = Walk::new(source, &properties, filter);
    for leaf in &leaves {
        for child in 0..leaf.children() {
            walk.block(leaf.child(child), leaf.separator(child))?;
        }
    }
    walk.compare_totals(source.at(footer.properties.offset, "properties"))
}

fn load_filter(
    source: Source<'_>,
    footer: &Footer,
    properties: &Properties,
) -> Result<Vec<FilterPage<Vec<u8>>>> {
    let shape = properties.filter;
    let load = |number| {
        let span = shape.page(number, footer.filter.offset);
        let page = FilterPage::trusted(source.load::<FilterRef>(span)?);
        let at = source.at(span.offset, FilterRef::PART);
        at.expect("number", number, page.number())?;
        at.expect("probes", shape.probes, page.probes())?;
        Ok(page)
    };
    (0..shape.pages()).map(load).collect()
}

/// All leaves of the index, which lie end to end, as the blocks that they point to do.
fn load_leaves(source: Source<'_>, footer: &Footer) -> Result<Vec<IndexPage<Vec<u8>>>> {
    let top = IndexPage::trusted(source.load::<IndexRef>(footer.index_top)?);
    let at_top = source.at(footer.index_top.offset, IndexRef::PART);
    let mut leaves = Vec::new();
    if footer.leaves().bytes == 0 {
        check_children(&top, LEAF, footer.data, at_top)?;
        leaves.push(top);
    } else {
        check_children(&top, ROOT, footer.leaves(), at_top)?;
        at_top.expect("children", footer.leaves(), top.covers())?;
        at_top.expect("number", 0, top.first())?;
        for child in 0..top.children() {
            let span = top.child(child);
            let leaf = IndexPage::trusted(source.load::<IndexRef>(span)?);
            let at = source.at(span.offset, IndexRef::PART);
            check_children(&leaf, LEAF, footer.data, at)?;
            let same = leaf.separator(0) == top.separator(child);
            at.require(same, "first separator", "the one in the page above")?;
            leaves.push(leaf);
        }
    }
    let (mut blocks, mut end) = (0, footer.data.offset);
    for leaf in &leaves {
        at_top.expect("number of a leaf", blocks, leaf.first() as usize)?;
        at_top.expect("first block of a leaf", end, leaf.covers().offset)?;
        blocks += leaf.children();
        end = leaf.covers().end();
    }
    at_top.expect("end of the last block", footer.data.end(), end)?;
    Ok(leaves)
}

/// What was seen of the entries so far.
struct Walk<'a> {
    source: Source<'a>,
    properties: &'a Properties,
    filter: Vec<FilterPage<Vec<u8>>>,
    /// What all keys begin with.
    prefix: &'a [u8],
    first_key: Vec<u8>,
    key: Vec<u8>,
    last: Option<(Vec<u8>, Tag)>,
    /// Whether the last block says that the next one goes on with its last key.
    goes_on: bool,
    entries: u64,
    tombstones: u64,
    keys: u64,
    blocks: u64,
    seq_min: SeqNo,
    seq_max: SeqNo,
    key_bytes: u64,
    value_bytes: u64,
    image_bytes: u64,
}

impl<'a> Walk<'a> {
    fn new(
        source: Source<'a>,
        properties: &'a Properties,
        filter: Vec<FilterPage<Vec<u8>>>,
    ) -> Self {
        Self {
            source,
            properties,
            filter,
            prefix: &properties.range.lo()[..properties.prefix_bytes()],
            first_key: Vec::new(),
            key: Vec::new(),
            last: None,
            goes_on: false,
            entries: 0,
            tombstones: 0,
            keys: 0,
            blocks: 0,
            seq_min: SeqNo::MAX,
            seq_max: SeqNo::ZERO,
            key_bytes: 0,
            value_bytes: 0,
            image_bytes: 0,
        }
    }

    fn block(&mut self, span: Span, separator: Separator<'_>) -> Result<()> {
        let (image, compression) = load_image(self.source, span)?;
        let block = Block::trusted(image.as_slice());
        let at = self.source.at(span.offset, BlockRef::PART);
        let as_said = [Compression::None, self.properties.settings.compression];
        at.require(as_said.contains(&compression), "compression", "what the properties say")?;
        self.image_bytes += image.len() as u64;
        self.check_separator(&block, separator, at)?;
        for n in 0..block.entries() {
            self.entry(&block, n, at)?;
        }
        self.blocks += 1;
        self.goes_on = block.goes_on();
        Ok(())
    }

    /// The separator is above the last key of the block before and not above this block's first;
    /// or it is both, and both blocks say so.
    fn check_separator(
        &self,
        block: &BlockRef<'_>,
        separator: Separator<'_>,
        at: At,
    ) -> Result<()> {
        let mut first_key = Vec::new();
        block.append_key(0, &mut first_key);
        at.expect("continuation", self.goes_on, separator.continues)?;
        let Some((last_key, _)) = &self.last else {
            let empty = separator.suffix().is_empty();
            return at.require(empty, "separator", "none before the first block");
        };
        let separator_key = [self.prefix, &separator.suffix()].concat();
        let divides = if separator.continues {
            *last_key == separator_key && separator_key == first_key
        } else {
            *last_key < separator_key && separator_key <= first_key
        };
        at.require(divides, "separator", "one between this block and the one before")
    }

    fn entry(&mut self, block: &BlockRef<'_>, n: usize, at: At) -> Result<()> {
        self.key.clear();
        block.append_key(n, &mut self.key);
        let (tag, value) = (block.tag(n), block.value(n));
        let is_new_key = match &self.last {
            Some((key, last_tag)) => {
                let ascending = compare((key, *last_tag), (&self.key, tag)).is_lt();
                at.require(ascending, "order", "entries after those of the block before")?;
                *key != self.key
            }
            None => {
                self.first_key.clone_from(&self.key);
                true
            }
        };
        let hash = key_hash(&self.key);
        at.expect("fingerprint", fingerprint(hash), block.fingerprints()[n])?;
        at.require(self.in_filter(hash), "key", "one that the filter has")?;
        self.entries += 1;
        self.keys += u64::from(is_new_key);
        self.tombstones += u64::from(tag.is_delete());
        self.seq_min = self.seq_min.min(tag.seq());
        self.seq_max = self.seq_max.max(tag.seq());
        self.key_bytes += self.key.len() as u64;
        self.value_bytes += value.len() as u64;
        let (last_key, last_tag) = self.last.get_or_insert_with(|| (Vec::new(), tag));
        last_key.clone_from(&self.key);
        *last_tag = tag;
        Ok(())
    }

    fn in_filter(&self, hash: u64) -> bool {
        let shape = self.properties.filter;
        let (page, line) = shape.place_of(hash);
        let page = self.filter.get(page as usize);
        page.is_none_or(|page| shape.may_contain(page.line(line), hash))
    }

    fn compare_totals(&self, at: At) -> Result<()> {
        let says = self.properties;
        at.expect("entries", self.entries, says.entries)?;
        at.expect("tombstones", self.tombstones, says.tombstones)?;
        at.expect("keys", self.keys, says.keys)?;
        at.expect("data blocks", self.blocks, says.data_blocks)?;
        at.expect("lowest sequence number", self.seq_min, says.seq_min)?;
        at.expect("highest sequence number", self.seq_max, says.seq_max)?;
        at.expect("bytes of keys", self.key_bytes, says.key_bytes)?;
        at.expect("bytes of values", self.value_bytes, says.value_bytes)?;
        at.expect("bytes without compression", self.image_bytes, says.image_bytes)?;
        let last_key = self.last.as_ref().map_or(&[][..], |(key, _)| key);
        at.require(self.first_key == says.range.lo(), "smallest key", "that of the first entry")?;
        at.require(last_key == says.range.hi(), "largest key", "that of the last entry")
    }
}

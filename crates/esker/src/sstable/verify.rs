//! Checks every byte of a table, and that its parts agree: all that is wrong, not the first thing.
//!
//! Reads past the cache: what was right when it was loaded may have been damaged since. Holds the
//! filter and the index in memory while it walks the data, 1.3 % of the table. A block that cannot
//! be read is named with the keys that may be in it, and the walk goes on behind it; what depends
//! on all blocks, the totals, is compared only if all were read.

use std::fmt;

use super::Compression;
use super::block::{Block, BlockRef, fingerprint};
use super::damage::keys_below;
use super::filter::{FilterPage, FilterRef};
use super::footer::{Footer, Properties};
use super::index::{IndexPage, IndexRef, LEAF, ROOT, Separator};
use super::packed::load_image;
use super::page::{At, Piece, Place, Source, Span};
use super::reader::{Table, check_children, read_ends};
use super::{TableDamage, TableSummary};
use crate::base::error::{ErrorKind, Result};
use crate::base::hash::key_hash;
use crate::base::key::{SeqNo, TableId, Tag, compare};
use crate::base::names::FileName;
use crate::base::range::KeyRange;
use crate::vfs::ReadFile;

/// Takes what is wrong, one thing at a time.
type Found<'f> = dyn FnMut(TableDamage) + 'f;

/// See [`Table::verify_paced`].
pub(super) fn verify(table: &Table, pace: &(dyn Fn(usize) + Sync)) -> Result<()> {
    let file = Paced { file: table.source().file, pace };
    let source = Source { file: &file, ..table.source() };
    let mut found = Vec::new();
    let all = || Some(table.summary().range.clone());
    match read_ends(source.file, source.place) {
        Ok(ends) => {
            let at = source.at(ends.0.properties.end(), "footer");
            let unchanged = ends.0 == table.footer && ends.1 == table.properties;
            let what = "what they were when the table was opened";
            if let Err(error) = at.require(unchanged, "and properties", what) {
                found.push(TableDamage { error, keys: all() });
            }
            inspect_pieces(source, &ends, &mut |damage| found.push(damage));
        }
        Err(error) => found.push(TableDamage { error, keys: all() }),
    }
    let first = found.first().map(|damage| damage.error.clone());
    // A device that refuses, or a codec that is missing, is no damage.
    found.retain(|damage| damage.error.kind() == ErrorKind::Corruption);
    table.damages.set(found);
    first.map_or(Ok(()), Err)
}

/// A file whose reads are told before they happen.
struct Paced<'a> {
    file: &'a dyn ReadFile,
    pace: &'a (dyn Fn(usize) + Sync),
}

impl ReadFile for Paced<'_> {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<()> {
        (self.pace)(out.len());
        self.file.read_exact_at(out, offset)
    }

    fn len(&self) -> u64 {
        self.file.len()
    }

    fn name(&self) -> FileName {
        self.file.name()
    }
}

impl fmt::Debug for Paced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

/// Checks every byte of the file of table `id` and hands over all that is wrong; what the table
/// says of itself, if that can be read.
pub fn inspect(
    file: &dyn ReadFile,
    store_id: u64,
    id: TableId,
    found: &mut Found<'_>,
) -> Option<TableSummary> {
    let source = Source { file, place: Place { store_id, table: id } };
    match read_ends(file, source.place) {
        Ok(ends) => {
            inspect_pieces(source, &ends, found);
            Some(ends.1.summary(&ends.0))
        }
        Err(error) => {
            found(TableDamage { error, keys: None });
            None
        }
    }
}

/// What the table of a file says of itself: footer and properties alone.
pub fn read_summary(file: &dyn ReadFile, store_id: u64, id: TableId) -> Result<TableSummary> {
    let (footer, properties) = read_ends(file, Place { store_id, table: id })?;
    Ok(properties.summary(&footer))
}

fn inspect_pieces(
    source: Source<'_>,
    (footer, properties): &(Footer, Properties),
    found: &mut Found<'_>,
) {
    let filter = load_filter(source, footer, properties, found);
    let mut sites = Sites { properties, list: Vec::new(), leaves_missing: false };
    if let Err(error) = sites.gather(source, footer, found) {
        found(TableDamage { error, keys: Some(properties.range.clone()) });
        return;
    }
    let mut walk = Walk::new(source, properties, filter);
    for (n, site) in sites.list.iter().enumerate() {
        if let Err(error) = walk.block(site) {
            found(TableDamage { error, keys: Some(sites.keys(n)) });
            walk.is_broken = true;
            walk.goes_on = None;
        }
    }
    if walk.is_broken || sites.leaves_missing {
        return;
    }
    if let Err(error) = walk.compare_totals(source.at(footer.properties.offset, "properties")) {
        found(TableDamage { error, keys: Some(properties.range.clone()) });
    }
}

/// The pages of the filter; `None` for one that is damaged.
fn load_filter(
    source: Source<'_>,
    footer: &Footer,
    properties: &Properties,
    found: &mut Found<'_>,
) -> Vec<Option<FilterPage<Vec<u8>>>> {
    let shape = properties.filter;
    let load = |number| {
        let span = shape.page(number, footer.filter.offset);
        let page = FilterPage::trusted(source.load::<FilterRef>(span)?);
        let at = source.at(span.offset, FilterRef::PART);
        at.expect("number", number, page.number())?;
        at.expect("probes", shape.probes, page.probes())?;
        Ok(page)
    };
    let mut load_or_tell = |number| {
        let page = load(number);
        page.map_err(|error| found(TableDamage { error, keys: None })).ok()
    };
    (0..shape.pages()).map(&mut load_or_tell).collect()
}

/// A block, and the separator in front of it.
struct Site {
    span: Span,
    separator: Vec<u8>,
    continues: bool,
    /// Whether the block before it in this list is the one before it in the file.
    follows: bool,
}

/// Where all blocks are that the index can still tell.
struct Sites<'a> {
    properties: &'a Properties,
    list: Vec<Site>,
    /// Whether a leaf of the index cannot be read, so that blocks are missing in the list.
    leaves_missing: bool,
}

impl Sites<'_> {
    /// All leaves of the index, which lie end to end, as the blocks that they point to do. An
    /// error is that of the top: without it there is no index.
    fn gather(&mut self, source: Source<'_>, footer: &Footer, found: &mut Found<'_>) -> Result<()> {
        let top = IndexPage::trusted(source.load::<IndexRef>(footer.index_top)?);
        let at_top = source.at(footer.index_top.offset, IndexRef::PART);
        let mut next = Next { block: 0, offset: footer.data.offset };
        if footer.leaves().bytes == 0 {
            check_children(&top, LEAF, footer.data, at_top)?;
            next.check(&top, at_top)?;
            self.add(&top, true);
        } else {
            check_children(&top, ROOT, footer.leaves(), at_top)?;
            at_top.expect("children", footer.leaves(), top.covers())?;
            at_top.expect("number", 0, top.first())?;
            let mut follows = true;
            for child in 0..top.children() {
                let leaf = leaf(source, footer, &top, child);
                let checked = leaf.and_then(|leaf| {
                    let at = source.at(top.child(child).offset, IndexRef::PART);
                    if follows {
                        next.check(&leaf, at)?
                    } else {
                        next = Next::behind(&leaf)
                    }
                    Ok(leaf)
                });
                match checked {
                    Ok(leaf) => self.add(&leaf, std::mem::replace(&mut follows, true)),
                    Err(error) => {
                        self.leaves_missing = true;
                        follows = false;
                        let keys = Some(keys_below(self.properties, &top, child));
                        found(TableDamage { error, keys });
                    }
                }
            }
            if !follows {
                return Ok(());
            }
        }
        at_top.expect("end of the last block", footer.data.end(), next.offset)
    }

    fn add(&mut self, leaf: &IndexPage<Vec<u8>>, mut follows: bool) {
        for child in 0..leaf.children() {
            let separator = leaf.separator(child);
            self.list.push(Site {
                span: leaf.child(child),
                separator: self.whole(&separator),
                continues: separator.continues,
                follows: std::mem::replace(&mut follows, true),
            });
        }
    }

    /// A separator with what all keys of the table begin with.
    fn whole(&self, separator: &Separator<'_>) -> Vec<u8> {
        let prefix = &self.properties.range.lo()[..self.properties.prefix_bytes()];
        [prefix, &separator.suffix()].concat()
    }

    /// The keys that may be in block `n`.
    fn keys(&self, n: usize) -> KeyRange {
        let all = &self.properties.range;
        let hi = self.list.get(n + 1).map(|next| next.separator.as_slice());
        let lo = self.list[n].separator.as_slice().max(all.lo()).min(all.hi());
        KeyRange::new(lo, hi.unwrap_or(all.hi()).min(all.hi()).max(lo))
    }
}

/// A leaf below the root of an index.
fn leaf(
    source: Source<'_>,
    footer: &Footer,
    top: &IndexPage<Vec<u8>>,
    child: usize,
) -> Result<IndexPage<Vec<u8>>> {
    let span = top.child(child);
    let leaf = IndexPage::trusted(source.load::<IndexRef>(span)?);
    let at = source.at(span.offset, IndexRef::PART);
    check_children(&leaf, LEAF, footer.data, at)?;
    let same = leaf.separator(0) == top.separator(child);
    at.require(same, "first separator", "the one in the page above")?;
    Ok(leaf)
}

/// Which block comes next in the file.
struct Next {
    block: usize,
    offset: u64,
}

impl Next {
    fn check(&mut self, leaf: &IndexPage<Vec<u8>>, at: At) -> Result<()> {
        at.expect("number of a leaf", self.block, leaf.first() as usize)?;
        at.expect("first block of a leaf", self.offset, leaf.covers().offset)?;
        *self = Self::behind(leaf);
        Ok(())
    }

    fn behind(leaf: &IndexPage<Vec<u8>>) -> Self {
        let block = leaf.first() as usize + leaf.children();
        Self { block, offset: leaf.covers().end() }
    }
}

/// What was seen of the entries so far.
struct Walk<'a> {
    source: Source<'a>,
    properties: &'a Properties,
    filter: Vec<Option<FilterPage<Vec<u8>>>>,
    first_key: Vec<u8>,
    key: Vec<u8>,
    last: Option<(Vec<u8>, Tag)>,
    /// Whether the last block says that the next one goes on with its last key; `None` if the
    /// next one is not behind the last one that was read.
    goes_on: Option<bool>,
    /// Whether a block was not read to its end.
    is_broken: bool,
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
        filter: Vec<Option<FilterPage<Vec<u8>>>>,
    ) -> Self {
        Self {
            source,
            properties,
            filter,
            first_key: Vec::new(),
            key: Vec::new(),
            last: None,
            goes_on: Some(false),
            is_broken: false,
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

    fn block(&mut self, site: &Site) -> Result<()> {
        if !site.follows {
            self.goes_on = None;
        }
        let (image, compression) = load_image(self.source, site.span)?;
        let block = Block::trusted(image.as_slice());
        let at = self.source.at(site.span.offset, BlockRef::PART);
        let as_said = [Compression::None, self.properties.settings.compression];
        at.require(as_said.contains(&compression), "compression", "what the properties say")?;
        self.image_bytes += image.len() as u64;
        self.check_separator(&block, site, at)?;
        for n in 0..block.entries() {
            self.entry(&block, n, at)?;
        }
        self.blocks += 1;
        self.goes_on = Some(block.goes_on());
        Ok(())
    }

    /// The separator is above the last key of the block before and not above this block's first;
    /// or it is both, and both blocks say so.
    fn check_separator(&self, block: &BlockRef<'_>, site: &Site, at: At) -> Result<()> {
        let mut first_key = Vec::new();
        block.append_key(0, &mut first_key);
        let Some(goes_on) = self.goes_on else {
            return at.require(site.separator <= first_key, "separator", "one before this block");
        };
        at.expect("continuation", goes_on, site.continues)?;
        let Some((last_key, _)) = &self.last else {
            let empty = site.separator.len() == self.properties.prefix_bytes();
            return at.require(empty, "separator", "none before the first block");
        };
        let divides = if site.continues {
            *last_key == site.separator && site.separator == first_key
        } else {
            *last_key < site.separator && site.separator <= first_key
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
        let page = self.filter.get(page as usize).and_then(Option::as_ref);
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

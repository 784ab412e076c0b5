//! `Table`: a table open for reading, and the search for one key.
//!
//! Opening reads footer and properties. Everything else, index and filter pages included, comes
//! through the block cache when it is first asked for, and is checked when it comes from the file.

use std::fmt;
use std::sync::Arc;

use super::block::{Block, Found, fingerprint};
use super::filter::FilterPage;
use super::footer::{Footer, Properties};
use super::index::{IndexPage, LEAF, ROOT};
use super::page::{Page, Place, Source, Span};
use super::{Filters, Lookup, TableCursor, TableSummary, verify};
use crate::base::error::{Error, Result};
use crate::base::key::{SeqNo, TableId, Tag};
use crate::base::names::FileName;
use crate::base::value::Value;
use crate::cache::{BlockCache, CacheKey};
use crate::vfs::{Disk, ReadFile};

/// Values up to this length are copied out of their block, longer ones share its memory: a copy
/// this short costs less than what a shared block keeps from being freed.
const COPIED_VALUE_BYTES_MAX: usize = 1 << 10;

/// A table open for reading. All methods may be called from many threads at once.
pub struct Table {
    file: Arc<dyn ReadFile>,
    pub(super) footer: Footer,
    pub(super) properties: Properties,
    /// What all keys begin with, cut off in the index: a beginning of the smallest key.
    prefix_bytes: usize,
    summary: TableSummary,
    cache: Arc<BlockCache>,
    /// This table's name in the cache.
    cache_file: u64,
}

impl Table {
    /// Opens table `id` of a store; `bytes` is its length according to the manifest.
    pub fn open(
        disk: &dyn Disk,
        store_id: u64,
        id: TableId,
        bytes: u64,
        cache: &Arc<BlockCache>,
    ) -> Result<Arc<Self>> {
        let file = disk.open(FileName::Table(id))?;
        if file.len() != bytes {
            return Err(Error::corrupt(file.name(), 0, "length of the table", bytes, file.len()));
        }
        let place = Place { store_id, table: id };
        let (footer, properties) = read_ends(&*file, place)?;
        Ok(Arc::new(Self {
            prefix_bytes: properties.prefix_bytes(),
            summary: properties.summary(id, bytes),
            footer,
            properties,
            cache_file: cache.new_file_id(),
            cache: Arc::clone(cache),
            file,
        }))
    }

    /// What the table holds.
    pub fn summary(&self) -> &TableSummary {
        &self.summary
    }

    /// The newest version of `key` that a read at `seq` sees, tombstones too; `hash` is its
    /// [`key_hash`](crate::base::hash::key_hash).
    pub fn get(
        &self,
        key: &[u8],
        hash: u64,
        seq: SeqNo,
        how: &mut Lookup,
    ) -> Result<Option<(Tag, Value)>> {
        if !self.summary.range.contains(key) {
            return Ok(None);
        }
        if how.filters == Filters::Use && self.footer.filter.bytes > 0 {
            how.filter_probes += 1;
            if !self.may_contain(hash)? {
                how.filter_negatives += 1;
                return Ok(None);
            }
        }
        let mut at = BlockPlace::of_key(self, key)?;
        loop {
            let block = at.load(self)?;
            how.blocks_read += 1;
            match block.find(key, fingerprint(hash), seq) {
                Found::Entry(n) => return Ok(Some((block.tag(n), value_of(&block, n)))),
                Found::GoesOn if at.move_next(self)? => {}
                Found::GoesOn | Found::Nothing => return Ok(None),
            }
        }
    }

    /// Whether the filter lets the key with this hash through; true if there is no filter.
    pub fn may_contain(&self, hash: u64) -> Result<bool> {
        let shape = self.properties.filter;
        if shape.lines == 0 {
            return Ok(true);
        }
        let (number, line) = shape.place_of(hash);
        let page: FilterPage = self.cached(shape.page(number, self.footer.filter.offset))?;
        Ok(page.may_contain(shape, line, hash))
    }

    /// A cursor over all entries, not positioned yet.
    pub fn cursor(self: &Arc<Self>) -> TableCursor {
        TableCursor::new(Arc::clone(self))
    }

    /// Reads the whole file again, past the cache, and checks every byte: all checksums, that
    /// nothing lies between the pieces, the order of all entries, the separators, that the filter
    /// has every key, and that the properties are what the entries add up to.
    pub fn verify(&self) -> Result<()> {
        verify::verify(self)
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source { file: &*self.file, place: self.footer.place }
    }

    /// Cuts the table's prefix off a key.
    pub(super) fn cut_prefix<'k>(&self, key: &'k [u8]) -> Cut<'k> {
        let prefix = &self.summary.range.lo()[..self.prefix_bytes];
        let (front, suffix) = key.split_at(key.len().min(prefix.len()));
        match front.cmp(prefix) {
            std::cmp::Ordering::Less => Cut::BeforeAll,
            std::cmp::Ordering::Equal => Cut::Suffix(suffix),
            std::cmp::Ordering::Greater => Cut::AfterAll,
        }
    }

    /// A page from the cache, or from the file and then in the cache.
    fn cached<P: Page>(&self, span: Span) -> Result<P> {
        let key = CacheKey { file: self.cache_file, offset: span.offset };
        if let Some(bytes) = self.cache.get(key) {
            return Ok(P::trusted(bytes));
        }
        let bytes: bytes::Bytes = self.source().read(span, P::PART)?.into();
        let page = P::parse(bytes.clone(), self.source().at(span.offset, P::PART))?;
        self.cache.insert(key, bytes);
        Ok(page)
    }

    /// An index page whose children must be of this level's and lie inside `region`.
    fn index_page(&self, span: Span, level: u8, region: Span) -> Result<IndexPage> {
        let page: IndexPage = self.cached(span)?;
        check_children(&page, level, region, self.source().at(span.offset, IndexPage::PART))?;
        Ok(page)
    }
}

/// An index page is of the level that its parent says, and its children lie where such may.
pub(super) fn check_children(
    page: &IndexPage,
    level: u8,
    region: Span,
    at: super::page::At,
) -> Result<()> {
    at.expect("level", level, page.level())?;
    let covers = page.covers();
    if covers.offset < region.offset || covers.end() > region.end() {
        return Err(at.corrupt("children", format!("pieces of {region}"), covers));
    }
    Ok(())
}

/// Reads what lies at the end of a table file, which must be the one of this place.
pub(super) fn read_ends(file: &dyn ReadFile, place: Place) -> Result<(Footer, Properties)> {
    let footer = Footer::read(file)?;
    let at = super::page::At { file: file.name(), offset: footer.properties.end(), part: "footer" };
    at.expect("store id", place.store_id, footer.place.store_id)?;
    at.expect("table id", place.table, footer.place.table)?;
    let properties = Properties::read(Source { file, place }, &footer)?;
    Ok((footer, properties))
}

fn value_of(block: &Block, n: usize) -> Value {
    let value = block.value(n);
    if value.len() <= COPIED_VALUE_BYTES_MAX {
        Value::copy_from(value)
    } else {
        Value::share(block.share_value(n))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({})", self.summary.id)
    }
}

/// A key without the prefix of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut<'k> {
    /// The key is before every key of the table.
    BeforeAll,
    /// What follows the prefix.
    Suffix(&'k [u8]),
    /// The key is after every key of the table.
    AfterAll,
}

/// A data block's place: a child of a leaf of the index. Moves to neighbours.
#[derive(Clone, Debug)]
pub(super) struct BlockPlace {
    top: IndexPage,
    /// Which child of the top `leaf` is; 0 if the top itself is the leaf.
    leaf_number: usize,
    leaf: IndexPage,
    child: usize,
}

impl BlockPlace {
    /// The block in which the versions of `key` begin, if there are any.
    pub(super) fn of_key(table: &Table, key: &[u8]) -> Result<Self> {
        match table.cut_prefix(key) {
            Cut::BeforeAll => Self::first(table),
            Cut::AfterAll => Self::last(table),
            Cut::Suffix(suffix) => Self::descend(table, |page| page.find(suffix)),
        }
    }

    /// The first block of the table.
    pub(super) fn first(table: &Table) -> Result<Self> {
        Self::descend(table, |_| 0)
    }

    /// The last block of the table.
    pub(super) fn last(table: &Table) -> Result<Self> {
        Self::descend(table, |page| page.children() - 1)
    }

    fn descend(table: &Table, choose: impl Fn(&IndexPage) -> usize) -> Result<Self> {
        let footer = &table.footer;
        let two_levels = footer.leaves().bytes > 0;
        let (level, region) =
            if two_levels { (ROOT, footer.leaves()) } else { (LEAF, footer.data) };
        let top = table.index_page(footer.index_top, level, region)?;
        let mut place = Self { leaf: top.clone(), leaf_number: 0, child: 0, top };
        if two_levels {
            place.enter_leaf(table, choose(&place.top))?;
        }
        place.child = choose(&place.leaf);
        Ok(place)
    }

    fn enter_leaf(&mut self, table: &Table, number: usize) -> Result<()> {
        self.leaf = table.index_page(self.top.child(number), LEAF, table.footer.data)?;
        self.leaf_number = number;
        Ok(())
    }

    /// How many leaves there are.
    fn leaves(&self) -> usize {
        if self.top.level() == LEAF { 1 } else { self.top.children() }
    }

    /// To the next block; false, and nowhere else, if this is the last.
    pub(super) fn move_next(&mut self, table: &Table) -> Result<bool> {
        if self.child + 1 < self.leaf.children() {
            self.child += 1;
        } else if self.leaf_number + 1 < self.leaves() {
            self.enter_leaf(table, self.leaf_number + 1)?;
            self.child = 0;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// To the block before; false, and nowhere else, if this is the first.
    pub(super) fn move_prev(&mut self, table: &Table) -> Result<bool> {
        if self.child > 0 {
            self.child -= 1;
        } else if self.leaf_number > 0 {
            self.enter_leaf(table, self.leaf_number - 1)?;
            self.child = self.leaf.children() - 1;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The block itself.
    pub(super) fn load(&self, table: &Table) -> Result<Block> {
        table.cached(self.leaf.child(self.child))
    }
}

//! `Table`: a table open for reading, and its pages.
//!
//! Opening reads footer and properties. Everything else, index and filter pages included, comes
//! through the frame pool when it is first asked for, and is checked when it comes from the file.
//! A frame map for the blocks below each leaf of the index is made when that leaf is first read:
//! so whatever a damaged index says, no two blocks ever share a slot.

use std::fmt;
use std::sync::Arc;

use super::block::{Block, BlockRef};
use super::damage::Damages;
use super::filter::FilterRef;
use super::footer::{Footer, Properties};
use super::index::{IndexPage, IndexRef, LEAF, ROOT};
use super::lookup::{Missed, Peek, Reach};
use super::packed::Packed;
use super::page::{At, Piece, Place, Source, Span};
use super::{Compression, Lookup, TableCursor, TableSummary, verify};
use crate::base::error::{Error, Result};
use crate::base::key::{SeqNo, TableId, Tag};
use crate::base::names::FileName;
use crate::base::sync::OnceLock;
use crate::base::value::Value;
use crate::cache::{Entered, FrameMap, FramePool, Keep, Page};
use crate::vfs::{Disk, ReadFile};

/// A table open for reading. All methods may be called from many threads at once.
pub struct Table {
    file: Arc<dyn ReadFile>,
    pub(super) footer: Footer,
    pub(super) properties: Properties,
    /// What all keys begin with, cut off in the index: a beginning of the smallest key.
    prefix_bytes: usize,
    /// Whether blocks may be compressed; then only they know how long they are.
    has_packed_blocks: bool,
    summary: TableSummary,
    pool: Arc<FramePool>,
    /// The top of the index alone.
    top: FrameMap,
    filter: FrameMap,
    below: OnceLock<Below>,
    pub(super) damages: Damages,
}

/// Frames of what lies below the top of the index: made when the top is first read.
struct Below {
    /// The leaves, if the top is not one itself.
    leaves: FrameMap,
    /// The blocks of each leaf.
    blocks: Box<[OnceLock<FrameMap>]>,
}

/// A page of a table that goes through the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageNo {
    /// The top of the index.
    Top,
    /// A leaf of the index below the top.
    Leaf(usize),
    /// Block so-and-so of a leaf; of leaf 0 if the top is the only one.
    Block { leaf: usize, child: usize },
    /// A page of the filter.
    Filter(u32),
}

impl Table {
    /// Opens table `id` of a store; `bytes` is its length according to the manifest.
    pub fn open(
        disk: &dyn Disk,
        store_id: u64,
        id: TableId,
        bytes: u64,
        pool: &Arc<FramePool>,
    ) -> Result<Arc<Self>> {
        let file = disk.open(FileName::Table(id))?;
        if file.len() != bytes {
            return Err(Error::corrupt(file.name(), 0, "length of the table", bytes, file.len()));
        }
        let place = Place { store_id, table: id };
        let (footer, properties) = read_ends(&*file, place)?;
        Ok(Arc::new(Self {
            prefix_bytes: properties.prefix_bytes(),
            summary: properties.summary(&footer),
            has_packed_blocks: properties.settings.compression != Compression::None,
            top: FrameMap::new(pool, 1),
            filter: FrameMap::new(pool, properties.filter.pages() as usize),
            below: OnceLock::new(),
            damages: Damages::default(),
            footer,
            properties,
            pool: Arc::clone(pool),
            file,
        }))
    }

    /// What the table holds.
    pub fn summary(&self) -> &TableSummary {
        &self.summary
    }

    /// The newest version of `key` that a read at `seq` sees, tombstones too; `hash` is its
    /// [`key_hash`](crate::base::hash::key_hash). Reads what is not in memory.
    pub fn get(
        &self,
        key: &[u8],
        hash: u64,
        seq: SeqNo,
        how: &mut Lookup,
    ) -> Result<Option<(Tag, Value)>> {
        super::lookup::with_pages(self.pool.domain(), how, |reach, how| {
            let found = self.find(key, hash, seq, reach, how)?;
            Ok(found.map(|found| (found.tag, found.to_value())))
        })
    }

    /// A cursor over all entries, not positioned yet, for somebody who may come back.
    pub fn cursor(self: &Arc<Self>) -> TableCursor {
        TableCursor::new(Arc::clone(self), Keep::Yes)
    }

    /// A cursor for a walk over everything, whose blocks nobody will ask for again.
    pub fn cursor_once(self: &Arc<Self>) -> TableCursor {
        TableCursor::new(Arc::clone(self), Keep::No)
    }

    /// Reads the whole file again, past the cache, and checks every byte: all checksums, that
    /// nothing lies between the pieces, the order of all entries, the separators, that the filter
    /// has every key, and that the properties are what the entries add up to. What is wrong is
    /// noted, in place of what was noted before; the first of it is the answer.
    pub fn verify(&self) -> Result<()> {
        self.verify_paced(&|_| {})
    }

    /// The same; before each read `pace` is told how many bytes it takes.
    pub fn verify_paced(&self, pace: &(dyn Fn(usize) + Sync)) -> Result<()> {
        verify::verify(self, pace)
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source { file: &*self.file, place: self.footer.place }
    }

    pub(super) fn pool(&self) -> &Arc<FramePool> {
        &self.pool
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

    /// What follows the table's prefix in a key of its range: such a key begins with it, because
    /// the smallest and the largest key do.
    #[inline]
    pub(super) fn suffix_in_range<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        key.get(self.prefix_bytes..).unwrap_or_default()
    }

    /// Whether the index has leaves below its top.
    pub(super) fn has_root(&self) -> bool {
        self.footer.leaves().bytes > 0
    }

    /// A page that is in memory, for a moment. Always in line: its callers know which kind of page
    /// they ask for.
    #[inline(always)]
    pub(super) fn peek<'t: 'g, 'g>(
        &'t self,
        number: PageNo,
        span: Span,
        reach: Reach<'g>,
    ) -> Peek<&'g [u8], Missed<'t>> {
        if let Some((map, n)) = self.map_of(number) {
            let found = if self.is_packed(number) {
                map.peek_frame(n, reach.guard)
            } else {
                map.peek(n, span.bytes as usize, reach.guard)
            };
            if let Some(bytes) = found {
                return Ok(bytes);
            }
        }
        self.find_loaded(number, span, reach)
    }

    /// A page that is not in the pool.
    #[cold]
    fn find_loaded<'t: 'g, 'g>(
        &'t self,
        number: PageNo,
        span: Span,
        reach: Reach<'g>,
    ) -> Peek<&'g [u8], Missed<'t>> {
        reach.find(self, number).ok_or(Missed { table: self, number, span })
    }

    /// A page, counted: from memory or from the file. What is found damaged is noted.
    pub(super) fn page(&self, number: PageNo, span: Span, keep: Keep) -> Result<Page> {
        self.load_page(number, span, keep)
            .inspect_err(|error| self.note_damage(number, span, error))
    }

    fn load_page(&self, number: PageNo, span: Span, keep: Keep) -> Result<Page> {
        let source = self.source();
        // Before memory of that length is asked for.
        source.check_span(span, number.part())?;
        let Some((map, n)) = self.map_of(number) else {
            return Err(self.out_of_place(number, span));
        };
        if self.is_packed(number) {
            return self.packed_block(map, n, span, keep);
        }
        map.load(n, span.bytes as usize, keep, |out| {
            source.read_into(out, span.offset, number.part())?;
            self.check_page(number, out, source.at(span.offset, number.part()))
        })
    }

    /// A block that may be compressed: what is stored is read first, and says how much memory the
    /// image needs.
    fn packed_block(&self, map: &FrameMap, n: usize, span: Span, keep: Keep) -> Result<Page> {
        let absent = match map.enter_frame(n, keep) {
            Entered::Here(page) => return Ok(page),
            Entered::Absent(absent) => absent,
        };
        let source = self.source();
        let stored = source.read(span, BlockRef::PART)?;
        let at = source.at(span.offset, BlockRef::PART);
        let packed = Packed::read(&stored, at)?;
        absent.fill(packed.image_bytes(), &mut |out| {
            packed.unpack(out, at)?;
            self.check_ends(out, at)
        })
    }

    /// A page that is in the pool, counted.
    pub(super) fn counted(&self, number: PageNo, span: Span) -> Option<Page> {
        let (map, n) = self.map_of(number)?;
        if self.is_packed(number) { map.count_frame(n) } else { map.count(n, span.bytes as usize) }
    }

    /// Whether this is a block that may be compressed.
    #[inline]
    fn is_packed(&self, number: PageNo) -> bool {
        self.has_packed_blocks && matches!(number, PageNo::Block { .. })
    }

    /// The map that has this page's slot; `None` if the index page above was never read, or has
    /// no such child.
    #[inline(always)]
    fn map_of(&self, number: PageNo) -> Option<(&FrameMap, usize)> {
        match number {
            PageNo::Top => Some((&self.top, 0)),
            PageNo::Filter(n) => Some((&self.filter, n as usize)),
            PageNo::Leaf(n) => Some((&self.below.get()?.leaves, n)),
            PageNo::Block { leaf, child } => {
                Some((self.below.get()?.blocks.get(leaf)?.get()?, child))
            }
        }
    }

    pub(super) fn out_of_place(&self, number: PageNo, span: Span) -> Error {
        let at = self.source().at(span.offset, number.part());
        at.corrupt("place", "a child of an index page", format_args!("{number:?}"))
    }

    /// Checks what was just read, and makes room for the frames of its children.
    fn check_page(&self, number: PageNo, bytes: &[u8], at: At) -> Result<()> {
        match number {
            PageNo::Filter(_) => FilterRef::check(bytes, at),
            PageNo::Block { .. } => {
                BlockRef::check(bytes, at)?;
                self.check_ends(bytes, at)
            }
            PageNo::Top => {
                let (level, region) = self.below_top();
                let page = checked_index_page(bytes, level, region, at)?;
                let leaves = if level == ROOT { page.children() } else { 0 };
                let below = self.below.get_or_init(|| Below {
                    leaves: FrameMap::new(&self.pool, leaves),
                    blocks: (0..leaves.max(1)).map(|_| OnceLock::new()).collect(),
                });
                if level == LEAF {
                    below.blocks[0].get_or_init(|| FrameMap::new(&self.pool, page.children()));
                }
                Ok(())
            }
            PageNo::Leaf(n) => {
                let page = checked_index_page(bytes, LEAF, self.footer.data, at)?;
                let blocks = self.below.get().and_then(|below| below.blocks.get(n));
                if let Some(blocks) = blocks {
                    blocks.get_or_init(|| FrameMap::new(&self.pool, page.children()));
                }
                Ok(())
            }
        }
    }

    /// The keys of a checked block lie between the ends of the table: tables of one level are told
    /// apart by their ends alone.
    fn check_ends(&self, block: &[u8], at: At) -> Result<()> {
        let block = Block::trusted(block);
        let range = &self.summary.range;
        let is_inside = block.compare_key(0, range.lo()).is_ge()
            && block.compare_key(block.entries() - 1, range.hi()).is_le();
        at.require(is_inside, "keys", "some between the ends of the table")
    }

    /// The level of the top of the index, and where its children may lie.
    fn below_top(&self) -> (u8, Span) {
        if self.has_root() { (ROOT, self.footer.leaves()) } else { (LEAF, self.footer.data) }
    }
}

impl PageNo {
    /// What errors call it.
    fn part(self) -> &'static str {
        match self {
            Self::Top | Self::Leaf(_) => IndexRef::PART,
            Self::Block { .. } => BlockRef::PART,
            Self::Filter(_) => FilterRef::PART,
        }
    }
}

/// An index page whose children are of this level's and lie inside `region`.
fn checked_index_page(bytes: &[u8], level: u8, region: Span, at: At) -> Result<IndexRef<'_>> {
    IndexRef::check(bytes, at)?;
    let page = IndexPage::trusted(bytes);
    check_children(&page, level, region, at)?;
    Ok(page)
}

/// An index page is of the level that its parent says, and its children lie where such may.
pub(super) fn check_children<B: std::ops::Deref<Target = [u8]>>(
    page: &IndexPage<B>,
    level: u8,
    region: Span,
    at: At,
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
    let at = At { file: file.name(), offset: footer.properties.end(), part: "footer" };
    at.expect("store id", place.store_id, footer.place.store_id)?;
    at.expect("table id", place.table, footer.place.table)?;
    let properties = Properties::read(Source { file, place }, &footer)?;
    Ok((footer, properties))
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

//! The search for one key, in memory, under the epoch.
//!
//! Nothing is counted, copied or waited for. If a page is missing the search ends with its name;
//! whoever asked lets go of the epoch, loads the page, and searches again with the page in reach:
//! so the fast way and the slow one are the same code, and a page that found no frame is used all
//! the same. A search that goes on ends: each time round it reaches one page more.

use super::block::{BlockRef, Found as InBlock, fingerprint};
use super::filter::line_of;
use super::index::IndexPage;
use super::page::{ALIGN, Span};
use super::reader::{PageNo, Table};
use super::{Filters, Lookup};
use crate::base::error::{ErrorKind, Result};
use crate::base::key::{SeqNo, Tag, head};
use crate::base::simd::{self, Line};
use crate::base::value::Value;
use crate::cache::{Keep, Page};
use crate::epoch::{Domain, Guard};

/// The outcome of a search in memory.
pub type Peek<T, M> = std::result::Result<T, M>;

/// Values up to this length are copied out of their block, longer ones share its memory: a copy
/// this short costs less than what a shared block keeps from being freed.
pub(super) const COPIED_VALUE_BYTES_MAX: usize = 1 << 10;

/// Header, prefix, fingerprints and heads of an ordinary block.
const LINES_OF_FRONT: usize = 4;

/// What a search may look at: everything in the pool, while the epoch is pinned, and pages that
/// were loaded for it.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'g> {
    pub(super) guard: &'g Guard<'g>,
    loaded: &'g [Loaded<'g>],
}

/// A page that a search missed, and that was loaded for it.
#[derive(Debug)]
pub struct Loaded<'t> {
    table: &'t Table,
    number: PageNo,
    /// `None`: a page of a filter that cannot be read. The search goes on without it.
    page: Option<Page>,
}

/// A page that is not in memory.
#[derive(Debug)]
pub struct Missed<'t> {
    pub(super) table: &'t Table,
    pub(super) number: PageNo,
    pub(super) span: Span,
}

/// An entry that a search found, where it lies.
#[derive(Debug)]
pub struct Found<'g> {
    /// Its sequence number and kind.
    pub tag: Tag,
    /// Its value, for as long as what was in reach stays.
    pub value: &'g [u8],
    table: &'g Table,
    at: BlockAt,
    /// The block that the value lies in.
    block: &'g [u8],
}

impl<'g> Reach<'g> {
    /// What is in the pool alone.
    pub fn new(guard: &'g Guard<'g>) -> Self {
        Self { guard, loaded: &[] }
    }

    /// And these pages.
    pub fn with(guard: &'g Guard<'g>, loaded: &'g [Loaded<'g>]) -> Self {
        Self { guard, loaded }
    }

    pub(super) fn find(&self, table: &Table, number: PageNo) -> Option<&'g [u8]> {
        self.loaded(table, number).and_then(|loaded| loaded.page.as_deref())
    }

    fn loaded(&self, table: &Table, number: PageNo) -> Option<&'g Loaded<'g>> {
        let is_it = |l: &&Loaded<'_>| std::ptr::eq(l.table, table) && l.number == number;
        self.loaded.iter().find(is_it)
    }
}

impl<'t> Missed<'t> {
    /// Reads and checks the page. The caller is not pinned.
    ///
    /// # Errors
    /// `Corruption` or `Io`, but not of a filter: what it would have saved is looked for.
    pub fn load(self) -> Result<Loaded<'t>> {
        let page = match self.table.page(self.number, self.span, Keep::Yes) {
            Err(error) if matches!(self.number, PageNo::Filter(_)) => match error.kind() {
                ErrorKind::Corruption | ErrorKind::Io => None,
                _ => return Err(error),
            },
            read => Some(read?),
        };
        Ok(Loaded { table: self.table, number: self.number, page })
    }
}

/// Runs `search` until it misses nothing. `how` counts the last run alone.
pub fn with_pages<'t, T>(
    domain: &Domain,
    how: &mut Lookup,
    search: impl for<'g> Fn(Reach<'g>, &mut Lookup) -> Peek<T, Missed<'t>>,
) -> Result<T> {
    let mut loaded: Vec<Loaded<'t>> = Vec::new();
    loop {
        let mut counts = *how;
        let missed = {
            let guard = domain.pin();
            match search(Reach::with(&guard, &loaded), &mut counts) {
                Ok(answer) => {
                    *how = counts;
                    return Ok(answer);
                }
                Err(missed) => missed,
            }
        };
        loaded.push(missed.load()?);
    }
}

impl Found<'_> {
    /// The value, to keep: copied if it is short or memory is scarce, else sharing its page.
    pub fn to_value(&self) -> Value {
        if self.value.len() <= COPIED_VALUE_BYTES_MAX {
            return Value::copy_from(self.value);
        }
        self.to_long_value()
    }

    #[cold]
    fn to_long_value(&self) -> Value {
        if self.table.pool().is_scarce() {
            return Value::copy_from(self.value);
        }
        let offset = self.value.as_ptr().addr() - self.block.as_ptr().addr();
        match self.table.counted(self.at.number(), self.at.span) {
            Some(page) => share(page, offset, self.value.len()),
            None => Value::copy_from(self.value),
        }
    }
}

/// A value that keeps its page.
pub(super) fn share(page: Page, offset: usize, bytes: usize) -> Value {
    Value::share(bytes::Bytes::from_owner(page).slice(offset..offset + bytes))
}

impl Table {
    /// Starts to fetch the line of the filter that [`passes`](Self::passes) will look at.
    #[inline]
    pub fn prefetch_filter(&self, hash: u64, reach: Reach<'_>) {
        if let Ok(Some(line)) = self.filter_line(hash, reach) {
            simd::prefetch(line);
        }
    }

    /// Whether the filter lets the key with this hash through; true if there is no filter.
    pub fn passes<'t: 'g, 'g>(&'t self, hash: u64, reach: Reach<'g>) -> Peek<bool, Missed<'t>> {
        let line = self.filter_line(hash, reach)?;
        Ok(line.is_none_or(|line| self.properties.filter.may_contain(line, hash)))
    }

    /// The line of the filter that has the bits of the key with this hash, if there is a filter and
    /// its page can be read.
    #[inline]
    fn filter_line<'t: 'g, 'g>(
        &'t self,
        hash: u64,
        reach: Reach<'g>,
    ) -> Peek<Option<&'g Line>, Missed<'t>> {
        let shape = self.properties.filter;
        if shape.lines == 0 {
            return Ok(None);
        }
        let (number, line) = shape.place_of(hash);
        let span = shape.page(number, self.footer.filter.offset);
        match self.peek(PageNo::Filter(number), span, reach) {
            Ok(page) => Ok(Some(line_of(page, line))),
            Err(missed) => self.without_filter(number, missed, reach),
        }
    }

    /// No line where the page that was missed is known not to be readable.
    #[cold]
    fn without_filter<'t: 'g, 'g>(
        &'t self,
        page: u32,
        missed: Missed<'t>,
        reach: Reach<'g>,
    ) -> Peek<Option<&'g Line>, Missed<'t>> {
        let was_tried = reach.loaded(self, missed.number).is_some();
        if was_tried || self.damages.has_filter_page(page) { Ok(None) } else { Err(missed) }
    }

    /// The newest version of `key` that a read at `seq` sees, tombstones too.
    pub fn find<'t: 'g, 'g>(
        &'t self,
        key: &[u8],
        hash: u64,
        seq: SeqNo,
        reach: Reach<'g>,
        how: &mut Lookup,
    ) -> Peek<Option<Found<'g>>, Missed<'t>> {
        if !self.summary().range.contains(key) {
            return Ok(None);
        }
        self.find_in_range(key, hash, seq, reach, how)
    }

    /// As [`find`](Self::find), of a key that lies in the table's range.
    #[inline]
    pub fn find_in_range<'t: 'g, 'g>(
        &'t self,
        key: &[u8],
        hash: u64,
        seq: SeqNo,
        reach: Reach<'g>,
        how: &mut Lookup,
    ) -> Peek<Option<Found<'g>>, Missed<'t>> {
        let filter_line = match how.filters {
            Filters::Use => self.filter_line(hash, reach)?,
            Filters::Ignore => None,
        };
        filter_line.inspect(|line| simd::prefetch(*line));
        // While the line comes, the leaf of the index is looked for.
        let suffix = Suffix::new(self.suffix_in_range(key));
        let leaf = self.leaf_of(suffix, reach);
        if let Some(line) = filter_line {
            how.filter_probes += 1;
            if !self.properties.filter.may_contain(line, hash) {
                how.filter_negatives += 1;
                return Ok(None);
            }
        }
        self.locate_in(leaf?, suffix, reach)?.search(key, hash, seq, reach, how)
    }

    /// The block in which the versions of `key`, which lies in the table's range, begin if there
    /// are any. Starts to fetch what a search in it will look at first.
    pub fn locate<'t: 'g, 'g>(
        &'t self,
        key: &[u8],
        reach: Reach<'g>,
    ) -> Peek<Located<'t, 'g>, Missed<'t>> {
        let suffix = Suffix::new(self.suffix_in_range(key));
        self.locate_in(self.leaf_of(suffix, reach)?, suffix, reach)
    }

    #[inline(always)]
    fn locate_in<'t: 'g, 'g>(
        &'t self,
        leaf: LeafAt<'g>,
        suffix: Suffix<'_>,
        reach: Reach<'g>,
    ) -> Peek<Located<'t, 'g>, Missed<'t>> {
        let at = leaf.find(suffix);
        let block = at.peek(self, reach)?;
        prefetch_front(block);
        Ok(Located { table: self, at, block })
    }

    /// The leaf of the index below which the versions of the key with this suffix begin.
    #[inline(always)]
    fn leaf_of<'t: 'g, 'g>(
        &'t self,
        suffix: Suffix<'_>,
        reach: Reach<'g>,
    ) -> Peek<LeafAt<'g>, Missed<'t>> {
        let top = IndexPage::trusted(self.peek(PageNo::Top, self.footer.index_top, reach)?);
        if !self.has_root() {
            return Ok(LeafAt { number: 0, page: top });
        }
        let number = top.find(suffix.bytes, suffix.head);
        let page = self.peek(PageNo::Leaf(number), top.child(number), reach)?;
        Ok(LeafAt { number, page: IndexPage::trusted(page) })
    }
}

/// What follows the table's prefix in a key that is looked for.
#[derive(Clone, Copy)]
struct Suffix<'k> {
    bytes: &'k [u8],
    head: u64,
}

impl<'k> Suffix<'k> {
    #[inline]
    fn new(bytes: &'k [u8]) -> Self {
        Self { bytes, head: head(bytes) }
    }
}

/// A leaf of the index.
#[derive(Clone, Copy)]
struct LeafAt<'g> {
    /// Which child of the top it is; 0 if it is the top itself.
    number: usize,
    page: IndexPage<&'g [u8]>,
}

impl LeafAt<'_> {
    #[inline(always)]
    fn find(self, suffix: Suffix<'_>) -> BlockAt {
        let child = self.page.find(suffix.bytes, suffix.head);
        BlockAt { leaf: self.number, child, span: self.page.child(child) }
    }
}

/// The block that may hold a key, found and not looked into yet.
pub struct Located<'t, 'g> {
    table: &'t Table,
    at: BlockAt,
    block: &'g [u8],
}

impl<'t: 'g, 'g> Located<'t, 'g> {
    /// The newest version of `key` that a read at `seq` sees, tombstones too.
    ///
    /// # Errors
    /// A page that is not in memory.
    #[inline(always)]
    pub fn search(
        mut self,
        key: &[u8],
        hash: u64,
        seq: SeqNo,
        reach: Reach<'g>,
        how: &mut Lookup,
    ) -> Peek<Option<Found<'g>>, Missed<'t>> {
        loop {
            how.blocks_read += 1;
            match BlockRef::trusted(self.block).find(key, fingerprint(hash), seq) {
                InBlock::Entry(tag, value) => {
                    let Self { table, at, block } = self;
                    return Ok(Some(Found { tag, value, table, at, block }));
                }
                InBlock::Nothing => return Ok(None),
                InBlock::GoesOn => {}
            }
            let Some(at) = self.at.next(self.table, reach)? else { return Ok(None) };
            self = Self { block: at.peek(self.table, reach)?, at, ..self };
        }
    }
}

/// Asks memory for the front of a block, where a search in it begins.
#[inline]
pub(super) fn prefetch_front(block: &[u8]) {
    let (lines, _) = block.as_chunks::<ALIGN>();
    lines.iter().take(LINES_OF_FRONT).for_each(simd::prefetch);
}

/// A data block's place in the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockAt {
    /// Which child of the top its leaf is; 0 if the top itself is the leaf.
    pub(super) leaf: usize,
    /// Which child of the leaf it is.
    pub(super) child: usize,
    /// Where it lies in the file.
    pub(super) span: Span,
}

impl BlockAt {
    /// The block in which the versions of the key behind the table's prefix begin.
    #[inline]
    pub(super) fn of_suffix<'t: 'g, 'g>(
        table: &'t Table,
        suffix: &[u8],
        reach: Reach<'g>,
    ) -> Peek<Self, Missed<'t>> {
        let suffix = Suffix::new(suffix);
        Ok(table.leaf_of(suffix, reach)?.find(suffix))
    }

    /// The next block; `None` if this is the last.
    #[cold]
    fn next<'t: 'g, 'g>(
        self,
        table: &'t Table,
        reach: Reach<'g>,
    ) -> Peek<Option<Self>, Missed<'t>> {
        let top = IndexPage::trusted(table.peek(PageNo::Top, table.footer.index_top, reach)?);
        let leaf_at = |leaf: usize| -> Peek<_, Missed<'t>> {
            if !table.has_root() {
                return Ok((leaf == 0).then_some(top));
            }
            if leaf >= top.children() {
                return Ok(None);
            }
            let page = table.peek(PageNo::Leaf(leaf), top.child(leaf), reach)?;
            Ok(Some(IndexPage::trusted(page)))
        };
        for (leaf, child) in [(self.leaf, self.child + 1), (self.leaf + 1, 0)] {
            if let Some(page) = leaf_at(leaf)?.filter(|page| child < page.children()) {
                return Ok(Some(Self { leaf, child, span: page.child(child) }));
            }
        }
        Ok(None)
    }

    /// The block, if it is in memory.
    #[inline]
    fn peek<'t: 'g, 'g>(self, table: &'t Table, reach: Reach<'g>) -> Peek<&'g [u8], Missed<'t>> {
        table.peek(self.number(), self.span, reach)
    }

    #[inline]
    pub(super) fn number(self) -> PageNo {
        PageNo::Block { leaf: self.leaf, child: self.child }
    }
}

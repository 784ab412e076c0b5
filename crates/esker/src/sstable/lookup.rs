//! The search for one key, in memory, under the epoch.
//!
//! Nothing is counted, copied or waited for. If a page is missing the search ends with its name;
//! whoever asked lets go of the epoch, loads the page, and searches again with the page in reach:
//! so the fast way and the slow one are the same code, and a page that found no frame is used all
//! the same. A search that goes on ends: each time round it reaches one page more.

use super::block::{Block, BlockRef, Found as InBlock, fingerprint};
use super::filter::FilterPage;
use super::index::IndexPage;
use super::page::{ALIGN, Span};
use super::reader::{PageNo, Table};
use super::{Filters, Lookup};
use crate::base::error::Result;
use crate::base::key::{SeqNo, Tag};
use crate::base::simd;
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
    page: Page,
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
    number: PageNo,
    span: Span,
    /// Where in the page the value begins.
    offset: usize,
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
        let is_it = |l: &&Loaded<'_>| std::ptr::eq(l.table, table) && l.number == number;
        self.loaded.iter().find(is_it).map(|loaded| &*loaded.page)
    }
}

impl<'t> Missed<'t> {
    /// Reads and checks the page. The caller is not pinned.
    ///
    /// # Errors
    /// `Corruption` or `Io`.
    pub fn load(self) -> Result<Loaded<'t>> {
        let page = self.table.page(self.number, self.span, Keep::Yes)?;
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
        if self.value.len() <= COPIED_VALUE_BYTES_MAX || self.table.pool().is_scarce() {
            return Value::copy_from(self.value);
        }
        match self.table.counted(self.number, self.span) {
            Some(page) => share(page, self.offset, self.value.len()),
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
    pub fn prefetch_filter(&self, hash: u64, reach: Reach<'_>) {
        let shape = self.properties.filter;
        if shape.lines > 0 {
            let (number, line) = shape.place_of(hash);
            let span = shape.page(number, self.footer.filter.offset);
            if let Ok(page) = self.peek(PageNo::Filter(number), span, reach) {
                simd::prefetch(FilterPage::trusted(page).line(line));
            }
        }
    }

    /// Whether the filter lets the key with this hash through; true if there is no filter.
    pub fn passes<'t: 'g, 'g>(&'t self, hash: u64, reach: Reach<'g>) -> Peek<bool, Missed<'t>> {
        let shape = self.properties.filter;
        if shape.lines == 0 {
            return Ok(true);
        }
        let (number, line) = shape.place_of(hash);
        let span = shape.page(number, self.footer.filter.offset);
        let page = FilterPage::trusted(self.peek(PageNo::Filter(number), span, reach)?);
        Ok(page.may_contain(shape, line, hash))
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
    pub fn find_in_range<'t: 'g, 'g>(
        &'t self,
        key: &[u8],
        hash: u64,
        seq: SeqNo,
        reach: Reach<'g>,
        how: &mut Lookup,
    ) -> Peek<Option<Found<'g>>, Missed<'t>> {
        if how.filters == Filters::Use && self.properties.filter.lines > 0 {
            how.filter_probes += 1;
            if !self.passes(hash, reach)? {
                how.filter_negatives += 1;
                return Ok(None);
            }
        }
        self.locate(key, reach)?.search(key, hash, seq, reach, how)
    }

    /// The block in which the versions of `key`, which lies in the table's range, begin if there
    /// are any.
    pub fn locate<'t: 'g, 'g>(
        &'t self,
        key: &[u8],
        reach: Reach<'g>,
    ) -> Peek<Located<'t, 'g>, Missed<'t>> {
        let at = BlockAt::of_suffix(self, self.suffix_in_range(key), reach)?;
        let (number, span) = at.page();
        Ok(Located { block: self.peek(number, span, reach)?, at })
    }
}

/// The block that may hold a key, found and not looked into yet.
pub struct Located<'t, 'g> {
    at: BlockAt<'t, 'g>,
    block: &'g [u8],
}

impl<'t: 'g, 'g> Located<'t, 'g> {
    /// Starts to fetch what a search will look at first.
    pub fn prefetch(&self) {
        prefetch_front(self.block);
    }

    /// The newest version of `key` that a read at `seq` sees, tombstones too.
    ///
    /// # Errors
    /// A page that is not in memory.
    pub fn search(
        mut self,
        key: &[u8],
        hash: u64,
        seq: SeqNo,
        reach: Reach<'g>,
        how: &mut Lookup,
    ) -> Peek<Option<Found<'g>>, Missed<'t>> {
        self.prefetch();
        loop {
            let block: BlockRef<'g> = Block::trusted(self.block);
            how.blocks_read += 1;
            match block.find(key, fingerprint(hash), seq) {
                InBlock::Entry(n) => {
                    let (tag, range) = (block.tag(n), block.value_range(n));
                    let (offset, value) = (range.start, block.into_value(range));
                    let ((number, span), table) = (self.at.page(), self.at.table);
                    return Ok(Some(Found { tag, offset, value, table, number, span }));
                }
                InBlock::GoesOn if self.at.move_next(reach)? => {
                    let (number, span) = self.at.page();
                    self.block = self.at.table.peek(number, span, reach)?;
                }
                InBlock::GoesOn | InBlock::Nothing => return Ok(None),
            }
        }
    }
}

/// Asks memory for the front of a block, where a search in it begins.
pub(super) fn prefetch_front(block: &[u8]) {
    let (lines, _) = block.as_chunks::<ALIGN>();
    lines.iter().take(LINES_OF_FRONT).for_each(simd::prefetch);
}

/// A data block's place in the index, for a moment.
pub(super) struct BlockAt<'t, 'g> {
    table: &'t Table,
    top: IndexPage<&'g [u8]>,
    leaf_number: usize,
    leaf: IndexPage<&'g [u8]>,
    child: usize,
}

impl<'t: 'g, 'g> BlockAt<'t, 'g> {
    /// The block in which the versions of the key behind the table's prefix begin.
    pub(super) fn of_suffix(
        table: &'t Table,
        suffix: &[u8],
        reach: Reach<'g>,
    ) -> Peek<Self, Missed<'t>> {
        let top = IndexPage::trusted(table.peek(PageNo::Top, table.footer.index_top, reach)?);
        if !table.has_root() {
            return Ok(Self { table, leaf: top, leaf_number: 0, child: top.find(suffix), top });
        }
        let leaf_number = top.find(suffix);
        let page = table.peek(PageNo::Leaf(leaf_number), top.child(leaf_number), reach)?;
        let leaf = IndexPage::trusted(page);
        Ok(Self { table, leaf, leaf_number, child: leaf.find(suffix), top })
    }

    fn enter_leaf(&mut self, number: usize, reach: Reach<'g>) -> Peek<(), Missed<'t>> {
        let page = self.table.peek(PageNo::Leaf(number), self.top.child(number), reach)?;
        self.leaf = IndexPage::trusted(page);
        self.leaf_number = number;
        Ok(())
    }

    /// The number of the leaf, that of its child, and where the block lies.
    pub(super) fn numbers(&self) -> (usize, usize, Span) {
        (self.leaf_number, self.child, self.leaf.child(self.child))
    }

    fn page(&self) -> (PageNo, Span) {
        let number = PageNo::Block { leaf: self.leaf_number, child: self.child };
        (number, self.leaf.child(self.child))
    }

    /// To the next block; false if this is the last.
    fn move_next(&mut self, reach: Reach<'g>) -> Peek<bool, Missed<'t>> {
        if self.child + 1 < self.leaf.children() {
            self.child += 1;
        } else if self.table.has_root() && self.leaf_number + 1 < self.top.children() {
            self.enter_leaf(self.leaf_number + 1, reach)?;
            self.child = 0;
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

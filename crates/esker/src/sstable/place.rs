//! Where a cursor stands in the index: a data block, and how to get to its neighbours.
//!
//! A seek looks at the index for a moment, under the epoch, and keeps numbers: most scans end in
//! the block in which they began. Whoever goes on to a neighbour counts the leaf, and from then on
//! asks nobody until its end.

use super::Lookup;
use super::block::{Block, BlockRef};
use super::index::IndexPage;
use super::lookup::{BlockAt, Reach, prefetch_front, with_pages};
use super::page::{Piece, Span};
use super::reader::{Cut, PageNo, Table};
use crate::base::error::{Error, Result};
use crate::cache::{Keep, Page};

/// A data block's place: a child of a leaf of the index. Moves to neighbours.
#[derive(Clone, Debug)]
pub(super) struct BlockPlace {
    /// Which child of the top the leaf is; 0 if the top itself is the leaf.
    leaf_number: usize,
    child: usize,
    /// Where the block lies in the file.
    span: Span,
    /// The leaf, once a neighbour was asked for.
    leaf: Option<IndexPage<Page>>,
    keep: Keep,
}

impl BlockPlace {
    /// The block in which the versions of `key` begin, if there are any.
    pub(super) fn of_key(table: &Table, key: &[u8], keep: Keep) -> Result<Self> {
        let suffix = match table.cut_prefix(key) {
            Cut::BeforeAll => return Self::first(table, keep),
            Cut::AfterAll => return Self::last(table, keep),
            Cut::Suffix(suffix) => suffix,
        };
        with_pages(table.pool().domain(), &mut Lookup::default(), |reach, _| {
            let at = BlockAt::of_suffix(table, suffix, reach)?;
            let BlockAt { leaf: leaf_number, child, span } = at;
            Ok(Self { leaf_number, child, span, leaf: None, keep })
        })
    }

    /// The first block of the table.
    pub(super) fn first(table: &Table, keep: Keep) -> Result<Self> {
        let leaf = leaf_of(table, |_| 0)?;
        Ok(Self { leaf_number: 0, child: 0, span: leaf.child(0), leaf: Some(leaf), keep })
    }

    /// The last block of the table.
    pub(super) fn last(table: &Table, keep: Keep) -> Result<Self> {
        let mut leaf_number = 0;
        let leaf = leaf_of(table, |leaves| {
            leaf_number = leaves - 1;
            leaf_number
        })?;
        let child = leaf.children() - 1;
        Ok(Self { leaf_number, child, span: leaf.child(child), leaf: Some(leaf), keep })
    }

    /// To the next block; false, and nowhere else, if this is the last.
    pub(super) fn move_next(&mut self, table: &Table) -> Result<bool> {
        let children = self.leaf(table)?.children();
        if self.child + 1 < children {
            self.move_to(self.leaf_number, self.child + 1, table)?;
        } else if self.leaf_number + 1 < leaves(table)? {
            self.leaf = None;
            self.move_to(self.leaf_number + 1, 0, table)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// To the block before; false, and nowhere else, if this is the first.
    pub(super) fn move_prev(&mut self, table: &Table) -> Result<bool> {
        if self.child > 0 {
            self.move_to(self.leaf_number, self.child - 1, table)?;
        } else if self.leaf_number > 0 {
            let leaf = leaf_of(table, |_| self.leaf_number - 1)?;
            let last = leaf.children() - 1;
            self.leaf = Some(leaf);
            self.move_to(self.leaf_number - 1, last, table)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The block's entries do not follow those of the one that a walk came from: no checksum and no
    /// index shows that.
    pub(super) fn out_of_order(&self, table: &Table) -> Error {
        let at = table.source().at(self.span.offset, BlockRef::PART);
        at.corrupt("order", "entries that go on from the block beside it", "others")
    }

    /// Asks memory for the front of the block, if it is in the pool.
    pub(super) fn prefetch(&self, table: &Table) {
        let guard = table.pool().domain().pin();
        let number = PageNo::Block { leaf: self.leaf_number, child: self.child };
        if let Ok(block) = table.peek(number, self.span, Reach::new(&guard)) {
            prefetch_front(block);
        }
    }

    /// The block itself.
    pub(super) fn load(&self, table: &Table) -> Result<Block<Page>> {
        let number = PageNo::Block { leaf: self.leaf_number, child: self.child };
        Ok(Block::trusted(table.page(number, self.span, self.keep)?))
    }

    fn move_to(&mut self, leaf_number: usize, child: usize, table: &Table) -> Result<()> {
        (self.leaf_number, self.child) = (leaf_number, child);
        self.span = self.leaf(table)?.child(child);
        Ok(())
    }

    /// The leaf, counted. A file that has changed since it was looked at may have a shorter one.
    fn leaf(&mut self, table: &Table) -> Result<&IndexPage<Page>> {
        let leaf = match self.leaf.take() {
            Some(leaf) => leaf,
            None => leaf_of(table, |_| self.leaf_number)?,
        };
        if self.child >= leaf.children() {
            let number = PageNo::Block { leaf: self.leaf_number, child: self.child };
            return Err(table.out_of_place(number, self.span));
        }
        Ok(self.leaf.insert(leaf))
    }
}

/// The leaf whose number `choose` says, of so many.
fn leaf_of(table: &Table, choose: impl FnOnce(usize) -> usize) -> Result<IndexPage<Page>> {
    let top = top_of(table)?;
    if !table.has_root() {
        return Ok(top);
    }
    let number = choose(top.children());
    if number >= top.children() {
        return Err(table.out_of_place(PageNo::Leaf(number), table.footer.index_top));
    }
    let page = table.page(PageNo::Leaf(number), top.child(number), Keep::Yes)?;
    Ok(IndexPage::trusted(page))
}

/// How many leaves there are.
fn leaves(table: &Table) -> Result<usize> {
    if table.has_root() { Ok(top_of(table)?.children()) } else { Ok(1) }
}

fn top_of(table: &Table) -> Result<IndexPage<Page>> {
    let page = table.page(PageNo::Top, table.footer.index_top, Keep::Yes)?;
    Ok(IndexPage::trusted(page))
}

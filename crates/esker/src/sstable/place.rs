//! Where a cursor stands in the index: a data block, and how to get to its neighbours.

use super::block::Block;
use super::index::IndexPage;
use super::page::Span;
use super::reader::{Cut, PageNo, Table};
use crate::base::error::Result;
use crate::cache::{Keep, Page};

/// A data block's place: a child of a leaf of the index. Moves to neighbours.
#[derive(Clone, Debug)]
pub(super) struct BlockPlace {
    top: IndexPage<Page>,
    /// Which child of the top `leaf` is; 0 if the top itself is the leaf.
    leaf_number: usize,
    leaf: IndexPage<Page>,
    child: usize,
    keep: Keep,
}

impl BlockPlace {
    /// The block in which the versions of `key` begin, if there are any.
    pub(super) fn of_key(table: &Table, key: &[u8], keep: Keep) -> Result<Self> {
        match table.cut_prefix(key) {
            Cut::BeforeAll => Self::first(table, keep),
            Cut::AfterAll => Self::last(table, keep),
            Cut::Suffix(suffix) => Self::descend(table, keep, |page| page.find(suffix)),
        }
    }

    /// The first block of the table.
    pub(super) fn first(table: &Table, keep: Keep) -> Result<Self> {
        Self::descend(table, keep, |_| 0)
    }

    /// The last block of the table.
    pub(super) fn last(table: &Table, keep: Keep) -> Result<Self> {
        Self::descend(table, keep, |page| page.children() - 1)
    }

    fn descend(
        table: &Table,
        keep: Keep,
        choose: impl Fn(&IndexPage<Page>) -> usize,
    ) -> Result<Self> {
        let top = IndexPage::trusted(table.page(PageNo::Top, table.footer.index_top, Keep::Yes)?);
        let mut place = Self { leaf: top.clone(), leaf_number: 0, child: 0, top, keep };
        if table.has_root() {
            place.enter_leaf(table, choose(&place.top))?;
        }
        place.child = choose(&place.leaf);
        Ok(place)
    }

    fn enter_leaf(&mut self, table: &Table, number: usize) -> Result<()> {
        let page = table.page(PageNo::Leaf(number), self.top.child(number), Keep::Yes)?;
        self.leaf = IndexPage::trusted(page);
        self.leaf_number = number;
        Ok(())
    }

    /// How many leaves there are.
    fn leaves(&self, table: &Table) -> usize {
        if table.has_root() { self.top.children() } else { 1 }
    }

    /// To the next block; false, and nowhere else, if this is the last.
    pub(super) fn move_next(&mut self, table: &Table) -> Result<bool> {
        if self.child + 1 < self.leaf.children() {
            self.child += 1;
        } else if self.leaf_number + 1 < self.leaves(table) {
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
    pub(super) fn load(&self, table: &Table) -> Result<Block<Page>> {
        let number = PageNo::Block { leaf: self.leaf_number, child: self.child };
        Ok(Block::trusted(table.page(number, self.span(), self.keep)?))
    }

    fn span(&self) -> Span {
        self.leaf.child(self.child)
    }
}

//! The index: which data block holds a key. Separators, one per block, as columns in pages.
//!
//! The *separator* of a block is the shortest key above every key of the block before it and at
//! or below every key of its own; the first block's is empty. What all keys of the table begin
//! with is cut off; of the rest a page has the first eight bytes as an integer (its *head*) and
//! what is longer as a *tail*, needed only where heads are equal. If the versions of one key fill
//! more than a block, the blocks that go on with them have that whole key as their separator and
//! are marked as continuing; a search for the key leads to the block where its versions begin.
//!
//! One page holds some hundred separators. If there are several such leaves, a root of the same
//! form, one page however long, says which leaf.

use std::cmp::Ordering;
use std::ops::{Deref, Range};

use super::page::{ALIGN, At, PAGE_BYTES, Piece, Place, Span, pad, seal, u16_at, u32_at, u64_at};
use super::search::first_where;
use crate::base::error::Result;
use crate::base::invariant;
use crate::base::key::head;
use crate::base::simd::kernels;

/// Bytes before the first head.
const HEADER_BYTES: usize = 16;

/// The children are data blocks.
pub(super) const LEAF: u8 = 0;
/// The children are leaves.
pub(super) const ROOT: u8 = 1;

/// Some separator has a tail, so there is a column of tail offsets.
const TAILS: u8 = 1;

/// In the column of lengths: the child begins with older versions of the separator.
const CONTINUES: u8 = 0x80;

/// A separator: what follows the table's prefix, and whether the child continues a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Separator<'a> {
    /// The first bytes, at most eight, as an integer.
    head: u64,
    head_bytes: u8,
    /// The rest.
    tail: &'a [u8],
    pub(super) continues: bool,
}

impl<'a> Separator<'a> {
    pub(super) fn new(suffix: &'a [u8], continues: bool) -> Self {
        let head_bytes = suffix.len().min(8);
        Self {
            head: head(suffix),
            head_bytes: head_bytes as u8,
            tail: &suffix[head_bytes..],
            continues,
        }
    }

    /// The bytes.
    pub(super) fn suffix(&self) -> Vec<u8> {
        [&self.head.to_be_bytes()[..usize::from(self.head_bytes)], self.tail].concat()
    }

    /// By suffix; the child where a key begins comes before those that continue it. Of two with
    /// equal heads the one with fewer bytes in it is the other's beginning: `ab` and `ab\0`.
    fn order(&self, other: &Separator<'_>) -> Ordering {
        self.head
            .cmp(&other.head)
            .then_with(|| self.head_bytes.cmp(&other.head_bytes))
            .then_with(|| self.tail.cmp(other.tail))
            .then_with(|| self.continues.cmp(&other.continues))
    }
}

/// Where the columns of a page begin.
#[derive(Clone, Copy, Debug)]
struct Layout {
    offsets: usize,
    tail_offsets: usize,
    lengths: usize,
    tails: usize,
}

impl Layout {
    #[inline]
    fn new(children: usize, flags: u8) -> Self {
        let offsets = HEADER_BYTES + 8 * children;
        let tail_offsets = offsets + 4 * (children + 1);
        let lengths = tail_offsets + if flags & TAILS != 0 { 4 * (children + 1) } else { 0 };
        Self { offsets, tail_offsets, lengths, tails: lengths + children }
    }
}

/// A page of the index for a moment.
pub(super) type IndexRef<'a> = IndexPage<&'a [u8]>;

/// A checked page of the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct IndexPage<B> {
    bytes: B,
    children: usize,
    flags: u8,
}

impl<B: Deref<Target = [u8]>> IndexPage<B> {
    /// Takes bytes that passed the check.
    #[inline]
    pub(super) fn trusted(bytes: B) -> Self {
        let children = u16_at(&bytes, 12).into();
        let flags = bytes[15];
        Self { children, flags, bytes }
    }

    /// [`LEAF`] or [`ROOT`].
    pub(super) fn level(&self) -> u8 {
        self.bytes[14]
    }

    /// How many blocks, or leaves, are before the first child in the whole table.
    pub(super) fn first(&self) -> u32 {
        u32_at(&self.bytes, 8)
    }

    /// How many children it has; at least one.
    pub(super) fn children(&self) -> usize {
        self.children
    }

    /// Where child `n` lies.
    #[inline]
    pub(super) fn child(&self, n: usize) -> Span {
        let offset =
            |n| u64::from(u32_at(&self.bytes, self.layout().offsets + 4 * n)) * ALIGN as u64;
        Span::between(offset(n), offset(n + 1))
    }

    /// Where all children lie: they are neighbours.
    pub(super) fn covers(&self) -> Span {
        Span::between(self.child(0).offset, self.child(self.children - 1).end())
    }

    /// The separator in front of child `n`.
    pub(super) fn separator(&self, n: usize) -> Separator<'_> {
        let length = self.bytes[self.layout().lengths + n];
        Separator {
            head: self.head(n),
            head_bytes: length & !CONTINUES,
            tail: &self.bytes[self.tail_range(n)],
            continues: length & CONTINUES != 0,
        }
    }

    /// The last child whose separator is at or before the key with this suffix (behind the
    /// table's prefix) and which does not begin in the middle of its versions; the first child
    /// if all are after it. `suffix_head` is the suffix's [`head`].
    #[inline]
    pub(super) fn find(&self, suffix: &[u8], suffix_head: u64) -> usize {
        let column = &self.bytes[HEADER_BYTES..HEADER_BYTES + 8 * self.children];
        let mut after = kernels().le_heads_below(column, suffix_head);
        if after < self.children && self.head(after) == suffix_head {
            after = self.find_among_equals(after, suffix, suffix_head);
        }
        after.saturating_sub(1)
    }

    /// The first child from `start` on whose separator is after the suffix, whose head some of
    /// them share: equal heads decide nothing.
    #[cold]
    fn find_among_equals(&self, start: usize, suffix: &[u8], suffix_head: u64) -> usize {
        let key = Separator::new(suffix, false);
        let is_after = |n| self.head(n) > suffix_head || self.separator(n).order(&key).is_gt();
        first_where(start..self.children, is_after)
    }

    /// Where its columns begin.
    #[inline]
    fn layout(&self) -> Layout {
        Layout::new(self.children, self.flags)
    }

    #[inline]
    fn head(&self, n: usize) -> u64 {
        u64_at(&self.bytes, HEADER_BYTES + 8 * n)
    }

    fn tail_range(&self, n: usize) -> Range<usize> {
        if self.flags & TAILS == 0 {
            return self.layout().tails..self.layout().tails;
        }
        let offset = |n| u32_at(&self.bytes, self.layout().tail_offsets + 4 * n) as usize;
        self.layout().tails + offset(n)..self.layout().tails + offset(n + 1)
    }
}

impl Piece for IndexRef<'_> {
    const PART: &'static str = "index page";

    fn check(bytes: &[u8], at: At) -> Result<()> {
        at.require(bytes.len() >= HEADER_BYTES, "length", "a header at least")?;
        let page = IndexPage::trusted(bytes);
        at.require(page.level() <= ROOT, "level", "0 or 1")?;
        at.require(page.flags & !TAILS == 0, "flags", "known ones")?;
        at.require(page.children > 0, "children", "one at least")?;
        at.require(page.layout().tails <= page.bytes.len(), "columns", "inside the page")?;
        for n in 0..page.children {
            let at_offset = page.layout().offsets + 4 * n;
            let ascending = u32_at(bytes, at_offset) < u32_at(bytes, at_offset + 4);
            at.require(ascending, "offsets", "in ascending order")?;
        }
        check_tails(&page, at)?;
        for n in 0..page.children {
            let separator = page.separator(n);
            let spare_bits = 64 - 8 * u32::from(separator.head_bytes);
            let padded = separator.head.trailing_zeros() >= spare_bits;
            at.require(padded, "separator", "zeros behind its bytes")?;
            // Of equal ones all but the first continue the key.
            let ascending = n == 0
                || match page.separator(n - 1).order(&separator) {
                    Ordering::Equal => separator.continues,
                    order => order.is_lt(),
                };
            at.require(ascending, "separators", "in ascending order")?;
        }
        Ok(())
    }
}

/// Tails lie end to end inside the page, behind full heads, and only zeros follow them.
fn check_tails(page: &IndexRef<'_>, at: At) -> Result<()> {
    let mut end = page.layout().tails;
    for n in 0..page.children {
        let range = page.tail_range(n);
        let in_place = range.start == end && range.end >= end && range.end <= page.bytes.len();
        at.require(in_place, "tails", "end to end inside the page")?;
        end = range.end;
        let head_bytes = page.bytes[page.layout().lengths + n] & !CONTINUES;
        let whole = head_bytes == 8 || head_bytes < 8 && range.is_empty();
        at.require(whole, "separator", "a tail only behind eight bytes")?;
    }
    at.require_zero(&page.bytes[end..], "padding")
}

/// Gathers separators and offsets of blocks while they are written, and lays out the pages.
#[derive(Debug, Default)]
pub(super) struct IndexBuilder {
    /// Whole separators, end to end: the table's prefix is known only when its last key is.
    separators: Vec<u8>,
    children: Vec<Child>,
}

/// A block or leaf that is already written.
#[derive(Clone, Copy, Debug)]
struct Child {
    separator_end: usize,
    continues: bool,
    offset: u64,
}

impl IndexBuilder {
    /// Adds the child that begins at `offset`, behind the others.
    pub(super) fn add(&mut self, separator: &[u8], continues: bool, offset: u64) {
        self.separators.extend_from_slice(separator);
        let separator_end = self.separators.len();
        self.children.push(Child { separator_end, continues, offset });
    }

    /// How many children were added.
    pub(super) fn children(&self) -> usize {
        self.children.len()
    }

    /// About how long the index will be.
    pub(super) fn estimated_bytes(&self) -> usize {
        self.separators.len().min(self.children.len() * 8) + self.children.len() * 13
    }

    /// Appends the whole index to `out`: leaves of about a page, then a root if they are several.
    /// The first of them will lie at `offset`, where the children end. Returns the top page's
    /// place.
    pub(super) fn finish(
        &self,
        prefix_bytes: usize,
        place: Place,
        offset: u64,
        out: &mut Vec<u8>,
    ) -> Span {
        let mut root = Self::default();
        let base = out.len();
        let mut start = 0;
        while start < self.children.len() {
            let end = self.page_end(start, prefix_bytes);
            let leaf_offset = offset + (out.len() - base) as u64;
            root.add(self.separator(start), self.children[start].continues, leaf_offset);
            let next = self.children.get(end).map_or(offset, |child| child.offset);
            self.write_page(LEAF, start..end, next, prefix_bytes, (place, leaf_offset), out);
            start = end;
        }
        let leaves_end = offset + (out.len() - base) as u64;
        if root.children.len() == 1 {
            return Span::between(offset, leaves_end);
        }
        let all = 0..root.children.len();
        root.write_page(ROOT, all, leaves_end, prefix_bytes, (place, leaves_end), out);
        Span::between(leaves_end, offset + (out.len() - base) as u64)
    }

    /// How far a page reaches that begins with child `start`.
    fn page_end(&self, start: usize, prefix_bytes: usize) -> usize {
        let mut tails_bytes = 0;
        for n in start..self.children.len() {
            tails_bytes += self.suffix(n, prefix_bytes).len().saturating_sub(8);
            let flags = if tails_bytes > 0 { TAILS } else { 0 };
            let page_bytes = Layout::new(n + 1 - start, flags).tails + tails_bytes;
            if page_bytes > PAGE_BYTES && n > start {
                return n;
            }
        }
        self.children.len()
    }

    fn write_page(
        &self,
        level: u8,
        children: Range<usize>,
        end: u64,
        prefix_bytes: usize,
        (place, offset): (Place, u64),
        out: &mut Vec<u8>,
    ) {
        let page_start = out.len();
        let separators: Vec<Separator<'_>> = children
            .clone()
            .map(|n| Separator::new(self.suffix(n, prefix_bytes), self.children[n].continues))
            .collect();
        let count = u16::try_from(children.len());
        invariant!(S7, count.is_ok(), "{} children of a page", children.len());
        let has_tails = separators.iter().any(|separator| !separator.tail.is_empty());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&(children.start as u32).to_le_bytes());
        out.extend_from_slice(&(children.len() as u16).to_le_bytes());
        out.extend_from_slice(&[level, if has_tails { TAILS } else { 0 }]);
        for separator in &separators {
            out.extend_from_slice(&separator.head.to_le_bytes());
        }
        let offsets = self.children[children].iter().map(|child| child.offset);
        for offset in offsets.chain([end]) {
            out.extend_from_slice(&in_lines(offset).to_le_bytes());
        }
        if has_tails {
            let mut tail_end = 0_u32;
            out.extend_from_slice(&tail_end.to_le_bytes());
            for separator in &separators {
                tail_end += separator.tail.len() as u32;
                out.extend_from_slice(&tail_end.to_le_bytes());
            }
        }
        for separator in &separators {
            out.push(separator.head_bytes | if separator.continues { CONTINUES } else { 0 });
        }
        for separator in &separators {
            out.extend_from_slice(separator.tail);
        }
        pad(out, page_start);
        seal(&mut out[page_start..], place, offset);
    }

    fn separator(&self, n: usize) -> &[u8] {
        let start = if n == 0 { 0 } else { self.children[n - 1].separator_end };
        &self.separators[start..self.children[n].separator_end]
    }

    /// What follows the table's prefix in separator `n`. The first block's separator is empty.
    fn suffix(&self, n: usize, prefix_bytes: usize) -> &[u8] {
        let separator = self.separator(n);
        &separator[prefix_bytes.min(separator.len())..]
    }
}

/// An offset as the index stores it: in lines of 64 bytes, so that 32 bits reach 256 GiB.
fn in_lines(offset: u64) -> u32 {
    let lines = u32::try_from(offset / ALIGN as u64);
    invariant!(S3, offset.is_multiple_of(ALIGN as u64), "a piece at {offset}");
    invariant!(S7, lines.is_ok(), "a piece at {offset}");
    lines.unwrap_or_default()
}

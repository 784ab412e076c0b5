//! A data block: header, fingerprints, sampled heads, tags, offsets, key suffixes, values, each
//! a column. FORMAT.md has the layout.
//!
//! A point search scans the fingerprints, one byte per entry, and compares the keys they leave,
//! 1.26 of 68 on average. A seek searches the sampled heads and then compares within eight
//! entries. A scan adds to positions. Nothing is decoded, and no value is touched unless asked for.
//!
//! [`Piece::check`] looks once, when a block comes from disk, at everything that the accessors rely
//! on (`block_check`); they index without asking again.

use std::cmp::Ordering;
use std::ops::{Deref, Range};

use super::block_check;
use super::block_layout::{
    DISTINCT, FIXED_SUFFIX, FIXED_VALUE, FLAGS_KNOWN, GOES_ON, HEAD_SHIFT, HEADER_BYTES, Header,
    Layout, Shape, WIDE,
};
use super::compression::Compression;
use super::page::{ALIGN, At, Piece, u16_at, u32_at, u64_at};
use super::search::first_where;
use crate::base::cursor::Direction;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::key::{Kind, SeqNo, Tag, head};
use crate::base::simd::{self, kernels};

/// The one-byte fingerprint of a key: the top of its hash.
pub(super) fn fingerprint(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// Suffixes up to this length are copied together with what follows them.
pub(super) const SUFFIX_COPIED_BYTES: usize = 16;

/// So many bytes of values are asked for when a walk begins.
const VALUES_PREFETCHED_BYTES: usize = 512;

/// What [`BlockRef::find`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// The newest visible version.
    Entry(Tag, &'a [u8]),
    /// No visible version here, and the key's versions end in this block.
    Nothing,
    /// No visible version here, but the next block has older ones.
    GoesOn,
}

/// A block for a moment.
pub(super) type BlockRef<'a> = Block<&'a [u8]>;

/// A checked block.
#[derive(Clone, Debug)]
pub(super) struct Block<B> {
    pub(super) image: B,
    pub(super) shape: Shape,
    pub(super) layout: Layout,
    /// Of each suffix if fixed.
    pub(super) suffix_bytes: usize,
    /// Of each value if fixed.
    pub(super) value_bytes: usize,
    tombstones: usize,
    pub(super) tag_base: u64,
}

impl<B: Deref<Target = [u8]>> Block<B> {
    /// Takes bytes that passed the check. Always in line: who looks for one entry needs a few of the
    /// fields, and then only they are made.
    #[inline(always)]
    pub(super) fn trusted(bytes: B) -> Self {
        let header = Header::read(&bytes);
        Self::with_header(bytes, &header).expect("the block was checked when it was loaded")
    }

    /// How many entries it has; at least one.
    pub(super) fn entries(&self) -> usize {
        self.shape.entries
    }

    /// The bytes that all its keys begin with.
    #[inline]
    pub(super) fn prefix(&self) -> &[u8] {
        &self.image[HEADER_BYTES..HEADER_BYTES + self.shape.prefix_bytes]
    }

    /// What follows the prefix in the key of entry `n`.
    #[inline]
    pub(super) fn suffix(&self, n: usize) -> &[u8] {
        &self.image[self.suffix_range(n)]
    }

    #[inline]
    fn suffix_range(&self, n: usize) -> Range<usize> {
        let Range { start, end } = if self.shape.has(FIXED_SUFFIX) {
            n * self.suffix_bytes..(n + 1) * self.suffix_bytes
        } else {
            self.offsets(self.layout.key_offsets, n)
        };
        self.layout.suffixes + start..self.layout.suffixes + end
    }

    /// The head of the suffix of entry `n`. What lies behind a short one is loaded and cut off.
    #[inline]
    pub(super) fn suffix_head(&self, n: usize) -> u64 {
        let range = self.suffix_range(n);
        match self.image[range.start..].first_chunk() {
            Some(bytes) if (1..8).contains(&range.len()) => {
                u64::from_be_bytes(*bytes) & u64::MAX << (64 - 8 * range.len())
            }
            _ => head(&self.image[range]),
        }
    }

    /// Puts what follows the prefix in the key of entry `n` behind the first `prefix_bytes` of
    /// `key`, which is at least [`SUFFIX_COPIED_BYTES`] longer, and perhaps something behind it;
    /// makes `key` longer if need be. Returns the length of the key.
    ///
    /// One copy of a fixed length takes two instructions where one of any length is a call.
    #[inline(always)]
    pub(super) fn put_suffix(&self, n: usize, key: &mut Vec<u8>, prefix_bytes: usize) -> usize {
        let Range { start, end } = self.suffix_range(n);
        let key_bytes = prefix_bytes + (end - start);
        if end - start <= SUFFIX_COPIED_BYTES
            && let Some(from) = self.image[start..].first_chunk::<SUFFIX_COPIED_BYTES>()
            && let Some(to) = key[prefix_bytes..].first_chunk_mut::<SUFFIX_COPIED_BYTES>()
        {
            *to = *from;
        } else {
            key.truncate(prefix_bytes);
            key.extend_from_slice(&self.image[start..end]);
            key.resize(key_bytes.max(prefix_bytes + SUFFIX_COPIED_BYTES), 0);
        }
        key_bytes
    }

    /// How long its prefix is.
    #[inline]
    pub(super) fn prefix_bytes(&self) -> usize {
        self.shape.prefix_bytes
    }

    /// How the key of entry `n` compares with `key`.
    pub(super) fn compare_key(&self, n: usize, key: &[u8]) -> Ordering {
        let (front, suffix) = key.split_at(key.len().min(self.shape.prefix_bytes));
        self.prefix().cmp(front).then_with(|| self.suffix(n).cmp(suffix))
    }

    /// Appends the key of entry `n` to `out`.
    pub(super) fn append_key(&self, n: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix());
        out.extend_from_slice(self.suffix(n));
    }

    /// How many entries are tombstones.
    pub(super) fn tombstones(&self) -> usize {
        self.tombstones
    }

    /// Whether entry `n` is a tombstone.
    #[inline]
    pub(super) fn is_tombstone(&self, n: usize) -> bool {
        self.tag_word(n) as u8 == Kind::Delete as u8
    }

    /// Whether no two entries have the same key.
    pub(super) fn is_distinct(&self) -> bool {
        self.shape.has(DISTINCT)
    }

    /// Sequence number and kind of entry `n`.
    pub(super) fn tag(&self, n: usize) -> Tag {
        tag_of(self.tag_word(n))
    }

    /// The value of entry `n`.
    #[inline]
    pub(super) fn value(&self, n: usize) -> &[u8] {
        &self.image[self.value_range(n)]
    }

    /// Asks memory for the first lines of values that a walk from entry `n` on will look at: the
    /// processor sees that lines follow each other only after it has waited for some of them.
    pub(super) fn prefetch_values(&self, n: usize, direction: Direction) {
        let Range { start, end } = self.value_range(n);
        let (first, last) = match direction {
            Direction::Forward => (start, start + VALUES_PREFETCHED_BYTES),
            Direction::Back => (end.saturating_sub(VALUES_PREFETCHED_BYTES), end),
        };
        for at in (first..last.min(self.image.len())).step_by(ALIGN) {
            simd::prefetch(&self.image[at]);
        }
    }

    /// Whether the next block begins with older versions of the last key.
    pub(super) fn goes_on(&self) -> bool {
        self.shape.has(GOES_ON)
    }

    #[inline]
    pub(super) fn fingerprints(&self) -> &[u8] {
        let start = self.layout.fingerprints;
        &self.image[start..start + self.shape.entries]
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The first entry at or after `(key, tag)`, the number of entries if all are before it.
    pub(super) fn first_at(&self, key: &[u8], tag: Tag) -> usize {
        let (front, suffix) = key.split_at(key.len().min(self.shape.prefix_bytes));
        match front.cmp(self.prefix()) {
            Ordering::Less => return 0,
            Ordering::Greater => return self.entries(),
            Ordering::Equal => {}
        }
        // Between the last sampled entry that is surely before it and the first surely after it.
        let wanted = head(suffix);
        let heads = self.shape.heads();
        let column = &self.image[self.layout.heads..self.layout.heads + 8 * heads];
        let not_before = kernels().le_heads_below(column, wanted);
        let after = first_where(not_before..heads, |group| self.head(group) > wanted);
        let start = not_before.checked_sub(1).map_or(0, |group| (group << HEAD_SHIFT) + 1);
        let end = (after << HEAD_SHIFT).min(self.entries());
        first_where(start..end, |n| {
            let order = self.suffix(n).cmp(suffix);
            order.then_with(|| tag.to_u64().cmp(&self.tag_word(n))).is_ge()
        })
    }

    pub(super) fn head(&self, group: usize) -> u64 {
        u64_at(&self.image, self.layout.heads + 8 * group)
    }

    #[inline]
    pub(super) fn tag_word(&self, n: usize) -> u64 {
        let at = self.layout.tags + n * self.shape.tag_bytes;
        let distance = match self.shape.tag_bytes {
            0 => 0,
            2 => u16_at(&self.image, at).into(),
            4 => u32_at(&self.image, at).into(),
            _ => u64_at(&self.image, at),
        };
        self.tag_base.wrapping_add(distance)
    }

    /// Where in the block the value of entry `n` lies.
    #[inline]
    pub(super) fn value_range(&self, n: usize) -> Range<usize> {
        let Range { start, end } = if self.shape.has(FIXED_VALUE) {
            n * self.value_bytes..(n + 1) * self.value_bytes
        } else {
            self.offsets(self.layout.value_offsets, n)
        };
        self.layout.values + start..self.layout.values + end
    }

    /// Entry `n`'s range according to the column of offsets at `column`.
    #[inline]
    pub(super) fn offsets(&self, column: usize, n: usize) -> Range<usize> {
        if self.shape.has(WIDE) {
            let at = column + 4 * n;
            u32_at(&self.image, at) as usize..u32_at(&self.image, at + 4) as usize
        } else {
            let at = column + 2 * n;
            u16_at(&self.image, at).into()..u16_at(&self.image, at + 2).into()
        }
    }

    /// `None` if the columns reach out of the image.
    #[inline(always)]
    pub(super) fn with_header(image: B, header: &Header) -> Option<Self> {
        let (shape, layout) = header.columns(image.get(..header.image_bytes as usize)?)?;
        Some(Self {
            layout,
            shape,
            suffix_bytes: header.suffix_bytes.into(),
            value_bytes: header.value_bytes as usize,
            tombstones: header.tombstones.into(),
            tag_base: header.tag_base,
            image,
        })
    }
}

impl<'a> BlockRef<'a> {
    /// The newest version of `key` visible at `seq`. Versions are neighbours, newest first, and
    /// share their fingerprint, so they come up in the order that is wanted.
    #[inline(always)]
    pub(super) fn find(self, key: &[u8], fingerprint: u8, seq: SeqNo) -> Found<'a> {
        let (prefix, suffix) = key.split_at(key.len().min(self.shape.prefix_bytes));
        if !is_equal(prefix, self.prefix()) {
            return Found::Nothing;
        }
        for n in kernels().positions(self.fingerprints(), fingerprint) {
            // It is nearly always the one: its value comes while tag and key do.
            let Range { start, end } = self.value_range(n);
            let value = &self.image[start..end];
            if let (Some(first), Some(last)) = (value.first(), value.last()) {
                simd::prefetch(first);
                simd::prefetch(last);
            }
            let word = self.tag_word(n);
            if is_equal(self.suffix(n), suffix) && word >> 8 <= seq.get() {
                return Found::Entry(tag_of(word), value);
            }
        }
        let is_last = || self.suffix(self.entries() - 1) == suffix;
        if self.goes_on() && is_last() { Found::GoesOn } else { Found::Nothing }
    }
}

/// The tag with these bits, which stand in a checked block.
#[inline]
fn tag_of(word: u64) -> Tag {
    Tag::from_u64(word).expect("the kinds of a checked block are known")
}

/// Whether two keys are the same. Nearly all are short, and then it takes no call.
#[inline]
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if a.len() > 16 {
        return a == b;
    }
    match (a.first_chunk::<8>(), b.first_chunk::<8>(), a.last_chunk::<8>(), b.last_chunk::<8>()) {
        // Two pieces cover the key; where they overlap they say the same.
        (Some(a), Some(b), Some(a_end), Some(b_end)) => a == b && a_end == b_end,
        _ => a.iter().zip(b).all(|(a, b)| a == b),
    }
}

impl Piece for BlockRef<'_> {
    const PART: &'static str = "data block";

    fn check(bytes: &[u8], at: At) -> Result<()> {
        at.require(bytes.len() >= HEADER_BYTES, "length", "a header at least")?;
        let header = Header::read(bytes);
        check_header(&header, bytes.len(), at)?;
        at.require_zero(&bytes[header.image_bytes as usize..], "padding")?;
        let Some(block) = Block::with_header(bytes, &header) else {
            let outside = "columns that reach out";
            return Err(at.corrupt("columns", "columns inside the block", outside));
        };
        block_check::check_columns(&block, at)
    }
}

fn check_header(header: &Header, slot_bytes: usize, at: At) -> Result<()> {
    at.expect("compression", Compression::None.code(), header.compression)?;
    let known = header.flags & !FLAGS_KNOWN == 0
        && matches!(header.tag_bytes, 0 | 2 | 4 | 8)
        && header.head_shift == HEAD_SHIFT;
    if !known {
        let text = format!("{} at offset {}: a block of an unknown form", at.file, at.offset);
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    at.expect("stored length", header.image_bytes, header.stored_bytes)?;
    let inside = header.image_bytes as usize <= slot_bytes;
    at.require(inside, "length", "at most what the index says")?;
    at.require(header.image_bytes as usize >= HEADER_BYTES, "length", "a header at least")?;
    at.require(header.entries > 0, "entries", "one at least")?;
    let fixed = |flag, bytes| header.flags & flag != 0 || bytes == 0;
    at.require(
        fixed(FIXED_SUFFIX, header.suffix_bytes.into()) && fixed(FIXED_VALUE, header.value_bytes),
        "fixed lengths",
        "zero where lengths vary",
    )
}

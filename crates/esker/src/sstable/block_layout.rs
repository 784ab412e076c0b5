//! The header of a data block, and where its columns lie: what builder and reader agree on.
//! FORMAT.md has the table.

use super::page::{ALIGN, u16_at, u32_at, u64_at};

/// Bytes before the prefix.
pub(super) const HEADER_BYTES: usize = 40;

/// Most entries of one block: their number is stored in 16 bits.
pub(super) const ENTRIES_MAX: usize = u16::MAX as usize;

/// Every eighth entry has its head in the column of heads.
pub(super) const HEAD_SHIFT: u8 = 3;

/// All suffixes have the length that the header says; there are no key offsets.
pub(super) const FIXED_SUFFIX: u8 = 1;
/// All values have the length that the header says; there are no value offsets.
pub(super) const FIXED_VALUE: u8 = 2;
/// Offsets are 32 bits wide instead of 16.
pub(super) const WIDE: u8 = 4;
/// The next block begins with older versions of this block's last key.
pub(super) const GOES_ON: u8 = 8;
/// No two entries have the same key.
pub(super) const DISTINCT: u8 = 16;
/// All of them.
pub(super) const FLAGS_KNOWN: u8 = FIXED_SUFFIX | FIXED_VALUE | WIDE | GOES_ON | DISTINCT;

/// What the header says about the columns, and what determines where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) entries: usize,
    pub(super) prefix_bytes: usize,
    pub(super) flags: u8,
    /// 0: all tags are the base; 2, 4, 8: that many bytes of distance from it each.
    pub(super) tag_bytes: usize,
    /// Of all suffixes together.
    pub(super) suffix_bytes: usize,
    /// Of all values together.
    pub(super) value_bytes: usize,
}

/// Where the columns of a block begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) fingerprints: usize,
    pub(super) heads: usize,
    pub(super) tags: usize,
    pub(super) value_offsets: usize,
    pub(super) key_offsets: usize,
    pub(super) suffixes: usize,
    pub(super) values: usize,
    pub(super) end: usize,
}

impl Shape {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn heads(&self) -> usize {
        self.entries.div_ceil(1 << HEAD_SHIFT)
    }

    /// Bytes of one offset.
    pub(super) fn offset_bytes(&self) -> usize {
        if self.has(WIDE) { 4 } else { 2 }
    }

    #[inline(always)]
    pub(super) fn layout(&self) -> Layout {
        let offsets_bytes = (self.entries + 1) * self.offset_bytes();
        let unless = |flag| if self.has(flag) { 0 } else { offsets_bytes };
        let fingerprints = (HEADER_BYTES + self.prefix_bytes).next_multiple_of(ALIGN);
        let heads = (fingerprints + self.entries).next_multiple_of(8);
        let tags = heads + 8 * self.heads();
        let value_offsets = tags + self.entries * self.tag_bytes;
        let key_offsets = value_offsets + unless(FIXED_VALUE);
        let suffixes = key_offsets + unless(FIXED_SUFFIX);
        let values = suffixes + self.suffix_bytes;
        let end = values + self.value_bytes;
        Layout { fingerprints, heads, tags, value_offsets, key_offsets, suffixes, values, end }
    }
}

/// The fixed part at the front of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Length without compression and padding, this header included.
    pub(super) image_bytes: u32,
    /// Length as stored, without padding.
    pub(super) stored_bytes: u32,
    pub(super) entries: u16,
    pub(super) prefix_bytes: u16,
    /// Of each suffix if [`FIXED_SUFFIX`], else 0.
    pub(super) suffix_bytes: u16,
    pub(super) compression: u8,
    pub(super) flags: u8,
    /// Of each value if [`FIXED_VALUE`], else 0.
    pub(super) value_bytes: u32,
    pub(super) tag_bytes: u8,
    pub(super) head_shift: u8,
    pub(super) tombstones: u16,
    /// The lowest tag.
    pub(super) tag_base: u64,
}

impl Header {
    /// Reads the front of a block; `bytes` has at least [`HEADER_BYTES`].
    #[inline(always)]
    pub(super) fn read(bytes: &[u8]) -> Self {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().expect("a block has a header");
        Self {
            image_bytes: u32_at(bytes, 8),
            stored_bytes: u32_at(bytes, 12),
            entries: u16_at(bytes, 16),
            prefix_bytes: u16_at(bytes, 18),
            suffix_bytes: u16_at(bytes, 20),
            compression: bytes[22],
            flags: bytes[23],
            value_bytes: u32_at(bytes, 24),
            tag_bytes: bytes[28],
            head_shift: bytes[29],
            tombstones: u16_at(bytes, 30),
            tag_base: u64_at(bytes, 32),
        }
    }

    /// Appends it, with a checksum of zero.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.image_bytes.to_le_bytes());
        out.extend_from_slice(&self.stored_bytes.to_le_bytes());
        out.extend_from_slice(&self.entries.to_le_bytes());
        out.extend_from_slice(&self.prefix_bytes.to_le_bytes());
        out.extend_from_slice(&self.suffix_bytes.to_le_bytes());
        out.extend_from_slice(&[self.compression, self.flags]);
        out.extend_from_slice(&self.value_bytes.to_le_bytes());
        out.extend_from_slice(&[self.tag_bytes, self.head_shift]);
        out.extend_from_slice(&self.tombstones.to_le_bytes());
        out.extend_from_slice(&self.tag_base.to_le_bytes());
    }

    /// The columns of an image with this header: totals are where the columns of variable lengths
    /// say, and what is left for the values. `None` if they lie outside.
    #[inline(always)]
    pub(super) fn columns(&self, image: &[u8]) -> Option<(Shape, Layout)> {
        let entries = usize::from(self.entries);
        let mut shape = Shape {
            entries,
            prefix_bytes: self.prefix_bytes.into(),
            flags: self.flags,
            tag_bytes: self.tag_bytes.into(),
            suffix_bytes: entries * usize::from(self.suffix_bytes),
            value_bytes: 0,
        };
        let mut layout = shape.layout();
        if !shape.has(FIXED_SUFFIX) {
            // The last key offset is the length of all suffixes.
            let last = layout.key_offsets + entries * shape.offset_bytes();
            shape.suffix_bytes = offset_from(image.get(last..last + shape.offset_bytes())?);
            layout.values = layout.suffixes + shape.suffix_bytes;
        }
        shape.value_bytes = image.len().checked_sub(layout.values)?;
        layout.end = image.len();
        Some((shape, layout))
    }
}

/// An offset of two or four bytes.
fn offset_from(field: &[u8]) -> usize {
    match field.len() {
        2 => u16_at(field, 0).into(),
        _ => u32_at(field, 0) as usize,
    }
}

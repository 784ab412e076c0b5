//! The filter: a Bloom filter in lines of 64 bytes. A key's bits all lie in one line, so a probe
//! costs one cache miss.
//!
//! The upper half of the key's hash chooses the line, the lower half the bits: the top nine bits
//! of it, multiplied again and again by an odd constant. At ten bits a key and six probes about
//! 1 % of foreign keys pass (0.84 % would if bits could lie anywhere).
//!
//! Lines lie in pages of 8 KiB, one line of header and 127 of filter, so that a probe needs one
//! page of the filter in memory and not all of it.

use std::ops::Deref;

use super::page::{
    ALIGN, At, CHECKSUM_BYTES, PAGE_BYTES, Piece, Place, Span, seal, u16_at, u32_at,
};
use crate::base::error::Result;
use crate::base::invariant;
use crate::base::simd::{LINE_BITS_MAX, Line, kernels};

/// Lines of a full page, its header not counted.
pub(super) const LINES_PER_PAGE: u32 = (PAGE_BYTES / ALIGN) as u32 - 1;

/// What the properties say about a filter, enough to find a key's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct FilterShape {
    /// 0: there is no filter.
    pub(super) lines: u32,
    pub(super) probes: u8,
}

impl FilterShape {
    /// The filter for so many distinct keys.
    pub(super) fn new(keys: usize, bits_per_key: u32) -> Self {
        if bits_per_key == 0 {
            return Self::default();
        }
        let bits = keys as u64 * u64::from(bits_per_key);
        let lines = u32::try_from(bits.div_ceil(8 * ALIGN as u64));
        invariant!(S7, lines.is_ok(), "a filter of {bits} bits");
        // Bits per key times ln 2 is best; a line's uneven load asks for a little less.
        let probes = (bits_per_key * 69 / 100).clamp(1, LINE_BITS_MAX);
        Self { lines: lines.unwrap_or_default().max(1), probes: probes as u8 }
    }

    /// Length of the whole filter in the file.
    pub(super) fn bytes(self) -> u64 {
        let pages = u64::from(self.lines.div_ceil(LINES_PER_PAGE));
        (pages + u64::from(self.lines)) * ALIGN as u64
    }

    /// How many pages that are.
    pub(super) fn pages(self) -> u32 {
        self.lines.div_ceil(LINES_PER_PAGE)
    }

    /// Where page `n` lies in a filter that begins at `offset`.
    pub(super) fn page(self, n: u32, offset: u64) -> Span {
        let start = u64::from(n) * PAGE_BYTES as u64;
        let end = (start + PAGE_BYTES as u64).min(self.bytes());
        Span::between(offset + start, offset + end)
    }

    /// Whether all bits of the key with this hash are set in its line.
    #[inline]
    pub(super) fn may_contain(self, line: &Line, hash: u64) -> bool {
        kernels().line_holds(line, hash as u32, self.probes.into())
    }

    /// The page and the line in it of a key with this hash.
    #[inline]
    pub(super) fn place_of(self, hash: u64) -> (u32, u32) {
        let line = (((hash >> 32) * u64::from(self.lines)) >> 32) as u32;
        (line / LINES_PER_PAGE, line % LINES_PER_PAGE)
    }

    /// Appends the filter over the keys with these hashes to `out`; it will lie at `offset`.
    pub(super) fn build(self, hashes: &[u64], place: Place, offset: u64, out: &mut Vec<u8>) {
        if self.lines == 0 {
            return;
        }
        let start = out.len();
        out.resize(start + self.bytes() as usize, 0);
        let filter = &mut out[start..];
        let (lines, _) = filter.as_chunks_mut();
        let kernels = kernels();
        for hash in hashes {
            let (page, line) = self.place_of(*hash);
            let line = page as usize * (PAGE_BYTES / ALIGN) + 1 + line as usize;
            kernels.line_add(&mut lines[line], *hash as u32, self.probes.into());
        }
        for n in 0..self.pages() {
            let span = self.page(n, 0);
            let page = &mut filter[span.offset as usize..span.end() as usize];
            let lines = (page.len() / ALIGN - 1) as u16;
            page[8..12].copy_from_slice(&n.to_le_bytes());
            page[12..14].copy_from_slice(&lines.to_le_bytes());
            page[14] = self.probes;
            seal(page, place, offset + span.offset);
        }
    }
}

/// A page of the filter for a moment.
pub(super) type FilterRef<'a> = FilterPage<&'a [u8]>;

/// A checked page of the filter.
#[derive(Clone, Debug)]
pub(super) struct FilterPage<B> {
    bytes: B,
}

impl<B: Deref<Target = [u8]>> FilterPage<B> {
    /// Takes bytes that passed the check.
    pub(super) fn trusted(bytes: B) -> Self {
        Self { bytes }
    }

    /// Which page of the filter it says it is.
    pub(super) fn number(&self) -> u32 {
        u32_at(&self.bytes, 8)
    }

    /// How many bits of a key it says a probe looks at.
    pub(super) fn probes(&self) -> u8 {
        self.bytes[14]
    }

    /// How full it is.
    pub(super) fn bits_set(&self) -> u32 {
        self.bytes[ALIGN..].iter().map(|byte| byte.count_ones()).sum()
    }

    /// Line number `line` of this page.
    pub(super) fn line(&self, line: u32) -> &Line {
        line_of(&self.bytes, line)
    }
}

/// Line number `line` of a checked page of the filter.
#[inline]
pub(super) fn line_of(page: &[u8], line: u32) -> &Line {
    let (lines, _) = page.as_chunks();
    &lines[1 + line as usize]
}

impl Piece for FilterRef<'_> {
    const PART: &'static str = "filter page";

    fn check(bytes: &[u8], at: At) -> Result<()> {
        let whole = bytes.len().is_multiple_of(ALIGN) && bytes.len() >= 2 * ALIGN;
        at.require(whole, "length", "a header and lines of 64 bytes")?;
        at.expect("lines", bytes.len() / ALIGN - 1, u16_at(bytes, 12).into())?;
        at.require_zero(&bytes[CHECKSUM_BYTES + 7..ALIGN], "padding")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::key_hash;
    use crate::base::key::TableId;

    const PLACE: Place = Place { store_id: 1, table: TableId(2) };

    fn hash(n: u64) -> u64 {
        key_hash(format!("user{n:012}").as_bytes())
    }

    /// The share of keys that are not there and pass.
    fn false_positives(keys: u64, bits_per_key: u32) -> f64 {
        let hashes: Vec<u64> = (0..keys).map(hash).collect();
        let shape = FilterShape::new(hashes.len(), bits_per_key);
        let mut bytes = Vec::new();
        shape.build(&hashes, PLACE, 0, &mut bytes);
        assert_eq!(bytes.len() as u64, shape.bytes());
        let may_contain = |hash| {
            let (page, line) = shape.place_of(hash);
            let span = shape.page(page, 0);
            let page = &bytes[span.offset as usize..span.end() as usize];
            shape.may_contain(line_of(page, line), hash)
        };
        assert!(hashes.iter().all(|hash| may_contain(*hash)), "what is there passes");
        let foreign = 200_000;
        let passed = (keys..keys + foreign).filter(|n| may_contain(hash(*n))).count();
        passed as f64 / foreign as f64
    }

    #[test]
    fn ten_bits_a_key_let_one_foreign_key_in_a_hundred_pass() {
        for keys in [1_000, 30_000, 300_000] {
            let rate = false_positives(keys, 10);
            assert!((0.005..0.016).contains(&rate), "{rate} with {keys} keys");
        }
    }

    #[test]
    fn more_bits_let_fewer_pass() {
        let rates = [1, 4, 10, 16, 30].map(|bits| false_positives(20_000, bits));
        assert!(rates.is_sorted_by(|few, more| few > more), "{rates:?}");
    }

    #[test]
    fn pages_are_full_but_for_the_last() {
        for (keys, lines, bytes) in [(1, 1, 128), (6502, 127, 8192), (6503, 128, 8192 + 128)] {
            let shape = FilterShape::new(keys, 10);
            assert_eq!((shape.lines, shape.bytes()), (lines, bytes), "{keys} keys");
            let last = shape.page(shape.pages() - 1, 0);
            assert_eq!(last.end(), bytes);
        }
        assert_eq!(FilterShape::new(1000, 0).bytes(), 0);
    }
}

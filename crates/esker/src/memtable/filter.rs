//! The filter in front of the tree: most gets of keys that are not here end at one cache line.
//!
//! A Bloom filter in lines of 64 bytes, as tables have it, with about 16 bits a key: of the gets of
//! other keys 1 in 500 goes on to the tree. It is made when a memtable has filled to a part
//! of what it will hold (a small one is searched as fast), from the keys that are there, and for as
//! many as will be there if they go on like that. If more come it passes more, and nothing else.
//!
//! The writer sets bits one by one, in words that only it writes; readers see a bit at the latest
//! when they see the entry, as its commit is published after both.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::arena::Arena;
use crate::base::simd::{line_bits, prefetch};

/// Bits a key in the filter as a whole, and of one key.
const BITS_PER_KEY: u64 = 16;
const BITS_OF_KEY: u32 = 6;

/// One cache line of bits.
#[repr(align(64))]
struct Line([AtomicU64; 8]);

/// A filter in the memory of an arena.
#[derive(Clone, Copy)]
pub(super) struct Filter {
    lines: NonNull<Line>,
    count: u32,
}

// SAFETY: the lines are atomics in memory that lives as long as the memtable, and the filter does
// not leave the memtable. Any thread may read and write atomics.
unsafe impl Send for Filter {}
// SAFETY: as above.
unsafe impl Sync for Filter {}

impl Filter {
    /// An empty filter for so many keys, in an arena whose pieces are aligned to cache lines and
    /// that lives as long as the filter is used.
    pub(super) fn alloc(arena: &mut Arena, keys: u64) -> Self {
        let lines = (keys * BITS_PER_KEY).div_ceil(512).max(1);
        let count = u32::try_from(lines).unwrap_or(u32::MAX);
        let piece = arena.alloc(count as usize * size_of::<Line>());
        let lines = piece.cast::<Line>();
        assert!(lines.is_aligned(), "an arena for cache lines");
        // SAFETY: the piece has `count` lines and is ours alone; zeros are what empty lines are.
        unsafe { lines.write_bytes(0, count as usize) };
        Self { lines, count }
    }

    /// Asks for the key's line.
    pub(super) fn prefetch(self, hash: u64) {
        prefetch(self.line(hash));
    }

    /// Whether a key with this hash may be here.
    #[inline]
    pub(super) fn may_contain(self, hash: u64) -> bool {
        let line = self.line(hash);
        line_bits(hash as u32, BITS_OF_KEY)
            .all(|bit| line.0[bit / 64].load(Relaxed) & (1 << (bit % 64)) != 0)
    }

    /// Adds a key. One thread at a time.
    pub(super) fn add(self, hash: u64) {
        let line = self.line(hash);
        for bit in line_bits(hash as u32, BITS_OF_KEY) {
            let word = &line.0[bit / 64];
            word.store(word.load(Relaxed) | 1 << (bit % 64), Relaxed);
        }
    }

    fn line(&self, hash: u64) -> &Line {
        // The upper half of the hash as a fraction of 2^32, times the number of lines.
        let at = ((hash >> 32) * u64::from(self.count)) >> 32;
        // SAFETY: `at` is less than `count`, and `alloc` made as many lines, which the memtable
        // keeps for as long as it has the filter.
        unsafe { self.lines.add(at as usize).as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::hash::key_hash;
    use crate::memtable::chunk::ChunkPool;

    #[test]
    fn what_was_added_passes_and_of_other_keys_one_in_500() {
        let mut arena = Arena::new(&Arc::new(ChunkPool::new(1 << 16, 0)), 0, 64);
        let hash = |n: u64| key_hash(&n.to_le_bytes());
        for keys in [1, 100, 50_000] {
            let filter = Filter::alloc(&mut arena, keys);
            (0..keys).for_each(|n| filter.add(hash(n)));
            assert!((0..keys).all(|n| filter.may_contain(hash(n))));
            let passed = (0..100_000).filter(|n| filter.may_contain(hash(1 << 40 | n))).count();
            assert!(passed < 400 || keys == 1, "{passed} of 100,000 with {keys} keys");
        }
    }
}

//! The inner loops of searches, over columns, with the widest vectors that the processor has.
//!
//! ```text
//! heads_below      how many 8-byte heads of an ascending column are less than one     nodes, blocks, index
//! matches          which of up to 64 bytes equal one                                  fingerprints
//! line_holds       whether a line of a Bloom filter has all bits of a key             filters
//! line_add         sets them                                                          filters
//! hash_long        XXH3 of more than some hundred bytes                               checksums
//! ```
//!
//! Beside them stands [`crc`], the checksum of short records.
//!
//! One [`Kernels`] is one set of them: [`kernels`] asks the processor once and hands out the best.
//! Whoever searches often keeps the reference; a call through it is one indirect jump. All sets
//! give the same answers: each is tested against [`scalar`], which says what the answers are, and
//! is what processors other than x86-64 run.
//!
//! The environment variable `ESKER_SIMD` (`scalar`, `avx2`, `avx512`) forces a set, for tests and
//! measurements: builds with the feature `internals` look at it, once, and panic if the processor
//! lacks what it names. Without the feature nobody looks.
//!
//! A vector load is not an atomic one. What another thread may change meanwhile is not searched
//! here: that borrow checking asks for `&[u64]` and not `&[AtomicU64]` says so.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod crc;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod stripes;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

pub use self::scalar::line_bits;

/// A line of a Bloom filter: a cache line, if the caller aligns it.
pub type Line = [u8; 64];

/// Most bits that a key has in a [`Line`]: as many as a vector of 32 bytes holds positions.
pub const LINE_BITS_MAX: u32 = 8;

/// XXH3 treats shorter inputs in other ways, which are fast without vectors.
pub const LONG_BYTES_MIN: usize = 241;

/// A set of kernels.
///
/// The functions of a set must not run on a processor that lacks its instructions: that is what
/// makes them `unsafe` to call. [`kernels`] and [`available`], which ask the processor, are the
/// only ways to a set.
pub struct Kernels {
    name: &'static str,
    heads_below: unsafe fn(&[u64], u64) -> usize, // SAFETY: asked of the processor, see above.
    le_heads_below: unsafe fn(&[[u8; 8]], u64) -> usize, // SAFETY: as above.
    matches: unsafe fn(&[u8], u8) -> u64,         // SAFETY: as above.
    line_holds: unsafe fn(&Line, u32, u32) -> bool, // SAFETY: as above.
    line_add: unsafe fn(&mut Line, u32, u32),     // SAFETY: as above.
    hash_long: unsafe fn(&[u8], u64) -> u64,      // SAFETY: as above.
}

impl Kernels {
    /// `scalar`, `avx2` or `avx512`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many of `heads`, which ascend, are less than `target`.
    #[inline]
    pub fn heads_below(&self, heads: &[u64], target: u64) -> usize {
        // SAFETY: whoever has a set has it from `available`: the processor has its instructions.
        unsafe { (self.heads_below)(heads, target) }
    }

    /// The same for a column as it stands in a file: little-endian, at any address. Its length is
    /// a multiple of 8.
    #[inline]
    pub fn le_heads_below(&self, column: &[u8], target: u64) -> usize {
        let (heads, rest) = column.as_chunks();
        debug_assert!(rest.is_empty(), "a column of {} bytes", column.len());
        // SAFETY: as in `heads_below`.
        unsafe { (self.le_heads_below)(heads, target) }
    }

    /// Bit *n* is set where `column[n]` is `byte`, for a column of up to 64 bytes.
    #[inline]
    pub fn matches(&self, column: &[u8], byte: u8) -> u64 {
        assert!(column.len() <= 64, "{} bytes do not fit one mask", column.len());
        // SAFETY: as in `heads_below`; the length that the kernels rely on was just checked.
        unsafe { (self.matches)(column, byte) }
    }

    /// Where in `column`, of any length, `byte` stands, ascending.
    #[inline]
    pub fn positions<'c>(&'static self, column: &'c [u8], byte: u8) -> Positions<'c> {
        Positions { kernels: self, column, byte, start: 0, next: 0, hits: 0 }
    }

    /// Whether all [`line_bits`] of `hash` are set in `line`.
    #[inline]
    pub fn line_holds(&self, line: &Line, hash: u32, bits: u32) -> bool {
        debug_assert!(bits <= LINE_BITS_MAX, "{bits} bits a key");
        // SAFETY: as in `heads_below`.
        unsafe { (self.line_holds)(line, hash, bits) }
    }

    /// Sets all [`line_bits`] of `hash` in `line`.
    #[inline]
    pub fn line_add(&self, line: &mut Line, hash: u32, bits: u32) {
        debug_assert!(bits <= LINE_BITS_MAX, "{bits} bits a key");
        // SAFETY: as in `heads_below`.
        unsafe { (self.line_add)(line, hash, bits) }
    }

    /// XXH3, 64 bits, of at least [`LONG_BYTES_MIN`] bytes.
    #[inline]
    pub fn hash_long(&self, bytes: &[u8], seed: u64) -> u64 {
        assert!(bytes.len() >= LONG_BYTES_MIN, "{} bytes are no long input", bytes.len());
        // SAFETY: as in `heads_below`.
        unsafe { (self.hash_long)(bytes, seed) }
    }
}

/// What [`Kernels::positions`] returns. It looks at 64 bytes at a time, when it gets there.
pub struct Positions<'c> {
    kernels: &'static Kernels,
    column: &'c [u8],
    byte: u8,
    /// Where the bytes begin whose matches are in `hits`.
    start: usize,
    /// Where the bytes begin that were not looked at yet.
    next: usize,
    hits: u64,
}

impl Iterator for Positions<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.hits == 0 {
            let rest = &self.column[self.next..];
            if rest.is_empty() {
                return None;
            }
            let chunk = &rest[..rest.len().min(64)];
            self.start = self.next;
            self.next += chunk.len();
            self.hits = self.kernels.matches(chunk, self.byte);
        }
        let at = self.hits.trailing_zeros() as usize;
        self.hits &= self.hits - 1;
        Some(self.start + at)
    }
}

/// The best set that the processor has, or the one that `ESKER_SIMD` forces.
#[inline]
pub fn kernels() -> &'static Kernels {
    static CHOSEN: OnceLock<&'static Kernels> = OnceLock::new();
    CHOSEN.get_or_init(|| match forced() {
        Some(name) => available()
            .find(|set| set.name == name)
            .unwrap_or_else(|| panic!("ESKER_SIMD={name}: not a set that this processor has")),
        None => available().next().expect("there is always the scalar one"),
    })
}

/// All sets that this processor has, the best one first.
pub fn available() -> impl Iterator<Item = &'static Kernels> {
    #[cfg(target_arch = "x86_64")]
    let vector_sets = [
        (std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512vl")
            && std::arch::is_x86_feature_detected!("popcnt"))
        .then_some(&avx512::KERNELS),
        std::arch::is_x86_feature_detected!("avx2").then_some(&avx2::KERNELS),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let vector_sets = [None; 0];
    vector_sets.into_iter().flatten().chain([&scalar::KERNELS])
}

fn forced() -> Option<String> {
    if cfg!(any(test, feature = "internals")) { std::env::var("ESKER_SIMD").ok() } else { None }
}

/// Asks the processor for the cache line of `at` ahead of its use.
#[inline]
pub fn prefetch<T>(at: &T) {
    prefetch_address(at);
}

/// Asks the processor for the cache line at an address, which may be any.
#[inline]
pub fn prefetch_address<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint: it reads nothing that the program could see and faults
        // nowhere. SSE, to which it belongs, is part of every x86-64 processor.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Narrows a search in `0..len`, without a branch, until at most 64 places or so are left, and
/// returns them. `is_below` is true up to some place and false from there on, which is kept.
///
/// It asks at seven places at once and not one after the other in halves: where the column is not
/// in a near cache, seven misses that overlap take as long as one.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn narrow(mut len: usize, is_below: impl Fn(usize) -> bool) -> std::ops::Range<usize> {
    let mut start = 0;
    while len > 64 {
        let eighth = len / 8;
        let below: usize = (1..8).map(|n| usize::from(is_below(start + n * eighth - 1))).sum();
        start += below * eighth;
        len = if below == 7 { len - 7 * eighth } else { eighth };
    }
    start..start + len
}

/// The same heads as they stand in memory.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn as_bytes(heads: &[u64]) -> &[[u8; 8]] {
    // SAFETY: a `u64` is eight initialised bytes, and bytes may stand at any address. These
    // processors are little-endian: the lowest byte comes first.
    unsafe { std::slice::from_raw_parts(heads.as_ptr().cast(), heads.len()) }
}

//! The kernels without vectors: what the others must equal, and what runs where they do not.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Kernels, LINE_BITS_MAX, Line};

pub(super) static KERNELS: Kernels = Kernels {
    name: "scalar",
    heads_below,
    le_heads_below,
    matches,
    line_holds,
    line_add,
    hash_long: xxh3_64_with_seed,
};

/// An odd number near 2³² divided by the golden ratio: multiples of it spread well.
const LINE_STEP: u32 = 0x9e37_79b9;

/// The powers of [`LINE_STEP`], from the zeroth on.
pub(super) const LINE_POWERS: [u32; LINE_BITS_MAX as usize] = {
    let mut powers = [1; LINE_BITS_MAX as usize];
    let mut n = 1;
    while n < powers.len() {
        powers[n] = LINE_STEP.wrapping_mul(powers[n - 1]);
        n += 1;
    }
    powers
};

/// The numbers, from 0 to 511, of the bits of a key in its line of a filter: the top nine bits of
/// `hash`, multiplied by an odd number again and again. Part of the table format.
#[inline]
pub fn line_bits(hash: u32, bits: u32) -> impl Iterator<Item = usize> {
    let powers = &LINE_POWERS[..bits as usize];
    powers.iter().map(move |power| (hash.wrapping_mul(*power) >> 23) as usize)
}

fn heads_below(heads: &[u64], target: u64) -> usize {
    heads.partition_point(|head| *head < target)
}

fn le_heads_below(heads: &[[u8; 8]], target: u64) -> usize {
    heads.partition_point(|head| u64::from_le_bytes(*head) < target)
}

/// Eight bytes at a time: `x` has a zero byte where the column has `byte`.
pub(super) fn matches(column: &[u8], byte: u8) -> u64 {
    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    /// Multiplied by it, the lowest bits of eight bytes come together in the topmost byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let mut mask = 0;
    for (n, chunk) in column.chunks(8).enumerate() {
        let mut lanes = [!byte; 8];
        lanes[..chunk.len()].copy_from_slice(chunk);
        let x = u64::from_le_bytes(lanes) ^ u64::from_le_bytes([byte; 8]);
        // The high bit of each byte of the sum: whether any bit of that byte of `x` is set. No
        // carry leaves a byte, since two numbers below 2^7 are added.
        let zero_bytes = !(((x & LOW_BITS) + LOW_BITS) | x | LOW_BITS);
        mask |= ((zero_bytes >> 7).wrapping_mul(GATHER) >> 56) << (8 * n);
    }
    mask
}

fn line_holds(line: &Line, hash: u32, bits: u32) -> bool {
    line_bits(hash, bits).all(|bit| line[bit / 8] & (1 << (bit % 8)) != 0)
}

pub(super) fn line_add(line: &mut Line, hash: u32, bits: u32) {
    for bit in line_bits(hash, bits) {
        line[bit / 8] |= 1 << (bit % 8);
    }
}

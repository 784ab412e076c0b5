//! What the store is filled with: keys and values that can be checked when they come back.
//!
//! A *record* is a number. Its key is a decimal number of a fixed width, zeros in front, as
//! LevelDB's benchmark has them: keys with a long common prefix, which is what stores meet in
//! practice. Four numbers belong to each record of a fill:
//!
//! ```text
//! 4 r       the record r itself
//! 4 r + 2   missing: no record ever has it, and it lies between two that do
//! 4 r + 1   given, in a random order of r, to records that YCSB inserts later;
//! 4 r + 3   the same, once the first are used up
//! ```
//!
//! A value begins with the *stamp* of its key, so that a wrong one is seen at the cost of a
//! multiplication; the rest comes from a pool of bytes that compress to half their size.

use crate::random::{Permutation, Random};

/// Bytes of a key, unless chosen otherwise.
pub const KEY_BYTES_DEFAULT: usize = 16;

/// Least and most bytes of a key.
pub const KEY_BYTES_MIN: usize = 8;
/// Most bytes of a key.
pub const KEY_BYTES_MAX: usize = 1024;

/// The pool is made of pieces, each of which begins with random bytes and repeats them: values
/// compress to half their size, as those of other benchmarks do.
const PIECE_BYTES: usize = 100;
const RANDOM_BYTES_OF_PIECE: usize = 50;

/// Bytes of the pool, if values are small: it stays in a core's cache.
const POOL_BYTES: usize = 256 << 10;

/// Records in the order in which they were made, and their numbers.
#[derive(Clone, Debug)]
pub struct Records {
    filled: u64,
    order_of_inserted: Permutation,
}

impl Records {
    /// A store that was filled with so many.
    pub fn new(filled: u64) -> Self {
        // The seed is fixed, because a store may be read by a later run with another seed.
        Self { filled, order_of_inserted: Permutation::new(filled.max(1), 0) }
    }

    /// How many the fill made.
    pub fn filled(&self) -> u64 {
        self.filled
    }

    /// How many records there can be, inserted ones included.
    pub fn max(&self) -> u64 {
        3 * self.filled
    }

    /// The number of a record, below [`max`](Self::max).
    pub fn number(&self, record: u64) -> u64 {
        let Some(inserted) = record.checked_sub(self.filled) else { return 4 * record };
        let (round, place) = (inserted / self.filled, inserted % self.filled);
        4 * self.order_of_inserted.at(place) + 1 + 2 * round
    }

    /// A number that no record has, beside the filled record `record`.
    pub fn missing(record: u64) -> u64 {
        4 * record + 2
    }
}

/// A key, made in place again and again.
#[derive(Clone, Debug)]
pub struct Key {
    bytes: Vec<u8>,
    /// The number that all but the last 8 digits are.
    high: u64,
}

impl Key {
    /// A key of `len` bytes, at least [`KEY_BYTES_MIN`].
    pub fn new(len: usize) -> Self {
        assert!(len >= KEY_BYTES_MIN, "a key has at least {KEY_BYTES_MIN} bytes");
        Self { bytes: vec![b'0'; len], high: 0 }
    }

    /// The key that was made last.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The largest number that a key of `len` bytes can be.
    pub fn number_max(len: usize) -> u64 {
        10_u64.pow(u32::try_from(len.min(16)).expect("at most 16")) - 1
    }

    /// Makes it the key of `number`. The front of a key seldom changes.
    #[inline]
    pub fn set(&mut self, number: u64) -> &[u8] {
        let (high, low) = (number / 100_000_000, number % 100_000_000);
        if high != self.high {
            self.set_high(high);
        }
        let last = self.bytes.last_chunk_mut().expect("a key has at least 8 bytes");
        *last = eight_digits(low);
        &self.bytes
    }

    /// A key of 8 to 16 bytes has room for the last digits of `high` alone.
    fn set_high(&mut self, high: u64) {
        let digits = eight_digits(high);
        let front = self.bytes.len() - 8;
        let room = front.min(8);
        self.bytes[front - room..front].copy_from_slice(&digits[8 - room..]);
        self.high = high;
    }
}

/// The digits of a number below 100,000,000. The number is split in halves of its digits three
/// times, all parts side by side in one word: 12345678, then 1234 and 5678, then 12, 34, 56, 78.
fn eight_digits(number: u64) -> [u8; 8] {
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let high = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = high | ((fours - high * 100) << 16);
    let high = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    let ones = high | ((twos - high * 10) << 8);
    (ones | 0x3030_3030_3030_3030).to_le_bytes()
}

/// Where a key stands among the others, as a number that compares as the keys do: its first and
/// last 8 bytes, or the last 16 of a longer one, before which there are only zeros. It is never 0.
#[inline]
pub fn rank(key: &[u8]) -> Option<u128> {
    let (rest, low) = key.split_last_chunk::<8>()?;
    let high = match rest.last_chunk::<8>() {
        Some(high) => high,
        None => key.first_chunk::<8>()?,
    };
    Some(u128::from(u64::from_be_bytes(*high)) << 64 | u128::from(u64::from_be_bytes(*low)))
}

/// The first bytes of every value of the key with this rank.
#[inline]
pub fn stamp(rank: u128) -> u64 {
    let (high, low) = ((rank >> 64) as u64, rank as u64);
    (low ^ high.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
}

/// The same, of a key that a [`Key`] made.
#[inline]
pub fn stamp_of(key: &[u8]) -> u64 {
    stamp(rank(key).unwrap_or_default())
}

/// Values, and the check of those that are read.
#[derive(Debug)]
pub struct Values {
    pool: Vec<u8>,
    value_bytes: usize,
}

impl Values {
    /// Values of `value_bytes` each.
    pub fn new(value_bytes: usize, seed: u64) -> Self {
        let mut random = Random::new(seed, u64::MAX);
        let len = POOL_BYTES.max(2 * value_bytes);
        let mut pool = Vec::with_capacity(len + PIECE_BYTES);
        while pool.len() < len {
            let start = pool.len();
            while pool.len() < start + RANDOM_BYTES_OF_PIECE {
                pool.push(random.next_u64().to_le_bytes()[0]);
            }
            pool.extend_from_within(start..start + (PIECE_BYTES - RANDOM_BYTES_OF_PIECE));
        }
        Self { pool, value_bytes }
    }

    /// Somebody who writes values, beginning at a place of the pool that the seed chooses.
    pub fn writer(&self, random: &mut Random) -> ValueWriter<'_> {
        let at = random.below((self.pool.len() - self.value_bytes) as u64) as usize;
        ValueWriter { values: self, at, value: vec![0; self.value_bytes] }
    }

    /// Whether `value` is one that was written for a key with this stamp.
    #[inline]
    pub fn fits(&self, stamp: u64, value: &[u8]) -> bool {
        let stamp = stamp.to_le_bytes();
        value.len() == self.value_bytes
            && match value.first_chunk::<8>() {
                Some(first) => *first == stamp,
                None => *value == stamp[..value.len()],
            }
    }
}

/// Makes one value after the other.
#[derive(Debug)]
pub struct ValueWriter<'a> {
    values: &'a Values,
    at: usize,
    value: Vec<u8>,
}

impl ValueWriter<'_> {
    /// The next value for `key`.
    pub fn next(&mut self, key: &[u8]) -> &[u8] {
        let len = self.value.len();
        if self.at + len > self.values.pool.len() {
            self.at = 0;
        }
        self.value.copy_from_slice(&self.values.pool[self.at..self.at + len]);
        self.at += len;
        let stamp = stamp_of(key).to_le_bytes();
        let stamped = len.min(stamp.len());
        self.value[..stamped].copy_from_slice(&stamp[..stamped]);
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_decimal_numbers() {
        let numbers = [0, 7, 99, 12_345_678, 99_999_999, 100_000_000, 9_999_999_999_999_999];
        for len in [8, 9, 12, 15, 16, 17, 40] {
            let mut key = Key::new(len);
            for number in numbers.into_iter().filter(|number| *number <= Key::number_max(len)) {
                assert_eq!(key.set(number), format!("{number:0len$}").as_bytes());
            }
        }
    }

    #[test]
    fn ranks_compare_as_keys_do() {
        for len in [8, 11, 16, 24] {
            let mut random = Random::new(3, 0);
            let mut draw = || random.below(Key::number_max(len) + 1);
            for _ in 0..1000 {
                let (a, b) = (draw(), draw());
                let (a, b) = (Key::new(len).set(a).to_vec(), Key::new(len).set(b).to_vec());
                assert_eq!(a.cmp(&b), rank(&a).cmp(&rank(&b)));
            }
        }
        assert_eq!(rank(b"short"), None);
    }

    #[test]
    fn no_two_records_share_a_number_and_none_is_missing() {
        let records = Records::new(1000);
        let numbers: BTreeSet<u64> = (0..records.max()).map(|r| records.number(r)).collect();
        assert_eq!(numbers.len(), 3000);
        assert!((0..1000).all(|r| !numbers.contains(&Records::missing(r))));
    }

    #[test]
    fn a_value_fits_its_own_key_alone() {
        for value_bytes in [0, 1, 7, 8, 9, 100, 300_000] {
            let values = Values::new(value_bytes, 1);
            let mut writer = values.writer(&mut Random::new(1, 1));
            let (a, b) = (Key::new(16).set(1).to_vec(), Key::new(16).set(2).to_vec());
            for _ in 0..10 {
                let value = writer.next(&a);
                assert!(values.fits(stamp_of(&a), value));
                assert!(
                    value_bytes == 0 || !values.fits(stamp_of(&b), value),
                    "{value_bytes} bytes"
                );
                assert!(!values.fits(stamp_of(&a), &[value, b"x"].concat()));
            }
        }
    }

    #[test]
    fn half_of_each_piece_of_the_pool_repeats_the_other() {
        let values = Values::new(100, 1);
        for piece in values.pool.chunks_exact(PIECE_BYTES) {
            let (first, second) = piece.split_at(RANDOM_BYTES_OF_PIECE);
            assert_eq!(first, second);
            assert!(first.iter().collect::<BTreeSet<_>>().len() > PIECE_BYTES / 4);
        }
    }
}

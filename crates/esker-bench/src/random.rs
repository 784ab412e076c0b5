//! Random numbers, and an order in which every number comes exactly once.
//!
//! Both are arithmetic on one word: about a nanosecond each, so that what is measured is the store.

/// A stream of random numbers (SplitMix64): a counter, mixed.
#[derive(Clone, Debug)]
pub struct Random {
    counter: u64,
}

impl Random {
    /// The stream number `stream` of a seed. Streams of one seed share nothing that shows.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self { counter: mix(mix(seed) ^ stream.wrapping_mul(0xa076_1d64_78bd_642f)) }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.counter)
    }

    /// A number below `end`, which is not 0. Numbers differ in chance by `end` / 2⁶⁴ at most.
    pub fn below(&mut self, end: u64) -> u64 {
        debug_assert!(end > 0, "there is no number below 0");
        ((u128::from(self.next_u64()) * u128::from(end)) >> 64) as u64
    }

    /// A number from 0 up to, not including, 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Spreads the bits of `x`; different inputs have different outputs.
pub fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The numbers `0..len` in a random order that is computed, not stored.
///
/// Each step of [`stir`](Self::stir) can be undone, so it maps the numbers of so many bits one to
/// one. What falls at or above `len` is stirred again until it falls below: at most half of the
/// numbers are, so that it takes less than two rounds on average.
#[derive(Clone, Debug)]
pub struct Permutation {
    len: u64,
    mask: u64,
    shift: u32,
    offset: u64,
}

impl Permutation {
    /// An order of `0..len`.
    pub fn new(len: u64, seed: u64) -> Self {
        let bits = (64 - len.saturating_sub(1).leading_zeros()).max(2);
        Self { len, mask: u64::MAX >> (64 - bits), shift: bits.div_ceil(2), offset: mix(seed) }
    }

    /// The number at `place`, which is below `len`.
    pub fn at(&self, place: u64) -> u64 {
        debug_assert!(place < self.len, "{place} is no place of {}", self.len);
        let mut number = self.stir(place);
        while number >= self.len {
            number = self.stir(number);
        }
        number
    }

    fn stir(&self, x: u64) -> u64 {
        let x = x.wrapping_add(self.offset).wrapping_mul(0xd6e8_feb8_6659_fd93) & self.mask;
        let x = (x ^ (x >> self.shift)).wrapping_mul(0xca5a_8263_9512_1157) & self.mask;
        x ^ (x >> self.shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_has_each_number_exactly_once() {
        for len in [1, 2, 3, 4, 5, 100, 1023, 1024, 1025, 65_537] {
            for seed in 0..4 {
                let order = Permutation::new(len, seed);
                let mut seen = vec![false; usize::try_from(len).unwrap()];
                for place in 0..len {
                    let number = usize::try_from(order.at(place)).unwrap();
                    assert!(!seen[number], "{number} comes twice in {len}, seed {seed}");
                    seen[number] = true;
                }
            }
        }
    }

    #[test]
    fn a_permutation_looks_random() {
        let order = Permutation::new(1_000_000, 1);
        let numbers: Vec<u64> = (0..10_000).map(|place| order.at(place)).collect();
        let rising = numbers.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((4800..5200).contains(&rising), "{rising} of 9999 steps go up");
        let low = numbers.iter().filter(|number| **number < 500_000).count();
        assert!((4800..5200).contains(&low), "{low} of 10,000 are in the lower half");
        let other = Permutation::new(1_000_000, 2);
        let same = numbers.iter().enumerate().filter(|(i, n)| other.at(*i as u64) == **n).count();
        assert!(same < 10, "two seeds agree at {same} of 10,000 places");
    }

    #[test]
    fn numbers_below_an_end_are_spread_evenly() {
        let mut random = Random::new(1, 0);
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            counts[usize::try_from(random.below(10)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (9500..10_500).contains(count)), "{counts:?}");
        let mean = (0..10_000).map(|_| random.unit()).sum::<f64>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean), "{mean}");
    }
}

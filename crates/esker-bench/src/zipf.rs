//! Zipf's law, as YCSB draws from it: rank *r* comes with a chance in proportion to 1 / (r+1)^θ.
//!
//! The drawing is the inversion of Gray and others ("Quickly generating billion-record synthetic
//! databases", 1994). The sum of all weights, ζ(n), is added up for the first terms and taken from
//! the Euler-Maclaurin formula for the rest, so that a law over 20 million ranks costs nothing to
//! set up. A draw costs one power, about 20 ns.

use crate::random::Random;

/// YCSB's constant.
pub const THETA: f64 = 0.99;

/// How many weights are added one by one.
const EXACT_TERMS: u64 = 1000;

/// The law over the ranks `0..ranks`.
#[derive(Clone, Debug)]
pub struct Zipf {
    ranks: u64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    /// The law with [`THETA`]; at least one rank.
    pub fn new(ranks: u64) -> Self {
        let zeta = zeta(ranks);
        let eta = if ranks > 2 {
            (1.0 - (2.0 / ranks as f64).powf(1.0 - THETA)) / (1.0 - self::zeta(2) / zeta)
        } else {
            1.0
        };
        Self { ranks, zeta, alpha: 1.0 / (1.0 - THETA), eta }
    }

    /// A rank; 0 is the likeliest.
    pub fn draw(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let weight = unit * self.zeta;
        if weight < 1.0 || self.ranks == 1 {
            return 0;
        }
        if weight < 1.0 + 0.5_f64.powf(THETA) || self.ranks == 2 {
            return 1;
        }
        let rank = self.ranks as f64 * (self.eta * (unit - 1.0) + 1.0).powf(self.alpha);
        (rank as u64).min(self.ranks - 1)
    }
}

/// The sum of 1 / i^θ for i from 1 to `n`.
fn zeta(n: u64) -> f64 {
    let weight = |x: f64| x.powf(-THETA);
    let exact: f64 = (1..=n.min(EXACT_TERMS)).map(|i| weight(i as f64)).sum();
    if n <= EXACT_TERMS {
        return exact;
    }
    let (from, to) = (EXACT_TERMS as f64, n as f64);
    let integral = (to.powf(1.0 - THETA) - from.powf(1.0 - THETA)) / (1.0 - THETA);
    let slope = |x: f64| -THETA * x.powf(-THETA - 1.0);
    exact + integral + (weight(to) - weight(from)) / 2.0 + (slope(to) - slope(from)) / 12.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_weights_is_right() {
        let exact: f64 = (1..=200_000).map(|i| f64::from(i).powf(-THETA)).sum();
        assert!((zeta(200_000) - exact).abs() < 1e-9);
        // What YCSB has as a constant for ten thousand million items.
        assert!((zeta(10_000_000_000) - 26.469_028_201_783_02).abs() < 1e-6);
    }

    #[test]
    fn ranks_come_as_often_as_the_law_says() {
        let (ranks, draws) = (100_000, 400_000);
        let law = Zipf::new(ranks);
        let mut random = Random::new(7, 0);
        let mut counts = vec![0_u64; usize::try_from(ranks).unwrap()];
        for _ in 0..draws {
            counts[usize::try_from(law.draw(&mut random)).unwrap()] += 1;
        }
        for first in [1, 2, 10, 1000, 50_000] {
            let found = counts[..first].iter().sum::<u64>() as f64 / f64::from(draws);
            let expected = zeta(first as u64) / zeta(ranks);
            assert!(
                (found - expected).abs() < 0.02,
                "the first {first} ranks have {found:.3} of the draws, the law says {expected:.3}"
            );
        }
    }

    #[test]
    fn laws_over_very_few_ranks_stay_inside() {
        let mut random = Random::new(7, 0);
        for ranks in 1..6 {
            let law = Zipf::new(ranks);
            let mut seen = vec![0; usize::try_from(ranks).unwrap()];
            for _ in 0..10_000 {
                seen[usize::try_from(law.draw(&mut random)).unwrap()] += 1;
            }
            assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
        }
    }
}

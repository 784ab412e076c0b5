//! Mistakes that other stores really made, switched on one at a time: seeds that find nothing wrong
//! with the store must find each.

use esker::internals::{Bug, plant};

use crate::campaign::nth::{Case, Trial, Watched};
use crate::engine::Simulated;
use crate::fault::Effect;
use crate::generate::generate;
use crate::ops::Policy;
use crate::run::{Broken, run};

/// The seed that finds a mistake.
#[derive(Clone, Debug)]
pub struct Found {
    /// The first of those tried that fails.
    pub seed: u64,
    /// How many were tried.
    pub seeds: u64,
    /// What it says.
    pub broken: Broken,
}

/// Tries seeds `start..start + budget` on a store that makes the mistake; `None` if it lives
/// through all of them.
pub fn find(bug: Bug, start: u64, budget: u64) -> Option<Found> {
    plant(Some(bug));
    let found = (start..start.saturating_add(budget)).find_map(|seed| {
        let broken = run::<Simulated>(&generate(seed), &mut |_, _| {}).broken?;
        Some(Found { seed, seeds: seed - start + 1, broken })
    });
    plant(None);
    found
}

/// Plays the reads of all scenarios that find what stands elsewhere, and then their crashes under
/// every policy, on a store that makes the mistake; answers the first case that fails, and how. For
/// those that need one certain read to go wrong, or the power to fail between two certain operations
/// of the disk.
pub fn find_in_scenarios(bug: Bug, scenarios: &[Watched]) -> Option<(Case, Broken)> {
    plant(Some(bug));
    let is_misread = |case: &Case| matches!(&case.trial, Trial::Fault(Effect::Misdirect, later) if later.is_empty());
    let misread = |watched: &Watched| watched.cases(0).into_iter().filter(is_misread).collect();
    let crashed = |watched: &Watched| watched.crashes(&Policy::ALL.map(|(policy, _)| policy));
    let fails = |cases: &dyn Fn(&Watched) -> Vec<Case>| {
        scenarios.iter().find_map(|watched| {
            cases(watched).into_iter().find_map(|case| {
                let broken = watched.play(&case).broken?;
                Some((case, broken))
            })
        })
    };
    let found = fails(&misread).or_else(|| fails(&crashed));
    plant(None);
    found
}

/// The middle of some counts.
pub fn median(counts: &mut [u64]) -> Option<u64> {
    counts.sort_unstable();
    counts.get(counts.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_counts() {
        assert_eq!(median(&mut [9, 1, 5]), Some(5));
        assert_eq!(median(&mut []), None);
    }
}

//! What a run came by: a simulation that never crashes in a compaction proves nothing about it,
//! so the places worth visiting are counted, and a test looks that none of them is missed.

use std::collections::BTreeMap;
use std::fmt;

use crate::ops::Policy;
use crate::store::Figures;

/// Counts by place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached(BTreeMap<String, u64>);

impl Reached {
    /// Counts one visit.
    pub fn count(&mut self, place: &str) {
        self.add(place, 1);
    }

    /// Counts a crash.
    pub fn count_crash(&mut self, policy: Policy) {
        self.add(&format!("crash {}", policy.name()), 1);
    }

    /// Counts what a store did between two looks at its figures.
    pub fn note(&mut self, before: Figures, figures: Figures) {
        // Those of a dropped keyspace are gone.
        self.add("flushes", figures.flushes.saturating_sub(before.flushes));
        self.add("compactions", figures.compactions.saturating_sub(before.compactions));
        self.add("merges within L0", figures.l0_merges.saturating_sub(before.l0_merges));
        self.add("steps of sweeps", figures.sweep_steps.saturating_sub(before.sweep_steps));
        for (level, tables) in figures.tables.into_iter().enumerate() {
            if tables > 0 {
                self.add(&format!("tables in L{level}"), 1);
            }
        }
        self.add("levels with compressed tables", figures.compressed_levels as u64);
    }

    /// How often a place was visited.
    pub fn times(&self, place: &str) -> u64 {
        self.0.get(place).copied().unwrap_or(0)
    }

    /// Tells every place and how often it was visited.
    pub fn each(&self, told: &mut dyn FnMut(&str, u64)) {
        self.0.iter().for_each(|(place, times)| told(place, *times));
    }

    /// Adds the visits of another run.
    pub fn merge(&mut self, other: &Self) {
        for (place, times) in &other.0 {
            self.add(place, *times);
        }
    }

    fn add(&mut self, place: &str, times: u64) {
        if times > 0 {
            *self.0.entry(place.to_owned()).or_default() += times;
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(place, times)| writeln!(f, "{times:>10}  {place}"))
    }
}

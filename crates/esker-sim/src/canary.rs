//! A machine that is wrong on purpose: it forgets what a killed process wrote and did not sync.
//!
//! A harness that compares nothing finds nothing wrong with any store. So every run of seeds begins
//! with some on this machine, and one of them has to fail.

use crate::engine::{Esker, Simulated};
use crate::fault::{Fault, Rot};
use crate::generate::generate;
use crate::ops::Policy;
use crate::run::{Broken, run};
use crate::store::{Answer, Disarmed, Finding, Lost, Machine, Strike};

/// The machine.
pub struct Forgetful(Simulated);

/// The canary's seeds.
const SEEDS: u64 = 20;

/// The first seed that fails on the machine, and where.
pub fn canary() -> Option<(u64, Broken)> {
    (0..SEEDS).find_map(|seed| {
        let outcome = run::<Forgetful>(&generate(seed), &mut |_, _| {});
        outcome.broken.map(|broken| (seed, broken))
    })
}

impl Machine for Forgetful {
    type Store = Esker;

    fn new(options: Option<u8>) -> Self {
        Self(Simulated::new(options))
    }

    fn open(&self, seed: u64) -> Answer<Esker> {
        self.0.open(seed)
    }

    fn crash(&self, policy: Policy, seed: u64) -> Self {
        let forgets = policy == Policy::Kill;
        Self(self.0.crash(if forgets { Policy::LoseAllUnsynced } else { policy }, seed))
    }

    fn inject(&self, faults: &[Fault]) {
        self.0.inject(faults);
    }

    fn struck(&self) -> u64 {
        self.0.struck()
    }

    fn arm(&self, strike: Strike) {
        self.0.arm(strike);
    }

    fn disarm(&self) -> Disarmed {
        self.0.disarm()
    }

    fn refuses_a_second_store(&self) -> bool {
        self.0.refuses_a_second_store()
    }

    fn stands_still(&self) -> bool {
        self.0.stands_still()
    }

    fn hand_over(&self, to: &Self) {
        self.0.hand_over(&to.0);
    }

    fn limit(&self, free_bytes: Option<u64>) {
        self.0.limit(free_bytes);
    }

    fn crash_choices(&self) -> u64 {
        self.0.crash_choices()
    }

    fn files(&self, class: &str) -> Vec<(String, u64)> {
        self.0.files(class)
    }

    fn damage(&self, file: &str, rot: Rot, offset: u64) {
        self.0.damage(file, rot, offset);
    }

    fn verify(&self) -> Answer<Vec<Finding>> {
        self.0.verify()
    }

    fn repair(&self) -> Answer<(Self, Vec<Lost>)> {
        self.0.repair().map(|(machine, lost)| (Self(machine), lost))
    }

    fn quarantine(&self, table: &str) -> Answer<Lost> {
        self.0.quarantine(table)
    }

    fn digest(&self) -> u64 {
        self.0.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canary_fails_by_what_was_acknowledged_and_lost() {
        let (_, broken) = canary().expect("a harness that finds nothing proves nothing");
        assert!(broken.what.contains("had to survive"), "{broken}");
    }
}

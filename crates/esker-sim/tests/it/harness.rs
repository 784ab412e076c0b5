//! The simulation, tested: a store that keeps its whole history in memory passes, and the same
//! store with any one of twenty-odd mistakes is caught within a few seeds.
//!
//! This is what makes a quiet run of the real store worth something.

use esker_sim::generate::generate;
use esker_sim::ops::Script;
use esker_sim::run::{Outcome, hush_panics, run};
use esker_sim::shrink::shrink;

use crate::fake::{Bug, FakeMachine, plant};

fn outcome(script: &Script) -> Outcome {
    run::<FakeMachine>(script, &mut |_, _| {})
}

#[test]
fn a_right_store_passes() {
    plant(None);
    for seed in 0..200 {
        let broken = outcome(&generate(seed)).broken;
        assert!(broken.is_none(), "seed {seed}: {}", broken.unwrap());
    }
}

#[test]
fn every_mistake_is_caught() {
    const SEEDS: u64 = 300;
    hush_panics();
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        plant(Some(bug));
        let caught = (0..SEEDS).find(|seed| outcome(&generate(*seed)).broken.is_some());
        if caught.is_none() {
            missed.push(bug);
        }
    }
    plant(None);
    assert!(missed.is_empty(), "not caught within {SEEDS} seeds: {missed:?}");
}

#[test]
fn a_caught_mistake_shrinks_to_a_few_lines() {
    plant(Some(Bug::SnapshotMoves));
    let script = (0..).map(generate).find(|script| outcome(script).broken.is_some()).unwrap();
    let small = shrink(&script, 2000, &mut |script| outcome(script).broken.is_some());
    plant(None);
    assert!(small.ops.len() <= 4, "{} operations shrank to {small}", script.ops.len());
    assert!(outcome(&small).broken.is_none(), "what remains is no mistake of a right store");
}

#[test]
fn the_same_script_gives_the_same_digest() {
    plant(None);
    for seed in 0..20 {
        let script = generate(seed);
        assert_eq!(outcome(&script).digest, outcome(&script).digest);
    }
    assert_ne!(outcome(&generate(1)).digest, outcome(&generate(2)).digest);
}

#[test]
fn a_difference_names_the_operation() {
    plant(Some(Bug::GetAnswersOlder));
    let script: Script = "put a v1\nput a v2\nget a".parse().unwrap();
    let broken = outcome(&script).broken.unwrap();
    plant(None);
    assert_eq!(broken.to_string(), "operation 3, `get a`: expected v2, found v1");
}

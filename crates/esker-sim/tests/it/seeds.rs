//! A thousand seeds, what they came by, and that a seed is a history for ever.

use esker_sim::campaign::play_all;
use esker_sim::engine::Simulated;
use esker_sim::generate::generate;
use esker_sim::ops::Policy;
use esker_sim::reached::Reached;
use esker_sim::run::{Outcome, hush_panics, run};

const SEEDS: usize = 1000;

fn outcome(seed: u64) -> Outcome {
    run::<Simulated>(&generate(seed), &mut |_, _| {})
}

/// Also: the histories come by everything worth visiting, or they prove nothing about it.
#[test]
fn a_thousand_histories_are_right() {
    hush_panics();
    let mut reached = Reached::default();
    let mut failures = Vec::new();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    play_all(SEEDS, threads, &|seed| outcome(seed as u64), &mut |seed, outcome| {
        reached.merge(&outcome.reached);
        failures.extend(outcome.broken.map(|broken| {
            format!("seed {seed} fails at {broken}; replay: esker-sim replay --seed {seed}")
        }));
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let often = [
        "write",
        "write sync",
        "sync",
        "flush",
        "compact",
        "settle",
        "compact level",
        "check",
        "flushes",
        "compactions",
        "merges within L0",
        "steps of sweeps",
        "levels with compressed tables",
        "tables in L0",
        "tables in L1",
        "tables in L2",
        "tables in L3",
        "tables in L4",
        "tables in L5",
        "tables in L6",
        "snapshot read after a compaction",
        "held iterator stepped",
        "held cursor moved",
        "keyspace create",
        "keyspace drop",
        "reopen after close",
        "reopen after drop",
        "commits lost to a crash",
        "operation refused under faults",
        "operation refused by a full disk",
        "open refused under faults",
        "rot noticed",
        "rot without harm",
        "crash repaired",
        "repaired whole",
        "repaired with losses",
        "table quarantined",
    ];
    let crashes = Policy::ALL.map(|(_, name)| format!("crash {name}"));
    let missed: Vec<&str> = often
        .into_iter()
        .chain(crashes.iter().map(String::as_str))
        .filter(|place| reached.times(place) < 20)
        .collect();
    assert!(missed.is_empty(), "hardly reached: {missed:?} of\n{reached}");
}

#[test]
fn a_seed_gives_the_same_history_and_the_same_operations_of_the_disk_twice() {
    hush_panics();
    for seed in 0..40 {
        assert_eq!(outcome(seed).digest, outcome(seed).digest, "seed {seed}");
    }
}

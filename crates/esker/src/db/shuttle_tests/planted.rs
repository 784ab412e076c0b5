//! Mistakes that the scenarios must find, or they would not find ours either.

use std::panic::catch_unwind;

use super::{background, ends, play_orders, trouble, writers};
use crate::base::planted::{Bug, plant};

/// Orders of each kind within which a mistake has to be found.
const ITERATIONS: usize = 200;

/// Whether `scenario` fails where the engine makes the mistake.
fn is_found(bug: Bug, scenario: fn()) -> bool {
    // A thread of its own: what a failure leaves of shuttle's is not used again.
    let played = std::thread::spawn(move || {
        plant(Some(bug));
        catch_unwind(|| play_orders(scenario, ITERATIONS)).is_err()
    });
    played.join().expect("panics are caught")
}

#[test]
fn planted_mistakes_are_found() {
    let planted: [(Bug, fn()); 9] = [
        (Bug::AcknowledgedBeforeSync, writers::writers_beside_a_crash),
        (Bug::RotateWithoutSync, writers::a_sync_covers_what_was_acknowledged_before),
        (Bug::FrozenForgotten, background::reads_beside_flushes_and_rotations),
        (Bug::SnapshotSeesMore, writers::writers_beside_each_other_and_a_reader),
        (Bug::FlushForgetsSnapshots, background::snapshots_taken_beside_flushes_and_merges),
        (Bug::FlushBeforeLogSync, background::a_power_cut_beside_the_flush_of_one_keyspace),
        (Bug::DropNotLogged, ends::a_drop_of_a_keyspace_beside_everything),
        (Bug::ResumeForgetsMemtables, trouble::resumes_beside_each_other_and_a_sync),
        (Bug::StaleResultInstalled, ends::a_drop_of_a_keyspace_beside_everything),
    ];
    let missed: Vec<_> =
        planted.into_iter().filter(|(bug, scenario)| !is_found(*bug, *scenario)).collect();
    let missed: Vec<_> = missed.into_iter().map(|(bug, _)| bug).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

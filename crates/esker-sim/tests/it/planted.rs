//! Mistakes that other stores really made, and those that segments used again make possible,
//! switched on one at a time: the histories that find nothing wrong with the store find each.

use esker::internals::{Bug, plant};
use esker_sim::engine::Simulated;
use esker_sim::generate::generate;
use esker_sim::run::{hush_panics, run};

/// So many histories may a mistake live through.
const SEEDS: u64 = 2000;

fn is_found(bug: Bug) {
    hush_panics();
    plant(Some(bug));
    let found = (0..SEEDS).find_map(|seed| {
        let broken = run::<Simulated>(&generate(seed), &mut |_, _| {}).broken?;
        Some((seed, broken))
    });
    plant(None);
    let (seed, broken) = found.unwrap_or_else(|| panic!("{bug:?} lived through {SEEDS} histories"));
    println!("{bug:?} is found by seed {seed}: {broken}");
    let broken = run::<Simulated>(&generate(seed), &mut |_, _| {}).broken;
    assert!(broken.is_none(), "seed {seed} fails without {bug:?} too: {}", broken.unwrap());
}

#[test]
fn rotation_without_a_sync_of_the_old_segment() {
    is_found(Bug::RotateWithoutSync);
}

#[test]
fn a_checksum_over_headers_alone() {
    is_found(Bug::HeaderChecksumOnly);
}

#[test]
fn a_log_that_is_short_below_the_durable_horizon() {
    is_found(Bug::ShortLogBelowHorizon);
}

#[test]
fn a_read_error_that_passes_for_the_end_of_the_log() {
    is_found(Bug::ReadErrorIsEnd);
}

#[test]
fn half_a_batch() {
    is_found(Bug::HalfBatch);
}

#[test]
fn an_append_behind_a_short_write() {
    is_found(Bug::AppendAfterShortWrite);
}

#[test]
fn a_swept_table_that_is_read_below_the_cursor() {
    is_found(Bug::SweepWithoutClamp);
}

#[test]
fn checksums_that_hold_in_any_segment() {
    is_found(Bug::ChecksumWithoutSegment);
}

#[test]
fn a_recycled_segment_with_its_old_header() {
    is_found(Bug::SpareKeepsItsHeader);
}

#[test]
fn a_segment_used_again_before_the_edit_that_frees_it_is_durable() {
    is_found(Bug::SpareTakenTooEarly);
}

#[test]
fn a_recycled_segment_acknowledged_before_its_name_is_durable() {
    is_found(Bug::SpareNameNotSynced);
}

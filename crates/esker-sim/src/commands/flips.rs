//! `esker-sim flips`: whether any flipped bit of a store goes unnoticed.

use std::process::ExitCode;

use clap::Args;
use esker_sim::flips::Campaign;

use super::{Common, progress};

/// How many bits, of which store.
#[derive(Args)]
pub struct Flips {
    /// How many bits
    #[arg(long, default_value_t = 10_000)]
    flips: usize,
    /// Puts and deletes that make the store
    #[arg(long, default_value_t = 520_000)]
    writes: u64,
    /// What decides the store and the bits
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: Common,
}

impl Flips {
    /// Flips them, and fails if one is silent.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let Self { flips, writes, seed, ref common } = *self;
        let campaign = Campaign { flips, writes, memtable_bytes: 256 << 10, seed };
        let bar = progress(flips as u64, "bits");
        let record = campaign.run(common.jobs, &mut |silent| {
            bar.inc(1);
            if let Some(silent) = silent {
                bar.suspend(|| println!("{silent}"));
            }
        });
        bar.finish_and_clear();
        common.end(&record)
    }
}

//! `esker-sim planted`: whether the seeds find what other stores did wrong.

use std::process::ExitCode;

use clap::Args;
use esker::internals::Bug;
use esker_sim::campaign::nth::watched;
use esker_sim::campaign::planted::{Found, find, find_in_scenarios, median};
use esker_sim::campaign::play_all;
use esker_sim::campaign::record::Record;
use esker_sim::run::hush_panics;

use super::{Common, progress};

/// Which mistakes, and how long to look for each.
#[derive(Args)]
pub struct Planted {
    /// Most seeds for each
    #[arg(long, default_value_t = 5000)]
    budget: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// For a mistake that the seeds do not find: only the scenarios whose names begin so
    #[arg(long, default_value = "")]
    scenario: String,
    /// Only the mistakes whose names contain this
    #[arg(long, default_value = "")]
    bug: String,
    #[command(flatten)]
    common: Common,
}

impl Planted {
    /// Looks for each, and fails if one lives through its budget.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        hush_panics();
        let bugs: Vec<Bug> =
            Bug::ALL.into_iter().filter(|bug| format!("{bug:?}").contains(&self.bug)).collect();
        let bar = progress(bugs.len() as u64, "mistakes");
        let mut record = Record::new("planted");
        let mut tried = Vec::new();
        let scenarios = watched(&self.scenario)?;
        let look = |at: usize| {
            let found = find(bugs[at], self.start, self.budget);
            let in_scenarios = || find_in_scenarios(bugs[at], &scenarios);
            found.map(Ok).or_else(|| in_scenarios().map(Err))
        };
        play_all(bugs.len(), self.common.jobs, &look, &mut |at, found| {
            bar.inc(1);
            let bug = bugs[at];
            record.add("mistakes", 1);
            let line = match found {
                Some(Err((case, broken))) => {
                    record.add("found", 1);
                    record.add("found in a scenario alone", 1);
                    format!("{bug:?} is found by case {case}: {broken}")
                }
                Some(Ok(Found { seed, seeds, broken })) => {
                    tried.push(seeds);
                    record.add("found", 1);
                    format!("{bug:?} is found by seed {seed}: {broken}")
                }
                None => {
                    record.add("failures", 1);
                    format!("{bug:?} lived through {} seeds", self.budget)
                }
            };
            bar.suspend(|| println!("{line}"));
        });
        bar.finish_and_clear();
        record.add("seeds to find one, median", median(&mut tried).unwrap_or(0));
        record.add("seeds to find one, most", tried.last().copied().unwrap_or(0));
        self.common.end(&record)
    }
}

//! `esker-sim run`: many seeds.

use std::process::ExitCode;

use clap::Args;
use esker_sim::campaign::play_all;
use esker_sim::campaign::record::Record;
use esker_sim::canary::canary;
use esker_sim::engine::Simulated;
use esker_sim::generate::generate;
use esker_sim::reached::Reached;
use esker_sim::run::{Outcome, hush_panics, run};

use super::{Common, progress};

/// Which seeds.
#[derive(Args)]
pub struct Seeds {
    /// How many
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Run one in so many twice, and compare every operation of the disk
    #[arg(long, default_value_t = 50)]
    twice_in: u64,
    #[command(flatten)]
    common: Common,
}

/// Seeds that are played between two looks whether to go on.
const ROUND: u64 = 1000;

impl Seeds {
    /// Plays them, and prints what they came by.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        hush_panics();
        let bar = progress(self.seeds, "seeds");
        let mut record = Record::new("seeds");
        match canary() {
            Some((seed, _)) => {
                bar.suspend(|| println!("the canary fails, as it must: at seed {seed}"));
                record.add("canaries that failed, as they must", 1);
            }
            None => {
                bar.suspend(|| println!("the canary did not fail: nothing here is compared"));
                record.add("failures", 1);
            }
        }
        let mut reached = Reached::default();
        let end = self.start.saturating_add(self.seeds);
        for round in (self.start..end).step_by(ROUND as usize) {
            let count = ROUND.min(end - round) as usize;
            let play = |case: usize| self.play(round + case as u64);
            play_all(count, self.common.jobs, &play, &mut |case, (outcome, is_same)| {
                let seed = round + case as u64;
                bar.inc(1);
                record.add("seeds", 1);
                reached.merge(&outcome.reached);
                let broken = outcome.broken.map(|broken| broken.to_string());
                let broken = broken.or_else(|| (!is_same).then(|| "two runs differ".to_owned()));
                if let Some(broken) = broken {
                    record.add("failures", 1);
                    bar.suspend(|| {
                        println!(
                            "seed {seed} fails at {broken}; replay: esker-sim replay --seed {seed}"
                        );
                    });
                }
            });
            if record.figures.contains_key("failures") && !self.common.keep_going {
                break;
            }
        }
        bar.finish_and_clear();
        record.add("seeds run twice", self.seeds.div_ceil(self.twice_in.max(1)));
        reached.each(&mut |place, times| record.add(place, times));
        self.common.end(&record)
    }

    /// Also whether a second run did the same, if there was one.
    fn play(&self, seed: u64) -> (Outcome, bool) {
        let play = || run::<Simulated>(&generate(seed), &mut |_, _| {});
        let outcome = play();
        let twice = self.twice_in > 0 && (seed - self.start).is_multiple_of(self.twice_in);
        let is_same = !twice || play().digest == outcome.digest;
        (outcome, is_same)
    }
}

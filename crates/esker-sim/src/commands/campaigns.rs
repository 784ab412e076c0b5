//! `esker-sim nth`, `nth2`, `enumerate` and `meta`: campaigns over histories that are written down.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use esker_sim::campaign::nth::{Case, Pair, Verdict, Watched, sites, watched};
use esker_sim::campaign::record::Record;
use esker_sim::campaign::{enumerate, meta, play_all};
use esker_sim::fault::Effect;
use esker_sim::ops::{Policy, Script};
use esker_sim::reached::Reached;
use esker_sim::run::{Broken, hush_panics};
use indicatif::ProgressBar;

use super::{Common, progress};

/// Each operation of each scenario.
#[derive(Args)]
pub struct Nth {
    /// Only the scenarios whose names begin so
    #[arg(long, default_value = "")]
    scenario: String,
    /// Crashes at each operation that changes the disk; the policies take turns
    #[arg(long, default_value_t = 3)]
    crashes: usize,
    /// Print the sites in the engine, with how many ways each was failed in
    #[arg(long)]
    sites: bool,
    #[command(flatten)]
    common: Common,
}

/// Crashes, and each operation of their recoveries.
#[derive(Args)]
pub struct Nth2 {
    /// Only the scenarios whose names begin so; without it, the small ones
    #[arg(long)]
    scenario: Option<String>,
    /// Crash at one in so many operations that change the disk
    #[arg(long, default_value_t = 1)]
    one_in: usize,
    #[command(flatten)]
    common: Common,
}

/// All short histories.
#[derive(Args)]
pub struct Enumerate {
    /// Longest sequence
    #[arg(long, default_value_t = 2)]
    max_ops: usize,
    /// Most images of one point in time; if there are more, so many are drawn
    #[arg(long, default_value_t = 256)]
    images: u64,
    #[command(flatten)]
    common: Common,
}

/// Histories under many options.
#[derive(Args)]
pub struct Meta {
    /// How many histories
    #[arg(long, default_value_t = 20)]
    runs: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Operations of each
    #[arg(long, default_value_t = 1000)]
    ops: usize,
    #[command(flatten)]
    common: Common,
}

/// The scenarios of [`Nth2`], and how a crash leaves the disk there.
const SMALL: [&str; 8] =
    ["create", "write", "sync", "rotate", "keyspace-create", "keyspace-drop", "recycle", "flush"];
const CRASHES: [Policy; 3] = [Policy::Kill, Policy::LoseAllUnsynced, Policy::TornSectors];
const IN_RECOVERY: [Effect; 4] = [Effect::Eio, Effect::Stop, Effect::Enospc, Effect::SyncLost];

/// What verdicts add up to.
struct Tally {
    record: Record,
    reached: Reached,
    bar: ProgressBar,
}

impl Tally {
    fn new(campaign: &str, count: usize, what: &str) -> Self {
        hush_panics();
        let bar = progress(count as u64, what);
        Self { record: Record::new(campaign), reached: Reached::default(), bar }
    }

    fn take(&mut self, case: &Case, verdict: Verdict) {
        self.record.add("runs", 1);
        self.record.add("faults that did not fall", u64::from(!verdict.fell));
        self.reached.merge(&verdict.reached);
        if let Some(broken) = verdict.broken {
            self.fail(&format!("{case} fails at {broken}; replay: esker-sim replay --case {case}"));
        }
    }

    fn take_script(&mut self, failed: &(Script, Broken)) {
        let (script, broken) = failed;
        self.fail(&format!("# fails at {broken}; replay this with esker-sim replay -\n{script}"));
    }

    fn fail(&mut self, text: &str) {
        self.record.add("failures", 1);
        self.bar.suspend(|| println!("{text}"));
    }

    fn may_go_on(&self, common: &Common) -> bool {
        common.keep_going || !self.record.figures.contains_key("failures")
    }

    fn end(mut self, common: &Common) -> anyhow::Result<ExitCode> {
        self.bar.finish_and_clear();
        let record = &mut self.record;
        self.reached.each(&mut |place, times| {
            if ["crash ", "strike fell", "image"].iter().any(|word| place.starts_with(word)) {
                record.add(place, times);
            }
        });
        common.end(record)
    }
}

impl Nth {
    /// Plays every case of every scenario.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let watched = watched(&self.scenario)?;
        let mut pairs: BTreeSet<Pair> = watched.iter().flat_map(Watched::pairs).collect();
        let at_first = pairs.len();
        let cases = |watched| Watched::cases(watched, self.crashes);
        let count = watched.iter().map(|watched| cases(watched).len()).sum();
        let mut tally = Tally::new("nth", count, "cases");
        tally.record.add("scenarios", watched.len() as u64);
        for watched in &watched {
            let mut cases = cases(watched);
            while !cases.is_empty() && tally.may_go_on(&self.common) {
                let mut deeper = Vec::new();
                let play = |case: usize| watched.play(&cases[case]);
                play_all(cases.len(), self.common.jobs, &play, &mut |case, verdict| {
                    tally.bar.inc(1);
                    deeper.extend(Watched::deeper(&cases[case], &verdict.met, &mut pairs));
                    tally.take(&cases[case], verdict);
                });
                tally.bar.inc_length(deeper.len() as u64);
                cases = deeper;
            }
        }
        if self.sites {
            sites(&pairs).iter().for_each(|(site, ways)| println!("{ways:>3}  {site}"));
        }
        tally.record.add("pairs of site and fault", pairs.len() as u64);
        tally.record.add("of them met only after a fault", (pairs.len() - at_first) as u64);
        tally.record.add("sites", sites(&pairs).len() as u64);
        tally.end(&self.common)
    }
}

impl Nth2 {
    /// Plays every crash of the scenarios, with each operation of its recovery failing.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let watched = match &self.scenario {
            Some(prefix) => watched(prefix)?,
            None => {
                let all = watched("")?.into_iter();
                all.filter(|watched| SMALL.contains(&watched.scenario.name)).collect()
            }
        };
        let crashes = |watched: &Watched| -> Vec<Case> {
            watched.crashes(&CRASHES).into_iter().step_by(self.one_in.max(1)).collect()
        };
        let count = watched.iter().map(|watched| crashes(watched).len()).sum();
        let mut tally = Tally::new("nth2", count, "crashes");
        for watched in &watched {
            let crashes = crashes(watched);
            let play = |crash: usize| {
                let mut verdicts = Vec::new();
                watched.play_recoveries(&crashes[crash], &IN_RECOVERY, &mut |case, verdict| {
                    verdicts.push((case.clone(), verdict));
                });
                verdicts
            };
            play_all(crashes.len(), self.common.jobs, &play, &mut |_, verdicts| {
                tally.bar.inc(1);
                verdicts.into_iter().for_each(|(case, verdict)| tally.take(&case, verdict));
            });
            if !tally.may_go_on(&self.common) {
                break;
            }
        }
        tally.end(&self.common)
    }
}

impl Enumerate {
    /// Plays every sequence.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let sequences = enumerate::sequences(self.max_ops);
        let mut tally = Tally::new("enumerate", sequences.len(), "sequences");
        let play = |at: usize| enumerate::play(&sequences[at], self.images);
        play_all(sequences.len(), self.common.jobs, &play, &mut |_, played| {
            tally.bar.inc(1);
            tally.record.add("sequences", 1);
            match played {
                Ok(counted) => {
                    tally.record.add("points in time", counted.points);
                    tally.record.add("images recovered", counted.images);
                }
                Err(failed) => tally.take_script(&failed),
            }
        });
        tally.end(&self.common)
    }
}

impl Meta {
    /// Plays every history under every set.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::new("meta", self.runs as usize, "histories");
        let play = |run: usize| meta::play(&meta::script(self.start + run as u64 * 64, self.ops));
        play_all(self.runs as usize, self.common.jobs, &play, &mut |_, played| {
            tally.bar.inc(1);
            tally.record.add("histories", 1);
            match played {
                Ok(_) => tally.record.add("runs", 12),
                Err(failed) => tally.take_script(&failed),
            }
        });
        tally.end(&self.common)
    }
}

//! The program `esker-sim`: runs seeds, replays one, cuts one down.
//!
//! Progress is drawn on a terminal only. A failure is one line that says how to replay it, and
//! exit status 1.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use esker_sim::engine::Simulated;
use esker_sim::flips::Campaign;
use esker_sim::generate::generate;
use esker_sim::ops::Script;
use esker_sim::reached::Reached;
use esker_sim::run::{Broken, hush_panics, run};
use esker_sim::shape::report::{self, Row};
use esker_sim::shrink::shrink;
use indicatif::{ProgressBar, ProgressStyle};

/// Runs seeded histories of Esker on a simulated machine, against a model.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run seeds until one fails
    Run(Seeds),
    /// Run one history and print each operation with its answer behind it
    Replay(Source),
    /// Cut a failing history down to the operations that it takes, and print it
    Minimize {
        #[command(flatten)]
        source: Source,
        /// Most runs to spend
        #[arg(long, default_value_t = 5000)]
        tries: usize,
    },
    /// Play the policy of compaction without a disk and print what it costs
    Shape(Shapes),
    /// Flip bits of a store of 50 MiB, one at a time: none may change an answer silently
    Flips(Flips),
}

#[derive(Args)]
struct Shapes {
    /// Bytes that the background can write for each one that the user writes
    #[arg(long, default_value_t = 8.0)]
    drain: f64,
    /// Only the data sizes whose name begins so
    #[arg(long, default_value = "")]
    data: String,
}

#[derive(Args)]
struct Flips {
    /// How many bits
    #[arg(long, default_value_t = 10_000)]
    flips: u64,
    /// Puts and deletes that make the store
    #[arg(long, default_value_t = 520_000)]
    writes: u64,
    /// What decides the store and the bits
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the figures in a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Args)]
struct Seeds {
    /// How many
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Run the others after a failure
    #[arg(long)]
    keep_going: bool,
}

/// A seed or a file with a script.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// The history of this seed
    #[arg(long)]
    seed: Option<u64>,
    /// A script; `-` for standard input
    file: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(seeds) => Ok(seeds.run()),
        Command::Replay(source) => Ok(replay(&source.script()?)),
        Command::Minimize { source, tries } => minimize(&source.script()?, tries),
        Command::Shape(shapes) => {
            shapes.print();
            Ok(ExitCode::SUCCESS)
        }
        Command::Flips(flips) => flips.run(),
    }
}

impl Source {
    fn script(&self) -> anyhow::Result<Script> {
        let Some(file) = &self.file else {
            return Ok(generate(self.seed.context("a seed or a file is needed")?));
        };
        let text = if file.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin())
        } else {
            fs::read_to_string(file)
        };
        let text = text.with_context(|| format!("read {}", file.display()))?;
        text.parse().with_context(|| format!("{} is no script", file.display()))
    }
}

impl Shapes {
    fn print(&self) {
        println!("{}", Row::HEAD);
        for case in report::CASES.iter().filter(|case| case.name.starts_with(&self.data)) {
            let rules = [
                ("leveled", report::leveled(case.memtable_bytes)),
                ("tiered", report::tiered(case.memtable_bytes)),
            ];
            for (rule, policy) in rules {
                let (load, overwrite) = report::figures(case, policy, self.drain);
                if let Some(load) = load {
                    println!("{}", Row(case.name, "new", rule, load));
                }
                println!("{}", Row(case.name, "overwrite", rule, overwrite));
            }
        }
    }
}

impl Flips {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let Self { flips, writes, seed, ref json } = *self;
        let campaign = Campaign { flips, writes, memtable_bytes: 256 << 10, seed };
        let progress = ProgressBar::new(flips);
        let outcome = campaign.run(&mut || progress.inc(1));
        progress.finish_and_clear();
        println!("{outcome:#?}");
        if let Some(file) = json {
            let text = outcome.to_json(&campaign);
            fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(if outcome.silent.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Seeds {
    fn run(&self) -> ExitCode {
        hush_panics();
        let style =
            ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds, {per_sec}, {eta} left");
        let progress =
            ProgressBar::new(self.seeds).with_style(style.expect("the template is right"));
        let mut reached = Reached::default();
        let mut failed = 0;
        for seed in self.start..self.start.saturating_add(self.seeds) {
            let outcome = run::<Simulated>(&generate(seed), &mut |_, _| {});
            reached.merge(&outcome.reached);
            if let Some(broken) = outcome.broken {
                failed += 1;
                progress.suspend(|| {
                    println!(
                        "seed {seed} fails at {broken}; replay: esker-sim replay --seed {seed}"
                    );
                });
                if !self.keep_going {
                    break;
                }
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        if failed > 0 {
            return ExitCode::FAILURE;
        }
        print!("{} seeds from {} on are right. They came by:\n{reached}", self.seeds, self.start);
        ExitCode::SUCCESS
    }
}

/// What is printed is a script again: answers are comments.
fn replay(script: &Script) -> ExitCode {
    println!("seed {}", script.seed);
    let outcome = run::<Simulated>(script, &mut |op, answer| {
        println!("{op:<40} # {}", answer.replace('\n', " "));
    });
    match outcome.broken {
        None => ExitCode::SUCCESS,
        Some(Broken { op, what, .. }) => {
            println!("{op:<40} # FAILS: {}", what.replace('\n', "\n# "));
            ExitCode::FAILURE
        }
    }
}

fn minimize(script: &Script, tries: usize) -> anyhow::Result<ExitCode> {
    hush_panics();
    let broken = |script: &Script| run::<Simulated>(script, &mut |_, _| {}).broken;
    if broken(script).is_none() {
        bail!("this history does not fail");
    }
    let progress = ProgressBar::new(tries as u64);
    let small = shrink(script, tries, &mut |script| {
        progress.inc(1);
        broken(script).is_some()
    });
    progress.finish_and_clear();
    print!("{small}");
    if let Some(broken) = broken(&small) {
        println!("# {}", broken.to_string().replace('\n', "\n# "));
    }
    Ok(ExitCode::FAILURE)
}

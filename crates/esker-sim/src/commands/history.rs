//! `esker-sim replay` and `esker-sim minimize`: one history.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use esker_sim::campaign::nth::{Case, watched};
use esker_sim::engine::Simulated;
use esker_sim::generate::generate;
use esker_sim::ops::Script;
use esker_sim::run::{Broken, hush_panics, run};
use esker_sim::shrink::shrink;
use indicatif::ProgressBar;

/// A seed, a case of a campaign, or a file with a script.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Source {
    /// The history of this seed
    #[arg(long)]
    seed: Option<u64>,
    /// The case that `nth` or `nth2` named
    #[arg(long)]
    case: Option<Case>,
    /// A script; `-` for standard input
    file: Option<PathBuf>,
}

impl Source {
    fn script(&self) -> anyhow::Result<Script> {
        if let Some(case) = &self.case {
            let watched = watched(case.scenario)?;
            let own = watched.iter().find(|watched| watched.scenario.name == case.scenario);
            return Ok(own.context("a case has a scenario")?.script(case));
        }
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

/// Which history to play.
#[derive(Args)]
pub struct Replay {
    #[command(flatten)]
    source: Source,
}

impl Replay {
    /// What is printed is a script again: answers are comments.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let script = self.source.script()?;
        println!("seed {}", script.seed);
        if let Some(options) = script.options {
            println!("options {options}");
        }
        let outcome = run::<Simulated>(&script, &mut |op, answer| {
            println!("{op:<40} # {}", answer.replace('\n', " "));
        });
        let Some(Broken { op, what, .. }) = outcome.broken else { return Ok(ExitCode::SUCCESS) };
        println!("{op:<40} # FAILS: {}", what.replace('\n', "\n# "));
        Ok(ExitCode::FAILURE)
    }
}

/// Which history to cut down.
#[derive(Args)]
pub struct Minimize {
    #[command(flatten)]
    source: Source,
    /// Most runs to spend
    #[arg(long, default_value_t = 5000)]
    tries: usize,
}

impl Minimize {
    /// Prints the smallest script found, and how it fails.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        hush_panics();
        let script = self.source.script()?;
        let broken = |script: &Script| run::<Simulated>(script, &mut |_, _| {}).broken;
        if broken(&script).is_none() {
            bail!("this history does not fail");
        }
        let progress = ProgressBar::new(self.tries as u64);
        let small = shrink(&script, self.tries, &mut |script| {
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
}

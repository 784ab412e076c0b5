//! The program's commands: their options, and what they print.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use esker_sim::campaign::record::Record;
use indicatif::{ProgressBar, ProgressStyle};

pub mod campaigns;
pub mod history;
pub mod page;
#[cfg(feature = "planted")]
pub mod planted;
pub mod seeds;
pub mod shapes;

/// What all campaigns can be told.
#[derive(Args)]
pub struct Common {
    /// How many threads
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    pub jobs: usize,
    /// Where to write the figures
    #[arg(long, env = "ESKER_RECORD")]
    pub json: Option<PathBuf>,
    /// Go on after a failure
    #[arg(long)]
    pub keep_going: bool,
}

impl Common {
    /// Prints the figures, writes them, and answers how it went.
    pub fn end(&self, record: &Record) -> anyhow::Result<ExitCode> {
        print!("{record}");
        if let Some(file) = &self.json {
            record.save(file)?;
        }
        let failures = record.figures.get("failures").copied().unwrap_or(0);
        Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// A bar that counts `what` up to `count`; nothing is drawn in a pipe.
pub fn progress(count: u64, what: &str) -> ProgressBar {
    let template = format!("{{wide_bar}} {{pos}}/{{len}} {what}, {{per_sec}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).expect("the template is right");
    ProgressBar::new(count).with_style(style)
}

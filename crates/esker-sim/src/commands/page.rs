//! `esker-sim page`: docs/reliability.md.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use esker_sim::campaign::page::page;

/// From what, and where to.
#[derive(Args)]
pub struct Page {
    /// The folder with the records
    #[arg(long, default_value = "crates/esker-sim/record")]
    records: PathBuf,
    /// The engine's sources, for its `unsafe` blocks
    #[arg(long, default_value = "crates/esker/src")]
    sources: PathBuf,
    /// The page
    #[arg(long, default_value = "docs/reliability.md")]
    out: PathBuf,
}

impl Page {
    /// Writes it.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        std::fs::write(&self.out, page(&self.records, &self.sources)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

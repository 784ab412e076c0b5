//! `bench`: how fast it is here, and what that costs.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use esker_bench::{Comparison, Report, Settings, Workload};

use crate::commands::Durability;
use crate::outcome::Failure;

/// Measure workloads on a new store: rates, latencies, bytes written, memory
///
/// Fills begin with an empty store. Before a workload that reads, what was written since settles;
/// the report has a line for it. Whatever is read is checked. Progress is shown on a terminal.
#[derive(Args)]
#[command(after_help = format!("\
Workloads:
{}

Example:
  $ esker bench --num 1000 --json before.json fillrandom,readrandom | head -n 1
  1,000 entries of 16 + 100 bytes, 1 thread, durability os, seed 1
  $ esker bench --num 1000 --json after.json fillrandom,readrandom >table
  $ esker bench --compare before.json after.json | grep -c random
  2", Workload::help()))]
pub struct Bench {
    /// What to do, in this order
    #[arg(value_name = "WORKLOADS", value_delimiter = ',', default_value = esker_bench::DEFAULT)]
    #[arg(hide_default_value = true)]
    workloads: Vec<Workload>,
    /// How many entries a fill puts
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    num: u64,
    /// How many operations a workload that does not fill does [default: as many as entries;
    /// seeks, scans and synced puts fewer]
    #[arg(long, value_name = "N")]
    operations: Option<u64>,
    /// Bytes of a key
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    key_size: usize,
    /// Bytes of a value; they compress to half
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    value_size: usize,
    /// Threads that share the operations
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// When a write is answered
    #[arg(long, value_enum, default_value_t = Durability::Os)]
    durability: Durability,
    /// How tables of L1 and deeper are compressed
    #[arg(long, value_enum, default_value_t = Compression::None)]
    compression: Compression,
    /// Where the store is made and left; without it, in a temporary directory that is removed
    #[arg(long, visible_alias = "data-dir")]
    dir: Option<PathBuf>,
    /// What decides the order of keys and every draw
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Most bytes of memory that the engine uses [default: its own choice]
    #[arg(long, value_name = "BYTES")]
    memory_budget: Option<u64>,
    /// Most puts per second of the writer in readwhilewriting [default: as many as it can]
    #[arg(long, value_name = "N")]
    write_rate: Option<u64>,
    /// Keep the report in a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure nothing, but compare two kept reports
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], exclusive = true)]
    compare: Vec<PathBuf>,
}

/// How blocks of tables are compressed.
#[derive(Clone, Copy, ValueEnum)]
enum Compression {
    /// Not at all
    None,
    /// Fast
    Lz4,
    /// Small
    Zstd,
}

impl Bench {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        if let [before, after] = self.compare.as_slice() {
            let (before, after) = (&Report::load(before)?, &Report::load(after)?);
            return Ok(write!(out, "{}", Comparison { before, after })?);
        }
        let report = esker_bench::run(&self.settings())?;
        if let Some(file) = &self.json {
            report.save(file)?;
        }
        Ok(write!(out, "{report}")?)
    }

    fn settings(&self) -> Settings {
        Settings {
            num: self.num,
            operations: self.operations,
            key_bytes: self.key_size,
            value_bytes: self.value_size,
            threads: self.threads,
            durability: match self.durability {
                Durability::Os => esker::Durability::Os,
                Durability::Sync => esker::Durability::Sync,
            },
            compression: match self.compression {
                Compression::None => esker::Compression::None,
                Compression::Lz4 => esker::Compression::Lz4,
                Compression::Zstd => esker::Compression::Zstd,
            },
            dir: self.dir.clone(),
            seed: self.seed,
            memory_budget: self.memory_budget,
            write_rate: self.write_rate,
            workloads: self.workloads.clone(),
        }
    }
}

//! `node`: JSON lines in, JSON lines out.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::outcome::Failure;

/// Serve JSON lines: one request a line on standard input, one reply a line on standard output
#[derive(Args)]
#[command(after_help = "\
Example:
  $ echo '{\"src\":\"c\",\"dest\":\"n\",\"body\":{\"type\":\"init\",\"node_id\":\"n\",\"node_ids\":[\"n\"]}}' | esker node
  {\"src\":\"n\",\"dest\":\"c\",\"body\":{\"type\":\"init_ok\",\"msg_id\":0}}")]
pub struct Node {
    /// Where the store persists; without it, in a temporary directory that is removed at exit
    #[arg(long, visible_alias = "dir", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Bytes of writes gathered in memory before they become a table
    #[arg(long, value_name = "N", default_value_t = 4 << 20)]
    memtable_bytes: u64,
    /// When a write is answered
    #[arg(long, value_enum, default_value_t = Durability::Os)]
    durability: Durability,
}

#[derive(Clone, Copy, ValueEnum)]
enum Durability {
    /// Once the operating system has it: it survives the death of the node, not a power cut
    Os,
    /// Once it is on stable storage
    Sync,
}

impl Node {
    pub(super) fn run(&self) -> Result<(), Failure> {
        Ok(())
    }
}

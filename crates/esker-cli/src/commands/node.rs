//! `node`: JSON lines in, JSON lines out.

use std::path::PathBuf;

use clap::Args;
use esker_node::{MEMTABLE_BYTES_DEFAULT, NodeOptions};

use crate::commands::Durability;
use crate::outcome::Failure;

/// Serve JSON lines: one request a line on standard input, one reply a line on standard output
///
/// Without any command `esker` does the same when its standard input is not a terminal.
#[derive(Args)]
#[command(after_help = "\
Example:
  $ cat >requests <<'END'
  > {\"src\":\"c1\",\"dest\":\"n1\",\"body\":{\"type\":\"init\",\"node_id\":\"n1\",\"node_ids\":[\"n1\"]}}
  > {\"src\":\"c1\",\"dest\":\"n1\",\"body\":{\"type\":\"lsm_put\",\"msg_id\":2,\"key\":\"x\",\"value\":100}}
  > END
  $ esker node --data-dir shop <requests
  {\"src\":\"n1\",\"dest\":\"c1\",\"body\":{\"type\":\"init_ok\",\"msg_id\":0}}
  {\"src\":\"n1\",\"dest\":\"c1\",\"body\":{\"type\":\"lsm_put_ok\",\"in_reply_to\":2,\"msg_id\":1}}
  $ esker get --dir shop x
  100")]
pub struct Node {
    /// Where the store persists; without it, in a temporary directory that is removed at exit
    #[arg(long, visible_alias = "dir", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Bytes of writes gathered in memory before they become a table
    #[arg(long, value_name = "N", default_value_t = MEMTABLE_BYTES_DEFAULT)]
    memtable_bytes: u64,
    /// When a write is answered
    #[arg(long, value_enum, default_value_t = Durability::Os)]
    durability: Durability,
}

impl Node {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let durability = match self.durability {
            Durability::Os => esker_node::Durability::Os,
            Durability::Sync => esker_node::Durability::Sync,
        };
        let options = NodeOptions {
            data_dir: self.data_dir.clone(),
            memtable_bytes: Some(self.memtable_bytes),
            durability,
        };
        Ok(esker_node::run_stdio(&options)?)
    }
}

//! The node of Esker: JSON lines in, JSON lines out, as the harnesses of Maelstrom speak.
//!
//! [`run`] serves one conversation over any reader and writer; [`run_stdio`] is `esker node`.
//! The contract is `docs/protocol.md`.
//!
//! This is the only crate of the workspace that answers in JSON, and `store.rs` its only file that
//! knows the engine:
//!
//! ```text
//! serve      reads, answers, writes; signals
//! session    one node: order, init, groups of synced writes
//! requests   one function per type of request     benchmark
//! store      what requests ask of the engine      temp   a directory for the store
//! envelope   a line's sender and body             reply  numbered replies in one buffer
//! fields     typed access to a body               refusal, stop
//! line       lines in bounded memory              value  JSON text: compact, canonical, depth
//! fuzz       hostile input, with the feature `fuzz`
//! ```
//!
//! One request is answered at a time. Memory is bounded by the longest line and the longest
//! reply, 64 MiB each, and by what the engine uses.
#![forbid(unsafe_code)]

mod benchmark;
mod envelope;
mod fields;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod line;
mod refusal;
mod reply;
mod requests;
mod serve;
mod session;
mod stop;
mod store;
mod temp;
mod value;

use std::fmt;
use std::path::PathBuf;

pub use serve::{run, run_stdio};

/// The memtable of a node that is not told otherwise: small, so that a small set of data shows
/// its levels.
pub const MEMTABLE_BYTES_DEFAULT: u64 = 4 << 20;

/// How to run a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeOptions {
    /// Where the store persists. Without one it is temporary.
    pub data_dir: Option<PathBuf>,
    /// The size at which a memtable is flushed; [`MEMTABLE_BYTES_DEFAULT`] if not given.
    pub memtable_bytes: Option<u64>,
    /// What has happened to a write before it is answered.
    pub durability: Durability,
}

/// What has happened to a write before it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The operating system has it: it survives a `kill -9` of the process.
    #[default]
    Os,
    /// Stable storage has it: it survives a power cut. Writes that wait together share a sync.
    Sync,
}

/// Why a node could not start, go on or end well.
#[derive(Debug)]
pub struct NodeError {
    text: String,
    kind: Option<esker::ErrorKind>,
}

impl NodeError {
    fn new(what: impl fmt::Display, error: &(dyn std::error::Error + 'static)) -> Self {
        let kind = error.downcast_ref().map(esker::Error::kind);
        Self { text: format!("{what}: {error}"), kind }
    }

    /// What the store said no with, if it was the store.
    pub fn kind(&self) -> Option<esker::ErrorKind> {
        self.kind
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for NodeError {}

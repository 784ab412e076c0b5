//! Esker: an embedded, ordered key-value store; a log-structured merge tree.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! let db = esker::Db::open(dir.path())?;
//! db.put("user:1", "ada")?;
//! db.put("user:2", "grace")?;
//! db.delete("user:1")?;
//! for entry in db.prefix("user:") {
//!     let (key, value) = entry?;
//!     assert_eq!((&*key, &*value), (&b"user:2"[..], &b"grace"[..]));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What you may rely on
//!
//! - A [`WriteBatch`] happens whole or not at all, also over keyspaces and after any crash.
//! - A write that returned `Ok` survives the death of the process ([`Durability::Os`], the
//!   default) or a power cut ([`Durability::Sync`], or a later [`Db::sync`]).
//! - What a crash leaves is a prefix of the order of commits: no holes, no reordering.
//! - A read answers right or with an error: an unreadable block is never "not found".
//! - A [`Snapshot`] sees one commit, in all keyspaces, for as long as it lives.
//! - Keys are up to 65,535 bytes, values up to 64 MiB, batches up to 128 MiB.
//!
//! docs/guarantees.md names the test that holds each of these.
//!
//! # Features
//!
//! All off by default: what is not asked for is not compiled.
//!
//! - `repair`: `verify`, `repair` and `quarantine`, for damaged stores that are not open. The program
//!   `esker` always has them.
//! - `lz4`, `zstd`: compression of blocks. A store that has such blocks needs the feature to be read.
//!
//! # How it is built
//!
//! One folder a subject, each importing only from lower floors: `base`, `vfs`, `env` and `epoch`,
//! `cache`, then `wal`, `memtable` and `sstable`, then `version`, `read`, `compaction`, `db`.
//! ARCHITECTURE.md is the map.
#![deny(missing_docs)]
#![cfg_attr(
    not(any(test, feature = "internals")),
    allow(
        dead_code,
        unused_imports,
        reason = "the rooms behind the back door and the workshop stay empty without their features"
    )
)]

mod base;
mod cache;
mod compaction;
mod db;
mod env;
mod epoch;
#[cfg(feature = "internals")]
pub mod internals;
mod memtable;
mod read;
#[cfg(feature = "repair")]
mod repair;
mod sstable;
#[cfg(test)]
mod testing;
mod version;
mod vfs;
mod wal;

pub use base::batch::WriteBatch;
pub use base::error::{Corruption, Error, ErrorKind, Result};
pub use base::range::KeyBounds;
pub use base::value::Value;
pub use db::Db;
pub use db::contain::{CorruptRange, ScrubStats};
pub use db::health::HealthState;
pub use db::keyspace::Keyspace;
pub use db::memory::MemoryUse;
pub use db::options::{Durability, Options, WriteOptions};
pub use db::snapshot::Snapshot;
pub use db::stats::{LevelInfo, Stats};
pub use read::scan::{Cursor, Iter};
#[cfg(feature = "repair")]
pub use repair::quarantine::quarantine;
#[cfg(feature = "repair")]
pub use repair::rebuild::repair;
#[cfg(feature = "repair")]
pub use repair::report::{
    Depth, Finding, Loss, OnLoss, Quarantine, RepairReport, RepairedKeyspace, TableLoss,
    TablePlace, VerifyReport,
};
#[cfg(feature = "repair")]
pub use repair::verify::verify;
pub use sstable::Compression;

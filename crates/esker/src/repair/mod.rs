//! Floor 6, beside `db`: a store that is not open, looked at and put together again.
//!
//! - [`verify`](mod@verify): everything that is wrong with it; changes nothing
//! - [`rebuild`](mod@rebuild): everything that can be read of it, as a new store elsewhere
//! - [`quarantine`](mod@quarantine): takes a damaged table out of it, and says what goes with it
//! - `parts`: which tables and logs there are, with or without a manifest
//! - `merge`: their entries in order, the newest version of each key
//! - [`report`]: what they have to say
//!
//! A repair never writes to the store that it reads. It makes a new one in an empty directory, of
//! tables alone, and puts its `CURRENT` there last: so a repair that is interrupted leaves the old
//! store as it was, and a new directory that no open takes for a store.
//!
//! What cannot be read cannot be honoured either: where a block is lost, an older version of one
//! of its keys may show, or a key that a lost tombstone had removed. Every loss is therefore
//! reported with the range of its keys.
//!
//! Invariants:
//!
//! - **F1** A repaired keyspace has each key once, in order, and no tombstone.
//!
//! A quarantine is the one thing here that changes a store: one edit of its manifest, and the name of
//! one file.
//!
//! Threads: one, the caller's. Both directories stay locked meanwhile.
//!
//! Cost: a repair reads everything once and writes what is left once; the log's entries are held in
//! memory, as when a store is opened. Not here: what the bytes mean, and how a damaged file is read
//! (`sstable`, `wal`, `version`); a store that is open (`db`).
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::names::FileName;
use crate::vfs::os::OsDisk;
use crate::vfs::{Disk, Listing, LockGuard};

mod merge;
mod parts;
pub mod quarantine;
pub mod rebuild;
pub mod report;
pub mod verify;

/// Holds others off a store that somebody may have open; `None` where nobody ever had. Changes
/// nothing in the directory.
fn lock_store(disk: &dyn Disk, listing: &Listing) -> Result<Option<Box<dyn LockGuard>>> {
    let was_open = listing.files.iter().any(|(name, _)| *name == FileName::Lock);
    was_open.then(|| disk.lock()).transpose()
}

/// The directory of a store, which is not made if it is not there.
fn open_existing(dir: &Path) -> Result<Arc<OsDisk>> {
    if !crate::vfs::machine::is_directory(dir) {
        return Err(Error::invalid(format!("{} holds no store", dir.display())));
    }
    OsDisk::open_dir(dir)
}

/// `Ok` if the directory has anything of a store.
fn require_store(disk: &dyn Disk, listing: &Listing) -> Result<()> {
    if listing.files.iter().any(|(name, _)| *name != FileName::Lock) {
        return Ok(());
    }
    Err(Error::invalid(format!("{} holds no store", disk.describe())))
}

//! Writing the manifest.

use std::sync::Arc;

use crate::base::error::Result;
use crate::version::{Edit, StoreState};
use crate::vfs::Disk;

/// The manifest in force, open for edits.
pub struct Manifest {
    number: u64,
}

impl Manifest {
    /// The number of a store's first manifest; by it a creation that crashed is recognised.
    pub const FIRST_NUMBER: u64 = 1;

    /// Writes a manifest that begins with `state`, and makes it the one in force.
    pub fn create(disk: &Arc<dyn Disk>, number: u64, state: &StoreState) -> Result<Manifest> {
        let _ = (disk, number, state);
        panic!("being written")
    }

    /// Appends an edit and makes it durable. After an error nobody knows whether the edit
    /// happened: no file may be deleted, and only a new manifest may follow.
    pub fn append(&mut self, edit: &Edit) -> Result<()> {
        let _ = edit;
        panic!("being written")
    }

    /// Records that all edits so far are durable: to be called before any file is deleted,
    /// renamed or used again because of one of them.
    pub fn mark(&mut self) -> Result<()> {
        panic!("being written")
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        panic!("being written")
    }

    /// The number in its name.
    pub fn number(&self) -> u64 {
        self.number
    }
}

//! A simulated disk that knows what was synced, and can be crashed.
//!
//! It keeps two pictures of itself: what the running system sees (its page cache), and what is
//! durable, with the list of changes that separate them. [`SimDisk::crash`] makes a new disk out
//! of the durable picture and a selection of those changes; the dying instance keeps the old one,
//! so its open handles cannot touch the new one, and one run can be crashed many times.
//!
//! - [`state`]: inodes, names, changes, space
//! - [`crash`]: the policies that choose among the disks a crash can leave
//! - [`handle`]: open files
//!
//! The model, pessimistic where systems differ:
//!
//! - Since the last successful sync of a file, each 512-byte sector that was written is,
//!   independently: as it was, as it became (after any of the writes to it), or torn: part of one
//!   and part of the other, or zeros or garbage in the bytes that were being written. Bytes that
//!   nobody writes keep their value even when their neighbours in the sector are torn.
//! - The length is any that the file had or grew through. Bytes never written read as zeros. A
//!   seal happened or did not.
//! - Creations, renames and removals since the last `sync_dir` happened or not, each alone, but
//!   in order per name. A rename is atomic. A rename brings its file along, so it does not depend
//!   on the file's creation. Syncing a file does not make its name durable.
//! - A failed sync leaves its bytes unsynced, or ([`Fault::SyncLost`]) lost for ever while reads
//!   still see them, as ext4 and XFS do.
//! - Writes stand at offsets. A spare that becomes a log segment is written over from its front on;
//!   its old bytes are then the old state of its sectors.
//!
//! Space is a counter: a file costs its length as long as it has a name or is open. Failures are
//! ordered with [`SimDisk::set_faults`]; after [`SimDisk::set_crash_at`] the machine stands still
//! at a chosen operation, to be crashed there.
//!
//! Threads: one mutex around the state, held for the length of one operation.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, PoisonError};

mod crash;
mod handle;
mod state;

pub use crash::CrashPolicy;

use self::handle::{OpenFile, SimAppend, SimLock, SimRead};
use self::state::DiskState;
use super::faults::{DiskOp, Errno, Fault, FaultPlan};
use super::strike::Strike;
use super::{AppendFile, Disk, Listing, LockGuard, ReadFile, Space};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::invariant;
use crate::base::names::FileName;
use crate::base::sync::{Mutex, MutexGuard};

/// A disk in memory that can be crashed: what it models stands at the top of its file.
pub struct SimDisk {
    state: SharedState,
}

type SharedState = Arc<Mutex<DiskState>>;

impl SimDisk {
    /// An empty disk of a tebibyte that never fails.
    pub fn new() -> Arc<Self> {
        Self::of(DiskState::default())
    }

    /// A disk as a crash of `policy` could leave this one. The same operations, policy and seed
    /// give the same disk. It has the same capacity, no faults, no lock, and counts its
    /// operations from 0.
    pub fn crash(&self, policy: CrashPolicy, seed: u64) -> Arc<Self> {
        Self::of(crash::survivor(&self.state(), policy, seed))
    }

    /// How many choices a crash of [`CrashPolicy::Chosen`] has now: that many bits of a seed.
    pub fn crash_choices(&self) -> u64 {
        crash::choices(&self.state())
    }

    /// From now on the file system holds so many bytes.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity_bytes = bytes;
    }

    /// From now on `plan` decides what fails, instead of the plan before; a strike goes on.
    pub fn set_faults(&self, mut plan: FaultPlan) {
        let mut state = self.state();
        *plan.strike_mut() = state.faults.strike_mut().take();
        state.faults = plan;
    }

    /// From now on `strike` counts operations; the one before is given back as far as it came.
    pub fn arm(&self, strike: Option<Strike>) -> Option<Strike> {
        std::mem::replace(self.state().faults.strike_mut(), strike)
    }

    /// How many faults of the present plan happened, a strike in its time included.
    pub fn faults_fired(&self) -> u64 {
        self.state().faults.fired()
    }

    /// From operation `k` on, counted from 0 as [`operations`](Self::operations) does, every
    /// operation fails and nothing changes any more.
    pub fn set_crash_at(&self, k: u64) {
        self.state().crash_at = Some(k);
    }

    /// Whether an operation failed because of [`set_crash_at`](Self::set_crash_at).
    pub fn has_crashed(&self) -> bool {
        self.state().has_crashed
    }

    /// How many operations there were, failed ones included.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// A hash of all operations so far, with names, offsets and bytes: two runs that differ in
    /// any of them have different ones.
    pub fn operations_hash(&self) -> u64 {
        self.state().operations_hash
    }

    /// The files that the running system sees, and their lengths. No operation.
    pub fn files(&self) -> Vec<(FileName, u64)> {
        self.state().listing()
    }

    /// All bytes of a file, as the running system sees them. No operation.
    pub fn bytes(&self, name: FileName) -> Option<Vec<u8>> {
        let state = self.state();
        state.named(name).map(|file| file.cached.to_vec())
    }

    /// Puts a file there, in place of one that has the name. It is durable, as are all names then.
    pub fn put_file(&self, name: FileName, bytes: &[u8]) {
        self.state().put_durable(name, bytes);
    }

    /// Bit rot: flips the bits of `mask` in one byte of a file. What is seen of the file after
    /// this, or [`overwrite`](Self::overwrite), or [`truncate`](Self::truncate), is durable.
    pub fn damage(&self, name: FileName, offset: u64, mask: u8) {
        self.state().rot(name, |bytes| bytes[offset as usize] ^= mask);
    }

    /// Bit rot: other bytes stand at `offset`.
    pub fn overwrite(&self, name: FileName, offset: u64, bytes: &[u8]) {
        let start = offset as usize;
        self.state().rot(name, |old| old[start..start + bytes.len()].copy_from_slice(bytes));
    }

    /// Damage: the file ends at `len`.
    pub fn truncate(&self, name: FileName, len: u64) {
        self.state().rot(name, |bytes| bytes.truncate(len as usize));
    }

    /// Damage: the file is no longer there.
    pub fn lose(&self, name: FileName) {
        let mut state = self.state();
        state.names.remove(&name);
        state.durable_names.remove(&name);
    }

    /// Puts an entry there that is not called as files of a store are.
    pub fn add_foreign(&self, name: &str) {
        assert_eq!(FileName::parse(name), None, "{name} is a file of a store");
        self.state().foreign.insert(name.to_owned());
    }

    fn of(state: DiskState) -> Arc<Self> {
        Arc::new(Self { state: Arc::new(Mutex::new(state)) })
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        lock(&self.state)
    }
}

impl Disk for SimDisk {
    fn create(&self, name: FileName) -> Result<Box<dyn AppendFile>> {
        let mut state = self.state();
        state.begin(DiskOp::Create, &[name], 0, &[])?;
        if state.names.contains_key(&name) {
            return Err(failed(DiskOp::Create, name, Errno::EXIST));
        }
        let inode = state.create(name);
        Ok(Box::new(SimAppend::new(OpenFile::new(&self.state, &mut state, inode, name))))
    }

    fn create_log(
        &self,
        name: FileName,
        spare: Option<FileName>,
        bytes: u64,
    ) -> Result<Box<dyn AppendFile>> {
        match spare {
            Some(spare) => self.rename(spare, name)?,
            None => drop(self.create(name)?),
        }
        let mut state = self.state();
        let inode = state.lookup(DiskOp::Create, name)?;
        invariant!(D4, !state.file(inode).has_writer, "a second writer of {name}");
        let open = OpenFile::new(&self.state, &mut state, inode, name);
        state.file_mut(inode).has_writer = true;
        Ok(Box::new(SimAppend::new_log(open, (bytes / 4).next_multiple_of(8))))
    }

    fn open(&self, name: FileName) -> Result<Arc<dyn ReadFile>> {
        let mut state = self.state();
        state.begin(DiskOp::Open, &[name], 0, &[])?;
        let inode = state.lookup(DiskOp::Open, name)?;
        let len = state.file(inode).cached.len() as u64;
        Ok(Arc::new(SimRead::new(OpenFile::new(&self.state, &mut state, inode, name), len)))
    }

    fn rename(&self, from: FileName, to: FileName) -> Result<()> {
        let mut state = self.state();
        state.begin(DiskOp::Rename, &[from, to], 0, &[])?;
        if !state.names.contains_key(&from) {
            return Err(failed(DiskOp::Rename, format_args!("{from} to {to}"), Errno::NOENT));
        }
        state.rename(from, to);
        Ok(())
    }

    fn remove(&self, name: FileName) -> Result<()> {
        let mut state = self.state();
        state.begin(DiskOp::Remove, &[name], 0, &[])?;
        state.remove(name);
        Ok(())
    }

    fn list(&self) -> Result<Listing> {
        let mut state = self.state();
        state.begin(DiskOp::List, &[], 0, &[])?;
        Ok(Listing { files: state.listing(), foreign: state.foreign.iter().cloned().collect() })
    }

    fn sync_dir(&self) -> Result<()> {
        let mut state = self.state();
        state.begin(DiskOp::SyncDir, &[], 0, &[])?;
        state.sync_names();
        Ok(())
    }

    fn sync_existing(&self, name: FileName) -> Result<()> {
        let mut state = self.state();
        let fault = state.begin(DiskOp::SyncExisting, &[name], 0, &[])?;
        let inode = state.lookup(DiskOp::SyncExisting, name)?;
        if fault == Some(Fault::SyncLost) {
            state.file_mut(inode).lose_unsynced();
            return Err(failed(DiskOp::SyncExisting, name, Errno::IO));
        }
        state.file_mut(inode).sync();
        Ok(())
    }

    fn lock(&self) -> Result<Box<dyn LockGuard>> {
        let mut state = self.state();
        state.begin(DiskOp::Lock, &[FileName::Lock], 0, &[])?;
        if state.is_locked {
            let text = format!("{} is open already: close it there", self.describe());
            return Err(Error::new(ErrorKind::Locked, text));
        }
        if !state.names.contains_key(&FileName::Lock) {
            state.create(FileName::Lock);
        }
        state.is_locked = true;
        Ok(Box::new(SimLock::new(&self.state)))
    }

    fn space(&self) -> Result<Space> {
        let mut state = self.state();
        state.begin(DiskOp::Space, &[], 0, &[])?;
        Ok(Space { free_bytes: state.free_bytes(), total_bytes: state.capacity_bytes })
    }

    fn describe(&self) -> String {
        "simulated disk".to_owned()
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        write!(f, "SimDisk({} files, {} operations)", state.names.len(), state.operations)
    }
}

/// A panic of a test's thread does not end the disk for the others.
fn lock(state: &Mutex<DiskState>) -> MutexGuard<'_, DiskState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(op: DiskOp, what: impl fmt::Display, errno: Errno) -> Error {
    Error::io(format_args!("{op} {what}"), errno.into())
}

#[cfg(test)]
mod tests;

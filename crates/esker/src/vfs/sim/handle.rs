//! Open files of a simulated disk. They keep the inode alive, whatever happens to its name.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::state::{DiskState, InodeNo};
use super::{SharedState, failed, lock};
use crate::base::error::{Error, Result};
use crate::base::invariant;
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::vfs::faults::{DiskOp, Errno, Fault};
use crate::vfs::{AppendFile, LockGuard, ReadFile, Room, SyncFile, past_the_end};

/// An open file: the part that readers, the writer and those who sync have in common.
pub(super) struct OpenFile {
    disk: SharedState,
    inode: InodeNo,
    /// Its name when it was opened.
    name: FileName,
    /// Bytes of appends that returned `Ok`.
    appended: AtomicU64,
    sync_failed: AtomicBool,
    /// How far ahead of its end a log segment is allocated.
    ahead_bytes: AtomicU64,
}

impl OpenFile {
    /// `state` is the locked state of `disk`.
    pub fn new(disk: &SharedState, state: &mut DiskState, inode: InodeNo, name: FileName) -> Self {
        state.file_mut(inode).handles += 1;
        Self {
            disk: Arc::clone(disk),
            inode,
            name,
            appended: AtomicU64::new(0),
            sync_failed: AtomicBool::new(false),
            ahead_bytes: AtomicU64::new(0),
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let mut state = lock(&self.disk);
        let file = state.file_mut(self.inode);
        file.handles -= 1;
        let last = file.handles == 0;
        if last && state.names.get(&self.name) != Some(&self.inode) {
            state.forget_unreachable();
        }
    }
}

impl SyncFile for OpenFile {
    fn sync(&self) -> Result<u64> {
        let mut state = lock(&self.disk);
        let appended = self.appended.load(Ordering::Relaxed);
        let begun = state.begin(DiskOp::Sync, &[self.name], appended, &[]);
        // The planted mistake needs a disk that lets it happen.
        let is_final = !planted::is_on(Bug::FailedSyncRetried);
        if is_final && self.sync_failed.load(Ordering::Relaxed) {
            return Err(
                failed(DiskOp::Sync, self.name, Errno::IO).context("an earlier sync failed")
            );
        }
        let file = state.file_mut(self.inode);
        match begun {
            Ok(Some(Fault::SyncLost)) => file.lose_unsynced(),
            Ok(_) => {
                file.sync();
                return Ok(appended);
            }
            Err(_) => {}
        }
        self.sync_failed.store(true, Ordering::Relaxed);
        begun.and(Err(failed(DiskOp::Sync, self.name, Errno::IO)))
    }

    fn make_room(&self) -> Result<Room> {
        let mut state = lock(&self.disk);
        let goal = self.appended.load(Ordering::Relaxed) + self.ahead_bytes.load(Ordering::Relaxed);
        let len = state.file(self.inode).cached.len() as u64;
        if len >= goal || !state.file(self.inode).has_writer {
            return Ok(Room::Enough);
        }
        state.begin(DiskOp::Allocate, &[self.name], goal, &[])?;
        if goal - len > state.free_bytes() {
            return Err(failed(DiskOp::Allocate, self.name, Errno::NOSPC));
        }
        let at = state.clock;
        state.file_mut(self.inode).set_len(at, goal);
        Ok(Room::Enough)
    }
}

pub(super) struct SimAppend {
    open: Arc<OpenFile>,
    /// Where the next append begins.
    position: u64,
    /// Until an append failed or the file was sealed.
    takes_more: bool,
    /// Whether it counts as the file's one writer.
    is_log: bool,
}

impl SimAppend {
    pub fn new(open: OpenFile) -> Self {
        Self { open: Arc::new(open), position: 0, takes_more: true, is_log: false }
    }

    /// The one writer of a log segment, which is allocated so far ahead of its end.
    pub fn new_log(open: OpenFile, ahead_bytes: u64) -> Self {
        open.ahead_bytes.store(ahead_bytes, Ordering::Relaxed);
        let mut append = Self::new(open);
        append.is_log = true;
        append
    }

    fn set_len(&mut self, op: DiskOp, len: u64) -> Result<()> {
        let OpenFile { disk, inode, name, .. } = &*self.open;
        let mut state = lock(disk);
        state.begin(op, &[*name], len, &[])?;
        let at = state.clock;
        state.file_mut(*inode).set_len(at, len);
        Ok(())
    }

    /// How many of `len` bytes go to the file, and what then stops the append.
    fn outcome(
        &self,
        state: &DiskState,
        len: u64,
        begun: Result<Option<Fault>>,
    ) -> (u64, Option<Error>) {
        let name = self.open.name;
        match begun {
            Err(error) => (0, Some(error)),
            Ok(Some(Fault::Short(bytes, errno))) => {
                (bytes.min(len), Some(failed(DiskOp::Append, name, errno)))
            }
            Ok(_) => {
                let allocated = state.file(self.open.inode).cached.len() as u64;
                let room = state.free_bytes() + allocated.saturating_sub(self.position);
                let full = (len > room).then(|| failed(DiskOp::Append, name, Errno::NOSPC));
                (len.min(room), full)
            }
        }
    }
}

impl AppendFile for SimAppend {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let OpenFile { disk, inode, name, appended, .. } = &*self.open;
        // The planted mistake needs a disk that lets it happen.
        let goes_on = self.takes_more || planted::is_on(Bug::AppendAfterShortWrite);
        invariant!(D1, goes_on, "append to {name} after a failed append or a seal");
        let mut state = lock(disk);
        let end = self.position;
        let begun = state.begin(DiskOp::Append, &[*name], end, bytes);
        let (written, error) = self.outcome(&state, bytes.len() as u64, begun);
        let at = state.clock;
        state.file_mut(*inode).write(at, end, &bytes[..written as usize]);
        self.position += written;
        if let Some(error) = error {
            self.takes_more = false;
            return Err(error);
        }
        appended.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.open.appended.load(Ordering::Relaxed)
    }

    fn sync_handle(&self) -> Arc<dyn SyncFile> {
        Arc::clone(&self.open) as _
    }

    fn wants_room(&mut self) -> bool {
        let state = lock(&self.open.disk);
        let allocated = state.file(self.open.inode).cached.len() as u64;
        let ahead = self.open.ahead_bytes.load(Ordering::Relaxed);
        self.is_log && allocated < self.position + ahead / 2
    }

    fn trim(&mut self) -> Result<()> {
        self.set_len(DiskOp::Trim, self.position)
    }

    fn seal(&mut self, len: u64) -> Result<()> {
        let OpenFile { name, appended, .. } = &*self.open;
        let good = appended.load(Ordering::Relaxed);
        invariant!(D2, len <= good, "seal {name} of {good} bytes at {len}");
        self.takes_more = false;
        self.set_len(DiskOp::Seal, len)?;
        self.open.appended.store(len, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for SimAppend {
    fn drop(&mut self) {
        if self.is_log {
            lock(&self.open.disk).file_mut(self.open.inode).has_writer = false;
        }
    }
}

pub(super) struct SimRead {
    open: OpenFile,
    len: u64,
}

impl SimRead {
    pub fn new(open: OpenFile, len: u64) -> Self {
        Self { open, len }
    }
}

impl ReadFile for SimRead {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<()> {
        let OpenFile { disk, inode, name, .. } = &self.open;
        if out.is_empty() {
            return Ok(());
        }
        let mut state = lock(disk);
        let wanted = out.len() as u64;
        let fault = state.begin(DiskOp::Read, &[*name], offset, &wanted.to_le_bytes())?;
        let bytes = &state.file(*inode).cached;
        let end = offset.saturating_add(wanted);
        if end > bytes.len() as u64 {
            return Err(past_the_end(*name, offset, end, bytes.len() as u64));
        }
        out.copy_from_slice(&bytes[offset as usize..end as usize]);
        let elsewhere = state.note_read(*inode, offset, wanted);
        match fault {
            Some(Fault::Misdirect) => {
                if let Some((other, from)) = elsewhere {
                    let bytes = &state.file(other).cached;
                    let from = from as usize;
                    out.copy_from_slice(&bytes[from..from + out.len()]);
                }
            }
            Some(Fault::Zero) => out.fill(0),
            Some(Fault::FlipBit) => {
                let bit = state.faults.draw_below(wanted * 8);
                out[(bit / 8) as usize] ^= 1 << (bit % 8);
            }
            _ => {}
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn name(&self) -> FileName {
        self.open.name
    }
}

impl fmt::Debug for SimRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimRead({}, {} bytes)", self.open.name, self.len)
    }
}

pub(super) struct SimLock {
    disk: SharedState,
}

impl SimLock {
    pub fn new(disk: &SharedState) -> Self {
        Self { disk: Arc::clone(disk) }
    }
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        lock(&self.disk).is_locked = false;
    }
}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimLock")
    }
}

//! What of the log is durable, and the way to make more of it so.
//!
//! Rule P2: an acknowledgement in a new segment says that everything before it is durable. So a
//! sync covers the older segments first, oldest first, then the active one, then the names.
//!
//! Threads: any number may sync beside the writer. The mutex guards a few words and is never held
//! over I/O; two syncs at once do some work twice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::error::{Error, Result};
use crate::base::invariant;
use crate::base::key::SegmentNo;
use crate::base::planted::{self, Bug};
use crate::vfs::{Disk, SyncFile};
use crate::wal::{LogPosition, SealedSegment};

/// Syncs a log beside its writer.
pub struct LogSyncer {
    disk: Arc<dyn Disk>,
    state: Mutex<SyncState>,
}

struct SyncState {
    /// Rotated segments that are not known to be durable, oldest first.
    older: Vec<Unsynced>,
    active: Unsynced,
    synced: LogPosition,
    /// The newest segment whose name is known to be durable.
    named_upto: Option<SegmentNo>,
    failed: Option<Error>,
}

/// A segment and the length that a sync of it has to cover.
#[derive(Clone)]
struct Unsynced {
    sealed: SealedSegment,
    file: Arc<dyn SyncFile>,
}

impl LogSyncer {
    /// For a log whose first segment is `active`; what was before it is durable up to `synced`.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        synced: LogPosition,
        active: SealedSegment,
        file: Arc<dyn SyncFile>,
    ) -> Self {
        let active = Unsynced { sealed: active, file };
        let state = SyncState { older: Vec::new(), active, synced, named_upto: None, failed: None };
        Self { disk, state: Mutex::new(state) }
    }

    /// Makes durable what was written before the call; returns how far that is. An error is
    /// sticky: every later call returns it.
    pub fn sync(&self) -> Result<LogPosition> {
        let Some(work) = self.work()? else { return Ok(self.synced()) };
        let done = work.run(&*self.disk);
        let mut state = self.lock();
        if let Err(error) = done {
            let error = error.context("the log is in doubt");
            return Err(state.failed.get_or_insert(error).clone());
        }
        // Another caller may have met the error that this one was spared.
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        state.note(work.covers());
        Ok(work.covers())
    }

    /// The position known to be durable.
    pub fn synced(&self) -> LogPosition {
        self.lock().synced
    }

    /// How many bytes of `segment`, the active one, are known to be durable.
    pub(super) fn synced_in(&self, segment: SegmentNo) -> u64 {
        let synced = self.synced();
        if synced.segment == segment { synced.offset } else { 0 }
    }

    /// The sticky error, if there was one.
    pub(super) fn check(&self) -> Result<()> {
        self.lock().failed.clone().map_or(Ok(()), Err)
    }

    /// The active segment is `bytes` long now.
    pub(super) fn appended(&self, bytes: u64) {
        self.lock().active.sealed.bytes = bytes;
    }

    /// The log goes on in segment `next`.
    pub(super) fn rotated(&self, next: SealedSegment, file: Arc<dyn SyncFile>) {
        let mut state = self.lock();
        let older = std::mem::replace(&mut state.active, Unsynced { sealed: next, file });
        state.older.push(older);
    }

    /// What a sync has to do now; `None` if everything is durable.
    fn work(&self) -> Result<Option<Work>> {
        let state = self.lock();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        let active = state.active.clone();
        if state.synced == position(active.sealed) {
            return Ok(None);
        }
        let names = state.named_upto < Some(active.sealed.segment);
        Ok(Some(Work { older: state.older.clone(), active, names }))
    }

    fn lock(&self) -> MutexGuard<'_, SyncState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SyncState {
    fn note(&mut self, covered: LogPosition) {
        self.older.retain(|older| older.sealed.segment >= covered.segment);
        self.named_upto = self.named_upto.max(Some(covered.segment));
        self.synced = self.synced.max(covered);
    }
}

/// One sync: what it covers was decided before it began.
struct Work {
    older: Vec<Unsynced>,
    active: Unsynced,
    names: bool,
}

impl Work {
    fn run(&self, disk: &dyn Disk) -> Result<()> {
        let skipped = if planted::is_on(Bug::RotateWithoutSync) { self.older.len() } else { 0 };
        for unsynced in self.older.iter().skip(skipped).chain([&self.active]) {
            let SealedSegment { segment, bytes } = unsynced.sealed;
            let covered = unsynced.file.sync()?;
            invariant!(W3, covered >= bytes, "{covered} of {bytes} bytes of {segment} synced");
        }
        if self.names {
            disk.sync_dir()?;
        }
        Ok(())
    }

    fn covers(&self) -> LogPosition {
        position(self.active.sealed)
    }
}

fn position(sealed: SealedSegment) -> LogPosition {
    LogPosition { segment: sealed.segment, offset: sealed.bytes }
}

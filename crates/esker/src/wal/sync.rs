//! What of the log is durable, and the way to make more of it so.
//!
//! Rule P2: an acknowledgement in a new segment says that everything before it is durable. So a
//! sync covers the older segments first, oldest first, then the active one, then the names. Only
//! segments that a durable edit has freed are left out.
//!
//! Threads: any number may sync beside the writer. The mutex guards a few words and is never held
//! over I/O; two syncs at once do some work twice. What changes with every group is outside of it:
//! the writer stores the active segment's length, and loads how much of it is durable. Both are
//! about the segment that is active *under the mutex*: a rotation sets them with it held.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::base::error::{Error, Result};
use crate::base::invariant;
use crate::base::key::SegmentNo;
use crate::base::planted::{self, Bug};
use crate::base::sync::{AtomicU64, Mutex, MutexGuard};
use crate::vfs::{AppendFile, Disk, Room, SyncFile};
use crate::wal::{LogPosition, SealedSegment};

/// Syncs a log beside its writer.
pub struct LogSyncer {
    disk: Arc<dyn Disk>,
    /// Length of the active segment, up to its last whole group.
    active_bytes: AtomicU64,
    /// How many bytes of the active segment are known to be durable.
    active_synced: AtomicU64,
    state: Mutex<SyncState>,
}

struct SyncState {
    /// Rotated segments that are not known to be durable, oldest first.
    older: Vec<Unsynced>,
    /// Rotated segments that are still needed, to be cut when the log ends.
    rotated: Vec<(SealedSegment, Box<dyn AppendFile>)>,
    active: SegmentNo,
    active_file: Arc<dyn SyncFile>,
    synced: LogPosition,
    /// The newest segment whose name is known to be durable.
    named_upto: Option<SegmentNo>,
    failed: Option<Error>,
    /// How often the log began anew.
    lives: u64,
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
        let state = SyncState {
            older: Vec::new(),
            rotated: Vec::new(),
            active: active.segment,
            active_file: file,
            synced,
            named_upto: None,
            failed: None,
            lives: 0,
        };
        let active_synced = if synced.segment == active.segment { synced.offset } else { 0 };
        Self {
            disk,
            active_bytes: AtomicU64::new(active.bytes),
            active_synced: AtomicU64::new(active_synced),
            state: Mutex::new(state),
        }
    }

    /// Makes durable what was written before the call; returns how far that is. An error is
    /// sticky: every later call returns it, until the log begins anew.
    pub fn sync(&self) -> Result<LogPosition> {
        if planted::is_on(Bug::AcknowledgedBeforeSync) {
            return Ok(self.synced());
        }
        let Some(work) = self.work()? else { return Ok(self.synced()) };
        let done = work.run(&*self.disk);
        let mut state = self.lock();
        if state.lives != work.life {
            // What was written before the call is in tables.
            return Ok(state.synced);
        }
        if let Err(error) = done.as_ref().map_err(Clone::clone)
            && !(planted::is_on(Bug::FailedSyncRetried) && work.run(&*self.disk).is_ok())
        {
            let error = error.context("the log is in doubt");
            return Err(state.failed.get_or_insert(error).clone());
        }
        // Another caller may have met the error that this one was spared.
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        state.note(work.covers());
        if state.synced.segment == state.active && !planted::is_on(Bug::HorizonNeverAdvances) {
            self.active_synced.store(state.synced.offset, Ordering::Release);
        }
        Ok(work.covers())
    }

    /// Readies space ahead of the active segment's end, one step.
    pub fn make_room(&self) -> Result<Room> {
        let file = Arc::clone(&self.lock().active_file);
        file.make_room()
    }

    /// A segment is needed no more, by an edit that is durable: no sync needs to cover it, and
    /// nobody writes to its file any more.
    pub fn forget(&self, freed: SegmentNo) {
        let mut state = self.lock();
        state.older.retain(|older| older.sealed.segment != freed);
        let (gone, kept) = std::mem::take(&mut state.rotated)
            .into_iter()
            .partition(|(sealed, _)| sealed.segment == freed);
        state.rotated = kept;
        drop(state);
        drop::<Vec<_>>(gone);
    }

    /// Cuts what stands behind the last record of the rotated segments: the log ends.
    pub(super) fn seal_rotated(&self) -> Result<()> {
        let rotated = std::mem::take(&mut self.lock().rotated);
        rotated.into_iter().try_for_each(|(sealed, mut file)| file.seal(sealed.bytes))
    }

    /// The position known to be durable.
    pub fn synced(&self) -> LogPosition {
        self.lock().synced
    }

    /// The planted bug's: how far the log goes, synced or not.
    #[cfg(any(test, feature = "planted"))]
    pub fn appended_upto(&self) -> LogPosition {
        let segment = self.lock().active;
        LogPosition { segment, offset: self.active_bytes.load(Ordering::Acquire) }
    }

    /// Never asked: see [`planted`].
    #[cfg(not(any(test, feature = "planted")))]
    pub fn appended_upto(&self) -> LogPosition {
        self.synced()
    }

    /// How many bytes of the active segment are known to be durable.
    pub(super) fn active_synced(&self) -> u64 {
        self.active_synced.load(Ordering::Acquire)
    }

    /// The sticky error, if there was one.
    pub fn check(&self) -> Result<()> {
        self.lock().failed.clone().map_or(Ok(()), Err)
    }

    /// The active segment is `bytes` long now.
    pub(super) fn appended(&self, bytes: u64) {
        self.active_bytes.store(bytes, Ordering::Release);
    }

    /// The log goes on in segment `next`; what wrote the one before is kept until that is freed.
    pub(super) fn rotated(
        &self,
        next: SealedSegment,
        file: Arc<dyn SyncFile>,
        last: Box<dyn AppendFile>,
    ) {
        let mut state = self.lock();
        let bytes = self.active_bytes.swap(next.bytes, Ordering::AcqRel);
        self.active_synced.store(0, Ordering::Release);
        let sealed = SealedSegment { segment: state.active, bytes };
        let file = std::mem::replace(&mut state.active_file, file);
        state.active = next.segment;
        state.rotated.push((sealed, last));
        state.older.push(Unsynced { sealed, file });
    }

    /// The log begins anew with `first`, which is durable, as is its name. Nothing before it counts
    /// any more, and a sync of that which is still under way can neither fail the new log nor vouch
    /// for it.
    pub(super) fn begin_anew(&self, first: SealedSegment, file: Arc<dyn SyncFile>) {
        let mut state = self.lock();
        self.active_bytes.store(first.bytes, Ordering::Release);
        self.active_synced.store(first.bytes, Ordering::Release);
        state.older.clear();
        state.rotated.clear();
        state.active = first.segment;
        state.active_file = file;
        state.synced = position(first);
        state.named_upto = Some(first.segment);
        state.failed = None;
        state.lives += 1;
    }

    /// What a sync has to do now; `None` if everything is durable.
    fn work(&self) -> Result<Option<Work>> {
        let state = self.lock();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        let bytes = self.active_bytes.load(Ordering::Acquire);
        let sealed = SealedSegment { segment: state.active, bytes };
        if state.synced == position(sealed) {
            return Ok(None);
        }
        let active = Unsynced { sealed, file: Arc::clone(&state.active_file) };
        let mut names = state.named_upto < Some(state.active);
        if planted::is_on(Bug::SpareNameNotSynced) && state.named_upto.is_some() {
            names = false;
        }
        Ok(Some(Work { older: state.older.clone(), active, names, life: state.lives }))
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
    life: u64,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::ErrorKind;
    use crate::base::names::FileName;
    use crate::vfs::sim::SimDisk;

    /// A file whose syncs are recorded; covers `bytes`, or fails without any.
    struct Recorded {
        segment: u64,
        bytes: Option<u64>,
        order: Arc<Mutex<Vec<u64>>>,
    }

    impl SyncFile for Recorded {
        fn sync(&self) -> Result<u64> {
            self.order.lock().unwrap().push(self.segment);
            self.bytes.ok_or_else(|| Error::new(ErrorKind::Io, "no disk"))
        }
    }

    struct Log {
        disk: Arc<SimDisk>,
        syncer: LogSyncer,
        order: Arc<Mutex<Vec<u64>>>,
    }

    const NOTHING: LogPosition = LogPosition { segment: SegmentNo(1), offset: 0 };

    fn sealed(segment: u64, bytes: u64) -> SealedSegment {
        SealedSegment { segment: SegmentNo(segment), bytes }
    }

    impl Log {
        fn new(bytes: Option<u64>) -> Self {
            let (disk, order) = (SimDisk::new(), Arc::default());
            let file = Recorded { segment: 1, bytes, order: Arc::clone(&order) };
            let syncer = LogSyncer::new(disk.clone(), NOTHING, sealed(1, 128), Arc::new(file));
            Self { disk, syncer, order }
        }

        fn rotate(&self, segment: u64, bytes: Option<u64>) {
            let file = Recorded { segment, bytes, order: Arc::clone(&self.order) };
            let last = self.disk.create(FileName::Log(SegmentNo(segment - 1))).unwrap();
            self.syncer.rotated(sealed(segment, 128), Arc::new(file), last);
        }

        fn synced(&self) -> (Vec<u64>, u64) {
            let before = self.disk.operations();
            self.syncer.sync().unwrap();
            (std::mem::take(&mut *self.order.lock().unwrap()), self.disk.operations() - before)
        }
    }

    #[test]
    fn w3_older_segments_come_first_and_the_names_last_each_once() {
        let log = Log::new(Some(1000));
        log.syncer.appended(1000);
        log.rotate(2, Some(128));
        log.rotate(3, Some(500));
        log.syncer.appended(500);
        assert_eq!(log.synced(), (vec![1, 2, 3], 1), "three files and the directory");
        assert_eq!(log.syncer.synced(), position(sealed(3, 500)));
        assert_eq!(log.synced(), (vec![], 0), "nothing is left to do");
        log.syncer.appended(500);
        assert_eq!(log.syncer.active_synced(), 500);
        log.rotate(4, Some(128));
        assert_eq!(log.syncer.active_synced(), 0);
    }

    #[test]
    fn w3_names_are_synced_again_only_for_new_segments() {
        let log = Log::new(Some(2000));
        assert_eq!(log.synced(), (vec![1], 1));
        log.syncer.appended(2000);
        assert_eq!(log.synced(), (vec![1], 0));
        log.rotate(2, Some(128));
        assert_eq!(log.synced(), (vec![1, 2], 1));
    }

    #[test]
    #[should_panic(expected = "W3")]
    fn w3_a_sync_that_covers_less_than_was_written_is_no_sync() {
        let log = Log::new(Some(999));
        log.syncer.appended(1000);
        let _ = log.syncer.sync();
    }

    #[test]
    fn a_failed_sync_of_any_segment_fails_all_later_ones() {
        let log = Log::new(None);
        log.rotate(2, Some(128));
        let error = log.syncer.sync().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!(log.order.lock().unwrap()[..], [1], "the newer one was not touched");
        assert_eq!(log.syncer.sync().unwrap_err().to_string(), error.to_string());
        assert_eq!(log.order.lock().unwrap()[..], [1], "nor anything after the error");
        assert_eq!(log.syncer.synced(), NOTHING);
        assert!(log.syncer.check().is_err());
    }
}

//! Closing: what is small stays in the log, what is large becomes tables, and the manifest states
//! how long the log is, so that nothing in a closed store looks like a torn tail.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::base::error::{Error, Result};
use crate::base::key::{KeyspaceId, SegmentNo};
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::db::commit::Writer;
use crate::db::health::HealthState;
use crate::db::store::{Store, Structure};
use crate::version::Edit;
use crate::wal::{LogPosition, LogState, SealedSegment};

/// A memtable over this size is flushed at close; a smaller one is read from the log at open.
const CLOSE_FLUSH_BYTES: usize = 1 << 20;

/// Gives the directory back at the end of a close, also of one that panics, and tells who waits
/// for that.
struct UnlockOnDrop<'a>(&'a Store);

impl Drop for UnlockOnDrop<'_> {
    fn drop(&mut self) {
        self.0.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.0.env.notify();
    }
}

impl Store {
    /// Closes the store; the second and later calls wait for the first. Whatever fails, the workers are
    /// stopped and the lock is released: what was acknowledged is in the log.
    ///
    /// # Errors
    /// The first thing that failed.
    pub fn close(&self) -> Result<()> {
        if self.closing.swap(true, Ordering::AcqRel) {
            self.env.wait_until(&mut || self.is_unlocked());
            return Ok(());
        }
        let _locked = UnlockOnDrop(self);
        let seat = match self.lead() {
            Ok(seat) => seat,
            Err(error) => {
                self.stop_workers();
                return Err(error);
            }
        };
        let mut writer = seat.into_writer();
        let flushed = self.flush_large(&mut writer);
        // A group that did not fit the disk is no trouble: it is not in the log, and is cut off.
        let trouble = match self.health.state() {
            HealthState::WriteFenced(_) if planted::is_on(Bug::CloseForgivesFailure) => None,
            HealthState::WriteFenced(error) | HealthState::Poisoned(error) => Some(error),
            _ => None,
        };
        self.health.set(HealthState::Closed);
        self.queue.refuse_waiting(&Error::closed("the store"));
        self.env.notify();
        self.stop_workers();
        self.close_spares();
        let sealed = match &trouble {
            Some(error) => Err(error.clone()),
            None => self.seal_log(*writer),
        };
        flushed.and(sealed)
    }

    /// Flushes the memtables that would take long to read again.
    fn flush_large(&self, writer: &mut Writer) -> Result<()> {
        self.health.check_writes()?;
        if let Some(error) = &writer.log_broken {
            return Err(error.clone());
        }
        let large: Vec<KeyspaceId> = writer
            .actives
            .iter()
            .filter(|(_, memtable)| memtable.bytes() > CLOSE_FLUSH_BYTES)
            .map(|(id, _)| *id)
            .collect();
        let mut waiting = Vec::new();
        for id in large {
            waiting.extend(self.freeze(writer, id)?);
        }
        waiting.iter().try_for_each(|frozen| self.wait_flushed(frozen).map(drop))?;
        let pending: Vec<_> = self.structure().frozen.iter().cloned().collect();
        pending.iter().try_for_each(|frozen| self.wait_flushed(frozen).map(drop))
    }

    fn stop_workers(&self) {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(workers) = workers {
            workers.stop();
        }
    }

    fn is_unlocked(&self) -> bool {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Syncs the log, cuts its tail, and states its length in the manifest.
    fn seal_log(&self, writer: Writer) -> Result<()> {
        if !planted::is_on(Bug::CloseForgivesFailure) {
            self.syncer.sync()?;
        }
        let active = writer.log.seal()?;
        let build = |structure: &Structure| {
            let sealed = structure.segments.iter().map(|segment| SealedSegment {
                segment: segment.number,
                bytes: segment.bytes.unwrap_or(active.bytes),
            });
            let nothing_is_left = structure.oldest_unflushed().is_none();
            let (kept, freed): (Vec<_>, Vec<_>) =
                sealed.partition(|s| !nothing_is_left && structure.needs_segment(s.segment));
            let end = kept.last().copied().unwrap_or(active);
            let edit = Edit {
                log: Some(LogState {
                    sealed: kept,
                    live_from: SegmentNo(self.next_file.load(Ordering::Relaxed)),
                    horizon: Some(LogPosition { segment: end.segment, offset: end.bytes }),
                }),
                last_seq: Some(writer.next_seq.minus_one()),
                ..Edit::default()
            };
            Ok((edit, freed))
        };
        self.install(Vec::new(), build, |structure, freed| {
            structure.obsolete.extend(freed.iter().map(|s| FileName::Log(s.segment)));
        })
    }
}

//! Spares: log segments that nobody needs any more, kept to become new ones.
//!
//! ```text
//! 000000000014.log ── the edit that frees it is durable, marked ──> 000000000014.spare
//! 000000000014.spare ── the next rotation ──> 000000000021.log, then its header
//! ```
//!
//! A used file has its blocks and its pages: appends to it fault nothing in, and a sync has no
//! metadata to write. The figures are in
//! docs/decisions/0005-log-segments-are-mapped-and-used-again.md. What of it can be read as a
//! record of its new life: nothing, because segments' numbers are never used twice and all
//! checksums hold them.
//!
//! Only segments that this process wrote become spares: what an earlier one wrote may hold records
//! with sequence numbers that were given out again since. Background space for the active segment
//! is asked for here, too.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::key::SegmentNo;
use crate::base::names::FileName;
#[cfg(any(test, feature = "planted"))]
use crate::base::planted::{self, Bug};
use crate::db::store::Store;
use crate::env::{Job, Step};
#[cfg(any(test, feature = "planted"))]
use crate::version::StoreState;
use crate::vfs::Room;

/// So many spares are kept.
const SPARES_MAX: usize = 4;

/// The spares of an open store.
pub(crate) struct Spares {
    /// The first segment that may be used again: written by this process, and never in doubt.
    ours_from: AtomicU64,
    kept: Mutex<Kept>,
    /// Whether the active segment wants space ahead of its end.
    room_wanted: AtomicBool,
}

struct Kept {
    names: Vec<FileName>,
    /// How many there may be: none once the store is being closed.
    names_max: usize,
}

impl Spares {
    pub fn new(ours_from: SegmentNo) -> Self {
        let kept = Mutex::new(Kept { names: Vec::new(), names_max: SPARES_MAX });
        Self { ours_from: AtomicU64::new(ours_from.0), kept, room_wanted: AtomicBool::new(false) }
    }

    /// Segments before `first` are removed, not used again.
    pub fn leave_behind(&self, first: SegmentNo) {
        self.ours_from.store(first.0, Ordering::Relaxed);
    }

    fn is_ours(&self, segment: SegmentNo) -> bool {
        segment.0 >= self.ours_from.load(Ordering::Relaxed)
    }

    /// The spare that was used last: its pages are the likeliest to be in memory.
    pub fn take(&self) -> Option<FileName> {
        self.kept().names.pop()
    }

    /// The name under which a segment's file is to be kept, if it is.
    fn name_for(&self, segment: SegmentNo) -> Option<FileName> {
        let kept = self.kept();
        let is_kept = self.is_ours(segment) && kept.names.len() < kept.names_max;
        is_kept.then_some(FileName::Spare(segment.0))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Removes files that no durable edit names any more; log segments become spares.
    pub fn retire_files(&self, names: &[FileName]) {
        for name in names {
            let FileName::Log(segment) = *name else {
                self.remove_files(&[*name]);
                continue;
            };
            self.syncer.forget(segment);
            let spare = self.spares.name_for(segment);
            match spare.filter(|spare| self.disk.rename(*name, *spare).is_ok()) {
                Some(spare) => self.spares.kept().names.push(spare),
                None => self.remove_files(&[*name]),
            }
        }
    }

    /// The planted bug: what the edit to come frees becomes spares at once.
    #[cfg(any(test, feature = "planted"))]
    pub fn retire_too_early(&self, next: &StoreState) {
        if !planted::is_on(Bug::SpareTakenTooEarly) {
            return;
        }
        let numbers: Vec<_> = self.structure().segments.iter().map(|s| s.number).collect();
        let freed = numbers.into_iter().filter(|number| *number < next.log.live_from);
        let freed = freed.filter(|number| self.spares.is_ours(*number));
        self.retire_files(&freed.map(FileName::Log).collect::<Vec<_>>());
    }

    /// Removes all spares; there are no further ones.
    pub fn close_spares(&self) {
        self.spares.kept().names_max = 0;
        self.remove_spares();
    }

    fn remove_spares(&self) {
        let names = std::mem::take(&mut self.spares.kept().names);
        self.remove_files(&names);
    }

    /// Gives back the space that the log has beyond its records.
    pub fn give_back_log_space(&self) {
        // What fails here costs space, nothing else; the next rotation or close tries again.
        if let Ok(mut seat) = self.lead() {
            let _ = seat.writer().log.trim();
        }
        self.remove_spares();
    }

    /// Has space made ready ahead of the log's end.
    pub fn want_log_room(&self) {
        self.spares.room_wanted.store(true, Ordering::Release);
        self.env.notify();
    }

    /// The job that makes it, if it is wanted.
    pub fn next_log_room(self: &Arc<Self>) -> Option<LogRoomJob> {
        let wanted = self.spares.room_wanted.swap(false, Ordering::AcqRel);
        wanted.then(|| LogRoomJob { store: Arc::clone(self) })
    }
}

/// Makes space ahead of the active segment's end ready.
pub(crate) struct LogRoomJob {
    store: Arc<Store>,
}

impl Job for LogRoomJob {
    fn step(&mut self) -> Step {
        match self.store.syncer.make_room() {
            Ok(Room::Missing) => Step::More,
            // The writer meets the error itself if it lasts.
            Ok(Room::Enough) | Err(_) => Step::Done,
        }
    }
}

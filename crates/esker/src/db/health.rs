//! The store's state of health: what still works, and what ends the trouble.
//!
//! ```text
//! Healthy <-> NoSpace         writes are refused until there is space again; reads go on
//! Healthy <-> CompactionStopped   flushes or merges keep failing: all goes on until memory is full
//! Healthy  -> WriteFenced     a log write or sync is in doubt: reads go on, writes until a resume or reopen
//! any      -> Poisoned        a bug was met: nothing is believed any more
//! any      -> Closed
//! ```
//!
//! `CompactionStopped` and `CorruptRanges` are no states of their own: they are what a healthy store
//! shows whose background work has failed three times in a row (it is tried again after a while), or
//! whose tables are damaged (`contain`).
//!
//! A state never improves silently but for NoSpace, which the next write resolves once the file
//! system has room, and CompactionStopped, which ends with the first job that succeeds.

use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::planted::{self, Bug};
use crate::base::sync::{AtomicU8, Mutex};
use crate::db::store::Store;

/// What state a store is in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HealthState {
    /// Everything works.
    Healthy,
    /// Tables are damaged: reads of the keys in [`Stats::corrupt_ranges`](crate::Stats), and merges
    /// of these tables, answer `Corruption`, but where a range says that it is readable; everything
    /// else works. This is the first damage.
    CorruptRanges(Error),
    /// A flush or a merge has failed three times in a row, with this error. Reads and writes go on
    /// until memtables have no room; the work is tried again after a second of writes, then two, and
    /// so on, and ends this once it succeeds.
    CompactionStopped(Error),
    /// The disk is full: writes are refused, reads go on; ends by itself.
    NoSpace(Error),
    /// A write of the log or the manifest failed: writes are refused, reads go on; ends by
    /// [`resume`](crate::Db::resume) or by reopening.
    WriteFenced(Error),
    /// The engine met a bug: everything is refused; ends by reopening.
    Poisoned(Error),
    /// Closed.
    Closed,
}

/// In a few words, with the reason behind a colon where there is one: `no space: ...`.
impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::CorruptRanges(error) => write!(f, "corrupt ranges: {error}"),
            Self::CompactionStopped(error) => write!(f, "compaction stopped: {error}"),
            Self::NoSpace(error) => write!(f, "no space: {error}"),
            Self::WriteFenced(error) => write!(f, "read-only: {error}"),
            Self::Poisoned(error) => write!(f, "poisoned: {error}"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// Holds the state. Reading "is it healthy" costs one load.
pub(crate) struct Health {
    /// 0 while the store is healthy.
    trouble: AtomicU8,
    state: Mutex<HealthState>,
}

impl Health {
    pub fn new() -> Self {
        Self { trouble: AtomicU8::new(0), state: Mutex::new(HealthState::Healthy) }
    }

    pub fn state(&self) -> HealthState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Moves to `next`, unless the present state is a worse one.
    pub fn set(&self, next: HealthState) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if severity(&next) >= severity(&state) {
            self.trouble.store(severity(&next), Ordering::Release);
            *state = next;
        }
    }

    /// Leaves `NoSpace`; any other trouble stays.
    pub fn space_is_back(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let sticks = planted::is_on(Bug::FullForEver);
        if matches!(*state, HealthState::NoSpace(_)) && !sticks {
            *state = HealthState::Healthy;
            self.trouble.store(0, Ordering::Release);
        }
    }

    /// Leaves `WriteFenced`, by a log and a manifest that are not in doubt.
    pub fn resumed(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, HealthState::WriteFenced(_)) {
            *state = HealthState::Healthy;
            self.trouble.store(0, Ordering::Release);
        }
    }

    pub fn is_healthy(&self) -> bool {
        self.trouble.load(Ordering::Acquire) == 0
    }

    pub fn is_poisoned(&self) -> bool {
        matches!(self.state(), HealthState::Poisoned(_))
    }

    /// `Ok` if reads are answered.
    pub fn check_reads(&self) -> Result<()> {
        if self.trouble.load(Ordering::Acquire) < READS_REFUSED_FROM {
            return Ok(());
        }
        match self.state() {
            HealthState::Poisoned(error) => Err(error),
            _ => Err(Error::closed("the store")),
        }
    }

    /// `Ok` if writes are taken; `NoSpace` is for the caller to resolve first.
    pub fn check_writes(&self) -> Result<()> {
        if self.is_healthy() {
            return Ok(());
        }
        match self.state() {
            HealthState::Healthy
            | HealthState::CorruptRanges(_)
            | HealthState::CompactionStopped(_) => Ok(()),
            HealthState::NoSpace(error) => Err(error.with_kind(ErrorKind::NoSpace)),
            HealthState::WriteFenced(error) => Err(error.with_kind(ErrorKind::ReadOnly).context(
                "writes are refused since an earlier one failed; resume or reopen the store",
            )),
            HealthState::Poisoned(error) => Err(error),
            HealthState::Closed => Err(Error::closed("the store")),
        }
    }
}

impl Store {
    /// What there is to say of the store's health: the worst of it.
    pub fn health_state(&self) -> HealthState {
        let state = self.health.state();
        if !matches!(state, HealthState::Healthy) {
            return state;
        }
        let stopped = {
            let structure = self.structure();
            let troubles = [&structure.flush_trouble, &structure.compaction_trouble];
            troubles.into_iter().find_map(|trouble| trouble.paused().cloned())
        };
        let damaged = || self.corrupt_ranges().first().map(|range| range.error.clone());
        stopped
            .map(HealthState::CompactionStopped)
            .or_else(|| damaged().map(HealthState::CorruptRanges))
            .unwrap_or(state)
    }
}

/// From this severity on reads are refused too.
const READS_REFUSED_FROM: u8 = 3;

fn severity(state: &HealthState) -> u8 {
    match state {
        HealthState::Healthy
        | HealthState::CorruptRanges(_)
        | HealthState::CompactionStopped(_) => 0,
        HealthState::NoSpace(_) => 1,
        HealthState::WriteFenced(_) => 2,
        HealthState::Poisoned(_) => 3,
        HealthState::Closed => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_disk_gets_better_by_itself() {
        let health = Health::new();
        let error = Error::new(ErrorKind::NoSpace, "full");
        health.set(HealthState::NoSpace(error.clone()));
        assert_eq!(health.check_writes().unwrap_err().kind(), ErrorKind::NoSpace);
        assert!(health.check_reads().is_ok());
        health.space_is_back();
        assert!(health.check_writes().is_ok());
        health.set(HealthState::WriteFenced(error.clone()));
        health.set(HealthState::NoSpace(error));
        health.space_is_back();
        assert_eq!(health.check_writes().unwrap_err().kind(), ErrorKind::ReadOnly);
        assert!(health.check_reads().is_ok());
        health.set(HealthState::Closed);
        assert_eq!(health.check_reads().unwrap_err().kind(), ErrorKind::Closed);
    }
}

//! Pacing: writes become slower before they would have to stop.
//!
//! A writer must stop when its memtable is full and [`FROZEN_MAX`] others wait for their flush. So
//! it is geared to the flush: the room that is left is used up no faster than the flush under way
//! comes to its end.
//!
//! ```text
//! memtables of 64 MiB, a flush at 400 MB/s has 48 MiB to go, one memtable waits, the active one
//! holds 16 MiB:  room 48 + 64 MiB, more than twice what is to go: writes are free
//! the flush has 48 MiB to go, two wait, 24 MiB are free: room is half of it: writes go at 400 MB/s
//! ```
//!
//! The gear alone never asks for less than the rate of flushes, as measured: what they can take is
//! what memory can take. L0 counts too, for merges share the machine with others and may fall
//! behind: from 12 tables on writes go slower, with 24 as fast as flushes, with twice as many at a
//! quarter of that. So reads never have to look into ever more tables.
//! A writer owes the time that its bytes should have taken, and pays in pauses of at most
//! [`PAUSE_NANOS_MAX`], so the delay is spread over writes and none waits long. What is left are
//! waits for the flush itself, when the disk is slower than it was: they count as the disk's and are
//! shown apart in the store's stats.
//!
//! Threads: one writer asks; flushes and installs report. All state is atomic and approximate.

use std::sync::atomic::Ordering;

use crate::base::sync::AtomicU64;
use crate::db::commit::Writer;
use crate::db::store::{FROZEN_MAX, Store, Structure};

/// Writes pause when they owe this much: shorter pauses cost more than they are worth.
const PAUSE_NANOS_MIN: u64 = 200_000;

/// The longest pause of one write.
const PAUSE_NANOS_MAX: u64 = 5_000_000;

/// Writes are free while there is so many times more room than the flush has to go.
const FREE_RATIO: f64 = 2.0;

/// Tables of L0 from which on writes are slowed down, and from which on they go slower than flushes.
const L0_TABLES: std::ops::Range<u64> = 12..24;

/// A paused flush or merge is tried again after this long, and then after twice as long, and so on.
const RETRY_NANOS: u64 = 1_000_000_000;

/// How often that doubles.
const RETRY_DOUBLINGS: u32 = 6;

/// The gear between writes and background work.
#[derive(Default)]
pub(crate) struct Pace {
    /// Memtables that wait for their flush.
    frozen: AtomicU64,
    /// What the flush under way has to go; 0 without one.
    flush_bytes_left: AtomicU64,
    /// Nanoseconds a flush takes for a KiB of memtable; 0 before the first.
    flush_nanos_per_kib: AtomicU64,
    /// Tables of the fullest L0.
    l0_tables: AtomicU64,
    /// The active memtables' bytes when the writer asked last.
    seen_bytes: AtomicU64,
    /// When what was written so far should have been written.
    due_nanos: AtomicU64,
    paused_nanos: AtomicU64,
    stalled_nanos: AtomicU64,
    /// When paused background work is tried again; 0: none is paused.
    retry_at: AtomicU64,
    retries: AtomicU64,
}

impl Pace {
    /// So many memtables wait now.
    pub fn set_frozen(&self, frozen: usize) {
        self.frozen.store(frozen as u64, Ordering::Relaxed);
    }

    /// So many tables are in the fullest L0.
    pub fn set_l0_tables(&self, tables: usize) {
        self.l0_tables.store(tables as u64, Ordering::Relaxed);
    }

    /// So much of the flush under way is left; 0: none is.
    pub fn set_flush_bytes_left(&self, bytes: u64) {
        self.flush_bytes_left.store(bytes, Ordering::Relaxed);
    }

    /// A flush of `bytes` took so long: the rate is an average that forgets by half.
    pub fn flushed(&self, bytes: u64, nanos: u64) {
        let this = nanos / (bytes / 1024).max(1);
        let before = self.flush_nanos_per_kib.load(Ordering::Relaxed);
        let next = if before == 0 { this } else { u64::midpoint(before, this) };
        self.flush_nanos_per_kib.store(next.max(1), Ordering::Relaxed);
    }

    /// A write waited for a flush.
    pub fn stalled(&self, nanos: u64) {
        self.stalled_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// How long writes were held back so that they need not stop.
    pub fn paused_nanos(&self) -> u64 {
        self.paused_nanos.load(Ordering::Relaxed)
    }

    /// How long writes stood still because flushes did not keep up.
    pub fn stalled_nanos(&self) -> u64 {
        self.stalled_nanos.load(Ordering::Relaxed)
    }

    /// Background work has paused at `now`: after a while it is tried again.
    pub fn retry_later(&self, now: u64) {
        let doublings = self.retries.fetch_add(1, Ordering::Relaxed).min(RETRY_DOUBLINGS.into());
        self.retry_at.store(now + (RETRY_NANOS << doublings), Ordering::Relaxed);
    }

    /// Background work goes well again.
    pub fn retry_no_more(&self) {
        self.retry_at.store(0, Ordering::Relaxed);
        self.retries.store(0, Ordering::Relaxed);
    }

    /// Nanoseconds that a KiB has to take now; 0: none.
    fn nanos_per_kib(&self, active_bytes: u64, memtable_bytes: u64) -> u64 {
        let flush = self.flush_nanos_per_kib.load(Ordering::Relaxed);
        let slots = (FROZEN_MAX as u64).saturating_sub(self.frozen.load(Ordering::Relaxed));
        let room = slots * memtable_bytes + memtable_bytes.saturating_sub(active_bytes);
        let left = self.flush_bytes_left.load(Ordering::Relaxed);
        let of_memory = if left == 0 { FREE_RATIO } else { room as f64 / left as f64 };
        let tables = self.l0_tables.load(Ordering::Relaxed).max(L0_TABLES.start) as f64;
        let (some, many) = (L0_TABLES.start as f64, L0_TABLES.end as f64);
        let of_l0 = if tables <= many {
            FREE_RATIO - (tables - some) / (many - some) * (FREE_RATIO - 1.0)
        } else {
            (many / tables).powi(2)
        };
        let ratio = of_memory.max(1.0).min(of_l0);
        if ratio >= FREE_RATIO { 0 } else { (flush as f64 / ratio) as u64 }
    }

    /// How long the writer should pause at `now`, after it has written `bytes`.
    fn owed_nanos(&self, now: u64, bytes: u64, nanos_per_kib: u64) -> u64 {
        let due = self.due_nanos.load(Ordering::Relaxed).max(now) + bytes * nanos_per_kib / 1024;
        self.due_nanos.store(due, Ordering::Relaxed);
        due - now
    }
}

impl Store {
    /// Holds the writer back for what it has written since it asked last, as the gear says.
    pub fn pace_writes(&self, writer: &Writer) {
        let pace = &self.pace;
        let active_bytes = writer.active_bytes;
        let seen_bytes = pace.seen_bytes.swap(active_bytes, Ordering::Relaxed);
        if pace.retry_at.load(Ordering::Relaxed) > 0 {
            self.retry_background_work();
        }
        let memtable_bytes = self.memtable_bytes.load(Ordering::Relaxed);
        let nanos_per_kib = pace.nanos_per_kib(active_bytes, memtable_bytes);
        if nanos_per_kib == 0 {
            return;
        }
        let bytes = active_bytes.saturating_sub(seen_bytes);
        let owed = pace.owed_nanos(self.env.now_nanos(), bytes, nanos_per_kib);
        if owed >= PAUSE_NANOS_MIN {
            let pause = owed.min(PAUSE_NANOS_MAX);
            self.env.pause(pause);
            pace.paused_nanos.fetch_add(pause, Ordering::Relaxed);
        }
    }

    /// Looks how much waits for background work.
    pub fn note_backlog(&self, structure: &Structure) {
        self.pace.set_frozen(structure.frozen.len());
        let l0_tables = structure.keyspaces.values().map(|core| core.view().levels[0].len());
        self.pace.set_l0_tables(l0_tables.max().unwrap_or(0));
    }

    /// Lets background work that kept failing be tried once more, if its time has come.
    fn retry_background_work(&self) {
        if self.env.now_nanos() < self.pace.retry_at.load(Ordering::Relaxed) {
            return;
        }
        self.pace.retry_at.store(0, Ordering::Relaxed);
        let mut structure = self.structure();
        structure.flush_trouble.retry_once();
        structure.compaction_trouble.retry_once();
        drop(structure);
        self.env.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A flush at 1 GiB/s.
    fn pace() -> Pace {
        let pace = Pace::default();
        pace.flushed(1024 * MIB, 1_000_000_000);
        pace
    }

    #[test]
    fn writes_are_free_while_room_is_plenty_and_geared_to_the_flush_when_it_is_not() {
        let pace = pace();
        let nanos = |frozen, left, active| {
            pace.set_frozen(frozen);
            pace.set_flush_bytes_left(left * MIB);
            pace.nanos_per_kib(active * MIB, 64 * MIB)
        };
        assert_eq!(nanos(0, 0, 64), 0, "nothing is flushed");
        assert_eq!(nanos(1, 48, 16), 0, "112 MiB of room for 48 to go");
        assert_eq!(nanos(1, 64, 32), 635, "96 for 64: half as fast again as the flush");
        assert_eq!(nanos(2, 48, 40), 953, "24 for 48: as fast as the flush, not slower");
    }

    #[test]
    fn a_deep_l0_slows_writes_down_to_the_rate_of_flushes_and_further() {
        let pace = pace();
        let nanos = |tables| {
            pace.set_l0_tables(tables);
            pace.nanos_per_kib(0, 64 * MIB)
        };
        assert_eq!([nanos(12), nanos(18), nanos(24), nanos(48)], [0, 635, 953, 3812]);
    }

    #[test]
    fn what_is_owed_adds_up_and_is_forgotten_when_time_has_passed() {
        let pace = pace();
        assert_eq!(pace.owed_nanos(1000, 1024, 500), 500);
        assert_eq!(pace.owed_nanos(1100, 1024, 500), 900);
        assert_eq!(pace.owed_nanos(9000, 1024, 500), 500);
    }
}

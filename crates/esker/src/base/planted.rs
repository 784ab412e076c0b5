//! Planted bugs: mistakes that other stores really made, as run-time switches.
//!
//! A simulation that cannot find them would not find ours either. The switches exist only with
//! the `planted` feature, which no shipped build has, and in the crate's own tests; without them
//! [`is_on`] is the constant `false` and the mistakes are not compiled. A switch belongs to one thread, because the
//! simulation runs a whole store on one, and tests run beside each other.

/// A mistake that can be switched on. The numbers are those of the museum of bugs in
/// docs/guarantees.md; from 101 on nobody is known to have made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// 5 (LevelDB #193): a sync acknowledgement in a new segment does not sync the older one.
    RotateWithoutSync,
    /// 6 (LevelDB #251): only the header of a record is checked, not its payload.
    HeaderChecksumOnly,
    /// 7 (RocksDB PR 7701): a log that is short below the durable horizon passes for a clean end.
    ShortLogBelowHorizon,
    /// 8 (RocksDB #6288): an I/O error while the log is read passes for its end.
    ReadErrorIsEnd,
    /// 19 (Badger #570): operations are believed one by one, not batch by batch.
    HalfBatch,
    /// 21 (fjall #308): the log goes on behind a record whose append failed half way.
    AppendAfterShortWrite,
    /// 101: the checksums of records do not say which segment they belong to.
    ChecksumWithoutSegment,
    /// 102: a spare that becomes a segment keeps the header of its earlier life.
    SpareKeepsItsHeader,
    /// 103: a segment becomes a spare before the edit that frees it is durable.
    SpareTakenTooEarly,
    /// 104: a sync in a recycled segment is acknowledged before the segment's name is durable.
    SpareNameNotSynced,
    /// Ours: a table that is being swept is read below the cursor too.
    SweepWithoutClamp,
}

impl Bug {
    /// All that concern the log.
    pub const ALL: [Self; 10] = [
        Self::RotateWithoutSync,
        Self::HeaderChecksumOnly,
        Self::ShortLogBelowHorizon,
        Self::ReadErrorIsEnd,
        Self::HalfBatch,
        Self::AppendAfterShortWrite,
        Self::ChecksumWithoutSegment,
        Self::SpareKeepsItsHeader,
        Self::SpareTakenTooEarly,
        Self::SpareNameNotSynced,
    ];
}

#[cfg(any(test, feature = "planted"))]
mod switch {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Switches `bug` on for this thread, or all off.
    pub fn plant(bug: Option<Bug>) {
        ON.set(bug);
    }

    /// Whether the engine shall make this mistake on this thread.
    pub fn is_on(bug: Bug) -> bool {
        ON.get() == Some(bug)
    }
}

#[cfg(not(any(test, feature = "planted")))]
mod switch {
    /// Whether the engine shall make this mistake: never, in this build.
    pub const fn is_on(_: super::Bug) -> bool {
        false
    }
}

pub use switch::*;

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
    /// 1 (LevelDB #74): `CURRENT` is renamed before its bytes are durable.
    CurrentNotSynced,
    /// 2 (LevelDB #189): `CURRENT` names a manifest that is not durable.
    ManifestNotSynced,
    /// 3 (LevelDB #195): files go before the rename of `CURRENT` is durable.
    RenameNotSynced,
    /// 4 (LevelDB #196): an edit names a table whose name is not durable.
    TableNameNotSynced,
    /// 5 (LevelDB #193): a sync acknowledgement in a new segment does not sync the older one.
    RotateWithoutSync,
    /// 6 (LevelDB #251): only the header of a record is checked, not its payload.
    HeaderChecksumOnly,
    /// 7 (RocksDB PR 7701): a log that is short below the durable horizon passes for a clean end.
    ShortLogBelowHorizon,
    /// 8 (RocksDB #6288): an I/O error while the log is read passes for its end.
    ReadErrorIsEnd,
    /// 11 (RocksDB 7.6.0): after a keyspace was dropped the directory is synced no more.
    DropEndsSyncs,
    /// 12 (RocksDB 8.7.0): an I/O error of a merge passes for the end of its input.
    ReadErrorEndsTable,
    /// 13 (RocksDB 6.12): files of an edit that failed are removed, though it may be durable.
    DoubtfulRemoved,
    /// 14 (RocksDB 8.6.0): the checksum of a page holds anywhere.
    ChecksumWithoutPlace,
    /// 15 (RocksDB 11.1.0): a merge leaves out one of its inputs.
    InputMissed,
    /// 16 (Pebble #5825): `CURRENT` is durable before the name of its manifest.
    ManifestAndCurrentInOneSync,
    /// 17 (Pebble PR 1212): an open creates its log segment before its manifest.
    LogBeforeManifest,
    /// 18 (Pebble d40d241): no record says what was durable before it.
    HorizonNeverAdvances,
    /// 19 (Badger #570): operations are believed one by one, not batch by batch.
    HalfBatch,
    /// 21 (fjall #308): the log goes on behind a record whose append failed half way.
    AppendAfterShortWrite,
    /// 22 (fjall #241): a keyspace is dropped without an edit.
    DropNotLogged,
    /// 23 (fjall #112): a memtable that waits for its flush is forgotten when another joins it.
    FrozenForgotten,
    /// 24 (fjall #257): no flush follows one that failed.
    FlushForgotten,
    /// 25 (lsm-tree PR 320): a merge is installed though its keyspace was dropped meanwhile.
    StaleResultInstalled,
    /// 26 (lsm-tree #321): the version that a snapshot was taken at counts as newer than it.
    SnapshotOffByOne,
    /// 27 (surrealkv #390): an edit names a table that is not durable.
    TableNotSynced,
    /// 28 (surrealkv #376): a snapshot sees the write after it.
    SnapshotSeesMore,
    /// 29 (redb #836): a close states the length of a log that could not be synced.
    CloseForgivesFailure,
    /// 30 (redb #1290): recovery seals a torn tail as if it were whole.
    TornTailKept,
    /// 31 (redb 4.2.0): an edit states a length of the log that is not durable.
    LengthTrustedBeforeSync,
    /// 32 (redb #620): a full disk refuses writes when there is space again.
    FullForEver,
    /// 34 (sled #1527): a leftover temporary file keeps the store from opening.
    TemporaryRefused,
    /// 35 (RisingWave PR 14751): tombstones go although deeper levels hold what they hide.
    TombstoneDroppedAnywhere,
    /// 36 (reddb PR 2337): two stores may be open in one directory.
    NoLock,
    /// 37 (Turso #7995): a directory without `CURRENT` is taken for a new one.
    NoCurrentIsNew,
    /// 38 (Turso #7952): a flush is installed before the log that it rests on is durable.
    FlushBeforeLogSync,
    /// 41: a write is acknowledged as synced before it is.
    AcknowledgedBeforeSync,
    /// 42 (PostgreSQL 2018): a failed sync is tried again and believed.
    FailedSyncRetried,
    /// 44: a flush keeps nothing for snapshots.
    FlushForgetsSnapshots,
    /// 101: the checksums of records do not say which segment they belong to.
    ChecksumWithoutSegment,
    /// 102: a spare that becomes a segment keeps the header of its earlier life.
    SpareKeepsItsHeader,
    /// 103: a segment becomes a spare before the edit that frees it is durable.
    SpareTakenTooEarly,
    /// 104: a sync in a recycled segment is acknowledged before the segment's name is durable.
    SpareNameNotSynced,
    /// 105: a table that is being swept is read below the cursor too.
    SweepWithoutClamp,
    /// 106: what was read at open is believed before it is durable.
    RecoveredLogNotSynced,
    /// 107: a resume leaves the log behind before everything in it is in tables.
    ResumeForgetsMemtables,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 44] = [
        Self::CurrentNotSynced,
        Self::ManifestNotSynced,
        Self::RenameNotSynced,
        Self::TableNameNotSynced,
        Self::RotateWithoutSync,
        Self::HeaderChecksumOnly,
        Self::ShortLogBelowHorizon,
        Self::ReadErrorIsEnd,
        Self::DropEndsSyncs,
        Self::ReadErrorEndsTable,
        Self::DoubtfulRemoved,
        Self::ChecksumWithoutPlace,
        Self::InputMissed,
        Self::ManifestAndCurrentInOneSync,
        Self::LogBeforeManifest,
        Self::HorizonNeverAdvances,
        Self::HalfBatch,
        Self::AppendAfterShortWrite,
        Self::DropNotLogged,
        Self::FrozenForgotten,
        Self::FlushForgotten,
        Self::StaleResultInstalled,
        Self::SnapshotOffByOne,
        Self::TableNotSynced,
        Self::SnapshotSeesMore,
        Self::CloseForgivesFailure,
        Self::TornTailKept,
        Self::LengthTrustedBeforeSync,
        Self::FullForEver,
        Self::TemporaryRefused,
        Self::TombstoneDroppedAnywhere,
        Self::NoLock,
        Self::NoCurrentIsNew,
        Self::FlushBeforeLogSync,
        Self::AcknowledgedBeforeSync,
        Self::FailedSyncRetried,
        Self::FlushForgetsSnapshots,
        Self::ChecksumWithoutSegment,
        Self::SpareKeepsItsHeader,
        Self::SpareTakenTooEarly,
        Self::SpareNameNotSynced,
        Self::SweepWithoutClamp,
        Self::RecoveredLogNotSynced,
        Self::ResumeForgetsMemtables,
    ];

    /// Those that the log alone can make.
    pub const OF_THE_LOG: [Self; 10] = [
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

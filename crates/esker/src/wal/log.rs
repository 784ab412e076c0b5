//! The log that is being written.

use std::sync::Arc;

use crate::base::error::Result;
use crate::base::key::{SegmentNo, SeqNo};
use crate::vfs::Disk;
use crate::wal::sync::LogSyncer;
use crate::wal::{LogPosition, SealedSegment};

/// The live log: one active segment, used by one leader at a time.
pub struct Log {
    syncer: Arc<LogSyncer>,
}

impl Log {
    /// Creates segment `first`. `prev` is the last sealed segment that the manifest records, if
    /// it records any: everything up to its end is durable.
    pub fn create(
        disk: Arc<dyn Disk>,
        store_id: u64,
        first: SegmentNo,
        prev: Option<SealedSegment>,
        first_seq: SeqNo,
    ) -> Result<Log> {
        let _ = (disk, store_id, first, prev, first_seq);
        panic!("being written")
    }

    /// Encodes one record, which is one whole batch, into the group's buffer. No I/O.
    pub fn add(&mut self, seq: SeqNo, op_count: u32, payload: &[u8]) {
        let _ = (seq, op_count, payload);
    }

    /// Hands the group to the operating system. After an error the group is not in the log, and
    /// only [`replace`](Self::replace) or [`seal`](Self::seal) may follow.
    pub fn write(&mut self) -> Result<()> {
        Ok(())
    }

    /// Goes on in a new segment, whose header names this one and its final length. After an error
    /// only [`replace`](Self::replace) or [`seal`](Self::seal) may follow, with yet another number.
    pub fn rotate(&mut self, next: SegmentNo, first_seq: SeqNo) -> Result<SealedSegment> {
        let _ = (next, first_seq);
        panic!("being written")
    }

    /// Goes on in a new segment after a failed write: seals the old one where its last good group
    /// ends and makes the new header, which says so, durable. Not after a failed sync.
    pub fn replace(&mut self, next: SegmentNo, first_seq: SeqNo) -> Result<SealedSegment> {
        let _ = (next, first_seq);
        panic!("being written")
    }

    /// The end of the last group written.
    pub fn end(&self) -> LogPosition {
        panic!("being written")
    }

    /// The segment that takes records.
    pub fn active(&self) -> SegmentNo {
        panic!("being written")
    }

    /// Its length.
    pub fn active_bytes(&self) -> u64 {
        panic!("being written")
    }

    /// What syncs this log; the same object for the log's whole life.
    pub fn syncer(&self) -> Arc<LogSyncer> {
        self.syncer.clone()
    }

    /// Ends the log: syncs it, cuts its tail, and returns what the manifest may record.
    pub fn seal(self) -> Result<SealedSegment> {
        panic!("being written")
    }
}

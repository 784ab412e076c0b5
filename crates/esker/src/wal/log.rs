//! The log that is being written: one active segment, one group of records at a time.

use std::sync::Arc;

use crate::base::error::Result;
use crate::base::invariant;
use crate::base::key::{SegmentNo, SeqNo};
use crate::base::limits::BATCH_BYTES_MAX;
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::vfs::{AppendFile, Disk};
use crate::wal::record::{Place, RecordKind, encode_record};
use crate::wal::segment::SegmentHeader;
use crate::wal::sync::LogSyncer;
use crate::wal::{LogPosition, SealedSegment};

/// What the group's buffer keeps allocated between groups.
const GROUP_KEEP_BYTES: usize = 1 << 20;

/// The live log, used by one leader at a time. Its [`LogSyncer`] works beside it.
pub struct Log {
    disk: Arc<dyn Disk>,
    store_id: u64,
    active: Active,
    /// The records of the group, as they have to stand behind `active.end`.
    group: Vec<u8>,
    /// How much of the active segment was durable when the group began.
    group_synced: u64,
    /// The group's first sequence number.
    group_seq: SeqNo,
    /// The next record's first sequence number.
    next_seq: SeqNo,
    /// Set while the length of the active segment may be named somewhere, or bytes that belong to
    /// no group may stand behind it: it takes no more records (W2).
    is_closed: bool,
    syncer: Arc<LogSyncer>,
}

/// The segment that takes records.
struct Active {
    segment: SegmentNo,
    file: Box<dyn AppendFile>,
    /// Where its last whole group ends.
    end: u64,
}

impl Active {
    fn create(disk: &dyn Disk, store_id: u64, header: &SegmentHeader) -> Result<Self> {
        let mut file = disk.create(FileName::Log(header.segment))?;
        let bytes = header.encode(store_id);
        file.append(&bytes)?;
        Ok(Self { segment: header.segment, file, end: bytes.len() as u64 })
    }

    fn sealed(&self) -> SealedSegment {
        SealedSegment { segment: self.segment, bytes: self.end }
    }
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
        let horizon = prev.map(|prev| LogPosition { segment: prev.segment, offset: prev.bytes });
        let header = SegmentHeader { segment: first, first_seq, prev, horizon };
        let active = Active::create(&*disk, store_id, &header)?;
        let synced = horizon.unwrap_or(LogPosition { segment: first, offset: 0 });
        let handle = active.file.sync_handle();
        let syncer = LogSyncer::new(Arc::clone(&disk), synced, active.sealed(), handle);
        Ok(Log {
            disk,
            store_id,
            active,
            group: Vec::new(),
            group_synced: 0,
            group_seq: first_seq,
            next_seq: first_seq,
            is_closed: false,
            syncer: Arc::new(syncer),
        })
    }

    /// Encodes one record, which is one whole batch, into the group's buffer. No I/O.
    pub fn add(&mut self, seq: SeqNo, op_count: u32, payload: &[u8]) {
        invariant!(W1, seq == self.next_seq, "record {seq} where {} follows", self.next_seq);
        invariant!(W2, !self.is_closed, "a record for closed segment {}", self.active.segment);
        assert!(op_count > 0 && payload.len() <= BATCH_BYTES_MAX, "a batch within its limits");
        if self.group.is_empty() {
            self.group_seq = seq;
            self.group_synced = self.syncer.synced_in(self.active.segment);
        }
        let place = Place {
            store_id: self.store_id,
            file_number: self.active.segment.0,
            offset: self.active.end + self.group.len() as u64,
        };
        let (kind, synced) = (RecordKind::Batch, self.group_synced);
        encode_record(&mut self.group, place, kind, seq, op_count, synced, payload);
        self.next_seq = seq.plus(u64::from(op_count));
    }

    /// Hands the group to the operating system. After an error the group is not in the log, its
    /// sequence numbers are free again, and only [`replace`](Self::replace) or [`seal`](Self::seal) may follow.
    pub fn write(&mut self) -> Result<()> {
        if self.group.is_empty() {
            return Ok(());
        }
        let written = self.active.file.append(&self.group);
        if written.is_ok() {
            self.active.end += self.group.len() as u64;
            self.syncer.appended(self.active.end);
        } else {
            self.is_closed = true;
            self.next_seq = self.group_seq;
        }
        self.group.clear();
        self.group.shrink_to(GROUP_KEEP_BYTES);
        written
    }

    /// Goes on in a new segment, whose header names this one and its final length. After an error
    /// only [`replace`](Self::replace) or [`seal`](Self::seal) may follow, with yet another number.
    pub fn rotate(&mut self, next: SegmentNo, first_seq: SeqNo) -> Result<SealedSegment> {
        invariant!(W2, !self.is_closed, "rotation of closed segment {}", self.active.segment);
        let active = self.open_next(next, first_seq)?;
        Ok(self.switch_to(active))
    }

    /// Goes on in a new segment after a failed write or rotation: cuts the old one where its last
    /// good group ends, and makes the new header, which says so, durable, so that no crash brings
    /// the failed group back; its sequence numbers are used again. After a failed sync there is no
    /// going on: this returns that error.
    pub fn replace(&mut self, next: SegmentNo, first_seq: SeqNo) -> Result<SealedSegment> {
        self.syncer.check()?;
        if planted::is_on(Bug::AppendAfterShortWrite) {
            self.is_closed = false;
            return Ok(self.active.sealed());
        }
        // What stays behind the end is ignored in any case.
        let _ = self.active.file.seal(self.active.end);
        let active = self.open_next(next, first_seq)?;
        active.file.sync_handle().sync()?;
        self.disk.sync_dir()?;
        Ok(self.switch_to(active))
    }

    /// Creates the segment behind the active one, which from here on keeps its length: a header
    /// that names it may exist even if this fails.
    fn open_next(&mut self, next: SegmentNo, first_seq: SeqNo) -> Result<Active> {
        assert!(self.group.is_empty(), "a group is written before its segment ends");
        invariant!(W1, first_seq == self.next_seq, "{first_seq} where {} follows", self.next_seq);
        assert!(next > self.active.segment, "segment {next} behind {}", self.active.segment);
        self.is_closed = true;
        let header = SegmentHeader {
            segment: next,
            first_seq,
            prev: Some(self.active.sealed()),
            horizon: Some(self.syncer.synced()).filter(|synced| synced.offset > 0),
        };
        Active::create(&*self.disk, self.store_id, &header)
    }

    fn switch_to(&mut self, active: Active) -> SealedSegment {
        let sealed = self.active.sealed();
        self.syncer.rotated(active.sealed(), active.file.sync_handle());
        self.active = active;
        self.is_closed = false;
        sealed
    }

    /// The end of the last group written.
    pub fn end(&self) -> LogPosition {
        LogPosition { segment: self.active.segment, offset: self.active.end }
    }

    /// The segment that takes records.
    pub fn active(&self) -> SegmentNo {
        self.active.segment
    }

    /// Its length.
    pub fn active_bytes(&self) -> u64 {
        self.active.end
    }

    /// What syncs this log; the same object for the log's whole life.
    pub fn syncer(&self) -> Arc<LogSyncer> {
        Arc::clone(&self.syncer)
    }

    /// Ends the log: syncs it, cuts its tail, and returns what the manifest may record.
    pub fn seal(mut self) -> Result<SealedSegment> {
        assert!(self.group.is_empty(), "a group is written before its segment ends");
        self.syncer.sync()?;
        self.active.file.seal(self.active.end)?;
        Ok(self.active.sealed())
    }
}

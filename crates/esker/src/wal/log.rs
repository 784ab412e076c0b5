//! The log that is being written: one active segment, one group of records at a time.

use std::sync::Arc;

use crate::base::batch::Op;
use crate::base::error::Result;
use crate::base::invariant;
use crate::base::key::{SegmentNo, SeqNo};
use crate::base::limits::BATCH_BYTES_MAX;
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::vfs::{AppendFile, Disk};
use crate::wal::record::{Place, RecordHeader, RecordKind};
use crate::wal::segment::SegmentHeader;
use crate::wal::sync::LogSyncer;
use crate::wal::{LogPosition, SealedSegment};

/// What the group's buffer keeps allocated between groups.
const GROUP_KEEP_BYTES: usize = 1 << 20;

/// The live log, used by one leader at a time. Its [`LogSyncer`] works beside it.
pub struct Log {
    disk: Arc<dyn Disk>,
    store_id: u64,
    /// About how long a segment becomes.
    segment_bytes: u64,
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
    fn create(
        disk: &dyn Disk,
        store_id: u64,
        header: &SegmentHeader,
        spare: Option<FileName>,
        segment_bytes: u64,
    ) -> Result<Self> {
        let mut file = disk.create_log(FileName::Log(header.segment), spare, segment_bytes)?;
        let mut bytes = header.encode(store_id);
        if let Some(spare) = spare.filter(|_| planted::is_on(Bug::SpareKeepsItsHeader)) {
            let segment = SegmentNo(spare.number().unwrap_or_default());
            bytes = SegmentHeader { segment, ..*header }.encode(store_id);
        }
        file.append(&bytes)?;
        Ok(Self { segment: header.segment, file, end: bytes.len() as u64 })
    }

    fn sealed(&self) -> SealedSegment {
        SealedSegment { segment: self.segment, bytes: self.end }
    }
}

impl Log {
    /// Creates segment `first`. `prev` is the last sealed segment that the manifest records, if
    /// it records any: everything up to its end is durable. Segments become about `segment_bytes`
    /// long.
    pub fn create(
        disk: Arc<dyn Disk>,
        store_id: u64,
        first: SegmentNo,
        prev: Option<SealedSegment>,
        first_seq: SeqNo,
        segment_bytes: u64,
    ) -> Result<Log> {
        let horizon = prev.map(|prev| LogPosition { segment: prev.segment, offset: prev.bytes });
        let header = SegmentHeader { segment: first, first_seq, prev, horizon };
        let active = Active::create(&*disk, store_id, &header, None, segment_bytes)?;
        let synced = horizon.unwrap_or(LogPosition { segment: first, offset: 0 });
        let handle = active.file.sync_handle();
        let syncer = LogSyncer::new(Arc::clone(&disk), synced, active.sealed(), handle);
        Ok(Log {
            disk,
            store_id,
            segment_bytes,
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
        assert!(op_count > 0 && payload.len() <= BATCH_BYTES_MAX, "a batch within its limits");
        self.add_record(seq, op_count, |group| group.extend_from_slice(payload));
    }

    /// The same for a batch of one operation, which keeps its limits.
    pub fn add_op(&mut self, seq: SeqNo, op: &Op<'_>) {
        self.add_record(seq, 1, |group| op.encode(group));
    }

    fn add_record(&mut self, seq: SeqNo, op_count: u32, payload: impl FnOnce(&mut Vec<u8>)) {
        invariant!(W1, seq == self.next_seq, "record {seq} where {} follows", self.next_seq);
        invariant!(W2, !self.is_closed, "a record for closed segment {}", self.active.segment);
        if self.group.is_empty() {
            self.group_seq = seq;
            self.group_synced = self.syncer.active_synced();
        }
        let place = Place {
            store_id: self.store_id,
            file_number: self.active.segment.0,
            offset: self.active.end + self.group.len() as u64,
        };
        let header = RecordHeader {
            seq,
            kind: RecordKind::Batch as u8,
            op_count,
            synced_upto: self.group_synced,
            payload_bytes: 0,
        };
        header.encode(place, &mut self.group, payload);
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
    /// only [`replace`](Self::replace) or [`seal`](Self::seal) may follow, with yet another number;
    /// after a failed sync nothing may, and this returns that error. A `spare` becomes the new
    /// segment's file; after an error neither name may be used again, and both may be removed.
    pub fn rotate(
        &mut self,
        next: SegmentNo,
        first_seq: SeqNo,
        spare: Option<FileName>,
    ) -> Result<SealedSegment> {
        self.syncer.check()?;
        invariant!(W2, !self.is_closed, "rotation of closed segment {}", self.active.segment);
        let active = self.open_next(next, first_seq, spare)?;
        Ok(self.switch_to(active))
    }

    /// Goes on in a new segment after a failed write or rotation: cuts the old one where its last
    /// good group ends, and makes the new header, which says so, durable, so that no crash brings
    /// the failed group back; its sequence numbers are used again. After a failed sync there is no
    /// going on: this returns that error.
    pub fn replace(
        &mut self,
        next: SegmentNo,
        first_seq: SeqNo,
        spare: Option<FileName>,
    ) -> Result<SealedSegment> {
        self.syncer.check()?;
        if planted::is_on(Bug::AppendAfterShortWrite) {
            self.is_closed = false;
            return Ok(self.active.sealed());
        }
        // What stays behind the end is ignored in any case.
        let _ = self.active.file.seal(self.active.end);
        let active = self.open_next(next, first_seq, spare)?;
        active.file.sync_handle().sync()?;
        self.disk.sync_dir()?;
        Ok(self.switch_to(active))
    }

    /// Creates the segment behind the active one, which from here on keeps its length: a header
    /// that names it may exist even if this fails.
    fn open_next(
        &mut self,
        next: SegmentNo,
        first_seq: SeqNo,
        spare: Option<FileName>,
    ) -> Result<Active> {
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
        Active::create(&*self.disk, self.store_id, &header, spare, self.segment_bytes)
    }

    fn switch_to(&mut self, active: Active) -> SealedSegment {
        let last = std::mem::replace(&mut self.active, active);
        let sealed = last.sealed();
        self.syncer.rotated(self.active.sealed(), self.active.file.sync_handle(), last.file);
        self.is_closed = false;
        sealed
    }

    /// Goes on in a new segment that knows none before it, once everything in those is in tables and
    /// a durable edit has left them behind; also after a failed sync. The segment and its name are
    /// durable when this returns. After an error only this may follow, with yet another number.
    pub fn begin_anew(&mut self, first: SegmentNo, first_seq: SeqNo) -> Result<()> {
        self.is_closed = true;
        let header = SegmentHeader { segment: first, first_seq, prev: None, horizon: None };
        let active = Active::create(&*self.disk, self.store_id, &header, None, self.segment_bytes)?;
        let file = active.file.sync_handle();
        file.sync()?;
        self.disk.sync_dir()?;
        self.syncer.begin_anew(active.sealed(), file);
        self.active = active;
        self.next_seq = first_seq;
        self.is_closed = false;
        Ok(())
    }

    /// The end of the last group written.
    #[cfg(test)]
    pub fn end(&self) -> LogPosition {
        LogPosition { segment: self.active.segment, offset: self.active.end }
    }

    /// The segment that takes records.
    #[cfg(test)]
    pub fn active(&self) -> SegmentNo {
        self.active.segment
    }

    /// Its length.
    pub fn active_bytes(&self) -> u64 {
        self.active.end
    }

    /// Whether somebody should make room ahead of the active segment's end: see
    /// [`LogSyncer::make_room`].
    pub fn wants_room(&mut self) -> bool {
        self.active.file.wants_room()
    }

    /// Gives back what is allocated behind the last record.
    pub fn trim(&mut self) -> Result<()> {
        if self.is_closed { Ok(()) } else { self.active.file.trim() }
    }

    /// What syncs this log; the same object for the log's whole life.
    pub fn syncer(&self) -> Arc<LogSyncer> {
        Arc::clone(&self.syncer)
    }

    /// Ends the log: syncs it, cuts its segments behind their last records, and returns what the manifest may record.
    pub fn seal(mut self) -> Result<SealedSegment> {
        assert!(self.group.is_empty(), "a group is written before its segment ends");
        if !planted::is_on(Bug::CloseForgivesFailure) {
            self.syncer.sync()?;
        }
        self.syncer.seal_rotated()?;
        self.active.file.seal(self.active.end)?;
        Ok(self.active.sealed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::batch::WriteBatch;
    use crate::vfs::faults::{DiskOp, Errno, Fault, FaultPlan, FaultRule, When};
    use crate::vfs::sim::SimDisk;

    fn log(disk: &Arc<SimDisk>) -> Log {
        Log::create(disk.clone(), 1, SegmentNo(3), None, SeqNo::new(1), 4_096).unwrap()
    }

    fn ops() -> Vec<u8> {
        let mut batch = WriteBatch::new();
        batch.put("key", "value");
        batch.ops().to_vec()
    }

    fn put(log: &mut Log, seq: u64) -> Result<()> {
        log.add(SeqNo::new(seq), 1, &ops());
        log.write()
    }

    fn fail_next(disk: &SimDisk, op: DiskOp) {
        let rule = FaultRule::new(When::Nth(1), Fault::Error(Errno::IO)).op(op);
        disk.set_faults(FaultPlan::new(0).rule(rule));
    }

    #[test]
    fn a_group_is_one_append_and_its_end_is_the_files() {
        let disk = SimDisk::new();
        let mut log = log(&disk);
        let before = disk.operations();
        log.add(SeqNo::new(1), 1, &ops());
        log.add(SeqNo::new(2), 1, &ops());
        assert_eq!(log.active_bytes(), 128, "nothing was written yet");
        log.write().unwrap();
        log.write().unwrap();
        assert_eq!(disk.operations(), before + 1);
        assert_eq!(disk.files(), [(FileName::Log(SegmentNo(3)), log.active_bytes())]);
    }

    #[test]
    #[should_panic(expected = "W1")]
    fn w1_a_record_cannot_leave_a_number_out() {
        let mut log = log(&SimDisk::new());
        log.add(SeqNo::new(1), 2, &ops());
        log.add(SeqNo::new(2), 1, &ops());
    }

    #[test]
    #[should_panic(expected = "W1")]
    fn w1_a_segment_begins_where_the_last_one_ended() {
        let mut log = log(&SimDisk::new());
        put(&mut log, 1).unwrap();
        let _ = log.rotate(SegmentNo(4), SeqNo::new(3), None);
    }

    #[test]
    #[should_panic(expected = "W2")]
    fn w2_nothing_follows_a_failed_write() {
        let disk = SimDisk::new();
        let mut log = log(&disk);
        fail_next(&disk, DiskOp::Append);
        assert!(put(&mut log, 1).is_err());
        let _ = put(&mut log, 1);
    }

    #[test]
    #[should_panic(expected = "W2")]
    fn w2_nothing_follows_in_a_segment_whose_length_a_header_may_name() {
        let disk = SimDisk::new();
        let mut log = log(&disk);
        put(&mut log, 1).unwrap();
        fail_next(&disk, DiskOp::Append);
        assert!(log.rotate(SegmentNo(4), SeqNo::new(2), None).is_err());
        let _ = put(&mut log, 2);
    }

    #[test]
    fn a_replaced_segment_ends_before_the_failed_group_whose_numbers_are_used_again() {
        let disk = SimDisk::new();
        let mut log = log(&disk);
        put(&mut log, 1).unwrap();
        let good = log.end();
        fail_next(&disk, DiskOp::Append);
        assert!(put(&mut log, 2).is_err());
        fail_next(&disk, DiskOp::Create);
        assert!(log.replace(SegmentNo(4), SeqNo::new(2), None).is_err());
        let sealed = log.replace(SegmentNo(5), SeqNo::new(2), None).unwrap();
        assert_eq!((sealed.segment, sealed.bytes), (good.segment, good.offset));
        put(&mut log, 2).unwrap();
        assert_eq!(log.syncer().sync().unwrap(), log.end());
    }

    #[test]
    fn a_log_closed_after_a_failed_write_ends_before_it() {
        let disk = SimDisk::new();
        let mut log = log(&disk);
        put(&mut log, 1).unwrap();
        let good = log.end();
        let rule = FaultRule::new(When::Nth(1), Fault::Short(20, Errno::IO)).op(DiskOp::Append);
        disk.set_faults(FaultPlan::new(0).rule(rule));
        assert!(put(&mut log, 2).is_err());
        assert!(disk.files()[0].1 > good.offset);
        let sealed = log.seal().unwrap();
        assert_eq!((sealed.segment, sealed.bytes), (good.segment, good.offset));
        assert_eq!(disk.files()[0].1, good.offset, "the tail is cut");
    }

    #[test]
    fn a_log_that_ends_cuts_rotated_segments_and_spares_none_of_their_old_bytes() {
        let disk = SimDisk::new();
        let spare = FileName::Spare(1);
        disk.put_file(spare, &[0xa5; 4_096]);
        let mut log = log(&disk);
        put(&mut log, 1).unwrap();
        assert!(log.wants_room());
        log.syncer().make_room().unwrap();
        let first = log.rotate(SegmentNo(4), SeqNo::new(2), Some(spare)).unwrap();
        put(&mut log, 2).unwrap();
        let lens = || disk.files().iter().map(|(_, len)| *len).collect::<Vec<_>>();
        assert_eq!(lens(), [first.bytes + 1_024, 4_096], "allocated ahead; used before");
        let last = log.seal().unwrap();
        assert_eq!(lens(), [first.bytes, last.bytes]);
    }

    #[test]
    fn a_freed_segment_is_neither_synced_nor_cut_any_more() {
        let disk = SimDisk::new();
        let mut log = log(&disk);
        put(&mut log, 1).unwrap();
        log.rotate(SegmentNo(4), SeqNo::new(2), None).unwrap();
        log.syncer().forget(SegmentNo(3));
        disk.rename(FileName::Log(SegmentNo(3)), FileName::Spare(3)).unwrap();
        let before = disk.operations();
        log.syncer().sync().unwrap();
        assert_eq!(disk.operations() - before, 2, "the new segment and the names");
        // It has no writer any more, so it may get another (D4).
        log.rotate(SegmentNo(5), SeqNo::new(2), Some(FileName::Spare(3))).unwrap();
        put(&mut log, 2).unwrap();
        assert_eq!(log.syncer().sync().unwrap(), log.end());
        log.trim().unwrap();
        let len = |segment| disk.bytes(FileName::Log(segment)).unwrap().len() as u64;
        assert_eq!(len(SegmentNo(5)), log.active_bytes());
        log.seal().unwrap();
    }

    #[test]
    fn syncs_run_beside_the_writer_and_each_other() {
        let disk = SimDisk::new();
        let mut log = log(&disk);
        let syncer = log.syncer();
        std::thread::scope(|scope| {
            let sync = || {
                let mut last = syncer.synced();
                while last.segment < SegmentNo(13) {
                    let synced = syncer.sync().unwrap();
                    assert!(synced >= last, "{synced} after {last}");
                    last = synced;
                }
            };
            scope.spawn(sync);
            scope.spawn(sync);
            for seq in 1..=1000 {
                put(&mut log, seq).unwrap();
                let before = log.end();
                if seq % 100 == 0 {
                    log.rotate(SegmentNo(3 + seq / 100), SeqNo::new(seq + 1), None).unwrap();
                    assert!(log.syncer().sync().unwrap() >= before);
                }
            }
        });
        assert_eq!(syncer.sync().unwrap(), log.end());
    }

    #[test]
    fn a_failed_sync_cannot_be_gone_on_from() {
        let disk = SimDisk::new();
        let mut log = log(&disk);
        put(&mut log, 1).unwrap();
        fail_next(&disk, DiskOp::Sync);
        let error = log.syncer().sync().unwrap_err();
        // The group is in doubt, so its writer may take its numbers for free.
        for again in [
            log.rotate(SegmentNo(4), SeqNo::new(1), None),
            log.replace(SegmentNo(4), SeqNo::new(1), None),
        ] {
            assert_eq!(error.to_string(), again.unwrap_err().to_string());
        }
        assert_eq!(error.to_string(), log.seal().unwrap_err().to_string());
    }
}

//! Reading the log of a dead process: what to keep, and whether what is missing was ever durable.
//!
//! ```text
//! sealed segments of the manifest ── whole, or Corruption
//! live segments, along their headers ── up to the first hole
//! everything behind the hole ── only for what it states as durable (the horizon)
//!     hole < horizon: Corruption        hole >= horizon: the crash; the rest is discarded
//! ```
//!
//! Nothing is written but syncs, so a crash at any point leaves the same recovery to be done.

use litemap::LiteMap;

use crate::base::batch::decode_ops;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::invariant;
use crate::base::key::{SegmentNo, SeqNo};
use crate::base::limits::BATCH_BYTES_MAX;
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::vfs::Disk;
use crate::wal::chain::{Chain, Link, log_files, read_header};
use crate::wal::reader::{Hole, Next, RecordReader};
use crate::wal::record::{Mismatch, RECORD_ALIGN, RECORD_HEADER_BYTES, RecordHeader, RecordKind};
use crate::wal::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::wal::{LogPosition, LogState, SealedSegment};

/// What recovery found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveredLog {
    /// The segments to keep, with their exact lengths; all of it is durable now. The next
    /// manifest records them, before a new log is created behind the last one.
    pub sealed: Vec<SealedSegment>,
    /// The sequence number after the last record; `None` without any segment.
    pub next_seq: Option<SeqNo>,
    /// Bytes of files behind the end of what is kept.
    pub discarded_bytes: u64,
    /// How many records were read.
    pub records: u64,
}

/// What takes the batches of a log: the first sequence number of each, its encoded operations,
/// which are known to be well formed, and where its record begins.
pub type Apply<'a> = dyn FnMut(SeqNo, &[u8], LogPosition) -> Result<()> + 'a;

/// Reads the log and hands each batch to `apply`.
///
/// An error means that nothing of what was handed over counts: damage below the durable horizon
/// is known only after the last batch before it.
pub fn recover(
    disk: &dyn Disk,
    store_id: u64,
    state: &LogState,
    apply: &mut Apply<'_>,
) -> Result<RecoveredLog> {
    let files = log_files(&disk.list()?);
    let mut replay =
        Replay { disk, store_id, apply, horizon: state.horizon, next_seq: None, records: 0 };
    replay.sealed(&state.sealed, &files)?;
    let chain = Chain::find(disk, store_id, &files, state.live_from)?;
    let (live, tail) = replay.live(&chain.links, state)?;
    replay.look_behind(&tail, &files)?;
    replay.judge(&tail)?;
    for sealed in &live {
        if !planted::is_on(Bug::RecoveredLogNotSynced) {
            disk.sync_existing(FileName::Log(sealed.segment))?;
        }
    }
    if !live.is_empty() {
        disk.sync_dir()?;
    }
    Ok(RecoveredLog {
        sealed: state.sealed.iter().copied().chain(live).collect(),
        next_seq: replay.next_seq,
        discarded_bytes: tail.bytes_behind(&files),
        records: replay.records,
    })
}

/// The end of what is kept, and what is there instead of more.
struct Tail {
    segment: SegmentNo,
    hole: Hole,
}

impl Tail {
    fn position(&self) -> LogPosition {
        LogPosition { segment: self.segment, offset: self.hole.offset }
    }

    fn bytes_behind(&self, files: &LiteMap<SegmentNo, u64>) -> u64 {
        let all: u64 = files
            .iter()
            .filter(|(segment, _)| **segment >= self.segment)
            .map(|(_, bytes)| bytes)
            .sum();
        let kept = if files.contains_key(&self.segment) { self.hole.offset } else { 0 };
        all.saturating_sub(kept)
    }
}

struct Replay<'a, 'b> {
    disk: &'a dyn Disk,
    store_id: u64,
    apply: &'a mut Apply<'b>,
    /// The highest position that was stated as durable.
    horizon: Option<LogPosition>,
    next_seq: Option<SeqNo>,
    records: u64,
}

impl Replay<'_, '_> {
    /// The segments that the manifest vouches for: anything missing is damage.
    fn sealed(&mut self, sealed: &[SealedSegment], files: &LiteMap<SegmentNo, u64>) -> Result<()> {
        let mut prev = None;
        for &segment in sealed {
            let name = FileName::Log(segment.segment);
            if !files.contains_key(&segment.segment) {
                return Err(Error::corrupt(name, 0, "sealed log segment", "a file", "none"));
            }
            let damage = |hole: Hole| hole.mismatch.into_error(name, hole.offset);
            let header = read_header(self.disk, self.store_id, segment.segment)?.map_err(damage)?;
            if prev.is_some() && header.prev != prev {
                return Err(wrong_prev(&header, prev));
            }
            self.enter(&header, FirstSeq::MayJump)
                .map_err(|mismatch| mismatch.into_error(name, 0))?;
            let mut reader = self.reader(segment.segment)?;
            // Shorter than a header means no more than that: its records begin behind it.
            let limit = segment.bytes.max(SEGMENT_HEADER_BYTES as u64);
            if let Some(hole) = self.records(&mut reader, limit)? {
                return Err(damage(hole));
            }
            prev = Some(segment);
        }
        Ok(())
    }

    /// The live segments up to the first hole, and that hole.
    fn live(&mut self, links: &[Link], state: &LogState) -> Result<(Vec<SealedSegment>, Tail)> {
        let mut kept = Vec::new();
        let mut end = clean_end(0);
        let mut last = state.live_from;
        for (i, link) in links.iter().enumerate() {
            last = link.segment;
            let rule = if i == 0 { FirstSeq::MayJump } else { FirstSeq::Follows };
            let stopped = match self.enter_link(link, rule, state)? {
                Some(hole) => Some(hole),
                None => {
                    let mut reader = self.reader(link.segment)?;
                    let limit = links.get(i + 1).and_then(length_of_previous);
                    let limit = limit.unwrap_or(reader.file_bytes());
                    let hole = self.records(&mut reader, limit)?;
                    #[cfg(any(test, feature = "planted"))]
                    if hole.is_some() && planted::is_on(Bug::HalfBatch) {
                        self.half_batch(&mut reader, link.segment)?;
                    }
                    let bytes = match &hole {
                        Some(hole) if !planted::is_on(Bug::TornTailKept) => hole.offset,
                        _ => limit,
                    };
                    kept.push(whole(link.segment, bytes));
                    end = clean_end(bytes);
                    hole
                }
            };
            if let Some(hole) = stopped {
                return Ok((kept, Tail { segment: link.segment, hole }));
            }
        }
        Ok((kept, Tail { segment: last, hole: end }))
    }

    /// Checks a live segment's header against what is before it.
    fn enter_link(
        &mut self,
        link: &Link,
        rule: FirstSeq,
        state: &LogState,
    ) -> Result<Option<Hole>> {
        let header = match &link.header {
            Ok(header) => header,
            Err(hole) => return Ok(Some(hole.clone())),
        };
        // Without sealed segments it names one that was freed since, or none.
        let sealed = state.sealed.last().copied();
        if rule == FirstSeq::MayJump && sealed.is_some() && header.prev != sealed {
            return Err(wrong_prev(header, sealed));
        }
        let mismatch = self.enter(header, rule).err();
        Ok(mismatch.map(|mismatch| Hole { offset: 0, mismatch, is_short: false }))
    }

    fn enter(
        &mut self,
        header: &SegmentHeader,
        rule: FirstSeq,
    ) -> std::result::Result<(), Mismatch> {
        let fits = self.next_seq.is_none_or(|next| match rule {
            FirstSeq::Follows => header.first_seq == next,
            FirstSeq::MayJump => header.first_seq >= next,
        });
        if !fits {
            let expected = self.next_seq.unwrap_or_default().to_string();
            let found = header.first_seq.to_string();
            return Err(Mismatch::new("first sequence number", expected, found));
        }
        self.horizon = self.horizon.max(header.horizon);
        self.next_seq = Some(header.first_seq);
        Ok(())
    }

    /// Applies the records of a segment up to `limit`; returns the hole that ends them before.
    fn records(&mut self, reader: &mut RecordReader, limit: u64) -> Result<Option<Hole>> {
        let name = reader.name();
        let end = limit.min(reader.file_bytes());
        loop {
            let (offset, header, payload) = match reader.next(end)? {
                Next::Record { offset, header, payload } => (offset, header, payload),
                Next::Hole(hole) => return Ok(Some(hole)),
                Next::End if end == limit => return Ok(None),
                Next::End => {
                    let (expected, found) = (format!("{limit} bytes"), format!("{end} bytes"));
                    let mismatch = Mismatch::new("segment length", expected, found);
                    return Ok(Some(Hole { offset: end, mismatch, is_short: true }));
                }
            };
            if let Err(mismatch) = self.check(name, &header)? {
                return Ok(Some(Hole { offset, mismatch, is_short: false }));
            }
            check_ops(name, offset, &header, payload)?;
            let segment = SegmentNo(name.number().unwrap_or_default());
            self.state_durable(segment, &header);
            (self.apply)(header.seq, payload, LogPosition { segment, offset })?;
            self.next_seq = Some(header.seq.plus(u64::from(header.op_count)));
            self.records += 1;
        }
    }

    /// Whether a record with these statements may come next. The outer error is a newer version's
    /// record.
    fn check(
        &self,
        name: FileName,
        header: &RecordHeader,
    ) -> Result<std::result::Result<(), Mismatch>> {
        let next = self.next_seq.unwrap_or_default();
        let last = header.seq.get() + u64::from(header.op_count);
        match RecordKind::from_u8(header.kind) {
            None => {
                let text = format!("{name}: record of unknown kind {}", header.kind);
                Err(Error::new(ErrorKind::Unsupported, text))
            }
            Some(RecordKind::Batch) if header.seq == next && last <= SeqNo::MAX.get() => Ok(Ok(())),
            Some(RecordKind::Batch) => {
                let found = format!("{}, {} operations", header.seq, header.op_count);
                Ok(Err(Mismatch::new("sequence number", next.to_string(), found)))
            }
            Some(kind) => Ok(Err(Mismatch::new("record kind", "batch", format!("{kind:?}")))),
        }
    }

    /// Collects what is stated as durable behind the end: in the rest of its segment, and in all
    /// segments with higher numbers, whether they are in the chain or not.
    fn look_behind(&mut self, tail: &Tail, files: &LiteMap<SegmentNo, u64>) -> Result<()> {
        for (&segment, &bytes) in files.iter().filter(|(segment, _)| **segment >= tail.segment) {
            let mut from = 0;
            if segment == tail.segment {
                from = tail.hole.offset;
            } else if let Ok(header) = read_header(self.disk, self.store_id, segment)? {
                self.horizon = self.horizon.max(header.horizon);
            }
            if from < bytes {
                let seq_min = self.next_seq.unwrap_or_default();
                let mut reader = self.reader(segment)?;
                reader.scan(from, seq_min, &mut |header| self.state_durable(segment, &header))?;
            }
        }
        Ok(())
    }

    fn state_durable(&mut self, segment: SegmentNo, header: &RecordHeader) {
        if header.synced_upto > 0 {
            let stated = LogPosition { segment, offset: header.synced_upto };
            self.horizon = self.horizon.max(Some(stated));
        }
    }

    /// `Ok` if nothing behind the end was ever durable.
    fn judge(&self, tail: &Tail) -> Result<()> {
        let Some(horizon) = self.horizon.filter(|horizon| tail.position() < *horizon) else {
            return Ok(());
        };
        if tail.hole.is_short && planted::is_on(Bug::ShortLogBelowHorizon) {
            return Ok(());
        }
        let Hole { offset, mismatch, .. } = tail.hole.clone();
        let error = mismatch.into_error(FileName::Log(tail.segment), offset);
        Err(error.context(format_args!("the log is known to be durable up to {horizon}")))
    }

    fn reader(&self, segment: SegmentNo) -> Result<RecordReader> {
        let file = self.disk.open(FileName::Log(segment))?;
        let from = SEGMENT_HEADER_BYTES as u64;
        Ok(RecordReader::new(file, self.store_id, from, BATCH_BYTES_MAX))
    }

    /// The planted bug: the operations of a torn batch, as far as they can be read.
    #[cfg(any(test, feature = "planted"))]
    fn half_batch(&mut self, reader: &mut RecordReader, segment: SegmentNo) -> Result<()> {
        let offset = reader.offset();
        let Some((header, mut payload)) = reader.torn_payload()? else { return Ok(()) };
        let bad = decode_ops(&payload).find_map(|op| op.err()).map(|bad| bad.offset);
        payload.truncate(bad.unwrap_or(payload.len()));
        (self.apply)(header.seq, &payload, LogPosition { segment, offset })
    }
}

/// Which first sequence numbers a header may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstSeq {
    /// The next one.
    Follows,
    /// The next one or a later one: the first segment of a process may leave out what only
    /// tables still hold.
    MayJump,
}

/// The end of a segment in which nothing is wrong; the last one may still be too short.
fn clean_end(offset: u64) -> Hole {
    let mismatch = Mismatch::new("log", "more records", "its end");
    Hole { offset, mismatch, is_short: true }
}

/// What the header of `link` says about the segment before.
fn length_of_previous(link: &Link) -> Option<u64> {
    Some(link.header.as_ref().ok()?.prev?.bytes)
}

fn whole(segment: SegmentNo, bytes: u64) -> SealedSegment {
    let ends_a_record = bytes >= SEGMENT_HEADER_BYTES as u64 && bytes.is_multiple_of(RECORD_ALIGN);
    invariant!(W5, ends_a_record, "{bytes} bytes of segment {segment}");
    SealedSegment { segment, bytes }
}

fn wrong_prev(header: &SegmentHeader, expected: Option<SealedSegment>) -> Error {
    let name = FileName::Log(header.segment);
    Error::corrupt(name, 0, "previous segment", words(expected), words(header.prev))
}

fn words(sealed: Option<SealedSegment>) -> String {
    sealed.map_or("none".to_owned(), |sealed| {
        format!("{} bytes of segment {}", sealed.bytes, sealed.segment)
    })
}

/// The checksums of a batch hold; if it makes no sense all the same, a bug or a newer version
/// wrote it, and that is no crash.
fn check_ops(name: FileName, offset: u64, header: &RecordHeader, payload: &[u8]) -> Result<()> {
    let mut count = 0_u64;
    for op in decode_ops(payload) {
        let Err(bad) = op else {
            count += 1;
            continue;
        };
        if let Some(kind) = bad.reserved_kind {
            let text = format!("{name} at offset {offset}: operation of reserved kind {kind}");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let at = offset + (RECORD_HEADER_BYTES + bad.offset) as u64;
        return Err(Error::corrupt(name, at, "operation of a batch", "an operation", "none"));
    }
    if count == 0 || count != u64::from(header.op_count) {
        let expected = format!("{} operations, at least one", header.op_count);
        return Err(Error::corrupt(name, offset, "operations of a batch", expected, count));
    }
    Ok(())
}

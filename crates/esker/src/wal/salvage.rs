//! What can still be read of a damaged log: every whole record, also behind holes.
//!
//! Recovery ends at the first hole, because the order of commits has no gaps. A salvage takes what
//! there is and says what is missing: a gap in the sequence numbers.
//!
//! ```text
//! segment 7  [#1 #2 | hole | #5 #6]          #3 and #4 are lost
//! segment 9  [#6 #7 ...]                     #6 of segment 7 was discarded by a recovery: out
//! ```
//!
//! A page that the device does not give out is a hole as any other, and so is a file that is gone or
//! cut short, if the manifest, the segment behind it or the horizon says that there was more.
//!
//! A record that an earlier recovery cut off must not rise again. The header of the segment behind
//! it, or the manifest, says where its segment ends; and where neither can be read, its sequence
//! number does, which the next process handed out a second time.

use std::sync::Arc;

use litemap::LiteMap;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::key::{SegmentNo, SeqNo};
use crate::base::limits::BATCH_BYTES_MAX;
use crate::base::names::FileName;
use crate::vfs::Disk;
use crate::wal::chain::{log_files, read_header};
use crate::wal::patched::Patched;
use crate::wal::reader::{Next, RecordReader};
use crate::wal::record::{RecordHeader, RecordKind};
use crate::wal::recover::{Apply, check_ops};
use crate::wal::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::wal::{LogPosition, LogState};

/// A part of the log that no record could be read from.
#[derive(Clone, Debug)]
pub struct LogLoss {
    /// Where it begins.
    pub at: LogPosition,
    /// What is wrong there.
    pub error: Error,
    /// The first sequence number that is missing, if that is known.
    pub first: Option<SeqNo>,
    /// The last one; `None`: unknown, perhaps none at all.
    pub last: Option<SeqNo>,
}

/// Reads a log over damage; hands each batch to `apply`, in their order, and each gap to `lost`.
/// Without a manifest `state` is `None`, and every segment counts. Returns the number of records.
///
/// # Errors
/// `Unsupported`, and what `apply` answers.
pub fn salvage(
    disk: &dyn Disk,
    store_id: u64,
    state: Option<&LogState>,
    apply: &mut Apply<'_>,
    lost: &mut dyn FnMut(LogLoss),
) -> Result<u64> {
    let mut log = Salvage {
        disk,
        store_id,
        apply,
        lost,
        horizon: state.and_then(|state| state.horizon),
        next_seq: None,
        trouble: None,
        records: 0,
    };
    let mut last = None;
    for part in log.parts(state)? {
        if let Some(gone) = part.gone_before(last, state) {
            log.trouble.get_or_insert(no_file(gone));
        }
        log.segment(&part)?;
        last = Some(part.segment);
    }
    if let Some(durable) = log.horizon.filter(|durable| last < Some(durable.segment)) {
        log.trouble.get_or_insert(no_file(durable.segment));
    }
    log.finish(last);
    Ok(log.records)
}

/// A segment and what is known of its bounds.
struct Part {
    segment: SegmentNo,
    header: std::result::Result<SegmentHeader, Error>,
    /// Its exact length, if somebody states it.
    bytes: Option<u64>,
    /// Sequence numbers from here on are in later segments.
    end_seq: SeqNo,
}

impl Part {
    /// The segment that this one follows, if it lies behind `last` and nothing is there; `None`
    /// without a manifest too, for then nobody knows whether tables have all of it.
    fn gone_before(&self, last: Option<SegmentNo>, state: Option<&LogState>) -> Option<SegmentNo> {
        let prev = self.header.as_ref().ok()?.prev?.segment;
        let counts = state.is_some_and(|state| state.live_from <= prev);
        (counts && last < Some(prev)).then_some(prev)
    }
}

struct Salvage<'a, 'b> {
    disk: &'a dyn Disk,
    store_id: u64,
    apply: &'a mut Apply<'b>,
    lost: &'a mut dyn FnMut(LogLoss),
    horizon: Option<LogPosition>,
    /// What follows the last record.
    next_seq: Option<SeqNo>,
    /// What is wrong behind the last record, until the next one says how much is missing.
    trouble: Option<(LogPosition, Error)>,
    records: u64,
}

/// A segment that somebody names, and that is not there.
fn no_file(segment: SegmentNo) -> (LogPosition, Error) {
    let error = Error::corrupt(FileName::Log(segment), 0, "log segment", "a file", "none");
    (LogPosition { segment, offset: 0 }, error)
}

impl Salvage<'_, '_> {
    /// The segments that count, lowest first.
    fn parts(&mut self, state: Option<&LogState>) -> Result<Vec<Part>> {
        let mut lengths: LiteMap<SegmentNo, u64> = LiteMap::new();
        for sealed in state.map_or(&[][..], |state| &state.sealed) {
            lengths.insert(sealed.segment, sealed.bytes);
        }
        let files = log_files(&self.disk.list()?);
        let mut parts = Vec::new();
        for segment in files.keys().copied() {
            let is_sealed = lengths.contains_key(&segment);
            if state.is_some_and(|state| !is_sealed && segment < state.live_from) {
                continue;
            }
            let header = self.header(segment)?;
            if let Some(prev) = header.as_ref().ok().and_then(|header| header.prev) {
                lengths.insert(prev.segment, prev.bytes);
            }
            parts.push(Part { segment, header, bytes: None, end_seq: SeqNo::MAX });
        }
        for sealed in state.map_or(&[][..], |state| &state.sealed) {
            if !files.contains_key(&sealed.segment) {
                let (at, error) = no_file(sealed.segment);
                (self.lost)(LogLoss { at, error, first: None, last: None });
            }
        }
        let mut end_seq = SeqNo::MAX;
        for part in parts.iter_mut().rev() {
            part.bytes = lengths.get(&part.segment).copied();
            part.end_seq = end_seq;
            if let Some(first) = self.first_seq(part)? {
                end_seq = end_seq.min(first);
            }
        }
        Ok(parts)
    }

    fn header(&mut self, segment: SegmentNo) -> Result<std::result::Result<SegmentHeader, Error>> {
        let read = || read_header(self.disk, self.store_id, segment);
        match read().or_else(|_| read()) {
            Ok(Ok(header)) => {
                self.horizon = self.horizon.max(header.horizon);
                Ok(Ok(header))
            }
            Ok(Err(hole)) => Ok(Err(hole.mismatch.into_error(FileName::Log(segment), 0))),
            Err(error) if error.kind() == ErrorKind::Unsupported => Err(error),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The first sequence number of a segment: of its header, or else of its first whole record.
    fn first_seq(&self, part: &Part) -> Result<Option<SeqNo>> {
        if let Ok(header) = &part.header {
            return Ok(Some(header.first_seq));
        }
        let Ok((mut reader, _)) = self.reader(part.segment) else { return Ok(None) };
        let limit = reader.file_bytes();
        loop {
            match reader.next(limit) {
                Ok(Next::Record { header, .. }) => return Ok(Some(header.seq)),
                Ok(Next::Hole(_)) => {}
                _ => return Ok(None),
            }
            if !matches!(reader.skip_hole(limit), Ok(true)) {
                return Ok(None);
            }
        }
    }

    fn reader(&self, segment: SegmentNo) -> Result<(RecordReader, Arc<Patched>)> {
        let open = || self.disk.open(FileName::Log(segment));
        let file = Arc::new(Patched::new(open().or_else(|_| open())?));
        let from = SEGMENT_HEADER_BYTES as u64;
        let reader = RecordReader::new(file.clone(), self.store_id, from, BATCH_BYTES_MAX);
        Ok((reader, file))
    }

    /// Applies what can be read of one segment.
    fn segment(&mut self, part: &Part) -> Result<()> {
        let name = FileName::Log(part.segment);
        let at = |offset| LogPosition { segment: part.segment, offset };
        match &part.header {
            Err(error) => _ = self.trouble.get_or_insert((at(0), error.clone())),
            Ok(header) => {
                self.note_gap(header.first_seq);
                // The first segment of a process may leave out what only tables still hold.
                self.next_seq = self.next_seq.max(Some(header.first_seq));
            }
        }
        let (mut reader, file) = match self.reader(part.segment) {
            Ok(opened) => opened,
            Err(error) => {
                self.trouble.get_or_insert((at(0), error));
                return Ok(());
            }
        };
        let limit = part.bytes.unwrap_or(u64::MAX).min(reader.file_bytes());
        loop {
            let (offset, header, payload) = match reader.next(limit) {
                Ok(Next::Record { offset, header, payload }) => (offset, header, payload),
                Ok(Next::Hole(hole)) => {
                    let goes_on = matches!(reader.skip_hole(limit), Ok(true));
                    let refusal = file.refusal(hole.offset..reader.offset());
                    let error = refusal.unwrap_or(hole.mismatch.into_error(name, hole.offset));
                    self.trouble.get_or_insert((at(hole.offset), error));
                    if goes_on {
                        continue;
                    }
                    return Ok(());
                }
                Ok(Next::End) => {
                    self.check_length(part, limit);
                    return Ok(());
                }
                Err(error) => {
                    self.trouble.get_or_insert((at(limit), error));
                    return Ok(());
                }
            };
            if let Err(error) = self.record(part, offset, &header, payload)? {
                self.trouble.get_or_insert((at(offset), error));
            }
        }
    }

    /// A segment that ends before the length that is stated for it, or that was durable.
    fn check_length(&mut self, part: &Part, end: u64) {
        let durable = self.horizon.filter(|durable| durable.segment == part.segment);
        let stated = part.bytes.max(durable.map(|durable| durable.offset));
        let Some(bytes) = stated.filter(|bytes| *bytes > end) else { return };
        let name = FileName::Log(part.segment);
        let error = Error::corrupt(name, end, "segment length", bytes, end);
        let position = LogPosition { segment: part.segment, offset: end };
        self.trouble.get_or_insert((position, error));
    }

    /// Applies one record; the inner error is why it cannot be. Discarded ones are passed over.
    fn record(
        &mut self,
        part: &Part,
        offset: u64,
        header: &RecordHeader,
        payload: &[u8],
    ) -> Result<std::result::Result<(), Error>> {
        let name = FileName::Log(part.segment);
        let next = header.seq.get() + u64::from(header.op_count);
        let is_discarded = next > part.end_seq.get() || self.next_seq > Some(header.seq);
        if is_discarded {
            return Ok(Ok(()));
        }
        if RecordKind::from_u8(header.kind) != Some(RecordKind::Batch) {
            let error = Error::corrupt(name, offset, "record kind", "batch", header.kind);
            return Ok(Err(error));
        }
        match check_ops(name, offset, header, payload) {
            Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
            Err(error) => return Ok(Err(error)),
            Ok(()) => {}
        }
        self.note_gap(header.seq);
        if header.synced_upto > 0 {
            let stated = LogPosition { segment: part.segment, offset: header.synced_upto };
            self.horizon = self.horizon.max(Some(stated));
        }
        (self.apply)(header.seq, payload, LogPosition { segment: part.segment, offset })?;
        self.next_seq = Some(SeqNo::new(next));
        self.records += 1;
        Ok(Ok(()))
    }

    /// A record with the number `seq` follows: tells what is missing in front of it. Damage in
    /// front of which nothing is missing took nothing.
    fn note_gap(&mut self, seq: SeqNo) {
        let first = self.next_seq;
        let is_missing = first.is_none_or(|first| first < seq);
        if let Some((at, error)) = self.trouble.take_if(|_| is_missing) {
            (self.lost)(LogLoss { at, error, first, last: Some(seq.minus_one()) });
        }
        self.trouble = None;
    }

    /// What is wrong behind the last record is the crash, unless it was durable.
    fn finish(&mut self, end: Option<SegmentNo>) {
        let Some((at, error)) = self.trouble.take() else { return };
        let was_durable = self.horizon.is_some_and(|horizon| at < horizon);
        if was_durable || Some(at.segment) < end {
            (self.lost)(LogLoss { at, error, first: self.next_seq, last: None });
        }
    }
}

//! Floor 2: the write-ahead log. A write is in it before it is anywhere else.
//!
//! The log is a chain of segments, files of records; a record is one whole batch. One leader at a
//! time appends a group of records to the *active* segment ([`Log`]); others sync beside it
//! ([`LogSyncer`]). After the process has died, [`recover`] reads what it left, and the next
//! process goes on in a new segment: no segment is appended to by two processes.
//!
//! - [`record`]: the frame of a record, also of the manifest's; its bytes are in `FORMAT.md`
//! - [`segment`]: the header of a segment: what was before it, and what was durable by then
//! - [`log`], [`sync`]: writing, and making durable
//! - [`reader`]: reading records, and looking for statements behind a hole
//! - [`chain`], [`recover`](mod@recover): which segments belong together, and what of them counts
//! - [`salvage`](mod@salvage), [`patched`]: what can be read of a damaged one
//! - [`describe`](mod@describe): a readable print; `fuzz`: hostile bytes
//!
//! **The durable horizon.** A power cut may keep any of the bytes that were not synced, so a log
//! may be whole in its newest segment and torn in an older one, and that is no damage. Therefore
//! records, headers and the manifest state how far the log was durable when they were written. A
//! hole (bad or missing bytes) below the highest such position is `Corruption`. A hole above it is
//! the crash: what is in front of it is kept, everything behind it is discarded.
//!
//! Invariants:
//!
//! - W1: records take their sequence numbers in one unbroken row, also from segment to segment;
//!   only the first segment of a process may leave some out
//! - W2: nothing is appended behind a failed append, nor to a segment whose length a header may
//!   already name
//! - W3: what is said to be durable was synced: older segments first, then the active one, then
//!   the names
//! - W4: a record states no more bytes of its file as durable than stand in front of it
//! - W5: the length at which a segment is sealed is the end of a record
//!
//! Recovery changes no file, so that a crash in its midst leaves the same recovery to be done.
//!
//! Threads: `Log` belongs to one leader at a time. `LogSyncer` has a mutex over a few words, never
//! held over I/O. `recover` runs alone.
//!
//! A crash leaves: any of the bytes behind the horizon, of this life of a file or of an earlier one.
//!
//! **Segments are used again.** A new one may begin as a *spare*: the file of a former segment,
//! renamed, with all its bytes. Its header and records are none in the new life, because numbers
//! of segments are never used twice and every checksum holds the number; and its sequence numbers
//! are lower than any that may follow, because only the process that wrote a segment makes a
//! spare of it. A file may also be allocated ahead of its end, which reads as zeros.
//!
//! Not here: which segments are freed, and when (see `db/spares.rs`); how bytes get to the system
//! (`vfs`: stores into mapped memory, or `write`). No defence against a system
//! that reports a failed write of its cache to a process that has died since: `recover` syncs and
//! believes it.
#![forbid(unsafe_code)]

use std::fmt;

use crate::base::key::SegmentNo;
use crate::base::names::FileName;

mod chain;
#[cfg(test)]
mod crash_tests;
mod describe;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod log;
mod patched;
pub mod reader;
pub mod record;
mod recover;
#[cfg(test)]
mod recover_tests;
mod salvage;
mod segment;
mod sync;

pub use describe::describe;
pub use log::Log;
pub use recover::{RecoveredLog, check_headers, examine, recover};
pub use salvage::{LogLoss, salvage};
pub use segment::read_owner;
pub use sync::LogSyncer;

/// A place in the log: everything in earlier segments and the first `offset` bytes of this one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LogPosition {
    /// The segment.
    pub segment: SegmentNo,
    /// Bytes of its file.
    pub offset: u64,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", FileName::Log(self.segment), self.offset)
    }
}

/// A segment that takes no more records, and its exact length; bytes behind it mean nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedSegment {
    /// The segment.
    pub segment: SegmentNo,
    /// Its length, at the end of a record.
    pub bytes: u64,
}

/// What the manifest knows about the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogState {
    /// Segments of earlier runs that are still needed: durable, with their exact lengths, in order.
    pub sealed: Vec<SealedSegment>,
    /// Segments with this number or a higher one may exist beyond the sealed ones.
    pub live_from: SegmentNo,
    /// A position known to be durable.
    pub horizon: Option<LogPosition>,
}

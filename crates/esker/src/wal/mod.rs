//! Floor 2: the write-ahead log.
#![forbid(unsafe_code)]

use std::fmt;

use crate::base::key::SegmentNo;
use crate::base::names::FileName;

mod chain;
#[cfg(test)]
mod crash_tests;
mod describe;
mod log;
pub mod reader;
pub mod record;
mod recover;
mod segment;
mod sync;

pub use describe::describe;
pub use log::Log;
pub use recover::{RecoveredLog, recover};
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

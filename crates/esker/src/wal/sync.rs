//! What of the log is durable.

use crate::base::error::Result;
use crate::wal::LogPosition;

/// Syncs a log beside its writer.
pub struct LogSyncer {}

impl LogSyncer {
    /// Makes durable what was written before the call; returns how far that is. An error is
    /// sticky: every later call returns it.
    pub fn sync(&self) -> Result<LogPosition> {
        panic!("being written")
    }

    /// The position known to be durable.
    pub fn synced(&self) -> LogPosition {
        panic!("being written")
    }
}

//! Reading the log of a dead process.

use crate::base::error::Result;
use crate::base::key::SeqNo;
use crate::vfs::Disk;
use crate::wal::{LogPosition, LogState, SealedSegment};

/// What recovery found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveredLog {
    /// The segments to keep, with their exact lengths; all of it is durable now. The next
    /// manifest records them, before a new log is created behind the last one.
    pub sealed: Vec<SealedSegment>,
    /// The sequence number after the last record; `None` without any segment.
    pub next_seq: Option<SeqNo>,
    /// Bytes behind the end of what is kept.
    pub discarded_bytes: u64,
    /// How many records were read.
    pub records: u64,
}

/// Reads the log and hands each batch to `apply`: its first sequence number, its encoded
/// operations, and where its record begins.
pub fn recover(
    disk: &dyn Disk,
    store_id: u64,
    state: &LogState,
    apply: &mut dyn FnMut(SeqNo, &[u8], LogPosition) -> Result<()>,
) -> Result<RecoveredLog> {
    let _ = (disk, store_id, state, apply);
    panic!("being written")
}

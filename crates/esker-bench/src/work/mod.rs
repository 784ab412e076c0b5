//! What one thread of each workload does, operation by operation.
//!
//! - [`write`]: fills, overwrites, deletes
//! - [`read`]: gets of one key and of many
//! - [`scan`]: walks over all entries and over a few
//! - [`ycsb`]: the six mixes of the Yahoo! Cloud Serving Benchmark
//!
//! Each operation ends with a tick of the worker's clock. Whatever is read is checked; the checks
//! cost a few nanoseconds and are part of what is measured.

pub mod read;
pub mod scan;
pub mod write;
pub mod ycsb;

use crate::error::Result;
use crate::ground::Worker;
use crate::workload::{BATCH_ENTRIES, Workload};

/// Does a thread's share of its workload.
pub fn work(worker: &mut Worker<'_>) -> Result<()> {
    match worker.ground.workload {
        Workload::FillSeq => write::fill(worker, |_, place| place),
        Workload::FillRandom => write::fill(worker, |ground, place| ground.order.at(place)),
        Workload::Batches => write::batches(worker, BATCH_ENTRIES),
        Workload::FillSync => write::fill_synced(worker),
        Workload::Overwrite => write::overwrite(worker),
        Workload::DeleteRandom => write::delete(worker),
        Workload::ReadRandom | Workload::ReadWhileWriting => read::present(worker),
        Workload::ReadMissing => read::missing(worker),
        Workload::MultiGet => read::many(worker, BATCH_ENTRIES),
        Workload::ScanAll => scan::all(worker),
        Workload::Seek10 => scan::few(worker, 10),
        Workload::Seek100 => scan::few(worker, 100),
        Workload::YcsbA => ycsb::updates(worker, 50),
        Workload::YcsbB => ycsb::updates(worker, 5),
        Workload::YcsbC => ycsb::updates(worker, 0),
        Workload::YcsbD => ycsb::latest(worker),
        Workload::YcsbE => ycsb::scans(worker),
        Workload::YcsbF => ycsb::changes(worker),
    }
}

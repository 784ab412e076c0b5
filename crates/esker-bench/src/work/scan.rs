//! Workloads that walk.

use std::sync::atomic::Ordering;

use crate::entries::rank;
use crate::error::Result;
use crate::ground::{Worker, check_entry};
use crate::workload::SCAN_PIECE_ENTRIES;

/// Walks over a thread's part of all entries: the filled records are shared out in order of keys,
/// and inserted ones go with the filled one that they lie behind.
pub fn all(worker: &mut Worker<'_>) -> Result<()> {
    let ground = worker.ground;
    let (filled, threads) = (ground.records.filled(), ground.settings.threads as u64);
    let first_of = |thread: u64| thread * filled / threads;
    let (first, end) = (first_of(worker.thread as u64), first_of(worker.thread as u64 + 1));
    let end = if end == filled { None } else { rank(worker.key.set(4 * end)) };
    let mut cursor = ground.db.cursor();
    let mut on_entry = match first {
        0 => cursor.seek_first()?,
        _ => cursor.seek(worker.key.set(4 * first))?,
    };
    let (mut before, mut stamps, mut entries) = (0, 0_u64, 0);
    while on_entry {
        let seen = check_entry(ground, &cursor, before)?;
        if end.is_some_and(|end| seen.rank >= end) {
            break;
        }
        before = seen.rank;
        stamps = stamps.wrapping_add(seen.stamp);
        entries += 1;
        if entries == SCAN_PIECE_ENTRIES {
            worker.clock.tick(entries);
            entries = 0;
        }
        on_entry = cursor.next()?;
    }
    if entries > 0 {
        worker.clock.tick(entries);
    }
    ground.stamps_found.fetch_add(stamps, Ordering::Relaxed);
    Ok(())
}

/// Seeks records that are there and walks over so many entries.
pub fn few(worker: &mut Worker<'_>, entries: u64) -> Result<()> {
    for _ in worker.share.clone() {
        let record = worker.any_record();
        worker.scan(record, entries)?;
        worker.clock.tick(1);
    }
    Ok(())
}

//! Workloads that write alone.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use esker::{WriteBatch, WriteOptions};

use crate::error::Result;
use crate::ground::{Ground, Worker};

/// Puts every record once, in the order that `record_at` gives.
pub fn fill(worker: &mut Worker<'_>, record_at: impl Fn(&Ground<'_>, u64) -> u64) -> Result<()> {
    for place in worker.share.clone() {
        worker.put(record_at(worker.ground, place))?;
        worker.clock.tick(1);
    }
    Ok(())
}

/// Puts every record once, in a random order, in batches.
pub fn batches(worker: &mut Worker<'_>, batch_entries: u64) -> Result<()> {
    let ground = worker.ground;
    let mut places = worker.share.clone();
    while !places.is_empty() {
        let mut batch = WriteBatch::new();
        for place in places.by_ref().take(batch_entries as usize) {
            let key = worker.key.set(ground.records.number(ground.order.at(place)));
            batch.put(key, worker.value.next(key));
        }
        let entries = batch.len() as u64;
        ground.db.write(batch)?;
        worker.clock.tick(entries);
    }
    Ok(())
}

/// Puts every record once, in a random order, each on stable storage before the next.
pub fn fill_synced(worker: &mut Worker<'_>) -> Result<()> {
    let ground = worker.ground;
    for place in worker.share.clone() {
        let key = worker.key.set(ground.records.number(ground.order.at(place)));
        let mut batch = WriteBatch::new();
        batch.put(key, worker.value.next(key));
        ground.db.write_with(batch, WriteOptions::sync())?;
        worker.clock.tick(1);
    }
    Ok(())
}

/// Puts records that are there.
pub fn overwrite(worker: &mut Worker<'_>) -> Result<()> {
    for _ in worker.share.clone() {
        let record = worker.any_record();
        worker.put(record)?;
        worker.clock.tick(1);
    }
    Ok(())
}

/// Puts records that are there until the readers beside it are done, at most so many per second.
pub fn overwrite_beside(worker: &mut Worker<'_>) -> Result<()> {
    let began = Instant::now();
    let apart = worker.ground.settings.write_rate;
    let apart = apart.map(|rate| Duration::from_secs_f64(1.0 / rate as f64));
    let mut due = Duration::ZERO;
    while !worker.ground.stop.load(Ordering::Relaxed) {
        if let Some(apart) = apart {
            // It sleeps at least a millisecond at a time, and then makes up for it.
            let early = due.saturating_sub(began.elapsed());
            if early > Duration::from_millis(1) {
                std::thread::sleep(early);
                worker.clock.skip();
            }
            due += apart;
        }
        let record = worker.any_record();
        worker.put(record)?;
        worker.clock.tick(1);
    }
    Ok(())
}

/// Deletes every record that is there, in a random order.
pub fn delete(worker: &mut Worker<'_>) -> Result<()> {
    let ground = worker.ground;
    for place in worker.share.clone() {
        let key = worker.key.set(ground.records.number(ground.order.at(place)));
        ground.db.delete(key)?;
        worker.clock.tick(1);
    }
    Ok(())
}

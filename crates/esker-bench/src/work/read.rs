//! Workloads that get.

use crate::entries::{Key, Records, stamp_of};
use crate::error::Result;
use crate::ground::Worker;

/// Gets records that are there.
pub fn present(worker: &mut Worker<'_>) -> Result<()> {
    for _ in worker.share.clone() {
        let record = worker.any_record();
        worker.get(record)?;
        worker.clock.tick(1);
    }
    Ok(())
}

/// Gets keys that are not there, each between two that are.
pub fn missing(worker: &mut Worker<'_>) -> Result<()> {
    let ground = worker.ground;
    for _ in worker.share.clone() {
        let record = worker.random.below(ground.records.filled());
        let key = worker.key.set(Records::missing(record));
        if ground.db.get(key)?.is_some() {
            return Err(ground.wrong("a value where nothing was put", key));
        }
        worker.clock.tick(1);
    }
    Ok(())
}

/// Gets records that are there, so many keys a call.
pub fn many(worker: &mut Worker<'_>, keys_per_call: u64) -> Result<()> {
    let ground = worker.ground;
    let mut keys = vec![Key::new(ground.settings.key_bytes); keys_per_call as usize];
    let mut left = worker.share.end - worker.share.start;
    while left > 0 {
        let keys = &mut keys[..left.min(keys_per_call) as usize];
        for key in keys.iter_mut() {
            key.set(ground.records.number(worker.any_record()));
        }
        let values = ground.db.multi_get(keys.iter().map(Key::bytes))?;
        if values.len() != keys.len() {
            return Err(ground.wrong("more or fewer answers than keys", keys[0].bytes()));
        }
        for (key, value) in keys.iter().map(Key::bytes).zip(&values) {
            if !value.as_ref().is_some_and(|value| ground.values.fits(stamp_of(key), value)) {
                return Err(ground.wrong("nothing, or another value", key));
            }
        }
        worker.clock.tick(keys.len() as u64);
        left -= keys.len() as u64;
    }
    Ok(())
}

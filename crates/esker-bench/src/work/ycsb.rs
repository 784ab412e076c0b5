//! The mixes of the Yahoo! Cloud Serving Benchmark.
//!
//! Records are drawn by Zipf's law, the likely ones spread over all keys. D draws the latest ones
//! instead, E scans from what it draws on.

use crate::error::Result;
use crate::ground::Worker;

/// Most entries of one of E's scans.
const SCAN_ENTRIES_MAX: u64 = 100;

/// A, B and C: so many of a hundred operations are puts, the others gets.
pub fn updates(worker: &mut Worker<'_>, puts_percent: u64) -> Result<()> {
    for _ in worker.share.clone() {
        let record = worker.zipf_record();
        if worker.random.below(100) < puts_percent {
            worker.put(record)?;
        } else {
            worker.get(record)?;
        }
        worker.clock.tick(1);
    }
    Ok(())
}

/// D: 5 of a hundred operations insert, the others get what was inserted or filled lately.
pub fn latest(worker: &mut Worker<'_>) -> Result<()> {
    let ground = worker.ground;
    for _ in worker.share.clone() {
        if worker.random.below(100) < 5 {
            worker.insert()?;
        } else {
            let back = ground.zipf.draw(&mut worker.random);
            worker.get(ground.inserts.written() - 1 - back)?;
        }
        worker.clock.tick(1);
    }
    Ok(())
}

/// E: 5 of a hundred operations insert, the others walk over 1 to 100 entries.
pub fn scans(worker: &mut Worker<'_>) -> Result<()> {
    for _ in worker.share.clone() {
        if worker.random.below(100) < 5 {
            worker.insert()?;
        } else {
            let record = worker.zipf_record();
            let entries = 1 + worker.random.below(SCAN_ENTRIES_MAX);
            worker.scan(record, entries)?;
        }
        worker.clock.tick(1);
    }
    Ok(())
}

/// F: half of the operations get, the others get and put what they got, changed.
pub fn changes(worker: &mut Worker<'_>) -> Result<()> {
    for _ in worker.share.clone() {
        let record = worker.zipf_record();
        worker.get(record)?;
        if worker.random.below(2) == 0 {
            worker.put(record)?;
        }
        worker.clock.tick(1);
    }
    Ok(())
}

//! The public face, one theme a file:
//!
//! - `face`: everything that ARCHITECTURE.md calls the crate's face, as a user meets it
//! - `limits`: bad input is refused before anything happens
//! - `log_files`: which files the log has, and when they go
//! - `regression`: bugs that were found once
//! - `faults`: every operation fails once, or is the last
//! - `bad_days`: locks, full disks, failing disks, damage
//! - `shape`: flushes, compactions and their exact figures
//! - `crash`: what is left after the process or the machine dies
//! - `contain`: damage that an open store meets, and scrubs
//! - `verify`, `repair`, `quarantine`: stores that are not open and damaged
//! - `struck`: they, where each operation fails once; `scratched`: where a page cannot be read
//! - `compression`: levels that are compressed, and builds without a codec

mod bad_days;
mod compression;
mod contain;
mod crash;
mod face;
mod faults;
mod hooked;
mod limits;
mod log_files;
mod quarantine;
mod regression;
mod repair;
mod resume;
mod scratched;
mod shape;
mod struck;
mod verify;

use std::sync::Arc;

use esker::internals::{PumpEnv, SimDisk, open};
use esker::{Db, Options};

/// A store on a simulated disk, its background work pumped by `seed`.
struct Bench {
    disk: Arc<SimDisk>,
    db: Db,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self::on(SimDisk::new(), seed)
    }

    fn on(disk: Arc<SimDisk>, seed: u64) -> Self {
        let db = open(disk.clone(), PumpEnv::new(seed), &Options::tiny()).expect("it opens");
        Self { disk, db }
    }
}

/// All entries of a keyspace as text.
fn entries(keyspace: &esker::Keyspace) -> Vec<(String, String)> {
    keyspace.iter().map(|entry| text(entry.expect("it can be read"))).collect()
}

fn text((key, value): (esker::Value, esker::Value)) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("tests write text");
    (text(&key), text(&value))
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_string(), value.to_string())
}

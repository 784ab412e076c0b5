//! `lsm_benchmark`: the store against a B-tree (redb), then and there, in scratch directories.
//!
//! Both sides get the same work: keys of 16 bytes and values of 100, in random order, in batches
//! of 1,000; a final flush to stable storage, which counts as writing; then 10,000 single reads of
//! random keys, every other one missing. A batch is handed over without waiting for the device on
//! either side, and both keep their defaults but for the B-tree's cache, 1 GiB. Space is measured
//! when a side is closed. Every read is checked.

use std::fmt::Display;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;
use std::{fs, io};

use esker::internals;
use redb::{Durability, ReadableDatabase, TableDefinition};

use crate::refusal::{Code, Refusal};
use crate::reply::Reply;
use crate::requests::Call;
use crate::stop::Stop;
use crate::temp::TempDir;

const ENTRIES_MAX: u64 = 1_000_000;
const BATCH_ENTRIES: usize = 1_000;
const READS: u64 = 10_000;
const KEY_BYTES: usize = 16;
const VALUE_BYTES: usize = 100;

const BTREE_CACHE_BYTES: usize = 64 << 20;
const BTREE_TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

pub(crate) fn lsm_benchmark(
    call: &mut Call<'_, '_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let entries = call.body.integer("entries", 1..=ENTRIES_MAX)?;
    let work = Work { entries, stop: call.stop };
    let scratch = TempDir::new().map_err(failed)?;
    let lsm = measure_lsm(&work, &scratch.path().join("lsm"))?;
    let btree = measure_btree(&work, &scratch.path().join("btree"))?;
    reply.object("lsm", |reply| {
        reply.figure("write_ops_sec", lsm.write_ops_sec);
        reply.figure("read_p50_us", lsm.read_p50_us);
        reply.figure("read_without_bloom_p50_us", lsm.read_without_bloom_p50_us);
        reply.figure("space_amplification", lsm.space_amplification);
    });
    reply.object("btree", |reply| {
        reply.figure("write_ops_sec", btree.write_ops_sec);
        reply.figure("read_p50_us", btree.read_p50_us);
        reply.figure("space_amplification", btree.space_amplification);
    });
    Ok(())
}

struct LsmFigures {
    write_ops_sec: f64,
    read_p50_us: f64,
    read_without_bloom_p50_us: f64,
    space_amplification: f64,
}

struct BtreeFigures {
    write_ops_sec: f64,
    read_p50_us: f64,
    space_amplification: f64,
}

fn measure_lsm(work: &Work<'_>, path: &Path) -> Result<LsmFigures, Refusal> {
    let db = esker::Db::open(path).map_err(failed)?;
    let start = Instant::now();
    for batch in work.batches() {
        let mut writes = esker::WriteBatch::new();
        for index in batch? {
            writes.put(key(index), value(index));
        }
        db.write(writes).map_err(failed)?;
    }
    db.flush().map_err(failed)?;
    let write_ops_sec = work.entries as f64 / start.elapsed().as_secs_f64();
    let get = |key: &[u8]| Ok(db.get(key).map_err(failed)?.is_some());
    let read_p50_us = work.read_p50_us(get)?;
    let get = |key: &[u8]| {
        Ok(internals::get_ignoring_filters(&db, key).map_err(failed)?.is_some())
    };
    let read_without_bloom_p50_us = work.read_p50_us(get)?;
    db.close().map_err(failed)?;
    let space_amplification = work.space_amplification(path)?;
    Ok(LsmFigures { write_ops_sec, read_p50_us, read_without_bloom_p50_us, space_amplification })
}

fn measure_btree(work: &Work<'_>, path: &Path) -> Result<BtreeFigures, Refusal> {
    fs::create_dir(path).map_err(failed)?;
    let db = redb::Database::builder()
        .set_cache_size(BTREE_CACHE_BYTES)
        .create(path.join("entries.redb"))
        .map_err(failed)?;
    let start = Instant::now();
    for batch in work.batches() {
        let mut transaction = db.begin_write().map_err(failed)?;
        transaction.set_durability(Durability::None).map_err(failed)?;
        let mut table = transaction.open_table(BTREE_TABLE).map_err(failed)?;
        for index in batch? {
            table.insert(&key(index)[..], &value(index)[..]).map_err(failed)?;
        }
        drop(table);
        transaction.commit().map_err(failed)?;
    }
    // An empty transaction with redb's default durability makes those before it durable.
    db.begin_write().map_err(failed)?.commit().map_err(failed)?;
    let write_ops_sec = work.entries as f64 / start.elapsed().as_secs_f64();
    let get = |key: &[u8]| {
        let transaction = db.begin_read().map_err(failed)?;
        let table = transaction.open_table(BTREE_TABLE).map_err(failed)?;
        Ok(table.get(key).map_err(failed)?.is_some())
    };
    let read_p50_us = work.read_p50_us(get)?;
    drop(db);
    let space_amplification = work.space_amplification(path)?;
    Ok(BtreeFigures { write_ops_sec, read_p50_us, space_amplification })
}

/// What both sides have to do.
struct Work<'s> {
    entries: u64,
    stop: &'s Stop,
}

impl Work<'_> {
    /// The numbers of the entries, batch by batch, until somebody asks to stop.
    fn batches(&self) -> impl Iterator<Item = Result<std::ops::Range<u64>, Refusal>> {
        (0..self.entries).step_by(BATCH_ENTRIES).map(|first| {
            self.go_on()?;
            Ok(first..self.entries.min(first + BATCH_ENTRIES as u64))
        })
    }

    /// The median of single reads in microseconds. `get` tells whether there is such a key.
    fn read_p50_us(
        &self,
        get: impl Fn(&[u8]) -> Result<bool, Refusal>,
    ) -> Result<f64, Refusal> {
        self.go_on()?;
        let mut nanos = Vec::with_capacity(READS as usize);
        for read in 0..READS {
            let exists = read % 2 == 0;
            let index = scatter(read) % self.entries;
            let key = key(if exists { index } else { self.entries + index });
            let start = Instant::now();
            let found = get(&key)?;
            nanos.push(start.elapsed().as_nanos());
            if found != exists {
                return Err(failed("a read found what was not written, or not what was"));
            }
        }
        nanos.sort_unstable();
        Ok(nanos[nanos.len() / 2].max(1) as f64 / 1_000.0)
    }

    fn space_amplification(&self, path: &Path) -> Result<f64, Refusal> {
        let live_bytes = self.entries as usize * (KEY_BYTES + VALUE_BYTES);
        Ok(allocated_bytes(path).map_err(failed)? as f64 / live_bytes as f64)
    }

    fn go_on(&self) -> Result<(), Refusal> {
        if self.stop.is_set() {
            return Err(Refusal::new(Code::TemporarilyUnavailable, "the node is stopping"));
        }
        Ok(())
    }
}

/// What the files of a directory take on the device.
fn allocated_bytes(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let data = entry.metadata()?;
        let inside = if data.is_dir() { allocated_bytes(&entry.path())? } else { 0 };
        bytes += data.blocks() * 512 + inside;
    }
    Ok(bytes)
}

/// The key of entry `index`: 16 hexadecimal digits, no two alike.
fn key(index: u64) -> [u8; KEY_BYTES] {
    let number = scatter(index);
    std::array::from_fn(|digit| b"0123456789abcdef"[(number >> (4 * digit)) as usize & 15])
}

/// A value that does not compress.
fn value(index: u64) -> [u8; VALUE_BYTES] {
    std::array::from_fn(|at| (scatter(index ^ (at as u64 / 8) << 32) >> (8 * (at % 8))) as u8)
}

/// The finalizer of SplitMix64: a permutation of the numbers that looks random.
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn failed(error: impl Display) -> Refusal {
    Refusal::new(Code::Crash, format!("the benchmark failed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_and_values_do_not_repeat() {
        let keys: HashSet<_> = (0..10_000).map(key).collect();
        assert_eq!(keys.len(), 10_000);
        let chunks: HashSet<_> =
            (0..100).flat_map(|index| value(index).chunks(8).map(<[u8]>::to_vec).collect::<Vec<_>>()).collect();
        assert_eq!(chunks.len(), 100 * 13);
    }

    #[test]
    fn a_benchmark_that_is_asked_to_stop_ends() {
        let stop = Stop::default();
        stop.set();
        let work = Work { entries: ENTRIES_MAX, stop: &stop };
        assert!(work.batches().next().unwrap().is_err());
        assert!(work.read_p50_us(|_| Ok(true)).is_err());
    }
}

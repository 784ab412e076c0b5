//! The back door, with a sign on it: what the node, the command line, the simulation and the
//! benchmarks need beyond the public face.
//!
//! Unstable: anything here may change in any release. It exists only with the feature `internals`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::error::{Error, Result};
use crate::base::key::TableId;
use crate::base::names::FileName;
use crate::base::range::KeyBounds;
use crate::base::value::Value;
use crate::db::compact::Manual;
use crate::db::keyspace::Keyspace;
use crate::db::options::{IfMissing, check_memtable_bytes};
use crate::read::view::Sources;
use crate::sstable::{Filters, Lookup};
use crate::{Db, Iter, Options};

pub use crate::base::planted::Bug;
#[cfg(feature = "planted")]
pub use crate::base::planted::plant;
pub use crate::base::range::Bounds;
pub use crate::db::compact::CompactionReport;
pub use crate::db::options::{Reserve, Scale};
pub use crate::env::pump::PumpEnv;
pub use crate::env::threads::ThreadEnv;
pub use crate::env::{Env, Job, JobSource, Lane, Step, Workers};
pub use crate::read::view::Place;
pub use crate::vfs::os::{LogWrites, OsDisk};
pub use crate::vfs::sim::{CrashPolicy, SimDisk};
pub use crate::vfs::{
    AppendFile, Disk, Listing, LockGuard, ReadFile, Room, Space, SyncFile, faults, strike,
};

/// The policy of compaction, for who plays it without a store.
pub mod policy {
    pub use crate::base::key::{SeqNo, TableId};
    pub use crate::base::range::KeyRange;
    pub use crate::compaction::l0::SweepStep;
    pub use crate::compaction::pick::{
        CompactionPlan, L0Rule, PickState, PickTable, PlanKind, Policy, Tiering, pick,
    };
    pub use crate::compaction::shape::max_bytes;
}

/// Every decoder as a function of any bytes, for fuzzers and for the replay of what they found.
#[cfg(feature = "fuzz")]
pub mod fuzz {
    pub use crate::base::fuzz::Target;

    /// All targets of the engine.
    pub fn targets() -> Vec<Target> {
        let folders: [&[Target]; 5] = [
            &crate::base::fuzz::TARGETS,
            &crate::wal::fuzz::TARGETS,
            &crate::sstable::fuzz::TARGETS,
            &crate::version::fuzz::TARGETS,
            &crate::db::fuzz::TARGETS,
        ];
        folders.concat()
    }
}

/// Names of files, for tests that damage one.
pub mod names {
    pub use crate::base::key::{SegmentNo, TableId};
    pub use crate::base::names::FileName;
}

/// The memory that a simulated store believes to have.
const SIMULATED_MEMORY_BYTES: u64 = 64 << 20;

/// Opens or creates the store on any disk, with any environment.
///
/// # Errors
/// As [`Options::open`].
pub fn open(disk: Arc<dyn Disk>, env: Arc<dyn Env>, options: &Options) -> Result<Db> {
    Db::open_on(disk, env, options.settle(SIMULATED_MEMORY_BYTES)?, IfMissing::Create)
}

/// [`verify`](crate::verify) on any disk.
///
/// # Errors
/// As there.
pub fn verify(disk: &dyn Disk, depth: crate::Depth) -> Result<crate::VerifyReport> {
    crate::repair::verify::verify_on(disk, depth)
}

/// The same for one file and the manifest alone.
///
/// # Errors
/// As there.
pub fn verify_file(
    disk: &dyn Disk,
    depth: crate::Depth,
    file: names::FileName,
) -> Result<crate::VerifyReport> {
    crate::repair::verify::verify_file(disk, depth, Some(file))
}

/// [`repair`](crate::repair()) on any disks; the new store gets the id `store_id`.
///
/// # Errors
/// As there.
pub fn repair(from: &dyn Disk, to: &Arc<dyn Disk>, store_id: u64) -> Result<crate::RepairReport> {
    crate::repair::rebuild::repair_on(from, to, store_id)
}

/// [`quarantine`](crate::quarantine()) on any disk.
///
/// # Errors
/// As there.
pub fn quarantine(
    disk: &Arc<dyn Disk>,
    file: &str,
    on_loss: crate::OnLoss,
) -> Result<crate::Quarantine> {
    crate::repair::quarantine::quarantine_on(disk, file, on_loss)
}

/// A table that an explicit flush made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlushedTable {
    /// Its file's name.
    pub file: String,
    /// How many entries it has.
    pub entries: u64,
    /// The size of its filter.
    pub filter_bits: u64,
    /// The size of the file.
    pub bytes: u64,
}

/// Flushes one keyspace; `None` if its active memtable held nothing. The last eight tables that
/// this made stay readable by [`table_lookup`].
///
/// # Errors
/// As [`Db::flush`].
pub fn flush(keyspace: &Keyspace) -> Result<Option<FlushedTable>> {
    keyspace.check()?;
    let store = keyspace.store();
    let Some(meta) = store.flush_keyspace(keyspace.core().id)? else { return Ok(None) };
    store.name_table(meta.id);
    Ok(Some(FlushedTable {
        file: FileName::Table(meta.id).to_string(),
        entries: meta.entries,
        filter_bits: meta.filter_bits,
        bytes: meta.bytes,
    }))
}

/// The value of `key` if a memtable, active or frozen, holds one.
///
/// # Errors
/// `Closed`.
pub fn memtable_get(keyspace: &Keyspace, key: &[u8]) -> Result<Option<Value>> {
    keyspace.check()?;
    let view = keyspace.core().view();
    let hash = crate::base::hash::key_hash(key);
    let found = view.find_in_memtables(key, hash, keyspace.store().visible_seq());
    Ok(found.filter(|(tag, _)| !tag.is_delete()).map(|(_, value)| Value::copy_from(value)))
}

/// The entries of a range, from the memtables alone.
pub fn memtable_range(keyspace: &Keyspace, range: impl KeyBounds) -> Iter {
    keyspace.scan_sources(range.to_bounds(), None, Sources::Memtables)
}

/// Bytes of the active memtable.
pub fn memtable_bytes(keyspace: &Keyspace) -> u64 {
    keyspace.core().view().active.bytes() as u64
}

/// Changes the flush threshold until the store is closed. `max_bytes` of the levels stays.
///
/// # Errors
/// `InvalidArgument` for a size outside 1 KiB to 4 GiB.
pub fn set_memtable_bytes(db: &Db, bytes: u64) -> Result<()> {
    check_memtable_bytes(bytes)?;
    db.store().memtable_bytes.store(bytes, Ordering::Relaxed);
    Ok(())
}

/// The log's segment up to which it is known to be durable, and how many bytes of that.
pub fn log_synced(db: &Db) -> (String, u64) {
    let synced = db.store().syncer.synced();
    (FileName::Log(synced.segment).to_string(), synced.offset)
}

/// Where a key's newest entry lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// Its value; `None` for a tombstone and for no entry.
    pub value: Option<Value>,
    /// Where the entry lies, if it is a value.
    pub found_at: Option<Place>,
    /// How deep the newest entry lies, tombstone or value: 0 in a memtable, 1 in L0, 2 in L1 and
    /// so on; without any entry the depth of the deepest level that holds a table, 0 if none does.
    pub levels_checked: usize,
}

/// Looks a key up and says where its newest entry lies.
///
/// # Errors
/// As [`Keyspace::get`].
pub fn locate(keyspace: &Keyspace, key: &[u8]) -> Result<Located> {
    keyspace.check()?;
    let view = keyspace.core().view();
    let how = &mut Lookup::default();
    let found = keyspace.find(key, None, how, |entry| (entry.place, entry.to_value()))?;
    let Some((place, value)) = found else {
        let levels_checked = view.deepest_level().map_or(0, |level| level + 1);
        return Ok(Located { value: None, found_at: None, levels_checked });
    };
    let levels_checked = match place {
        Place::Memtable => 0,
        Place::Level(level) => level + 1,
    };
    let found_at = value.is_some().then_some(place);
    Ok(Located { value, found_at, levels_checked })
}

/// What one table said about a key.
#[derive(Clone, Debug, PartialEq)]
pub struct TableLookup {
    /// The value; `None` for a tombstone and for no entry.
    pub found: Option<Value>,
    /// Whether the filter ended the search.
    pub filter_said_no: bool,
    /// Data blocks that were consulted, cached or not.
    pub disk_reads: u32,
}

/// Looks into the one table called `file`; `None` if no live table is called so.
///
/// # Errors
/// `Corruption` or `Io` of that table.
pub fn table_lookup(db: &Db, file: &str, key: &[u8]) -> Result<Option<TableLookup>> {
    Keyspace::check(db)?;
    let Some(FileName::Table(id)) = FileName::parse(file) else { return Ok(None) };
    let Some(table) = find_table(db, id) else { return Ok(None) };
    let mut how = Lookup::default();
    let hash = crate::base::hash::key_hash(key);
    let seq = crate::base::key::SeqNo::MAX;
    let found = table.get(key, hash, seq, &mut how)?;
    Ok(Some(TableLookup {
        found: found.filter(|(tag, _)| !tag.is_delete()).map(|(_, value)| value),
        filter_said_no: how.filter_negatives > 0,
        disk_reads: how.blocks_read,
    }))
}

fn find_table(db: &Db, id: TableId) -> Option<Arc<crate::sstable::Table>> {
    let named = db.store().structure().named_tables.iter().find(|t| t.summary().id == id).cloned();
    named.or_else(|| {
        let view = db.core().view();
        view.levels.iter().flat_map(|tables| tables.iter()).find(|t| t.summary().id == id).cloned()
    })
}

/// Merges all of a level with what it overlaps in the next one, after the running compaction of
/// the store has ended. It rewrites, always.
///
/// # Errors
/// `InvalidArgument` for a level that has no next one; otherwise as [`Db::compact`].
pub fn compact_level(keyspace: &Keyspace, source: usize) -> Result<CompactionReport> {
    if source + 1 >= crate::base::limits::LEVELS {
        return Err(Error::invalid(format!("level {source} has no next level")));
    }
    keyspace.store().compact_manually(keyspace.core(), Manual::Level(source))
}

/// A get that asks every table, whatever its filter says: what filters are worth is the
/// difference.
///
/// # Errors
/// As [`Keyspace::get`].
pub fn get_ignoring_filters(keyspace: &Keyspace, key: &[u8]) -> Result<Option<Value>> {
    keyspace.check()?;
    let mut how = Lookup { filters: Filters::Ignore, ..Lookup::default() };
    Ok(keyspace.find(key, None, &mut how, |entry| entry.to_value())?.flatten())
}

/// Which vectors searches use: `avx512`, `avx2` or `scalar`.
pub fn vectors() -> &'static str {
    crate::base::simd::kernels().name()
}

/// A readable print of any file of a store.
///
/// # Errors
/// `InvalidArgument` for a file that no store has; `Corruption` where it cannot be read further.
pub fn dump(path: &Path) -> Result<String> {
    crate::db::dump::dump(path)
}

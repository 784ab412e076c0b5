//! `repair`: all that can be read of a store, as a new store in an empty directory.
//!
//! ```text
//! lock both            the old store is not open, the new directory has nothing in it
//! gather               manifest, tables, log: see `parts`
//! merge and write      the newest version of each key, into tables of one level per keyspace
//! put in force         a manifest, then CURRENT: from here on it is a store
//! ```

use std::path::Path;
use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::invariant;
use crate::base::key::{KeyspaceId, SegmentNo, TableId, Tag};
use crate::base::limits::LEVELS;
use crate::base::names::FileName;
use crate::compaction::shape;
use crate::env::Env;
use crate::env::threads::ThreadEnv;
use crate::repair::merge::{Merge, Source};
use crate::repair::parts::{KeyspaceParts, Parts};
use crate::repair::report::{RepairReport, RepairedKeyspace};
use crate::repair::{lock_store, open_existing, require_store};
use crate::sstable::{BLOCK_BYTES, Compression, FILTER_BITS_PER_KEY, TableSettings, TableWriter};
use crate::version::{Edit, KeyspaceEdit, Manifest, StoreState, TableMeta};
use crate::vfs::Disk;
use crate::vfs::os::OsDisk;
use crate::wal::LogState;

/// Tables are this part of L0's `max_bytes`: a memtable.
const TABLES_IN_L0: u64 = 10;

/// And no smaller than this.
const TABLE_BYTES_MIN: u64 = 1 << 20;

/// Reads everything that can be read of the store in `from`, which must not be open, and makes a
/// new store of it in `to`, which must be empty or not there. The newest version of each key that
/// can be read wins. `from` is never written to.
///
/// What was lost is in the report. Without losses the new store shows what the old one would.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let (old, new) = (dir.path().join("old"), dir.path().join("new"));
/// let db = esker::Db::open(&old)?;
/// db.put("k", "v")?;
/// db.close()?;
/// let report = esker::repair(&old, &new)?;
/// assert!(report.losses.is_empty());
/// assert_eq!(esker::Db::open(&new)?.get("k")?.unwrap(), "v");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `InvalidArgument` if `from` holds no store, nothing that can be repaired, or `to` holds
/// anything; `Locked` while either is open; `Unsupported` if a newer version wrote `from`, or a
/// codec is not built in; `Io` or `NoSpace` of `to`. After an error `to` is no store.
pub fn repair(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<RepairReport> {
    let from = open_existing(from.as_ref())?;
    require_store(&*from, &from.list()?)?;
    let to: Arc<dyn Disk> = OsDisk::open_dir(to.as_ref())?;
    repair_on(&*from, &to, ThreadEnv::new().random_u64())
}

/// [`repair`] on any disks; the new store gets the id `store_id`.
pub(crate) fn repair_on(
    from: &dyn Disk,
    to: &Arc<dyn Disk>,
    store_id: u64,
) -> Result<RepairReport> {
    let listing = from.list()?;
    require_store(from, &listing)?;
    let _from_lock = lock_store(from, &listing)?;
    refuse_if_filled(&**to)?;
    let _to_lock = to.lock()?;
    let mut report = RepairReport::default();
    let parts = Parts::gather(from, &listing, &mut report)?;
    let mut new = NewStore { disk: to, store_id, next_file: Manifest::FIRST_NUMBER + 1 };
    let written = new.write(from, &parts, &mut report);
    if written.is_err() {
        new.remove();
    }
    written.map(|()| report)
}

fn refuse_if_filled(to: &dyn Disk) -> Result<()> {
    let listing = to.list()?;
    let files = listing.files.iter().filter(|(name, _)| *name != FileName::Lock);
    let first = files.map(|(name, _)| name.to_string()).chain(listing.foreign.clone()).next();
    first.map_or(Ok(()), |name| {
        Err(Error::invalid(format!(
            "{} is not empty, it has {name}: a repair needs a new directory; name another one, or \
             remove this one if it is what an interrupted repair left",
            to.describe()
        )))
    })
}

/// The store that is being made.
struct NewStore<'a> {
    disk: &'a Arc<dyn Disk>,
    store_id: u64,
    next_file: u64,
}

impl NewStore<'_> {
    fn write(&mut self, from: &dyn Disk, parts: &Parts, report: &mut RepairReport) -> Result<()> {
        let mut last_seq = parts.last_seq;
        let mut edits = Vec::new();
        for (id, keyspace) in parts.keyspaces.iter() {
            let tables = self.keyspace(from, parts, *id, keyspace, report)?;
            last_seq = tables.iter().map(|table| table.seq_max).fold(last_seq, Ord::max);
            let level = level_for(&tables, parts.fixed.level_base_bytes);
            let added = tables.into_iter().map(|table| (level, Arc::new(table))).collect();
            edits.push((*id, KeyspaceEdit { added, ..KeyspaceEdit::default() }));
        }
        for (_, edit) in &mut edits {
            edit.flushed_seq = Some(last_seq);
        }
        let all = parts.keyspaces.iter().filter(|(id, _)| **id != KeyspaceId::DEFAULT);
        let log =
            LogState { sealed: Vec::new(), live_from: SegmentNo(self.next_file), horizon: None };
        let state = StoreState::new(self.store_id, parts.fixed).apply(&Edit {
            created: all.map(|(id, keyspace)| (*id, keyspace.name.clone())).collect(),
            keyspaces: edits,
            log: Some(log),
            next_file: self.next_file,
            next_keyspace: Some(parts.next_keyspace),
            last_seq: Some(last_seq),
            ..Edit::default()
        });
        self.disk.sync_dir()?;
        Manifest::create(self.disk, Manifest::FIRST_NUMBER, &state).map(drop)
    }

    /// Writes the tables of one keyspace, in order.
    fn keyspace(
        &mut self,
        from: &dyn Disk,
        parts: &Parts,
        id: KeyspaceId,
        keyspace: &KeyspaceParts,
        report: &mut RepairReport,
    ) -> Result<Vec<TableMeta>> {
        let source = Source { disk: from, store_id: parts.store_id, keyspace: &keyspace.name };
        let mut merge = Merge::new(source, keyspace.tables.clone(), parts.memtables.get(&id))?;
        let table_bytes = (parts.fixed.level_base_bytes / TABLES_IN_L0).max(TABLE_BYTES_MIN);
        let mut tables = Tables { new: self, keyspace: id, table_bytes, open: None, done: vec![] };
        merge.newest(&mut |key, tag, value| tables.take(key, tag, value))?;
        tables.finish()?;
        let done = tables.done;
        merge.report(report);
        report.tables += keyspace.tables.len() as u64;
        let keys = done.iter().map(|table| table.keys).sum();
        report.keyspaces.push(RepairedKeyspace { name: keyspace.name.clone(), keys });
        Ok(done)
    }

    /// After an error: what was written so far goes, so that the directory is empty again. What
    /// resists stays, and is no store without `CURRENT`.
    fn remove(&self) {
        let tables = (Manifest::FIRST_NUMBER + 1..self.next_file).map(TableId);
        let manifest = FileName::Manifest(Manifest::FIRST_NUMBER);
        let names = [FileName::Current, FileName::CurrentTmp, manifest];
        for name in names.into_iter().chain(tables.map(FileName::Table)) {
            if self.disk.remove(name).is_err() {
                return;
            }
        }
    }
}

/// The first level below L0 that is not too full with these.
fn level_for(tables: &[TableMeta], base_bytes: u64) -> u8 {
    let bytes: u64 = tables.iter().map(|table| table.bytes).sum();
    let deep_enough = |level: &usize| bytes <= shape::max_bytes(base_bytes, *level);
    (1..LEVELS).find(deep_enough).unwrap_or(LEVELS - 1) as u8
}

/// The tables of one keyspace on their way.
struct Tables<'n, 'a> {
    new: &'n mut NewStore<'a>,
    keyspace: KeyspaceId,
    table_bytes: u64,
    open: Option<TableWriter>,
    done: Vec<TableMeta>,
}

impl Tables<'_, '_> {
    /// Writes the newest version of a key; of a tombstone nothing is left to hide.
    fn take(&mut self, key: &[u8], tag: Tag, value: &[u8]) -> Result<()> {
        if tag.is_delete() {
            return Ok(());
        }
        if self.open.as_ref().is_some_and(|open| open.estimated_bytes() >= self.table_bytes) {
            self.finish()?;
        }
        if let Some(last) = self.done.last() {
            invariant!(F1, last.range.hi() < key, "{} is in two tables", key.escape_ascii());
        }
        if self.open.is_none() {
            let id = TableId(self.new.next_file);
            self.new.next_file += 1;
            let (disk, store_id) = (&**self.new.disk, self.new.store_id);
            self.open = Some(TableWriter::create(disk, store_id, self.keyspace, id, SETTINGS)?);
        }
        self.open.as_mut().expect("it was just opened").add(key, tag, value)
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(open) = self.open.take() {
            self.done.push(TableMeta::of(&open.finish()?));
        }
        Ok(())
    }
}

/// As a store with default options has them; later compactions use the options of their time.
const SETTINGS: TableSettings = TableSettings {
    block_bytes: BLOCK_BYTES,
    filter_bits_per_key: FILTER_BITS_PER_KEY,
    compression: Compression::None,
};

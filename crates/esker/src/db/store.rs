//! `Store`: the state behind every handle, and the order of its locks.
//!
//! Three things change a store, each by its own ticket, so that no lock is held over I/O:
//!
//! - **the writer** (see [`commit`](super::commit)): whoever has taken it out of the queue leads;
//!   it alone appends to the log, inserts into active memtables and freezes them;
//! - **the manifest** (see [`install`](super::install)): whoever has taken it out of its slot
//!   writes an edit, and publishes what the edit changed;
//! - **background jobs**, one a lane, which read immutable inputs and end in an install.
//!
//! Locks are leaves but for one pair, and are taken in this order, top first:
//!
//! ```text
//! structure        what the manifest says, frozen memtables, running jobs    no I/O under it
//!   keyspace.view  views that were replaced and may still be looked at       push or take
//! snapshots        registered sequence numbers                               copy or count
//! queue            the writer's seat and who waits for it                    push or take
//! health           the store's state                                         read or replace
//! ```

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use litemap::LiteMap;

use crate::base::error::{Error, Result};
use crate::base::key::{KeyspaceId, SegmentNo, SeqNo};
use crate::base::names::FileName;
use crate::base::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, OnceLock};
use crate::cache::FramePool;
use crate::db::commit::{Request, Writer};
use crate::db::compact::{ManualCompaction, RunningCompaction};
use crate::db::contain::Scrub;
use crate::db::health::Health;
use crate::db::options::Settings;
use crate::db::pace::Pace;
use crate::db::queue::CommitQueue;
use crate::db::snapshot::Snapshots;
use crate::db::spares::Spares;
use crate::env::{Env, Workers};
use crate::epoch::{Domain, Guard, Shelf};
use crate::memtable::Memtable;
use crate::read::view::View;
use crate::sstable::{FILTER_BITS_PER_KEY, Table, TableSettings};
use crate::version::{Manifest, StoreState, TableMeta};
use crate::vfs::{Disk, LockGuard};
use crate::wal::LogSyncer;

/// How many memtables may wait for their flush before writers wait.
pub(crate) const FROZEN_MAX: usize = 2;

/// How many tables named by an explicit flush stay readable by name.
pub(crate) const NAMED_TABLES_MAX: usize = 8;

/// Everything behind the handles of one open store.
pub(crate) struct Store {
    pub disk: Arc<dyn Disk>,
    pub env: Arc<dyn Env>,
    pub settings: Settings,
    /// Differs between any two opened stores of the process: batches are bound to it.
    pub instance: u64,
    pub store_id: u64,
    pub pool: Arc<FramePool>,
    pub queue: CommitQueue<Writer, Request>,
    pub syncer: Arc<LogSyncer>,
    pub spares: Spares,
    /// The last sequence number that reads may see.
    pub visible: AtomicU64,
    pub snapshots: Snapshots,
    /// Flush threshold: all active memtables together.
    pub memtable_bytes: AtomicU64,
    /// The next number for a file.
    pub next_file: AtomicU64,
    pub log_bytes_written: AtomicU64,
    pub health: Health,
    pub pace: Pace,
    pub scrub: Scrub,
    pub structure: Mutex<Structure>,
    pub workers: Mutex<Option<Box<dyn Workers>>>,
    /// Whether somebody closes the store or has closed it.
    pub closing: AtomicBool,
    /// Held until the store is closed.
    pub lock: Mutex<Option<Box<dyn LockGuard>>>,
    /// Names in the directory that are not ours.
    pub foreign_files: Vec<String>,
}

/// What may be known of a store at one moment.
pub(crate) struct Structure {
    /// What the manifest says: every edit in it is durable.
    pub state: StoreState,
    pub manifest: ManifestSlot,
    pub keyspaces: LiteMap<KeyspaceId, Arc<KeyspaceCore>>,
    /// Log segments that hold records not yet flushed, oldest first; the last is the active one.
    pub segments: VecDeque<Segment>,
    /// Memtables that wait for their flush, oldest first, over all keyspaces.
    pub frozen: VecDeque<Frozen>,
    /// Whether a flush job is at work on the first of them.
    pub flushing: bool,
    pub flush_trouble: Trouble,
    pub running: Vec<RunningCompaction>,
    pub manual: VecDeque<Arc<ManualCompaction>>,
    pub compaction_trouble: Trouble,
    /// Tables named by an explicit flush, which stay readable by name.
    pub named_tables: VecDeque<Arc<Table>>,
    /// Files that no durable edit names any more, to be removed.
    pub obsolete: Vec<FileName>,
    /// Files named by an edit that may or may not be durable.
    pub doubtful: Vec<FileName>,
    pub reserve_held: bool,
}

/// Where the manifest is.
pub(crate) enum ManifestSlot {
    /// Here: take it to write.
    Free(Manifest),
    /// Somebody writes.
    Taken,
    /// Its last edit is in doubt: only a new manifest may follow.
    Lost,
}

/// One log segment that is still needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub number: SegmentNo,
    /// The last sequence number in it; `None` while it is the active one.
    pub last_seq: Option<SeqNo>,
    /// Its exact length, once it is sealed.
    pub bytes: Option<u64>,
    pub written_by: WrittenBy,
}

/// Which process wrote a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrittenBy {
    /// An earlier one: the manifest states its length.
    Earlier,
    /// This one.
    Us,
}

/// A memtable that waits for its flush.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub keyspace: Arc<KeyspaceCore>,
    pub memtable: Arc<Memtable>,
    /// The last sequence number that was given out when it was frozen. Every batch that reached
    /// this memtable ends at or before it, also the part of the batch in other keyspaces.
    pub through: SeqNo,
    /// Set once it is installed: the table that it became.
    pub flushed: Arc<OnceLock<Arc<TableMeta>>>,
}

/// How background work of one kind has been failing.
#[derive(Default)]
pub(crate) struct Trouble {
    failures: u32,
    last: Option<Error>,
}

impl Trouble {
    /// After this many failures in a row the work pauses until somebody asks for it again.
    const FAILURES_MAX: u32 = 3;

    /// Notes a failure.
    pub fn failed(&mut self, error: Error) {
        self.failures += 1;
        self.last = Some(error);
    }

    /// Forgets: the work succeeded, or what made it fail has gone.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The reason why the work is not tried again for now.
    pub fn paused(&self) -> Option<&Error> {
        self.last.as_ref().filter(|_| self.failures >= Self::FAILURES_MAX)
    }

    /// Lets the paused work be tried once more.
    pub fn retry_once(&mut self) {
        self.failures = self.failures.min(Self::FAILURES_MAX - 1);
    }
}

/// One keyspace of an open store.
pub(crate) struct KeyspaceCore {
    pub id: KeyspaceId,
    pub name: String,
    pub dropped: AtomicBool,
    view: Shelf<View>,
}

impl KeyspaceCore {
    pub fn new(domain: &Arc<Domain>, id: KeyspaceId, name: String, view: View) -> Arc<Self> {
        Arc::new(Self {
            id,
            name,
            dropped: AtomicBool::new(false),
            view: Shelf::new(Arc::clone(domain), Arc::new(view)),
        })
    }

    /// What reads work on now, for as long as one likes.
    pub fn view(&self) -> Arc<View> {
        self.view.get()
    }

    /// What a read works on, and the number that it sees: the view first, the number second
    /// ([`crate::read::view`]).
    pub fn view_at(&self, seq_now: impl FnOnce() -> SeqNo) -> (Arc<View>, SeqNo) {
        let view = self.view.get();
        (view, seq_now())
    }

    /// The same, for as long as the epoch is pinned.
    #[inline]
    pub fn peek_at<'g>(
        &'g self,
        guard: &'g Guard<'_>,
        seq_now: impl FnOnce() -> SeqNo,
    ) -> (&'g View, SeqNo) {
        let view = self.view.peek(guard);
        (view, seq_now())
    }

    /// Replaces what reads work on. The caller holds the structure, so views follow each other
    /// in one order.
    pub fn publish(&self, view: View, _: &Structure) {
        self.view.put(Arc::new(view));
    }

    /// The same where there is no store around it.
    #[cfg(all(test, loom))]
    pub fn publish_alone(&self, view: View) {
        self.view.put(Arc::new(view));
    }

    pub fn check_not_dropped(&self) -> Result<()> {
        if self.dropped.load(Ordering::Acquire) {
            return Err(Error::closed(&format!("keyspace {:?}", self.name)));
        }
        Ok(())
    }
}

impl Structure {
    /// The lowest sequence number that only a memtable and the log hold.
    pub fn oldest_unflushed(&self) -> Option<SeqNo> {
        self.memtables().iter().filter_map(|m| m.seq_range()).map(|(oldest, _)| oldest).min()
    }

    /// The same, once `flushed` is a table.
    pub fn oldest_unflushed_but(&self, flushed: &Arc<Memtable>) -> Option<SeqNo> {
        let memtables = self.memtables();
        let others = memtables.iter().filter(|memtable| !Arc::ptr_eq(memtable, flushed));
        others.filter_map(|m| m.seq_range()).map(|(oldest, _)| oldest).min()
    }

    /// All memtables of all keyspaces.
    pub fn memtables(&self) -> Vec<Arc<Memtable>> {
        let views: Vec<_> = self.keyspaces.values().map(|core| core.view()).collect();
        views.iter().flat_map(|view| view.memtables()).cloned().collect()
    }

    /// Whatever stopped flushes and compactions, they may begin again.
    pub fn end_troubles(&mut self) {
        self.flush_trouble.clear();
        self.compaction_trouble.clear();
    }

    /// Whether a segment holds a record that no table has yet.
    pub fn needs_segment(&self, number: SegmentNo) -> bool {
        let oldest = self.oldest_unflushed();
        self.segments.iter().any(|s| s.number == number && !s.is_flushed(oldest))
    }

    pub fn core(&self, id: KeyspaceId) -> Option<&Arc<KeyspaceCore>> {
        self.keyspaces.get(&id)
    }
}

impl Store {
    /// The structure, locked. A panic elsewhere under this lock has already poisoned the store's
    /// health, which every path checks; the lock's own poison would only hide that error.
    pub fn structure(&self) -> MutexGuard<'_, Structure> {
        self.structure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no file of this store ever had.
    pub fn new_file_number(&self) -> u64 {
        self.next_file.fetch_add(1, Ordering::Relaxed)
    }

    /// The last sequence number that a read may see. Load the view first.
    pub fn visible_seq(&self) -> SeqNo {
        SeqNo::new(self.visible.load(Ordering::Acquire))
    }

    /// How a table of `level` is made.
    pub fn table_settings(&self, level: usize) -> TableSettings {
        TableSettings {
            block_bytes: self.settings.scale.block_bytes,
            filter_bits_per_key: FILTER_BITS_PER_KEY,
            compression: self.settings.compression[level],
        }
    }

    /// Opens the table that `meta` describes.
    pub fn open_table(&self, meta: &TableMeta) -> Result<Arc<Table>> {
        Table::open(&*self.disk, self.store_id, meta.id, meta.bytes, &self.pool)
    }

    /// Removes files that nothing names; one that resists is left for the next open.
    pub fn remove_files(&self, names: &[FileName]) {
        for name in names {
            let _ = self.disk.remove(*name);
        }
    }
}

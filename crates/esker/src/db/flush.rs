//! Flush: a frozen memtable becomes one L0 table.
//!
//! Superseded versions that no snapshot sees are dropped, tombstones never: deeper levels may hold
//! what they hide. One flush runs at a time and memtables go in the order in which they were
//! frozen, so L0's sequence ranges stay disjoint.
//!
//! ```text
//! write the table, a step at a time -> sync it -> sync the directory -> sync the log if T4 asks
//!   -> install: the table is in, the memtable is out, log segments nobody needs are removed
//! ```
//!
//! **T4**: with several keyspaces on one log, a durable table could hold a write whose batch also
//! wrote to another keyspace that is still only in the unsynced log; a power cut would tear the
//! batch. So the log is synced first, unless afterwards no memtable holds anything at or below
//! the last sequence number of the last batch that reached the table (its own highest number will
//! not do: a batch may go on in another keyspace). In a store of one keyspace that is so, and the log of a
//! memtable that is flushed in time never costs a write to the device.
//!
//! A failed flush leaves memtable and log; it is tried again in a new file, three times, then a
//! second later, when there are writes, then two seconds later and so on, or as soon as a flush is
//! asked for or a writer cannot go on without one.

use std::sync::Arc;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::invariant;
use crate::base::key::{KeyspaceId, SegmentNo, SeqNo, TableId};
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::compaction::elide::{Elider, Tombstones};
use crate::compaction::merge_job::{Cuts, MergeJob, MergeProgress};
use crate::db::health::HealthState;
use crate::db::store::{Frozen, NAMED_TABLES_MAX, Segment, Store, Structure, WrittenBy};
use crate::env::{Job, Step};
use crate::memtable::Memtable;
use crate::read::view::View;
use crate::sstable::{Table, TableWriter};
use crate::version::{Edit, KeyspaceEdit, TableMeta};
use crate::wal::{LogPosition, LogState};

/// Writes one frozen memtable into a table.
pub(crate) struct FlushJob {
    store: Arc<Store>,
    frozen: Frozen,
    merge: MergeJob,
    table: TableId,
    outcome: Outcome,
    started_nanos: u64,
    bytes_left: u64,
}

/// How far a job got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Unfinished,
    Installed,
    /// The manifest may name its file.
    InDoubt,
}

impl Store {
    /// The job for the memtable that has waited longest, if no flush runs.
    pub fn next_flush(self: &Arc<Self>) -> Option<FlushJob> {
        let mut structure = self.structure();
        if structure.flushing || structure.flush_trouble.paused().is_some() {
            return None;
        }
        let frozen = structure.frozen.front()?.clone();
        structure.flushing = true;
        drop(structure);
        let table = TableId(self.new_file_number());
        let merge = flush_merge(self, &frozen.memtable);
        let store = Arc::clone(self);
        let bytes_left = frozen.memtable.bytes() as u64;
        self.pace.set_flush_bytes_left(bytes_left);
        let (started_nanos, outcome) = (self.env.now_nanos(), Outcome::Unfinished);
        Some(FlushJob { store, frozen, merge, table, outcome, started_nanos, bytes_left })
    }

    /// Makes the names of new tables durable, before an edit names them (P3).
    pub fn sync_new_tables(&self) -> Result<()> {
        let ever = self.structure().state.next_keyspace as usize;
        let dropped = ever > self.structure().keyspaces.len();
        let skipped = planted::is_on(Bug::TableNameNotSynced)
            || (dropped && planted::is_on(Bug::DropEndsSyncs));
        if skipped { Ok(()) } else { self.disk.sync_dir() }
    }

    /// Waits until `frozen` is a table.
    ///
    /// # Errors
    /// Why flushes keep failing; `Closed` if its keyspace was dropped meanwhile.
    pub fn wait_flushed(&self, frozen: &Frozen) -> Result<Arc<TableMeta>> {
        self.structure().flush_trouble.retry_once();
        self.env.notify();
        let mut failed = None;
        self.env.wait_until(&mut || {
            if frozen.flushed.get().is_some() {
                return true;
            }
            let structure = self.structure();
            failed = match structure.flush_trouble.paused() {
                Some(error) => Some(error.clone()),
                None => frozen.keyspace.check_not_dropped().and(self.health.check_reads()).err(),
            };
            failed.is_some()
        });
        match (frozen.flushed.get(), failed) {
            (Some(meta), _) => Ok(Arc::clone(meta)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::closed("the store")),
        }
    }

    /// Freezes and flushes what a keyspace holds in memory, what waits already first; the answer
    /// is the table of its active memtable, if that held something.
    pub fn flush_keyspace(&self, id: KeyspaceId) -> Result<Option<Arc<TableMeta>>> {
        let mut seat = self.lead()?;
        self.ensure_writable(seat.writer())?;
        if !seat.writer().actives.contains_key(&id) {
            return Err(Error::closed("the keyspace"));
        }
        let frozen = self.freeze(seat.writer(), id)?;
        drop(seat);
        let waiting: Vec<Frozen> = {
            let structure = self.structure();
            structure.frozen.iter().filter(|f| f.keyspace.id == id).cloned().collect()
        };
        waiting.iter().try_for_each(|frozen| self.wait_flushed(frozen).map(|_| ()))?;
        frozen.map(|frozen| self.wait_flushed(&frozen)).transpose()
    }

    /// Flushes all keyspaces.
    pub fn flush_all(&self) -> Result<()> {
        self.health.check_reads()?;
        let ids: Vec<_> = self.structure().keyspaces.keys().copied().collect();
        for id in ids {
            match self.flush_keyspace(id) {
                Err(error)
                    if error.kind() == ErrorKind::Closed && self.structure().core(id).is_none() => {
                }
                other => other.map(|_| ())?,
            }
        }
        Ok(())
    }

    /// Remembers a table by name (the last eight are), so that it can be looked into later even
    /// if it was merged away meanwhile.
    pub fn name_table(&self, id: TableId) {
        let mut structure = self.structure();
        let tables = structure.keyspaces.values().flat_map(|core| {
            core.view().levels.iter().flat_map(|tables| tables.to_vec()).collect::<Vec<_>>()
        });
        let Some(table) = tables.into_iter().find(|table| table.summary().id == id) else { return };
        structure.named_tables.push_back(table);
        if structure.named_tables.len() > NAMED_TABLES_MAX {
            structure.named_tables.pop_front();
        }
    }
}

impl Job for FlushJob {
    fn step(&mut self) -> Step {
        let (store, table) = (Arc::clone(&self.store), self.table);
        let (keyspace, settings) = (self.frozen.keyspace.id, store.table_settings(0));
        let mut open =
            || TableWriter::create(&*store.disk, store.store_id, keyspace, table, settings);
        match self.merge.step(store.settings.scale.step_bytes, &mut open) {
            Ok(MergeProgress::More) => {
                let taken = store.settings.scale.step_bytes as u64;
                // Until it is installed something is left.
                self.bytes_left = self.bytes_left.saturating_sub(taken).max(1);
                store.pace.set_flush_bytes_left(self.bytes_left);
                Step::More
            }
            Ok(MergeProgress::Done) => {
                if let Err(error) = self.finish() {
                    self.fail(error);
                }
                Step::Done
            }
            Err(error) => {
                self.fail(error);
                Step::Done
            }
        }
    }
}

impl FlushJob {
    fn finish(&mut self) -> Result<()> {
        let store = Arc::clone(&self.store);
        store.sync_new_tables()?;
        let summary = self.merge.outputs().first().cloned();
        let summary = summary.expect("a memtable that was frozen holds something");
        self.sync_log_if_needed()?;
        let meta = Arc::new(TableMeta::of(&summary));
        let table = store.open_table(&meta)?;
        let frozen = self.frozen.clone();
        // Also if it panics from here on: the edit may be durable.
        self.outcome = Outcome::InDoubt;
        let installed = store.install(
            vec![FileName::Table(self.table)],
            |structure| flush_edit(&store, structure, &frozen, &meta),
            |structure, needed_from| {
                publish_flush(structure, &frozen, &table, &meta);
                store.note_backlog(structure);
                free_segments(structure, needed_from);
            },
        );
        self.outcome = match &installed {
            Ok(()) => Outcome::Installed,
            Err(error) if error.kind() == ErrorKind::Closed => Outcome::Unfinished,
            Err(_) => Outcome::InDoubt,
        };
        installed
    }

    /// T4.
    fn sync_log_if_needed(&self) -> Result<()> {
        let oldest = self.store.structure().oldest_unflushed_but(&self.frozen.memtable);
        let others_hold_older = oldest.is_some_and(|oldest| oldest <= self.frozen.through);
        if others_hold_older && !planted::is_on(Bug::FlushBeforeLogSync) {
            self.store.sync_log()?;
        }
        let (_, newest) = self.frozen.memtable.seq_range().expect("it holds something");
        invariant!(T4, newest <= self.frozen.through, "{newest} was inserted after the freeze");
        Ok(())
    }

    fn fail(&mut self, error: Error) {
        if error.kind() == ErrorKind::NoSpace {
            self.store.health.set(HealthState::NoSpace(error.clone()));
        }
        if self.frozen.keyspace.check_not_dropped().is_ok() {
            let mut structure = self.store.structure();
            structure.flush_trouble.failed(error);
            if structure.flush_trouble.paused().is_some() {
                self.store.pace.retry_later(self.store.env.now_nanos());
            }
        }
    }
}

impl Drop for FlushJob {
    fn drop(&mut self) {
        if self.outcome == Outcome::Unfinished {
            self.store.remove_files(&[FileName::Table(self.table)]);
        }
        let pace = &self.store.pace;
        pace.set_flush_bytes_left(0);
        let mut structure = self.store.structure();
        let forgotten = planted::is_on(Bug::FlushForgotten) && self.outcome != Outcome::Installed;
        structure.flushing = forgotten;
        if self.outcome == Outcome::Installed {
            let nanos = self.store.env.now_nanos() - self.started_nanos;
            pace.flushed(self.frozen.memtable.bytes() as u64, nanos);
            pace.retry_no_more();
            structure.end_troubles();
        }
        drop(structure);
        self.store.env.notify();
    }
}

/// What writes a memtable into one table: without the versions that nobody can see.
pub(crate) fn flush_merge(store: &Store, memtable: &Arc<Memtable>) -> MergeJob {
    let blind = planted::is_on(Bug::FlushForgetsSnapshots);
    let snapshots = if blind { Vec::new() } else { store.snapshots.copy() };
    let elider = Elider::new(snapshots, Tombstones::Kept);
    MergeJob::new(Box::new(memtable.cursor()), elider, Cuts::none())
}

/// The edit, and the first log segment that it leaves in use.
fn flush_edit(
    store: &Store,
    structure: &Structure,
    frozen: &Frozen,
    meta: &Arc<TableMeta>,
) -> Result<(Edit, SegmentNo)> {
    let id = frozen.keyspace.id;
    frozen.keyspace.check_not_dropped()?;
    let first = structure.frozen.iter().find(|waiting| waiting.keyspace.id == id);
    invariant!(
        T5,
        first.is_some_and(|first| Arc::ptr_eq(&first.memtable, &frozen.memtable)),
        "memtables of a keyspace are flushed in order"
    );
    let mut counters = structure.state.keyspaces[&id].counters;
    counters.flushes += 1;
    counters.flush_bytes += meta.bytes;
    counters.user_bytes_flushed += frozen.memtable.user_bytes();
    let remaining = structure.oldest_unflushed_but(&frozen.memtable);
    let log = log_state(structure, remaining, store.syncer.synced());
    let needed_from = log.sealed.first().map_or(log.live_from, |sealed| sealed.segment);
    let edit = Edit {
        keyspaces: vec![(
            id,
            KeyspaceEdit {
                added: vec![(0, Arc::clone(meta))],
                flushed_seq: Some(frozen.through),
                counters: Some(counters),
                ..KeyspaceEdit::default()
            },
        )],
        log: Some(log),
        // A dropped keyspace may have had the last of them, and no table. A number at or below
        // `flushed_seq` that is given out again would not be replayed.
        last_seq: Some(frozen.through),
        ..Edit::default()
    };
    Ok((edit, needed_from))
}

/// What the manifest shall know of the log once everything below `oldest_unflushed` is in tables.
fn log_state(
    structure: &Structure,
    oldest_unflushed: Option<SeqNo>,
    synced: LogPosition,
) -> LogState {
    let needed = || structure.segments.iter().filter(|s| !s.is_flushed(oldest_unflushed));
    let live = needed().find(|segment| segment.written_by == WrittenBy::Us);
    LogState {
        sealed: needed().filter_map(Segment::sealed).collect(),
        live_from: live.expect("the active segment is always needed").number,
        horizon: Some(synced),
    }
}

fn publish_flush(
    structure: &mut Structure,
    frozen: &Frozen,
    table: &Arc<Table>,
    meta: &Arc<TableMeta>,
) {
    let core = &frozen.keyspace;
    let view = core.view();
    let mut levels = view.levels.clone();
    levels[0] = std::iter::once(table).chain(levels[0].iter()).cloned().collect();
    let waiting = view.frozen.iter().filter(|m| !Arc::ptr_eq(m, &frozen.memtable)).cloned();
    let next = View {
        active: Arc::clone(&view.active),
        frozen: waiting.collect(),
        levels,
        clamp: view.clamp.clone(),
    };
    core.publish(next, structure);
    structure.frozen.retain(|waiting| !Arc::ptr_eq(&waiting.memtable, &frozen.memtable));
    let _ = frozen.flushed.set(Arc::clone(meta));
}

/// Gives up the segments that the durable edit does not name; what could be freed since it was
/// built is left to the next one.
fn free_segments(structure: &mut Structure, needed_from: SegmentNo) {
    while structure.segments.front().is_some_and(|segment| segment.number < needed_from) {
        let segment = structure.segments.pop_front().expect("it was just looked at");
        structure.obsolete.push(FileName::Log(segment.number));
    }
}

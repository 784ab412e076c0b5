//! Resuming: writes are taken up again after a log in doubt, without reopening the store.
//!
//! After a failed sync nobody knows what of the log is on the disk, and a second sync would answer
//! for pages that the first one gave up. But whatever was acknowledged is in memory as well:
//!
//! ```text
//! lead -> wait until no flush runs -> write every memtable into a table, sync them and their names
//!   -> one edit names all of them and leaves all segments of the log behind
//!   -> begin a log that knows no segment before it, durably -> take writes again
//! ```
//!
//! It is one edit, because a batch may have written to several keyspaces, and there is no log to
//! sync that would keep the rest of it (T4). A crash before the edit leaves the old log, as good as
//! it is; after the edit the log is not needed. A group that was refused is in no memtable, so it is
//! gone for good.
//!
//! The idea is RocksDB's `DB::Resume`, which flushes too.

use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::invariant;
use crate::base::key::{KeyspaceId, SegmentNo, SeqNo, TableId};
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::base::sync::OnceLock;
use crate::compaction::merge_job::MergeProgress;
use crate::db::commit::Writer;
use crate::db::flush::flush_merge;
use crate::db::health::HealthState;
use crate::db::store::{Frozen, ManifestSlot, Segment, Store, Structure, WrittenBy};
use crate::read::view::View;
use crate::sstable::{Table, TableWriter};
use crate::version::{Edit, KeyspaceEdit, TableMeta};
use crate::wal::LogState;

/// A memtable that was written into a table, which no edit names yet.
struct Rescued {
    from: Frozen,
    meta: Arc<TableMeta>,
    table: Arc<Table>,
}

/// While it lives no flush begins.
struct FlushesHeld<'a>(&'a Store);

impl Drop for FlushesHeld<'_> {
    fn drop(&mut self) {
        self.0.structure().flushing = false;
        self.0.env.notify();
    }
}

impl Store {
    /// Ends what can be ended without reopening: see [`Db::resume`](crate::Db::resume).
    pub fn resume(&self) -> Result<()> {
        let mut seat = self.lead()?;
        if matches!(self.health.state(), HealthState::WriteFenced(_)) {
            self.leave_log_behind(seat.writer())?;
            self.health.resumed();
        }
        self.ensure_writable(seat.writer())?;
        if matches!(self.structure().manifest, ManifestSlot::Lost) {
            self.install_nothing()?;
        }
        self.structure().end_troubles();
        self.env.notify();
        Ok(())
    }

    /// Makes tables of all memtables, and begins a log that holds nothing.
    fn leave_log_behind(&self, writer: &mut Writer) -> Result<()> {
        let _held = self.hold_flushes()?;
        let mut files = Vec::new();
        let rescued = self.rescue(writer, &mut files).and_then(|rescued| {
            self.sync_new_tables()?;
            Ok(rescued)
        });
        let rescued = rescued.inspect_err(|_| self.remove_files(&files))?;
        let number = SegmentNo(self.new_file_number());
        // What a disk failed to sync is not written to again.
        self.spares.leave_behind(number);
        let last_seq = writer.next_seq.minus_one();
        self.install(
            files,
            |structure| Ok((rescue_edit(structure, &rescued, number, last_seq), ())),
            |structure, ()| {
                self.publish_rescued(structure, writer, &rescued);
                begin_segments(structure, number);
                self.note_backlog(structure);
            },
        )?;
        writer.log.begin_anew(number, writer.next_seq)?;
        writer.segment_first_seq = writer.next_seq;
        writer.log_broken = None;
        let orphans = std::mem::take(&mut writer.log_orphans);
        self.remove_files(&orphans);
        Ok(())
    }

    /// Waits until no flush runs, and lets none begin.
    fn hold_flushes(&self) -> Result<FlushesHeld<'_>> {
        let mut held = false;
        self.env.wait_until(&mut || {
            let mut structure = self.structure();
            held = held || !structure.flushing;
            structure.flushing |= held;
            held || self.health.check_reads().is_err()
        });
        if !held {
            self.health.check_reads()?;
            return Err(Error::closed("the store"));
        }
        Ok(FlushesHeld(self))
    }

    /// Writes every memtable that holds something into a table, oldest first; notes the `files`
    /// that it began.
    fn rescue(&self, writer: &Writer, files: &mut Vec<FileName>) -> Result<Vec<Rescued>> {
        let mut waiting: Vec<Frozen> = self.structure().frozen.iter().cloned().collect();
        for (id, memtable) in writer.actives.iter().filter(|(_, memtable)| !memtable.is_empty()) {
            let keyspace = self.structure().core(*id).map(Arc::clone);
            waiting.push(Frozen {
                keyspace: keyspace.expect("an active memtable has a keyspace"),
                memtable: Arc::clone(memtable),
                through: writer.next_seq.minus_one(),
                flushed: Arc::new(OnceLock::new()),
            });
        }
        if planted::is_on(Bug::ResumeForgetsMemtables) {
            waiting.truncate(1);
        }
        waiting.into_iter().map(|from| self.rescue_one(from, files)).collect()
    }

    fn rescue_one(&self, from: Frozen, files: &mut Vec<FileName>) -> Result<Rescued> {
        let id = TableId(self.new_file_number());
        files.push(FileName::Table(id));
        let (keyspace, settings) = (from.keyspace.id, self.table_settings(0));
        let mut open = || TableWriter::create(&*self.disk, self.store_id, keyspace, id, settings);
        let mut merge = flush_merge(self, &from.memtable);
        while merge.step(self.settings.scale.step_bytes, &mut open)? == MergeProgress::More {}
        let summary = merge.outputs().first().expect("a memtable that holds something");
        let meta = Arc::new(TableMeta::of(summary));
        let table = self.open_table(&meta)?;
        Ok(Rescued { from, meta, table })
    }

    /// Lets reads look into the tables instead of the memtables, and writers into new ones.
    fn publish_rescued(&self, structure: &mut Structure, writer: &mut Writer, rescued: &[Rescued]) {
        for (id, core) in &structure.keyspaces {
            let mut tables = rescued.iter().rev().filter(|r| r.from.keyspace.id == *id).peekable();
            if tables.peek().is_none() {
                continue;
            }
            let (view, active) = (core.view(), self.settings.memtable());
            let mut levels = view.levels.clone();
            let newest = tables.map(|r| &r.table);
            levels[0] = newest.chain(view.levels[0].iter()).cloned().collect();
            writer.actives[id].freeze();
            writer.actives.insert(*id, Arc::clone(&active));
            let clamp = view.clamp.clone();
            core.publish(View { active, frozen: Vec::new(), levels, clamp }, structure);
        }
        writer.active_bytes = writer.actives.values().map(|m| m.bytes() as u64).sum();
        structure.frozen.clear();
        rescued.iter().for_each(|r| drop(r.from.flushed.set(Arc::clone(&r.meta))));
        let left = structure.memtables().iter().filter(|memtable| !memtable.is_empty()).count();
        invariant!(T6, left == 0, "{left} memtables are in no table and in no log");
    }
}

/// All tables at once, and no log before `live_from`.
fn rescue_edit(
    structure: &Structure,
    rescued: &[Rescued],
    live_from: SegmentNo,
    last_seq: SeqNo,
) -> Edit {
    let mut keyspaces: Vec<(KeyspaceId, KeyspaceEdit)> = Vec::new();
    for Rescued { from, meta, .. } in rescued {
        let id = from.keyspace.id;
        let at = keyspaces.iter().position(|(there, _)| *there == id).unwrap_or_else(|| {
            keyspaces.push((id, KeyspaceEdit::default()));
            keyspaces.len() - 1
        });
        let edit = &mut keyspaces[at].1;
        let mut counters = edit.counters.unwrap_or(structure.state.keyspaces[&id].counters);
        counters.flushes += 1;
        counters.flush_bytes += meta.bytes;
        counters.user_bytes_flushed += from.memtable.user_bytes();
        edit.counters = Some(counters);
        edit.added.push((0, Arc::clone(meta)));
        edit.flushed_seq = Some(last_seq);
    }
    Edit {
        keyspaces,
        log: Some(LogState { sealed: Vec::new(), live_from, horizon: None }),
        last_seq: Some(last_seq),
        ..Edit::default()
    }
}

/// The log is one segment from here on, which will be created next.
fn begin_segments(structure: &mut Structure, number: SegmentNo) {
    let old = std::mem::take(&mut structure.segments);
    structure.obsolete.extend(old.iter().map(|segment| FileName::Log(segment.number)));
    structure.segments.push_back(Segment {
        number,
        last_seq: None,
        bytes: None,
        written_by: WrittenBy::Us,
    });
}

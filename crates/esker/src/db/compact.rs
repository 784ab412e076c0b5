//! Compaction: merges that are due, and merges that somebody asked for.
//!
//! What to merge is decided by [`pick`](crate::compaction::pick), what may vanish by
//! [`elide`](crate::compaction::elide); the merge itself is a
//! [`MergeJob`](crate::compaction::merge_job). Here the plan becomes a job over open tables, and
//! the job's end an edit: outputs replace inputs at once, then the inputs are removed.
//!
//! One compaction runs at a time. What was asked for goes before what is due.
//!
//! A sweep of L0 is several jobs, each a step with an edit of its own: its outputs, the new cursor,
//! and the swept tables that have nothing left. Whatever happens between two steps (flushes,
//! merges within L0, a reopening), the next one begins where the last one ended. A compaction of
//! all of L0 that somebody asks for takes in what a sweep has left, and so ends it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::cursor::Cursor;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::key::{KeyspaceId, TableId};
use crate::base::limits::LEVELS;
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::base::sync::OnceLock;
use crate::compaction::elide::{Elider, Tombstones};
use crate::compaction::merge_job::{Cuts, Inputs, MergeJob, MergeProgress};
use crate::compaction::pick::{self, CompactionPlan, PickState, PlanKind};
use crate::db::health::HealthState;
use crate::db::open::clamp;
use crate::db::store::{KeyspaceCore, Store, Structure};
use crate::env::{Job, Step};
use crate::read::level::LevelCursor;
use crate::read::merge::MergeCursor;
use crate::read::run::RunCursor;
use crate::read::view::View;
use crate::sstable::{Table, TableSummary, TableWriter};
use crate::version::{Edit, KeyspaceEdit, Sweep, TableMeta, Version};

/// A step of a sweep writes about so many memtables' worth at most.
const SWEEP_STEP_MEMTABLES: u64 = 4;

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Input tables, of both levels.
    pub tables_in: u64,
    /// Output tables.
    pub tables_out: u64,
    /// Entries dropped because a newer one of the same key superseded them.
    pub superseded: u64,
    /// Tombstones dropped because nothing was left for them to hide.
    pub tombstones_dropped: u64,
    /// Bytes of the input tables.
    pub bytes_read: u64,
    /// Bytes of the output tables.
    pub bytes_written: u64,
}

/// A compaction that somebody asked for and waits for.
pub(crate) struct ManualCompaction {
    keyspace: Arc<KeyspaceCore>,
    what: Manual,
    done: OnceLock<Result<CompactionReport>>,
}

/// Which compaction is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manual {
    /// All of a level into the next one, rewritten.
    Level(usize),
    /// L0 into L1, whatever its count.
    L0,
    /// Everything into the deepest level.
    All,
}

/// A compaction at work.
pub(crate) struct RunningCompaction {
    pub keyspace: KeyspaceId,
    pub plan: CompactionPlan,
}

/// Carries out one plan.
pub(crate) struct CompactionJob {
    store: Arc<Store>,
    keyspace: Arc<KeyspaceCore>,
    plan: CompactionPlan,
    /// `None` for a move.
    merge: Option<MergeJob>,
    files: Vec<TableId>,
    bytes_read: u64,
    asked: Option<Arc<ManualCompaction>>,
    /// What whoever asked is told, once the job is no longer among the running ones.
    answer: Option<Result<CompactionReport>>,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Unfinished,
    Installed,
    /// The manifest may name its files.
    InDoubt,
}

impl Store {
    /// The compaction that should run next: one that was asked for, else the most urgent one due.
    pub fn next_compaction(self: &Arc<Self>) -> Option<CompactionJob> {
        let mut sweep_bytes_max = None;
        loop {
            let mut structure = self.structure();
            if !structure.running.is_empty() {
                return None;
            }
            if let Some(manual) = structure.manual.pop_front() {
                let plan = self.plan_manual(&structure, &manual);
                if let Some(plan) = plan {
                    return Some(self.start(&mut structure, &manual.keyspace, plan, Some(&manual)));
                }
                drop(structure);
                let barred = manual.keyspace.damage(manual.what.levels());
                let answer = barred.map_or_else(|| Ok(CompactionReport::default()), Err);
                let _ = manual.done.set(answer);
                self.env.notify();
                continue;
            }
            if structure.compaction_trouble.paused().is_some() {
                return None;
            }
            let due = structure.keyspaces.values().find_map(|core| {
                let mut state = self.pick_state(&structure, core);
                state.limit_sweeps(sweep_bytes_max.unwrap_or(u64::MAX));
                Some((Arc::clone(core), pick::pick(&state)?))
            });
            let (core, plan) = due?;
            if sweep_bytes_max.is_none() && plan.brings_l0_down() {
                drop(structure);
                sweep_bytes_max = Some(self.space_for_a_sweep());
                continue;
            }
            return Some(self.start(&mut structure, &core, plan, None));
        }
    }

    /// What the tables of a sweep may weigh: they stay until it ends, beside what it writes.
    fn space_for_a_sweep(&self) -> u64 {
        let memtable_bytes = self.memtable_bytes.load(Ordering::Relaxed);
        let Ok(space) = self.disk.space() else { return u64::MAX };
        space.free_bytes.saturating_sub(SWEEP_STEP_MEMTABLES * memtable_bytes)
    }

    fn plan_manual(
        &self,
        structure: &Structure,
        manual: &ManualCompaction,
    ) -> Option<CompactionPlan> {
        if manual.keyspace.check_not_dropped().is_err() {
            return None;
        }
        let state = self.pick_state(structure, &manual.keyspace);
        match manual.what {
            Manual::Level(source) => pick::plan_level(&state, source),
            Manual::L0 => pick::plan_l0(&state),
            Manual::All => pick::plan_all(&state),
        }
    }

    /// The picker's view of a keyspace.
    fn pick_state<'s>(&self, structure: &'s Structure, core: &KeyspaceCore) -> PickState<'s> {
        let version = &structure.state.keyspaces[&core.id].version;
        let policy = pick::Policy::new(
            structure.state.fixed.level_base_bytes,
            self.memtable_bytes.load(Ordering::Relaxed),
        );
        let swept_to = |level: usize, id: &TableId| {
            let sweep = version.sweep().filter(|_| level == 0);
            sweep.filter(|sweep| sweep.tables.contains(id)).map(|sweep| sweep.cursor.as_slice())
        };
        let state = PickState::new(
            policy,
            version.tables().map(|(level, meta)| pick::PickTable {
                id: meta.id,
                level,
                range: &meta.range,
                swept_to: swept_to(level, &meta.id),
                bytes: meta.bytes,
                entries: meta.entries,
                keys: meta.keys,
                tombstones: meta.tombstones,
                seq_min: meta.seq_min,
                seq_max: meta.seq_max,
            }),
        );
        let running = structure.running.iter().filter(|running| running.keyspace == core.id);
        running.fold(state.with_damaged(&core.damaged_tables()), |state, running| {
            state.with_running(&running.plan)
        })
    }

    /// How many compactions of a keyspace are running, and how many levels are due besides.
    pub fn compactions_pending(&self, structure: &Structure, core: &KeyspaceCore) -> u64 {
        if structure.core(core.id).is_none() {
            return 0;
        }
        let running = structure.running.iter().filter(|r| r.keyspace == core.id).count() as u64;
        let due = pick::due_levels(&self.pick_state(structure, core)) as u64;
        running + due
    }

    fn start(
        self: &Arc<Self>,
        structure: &mut Structure,
        keyspace: &Arc<KeyspaceCore>,
        plan: CompactionPlan,
        asked: Option<&Arc<ManualCompaction>>,
    ) -> CompactionJob {
        structure.running.push(RunningCompaction { keyspace: keyspace.id, plan: plan.clone() });
        let view = keyspace.view();
        let merge = (plan.kind == PlanKind::Rewrite).then(|| {
            let tombstones = Tombstones::from_deeper(plan.deeper_ranges.clone());
            let anywhere = planted::is_on(Bug::TombstoneDroppedAnywhere);
            let tombstones =
                if anywhere { Tombstones::from_deeper(Vec::new()) } else { tombstones };
            let elider = Elider::new(self.snapshots.copy(), tombstones);
            let cuts = Cuts::at(plan.output_bytes_max, plan.boundaries.clone());
            let end = plan.sweep.as_ref().map(|step| step.cursor.clone());
            let ids: Vec<_> = plan.inputs.iter().flat_map(|(_, ids)| ids).collect();
            let tables = view.levels.iter().flat_map(|tables| tables.iter());
            let inputs =
                tables.map(|table| table.summary()).filter(|table| ids.contains(&&table.id));
            MergeJob::new(merge_source(&view, &plan), elider, cuts)
                .up_to(end)
                .of_tables(Inputs::of(inputs))
        });
        let used_up = |table: &&Arc<Table>| plan.uses_up(table.summary().id);
        let inputs = view.levels.iter().flat_map(|tables| tables.iter()).filter(used_up);
        let bytes_read = inputs.map(|table| table.summary().bytes).sum();
        CompactionJob {
            store: Arc::clone(self),
            keyspace: Arc::clone(keyspace),
            plan,
            merge,
            files: Vec::new(),
            bytes_read,
            asked: asked.cloned(),
            answer: None,
            outcome: Outcome::Unfinished,
        }
    }

    /// Asks for a compaction and waits for it.
    pub fn compact_manually(
        &self,
        core: &Arc<KeyspaceCore>,
        what: Manual,
    ) -> Result<CompactionReport> {
        self.health.check_reads()?;
        core.check_not_dropped()?;
        let asked =
            Arc::new(ManualCompaction { keyspace: Arc::clone(core), what, done: OnceLock::new() });
        self.structure().manual.push_back(Arc::clone(&asked));
        self.env.notify();
        self.env
            .wait_until(&mut || asked.done.get().is_some() || self.health.check_reads().is_err());
        match asked.done.get() {
            Some(answer) => answer.clone(),
            None => self.health.check_reads().and(Err(Error::closed("the store"))),
        }
    }

    /// `Db::compact`.
    pub fn compact_all(&self) -> Result<()> {
        self.flush_all()?;
        self.look_at_damage_again();
        self.for_each_keyspace(&mut |core| self.compact_manually(core, Manual::All).map(|_| ()))
    }

    /// `Db::settle`.
    pub fn settle(&self) -> Result<()> {
        self.flush_all()?;
        self.look_at_damage_again();
        self.wait_until_nothing_is_due()?;
        self.for_each_keyspace(&mut |core| self.empty_l0(core))?;
        self.wait_until_nothing_is_due()?;
        self.give_back_log_space();
        Ok(())
    }

    /// Merges into L1 what L0 holds now, in as many steps as that takes; what comes in meanwhile
    /// may stay.
    fn empty_l0(&self, core: &Arc<KeyspaceCore>) -> Result<()> {
        let newest = core.view().levels[0].first().map(|table| table.summary().seq_max);
        let holds_some = |table: &Arc<Table>| Some(table.summary().seq_min) <= newest;
        while core.view().levels[0].iter().any(holds_some) {
            self.compact_manually(core, Manual::L0)?;
        }
        Ok(())
    }

    fn for_each_keyspace(
        &self,
        act: &mut dyn FnMut(&Arc<KeyspaceCore>) -> Result<()>,
    ) -> Result<()> {
        let cores: Vec<_> = self.structure().keyspaces.values().cloned().collect();
        cores.iter().try_for_each(|core| match act(core) {
            Err(_) if core.check_not_dropped().is_err() => Ok(()),
            other => other,
        })
    }

    fn wait_until_nothing_is_due(&self) -> Result<()> {
        self.structure().compaction_trouble.retry_once();
        self.env.notify();
        let mut outcome = Ok(());
        self.env.wait_until(&mut || {
            let structure = self.structure();
            outcome = match structure.compaction_trouble.paused() {
                Some(error) => Err(error.clone()),
                None => self.health.check_reads().and(self.barred_by_damage(&structure)),
            };
            outcome.is_err()
                || structure
                    .keyspaces
                    .values()
                    .all(|core| self.compactions_pending(&structure, core) == 0)
        });
        outcome
    }
}

impl Store {
    /// An error if something is due that damage does not let happen, and nothing else runs.
    fn barred_by_damage(&self, structure: &Structure) -> Result<()> {
        if !structure.running.is_empty() {
            return Ok(());
        }
        for core in structure.keyspaces.values() {
            let Some(error) = core.damage(0..LEVELS) else { continue };
            let state = self.pick_state(structure, core);
            if pick::due_levels(&state) > 0 && pick::pick(&state).is_none() {
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Manual {
    /// The levels that it reads.
    fn levels(self) -> Range<usize> {
        match self {
            Self::Level(source) => source..source + 2,
            Self::L0 => 0..2,
            Self::All => 0..LEVELS,
        }
    }
}

/// One source per L0 table, as far as it counts, and one per deeper level.
fn merge_source(view: &View, plan: &CompactionPlan) -> Box<dyn Cursor> {
    let mut sources = Vec::new();
    for (level, ids) in &plan.inputs {
        if *level == 0 {
            // The planted bug leaves out the newest but one.
            let missed = if planted::is_on(Bug::InputMissed) { ids.get(1) } else { None };
            let wanted = |id: TableId| ids.contains(&id) && missed != Some(&id);
            let l0 = view.l0().filter(|l0| wanted(l0.table.summary().id));
            sources.extend(l0.map(|l0| l0.cursor_once()));
        } else {
            let tables = view.levels[*level].iter();
            let inputs = tables.filter(|table| ids.contains(&table.summary().id)).cloned();
            sources.push(RunCursor::Level(LevelCursor::once(inputs.collect())));
        }
    }
    Box::new(MergeCursor::new(sources))
}

impl Job for CompactionJob {
    fn step(&mut self) -> Step {
        match self.advance() {
            Ok(step) => step,
            Err(error) => {
                self.fail(error);
                Step::Done
            }
        }
    }
}

impl CompactionJob {
    fn advance(&mut self) -> Result<Step> {
        let store = Arc::clone(&self.store);
        let Some(merge) = &mut self.merge else {
            self.install(&[])?;
            return Ok(Step::Done);
        };
        let (files, settings) = (&mut self.files, store.table_settings(self.plan.target));
        let keyspace = self.keyspace.id;
        let mut open = || {
            let id = TableId(store.new_file_number());
            files.push(id);
            TableWriter::create(&*store.disk, store.store_id, keyspace, id, settings)
        };
        match merge.step(store.settings.scale.step_bytes, &mut open)? {
            MergeProgress::More => Ok(Step::More),
            MergeProgress::Done => {
                let outputs = merge.outputs().to_vec();
                if !outputs.is_empty() {
                    store.sync_new_tables()?;
                }
                self.install(&outputs)?;
                Ok(Step::Done)
            }
        }
    }

    /// Replaces the inputs by `outputs`, in one edit.
    fn install(&mut self, outputs: &[TableSummary]) -> Result<()> {
        let store = Arc::clone(&self.store);
        let metas: Vec<Arc<TableMeta>> =
            outputs.iter().map(|summary| Arc::new(TableMeta::of(summary))).collect();
        let opened: Result<Vec<_>> = metas.iter().map(|meta| store.open_table(meta)).collect();
        let opened = opened?;
        let report = self.report(outputs);
        // Also if it panics from here on: the edit may be durable.
        self.outcome = Outcome::InDoubt;
        let (plan, keyspace) = (&self.plan, &self.keyspace);
        let installed = store.install(
            self.files.iter().map(|id| FileName::Table(*id)).collect(),
            |structure| Ok((compaction_edit(structure, keyspace, plan, &metas, &report)?, ())),
            |structure, ()| {
                publish_compaction(structure, keyspace, plan, &opened);
                store.note_backlog(structure);
            },
        );
        self.outcome = match &installed {
            Ok(()) => Outcome::Installed,
            Err(error) if error.kind() == ErrorKind::Closed => Outcome::Unfinished,
            Err(_) => Outcome::InDoubt,
        };
        installed?;
        self.answer = Some(Ok(report));
        Ok(())
    }

    fn report(&self, outputs: &[TableSummary]) -> CompactionReport {
        let counts = self.merge.as_ref().map(MergeJob::counts).unwrap_or_default();
        CompactionReport {
            tables_in: self.plan.used_up().count() as u64,
            tables_out: outputs.len() as u64,
            superseded: counts.superseded,
            tombstones_dropped: counts.tombstones_dropped,
            bytes_read: if self.merge.is_some() { self.bytes_read } else { 0 },
            bytes_written: outputs.iter().map(|summary| summary.bytes).sum(),
        }
    }

    fn fail(&mut self, error: Error) {
        let dropped = self.keyspace.check_not_dropped().is_err();
        if error.kind() == ErrorKind::NoSpace {
            self.store.health.set(HealthState::NoSpace(error.clone()));
        }
        if self.asked.is_some() {
            self.answer = Some(Err(error));
        } else if !dropped {
            let mut structure = self.store.structure();
            structure.compaction_trouble.failed(error);
            if structure.compaction_trouble.paused().is_some() {
                self.store.pace.retry_later(self.store.env.now_nanos());
            }
        }
    }
}

impl Drop for CompactionJob {
    fn drop(&mut self) {
        self.merge = None;
        if self.outcome == Outcome::Unfinished {
            let files: Vec<_> = self.files.iter().map(|id| FileName::Table(*id)).collect();
            self.store.remove_files(&files);
        }
        let mut structure = self.store.structure();
        structure.running.clear();
        if self.outcome == Outcome::Installed {
            structure.compaction_trouble.clear();
        }
        drop(structure);
        if let (Some(asked), Some(answer)) = (&self.asked, self.answer.take()) {
            let _ = asked.done.set(answer);
        }
        self.store.env.notify();
    }
}

fn compaction_edit(
    structure: &Structure,
    keyspace: &KeyspaceCore,
    plan: &CompactionPlan,
    outputs: &[Arc<TableMeta>],
    report: &CompactionReport,
) -> Result<Edit> {
    if !planted::is_on(Bug::StaleResultInstalled) {
        keyspace.check_not_dropped()?;
    }
    let state = &structure.state.keyspaces[&keyspace.id];
    let mut edit = KeyspaceEdit::default();
    for (level, id) in plan.used_up() {
        let meta = state.version.level(level).iter().find(|meta| meta.id == id);
        crate::base::invariant!(T5, meta.is_some(), "table {id} has left L{level}");
        edit.removed.push((level as u8, id));
        if plan.kind == PlanKind::Move {
            edit.added.extend(meta.map(|meta| (plan.target as u8, Arc::clone(meta))));
        }
    }
    edit.sweep = sweep_after(&state.version, plan);
    edit.added.extend(outputs.iter().map(|meta| (plan.target as u8, Arc::clone(meta))));
    let mut counters = state.counters;
    counters.compactions += u64::from(plan.sweep.is_none());
    counters.sweep_steps += u64::from(plan.sweep.is_some());
    counters.moves += u64::from(plan.kind == PlanKind::Move);
    counters.l0_merges += u64::from(plan.target == 0);
    counters.compaction_bytes_read += report.bytes_read;
    counters.compaction_bytes_written += report.bytes_written;
    edit.counters = Some(counters);
    Ok(Edit { keyspaces: vec![(keyspace.id, edit)], ..Edit::default() })
}

/// The sweep as a plan leaves it: one step further, or without the tables that it used up; `None`
/// if it has nothing to do with it.
fn sweep_after(version: &Version, plan: &CompactionPlan) -> Option<Sweep> {
    if let Some(step) = &plan.sweep {
        return Some(Sweep { cursor: step.cursor.clone(), tables: step.left.clone() });
    }
    let mut sweep = version.sweep()?.clone();
    sweep.tables.retain(|id| !plan.uses_up(*id));
    Some(sweep)
}

/// Rebuilds the view's levels from the version that is in force now.
fn publish_compaction(
    structure: &mut Structure,
    keyspace: &Arc<KeyspaceCore>,
    plan: &CompactionPlan,
    outputs: &[Arc<Table>],
) {
    let view = keyspace.view();
    let version = Arc::clone(&structure.state.keyspaces[&keyspace.id].version);
    let reader = |id: TableId| {
        let old = view.levels.iter().flat_map(|tables| tables.iter());
        let found = old.chain(outputs).find(|table| table.summary().id == id);
        Arc::clone(found.expect("every table of a version has an open reader"))
    };
    let levels = std::array::from_fn(|n| version.level(n).iter().map(|m| reader(m.id)).collect());
    let next = View {
        active: Arc::clone(&view.active),
        frozen: view.frozen.clone(),
        levels,
        clamp: clamp(&version),
    };
    keyspace.publish(next, structure);
    if plan.kind == PlanKind::Rewrite {
        structure.obsolete.extend(plan.used_up().map(|(_, id)| FileName::Table(id)));
    }
}

//! What next: from tables to a plan. Pure.
//!
//! ```text
//! L0  9:[c-p]  8:[a-k]  7:[m-z]        all of L0, for they may overlap, and what lies under them
//! L1  1:[a-d]  2:[e-l]     3:[u-v]     in L1: 9 8 7 + 1 2 3 -> L1
//! L2  4:[a-b] 5:[f-g] 6:[h-k]          L1 -> L2: 3 overlaps nothing, so it just moves; else the
//!                                      table that drags the fewest bytes along for each of its own
//! ```
//!
//! What is due goes first by urgency ([`shape`](crate::compaction::shape)); how L0 is merged when
//! it is due is a subject of its own ([`l0`](crate::compaction::l0)). A table that is at work in a
//! running plan is not touched, and nothing is written where a running plan writes.
//!
//! A level is searched by halving, so a plan costs a pass over the tables of two levels.

use std::ops::Range;

use crate::base::invariant;
use crate::base::key::{SeqNo, TableId};
use crate::base::limits::LEVELS;
use crate::base::range::KeyRange;
use crate::compaction::l0::SweepStep;
use crate::compaction::shape::{L0_TABLES_MAX, Shape};

/// A plan grows for free, while it drags no further table of its target along, up to this many
/// outputs: twice what a table and the ten of the next level that it usually overlaps weigh.
const GROWN_OUTPUTS_MAX: u64 = 25;

/// A table that overlaps more than this many outputs' worth of the level below is not moved as it
/// is, and a merge does not write one: cut into several it is cheaper to merge down later. Ten are
/// usual, for so much larger is the next level.
pub(crate) const OVERLAP_OUTPUTS_MAX: u64 = 25;

/// What the picker knows of a table.
#[derive(Clone, Copy, Debug)]
pub struct PickTable<'v> {
    /// Which table.
    pub id: TableId,
    /// Where it lies.
    pub level: usize,
    /// Its first and its last key.
    pub range: &'v KeyRange,
    /// Of a table that is being swept: its keys below are in L1 already, and dead here.
    pub swept_to: Option<&'v [u8]>,
    /// The file's length.
    pub bytes: u64,
    /// Entries, tombstones among them.
    pub entries: u64,
    /// Distinct keys.
    pub keys: u64,
    /// Entries that are tombstones.
    pub tombstones: u64,
    /// The lowest sequence number.
    pub seq_min: SeqNo,
    /// The highest sequence number.
    pub seq_max: SeqNo,
}

/// The sizes that plans follow, and how L0 is merged down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `max_bytes` of L0: ten memtables at the store's creation.
    pub level_base_bytes: u64,
    /// Outputs are cut when they are about this large: a memtable of today.
    pub output_bytes_max: u64,
    /// What to do with L0 when it is due.
    pub l0: L0Rule,
}

/// How L0 is merged when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L0Rule {
    /// All of it at once, with all that it overlaps in L1.
    Leveled,
    /// Within itself until it is worth a pass over L1, then in steps.
    Tiered(Tiering),
}

/// The measures of [`L0Rule::Tiered`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiering {
    /// L0 is swept once it has this many percent of the bytes that it overlaps in L1.
    pub sweep_at_percent: u64,
    /// A step of a sweep takes tables of L1 in until they have this many bytes.
    pub step_bytes: u64,
    /// What the tables of a sweep, which stay until it ends, may take up.
    pub sweep_bytes_max: u64,
}

impl Policy {
    /// What the engine does; the figures behind it are in docs/decisions/0004-tiered-l0.md.
    pub fn new(level_base_bytes: u64, output_bytes_max: u64) -> Self {
        let tiering = Tiering {
            sweep_at_percent: 40,
            step_bytes: output_bytes_max.saturating_mul(2),
            sweep_bytes_max: u64::MAX,
        };
        Self { level_base_bytes, output_bytes_max, l0: L0Rule::Tiered(tiering) }
    }
}

/// All tables of a keyspace, and what is being done to them.
#[derive(Clone, Debug)]
pub struct PickState<'v> {
    /// In the order of C1.
    pub(super) levels: [Vec<PickTable<'v>>; LEVELS],
    pub(super) policy: Policy,
    /// Inputs of running plans, and damaged tables, ascending.
    busy: Vec<TableId>,
    /// Whether some of these are damaged.
    pub(super) has_damage: bool,
    /// Levels and ranges that running plans write.
    written: Vec<(usize, KeyRange)>,
}

/// What a compaction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionPlan {
    /// Levels, the upper first, and their tables in the order of the level.
    pub inputs: Vec<(usize, Vec<TableId>)>,
    /// The level of the outputs.
    pub target: usize,
    /// Whether anything is written.
    pub kind: PlanKind,
    /// What the inputs cover, or a little more.
    pub range: KeyRange,
    /// Of a sweep's step that is not the last: where it ends and which inputs live on.
    pub sweep: Option<SweepStep>,
    /// Where levels below the target may hold older versions: disjoint, ascending.
    pub deeper_ranges: Vec<KeyRange>,
    /// An output is cut when it is about this large.
    pub output_bytes_max: u64,
    /// The tables of the level below the target that the outputs meet, ascending.
    pub boundaries: Vec<Boundary>,
}

impl CompactionPlan {
    /// Whether it begins to bring L0 down or goes on with it.
    pub fn brings_l0_down(&self) -> bool {
        let takes_l0 = self.inputs.first().is_some_and(|(level, _)| *level == 0);
        takes_l0 && self.target > 0 && self.kind == PlanKind::Rewrite
    }

    /// The inputs that it leaves nothing of, with their levels.
    pub fn used_up(&self) -> impl Iterator<Item = (usize, TableId)> {
        let left = self.sweep.as_ref().map_or(&[][..], |step| &step.left);
        let inputs = self.inputs.iter().flat_map(|(level, ids)| ids.iter().map(|id| (*level, *id)));
        inputs.filter(move |(_, id)| !left.contains(id))
    }

    /// Whether it leaves nothing of this table.
    pub fn uses_up(&self, id: TableId) -> bool {
        self.used_up().any(|(_, used_up)| used_up == id)
    }
}

/// How a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanKind {
    /// The inputs are merged into new tables.
    Rewrite,
    /// The inputs change their level as they are; nothing is read or written.
    Move,
}

/// A table below the target of a merge: where it ends, and what it weighs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// Its last key.
    pub hi: Vec<u8>,
    /// Its bytes.
    pub bytes: u64,
}

/// Some tables of one level that lie side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub level: usize,
    pub tables: Range<usize>,
}

/// Whether tables may be moved as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Moves {
    Allowed,
    Forbidden,
}

/// The most urgent compaction that is due and can begin.
pub fn pick(state: &PickState<'_>) -> Option<CompactionPlan> {
    state.shape().due().into_iter().find_map(|level| match level {
        0 => state.plan_due_l0(),
        _ => state.plan_least_overlap(level),
    })
}

/// How many levels are due, apart from what running plans already take away.
pub fn due_levels(state: &PickState<'_>) -> usize {
    state.shape().due().len()
}

/// L0 into L1, whatever its count: a step of a sweep, or all of it.
pub fn plan_l0(state: &PickState<'_>) -> Option<CompactionPlan> {
    state.plan_l0_down()
}

/// All of a level and what it overlaps into the next one: always written anew. `None` for an empty
/// level and for the deepest.
pub fn plan_level(state: &PickState<'_>, source: usize) -> Option<CompactionPlan> {
    (source < LEVELS - 1).then(|| state.plan_down(state.whole(source), Moves::Forbidden))?
}

/// Everything into the deepest level that holds something, at least L1. `None` if that would
/// change nothing: one sorted level, without tombstones and without a second version of any key.
pub fn plan_all(state: &PickState<'_>) -> Option<CompactionPlan> {
    let all: Vec<Run> =
        (0..LEVELS).map(|level| state.whole(level)).filter(|run| !run.tables.is_empty()).collect();
    let deepest = all.last()?.level;
    let is_pure = |table: &PickTable<'_>| table.tombstones == 0 && table.entries == table.keys;
    if deepest > 0 && all.len() == 1 && state.levels[deepest].iter().all(is_pure) {
        return None;
    }
    state.plan(&all, deepest.max(1), PlanKind::Rewrite)
}

impl<'v> PickTable<'v> {
    /// The lowest key that may be alive in it.
    pub(super) fn lo(&self) -> &'v [u8] {
        self.swept_to.unwrap_or_default().max(self.range.lo())
    }

    /// Whether the two may hold the same key.
    pub(super) fn overlaps(&self, other: &PickTable<'_>) -> bool {
        self.lo() <= other.range.hi() && other.lo() <= self.range.hi()
    }

    /// What of it is alive.
    pub(super) fn live_range(&self) -> KeyRange {
        KeyRange::new(self.lo(), self.range.hi())
    }
}

impl<'v> PickState<'v> {
    /// `tables` come in the order of C1 within each level.
    pub fn new(policy: Policy, tables: impl Iterator<Item = PickTable<'v>>) -> Self {
        let mut levels: [Vec<PickTable<'v>>; LEVELS] = Default::default();
        tables.for_each(|table| levels[table.level].push(table));
        let newest_first = levels[0].windows(2).all(|pair| pair[0].seq_min > pair[1].seq_max);
        invariant!(C1, newest_first, "L0 is {:?}", levels[0]);
        for level in &levels[1..] {
            let ascend = level.windows(2).all(|pair| pair[0].range.hi() < pair[1].range.lo());
            invariant!(C1, ascend, "a level is {level:?}");
        }
        Self { levels, policy, busy: Vec::new(), has_damage: false, written: Vec::new() }
    }

    /// Sweeps that begin take no more of L0 than this, the oldest tables first.
    pub fn limit_sweeps(&mut self, bytes_max: u64) {
        if let L0Rule::Tiered(tiering) = &mut self.policy.l0 {
            tiering.sweep_bytes_max = bytes_max;
        }
    }

    /// The same, with tables that cannot be read whole: they stay where they are, as they are. A
    /// merge would write what is left of them under new checksums, as if nothing were missing.
    pub fn with_damaged(mut self, damaged: &[TableId]) -> Self {
        self.busy.extend(damaged);
        self.busy.sort_unstable();
        self.has_damage = !damaged.is_empty();
        self
    }

    /// The same while `plan` is being carried out.
    pub fn with_running(mut self, plan: &CompactionPlan) -> Self {
        self.busy.extend(plan.inputs.iter().flat_map(|(_, ids)| ids));
        self.busy.sort_unstable();
        self.written.push((plan.target, plan.range.clone()));
        self
    }

    /// The levels' sizes without what is at work already. A sweep that waits for its next step
    /// makes L0 just due; tables that it has not taken make it more urgent, as without one.
    fn shape(&self) -> Shape {
        let mut shape = Shape::empty(self.policy.level_base_bytes);
        for table in self.levels.iter().flatten().filter(|table| !self.is_busy(table)) {
            let is_swept = table.swept_to.is_some();
            if is_swept {
                shape.levels[0].tables = shape.levels[0].tables.max(L0_TABLES_MAX + 1);
            } else {
                shape.add(table.level, table.bytes);
            }
        }
        shape
    }

    /// The table of `level` that drags the fewest bytes of the next level along for each byte of
    /// its own, the lowest of equals, with those neighbours that come for free.
    fn plan_least_overlap(&self, level: usize) -> Option<CompactionPlan> {
        let candidates = (0..self.levels[level].len()).filter_map(|at| {
            let run = Run { level, tables: at..at + 1 };
            let inputs = [run.clone(), self.under(&run)];
            let is_free = !self.is_swept_soon(level, at) && self.can_begin(&inputs, level + 1);
            is_free.then_some(inputs)
        });
        let bytes = |inputs: &[Run; 2]| inputs.each_ref().map(|run| u128::from(self.bytes(run)));
        let [run, under] = candidates.min_by(|a, b| {
            let ([a_own, a_dragged], [b_own, b_dragged]) = (bytes(a), bytes(b));
            (a_dragged * b_own).cmp(&(b_dragged * a_own))
        })?;
        self.plan_down(self.grow(run, &under), Moves::Allowed)
    }

    /// Takes neighbours in as long as no further table of the next level comes along, first those
    /// above, then those below. A run that overlaps nothing is left as it is.
    fn grow(&self, run: Run, under: &Run) -> Run {
        if under.tables.is_empty() {
            return run;
        }
        let (level, tables) = (run.level, &self.levels[run.level]);
        let bytes_max = GROWN_OUTPUTS_MAX.saturating_mul(self.policy.output_bytes_max);
        let mut spare_bytes = bytes_max.saturating_sub(self.bytes(&run) + self.bytes(under));
        let mut takes_in = |newcomer: usize, larger: Range<usize>| {
            let table = &tables[newcomer];
            let is_free = table.bytes <= spare_bytes
                && !self.is_busy(table)
                && !self.is_swept_soon(level, newcomer)
                && self.under(&Run { level, tables: larger }) == *under;
            spare_bytes -= if is_free { table.bytes } else { 0 };
            is_free
        };
        let Range { mut start, mut end } = run.tables;
        while end < tables.len() && takes_in(end, start..end + 1) {
            end += 1;
        }
        while start > 0 && takes_in(start - 1, start - 1..end) {
            start -= 1;
        }
        Run { level, tables: start..end }
    }

    /// A run and what it overlaps, into the next level.
    pub(super) fn plan_down(&self, run: Run, moves: Moves) -> Option<CompactionPlan> {
        if run.tables.is_empty() {
            return None;
        }
        let (under, target) = (self.under(&run), run.level + 1);
        if moves == Moves::Allowed && under.tables.is_empty() && self.may_move(&run) {
            return self.plan(&[run], target, PlanKind::Move);
        }
        self.plan(&[run, under], target, PlanKind::Rewrite)
    }

    /// Whether tables that overlap nothing in the next level may go there as they are: they are
    /// disjoint, their tombstones have something under them (C3), and they are not so wide that
    /// merging them further down would drag much along.
    fn may_move(&self, run: &Run) -> bool {
        let target = run.level + 1;
        let ranges = in_order(self.tables(run).iter().map(|table| table.range).collect());
        let disjoint = ranges.windows(2).all(|pair| pair[0].hi() < pair[1].lo());
        // What a sweep has left of a table is no table of L1: the dead part would rise again.
        let whole = self.tables(run).iter().all(|table| table.swept_to.is_none());
        disjoint
            && whole
            && self.tables(run).iter().all(|table| {
                let below = self.overlapping(target + 1, table.range.lo(), table.range.hi());
                let overlap_max = OVERLAP_OUTPUTS_MAX.saturating_mul(self.policy.output_bytes_max);
                (table.tombstones == 0 || self.has_deeper(target, table.range))
                    && self.bytes(&below) <= overlap_max
            })
    }

    /// The plan for these inputs, if nothing running is in the way.
    pub(super) fn plan(
        &self,
        inputs: &[Run],
        target: usize,
        kind: PlanKind,
    ) -> Option<CompactionPlan> {
        if !self.can_begin(inputs, target) {
            return None;
        }
        let (lo, hi) = self.span(inputs)?;
        let met = self.overlapping(target, lo, hi);
        let all_met = inputs.contains(&met) || met.tables.is_empty();
        invariant!(C2, all_met, "L{target} has tables from {lo:?} to {hi:?} that are no inputs");
        let plan = self.plan_within(inputs, target, kind, KeyRange::new(lo, hi));
        let tables = inputs.iter().flat_map(|run| self.tables(run));
        let buries = |table: &PickTable<'_>| {
            let is_over = plan.deeper_ranges.iter().any(|deep| deep.overlaps(table.range));
            table.tombstones > 0 && !is_over
        };
        let moves = kind == PlanKind::Move;
        invariant!(C3, !moves || !tables.into_iter().any(buries), "moving {inputs:?} buries some");
        Some(plan)
    }

    /// The plan for inputs of which it is known that they may be merged over `range`.
    pub(super) fn plan_within(
        &self,
        inputs: &[Run],
        target: usize,
        kind: PlanKind,
        range: KeyRange,
    ) -> CompactionPlan {
        let below = self.overlapping(target + 1, range.lo(), range.hi());
        let boundary =
            |table: &PickTable<'_>| Boundary { hi: table.range.hi().to_vec(), bytes: table.bytes };
        let named = inputs.iter().filter(|run| !run.tables.is_empty());
        let ids = |run: &Run| self.tables(run).iter().map(|table| table.id).collect();
        CompactionPlan {
            inputs: named.map(|run| (run.level, ids(run))).collect(),
            target,
            kind,
            sweep: None,
            deeper_ranges: self.ranges_under(target + 1, &[], &range),
            output_bytes_max: self.policy.output_bytes_max,
            boundaries: self.tables(&below).iter().map(boundary).collect(),
            range,
        }
    }

    /// Whether no running plan uses these inputs, or writes where they will be written.
    pub(super) fn can_begin(&self, inputs: &[Run], target: usize) -> bool {
        let idle = inputs.iter().all(|run| !self.tables(run).iter().any(|t| self.is_busy(t)));
        let met = |(level, written): &(usize, KeyRange)| {
            let span = self.span(inputs).filter(|_| *level == target);
            span.is_some_and(|(lo, hi)| written.lo() <= hi && lo <= written.hi())
        };
        idle && !self.written.iter().any(met)
    }

    /// What `older` tables of L0, and all of level `first` and those below it, cover within
    /// `range`, their overlaps joined.
    pub(super) fn ranges_under(
        &self,
        first: usize,
        older: &[PickTable<'_>],
        range: &KeyRange,
    ) -> Vec<KeyRange> {
        let of_l0 = older.iter().map(PickTable::live_range).filter(|older| older.overlaps(range));
        let of_l0 = of_l0.collect::<Vec<_>>();
        let ranges = (first.max(1)..LEVELS)
            .flat_map(|level| self.tables(&self.overlapping(level, range.lo(), range.hi())))
            .map(|table| table.range)
            .chain(&of_l0);
        let mut joined: Vec<KeyRange> = Vec::new();
        for range in in_order(ranges.collect()) {
            match joined.last_mut() {
                Some(last) if last.overlaps(range) => *last = last.cover(range),
                _ => joined.push(range.clone()),
            }
        }
        joined
    }

    fn has_deeper(&self, target: usize, range: &KeyRange) -> bool {
        let below = |level| self.overlapping(level, range.lo(), range.hi());
        (target + 1..LEVELS).any(|level| !below(level).tables.is_empty())
    }

    /// What of the next level a run overlaps.
    pub(super) fn under(&self, run: &Run) -> Run {
        match self.span(std::slice::from_ref(run)) {
            Some((lo, hi)) => self.overlapping(run.level + 1, lo, hi),
            None => Run { level: run.level + 1, tables: 0..0 },
        }
    }

    /// The tables of a sorted level that hold something from `lo` to `hi`; none below the deepest.
    pub(super) fn overlapping(&self, level: usize, lo: &[u8], hi: &[u8]) -> Run {
        let tables = self.levels.get(level).map_or(&[][..], Vec::as_slice);
        let start = tables.partition_point(|table| table.range.hi() < lo);
        let end = tables.partition_point(|table| table.range.lo() <= hi);
        Run { level, tables: start..end.max(start) }
    }

    /// The first and the last key of some runs.
    pub(super) fn span(&self, runs: &[Run]) -> Option<(&'v [u8], &'v [u8])> {
        let ends = |run: &Run| {
            let tables = self.tables(run);
            // Of a sorted level the outermost tables say it.
            let outermost = if run.level == 0 { tables } else { &[] };
            let ends = [tables.first(), tables.last()].into_iter().flatten();
            ends.chain(outermost).map(|table| (table.lo(), table.range.hi()))
        };
        runs.iter().flat_map(ends).reduce(|(lo, hi), (l, h)| (lo.min(l), hi.max(h)))
    }

    pub(super) fn bytes(&self, run: &Run) -> u64 {
        self.tables(run).iter().map(|table| table.bytes).sum()
    }

    pub(super) fn tables(&self, run: &Run) -> &[PickTable<'v>] {
        self.levels.get(run.level).map_or(&[], |level| &level[run.tables.clone()])
    }

    pub(super) fn whole(&self, level: usize) -> Run {
        Run { level, tables: 0..self.levels[level].len() }
    }

    pub(super) fn is_busy(&self, table: &PickTable<'_>) -> bool {
        self.busy.binary_search(&table.id).is_ok()
    }
}

/// By their smallest keys.
fn in_order(mut ranges: Vec<&KeyRange>) -> Vec<&KeyRange> {
    ranges.sort_unstable_by(|a, b| a.lo().cmp(b.lo()));
    ranges
}

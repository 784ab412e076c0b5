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
    /// Inputs of running plans, ascending.
    busy: Vec<TableId>,
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
        Self { levels, policy, busy: Vec::new(), written: Vec::new() }
    }

    /// Sweeps that begin take no more of L0 than this, the oldest tables first.
    pub fn limit_sweeps(&mut self, bytes_max: u64) {
        if let L0Rule::Tiered(tiering) = &mut self.policy.l0 {
            tiering.sweep_bytes_max = bytes_max;
        }
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
        let mut ranges: Vec<_> = self.tables(run).iter().map(|table| table.range).collect();
        ranges.sort_unstable_by(|a, b| a.lo().cmp(b.lo()));
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
        let mut ranges: Vec<KeyRange> = (first.max(1)..LEVELS)
            .flat_map(|level| self.tables(&self.overlapping(level, range.lo(), range.hi())))
            .map(|table| table.range.clone())
            .chain(of_l0)
            .collect();
        ranges.sort_unstable_by(|a, b| a.lo().cmp(b.lo()));
        let mut joined: Vec<KeyRange> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if last.overlaps(&range) => *last = last.cover(&range),
                _ => joined.push(range),
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::{Scenario, parse_bytes, parse_range, run_scenarios, show_range};

    /// A table with its own range. The youngest of L0 has the highest age.
    #[derive(Clone, Debug)]
    struct Owned {
        id: u64,
        age: u64,
        level: usize,
        range: KeyRange,
        swept_to: Option<Vec<u8>>,
        bytes: u64,
        entries: u64,
        keys: u64,
        tombstones: u64,
    }

    const BASE: u64 = 40 << 20;
    const OUTPUT: u64 = 4 << 20;

    /// Sequence numbers follow from ages.
    fn state(tables: &[Owned]) -> PickState<'_> {
        let tables = tables.iter().map(|table| PickTable {
            id: TableId(table.id),
            level: table.level,
            range: &table.range,
            swept_to: table.swept_to.as_deref(),
            bytes: table.bytes,
            entries: table.entries,
            keys: table.keys,
            tombstones: table.tombstones,
            seq_min: SeqNo::new(100 * table.age),
            seq_max: SeqNo::new(100 * table.age + 99),
        });
        PickState::new(Policy::new(BASE, OUTPUT), tables)
    }

    /// `L1: 7:[a-m] 3MiB; 8:[n-z] 4MiB tombstones=2 superseded=1`, `L0: 3:[a-m] 3MiB swept=f`
    fn parse_level(line: &str) -> Vec<Owned> {
        let (level, tables) = line.split_once(": ").unwrap_or_else(|| panic!("what is {line:?}"));
        let level = level.strip_prefix('L').and_then(|n| n.parse().ok()).expect("a level");
        tables.split("; ").map(|table| parse_table(level, table)).collect()
    }

    fn parse_table(level: usize, text: &str) -> Owned {
        let mut words = text.split_whitespace();
        let (id, range) = words.next().and_then(|word| word.split_once(':')).expect("7:[a-m]");
        let (id, range) = (id.parse().expect("an id"), parse_range(range));
        let bytes = parse_bytes(words.next().expect("3MiB"));
        let mut table = Owned { bytes, range, ..owned(id, level, "[a-z]", 0) };
        for word in words {
            match word.split_once('=') {
                Some(("swept", key)) => table.swept_to = Some(key.into()),
                Some(("tombstones", n)) => table.tombstones = n.parse().expect("a number"),
                Some(("superseded", n)) => table.entries += n.parse::<u64>().expect("a number"),
                _ => panic!("what is {word:?}"),
            }
        }
        table
    }

    fn show(plan: &CompactionPlan) -> String {
        let mut text = format!("{:?} into L{}:", plan.kind, plan.target);
        for (level, ids) in &plan.inputs {
            let ids: Vec<_> = ids.iter().map(TableId::to_string).collect();
            write!(text, " L{level} {}", ids.join(" ")).unwrap();
        }
        write!(text, "\ncovers {}", show_range(&plan.range)).unwrap();
        if let Some(SweepStep { cursor, left }) = &plan.sweep {
            let left: Vec<_> = left.iter().map(TableId::to_string).collect();
            let cursor = String::from_utf8_lossy(cursor);
            write!(text, "\nup to {cursor}, of which {} live on", left.join(" ")).unwrap();
        }
        for range in &plan.deeper_ranges {
            write!(text, ", older versions may lie in {}", show_range(range)).unwrap();
        }
        for boundary in &plan.boundaries {
            let hi = String::from_utf8_lossy(&boundary.hi);
            write!(text, "\nboundary {hi}, {} MiB", boundary.bytes >> 20).unwrap();
        }
        text
    }

    fn plan(command: &str, state: &PickState<'_>) -> Option<CompactionPlan> {
        let words: Vec<_> = command.split_whitespace().collect();
        match words[..] {
            ["pick"] => pick(state),
            ["plan_l0"] => plan_l0(state),
            ["plan_level", source] => plan_level(state, source.parse().unwrap()),
            ["plan_all"] => plan_all(state),
            _ => panic!("unknown command {command:?}"),
        }
    }

    /// The command's plan for the tables given, or for those of the last scenario that gave some.
    /// `... while pick` plans beside a running plan.
    fn answer(tables: &mut Vec<Owned>, scenario: &Scenario) -> String {
        if !scenario.input.is_empty() {
            *tables = scenario.input.iter().flat_map(|line| parse_level(line)).collect();
        }
        let mut commands = scenario.command.split(" while ");
        let command = commands.next().expect("a command");
        let mut state = state(tables);
        for running in commands {
            let running = plan(running, &state).expect("something to run beside");
            state = state.with_running(&running);
        }
        plan(command, &state).map_or("nothing".into(), |plan| show(&plan))
    }

    #[test]
    fn scenarios() {
        run_scenarios("pick", || {
            let mut tables = Vec::new();
            move |scenario| answer(&mut tables, scenario)
        });
    }

    fn owned(id: u64, level: usize, range: &str, tombstones: u64) -> Owned {
        let (range, swept_to) = (parse_range(range), None);
        let (age, bytes, entries, keys) = (id, OUTPUT, 9, 9);
        Owned { id, age, level, range, swept_to, bytes, entries, keys, tombstones }
    }

    #[test]
    #[should_panic(expected = "invariant C1")]
    fn c1_tables_of_a_sorted_level_must_not_overlap() {
        state(&[owned(1, 1, "[a-c]", 0), owned(2, 1, "[c-d]", 0)]);
    }

    #[test]
    #[should_panic(expected = "invariant C1")]
    fn c1_l0_comes_newest_first() {
        state(&[owned(1, 0, "[a-c]", 0), owned(2, 0, "[x-z]", 0)]);
    }

    #[test]
    #[should_panic(expected = "invariant C2")]
    fn c2_a_plan_that_leaves_out_what_it_overlaps_is_refused() {
        let tables = [owned(2, 0, "[a-m]", 0), owned(1, 1, "[c-d]", 0)];
        let state = state(&tables);
        let _ = state.plan(&[state.whole(0)], 1, PlanKind::Rewrite);
    }

    #[test]
    #[should_panic(expected = "invariant C3")]
    fn c3_a_move_that_buries_a_tombstone_is_refused() {
        let tables = [owned(2, 0, "[a-m]", 1)];
        let state = state(&tables);
        let _ = state.plan(&[state.whole(0)], 1, PlanKind::Move);
    }

    /// A running plan may write anything from its first key to its last, also where none of its
    /// inputs lies; a table that came into its source level meanwhile must not go there.
    #[test]
    fn nothing_is_written_into_the_gaps_of_a_running_plan() {
        let mut tables = vec![owned(1, 1, "[a-b]", 0), owned(2, 1, "[y-z]", 0)];
        let running = plan_level(&state(&tables), 1).unwrap();
        tables.insert(1, Owned { bytes: 500 << 20, ..owned(3, 1, "[m-n]", 0) });
        assert_eq!(pick(&state(&tables).with_running(&running)), None);
        assert!(pick(&state(&tables)).is_some());
    }

    /// Sorted levels of tables whose keys are two letters, and some tables in L0.
    fn tables() -> impl Strategy<Value = Vec<Owned>> {
        let level = prop::collection::btree_set(0..676u32, 0..24);
        let sorted = prop::collection::vec(level, LEVELS - 1);
        let l0 = prop::collection::vec((0..676u32, 0..676u32), 0..8);
        let draws = prop::collection::vec((1..400u64, 0..3u64), 200);
        (l0, sorted, draws).prop_map(|(l0, sorted, draws)| {
            let key = |n: u32| vec![b'a' + (n / 26) as u8, b'a' + (n % 26) as u8];
            let ranges = l0.iter().map(|(a, b)| (0, *a.min(b), *a.max(b)));
            let deeper = sorted.iter().enumerate().flat_map(|(n, ends)| {
                let ends: Vec<_> = ends.iter().copied().collect();
                let pairs: Vec<_> =
                    ends.chunks_exact(2).map(|pair| (n + 1, pair[0], pair[1])).collect();
                pairs
            });
            let tables = ranges.chain(deeper).zip(draws).enumerate();
            tables
                .map(|(n, ((level, lo, hi), (mib, tombstones)))| Owned {
                    range: KeyRange::new(key(lo), key(hi)),
                    bytes: mib << 20,
                    keys: 9 - tombstones.min(1),
                    ..owned(1000 - n as u64, level, "[a-z]", tombstones)
                })
                .collect()
        })
    }

    /// What carrying a plan out leaves, each output standing for one table of the same range. A
    /// step of a sweep leaves its output below the cursor, and the swept tables above it.
    fn carry_out(tables: &[Owned], plan: &CompactionPlan) -> Vec<Owned> {
        let left = plan.sweep.as_ref().map_or(&[][..], |step| &step.left);
        let is_input = |t: &Owned| plan.inputs.iter().any(|(_, ids)| ids.contains(&TableId(t.id)));
        let is_left = |t: &Owned| left.contains(&TableId(t.id));
        let (inputs, mut after): (Vec<_>, Vec<_>) =
            tables.iter().cloned().partition(|table| is_input(table) && !is_left(table));
        let bytes = |table: &Owned| if is_input(table) { table.bytes } else { 0 };
        let bytes: u64 = tables.iter().map(bytes).sum();
        let mut range = plan.range.clone();
        if let Some(SweepStep { cursor, .. }) = &plan.sweep {
            let mut last = cursor.clone();
            *last.last_mut().expect("keys have two letters") -= 1;
            range = KeyRange::new(plan.range.lo().min(&last), last.as_slice());
            let swept = after.iter_mut().filter(|table| is_left(table));
            swept.for_each(|table| table.swept_to = Some(cursor.clone()));
        }
        let age = inputs.iter().map(|table| table.age).max().unwrap_or(0);
        let id = tables.iter().map(|table| table.id).max().unwrap_or(0) + 1;
        match plan.kind {
            PlanKind::Move => {
                after.extend(inputs.into_iter().map(|table| Owned { level: plan.target, ..table }))
            }
            PlanKind::Rewrite => {
                after.push(Owned { age, range, bytes, ..owned(id, plan.target, "[a-z]", 0) });
            }
        }
        let newest = |table: &Owned| if table.level == 0 { u64::MAX - table.age } else { 0 };
        after.sort_by(|a, b| {
            let place = (a.level, newest(a)).cmp(&(b.level, newest(b)));
            place.then_with(|| a.range.lo().cmp(b.range.lo()))
        });
        after
    }

    proptest! {
        /// Whatever the shape: following the picker keeps every level in order and comes to an
        /// end, and a second plan beside a first one shares neither inputs nor outputs with it.
        #[test]
        fn following_the_picker_settles(mut tables in tables()) {
            for step in 0.. {
                prop_assert!(step < 1000, "it never ends");
                let state = state(&tables); // asserts C1
                let Some(plan) = pick(&state) else {
                    prop_assert_eq!(due_levels(&state), 0);
                    break;
                };
                let beside = pick(&state.clone().with_running(&plan));
                if let Some(beside) = beside {
                    let ids = |plan: &CompactionPlan| {
                        plan.inputs.iter().flat_map(|(_, ids)| ids.clone()).collect::<BTreeSet<_>>()
                    };
                    prop_assert!(ids(&beside).is_disjoint(&ids(&plan)));
                    let same_target = beside.target == plan.target;
                    prop_assert!(!(same_target && beside.range.overlaps(&plan.range)));
                }
                tables = carry_out(&tables, &plan);
            }
            let whole = plan_all(&state(&tables));
            if let Some(plan) = whole {
                let after = carry_out(&tables, &plan);
                prop_assert_eq!(after.len(), 1);
                prop_assert!(plan.deeper_ranges.is_empty());
                prop_assert_eq!(plan_all(&state(&after)), None);
            }
        }
    }
}

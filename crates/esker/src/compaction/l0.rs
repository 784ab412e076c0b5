//! How L0 is merged: within itself while that is cheap, then down in steps. Pure.
//!
//! Merging L0 into L1 rewrites all of L1 that it overlaps, so it pays to bring much at a time.
//! Letting tables pile up meanwhile would make reads slow. So L0 is *tiered*: when it is due and
//! small against what lies under it, neighbours in age are merged into one larger table of L0.
//!
//! ```text
//! L0  9 8 7 6  5(4x)             4 memtables and an older merge: 9 8 7 6 -> one, 4x
//! L0  14 13 12  11(4x) 5(4x)     due again, and so on, until S0 >= 0.4 x S1:
//! L0  14 13 12  11(4x) 5(4x)     all are swept into L1, a range of keys at a time
//!     |=======|----------|       left of the cursor they are dead; new flushes stay above
//! L1  [a-d][e-h] [i-m] [n-z]
//! ```
//!
//! A *sweep* is of the oldest tables of L0: nothing in L0 is older than they are. It has a cursor:
//! keys below are in L1 and dead in the swept tables, which shrink from the left until they go. A
//! step takes a few tables of L1 in and ends right before another one, so no output can overlap
//! what is left there.
//!
//! Beside a sweep only neighbours of similar size are merged within L0: each such merge makes a
//! table at least four times larger than its smallest input, so an entry takes part in few of
//! them, and the sweep goes on. Under more writes than the disk can merge L0 so becomes deeper and
//! merges cheaper, instead of the other way round.
//!
//! Small stores are not tiered: while L0 overlaps less of L1 than L0 itself may hold (ten
//! memtables), it is merged down as soon as it is due. Who writes a little finds it in L1.

use std::ops::Range;

use crate::base::invariant;
use crate::base::key::TableId;
use crate::base::range::KeyRange;
use crate::compaction::pick::{
    CompactionPlan, L0Rule, Moves, PickState, PickTable, PlanKind, Run, Tiering,
};
use crate::compaction::shape::L0_TABLES_MAX;

/// A merge within L0 takes so many neighbours of similar size.
const SIMILAR_TABLES: Range<usize> = 4..9;

/// Sizes are similar if the largest is at most so many times the smallest.
const SIMILAR_RATIO_MAX: u64 = 4;

/// A table of L0 is at most so many memtables large: who writes it keeps 8 bytes a key in memory.
const TABLE_OUTPUTS_MAX: u64 = 10;

/// Tables of L1 that a sweep will reach within so many steps are not merged down before it.
const STEPS_AHEAD: u64 = 2;

/// Where a step of a sweep ends that leaves something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepStep {
    /// The first key that is not swept: the step takes nothing at or above it.
    pub cursor: Vec<u8>,
    /// The swept tables that hold something from there on, in the order of L0.
    pub left: Vec<TableId>,
}

impl PickState<'_> {
    /// What to do with an L0 that is due.
    pub(super) fn plan_due_l0(&self) -> Option<CompactionPlan> {
        match self.policy.l0 {
            L0Rule::Leveled => self.plan_l0_down(),
            L0Rule::Tiered(_) if self.is_sweeping() => {
                self.plan_similar().or_else(|| self.plan_l0_down())
            }
            L0Rule::Tiered(tiering) if self.stays_within_l0(tiering) => {
                let within = self.plan_similar().or_else(|| self.plan_leaving_enough());
                within.or_else(|| self.plan_l0_down())
            }
            // Where damage bars the way down, L0 is merged around it.
            L0Rule::Tiered(_) if self.has_damage => {
                let down = self.plan_l0_down().or_else(|| self.plan_similar());
                down.or_else(|| self.plan_leaving_enough())
            }
            L0Rule::Tiered(_) => self.plan_l0_down(),
        }
    }

    /// L0 into L1: the next step of a sweep, the first one, or all as it is.
    pub(super) fn plan_l0_down(&self) -> Option<CompactionPlan> {
        let L0Rule::Tiered(tiering) = self.policy.l0 else {
            return self.plan_down(self.whole(0), Moves::Allowed);
        };
        if self.is_sweeping() {
            return self.plan_step(&self.swept(), tiering.step_bytes);
        }
        let run = self.oldest_that_fit(tiering.sweep_bytes_max);
        if !run.tables.is_empty() && self.under(&run).tables.is_empty() {
            return self.plan_down(run, Moves::Allowed);
        }
        self.plan_step(&run, tiering.step_bytes)
    }

    fn is_sweeping(&self) -> bool {
        self.levels[0].last().is_some_and(|oldest| oldest.swept_to.is_some())
    }

    /// The tables of the sweep that is under way.
    fn swept(&self) -> Run {
        let fresh = self.levels[0].partition_point(|table| table.swept_to.is_none());
        Run { level: 0, tables: fresh..self.levels[0].len() }
    }

    /// Whether merging within L0 is cheaper than a pass over what lies under it.
    fn stays_within_l0(&self, tiering: Tiering) -> bool {
        let l0 = &self.levels[0];
        let is_under = |table: &&PickTable<'_>| l0.iter().any(|upper| upper.overlaps(table));
        let under_bytes: u64 = self.levels[1].iter().filter(is_under).map(|t| t.bytes).sum();
        let is_small = u128::from(self.bytes(&self.whole(0))) * 100
            < u128::from(under_bytes) * u128::from(tiering.sweep_at_percent);
        is_small && under_bytes >= self.policy.level_base_bytes
    }

    /// Neighbours of similar size into one table.
    fn plan_similar(&self) -> Option<CompactionPlan> {
        let fresh = self.swept().tables.start;
        let runs = SIMILAR_TABLES.flat_map(|tables| windows(fresh, tables));
        self.plan_cheapest(runs.filter(|run| self.are_similar(run)))
    }

    /// The neighbours whose merge leaves as many tables as L0 may have.
    fn plan_leaving_enough(&self) -> Option<CompactionPlan> {
        let fresh = self.swept().tables.start;
        self.plan_cheapest(windows(fresh, fresh.checked_sub(L0_TABLES_MAX as usize)? + 1))
    }

    /// The merge within L0 that writes the fewest bytes for each table that goes away; the newest
    /// of equals. None that makes too large a table.
    fn plan_cheapest(&self, runs: impl Iterator<Item = Run>) -> Option<CompactionPlan> {
        let bytes_max = self.policy.output_bytes_max.saturating_mul(TABLE_OUTPUTS_MAX);
        let is_idle = |run: &Run| {
            let idle = !self.tables(run).iter().any(|table| self.is_busy(table));
            idle && self.bytes(run) <= bytes_max
        };
        let price = |a: &Run, b: &Run| {
            let gone = |run: &Run| run.tables.len() as u128 - 1;
            let bytes = |run: &Run| u128::from(self.bytes(run));
            (bytes(a) * gone(b)).cmp(&(bytes(b) * gone(a)))
        };
        self.plan_merge_of(runs.filter(is_idle).min_by(price)?)
    }

    fn are_similar(&self, run: &Run) -> bool {
        let sizes = || self.tables(run).iter().map(|table| table.bytes);
        let (smallest, largest) = (sizes().min(), sizes().max());
        largest <= smallest.map(|smallest| smallest.saturating_mul(SIMILAR_RATIO_MAX))
    }

    /// Neighbours in age into one table of L0. What is older than they are lies in the tables of
    /// L0 behind them and in deeper levels.
    fn plan_merge_of(&self, run: Run) -> Option<CompactionPlan> {
        let Range { start, end } = run.tables;
        let swept = self.swept().tables.start;
        invariant!(C7, start < end && end <= swept, "{start}..{end} of {swept} that no sweep has");
        let (lo, hi) = self.span(std::slice::from_ref(&run))?;
        let plan = self.plan_within(&[run], 0, PlanKind::Rewrite, KeyRange::new(lo, hi));
        Some(CompactionPlan {
            deeper_ranges: self.ranges_under(1, &self.levels[0][end..], &plan.range),
            output_bytes_max: u64::MAX,
            boundaries: Vec::new(),
            ..plan
        })
    }

    /// As many of the oldest tables as fit into `bytes_max`, at least one.
    fn oldest_that_fit(&self, bytes_max: u64) -> Run {
        let l0 = &self.levels[0];
        let mut bytes = 0_u64;
        let fitting = l0.iter().rev().take_while(|table| {
            bytes = bytes.saturating_add(table.bytes);
            bytes <= bytes_max
        });
        let tables = fitting.count().max(1).min(l0.len());
        Run { level: 0, tables: l0.len() - tables..l0.len() }
    }

    /// The next step of a sweep of `run`: what it holds from its first living key up to the end,
    /// or up to the first table of L1 that is too much or that it does not overlap.
    fn plan_step(&self, run: &Run, step_bytes: u64) -> Option<CompactionPlan> {
        let (l0, l1) = (self.tables(run), &self.levels[1]);
        let start = l0.iter().map(PickTable::lo).min()?;
        let first = l1.partition_point(|table| table.range.hi() < start);
        let (mut end, mut bytes) = (first, 0_u64);
        while let Some(table) = l1.get(end)
            && bytes < step_bytes
            && l0.iter().any(|swept| swept.overlaps(table))
        {
            bytes = bytes.saturating_add(table.bytes);
            end += 1;
        }
        let under = Run { level: 1, tables: first..end };
        let inputs = [run.clone(), under];
        let next = l1.get(end).map(|table| table.range.lo());
        match next.filter(|next| l0.iter().any(|table| table.range.hi() >= *next)) {
            None => self.plan(&inputs, 1, PlanKind::Rewrite),
            Some(next) => self.plan_step_to(&inputs, start, next),
        }
    }

    fn plan_step_to(&self, inputs: &[Run; 2], start: &[u8], next: &[u8]) -> Option<CompactionPlan> {
        if !self.can_begin(inputs, 1) {
            return None;
        }
        let [swept, under] = inputs;
        let begin = self.tables(under).first().map_or(start, |table| table.range.lo().min(start));
        let ends = self.tables(under).last().is_none_or(|table| table.range.hi() < next);
        invariant!(C2, ends, "a step to {next:?} with a table of L1 across");
        let mut plan = self.plan_within(inputs, 1, PlanKind::Rewrite, KeyRange::new(begin, next));
        let tables = self.tables(swept);
        let in_step = tables.iter().filter(|table| table.lo() < next).map(|table| table.id);
        plan.inputs[0].1 = in_step.collect();
        let left = tables.iter().filter(|table| table.range.hi() >= next).map(|table| table.id);
        plan.sweep = Some(SweepStep { cursor: next.to_vec(), left: left.collect() });
        Some(plan)
    }

    /// Whether the sweep that is under way will come to this table within a few steps.
    pub(super) fn is_swept_soon(&self, level: usize, at: usize) -> bool {
        let (1, L0Rule::Tiered(tiering)) = (level, self.policy.l0) else { return false };
        let Some(cursor) = self.levels[0].last().and_then(|oldest| oldest.swept_to) else {
            return false;
        };
        let l1 = &self.levels[1];
        let first = l1.partition_point(|table| table.range.hi() < cursor);
        let ahead = Run { level: 1, tables: first.min(at)..at };
        at >= first && self.bytes(&ahead) < tiering.step_bytes.saturating_mul(STEPS_AHEAD)
    }
}

/// All so many neighbours among the first `fresh` tables of L0.
fn windows(fresh: usize, tables: usize) -> impl Iterator<Item = Run> {
    (0..(fresh + 1).saturating_sub(tables))
        .map(move |start| Run { level: 0, tables: start..start + tables })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::SeqNo;
    use crate::compaction::pick::Policy;

    #[test]
    #[should_panic(expected = "invariant C7")]
    fn c7_a_swept_table_is_not_merged_within_l0() {
        let range = KeyRange::new("a", "z");
        let table = |age: u64, swept_to: Option<&'static [u8]>| PickTable {
            id: TableId(age),
            level: 0,
            range: &range,
            swept_to,
            bytes: 1,
            entries: 1,
            keys: 1,
            tombstones: 0,
            seq_min: SeqNo::new(age),
            seq_max: SeqNo::new(age),
        };
        let tables = [table(3, None), table(2, None), table(1, Some(b"m"))];
        let state = PickState::new(Policy::new(10, 1), tables.into_iter());
        let _ = state.plan_merge_of(Run { level: 0, tables: 1..3 });
    }
}

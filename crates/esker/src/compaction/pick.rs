//! What to merge next.

use crate::base::key::{SeqNo, TableId};
use crate::base::limits::LEVELS;
use crate::base::range::KeyRange;
use crate::compaction::shape;

#[derive(Clone, Debug)]
pub struct PickTable {
    pub id: TableId,
    pub level: usize,
    pub range: KeyRange,
    pub bytes: u64,
    pub tombstones: u64,
    pub seq_max: SeqNo,
}

pub struct PickState {
    base: u64,
    output_bytes_max: u64,
    levels: [Vec<PickTable>; LEVELS],
}

impl PickState {
    pub fn new(base: u64, output_bytes_max: u64, tables: impl Iterator<Item = PickTable>) -> Self {
        let mut levels: [Vec<PickTable>; LEVELS] = Default::default();
        for table in tables {
            levels[table.level].push(table);
        }
        for level in &mut levels[1..] {
            level.sort_by(|a, b| a.range.lo().cmp(b.range.lo()));
        }
        Self { base, output_bytes_max, levels }
    }
    fn score(&self, n: usize) -> f64 {
        shape::score(
            self.base,
            n,
            self.levels[n].len(),
            self.levels[n].iter().map(|t| t.bytes).sum(),
        )
    }
    fn overlapping(&self, n: usize, range: &KeyRange) -> Vec<&PickTable> {
        self.levels[n].iter().filter(|t| t.range.overlaps(range)).collect()
    }
    fn rewrite(&self, inputs: Vec<(usize, Vec<&PickTable>)>, target: usize) -> CompactionPlan {
        let range =
            KeyRange::cover_all(inputs.iter().flat_map(|(_, t)| t.iter().map(|t| &t.range)))
                .expect("inputs");
        let deeper_ranges = (target + 1..LEVELS)
            .flat_map(|n| self.overlapping(n, &range))
            .map(|t| t.range.clone())
            .collect();
        let boundaries = if target + 1 < LEVELS {
            self.overlapping(target + 1, &range).iter().map(|t| t.range.lo().to_vec()).collect()
        } else {
            Vec::new()
        };
        CompactionPlan {
            inputs: inputs
                .into_iter()
                .map(|(n, t)| (n, t.iter().map(|t| t.id).collect()))
                .collect(),
            target,
            kind: PlanKind::Rewrite,
            deeper_ranges,
            output_bytes_max: self.output_bytes_max,
            boundaries,
        }
    }
}

#[derive(PartialEq, Eq, Clone, Copy, Debug)]
pub enum PlanKind {
    Rewrite,
    Move,
}

#[derive(Clone, Debug)]
pub struct CompactionPlan {
    pub inputs: Vec<(usize, Vec<TableId>)>,
    pub target: usize,
    pub kind: PlanKind,
    pub deeper_ranges: Vec<KeyRange>,
    pub output_bytes_max: u64,
    pub boundaries: Vec<Vec<u8>>,
}

pub fn due_levels(state: &PickState) -> usize {
    (0..LEVELS).filter(|n| state.score(*n) > 1.0).count()
}

pub fn pick(state: &PickState) -> Option<CompactionPlan> {
    let n = (0..LEVELS)
        .filter(|n| state.score(*n) > 1.0)
        .max_by(|a, b| state.score(*a).total_cmp(&state.score(*b)))?;
    if n == 0 {
        return plan_level(state, 0);
    }
    let table = state.levels[n].iter().min_by_key(|t| {
        state.overlapping(n + 1, &t.range).iter().map(|t| t.bytes).sum::<u64>() * 1000
            / t.bytes.max(1)
    })?;
    let below = state.overlapping(n + 1, &table.range);
    let deepest_range = (n + 1..LEVELS).all(|m| state.overlapping(m, &table.range).is_empty());
    if below.is_empty() && !(table.tombstones > 0 && deepest_range) {
        return Some(CompactionPlan {
            inputs: vec![(n, vec![table.id])],
            target: n + 1,
            kind: PlanKind::Move,
            deeper_ranges: Vec::new(),
            output_bytes_max: 0,
            boundaries: Vec::new(),
        });
    }
    Some(state.rewrite(vec![(n, vec![table]), (n + 1, below)], n + 1))
}

pub fn plan_level(state: &PickState, n: usize) -> Option<CompactionPlan> {
    let all: Vec<_> = state.levels[n].iter().collect();
    let range = KeyRange::cover_all(all.iter().map(|t| &t.range))?;
    let below = state.overlapping(n + 1, &range);
    Some(state.rewrite(vec![(n, all), (n + 1, below)], n + 1))
}

pub fn plan_l0(state: &PickState) -> Option<CompactionPlan> {
    plan_level(state, 0)
}

pub fn plan_all(state: &PickState) -> Option<CompactionPlan> {
    let deepest = (0..LEVELS).rev().find(|n| !state.levels[*n].is_empty())?;
    let target = deepest.max(1);
    let inputs = (0..=deepest)
        .map(|n| (n, state.levels[n].iter().collect::<Vec<_>>()))
        .filter(|(_, t)| !t.is_empty())
        .collect();
    Some(state.rewrite(inputs, target))
}

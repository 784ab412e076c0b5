//! Time and jobs: flushes come in, the background works off what `pick` says.

use std::collections::BTreeSet;

use esker::internals::policy::{CompactionPlan, PickState, PlanKind, Policy, TableId, pick};

use super::table::{Table, key, merge};

/// Tables of L0 that no sweep has taken, at which a writer is held until one is merged away.
const L0_HOLD: usize = 16;

/// A store that is nothing but tables, and what was done to it.
pub struct Play {
    policy: Policy,
    memtable_bytes: u64,
    /// Bytes that the background writes for each one that the user writes, flushes included.
    drain: f64,
    tables: Vec<Table>,
    next_id: u64,
    /// Bytes that the background may write before the next flush; below 0: it is behind.
    credit: f64,
    /// What all keys take up once; endless while keys are new.
    distinct_bytes: f64,
    figures: Figures,
}

/// Where the keys of a flush lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Anywhere, none of them before.
    New,
    /// Anywhere, among so many bytes of keys that are all there.
    Known(u64),
    /// Behind all others: flush `n` of `of`.
    InOrder {
        /// Which part of the keys.
        n: u64,
        /// How many parts there are.
        of: u64,
    },
}

/// What flushes and merges have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Written by the user.
    pub user_bytes: f64,
    /// Written by flushes and merges.
    pub table_bytes: f64,
    /// The sum, over flushes, of the runs there were.
    runs: u64,
    flushes: u64,
    /// The most runs there were.
    pub runs_max: u64,
    /// The sum, over flushes, of bytes of tables per living byte.
    space: f64,
    /// The most there ever was.
    pub space_max: f64,
    /// What the background wrote while the writer was held.
    held_bytes: f64,
    /// Merges within L0.
    pub within_l0: u64,
    /// Steps of sweeps that were not the last.
    pub sweep_steps: u64,
    /// Merges in all, and moves.
    pub jobs: u64,
}

impl Figures {
    /// Bytes of tables written per byte of the user.
    pub fn write_amplification(&self) -> f64 {
        self.table_bytes / self.user_bytes
    }

    /// Runs after a flush, on average.
    pub fn runs(&self) -> f64 {
        self.runs as f64 / self.flushes as f64
    }

    /// Bytes of tables per living byte after a flush, on average.
    pub fn space_amplification(&self) -> f64 {
        self.space / self.flushes as f64
    }

    /// The share of the background's work for which a writer waited.
    pub fn held(&self) -> f64 {
        self.held_bytes / self.table_bytes
    }
}

impl Play {
    /// An empty store.
    pub fn new(policy: Policy, drain: f64) -> Self {
        Self {
            policy,
            memtable_bytes: policy.output_bytes_max,
            drain,
            tables: Vec::new(),
            next_id: 1,
            credit: 0.0,
            distinct_bytes: f64::INFINITY,
            figures: Figures::default(),
        }
    }

    /// A store that holds `bytes` as if they had been written long ago: every level as full as it
    /// may be, from L1 on, until nothing is left.
    pub fn filled(policy: Policy, drain: f64, bytes: u64) -> Self {
        let mut play = Self::new(policy, drain);
        let mut left = bytes;
        for level in 1..7 {
            let max_bytes = esker::internals::policy::max_bytes(policy.level_base_bytes, level);
            let here = if level == 6 { left } else { left.min(max_bytes) };
            let tables = here.div_ceil(play.memtable_bytes);
            let width = u64::MAX / tables.max(1);
            for n in 0..tables {
                let hi = if n + 1 == tables { u64::MAX } else { (n + 1) * width - 1 };
                let id = play.new_id();
                play.tables.push(Table::new(id, level, 0, (n * width, hi), here / tables));
            }
            left -= here;
        }
        play
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// What was done since this was asked for the last time.
    pub fn take_figures(&mut self) -> Figures {
        std::mem::take(&mut self.figures)
    }

    /// A memtable's worth of writes, and what the background does meanwhile.
    pub fn flush(&mut self, keys: Keys) {
        let memtable_bytes = self.memtable_bytes as f64;
        let (range, bytes) = match keys {
            Keys::New => ((0, u64::MAX), memtable_bytes),
            Keys::Known(all) => {
                let all = all as f64;
                ((0, u64::MAX), all * (1.0 - (-memtable_bytes / all).exp()))
            }
            Keys::InOrder { n, of } => {
                let width = u64::MAX / of;
                ((n * width, (n + 1) * width - 1), memtable_bytes)
            }
        };
        self.distinct_bytes = if let Keys::Known(all) = keys { all as f64 } else { f64::INFINITY };
        let id = self.new_id();
        self.tables.insert(0, Table::new(id, 0, id, range, bytes as u64));
        self.figures.user_bytes += memtable_bytes;
        self.figures.table_bytes += bytes;
        // A disk that had nothing to do has not saved its time up.
        self.credit = self.credit.min(0.0) + self.drain * memtable_bytes - bytes;
        self.note(0);
        self.work();
        while self.fresh_tables() >= L0_HOLD && self.job() {
            self.figures.held_bytes -= self.credit.min(0.0);
            self.credit = self.credit.max(0.0);
        }
    }

    /// Works until the next flush, or until nothing is due. A job that does not fit is done
    /// nevertheless, and paid for later: nobody sees it half done.
    fn work(&mut self) {
        while self.credit > 0.0 && self.job() {}
    }

    /// Works until nothing is due.
    pub fn idle(&mut self) {
        while self.job() {}
        self.credit = 0.0;
    }

    /// Does the next job; false if none is due.
    fn job(&mut self) -> bool {
        let plan = pick(&PickState::new(self.policy, self.tables.iter().map(Table::to_pick)));
        if let Some(plan) = &plan {
            self.carry_out(plan);
        }
        plan.is_some()
    }

    fn carry_out(&mut self, plan: &CompactionPlan) {
        let named: BTreeSet<TableId> =
            plan.inputs.iter().flat_map(|(_, ids)| ids.iter().copied()).collect();
        let is_input = |table: &Table| named.contains(&TableId(table.id));
        self.figures.jobs += 1;
        self.figures.within_l0 += u64::from(plan.target == 0);
        self.figures.sweep_steps += u64::from(plan.sweep.is_some());
        if plan.kind == PlanKind::Move {
            let moved = self.tables.iter_mut().filter(|table| is_input(table));
            moved.for_each(|table| table.level = plan.target);
            self.tables.sort_by_key(Table::place);
            return;
        }
        let inputs: Vec<&Table> = self.tables.iter().filter(|table| is_input(table)).collect();
        let age = inputs.iter().map(|table| table.age).max().unwrap_or(0);
        let boundaries: Vec<u64> = plan.boundaries.iter().map(|b| key(&b.hi)).collect();
        let end = plan.sweep.as_ref().map(|step| key(&step.cursor));
        let cuts = (plan.output_bytes_max, boundaries.as_slice());
        let outputs = merge(&inputs, end, self.distinct_bytes, cuts);
        let bytes: u64 = outputs.iter().map(|(.., bytes)| bytes).sum();
        self.figures.table_bytes += bytes as f64;
        self.credit -= bytes as f64;
        self.note(bytes);
        let left = plan.sweep.as_ref().map_or(&[][..], |step| &step.left);
        let lives_on = |table: &Table| left.contains(&TableId(table.id));
        self.tables.retain(|table| !is_input(table) || lives_on(table));
        for table in self.tables.iter_mut().filter(|table| lives_on(table)) {
            table.swept_to = end.map(u64::to_be_bytes);
        }
        for (lo, hi, bytes) in outputs {
            let id = self.new_id();
            self.tables.push(Table::new(id, plan.target, age, (lo, hi), bytes));
        }
        self.tables.sort_by_key(Table::place);
    }

    fn fresh_tables(&self) -> usize {
        self.tables.iter().filter(|t| t.level == 0 && t.swept_to.is_none()).count()
    }

    /// Notes runs after a flush, and space after a flush or while a merge writes `extra_bytes`.
    fn note(&mut self, extra_bytes: u64) {
        let bytes: u64 = self.tables.iter().map(|table| table.bytes).sum();
        let deepest = self.tables.last().map_or(0, |table| table.level);
        let of_level = |level| self.tables.iter().filter(move |table| table.level == level);
        let alive =
            if self.distinct_bytes.is_finite() { self.distinct_bytes } else { bytes as f64 };
        let space = (bytes + extra_bytes) as f64 / alive;
        self.figures.space_max = self.figures.space_max.max(space);
        if extra_bytes == 0 {
            let deeper = (1..=deepest).filter(|level| of_level(*level).next().is_some());
            let runs = (of_level(0).count() + deeper.count()) as u64;
            self.figures.runs += runs;
            self.figures.runs_max = self.figures.runs_max.max(runs);
            self.figures.space += space;
            self.figures.flushes += 1;
        }
    }
}

//! How bad is it: sizes, scores and amplifications of levels. Pure arithmetic. (The third
//! amplification, that of reads, is how many runs a [`View`](crate::read::view::View) has.)
//!
//! L0 counts tables, for each of them is one more place where a get must look. Deeper levels count
//! bytes, and each may hold ten times what the one above it may:
//!
//! ```text
//! memtable 4 MiB    max_bytes   L0 40 MiB (shown, not enforced)  L1 400 MiB  L2 4,000 MiB ...
//! L0 6 tables       score 6 / 4 = 1.5            over: due
//! L1 300 MiB        score 300 / 400 = 0.75
//! L6                never due: there is nowhere to go
//! ```

use std::cmp::Ordering;

use crate::base::limits::LEVELS;

/// Tables that L0 may hold before a compaction of it is due.
pub const L0_TABLES_MAX: u64 = 4;

/// How many times larger than the level above it a level may be.
const LEVEL_RATIO: u64 = 10;

/// What one level holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelShape {
    /// Its tables.
    pub tables: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What it may hold before it is due. For L0 this is only shown.
    pub max_bytes: u64,
}

/// What all levels hold, L0 first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// L0 first.
    pub levels: [LevelShape; LEVELS],
}

impl Shape {
    /// Empty levels; `level_base_bytes` is ten memtables, fixed when the store is created.
    pub fn empty(level_base_bytes: u64) -> Self {
        let level = |n| LevelShape { max_bytes: max_bytes(level_base_bytes, n), ..<_>::default() };
        Self { levels: std::array::from_fn(level) }
    }

    /// Counts one more table.
    pub fn add(&mut self, level: usize, bytes: u64) {
        self.levels[level].tables += 1;
        self.levels[level].bytes += bytes;
    }

    /// The levels of which a compaction is due, the most urgent first; of equals the upper one.
    pub fn due(&self) -> Vec<usize> {
        let mut due = Vec::new();
        for level in (0..LEVELS).filter(|level| self.is_due(*level)) {
            let is_less = |other: &usize| self.compare_urgency(*other, level).is_lt();
            let at = due.iter().position(is_less).unwrap_or(due.len());
            due.insert(at, level);
        }
        due
    }

    /// Whether a level holds more than it may. The deepest one never does.
    fn is_due(&self, level: usize) -> bool {
        let (holds, may_hold) = self.score(level);
        level < LEVELS - 1 && holds > may_hold
    }

    fn compare_urgency(&self, a: usize, b: usize) -> Ordering {
        let ((a, a_max), (b, b_max)) = (self.score(a), self.score(b));
        // a / a_max against b / b_max, in integers, so that it is the same on every machine.
        (u128::from(a) * u128::from(b_max)).cmp(&(u128::from(b) * u128::from(a_max)))
    }

    /// What a level holds and what it may hold, in the unit that counts for it. The quotient is
    /// its score.
    fn score(&self, level: usize) -> (u64, u64) {
        let shape = &self.levels[level];
        match level {
            0 => (shape.tables, L0_TABLES_MAX),
            _ => (shape.bytes, shape.max_bytes),
        }
    }
}

/// What level `level` may hold: `base × 10^level`, for `base` = ten memtables.
pub fn max_bytes(level_base_bytes: u64, level: usize) -> u64 {
    level_base_bytes.saturating_mul(LEVEL_RATIO.saturating_pow(level as u32))
}

/// All table bytes over those of the deepest level that holds some; 1 while at most one does.
pub fn space_amplification(level_bytes: &[u64]) -> f64 {
    let deepest = level_bytes.iter().rev().find(|bytes| **bytes > 0);
    deepest.map_or(1.0, |deepest| level_bytes.iter().sum::<u64>() as f64 / *deepest as f64)
}

/// Bytes that flushes and compactions wrote for each byte of keys and values that users wrote;
/// 0 before either.
pub fn write_amplification(table_bytes_written: u64, user_bytes: u64) -> f64 {
    match user_bytes {
        0 => 0.0,
        _ => table_bytes_written as f64 / user_bytes as f64,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::testing::{Scenario, parse_bytes, run_scenarios};

    /// Lines such as `L1: 30 tables 420MiB`; what is not named is empty.
    fn parse(base: &str, lines: &[String]) -> Shape {
        let mut shape = Shape::empty(parse_bytes(base));
        for line in lines {
            let words: Vec<_> = line.split([' ', ':', 'L']).filter(|w| !w.is_empty()).collect();
            let [level, tables, "tables", bytes] = words[..] else { panic!("what is {line:?}") };
            let level = &mut shape.levels[level.parse::<usize>().unwrap()];
            level.tables = tables.parse().unwrap();
            level.bytes = parse_bytes(bytes);
        }
        shape
    }

    fn answer(scenario: &Scenario) -> String {
        let shape = parse(scenario.word(2), &scenario.input);
        match scenario.word(0) {
            "levels" => {
                shape.levels.iter().enumerate().fold(String::new(), |mut text, (n, level)| {
                    writeln!(text, "L{n}: at most {}", level.max_bytes).unwrap();
                    text
                })
            }
            "due" => format!("{:?}", shape.due()),
            "amplification" => format!(
                "space {:.3}\nwrite {:.3}",
                space_amplification(&shape.levels.map(|level| level.bytes)),
                write_amplification(shape.levels.iter().map(|l| 3 * l.bytes).sum(), 1 << 30),
            ),
            other => panic!("unknown command {other:?}"),
        }
    }

    #[test]
    fn scenarios() {
        run_scenarios("shape", || answer);
    }

    #[test]
    fn amplifications_of_an_empty_store() {
        assert_eq!(space_amplification(&[0; LEVELS]), 1.0);
        assert_eq!(write_amplification(0, 0), 0.0);
    }

    #[test]
    fn limits_of_levels_never_wrap() {
        assert_eq!(max_bytes(u64::MAX / 2, 1), u64::MAX);
        assert_eq!(max_bytes(1, 20), u64::MAX);
    }
}

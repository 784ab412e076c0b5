//! The rows of `esker-sim shape`: data sizes, from one gibibyte to a pebibyte, under each rule.

use std::fmt;

use esker::internals::policy::{L0Rule, Policy};

use super::play::{Figures, Keys, Play};

/// A store that is loaded, then written over.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it is called.
    pub name: &'static str,
    /// Bytes of a memtable.
    pub memtable_bytes: u64,
    /// Memtables of data.
    pub memtables: u64,
    /// Whether the load is played; else the store is taken as filled long ago.
    pub load: Load,
    /// Memtables that are written over it.
    pub overwrites: u64,
}

/// How a store comes to its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Written with new keys, in no order.
    Played,
    /// It is there.
    LongAgo,
}

const MIB: u64 = 1 << 20;

/// From a gibibyte to a pebibyte. What counts is how many memtables the data are, so large stores
/// have large memtables and each row is seconds of work.
pub const CASES: [Case; 7] = [
    case("2.2 GiB", 64 * MIB, 36, Load::Played, 144),
    case("11 GiB", 64 * MIB, 181, Load::Played, 724),
    case("100 GiB", 64 * MIB, 1_600, Load::Played, 3_200),
    case("1 TiB", 64 * MIB, 16_384, Load::LongAgo, 800),
    case("16 TiB", 512 * MIB, 32_768, Load::LongAgo, 400),
    case("1 PiB", 4096 * MIB, 262_144, Load::LongAgo, 200),
    case("node, 1 GiB", 4 * MIB, 256, Load::Played, 1_024),
];

const fn case(
    name: &'static str,
    memtable_bytes: u64,
    memtables: u64,
    load: Load,
    overwrites: u64,
) -> Case {
    Case { name, memtable_bytes, memtables, load, overwrites }
}

/// The engine's rule.
pub fn tiered(memtable_bytes: u64) -> Policy {
    Policy::new(10 * memtable_bytes, memtable_bytes)
}

/// The rule that it replaced: L0 whole into L1, whenever it is due.
pub fn leveled(memtable_bytes: u64) -> Policy {
    Policy { l0: L0Rule::Leveled, ..tiered(memtable_bytes) }
}

/// The figures of a case: of its load, if that was played, and of writing over it.
pub fn figures(case: &Case, policy: Policy, drain: f64) -> (Option<Figures>, Figures) {
    let bytes = case.memtables * case.memtable_bytes;
    let (mut play, load) = match case.load {
        Load::LongAgo => (Play::filled(policy, drain, bytes), None),
        Load::Played => {
            let mut play = Play::new(policy, drain);
            (0..case.memtables).for_each(|_| play.flush(Keys::New));
            let load = play.take_figures();
            (play, Some(load))
        }
    };
    if case.load == Load::LongAgo {
        // The first writes find levels in an order that no history leaves.
        (0..case.overwrites / 2).for_each(|_| play.flush(Keys::Known(bytes)));
        play.take_figures();
    }
    (0..case.overwrites).for_each(|_| play.flush(Keys::Known(bytes)));
    (load, play.take_figures())
}

/// A line of the report.
pub struct Row<'a>(pub &'a str, pub &'a str, pub &'a str, pub Figures);

impl Row<'_> {
    /// What stands over the columns.
    pub const HEAD: &'static str = "data         writes     rule     write   runs  most  space  \
                                    most   held  within L0  steps     jobs";
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(data, writes, rule, figures) = self;
        write!(
            f,
            "{data:<12} {writes:<10} {rule:<8} {:>5.2} {:>6.2} {:>5} {:>6.2} {:>5.2} {:>5.1}% \
             {:>10} {:>6} {:>8}",
            figures.write_amplification(),
            figures.runs(),
            figures.runs_max,
            figures.space_amplification(),
            figures.space_max,
            100.0 * figures.held(),
            figures.within_l0,
            figures.sweep_steps,
            figures.jobs,
        )
    }
}

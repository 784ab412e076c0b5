//! Rules that make chosen operations of a [`SimDisk`](super::sim::SimDisk) fail.
//!
//! A rule says when, which operation on which class of files, and what happens instead. The first
//! rule of the plan that fires decides. Counting is per rule, over the operations that it matches,
//! from the moment the plan is given to the disk; draws come from the plan's seed.
//!
//! ```text
//! FaultRule::new(When::Nth(3), Fault::Error(Errno::IO)).op(DiskOp::Append).class(FileClass::Log)
//!     the third append to any log segment fails, nothing of it is written
//! FaultRule::new(When::From(1), Fault::Error(Errno::NOSPC)).op(DiskOp::Create)
//!     no file can be created any more
//! FaultRule::new(When::Rate(0.01), Fault::FlipBit).class(FileClass::Table)
//!     one read of tables in a hundred has a wrong bit
//! ```

use std::fmt;

pub use rustix::io::Errno;

use super::strike::Strike;
use crate::base::names::FileName;
use crate::base::random::Random;

/// What shall fail, and how.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    rules: Vec<CountedRule>,
    random: Random,
    fired: u64,
    strike: Option<Strike>,
}

#[derive(Clone, Debug)]
struct CountedRule {
    rule: FaultRule,
    matched: u64,
}

impl FaultPlan {
    /// Nothing fails; `seed` decides the draws of the rules to come.
    pub const fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), random: Random::new(seed), fired: 0, strike: None }
    }

    /// The same with one more rule, behind the others.
    pub fn rule(mut self, rule: FaultRule) -> Self {
        self.rules.push(CountedRule { rule, matched: 0 });
        self
    }

    /// How many faults there were.
    pub fn fired(&self) -> u64 {
        self.fired
    }

    /// What shall happen instead of this operation. Every matching rule counts it.
    pub(super) fn next(&mut self, op: DiskOp, files: &[FileName]) -> Option<Fault> {
        let mut decided = self.strike.as_mut().and_then(|strike| strike.next(op, files));
        for CountedRule { rule, matched } in &mut self.rules {
            if !rule.matches(op, files) {
                continue;
            }
            *matched += 1;
            let fires = match rule.when {
                When::Nth(n) => *matched == n,
                When::From(n) => *matched >= n,
                When::Rate(probability) => self.random.chance(probability),
            };
            if fires && decided.is_none() {
                decided = Some(rule.fault);
            }
        }
        self.fired += u64::from(decided.is_some());
        decided
    }

    /// The strike that is waiting here, or has struck.
    pub(super) fn strike_mut(&mut self) -> &mut Option<Strike> {
        &mut self.strike
    }

    /// A draw, for faults that must choose a place.
    pub(super) fn draw_below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }
}

/// One rule: without [`op`](Self::op) for all operations that the fault can happen to, without
/// [`class`](Self::class) for all files.
#[derive(Clone, Copy, Debug)]
pub struct FaultRule {
    when: When,
    op: Option<DiskOp>,
    class: Option<FileClass>,
    fault: Fault,
}

impl FaultRule {
    /// `fault` happens `when`.
    pub const fn new(when: When, fault: Fault) -> Self {
        Self { when, op: None, class: None, fault }
    }

    /// Only to this operation.
    pub const fn op(self, op: DiskOp) -> Self {
        Self { op: Some(op), ..self }
    }

    /// Only to these files; a rename counts for both of its names.
    pub const fn class(self, class: FileClass) -> Self {
        Self { class: Some(class), ..self }
    }

    fn matches(&self, op: DiskOp, files: &[FileName]) -> bool {
        self.fault.can_happen_to(op)
            && self.op.is_none_or(|wanted| wanted == op)
            && self.class.is_none_or(|class| files.iter().any(|name| FileClass::of(*name) == class))
    }
}

/// When a rule fires, among the operations that it matches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// At the `n`-th of them, counting from 1.
    Nth(u64),
    /// At the `n`-th and all that follow.
    From(u64),
    /// At each with this probability.
    Rate(f64),
}

/// What happens instead of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and has no effect. A sync that fails so leaves its bytes as unsynced as before.
    Error(Errno),
    /// An append writes at most so many bytes and fails.
    Short(u64, Errno),
    /// A sync fails with EIO and the bytes it should have written are lost, though reads see
    /// them as long as the machine runs, and another sync of the file would succeed.
    SyncLost,
    /// A read finds one bit flipped.
    FlipBit,
    /// A read finds zeros.
    Zero,
    /// A read finds what another read of the same length found, at another place.
    Misdirect,
    /// The machine stands still: this operation and all later ones fail and change nothing.
    Stop,
}

impl Fault {
    /// Whether this can happen to such an operation.
    pub const fn can_happen_to(self, op: DiskOp) -> bool {
        match self {
            Self::Error(_) | Self::Stop => true,
            Self::Short(..) => matches!(op, DiskOp::Append),
            Self::SyncLost => matches!(op, DiskOp::Sync | DiskOp::SyncExisting),
            Self::FlipBit | Self::Zero | Self::Misdirect => matches!(op, DiskOp::Read),
        }
    }
}

/// An operation of a disk or a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskOp {
    /// `Disk::create`
    Create,
    /// `Disk::open`
    Open,
    /// `Disk::rename`
    Rename,
    /// `Disk::remove`
    Remove,
    /// `Disk::list`
    List,
    /// `Disk::sync_dir`
    SyncDir,
    /// `Disk::sync_existing`
    SyncExisting,
    /// `Disk::lock`
    Lock,
    /// `Disk::space`
    Space,
    /// `AppendFile::append`
    Append,
    /// `AppendFile::seal`
    Seal,
    /// `SyncFile::sync`
    Sync,
    /// `ReadFile::read_exact_at`
    Read,
    /// `AppendFile::trim`
    Trim,
    /// `SyncFile::make_room`
    Allocate,
}

impl DiskOp {
    /// All operations.
    pub const ALL: [Self; 15] = [
        Self::Create,
        Self::Open,
        Self::Rename,
        Self::Remove,
        Self::List,
        Self::SyncDir,
        Self::SyncExisting,
        Self::Lock,
        Self::Space,
        Self::Append,
        Self::Seal,
        Self::Sync,
        Self::Read,
        Self::Trim,
        Self::Allocate,
    ];
}

impl fmt::Display for DiskOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::List => "list",
            Self::SyncDir => "sync the directory",
            Self::SyncExisting | Self::Sync => "sync",
            Self::Lock => "lock",
            Self::Space => "space",
            Self::Append => "append",
            Self::Seal => "seal",
            Self::Read => "read",
            Self::Trim => "trim",
            Self::Allocate => "allocate",
        })
    }
}

/// A class of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileClass {
    /// `CURRENT` and `CURRENT.tmp`
    Current,
    /// `LOCK`
    Lock,
    /// `RESERVE`
    Reserve,
    /// `MANIFEST-000012`
    Manifest,
    /// `000000000014.log`
    Log,
    /// `000000000017.sst` and `000000000017.quarantined`
    Table,
    /// `000000000013.spare`
    Spare,
}

impl FileClass {
    /// All classes.
    pub const ALL: [Self; 7] = [
        Self::Current,
        Self::Lock,
        Self::Reserve,
        Self::Manifest,
        Self::Log,
        Self::Table,
        Self::Spare,
    ];

    /// The class of a file.
    pub const fn of(name: FileName) -> Self {
        match name {
            FileName::Current | FileName::CurrentTmp => Self::Current,
            FileName::Lock => Self::Lock,
            FileName::Reserve => Self::Reserve,
            FileName::Manifest(_) => Self::Manifest,
            FileName::Log(_) => Self::Log,
            FileName::Table(_) | FileName::Quarantined(_) => Self::Table,
            FileName::Spare(_) => Self::Spare,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::{SegmentNo, TableId};

    const LOG: &[FileName] = &[FileName::Log(SegmentNo(1))];
    const TABLE: &[FileName] = &[FileName::Table(TableId(2))];
    const EIO: Fault = Fault::Error(Errno::IO);

    fn fired(plan: &mut FaultPlan, op: DiskOp, files: &[FileName], times: usize) -> Vec<bool> {
        (0..times).map(|_| plan.next(op, files).is_some()).collect()
    }

    #[test]
    fn nth_fires_once_and_from_fires_ever_after() {
        let mut plan = FaultPlan::new(0).rule(FaultRule::new(When::Nth(2), EIO));
        assert_eq!(fired(&mut plan, DiskOp::List, &[], 4), [false, true, false, false]);
        let mut plan = FaultPlan::new(0).rule(FaultRule::new(When::From(3), EIO));
        assert_eq!(fired(&mut plan, DiskOp::List, &[], 4), [false, false, true, true]);
        assert_eq!(plan.fired(), 2);
    }

    #[test]
    fn a_rule_counts_only_what_it_matches() {
        let rule = FaultRule::new(When::Nth(2), EIO).op(DiskOp::Append).class(FileClass::Log);
        let mut plan = FaultPlan::new(0).rule(rule);
        assert_eq!(plan.next(DiskOp::Append, LOG), None);
        assert_eq!(plan.next(DiskOp::Append, TABLE), None);
        assert_eq!(plan.next(DiskOp::Read, LOG), None);
        assert_eq!(plan.next(DiskOp::SyncDir, &[]), None);
        assert_eq!(plan.next(DiskOp::Append, LOG), Some(EIO));
    }

    #[test]
    fn faults_happen_only_to_operations_they_can_happen_to() {
        for fault in [Fault::Short(1, Errno::IO), Fault::SyncLost, Fault::FlipBit, Fault::Zero] {
            let mut plan = FaultPlan::new(0).rule(FaultRule::new(When::From(1), fault));
            assert_eq!(plan.next(DiskOp::Create, LOG), None, "{fault:?}");
        }
    }

    #[test]
    fn the_first_rule_that_fires_decides_and_all_count() {
        let mut plan = FaultPlan::new(0)
            .rule(FaultRule::new(When::Nth(1), EIO))
            .rule(FaultRule::new(When::Nth(2), Fault::Error(Errno::NOSPC)));
        assert_eq!(plan.next(DiskOp::Create, LOG), Some(EIO));
        assert_eq!(plan.next(DiskOp::Create, LOG), Some(Fault::Error(Errno::NOSPC)));
    }

    #[test]
    fn a_rate_is_decided_by_the_seed() {
        let draw = |seed| {
            let mut plan = FaultPlan::new(seed).rule(FaultRule::new(When::Rate(0.5), EIO));
            fired(&mut plan, DiskOp::Read, TABLE, 64)
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}

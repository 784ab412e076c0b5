//! How a store must feel after a fault: its state of health, by what was done to which file.
//!
//! The table behind [`reaction`] is for one fault, and for the moment at which the operation of the
//! client that met it has ended. What ends the trouble is not in it: once faults are gone, `resume`
//! must leave every store healthy but one that has found damage.

use std::fmt;

use crate::fault::Effect;

/// What works, as the store says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Everything.
    Healthy,
    /// All but some tables.
    CorruptRanges,
    /// All but background work.
    CompactionStopped,
    /// Reads; writes will again.
    NoSpace,
    /// Reads; writes after a resume.
    WriteFenced,
    /// Nothing: a bug.
    Poisoned,
    /// Nothing.
    Closed,
}

impl Health {
    /// All of them, with their words.
    pub const ALL: [(Self, &str); 7] = [
        (Self::Healthy, "healthy"),
        (Self::CorruptRanges, "corrupt-ranges"),
        (Self::CompactionStopped, "compaction-stopped"),
        (Self::NoSpace, "no-space"),
        (Self::WriteFenced, "write-fenced"),
        (Self::Poisoned, "poisoned"),
        (Self::Closed, "closed"),
    ];
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(health, _)| health == self).map(|(_, word)| *word);
        f.write_str(word.expect("every state has a word"))
    }
}

/// The states in which a store may be after one fault.
///
/// A sync of the log that fails leaves it in doubt, and a log's names are part of it. Everything
/// else is tried again, elsewhere: the log goes on in a new segment, a flush in a new table, the
/// manifest in a new one. A full disk is waited out. Damage that a read finds stays known; a read
/// that fails does not.
pub fn reaction(op: &str, class: Option<&str>, effect: Effect) -> &'static [Health] {
    use Health::{CorruptRanges, Healthy, NoSpace, WriteFenced};
    match (op, class, effect) {
        ("sync", Some("log"), _) => &[WriteFenced],
        ("sync-dir", _, Effect::Enospc) => &[Healthy, NoSpace, WriteFenced],
        ("sync-dir", ..) => &[Healthy, WriteFenced],
        (_, _, Effect::Enospc) => &[Healthy, NoSpace],
        ("read", Some("table"), Effect::FlipBit | Effect::Zero | Effect::Misdirect) => {
            &[Healthy, CorruptRanges]
        }
        _ => &[Healthy],
    }
}

//! Short histories of all kinds, and every image that a crash can leave of each: bounded black-box
//! testing in the manner of CrashMonkey and ACE (Mohan and others, 2018), whose authors found that
//! nearly all crash bugs of file systems need no more than two or three operations.
//!
//! Every sequence of the twelve operations below, up to a length, runs on a small store. The
//! machine stands still before each change that the last operation makes to the disk, and once
//! after it; every disk that a crash could leave then is recovered, or a number of them if there
//! are more.

use crate::engine::Simulated;
use crate::fault::Effect;
use crate::ops::{Op, Script};
use crate::run::{Broken, run, watch};
use crate::store::Look;

/// What every history begins with.
const BASE: &str = "keyspace users
put a v0 sync
put users:a u0~300
flush
put b w0";

/// What follows, in every order.
const ALPHABET: [&str; 12] = [
    "put a v1",
    "put c v2 sync",
    "delete a",
    "batch put a v3 | put users:c u1 | delete b",
    "flush",
    "compact",
    "sync",
    "keyspace orders",
    "drop_keyspace users",
    "reopen close",
    "crash kill 1",
    "pump idle",
];

/// A sequence, as indexes into the alphabet.
pub type Sequence = Vec<usize>;

/// What a sequence came to.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Points at which the machine stood still.
    pub points: u64,
    /// Disks that were recovered.
    pub images: u64,
}

/// All sequences of one to `longest` operations, the shorter ones first.
pub fn sequences(longest: usize) -> Vec<Sequence> {
    let mut all: Vec<Sequence> = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..longest {
        let until = all.len();
        for at in from..until {
            let longer = (0..ALPHABET.len()).map(|next| [&all[at][..], &[next]].concat());
            all.extend(longer.collect::<Vec<_>>());
        }
        from = until;
    }
    all.split_off(1)
}

/// The sequence that begins the store's life, and `sequence` behind it.
pub fn script(sequence: &[usize]) -> Script {
    let lines = sequence.iter().map(|op| ALPHABET[*op]);
    let text = BASE.lines().chain(lines).collect::<Vec<_>>().join("\n");
    text.parse().expect("the alphabet is of the language")
}

/// The same, standing still at an operation of the disk that the last line does, counting from 1;
/// `None` after all of them. Up to `most` images are looked at there.
pub fn script_until(sequence: &[usize], operation: Option<u64>, most: u64) -> Script {
    let mut script = script(sequence);
    if let Some(countdown) = operation {
        let last = script.ops.len() - 1;
        script.ops.insert(last, Op::Strike { falls: vec![(countdown, Effect::Stop)] });
    }
    script.ops.push(Op::Images { most });
    script.ops.push("crash lose-all-unsynced 1".parse().expect("a crash is of the language"));
    script
}

/// Plays a sequence and all crashes of its last operation.
///
/// # Errors
/// The script that failed and how.
pub fn play(sequence: &[usize], most: u64) -> Result<Counted, Box<(Script, Broken)>> {
    let whole = script(sequence);
    let met = watch::<Simulated>(&whole, Look::AtOperations)
        .map_err(|broken| Box::new((whole, broken)))?;
    let changes = |op: &str| !matches!(op, "read" | "list" | "space" | "open" | "lock");
    let last = met.last().map_or(&[][..], Vec::as_slice);
    let points = last.iter().zip(1..).filter(|(met, _)| changes(met.op)).map(|(_, at)| Some(at));
    let mut counted = Counted::default();
    for point in points.chain([None]) {
        let script = script_until(sequence, point, most);
        let outcome = run::<Simulated>(&script, &mut |_, _| {});
        if let Some(broken) = outcome.broken {
            return Err(Box::new((script, broken)));
        }
        counted.points += 1;
        counted.images += outcome.reached.times("image recovered");
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_156_sequences_of_up_to_two() {
        let all = sequences(2);
        assert_eq!(all.len(), 12 + 144);
        assert_eq!((&all[0], &all[12], &all[155]), (&vec![0], &vec![0, 0], &vec![11, 11]));
    }

    #[test]
    fn a_batch_over_keyspaces_is_right_in_every_image() {
        let counted = play(&[3, 4], 64).unwrap_or_else(|failed| panic!("{}{}", failed.0, failed.1));
        assert!(counted.points > 5 && counted.images > 50, "{counted:?}");
    }
}

//! One history under many options: sizes, compression and memory change when work is done, never
//! what is answered.
//!
//! Each run is compared with the model, so the runs are equal to each other by way of it. The
//! histories are those of the seeds without their faults, whose countdowns would fall elsewhere
//! under other options.

use crate::engine::{OPTION_SETS, Simulated};
use crate::generate::generate;
use crate::ops::{Op, Script};
use crate::reached::Reached;
use crate::run::{Broken, run};

/// The history of a seed without faults, and no shorter than `ops_min`: that of the following
/// seeds is behind it.
pub fn script(seed: u64, ops_min: usize) -> Script {
    let mut script = Script { seed, ..Script::default() };
    for next in seed.. {
        let ops = generate(next).ops.into_iter().filter(|op| !is_fault(op));
        script.ops.extend(ops);
        if script.ops.len() >= ops_min {
            break;
        }
    }
    script.ops.truncate(ops_min);
    script
}

fn is_fault(op: &Op) -> bool {
    matches!(op, Op::Fault(_) | Op::Capacity { .. } | Op::Rot { .. } | Op::Crash { .. })
}

/// Plays `script` under each set of options.
///
/// # Errors
/// The script of the set that failed, and how.
pub fn play(script: &Script) -> Result<Reached, Box<(Script, Broken)>> {
    let mut reached = Reached::default();
    for set in 0..OPTION_SETS.len() {
        let script = Script { options: Some(set as u8), ..script.clone() };
        let outcome = run::<Simulated>(&script, &mut |_, _| {});
        if let Some(broken) = outcome.broken {
            return Err(Box::new((script, broken)));
        }
        reached.merge(&outcome.reached);
    }
    Ok(reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_the_same_under_all_options() {
        let script = script(1, 150);
        assert_eq!(script.ops.len(), 150);
        if let Err(failed) = play(&script) {
            panic!("{}{}", failed.0, failed.1);
        }
    }
}

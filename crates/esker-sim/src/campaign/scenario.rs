//! The histories that campaigns play: small ones, each about one thing that a store does.
//!
//! They are scripts (see [`crate::ops`]) in `scenarios/`. Only `resume` has
//! faults of its own.

use crate::ops::Script;

/// A history and its name.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The name of its file.
    pub name: &'static str,
    /// What happens.
    pub script: Script,
}

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../scenarios/", $name, ".txt")))),*]
    };
}

const ALL: &[(&str, &str)] = scenarios![
    "create",
    "write",
    "sync",
    "batch-over-keyspaces",
    "rotate",
    "flush",
    "compact-l0",
    "compact-bottom",
    "trivial-move",
    "merge-within-l0",
    "sweep",
    "manifest-roll",
    "keyspace-create",
    "keyspace-drop",
    "snapshot-hold",
    "iterator-hold",
    "close",
    "reopen-clean",
    "reopen-dirty",
    "recycle",
    "seal",
    "low-space",
    "settle",
    "resume",
    "check",
];

/// All of them.
///
/// # Panics
/// Panics if a file of `scenarios/` is no script.
pub fn all() -> Vec<Scenario> {
    let parse = |(name, text): &(&'static str, &str)| match text.parse() {
        Ok(script) => Scenario { name, script },
        Err(error) => panic!("scenarios/{name}.txt: {error}"),
    };
    ALL.iter().map(parse).collect()
}

//! Floor 5: keep the shape.
//!
//! Flushes pile tables up in L0. Compactions merge them down, so that a read has few places to
//! look and superseded versions give their space back. Four questions, five files:
//!
//! ```text
//! shape  how bad is it?   levels -> which of them are due
//! pick   what next?       tables -> a plan; what L0 does is in l0
//! merge_job  do it        a plan's entries -> new tables, step by step
//! elide  what may vanish? versions of a key -> kept or dropped
//! ```
//!
//! `shape`, `pick`, `l0` and `elide` are pure functions over small values, `merge_job` writes tables; the
//! floor above carries a plan out and installs its outputs in place of its inputs in one edit.
//!
//! Invariants:
//!
//! - **C1** Levels come in order: L0 newest first with disjoint sequence numbers, deeper ones by
//!   key with disjoint ranges.
//! - **C2** A plan's inputs in its target level are all tables there that its range meets: outputs
//!   land among tables that they cannot overlap.
//! - **C3** A table moved without a rewrite has no tombstone, or something deeper lies under it: no
//!   tombstone comes to rest where nothing would ever drop it.
//! - **C4** Versions of a key reach a merge newest first.
//! - **C5** Every entry that went into a merge was written, superseded, or a tombstone dropped.
//! - **C6** Outputs of a merge ascend and are disjoint: all versions of a key are in one table.
//! - **C7** A merge within L0 takes neighbours in age of which no sweep has taken one: sequence
//!   numbers of L0 stay disjoint, and a sweep's tables stay the oldest.
//!
//! Which tombstones a merge may drop: those of keys of which nothing older can lie outside. What
//! goes down from L0 is all of it, or its oldest tables; what goes down from deeper levels is
//! disjoint from what stays. So older versions lie below the target alone. A merge within L0
//! leaves older tables of L0 behind, and all deeper levels. The plan names those ranges.
//!
//! Threads and locks: none here. A merge job belongs to one thread at a time.
//!
//! What a crash leaves: outputs that no manifest names; recovery deletes them.
//!
//! Cost: planning is linear in the number of tables. A merge reads and writes each entry once, and
//! holds one entry's key, one block of each source and one of its output in memory.
//!
//! Not here: which jobs run when, opening tables, the manifest.
#![forbid(unsafe_code)]

pub mod elide;
pub mod l0;
pub mod merge_job;
pub mod pick;
#[cfg(test)]
mod pick_tests;
pub mod shape;

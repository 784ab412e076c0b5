//! Floor 5: keep the shape.
//!
//! Flushes pile tables up in L0. Compactions merge them down, so that a read has few places to
//! look and superseded versions give their space back. Four questions, four files:
//!
//! ```text
//! shape  how bad is it?   levels -> which of them are due
//! pick   what next?       tables -> a plan
//! merge_job  do it        a plan's entries -> new tables, step by step
//! elide  what may vanish? versions of a key -> kept or dropped
//! ```
//!
//! `shape`, `pick` and `elide` are pure functions over small values, `merge_job` writes tables; the
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
//!
//! Why a merge may drop tombstones by looking at deeper levels alone: a plan leaves nothing behind
//! that is older than its inputs, except in levels below its target. From L0 it takes all tables,
//! from deeper levels disjoint ones.
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
pub mod merge_job;
pub mod pick;
pub mod shape;

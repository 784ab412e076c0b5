//! Floor 3: which files are the store. Metadata only: nothing here opens a table.
//!
//! A [`Version`] is one immutable picture of a keyspace's tables. The [`StoreState`] is all of
//! them and what else must survive: numbers in use, how far each keyspace is flushed, which
//! segments of the log are needed. The [`Manifest`] is its history on disk: a snapshot of the
//! state, then an [`Edit`] for every change. [`read_manifest`] goes the other way.
//!
//! - [`table_meta`], [`edit`], [`levels`], [`state`], [`numbers`]: the values, and the rules between
//!   them
//! - [`codec`], [`fields`]: their bytes, in tagged fields; described in `FORMAT.md`
//! - [`current`]: `CURRENT`, and the manifest's header
//! - [`manifest`], [`read_manifest`](mod@read_manifest): writing and reading
//! - [`describe`](mod@describe): a readable print; `fuzz`: hostile bytes
//!
//! Order of writing: a table is synced and so is its name before an edit names it; an edit is
//! synced before it counts; a mark follows before a file goes away because of it. A mark states
//! that the edits in front of it were durable, so that bytes that rot below it are `Corruption`
//! and not taken for the tail of a crash.
//!
//! Invariants:
//!
//! - V1: a table is in one place: one level of one keyspace
//! - V2: a table is removed from the level where it is
//! - V3: the tables of L1 and deeper levels are sorted and have no key in common
//! - V4: the tables of L0 have disjoint ranges of sequence numbers, the newest first
//! - V5: nothing goes back: file numbers, keyspace ids, sequence numbers, counters, the log
//! - V6: an edit speaks of keyspaces that are there, under names of their own; `default` stays
//! - V7: nothing follows a record of a manifest of which it is not known whether it is there
//! - V8: the tables of a sweep are the oldest of L0, each with something left; its cursor goes up
//!
//! Threads: values and one writer; no locks. A broken invariant in an edit of our own panics, in a
//! manifest that is read it is `Corruption`.
//!
//! Cost: applying an edit looks at every table of the levels it touches.
//!
//! A crash leaves: the manifest that `CURRENT` names, perhaps with half an edit at its end, or a
//! new one that nobody names.
#![forbid(unsafe_code)]

mod codec;
mod current;
mod describe;
mod edit;
mod fields;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod levels;
mod manifest;
#[cfg(test)]
mod manifest_tests;
mod numbers;
mod read_manifest;
mod state;
mod table_meta;
#[cfg(test)]
mod testing;

pub use describe::describe;
pub use edit::{Edit, KeyspaceCounters, KeyspaceEdit, Sweep};
pub use levels::{Broken, Version};
pub use manifest::Manifest;
pub use read_manifest::{Found, read_manifest, salvage_manifest};
pub use state::{FixedOptions, StoreState};
pub use table_meta::TableMeta;

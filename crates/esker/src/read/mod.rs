//! Floor 4: from many sources to one answer.
//!
//! A read looks into memtables, into every table of L0 and into one table of each deeper level.
//! Each of them is a [`Cursor`](crate::base::cursor::Cursor) over entries: all versions, all
//! tombstones. This folder makes one sequence out of them, then hides what a reader must not see:
//!
//! ```text
//! memtable   b#9,delete                        merge                              visible at #8
//! L0         a#7,put=1  c#6,put=2        ->    a#7 b#9 b#3 c#6              ->    a=1 b=4 c=2
//! L1         b#3,put=4
//! ```
//!
//! - [`merge`]: many sorted sources as one, both directions
//! - [`visible`]: the newest visible version of each key; tombstones, bounds
//!
//! Invariants:
//!
//! - **R1** No two sources of a merge hold the same key and tag: an entry lives in one place.
//! - **R2** The keys that come out of a source ascend when it goes forward and descend when it
//!   goes back. A cursor that broke this would show a key twice or lose one.
//!
//! Threads: a cursor belongs to one thread at a time; it may be sent to another. No locks here.
//! What memtables gain while a cursor is open is newer than its reader and so never shown.
//!
//! Cost: nothing is allocated per step. A step of a merge of `k` sources makes `log2 k`
//! comparisons of 8-byte heads; keys are compared only when their heads are equal.
//!
//! Not here: which sources there are (that is the view), and files (the floor below opens them).
#![forbid(unsafe_code)]

pub mod get;
pub mod level;
pub mod merge;
pub mod multi_get;
pub mod run;
pub mod scan;
pub mod view;
pub mod visible;
#[cfg(test)]
mod walk_tests;

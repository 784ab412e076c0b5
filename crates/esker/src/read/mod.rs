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
//! - [`get`], [`multi_get`]: one key, many keys: newest source first
//! - [`clamp`]: what a sweep has left of tables of L0
//! - [`run`]: a cursor over a memtable, a table or a level ([`level`])
//! - [`merge`]: many sorted sources as one, both directions
//! - [`visible`]: the newest visible version of each key; tombstones, bounds
//! - [`view`]: what there is to read; [`scan`]: what users walk with
//!
//! Where one run alone has the next entries, nothing is merged and nothing is compared: it lends a
//! *stretch* of the block that it stands in ([`Stretch`](crate::sstable::Stretch)) to the cursor
//! above all layers, which walks the columns of the block alone. A store that is one sorted run is
//! walked so from end to end, but for the first entry of each block, which may be an older version
//! of the key before; of several runs one lends up to the next key of any other.
//!
//! Invariants:
//!
//! - **R1** No two sources of a merge hold the same key and tag: an entry lives in one place.
//! - **R2** The keys that come out of a source ascend when it goes forward and descend when it
//!   goes back. A cursor that broke this would show a key twice or lose one.
//! - **R4** A clamp is of tables that L0 has.
//!
//! Threads: a cursor belongs to one thread at a time; it may be sent to another. No locks here.
//! What memtables gain while a cursor is open is newer than its reader and so never shown: what a
//! stretch passes without looking at memtables is nothing that it could show.
//!
//! Cost: a step in a stretch 10 to 16 ns; the end of one 50 to 100. A step of a merge of `k` sources
//! makes `log2 k` comparisons of 8 bytes of each key, none while one source keeps winning; keys are
//! compared only when these are equal. Nothing is allocated per step.
//!
//! Not here: which sources there are (that is the view), and files (the floor below opens them).
#![forbid(unsafe_code)]

pub mod clamp;
pub mod fences;
pub mod get;
pub mod level;
pub mod merge;
pub mod multi_get;
pub mod run;
pub mod scan;
pub mod view;
pub mod visible;
#[cfg(test)]
mod visible_tests;
#[cfg(test)]
mod walk_tests;

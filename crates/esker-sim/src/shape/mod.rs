//! The policy of compaction played without a disk: the engine's own `pick` over tables that are
//! nothing but a range of keys and a number of bytes.
//!
//! A flush is one step of time. After it the background may write so many bytes for each byte
//! that the user wrote (the *drain*), and works off what `pick` says. So a store of a petabyte and
//! years of writes are a matter of seconds, and what it costs can be compared, rule by rule:
//!
//! - *write* amplification: bytes of tables written per byte of the user
//! - *runs*: tables of L0 and levels that a get may have to look into, on average and at most
//! - *space*: bytes of all tables, those of a merge under way twice, per byte that is alive
//!
//! Keys are numbers, evenly spread: a table holds as much of each part of its range as of any
//! other. Where tables of a merge overlap they share keys as chance has it. So the figures are
//! expectations; nothing is drawn.
//!
//! - [`table`]: tables and merges as arithmetic; [`play`]: time and jobs
//! - [`report`]: the rows of `esker-sim shape`

pub mod play;
pub mod report;
pub mod table;

//! Esker's simulation: seeded histories on a simulated machine, against a model.
//!
//! A seed makes a script ([`generate`]), a script runs on a store and on the model side by side
//! ([`run`]), a difference is cut down to the few operations that it takes ([`shrink`]). Nothing
//! here depends on a clock, a thread or the order of a hash table, so a seed is a proof that can
//! be carried to another machine.
//!
//! - [`ops`], [`fault`], [`parse`]: the operation language, as data and as text
//! - [`model`]: what a store must answer
//! - [`reaction`]: how it must feel after a fault
//! - [`store`]: what is needed of a store and its machine; [`engine`]: Esker behind it
//! - [`shape`]: the policy of compaction played without a disk, for years and petabytes
//! - [`canary`]: a machine on which a seed has to fail
//! - [`flips`]: bit rot: no flipped bit of a store is silent
//! - [`verify`]: everything that a store shows; [`reached`]: what the runs came by

#![forbid(unsafe_code)]

pub mod campaign;
pub mod canary;
pub mod engine;
pub mod fault;
pub mod flips;
pub mod generate;
mod horizon;
mod life;
pub mod model;
pub mod ops;
pub mod parse;
mod print;
pub mod reached;
pub mod reaction;
mod read;
mod rng;
pub mod run;
pub mod shape;
pub mod shrink;
pub mod store;
pub mod verify;
mod workshop;

//! The benchmark of Esker: workloads in the tradition of `db_bench` and YCSB, each measured from
//! outside (rates, latencies, what the operating system saw) and from inside (what the engine
//! wrote and holds), and checked: a benchmark that does not look at what it reads is not believed.
//!
//! [`run`] does what [`Settings`] say and answers a [`Report`], which prints itself as tables and
//! is kept as JSON; [`Comparison`] sets two side by side. The program is `esker bench`. It uses
//! the public face of the engine alone.
//!
//! ```text
//! run         workloads in order on one store; settles before reads; threads
//! work        what one thread does, operation by operation       ground   what threads share
//! workload    names, and how much of each      settings    what a run is told
//! entries     keys and values that can be checked              random, zipf   what is drawn
//! clock       one look a operation, histograms                 process   memory, disk, space
//! home        the directory, and what its store holds          machine   where and when
//! report      the figures      table, compare   for a person   progress  a bar on a terminal
//! ```
#![forbid(unsafe_code)]

mod clock;
mod compare;
mod entries;
mod error;
mod ground;
mod home;
mod machine;
mod process;
mod progress;
mod random;
mod report;
mod run;
mod settings;
mod table;
mod work;
mod workload;
mod zipf;

pub use compare::Comparison;
pub use error::{Error, Result};
pub use report::Report;
pub use run::run;
pub use settings::Settings;
pub use workload::{DEFAULT, Workload};

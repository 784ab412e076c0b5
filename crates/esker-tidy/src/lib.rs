//! The house rules of this repository, as tests.
//!
//! The compiler does not know that `wal` may not name `memtable`, that a numbered invariant needs
//! a test, or that a path in a comment once led somewhere. This crate reads the sources as text
//! and knows. It depends on nothing, the engine included, so it runs when nothing else compiles:
//! `cargo test -p esker-tidy`.
//!
//! Each rule is a module with one function, `check(&Repo) -> Vec<Finding>`, and with unit tests
//! on small made-up repositories which prove that it can fail. `tests/tidy.rs` holds every rule
//! against this repository. The rules work on masked text ([`mask`]), not on a syntax tree: a
//! string that looks like code is no code, but a macro that builds paths would go unseen.
//!
//! - [`floors`]: a file imports from lower floors or its own folder
//! - [`headers`]: every file says first what it is
//! - [`bans`]: names that only some files may use
//! - [`invariants`]: every numbered invariant is listed, asserted and tested
//! - [`links`]: every path that a document or a comment mentions exists
//! - [`sizes`]: lengths of files and functions
//! - [`modules`]: every source file is part of a crate
//! - [`formats`]: every codec has its FORMAT.md, decoded by a test
//! - [`words`]: what no file may contain
//! - [`options`]: at most 15 public options
//! - [`dependencies`]: each has a line that says why
//! - [`promises`]: every test that docs/guarantees.md names exists
#![forbid(unsafe_code)]

pub mod bans;
pub mod dependencies;
pub mod floors;
pub mod formats;
pub mod headers;
pub mod invariants;
pub mod links;
pub mod mask;
pub mod modules;
pub mod options;
pub mod promises;
pub mod repo;
pub mod sizes;
pub mod words;

pub use repo::{Finding, Repo};

//! Esker: an embedded, ordered key-value store; a log-structured merge tree.
#![deny(missing_docs)]

mod base;
mod cache;
mod compaction;
mod db;
mod env;
mod memtable;
mod read;
mod sstable;
#[cfg(test)]
mod testing;
mod version;
mod vfs;
mod wal;

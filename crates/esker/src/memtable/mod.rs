//! Floor 2: the memtable, the sorted writes in memory that no table holds yet.
//!
//! A B+tree of [`node`]s with 64 slots that one writer fills; the slots of its leaves lead to
//! [`entry`] chains, the versions of a key, newest first. An overwrite extends a chain and leaves
//! the tree as it is. Nothing is ever removed: a memtable grows until it is frozen, is read until
//! its flush is durable, and goes with its [`arena`]s when the last reader lets go of it.
//!
//! # Invariants
//!
//! - **M1** Keys ascend: within a node, from low fence (inclusive) to high fence (exclusive), and
//!   from each node to its right neighbour.
//! - **M2** A node's high fence is its right neighbour's low fence, and every node of a level is
//!   reached from the first one by right links.
//! - **M3** All keys at or below a node share its prefix, and a slot's head is the 8 bytes of its
//!   key behind that prefix.
//! - **M4** The tags of a key's versions descend along the chain, and any version is a logarithmic
//!   number of steps away.
//! - **M5** All leaves are equally deep, every node but a single leaf has two slots or more, and a
//!   node's low fence is its first key for ever.
//! - **M6** Entries never change; entries and nodes never move and are never freed before the
//!   memtable is dropped. References to them may be kept as long as the memtable is.
//! - **M7** `bytes` grows with every insert, and the figures count exactly what was inserted.
//!
//! # Threads
//!
//! One writer at a time, by the caller's contract and by the latch: an `RwLock`, taken for
//! one descent, held over no I/O and never handed out. Readers take it shared for one descent, then
//! follow entries without it. Optimistic readers will need a version word in each node and the
//! rules for checking it; atomics in the nodes, right links, high fences and complete-before-
//! published pointers are in place.
//!
//! # Cost
//!
//! Per entry 16 bytes and some 17 to 34 of its share of a node; an overwrite 40. A miss in memory
//! for each level below the cached ones, and one for the entry.
//!
//! After a crash a memtable is filled anew from the log. Not here: which seqnos exist (`db`), a
//! filter in front of the tree, the choice of when to freeze.

mod arena;
#[cfg(test)]
mod check;
mod cursor;
mod entry;
mod node;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, RwLock};

use self::tree::{Arenas, Tree};
use crate::base::key::{SeqNo, Tag};
use crate::base::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

pub use self::cursor::MemtableCursor;

/// Slots of a node: 64 heads fill 8 cache lines, of which a search reads all at once.
const DEFAULT_WIDTH: usize = 64;

/// The first chunk of a memtable that nobody chose one for.
const DEFAULT_CHUNK_BYTES: usize = 64 << 10;

const POISONED: &str = "a writer of this memtable panicked";

/// Entries in memory, in order. See the module's text.
pub struct Memtable<const WIDTH: usize = DEFAULT_WIDTH> {
    tree: Tree<WIDTH>,
    /// Readers share it, the writer has it alone, and with it the memory to write to.
    latch: RwLock<Arenas>,
    /// The figures: written under the latch, read without it.
    bytes: AtomicUsize,
    entries: AtomicU64,
    user_bytes: AtomicU64,
    seq_min: AtomicU64,
    seq_max: AtomicU64,
}

impl Memtable {
    /// An empty memtable; it takes memory with its first entry.
    pub fn new() -> Self {
        Self::with_chunk_bytes(DEFAULT_CHUNK_BYTES)
    }

    /// An empty memtable whose chunks of memory start at `chunk_bytes` and double up to 2 MiB.
    pub fn with_chunk_bytes(chunk_bytes: usize) -> Self {
        Self::with_width(chunk_bytes)
    }
}

impl Default for Memtable {
    fn default() -> Self {
        Self::new()
    }
}

impl<const WIDTH: usize> Memtable<WIDTH> {
    /// As [`Memtable::with_chunk_bytes`], of nodes with `WIDTH` slots: tests use few, so that
    /// a handful of keys makes a deep tree.
    fn with_width(chunk_bytes: usize) -> Self {
        Self {
            tree: Tree::new(),
            latch: RwLock::new(Arenas::new::<WIDTH>(chunk_bytes)),
            bytes: AtomicUsize::new(0),
            entries: AtomicU64::new(0),
            user_bytes: AtomicU64::new(0),
            seq_min: AtomicU64::new(u64::MAX),
            seq_max: AtomicU64::new(0),
        }
    }

    /// Inserts a version of `key`, newer than all that are here. One writer at a time.
    pub fn insert(&self, key: &[u8], tag: Tag, value: &[u8]) {
        assert!(key.len() <= KEY_BYTES_MAX, "key of {} bytes", key.len());
        assert!(value.len() <= VALUE_BYTES_MAX, "value of {} bytes", value.len());
        let mut arenas = self.latch.write().expect(POISONED);
        self.tree.insert(&mut arenas, key, tag, value);
        // Only this thread writes the figures now, so they need no read-modify-write.
        let user_bytes = (key.len() + value.len()) as u64;
        let seq = tag.seq().get();
        self.bytes.store(arenas.used_bytes(), Relaxed);
        self.user_bytes.store(self.user_bytes.load(Relaxed) + user_bytes, Relaxed);
        self.seq_min.store(self.seq_min.load(Relaxed).min(seq), Relaxed);
        self.seq_max.store(self.seq_max.load(Relaxed).max(seq), Relaxed);
        self.entries.store(self.entries.load(Relaxed) + 1, Release);
    }

    /// The newest version of `key` that a read at `seq` sees: its tag, which may be a tombstone's,
    /// and its value.
    pub fn get(&self, key: &[u8], seq: SeqNo) -> Option<(Tag, &[u8])> {
        let newest = self.read(|tree| tree.find(key))?;
        let version = newest.version_at(seq)?;
        Some((version.tag(), version.value()))
    }

    /// A cursor over all versions, not positioned yet. It sees what was inserted before it was
    /// positioned, and of later inserts perhaps some.
    pub fn cursor(self: &Arc<Self>) -> MemtableCursor<WIDTH> {
        MemtableCursor::new(Arc::clone(self))
    }

    /// Bytes of memory in use by entries and nodes; unused rests of chunks do not count.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// How many versions were inserted.
    pub fn entries(&self) -> u64 {
        self.entries.load(Acquire)
    }

    /// The sum of the lengths of all keys and values inserted.
    pub fn user_bytes(&self) -> u64 {
        self.user_bytes.load(Relaxed)
    }

    /// The least and the greatest sequence number inserted; `None` without an entry.
    pub fn seq_range(&self) -> Option<(SeqNo, SeqNo)> {
        if self.is_empty() {
            return None;
        }
        let load = |seq: &AtomicU64| SeqNo::new(seq.load(Relaxed));
        Some((load(&self.seq_min), load(&self.seq_max)))
    }

    /// Whether nothing was inserted yet.
    pub fn is_empty(&self) -> bool {
        self.entries() == 0
    }

    /// Looks into the tree under the shared latch.
    fn read<'m, R>(&'m self, look: impl FnOnce(&'m Tree<WIDTH>) -> R) -> R {
        let _latch = self.latch.read().expect(POISONED);
        look(&self.tree)
    }
}

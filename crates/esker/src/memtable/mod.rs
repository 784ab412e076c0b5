//! Floor 2: the memtable, the sorted writes in memory that no table holds yet.
//!
//! A B+tree of [`node`]s with 64 slots that one writer fills while any number of readers look; the
//! slots of its leaves lead to [`entry`] chains, the versions of a key, newest first. An overwrite
//! extends a chain and leaves the tree as it is. A [`filter`] in front of the tree ends most gets
//! of keys that are not here. Nothing is ever removed: a memtable grows until it is frozen, is read
//! until its flush is durable, and goes with its [`arena`]s when the last reader lets go of it.
//!
//! # Invariants
//!
//! - **M1** Keys ascend: within a node, from low fence (inclusive) to high fence (exclusive), and
//!   from each node to its right neighbour.
//! - **M2** A node's high fence is its right neighbour's low fence, and every node of a level is
//!   reached from the first one by right links.
//! - **M3** A node's prefix is what its fences share, at an edge of the tree what all keys share, or
//!   up to [`PREFIX_SLACK_BYTES`] less; so all keys at or below it have it. A slot's head is the 8
//!   bytes of its key behind the prefix.
//! - **M4** The tags of a key's versions descend along the chain, and any version is a logarithmic
//!   number of steps away.
//! - **M5** All leaves are equally deep, every node but a single leaf has two slots or more, and a
//!   node's low fence is its first key for ever.
//! - **M6** Entries never change; entries and nodes never move and are never freed before the
//!   memtable is dropped. References to them may be kept as long as the memtable is.
//! - **M7** `bytes` grows with every insert, and the figures count exactly what was inserted.
//! - **M8** A frozen memtable never changes.
//! - **M9** The filter passes every key that is here.
//!
//! # Threads
//!
//! One writer at a time, by the caller's contract, and to be sure by a latch: a mutex that the
//! writer holds for one insert. Readers take no lock and write nothing that is shared. They are
//! *optimistic*: each node has a version that is odd while the node changes; a reader notes it,
//! reads, and looks whether it is still the same ([`node`] says how, [`descent`] how this goes on
//! from parent to child). A reader that met a change [`TRIES_MAX`] times in a row takes
//! the latch for one descent, and so comes through. The latch is held over no I/O and never
//! handed out. Once an entry was found it is read without any of this, for it never changes.
//!
//! Vectors read several heads at once and none of them atomically; beside a writer that is a data
//! race. So the writer searches with them, and of readers only those of a frozen memtable.
//! `loom_tests.rs` plays small trees through every order that the memory model allows.
//!
//! # Cost
//!
//! Per entry 16 bytes and some 17 to 34 of its share of a node; an overwrite 40; 2 for the filter.
//! A miss in memory for each level below the cached ones, and one for the entry.
//!
//! After a crash a memtable is filled anew from the log. Not here: which seqnos exist (`db`), the
//! choice of when to freeze.

mod arena;
#[cfg(test)]
mod check;
mod chunk;
mod cursor;
mod descent;
mod entry;
mod filter;
#[cfg(all(test, loom))]
mod loom_tests;
mod node;
mod search;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, OnceLock};

use self::filter::Filter;
use self::node::Torn;
use self::search::Heads;
use self::tree::{Arenas, Tree};
use crate::base::hash::key_hash;
use crate::base::invariant;
use crate::base::key::{SeqNo, Tag};
use crate::base::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::base::simd::kernels;
use crate::base::sync::kernel::{AtomicBool, AtomicU64, AtomicUsize, Mutex, spin};

pub use self::chunk::ChunkPool;
pub use self::cursor::MemtableCursor;

/// Slots of a node: 64 heads fill 8 cache lines, which a search asks for all at once.
const DEFAULT_WIDTH: usize = 64;

/// So many of the 8 bytes of its heads a node may leave to what all of its keys share.
const PREFIX_SLACK_BYTES: usize = 2;

/// So often a reader tries to find nodes unchanged before it takes the latch. A change takes some
/// hundred nanoseconds, unless the writer's thread is stopped in the middle of it.
const TRIES_MAX: usize = if cfg!(all(test, loom)) { 1 } else { 8 };

/// The filter is made when the memtable holds this part of what it will hold.
const FILTER_AT_PART: usize = 64;

/// For so many bytes an entry the filter has room, even if the first ones are larger.
const ENTRY_BYTES_USUAL: usize = 256;

const POISONED: &str = "a writer of this memtable panicked";

/// Entries in memory, in order. See the module's text.
pub struct Memtable<const WIDTH: usize = DEFAULT_WIDTH> {
    tree: Tree<WIDTH>,
    filter: OnceLock<Filter>,
    /// What the memtable is to hold before it is frozen; 0 if nobody knows, and then it gets no
    /// filter.
    full_bytes: usize,
    /// The writer's, and with it the memory to write to.
    latch: Mutex<Arenas>,
    frozen: AtomicBool,
    /// The figures: written under the latch, read without it.
    bytes: AtomicUsize,
    held_bytes: AtomicUsize,
    entries: AtomicU64,
    user_bytes: AtomicU64,
    seq_min: AtomicU64,
    seq_max: AtomicU64,
}

impl Memtable {
    /// An empty memtable that will be frozen when it holds about `full_bytes`. It takes its memory
    /// from `pool`, with its first entry and from then on, and gives it back there.
    pub fn new(full_bytes: usize, pool: &Arc<ChunkPool>) -> Self {
        Self::with_width(full_bytes, pool)
    }
}

impl<const WIDTH: usize> Memtable<WIDTH> {
    /// As [`Memtable::new`], of nodes with `WIDTH` slots: tests use few, so that a handful of keys
    /// makes a deep tree.
    fn with_width(full_bytes: usize, pool: &Arc<ChunkPool>) -> Self {
        Self {
            tree: Tree::new(),
            filter: OnceLock::new(),
            full_bytes,
            latch: Mutex::new(Arenas::new::<WIDTH>(pool)),
            frozen: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
            held_bytes: AtomicUsize::new(0),
            entries: AtomicU64::new(0),
            user_bytes: AtomicU64::new(0),
            seq_min: AtomicU64::new(u64::MAX),
            seq_max: AtomicU64::new(0),
        }
    }

    /// Inserts a version of `key`, newer than all that are here. One writer at a time, and none
    /// after [`Self::freeze`].
    pub fn insert(&self, key: &[u8], tag: Tag, value: &[u8]) {
        assert!(key.len() <= KEY_BYTES_MAX, "key of {} bytes", key.len());
        assert!(value.len() <= VALUE_BYTES_MAX, "value of {} bytes", value.len());
        // The filter's line is on its way while the tree is searched.
        let filtered = self.filter.get().map(|filter| {
            let hash = key_hash(key);
            filter.prefetch(hash);
            (filter, hash)
        });
        let mut arenas = self.latch.lock().expect(POISONED);
        invariant!(M8, !self.frozen.load(Relaxed), "an insert after the freeze");
        self.tree.insert(&mut arenas, key, tag, value);
        match filtered {
            Some((filter, hash)) => filter.add(hash),
            None if self.wants_filter(&arenas) => self.make_filter(&mut arenas),
            None => {}
        }
        self.count(&arenas, tag.seq().get(), (key.len() + value.len()) as u64);
    }

    /// No insert will follow: readers may use vectors from now on.
    pub fn freeze(&self) {
        let _latch = self.latch.lock().expect(POISONED);
        self.frozen.store(true, Release);
    }

    /// The newest version of `key`, whose hash is `hash`, that a read at `seq` sees: its tag, which
    /// may be a tombstone's, and its value.
    pub fn get(&self, key: &[u8], hash: u64, seq: SeqNo) -> Option<(Tag, &[u8])> {
        if self.is_empty() || self.filter.get().is_some_and(|filter| !filter.may_contain(hash)) {
            return None;
        }
        let newest = self.read(|tree, heads| tree.find(key, heads))?;
        let version = newest.version_at(seq)?;
        Some((version.tag(), version.value()))
    }

    /// A cursor over all versions, not positioned yet. It sees what was inserted before it was
    /// positioned, and of later inserts perhaps some.
    pub fn cursor(self: &Arc<Self>) -> MemtableCursor<WIDTH> {
        MemtableCursor::new(Arc::clone(self))
    }

    /// Bytes of memory in use by entries, nodes and filter; unused rests of chunks do not count.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Bytes of memory taken from the system or the pool; never less than [`Self::bytes`].
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Relaxed)
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

    /// Counts an insert. Only one thread writes the figures, so they need no read-modify-write.
    fn count(&self, arenas: &Arenas, seq: u64, user_bytes: u64) {
        self.bytes.store(arenas.used_bytes(), Relaxed);
        self.held_bytes.store(arenas.held_bytes(), Relaxed);
        self.user_bytes.store(self.user_bytes.load(Relaxed) + user_bytes, Relaxed);
        self.seq_min.store(self.seq_min.load(Relaxed).min(seq), Relaxed);
        self.seq_max.store(self.seq_max.load(Relaxed).max(seq), Relaxed);
        self.entries.store(self.entries.load(Relaxed) + 1, Release);
    }

    fn wants_filter(&self, arenas: &Arenas) -> bool {
        self.full_bytes > 0 && arenas.used_bytes() >= self.full_bytes / FILTER_AT_PART
    }

    /// Makes the filter of the keys that are here, for as many as will be here in the end.
    fn make_filter(&self, arenas: &mut Arenas) {
        let entries = self.entries.load(Relaxed) + 1;
        let keys = entries * (self.full_bytes / arenas.used_bytes()) as u64;
        let keys = keys.max((self.full_bytes / ENTRY_BYTES_USUAL) as u64);
        let filter = Filter::alloc(&mut arenas.nodes, keys);
        self.tree.for_each_key(|key| filter.add(key_hash(key)));
        let made = self.filter.set(filter);
        invariant!(M9, made.is_ok(), "only the writer makes the filter");
    }

    /// Looks into the tree, again if it changed meanwhile.
    fn read<'m, R>(&'m self, mut look: impl FnMut(&'m Tree<WIDTH>, Heads) -> Result<R, Torn>) -> R {
        if self.frozen.load(Acquire) {
            // SAFETY: `freeze` set the flag after the last insert, and `insert` asks for it under
            // the same latch: no node changes any more.
            let heads = unsafe { Heads::all_at_once(kernels()) };
            return look(&self.tree, heads).expect("a frozen tree is never torn");
        }
        for _ in 0..TRIES_MAX {
            if let Ok(found) = look(&self.tree, Heads::ONE_BY_ONE) {
                return found;
            }
            spin();
        }
        let _latch = self.latch.lock().expect(POISONED);
        look(&self.tree, Heads::ONE_BY_ONE).expect("nobody writes under our latch")
    }
}

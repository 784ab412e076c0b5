//! Floor 1b: the block cache. Blocks and pages of tables that were read and checked, in memory.
//!
//! A bounded map from (file, offset) to bytes. Only checked bytes go in, so what comes out needs
//! no second check. A reader holds what it got by sharing it ([`Bytes`]): eviction frees the
//! cache's share alone, so nothing that is in use is ever taken away, and the bound is on what
//! the cache holds, not on what readers still look at.
//!
//! Eviction is CLOCK: every entry has a bit that a hit sets; the hand goes round, clears set bits
//! and evicts where it finds one clear. A hit writes one bit and moves nothing.
//!
//! Invariants:
//! - `B1`: a shard accounts for exactly the bytes of its entries, and for no more than its bound.
//!
//! Threads and locks: a mutex per shard, innermost in the lock order, held over a look-up or an
//! insertion, never over I/O. Two threads that miss the same block both read it; the first
//! insertion stays.
//!
//! Cost: a hit is a lock, a look-up and a reference count, about 40 ns. An entry over an eighth of
//! the capacity is not kept, because it would push out everything else. Blocks of a deleted table
//! are not hunted for: nobody asks for them again and the hand takes them.

#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::base::invariant;

/// A cache smaller than this has one shard; each as large again adds one, up to [`SHARDS_MAX`].
const SHARD_BYTES_MIN: usize = 4 << 20;

/// More threads than this do not fight for one lock often enough to notice.
const SHARDS_MAX: usize = 8;

/// Names a block: a file of this cache and where in it the block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey {
    /// From [`BlockCache::new_file_id`]: one number per opened table, over all stores.
    pub file: u64,
    /// Offset of the block's first byte.
    pub offset: u64,
}

/// A bounded cache of blocks, shared by all tables of one or more stores.
pub struct BlockCache {
    shards: Box<[Mutex<Shard>]>,
    entry_bytes_max: usize,
    next_file_id: AtomicU64,
}

impl BlockCache {
    /// A cache that holds at most `capacity_bytes` of blocks.
    pub fn new(capacity_bytes: usize) -> Arc<Self> {
        let shards = (capacity_bytes / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
        let shard = || Mutex::new(Shard::new(capacity_bytes / shards));
        Arc::new(Self {
            shards: std::iter::repeat_with(shard).take(shards).collect(),
            entry_bytes_max: capacity_bytes / SHARDS_MAX,
            next_file_id: AtomicU64::new(1),
        })
    }

    /// A number for [`CacheKey::file`] that nobody else has.
    pub fn new_file_id(&self) -> u64 {
        self.next_file_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The block, if the cache holds it.
    pub fn get(&self, key: CacheKey) -> Option<Bytes> {
        self.with_shard(key, |shard| shard.get(key))
    }

    /// Keeps `bytes`, which its reader has checked. What is there already stays, and what is over
    /// an eighth of the capacity is not kept.
    pub fn insert(&self, key: CacheKey, bytes: Bytes) {
        if bytes.len() <= self.entry_bytes_max {
            self.with_shard(key, |shard| shard.insert(key, bytes));
        }
    }

    /// How many bytes of blocks it holds.
    pub fn bytes(&self) -> usize {
        let bytes = |shard: &Mutex<Shard>| shard.lock().expect(UNPOISONED).bytes;
        self.shards.iter().map(bytes).sum()
    }

    fn with_shard<T>(&self, key: CacheKey, work: impl FnOnce(&mut Shard) -> T) -> T {
        let shard = &self.shards[(mix(key.file, key.offset) >> 32) as usize % self.shards.len()];
        work(&mut shard.lock().expect(UNPOISONED))
    }
}

/// The only panic under the lock is a broken invariant; then nobody may go on with the cache.
const UNPOISONED: &str = "the block cache has kept its invariants";

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockCache({} bytes)", self.bytes())
    }
}

/// One lock's part of the cache.
struct Shard {
    entries: HashMap<CacheKey, Entry, BuildHasherDefault<PlaceHasher>>,
    /// The clock face: the hand stands before the front, what it passes goes to the back.
    clock: VecDeque<CacheKey>,
    bytes: usize,
    bytes_max: usize,
}

struct Entry {
    bytes: Bytes,
    /// Whether it was asked for since the hand came by.
    hit: bool,
}

impl Shard {
    fn new(bytes_max: usize) -> Self {
        Self { entries: HashMap::default(), clock: VecDeque::new(), bytes: 0, bytes_max }
    }

    fn get(&mut self, key: CacheKey) -> Option<Bytes> {
        let entry = self.entries.get_mut(&key)?;
        entry.hit = true;
        Some(entry.bytes.clone())
    }

    fn insert(&mut self, key: CacheKey, bytes: Bytes) {
        if self.entries.contains_key(&key) {
            return;
        }
        while self.bytes + bytes.len() > self.bytes_max && self.evict_one() {}
        self.bytes += bytes.len();
        invariant!(B1, self.bytes <= self.bytes_max, "{} of {}", self.bytes, self.bytes_max);
        self.entries.insert(key, Entry { bytes, hit: false });
        self.clock.push_back(key);
    }

    /// Moves the hand to an entry that was not hit and evicts it; false if there is none at all.
    /// Ends: the second time round no bit is set.
    fn evict_one(&mut self) -> bool {
        while let Some(key) = self.clock.pop_front() {
            let entry = self.entries.get_mut(&key).expect("what is on the clock is in the map");
            if std::mem::take(&mut entry.hit) {
                self.clock.push_back(key);
                continue;
            }
            self.bytes -= entry.bytes.len();
            self.entries.remove(&key);
            return true;
        }
        false
    }
}

/// Hashes the two words of a [`CacheKey`]. Offsets are multiples of 64 and files count up, so a
/// multiplication or two spread them; nobody outside chooses them.
#[derive(Default)]
struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0, word);
    }
}

fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd6e8_feb8_6659_fd93);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(offset: u64) -> CacheKey {
        CacheKey { file: 1, offset }
    }

    fn block(len: usize, fill: u8) -> Bytes {
        Bytes::from(vec![fill; len])
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let cache = BlockCache::new(800);
        for offset in 0..8 {
            cache.insert(key(offset), block(100, offset as u8));
        }
        for round in 8..100 {
            assert_eq!(cache.get(key(3)).as_deref(), Some(&[3; 100][..]), "round {round}");
            cache.insert(key(round), block(100, round as u8));
            assert_eq!(cache.bytes(), 800);
        }
        assert_eq!(cache.get(key(0)), None);
    }

    #[test]
    fn an_entry_over_an_eighth_is_not_kept() {
        let cache = BlockCache::new(800);
        cache.insert(key(1), block(101, 0));
        assert_eq!(cache.get(key(1)), None);
        cache.insert(key(1), block(100, 0));
        assert!(cache.get(key(1)).is_some());
        let nothing = BlockCache::new(0);
        nothing.insert(key(1), block(1, 0));
        assert_eq!(nothing.bytes(), 0);
    }

    #[test]
    fn the_first_insertion_stays() {
        let cache = BlockCache::new(800);
        cache.insert(key(1), block(10, 1));
        cache.insert(key(1), block(10, 2));
        assert_eq!(cache.get(key(1)), Some(block(10, 1)));
        assert_eq!(cache.bytes(), 10);
    }

    #[test]
    fn evicted_bytes_live_on_with_who_holds_them() {
        let cache = BlockCache::new(80);
        cache.insert(key(1), block(10, 7));
        let held = cache.get(key(1)).expect("just inserted");
        for offset in 2..100 {
            cache.insert(key(offset), block(10, 0));
        }
        assert_eq!(cache.get(key(1)), None);
        assert_eq!(held, block(10, 7));
    }

    #[test]
    fn files_and_shards_do_not_mix() {
        let cache = BlockCache::new(64 << 20);
        let (a, b) = (cache.new_file_id(), cache.new_file_id());
        assert_ne!(a, b);
        for n in 0..1000 {
            cache.insert(CacheKey { file: a, offset: n * 64 }, block(8, 1));
            cache.insert(CacheKey { file: b, offset: n * 64 }, block(8, 2));
        }
        for n in 0..1000 {
            assert_eq!(cache.get(CacheKey { file: a, offset: n * 64 }), Some(block(8, 1)));
            assert_eq!(cache.get(CacheKey { file: b, offset: n * 64 }), Some(block(8, 2)));
        }
        let used = cache.shards.iter().filter(|s| s.lock().unwrap().bytes > 0).count();
        assert_eq!(used, SHARDS_MAX);
    }

    proptest! {
        #[test]
        fn b1_bytes_are_those_of_the_entries_and_bounded(
            ops in proptest::collection::vec((0_u64..40, 0_usize..30, any::<bool>()), 0..200),
        ) {
            let cache = BlockCache::new(160);
            for (offset, len, insert) in ops {
                if insert {
                    cache.insert(key(offset), block(len, offset as u8));
                } else if let Some(bytes) = cache.get(key(offset)) {
                    prop_assert!(bytes.iter().all(|byte| *byte == offset as u8));
                }
                let shard = cache.shards[0].lock().unwrap();
                let held = shard.entries.values().map(|entry| entry.bytes.len()).sum::<usize>();
                prop_assert_eq!(shard.bytes, held);
                prop_assert!(shard.bytes <= 160);
                prop_assert_eq!(shard.clock.len(), shard.entries.len());
            }
        }
    }
}

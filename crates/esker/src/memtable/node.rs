//! Nodes: up to `WIDTH` slots in the order of their keys, searched by 8-byte heads.
//!
//! ```text
//! level, prefix length, count, low fence, high fence, right link      one cache line of 64 bytes
//! heads  [u64; WIDTH]    the 8 bytes of each slot's key after the node's prefix; unused: u64::MAX
//! slots  [ptr; WIDTH]    leaf: the newest version of a key; inner: a child
//! ```
//!
//! A leaf slot's key is its entry's, an inner slot's key is its child's low fence, and a fence is
//! the address of an entry that has the key. A search is a branchless binary search of the heads,
//! all of whose cache lines are asked for before it starts. Only slots whose head is equal are
//! compared by their whole keys.
//!
//! Every field that changes is an atomic and nodes are only ever reached by `&`: readers without
//! the latch are a matter of a version word (the first line has room) and of checking it, not of
//! another layout. Pointers are stored with `Release`, after what they lead to is complete.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU16, AtomicU64};

use super::arena::Arena;
use super::entry::{Entry, EntryPtr, Header};
use crate::base::key::{head, shared_prefix_bytes};
use crate::base::simd::{kernels, prefetch};

/// Heads, or slots, in a cache line.
const LINE: usize = 8;

#[repr(C, align(64))]
pub(super) struct Node<const WIDTH: usize> {
    /// 0 for leaves.
    level: u8,
    prefix_bytes: AtomicU16,
    count: AtomicU16,
    /// The first key, for ever; `None` on the left edge of the tree, which takes any smaller key.
    low: Option<EntryPtr>,
    /// Above all keys: the right neighbour's `low`. Null on the right edge.
    high: AtomicPtr<Header>,
    right: AtomicPtr<Node<WIDTH>>,
    heads: Lines<[AtomicU64; WIDTH]>,
    slots: [AtomicPtr<()>; WIDTH],
}

/// Starts at a cache line.
#[repr(align(64))]
struct Lines<T>(T);

/// What an inner or leaf slot holds, with the entry that has its key.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    pub(super) low: Option<Entry<'a>>,
    target: *mut (),
}

impl<'a> Slot<'a> {
    pub(super) fn of_entry(entry: Entry<'a>) -> Self {
        Self { low: Some(entry), target: entry.ptr().as_raw().cast() }
    }

    pub(super) fn of_child<const WIDTH: usize>(child: &'a Node<WIDTH>) -> Self {
        Self { low: child.low(), target: std::ptr::from_ref(child).cast_mut().cast() }
    }
}

impl<const WIDTH: usize> Node<WIDTH> {
    /// An empty node with these fences, in the arena of nodes; the caller publishes it.
    pub(super) fn alloc<'a>(
        arena: &mut Arena,
        level: u8,
        low: Option<Entry<'a>>,
        next: Option<&'a Self>,
    ) -> &'a Self {
        const { assert!(WIDTH >= 3 && WIDTH <= u16::MAX as usize) };
        let raw = |entry: Option<Entry<'_>>| match entry {
            Some(entry) => entry.ptr().as_raw(),
            None => std::ptr::null_mut(),
        };
        let node = Self {
            level,
            prefix_bytes: AtomicU16::new(0),
            count: AtomicU16::new(0),
            low: low.map(Entry::ptr),
            high: AtomicPtr::new(raw(next.and_then(Self::low))),
            right: AtomicPtr::new(next.map_or(std::ptr::null_mut(), Self::as_raw)),
            heads: Lines([const { AtomicU64::new(u64::MAX) }; WIDTH]),
            slots: [const { AtomicPtr::new(std::ptr::null_mut()) }; WIDTH],
        };
        let place = arena.alloc(size_of::<Self>()).cast::<Self>();
        // SAFETY: the piece is ours alone, large enough, and aligned because the arena of nodes
        // is (M6); it is complete before the reference exists, and from then on only `&` do.
        unsafe {
            place.write(node);
            place.as_ref()
        }
    }

    /// The node that a raw pointer of [`Self::as_raw`] leads to.
    ///
    /// # Safety
    ///
    /// `raw` is null or leads to a node of [`Self::alloc`] whose arena outlives `'a`.
    pub(super) unsafe fn from_raw<'a>(raw: *mut Self) -> Option<&'a Self> {
        // SAFETY: the caller's promise; nodes are never reached by `&mut`.
        unsafe { raw.as_ref() }
    }

    pub(super) fn as_raw(&self) -> *mut Self {
        std::ptr::from_ref(self).cast_mut()
    }

    pub(super) fn level(&self) -> u8 {
        self.level
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.level == 0
    }

    pub(super) fn count(&self) -> usize {
        usize::from(self.count.load(Relaxed))
    }

    pub(super) fn is_full(&self) -> bool {
        self.count() == WIDTH
    }

    pub(super) fn prefix_bytes(&self) -> usize {
        usize::from(self.prefix_bytes.load(Relaxed))
    }

    pub(super) fn head_at(&self, at: usize) -> u64 {
        self.heads.0[at].load(Relaxed)
    }

    pub(super) fn low(&self) -> Option<Entry<'_>> {
        // SAFETY: fences are entries of the same memtable, which outlives its nodes (M6).
        self.low.map(|ptr| unsafe { ptr.get() })
    }

    pub(super) fn high(&self) -> Option<Entry<'_>> {
        // SAFETY: as for `low`.
        EntryPtr::from_raw(self.high.load(Acquire)).map(|ptr| unsafe { ptr.get() })
    }

    pub(super) fn right(&self) -> Option<&Self> {
        // SAFETY: right links lead to nodes of the same memtable (M2), which outlives them (M6).
        unsafe { Self::from_raw(self.right.load(Acquire)) }
    }

    /// The newest version of the key in a leaf's slot.
    pub(super) fn entry(&self, at: usize) -> Entry<'_> {
        assert!(self.is_leaf() && at < self.count(), "slot {at} holds no entry");
        let raw = self.slots[at].load(Acquire).cast::<Header>();
        let ptr = EntryPtr::from_raw(raw).expect("a used slot");
        // SAFETY: the used slots of a leaf hold entries of the same memtable (M6).
        unsafe { ptr.get() }
    }

    pub(super) fn child(&self, at: usize) -> &Self {
        assert!(!self.is_leaf() && at < self.count(), "slot {at} holds no child");
        let raw = self.slots[at].load(Acquire).cast::<Self>();
        // SAFETY: the used slots of an inner node hold nodes of the same memtable (M6).
        unsafe { Self::from_raw(raw) }.expect("a used slot")
    }

    /// The entry that has the slot's key: `None` for the open end at the left edge.
    pub(super) fn slot_low(&self, at: usize) -> Option<Entry<'_>> {
        if self.is_leaf() { Some(self.entry(at)) } else { self.child(at).low() }
    }

    /// `Ok` of the slot with this key, or `Err` of the first one with a greater key. The key must
    /// share the node's prefix.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix_bytes = self.prefix_bytes();
        let key_head = head(&key[prefix_bytes..]);
        let count = self.count();
        let at = self.heads_below(key_head);
        if at == count || self.head_at(at) != key_head {
            return Err(at);
        }
        match self.slot_key(at).cmp(&Some(key)) {
            std::cmp::Ordering::Equal => Ok(at),
            std::cmp::Ordering::Greater => Err(at),
            std::cmp::Ordering::Less => self.search_ties(at + 1, count, key, key_head),
        }
    }

    /// As `search`, among the slots from `low` on, whose heads are `key_head` or greater.
    fn search_ties(
        &self,
        mut low: usize,
        mut high: usize,
        key: &[u8],
        key_head: u64,
    ) -> Result<usize, usize> {
        while low < high {
            let middle = low.midpoint(high);
            let order = self.head_at(middle).cmp(&key_head);
            match order.then_with(|| self.slot_key(middle).cmp(&Some(key))) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// How many heads are less than `key_head`. Unused heads never are.
    fn heads_below(&self, key_head: u64) -> usize {
        self.prefetch();
        // SAFETY: an atomic integer has the layout of the integer. Nobody changes a head
        // meanwhile: whoever searches holds the memtable's latch, and only who has it alone writes.
        let heads = unsafe { &*std::ptr::from_ref(&self.heads.0).cast::<[u64; WIDTH]>() };
        kernels().heads_below(heads, key_head)
    }

    /// Asks for all lines of the node that a search or an insert may need: a cold node costs one
    /// round trip to memory, not one for each step of the search and one for the slots.
    fn prefetch(&self) {
        self.heads.0.chunks(LINE).for_each(|line| prefetch(&line[0]));
        if self.is_leaf() {
            self.slots.chunks(LINE).for_each(|line| prefetch(&line[0]));
        }
    }

    /// The slot's key; the open end (`None`) is less than every key.
    fn slot_key(&self, at: usize) -> Option<&[u8]> {
        self.slot_low(at).map(Entry::key)
    }

    /// The slot of the child between whose fences `key` lies, as it lies between this node's.
    pub(super) fn child_for(&self, key: &[u8]) -> usize {
        self.search(key).unwrap_or_else(|at| at - 1)
    }

    /// The slot of the child with the greatest low fence below `key`, if this node's is below it.
    pub(super) fn child_before(&self, key: &[u8]) -> usize {
        let (Ok(at) | Err(at)) = self.search(key);
        at - 1
    }

    /// Puts a newer version of the same key into a leaf's slot.
    pub(super) fn replace_entry(&self, at: usize, entry: Entry<'_>) {
        self.slots[at].store(entry.ptr().as_raw().cast(), Release);
    }

    /// Inserts `slot` at `at`; the node must not be full and the slot's key share its prefix.
    pub(super) fn insert(&self, at: usize, slot: Slot<'_>) {
        let count = self.count();
        for pair in self.heads.0[at..=count].windows(2).rev() {
            pair[1].store(pair[0].load(Relaxed), Relaxed);
        }
        for pair in self.slots[at..=count].windows(2).rev() {
            pair[1].store(pair[0].load(Relaxed), Release);
        }
        self.heads.0[at].store(self.head_of(slot.low), Relaxed);
        self.slots[at].store(slot.target, Release);
        self.set_count(count + 1);
    }

    /// Moves the slots from `from` on to the empty node `right`, and links it in as the right
    /// neighbour. The caller then inserts, and fits both prefixes.
    pub(super) fn move_to_right(&self, from: usize, right: &Self) {
        let count = self.count();
        right.prefix_bytes.store(self.prefix_bytes.load(Relaxed), Relaxed);
        for i in from..count {
            right.heads.0[i - from].store(self.heads.0[i].load(Relaxed), Relaxed);
            right.slots[i - from].store(self.slots[i].load(Relaxed), Release);
        }
        right.set_count(count - from);
        self.high.store(right.low.map_or(std::ptr::null_mut(), EntryPtr::as_raw), Release);
        self.right.store(right.as_raw(), Release);
        self.set_count(from);
        for unused in &self.heads.0[from..count] {
            unused.store(u64::MAX, Relaxed);
        }
    }

    /// Fits the prefix to the fences: what both share, or at an open end of the tree what all of
    /// its keys share.
    pub(super) fn fit_prefix(&self, tree_prefix_bytes: usize) {
        let prefix_bytes = match (self.low(), self.high()) {
            (Some(low), Some(high)) => shared_prefix_bytes(low.key(), high.key()),
            _ => tree_prefix_bytes,
        };
        if prefix_bytes == self.prefix_bytes() {
            return;
        }
        let prefix_bytes = u16::try_from(prefix_bytes).expect("no longer than a key");
        self.prefix_bytes.store(prefix_bytes, Relaxed);
        for at in 0..self.count() {
            self.heads.0[at].store(self.head_of(self.slot_low(at)), Relaxed);
        }
    }

    fn head_of(&self, low: Option<Entry<'_>>) -> u64 {
        low.map_or(0, |entry| head(&entry.key()[self.prefix_bytes()..]))
    }

    fn set_count(&self, count: usize) {
        self.count.store(count as u16, Relaxed);
    }
}

//! Nodes: up to `WIDTH` slots in the order of their keys, searched by 8-byte heads.
//!
//! ```text
//! version, level, prefix length, count, low fence, high fence, right link    one cache line
//! heads  [u64; WIDTH]    the 8 bytes of each slot's key after the node's prefix; unused: u64::MAX
//! slots  [ptr; WIDTH]    leaf: the newest version of a key; inner: a child
//! ```
//!
//! A leaf slot's key is its entry's, an inner slot's key is its child's low fence, and a fence is
//! the address of an entry that has the key.
//!
//! # Readers beside the writer
//!
//! Whoever reads notes the version, loads what it needs, and asks whether the version is still the
//! same. If not, what it loaded may be half of one state and half of another: it is thrown away.
//! The version is odd while the writer changes the node: [`Node::begin_change`] and
//! [`Node::end_change`] stand around every change but one. A newer version of a key replaces the
//! older one in its slot without, because both are right.
//!
//! What is thrown away must still be harmless. Level and low fence never change. Lengths and
//! positions that were loaded are checked before something is cut by them. Pointers are stored
//! with `Release` after what they lead to is complete, and loaded with `Acquire`; what they lead
//! to is never moved and never freed before the memtable is (M6). So every pointer that ever
//! stood in a slot may be followed, and a stale one leads to something stale, not to something
//! wrong.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::PREFIX_SLACK_BYTES;
use super::arena::Arena;
use super::entry::{Entry, EntryPtr, Header};
use super::search::Heads;
use crate::base::key::{head, shared_prefix_bytes};
use crate::base::simd::prefetch;
use crate::base::sync::kernel::{AtomicPtr, AtomicU16, AtomicU64, fence};

/// Heads, or slots, in a cache line.
const LINE: usize = 8;

#[repr(C, align(64))]
pub(super) struct Node<const WIDTH: usize> {
    /// Odd while the node is being changed.
    version: AtomicU64,
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

/// What was read of a node belongs to different states of it, or it is being changed: to be tried
/// again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Torn;

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

/// What readers and the writer look at.
impl<const WIDTH: usize> Node<WIDTH> {
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

    /// The version to compare with afterwards, before anything else is read.
    pub(super) fn begin_read(&self) -> Result<u64, Torn> {
        let version = self.version.load(Acquire);
        if version.is_multiple_of(2) { Ok(version) } else { Err(Torn) }
    }

    /// Whether all that was read since [`Self::begin_read`] returned `version` is of one state.
    pub(super) fn end_read(&self, version: u64) -> Result<(), Torn> {
        // What was loaded before stays before: if a load saw a change, the version's does.
        fence(Acquire);
        if self.version.load(Relaxed) == version { Ok(()) } else { Err(Torn) }
    }

    pub(super) fn level(&self) -> u8 {
        self.level
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.level == 0
    }

    /// At most `WIDTH`, at any moment.
    pub(super) fn count(&self) -> usize {
        usize::from(self.count.load(Relaxed))
    }

    pub(super) fn last_slot(&self) -> usize {
        self.count().saturating_sub(1)
    }

    pub(super) fn is_full(&self) -> bool {
        self.count() == WIDTH
    }

    pub(super) fn prefix_bytes(&self) -> usize {
        usize::from(self.prefix_bytes.load(Relaxed))
    }

    /// Whether one of its fences is open. Its prefix is then the one of all keys of the tree.
    pub(super) fn is_at_edge(&self) -> bool {
        self.low.is_none() || self.high.load(Relaxed).is_null()
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

    /// The newest version of the key in a leaf's slot; `None` if the slot was never used.
    pub(super) fn entry(&self, at: usize) -> Option<Entry<'_>> {
        assert!(self.is_leaf(), "an inner node holds no entries");
        let ptr = EntryPtr::from_raw(self.slots[at].load(Acquire).cast::<Header>());
        // SAFETY: the slots of a leaf hold nothing but entries of the same memtable (M6).
        ptr.map(|ptr| unsafe { ptr.get() })
    }

    /// The child in an inner node's slot, with its lines on their way; `None` if the slot was
    /// never used.
    pub(super) fn child(&self, at: usize) -> Option<&Self> {
        let child = self.child_as_it_is(at)?;
        child.prefetch(self.level - 1);
        Some(child)
    }

    fn child_as_it_is(&self, at: usize) -> Option<&Self> {
        assert!(!self.is_leaf(), "a leaf holds no children");
        let raw = self.slots[at].load(Acquire).cast::<Self>();
        // SAFETY: the slots of an inner node hold nothing but nodes of the same memtable (M6).
        unsafe { Self::from_raw(raw) }
    }

    /// The entry that has the slot's key: `None` for the open end at the left edge.
    pub(super) fn slot_low(&self, at: usize) -> Option<Entry<'_>> {
        if self.is_leaf() { self.entry(at) } else { self.child_as_it_is(at).and_then(Self::low) }
    }

    pub(super) fn head_at(&self, at: usize) -> u64 {
        self.heads.0[at].load(Relaxed)
    }

    /// How many heads are less than `key_head`. Unused heads never are.
    pub(super) fn heads_below(&self, key_head: u64, how: Heads) -> usize {
        how.below(&self.heads.0, key_head)
    }

    /// Asks for all lines of a node of `level` that a search or an insert may need: a cold node
    /// costs one round trip to memory, not one for its level, one for each step of the search and
    /// one for the slots. Its parent knows the level, so nothing of the node is read here.
    fn prefetch(&self, level: u8) {
        prefetch(&self.version);
        self.heads.0.chunks(LINE).for_each(|line| prefetch(&line[0]));
        if level == 0 {
            self.slots.chunks(LINE).for_each(|line| prefetch(&line[0]));
        }
    }
}

/// What the writer does: one thread at a time.
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
            version: AtomicU64::new(0),
            level,
            prefix_bytes: AtomicU16::new(0),
            count: AtomicU16::new(0),
            low: low.map(Entry::ptr),
            high: AtomicPtr::new(raw(next.and_then(Self::low))),
            right: AtomicPtr::new(next.map_or(std::ptr::null_mut(), Self::as_raw)),
            heads: Lines(std::array::from_fn(|_| AtomicU64::new(u64::MAX))),
            slots: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())),
        };
        let place = arena.alloc(size_of::<Self>()).cast::<Self>();
        // SAFETY: the piece is ours alone, large enough, and aligned because the arena of nodes
        // is (M6); it is complete before the reference exists, and from then on only `&` do.
        unsafe {
            place.write(node);
            place.as_ref()
        }
    }

    /// From here to [`Self::end_change`] readers find the node torn. Not a guard that ends the
    /// change when it is dropped: after a panic in between the node must stay torn.
    pub(super) fn begin_change(&self) {
        let version = self.version.load(Relaxed);
        self.version.store(version + 1, Relaxed);
        // What is stored from now on stays behind: who sees a part of it sees the odd version.
        fence(Release);
    }

    pub(super) fn end_change(&self) {
        let version = self.version.load(Relaxed);
        self.version.store(version + 1, Release);
    }

    /// Puts a newer version of the same key into a leaf's slot. Readers may meet either.
    pub(super) fn replace_entry(&self, at: usize, entry: Entry<'_>) {
        self.slots[at].store(entry.ptr().as_raw().cast(), Release);
    }

    /// Inserts `slot` at `at`; the node must not be full and the slot's key share its prefix.
    pub(super) fn insert(&self, at: usize, slot: Slot<'_>) {
        let count = self.count();
        assert!(count < WIDTH, "a full node is split first");
        for i in (at..count).rev() {
            self.heads.0[i + 1].store(self.heads.0[i].load(Relaxed), Relaxed);
            self.slots[i + 1].store(self.slots[i].load(Relaxed), Release);
        }
        self.heads.0[at].store(self.head_of(slot.low), Relaxed);
        self.slots[at].store(slot.target, Release);
        self.set_count(count + 1);
    }

    /// Copies the slots from `from` on to the empty node `right`, which is to become the right
    /// neighbour.
    pub(super) fn copy_to_right(&self, from: usize, right: &Self) {
        let count = self.count();
        right.prefix_bytes.store(self.prefix_bytes.load(Relaxed), Relaxed);
        for i in from..count {
            right.heads.0[i - from].store(self.heads.0[i].load(Relaxed), Relaxed);
            right.slots[i - from].store(self.slots[i].load(Relaxed), Release);
        }
        right.set_count(count - from);
    }

    /// Links `right`, which is complete, in as the right neighbour, and keeps the slots below
    /// `count`.
    pub(super) fn leave_to_right(&self, count: usize, right: &Self) {
        self.high.store(right.low.map_or(std::ptr::null_mut(), EntryPtr::as_raw), Release);
        self.right.store(right.as_raw(), Release);
        for unused in &self.heads.0[count..self.count()] {
            unused.store(u64::MAX, Relaxed);
        }
        self.set_count(count);
    }

    /// The prefix that fits the fences: what both share, or at an open end of the tree what all of
    /// its keys share.
    pub(super) fn fitting_prefix_bytes(&self, tree_prefix_bytes: usize) -> usize {
        match (self.low(), self.high()) {
            (Some(low), Some(high)) => shared_prefix_bytes(low.key(), high.key()),
            _ => tree_prefix_bytes,
        }
    }

    /// Cuts all heads behind the prefix that fits now, unless a little more would be cut: that
    /// takes a look at every key, each a miss in memory.
    pub(super) fn fit_prefix(&self, fitting_bytes: usize) {
        let prefix_bytes = self.prefix_bytes();
        if (prefix_bytes..=prefix_bytes + PREFIX_SLACK_BYTES).contains(&fitting_bytes) {
            return;
        }
        let prefix_bytes = u16::try_from(fitting_bytes).expect("no longer than a key");
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

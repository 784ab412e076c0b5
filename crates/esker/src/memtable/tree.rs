//! The B+tree over [`Node`]s: one writer inserts, readers find leaves.
//!
//! Nothing is ever removed, so nodes are neither merged nor freed and a node's low fence is its
//! first key for ever; a split moves the upper slots to a new right neighbour. Hence a right link
//! once read stays a right way to what lay behind the high fence that was read with it, and
//! the leaf before a key is found by descending to the last low fence below the key.
//!
//! The nodes at the tree's edges have only one fence or none. So that their heads tell keys apart
//! too, the tree knows how long a prefix *all* keys share; it only shrinks, which rewrites the
//! heads on the two edges. Keys without that prefix lie before or behind everything.

use std::cmp::Ordering;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicUsize};

use super::arena::Arena;
use super::entry::{self, ENTRY_ALIGN, Entry, EntryPtr, Header};
use super::node::{Node, Slot};
use crate::base::invariant;
use crate::base::key::{Tag, shared_prefix_bytes};

/// The memory of a tree: what only its writer touches.
pub(super) struct Arenas {
    entries: Arena,
    nodes: Arena,
}

impl Arenas {
    pub(super) fn new<const WIDTH: usize>(chunk_bytes: usize) -> Self {
        // Eight nodes at least, so that small chunks do not mean an allocation per node.
        let node_chunk_bytes = chunk_bytes.max(8 * size_of::<Node<WIDTH>>());
        let nodes = Arena::new(node_chunk_bytes, align_of::<Node<WIDTH>>());
        Self { entries: Arena::new(chunk_bytes, ENTRY_ALIGN), nodes }
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.entries.used_bytes() + self.nodes.used_bytes()
    }
}

pub(super) struct Tree<const WIDTH: usize> {
    /// Null until the first insert.
    root: AtomicPtr<Node<WIDTH>>,
    /// The first entry ever inserted: it has the prefix that all keys share.
    sample: AtomicPtr<Header>,
    prefix_bytes: AtomicUsize,
}

/// An insert on its way down.
#[derive(Clone, Copy)]
struct Put<'p> {
    key: &'p [u8],
    tag: Tag,
    value: &'p [u8],
}

/// Where a key lies relative to the prefix that all keys of the tree share.
enum Side {
    Before,
    Inside,
    Behind,
}

impl<const WIDTH: usize> Tree<WIDTH> {
    pub(super) fn new() -> Self {
        Self {
            root: AtomicPtr::new(std::ptr::null_mut()),
            sample: AtomicPtr::new(std::ptr::null_mut()),
            prefix_bytes: AtomicUsize::new(0),
        }
    }

    /// Inserts a version; `arenas` are always the same and belong to the tree's owner.
    pub(super) fn insert(&self, arenas: &mut Arenas, key: &[u8], tag: Tag, value: &[u8]) {
        let put = Put { key, tag, value };
        let Some(root) = self.root() else {
            return self.plant(arenas, put);
        };
        self.share_prefix(key);
        if let Some(right) = self.insert_below(arenas, root, put) {
            let top = Node::alloc(&mut arenas.nodes, root.level() + 1, None, None);
            top.fit_prefix(self.prefix_bytes());
            top.insert(0, Slot::of_child(root));
            top.insert(1, Slot::of_child(right));
            self.root.store(top.as_raw(), Release);
        }
    }

    /// The newest version of `key`.
    pub(super) fn find(&self, key: &[u8]) -> Option<Entry<'_>> {
        let root = self.root()?;
        let Side::Inside = self.side(key) else {
            return None;
        };
        let mut node = root;
        while !node.is_leaf() {
            node = node.child(node.child_for(key));
        }
        node.search(key).ok().map(|at| node.entry(at))
    }

    /// The leaf where `key` belongs, and the first slot at or behind it: possibly the leaf's
    /// count, then the entry is the right neighbour's first.
    pub(super) fn at_or_after(&self, key: &[u8]) -> Option<(&Node<WIDTH>, usize)> {
        let mut node = self.root()?;
        match self.side(key) {
            Side::Before => return self.first_leaf().map(|leaf| (leaf, 0)),
            Side::Behind => return self.last_leaf().map(|leaf| (leaf, leaf.count())),
            Side::Inside => {}
        }
        while !node.is_leaf() {
            node = node.child(node.child_for(key));
        }
        let (Ok(at) | Err(at)) = node.search(key);
        Some((node, at))
    }

    /// The leaf and slot with the greatest key below `key`.
    pub(super) fn before(&self, key: &[u8]) -> Option<(&Node<WIDTH>, usize)> {
        let mut node = self.root()?;
        match self.side(key) {
            Side::Before => return None,
            Side::Behind => return self.last_leaf().map(|leaf| (leaf, leaf.count() - 1)),
            Side::Inside => {}
        }
        while !node.is_leaf() {
            node = node.child(node.child_before(key));
        }
        // A leaf's low fence is its first key (M5), so only the first leaf can hold none below.
        let (Ok(at) | Err(at)) = node.search(key);
        at.checked_sub(1).map(|at| (node, at))
    }

    pub(super) fn first_leaf(&self) -> Option<&Node<WIDTH>> {
        let mut node = self.root()?;
        while !node.is_leaf() {
            node = node.child(0);
        }
        Some(node)
    }

    pub(super) fn last_leaf(&self) -> Option<&Node<WIDTH>> {
        let mut node = self.root()?;
        while !node.is_leaf() {
            node = node.child(node.count() - 1);
        }
        Some(node)
    }

    pub(super) fn root(&self) -> Option<&Node<WIDTH>> {
        // SAFETY: the root is null or a node of this tree, whose arenas live as long (M6).
        unsafe { Node::from_raw(self.root.load(Acquire)) }
    }

    pub(super) fn prefix_bytes(&self) -> usize {
        self.prefix_bytes.load(Relaxed)
    }

    /// The first insert.
    fn plant(&self, arenas: &mut Arenas, put: Put<'_>) {
        let entry = self.write(arenas, put, None);
        self.sample.store(entry.ptr().as_raw(), Release);
        self.prefix_bytes.store(put.key.len(), Relaxed);
        let root = Node::alloc(&mut arenas.nodes, 0, None, None);
        root.fit_prefix(put.key.len());
        root.insert(0, Slot::of_entry(entry));
        self.root.store(root.as_raw(), Release);
    }

    /// Inserts at or below `node`; the new right neighbour if the node was split.
    fn insert_below<'t>(
        &'t self,
        arenas: &mut Arenas,
        node: &'t Node<WIDTH>,
        put: Put<'_>,
    ) -> Option<&'t Node<WIDTH>> {
        if !node.is_leaf() {
            let at = node.child_for(put.key);
            let right = self.insert_below(arenas, node.child(at), put)?;
            return self.insert_slot(arenas, node, at + 1, Slot::of_child(right));
        }
        match node.search(put.key) {
            Ok(at) => {
                let newest = node.entry(at);
                node.replace_entry(at, self.write(arenas, put, Some(newest)));
                None
            }
            Err(at) => {
                let entry = self.write(arenas, put, None);
                self.insert_slot(arenas, node, at, Slot::of_entry(entry))
            }
        }
    }

    fn insert_slot<'t>(
        &'t self,
        arenas: &mut Arenas,
        node: &'t Node<WIDTH>,
        at: usize,
        slot: Slot<'t>,
    ) -> Option<&'t Node<WIDTH>> {
        if node.is_full() {
            return Some(self.split(arenas, node, at, slot));
        }
        node.insert(at, slot);
        None
    }

    /// Splits the full `node` around a new slot at `at`, and returns the new right neighbour.
    ///
    /// In half; but an insert at the end, as ascending keys make it, leaves the left node almost
    /// full. A sixteenth goes to the right even then: keys that descend into the gap behind a
    /// full node would otherwise get a node each.
    fn split<'t>(
        &'t self,
        arenas: &mut Arenas,
        node: &'t Node<WIDTH>,
        at: usize,
        slot: Slot<'t>,
    ) -> &'t Node<WIDTH> {
        let stay = if at == WIDTH { WIDTH - (WIDTH / 16).max(1) } else { WIDTH.div_ceil(2) };
        let goes_right = at >= stay;
        let from = if goes_right { stay } else { stay - 1 };
        let low = if at == from && goes_right { slot.low } else { node.slot_low(from) };
        let right = Node::alloc(&mut arenas.nodes, node.level(), low, node.right());
        node.move_to_right(from, right);
        if goes_right {
            right.insert(at - from, slot);
        } else {
            node.insert(at, slot);
        }
        node.fit_prefix(self.prefix_bytes());
        right.fit_prefix(self.prefix_bytes());
        let last = node.slot_low(node.count() - 1);
        invariant!(M1, last.map(Entry::key) < low.map(Entry::key), "a split out of order");
        right
    }

    fn write(&self, arenas: &mut Arenas, put: Put<'_>, newest: Option<Entry<'_>>) -> Entry<'_> {
        if let Some(newest) = newest.map(Entry::tag) {
            invariant!(M4, put.tag > newest, "{:?} after {newest:?}", put.tag);
        }
        let ptr = entry::write(&mut arenas.entries, put.key, put.tag, put.value, newest);
        // SAFETY: the arenas belong to the tree's owner and live as long as the tree (M6).
        unsafe { ptr.get() }
    }

    /// Where `key` lies relative to the prefix of all keys; the tree is not empty.
    fn side(&self, key: &[u8]) -> Side {
        let prefix = &self.sample().key()[..self.prefix_bytes()];
        if key.starts_with(prefix) {
            return Side::Inside;
        }
        match key.cmp(prefix) {
            Ordering::Less => Side::Before,
            Ordering::Equal | Ordering::Greater => Side::Behind,
        }
    }

    /// Shortens the prefix of all keys to what `key` shares, which changes the heads of the nodes
    /// with an open end: those on the left and on the right edge.
    fn share_prefix(&self, key: &[u8]) {
        if let Side::Inside = self.side(key) {
            return;
        }
        let shared_bytes = shared_prefix_bytes(self.sample().key(), key);
        self.prefix_bytes.store(shared_bytes, Relaxed);
        let mut edges = (self.root(), self.root());
        while let (Some(left), Some(right)) = edges {
            left.fit_prefix(shared_bytes);
            right.fit_prefix(shared_bytes);
            if left.is_leaf() {
                return;
            }
            edges = (Some(left.child(0)), Some(right.child(right.count() - 1)));
        }
    }

    fn sample(&self) -> Entry<'_> {
        let ptr = EntryPtr::from_raw(self.sample.load(Acquire)).expect("a tree that is not empty");
        // SAFETY: the sample is an entry of this tree, whose arenas live as long (M6).
        unsafe { ptr.get() }
    }
}

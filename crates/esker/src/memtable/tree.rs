//! The B+tree over [`Node`]s, and its one writer. How readers find their way is in `descent.rs`.
//!
//! Nothing is ever removed, so nodes are neither merged nor freed and a node's low fence is its
//! first key for ever; a split moves the upper slots to a new right neighbour.
//!
//! A split changes the full node, its parent, and as many ancestors as are full themselves, or the
//! root pointer. All of them are torn for readers from before the first change until after the
//! last one. So a reader that finds its parent unchanged after it has noted the child's version
//! knows that the child is, in that version, where the key belongs.
//!
//! The nodes at the tree's edges have only one fence or none. So that their heads tell keys apart
//! too, the tree knows how long a prefix *all* keys share; it only shrinks, which rewrites the
//! heads on the two edges. Keys without that prefix lie before or behind everything.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::arena::Arena;
use super::chunk::ChunkPool;
use super::entry::{self, ENTRY_ALIGN, Entry, EntryPtr, Header};
use super::node::{Node, Slot};
use super::search::{Heads, Search};
use crate::base::invariant;
use crate::base::key::{Tag, shared_prefix_bytes};
use crate::base::simd::{Kernels, kernels};
use crate::base::sync::kernel::{AtomicPtr, AtomicUsize};

/// What only the writer of a tree has: whoever holds it exclusively is the writer.
pub(super) struct Arenas {
    pub(super) entries: Arena,
    pub(super) nodes: Arena,
    kernels: &'static Kernels,
}

impl Arenas {
    pub(super) fn new<const WIDTH: usize>(pool: &Arc<ChunkPool>) -> Self {
        // Eight nodes at least, so that small chunks do not mean an allocation per node.
        let nodes = Arena::new(pool, 8 * size_of::<Node<WIDTH>>(), align_of::<Node<WIDTH>>());
        Self { entries: Arena::new(pool, 0, ENTRY_ALIGN), nodes, kernels: kernels() }
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.entries.used_bytes() + self.nodes.used_bytes()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.entries.held_bytes() + self.nodes.held_bytes()
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
        let search = self.writers_search(arenas, key);
        let mut leaf = root;
        while !leaf.is_leaf() {
            leaf = leaf.child(search.child_slot(leaf)).expect("a used slot");
        }
        match search.position(leaf) {
            Ok(at) => {
                let newest = leaf.entry(at).expect("a used slot");
                leaf.replace_entry(at, self.write(arenas, put, Some(newest)));
            }
            Err(at) => {
                let slot = Slot::of_entry(self.write(arenas, put, None));
                if leaf.is_full() {
                    return self.insert_and_split(arenas, root, search, slot);
                }
                leaf.begin_change();
                leaf.insert(at, slot);
                leaf.end_change();
            }
        }
    }

    /// Calls `see` with every key. For the writer: nothing may change meanwhile.
    pub(super) fn for_each_key(&self, mut see: impl FnMut(&[u8])) {
        let mut first = self.root();
        while let Some(inner) = first.filter(|node| !node.is_leaf()) {
            first = inner.child(0);
        }
        for leaf in std::iter::successors(first, |leaf| leaf.right()) {
            (0..leaf.count()).for_each(|at| see(leaf.entry(at).expect("a used slot").key()));
        }
    }

    pub(super) fn root(&self) -> Option<&Node<WIDTH>> {
        // SAFETY: the root is null or a node of this tree, whose arenas live as long (M6).
        unsafe { Node::from_raw(self.root.load(Acquire)) }
    }

    /// A key of the tree, which is not empty; always the same.
    pub(super) fn sample(&self) -> &[u8] {
        let ptr = EntryPtr::from_raw(self.sample.load(Acquire)).expect("a tree that is not empty");
        // SAFETY: the sample is an entry of this tree, whose arenas live as long (M6).
        unsafe { ptr.get() }.key()
    }

    pub(super) fn prefix_bytes(&self) -> usize {
        self.prefix_bytes.load(Relaxed)
    }

    fn writers_search<'s>(&'s self, arenas: &Arenas, key: &'s [u8]) -> Search<'s> {
        // SAFETY: nodes of this tree are changed by whoever has its arenas exclusively. That is
        // our caller, who searches now.
        let heads = unsafe { Heads::all_at_once(arenas.kernels) };
        Search { key, sample: self.sample(), heads }
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

    /// Inserts `slot` into the full leaf where it belongs, which splits it, and the new right
    /// neighbour into its parent, and so on up.
    fn insert_and_split<'t>(
        &'t self,
        arenas: &mut Arenas,
        root: &'t Node<WIDTH>,
        search: Search<'_>,
        mut slot: Slot<'t>,
    ) {
        let mut path = vec![root];
        while let Some(node) = path.last().filter(|node| !node.is_leaf()) {
            path.push(node.child(search.child_slot(node)).expect("a used slot"));
        }
        let changed = &path[path.iter().rposition(|node| !node.is_full()).unwrap_or(0)..];
        changed.iter().for_each(|node| node.begin_change());
        for (depth, node) in changed.iter().enumerate().rev() {
            // Behind the slot of the child that was split, as the key lies in that child.
            let at = search.position(node).expect_err("the key is new, so it is no fence");
            if !node.is_full() {
                node.insert(at, slot);
                break;
            }
            slot = Slot::of_child(self.split(arenas, node, at, slot));
            if depth == 0 {
                self.grow(arenas, root, slot);
            }
        }
        changed.iter().for_each(|node| node.end_change());
    }

    /// Puts a root over the old one and its new right neighbour.
    fn grow(&self, arenas: &mut Arenas, root: &Node<WIDTH>, right: Slot<'_>) {
        let top = Node::alloc(&mut arenas.nodes, root.level() + 1, None, None);
        top.fit_prefix(self.prefix_bytes());
        top.insert(0, Slot::of_child(root));
        top.insert(1, right);
        self.root.store(top.as_raw(), Release);
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
        let last = if at == from && !goes_right { slot.low } else { node.slot_low(from - 1) };
        invariant!(M1, last.map(Entry::key) < low.map(Entry::key), "a split out of order");

        let right = Node::alloc(&mut arenas.nodes, node.level(), low, node.right());
        node.copy_to_right(from, right);
        if goes_right {
            right.insert(at - from, slot);
        }
        right.fit_prefix(right.fitting_prefix_bytes(self.prefix_bytes()));
        node.leave_to_right(from, right);
        if !goes_right {
            node.insert(at, slot);
        }
        node.fit_prefix(node.fitting_prefix_bytes(self.prefix_bytes()));
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

    /// Shortens the prefix of all keys to what `key` shares, which changes the heads of the nodes
    /// with an open end: those on the left and on the right edge.
    fn share_prefix(&self, key: &[u8]) {
        if key.starts_with(&self.sample()[..self.prefix_bytes()]) {
            return;
        }
        let shared_bytes = shared_prefix_bytes(self.sample(), key);
        self.prefix_bytes.store(shared_bytes, Relaxed);
        let mut edges = (self.root(), self.root());
        while let (Some(left), Some(right)) = edges {
            for node in [left, right] {
                node.begin_change();
                node.fit_prefix(node.fitting_prefix_bytes(shared_bytes));
                node.end_change();
            }
            if left.is_leaf() {
                return;
            }
            edges = (left.child(0), right.child(right.count() - 1));
        }
    }
}

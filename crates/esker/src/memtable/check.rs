//! Walks a whole memtable and asserts its invariants: what the tests run after what they did.

use super::entry::Entry;
use super::node::Node;
use super::tree::Arenas;
use super::{Memtable, PREFIX_SLACK_BYTES};
use crate::base::hash::key_hash;
use crate::base::invariant;
use crate::base::key::{head, shared_prefix_bytes};

impl<const WIDTH: usize> Memtable<WIDTH> {
    /// Asserts M1 to M5, M9, and what can be seen of M6 and M7; more of M6 shows in the tests
    /// that keep references.
    pub(super) fn check(&self) {
        let arenas = self.latch.lock().expect("no writer panicked");
        let Some(root) = self.tree.root() else {
            invariant!(M7, self.is_empty() && self.bytes() == 0);
            return;
        };
        invariant!(M2, root.low().is_none() && root.high().is_none() && root.right().is_none());
        invariant!(M5, root.is_leaf() || root.count() >= 2);
        let prefix_bytes = self.tree.prefix_bytes();
        let mut first = root;
        while !first.is_leaf() {
            check_level(first, &arenas, prefix_bytes);
            first = child(first, 0);
        }
        check_level(first, &arenas, prefix_bytes);
        self.check_figures(first);
        if let Some(filter) = self.filter.get() {
            let passes = |key: &[u8]| filter.may_contain(key_hash(key));
            self.tree.for_each_key(|key| invariant!(M9, passes(key), "{key:?}"));
        }
    }

    fn check_figures(&self, first: &Node<WIDTH>) {
        let (mut entries, mut user_bytes) = (0, 0);
        let (mut seq_min, mut seq_max) = (u64::MAX, 0);
        for leaf in level(first) {
            for newest in (0..leaf.count()).map(|at| entry(leaf, at)) {
                for entry in std::iter::successors(Some(newest), |entry| entry.older()) {
                    entries += 1;
                    user_bytes += (entry.key().len() + entry.value().len()) as u64;
                    seq_min = seq_min.min(entry.tag().seq().get());
                    seq_max = seq_max.max(entry.tag().seq().get());
                }
            }
        }
        invariant!(M7, entries == self.entries(), "{entries} entries");
        invariant!(M7, user_bytes == self.user_bytes(), "{user_bytes} bytes");
        let range = self.seq_range().map(|(min, max)| (min.get(), max.get()));
        invariant!(M7, range == Some((seq_min, seq_max)), "{range:?}");
        invariant!(M7, self.bytes() as u64 > user_bytes && self.held_bytes() >= self.bytes());
    }
}

/// The nodes from `first` on, by right links.
fn level<const WIDTH: usize>(first: &Node<WIDTH>) -> impl Iterator<Item = &Node<WIDTH>> {
    std::iter::successors(Some(first), |node| node.right())
}

fn check_level<const WIDTH: usize>(first: &Node<WIDTH>, arenas: &Arenas, tree_prefix_bytes: usize) {
    invariant!(M2, first.low().is_none());
    for node in level(first) {
        invariant!(M6, arenas.nodes.holds(node.as_raw().addr()));
        invariant!(M5, node.level() == first.level());
        check_neighbours(node);
        let fitting_bytes = match (node.low(), node.high()) {
            (Some(low), Some(high)) => shared_prefix_bytes(low.key(), high.key()),
            _ => tree_prefix_bytes,
        };
        let slack_bytes = fitting_bytes.checked_sub(node.prefix_bytes());
        let fits = slack_bytes.is_some_and(|bytes| bytes <= PREFIX_SLACK_BYTES);
        invariant!(M3, fits, "{} of {fitting_bytes} bytes", node.prefix_bytes());
        check_slots(node);
        if node.is_leaf() {
            (0..node.count()).for_each(|at| check_versions(entry(node, at), arenas));
        }
    }
    // The parents' children, in order, are the level below: none is missing, none in excess.
    if !first.is_leaf() {
        let children = level(first).flat_map(|node| (0..node.count()).map(|at| child(node, at)));
        let below = level(child(first, 0));
        invariant!(M2, children.map(Node::as_raw).eq(below.map(Node::as_raw)));
    }
}

fn check_neighbours<const WIDTH: usize>(node: &Node<WIDTH>) {
    let right = node.right();
    let high = node.high().map(Entry::ptr);
    invariant!(M2, high == right.and_then(Node::low).map(Entry::ptr));
    invariant!(M2, right.is_some() == high.is_some(), "a right neighbour without low fence");
    let edge = node.low().is_none() && right.is_none();
    invariant!(M5, node.count() >= 2 || (edge && node.is_leaf() && node.count() == 1));
    invariant!(M5, node.low().is_none() || key_of(node, 0) == node.low().map(Entry::key));
}

fn check_slots<const WIDTH: usize>(node: &Node<WIDTH>) {
    for at in 0..node.count() {
        let Some(key) = key_of(node, at) else {
            invariant!(M1, at == 0 && node.low().is_none(), "slot {at} is open");
            invariant!(M3, node.head_at(0) == 0);
            continue;
        };
        invariant!(M1, at == 0 || key_of(node, at - 1) < Some(key), "{key:?}");
        invariant!(M1, node.low().is_none_or(|low| low.key() <= key), "{key:?}");
        invariant!(M1, node.high().is_none_or(|high| key < high.key()), "{key:?}");
        let prefix_bytes = node.prefix_bytes();
        let of_last = key_of(node, node.count() - 1).expect("only the first slot is open");
        invariant!(M3, key[..prefix_bytes] == of_last[..prefix_bytes], "{key:?}");
        invariant!(M3, node.head_at(at) == head(&key[prefix_bytes..]), "{key:?}");
    }
}

fn check_versions(newest: Entry<'_>, arenas: &Arenas) {
    let mut at = newest;
    invariant!(M6, arenas.entries.holds(at.ptr().as_raw().addr()));
    while let Some(older) = at.older() {
        invariant!(M6, arenas.entries.holds(older.ptr().as_raw().addr()));
        invariant!(M4, older.tag() < at.tag(), "{:?} under {:?}", older.tag(), at.tag());
        invariant!(M4, older.key() == newest.key());
        invariant!(M4, older.depth() + 1 == at.depth());
        invariant!(M4, at.skip().depth() <= older.depth());
        at = older;
    }
    invariant!(M4, at.depth() == 0);
}

fn key_of<const WIDTH: usize>(node: &Node<WIDTH>, at: usize) -> Option<&[u8]> {
    node.slot_low(at).map(Entry::key)
}

fn entry<const WIDTH: usize>(leaf: &Node<WIDTH>, at: usize) -> Entry<'_> {
    leaf.entry(at).expect("a used slot")
}

fn child<const WIDTH: usize>(node: &Node<WIDTH>, at: usize) -> &Node<WIDTH> {
    node.child(at).expect("a used slot")
}

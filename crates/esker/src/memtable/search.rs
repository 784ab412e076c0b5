//! Searches inside one node: by heads, and by whole keys where heads are equal.
//!
//! They may run beside the writer. Then they may meet a node that is being changed and give any
//! answer, which their caller throws away; but they always end, and they reach into nothing that
//! is not there.

use std::cmp::Ordering;
use std::sync::atomic::Ordering::Relaxed;

use super::entry::Entry;
use super::node::Node;
use crate::base::key::head;
use crate::base::simd::Kernels;
use crate::base::sync::kernel::AtomicU64;

/// How a search reads heads.
#[derive(Clone, Copy)]
pub(super) struct Heads(Option<&'static Kernels>);

impl Heads {
    /// One by one: the writer may change them meanwhile.
    pub(super) const ONE_BY_ONE: Self = Self(None);

    /// With vectors, which read several at once and none of them atomically.
    ///
    /// # Safety
    ///
    /// While a search runs no thread changes the heads of the nodes that it comes to: the searcher
    /// is the writer itself, or the tree is frozen.
    pub(super) unsafe fn all_at_once(kernels: &'static Kernels) -> Self {
        Self(Some(kernels))
    }

    /// How many of `heads`, which ascend, are less than `key_head`.
    #[inline]
    pub(super) fn below<const WIDTH: usize>(
        self,
        heads: &[AtomicU64; WIDTH],
        key_head: u64,
    ) -> usize {
        #[cfg(not(all(test, loom)))]
        if let Some(kernels) = self.0 {
            // SAFETY: an atomic integer has the layout of the integer, and as `all_at_once` was
            // promised, nobody changes one while this reference lives.
            let heads = unsafe { &*std::ptr::from_ref(heads).cast::<[u64; WIDTH]>() };
            return kernels.heads_below(heads, key_head);
        }
        #[cfg(all(test, loom))]
        if self.0.is_some() {
            // SAFETY: as above; and loom fails the test if somebody does.
            return heads.partition_point(|head| unsafe { head.unsync_load() } < key_head);
        }
        heads.partition_point(|head| head.load(Relaxed) < key_head)
    }
}

/// A search for one key in one tree.
#[derive(Clone, Copy)]
pub(super) struct Search<'k> {
    pub(super) key: &'k [u8],
    /// A key of the tree: it has the prefix that all of them share.
    pub(super) sample: &'k [u8],
    pub(super) heads: Heads,
}

impl Search<'_> {
    /// `Ok` of the slot with the key, or `Err` of the first one with a greater key, possibly the
    /// node's count. Between the node's fences lies the key, by the caller's descent.
    pub(super) fn position<const WIDTH: usize>(self, node: &Node<WIDTH>) -> Result<usize, usize> {
        let prefix_bytes = node.prefix_bytes();
        let count = node.count();
        // At the edges nothing says that the key has the prefix of all others.
        if node.is_at_edge() {
            let shared = &self.sample[..prefix_bytes.min(self.sample.len())];
            if !self.key.starts_with(shared) {
                return Err(if self.key < shared { 0 } else { count });
            }
        }
        // Shorter than the prefix of a node that is whole no key gets here.
        let key_head = head(self.key.get(prefix_bytes..).unwrap_or_default());
        let at = node.heads_below(key_head, self.heads);
        if at >= count || node.head_at(at) != key_head {
            return Err(at);
        }
        match slot_key(node, at).cmp(&Some(self.key)) {
            Ordering::Equal => Ok(at),
            Ordering::Greater => Err(at),
            Ordering::Less => self.position_among_ties(node, at + 1..count, key_head),
        }
    }

    /// As `position`, among slots whose heads are `key_head` or greater.
    fn position_among_ties<const WIDTH: usize>(
        self,
        node: &Node<WIDTH>,
        mut range: std::ops::Range<usize>,
        key_head: u64,
    ) -> Result<usize, usize> {
        while range.start < range.end {
            let middle = range.start.midpoint(range.end);
            let order = node.head_at(middle).cmp(&key_head);
            match order.then_with(|| slot_key(node, middle).cmp(&Some(self.key))) {
                Ordering::Equal => return Ok(middle),
                Ordering::Less => range.start = middle + 1,
                Ordering::Greater => range.end = middle,
            }
        }
        Err(range.start)
    }

    /// The slot of the child between whose fences the key lies.
    pub(super) fn child_slot<const WIDTH: usize>(self, node: &Node<WIDTH>) -> usize {
        // Before the first slot lies only what is before the whole tree.
        self.position(node).unwrap_or_else(|at| at.saturating_sub(1))
    }
}

/// The slot's key; the open end (`None`) is less than every key.
fn slot_key<const WIDTH: usize>(node: &Node<WIDTH>, at: usize) -> Option<&[u8]> {
    node.slot_low(at).map(Entry::key)
}

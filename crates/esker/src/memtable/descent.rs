//! The way of readers from the root to a leaf, beside the writer.
//!
//! From parent to child: note the child's version, then ask whether the parent is still unchanged.
//! If it is, the child was, in the version noted, where the key belongs: a split would have changed
//! the parent first. Everything here returns [`Torn`] when a node changed on the way; the caller
//! tries again. No lock is taken and nothing shared is written.

use super::entry::Entry;
use super::node::{Node, Torn};
use super::search::{Heads, Search};
use super::tree::Tree;

/// A node as of one version of it.
#[derive(Clone, Copy)]
pub(super) struct Glimpse<'t, const WIDTH: usize> {
    pub(super) node: &'t Node<WIDTH>,
    version: u64,
}

impl<'t, const WIDTH: usize> Glimpse<'t, WIDTH> {
    /// Whether all that was read of the node so far is of this version.
    pub(super) fn holds(self) -> Result<(), Torn> {
        self.node.end_read(self.version)
    }

    /// The child in a slot.
    fn child(self, at: usize) -> Result<Self, Torn> {
        let child = self.node.child(at);
        self.holds()?;
        let node = child.ok_or(Torn)?;
        let version = node.begin_read()?;
        self.holds()?;
        Ok(Self { node, version })
    }
}

impl<const WIDTH: usize> Tree<WIDTH> {
    /// The newest version of `key`.
    pub(super) fn find(&self, key: &[u8], heads: Heads) -> Result<Option<Entry<'_>>, Torn> {
        let Some(root) = self.glimpse_root()? else { return Ok(None) };
        let search = Search { key, sample: self.sample(), heads };
        let leaf = descend(root, |node| search.child_slot(node))?;
        let found = search.position(leaf.node).ok().and_then(|at| leaf.node.entry(at));
        leaf.holds()?;
        Ok(found)
    }

    /// The leaf where `key` belongs, and the first slot at or behind it: possibly the leaf's
    /// count, then the entry is the right neighbour's first.
    pub(super) fn at_or_after(
        &self,
        key: &[u8],
        heads: Heads,
    ) -> Result<Option<(Glimpse<'_, WIDTH>, usize)>, Torn> {
        let Some(root) = self.glimpse_root()? else { return Ok(None) };
        let search = Search { key, sample: self.sample(), heads };
        let leaf = descend(root, |node| search.child_slot(node))?;
        let (Ok(at) | Err(at)) = search.position(leaf.node);
        Ok(Some((leaf, at)))
    }

    /// The leaf and slot with the greatest key below `key`.
    pub(super) fn before(
        &self,
        key: &[u8],
        heads: Heads,
    ) -> Result<Option<(Glimpse<'_, WIDTH>, usize)>, Torn> {
        let Some(root) = self.glimpse_root()? else { return Ok(None) };
        let search = Search { key, sample: self.sample(), heads };
        // The last child whose low fence is below the key, and then its last slot below: since a
        // leaf's low fence is its first key (M5), only the first leaf can hold none.
        let below = |node: &Node<WIDTH>| {
            let (Ok(at) | Err(at)) = search.position(node);
            at.checked_sub(1)
        };
        let leaf = descend(root, |node| below(node).unwrap_or(0))?;
        let at = below(leaf.node);
        leaf.holds()?;
        Ok(at.map(|at| (leaf, at)))
    }

    pub(super) fn first_leaf(&self) -> Result<Option<Glimpse<'_, WIDTH>>, Torn> {
        self.glimpse_root()?.map(|root| descend(root, |_| 0)).transpose()
    }

    pub(super) fn last_leaf(&self) -> Result<Option<Glimpse<'_, WIDTH>>, Torn> {
        self.glimpse_root()?.map(|root| descend(root, Node::last_slot)).transpose()
    }

    fn glimpse_root(&self) -> Result<Option<Glimpse<'_, WIDTH>>, Torn> {
        let Some(node) = self.root() else { return Ok(None) };
        let version = node.begin_read()?;
        // A root that was split has a new one above it.
        let is_root = self.root().is_some_and(|root| std::ptr::eq(root, node));
        if is_root { Ok(Some(Glimpse { node, version })) } else { Err(Torn) }
    }
}

/// Down to a leaf, through the slots that `choose` chooses.
fn descend<'t, const WIDTH: usize>(
    root: Glimpse<'t, WIDTH>,
    choose: impl Fn(&Node<WIDTH>) -> usize,
) -> Result<Glimpse<'t, WIDTH>, Torn> {
    let mut at = root;
    while !at.node.is_leaf() {
        at = at.child(choose(at.node))?;
    }
    Ok(at)
}

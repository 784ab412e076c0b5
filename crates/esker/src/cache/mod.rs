//! Floor 1b: the block cache: a pool of frames that hold pages of tables, read and checked.
//!
//! Memory is cut into *frames* of one size. Each open table has a [`FrameMap`], one atomic frame
//! number for each of its pages, so a hit costs one load instead of a look-up in a hash table, and
//! no line of memory that another reader writes. The idea is vmcache's (Leis and others, SIGMOD
//! 2023), with an array of numbers in place of a page table.
//!
//! There are two ways to hold a page:
//!
//! - for a moment, under the epoch: [`FrameMap::peek`]. Nothing is written, nothing can be waited
//!   for. If the page is not there the reader must let go of the epoch before it loads it.
//! - for as long as one likes, by a count on the frame: [`Page`]. It is what loads hand out, what
//!   cursors stand on, and what a long value shares.
//!
//! A frame that is evicted is taken out of its map first; it is used again when nobody counts it
//! and the epoch says that nobody peeks at it any more ([`crate::epoch`]).
//!
//! Pages longer than a frame (an entry over the block size, the root of a large index) get memory
//! of their own and a number behind those of the frames; otherwise they are treated alike.
//!
//! Whoever asks for a page knows how long it is, or the page says it itself: a compressed block is
//! as long as its header says, which nobody knows before it was read. Of such a page all of its
//! frame is shown.
//!
//! Eviction is CLOCK: a use sets a bit if it is clear, the hand clears set bits and evicts where
//! it finds one clear. When nothing can be had at once a load reads into memory of its own, which
//! ends with the read.
//!
//! - [`slab`]: the memory, reserved at once and taken as it is touched
//! - [`page`]: the two ways to hold a page
//! - [`pool`]: which frames are free, eviction, the bound
//!
//! Invariants:
//!
//! - `B1`: frames that were touched and long pages together are never more than the capacity.
//! - `B2`: a frame is filled only while nobody can see it: it is in no map, nobody counts it, and
//!   its stamp is quiet.
//! - `B3`: a page of a file is in at most one frame.
//! - `B4`: what is held by a page is at least as long as what is asked of it.
//!
//! Threads and locks: one mutex around the lists of frames, innermost in the lock order, held over
//! no I/O. One reader loads a page; who comes meanwhile waits through the environment.
//!
//! Cost: a peek three loads besides the page itself; a count two read-modify-writes of the frame's
//! state, one to take it and one to give it back; a load the read.
//!
//! `loom_tests.rs` plays pools of one or two frames through every order that the memory model
//! allows: the pool, the epoch and the waiting are the real ones, only the slab is a stand-in.
//!
//! Not here: what pages mean and how they are checked (`sstable`).

pub(crate) mod page;
pub(crate) mod pool;
#[cfg(not(all(test, loom)))]
mod slab;
#[cfg(all(test, loom))]
mod slab_for_loom;
#[cfg(all(test, loom))]
use self::slab_for_loom as slab;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(test)]
mod tests;

pub use page::{Entered, FrameMap, Keep, Page};
pub use pool::FramePool;

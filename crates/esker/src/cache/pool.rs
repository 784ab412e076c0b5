//! Which frames are free, which one goes next, and the bound on all of them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::{Arc, PoisonError};

use super::page::DETACHED;
use super::slab::Slab;
use crate::base::invariant;
use crate::base::sync::{AtomicU32, AtomicUsize, Mutex, MutexGuard, fence};
use crate::env::Env;
use crate::epoch::Domain;

/// So many frames are evicted at a time, fewer from a small pool: they wait for the epoch together.
const EVICTED_AT_ONCE_MAX: usize = 32;

/// The hand passes so many seats for each frame it shall evict before it takes used ones too: a
/// load never has to clear the bits of a whole pool.
const SEATS_PASSED_MAX: usize = 64;

/// No number of a frame is above this.
const FRAMES_MAX: usize = 1 << 28;

/// A bounded pool of frames, shared by all tables of a store. See the folder's text.
pub struct FramePool {
    env: Arc<dyn Env>,
    domain: Arc<Domain>,
    slab: Slab,
    capacity_bytes: usize,
    lists: Mutex<Lists>,
    /// Frames and long pages that somebody counts.
    pinned: AtomicUsize,
    /// Readers that wait for somebody else's load.
    waiting: AtomicUsize,
    /// What is held, as [`Lists::held_bytes`], for who asks without the lock.
    held_bytes: AtomicUsize,
}

/// A page of a file, by the slot that names its frame.
pub(super) struct Owner {
    slots: Arc<[AtomicU32]>,
    n: usize,
}

impl Owner {
    pub(super) fn new(slots: &Arc<[AtomicU32]>, n: usize) -> Self {
        Self { slots: Arc::clone(slots), n }
    }
}

#[derive(Default)]
struct Lists {
    /// Touched frames that nobody uses.
    free: Vec<u32>,
    /// Frames whose memory was given back, then all from `fresh` on: never touched.
    untouched: Vec<u32>,
    fresh: u32,
    /// The same for numbers of long pages.
    long_free: Vec<u32>,
    long_fresh: u32,
    long_bytes: usize,
    /// Whose page each frame holds, and each long page: both as long as numbers were handed out.
    owners: Vec<Option<Owner>>,
    long_owners: Vec<Option<Owner>>,
    hand: usize,
    /// Evicted, oldest first, with their stamps.
    limbo: VecDeque<(u64, u32)>,
}

impl FramePool {
    /// A pool of at most `capacity_bytes` in frames of `frame_bytes`, a multiple of 64. Readers
    /// that peek pin `domain`.
    pub fn new(
        env: Arc<dyn Env>,
        domain: Arc<Domain>,
        capacity_bytes: usize,
        frame_bytes: usize,
    ) -> Arc<Self> {
        assert!(frame_bytes > 0 && frame_bytes.is_multiple_of(64), "frames of {frame_bytes} bytes");
        let frames = (capacity_bytes / frame_bytes).min(FRAMES_MAX) as u32;
        Arc::new(Self {
            env,
            domain,
            slab: Slab::new(frames, frame_bytes),
            capacity_bytes,
            lists: Mutex::default(),
            pinned: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            held_bytes: AtomicUsize::new(0),
        })
    }

    /// A pool with an environment and a domain of its own, in frames of 8 KiB.
    #[cfg(test)]
    pub fn for_tests(capacity_bytes: usize) -> Arc<Self> {
        let env = crate::env::threads::ThreadEnv::new();
        Self::new(env, Domain::new(), capacity_bytes, 8 << 10)
    }

    /// The domain that readers pin.
    pub fn domain(&self) -> &Arc<Domain> {
        &self.domain
    }

    /// How much memory it holds, in frames that were touched and long pages.
    pub fn bytes(&self) -> usize {
        self.held_bytes.load(Relaxed)
    }

    /// How much memory of it readers keep from being used for something else, about.
    pub fn pinned_bytes(&self) -> usize {
        self.pinned.load(Relaxed) * self.slab.frame_bytes()
    }

    /// Whether so much of it is pinned that long values should be copied and not shared.
    pub fn is_scarce(&self) -> bool {
        self.pinned.load(Relaxed) * 4 >= self.slab.frames() as usize
    }

    pub(super) fn slab(&self) -> &Slab {
        &self.slab
    }

    /// Remembers that a frame was used. Writes only if nobody did since the hand came by.
    #[inline]
    pub(super) fn note_use(&self, frame: u32) {
        let used = &self.slab.state(frame).used;
        if used.load(Relaxed) == 0 {
            used.store(1, Relaxed);
        }
    }

    pub(super) fn note_pinned(&self) {
        self.pinned.fetch_add(1, Relaxed);
    }

    pub(super) fn note_unpinned(&self) {
        self.pinned.fetch_sub(1, Relaxed);
    }

    /// Waits for somebody else's load.
    pub(super) fn wait_until(&self, mut ready: impl FnMut() -> bool) {
        self.waiting.fetch_add(1, SeqCst);
        self.env.wait_until(&mut ready);
        self.waiting.fetch_sub(1, SeqCst);
    }

    /// Tells those who wait for a load that one has ended.
    pub(super) fn wake_waiting(&self) {
        fence(SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.env.notify();
        }
    }

    /// A frame for a page of so many bytes, or the number of a long page, that nobody sees and the
    /// caller has counted once. `None` if nothing can be had at once.
    pub(super) fn take(&self, bytes: usize, owner: Owner) -> Option<u32> {
        let mut lists = self.lists();
        self.reclaim(&mut lists);
        let taken = if bytes <= self.slab.frame_bytes() {
            self.take_frame(&mut lists)
        } else {
            self.take_long(&mut lists, bytes)
        };
        if lists.free.len() < self.evicted_at_once() / 2
            && self.is_full(&lists, self.slab.frame_bytes())
        {
            // Ahead of need, so that they are quiet when they are asked for.
            self.evict(&mut lists, self.evicted_at_once());
            self.reclaim(&mut lists);
        }
        let n = taken?;
        let state = self.slab.state(n);
        state.pins.store(1, Relaxed);
        // Until somebody comes back: a walk over everything does not push out what is used often.
        state.used.store(0, Relaxed);
        *lists.owner(n, &self.slab) = Some(owner);
        self.note_held(&lists);
        drop(lists);
        self.note_pinned();
        Some(n)
    }

    /// Takes back a frame whose read failed: nobody has seen it.
    pub(super) fn give_back_unread(&self, n: u32) {
        let mut lists = self.lists();
        *lists.owner(n, &self.slab) = None;
        self.slab.state(n).pins.store(0, Relaxed);
        self.add_free(&mut lists, n);
        self.note_held(&lists);
        drop(lists);
        self.note_unpinned();
    }

    /// Frames that their map has let go of.
    pub(super) fn detach_all(&self, frames: Vec<u32>) {
        if frames.is_empty() {
            return;
        }
        let mut lists = self.lists();
        for n in frames {
            *lists.owner(n, &self.slab) = None;
            self.detach(&mut lists, n);
        }
        self.reclaim(&mut lists);
        self.note_held(&lists);
    }

    /// A detached frame that nobody counts any more.
    pub(super) fn retire(&self, n: u32) {
        let stamp = self.domain.stamp();
        self.lists().limbo.push_back((stamp, n));
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_held(&self, lists: &Lists) {
        let held_bytes = lists.held_bytes(self.slab.frame_bytes());
        invariant!(
            B1,
            held_bytes <= self.capacity_bytes,
            "{held_bytes} of {}",
            self.capacity_bytes
        );
        self.held_bytes.store(held_bytes, Relaxed);
    }

    /// Whether so many bytes more would be over the capacity.
    fn is_full(&self, lists: &Lists, more_bytes: usize) -> bool {
        lists.held_bytes(self.slab.frame_bytes()) + more_bytes > self.capacity_bytes
    }

    fn take_frame(&self, lists: &mut Lists) -> Option<u32> {
        if lists.free.is_empty() {
            if !self.is_full(lists, self.slab.frame_bytes())
                && let Some(n) = lists.next_untouched(self.slab.frames())
            {
                return Some(n);
            }
            self.evict(lists, self.evicted_at_once());
            self.reclaim(lists);
        }
        lists.free.pop()
    }

    fn take_long(&self, lists: &mut Lists, bytes: usize) -> Option<u32> {
        // A page that would push out much of the rest is not kept.
        if bytes > self.capacity_bytes / 8 {
            return None;
        }
        while self.is_full(lists, bytes) {
            if let Some(n) = lists.free.pop() {
                // SAFETY: nobody uses a free frame.
                unsafe { self.slab.release(n) };
                lists.untouched.push(n);
                continue;
            }
            if !self.evict(lists, bytes.div_ceil(self.slab.frame_bytes())) {
                return None;
            }
            self.reclaim(lists);
            if lists.free.is_empty() && self.is_full(lists, bytes) {
                return None;
            }
        }
        let n = lists.next_long(self.slab.frames())?;
        lists.long_bytes += bytes;
        Some(n)
    }

    /// Moves what was evicted to the free lists, as far as nobody can see it any more.
    fn reclaim(&self, lists: &mut Lists) {
        while let Some((stamp, n)) = lists.limbo.front().copied() {
            if !self.domain.is_quiet(stamp) {
                return;
            }
            lists.limbo.pop_front();
            self.add_free(lists, n);
        }
    }

    /// Adds what nobody can see to the free lists.
    fn add_free(&self, lists: &mut Lists, n: u32) {
        let pins = self.slab.state(n).pins.load(Relaxed) & !DETACHED;
        invariant!(B2, pins == 0, "frame {n} is counted {pins} times");
        if n < self.slab.frames() {
            lists.free.push(n);
        } else {
            // SAFETY: its stamp is quiet and nobody counts it, or nobody has ever seen it.
            lists.long_bytes -= unsafe { self.slab.free(n) };
            lists.long_free.push(n);
        }
    }

    /// How many frames to evict at a time.
    fn evicted_at_once(&self) -> usize {
        (self.slab.frames() as usize / 8).clamp(1, EVICTED_AT_ONCE_MAX)
    }

    /// Evicts up to `count` frames or long pages; false if none could be.
    fn evict(&self, lists: &mut Lists, count: usize) -> bool {
        let mut evicted = 0;
        let seats = lists.owners.len() + lists.long_owners.len();
        for passed in 0..2 * seats {
            if evicted == count {
                break;
            }
            let n = lists.advance_hand(self.slab.frames());
            let state = self.slab.state(n);
            let spare_used = passed < count * SEATS_PASSED_MAX;
            let is_counted = state.pins.load(Acquire) != 0;
            if is_counted || (state.used.swap(0, Relaxed) == 1 && spare_used) {
                continue;
            }
            let Some(owner) = lists.owner(n, &self.slab).take() else { continue };
            let slot = &owner.slots[owner.n];
            // It fails if the map is being dropped: then that detaches the frame.
            if slot.compare_exchange(n + 1, 0, AcqRel, Relaxed).is_ok() {
                self.detach(lists, n);
                evicted += 1;
            }
        }
        evicted > 0
    }

    /// Marks a frame that is in no map any more. If nobody counts it, it goes to the limbo now;
    /// else when the last one lets go of it.
    fn detach(&self, lists: &mut Lists, n: u32) {
        if self.slab.state(n).pins.fetch_or(DETACHED, AcqRel) == 0 {
            lists.limbo.push_back((self.domain.stamp(), n));
        }
    }
}

impl Lists {
    fn held_bytes(&self, frame_bytes: usize) -> usize {
        (self.fresh as usize - self.untouched.len()) * frame_bytes + self.long_bytes
    }

    fn next_untouched(&mut self, frames: u32) -> Option<u32> {
        if let Some(n) = self.untouched.pop() {
            return Some(n);
        }
        if self.fresh == frames {
            return None;
        }
        self.fresh += 1;
        self.owners.push(None);
        Some(self.fresh - 1)
    }

    fn next_long(&mut self, frames: u32) -> Option<u32> {
        if let Some(n) = self.long_free.pop() {
            return Some(n);
        }
        if self.long_fresh == frames {
            return None;
        }
        self.long_fresh += 1;
        self.long_owners.push(None);
        Some(frames + self.long_fresh - 1)
    }

    fn owner(&mut self, n: u32, slab: &Slab) -> &mut Option<Owner> {
        match n.checked_sub(slab.frames()) {
            None => &mut self.owners[n as usize],
            Some(long) => &mut self.long_owners[long as usize],
        }
    }

    /// The number that the hand points at; moves it on.
    fn advance_hand(&mut self, frames: u32) -> u32 {
        let seats = self.owners.len() + self.long_owners.len();
        let at = self.hand % seats;
        self.hand = (at + 1) % seats;
        match at.checked_sub(self.owners.len()) {
            None => at as u32,
            Some(long) => frames + long as u32,
        }
    }
}

impl fmt::Debug for FramePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FramePool({} of {} bytes)", self.bytes(), self.capacity_bytes)
    }
}

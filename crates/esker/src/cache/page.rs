//! The pages of one file in the pool, and the two ways to hold one.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::pool::{FramePool, Owner};
use crate::base::error::Result;
use crate::base::invariant;
use crate::base::sync::AtomicU32;
use crate::epoch::Guard;

/// In the count of a frame: it has been taken out of its map.
pub(super) const DETACHED: u32 = 1 << 31;

/// In a map: the page is in no frame.
const ABSENT: u32 = 0;

/// In a map: somebody loads the page. Any other number is that of a frame, plus one.
const LOADING: u32 = u32::MAX;

/// Which frame holds each page of one file. Dropping it lets go of all of them.
pub struct FrameMap {
    pool: Arc<FramePool>,
    slots: Arc<[AtomicU32]>,
}

/// Whether a page that was loaded stays in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Yes: it is likely to be read again.
    Yes,
    /// No: somebody walks over everything once, to merge it or to check it.
    No,
}

impl FrameMap {
    /// A map of a file of so many pages, none of which is in the pool.
    pub fn new(pool: &Arc<FramePool>, pages: usize) -> Self {
        let slots = std::iter::repeat_with(|| AtomicU32::new(ABSENT)).take(pages).collect();
        Self { pool: Arc::clone(pool), slots }
    }

    /// Page `n`, `bytes` long, if it is in the pool, for as long as the guard lives.
    #[inline(always)]
    pub fn peek<'g>(&'g self, n: usize, bytes: usize, guard: &'g Guard<'_>) -> Option<&'g [u8]> {
        invariant!(B2, guard.pins(self.pool.domain()), "a guard of another domain");
        let frame = frame_in(self.slots[n].load(Acquire))?;
        self.pool.note_use(frame);
        // SAFETY: the frame was in the map after this reader was pinned. It is filled or freed
        // again only after it was taken out of the map, got a stamp then, and the stamp was quiet
        // (`FramePool::take`), so not while the guard lives.
        Some(unsafe { self.pool.slab().bytes(frame, bytes) })
    }

    /// Page `n`, which says itself how long it is, as [`peek`](Self::peek) shows one: all of its
    /// frame, whatever lies behind the page.
    #[inline]
    pub fn peek_frame<'g>(&'g self, n: usize, guard: &'g Guard<'_>) -> Option<&'g [u8]> {
        invariant!(B2, guard.pins(self.pool.domain()), "a guard of another domain");
        let frame = frame_in(self.slots[n].load(Acquire))?;
        self.pool.note_use(frame);
        // SAFETY: as in `peek`.
        Some(unsafe { self.pool.slab().all_bytes(frame) })
    }

    /// Page `n`, `bytes` long, which `read` fills and checks if it is not in the pool.
    ///
    /// # Errors
    /// Those of `read`; then the page is not in the pool.
    pub fn load(
        &self,
        n: usize,
        bytes: usize,
        keep: Keep,
        mut read: impl FnMut(&mut [u8]) -> Result<()>,
    ) -> Result<Page> {
        match self.enter(n, Some(bytes), keep) {
            Entered::Here(page) => Ok(page),
            Entered::Absent(absent) => absent.fill(bytes, &mut read),
        }
    }

    /// Page `n`, which says itself how long it is: all of its frame, or the place for it, which the
    /// caller fills or drops.
    pub fn enter_frame(&self, n: usize, keep: Keep) -> Entered<'_> {
        self.enter(n, None, keep)
    }

    fn enter(&self, n: usize, bytes: Option<usize>, keep: Keep) -> Entered<'_> {
        loop {
            let slot = &self.slots[n];
            if let Some(page) = self.count_as(n, bytes) {
                return Entered::Here(page);
            }
            if keep == Keep::No {
                return Entered::Absent(Absent(None));
            }
            match slot.compare_exchange(ABSENT, LOADING, Acquire, Acquire) {
                Ok(_) => {
                    let loading = Loading { map: self, n, outcome: ABSENT };
                    return Entered::Absent(Absent(Some(loading)));
                }
                Err(LOADING) => self.pool.wait_until(|| slot.load(Acquire) != LOADING),
                // It came or went in between.
                Err(_) => {}
            }
        }
    }

    /// Page `n`, counted, if it is in the pool.
    pub fn count(&self, n: usize, bytes: usize) -> Option<Page> {
        self.count_as(n, Some(bytes))
    }

    /// The same of a page that says itself how long it is: all of its frame.
    pub fn count_frame(&self, n: usize) -> Option<Page> {
        self.count_as(n, None)
    }

    fn count_as(&self, n: usize, bytes: Option<usize>) -> Option<Page> {
        let guard = self.pool.domain().pin();
        let frame = frame_in(self.slots[n].load(Acquire))?;
        let pins = &self.pool.slab().state(frame).pins;
        let attached = |pins| (pins & DETACHED == 0).then_some(pins + 1);
        let before = pins.fetch_update(Acquire, Relaxed, attached).ok()?;
        self.pool.note_use(frame);
        if before == 0 {
            self.pool.note_pinned();
        }
        drop(guard);
        Some(Page::counted(&self.pool, frame, bytes))
    }
}

/// What somebody who wants a page finds.
pub enum Entered<'m> {
    /// The page.
    Here(Page),
    /// Its place.
    Absent(Absent<'m>),
}

/// A page that is not in the pool. Whoever wants it too waits until this is filled or dropped,
/// unless it shall not be kept.
pub struct Absent<'m>(Option<Loading<'m>>);

impl Absent<'_> {
    /// The page, `bytes` long, which `read` fills and checks.
    ///
    /// # Errors
    /// Those of `read`; then the page is not in the pool.
    pub fn fill(self, bytes: usize, read: &mut dyn FnMut(&mut [u8]) -> Result<()>) -> Result<Page> {
        let Some(mut loading) = self.0 else { return Page::read_alone(bytes, read) };
        let (map, n) = (loading.map, loading.n);
        let Some(frame) = map.pool.take(bytes, Owner::new(&map.slots, n)) else {
            return Page::read_alone(bytes, read);
        };
        let page = Page::new_in(&map.pool, frame, bytes, read)?;
        let slot = map.slots[n].load(Relaxed);
        invariant!(B3, slot == LOADING, "page {n} came in twice: {slot}");
        loading.outcome = frame + 1;
        Ok(page)
    }
}

/// A load that is under way: whatever happens, the slot says in the end that it is over.
struct Loading<'m> {
    map: &'m FrameMap,
    n: usize,
    outcome: u32,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.map.slots[self.n].store(self.outcome, Release);
        self.map.pool.wake_waiting();
    }
}

impl Drop for FrameMap {
    fn drop(&mut self) {
        let frames = self.slots.iter().filter_map(|slot| frame_in(slot.swap(ABSENT, Acquire)));
        self.pool.detach_all(frames.collect());
    }
}

impl fmt::Debug for FrameMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameMap({} pages)", self.slots.len())
    }
}

/// The frame that a slot names.
#[inline(always)]
fn frame_in(slot: u32) -> Option<u32> {
    if slot == ABSENT || slot == LOADING { None } else { Some(slot - 1) }
}

/// A page, counted: it stays where it is as long as this lives. Clones count again.
pub struct Page {
    /// What `hold` keeps where it is.
    bytes: NonNull<[u8]>,
    hold: Hold,
}

/// What keeps a page's bytes.
enum Hold {
    Frame { pool: Arc<FramePool>, frame: u32 },
    Alone(Arc<[u8]>),
}

// SAFETY: the bytes are shared and do not change while this lives; a frame's count and an `Arc`
// may be given up by any thread.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// A page in memory of its own.
    pub fn alone(bytes: Arc<[u8]>) -> Self {
        Self { bytes: NonNull::from(&*bytes), hold: Hold::Alone(bytes) }
    }

    /// Whether it keeps a frame of the pool from being used for something else.
    #[cfg(test)]
    pub fn holds_a_frame(&self) -> bool {
        matches!(self.hold, Hold::Frame { .. })
    }

    fn read_alone(bytes: usize, read: &mut dyn FnMut(&mut [u8]) -> Result<()>) -> Result<Self> {
        let mut buffer = vec![0; bytes];
        read(&mut buffer)?;
        Ok(Self::alone(buffer.into()))
    }

    /// The first `bytes` bytes, or all, of a frame that the caller has counted.
    fn counted(pool: &Arc<FramePool>, frame: u32, bytes: Option<usize>) -> Self {
        // SAFETY: the frame is counted until the page is dropped, and one that is counted is
        // neither filled nor freed.
        let slice: &[u8] = unsafe {
            match bytes {
                Some(bytes) => pool.slab().bytes(frame, bytes),
                None => pool.slab().all_bytes(frame),
            }
        };
        Self { bytes: slice.into(), hold: Hold::Frame { pool: Arc::clone(pool), frame } }
    }

    /// Reads into a frame that the pool has just handed out, counted once.
    fn new_in(
        pool: &Arc<FramePool>,
        frame: u32,
        bytes: usize,
        read: &mut dyn FnMut(&mut [u8]) -> Result<()>,
    ) -> Result<Self> {
        let mut unread = Unread { pool, frame, read: false };
        // SAFETY: `FramePool::take` hands a frame to one caller when nobody else can see it (B2),
        // and no map names it before this function has returned.
        read(unsafe { pool.slab().fill(frame, bytes) })?;
        unread.read = true;
        Ok(Self::counted(pool, frame, Some(bytes)))
    }
}

/// A frame that is given back at once if its read fails or panics.
struct Unread<'p> {
    pool: &'p FramePool,
    frame: u32,
    read: bool,
}

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        if !self.read {
            self.pool.give_back_unread(self.frame);
        }
    }
}

impl Deref for Page {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `hold` keeps the bytes where they are, unchanged, as long as `self` lives.
        unsafe { self.bytes.as_ref() }
    }
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Clone for Page {
    fn clone(&self) -> Self {
        let hold = match &self.hold {
            Hold::Frame { pool, frame } => {
                // It is counted already, so it cannot go meanwhile.
                pool.slab().state(*frame).pins.fetch_add(1, Relaxed);
                Hold::Frame { pool: Arc::clone(pool), frame: *frame }
            }
            Hold::Alone(bytes) => Hold::Alone(Arc::clone(bytes)),
        };
        Self { bytes: self.bytes, hold }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let Hold::Frame { pool, frame } = &self.hold else { return };
        // What was read from the bytes was read before whoever sees the lower count goes on.
        let before = pool.slab().state(*frame).pins.fetch_sub(1, AcqRel);
        if before & !DETACHED == 1 {
            pool.note_unpinned();
            if before & DETACHED != 0 {
                pool.retire(*frame);
            }
        }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({} bytes)", self.len())
    }
}

//! The memory of the pool: one reservation, zero until it is written, touched frame by frame.
//!
//! ```text
//! [ FrameState; 2 n ][ LongPage; n ][ frame; n ]       n = capacity / bytes of a frame
//! ```
//!
//! The system gives memory for what is touched, so a large capacity costs nothing until it is
//! used. Frames lie on huge pages where the kernel has them: on virtual machines the first touch
//! of a small page costs 1.5 to 10 µs, and a miss in memory is 60 ns cheaper on huge ones.
//!
//! Numbers `0..n` are frames, `n..2 n` long pages with memory of their own.

use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize};

/// Frames begin at a multiple of this, the size of a huge page.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// What is counted for one frame or long page. All zero at first.
#[derive(Debug)]
#[repr(C)]
pub(super) struct FrameState {
    /// How many hold it, and [`DETACHED`](super::page::DETACHED).
    pub(super) pins: AtomicU32,
    /// Whether it was used since the hand came by: 0 or 1.
    pub(super) used: AtomicU32,
}

/// A page longer than a frame.
#[derive(Debug)]
#[repr(C)]
struct LongPage {
    /// From `Box<[u8]>`, null if there is none.
    start: AtomicPtr<u8>,
    bytes: AtomicUsize,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Slab {
    /// The whole reservation; dangling if it has no bytes.
    base: NonNull<u8>,
    reserved_bytes: usize,
    /// Where the frames begin.
    frames_offset: usize,
    frames: u32,
    frame_bytes: usize,
    /// One more than the highest number of a long page that was ever used, [`frames`] at first.
    ///
    /// [`frames`]: Self::frames
    long_end: AtomicU32,
}

// SAFETY: the reservation is the slab's own. What is in it is either atomic, or handed out under
// the contracts of `bytes` and `fill`, which hold across threads.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    /// Memory for so many frames; for fewer if the system refuses to reserve that much, in the
    /// end for none.
    pub(super) fn new(mut frames: u32, frame_bytes: usize) -> Self {
        loop {
            let front_bytes =
                frames as usize * (2 * size_of::<FrameState>() + size_of::<LongPage>());
            let is_large = frames as usize * frame_bytes >= HUGE_PAGE_BYTES;
            let align = if is_large { HUGE_PAGE_BYTES } else { page_bytes() };
            let reserved_bytes = front_bytes + align + frames as usize * frame_bytes;
            if frames == 0 {
                let (base, long_end) = (NonNull::dangling(), AtomicU32::new(0));
                return Self {
                    base,
                    reserved_bytes: 0,
                    frames_offset: 0,
                    frames,
                    frame_bytes,
                    long_end,
                };
            }
            if let Some(base) = reserve(reserved_bytes) {
                let frames_start = (base.as_ptr().addr() + front_bytes).next_multiple_of(align);
                let frames_offset = frames_start - base.as_ptr().addr();
                advise_huge_pages(base, frames_offset, frames as usize * frame_bytes);
                let long_end = AtomicU32::new(frames);
                return Self { base, reserved_bytes, frames_offset, frames, frame_bytes, long_end };
            }
            frames /= 2;
        }
    }

    pub(super) fn frames(&self) -> u32 {
        self.frames
    }

    pub(super) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// The counts of frame or long page `n`.
    #[inline]
    pub(super) fn state(&self, n: u32) -> &FrameState {
        assert!(n < 2 * self.frames, "more frames than there are");
        // SAFETY: the reservation begins with `2 * frames` states, aligned because it begins at a
        // page of the system; they were zero, which is a valid state, and are atomic since.
        unsafe { self.base.cast::<FrameState>().add(n as usize).as_ref() }
    }

    #[cold]
    fn long_page(&self, n: u32) -> &LongPage {
        assert!((self.frames..2 * self.frames).contains(&n), "more long pages than there are");
        let states_bytes = 2 * self.frames as usize * size_of::<FrameState>();
        // SAFETY: `frames` of these follow the states, whose size is a multiple of their
        // alignment; zero is a valid one (a null pointer), and they are atomic.
        unsafe {
            let first = self.base.add(states_bytes).cast::<LongPage>();
            first.add((n - self.frames) as usize).as_ref()
        }
    }

    /// The first `bytes` bytes of frame or long page `n`.
    ///
    /// # Safety
    ///
    /// Nobody calls [`fill`](Self::fill) or [`free`](Self::free) for `n` during `'a`.
    #[inline(always)]
    pub(super) unsafe fn bytes<'a>(&self, n: u32, bytes: usize) -> &'a [u8] {
        let (start, bytes_max) = self.place(n);
        crate::base::invariant!(B4, bytes <= bytes_max, "{bytes} of {bytes_max} bytes");
        // SAFETY: `place` is initialised memory of that length, and by the caller's promise nobody
        // writes to it or frees it for `'a`.
        unsafe { std::slice::from_raw_parts(start, bytes) }
    }

    /// All bytes of frame or long page `n`: those behind the page that it holds too, which are zero
    /// or of an earlier one.
    ///
    /// # Safety
    ///
    /// As for [`bytes`](Self::bytes).
    #[inline]
    pub(super) unsafe fn all_bytes<'a>(&self, n: u32) -> &'a [u8] {
        let (start, bytes) = self.place(n);
        // SAFETY: as in `bytes`.
        unsafe { std::slice::from_raw_parts(start, bytes) }
    }

    /// The first `bytes` bytes of frame `n`, or a new long page `n` of that length, to be filled.
    ///
    /// # Safety
    ///
    /// Nobody but the caller uses the bytes of `n` during `'a`.
    pub(super) unsafe fn fill<'a>(&self, n: u32, bytes: usize) -> &'a mut [u8] {
        if n >= self.frames {
            let page = self.long_page(n);
            let start = Box::into_raw(vec![0_u8; bytes].into_boxed_slice()).cast::<u8>();
            page.bytes.store(bytes, Relaxed);
            page.start.store(start, Release);
            self.long_end.fetch_max(n + 1, Relaxed);
        }
        let (start, bytes_max) = self.place(n);
        crate::base::invariant!(B4, bytes <= bytes_max, "{bytes} of {bytes_max} bytes");
        // SAFETY: `place` is initialised memory of that length, and by the caller's promise it is
        // the caller's alone.
        unsafe { std::slice::from_raw_parts_mut(start.cast_mut(), bytes) }
    }

    /// Gives the memory of long page `n` back; returns how long it was.
    ///
    /// # Safety
    ///
    /// Nobody uses the bytes of `n` any more.
    pub(super) unsafe fn free(&self, n: u32) -> usize {
        let page = self.long_page(n);
        let start = page.start.swap(std::ptr::null_mut(), Acquire);
        let bytes = page.bytes.swap(0, Relaxed);
        if !start.is_null() {
            let slice = std::ptr::slice_from_raw_parts_mut(start, bytes);
            // SAFETY: `fill` got it from a box of that length, and the swap took it out, so it is
            // freed once; by the caller's promise nobody uses it.
            drop(unsafe { Box::from_raw(slice) });
        }
        bytes
    }

    /// Gives the memory of frame `n` back to the system, if it is whole pages of the system's: it
    /// is zero, or as it was, when it is next used.
    ///
    /// # Safety
    ///
    /// Nobody uses the bytes of `n`.
    pub(super) unsafe fn release(&self, n: u32) {
        let (start, bytes) = self.place(n);
        // The system rounds to whole pages: the rest of one would be other frames'.
        if start.addr().is_multiple_of(page_bytes()) && bytes.is_multiple_of(page_bytes()) {
            release(start, bytes);
        }
    }

    /// Where frame or long page `n` lies, and how long it is.
    #[inline(always)]
    fn place(&self, n: u32) -> (*const u8, usize) {
        if n < self.frames {
            // SAFETY: the reservation has room for `frames` frames from `frames_offset` on.
            let start =
                unsafe { self.base.add(self.frames_offset + n as usize * self.frame_bytes) };
            return (start.as_ptr(), self.frame_bytes);
        }
        let page = self.long_page(n);
        let start = page.start.load(Acquire);
        assert!(!start.is_null(), "a long page has no memory");
        (start, page.bytes.load(Relaxed))
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        for n in self.frames..*self.long_end.get_mut() {
            // SAFETY: nobody else has the slab.
            unsafe { self.free(n) };
        }
        if self.reserved_bytes > 0 {
            unreserve(self.base, self.reserved_bytes);
        }
    }
}

/// Reserves zeroed memory that is taken from the system when it is touched.
#[cfg(unix)]
fn reserve(bytes: usize) -> Option<NonNull<u8>> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    #[cfg(target_os = "linux")]
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    #[cfg(not(target_os = "linux"))]
    let flags = MapFlags::PRIVATE;
    // SAFETY: a new mapping at a place that the system chooses changes no memory in use.
    let base = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, protection, flags) };
    base.ok().and_then(|base| NonNull::new(base.cast()))
}

#[cfg(unix)]
fn unreserve(base: NonNull<u8>, bytes: usize) {
    // SAFETY: `reserve` made this mapping, with this length, and its owner is being dropped.
    let _ = unsafe { rustix::mm::munmap(base.as_ptr().cast(), bytes) };
}

/// The size of the system's pages of memory.
fn page_bytes() -> usize {
    rustix::param::page_size()
}

#[cfg(target_os = "linux")]
fn release(start: *const u8, bytes: usize) {
    use rustix::mm::{Advice, madvise};
    // SAFETY: the range lies in the slab's own anonymous mapping, and nobody uses it; what the
    // advice leaves is zero bytes, which are initialised.
    let _ = unsafe { madvise(start.cast_mut().cast(), bytes, Advice::LinuxDontNeed) };
}

#[cfg(not(target_os = "linux"))]
fn release(_: *const u8, _: usize) {}

fn advise_huge_pages(base: NonNull<u8>, offset: usize, bytes: usize) {
    #[cfg(target_os = "linux")]
    if bytes >= HUGE_PAGE_BYTES {
        use rustix::mm::{Advice, madvise};
        let whole_bytes = bytes / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
        // SAFETY: the range lies in the slab's own mapping, and the advice changes how it is
        // backed, not what it holds.
        let _ = unsafe {
            madvise(base.add(offset).as_ptr().cast(), whole_bytes, Advice::LinuxHugepage)
        };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (base, offset, bytes);
}

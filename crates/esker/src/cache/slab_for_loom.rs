//! The slab that loom plays with, in place of [`slab`](super::slab): loom's atomics are not valid
//! as zero bytes of a mapping, and loom must see every use of a frame's bytes.
//!
//! Its contracts are the slab's; whoever breaks one fails the test. There are no long pages: they
//! take the same way through the pool as frames, and a pool of a few frames admits none.

use std::ptr::NonNull;

use loom::cell::UnsafeCell;

use crate::base::sync::AtomicU32;

#[derive(Debug)]
pub(super) struct FrameState {
    pub(super) pins: AtomicU32,
    pub(super) used: AtomicU32,
}

#[derive(Debug)]
struct Frame {
    state: FrameState,
    /// From `Box<[u8]>`.
    memory: NonNull<[u8]>,
    /// Shows loom who uses the memory, and how.
    uses: UnsafeCell<()>,
}

#[derive(Debug)]
pub(super) struct Slab {
    frames: Vec<Frame>,
    frame_bytes: usize,
}

// SAFETY: a frame's memory is its own, and loom watches that the contracts of `bytes` and `fill`
// are kept across threads; it plays them one after the other.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    pub(super) fn new(frames: u32, frame_bytes: usize) -> Self {
        let frame = || Frame {
            state: FrameState { pins: AtomicU32::new(0), used: AtomicU32::new(0) },
            memory: NonNull::from(Box::leak(vec![0; frame_bytes].into_boxed_slice())),
            uses: UnsafeCell::new(()),
        };
        let frames = std::iter::repeat_with(frame).take(frames as usize).collect();
        Self { frames, frame_bytes }
    }

    pub(super) fn frames(&self) -> u32 {
        self.frames.len() as u32
    }

    pub(super) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    pub(super) fn state(&self, n: u32) -> &FrameState {
        &self.frames[n as usize].state
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(super) unsafe fn bytes<'a>(&self, n: u32, bytes: usize) -> &'a [u8] {
        let frame = &self.frames[n as usize];
        frame.uses.with(|_| ());
        // SAFETY: the memory is there until the slab is dropped, and by the caller's promise
        // nobody writes to it for `'a`.
        unsafe { &frame.memory.as_ref()[..bytes] }
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(super) unsafe fn all_bytes<'a>(&self, n: u32) -> &'a [u8] {
        // SAFETY: by the caller's promise.
        unsafe { self.bytes(n, self.frame_bytes) }
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(super) unsafe fn fill<'a>(&self, n: u32, bytes: usize) -> &'a mut [u8] {
        let frame = &self.frames[n as usize];
        frame.uses.with_mut(|_| ());
        let mut memory = frame.memory;
        // SAFETY: the memory is there until the slab is dropped, and by the caller's promise it is
        // the caller's alone.
        unsafe { &mut memory.as_mut()[..bytes] }
    }

    /// Tells loom that these bytes are read now, if they are a frame's.
    pub(super) fn note_read(&self, bytes: &[u8]) {
        if let Some(frame) = self.frame_of(bytes) {
            frame.uses.with(|_| ());
        }
    }

    /// Tells loom that these bytes are written now, if they are a frame's.
    pub(super) fn note_write(&self, bytes: &[u8]) {
        if let Some(frame) = self.frame_of(bytes) {
            frame.uses.with_mut(|_| ());
        }
    }

    fn frame_of(&self, bytes: &[u8]) -> Option<&Frame> {
        self.frames.iter().find(|frame| frame.memory.as_ptr().cast() == bytes.as_ptr().cast_mut())
    }

    /// # Safety
    ///
    /// None: there are no long pages.
    pub(super) unsafe fn free(&self, n: u32) -> usize {
        unreachable!("long page {n}")
    }

    /// # Safety
    ///
    /// None: memory is given back for long pages alone.
    pub(super) unsafe fn release(&self, n: u32) {
        unreachable!("frame {n} makes room for a long page")
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        for frame in &self.frames {
            // SAFETY: it came from a box in `new`, and nobody else has the slab.
            drop(unsafe { Box::from_raw(frame.memory.as_ptr()) });
        }
    }
}

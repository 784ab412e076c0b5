//! Chunks of memory, and the pool where memtables leave theirs to their successors.
//!
//! Touching fresh memory for the first time is dear: 1.5 to 10 µs for each page of 4 KiB on some
//! virtual machines, against some 100 ns that an insert costs otherwise. So chunks of 2 MiB, which
//! is what memtables mostly consist of, are kept when a memtable goes, as many as one full memtable
//! has, and the next one is filled without a single page fault.

use std::alloc::{self, Layout};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// The size of the chunks that are kept. From it on chunks are aligned to and backed by huge pages.
pub(super) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// One allocation.
#[derive(Debug)]
pub(super) struct Chunk {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a chunk owns its memory as a `Box<[MaybeUninit<u8>]>` does; what its users do with it is
// their own argument.
unsafe impl Send for Chunk {}
// SAFETY: as above: `&Chunk` gives access to nothing but numbers.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// Fresh memory, not initialised; `bytes` is not 0.
    pub(super) fn alloc(bytes: usize, align: usize) -> Self {
        assert!(bytes > 0, "a chunk of no bytes");
        let align = if bytes < HUGE_PAGE_BYTES { align } else { HUGE_PAGE_BYTES };
        let layout = Layout::from_size_align(bytes, align).expect("a chunk under isize::MAX");
        // SAFETY: the size is not 0.
        let Some(start) = NonNull::new(unsafe { alloc::alloc(layout) }) else {
            alloc::handle_alloc_error(layout);
        };
        let chunk = Self { start, layout };
        chunk.advise_huge_pages();
        chunk
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) fn bytes(&self) -> usize {
        self.layout.size()
    }

    fn is_huge_page(&self) -> bool {
        self.layout == Layout::from_size_align(HUGE_PAGE_BYTES, HUGE_PAGE_BYTES).expect("a page")
    }

    /// Asks for huge pages under the whole ones of a chunk. A refusal costs speed, nothing else.
    fn advise_huge_pages(&self) {
        let whole_bytes = self.bytes() / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
        if whole_bytes == 0 {
            return;
        }
        #[cfg(target_os = "linux")]
        {
            use rustix::mm::{Advice, madvise};
            // SAFETY: the range is the beginning of one allocation of ours, aligned to a huge
            // page, and the advice changes how it is backed, not what it holds.
            let _ =
                unsafe { madvise(self.start.as_ptr().cast(), whole_bytes, Advice::LinuxHugepage) };
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: `alloc` got the memory from the same allocator with the same layout.
        unsafe { alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// Where the memtables of a store get their chunks. See the module's text.
#[derive(Debug)]
pub struct ChunkPool {
    first_chunk_bytes: usize,
    idle_max: usize,
    idle: Mutex<Vec<Chunk>>,
}

impl ChunkPool {
    /// A pool that keeps up to `idle_bytes_max` for later. A memtable's first chunk has
    /// `first_chunk_bytes`, the next ones double up to 2 MiB.
    pub fn new(first_chunk_bytes: usize, idle_bytes_max: usize) -> Self {
        let idle_max = idle_bytes_max / HUGE_PAGE_BYTES;
        Self { first_chunk_bytes, idle_max, idle: Mutex::new(Vec::new()) }
    }

    /// Bytes that are kept for later, beside what the memtables hold.
    pub fn idle_bytes(&self) -> usize {
        self.lock(|idle| idle.len()) * HUGE_PAGE_BYTES
    }

    pub(super) fn first_chunk_bytes(&self) -> usize {
        self.first_chunk_bytes
    }

    /// A chunk of 2 MiB that is kept here.
    pub(super) fn take(&self) -> Option<Chunk> {
        self.lock(Vec::pop)
    }

    /// Keeps the chunks of 2 MiB, as many as there is room for, and frees the others.
    pub(super) fn give(&self, chunks: Vec<Chunk>) {
        let (huge, _) = chunks.into_iter().partition::<Vec<_>, _>(Chunk::is_huge_page);
        let _superfluous = self.lock(|idle| {
            idle.extend(huge);
            idle.split_off(idle.len().min(self.idle_max))
        });
    }

    fn lock<R>(&self, what: impl FnOnce(&mut Vec<Chunk>) -> R) -> R {
        // A list of chunks is whole at any moment, whoever panicked.
        what(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_chunks_are_kept_up_to_the_limit_and_handed_out_again() {
        let pool = ChunkPool::new(4096, 5 << 20);
        assert!(pool.take().is_none());
        let sizes = [4096, HUGE_PAGE_BYTES, 3 << 20, HUGE_PAGE_BYTES, HUGE_PAGE_BYTES];
        pool.give(sizes.into_iter().map(|bytes| Chunk::alloc(bytes, 64)).collect());
        assert_eq!(pool.idle_bytes(), 2 * HUGE_PAGE_BYTES);
        assert!(pool.take().is_some() && pool.take().is_some());
        assert!(pool.take().is_none());
    }
}

//! Memory that is handed out piece by piece and given back all at once.
//!
//! A piece keeps its address until the arena is dropped, so whoever keeps the memtable alive may
//! keep references into it. Nothing is allocated before the first piece. Chunks double from the
//! size asked for up to 2 MiB, the size of a huge page: a memtable of a few entries stays small,
//! and one of 64 MiB costs few page faults (1.5 to 10 µs each on some virtual machines, against
//! some 60 ns that an insert may cost in memory traffic). A piece over a quarter of a chunk gets
//! a chunk of its own, so that less than a quarter of any chunk is lost at its end.

use std::alloc::{self, Layout};
use std::ptr::NonNull;

/// Chunks stop growing here, and from here on they are aligned to and backed by huge pages.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A bump allocator over chunks. Every piece is aligned to the arena's one alignment.
pub(super) struct Arena {
    chunks: Vec<(NonNull<u8>, Layout)>,
    /// The unused rest of the newest growing chunk; dangling while there is none.
    rest: NonNull<u8>,
    rest_bytes: usize,
    next_chunk_bytes: usize,
    align: usize,
    used_bytes: usize,
}

// SAFETY: the arena owns its chunks as a `Vec` owns its buffer. It reaches into them only in
// `alloc` (`&mut self`) and `drop`; what its users do with the pieces is their own argument.
unsafe impl Send for Arena {}
// SAFETY: as above: `&Arena` gives access to nothing but numbers.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena whose first chunk has `chunk_bytes` and whose pieces are aligned to `align`.
    pub(super) fn new(chunk_bytes: usize, align: usize) -> Self {
        assert!(align.is_power_of_two(), "alignment {align}");
        Self {
            chunks: Vec::new(),
            rest: NonNull::dangling(),
            rest_bytes: 0,
            next_chunk_bytes: chunk_bytes.max(align).next_multiple_of(align),
            align,
            used_bytes: 0,
        }
    }

    /// A new piece of at least `bytes` bytes, not initialised, nobody else's while the arena
    /// lives.
    pub(super) fn alloc(&mut self, bytes: usize) -> NonNull<u8> {
        assert!(bytes > 0, "a piece of no bytes would share its address with the next one");
        let bytes = bytes.next_multiple_of(self.align);
        self.used_bytes += bytes;
        if bytes > self.rest_bytes {
            if bytes > self.next_chunk_bytes / 4 {
                return self.add_chunk(bytes);
            }
            let chunk_bytes = self.next_chunk_bytes;
            self.rest = self.add_chunk(chunk_bytes);
            self.rest_bytes = chunk_bytes;
            self.next_chunk_bytes = (chunk_bytes * 2).min(HUGE_PAGE_BYTES).max(chunk_bytes);
        }
        let piece = self.rest;
        // SAFETY: `rest` points at `rest_bytes >= bytes` bytes of one allocation, so the sum
        // points into it or just behind it.
        self.rest = unsafe { piece.add(bytes) };
        self.rest_bytes -= bytes;
        piece
    }

    /// Bytes in pieces, their rounding included and the unused rests of chunks not.
    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    fn add_chunk(&mut self, bytes: usize) -> NonNull<u8> {
        let align = if bytes < HUGE_PAGE_BYTES { self.align } else { HUGE_PAGE_BYTES };
        let layout = Layout::from_size_align(bytes, align).expect("a chunk under isize::MAX");
        // SAFETY: the size is not 0: `alloc` asks for pieces of at least a byte, rounded up.
        let Some(chunk) = NonNull::new(unsafe { alloc::alloc(layout) }) else {
            alloc::handle_alloc_error(layout);
        };
        self.chunks.push((chunk, layout));
        advise_huge_pages(chunk, bytes);
        chunk
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for &(chunk, layout) in &self.chunks {
            // SAFETY: `add_chunk` got `chunk` from the same allocator with the same layout, and
            // it stands in the list once.
            unsafe { alloc::dealloc(chunk.as_ptr(), layout) };
        }
    }
}

/// Asks for huge pages under the whole ones of a fresh chunk. A refusal costs speed, nothing else.
fn advise_huge_pages(chunk: NonNull<u8>, bytes: usize) {
    let whole_bytes = bytes / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    if whole_bytes == 0 {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{Advice, madvise};
        // SAFETY: the range is the beginning of one allocation of ours, aligned to a huge page,
        // and the advice changes how it is backed, not what it holds.
        let _ = unsafe { madvise(chunk.as_ptr().cast(), whole_bytes, Advice::LinuxHugepage) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = chunk;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(piece: NonNull<u8>) -> usize {
        piece.as_ptr().addr()
    }

    #[test]
    fn pieces_are_aligned_and_do_not_overlap() {
        let mut arena = Arena::new(256, 8);
        let mut pieces = Vec::new();
        for bytes in (1..200).chain([5000, 1, 70_000, 9]) {
            let piece = arena.alloc(bytes);
            // SAFETY: a piece of `bytes` bytes, this test's alone.
            unsafe { piece.write_bytes(bytes as u8, bytes) };
            pieces.push((address(piece), bytes));
        }
        pieces.sort_unstable();
        assert!(pieces.iter().all(|(at, _)| at % 8 == 0));
        assert!(pieces.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
    }

    #[test]
    fn nothing_is_allocated_before_the_first_piece() {
        let mut arena = Arena::new(1 << 20, 64);
        assert!(arena.chunks.is_empty());
        arena.alloc(1);
        assert_eq!((arena.chunks.len(), arena.used_bytes()), (1, 64));
    }

    #[test]
    fn a_piece_larger_than_a_chunk_gets_its_own_and_wastes_nothing() {
        let mut arena = Arena::new(4096, 8);
        let before = arena.alloc(8);
        arena.alloc(3 << 20);
        let after = arena.alloc(8);
        assert_eq!(address(after), address(before) + 8, "the rest of the chunk is still used");
        let sizes: Vec<usize> = arena.chunks.iter().map(|(_, layout)| layout.size()).collect();
        assert_eq!(sizes, [4096, 3 << 20]);
    }

    #[test]
    fn chunks_double_up_to_a_huge_page_and_a_larger_wish_is_kept() {
        let sizes = |first: usize| {
            let mut arena = Arena::new(first, 8);
            while arena.used_bytes() < 16 << 20 {
                arena.alloc(1000);
            }
            arena.chunks.iter().map(|(_, layout)| layout.size()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(1 << 19)[..4], [1 << 19, 1 << 20, 2 << 20, 2 << 20]);
        assert_eq!(sizes(5 << 20)[..2], [5 << 20, 5 << 20]);
    }
}

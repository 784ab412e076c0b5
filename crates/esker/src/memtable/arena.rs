//! Memory that is handed out piece by piece and given back all at once.
//!
//! A piece keeps its address until the arena is dropped, so whoever keeps the memtable alive may
//! keep references into it. Nothing is allocated before the first piece. Chunks double from the
//! size asked for up to 2 MiB, the size of a huge page: a memtable of a few entries stays small,
//! and one of 64 MiB costs few page faults, or none if the pool has its chunks. A piece over a
//! quarter of a chunk gets a chunk of its own, so that less than a quarter of any chunk is lost at
//! its end.

use std::ptr::NonNull;
use std::sync::Arc;

use super::chunk::{Chunk, ChunkPool, HUGE_PAGE_BYTES};

/// From this size on a chunk may as well be one of 2 MiB, if the pool has one.
const POOLED_FROM_BYTES: usize = 256 << 10;

/// A bump allocator over chunks. Every piece is aligned to the arena's one alignment.
pub(super) struct Arena {
    pool: Arc<ChunkPool>,
    chunks: Vec<Chunk>,
    /// The unused rest of the newest growing chunk; dangling while there is none.
    rest: NonNull<u8>,
    rest_bytes: usize,
    next_chunk_bytes: usize,
    align: usize,
    used_bytes: usize,
    held_bytes: usize,
}

// SAFETY: the arena owns its chunks, and `rest` points into one of them. It reaches into them
// nowhere; what its users do with the pieces is their own argument.
unsafe impl Send for Arena {}
// SAFETY: as above: `&Arena` gives access to nothing but numbers.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena whose pieces are aligned to `align`, and whose first chunk has as many bytes as
    /// the pool says, but `chunk_bytes_min` at least.
    pub(super) fn new(pool: &Arc<ChunkPool>, chunk_bytes_min: usize, align: usize) -> Self {
        assert!(align.is_power_of_two(), "alignment {align}");
        let first_chunk_bytes = pool.first_chunk_bytes().max(chunk_bytes_min).max(align);
        Self {
            pool: Arc::clone(pool),
            chunks: Vec::new(),
            rest: NonNull::dangling(),
            rest_bytes: 0,
            next_chunk_bytes: first_chunk_bytes.next_multiple_of(align),
            align,
            used_bytes: 0,
            held_bytes: 0,
        }
    }

    /// A new piece of at least `bytes` bytes, not initialised, nobody else's while the arena
    /// lives.
    #[inline]
    pub(super) fn alloc(&mut self, bytes: usize) -> NonNull<u8> {
        assert!(bytes > 0, "a piece of no bytes would share its address with the next one");
        let bytes = bytes.next_multiple_of(self.align);
        self.used_bytes += bytes;
        if bytes > self.rest_bytes {
            if bytes > self.next_chunk_bytes / 4 {
                return self.alloc_alone(bytes);
            }
            self.grow();
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

    /// Bytes in chunks.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether `address` lies in one of the chunks.
    #[cfg(test)]
    pub(super) fn holds(&self, address: usize) -> bool {
        self.chunks.iter().any(|chunk| {
            let start = chunk.start().as_ptr().addr();
            (start..start + chunk.bytes()).contains(&address)
        })
    }

    /// Goes on in a new chunk.
    #[cold]
    fn grow(&mut self) {
        (self.rest, self.rest_bytes) = self.add_chunk(self.next_chunk_bytes);
        self.next_chunk_bytes =
            (self.rest_bytes * 2).min(HUGE_PAGE_BYTES).max(self.next_chunk_bytes);
    }

    /// A piece in a chunk of its own; if more is left of it than of the growing chunk, the arena
    /// goes on there.
    #[cold]
    fn alloc_alone(&mut self, bytes: usize) -> NonNull<u8> {
        let (start, chunk_bytes) = self.add_chunk(bytes);
        if chunk_bytes - bytes > self.rest_bytes {
            // SAFETY: the chunk has more than `bytes` bytes.
            self.rest = unsafe { start.add(bytes) };
            self.rest_bytes = chunk_bytes - bytes;
        }
        start
    }

    /// A chunk of at least `bytes` bytes: where it starts, and how many it has.
    fn add_chunk(&mut self, bytes: usize) -> (NonNull<u8>, usize) {
        let pools = (POOLED_FROM_BYTES..=HUGE_PAGE_BYTES).contains(&bytes);
        let pooled = if pools { self.pool.take() } else { None };
        let chunk = pooled.unwrap_or_else(|| Chunk::alloc(bytes, self.align));
        let place = (chunk.start(), chunk.bytes());
        self.held_bytes += chunk.bytes();
        self.chunks.push(chunk);
        place
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.chunks));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena(chunk_bytes: usize, align: usize) -> Arena {
        Arena::new(&Arc::new(ChunkPool::new(chunk_bytes, 0)), 0, align)
    }

    fn address(piece: NonNull<u8>) -> usize {
        piece.as_ptr().addr()
    }

    fn sizes(arena: &Arena) -> Vec<usize> {
        arena.chunks.iter().map(Chunk::bytes).collect()
    }

    #[test]
    fn pieces_are_aligned_and_do_not_overlap() {
        let mut arena = arena(256, 8);
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
        let mut arena = arena(1 << 20, 64);
        assert!(arena.chunks.is_empty());
        arena.alloc(1);
        assert_eq!((arena.chunks.len(), arena.used_bytes()), (1, 64));
        assert_eq!(arena.held_bytes(), 1 << 20);
    }

    #[test]
    fn a_piece_larger_than_a_chunk_gets_its_own_and_wastes_nothing() {
        let mut arena = arena(4096, 8);
        let before = arena.alloc(8);
        arena.alloc(3 << 20);
        let after = arena.alloc(8);
        assert_eq!(address(after), address(before) + 8, "the rest of the chunk is still used");
        assert_eq!(sizes(&arena), [4096, 3 << 20]);
    }

    #[test]
    fn chunks_double_up_to_a_huge_page_and_a_larger_wish_is_kept() {
        let filled = |first: usize| {
            let mut arena = arena(first, 8);
            while arena.used_bytes() < 16 << 20 {
                arena.alloc(1000);
            }
            sizes(&arena)
        };
        assert_eq!(filled(1 << 19)[..4], [1 << 19, 1 << 20, 2 << 20, 2 << 20]);
        assert_eq!(filled(5 << 20)[..2], [5 << 20, 5 << 20]);
    }

    #[test]
    fn a_second_arena_lives_in_the_chunks_of_the_first() {
        let pool = Arc::new(ChunkPool::new(64 << 10, 64 << 20));
        let fill = || {
            let mut arena = Arena::new(&pool, 0, 8);
            while arena.used_bytes() < 16 << 20 {
                arena.alloc(1000);
            }
            arena
        };
        let pooled = |arena: &Arena| -> Vec<usize> {
            let huge = arena.chunks.iter().filter(|chunk| chunk.bytes() == HUGE_PAGE_BYTES);
            huge.map(|chunk| address(chunk.start())).collect()
        };
        let first = pooled(&fill());
        assert_eq!(pool.idle_bytes(), first.len() * HUGE_PAGE_BYTES);
        let second = fill();
        assert_eq!(sizes(&second)[..3], [64 << 10, 128 << 10, HUGE_PAGE_BYTES]);
        assert!(first.iter().all(|chunk| pooled(&second).contains(chunk)));
        assert_eq!(pool.idle_bytes(), 0);
    }
}

//! Readers beside loads, evictions and maps that go, in every order that the memory model allows,
//! played by loom:
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release -p esker --lib loom_tests
//! ```
//!
//! Pool, maps, pages, epoch and waiting are the code that ships; the slab is one that shows loom
//! each use of a frame's bytes (`slab_for_loom.rs`). Loom plays two or three threads, with two or
//! three interruptions (one where two threads end). It does not see what an `Arc` orders, and it
//! treats sequentially consistent accesses, other than fences, as acquiring and releasing.
//!
//! Each of these mistakes, made by hand, fails a test here:
//!
//! - a pin, or a question whether a stamp is quiet, without its fence; the epoch of a pin, or the
//!   end of one, stored relaxed; a slot looked at relaxed; a slot handed on relaxed; a reader
//!   pinned in the stamp's own epoch taken for a later one
//! - the stamp taken before the frame is out of its map; frames filled that are not quiet; the
//!   limbo left out
//! - eviction of a counted page; a detach that does not look at the count, or looks first and
//!   marks then; an eviction that overlooks that the map goes
//! - a page published before its bytes, or relaxed; a load that does not claim the page
//! - a failed load that leaves its mark, or loses its frame; a wake-up left out, before the mark is
//!   gone, or without its fence
//! - a count without the epoch, of a detached frame, or checked before it is taken; a count given
//!   back relaxed; a clone that does not count; a last holder that does not retire the frame; a map
//!   that goes and detaches nothing
//!
//! Two are no mistakes, because a fence follows: the epoch loaded relaxed by a pin, a detach that
//! is relaxed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Entered, FrameMap, FramePool, Keep, Page};
use crate::base::error::{Error, Result};
use crate::env::threads::ThreadEnv;
use crate::epoch::Domain;

const FRAME: usize = 64;

/// Plays `test` in all orders, with up to `preemptions` interruptions.
fn play(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(test);
}

fn pool(frames: usize) -> Arc<FramePool> {
    FramePool::new(ThreadEnv::new(), Domain::new(), frames * FRAME, FRAME)
}

/// A table whose page `n` is full of the byte `first + n`.
#[derive(Clone)]
struct Table {
    pool: Arc<FramePool>,
    map: Arc<FrameMap>,
    first: usize,
    /// How often a page was read, and how many reads are under way.
    reads: Arc<AtomicUsize>,
    reading: Arc<AtomicUsize>,
    /// Where loom interrupts a read.
    pace: Arc<loom::sync::atomic::AtomicUsize>,
}

impl Table {
    fn new(pool: &Arc<FramePool>, first: usize, pages: usize) -> Self {
        Self {
            pool: Arc::clone(pool),
            map: Arc::new(FrameMap::new(pool, pages)),
            first,
            reads: Arc::default(),
            reading: Arc::default(),
            pace: Arc::default(),
        }
    }

    /// One whose page 0 is in a frame.
    fn with_page_0(pool: &Arc<FramePool>, pages: usize) -> Self {
        let table = Self::new(pool, 1, pages);
        assert!(table.load(0).holds_a_frame());
        table
    }

    /// Whether these are the bytes of page `n`. It is their last use as far as loom knows.
    fn check(&self, n: usize, bytes: &[u8]) {
        self.pool.slab().note_read(bytes);
        assert!(bytes.iter().all(|byte| *byte as usize == self.first + n), "page {n}: {bytes:?}");
    }

    fn peek(&self, n: usize) -> bool {
        let guard = self.pool.domain().pin();
        let bytes = self.map.peek(n, FRAME, &guard);
        if let Some(bytes) = bytes {
            self.check(n, bytes);
        }
        bytes.is_some()
    }

    /// Reads page `n` in two halves, between which others go on.
    fn fill(&self, n: usize, out: &mut [u8]) {
        assert_eq!(self.reading.fetch_add(1 << n, Ordering::Relaxed) >> n & 1, 0, "read by two");
        self.reads.fetch_add(1, Ordering::Relaxed);
        for half in out.chunks_mut(FRAME / 2) {
            self.pace.fetch_add(1, Ordering::Relaxed);
            half.fill((self.first + n) as u8);
        }
        self.pool.slab().note_write(out);
        self.reading.fetch_sub(1 << n, Ordering::Relaxed);
    }

    fn load(&self, n: usize) -> Page {
        let read = |out: &mut [u8]| {
            self.fill(n, out);
            Ok(())
        };
        let page = self.map.load(n, FRAME, Keep::Yes, read).expect("it can be read");
        self.check(n, &page);
        page
    }

    /// A load whose read fails.
    fn load_in_vain(&self, n: usize) -> Result<Page> {
        self.map.load(n, FRAME, Keep::Yes, |_| {
            self.pace.fetch_add(1, Ordering::Relaxed);
            Err(Error::invalid("unreadable"))
        })
    }
}

fn spawn(thread: impl FnOnce() + 'static) -> loom::thread::JoinHandle<()> {
    loom::thread::spawn(thread)
}

/// All frames can be had again, each by one page.
fn no_frame_is_lost(pool: &Arc<FramePool>) {
    let frames = pool.slab().frames() as usize;
    let table = Table::new(pool, 100, frames + 1);
    let held: Vec<_> = (0..=frames).map(|n| table.load(n)).collect();
    let in_frames = held.iter().filter(|page| page.holds_a_frame()).count();
    assert_eq!(in_frames, frames, "a frame was lost");
    held.iter().enumerate().for_each(|(n, page)| table.check(n, page));
}

#[test]
fn a_peek_beside_the_eviction_and_reuse_of_its_frame() {
    play(3, || {
        let pool = pool(1);
        let table = Table::with_page_0(&pool, 2);
        let reader = table.clone();
        let reader = spawn(move || {
            reader.peek(0);
            reader.peek(0);
        });
        drop(table.load(1));
        drop(table.load(1));
        reader.join().expect("the reader");
    });
}

#[test]
fn two_peeks_beside_the_eviction_and_reuse_of_their_frame() {
    play(1, || {
        let pool = pool(1);
        let table = Table::with_page_0(&pool, 2);
        let readers = [table.clone(), table.clone()].map(|table| spawn(move || _ = table.peek(0)));
        drop(table.load(1));
        drop(table.load(1));
        for reader in readers {
            reader.join().expect("a reader");
        }
    });
}

#[test]
fn a_count_beside_the_eviction_and_reuse_of_its_frame() {
    play(3, || {
        let pool = pool(1);
        let table = Table::with_page_0(&pool, 2);
        let reader = table.clone();
        let reader = spawn(move || {
            if let Some(page) = reader.map.count(0, FRAME) {
                reader.check(0, &page);
            }
        });
        drop(table.load(1));
        drop(table.load(1));
        reader.join().expect("the reader");
        no_frame_is_lost(&pool);
    });
}

#[test]
fn a_clone_beside_the_eviction_of_its_page() {
    play(3, || {
        let pool = pool(1);
        let table = Table::with_page_0(&pool, 2);
        let page = table.load(0);
        let reader = table.clone();
        let reader = spawn(move || {
            let clone = page.clone();
            reader.check(0, &page);
            drop(page);
            reader.check(0, &clone);
        });
        drop(table.load(1));
        reader.join().expect("the reader");
        no_frame_is_lost(&pool);
    });
}

#[test]
fn the_last_holder_of_a_page_beside_its_eviction_and_its_map_that_goes() {
    play(3, || {
        let pool = pool(1);
        let table = Table::with_page_0(&pool, 1);
        let page = table.load(0);
        let holder = {
            let pool = Arc::clone(&pool);
            spawn(move || {
                pool.slab().note_read(&page);
                assert_eq!(page[0], 1);
                drop(page);
            })
        };
        let other = Table::new(&pool, 50, 1);
        let evictor = {
            let other = other.clone();
            spawn(move || drop(other.load(0)))
        };
        drop(table);
        holder.join().expect("the holder");
        evictor.join().expect("the evictor");
        no_frame_is_lost(&pool);
        other.peek(0);
    });
}

#[test]
fn two_loads_that_want_the_same_frame() {
    play(3, || {
        let pool = pool(1);
        let table = Table::with_page_0(&pool, 3);
        let other = table.clone();
        let other = spawn(move || drop(other.load(1)));
        drop(table.load(2));
        table.peek(0);
        other.join().expect("the other");
        no_frame_is_lost(&pool);
    });
}

#[test]
fn loads_of_two_pages_in_two_frames() {
    play(3, || {
        let pool = pool(2);
        let table = Table::with_page_0(&pool, 3);
        let other = table.clone();
        let other = spawn(move || {
            drop(other.load(1));
            other.peek(0);
        });
        drop(table.load(2));
        table.peek(1);
        other.join().expect("the other");
        no_frame_is_lost(&pool);
    });
}

#[test]
fn two_loads_of_one_page_read_it_once() {
    play(3, || {
        let pool = pool(1);
        let table = Table::new(&pool, 1, 1);
        let other = table.clone();
        let other = spawn(move || drop(other.load(0)));
        drop(table.load(0));
        other.join().expect("the other");
        assert_eq!(table.reads.load(Ordering::Relaxed), 1);
        assert!(table.peek(0));
    });
}

#[test]
fn a_load_beside_one_that_fails() {
    play(3, || {
        let pool = pool(1);
        let table = Table::new(&pool, 1, 1);
        let other = table.clone();
        let other = spawn(move || drop(other.load(0)));
        if let Ok(page) = table.load_in_vain(0) {
            table.check(0, &page);
        }
        other.join().expect("the other");
        assert_eq!(table.reads.load(Ordering::Relaxed), 1, "one has read it");
        no_frame_is_lost(&pool);
    });
}

#[test]
fn a_load_beside_a_place_that_is_given_up() {
    play(3, || {
        let pool = pool(1);
        let table = Table::new(&pool, 1, 1);
        let other = table.clone();
        let other = spawn(move || drop(other.load(0)));
        match table.map.enter_frame(0, Keep::Yes) {
            Entered::Here(page) => table.check(0, &page),
            Entered::Absent(place) => drop(place),
        }
        other.join().expect("the other");
        assert_eq!(table.reads.load(Ordering::Relaxed), 1);
        let guard = pool.domain().pin();
        table.check(0, table.map.peek_frame(0, &guard).expect("it was loaded"));
        drop(guard);
        no_frame_is_lost(&pool);
    });
}

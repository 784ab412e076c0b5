//! The pool alone: what pages mean does not matter here, so they hold a pattern.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::base::error::{Error, Result};
use crate::base::random::Random;
use crate::env::threads::ThreadEnv;
use crate::epoch::Domain;

const FRAME: usize = 256;

fn pool(frames: usize) -> Arc<FramePool> {
    FramePool::new(ThreadEnv::new(), Domain::new(), frames * FRAME, FRAME)
}

/// Fills page `n` of file `file`: every 8 bytes say which page it is.
fn fill(file: u64, n: usize, out: &mut [u8]) {
    let word = (file << 32 | n as u64).to_le_bytes();
    out.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&word[..chunk.len()]));
}

fn is_page(file: u64, n: usize, bytes: &[u8]) -> bool {
    let mut expected = vec![0; bytes.len()];
    fill(file, n, &mut expected);
    expected == bytes
}

/// A file whose pages have the pattern, and how often one was read.
struct File {
    number: u64,
    map: FrameMap,
    reads: AtomicUsize,
}

impl File {
    fn new(pool: &Arc<FramePool>, number: u64, pages: usize) -> Self {
        Self { number, map: FrameMap::new(pool, pages), reads: AtomicUsize::new(0) }
    }

    fn load_long(&self, n: usize, bytes: usize, keep: Keep) -> Page {
        let read = |out: &mut [u8]| {
            self.reads.fetch_add(1, Ordering::Relaxed);
            fill(self.number, n, out);
            Ok(())
        };
        let page = self.map.load(n, bytes, keep, read).unwrap();
        assert!(is_page(self.number, n, &page), "page {n} of file {}", self.number);
        page
    }

    fn load(&self, n: usize) -> Page {
        self.load_long(n, FRAME, Keep::Yes)
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

#[test]
fn what_was_loaded_is_there_the_next_time() {
    let pool = pool(8);
    let file = File::new(&pool, 1, 4);
    assert!(file.map.peek(2, FRAME, &pool.domain().pin()).is_none());
    drop(file.load(2));
    file.load(2);
    assert_eq!(file.reads(), 1);
    let guard = pool.domain().pin();
    assert!(is_page(1, 2, file.map.peek(2, FRAME, &guard).unwrap()));
    assert_eq!(pool.bytes(), FRAME);
}

#[test]
fn a_page_that_says_its_own_length_is_read_once_and_shown_in_all_of_its_frame() {
    let pool = pool(64);
    let file = File::new(&pool, 1, 4);
    file.load(0);
    for (n, bytes) in [(1, FRAME / 2), (2, 3 * FRAME)] {
        let Entered::Absent(absent) = file.map.enter_frame(n, Keep::Yes) else {
            panic!("page {n} was never read");
        };
        drop(absent);
        assert!(file.map.peek_frame(n, &pool.domain().pin()).is_none(), "given up");
        let Entered::Absent(absent) = file.map.enter_frame(n, Keep::Yes) else {
            panic!("page {n} was given up");
        };
        let fill = &mut |out: &mut [u8]| {
            fill(1, n, out);
            Ok(())
        };
        let page = absent.fill(bytes, fill).unwrap();
        assert!(page.len() == bytes && is_page(1, n, &page));
        let guard = pool.domain().pin();
        let peeked = file.map.peek_frame(n, &guard).unwrap();
        assert!(peeked.len() == bytes.max(FRAME) && is_page(1, n, &peeked[..bytes]));
        for keep in [Keep::Yes, Keep::No] {
            let Entered::Here(page) = file.map.enter_frame(n, keep) else {
                panic!("page {n} is in the pool");
            };
            assert_eq!(page.as_ptr(), peeked.as_ptr());
        }
        assert_eq!(file.map.count_frame(n).unwrap().as_ptr(), peeked.as_ptr());
    }
    let Entered::Absent(absent) = file.map.enter_frame(3, Keep::No) else {
        panic!("page 3 was never read");
    };
    let page = absent.fill(FRAME, &mut |_| Ok(())).unwrap();
    assert!(!page.holds_a_frame());
    assert!(file.map.count_frame(3).is_none());
    drop(page);
    let failed = |_: &mut [u8]| Err(Error::closed("the file"));
    let Entered::Absent(absent) = file.map.enter_frame(3, Keep::Yes) else {
        panic!("page 3 was not kept");
    };
    assert!(absent.fill(FRAME, &mut { failed }).is_err());
    assert!(file.map.count_frame(3).is_none());
}

#[test]
fn b1_the_pool_never_holds_more_than_its_capacity() {
    let pool = pool(8);
    let file = File::new(&pool, 1, 100);
    for n in 0..100 {
        file.load(n);
        assert!(pool.bytes() <= 8 * FRAME);
    }
    for n in 0..100 {
        file.load_long(n, if n % 3 == 0 { 2 * FRAME } else { FRAME }, Keep::Yes);
    }
    assert!(pool.bytes() <= 8 * FRAME);
}

#[test]
fn b1_long_pages_take_the_place_of_frames_and_give_it_back() {
    let pool = pool(64);
    let (short, long) = (File::new(&pool, 1, 64), File::new(&pool, 2, 64));
    for round in 0..3 {
        for n in 0..64 {
            short.load(n);
            assert!(pool.bytes() <= 64 * FRAME);
        }
        for n in 0..64 {
            let page = long.load_long(n, 4 * FRAME, Keep::Yes);
            assert!(page.holds_a_frame(), "round {round}, page {n}");
            assert!(pool.bytes() <= 64 * FRAME);
        }
    }
    drop(long);
    short.load(0);
    assert!(pool.bytes() <= 64 * FRAME);
}

#[test]
fn what_is_used_again_and_again_stays() {
    let pool = pool(16);
    let file = File::new(&pool, 1, 1000);
    for n in 1..1000 {
        file.load(0);
        file.load(n);
    }
    assert_eq!(file.reads(), 1000, "page 0 was read once");
}

#[test]
fn b2_a_counted_page_stays_as_it_is_though_its_frame_is_wanted() {
    let pool = pool(4);
    let file = File::new(&pool, 1, 100);
    let held = [file.load(0), file.load(1)];
    let again = held[1].clone();
    for n in 2..100 {
        file.load(n);
    }
    assert!(is_page(1, 0, &held[0]) && is_page(1, 1, &held[1]));
    drop(held);
    for n in 2..100 {
        file.load(n);
    }
    assert!(is_page(1, 1, &again), "a clone counts for itself");
}

#[test]
fn b2_a_page_outlives_its_map() {
    let pool = pool(2);
    let page = File::new(&pool, 1, 1).load(0);
    let other = File::new(&pool, 2, 10);
    for n in 0..10 {
        other.load(n);
    }
    assert!(is_page(1, 0, &page));
    drop(page);
    let held = [other.load(3), other.load(4)];
    assert!(held.iter().all(Page::holds_a_frame), "the frame can be had again");
}

#[test]
fn b2_a_frame_that_is_peeked_at_is_not_filled() {
    let pool = pool(4);
    let file = File::new(&pool, 1, 100);
    file.load(0);
    let guard = pool.domain().pin();
    let seen = file.map.peek(0, FRAME, &guard).unwrap();
    for n in 1..100 {
        file.load(n);
    }
    assert!(is_page(1, 0, seen));
}

#[test]
#[should_panic(expected = "invariant B2")]
fn b2_a_guard_of_another_domain_is_refused() {
    let pool = pool(4);
    FrameMap::new(&pool, 1).peek(0, FRAME, &Domain::new().pin());
}

#[test]
fn without_a_free_frame_a_page_gets_memory_of_its_own() {
    let pool = pool(3);
    let file = File::new(&pool, 1, 10);
    let held: Vec<_> = (0..5).map(|n| file.load(n)).collect();
    let in_frames = held.iter().filter(|page| page.holds_a_frame()).count();
    assert_eq!(in_frames, 3);
    assert!(pool.is_scarce());
    drop(held);
    assert!(!pool.is_scarce());
}

#[test]
fn a_pool_without_memory_still_reads() {
    let pool = pool(0);
    let file = File::new(&pool, 1, 2);
    assert!(!file.load(1).holds_a_frame());
    assert!(!file.load_long(0, 10 * FRAME, Keep::Yes).holds_a_frame());
    assert_eq!(pool.bytes(), 0);
}

#[test]
fn a_walk_over_everything_leaves_the_pool_alone() {
    let pool = pool(4);
    let file = File::new(&pool, 1, 10);
    file.load(3);
    for n in 0..10 {
        file.load_long(n, FRAME, Keep::No);
    }
    assert_eq!((file.reads(), pool.bytes()), (10, FRAME), "page 3 was taken from the pool");
}

#[test]
fn b3_a_page_that_could_not_be_read_is_not_there() {
    let pool = pool(2);
    let file = File::new(&pool, 1, 1);
    for _ in 0..5 {
        let failed = file.map.load(0, FRAME, Keep::Yes, |_| Err(Error::invalid("unreadable")));
        assert!(failed.is_err());
        assert!(file.map.peek(0, FRAME, &pool.domain().pin()).is_none());
    }
    assert!(file.load(0).holds_a_frame(), "no frame was lost");
}

#[test]
fn b3_a_load_that_panics_lets_others_load() {
    let pool = pool(1);
    let file = File::new(&pool, 1, 1);
    let read = |_: &mut [u8]| -> Result<()> { panic!("while reading") };
    let load = std::panic::AssertUnwindSafe(|| file.map.load(0, FRAME, Keep::Yes, read).is_ok());
    assert!(std::panic::catch_unwind(load).is_err());
    assert!(file.load(0).holds_a_frame());
}

#[test]
#[should_panic(expected = "invariant B4")]
fn b4_more_than_a_frame_holds_is_refused() {
    let pool = pool(2);
    let file = File::new(&pool, 1, 1);
    file.load(0);
    file.map.peek(0, FRAME + 1, &pool.domain().pin());
}

/// Threads load, peek at and hold pages of a few files, far more than there are frames, while maps
/// come and go. Every page seen must be the right one, and each is read by one at a time.
#[test]
fn b3_threads_see_the_right_pages_while_frames_change_hands() {
    const FILES: u64 = 3;
    const PAGES: usize = 40;
    let pool = pool(24);
    let reading: Vec<AtomicUsize> =
        (0..FILES as usize * PAGES).map(|_| AtomicUsize::new(0)).collect();
    let maps: Vec<_> = (0..FILES).map(|_| FrameMap::new(&pool, PAGES)).collect();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (pool, maps, reading) = (&pool, &maps, &reading);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                let mut held = Vec::new();
                for round in 0..20_000 {
                    let (file, n) = (random.below(FILES), random.below(PAGES as u64) as usize);
                    let bytes = if n % 10 == 9 { 3 * FRAME } else { FRAME };
                    let map = &maps[file as usize];
                    let guard = pool.domain().pin();
                    let seen = map.peek(n, bytes, &guard).map(|page| is_page(file, n, page));
                    drop(guard);
                    assert_ne!(seen, Some(false));
                    if seen.is_none() || random.below(4) == 0 {
                        let counter = &reading[file as usize * PAGES + n];
                        let read = |out: &mut [u8]| {
                            assert_eq!(counter.fetch_add(1, Ordering::SeqCst), 0);
                            fill(file, n, out);
                            assert_eq!(counter.fetch_sub(1, Ordering::SeqCst), 1);
                            Ok(())
                        };
                        let page = map.load(n, bytes, Keep::Yes, read).unwrap();
                        held.push((file, n, page));
                    }
                    if held.len() > 8 {
                        held.swap_remove(random.below(8) as usize);
                    }
                    assert!(held.iter().all(|(file, n, page)| is_page(*file, *n, page)));
                    if round % 500 == 0 {
                        let own = File::new(pool, 100 + seed, 10);
                        (0..10).for_each(|n| drop(own.load(n)));
                    }
                }
            });
        }
    });
    assert!(pool.bytes() <= 24 * FRAME);
}

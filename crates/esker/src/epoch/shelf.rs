//! `Shelf`: a place that holds one `Arc`, replaced rarely and looked at all the time.
//!
//! A reader that is pinned follows the pointer without counting. Whoever replaces the thing keeps
//! the old one in a list with its stamp; a later replacement drops what has become quiet.

use std::fmt;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::{Arc, PoisonError};

use super::{Domain, Guard};
use crate::base::invariant;
use crate::base::sync::{AtomicPtr, Mutex};

/// Holds an `Arc<T>` that pinned readers borrow.
pub struct Shelf<T> {
    domain: Arc<Domain>,
    /// From `Arc::into_raw`: the shelf's own count of it.
    here: AtomicPtr<T>,
    /// What was here before and may still be looked at, oldest first.
    retired: Mutex<Vec<(u64, Arc<T>)>>,
}

impl<T> Shelf<T> {
    /// A shelf that holds `thing`, for readers that pin `domain`.
    pub fn new(domain: Arc<Domain>, thing: Arc<T>) -> Self {
        let here = AtomicPtr::new(Arc::into_raw(thing).cast_mut());
        Self { domain, here, retired: Mutex::default() }
    }

    /// What is here now, for as long as the guard pins the shelf's domain.
    pub fn peek<'g>(&'g self, guard: &'g Guard<'_>) -> &'g T {
        invariant!(P2, guard.pins(&self.domain), "a guard of another domain");
        // SAFETY: the pointer came from `Arc::into_raw`, and the count that went with it is given
        // up by `put`, which keeps it in `retired` until no reader that was pinned before the
        // swap is left (`Domain::is_quiet`), and by `drop`, which borrows the shelf exclusively.
        // This reader is pinned, and stays so for `'g`.
        unsafe { &*self.here.load(Acquire) }
    }

    /// What is here now, counted.
    pub fn get(&self) -> Arc<T> {
        let guard = self.domain.pin();
        let here = std::ptr::from_ref(self.peek(&guard));
        // SAFETY: `here` came from `Arc::into_raw`, and by the argument in `peek` a count of it
        // is still held while the guard lives; so the count can be raised, and the raised count is
        // what the new `Arc` owns.
        unsafe {
            Arc::increment_strong_count(here);
            Arc::from_raw(here)
        }
    }

    /// Puts `thing` here. What was here is dropped now, or by a later `put`, once it is quiet.
    pub fn put(&self, thing: Arc<T>) {
        let old = self.here.swap(Arc::into_raw(thing).cast_mut(), AcqRel);
        let stamp = self.domain.stamp();
        // SAFETY: the pointer came from `Arc::into_raw` in `new` or `put`, and the swap has taken
        // it out: nobody else gives up the count that went with it.
        let old = unsafe { Arc::from_raw(old) };
        let quiet = {
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            retired.push((stamp, old));
            let domain = &self.domain;
            retired.extract_if(.., |(stamp, _)| domain.is_quiet(*stamp)).collect::<Vec<_>>()
        };
        // Dropped without the lock: it may close files.
        drop(quiet);
    }
}

impl<T> Drop for Shelf<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Arc::into_raw`, and nobody can reach the shelf any more:
        // every `&T` from `peek` borrowed it.
        drop(unsafe { Arc::from_raw(self.here.load(Acquire)) });
    }
}

impl<T: fmt::Debug> fmt::Debug for Shelf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guard = self.domain.pin();
        f.debug_tuple("Shelf").field(self.peek(&guard)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// Counts how many of it there are, and says whether it is one.
    struct Counted<'a> {
        living: &'a AtomicUsize,
        number: usize,
        twice: usize,
    }

    impl<'a> Counted<'a> {
        fn new(living: &'a AtomicUsize, number: usize) -> Arc<Self> {
            living.fetch_add(1, Ordering::Relaxed);
            Arc::new(Self { living, number, twice: 2 * number })
        }
    }

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.twice = usize::MAX;
            self.living.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_was_here_lives_while_somebody_looks_at_it() {
        let living = AtomicUsize::new(0);
        let domain = Domain::new();
        let shelf = Shelf::new(Arc::clone(&domain), Counted::new(&living, 1));
        let guard = domain.pin();
        let first = shelf.peek(&guard);
        shelf.put(Counted::new(&living, 2));
        assert_eq!((first.number, first.twice), (1, 2));
        assert_eq!(living.load(Ordering::Relaxed), 2);
        drop(guard);
        shelf.put(Counted::new(&living, 3));
        assert_eq!(living.load(Ordering::Relaxed), 1, "the first two have gone");
        let third = shelf.get();
        drop(shelf);
        assert_eq!((third.number, living.load(Ordering::Relaxed)), (3, 1));
        drop(third);
        assert_eq!(living.load(Ordering::Relaxed), 0);
    }

    #[test]
    #[should_panic(expected = "invariant P2")]
    fn p2_a_guard_of_another_domain_is_refused() {
        let (own, other) = (Domain::new(), Domain::new());
        let shelf = Shelf::new(own, Arc::new(1));
        shelf.peek(&other.pin());
    }

    #[test]
    fn readers_never_see_what_was_dropped() {
        let living = AtomicUsize::new(0);
        let domain = Domain::new();
        let shelf = Shelf::new(Arc::clone(&domain), Counted::new(&living, 0));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for reader in 0..3 {
                let (domain, shelf, done) = (&domain, &shelf, &done);
                scope.spawn(move || {
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) {
                        let guard = domain.pin();
                        let seen = shelf.peek(&guard);
                        assert_eq!(seen.twice, 2 * seen.number);
                        assert!(seen.number >= last, "time goes forward");
                        last = seen.number;
                        if reader == 0 {
                            let counted = shelf.get();
                            drop(guard);
                            assert_eq!(counted.twice, 2 * counted.number);
                        }
                    }
                });
            }
            for number in 1..20_000 {
                shelf.put(Counted::new(&living, number));
            }
            done.store(true, Ordering::Relaxed);
        });
        drop(shelf);
        assert_eq!(living.load(Ordering::Relaxed), 0);
    }
}

//! Where threads sleep until something changed.
//!
//! Waiting must never miss a wake-up, and ringing must cost next to nothing when nobody waits.
//! A waiter first counts itself in, then looks at its condition; who rings first changes the
//! condition, then looks at the count; a sequentially consistent fence stands between the two
//! steps on both sides. So one of them sees the other: either who rings finds the waiter and
//! raises the generation, or the waiter finds its condition true. A waiter sleeps only while the
//! generation is the one it read before it looked at its condition.
//!
//! Loom plays it in every order that the memory model allows, here and under the frame pool.

#![forbid(unsafe_code)]

use std::sync::PoisonError;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use crate::base::sync::{AtomicU64, AtomicUsize, Condvar, Mutex, fence};

/// See the module's text.
#[derive(Default)]
pub(super) struct Bell {
    /// Threads that look at a condition or sleep.
    waiters: AtomicUsize,
    /// How often it rang while somebody waited. Written with `asleep` held.
    generation: AtomicU64,
    /// Held for no call into the engine.
    asleep: Mutex<()>,
    changed: Condvar,
}

impl Bell {
    /// Wakes those who wait: their conditions may have become true.
    pub(super) fn ring(&self) {
        fence(SeqCst);
        if self.waiters.load(Relaxed) == 0 {
            return;
        }
        let _asleep = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.generation.fetch_add(1, Release);
        self.changed.notify_all();
    }

    /// Returns once `ready` has answered true.
    pub(super) fn wait_until(&self, ready: &mut dyn FnMut() -> bool) {
        if ready() {
            return;
        }
        let _counted = Counted::new(&self.waiters);
        loop {
            let before = self.generation.load(Acquire);
            if ready() {
                return;
            }
            let mut asleep = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            while self.generation.load(Relaxed) == before {
                asleep = self.changed.wait(asleep).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// One waiter in the count, also when its condition panics.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        fence(SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use std::sync::Arc;

    /// A fence left out on either side, or a generation read after the condition, lets the waiter
    /// sleep for ever.
    #[test]
    fn no_wake_up_is_lost() {
        loom::model(|| {
            let shared = Arc::new((Bell::default(), AtomicUsize::new(0)));
            let waiter = {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || {
                    let (bell, done) = &*shared;
                    bell.wait_until(&mut || done.load(Relaxed) == 1);
                })
            };
            shared.1.store(1, Relaxed);
            shared.0.ring();
            waiter.join().expect("the waiter");
        });
    }
}

//! Floor 1a: when may memory that readers could still be looking at be used again?
//!
//! A reader *pins* the epoch, follows pointers, and unpins; that costs it one store and one fence,
//! and no line of memory that another reader writes. Whoever takes something out of a shared place
//! asks for a *stamp* afterwards; once the stamp is *quiet*, no reader that could have found the
//! thing is still pinned, and it may be freed or used for something else.
//!
//! ```text
//! reader   pin(epoch 7) ......... follows the old pointer ......... unpin
//! writer          swaps the pointer, stamp() = 7     is_quiet(7)? no     is_quiet(7)? yes
//! reader                            pin(epoch 8): finds the new pointer
//! ```
//!
//! The scheme is that of Fraser's epochs ("Practical lock-freedom", 2004), cut down to what a store
//! needs: no lists of garbage per thread, no callbacks; who retires something keeps it beside its
//! stamp and asks again later.
//!
//! - [`shelf`]: a pointer to an `Arc` that readers follow without counting
//!
//! Invariants:
//!
//! - `P1`: a stamp that is quiet stays quiet.
//! - `P2`: what is borrowed from a shelf is borrowed under a pin of the shelf's domain.
//!
//! `loom_tests.rs` plays a shelf, its readers and those who replace what is there through every
//! order that the memory model allows; so do the tests of the frame pool with readers that peek.
//!
//! Threads and locks: a thread's first pin in a domain takes a mutex for a moment, no later one
//! does. A pin is held over no I/O and no wait: that would keep all garbage from being reused.
//!
//! Cost: a pin and unpin two stores and a fence. A stamp or a question: a look at the
//! slot of every thread that ever pinned.

#![deny(unsafe_code)]

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use crate::base::invariant;
use crate::base::sync::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize, OnceLock, fence, per_thread,
};

#[allow(unsafe_code, reason = "it follows a pointer without counting: that is its purpose")]
mod shelf;

pub use shelf::Shelf;

/// Slots of the first chunk; each further chunk has twice as many.
const FIRST_CHUNK: usize = if cfg!(all(test, loom)) { 1 } else { 8 };

/// Chunks: room for over 30,000 threads at once.
const CHUNKS: usize = if cfg!(all(test, loom)) { 3 } else { 12 };

/// What a slot holds while its thread is not pinned.
const IDLE: u64 = 0;

/// A group of readers and what they may be looking at: one per store.
#[derive(Debug)]
pub struct Domain {
    /// Tells the domains of a process apart.
    id: u64,
    /// Counts stamps; starts at 1.
    epoch: AtomicU64,
    slots: Arc<Slots>,
}

/// One slot for each thread that ever pinned; kept until the domain is gone, used again when a
/// thread ends.
#[derive(Debug, Default)]
struct Slots {
    chunks: [OnceLock<Box<[Slot]>>; CHUNKS],
    /// How many were ever handed out.
    used: AtomicUsize,
}

/// What one thread shows to those who ask. On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot {
    /// The epoch in which its thread is pinned, or [`IDLE`].
    epoch: AtomicU64,
    /// How many pins its thread holds: written by that thread alone.
    pins: AtomicU32,
    /// Whether a thread has it.
    taken: AtomicBool,
}

/// The pinned epoch. While it lives, what was reachable when it was made stays where it is.
#[derive(Debug)]
pub struct Guard<'d> {
    domain: &'d Domain,
    slot: &'d Slot,
    /// Not `Send`: the slot is the thread's.
    thread: PhantomData<*const ()>,
}

per_thread! {
    /// The slots of this thread, few: one for each open store that it has read from.
    static OWN: RefCell<Vec<OwnSlot>> = const { RefCell::new(Vec::new()) };
}

struct OwnSlot {
    domain: u64,
    number: usize,
    slots: Arc<Slots>,
}

impl Drop for OwnSlot {
    fn drop(&mut self) {
        self.slots.get(self.number).taken.store(false, Release);
    }
}

impl Domain {
    /// A domain that nobody is pinned in.
    pub fn new() -> Arc<Self> {
        static NEXT_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Relaxed),
            epoch: AtomicU64::new(1),
            slots: Arc::default(),
        })
    }

    /// Pins the epoch for this thread until the guard is dropped. Pins may be nested.
    #[inline]
    pub fn pin(&self) -> Guard<'_> {
        let slot = self.slots.get(self.own_slot());
        let pins = slot.pins.load(Relaxed);
        slot.pins.store(pins + 1, Relaxed);
        if pins == 0 {
            // Who sees this epoch does not look for the pin before it, perhaps another thread's:
            // what was read under that one was read before this store.
            slot.epoch.store(self.epoch.load(Acquire), Release);
            // Either a later question sees this slot, or what this thread reads from here on is
            // what was there after the thing in question had been taken out: see `is_quiet`.
            fence(SeqCst);
        }
        Guard { domain: self, slot, thread: PhantomData }
    }

    /// A stamp for what the caller has just taken out of every place where readers could find it.
    pub fn stamp(&self) -> u64 {
        self.epoch.fetch_add(1, SeqCst)
    }

    /// Whether no reader is left that may have found what got this stamp.
    ///
    /// A reader pinned in a later epoch read the counter after it had been raised, so it sees what
    /// happened before: the thing was out. One pinned in this epoch or an earlier one may hold it.
    pub fn is_quiet(&self, stamp: u64) -> bool {
        fence(SeqCst);
        let quiet = self.slots.all().all(|slot| {
            let epoch = slot.epoch.load(Acquire);
            epoch == IDLE || epoch > stamp
        });
        invariant!(P1, stamp < self.epoch.load(Relaxed), "stamp {stamp} is from elsewhere");
        quiet
    }

    /// The number of this thread's slot.
    fn own_slot(&self) -> usize {
        let known = OWN.try_with(|own| {
            let own = &mut *own.borrow_mut();
            match own.iter().find(|slot| slot.domain == self.id) {
                Some(slot) => slot.number,
                None => self.take_slot(own),
            }
        });
        // A thread that ends has lost its list, but may still close a store that it held in a
        // variable of its own. It takes a slot that nobody gives back.
        known.unwrap_or_else(|_| self.slots.take())
    }

    #[cold]
    fn take_slot(&self, own: &mut Vec<OwnSlot>) -> usize {
        // A slot list that only this thread knows belongs to a store that is gone.
        own.retain(|slot| Arc::strong_count(&slot.slots) > 1);
        let number = self.slots.take();
        own.push(OwnSlot { domain: self.id, number, slots: Arc::clone(&self.slots) });
        number
    }
}

impl Slots {
    /// The chunk of slot `number`, and its place there: 8 slots, then 16, then 32.
    fn place(number: usize) -> (usize, usize) {
        let n = number + FIRST_CHUNK;
        let chunk = (n.ilog2() - FIRST_CHUNK.ilog2()) as usize;
        (chunk, n - (FIRST_CHUNK << chunk))
    }

    fn get(&self, number: usize) -> &Slot {
        let (chunk, at) = Self::place(number);
        &self.chunks[chunk].get().expect("a slot that was taken lies in a chunk")[at]
    }

    /// All slots of chunks that are there: some may be nobody's.
    fn all(&self) -> impl Iterator<Item = &Slot> {
        self.chunks.iter().map_while(OnceLock::get).flatten()
    }

    fn take(&self) -> usize {
        for number in 0..self.used.load(Acquire) {
            if !self.get(number).taken.swap(true, Acquire) {
                return number;
            }
        }
        let number = self.used.load(Relaxed);
        self.take_new(number)
    }

    /// Takes the first slot from `number` on that nobody has, in a new chunk if need be.
    fn take_new(&self, mut number: usize) -> usize {
        loop {
            let (chunk, _) = Self::place(number);
            assert!(chunk < CHUNKS, "more threads than a domain has slots for");
            self.chunks[chunk].get_or_init(|| {
                std::iter::repeat_with(Slot::default).take(FIRST_CHUNK << chunk).collect()
            });
            if !self.get(number).taken.swap(true, Acquire) {
                self.used.fetch_max(number + 1, Release);
                return number;
            }
            number += 1;
        }
    }
}

impl Guard<'_> {
    /// Whether this pins `domain`.
    pub fn pins(&self, domain: &Domain) -> bool {
        std::ptr::eq(self.domain, domain)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let pins = self.slot.pins.load(Relaxed);
        self.slot.pins.store(pins - 1, Relaxed);
        if pins == 1 {
            // What this thread has read was read before whoever sees `IDLE` goes on.
            self.slot.epoch.store(IDLE, Release);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn a_stamp_is_quiet_once_those_who_were_pinned_have_left() {
        let domain = Domain::new();
        let before = domain.pin();
        let stamp = domain.stamp();
        assert!(!domain.is_quiet(stamp));
        drop(before);
        let after = domain.pin();
        assert!(domain.is_quiet(stamp), "a later pin cannot have found it");
        drop(after);
    }

    #[test]
    fn pins_may_be_nested() {
        let domain = Domain::new();
        let outer = domain.pin();
        let stamp = domain.stamp();
        drop(domain.pin());
        assert!(!domain.is_quiet(stamp), "the outer pin is still there");
        drop(outer);
        assert!(domain.is_quiet(stamp));
    }

    #[test]
    fn p1_a_stamp_that_is_quiet_stays_quiet() {
        let domain = Domain::new();
        let first = domain.stamp();
        assert!(domain.is_quiet(first));
        let _pinned = domain.pin();
        let second = domain.stamp();
        assert!(domain.is_quiet(first) && !domain.is_quiet(second));
    }

    #[test]
    #[should_panic(expected = "invariant P1")]
    fn p1_a_stamp_that_was_never_given_is_refused() {
        Domain::new().is_quiet(1);
    }

    #[test]
    fn slots_of_threads_that_ended_are_used_again() {
        let domain = Domain::new();
        for _ in 0..100 {
            let shared = Arc::clone(&domain);
            // Joined, not scoped: a scope does not wait for a thread's variables to be dropped.
            std::thread::spawn(move || drop(shared.pin())).join().unwrap();
        }
        assert_eq!(domain.slots.used.load(Relaxed), 1);
    }

    #[test]
    fn each_of_many_threads_counts() {
        let domain = Domain::new();
        let (pinned, asked) = (Barrier::new(41), Barrier::new(41));
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    let guard = domain.pin();
                    pinned.wait();
                    asked.wait();
                    drop(guard);
                });
            }
            pinned.wait();
            let stamp = domain.stamp();
            let slots = domain.slots.all().filter(|slot| slot.epoch.load(Relaxed) != IDLE);
            assert_eq!(slots.count(), 40);
            assert!(!domain.is_quiet(stamp));
            asked.wait();
        });
    }

    #[test]
    fn slots_lie_in_chunks_that_double() {
        let places = [0, 7, 8, 23, 24].map(Slots::place);
        assert_eq!(places, [(0, 0), (0, 7), (1, 0), (1, 15), (2, 0)]);
    }

    #[test]
    fn a_thread_may_pin_while_it_ends() {
        struct PinOnDrop(Arc<Domain>);
        impl Drop for PinOnDrop {
            fn drop(&mut self) {
                let guard = self.0.pin();
                assert!(!self.0.is_quiet(self.0.stamp()));
                drop(guard);
            }
        }
        std::thread_local! {
            static BEFORE: RefCell<Option<PinOnDrop>> = const { RefCell::new(None) };
            static AFTER: RefCell<Option<PinOnDrop>> = const { RefCell::new(None) };
        }
        let domain = Domain::new();
        // Joined, not scoped, as above.
        let thread = std::thread::spawn(move || {
            // One variable is made before the thread's list of slots, one after it.
            BEFORE.set(Some(PinOnDrop(Arc::clone(&domain))));
            drop(domain.pin());
            AFTER.set(Some(PinOnDrop(domain)));
        });
        thread.join().unwrap();
    }

    #[test]
    fn slots_of_domains_that_are_gone_are_forgotten() {
        for _ in 0..100 {
            drop(Domain::new().pin());
        }
        OWN.with(|own| assert!(own.borrow().len() <= 2, "{} slots", own.borrow().len()));
    }
}

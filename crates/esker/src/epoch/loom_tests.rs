//! Readers of a shelf beside those who replace what is there, in every order that the memory model
//! allows, played by loom:
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release -p esker --lib loom_tests
//! ```
//!
//! The mistakes in pins and questions that the frame pool's tests list fail here too; and a stamp
//! taken before the swap, a swap or a look at the shelf that is relaxed, a drop of what is not
//! quiet. Loom does not see that a count of an `Arc` is taken under the pin.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use loom::sync::atomic::AtomicUsize;

use super::{Domain, Shelf};

/// Plays `test` in all orders, with up to `preemptions` interruptions.
fn play(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(test);
}

/// Loom fails when one is read that was not made before, or dropped before it was read.
struct Thing {
    number: AtomicUsize,
}

impl Thing {
    fn new(number: usize) -> Arc<Self> {
        Arc::new(Self { number: AtomicUsize::new(number) })
    }

    fn number(&self) -> usize {
        self.number.load(Relaxed)
    }
}

impl Drop for Thing {
    fn drop(&mut self) {
        self.number.with_mut(|number| *number = usize::MAX);
    }
}

struct Shared {
    domain: Arc<Domain>,
    shelf: Shelf<Thing>,
}

fn shared() -> Arc<Shared> {
    let domain = Domain::new();
    let shelf = Shelf::new(Arc::clone(&domain), Thing::new(1));
    Arc::new(Shared { domain, shelf })
}

impl Shared {
    fn peek(&self) -> usize {
        let guard = self.domain.pin();
        let thing = self.shelf.peek(&guard);
        let first = thing.number();
        assert_eq!(first, thing.number());
        first
    }
}

#[test]
fn a_peek_beside_two_puts() {
    play(3, || {
        let shared = shared();
        let reader = Arc::clone(&shared);
        let reader = loom::thread::spawn(move || {
            let first = reader.peek();
            assert!(first <= reader.peek(), "time runs forward");
        });
        shared.shelf.put(Thing::new(2));
        shared.shelf.put(Thing::new(3));
        reader.join().expect("the reader");
    });
}

#[test]
fn a_counted_thing_beside_two_puts() {
    play(3, || {
        let shared = shared();
        let reader = Arc::clone(&shared);
        let reader = loom::thread::spawn(move || {
            let counted = reader.shelf.get();
            assert!(counted.number() <= reader.peek(), "time runs forward");
            // Loom does not see what a count orders: the thing is dropped by the main thread.
            counted
        });
        shared.shelf.put(Thing::new(2));
        shared.shelf.put(Thing::new(3));
        drop(reader.join().expect("the reader"));
    });
}

#[test]
fn two_peeks_of_threads_that_end_beside_puts() {
    play(2, || {
        let shared = shared();
        let readers = [(); 2].map(|()| {
            let reader = Arc::clone(&shared);
            loom::thread::spawn(move || _ = reader.peek())
        });
        shared.shelf.put(Thing::new(2));
        shared.shelf.put(Thing::new(3));
        for reader in readers {
            reader.join().expect("a reader");
        }
    });
}

#[test]
fn a_peek_beside_puts_of_two_threads() {
    play(2, || {
        let shared = shared();
        let others = [2, 3].map(|number| {
            let shared = Arc::clone(&shared);
            loom::thread::spawn(move || shared.shelf.put(Thing::new(number)))
        });
        shared.peek();
        shared.peek();
        for other in others {
            other.join().expect("another");
        }
    });
}

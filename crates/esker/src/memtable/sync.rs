//! The atomics and the lock of this folder: those of the standard library, or in the tests of
//! `cfg(loom)` those with which loom plays every order that the memory model allows.

#[cfg(not(all(test, loom)))]
pub(super) use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicPtr, AtomicU16, AtomicU64, AtomicUsize, fence},
};

#[cfg(all(test, loom))]
pub(super) use loom::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicPtr, AtomicU16, AtomicU64, AtomicUsize, fence},
};

/// Tells the processor, or loom, that this thread waits for another one.
pub(super) fn spin() {
    #[cfg(not(all(test, loom)))]
    std::hint::spin_loop();
    #[cfg(all(test, loom))]
    loom::thread::yield_now();
}

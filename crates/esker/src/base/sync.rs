//! Atomics, locks and thread-locals of the code that loom plays: those of the standard library, or
//! in the tests of `cfg(loom)` those with which it tries every order that the memory model allows.

#[cfg(not(all(test, loom)))]
pub(crate) use std::{
    sync::{
        Condvar, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicPtr, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, fence},
    },
    thread_local as per_thread,
};

#[cfg(all(test, loom))]
pub(crate) use self::once::OnceLock;
#[cfg(all(test, loom))]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, fence},
};

/// Loom's, which does not know the `const`.
#[cfg(all(test, loom))]
macro_rules! per_thread {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = const $init:block;) => {
        loom::thread_local! { $(#[$attribute])* static $name: $type = $init; }
    };
}
#[cfg(all(test, loom))]
pub(crate) use per_thread;

/// Tells the processor, or loom, that this thread waits for another one.
pub(crate) fn spin() {
    #[cfg(not(all(test, loom)))]
    std::hint::spin_loop();
    #[cfg(all(test, loom))]
    loom::thread::yield_now();
}

/// Loom has none: a flag that is released and acquired, as that of the standard library is.
#[cfg(all(test, loom))]
mod once {
    use super::{AtomicBool, Mutex};
    use std::sync::atomic::Ordering::{Acquire, Release};

    #[derive(Debug)]
    pub(crate) struct OnceLock<T> {
        value: std::sync::OnceLock<T>,
        is_set: AtomicBool,
        setting: Mutex<()>,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn get(&self) -> Option<&T> {
            if self.is_set.load(Acquire) { self.value.get() } else { None }
        }

        pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
            if let Some(value) = self.get() {
                return value;
            }
            let _setting = self.setting.lock();
            let value = self.value.get_or_init(init);
            self.is_set.store(true, Release);
            value
        }
    }

    impl<T> Default for OnceLock<T> {
        fn default() -> Self {
            let value = std::sync::OnceLock::new();
            Self { value, is_set: AtomicBool::default(), setting: Mutex::default() }
        }
    }
}

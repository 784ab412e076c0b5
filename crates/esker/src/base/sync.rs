//! Atomics, locks, threads and thread-locals of the code that loom or shuttle plays: those of the
//! standard library, or in the tests of `cfg(loom)` those with which loom tries every order that
//! the memory model allows, and in the tests of `cfg(shuttle)` those with which shuttle runs a
//! whole store's threads in orders that a seed draws.

#[cfg(not(any(all(test, loom), all(test, shuttle))))]
pub(crate) use std::{
    sync::{
        Condvar, Mutex, MutexGuard, OnceLock,
        atomic::{
            AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, fence,
        },
    },
    thread, thread_local as per_thread,
};

#[cfg(all(test, loom))]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, fence,
    },
};
#[cfg(all(test, loom))]
pub(crate) use std::thread;

#[cfg(all(test, shuttle))]
pub(crate) use shuttle::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence},
    },
    thread,
};

#[cfg(any(all(test, loom), all(test, shuttle)))]
pub(crate) use self::once::OnceLock;

/// Loom's, which does not know the `const`.
#[cfg(all(test, loom))]
macro_rules! per_thread {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = const $init:block;) => {
        loom::thread_local! { $(#[$attribute])* static $name: $type = $init; }
    };
}
/// Shuttle's, which takes the `const` for a block.
#[cfg(all(test, shuttle))]
macro_rules! per_thread {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = const $init:block;) => {
        shuttle::thread_local! { $(#[$attribute])* static $name: $type = $init; }
    };
}
#[cfg(any(all(test, loom), all(test, shuttle)))]
pub(crate) use per_thread;

/// For what is small and has no lock, which loom alone plays. Under shuttle it is the standard
/// library's, so that an insert is one step there, and orders are spent on what is around it.
pub(crate) mod kernel {
    #[cfg(not(all(test, shuttle)))]
    pub(crate) use super::{
        AtomicBool, AtomicPtr, AtomicU16, AtomicU64, AtomicUsize, Mutex, fence,
    };
    #[cfg(all(test, shuttle))]
    pub(crate) use std::sync::{
        Mutex,
        atomic::{AtomicBool, AtomicPtr, AtomicU16, AtomicU64, AtomicUsize, fence},
    };

    /// Tells the processor, or loom, that this thread waits for another one.
    pub(crate) fn spin() {
        #[cfg(not(all(test, loom)))]
        std::hint::spin_loop();
        #[cfg(all(test, loom))]
        loom::thread::yield_now();
    }
}

/// Neither has one: a flag that is released and acquired, as that of the standard library is.
#[cfg(any(all(test, loom), all(test, shuttle)))]
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
        pub(crate) fn new() -> Self {
            let value = std::sync::OnceLock::new();
            Self { value, is_set: AtomicBool::default(), setting: Mutex::default() }
        }

        pub(crate) fn get(&self) -> Option<&T> {
            if self.is_set.load(Acquire) { self.value.get() } else { None }
        }

        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            let _setting = self.setting.lock();
            self.value.set(value)?;
            self.is_set.store(true, Release);
            Ok(())
        }

        pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
            if let Some(value) = self.get() {
                return value;
            }
            let _setting = self.setting.lock();
            let value = match self.value.get() {
                Some(value) => return value,
                None => init(),
            };
            let value = self.value.get_or_init(|| value);
            self.is_set.store(true, Release);
            value
        }
    }

    impl<T> Default for OnceLock<T> {
        fn default() -> Self {
            Self::new()
        }
    }
}

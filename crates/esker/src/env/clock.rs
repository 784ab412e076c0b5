//! The clock of threads: the machine's; where shuttle plays them, one that moves when it is asked,
//! so that a schedule that is played again meets the same times.

#[cfg(all(test, shuttle))]
pub(super) use self::played::Clock;
#[cfg(not(all(test, shuttle)))]
pub(super) use self::real::Clock;

#[cfg(not(all(test, shuttle)))]
mod real {
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::time::{Duration, Instant};

    /// Counts from when it was made.
    pub struct Clock {
        start: Instant,
    }

    impl Clock {
        pub fn new() -> Self {
            Self { start: Instant::now() }
        }

        pub fn now_nanos(&self) -> u64 {
            // 584 years fit.
            self.start.elapsed().as_nanos() as u64
        }

        pub fn pause(&self, nanos: u64) {
            // A condition variable of its own, which nobody rings.
            let (quiet, never) = (Mutex::new(()), Condvar::new());
            let (start, time) = (Instant::now(), Duration::from_nanos(nanos));
            while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero())
            {
                let quiet = quiet.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = never.wait_timeout(quiet, left);
            }
        }
    }
}

#[cfg(all(test, shuttle))]
mod played {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    const NANOS_PER_QUESTION: u64 = 10_000;

    /// Counts questions and pauses.
    pub struct Clock {
        nanos: AtomicU64,
    }

    impl Clock {
        pub fn new() -> Self {
            Self { nanos: AtomicU64::new(0) }
        }

        pub fn now_nanos(&self) -> u64 {
            self.nanos.fetch_add(NANOS_PER_QUESTION, Relaxed)
        }

        pub fn pause(&self, nanos: u64) {
            self.nanos.fetch_add(nanos, Relaxed);
            crate::base::sync::thread::yield_now();
        }
    }
}

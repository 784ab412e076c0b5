//! Production: one thread per lane and store, one condition variable, the clock of the machine.
//!
//! An idle worker is a waiter, and its condition is that there is a job. So with a store open
//! and idle `notify` costs a wake-up: call it for changes that somebody may wait for, not for
//! every write.
//!
//! Threads are started only here. Shuttle plays all of it, with threads and a clock of its own.

#![forbid(unsafe_code)]

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

use super::bell::Bell;
use super::clock::Clock;
use super::{Env, Job, JobSource, Lane, Step, Workers};
use crate::base::sync::thread::{self, JoinHandle, ThreadId};
use crate::base::sync::{AtomicBool, Mutex, MutexGuard};

/// Threads and the clock of the operating system.
pub struct ThreadEnv {
    bell: Arc<Bell>,
    clock: Clock,
}

impl ThreadEnv {
    /// An environment with no workers yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { bell: Arc::default(), clock: Clock::new() })
    }
}

impl Env for ThreadEnv {
    fn now_nanos(&self) -> u64 {
        self.clock.now_nanos()
    }

    fn random_u64(&self) -> u64 {
        random_u64()
    }

    fn wait_until(&self, ready: &mut dyn FnMut() -> bool) {
        self.bell.wait_until(ready);
    }

    fn pause(&self, nanos: u64) {
        self.clock.pause(nanos);
    }

    fn notify(&self) {
        self.bell.ring();
    }

    fn start(&self, source: Weak<dyn JobSource>) -> io::Result<Box<dyn Workers>> {
        // Whatever was started before an error is stopped when `workers` is dropped.
        let mut workers = LaneThreads {
            bell: Arc::clone(&self.bell),
            stopping: Arc::default(),
            threads: Vec::new(),
            handles: Mutex::default(),
        };
        for lane in Lane::ALL {
            let worker = Worker {
                lane,
                source: Weak::clone(&source),
                bell: Arc::clone(&self.bell),
                stopping: Arc::clone(&workers.stopping),
            };
            let name = match lane {
                Lane::Flush => "esker-flush",
                Lane::Compaction => "esker-compact",
                Lane::Log => "esker-log",
            };
            let handle = thread::Builder::new().name(name.into()).spawn(move || worker.run())?;
            workers.threads.push(handle.thread().id());
            lock(&workers.handles).push(handle);
        }
        Ok(Box::new(workers))
    }
}

/// The threads of one store. Dropping stops them.
struct LaneThreads {
    bell: Arc<Bell>,
    stopping: Arc<AtomicBool>,
    threads: Vec<ThreadId>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers for LaneThreads {
    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.bell.ring();
        // A worker that gave up the last handle of its store stops itself: it ends after this
        // job's step, and nobody may wait for it here.
        if self.threads.contains(&thread::current().id()) {
            return;
        }
        // Held while joining, so that a second caller does not return earlier.
        let mut handles = lock(&self.handles);
        for handle in handles.drain(..) {
            // A worker catches the panics of jobs; one of its own ends it, as wanted here.
            let _ = handle.join();
        }
    }
}

impl Drop for LaneThreads {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What one thread runs.
struct Worker {
    lane: Lane,
    source: Weak<dyn JobSource>,
    bell: Arc<Bell>,
    stopping: Arc<AtomicBool>,
}

impl Worker {
    /// Runs jobs until the store is stopped or gone, or until a job panics: after that the store
    /// gives out no more.
    fn run(&self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| while self.run_one_job() {})) {
            if let Some(source) = self.source.upgrade() {
                source.job_panicked(self.lane, &message_of(&*panic));
            }
            self.bell.ring();
        }
    }

    /// Waits for a job and runs it; false if there will be none.
    fn run_one_job(&self) -> bool {
        let mut next: Option<Box<dyn Job>> = None;
        self.bell.wait_until(&mut || {
            let Some(source) = self.source.upgrade().filter(|_| !self.must_end()) else {
                return true;
            };
            next = source.next_job(self.lane);
            next.is_some()
        });
        let Some(mut job) = next else { return false };
        while !self.must_end() {
            if job.step() == Step::Done {
                return true;
            }
        }
        false
    }

    fn must_end(&self) -> bool {
        self.stopping.load(Ordering::SeqCst) || self.source.strong_count() == 0
    }
}

/// What a panic said.
pub(super) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 64 bits from the operating system.
#[cfg(target_os = "linux")]
fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    loop {
        match rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()) {
            Ok(8) => return u64::from_le_bytes(bytes),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // No such call before Linux 3.17, or forbidden by a filter.
            Err(_) => return random_from_hash_keys(),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn random_u64() -> u64 {
    random_from_hash_keys()
}

/// The keys of a hash map come from the operating system, once per thread. A forked process has
/// them, too, so its id and the time go in.
fn random_from_hash_keys() -> u64 {
    use std::hash::BuildHasher;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.map_or(0, |since| since.as_nanos());
    std::hash::RandomState::new().hash_one((std::process::id(), nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, AtomicU64};
    use std::sync::mpsc;

    /// Gives out jobs that count their steps.
    #[derive(Default)]
    struct Store {
        due: AtomicU32,
        steps: Arc<AtomicU32>,
        running: Arc<AtomicU32>,
        panics: Mutex<Vec<String>>,
        job_panics: AtomicBool,
    }

    struct CountingJob {
        left: u32,
        steps: Arc<AtomicU32>,
        running: Arc<AtomicU32>,
        panics: bool,
    }

    impl JobSource for Store {
        fn next_job(self: Arc<Self>, lane: Lane) -> Option<Box<dyn Job>> {
            if lane != Lane::Flush {
                return None;
            }
            let take = |due: u32| due.checked_sub(1);
            self.due.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).ok()?;
            let overlapping = self.running.fetch_add(1, Ordering::SeqCst);
            assert_eq!(overlapping, 0, "one job at a time per lane");
            Some(Box::new(CountingJob {
                left: 3,
                steps: Arc::clone(&self.steps),
                running: Arc::clone(&self.running),
                panics: self.job_panics.load(Ordering::SeqCst),
            }))
        }

        fn job_panicked(&self, lane: Lane, message: &str) {
            lock(&self.panics).push(format!("{lane:?}: {message}"));
        }
    }

    impl Job for CountingJob {
        fn step(&mut self) -> Step {
            assert!(!self.panics, "planned");
            self.steps.fetch_add(1, Ordering::SeqCst);
            self.left -= 1;
            if self.left == 0 { Step::Done } else { Step::More }
        }
    }

    impl Drop for CountingJob {
        fn drop(&mut self) {
            self.running.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn started(store: &Arc<Store>) -> (Arc<ThreadEnv>, Box<dyn Workers>) {
        let env = ThreadEnv::new();
        let source: Arc<dyn JobSource> = Arc::clone(store) as _;
        let workers = env.start(Arc::downgrade(&source)).unwrap();
        (env, workers)
    }

    #[test]
    fn no_wake_up_is_lost_under_stress() {
        const THREADS: u64 = 4;
        const ROUNDS: u64 = 5_000;
        let env = ThreadEnv::new();
        let turn = AtomicU64::new(0);
        // Each waits for its turn in a ring: one lost wake-up and nobody moves any more.
        thread::scope(|scope| {
            for me in 0..THREADS {
                let (env, turn) = (&env, &turn);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let mine = round * THREADS + me;
                        env.wait_until(&mut || turn.load(Ordering::Relaxed) == mine);
                        turn.store(mine + 1, Ordering::Relaxed);
                        env.notify();
                    }
                });
            }
        });
        assert_eq!(turn.into_inner(), THREADS * ROUNDS);
    }

    #[test]
    fn jobs_run_one_at_a_time_and_to_their_end() {
        let store = Arc::new(Store::default());
        let (env, workers) = started(&store);
        for _ in 0..100 {
            store.due.fetch_add(1, Ordering::SeqCst);
            env.notify();
        }
        env_wait(&env, || store.steps.load(Ordering::SeqCst) == 300);
        workers.stop();
        workers.stop();
        store.due.store(1, Ordering::SeqCst);
        env.notify();
        assert_eq!(store.due.load(Ordering::SeqCst), 1, "nobody takes jobs any more");
    }

    /// Jobs of these tests do not notify, so the condition is looked at again and again.
    fn env_wait(env: &ThreadEnv, mut ready: impl FnMut() -> bool) {
        while !ready() {
            env.notify();
            thread::yield_now();
        }
    }

    #[test]
    fn a_panic_of_a_job_is_caught_and_reported() {
        let store = Arc::new(Store::default());
        store.job_panics.store(true, Ordering::SeqCst);
        store.due.store(1, Ordering::SeqCst);
        let (env, workers) = started(&store);
        env.wait_until(&mut || !lock(&store.panics).is_empty());
        workers.stop();
        assert_eq!(*lock(&store.panics), ["Flush: planned"]);
    }

    /// A store whose last handle a worker gives up, and who then stops its workers.
    struct SelfStopping {
        workers: Mutex<Option<Box<dyn Workers>>>,
        own: Mutex<Option<Arc<Self>>>,
        gone: mpsc::Sender<()>,
    }

    impl JobSource for SelfStopping {
        fn next_job(self: Arc<Self>, _: Lane) -> Option<Box<dyn Job>> {
            lock(&self.own).take();
            None
        }

        fn job_panicked(&self, _: Lane, message: &str) {
            panic!("{message}");
        }
    }

    impl Drop for SelfStopping {
        fn drop(&mut self) {
            if let Some(workers) = lock(&self.workers).take() {
                workers.stop();
            }
            self.gone.send(()).unwrap();
        }
    }

    #[test]
    fn a_worker_may_drop_the_last_handle_of_its_store() {
        let env = ThreadEnv::new();
        let (gone, gone_receiver) = mpsc::channel();
        let store =
            Arc::new(SelfStopping { workers: Mutex::default(), own: Mutex::default(), gone });
        let source: Arc<dyn JobSource> = Arc::clone(&store) as _;
        let weak = Arc::downgrade(&source);
        drop(source);
        *lock(&store.own) = Some(Arc::clone(&store));
        let slot = lock(&store.workers);
        let workers = env.start(weak).unwrap();
        let mut slot = slot;
        *slot = Some(workers);
        drop(slot);
        drop(store);
        env.notify();
        gone_receiver.recv().unwrap();
    }

    #[test]
    fn stopping_drops_a_job_between_two_steps() {
        struct Endless(mpsc::Sender<&'static str>);
        impl Job for Endless {
            fn step(&mut self) -> Step {
                let _ = self.0.send("step");
                Step::More
            }
        }
        impl Drop for Endless {
            fn drop(&mut self) {
                let _ = self.0.send("dropped");
            }
        }
        struct Source(Mutex<Option<Endless>>);
        impl JobSource for Source {
            fn next_job(self: Arc<Self>, _: Lane) -> Option<Box<dyn Job>> {
                lock(&self.0).take().map(|job| Box::new(job) as _)
            }
            fn job_panicked(&self, _: Lane, message: &str) {
                panic!("{message}");
            }
        }
        let (sender, receiver) = mpsc::channel();
        let source: Arc<dyn JobSource> = Arc::new(Source(Mutex::new(Some(Endless(sender)))));
        let workers = ThreadEnv::new().start(Arc::downgrade(&source)).unwrap();
        assert_eq!(receiver.recv(), Ok("step"));
        workers.stop();
        assert_eq!(receiver.iter().last(), Some("dropped"));
    }

    #[test]
    fn random_numbers_differ_and_time_does_not_go_back() {
        let env = ThreadEnv::new();
        assert_ne!(env.random_u64(), env.random_u64());
        assert_ne!(random_from_hash_keys(), random_from_hash_keys());
        let before = env.now_nanos();
        assert!(env.now_nanos() >= before);
    }
}

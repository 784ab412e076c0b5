//! Simulation: one thread, and a seed that decides what runs next.
//!
//! Waiting is running: [`PumpEnv::wait_until`] lets background work do one step after another
//! until the condition is true. A step of the pump is either an idle lane taking its next job, or
//! a lane doing one step of the job it has, so a client's call and every other lane can come
//! between any two of them. The same seed and the same calls give the same run.
//!
//! It is stricter than threads have to be, so that what would hang once in a thousand runs there
//! hangs always here:
//!
//! - an idle lane is asked again, and a condition is looked at again, only after a `notify`;
//! - a condition that became true without one is a broken promise (E2);
//! - a wait that nothing can end is a panic at once (E3), and so is a job that waits (E1).
//!
//! Time is a number that grows a little whenever it is asked and with each step. No lock is held
//! over a call into the engine. Not here: concurrency; two threads that pump are a panic (E1).

#![forbid(unsafe_code)]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::threads::message_of;
use super::{Env, Job, JobSource, Lane, Step, Workers};
use crate::base::invariant;
use crate::base::random::Random;

/// Time, randomness and jobs that a seed determines.
pub struct PumpEnv {
    /// Counts `notify`s; 0 is before the first.
    generation: AtomicU64,
    now_nanos: AtomicU64,
    /// Whether a step is being done.
    is_pumping: AtomicBool,
    /// Apart from the schedule, so that drawing an id does not change who runs next.
    ids: Mutex<Random>,
    schedule: Arc<Mutex<Schedule>>,
}

struct Schedule {
    random: Random,
    slots: Vec<Slot>,
    stores_started: u64,
    panics: Vec<String>,
    steps: u64,
}

/// One lane of one store.
struct Slot {
    store: u64,
    lane: Lane,
    source: Weak<dyn JobSource>,
    /// The job in progress. While it does a step it is not here.
    job: Option<Box<dyn Job>>,
    /// The generation at which the source last had nothing for this lane.
    idle_since: Option<u64>,
}

/// What a lane shall do now.
enum Task {
    Ask(Arc<dyn JobSource>),
    Step(Box<dyn Job>),
}

/// What it did.
enum Outcome {
    Idle,
    Has(Box<dyn Job>),
    Done,
    Panicked(String),
}

const NANOS_PER_QUESTION: u64 = 1_000;
const NANOS_PER_STEP: u64 = 100_000;

impl PumpEnv {
    /// An environment whose every choice follows from `seed`.
    pub fn new(seed: u64) -> Arc<Self> {
        let mut random = Random::new(seed);
        Arc::new(Self {
            generation: AtomicU64::new(0),
            now_nanos: AtomicU64::new(0),
            is_pumping: AtomicBool::new(false),
            ids: Mutex::new(Random::new(random.next_u64())),
            schedule: Arc::new(Mutex::new(Schedule {
                random,
                slots: Vec::new(),
                stores_started: 0,
                panics: Vec::new(),
                steps: 0,
            })),
        })
    }

    /// Lets one lane take a job or do a step; false if no lane has anything to do.
    pub fn pump_one(&self) -> bool {
        let _pumping = Pumping::begin(&self.is_pumping);
        let generation = self.generation.load(Ordering::SeqCst);
        loop {
            let next = lock(&self.schedule).next_task(generation);
            let Some((store, lane, task)) = next else { return false };
            let outcome = task.run(lane);
            let pumped = !matches!(outcome, Outcome::Idle);
            self.finish(store, lane, outcome, generation);
            if pumped {
                self.now_nanos.fetch_add(NANOS_PER_STEP, Ordering::SeqCst);
                return true;
            }
        }
    }

    /// Pumps until no lane has anything to do.
    pub fn pump_until_idle(&self) {
        while self.pump_one() {}
    }

    /// How many steps were pumped.
    pub fn steps(&self) -> u64 {
        lock(&self.schedule).steps
    }

    /// What jobs said when they panicked: caught and reported as threads do it, so a run that
    /// expects none must look here.
    pub fn job_panics(&self) -> Vec<String> {
        lock(&self.schedule).panics.clone()
    }

    /// Puts a lane's job back, or notes why there is none.
    fn finish(&self, store: u64, lane: Lane, outcome: Outcome, generation: u64) {
        let mut schedule = lock(&self.schedule);
        schedule.steps += u64::from(!matches!(outcome, Outcome::Idle));
        let found = schedule.slots.iter().position(|slot| (slot.store, slot.lane) == (store, lane));
        let Some(found) = found else {
            // Stopped meanwhile. The job's end may call back, so no lock is held over it.
            drop(schedule);
            return drop(outcome);
        };
        let slot = &mut schedule.slots[found];
        match outcome {
            Outcome::Idle => slot.idle_since = Some(generation),
            Outcome::Has(job) => slot.job = Some(job),
            Outcome::Done => {}
            Outcome::Panicked(message) => {
                let source = schedule.slots.swap_remove(found).source;
                schedule.panics.push(message.clone());
                drop(schedule);
                if let Some(source) = source.upgrade() {
                    source.job_panicked(lane, &message);
                }
                self.notify();
            }
        }
    }
}

impl Env for PumpEnv {
    fn now_nanos(&self) -> u64 {
        self.now_nanos.fetch_add(NANOS_PER_QUESTION, Ordering::SeqCst)
    }

    fn random_u64(&self) -> u64 {
        lock(&self.ids).next_u64()
    }

    fn wait_until(&self, ready: &mut dyn FnMut() -> bool) {
        loop {
            let before = self.generation.load(Ordering::SeqCst);
            if ready() {
                return;
            }
            invariant!(E1, !self.is_pumping.load(Ordering::SeqCst), "a job waits for something");
            while self.generation.load(Ordering::SeqCst) == before {
                if !self.pump_one() && self.generation.load(Ordering::SeqCst) == before {
                    invariant!(E2, !ready(), "a condition became true, but nobody notified");
                    invariant!(E3, false, "would wait for ever: no lane has anything to do");
                }
            }
        }
    }

    fn pause(&self, nanos: u64) {
        invariant!(E1, !self.is_pumping.load(Ordering::SeqCst), "a job pauses");
        self.now_nanos.fetch_add(nanos, Ordering::SeqCst);
        self.pump_one();
    }

    fn notify(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn start(&self, source: Weak<dyn JobSource>) -> io::Result<Box<dyn Workers>> {
        let mut schedule = lock(&self.schedule);
        let store = schedule.stores_started;
        schedule.stores_started += 1;
        for lane in Lane::ALL {
            let source = Weak::clone(&source);
            schedule.slots.push(Slot { store, lane, source, job: None, idle_since: None });
        }
        Ok(Box::new(PumpWorkers { store, schedule: Arc::clone(&self.schedule) }))
    }
}

impl Schedule {
    /// A lane, drawn among those that have a job or must be asked for one.
    fn next_task(&mut self, generation: u64) -> Option<(u64, Lane, Task)> {
        let due: Vec<usize> = (0..self.slots.len())
            .filter(|&at| {
                let slot = &self.slots[at];
                slot.source.strong_count() > 0
                    && (slot.job.is_some() || slot.idle_since.is_none_or(|g| g < generation))
            })
            .collect();
        if due.is_empty() {
            return None;
        }
        let chosen = due[self.random.below(due.len() as u64) as usize];
        let slot = &mut self.slots[chosen];
        let task = match slot.job.take() {
            Some(job) => Task::Step(job),
            None => Task::Ask(slot.source.upgrade()?),
        };
        Some((slot.store, slot.lane, task))
    }
}

impl Task {
    fn run(self, lane: Lane) -> Outcome {
        let ran = catch_unwind(AssertUnwindSafe(move || match self {
            Self::Ask(source) => source.next_job(lane).map_or(Outcome::Idle, Outcome::Has),
            Self::Step(mut job) => match job.step() {
                Step::More => Outcome::Has(job),
                Step::Done => {
                    drop(job);
                    Outcome::Done
                }
            },
        }));
        ran.unwrap_or_else(|panic| Outcome::Panicked(message_of(&*panic)))
    }
}

/// Says that a step is being done, until dropped.
struct Pumping<'a>(&'a AtomicBool);

impl<'a> Pumping<'a> {
    fn begin(is_pumping: &'a AtomicBool) -> Self {
        let already = is_pumping.swap(true, Ordering::SeqCst);
        invariant!(E1, !already, "the pump was called from a job, or from two threads");
        Self(is_pumping)
    }
}

impl Drop for Pumping<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// The lanes of one store. Dropping stops them.
struct PumpWorkers {
    store: u64,
    schedule: Arc<Mutex<Schedule>>,
}

impl Workers for PumpWorkers {
    fn stop(&self) {
        let mut schedule = lock(&self.schedule);
        let (stopped, others) = std::mem::take(&mut schedule.slots)
            .into_iter()
            .partition(|slot| slot.store == self.store);
        schedule.slots = others;
        drop(schedule);
        drop::<Vec<Slot>>(stopped);
    }
}

impl Drop for PumpWorkers {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Act = Box<dyn FnMut(&Store) -> Step + Send>;

    /// Gives out the jobs it was given, and writes down what happens.
    #[derive(Default)]
    struct Store {
        jobs: Mutex<Vec<(Lane, Act)>>,
        log: Mutex<Vec<String>>,
    }

    struct ActJob {
        store: Arc<Store>,
        act: Act,
    }

    impl Job for ActJob {
        fn step(&mut self) -> Step {
            (self.act)(&self.store)
        }
    }

    impl JobSource for Store {
        fn next_job(self: Arc<Self>, lane: Lane) -> Option<Box<dyn Job>> {
            self.say(format!("{lane:?}?"));
            let mut jobs = lock(&self.jobs);
            let at = jobs.iter().position(|(wanted, _)| *wanted == lane)?;
            let act = jobs.remove(at).1;
            drop(jobs);
            Some(Box::new(ActJob { store: self, act }))
        }

        fn job_panicked(&self, lane: Lane, message: &str) {
            self.say(format!("{lane:?} panicked: {message}"));
        }
    }

    impl Store {
        fn say(&self, what: impl Into<String>) {
            lock(&self.log).push(what.into());
        }

        fn add(&self, lane: Lane, act: impl FnMut(&Self) -> Step + Send + 'static) {
            lock(&self.jobs).push((lane, Box::new(act)));
        }

        /// A job that says its name in each of `steps` steps.
        fn add_counting(&self, lane: Lane, steps: u32) {
            let mut done = 0;
            self.add(lane, move |store| {
                done += 1;
                store.say(format!("{lane:?} {done}"));
                if done == steps { Step::Done } else { Step::More }
            });
        }

        fn log(&self) -> Vec<String> {
            lock(&self.log).clone()
        }
    }

    fn started(seed: u64) -> (Arc<PumpEnv>, Arc<Store>, Box<dyn Workers>) {
        let (env, store) = (PumpEnv::new(seed), Arc::new(Store::default()));
        let source: Arc<dyn JobSource> = Arc::clone(&store) as _;
        let workers = env.start(Arc::downgrade(&source)).unwrap();
        (env, store, workers)
    }

    fn panic_text(call: impl FnOnce()) -> String {
        message_of(&*catch_unwind(AssertUnwindSafe(call)).expect_err("it panics"))
    }

    fn run(seed: u64) -> (Vec<String>, u64, u64) {
        let (env, store, _workers) = started(seed);
        store.add_counting(Lane::Flush, 5);
        store.add_counting(Lane::Compaction, 5);
        env.pump_until_idle();
        (store.log(), env.now_nanos(), env.random_u64())
    }

    #[test]
    fn a_seed_replays_a_run_and_another_gives_another() {
        assert_eq!(run(1), run(1));
        let orders: std::collections::BTreeSet<Vec<String>> =
            (0..20).map(|seed| run(seed).0).collect();
        assert!(orders.len() > 10, "{} orders of 20 seeds", orders.len());
        assert_ne!(run(1).2, run(2).2, "random numbers");
    }

    #[test]
    fn waiting_runs_jobs_until_the_condition_is_true_and_no_longer() {
        let (env, store, _workers) = started(3);
        store.add_counting(Lane::Flush, 1_000);
        let (notifier, mut left) = (Arc::clone(&env), 10);
        store.add(Lane::Compaction, move |store| {
            left -= 1;
            store.say("compacted");
            notifier.notify();
            if left == 0 { Step::Done } else { Step::More }
        });
        let compacted = || store.log().iter().filter(|said| *said == "compacted").count();
        env.wait_until(&mut || compacted() == 4);
        assert_eq!(compacted(), 4);
        env.wait_until(&mut || true);
    }

    #[test]
    fn an_idle_lane_is_asked_again_only_after_a_notify() {
        let (env, store, _workers) = started(4);
        env.pump_until_idle();
        assert_eq!(store.log().len(), Lane::ALL.len(), "each lane once: {:?}", store.log());
        store.add_counting(Lane::Flush, 2);
        assert!(!env.pump_one());
        env.notify();
        env.pump_until_idle();
        assert!(store.log().contains(&"Flush 2".to_owned()));
    }

    #[test]
    fn e1_a_job_that_waits_is_found_out() {
        let (env, store, _workers) = started(5);
        let inner = Arc::clone(&env);
        store.add(Lane::Flush, move |_| {
            inner.wait_until(&mut || true);
            inner.wait_until(&mut || false);
            Step::Done
        });
        env.pump_until_idle();
        assert_eq!(env.job_panics(), ["invariant E1 is broken: a job waits for something"]);
        assert!(store.log().iter().any(|said| said.starts_with("Flush panicked: invariant E1")));

        let (env, store, _workers) = started(5);
        let inner = Arc::clone(&env);
        store.add(Lane::Flush, move |_| {
            inner.pump_one();
            Step::Done
        });
        env.pump_until_idle();
        assert!(env.job_panics()[0].contains("the pump was called from a job"));
    }

    #[test]
    fn e2_a_condition_that_nobody_notified_is_found_out() {
        let (env, store, _workers) = started(6);
        store.add_counting(Lane::Flush, 3);
        let said = panic_text(|| env.wait_until(&mut || store.log().contains(&"Flush 3".into())));
        assert!(said.contains("E2") && said.contains("nobody notified"), "{said}");
    }

    #[test]
    fn e3_a_wait_that_nothing_can_end_is_found_out() {
        let (env, store, _workers) = started(7);
        store.add_counting(Lane::Flush, 3);
        let said = panic_text(|| env.wait_until(&mut || false));
        assert!(said.contains("E3") && said.contains("would wait for ever"), "{said}");
        assert!(store.log().contains(&"Flush 3".into()), "but first everything was tried");
    }

    #[test]
    fn stop_drops_jobs_in_progress_and_asks_for_no_more() {
        let (env, store, workers) = started(8);
        store.add_counting(Lane::Flush, 1_000);
        while !store.log().contains(&"Flush 3".into()) {
            env.pump_one();
        }
        let before = Arc::strong_count(&store);
        workers.stop();
        workers.stop();
        assert_eq!(Arc::strong_count(&store), before - 1, "the job is gone");
        env.notify();
        assert!(!env.pump_one());
    }

    #[test]
    fn a_job_may_stop_its_own_workers() {
        let (env, store, workers) = started(9);
        let mut workers = Some(workers);
        store.add(Lane::Flush, move |store| {
            workers.take().expect("one step only").stop();
            store.say("stopped");
            Step::More
        });
        env.pump_until_idle();
        assert_eq!(store.log().last().map(String::as_str), Some("stopped"));
    }

    #[test]
    fn a_panic_of_a_job_ends_its_lane_and_is_reported() {
        let (env, store, _workers) = started(10);
        store.add(Lane::Flush, |_| panic!("planned"));
        store.add_counting(Lane::Compaction, 2);
        env.pump_until_idle();
        assert!(store.log().contains(&"Flush panicked: planned".into()));
        assert!(store.log().contains(&"Compaction 2".into()));
    }
}

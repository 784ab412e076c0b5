//! Floor 1a: time, randomness, background jobs, and the one way to wait.
//!
//! The engine never blocks except in [`Env::wait_until`]. In production that parks the thread
//! until somebody calls [`Env::notify`]; in the simulation there is one thread, and waiting
//! *is* running background jobs, step by step, in an order that a seed decides. So every
//! interleaving of client calls and background work can be replayed.
//!
//! - [`threads`]: production: a thread per lane, a [`bell`] that wakes who waits, the [`clock`]
//! - [`pump`]: simulation: one thread, a seed
//!
//! Invariants:
//!
//! - E1: a job never waits: neither does it call `wait_until` with a condition that is not true
//!   yet, nor can two steps of one lane be under way at once
//! - E2: a condition never becomes true without a `notify` after it
//! - E3: while somebody waits, some lane has something to do
//!
//! The simulation asserts them; threads would hang, perhaps.
//!
//! Contract: whoever changes something that a waiter's condition looks at calls `notify` after
//! the change is visible. No mutex of the engine is held in `wait_until` or over `Job::step`.

use std::sync::{Arc, Weak};

mod bell;
mod clock;
#[cfg(any(test, feature = "internals"))]
pub mod pump;
pub mod threads;

/// Time, randomness, jobs and waiting.
pub trait Env: Send + Sync {
    /// Nanoseconds since some fixed point; never goes back. Nothing that decides what is written
    /// depends on it.
    fn now_nanos(&self) -> u64;

    /// 64 random bits, for ids that must differ between stores.
    fn random_u64(&self) -> u64;

    /// Returns once `ready` answered true. `ready` may be called any number of times, from this
    /// thread, with no lock of the environment held.
    fn wait_until(&self, ready: &mut dyn FnMut() -> bool);

    /// Lets about so much time pass; background work goes on meanwhile. For pacing alone: what
    /// waits *for* something uses [`wait_until`](Self::wait_until).
    fn pause(&self, nanos: u64);

    /// Says that something changed that a waiter, or an idle worker, may be waiting for.
    fn notify(&self);

    /// Starts to run the jobs of `source`, one at a time per [`Lane`], until the answer is
    /// stopped.
    fn start(&self, source: Weak<dyn JobSource>) -> Result<Box<dyn Workers>, std::io::Error>;
}

/// Background workers of one store.
pub trait Workers: Send + Sync {
    /// Ends them and returns when none runs any more. A job is dropped between two steps. Safe to
    /// call twice.
    fn stop(&self);
}

/// Which worker runs a job: lanes do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Flushes, which writers may wait for.
    Flush,
    /// Compactions.
    Compaction,
    /// Space for the log, ahead of its end: short, and a writer may be faster.
    Log,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 3] = [Self::Flush, Self::Compaction, Self::Log];
}

/// Where workers get their jobs: a store.
pub trait JobSource: Send + Sync {
    /// The next job for a lane, or `None` if nothing is due. Called again after each `notify`.
    fn next_job(self: Arc<Self>, lane: Lane) -> Option<Box<dyn Job>>;

    /// A job panicked: the store must stop believing its own state.
    fn job_panicked(&self, lane: Lane, message: &str);
}

/// Background work, cut into steps of one bounded piece of I/O or one output block.
///
/// A job handles its own errors (it reports them to the store). Dropping one between two steps
/// gives it up: the store must be as if it had never begun, but for files that nobody names.
pub trait Job: Send {
    /// Does the next piece.
    fn step(&mut self) -> Step;
}

/// Whether a job has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call `step` again.
    More,
    /// It is finished; drop it.
    Done,
}

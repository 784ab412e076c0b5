//! A whole store and its threads, in orders that seeds draw, played by shuttle:
//!
//! ```sh
//! RUSTFLAGS="--cfg shuttle" cargo test --release -p esker --lib shuttle_tests
//! ```
//!
//! All of the store is the code that ships: commit, flush, merges, close, the lanes' threads and
//! the bell they wait at. Only the disk is the simulated one and the clock one that moves when it
//! is asked. At each lock, atomic and wait outside of the memtable, whose insides loom plays,
//! shuttle decides which thread goes on. It treats all atomics as sequentially consistent: what
//! they order is for loom to find. A wait that nobody ends is a failure.
//!
//! Each scenario is played in orders that are random at each step, and then in orders with few
//! changes between threads (Burckhardt and others, "A randomized scheduler with probabilistic
//! guarantees of finding bugs", ASPLOS 2010). `ESKER_SHUTTLE_ITERATIONS` says how many of each,
//! `ESKER_SHUTTLE_SEED` where they begin. One that fails is kept in a file, and it is printed how
//! to play it again.
//!
//! - `writers`: group commit, in both durabilities
//! - `background`: flushes, rotations and merges beside readers
//! - `ends`: closes and drops of keyspaces; `trouble`: disks that fail
//! - `planted`: mistakes that must be found

mod background;
mod ends;
mod planted;
mod trouble;
mod writers;

use std::sync::Arc;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::base::error::Error;
use crate::base::sync::thread::{self, JoinHandle};
use crate::db::options::IfMissing;
use crate::env::threads::ThreadEnv;
use crate::vfs::sim::SimDisk;
use crate::{Db, Iter, Keyspace, Options};

/// Orders of each kind, unless the environment says otherwise.
const ITERATIONS: usize = 200;

/// How often an order of the second kind takes the turn from a thread that could go on.
const CHANGES: usize = 3;

/// Longer runs are taken for ones that do not end.
const STEPS_MAX: usize = 400_000;

/// The memory that a store here believes to have.
const MEMORY_BYTES: u64 = 64 << 20;

/// Plays `scenario` in many orders, or in the one that is to be replayed.
fn play(scenario: fn()) {
    let name = std::thread::current().name().unwrap_or("scenario").to_owned();
    let _tells = TellsHowToReplay(&name);
    if let Some(schedule) = std::env::var_os("ESKER_SHUTTLE_REPLAY") {
        let scheduler = ReplayScheduler::new_from_file(schedule).expect("a schedule that was kept");
        Runner::new(scheduler, config()).run(scenario);
        return;
    }
    let iterations = number("ESKER_SHUTTLE_ITERATIONS").unwrap_or(ITERATIONS as u64) as usize;
    let played = play_orders(scenario, iterations);
    println!("{played} schedules of {name}");
}

/// Plays so many orders of each kind and says how many that were.
fn play_orders(scenario: fn(), iterations: usize) -> usize {
    let seed = number("ESKER_SHUTTLE_SEED").unwrap_or(1);
    let random = RandomScheduler::new_from_seed(seed, iterations);
    let changes = PctScheduler::new_from_seed(seed, CHANGES, iterations);
    Runner::new(random, config()).run(scenario) + Runner::new(changes, config()).run(scenario)
}

fn config() -> Config {
    // Of the first config, for all scenarios.
    let kept = std::env::temp_dir().join("esker-shuttle");
    std::fs::create_dir_all(&kept).expect("a place for schedules that fail");
    let mut config = Config::new();
    config.stack_size = 1 << 19;
    config.silence_warnings = true;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.failure_persistence = FailurePersistence::File(Some(kept));
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    config
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Says after a failure what to do with the file that shuttle has named.
struct TellsHowToReplay<'a>(&'a str);

impl Drop for TellsHowToReplay<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "play it again with the file named above: ESKER_SHUTTLE_REPLAY=FILE RUSTFLAGS=\"--cfg \
                 shuttle\" cargo test --release -p esker --lib -- --exact {}",
                self.0
            );
        }
    }
}

/// A store on a simulated disk, with memtables that a few values fill.
struct Bench {
    disk: Arc<SimDisk>,
    db: Db,
}

impl Bench {
    fn new() -> Self {
        Self::on(SimDisk::new())
    }

    fn on(disk: Arc<SimDisk>) -> Self {
        let settings = Options::tiny().settle(MEMORY_BYTES).expect("tiny options are sound");
        let db = Db::open_on(disk.clone(), ThreadEnv::new(), settings, IfMissing::Create);
        Self { disk, db: db.expect("it opens") }
    }

    /// Closes the store, sees that nothing of it runs any more, and opens it again.
    fn reopened(self) -> Self {
        let Self { disk, db } = self;
        let store = Arc::clone(db.store());
        db.close().expect("it closes");
        assert_eq!(Arc::strong_count(&store), 1, "somebody holds a store that is closed");
        // Each lane's thread has one.
        assert_eq!(Arc::weak_count(&store), 0, "a thread outlives its store");
        drop(store);
        let reopened = Self::on(disk);
        reopened.db.check().expect("it is sound");
        reopened
    }

    /// The end of a scenario.
    fn close(self) {
        self.db.close().expect("it closes");
    }
}

fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::spawn(run)
}

fn join<T>(threads: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().expect("a thread of the scenario")).collect()
}

/// `n` as a value of so many bytes: five of 250 fill a memtable.
fn value(n: u64, bytes: usize) -> String {
    format!("{n:0>bytes$}")
}

/// The number that [`value`] made a value of; 0 of none.
fn number_of(value: Option<&[u8]>) -> u64 {
    value.map_or(0, |digits| {
        std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).expect("a number")
    })
}

fn get(keyspace: &Keyspace, key: &str) -> u64 {
    number_of(keyspace.get(key).expect("it can be read").as_deref())
}

/// What an iterator has left to show.
fn numbers(entries: Iter) -> Vec<(String, u64)> {
    let entries = entries.map(|entry| entry.expect("it can be read"));
    entries
        .map(|(key, value)| (String::from_utf8_lossy(&key).into_owned(), number_of(Some(&value))))
        .collect()
}

/// Whether it is only that the store, or the keyspace, is no more.
fn is_closed(error: &Error) -> bool {
    error.kind() == crate::base::error::ErrorKind::Closed
}

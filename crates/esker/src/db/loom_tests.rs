//! The commit queue and the publishing of views, in every order that the memory model allows,
//! played by loom:
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release -p esker --lib loom_tests
//! ```
//!
//! Queue, health, bell, views and epoch are the code that ships; what a leader does with a group is
//! a stand-in that numbers it. A thread that nobody wakes is a deadlock, which loom reports.
//!
//! Each of these mistakes, made by hand, fails a test here: a seat given back, or a group answered,
//! without a notify; who waits looked at before the seat is free; who waits without a batch not
//! counted; a read that takes its number before its view.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use super::health::{Health, HealthState};
use super::queue::{CommitQueue, Seat, Waiting};
use super::store::KeyspaceCore;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::hash::key_hash;
use crate::base::key::{KeyspaceId, Kind, SeqNo, Tag};
use crate::base::sync::AtomicU64;
use crate::env::Env;
use crate::env::threads::ThreadEnv;
use crate::epoch::Domain;
use crate::memtable::{ChunkPool, Memtable};
use crate::read::view::View;

/// Plays `test` in all orders, with up to `preemptions` interruptions.
fn play(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(test);
}

/// A queue whose writer keeps what was committed, and refuses odd numbers.
struct Shared {
    env: Arc<dyn Env>,
    health: Health,
    queue: CommitQueue<Vec<u32>, u32>,
}

fn shared() -> Arc<Shared> {
    let (env, health) = (ThreadEnv::new(), Health::new());
    Arc::new(Shared { env, health, queue: CommitQueue::new(Vec::new()) })
}

impl Shared {
    fn waiting(&self) -> Waiting<'_> {
        Waiting { env: &*self.env, health: &self.health }
    }

    /// Commits a number as [`Store::commit`](super::Store) does a batch.
    fn commit(&self, number: u32) -> Result<()> {
        self.health.check_reads()?;
        if let Some(mut seat) = self.queue.try_lead_alone(self.waiting()) {
            return write(seat.writer(), number);
        }
        self.queue.commit(self.waiting(), number, &mut lead_group)
    }

    /// The end of the queue, as a close makes it.
    fn close(&self) -> Vec<u32> {
        let written = *self.queue.lead(self.waiting()).expect("nobody else closes").into_writer();
        self.health.set(HealthState::Closed);
        self.queue.refuse_waiting(&Error::closed("the store"));
        self.env.notify();
        written
    }
}

fn write(written: &mut Vec<u32>, number: u32) -> Result<()> {
    if number % 2 == 1 {
        return Err(Error::invalid(format!("{number} is odd")));
    }
    written.push(number);
    Ok(())
}

fn lead_group(seat: &mut Seat<'_, Vec<u32>, u32>) {
    let group = seat.take_group(|_| false);
    let answers = group.iter().map(|ticket| write(seat.writer(), ticket.batch)).collect();
    seat.answer(&group, answers);
}

/// Commits these numbers beside each other, each in a thread of its own but for the first; each is
/// answered, with its own answer.
fn beside_each_other(preemptions: usize, numbers: &'static [u32]) {
    play(preemptions, move || {
        let shared = shared();
        let others: Vec<_> = numbers[1..]
            .iter()
            .map(|number| {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || shared.commit(*number))
            })
            .collect();
        let mut answers = vec![shared.commit(numbers[0])];
        answers.extend(others.into_iter().map(|other| other.join().expect("a writer")));
        for (number, answer) in numbers.iter().zip(answers) {
            assert_eq!(answer.is_ok(), number % 2 == 0, "{number}: {answer:?}");
        }
        let mut written = shared.close();
        written.sort_unstable();
        let even: Vec<_> = numbers.iter().copied().filter(|number| number % 2 == 0).collect();
        assert_eq!(written, even, "each once");
    });
}

#[test]
fn two_writers() {
    beside_each_other(3, &[2, 4]);
}

#[test]
fn a_writer_beside_one_that_is_refused() {
    beside_each_other(3, &[1, 2]);
}

#[test]
fn three_writers() {
    beside_each_other(2, &[2, 3, 4]);
}

#[test]
fn a_writer_beside_one_who_leads_without_a_batch() {
    play(3, || {
        let shared = shared();
        let other = Arc::clone(&shared);
        let other = loom::thread::spawn(move || {
            let mut seat = other.queue.lead(other.waiting()).expect("the store is open");
            seat.writer().push(10);
        });
        shared.commit(2).expect("it is written");
        other.join().expect("the other");
        assert_eq!(shared.close().len(), 2);
    });
}

#[test]
fn a_writer_beside_a_close() {
    play(3, || {
        let shared = shared();
        let writer = Arc::clone(&shared);
        let writer = loom::thread::spawn(move || writer.commit(2));
        let written = shared.close();
        match writer.join().expect("the writer") {
            Ok(()) => assert_eq!(written, [2], "what is acknowledged was written"),
            Err(error) => {
                assert_eq!((error.kind(), &*written), (ErrorKind::Closed, &[][..]));
            }
        }
    });
}

#[test]
fn two_closes_beside_each_other() {
    play(3, || {
        let shared = shared();
        let other = Arc::clone(&shared);
        let lead = |shared: &Shared| match shared.queue.lead(shared.waiting()) {
            Ok(seat) => {
                drop(seat.into_writer());
                shared.health.set(HealthState::Closed);
                shared.env.notify();
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed);
                false
            }
        };
        let other = loom::thread::spawn(move || lead(&other));
        let here = lead(&shared);
        assert!(here != other.join().expect("the other"), "one of them leads");
    });
}

fn memtable(seq: u64) -> Arc<Memtable> {
    let memtable = Memtable::new(0, &Arc::new(ChunkPool::new(4096, 0)));
    memtable.insert(b"k", Tag::new(SeqNo::new(seq), Kind::Put), b"v");
    Arc::new(memtable)
}

/// What a get finds, as [`Keyspace::get`](super::Keyspace) looks for it.
fn find(core: &KeyspaceCore, domain: &Domain, visible: &AtomicU64) -> Option<Tag> {
    let guard = domain.pin();
    let (view, seq) = core.peek_at(&guard, || SeqNo::new(visible.load(Acquire)));
    view.find_in_memtables(b"k", key_hash(b"k"), seq).map(|(tag, _)| tag)
}

/// Version 2 becomes visible; then a view is published from which version 1, which no snapshot
/// sees, has gone: what a merge does. A get finds one of them, and later ones none older.
#[test]
fn a_get_beside_a_publish_that_drops_what_was_superseded() {
    play(3, || {
        let domain = Domain::new();
        let (id, name) = (KeyspaceId::DEFAULT, "default".to_owned());
        let core = KeyspaceCore::new(&domain, id, name, View::new(memtable(1)));
        let visible = Arc::new(AtomicU64::new(1));
        let merged = View::new(memtable(2));
        let reader = {
            let (core, domain) = (Arc::clone(&core), Arc::clone(&domain));
            let visible = Arc::clone(&visible);
            loom::thread::spawn(move || {
                let first = find(&core, &domain, &visible).expect("a version is always there");
                let second = find(&core, &domain, &visible).expect("a version is always there");
                assert!(first.seq() <= second.seq(), "time runs forward");
            })
        };
        visible.store(2, Release);
        core.publish_alone(merged);
        reader.join().expect("the reader");
    });
}

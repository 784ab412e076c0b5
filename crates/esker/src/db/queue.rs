//! The commit queue: one seat for whoever leads, and tickets of those who wait to be answered.
//!
//! Leading is a right, not a lock: whoever has taken the writer out of the queue leads, for as long
//! as a group's append and sync take, and gives it back when the [`Seat`] is dropped. A batch that
//! finds the seat taken queues up; from then on its thread waits for two things at once, an answer
//! and the seat. So a group is led by one of those who wait for it, and nobody is forgotten:
//!
//! - who gives the seat back looks, under the queue's lock, whether anybody waits, and then notifies;
//! - who answers tickets notifies afterwards;
//! - who keeps the writer for good (a close, a panic) sets the store's health first, answers what
//!   waits, and notifies; who comes later finds the health.
//!
//! Loom plays it in every order that the memory model allows.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::sync::{Mutex, MutexGuard, OnceLock};
use crate::db::health::{Health, HealthState};
use crate::env::Env;

/// The writer's seat, and who waits for it: `W` is what only the leader touches, `B` what waits to
/// be committed.
pub(crate) struct CommitQueue<W, B> {
    state: Mutex<QueueState<W, B>>,
}

/// Where one waits, and what says that the writer will not come back.
#[derive(Clone, Copy)]
pub(crate) struct Waiting<'a> {
    pub env: &'a dyn Env,
    pub health: &'a Health,
}

struct QueueState<W, B> {
    /// `None` while somebody leads, and for ever once the store is closed.
    writer: Option<Box<W>>,
    waiting: VecDeque<Arc<Ticket<B>>>,
    /// How many wait for the seat without a batch.
    seat_waiters: usize,
}

/// A batch in the queue.
pub(crate) struct Ticket<B> {
    pub batch: B,
    done: OnceLock<Result<()>>,
}

/// The right to lead, given back when dropped.
pub(crate) struct Seat<'a, W, B> {
    queue: &'a CommitQueue<W, B>,
    waiting: Waiting<'a>,
    writer: Option<Box<W>>,
    /// Whether the thread was unwinding before it led: then a panic is not the leader's.
    was_panicking: bool,
}

impl<W, B> CommitQueue<W, B> {
    /// A queue whose seat is free.
    pub fn new(writer: W) -> Self {
        let writer = Some(Box::new(writer));
        let state = QueueState { writer, waiting: VecDeque::new(), seat_waiters: 0 };
        Self { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, QueueState<W, B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the right to lead if nobody has it.
    fn try_lead<'a>(&'a self, waiting: Waiting<'a>) -> Option<Seat<'a, W, B>> {
        let writer = self.state().writer.take()?;
        Some(Seat::new(self, waiting, writer))
    }

    /// Takes the right to lead if nobody has it and nobody waits for it with a batch.
    pub fn try_lead_alone<'a>(&'a self, waiting: Waiting<'a>) -> Option<Seat<'a, W, B>> {
        let mut state = self.state();
        if !state.waiting.is_empty() {
            return None;
        }
        let writer = state.writer.take()?;
        drop(state);
        Some(Seat::new(self, waiting, writer))
    }

    /// Waits for the right to lead.
    ///
    /// # Errors
    /// `Closed` or `Poisoned`: the writer will not come back.
    pub fn lead<'a>(&'a self, waiting: Waiting<'a>) -> Result<Seat<'a, W, B>> {
        let mut seat = None;
        self.state().seat_waiters += 1;
        waiting.env.wait_until(&mut || {
            if seat.is_none() {
                seat = self.try_lead(waiting);
            }
            seat.is_some() || waiting.health.check_reads().is_err()
        });
        self.state().seat_waiters -= 1;
        match seat {
            Some(seat) => Ok(seat),
            None => {
                waiting.health.check_reads()?;
                Err(Error::closed("the store"))
            }
        }
    }

    /// Queues up; leads a group if the seat becomes free, else is answered by who does.
    pub fn commit(
        &self,
        waiting: Waiting<'_>,
        batch: B,
        lead_group: &mut dyn FnMut(&mut Seat<'_, W, B>),
    ) -> Result<()> {
        let ticket = Arc::new(Ticket { batch, done: OnceLock::new() });
        self.state().waiting.push_back(Arc::clone(&ticket));
        loop {
            let mut seat = None;
            waiting.env.wait_until(&mut || {
                if ticket.done.get().is_none() && seat.is_none() {
                    seat = self.try_lead(waiting);
                }
                ticket.done.get().is_some()
                    || seat.is_some()
                    || waiting.health.check_reads().is_err()
            });
            if let Some(mut seat) = seat {
                if ticket.done.get().is_none() {
                    lead_group(&mut seat);
                }
                drop(seat);
            }
            if let Some(answer) = ticket.done.get() {
                return answer.clone();
            }
            waiting.health.check_reads()?;
        }
    }

    /// Answers everybody who waits: the writer is not coming back.
    pub fn refuse_waiting(&self, error: &Error) {
        for ticket in self.state().waiting.drain(..) {
            let _ = ticket.done.set(Err(error.clone()));
        }
    }
}

impl<'a, W, B> Seat<'a, W, B> {
    fn new(queue: &'a CommitQueue<W, B>, waiting: Waiting<'a>, writer: Box<W>) -> Self {
        Self { queue, waiting, writer: Some(writer), was_panicking: std::thread::panicking() }
    }

    pub fn writer(&mut self) -> &mut W {
        self.writer.as_mut().expect("a seat has the writer until it is dropped")
    }

    /// Keeps the writer for good: the store is being closed.
    pub fn into_writer(mut self) -> Box<W> {
        self.writer.take().expect("a seat has the writer until it is dropped")
    }

    /// Takes what waits out of the queue, in order, until `is_enough` says so.
    pub fn take_group(&self, mut is_enough: impl FnMut(&B) -> bool) -> Vec<Arc<Ticket<B>>> {
        let mut state = self.queue.state();
        let mut group = Vec::new();
        while let Some(ticket) = state.waiting.pop_front() {
            let enough = is_enough(&ticket.batch);
            group.push(ticket);
            if enough {
                break;
            }
        }
        group
    }

    /// Answers a group that was taken.
    pub fn answer(&self, group: &[Arc<Ticket<B>>], answers: Vec<Result<()>>) {
        for (ticket, answer) in group.iter().zip(answers) {
            let _ = ticket.done.set(answer);
        }
        self.waiting.env.notify();
    }
}

impl<W, B> Drop for Seat<'_, W, B> {
    fn drop(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let (queue, Waiting { env, health }) = (self.queue, self.waiting);
        if std::thread::panicking() && !self.was_panicking {
            let error = Error::new(ErrorKind::Poisoned, "a write panicked; reopen the store");
            health.set(HealthState::Poisoned(error.clone()));
            queue.refuse_waiting(&error);
            env.notify();
            return;
        }
        let mut state = queue.state();
        state.writer = Some(writer);
        let others_wait = !state.waiting.is_empty() || state.seat_waiters > 0;
        drop(state);
        if others_wait {
            env.notify();
        }
    }
}

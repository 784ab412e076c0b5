//! Group commit: order, log, memtable, publish, acknowledge, as one critical section.
//!
//! There is one writer. Whoever takes it out of the queue leads; the others hand in tickets and
//! wait. The leader takes what is waiting and does for the whole group:
//!
//! ```text
//! check -> make room -> assign sequence numbers -> append to the log -> sync if one asks for it
//!       -> insert into memtables -> publish the visible number -> acknowledge
//! ```
//!
//! - **T1** Sequence numbers are handed out in the order of the log, without gaps.
//! - **T2** Nothing of a group is inserted unless its append, and its sync if it had one,
//!   succeeded. So no read ever sees what a crash would take back while the store lives, and a
//!   failed write stays invisible.
//! - **T3** The visible number moves once per group, after all of it was inserted: a batch is seen
//!   whole or not at all.
//!
//! Leading is a ticket, not a lock: it spans the append, the sync, and a wait for a flush, while
//! no mutex is held. `Os` writers that queue behind a sync share it.
//!
//! When the append fails the file is sealed at its last good length, and the log goes on in a new
//! segment whose header records that length; only then are writes taken again. When a *sync* fails
//! nobody knows what is on the disk: writes are refused until the store is reopened.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use litemap::LiteMap;

use crate::base::batch::{Op, WriteBatch, decode_ops};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::invariant;
use crate::base::key::{KeyspaceId, SeqNo, Tag};
use crate::base::names::FileName;
use crate::base::sync::{Mutex, MutexGuard, OnceLock};
use crate::db::health::HealthState;
use crate::db::options::Durability;
use crate::db::store::Store;
use crate::memtable::Memtable;
use crate::wal::Log;

/// A group takes no further batch once it has this many bytes.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// The writer's seat and who waits for it.
#[derive(Default)]
pub(crate) struct CommitQueue {
    state: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    /// `None` while somebody leads, and for ever once the store is closed.
    writer: Option<Box<Writer>>,
    waiting: VecDeque<Arc<Ticket>>,
    /// How many wait for the seat without a batch.
    seat_waiters: usize,
}

/// A batch in the queue.
struct Ticket {
    batch: WriteBatch,
    durability: Durability,
    done: OnceLock<Result<()>>,
}

/// What only the leader touches.
pub(crate) struct Writer {
    pub log: Log,
    /// The next sequence number.
    pub next_seq: SeqNo,
    /// The active memtables, as published in the views.
    pub actives: LiteMap<KeyspaceId, Arc<Memtable>>,
    /// Their bytes together.
    pub active_bytes: u64,
    /// The first sequence number of the active segment.
    pub segment_first_seq: SeqNo,
    /// The log's last append failed: it must be replaced before the next.
    pub log_broken: Option<Error>,
    /// A drop may or may not be durable: a new manifest must say that it did not happen before
    /// the next write.
    pub drop_in_doubt: bool,
    /// Files that failed rotations may have left, to be removed once one has succeeded.
    pub log_orphans: Vec<FileName>,
}

/// The right to lead, given back when dropped.
pub(crate) struct Seat<'a> {
    store: &'a Store,
    writer: Option<Box<Writer>>,
    /// Whether the thread was unwinding before it led: then a panic is not the leader's.
    was_panicking: bool,
}

impl CommitQueue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the writer there for the first time.
    pub fn open(&self, writer: Writer) {
        self.state().writer = Some(Box::new(writer));
    }

    /// Answers everybody who waits: the writer is not coming back.
    pub fn refuse_waiting(&self, error: &Error) {
        for ticket in self.state().waiting.drain(..) {
            let _ = ticket.done.set(Err(error.clone()));
        }
    }
}

impl<'a> Seat<'a> {
    fn new(store: &'a Store, writer: Box<Writer>) -> Self {
        Self { store, writer: Some(writer), was_panicking: std::thread::panicking() }
    }

    pub fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("a seat has the writer until it is dropped")
    }

    /// Keeps the writer for good: the store is being closed.
    pub fn into_writer(mut self) -> Box<Writer> {
        self.writer.take().expect("a seat has the writer until it is dropped")
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        if std::thread::panicking() && !self.was_panicking {
            let error = Error::new(ErrorKind::Poisoned, "a write panicked; reopen the store");
            self.store.health.set(HealthState::Poisoned(error.clone()));
            self.store.queue.refuse_waiting(&error);
            self.store.env.notify();
            return;
        }
        let mut state = self.store.queue.state();
        state.writer = Some(writer);
        let others_wait = !state.waiting.is_empty() || state.seat_waiters > 0;
        drop(state);
        if others_wait {
            self.store.env.notify();
        }
    }
}

impl Store {
    /// Takes the right to lead if nobody has it.
    fn try_lead(&self) -> Option<Seat<'_>> {
        let writer = self.queue.state().writer.take()?;
        Some(Seat::new(self, writer))
    }

    /// Waits for the right to lead.
    ///
    /// # Errors
    /// `Closed` or `Poisoned`: the writer will not come back.
    pub fn lead(&self) -> Result<Seat<'_>> {
        let mut seat = None;
        self.queue.state().seat_waiters += 1;
        self.env.wait_until(&mut || {
            if seat.is_none() {
                seat = self.try_lead();
            }
            seat.is_some() || self.health.check_reads().is_err()
        });
        self.queue.state().seat_waiters -= 1;
        match seat {
            Some(seat) => Ok(seat),
            None => {
                self.health.check_reads()?;
                Err(Error::closed("the store"))
            }
        }
    }

    /// Writes `batch` whole or not at all.
    ///
    /// # Errors
    /// `InvalidArgument` before anything happens; otherwise the write was not acknowledged and
    /// is invisible: `NoSpace`, `ReadOnly`, `Busy`, `Io`, `Closed`, `Poisoned`.
    pub fn commit(&self, batch: &WriteBatch, durability: Durability) -> Result<()> {
        batch.check(self.instance)?;
        self.health.check_reads()?;
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(mut seat) = self.try_lead_alone() {
            let writer = seat.writer();
            writer.check_keyspaces(batch)?;
            return self.write_group(writer, &[(batch, durability)]);
        }
        self.commit_queued(batch.clone(), durability)
    }

    /// Writes one operation as [`commit`](Self::commit) writes a batch of it. Without a batch, a
    /// ticket or an allocation while nobody else writes.
    pub fn commit_op(&self, op: Op<'_>, durability: Durability) -> Result<()> {
        op.check()?;
        self.health.check_reads()?;
        if let Some(mut seat) = self.try_lead_alone() {
            return self.write_op(seat.writer(), &op, durability);
        }
        let mut batch = WriteBatch::new();
        if op.keyspace != KeyspaceId::DEFAULT {
            batch.bind(self.instance);
        }
        batch.push(op);
        self.commit_queued(batch, durability)
    }

    /// Takes the right to lead if nobody has it and nobody waits for it with a batch.
    fn try_lead_alone(&self) -> Option<Seat<'_>> {
        let mut queue = self.queue.state();
        if !queue.waiting.is_empty() {
            return None;
        }
        let writer = queue.writer.take()?;
        drop(queue);
        Some(Seat::new(self, writer))
    }

    /// Queues up; leads a group if the seat becomes free, else is answered by who does.
    fn commit_queued(&self, batch: WriteBatch, durability: Durability) -> Result<()> {
        let ticket = Arc::new(Ticket { batch, durability, done: OnceLock::new() });
        self.queue.state().waiting.push_back(Arc::clone(&ticket));
        loop {
            let mut seat = None;
            self.env.wait_until(&mut || {
                if ticket.done.get().is_none() && seat.is_none() {
                    seat = self.try_lead();
                }
                ticket.done.get().is_some() || seat.is_some() || self.health.check_reads().is_err()
            });
            if let Some(mut seat) = seat {
                if ticket.done.get().is_none() {
                    self.lead_group(&mut seat);
                }
                drop(seat);
            }
            if let Some(answer) = ticket.done.get() {
                return answer.clone();
            }
            self.health.check_reads()?;
        }
    }

    /// Commits what waits, up to a group's size.
    fn lead_group(&self, seat: &mut Seat<'_>) {
        let mut group = Vec::new();
        let mut bytes = 0;
        {
            let mut queue = self.queue.state();
            while bytes < GROUP_BYTES_MAX
                && let Some(ticket) = queue.waiting.pop_front()
            {
                bytes += ticket.batch.encoded_bytes();
                group.push(ticket);
            }
        }
        let batches: Vec<_> = group.iter().map(|t| (&t.batch, t.durability)).collect();
        let answers = self.commit_group(seat.writer(), &batches);
        for (ticket, answer) in group.iter().zip(answers) {
            let _ = ticket.done.set(answer);
        }
        self.env.notify();
    }

    /// The critical section. One answer per batch.
    fn commit_group(
        &self,
        writer: &mut Writer,
        batches: &[(&WriteBatch, Durability)],
    ) -> Vec<Result<()>> {
        let mut answers: Vec<Result<()>> =
            batches.iter().map(|(batch, _)| writer.check_keyspaces(batch)).collect();
        let admitted: Vec<_> = (0..batches.len()).filter(|i| answers[*i].is_ok()).collect();
        if admitted.is_empty() {
            return answers;
        }
        let group: Vec<_> = admitted.iter().map(|i| batches[*i]).collect();
        if let Err(error) = self.write_group(writer, &group) {
            for i in admitted {
                answers[i] = Err(error.clone());
            }
        }
        answers
    }

    /// Log, sync, insert, publish.
    fn write_group(&self, writer: &mut Writer, group: &[(&WriteBatch, Durability)]) -> Result<()> {
        self.ensure_writable(writer)?;
        self.make_room(writer)?;
        let mut seq = writer.next_seq;
        for (batch, _) in group {
            writer.log.add(seq, batch.len() as u32, batch.ops());
            seq = seq.plus(batch.len() as u64);
        }
        let is_sync = group.iter().any(|(_, durability)| *durability == Durability::Sync);
        self.write_log(writer, if is_sync { Durability::Sync } else { Durability::Os })?;
        for (batch, _) in group {
            writer.insert(batch);
        }
        self.make_visible(writer, seq);
        Ok(())
    }

    /// The same for a group of one operation.
    fn write_op(&self, writer: &mut Writer, op: &Op<'_>, durability: Durability) -> Result<()> {
        if !writer.actives.contains_key(&op.keyspace) {
            return Err(keyspace_gone());
        }
        self.ensure_writable(writer)?;
        self.make_room(writer)?;
        let seq = writer.next_seq;
        writer.log.add_op(seq, op);
        self.write_log(writer, durability)?;
        writer.insert_op(op);
        self.make_visible(writer, seq.plus(1));
        Ok(())
    }

    /// Appends the group that was added to the log, and syncs it if it has to be.
    fn write_log(&self, writer: &mut Writer, durability: Durability) -> Result<()> {
        let before = writer.log.active_bytes();
        if let Err(error) = writer.log.write() {
            return Err(self.append_failed(writer, error));
        }
        // Only the leader changes it.
        let written = writer.log.active_bytes() - before;
        let all = self.log_bytes_written.load(Ordering::Relaxed) + written;
        self.log_bytes_written.store(all, Ordering::Relaxed);
        if writer.log.wants_room() {
            self.want_log_room();
        }
        match durability {
            Durability::Os => Ok(()),
            Durability::Sync => self.sync_log(),
        }
    }

    /// Lets reads see what was inserted: everything below `next`.
    fn make_visible(&self, writer: &Writer, next: SeqNo) {
        invariant!(T1, writer.next_seq == next, "{:?} is not {next:?}", writer.next_seq);
        // Only the leader changes it.
        let visible = self.visible.load(Ordering::Relaxed);
        invariant!(T3, visible < next.get(), "visible would go from {visible} to {next:?}");
        self.visible.store(next.get() - 1, Ordering::Release);
    }

    /// Makes everything appended so far durable. A failure fences writes for good.
    pub fn sync_log(&self) -> Result<()> {
        match self.syncer.sync() {
            Ok(_) => Ok(()),
            Err(error) => {
                self.health.set(HealthState::WriteFenced(error.clone()));
                Err(error)
            }
        }
    }

    /// `Ok` if the log can take the next record, after mending what can be mended.
    pub fn ensure_writable(&self, writer: &mut Writer) -> Result<()> {
        if self.health.is_healthy() && writer.log_broken.is_none() && !writer.drop_in_doubt {
            return Ok(());
        }
        match self.health.state() {
            HealthState::NoSpace(_) => self.check_space_is_back()?,
            HealthState::Healthy => {}
            _ => return self.health.check_writes(),
        }
        if writer.log_broken.is_some() {
            self.replace_log(writer)?;
        }
        if writer.drop_in_doubt {
            self.take_drop_back(writer)?;
        }
        self.health.space_is_back();
        let mut structure = self.structure();
        structure.flush_trouble.clear();
        structure.compaction_trouble.clear();
        drop(structure);
        self.env.notify();
        Ok(())
    }

    /// Goes on in a new segment after a failed append, durably, so that no crash can bring the
    /// failed group back.
    fn replace_log(&self, writer: &mut Writer) -> Result<()> {
        match self.rotate_log(writer, Rotation::AfterFailure) {
            Ok(()) => {
                // Its failure is final, also for lack of space: nobody knows what was written.
                self.sync_log()?;
                writer.log_broken = None;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                self.health.set(HealthState::NoSpace(error.clone()));
                Err(error)
            }
            Err(error) => {
                self.health.set(HealthState::WriteFenced(error.clone()));
                Err(error)
            }
        }
    }

    /// Reacts to a failed append: a full disk is waited out; anything else gets one attempt to
    /// go on in a new segment.
    pub fn append_failed(&self, writer: &mut Writer, error: Error) -> Error {
        writer.log_broken = Some(error.clone());
        if error.kind() == ErrorKind::NoSpace {
            self.health.set(HealthState::NoSpace(error.clone()));
        } else if let Err(second) = self.replace_log(writer) {
            return second.context(format!("the log could not go on after: {error}"));
        }
        error
    }
}

/// Why a log goes on in a new segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// A memtable was frozen: its records and the later ones shall not share a segment.
    ForFreeze,
    /// The last append failed.
    AfterFailure,
}

impl Writer {
    /// `Ok` if all keyspaces that a batch names exist.
    fn check_keyspaces(&self, batch: &WriteBatch) -> Result<()> {
        if !batch.names_keyspaces() {
            return Ok(());
        }
        for op in decode_ops(batch.ops()) {
            let op = op.expect("a batch that the API made can be read");
            if !self.actives.contains_key(&op.keyspace) {
                return Err(keyspace_gone());
            }
        }
        Ok(())
    }

    /// Inserts an operation that is in the log (T2).
    fn insert_op(&mut self, op: &Op<'_>) {
        invariant!(T2, self.log_broken.is_none(), "the group is not in the log");
        let memtable = &self.actives[&op.keyspace];
        let before = memtable.bytes();
        memtable.insert(op.key, Tag::new(self.next_seq, op.kind), op.value);
        self.next_seq = self.next_seq.plus(1);
        self.active_bytes += (memtable.bytes() - before) as u64;
    }

    /// Inserts a batch that is in the log (T2), each operation with its own sequence number.
    fn insert(&mut self, batch: &WriteBatch) {
        invariant!(T2, self.log_broken.is_none(), "the group is not in the log");
        let mut last: Option<(KeyspaceId, &Arc<Memtable>, usize)> = None;
        let mut grown = 0;
        for op in decode_ops(batch.ops()) {
            let op = op.expect("a batch that the API made can be read");
            if last.is_none_or(|(id, ..)| id != op.keyspace) {
                if let Some((_, memtable, before)) = last {
                    grown += memtable.bytes() - before;
                }
                let memtable = &self.actives[&op.keyspace];
                last = Some((op.keyspace, memtable, memtable.bytes()));
            }
            let (_, memtable, _) = last.expect("it was just looked up");
            memtable.insert(op.key, Tag::new(self.next_seq, op.kind), op.value);
            self.next_seq = self.next_seq.plus(1);
        }
        if let Some((_, memtable, before)) = last {
            grown += memtable.bytes() - before;
        }
        self.active_bytes += grown as u64;
    }
}

fn keyspace_gone() -> Error {
    Error::closed("a keyspace of the batch was dropped: its handle")
}

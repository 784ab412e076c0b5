//! Group commit: order, log, memtable, publish, acknowledge, as one critical section.
//!
//! There is one writer. Whoever takes it out of the queue ([`queue`]) leads; the others hand in
//! tickets and wait. The leader takes what is waiting and does for the whole group:
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

use std::sync::Arc;
use std::sync::atomic::Ordering;

use litemap::LiteMap;

use crate::base::batch::{Op, WriteBatch, decode_ops};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::invariant;
use crate::base::key::{KeyspaceId, SeqNo, Tag};
use crate::base::names::FileName;
use crate::db::health::HealthState;
use crate::db::options::Durability;
use crate::db::queue;
use crate::db::store::Store;
use crate::memtable::Memtable;
use crate::wal::Log;

/// A group takes no further batch once it has this many bytes.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// The right to lead.
pub(crate) type Seat<'a> = queue::Seat<'a, Writer, Request>;

/// What waits in the queue.
pub(crate) struct Request {
    batch: WriteBatch,
    durability: Durability,
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

impl Store {
    /// Waits for the right to lead.
    ///
    /// # Errors
    /// `Closed` or `Poisoned`: the writer will not come back.
    pub fn lead(&self) -> Result<Seat<'_>> {
        self.queue.lead(self.waiting())
    }

    fn waiting(&self) -> queue::Waiting<'_> {
        queue::Waiting { env: &*self.env, health: &self.health }
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
        if let Some(mut seat) = self.queue.try_lead_alone(self.waiting()) {
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
        if let Some(mut seat) = self.queue.try_lead_alone(self.waiting()) {
            return self.write_op(seat.writer(), &op, durability);
        }
        let mut batch = WriteBatch::new();
        if op.keyspace != KeyspaceId::DEFAULT {
            batch.bind(self.instance);
        }
        batch.push(op);
        self.commit_queued(batch, durability)
    }

    fn commit_queued(&self, batch: WriteBatch, durability: Durability) -> Result<()> {
        let request = Request { batch, durability };
        self.queue.commit(self.waiting(), request, &mut |seat| self.lead_group(seat))
    }

    /// Commits what waits, up to a group's size.
    fn lead_group(&self, seat: &mut Seat<'_>) {
        let mut bytes = 0;
        let group = seat.take_group(|request| {
            bytes += request.batch.encoded_bytes();
            bytes >= GROUP_BYTES_MAX
        });
        let requests = group.iter().map(|ticket| &ticket.batch);
        let batches: Vec<_> = requests.map(|r| (&r.batch, r.durability)).collect();
        let answers = self.commit_group(seat.writer(), &batches);
        seat.answer(&group, answers);
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
                // Unless a resume has begun another log meanwhile.
                if self.syncer.check().is_err() {
                    self.health.set(HealthState::WriteFenced(error.clone()));
                }
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
        self.structure().end_troubles();
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

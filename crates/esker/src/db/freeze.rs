//! Freezing: when a memtable is full, a new one takes its place and the log goes on in a new
//! segment. Only the leader does it, between two groups.
//!
//! One segment per freeze means that a flush frees whole segments. A writer stands still here, and
//! only here, for background work: when [`FROZEN_MAX`] memtables wait for their flush already.
//! Before that it is slowed down ([`pace`](crate::db::pace)).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::key::{KeyspaceId, SegmentNo};
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::base::sync::OnceLock;
use crate::db::commit::{Rotation, Writer};
use crate::db::health::HealthState;
use crate::db::options::Reserve;
use crate::db::store::{FROZEN_MAX, Frozen, Segment, Store, WrittenBy};
use crate::read::view::View;

/// Below this much free space writes are refused, unless the file system is small.
const LOW_SPACE_BYTES: u64 = 64 << 20;

/// A log over this many memtables makes the keyspace flush that holds the oldest record.
const LOG_MEMTABLES_MAX: u64 = 4;

impl Store {
    /// Freezes memtables until the active ones together are below their limit.
    pub fn make_room(&self, writer: &mut Writer) -> Result<()> {
        self.pace_writes(writer);
        let limit = self.memtable_bytes.load(Ordering::Relaxed);
        while writer.active_bytes >= limit {
            let largest = writer.actives.iter().max_by_key(|(_, memtable)| memtable.bytes());
            let Some(id) = largest.map(|(id, _)| *id) else { return Ok(()) };
            if self.freeze(writer, id)?.is_none() {
                return Ok(());
            }
            if let Some(id) = self.keyspace_that_holds_the_log(limit) {
                self.freeze(writer, id)?;
            }
        }
        Ok(())
    }

    /// Freezes the active memtable of a keyspace; `None` if it holds nothing.
    ///
    /// # Errors
    /// `NoSpace` when the disk is nearly full, `Busy` when flushes keep failing; nothing changed.
    pub fn freeze(&self, writer: &mut Writer, id: KeyspaceId) -> Result<Option<Frozen>> {
        let full = Arc::clone(&writer.actives[&id]);
        if full.is_empty() {
            return Ok(None);
        }
        self.check_space()?;
        self.wait_for_flush_slot()?;
        if writer.next_seq > writer.segment_first_seq {
            self.rotate_log(writer, Rotation::ForFreeze)?;
        }
        full.freeze();
        let fresh = self.settings.memtable();
        let mut structure = self.structure();
        let core = Arc::clone(structure.core(id).expect("an active memtable has a keyspace"));
        let view = core.view();
        let mut frozen = vec![Arc::clone(&full)];
        if !planted::is_on(Bug::FrozenForgotten) {
            frozen.extend(view.frozen.iter().cloned());
        }
        core.publish(
            View {
                active: Arc::clone(&fresh),
                frozen,
                levels: view.levels.clone(),
                clamp: view.clamp.clone(),
            },
            &structure,
        );
        let waiting = Frozen {
            keyspace: core,
            memtable: full,
            through: writer.next_seq.minus_one(),
            flushed: Arc::new(OnceLock::new()),
        };
        structure.frozen.push_back(waiting.clone());
        self.note_backlog(&structure);
        drop(structure);
        writer.active_bytes -= waiting.memtable.bytes() as u64;
        writer.active_bytes += fresh.bytes() as u64;
        writer.actives.insert(id, fresh);
        self.env.notify();
        Ok(Some(waiting))
    }

    /// Goes on in a new log segment.
    pub fn rotate_log(&self, writer: &mut Writer, why: Rotation) -> Result<()> {
        let number = SegmentNo(self.new_file_number());
        let spare = self.spares.take();
        let rotated = match why {
            Rotation::ForFreeze => writer.log.rotate(number, writer.next_seq, spare),
            Rotation::AfterFailure => writer.log.replace(number, writer.next_seq, spare),
        };
        let sealed = match rotated {
            Ok(sealed) => sealed,
            Err(error) => {
                writer.log_orphans.push(FileName::Log(number));
                writer.log_orphans.extend(spare);
                return Err(match why {
                    Rotation::ForFreeze => self.append_failed(writer, error),
                    Rotation::AfterFailure => error,
                });
            }
        };
        let mut structure = self.structure();
        structure.obsolete.append(&mut writer.log_orphans);
        if let Some(last) = structure.segments.back_mut() {
            last.last_seq = Some(writer.next_seq.minus_one());
            last.bytes = Some(sealed.bytes);
        }
        structure.segments.push_back(Segment {
            number,
            last_seq: None,
            bytes: None,
            written_by: WrittenBy::Us,
        });
        writer.segment_first_seq = writer.next_seq;
        Ok(())
    }

    /// Waits until a flush has made room for one more frozen memtable.
    fn wait_for_flush_slot(&self) -> Result<()> {
        let mut outcome = Ok(());
        let mut waits_since = None;
        self.env.wait_until(&mut || {
            let mut structure = self.structure();
            if structure.frozen.len() < FROZEN_MAX {
                return true;
            }
            waits_since.get_or_insert_with(|| self.env.now_nanos());
            let paused = structure.flush_trouble.paused().cloned();
            outcome = match paused {
                Some(error) => {
                    structure.flush_trouble.retry_once();
                    Err(stalled(&error))
                }
                None => self.health.check_reads(),
            };
            outcome.is_err()
        });
        if let Some(since) = waits_since {
            self.pace.stalled(self.env.now_nanos() - since);
        }
        if outcome.is_err() {
            self.env.notify();
        }
        outcome
    }

    /// The keyspace whose unflushed records keep the log longer than it should be.
    fn keyspace_that_holds_the_log(&self, memtable_bytes: u64) -> Option<KeyspaceId> {
        let structure = self.structure();
        let log_bytes: u64 = structure.segments.iter().filter_map(|s| s.bytes).sum();
        if log_bytes <= LOG_MEMTABLES_MAX * memtable_bytes {
            return None;
        }
        let oldest = structure.keyspaces.values().filter_map(|core| {
            let (oldest, _) = core.view().active.seq_range()?;
            Some((oldest, core.id))
        });
        oldest.min().map(|(_, id)| id)
    }

    /// Free space below which writes are refused.
    fn low_space_bytes(&self, total_bytes: u64) -> u64 {
        match self.settings.scale.reserve {
            Reserve::None => 0,
            Reserve::Kept => {
                LOW_SPACE_BYTES.max(2 * self.settings.memtable_bytes).min(total_bytes / 16)
            }
        }
    }

    /// `NoSpace` before the disk is really full, so that flushes and merges still have room.
    fn check_space(&self) -> Result<()> {
        let space = self.disk.space()?;
        let needed = self.low_space_bytes(space.total_bytes);
        if space.free_bytes >= needed {
            return Ok(());
        }
        let error = no_space(space.free_bytes, needed);
        self.health.set(HealthState::NoSpace(error.clone()));
        Err(error)
    }

    /// `Ok` once there is a quarter more free space than writes need.
    pub fn check_space_is_back(&self) -> Result<()> {
        let space = self.disk.space()?;
        let needed = self.low_space_bytes(space.total_bytes);
        let comfortable = (needed + needed / 4).max(1);
        if space.free_bytes >= comfortable {
            return Ok(());
        }
        Err(no_space(space.free_bytes, comfortable))
    }
}

fn no_space(free_bytes: u64, needed_bytes: u64) -> Error {
    Error::new(
        ErrorKind::NoSpace,
        format!("{free_bytes} bytes are free on the disk, writes need {needed_bytes}"),
    )
}

fn stalled(error: &Error) -> Error {
    let kind = match error.kind() {
        ErrorKind::NoSpace => ErrorKind::NoSpace,
        _ => ErrorKind::Busy,
    };
    error.with_kind(kind).context("writes wait for a flush, which keeps failing")
}

//! Floor 6: the store itself. The only floor that publishes a view or writes an edit.
//!
//! - [`store`]: the state behind every handle, and the order of its locks
//! - [`options`]: what may be chosen
//! - [`open`]: create or recover, in named steps; [`close`]: the reverse
//! - [`commit`]: group commit; [`queue`]: who leads one, who waits; [`freeze`]: when a memtable is full
//! - [`install`]: manifest first, then views, then deletions
//! - [`spares`]: log segments that are used again, and space for the log
//! - [`flush`]: a frozen memtable becomes an L0 table
//! - [`compact`]: merges, due or asked for
//! - [`background`]: which job runs next; [`pace`]: how fast writes may come
//! - [`keyspace`], [`snapshot`]: the handles
//! - [`contain`]: damaged tables are kept out of merges, and looked for
//! - [`health`]: what still works after trouble; [`resume`](mod@resume): what ends it; [`memory`]: what is held of the budget
//! - [`stats`], [`check`], [`dump`]: the store's pictures of itself
//!
//! Invariants:
//!
//! - **T1** Sequence numbers are handed out in the order of the log, without gaps.
//! - **T2** Nothing of a group is inserted unless its append, and its sync if it had one, succeeded.
//! - **T3** The visible number moves once per group, after all of it was inserted.
//! - **T4** A flush is installed only if no crash can leave its keyspace ahead of another: the log
//!   is synced up to the end of its last batch, or no memtable holds anything at or below that.
//! - **T5** A job is installed only if all its inputs are still in the version it changes.
//! - **T6** After a resume no operation is in an older log alone: every memtable was empty when the
//!   older segments were left behind.
//!
//! Threads and locks: see [`store`]. What a crash leaves: see [`open`].
//!
//! Cost of a put: one log append (a copy into mapped memory, else a system call), one insert,
//! no allocation that outlives it. Cost of a get: see [`crate::read::get`].
//!
//! Not here: how bytes look (the formats are on floor 2 and 3), what to merge next (floor 5).
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::key::KeyspaceId;
use crate::base::limits;
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::db::commit::Writer;
use crate::db::health::HealthState;
use crate::db::keyspace::{Handle, Keyspace};
use crate::db::options::{IfMissing, Options, Settings};
use crate::db::store::{KeyspaceCore, Store, Structure};
use crate::env::Env;
use crate::env::threads::ThreadEnv;
use crate::read::view::View;
use crate::version::Edit;
use crate::vfs::Disk;
use crate::vfs::os::OsDisk;

pub(crate) mod background;
pub(crate) mod check;
pub(crate) mod close;
pub(crate) mod commit;
pub(crate) mod compact;
pub(crate) mod contain;
pub(crate) mod dump;
pub(crate) mod flush;
pub(crate) mod freeze;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
pub(crate) mod health;
pub(crate) mod install;
pub(crate) mod keyspace;
#[cfg(all(test, loom))]
mod loom_tests;
pub(crate) mod memory;
pub(crate) mod open;
pub(crate) mod options;
pub(crate) mod pace;
pub(crate) mod queue;
pub(crate) mod resume;
#[cfg(all(test, shuttle))]
mod shuttle_tests;
pub(crate) mod snapshot;
pub(crate) mod spares;
pub(crate) mod stats;
pub(crate) mod store;

/// The name of the keyspace that always exists.
pub(crate) const DEFAULT_KEYSPACE: &str = "default";

/// An open store: a cheap handle, `Clone + Send + Sync`.
///
/// It derefs to the [`Keyspace`] `default`, where its reads and writes go. The store is closed
/// when the last handle of any kind is dropped, or by [`close`](Self::close), which reports
/// errors.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let db = esker::Db::open(dir.path())?;
/// db.put("k", "v")?;
/// assert_eq!(db.get("k")?.unwrap(), "v");
/// db.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Db {
    default: Keyspace,
}

impl Deref for Db {
    type Target = Keyspace;
    fn deref(&self) -> &Keyspace {
        &self.default
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Db({})", self.store().disk.describe())
    }
}

impl Db {
    /// Opens the store in the directory `path` with default options, or creates it.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(path)
    }

    pub(crate) fn open_with(path: &Path, options: &Options, missing: IfMissing) -> Result<Self> {
        let settings = options.settle(crate::vfs::machine::memory_bytes())?;
        if missing == IfMissing::Refuse && !crate::vfs::machine::is_directory(path) {
            return Err(Error::invalid(format!("{} holds no store", path.display())));
        }
        Self::open_on(OsDisk::open_dir(path)?, ThreadEnv::new(), settings, missing)
    }

    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        env: Arc<dyn Env>,
        settings: Settings,
        missing: IfMissing,
    ) -> Result<Self> {
        let store = open::open(disk, env, settings, missing)?;
        let core = store.structure().core(KeyspaceId::DEFAULT).cloned();
        let core = core.ok_or_else(|| {
            Error::corrupt("the manifest", 0, "keyspaces", "one called default", "none")
        })?;
        Ok(Self { default: Keyspace::new(Arc::new(Handle { store }), core) })
    }

    /// Opens the keyspace called `name`, or creates it.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that is empty or over 255 bytes; when it has to be created
    /// also what a write may answer.
    ///
    /// # Durability
    /// A created keyspace is on stable storage when this returns.
    pub fn keyspace(&self, name: &str) -> Result<Keyspace> {
        self.store().health.check_reads()?;
        limits::check_keyspace_name(name)?;
        if let Some(core) = self.store().find_keyspace(name) {
            return Ok(Keyspace::new(Arc::clone(self.handle()), core));
        }
        let core = self.store().create_keyspace(name)?;
        Ok(Keyspace::new(Arc::clone(self.handle()), core))
    }

    /// The names of all keyspaces, in order; `default` is one of them.
    pub fn keyspaces(&self) -> Vec<String> {
        let structure = self.store().structure();
        let mut names: Vec<_> = structure.keyspaces.values().map(|k| k.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Drops a keyspace and all that is in it. Handles of it answer `Closed` from then on;
    /// iterators and cursors that are open go on over what they saw.
    ///
    /// # Errors
    /// `InvalidArgument` for `default` and for a name that does not exist; otherwise as a write.
    ///
    /// # Durability
    /// The drop is on stable storage when this returns.
    pub fn drop_keyspace(&self, name: &str) -> Result<()> {
        self.store().health.check_reads()?;
        if name == DEFAULT_KEYSPACE {
            return Err(Error::invalid("the keyspace \"default\" cannot be dropped"));
        }
        self.store().drop_keyspace(name)
    }

    /// Makes every write acknowledged so far survive a power cut.
    ///
    /// # Errors
    /// `Io`: nothing is known about the writes since the last sync; writes are refused until
    /// [`resume`](Self::resume) succeeds or the store is reopened.
    pub fn sync(&self) -> Result<()> {
        self.store().health.check_reads()?;
        match self.store().health.check_writes() {
            // What is in the log needs no space to be made durable.
            Err(error) if error.kind() != ErrorKind::NoSpace => Err(error),
            _ => self.store().sync_log(),
        }
    }

    /// Writes all memtables into tables, and returns when that is done.
    ///
    /// # Errors
    /// As a write.
    pub fn flush(&self) -> Result<()> {
        self.store().flush_all()
    }

    /// Flushes, then merges every level of every keyspace into the deepest one that holds
    /// something, at least L1: what is left has no superseded version that nobody can see.
    ///
    /// # Errors
    /// As a write; `Corruption` or `Io` of a table that was to be merged.
    pub fn compact(&self) -> Result<()> {
        self.store().compact_all()
    }

    /// Flushes, waits for the background work that is due, and merges L0 into L1: afterwards the
    /// store is as small and as quick to read as it gets without rewriting all of it.
    ///
    /// # Errors
    /// As [`compact`](Self::compact).
    pub fn settle(&self) -> Result<()> {
        self.store().settle()
    }

    /// Reads every byte of every table and compares what depends on each other.
    ///
    /// # Errors
    /// The first damage found, as `Corruption` with its place.
    pub fn check(&self) -> Result<()> {
        self.store().check()
    }

    /// Reads every table of the store, past the cache and at 8 MiB a second, to find damage before
    /// somebody needs what it took: for a thread of its own, once a week, say. The store begins none
    /// of its own accord, and each begins at the first table. Returns when it is through;
    /// [`Stats::scrub`](crate::Stats::scrub) shows how far it is. Damage that it finds, as any other,
    /// is then in [`Stats::corrupt_ranges`](crate::Stats::corrupt_ranges).
    ///
    /// # Errors
    /// The first damage found, after all tables were read; `Busy` while another scrub is under way.
    pub fn scrub(&self) -> Result<()> {
        self.store().scrub()
    }

    /// What works now. Cheap: no I/O.
    pub fn health(&self) -> HealthState {
        self.store().health_state()
    }

    /// Ends a trouble whose cause is gone, without reopening: takes writes again where they were
    /// refused after a failed write or sync ([`HealthState::WriteFenced`]), tries background work
    /// again that was given up for a while, looks whether a full disk has space. Does nothing in a
    /// healthy store.
    ///
    /// After a failed sync nobody knows what the log holds, so all that is in memory is written into
    /// tables, and a new log begins. A write that was refused is gone for good then: no crash can
    /// bring it back.
    ///
    /// # Errors
    /// What still fails: the state stays, and this may be called again. `Closed`, `Poisoned`: only
    /// reopening helps.
    ///
    /// # Durability
    /// After `WriteFenced` everything acknowledged is on stable storage when this returns.
    ///
    /// # Examples
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let db = esker::Db::open(dir.path())?;
    /// if let esker::HealthState::WriteFenced(error) = db.health() {
    ///     eprintln!("{error}");
    ///     db.resume()?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume(&self) -> Result<()> {
        self.store().resume()
    }

    /// Closes the store for all its handles: syncs the log, flushes memtables over 1 MiB, leaves
    /// smaller ones in the log. Calls on other handles answer `Closed` from then on; iterators go
    /// on.
    ///
    /// # Errors
    /// What dropping the last handle would have swallowed. Everything acknowledged is in the log
    /// even then.
    pub fn close(self) -> Result<()> {
        self.store().close()
    }
}

impl Store {
    fn find_keyspace(&self, name: &str) -> Option<Arc<KeyspaceCore>> {
        self.structure().keyspaces.values().find(|core| core.name == name).cloned()
    }

    /// A logical change is made by the leader, after a sync of the log, so that a crash never
    /// keeps it and loses a write before it.
    fn create_keyspace(&self, name: &str) -> Result<Arc<KeyspaceCore>> {
        let mut seat = self.lead()?;
        if let Some(core) = self.find_keyspace(name) {
            return Ok(core);
        }
        self.ensure_writable(seat.writer())?;
        self.sync_log()?;
        let memtable = self.settings.memtable();
        let build = |structure: &Structure| {
            let next = structure.state.next_keyspace;
            let after = next.checked_add(1).ok_or_else(|| {
                Error::invalid("4,294,967,295 keyspaces were created in this store")
            })?;
            let edit = Edit {
                created: vec![(KeyspaceId(next), name.to_string())],
                next_keyspace: Some(after),
                ..Edit::default()
            };
            Ok((edit, KeyspaceId(next)))
        };
        let core = self.install(Vec::new(), build, |structure, id| {
            let core = KeyspaceCore::new(
                self.pool.domain(),
                id,
                name.to_string(),
                View::new(Arc::clone(&memtable)),
            );
            structure.keyspaces.insert(id, Arc::clone(&core));
            core
        })?;
        seat.writer().actives.insert(core.id, memtable);
        Ok(core)
    }

    fn drop_keyspace(&self, name: &str) -> Result<()> {
        let mut seat = self.lead()?;
        let core = self
            .find_keyspace(name)
            .ok_or_else(|| Error::invalid(format!("there is no keyspace {name:?}")))?;
        self.ensure_writable(seat.writer())?;
        self.sync_log()?;
        let forgets = planted::is_on(Bug::DropNotLogged);
        let dropped = if forgets { Vec::new() } else { vec![core.id] };
        let edit = Edit { dropped, ..Edit::default() };
        let dropped = self.install(
            Vec::new(),
            |_| Ok((edit, ())),
            |structure, ()| {
                core.dropped.store(true, Ordering::Release);
                structure.keyspaces.remove(&core.id);
                structure.frozen.retain(|frozen| frozen.keyspace.id != core.id);
                self.note_backlog(structure);
                let view = core.view();
                let tables = view.levels.iter().flat_map(|tables| tables.iter());
                structure.obsolete.extend(tables.map(|table| FileName::Table(table.summary().id)));
            },
        );
        if let Err(error) = dropped {
            seat.writer().drop_in_doubt = true;
            // If it fails, the next write tries it again, or is refused.
            let _ = self.take_drop_back(seat.writer());
            return Err(error);
        }
        if let Some(memtable) = seat.writer().actives.remove(&core.id) {
            seat.writer().active_bytes -= memtable.bytes() as u64;
        }
        Ok(())
    }

    /// After a drop that may be durable: the next write to the keyspace would be lost by a crash,
    /// so a new manifest says first that it is still there. A full disk is waited out.
    fn take_drop_back(&self, writer: &mut Writer) -> Result<()> {
        let taken_back = self.install_nothing();
        match &taken_back {
            Ok(()) => writer.drop_in_doubt = false,
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                self.health.set(HealthState::NoSpace(error.clone()));
            }
            Err(error) => self.health.set(HealthState::WriteFenced(error.clone())),
        }
        taken_back
    }
}

//! `Keyspace`: a named, separate ordered map, and all reads and writes of one.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use crate::base::batch::{Op, WriteBatch};
use crate::base::error::Result;
use crate::base::hash::key_hash;
use crate::base::key::SeqNo;
use crate::base::range::{Bounds, KeyBounds};
use crate::base::value::Value;
use crate::db::options::{Durability, WriteOptions};
use crate::db::snapshot::Snapshot;
use crate::db::store::{KeyspaceCore, Store};
use crate::read::get::FoundEntry;
use crate::read::scan::{Cursor, Iter};
use crate::read::view::Sources;
use crate::sstable::{Lookup, Reach, with_pages};

/// Keeps a store open: the last one closes it.
pub(crate) struct Handle {
    pub store: Arc<Store>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.store.close();
    }
}

/// A named, separate ordered map of a store: `Clone + Send + Sync`, and cheap.
///
/// A [`Db`](crate::Db) is the keyspace `default` and derefs to it, so all of these methods work on
/// a `Db`. After [`drop_keyspace`](crate::Db::drop_keyspace) every call answers `Closed`.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let db = esker::Db::open(dir.path())?;
/// let users = db.keyspace("users")?;
/// users.put("ada", "1815")?;
/// assert_eq!(db.get("ada")?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Keyspace {
    handle: Arc<Handle>,
    core: Arc<KeyspaceCore>,
}

impl Keyspace {
    pub(crate) fn new(handle: Arc<Handle>, core: Arc<KeyspaceCore>) -> Self {
        Self { handle, core }
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.handle.store
    }

    pub(crate) fn core(&self) -> &Arc<KeyspaceCore> {
        &self.core
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.store().health.check_reads()?;
        self.core.check_not_dropped()
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Sets `key` to `value`, with the store's durability.
    ///
    /// # Errors
    /// `InvalidArgument` for a key over 65,535 bytes or a value over 64 MiB, before anything
    /// happens. With any other error the write was not acknowledged and stays invisible:
    /// `NoSpace`, `Busy` (flushes keep failing), `ReadOnly` (an earlier write failed), `Io`,
    /// `Closed`, `Poisoned`.
    ///
    /// # Durability
    /// As [`Options::durability`](crate::Options::durability) says.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.write_op(Op::put(self.core.id, key.as_ref(), value.as_ref()))
    }

    /// Removes `key`; one that is not there is no error.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.write_op(Op::delete(self.core.id, key.as_ref()))
    }

    fn write_op(&self, op: Op<'_>) -> Result<()> {
        self.core.check_not_dropped()?;
        self.store().commit_op(op, self.store().settings.durability)
    }

    /// Writes a batch whole or not at all, with the store's durability. Its operations go to the
    /// keyspaces they name, whichever handle writes it.
    ///
    /// # Errors
    /// As [`put`](Self::put); `InvalidArgument` also for a batch over 128 MiB or one with a
    /// keyspace of another store.
    pub fn write(&self, batch: WriteBatch) -> Result<()> {
        self.write_with(batch, WriteOptions::new())
    }

    /// As [`write`](Self::write), with a durability of its own.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_with(&self, batch: WriteBatch, options: WriteOptions) -> Result<()> {
        self.core.check_not_dropped()?;
        let durability: Durability = options.durability.unwrap_or(self.store().settings.durability);
        self.store().commit(&batch, durability)
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// `Corruption` or `Io` of a table that had to be asked, never an older value instead;
    /// `Closed` after a close or a drop.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.get_at(key.as_ref(), None)
    }

    /// Lends the value of `key` to `look` without copying it out of the store's memory.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_with<T>(
        &self,
        key: impl AsRef<[u8]>,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>> {
        let how = &mut Lookup::default();
        let found = self.find(key.as_ref(), None, how, |entry| {
            (!entry.tag.is_delete()).then(|| Lent::from(entry))
        })?;
        // Not under the epoch: `look` may take as long as it likes.
        Ok(found.flatten().map(|lent| lent.show(look)))
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        let how = &mut Lookup::default();
        let is_put = self.find(key.as_ref(), None, how, |entry| !entry.tag.is_delete())?;
        Ok(is_put.unwrap_or(false))
    }

    /// The values of several keys, in their order, all as of one moment.
    ///
    /// # Errors
    /// As [`get`](Self::get), for the whole call.
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value>>> {
        self.check()?;
        let (view, seq) = self.core.view_at(|| self.store().visible_seq());
        let keys: Vec<K> = keys.into_iter().collect();
        view.multi_get(self.store().pool.domain(), &keys, seq)
    }

    pub(crate) fn get_at(&self, key: &[u8], seq: Option<SeqNo>) -> Result<Option<Value>> {
        let how = &mut Lookup::default();
        Ok(self.find(key, seq, how, |entry| entry.to_value())?.flatten())
    }

    /// Looks for the newest entry of `key` at `seq`, or at what is visible now, and takes from it
    /// what is wanted. `take` runs under the epoch, once or, if a page had to be read, again: it is
    /// short, and waits for nothing.
    pub(crate) fn find<T>(
        &self,
        key: &[u8],
        seq: Option<SeqNo>,
        how: &mut Lookup,
        take: impl Fn(&FoundEntry<'_>) -> T,
    ) -> Result<Option<T>> {
        self.check()?;
        let (store, hash) = (self.store(), key_hash(key));
        let domain = store.pool.domain();
        let seq_now = || seq.unwrap_or_else(|| store.visible_seq());
        {
            let guard = domain.pin();
            let (view, seq) = self.core.peek_at(&guard, seq_now);
            let mut counts = *how;
            if let Ok(found) = view.find(key, hash, seq, Reach::new(&guard), &mut counts) {
                *how = counts;
                return Ok(found.as_ref().map(take));
            }
        }
        let (view, seq) = self.core.view_at(seq_now);
        with_pages(domain, how, |reach, how| {
            let found = view.find(key, hash, seq, reach, how)?;
            Ok(found.as_ref().map(&take))
        })
    }

    /// The entries in `range`, in order, from either end, as of now.
    ///
    /// Nothing is read before the first item. Later writes are not seen. The iterator owns what
    /// it needs: it may outlive the store's handle and go to another thread.
    pub fn range(&self, range: impl KeyBounds) -> Iter {
        self.scan(range.to_bounds(), None)
    }

    /// All entries, in order, from either end, as of now.
    pub fn iter(&self) -> Iter {
        self.scan(Bounds::all(), None)
    }

    /// The entries whose keys begin with `prefix`.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Iter {
        self.scan(Bounds::from_prefix(prefix.as_ref()), None)
    }

    /// A cursor over all entries, as of now.
    pub fn cursor(&self) -> Cursor {
        self.cursor_at(None)
    }

    /// All keyspaces as they are now, to be read later; reads of this one by default.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(self.clone())
    }

    pub(crate) fn scan(&self, bounds: Bounds, seq: Option<SeqNo>) -> Iter {
        self.scan_sources(bounds, seq, Sources::All)
    }

    pub(crate) fn scan_sources(
        &self,
        bounds: Bounds,
        seq: Option<SeqNo>,
        sources: Sources,
    ) -> Iter {
        if let Err(error) = self.check() {
            return Iter::failed(error);
        }
        let seq_now = || seq.unwrap_or_else(|| self.store().visible_seq());
        let (view, seq) = self.core.view_at(seq_now);
        Iter::new(view, seq, bounds, sources)
    }

    pub(crate) fn cursor_at(&self, seq: Option<SeqNo>) -> Cursor {
        if let Err(error) = self.check() {
            return Cursor::failed(error);
        }
        let seq_now = || seq.unwrap_or_else(|| self.store().visible_seq());
        let (view, seq) = self.core.view_at(seq_now);
        Cursor::new(view, seq, Bounds::all())
    }
}

/// A value that is about to be lent to a closure of the user's.
enum Lent {
    /// In this thread's buffer.
    Short(Vec<u8>),
    Long(Value),
}

/// Values up to this length are copied into a buffer that each thread keeps.
const LENT_BYTES_MAX: usize = 1 << 10;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl From<&FoundEntry<'_>> for Lent {
    fn from(entry: &FoundEntry<'_>) -> Self {
        let value = entry.value();
        if value.len() > LENT_BYTES_MAX {
            return Self::Long(entry.to_value().unwrap_or_default());
        }
        let mut buffer = BUFFER.take();
        buffer.clear();
        buffer.extend_from_slice(value);
        Self::Short(buffer)
    }
}

impl Lent {
    fn show<T>(self, look: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Short(buffer) => {
                let seen = look(&buffer);
                BUFFER.set(buffer);
                seen
            }
            Self::Long(value) => look(&value),
        }
    }
}

impl WriteBatch {
    /// Sets `key` to `value` in `keyspace`.
    pub fn put_in(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.bind(keyspace.store().instance);
        self.push_put(keyspace.core.id, key.as_ref(), value.as_ref());
    }

    /// Removes `key` from `keyspace`.
    pub fn delete_in(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>) {
        self.bind(keyspace.store().instance);
        self.push_delete(keyspace.core.id, key.as_ref());
    }
}

impl fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyspace({:?})", self.name())
    }
}

//! Snapshots: the store as it was at one commit, for as long as the handle lives.
//!
//! A snapshot registers its sequence number in the same section in which flushes and merges copy
//! the list (G4): whoever copied before it was registered keeps every newest version, and those
//! are what it sees; whoever copies later keeps what it needs.

use std::fmt;
use std::sync::{Arc, PoisonError};

use litemap::LiteMap;

use crate::base::error::{Error, Result};
use crate::base::key::SeqNo;
use crate::base::planted::{self, Bug};
use crate::base::range::{Bounds, KeyBounds};
use crate::base::sync::Mutex;
use crate::base::value::Value;
use crate::db::keyspace::{Handle, Keyspace};
use crate::db::store::Store;
use crate::read::scan::{Cursor, Iter};

/// The sequence numbers that live snapshots read at, each with how many do.
#[derive(Default)]
pub(crate) struct Snapshots {
    live: Mutex<LiteMap<SeqNo, usize>>,
}

impl Snapshots {
    /// Registers what is visible now.
    fn register(&self, store: &Store) -> SeqNo {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let seq = store.visible_seq();
        let seq = if planted::is_on(Bug::SnapshotSeesMore) { seq.plus(1) } else { seq };
        *live.entry(seq).or_default() += 1;
        seq
    }

    fn release(&self, seq: SeqNo) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = live.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                live.remove(&seq);
            }
        }
    }

    /// The registered numbers, ascending: what a flush or a merge must keep versions for.
    pub fn copy(&self) -> Vec<SeqNo> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    pub fn count(&self) -> usize {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

/// A number that stays registered while anybody holds it.
struct Registration {
    handle: Arc<Handle>,
    seq: SeqNo,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.handle.store.snapshots.release(self.seq);
    }
}

/// All keyspaces of a store as they were at one commit.
///
/// Cheap to take and to clone. While one lives, merges keep the versions that it sees, so an old
/// one costs disk space.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let db = esker::Db::open(dir.path())?;
/// db.put("k", "old")?;
/// let snapshot = db.snapshot();
/// db.put("k", "new")?;
/// assert_eq!(snapshot.get("k")?.unwrap(), "old");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Snapshot {
    registration: Arc<Registration>,
    keyspace: Keyspace,
    /// Why reads are refused: the keyspace is one of another store.
    refused: Option<Error>,
}

impl Snapshot {
    pub(crate) fn take(keyspace: Keyspace) -> Self {
        let handle = Arc::clone(keyspace.handle());
        let seq = handle.store.snapshots.register(&handle.store);
        Self { registration: Arc::new(Registration { handle, seq }), keyspace, refused: None }
    }

    /// The same snapshot, of another keyspace. Reads of a keyspace of another store answer
    /// `InvalidArgument`.
    #[must_use]
    pub fn keyspace(&self, keyspace: &Keyspace) -> Self {
        let same = keyspace.handle().store.instance == self.registration.handle.store.instance;
        Self {
            registration: Arc::clone(&self.registration),
            keyspace: keyspace.clone(),
            refused: (!same).then(|| Error::invalid("the keyspace belongs to another store")),
        }
    }

    /// The sequence number that it reads at.
    pub fn seq(&self) -> u64 {
        self.registration.seq.get()
    }

    /// The value of `key` at that time.
    ///
    /// # Errors
    /// `Corruption` or `Io` of a table that had to be asked; `Closed` after a close.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.refused.clone().map_or(Ok(()), Err)?;
        self.keyspace.get_at(key.as_ref(), Some(self.registration.seq))
    }

    /// Whether `key` had a value at that time.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// The entries in `range` at that time, in order, from either end.
    pub fn range(&self, range: impl KeyBounds) -> Iter {
        self.scan(range.to_bounds())
    }

    /// All entries at that time.
    pub fn iter(&self) -> Iter {
        self.scan(Bounds::all())
    }

    /// The entries at that time whose keys begin with `prefix`.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Iter {
        self.scan(Bounds::from_prefix(prefix.as_ref()))
    }

    /// A cursor over the entries at that time.
    pub fn cursor(&self) -> Cursor {
        match &self.refused {
            Some(error) => Cursor::failed(error.clone()),
            None => self.keyspace.cursor_at(Some(self.registration.seq)),
        }
    }

    fn scan(&self, bounds: Bounds) -> Iter {
        match &self.refused {
            Some(error) => Iter::failed(error.clone()),
            None => self.keyspace.scan(bounds, Some(self.registration.seq)),
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({} at {})", self.keyspace.name(), self.registration.seq)
    }
}

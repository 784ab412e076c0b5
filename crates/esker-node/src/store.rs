//! The node's store: what requests ask of the engine, and which refusal its errors become.
//!
//! Everything that this crate knows about the engine's interface is in this file.

use std::io::Write;
use std::ops::Bound;

use esker::internals::{self, CompactionReport, FlushedTable, Located, TableLookup};
use esker::{Db, KeyBounds, Keyspace, LevelInfo, Options, Stats, Value, WriteBatch};

use crate::refusal::Refusal;
use crate::temp::TempDir;
use crate::{MEMTABLE_BYTES_DEFAULT, NodeError, NodeOptions};

/// The keyspace of lin-kv.
const LIN_KV: &str = "lin-kv";

/// An open store. Writes are handed to the operating system before they return; whether they are
/// also synced before they are answered is the session's to decide, with [`Store::sync`].
pub(crate) struct Store {
    db: Db,
    lin_kv: Option<Keyspace>,
    /// What is removed once the store is closed: where it lies, without a `--data-dir`.
    temp: Option<TempDir>,
}

impl Store {
    pub(crate) fn open(options: &NodeOptions, notices: &mut impl Write) -> Result<Self, NodeError> {
        let temp = match options.data_dir {
            Some(_) => None,
            None => Some(TempDir::new().map_err(|error| {
                NodeError::new("cannot make a directory for a temporary store", &error)
            })?),
        };
        let path = match (&options.data_dir, &temp) {
            (Some(path), _) => path.clone(),
            (None, Some(temp)) => temp.path().join("store"),
            (None, None) => unreachable!("one of the two was just chosen"),
        };
        let db = Options::new()
            .memtable_bytes(options.memtable_bytes.unwrap_or(MEMTABLE_BYTES_DEFAULT))
            .durability(esker::Durability::Os)
            .open(&path)
            .map_err(|error| {
                NodeError::new(format_args!("cannot open the store {}", path.display()), &error)
            })?;
        if let Some(temp) = &temp {
            let path = temp.path().display();
            let _ = writeln!(
                notices,
                "esker node: a temporary store in {path}, removed at exit; --data-dir DIR keeps one"
            );
        }
        Ok(Self { db, lin_kv: None, temp })
    }

    /// One that somebody else opened.
    #[cfg(test)]
    pub(crate) fn over(db: Db) -> Self {
        Self { db, lin_kv: None, temp: None }
    }

    pub(crate) fn close(self) -> Result<(), NodeError> {
        let Self { db, lin_kv, temp } = self;
        drop(lin_kv);
        let closed = db.close();
        drop(temp);
        closed.map_err(|error| NodeError::new("cannot close the store", &error))
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Value>, Refusal> {
        self.db.get(key).map_err(of_read)
    }

    pub(crate) fn put(&self, key: &str, value: &str) -> Result<(), Refusal> {
        self.db.put(key, value).map_err(of_write)
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), Refusal> {
        self.db.delete(key).map_err(of_write)
    }

    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), Refusal> {
        self.db.write(batch).map_err(of_write)
    }

    /// Brings every write so far to stable storage.
    pub(crate) fn sync(&self) -> Result<(), Refusal> {
        self.db.sync().map_err(of_write)
    }

    pub(crate) fn range(
        &self,
        bounds: &Bounds,
    ) -> impl DoubleEndedIterator<Item = Result<(Value, Value), Refusal>> {
        let range = bounds.range().into_iter();
        range.flat_map(|range| self.db.range(range)).map(|entry| entry.map_err(of_read))
    }

    pub(crate) fn locate(&self, key: &str) -> Result<Located, Refusal> {
        internals::locate(&self.db, key.as_bytes()).map_err(of_read)
    }

    pub(crate) fn memtable_get(&self, key: &str) -> Result<Option<Value>, Refusal> {
        internals::memtable_get(&self.db, key.as_bytes()).map_err(of_read)
    }

    pub(crate) fn memtable_range(
        &self,
        bounds: &Bounds,
    ) -> impl Iterator<Item = Result<(Value, Value), Refusal>> {
        let range = bounds.range().into_iter();
        let entries = range.flat_map(|range| internals::memtable_range(&self.db, range));
        entries.map(|entry| entry.map_err(of_read))
    }

    /// The size of the memtable that takes the writes.
    pub(crate) fn memtable_bytes(&self) -> u64 {
        internals::memtable_bytes(&self.db)
    }

    pub(crate) fn set_memtable_bytes(&self, bytes: u64) -> Result<(), Refusal> {
        internals::set_memtable_bytes(&self.db, bytes).map_err(of_write)
    }

    pub(crate) fn flush(&self) -> Result<Option<FlushedTable>, Refusal> {
        internals::flush(&self.db).map_err(of_write)
    }

    /// `None` if no readable table has this name.
    pub(crate) fn table_lookup(
        &self,
        name: &str,
        key: &str,
    ) -> Result<Option<TableLookup>, Refusal> {
        internals::table_lookup(&self.db, name, key.as_bytes()).map_err(of_read)
    }

    pub(crate) fn compact_level(&self, source: usize) -> Result<CompactionReport, Refusal> {
        internals::compact_level(&self.db, source).map_err(of_write)
    }

    pub(crate) fn levels(&self) -> Vec<LevelInfo> {
        self.db.levels()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.db.stats()
    }

    pub(crate) fn lin_kv_get(&mut self, key: &[u8]) -> Result<Option<Value>, Refusal> {
        self.lin_kv()?.get(key).map_err(of_read)
    }

    pub(crate) fn lin_kv_put(&mut self, key: &[u8], value: &str) -> Result<(), Refusal> {
        self.lin_kv()?.put(key, value).map_err(of_write)
    }

    /// The keyspace of lin-kv, made when it is first asked for.
    fn lin_kv(&mut self) -> Result<&Keyspace, Refusal> {
        if self.lin_kv.is_none() {
            self.lin_kv = Some(self.db.keyspace(LIN_KV).map_err(of_write)?);
        }
        Ok(self.lin_kv.as_ref().expect("it was just made"))
    }
}

/// Keys at or above `start` and below `end`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl Bounds {
    pub(crate) fn new(start: &str, end: Option<&str>) -> Self {
        Self { start: start.into(), end: end.map(Into::into) }
    }

    /// Those of the keys that begin with `prefix`.
    pub(crate) fn within_prefix(self, prefix: &str) -> Self {
        let Some((last, head)) = prefix.as_bytes().split_last() else { return self };
        // No byte of UTF-8 is 0xff, so the last one can always be counted up.
        let behind = [head, &[last + 1]].concat();
        Self {
            start: self.start.max(prefix.into()),
            end: Some(self.end.map_or(behind.clone(), |end| end.min(behind))),
        }
    }

    /// The same for the engine; `None` if no key can lie inside.
    fn range(&self) -> Option<impl KeyBounds> {
        let end = self.end.as_deref();
        (end.is_none_or(|end| &self.start[..] < end)).then(|| {
            (Bound::Included(&self.start[..]), end.map_or(Bound::Unbounded, Bound::Excluded))
        })
    }
}

fn of_read(error: esker::Error) -> Refusal {
    Refusal::of_read(&error)
}

fn of_write(error: esker::Error) -> Refusal {
    Refusal::of_write(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_narrows_both_bounds() {
        let bounds = |start, end| Bounds::new(start, end).within_prefix("ab");
        assert_eq!(bounds("", None), Bounds::new("ab", Some("ac")));
        assert_eq!(bounds("abc", Some("abd")), Bounds::new("abc", Some("abd")));
        assert!(bounds("z", None).range().is_none());
        assert!(bounds("", Some("ab")).range().is_none());
        assert_eq!(Bounds::new("b", None).within_prefix(""), Bounds::new("b", None));
        assert!(Bounds::new("b", Some("b")).range().is_none());
        assert!(Bounds::new("b", Some("c")).range().is_some());
    }
}

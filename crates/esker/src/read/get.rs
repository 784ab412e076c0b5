//! Point lookup: newest source first, and the first version found decides.
//!
//! ```text
//! active memtable -> frozen ones, newest first -> L0, newest first -> L1 -> ... -> L6
//! ```
//!
//! Sources are ordered in time: everything in one is newer than everything about the same key in
//! the next. So the first version at or below the read's sequence number is the newest of all, and
//! a tombstone ends the search as a value does (R3). At most one table of each deeper level can
//! hold the key.
//!
//! Cost: no allocation but the answer's, one hash, one filter line per table whose range holds
//! the key, one block of each whose filter said maybe.

use crate::base::error::Result;
use crate::base::hash::key_hash;
use crate::base::key::{SeqNo, Tag};
use crate::base::value::Value;
use crate::read::view::{Place, View};
use crate::sstable::Lookup;

/// The newest entry of a key that a read may see.
#[derive(Clone, Debug)]
pub struct FoundEntry {
    /// Its sequence number and kind.
    pub tag: Tag,
    /// Its value; empty for a tombstone.
    pub value: Value,
    /// Where it lies.
    pub place: Place,
}

impl FoundEntry {
    /// The value, unless the entry is a tombstone.
    pub fn into_value(self) -> Option<Value> {
        (!self.tag.is_delete()).then_some(self.value)
    }
}

impl View {
    /// The newest entry of `key` at or below `seq`, tombstones included. `how` says whether
    /// filters are heeded and counts what was looked at.
    ///
    /// # Errors
    /// `Corruption` or `Io` of any source that had to be asked: never an older version instead.
    pub fn get(&self, key: &[u8], seq: SeqNo, how: &mut Lookup) -> Result<Option<FoundEntry>> {
        if let Some((tag, value)) = self.get_in_memtables(key, seq) {
            let value = Value::copy_from(value);
            return Ok(Some(FoundEntry { tag, value, place: Place::Memtable }));
        }
        self.get_in_tables(key, seq, how)
    }

    /// As [`get`](Self::get), of the tables alone.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_in_tables(
        &self,
        key: &[u8],
        seq: SeqNo,
        how: &mut Lookup,
    ) -> Result<Option<FoundEntry>> {
        let hash = key_hash(key);
        let entry = |level, (tag, value)| FoundEntry { tag, value, place: Place::Level(level) };
        for table in self.levels[0].iter().filter(|table| table.summary().range.contains(key)) {
            if let Some(found) = table.get(key, hash, seq, how)? {
                return Ok(Some(entry(0, found)));
            }
        }
        for level in 1..self.levels.len() {
            if let Some(table) = self.table_for(level, key)
                && let Some(found) = table.get(key, hash, seq, how)?
            {
                return Ok(Some(entry(level, found)));
            }
        }
        Ok(None)
    }

    /// As [`get`](Self::get), of the memtables alone.
    pub fn get_in_memtables(&self, key: &[u8], seq: SeqNo) -> Option<(Tag, &[u8])> {
        let hash = key_hash(key);
        self.memtables().find_map(|memtable| memtable.get(key, hash, seq))
    }
}

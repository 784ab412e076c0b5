//! `Level`: the tables of one level, and the fences that lead a key to its table.
//!
//! The tables of a deeper level are disjoint and in order, so a key is in the first one that does
//! not end before it. What is searched is one column of 8-byte heads, of the largest key of each
//! table behind what they all begin with; tables, and their keys in memory of their own, are looked
//! at only where heads are equal, and to see that the table found does not begin after the key.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::base::key::{head, shared_prefix_bytes};
use crate::base::simd::kernels;
use crate::sstable::Table;

/// The tables of one level: L0 newest first, deeper ones by range. Cheap to clone.
#[derive(Clone)]
pub struct Level {
    tables: Arc<[Arc<Table>]>,
    fences: Arc<Fences>,
}

/// Where the tables of a level end.
#[derive(Default)]
struct Fences {
    /// How many bytes all largest keys begin with.
    prefix_bytes: usize,
    /// The head of each largest key, behind those.
    heads: Box<[u64]>,
}

impl Level {
    fn new(tables: Arc<[Arc<Table>]>) -> Self {
        let ends = || tables.iter().map(|table| table.summary().range.hi());
        let first = ends().next().unwrap_or_default();
        let shared = ends().map(|end| shared_prefix_bytes(first, end)).min();
        let prefix_bytes = shared.unwrap_or_default();
        let heads = ends().map(|end| head(&end[prefix_bytes..])).collect();
        Self { fences: Arc::new(Fences { prefix_bytes, heads }), tables }
    }

    /// The table of a sorted level (L1 or deeper) that may hold `key`.
    #[inline]
    pub fn table_for(&self, key: &[u8]) -> Option<&Arc<Table>> {
        let table = self.tables.get(self.first_not_before(key))?;
        (table.summary().range.lo() <= key).then_some(table)
    }

    /// The first table of a sorted level whose largest key is at or after `key`.
    pub fn first_not_before(&self, key: &[u8]) -> usize {
        let Some(first) = self.tables.first() else { return 0 };
        let prefix_bytes = self.fences.prefix_bytes;
        if prefix_bytes > 0 {
            let prefix = &first.summary().range.hi()[..prefix_bytes];
            let (front, _) = key.split_at(key.len().min(prefix_bytes));
            match front.cmp(prefix) {
                std::cmp::Ordering::Less => return 0,
                std::cmp::Ordering::Equal => {}
                std::cmp::Ordering::Greater => return self.tables.len(),
            }
        }
        let key_head = head(&key[prefix_bytes..]);
        let mut at = kernels().heads_below(&self.fences.heads, key_head);
        // Equal heads decide nothing.
        while self.fences.heads.get(at) == Some(&key_head)
            && self.tables[at].summary().range.hi() < key
        {
            at += 1;
        }
        at
    }
}

impl Default for Level {
    fn default() -> Self {
        Self { tables: Arc::new([]), fences: Arc::default() }
    }
}

impl FromIterator<Arc<Table>> for Level {
    fn from_iter<I: IntoIterator<Item = Arc<Table>>>(tables: I) -> Self {
        Self::new(tables.into_iter().collect())
    }
}

impl Deref for Level {
    type Target = [Arc<Table>];
    fn deref(&self) -> &[Arc<Table>] {
        &self.tables
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tables.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::{KeyspaceId, Kind, SeqNo, TableId, Tag};
    use crate::cache::FramePool;
    use crate::sstable::{Compression, TableSettings, TableWriter};
    use crate::vfs::sim::SimDisk;

    /// A level of tables with these smallest and largest keys.
    fn level(ranges: &[(&str, &str)]) -> Level {
        let (disk, pool) = (SimDisk::new(), FramePool::for_tests(1 << 20));
        let settings = TableSettings {
            block_bytes: 256,
            filter_bits_per_key: 10,
            compression: Compression::None,
        };
        let table = |(n, (lo, hi)): (usize, &(&str, &str))| {
            let id = TableId(n as u64 + 1);
            let mut writer =
                TableWriter::create(&*disk, 1, KeyspaceId::DEFAULT, id, settings).unwrap();
            writer.add(lo.as_bytes(), Tag::new(SeqNo::new(2), Kind::Put), b"").unwrap();
            writer.add(hi.as_bytes(), Tag::new(SeqNo::new(1), Kind::Put), b"").unwrap();
            let summary = writer.finish().unwrap();
            Table::open(&*disk, 1, id, summary.bytes, &pool).unwrap()
        };
        ranges.iter().enumerate().map(table).collect()
    }

    #[test]
    fn a_key_is_led_to_the_one_table_that_may_hold_it() {
        let levels = [
            vec![("b", "d"), ("f", "f"), ("g", "zz")],
            vec![("user:aaaaaaaa1", "user:aaaaaaaa3"), ("user:aaaaaaaa5", "user:aaaaaaaa7")],
            vec![("a", "aaaaaaaaa1"), ("aaaaaaaaa2", "aaaaaaaaa3"), ("aaaaaaaaa4", "aaaaaaaaa5")],
            vec![("k", "k")],
            vec![],
        ];
        let keys = [
            "",
            "a",
            "aaaaaaaaa",
            "aaaaaaaaa0",
            "aaaaaaaaa1",
            "aaaaaaaaa11",
            "aaaaaaaaa2",
            "aaaaaaaaa3",
            "aaaaaaaaa4",
            "aaaaaaaaa5",
            "aaaaaaaaa6",
            "b",
            "c",
            "d",
            "e",
            "f",
            "ff",
            "g",
            "k",
            "ka",
            "user",
            "user:",
            "user:aaaaaaaa1",
            "user:aaaaaaaa2",
            "user:aaaaaaaa4",
            "user:aaaaaaaa6",
            "user:aaaaaaaa7",
            "user:aaaaaaaa8",
            "userz",
            "zz",
            "zzz",
        ];
        for ranges in levels {
            let level = level(&ranges);
            for key in keys {
                let expected = ranges.iter().position(|(lo, hi)| *lo <= key && key <= *hi);
                let found = level.table_for(key.as_bytes()).map(|table| table.summary().id.0 - 1);
                assert_eq!(found, expected.map(|n| n as u64), "{key:?} in {ranges:?}");
                let after = ranges.iter().filter(|(_, hi)| *hi < key).count();
                assert_eq!(level.first_not_before(key.as_bytes()), after, "{key:?}");
            }
        }
    }
}

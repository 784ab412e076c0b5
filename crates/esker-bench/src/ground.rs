//! What the threads of a workload work on: one [`Ground`] together, a [`Worker`] each.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use esker::Db;

use crate::clock::Clock;
use crate::entries::{Key, Records, ValueWriter, Values, rank, stamp, stamp_of};
use crate::error::{Error, Result};
use crate::home::Contents;
use crate::random::{Permutation, Random};
use crate::settings::Settings;
use crate::workload::Workload;
use crate::zipf::Zipf;

/// What the threads of a workload share.
pub struct Ground<'a> {
    pub db: &'a Db,
    pub settings: &'a Settings,
    pub values: &'a Values,
    pub workload: Workload,
    pub records: Records,
    /// Records that are there when the workload begins, or that its fill makes.
    pub present: u64,
    /// An order of these, and a law over them.
    pub order: Permutation,
    pub zipf: Zipf,
    pub inserts: Inserts,
    /// The sum of the stamps of all entries that a full scan found.
    pub stamps_found: AtomicU64,
    /// Set when the readers are done, for the writer beside them.
    pub stop: AtomicBool,
}

impl<'a> Ground<'a> {
    /// The ground of `workload`, on a store with these contents.
    pub fn new(
        db: &'a Db,
        settings: &'a Settings,
        values: &'a Values,
        workload: Workload,
        contents: &Contents,
    ) -> Self {
        let (filled, present) = if workload.fills() {
            let entries = workload.entries(settings, 0);
            (entries, entries)
        } else {
            (contents.filled, contents.records())
        };
        Self {
            db,
            settings,
            values,
            workload,
            records: Records::new(filled),
            present,
            order: Permutation::new(present, settings.seed),
            zipf: Zipf::new(present),
            inserts: Inserts::new(present, settings.threads),
            stamps_found: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// The sum of the stamps of all records that are there.
    pub fn stamps_expected(&self) -> u64 {
        let mut key = Key::new(self.settings.key_bytes);
        let stamps = (0..self.present).map(|record| stamp_of(key.set(self.records.number(record))));
        stamps.fold(0, u64::wrapping_add)
    }

    /// What a store answered is not what was written.
    pub fn wrong(&self, what: &str, key: &[u8]) -> Error {
        Error::Wrong(format!("{}: {what} at key {}", self.workload, String::from_utf8_lossy(key)))
    }
}

/// New records: each number is handed out once, and readers learn up to where all are written.
///
/// A thread notes, before it takes a number, that from there on something may be missing, and
/// strikes the note when its write has returned. Who reads the notes after the counter sees the
/// note of every number that the counter has passed and that is not written.
#[derive(Debug)]
pub struct Inserts {
    next: AtomicU64,
    unwritten: Vec<AtomicU64>,
}

impl Inserts {
    fn new(present: u64, threads: usize) -> Self {
        let unwritten = (0..threads).map(|_| AtomicU64::new(u64::MAX)).collect();
        Self { next: AtomicU64::new(present), unwritten }
    }

    /// Writes a new record with `write`.
    pub fn insert<T>(&self, thread: usize, write: impl FnOnce(u64) -> Result<T>) -> Result<T> {
        let note = &self.unwritten[thread];
        note.store(self.next.load(Ordering::SeqCst), Ordering::SeqCst);
        let written = write(self.next.fetch_add(1, Ordering::SeqCst))?;
        note.store(u64::MAX, Ordering::SeqCst);
        Ok(written)
    }

    /// Below this number all records are written.
    pub fn written(&self) -> u64 {
        let next = self.next.load(Ordering::SeqCst);
        let unwritten = self.unwritten.iter().map(|note| note.load(Ordering::SeqCst));
        unwritten.fold(next, u64::min)
    }
}

/// One thread's tools.
pub struct Worker<'a> {
    pub ground: &'a Ground<'a>,
    pub thread: usize,
    /// Which of the workload's operations it does.
    pub share: Range<u64>,
    pub random: Random,
    pub key: Key,
    pub value: ValueWriter<'a>,
    pub clock: Clock<'a>,
}

impl<'a> Worker<'a> {
    /// The worker of `thread`, whose clock starts now.
    pub fn new(
        ground: &'a Ground<'a>,
        thread: usize,
        share: Range<u64>,
        done: &'a AtomicU64,
    ) -> Self {
        let stream = (ground.workload as u64) << 32 | thread as u64;
        let mut random = Random::new(ground.settings.seed, stream);
        Self {
            ground,
            thread,
            share,
            key: Key::new(ground.settings.key_bytes),
            value: ground.values.writer(&mut random),
            random,
            clock: Clock::start(done),
        }
    }

    /// A record that is there, all equally likely.
    pub fn any_record(&mut self) -> u64 {
        self.random.below(self.ground.present)
    }

    /// A record by Zipf's law, the likely ones spread over all.
    pub fn zipf_record(&mut self) -> u64 {
        self.ground.order.at(self.ground.zipf.draw(&mut self.random))
    }

    /// Gets a record that is there, and checks its value.
    pub fn get(&mut self, record: u64) -> Result<()> {
        let key = self.key.set(self.ground.records.number(record));
        match self.ground.db.get(key)? {
            Some(value) if self.ground.values.fits(stamp_of(key), &value) => Ok(()),
            Some(_) => Err(self.ground.wrong("another value", key)),
            None => Err(self.ground.wrong("nothing", key)),
        }
    }

    /// Puts a record with its next value.
    pub fn put(&mut self, record: u64) -> Result<()> {
        let key = self.key.set(self.ground.records.number(record));
        Ok(self.ground.db.put(key, self.value.next(key))?)
    }

    /// Puts a record that was not there.
    pub fn insert(&mut self) -> Result<()> {
        let ground = self.ground;
        ground.inserts.insert(self.thread, |record| {
            if record >= ground.records.max() {
                let text = "more insertions than this store has keys for: fill it again before";
                return Err(Error::Usage(text.into()));
            }
            self.put(record)
        })
    }

    /// Seeks a record that is there and looks at `entries` entries from it on.
    pub fn scan(&mut self, record: u64, entries: u64) -> Result<()> {
        let ground = self.ground;
        let sought = self.key.set(ground.records.number(record));
        let mut cursor = ground.db.cursor();
        let mut on_entry = cursor.seek(sought)?;
        if cursor.key() != Some(sought) {
            return Err(ground.wrong("a seek that missed its key", sought));
        }
        let mut before = 0;
        for _ in 0..entries {
            if !on_entry {
                break;
            }
            before = check_entry(ground, &cursor, before)?.rank;
            on_entry = cursor.next()?;
        }
        if !on_entry {
            let last = self.key.set(4 * (ground.records.filled() - 1));
            if Some(before) < rank(last) {
                return Err(ground.wrong("a scan that ended before the last key", last));
            }
        }
        Ok(())
    }
}

/// An entry that a cursor stands on.
pub struct Seen {
    pub rank: u128,
    pub stamp: u64,
}

/// Checks the entry that `cursor` stands on: its value, and that it lies behind the rank `before`.
#[inline]
pub fn check_entry(ground: &Ground<'_>, cursor: &esker::Cursor, before: u128) -> Result<Seen> {
    let (Some(key), Some(value)) = (cursor.key(), cursor.value()) else {
        return Err(ground.wrong("a cursor without an entry", b"(none)"));
    };
    let Some(rank) = rank(key).filter(|_| key.len() == ground.settings.key_bytes) else {
        return Err(ground.wrong("a key of another length", key));
    };
    if rank <= before {
        return Err(ground.wrong("an entry out of order", key));
    }
    let stamp = stamp(rank);
    if !ground.values.fits(stamp, value) {
        return Err(ground.wrong("another value", key));
    }
    Ok(Seen { rank, stamp })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_never_learn_of_a_record_before_it_is_written() {
        let inserts = Inserts::new(10, 4);
        let written: Vec<AtomicBool> = (0..4010).map(|i| AtomicBool::new(i < 10)).collect();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (inserts, written) = (&inserts, &written);
                scope.spawn(move || {
                    for _ in 0..1000 {
                        let done = inserts.insert(thread, |record| {
                            written[record as usize].store(true, Ordering::SeqCst);
                            Ok(())
                        });
                        done.unwrap();
                        let last = inserts.written() as usize - 1;
                        assert!(written[last].load(Ordering::SeqCst), "{last}");
                    }
                });
            }
        });
        assert_eq!(inserts.written(), 4010);
        assert!(written.iter().all(|written| written.load(Ordering::SeqCst)));
    }
}

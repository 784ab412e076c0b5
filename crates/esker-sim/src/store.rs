//! What the simulation needs of a store and of the machine under it: a thin face, so that the
//! engine ([`crate::engine`]) and the deliberately wrong stores of the tests can stand behind it.

use std::fmt;

use crate::fault::{Effect, Fault, Rot};
use crate::ops::{Durability, Move, Policy, Space, Span};
use crate::reaction::Health;

/// Why an operation was refused, as far as the simulation tells reasons apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The call was wrong.
    InvalidArgument,
    /// The handle's store or keyspace is no more.
    Closed,
    /// Bytes on disk are not what was written.
    Corruption,
    /// Anything else.
    Other,
}

/// A refused operation.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What kind of refusal.
    pub reason: Reason,
    /// What the store said.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What operations answer.
pub type Answer<T> = Result<T, Failure>;

/// A key and its value, as read.
pub type Entry = (Vec<u8>, Vec<u8>);

/// A machine: a disk with one store's directory.
pub trait Machine: Sized {
    /// The store that runs on it.
    type Store: Store;

    /// A machine with an empty directory, on which stores have these options; `None`: the seed of
    /// each open decides.
    fn new(options: Option<u8>) -> Self;

    /// Opens the store; `seed` decides the order of background work.
    fn open(&self, seed: u64) -> Answer<Self::Store>;

    /// The machine as a crash at this moment may leave it. The same policy and seed give the
    /// same machine; what runs on the old one cannot touch the new one.
    fn crash(&self, policy: Policy, seed: u64) -> Self;

    /// From here on these faults strike, and no others.
    fn inject(&self, faults: &[Fault]);

    /// How many faults struck since they were injected, a strike included.
    fn struck(&self) -> u64;

    /// From here on this strike counts operations, and no other.
    fn arm(&self, strike: Strike);

    /// Ends the strike, and tells what it did and saw.
    fn disarm(&self) -> Disarmed;

    /// Whether its store, which is open, cannot be opened once more.
    fn refuses_a_second_store(&self) -> bool;

    /// Whether a strike made it stand still: only a crash goes on from there.
    fn stands_still(&self) -> bool;

    /// Lets the strike go on counting on another machine.
    fn hand_over(&self, to: &Self);

    /// From here on so many more bytes fit on the disk; without a number, all that may come.
    fn limit(&self, free_bytes: Option<u64>);

    /// How many choices a crash has now: [`Policy::Chosen`] takes that many bits of its seed.
    fn crash_choices(&self) -> u64;

    /// The files of a class and their lengths, by name.
    fn files(&self, class: &str) -> Vec<(String, u64)>;

    /// Damages a file behind the store's back: flips a bit of the byte at `offset`, or cuts the
    /// file off there.
    fn damage(&self, file: &str, rot: Rot, offset: u64);

    /// What is wrong with the directory of a store that is not open.
    fn verify(&self) -> Answer<Vec<Finding>>;

    /// Another machine, with the store that can be put together from what is left, and what of it is
    /// said to be lost.
    fn repair(&self) -> Answer<(Self, Vec<Lost>)>;

    /// Takes a table out of a store that is not open, and tells what goes with it.
    fn quarantine(&self, table: &str) -> Answer<Lost>;

    /// A hash over every operation the disk has seen.
    fn digest(&self) -> u64;
}

/// Something that is wrong with a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What, for a person.
    pub text: String,
    /// Whether keys may be lost by it.
    pub takes_keys: bool,
}

/// Keys that may be lost. What is not known is `None`: it may be any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Of which keyspace.
    pub space: Option<Space>,
    /// The first of them.
    pub first: Option<Vec<u8>>,
    /// The last of them.
    pub last: Option<Vec<u8>>,
}

impl Lost {
    /// Whether a key is one of them.
    pub fn covers(&self, space: &Space, key: &[u8]) -> bool {
        self.space.as_ref().is_none_or(|lost| lost == space)
            && self.first.as_deref().is_none_or(|first| first <= key)
            && self.last.as_deref().is_none_or(|last| key <= last)
    }
}

/// Faults at counted operations, or a look at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strike {
    /// What happens to which operations.
    At {
        /// Each with the operations up to it, itself included, from the one before it on.
        falls: Vec<(u64, Effect)>,
        /// Whether operations are noted, with their sites, once all have fallen.
        looks: bool,
    },
    /// Operations are noted.
    Watch(Look),
}

/// How closely operations are noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// What was done to which class of files.
    AtOperations,
    /// And where in the store.
    AtSites,
}

/// What a strike did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disarmed {
    /// How often it struck.
    pub fell: usize,
    /// The operations that it saw, if it looked.
    pub met: Vec<Met>,
}

/// An operation of the disk that was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// One of [`DISK_OPS`](crate::fault::DISK_OPS).
    pub op: &'static str,
    /// One of [`FILE_CLASSES`](crate::fault::FILE_CLASSES).
    pub class: Option<&'static str>,
    /// Where in the store.
    pub site: Option<String>,
}

/// A change inside a batch.
pub struct Put<'a, S> {
    /// The keyspace's handle.
    pub space: &'a S,
    /// Which key.
    pub key: &'a [u8],
    /// The value; none to delete.
    pub value: Option<&'a [u8]>,
}

/// An open store. Everything a client can call, and the pump of its background work.
pub trait Store {
    /// A handle of a keyspace.
    type Handle;
    /// A snapshot.
    type Snapshot;
    /// An iterator, asked from both ends.
    type Iterator: Iterator<Item = Answer<Entry>> + DoubleEndedIterator;
    /// A cursor.
    type Cursor: Cursor;

    /// Opens or creates a keyspace.
    fn keyspace(&self, name: &Space) -> Answer<Self::Handle>;
    /// Ends a keyspace.
    fn drop_keyspace(&self, name: &Space) -> Answer<()>;
    /// The keyspaces there are.
    fn keyspaces(&self) -> Answer<Vec<Space>>;

    /// Sets one key.
    fn put(&self, at: &Self::Handle, key: &[u8], value: &[u8], how: Durability) -> Answer<()>;
    /// Removes one key.
    fn delete(&self, at: &Self::Handle, key: &[u8], how: Durability) -> Answer<()>;
    /// Writes a batch.
    fn write(&self, batch: &[Put<'_, Self::Handle>], how: Durability) -> Answer<()>;

    /// Reads one key.
    fn get(&self, at: &Self::Handle, key: &[u8]) -> Answer<Option<Vec<u8>>>;
    /// Whether a key is there.
    fn contains(&self, at: &Self::Handle, key: &[u8]) -> Answer<bool>;
    /// Reads several keys.
    fn multi_get(&self, at: &Self::Handle, keys: &[&[u8]]) -> Answer<Vec<Option<Vec<u8>>>>;
    /// The entries of a range. The span's keyspace is the handle's.
    fn range(&self, at: &Self::Handle, span: &Span) -> Self::Iterator;
    /// The entries whose keys begin with `prefix`.
    fn prefix(&self, at: &Self::Handle, prefix: &[u8]) -> Self::Iterator;
    /// A cursor that stands nowhere yet.
    fn cursor(&self, at: &Self::Handle) -> Self::Cursor;
    /// A cursor in a snapshot.
    fn cursor_at(&self, at: &Self::Handle, then: &Self::Snapshot) -> Self::Cursor;

    /// A snapshot of all keyspaces.
    fn snapshot(&self) -> Answer<Self::Snapshot>;
    /// Reads one key in a snapshot.
    fn get_at(
        &self,
        at: &Self::Handle,
        key: &[u8],
        then: &Self::Snapshot,
    ) -> Answer<Option<Vec<u8>>>;
    /// The entries of a range in a snapshot.
    fn range_at(&self, at: &Self::Handle, span: &Span, then: &Self::Snapshot) -> Self::Iterator;

    /// Writes all memtables to tables.
    fn flush(&self) -> Answer<()>;
    /// Merges everything into one level.
    fn compact(&self) -> Answer<()>;
    /// Merges all of a level into the next.
    fn compact_level(&self, at: &Self::Handle, level: u8) -> Answer<()>;
    /// Flushes and runs all work that is due.
    fn settle(&self) -> Answer<()>;
    /// Makes everything so far durable.
    fn sync(&self) -> Answer<()>;
    /// The store's own check of itself.
    fn check(&self) -> Answer<()>;
    /// What works now, as it says.
    fn health(&self) -> Health;
    /// Takes writes again, if what kept it from that is gone.
    fn resume(&self) -> Answer<()>;
    /// Closes it. Handles stay, and answer `Closed`.
    fn close(&self) -> Answer<()>;

    /// Runs one step of background work; false if none is due.
    fn pump_one(&self) -> bool;
    /// What it has done so far.
    fn figures(&self) -> Figures;
    /// The log's last file, and how much of it the last sync made durable; `None`: all of it.
    fn log_synced(&self) -> Option<(String, u64)> {
        None
    }
}

/// A position in a keyspace.
pub trait Cursor {
    /// Moves; a cursor that stands nowhere stays there under `next` and `prev`.
    fn go(&mut self, to: &Move) -> Answer<()>;
    /// Where it stands.
    fn entry(&self) -> Option<Entry>;
}

/// What a store says it has done, over its whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Memtables written to tables.
    pub flushes: u64,
    /// Merges of tables.
    pub compactions: u64,
    /// Of these, those within L0.
    pub l0_merges: u64,
    /// Steps of sweeps of L0.
    pub sweep_steps: u64,
    /// Tables now, by level, over all keyspaces.
    pub tables: [usize; 7],
    /// Levels now that have compressed tables, over all keyspaces.
    pub compressed_levels: usize,
}

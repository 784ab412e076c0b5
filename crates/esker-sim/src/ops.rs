//! The operation language: what a simulated client can do to a store, as data and as text.
//!
//! Every operation prints itself as one line and is read back from it ([`crate::parse`]), so a
//! failing seed is a script, a script can be cut down and edited, and a regression is ten lines:
//!
//! ```text
//! seed 7                          # of the environment's scheduling
//! keyspace users
//! put users:a v1 sync             # keyspace:key value, and how durable
//! batch put b v2~4000 | delete users:a | os     # v2~4000: 4000 bytes that begin with "v2"
//! snapshot s1
//! scan a..=c @s1 ffb              # twice from the front, once from the back, and so on
//! cursor c1 users:
//! move c1 seek a | next | seek_back "\xff"
//! crash lose-all-unsynced 7
//! ```
//!
//! An operation that refers to a snapshot, an iterator, a cursor or a keyspace that is not there
//! does nothing, so that any subset of a script's lines is a script again.

use std::ops::Bound;

use crate::fault::{Effect, Fault, Rot};
use crate::reaction::Health;

/// A history to run: the operations, and the seed of the environment that schedules background
/// work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// What decides the order of background steps.
    pub seed: u64,
    /// Under which options; `None`: the seeds of the environments decide. See
    /// [`OPTION_SETS`](crate::engine::OPTION_SETS).
    pub options: Option<u8>,
    /// What the client does.
    pub ops: Vec<Op>,
}

/// One operation of a client, of the machine it runs on, or of the background work.
#[expect(missing_docs, reason = "each line shows what the fields are")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// `put users:a v1 sync`
    Put { at: Place, value: Filler, durability: Durability },
    /// `delete users:a`
    Delete { at: Place, durability: Durability },
    /// `batch put a v1 | delete users:b | sync`
    Batch { writes: Vec<Write>, durability: Durability },
    /// `get users:a @s1`
    Get { at: Place, snapshot: Option<Slot> },
    /// `contains users:a`
    Contains { at: Place },
    /// `multi_get users: a b c`
    MultiGet { space: Space, keys: Vec<Text> },
    /// `scan users:a..c @s1 fb`
    Scan { span: Span, snapshot: Option<Slot>, walk: Walk },
    /// `prefix users:a fb`
    Prefix { at: Place, walk: Walk },
    /// `snapshot s1`
    Snapshot { slot: Slot },
    /// `iterator i1 users:a..c @s1`
    Iterator { slot: Slot, span: Span, snapshot: Option<Slot> },
    /// `step i1 fbf`: once per letter
    Step { slot: Slot, walk: Walk },
    /// `cursor c1 users: @s1`
    Cursor { slot: Slot, space: Space, snapshot: Option<Slot> },
    /// `move c1 seek a | next | prev`
    Move { slot: Slot, moves: Vec<Move> },
    /// `drop s1`, `drop i1`, `drop c1`
    Drop { held: Held, slot: Slot },
    /// `keyspace users`: opens or creates
    Keyspace { name: Space },
    /// `drop_keyspace users`
    DropKeyspace { name: Space },
    /// `flush`
    Flush,
    /// `compact`
    Compact,
    /// `compact_level users: 2`: all of a level into the next
    CompactLevel { space: Space, level: u8 },
    /// `settle`
    Settle,
    /// `sync`
    Sync,
    /// `images 256`: every disk that a crash could leave now, if there are no more, else so many
    Images { most: u64 },
    /// `check`: everything there is, compared with the model in every way
    Check,
    /// `resume`: end what trouble can be ended without a restart
    Resume,
    /// `health healthy no-space`: it must say one of these
    Health { one_of: Vec<Health> },
    /// `pump 12`: so many steps of background work
    Pump { steps: u32 },
    /// `pump idle`: all background work that is due
    PumpIdle,
    /// `reopen close` or `reopen drop`
    Reopen { how: Ending },
    /// `crash lose-all-unsynced 7`
    Crash { policy: Policy, seed: u64 },
    /// `fault nth 3 append log eio`
    Fault(Fault),
    /// `fault off`
    FaultOff,
    /// `strike 12 eio then 3 enospc`: the twelfth operation of the disk from here on, and the third
    /// behind it
    Strike { falls: Vec<(u64, Effect)> },
    /// `anew`: another machine with an empty directory
    Anew,
    /// `capacity 3000`: so many more bytes fit on the disk
    Capacity { free_bytes: u64 },
    /// `capacity off`: enough for all that may come
    CapacityOff,
    /// `rot log flip 123`
    Rot { class: &'static str, rot: Rot, place: u64 },
}

/// A write inside a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// `put a v1`
    Put(Place, Filler),
    /// `delete a`
    Delete(Place),
}

/// A keyspace and a key in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where.
    pub space: Space,
    /// Which key.
    pub key: Text,
}

/// A keyspace by name. Names are letters, digits and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Space(pub String);

impl Space {
    /// The keyspace that always exists.
    pub const DEFAULT: &'static str = "default";

    /// The default keyspace.
    pub fn default_space() -> Self {
        Self(Self::DEFAULT.to_owned())
    }

    /// Whether this is the default keyspace.
    pub fn is_default(&self) -> bool {
        self.0 == Self::DEFAULT
    }
}

/// A range of keys of one keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where.
    pub space: Space,
    /// `a..`, `(a..` leaves `a` itself out
    pub start: Bound<Text>,
    /// `..c`, `..=c`
    pub end: Bound<Text>,
}

impl Span {
    /// All of a keyspace.
    pub fn all(space: Space) -> Self {
        Self { space, start: Bound::Unbounded, end: Bound::Unbounded }
    }
}

/// Bytes. Bare where that can be read back, else in quotes with `\xNN`, and `\{300}x` for 300 times
/// the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(pub Vec<u8>);

/// The bytes of a value: a text, or a text and a length that it is filled up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filler {
    /// How it begins.
    pub text: Text,
    /// How long it is, if longer than the text.
    pub len: Option<u32>,
}

impl Filler {
    /// A value that is just `text`.
    pub fn text(text: impl Into<Vec<u8>>) -> Self {
        Self { text: Text(text.into()), len: None }
    }

    /// The bytes. What fills it up does not repeat, so that bytes read from the wrong place of
    /// the right file do not look right.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.text.0.clone();
        let Some(len) = self.len else { return bytes };
        let mut state = xxhash_rust::xxh3::xxh3_64(&bytes) | 1;
        while bytes.len() < len as usize {
            // xorshift64: never 0 if it did not start there.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.push(b'a' + (state % 26) as u8);
        }
        bytes
    }
}

/// What a write waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// What the store is set to, which is [`Durability::Os`].
    #[default]
    Default,
    /// Handed to the operating system.
    Os,
    /// On stable storage.
    Sync,
}

/// Number of a held snapshot, iterator or cursor.
pub type Slot = u8;

/// What a client can hold on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// `s1`
    Snapshot,
    /// `i1`
    Iterator,
    /// `c1`
    Cursor,
}

/// From which end an iterator is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `f`: `next`
    Front,
    /// `b`: `next_back`
    Back,
}

/// The ends that an iterator is asked from, in order; a scan begins again after the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk(pub Vec<End>);

impl Walk {
    /// From front to back.
    pub fn forward() -> Self {
        Self(vec![End::Front])
    }

    /// From back to front.
    pub fn backward() -> Self {
        Self(vec![End::Back])
    }
}

/// A move of a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// `seek a`: to the first key at or after it
    Seek(Text),
    /// `seek_back a`: to the last key at or before it
    SeekBack(Text),
    /// `next`
    Next,
    /// `prev`
    Prev,
}

/// How a store is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By `close()`.
    Close,
    /// By dropping the last handle.
    Drop,
}

/// What a crash leaves of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// The process dies, the machine goes on: everything written is there, synced or not.
    Kill,
    /// Everything that was not synced is gone.
    LoseAllUnsynced,
    /// Everything is kept.
    KeepAll,
    /// A prefix of all operations in the order they were made.
    GlobalPrefix,
    /// A prefix of each file's operations.
    PerFilePrefix,
    /// Each page of 4 KiB old or new.
    RandomPages,
    /// Each sector of 512 bytes old or new.
    RandomSectors,
    /// Each sector old, new, or mixed.
    TornSectors,
    /// Files have their new lengths, and zeros.
    LengthWithoutData,
    /// Any subset of the directory's operations.
    DirectorySubset,
    /// The newest operations are kept, the oldest lost.
    NewestKept,
    /// Names and lengths are kept, contents lost.
    MetadataKept,
    /// Contents are kept, names lost.
    DataKept,
    /// Removals happened, everything else did not.
    RemovesKept,
    /// A bit of the seed for each change of a name, each sector and each length.
    Chosen,
}

impl Policy {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::Kill, "kill"),
        (Self::LoseAllUnsynced, "lose-all-unsynced"),
        (Self::KeepAll, "keep-all"),
        (Self::GlobalPrefix, "global-prefix"),
        (Self::PerFilePrefix, "per-file-prefix"),
        (Self::RandomPages, "random-pages"),
        (Self::RandomSectors, "random-sectors"),
        (Self::TornSectors, "torn-sectors"),
        (Self::LengthWithoutData, "length-without-data"),
        (Self::DirectorySubset, "directory-subset"),
        (Self::NewestKept, "newest-kept"),
        (Self::MetadataKept, "metadata-kept"),
        (Self::DataKept, "data-kept"),
        (Self::RemovesKept, "removes-kept"),
        (Self::Chosen, "chosen"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(policy, _)| *policy == self);
        found.expect("all policies have names").1
    }
}

impl Op {
    /// Whether it only reads, and so goes on while the disk is full.
    pub fn is_read(&self) -> bool {
        match self {
            Self::Get { .. }
            | Self::Contains { .. }
            | Self::MultiGet { .. }
            | Self::Scan { .. }
            | Self::Prefix { .. }
            | Self::Snapshot { .. }
            | Self::Iterator { .. }
            | Self::Step { .. }
            | Self::Cursor { .. }
            | Self::Move { .. }
            | Self::Drop { .. }
            | Self::Check => true,
            Self::Put { .. }
            | Self::Delete { .. }
            | Self::Batch { .. }
            | Self::Keyspace { .. }
            | Self::DropKeyspace { .. }
            | Self::Flush
            | Self::Compact
            | Self::CompactLevel { .. }
            | Self::Settle
            | Self::Sync
            | Self::Resume
            | Self::Health { .. }
            | Self::Pump { .. }
            | Self::PumpIdle
            | Self::Reopen { .. }
            | Self::Crash { .. }
            | Self::Fault(_)
            | Self::FaultOff
            | Self::Strike { .. }
            | Self::Anew
            | Self::Images { .. }
            | Self::Capacity { .. }
            | Self::CapacityOff
            | Self::Rot { .. } => false,
        }
    }
}

//! Faults of the machine, as lines of a script.
//!
//! ```text
//! fault nth 3 append log eio          # the third append to a log segment from here on fails
//! fault from 1 create any enospc      # no file can be created any more
//! fault percent 5 read table flip-bit
//! fault nth 1 append log short 10     # writes 10 bytes, then fails
//! fault off
//! strike 12 eio                       # the twelfth operation from here on fails, whatever it is
//! strike 12 eio then 3 enospc         # and so does the third one behind it
//! capacity 3000                       # so many more bytes fit on the disk
//! capacity off
//! rot log flip 123                    # see below
//! ```
//!
//! Faults hold across crashes, until `fault off` or until they made an open fail. While they
//! strike, an operation may be refused, and a read may answer an error but nothing wrong; until
//! the store is reopened without them, that is.
//!
//! Each fault of a `strike` falls once. It goes on counting across reopens and crashes, until it has fallen or
//! until `fault off`; 0 is never.
//!
//! While the disk is limited by `capacity`, writes may be refused and reads must go on; after
//! `capacity off` writes must succeed again without a restart.
//!
//! `rot` kills the process, damages one file of a copy of the disk, and looks what the store makes
//! of it; then the script goes on with the undamaged disk. Number and file length decide the place.

use std::fmt;

/// A rule: when, which operation, on which files, and what happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it strikes, among the operations that it concerns.
    pub when: When,
    /// The operation, by its name in [`DISK_OPS`]; `None` for any.
    pub op: Option<&'static str>,
    /// The files, by their name in [`FILE_CLASSES`]; `None` for any.
    pub class: Option<&'static str>,
    /// What happens instead.
    pub effect: Effect,
}

/// What can be done to a disk.
pub const DISK_OPS: [&str; 15] = [
    "create",
    "open",
    "rename",
    "remove",
    "list",
    "sync-dir",
    "sync-existing",
    "lock",
    "space",
    "append",
    "seal",
    "sync",
    "read",
    "trim",
    "allocate",
];

/// Which files a store has.
pub const FILE_CLASSES: [&str; 7] =
    ["current", "lock", "reserve", "manifest", "log", "table", "spare"];

/// When a rule strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// `nth 3`: the third time, once.
    Nth(u64),
    /// `from 3`: the third time and ever after.
    From(u64),
    /// `percent 5`: five times in a hundred.
    Percent(u64),
}

/// What happens instead of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It fails with an input/output error.
    Eio,
    /// It fails because the disk is full.
    Enospc,
    /// It fails because the process has too many files open.
    Emfile,
    /// It fails because the file system has become read-only.
    Erofs,
    /// An append writes so many bytes and fails.
    Short(u64),
    /// A sync fails and loses what it should have made durable.
    SyncLost,
    /// A read finds a bit flipped.
    FlipBit,
    /// A read finds zeros.
    Zero,
    /// A read finds what stands in another place.
    Misdirect,
    /// The machine stands still: this and all later operations fail, until a crash.
    Stop,
}

/// How a file is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// One bit is flipped.
    Flip,
    /// The end is missing.
    Cut,
    /// All of it is.
    Gone,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (op, class) = (self.op.unwrap_or("any"), self.class.unwrap_or("any"));
        write!(f, "{} {op} {class} {}", self.when, self.effect)
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nth(n) => write!(f, "nth {n}"),
            Self::From(n) => write!(f, "from {n}"),
            Self::Percent(n) => write!(f, "percent {n}"),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eio => f.write_str("eio"),
            Self::Enospc => f.write_str("enospc"),
            Self::Emfile => f.write_str("emfile"),
            Self::Erofs => f.write_str("erofs"),
            Self::Short(bytes) => write!(f, "short {bytes}"),
            Self::SyncLost => f.write_str("sync-lost"),
            Self::FlipBit => f.write_str("flip-bit"),
            Self::Zero => f.write_str("zero"),
            Self::Misdirect => f.write_str("misdirect"),
            Self::Stop => f.write_str("stop"),
        }
    }
}

impl fmt::Display for Rot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flip => "flip",
            Self::Cut => "cut",
            Self::Gone => "gone",
        })
    }
}

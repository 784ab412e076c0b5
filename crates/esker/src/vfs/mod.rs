//! Floor 1a: the only door to files.
//!
//! A [`Disk`] is one directory. It is poorer than POSIX on purpose: no seek, no overwrite, no
//! truncation of a live file, no reopening for append. Every operation left out is a crash state
//! that does not exist. Names are [`FileName`]s, so no path can be built from a user's input and a
//! fault plan can aim at a class of files.
//!
//! - [`machine`]: how much memory there is
//! - [`os`]: a directory of the operating system
//! - `mapped`: its log segments, as memory: an append is a copy, not a system call
//! - [`sim`]: a simulated disk that knows what was synced, and can be crashed
//! - [`faults`]: rules that make chosen operations of the simulated disk fail
//! - [`strike`]: one fault at one counted operation, across crashes
//!
//! What the operations promise, on either disk:
//!
//! | call | after a process crash | after a power cut |
//! | --- | --- | --- |
//! | `append` returned | the bytes are there | any part of each 512-byte sector may be |
//! | `sync` returned `n` | | the first `n` bytes are there, if the file's name is |
//! | `create`, `rename`, `remove` returned | they happened | any subset of them, in order per name |
//! | `sync_dir` returned | | all of them |
//!
//! A file made by `create_log` may be longer than what was appended: space allocated ahead, or the
//! bytes of an earlier life. What they are means nothing, and a crash may leave any of them.
//!
//! A `sync` that failed must never be believed again: the file stays in doubt until it is
//! replaced (after a failed fsync Linux marks the pages clean, and the next fsync succeeds).
//! Both disks enforce it: every later `sync` of that file fails too.
//!
//! Invariants, of both disks:
//!
//! - D1: a file that refused an append, or was sealed, takes no further append
//! - D2: a seal never lengthens a file
//! - D3: what was synced is on every disk that a crash can leave: bytes of files, and names
//! - D4: one writer at a time writes to a file, also when it has got a new name
//!
//! Threads: all methods may be called from any thread. No lock of the engine is held over them
//! except the ones that [`crate::db`] names.

use std::fmt;
use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::names::FileName;

#[cfg(any(test, feature = "internals"))]
pub mod faults;
pub mod machine;
mod mapped;
pub mod os;
#[cfg(any(test, feature = "internals"))]
pub mod sim;
pub mod strike;

/// One directory that holds a store.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates an empty file that must not exist yet and opens it for appending.
    fn create(&self, name: FileName) -> Result<Box<dyn AppendFile>>;

    /// Creates a log segment, which will take about `bytes` bytes, and opens it for appending: an
    /// empty file, or `spare` under the new name, a former segment whose bytes stay there until
    /// they are written over. Neither may be open for appending.
    ///
    /// After an error the file may be there under either name, or not at all.
    fn create_log(
        &self,
        name: FileName,
        spare: Option<FileName>,
        bytes: u64,
    ) -> Result<Box<dyn AppendFile>>;

    /// Opens an existing file for reading. The reader keeps working after the file is removed.
    fn open(&self, name: FileName) -> Result<Arc<dyn ReadFile>>;

    /// Renames `from` to `to`, replacing `to` atomically if it exists.
    fn rename(&self, from: FileName, to: FileName) -> Result<()>;

    /// Removes a file. One that is not there is no error: the removal may be a repetition.
    fn remove(&self, name: FileName) -> Result<()>;

    /// What the directory holds, in the order of names.
    fn list(&self) -> Result<Listing>;

    /// Makes all creations, renames and removals so far durable.
    fn sync_dir(&self) -> Result<()>;

    /// Makes the present bytes of a file durable that an earlier process wrote.
    fn sync_existing(&self, name: FileName) -> Result<()>;

    /// Takes the directory for this process until the guard is dropped. A second taker, in this
    /// process or another, gets `Locked`.
    fn lock(&self) -> Result<Box<dyn LockGuard>>;

    /// Free and total bytes of the file system, as far as this user may fill it.
    fn space(&self) -> Result<Space>;

    /// How a person would call the directory.
    fn describe(&self) -> String;
}

/// A file that is being written. Dropping it closes it and loses nothing that was appended.
pub trait AppendFile: Send {
    /// Appends all of `bytes`, or fails; then part of them may be there, and only
    /// [`seal`](Self::seal) may follow.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// How many bytes were appended by calls that returned `Ok`.
    fn len(&self) -> u64;

    /// Whether nothing was appended yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A hint: what was appended may begin its way to the device, so that a sync to come has less
    /// to wait for. Promises nothing.
    fn write_behind(&mut self) {}

    /// Something that syncs this file while appends go on beside it. It outlives the file.
    fn sync_handle(&self) -> Arc<dyn SyncFile>;

    /// Whether somebody should call [`SyncFile::make_room`], so that later appends find space that
    /// is ready. Says so once for each piece that is missing.
    fn wants_room(&mut self) -> bool {
        false
    }

    /// Gives back what is allocated behind the last append; appends go on. A crash may leave
    /// either length.
    fn trim(&mut self) -> Result<()>;

    /// Cuts off what lies behind `len`, as the file's last operation: the remains of a failed
    /// append, or space allocated ahead. A crash may leave either length.
    fn seal(&mut self, len: u64) -> Result<()>;
}

/// What can be done to one file beside its writer.
pub trait SyncFile: Send + Sync {
    /// Makes durable what was appended before the call; returns how many bytes that is. After an
    /// error every later call fails. Does not make the file's name durable.
    fn sync(&self) -> Result<u64>;

    /// Makes a bounded piece of space ready for appends to come, and says whether more is missing.
    /// A failure harms nobody: who appends meets it again if it lasts.
    fn make_room(&self) -> Result<Room> {
        Ok(Room::Enough)
    }
}

/// Whether a log segment has enough space ready ahead of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nothing is left to do for now.
    Enough,
    /// Call again.
    Missing,
}

/// A file open for reading.
pub trait ReadFile: Send + Sync + fmt::Debug {
    /// Fills `out` from `offset` on; fewer bytes there are an error of kind `Corruption`.
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<()>;

    /// The file's length when it was opened.
    fn len(&self) -> u64;

    /// Whether it was empty when it was opened.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its name when it was opened.
    fn name(&self) -> FileName;
}

/// Holds a directory's lock until dropped.
pub trait LockGuard: Send + Sync + fmt::Debug {}

/// What a directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Files with names of ours, and their lengths, in the order of [`FileName`].
    pub files: Vec<(FileName, u64)>,
    /// Everything else, as it is called: left alone and reported.
    pub foreign: Vec<String>,
}

/// Space of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What may still be filled.
    pub free_bytes: u64,
    /// All there is.
    pub total_bytes: u64,
}

/// A read up to `end` of a file that ends before.
fn past_the_end(name: FileName, offset: u64, end: u64, len: u64) -> Error {
    Error::corrupt(
        name,
        offset,
        "file length",
        format_args!("at least {end} bytes"),
        format_args!("{len} bytes"),
    )
}

#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod tests;

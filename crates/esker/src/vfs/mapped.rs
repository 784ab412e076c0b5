//! Log segments of the operating system's disk, as memory.
//!
//! A segment is a file that is allocated ahead of its end and mapped; an append copies its bytes
//! into the kernel's cache, some 40 ns where `write` takes 500 to 900 (see
//! docs/decisions/0005-log-segments-are-mapped-and-used-again.md). That is as durable as a
//! `write`: the bytes are the system's, whatever becomes of the process, and `fdatasync` covers
//! them.
//!
//! ```text
//! 0             end            ready           allocated             of the mapping
//! |   appended   |   populated   |   allocated   |   addresses only   |
//! ```
//!
//! - Space is allocated by `fallocate` itself before anything is stored, so a full disk is an
//!   error of the append and no signal. Only file systems that keep blocks where they were
//!   allocated are trusted with that: see [`may_map`]
//! - [`Pages::make_room`] allocates and populates ahead of the writer, a step at a time; a writer
//!   that finds no space allocates a step itself
//! - The pages stay mapped when the file becomes a spare, so that its next life finds them ready
//! - The first 8 bytes of an append are stored last, as one aligned store: what they validate is
//!   there when they are
//!
//! The hazard: when the device fails to read a page of the log back that was evicted, the process
//! gets SIGBUS. docs/guarantees.md states it.

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::Room;
use crate::base::invariant;

/// Space is allocated and made ready in such steps.
const STEP_BYTES: u64 = 1 << 20;

/// The most that is made ready ahead of a segment's end.
const AHEAD_BYTES_MAX: u64 = 4 << 20;

const PAGE_BYTES: u64 = 4096;

/// Whether the files of this directory's file system keep the blocks that `fallocate` gave them:
/// then a store into them needs no more space, whatever happens on the disk. (ext2 and ext3 share
/// ext4's number and refuse `fallocate`.)
#[cfg(target_os = "linux")]
pub(super) fn may_map(directory: impl AsFd) -> bool {
    const EXT4: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    const TMPFS: u64 = 0x0102_1994;
    #[allow(clippy::unnecessary_cast, reason = "its type differs between architectures")]
    let magic = rustix::fs::fstatfs(directory).map(|stat| stat.f_type as u64);
    magic.is_ok_and(|magic| [EXT4, XFS, TMPFS].contains(&magic))
}

/// Other systems give no such promise.
#[cfg(not(target_os = "linux"))]
pub(super) fn may_map(_directory: impl AsFd) -> bool {
    false
}

/// A file whose bytes are mapped, through all its lives.
pub(super) struct Pages {
    file: Arc<OwnedFd>,
    /// Stores below this need no space. Shrinks only by the writer.
    allocated: AtomicU64,
    /// Stores below this fault no page in, as far as the system has not written it back since.
    ready: AtomicU64,
    /// Whether a [`Stores`] of it exists (D4).
    has_writer: AtomicBool,
    /// Held while the file grows or shrinks, and while its pages are populated.
    mapping: Mutex<Arc<Mapping>>,
}

impl Pages {
    /// Maps a file that is `len` bytes long, all of them allocated, and will take about `bytes`.
    pub fn map(file: Arc<OwnedFd>, len: u64, bytes: u64) -> rustix::io::Result<Arc<Self>> {
        let mapping = Mapping::new(&file, mapping_bytes(len.max(bytes)))?;
        Ok(Arc::new(Self {
            file,
            allocated: AtomicU64::new(len),
            ready: AtomicU64::new(0),
            has_writer: AtomicBool::new(false),
            mapping: Mutex::new(Arc::new(mapping)),
        }))
    }

    /// The file.
    pub fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// Begins a life of the file: whoever has the answer alone stores into it.
    pub fn writer(self: &Arc<Self>) -> Stores {
        let taken = self.has_writer.swap(true, Ordering::AcqRel);
        invariant!(D4, !taken, "a second writer of one log segment");
        self.ready.store(0, Ordering::Relaxed);
        let mapping = Arc::clone(&self.lock());
        Stores { pages: Arc::clone(self), mapping, limit: 0, asks_at: 0 }
    }

    /// Allocates and populates one step ahead of `end`.
    pub fn make_room(&self, end: u64) -> rustix::io::Result<Room> {
        let mapping = self.lock();
        let goal = end + ahead_bytes(end);
        let ready = self.ready.load(Ordering::Relaxed).max(end / PAGE_BYTES * PAGE_BYTES);
        if !self.has_writer.load(Ordering::Acquire) || ready >= goal {
            return Ok(Room::Enough);
        }
        if self.allocated.load(Ordering::Relaxed) < ready + STEP_BYTES {
            self.allocate(ready + STEP_BYTES)?;
        }
        let upto = (ready + STEP_BYTES).min(self.allocated.load(Ordering::Relaxed));
        mapping.populate(ready, upto);
        self.ready.store(upto, Ordering::Relaxed);
        Ok(if upto < goal { Room::Missing } else { Room::Enough })
    }

    /// Makes the file at least `bytes` long, all allocated. The mapping's lock is held.
    fn allocate(&self, bytes: u64) -> rustix::io::Result<()> {
        let from = self.allocated.load(Ordering::Relaxed);
        if bytes > from {
            allocate(&self.file, from, bytes)?;
            self.allocated.store(bytes, Ordering::Release);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Mapping>> {
        self.mapping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Allocates blocks for the bytes of `file` between `from` and `upto`, its new length.
#[cfg(target_os = "linux")]
pub(super) fn allocate(file: impl AsFd, from: u64, upto: u64) -> rustix::io::Result<()> {
    use rustix::fs::FallocateFlags;
    loop {
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), from, upto - from) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn allocate(_file: impl AsFd, _from: u64, _upto: u64) -> rustix::io::Result<()> {
    Err(Errno::NOTSUP)
}

/// What a new segment that will take about `bytes` is allocated at first.
pub(super) fn first_step_bytes(bytes: u64) -> u64 {
    STEP_BYTES.min(bytes.next_multiple_of(PAGE_BYTES)).max(PAGE_BYTES)
}

/// How far ahead of `end` space is made ready: a small log stays small.
fn ahead_bytes(end: u64) -> u64 {
    end.clamp(STEP_BYTES, AHEAD_BYTES_MAX)
}

/// Addresses cost nothing: so many that a segment hardly ever outgrows them.
fn mapping_bytes(bytes: u64) -> u64 {
    (2 * bytes).next_multiple_of(AHEAD_BYTES_MAX) + AHEAD_BYTES_MAX
}

/// The one writer of a mapped file, in one of its lives.
pub(super) struct Stores {
    pages: Arc<Pages>,
    mapping: Arc<Mapping>,
    /// `allocated` when it was last looked at.
    limit: u64,
    /// The end at which room shall be asked for again.
    asks_at: u64,
}

impl Stores {
    /// Stores `bytes` at `offset`, its first 8 bytes last. Nothing was stored after an error.
    pub fn store(&mut self, offset: u64, bytes: &[u8]) -> rustix::io::Result<()> {
        let end = offset + bytes.len() as u64;
        if end > self.limit {
            self.extend(end)?;
        }
        self.mapping.store(offset as usize, bytes);
        Ok(())
    }

    /// Whether less than half of what should be ready ahead of `end` is.
    pub fn wants_room(&mut self, end: u64) -> bool {
        if end < self.asks_at {
            return false;
        }
        let ahead = ahead_bytes(end);
        let ready = self.pages.ready.load(Ordering::Relaxed).saturating_sub(end);
        let wants = ready < ahead / 2;
        self.asks_at = end + if wants { STEP_BYTES / 4 } else { ready - ahead / 2 };
        wants
    }

    /// Makes the file `len` bytes long; nothing behind them is mapped to anything any more.
    pub fn truncate(&mut self, len: u64) -> rustix::io::Result<()> {
        let _growing = self.pages.lock();
        // Also if it fails: less than is true may be believed, more may not.
        for bound in [&self.pages.allocated, &self.pages.ready] {
            bound.fetch_min(len, Ordering::AcqRel);
        }
        self.limit = self.limit.min(len);
        self.asks_at = 0;
        rustix::fs::ftruncate(&self.pages.file, len)
    }

    /// Finds space up to `end` at least: what was made ready meanwhile, else a step of its own.
    #[cold]
    fn extend(&mut self, end: u64) -> rustix::io::Result<()> {
        let mut limit = self.pages.allocated.load(Ordering::Acquire);
        if end > limit || limit > self.mapping.len as u64 {
            let mut mapping = self.pages.lock();
            if end > limit {
                let wanted = end.next_multiple_of(PAGE_BYTES).max(limit + STEP_BYTES);
                self.pages.allocate(wanted)?;
            }
            limit = self.pages.allocated.load(Ordering::Relaxed);
            if limit > mapping.len as u64 {
                *mapping = Arc::new(Mapping::new(&self.pages.file, mapping_bytes(limit))?);
            }
            self.mapping = Arc::clone(&mapping);
        }
        self.limit = limit;
        Ok(())
    }
}

impl Drop for Stores {
    fn drop(&mut self) {
        self.pages.has_writer.store(false, Ordering::Release);
    }
}

/// Addresses that stand for a file's bytes, readable and writable.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: `base` is only an address, good until the last owner drops the mapping. Bytes are
// written through it by the one `Stores` of the file (D4) and read by nobody.
unsafe impl Send for Mapping {}
// SAFETY: as above; `populate` does not touch bytes, it has the system look up their pages.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `len` bytes of addresses; those behind the file's end must not be touched.
    fn new(file: &OwnedFd, len: u64) -> rustix::io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| Errno::NOMEM)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the system chooses the addresses, so the mapping replaces none of ours.
        let base = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, file, 0)?
        };
        let base = NonNull::new(base.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { base, len })
    }

    /// Copies `bytes` to `offset`. The file is allocated that far.
    fn store(&self, offset: usize, bytes: &[u8]) {
        let fits = offset.checked_add(bytes.len()).is_some_and(|end| end <= self.len);
        assert!(fits, "{} bytes at {offset} of a mapping of {}", bytes.len(), self.len);
        let (first, rest) = match bytes.split_first_chunk::<8>() {
            Some((first, rest)) if offset.is_multiple_of(8) => (Some(first), rest),
            _ => (None, bytes),
        };
        let rest_at = offset + bytes.len() - rest.len();
        // SAFETY: `fits`, so both places are inside the mapping, which is alive while `self` is.
        // Nobody else writes there (D4) and nobody reads, so there is no data race, and `rest`
        // lies in memory that some owner borrows, so it cannot overlap. The atomic's address is
        // a multiple of 8: the base is one of a page, and so is `offset`.
        unsafe {
            std::ptr::copy_nonoverlapping(
                rest.as_ptr(),
                self.base.as_ptr().add(rest_at),
                rest.len(),
            );
            if let Some(first) = first {
                let word = AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast());
                word.store(u64::from_le_bytes(*first).to_le(), Ordering::Release);
            }
        }
    }

    /// Has the pages of these bytes, which are allocated, faulted in for writing. A system that
    /// cannot leaves it to the stores.
    #[cfg(target_os = "linux")]
    fn populate(&self, from: u64, upto: u64) {
        let from = from / PAGE_BYTES * PAGE_BYTES;
        let upto = upto.min(self.len as u64);
        if from >= upto {
            return;
        }
        // SAFETY: the range is inside the mapping. Populating changes no byte: a page that is not
        // there is read from the file, as a store to it would have it.
        let _ = unsafe {
            let start = self.base.as_ptr().add(from as usize).cast();
            let advice = rustix::mm::Advice::LinuxPopulateWrite;
            rustix::mm::madvise(start, (upto - from) as usize, advice)
        };
    }

    #[cfg(not(target_os = "linux"))]
    fn populate(&self, _from: u64, _upto: u64) {}
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `mmap` gave, and nobody has the address any more.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

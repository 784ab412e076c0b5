//! A directory of the operating system. The only file of the crate that does real file I/O.
//!
//! Every call goes through the directory's descriptor, so moving or replacing the path does not
//! redirect an open store. Names are never followed through symbolic links. Interrupted calls are
//! repeated and short writes are completed here; nothing else is ever retried.
//!
//! - D1: after an append that failed, [`AppendFile::len`] stays at the last good length; the next
//!   bytes would stand behind a torn piece, so the file takes none
//! - D3: the kernel reports a failed write-back once per descriptor, then calls the pages clean.
//!   So syncs of one file exclude each other, and the first failure answers all later ones
//! - The lock is `flock` on `LOCK`, and a set of (device, inode) in this process, because some
//!   file systems emulate `flock` with locks that a process never refuses to itself

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{AppendFile, Disk, Listing, LockGuard, ReadFile, Space, SyncFile};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::invariant;
use crate::base::names::FileName;

/// A real directory.
pub struct OsDisk {
    dir: OwnedFd,
    path: PathBuf,
}

impl OsDisk {
    /// Opens the directory at `path`; creates it, and its parents, for this user alone if they
    /// are missing.
    pub fn open_dir(path: &Path) -> Result<Arc<Self>> {
        let explain = |source| Error::io(format_args!("open directory {}", path.display()), source);
        create_missing(path).map_err(explain)?;
        let dir = retry(|| rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty()))
            .map_err(|errno| explain(errno.into()))?;
        Ok(Arc::new(Self { dir, path: path.to_path_buf() }))
    }

    fn open_file(&self, name: FileName, how: OFlags) -> rustix::io::Result<OwnedFd> {
        let how = how | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        retry(|| rustix::fs::openat(&self.dir, name.to_string(), how, OWNER_ONLY))
    }

    /// The kind of a directory entry and its length; `None` if it has just gone.
    fn stat(&self, name: &std::ffi::CStr) -> rustix::io::Result<Option<(FileType, u64)>> {
        match retry(|| rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => Ok(Some((FileType::from_raw_mode(stat.st_mode as _), stat.st_size as u64))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn read_listing(&self) -> rustix::io::Result<Listing> {
        let mut listing = Listing::default();
        for entry in retry(|| Dir::read_from(&self.dir))? {
            let entry = entry?;
            let raw = entry.file_name();
            if matches!(raw.to_bytes(), b"." | b"..") {
                continue;
            }
            let Some((kind, bytes)) = self.stat(raw)? else { continue };
            match raw.to_str().ok().and_then(FileName::parse) {
                Some(name) if kind == FileType::RegularFile => listing.files.push((name, bytes)),
                _ => listing.foreign.push(raw.to_string_lossy().into_owned()),
            }
        }
        listing.files.sort_unstable();
        listing.foreign.sort_unstable();
        Ok(listing)
    }
}

impl Disk for OsDisk {
    fn create(&self, name: FileName) -> Result<Box<dyn AppendFile>> {
        let file = self
            .open_file(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
            .map_err(|errno| failed("create", name, errno))?;
        let shared = Shared { file, name, appended: AtomicU64::new(0), failure: Mutex::new(None) };
        Ok(Box::new(OsAppend { shared: Arc::new(shared), len: 0, takes_more: true }))
    }

    fn open(&self, name: FileName) -> Result<Arc<dyn ReadFile>> {
        // Without NONBLOCK a pipe that has a file's name would hold us up for ever.
        let opened = self.open_file(name, OFlags::RDONLY | OFlags::NONBLOCK).and_then(|file| {
            let stat = rustix::fs::fstat(&file)?;
            match FileType::from_raw_mode(stat.st_mode as _) {
                FileType::RegularFile => Ok(OsRead { file, name, len: stat.st_size as u64 }),
                FileType::Directory => Err(Errno::ISDIR),
                _ => Err(Errno::INVAL),
            }
        });
        Ok(Arc::new(opened.map_err(|errno| failed("open", name, errno))?))
    }

    fn rename(&self, from: FileName, to: FileName) -> Result<()> {
        let (old, new) = (from.to_string(), to.to_string());
        retry(|| rustix::fs::renameat(&self.dir, old.as_str(), &self.dir, new.as_str()))
            .map_err(|errno| failed("rename", format_args!("{from} to {to}"), errno))
    }

    fn remove(&self, name: FileName) -> Result<()> {
        match retry(|| rustix::fs::unlinkat(&self.dir, name.to_string(), AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("remove", name, errno)),
        }
    }

    fn list(&self) -> Result<Listing> {
        self.read_listing().map_err(|errno| failed("list", self.path.display(), errno))
    }

    fn sync_dir(&self) -> Result<()> {
        sync_directory(&self.dir)
            .map_err(|errno| failed("sync the directory", self.path.display(), errno))
    }

    fn sync_existing(&self, name: FileName) -> Result<()> {
        self.open_file(name, OFlags::RDONLY | OFlags::NONBLOCK)
            .and_then(|file| sync_data(&file))
            .map_err(|errno| failed("sync", name, errno))
    }

    fn lock(&self) -> Result<Box<dyn LockGuard>> {
        OsLock::take(self).map(|lock| Box::new(lock) as _)
    }

    fn space(&self) -> Result<Space> {
        let stat = retry(|| rustix::fs::fstatvfs(&self.dir))
            .map_err(|errno| failed("space of", self.path.display(), errno))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { free_bytes: bytes(stat.f_bavail), total_bytes: bytes(stat.f_blocks) })
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

impl fmt::Debug for OsDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OsDisk({})", self.path.display())
    }
}

/// What the writer of a file and those who sync it have in common.
struct Shared {
    file: OwnedFd,
    name: FileName,
    /// Bytes of appends that returned `Ok`.
    appended: AtomicU64,
    /// The first failed sync. Held over the system call: see D3 above.
    failure: Mutex<Option<Error>>,
}

impl SyncFile for Shared {
    fn sync(&self) -> Result<u64> {
        let mut failure = lock(&self.failure);
        if let Some(error) = &*failure {
            return Err(error.context("an earlier sync failed"));
        }
        let covered = self.appended.load(Ordering::Acquire);
        match sync_data(&self.file) {
            Ok(()) => Ok(covered),
            Err(errno) => {
                let error = failed("sync", self.name, errno);
                *failure = Some(error.clone());
                Err(error)
            }
        }
    }
}

struct OsAppend {
    shared: Arc<Shared>,
    len: u64,
    /// Until an append failed or the file was sealed.
    takes_more: bool,
}

impl AppendFile for OsAppend {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let name = self.shared.name;
        invariant!(D1, self.takes_more, "append to {name} after a failed append or a seal");
        if let Err(errno) = write_all_at(&self.shared.file, bytes, self.len) {
            self.takes_more = false;
            return Err(failed("append", name, errno));
        }
        self.len += bytes.len() as u64;
        self.shared.appended.store(self.len, Ordering::Release);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn sync_handle(&self) -> Arc<dyn SyncFile> {
        Arc::clone(&self.shared) as _
    }

    fn seal(&mut self, len: u64) -> Result<()> {
        let name = self.shared.name;
        invariant!(D2, len <= self.len, "seal {name} of {} bytes at {len}", self.len);
        self.takes_more = false;
        retry(|| rustix::fs::ftruncate(&self.shared.file, len))
            .map_err(|errno| failed("seal", name, errno))?;
        self.len = len;
        self.shared.appended.store(len, Ordering::Release);
        Ok(())
    }
}

struct OsRead {
    file: OwnedFd,
    name: FileName,
    len: u64,
}

impl ReadFile for OsRead {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<()> {
        let wanted = out.len();
        let end = offset.saturating_add(wanted as u64);
        let mut done = 0;
        // The system refuses offsets that do not fit 63 bits; no file reaches them.
        while done < wanted && end <= i64::MAX as u64 {
            match rustix::io::pread(&self.file, &mut out[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    let what = format_args!("{wanted} bytes at {offset} of {}", self.name);
                    return Err(failed("read", what, errno));
                }
            }
        }
        if done == wanted {
            return Ok(());
        }
        let len = rustix::fs::fstat(&self.file).map_or(self.len, |stat| stat.st_size as u64);
        Err(super::past_the_end(self.name, offset, end, len))
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn name(&self) -> FileName {
        self.name
    }
}

impl fmt::Debug for OsRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OsRead({}, {} bytes)", self.name, self.len)
    }
}

/// Directories that this process has locked, by device and inode.
static LOCKED: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

struct OsLock {
    directory: (u64, u64),
    /// Closing it releases `flock`.
    file: Option<OwnedFd>,
}

impl OsLock {
    fn take(disk: &OsDisk) -> Result<Self> {
        let explain = |errno| failed("lock", disk.path.display(), errno);
        let stat = rustix::fs::fstat(&disk.dir).map_err(explain)?;
        let directory = (stat.st_dev as u64, stat.st_ino as u64);
        if !lock(&LOCKED).insert(directory) {
            return Err(locked(disk, "this process"));
        }
        // From here on dropping gives the entry in the set back.
        let mut taken = Self { directory, file: None };
        let file =
            disk.open_file(FileName::Lock, OFlags::RDWR | OFlags::CREATE).map_err(explain)?;
        match retry(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => taken.file = Some(file),
            Err(Errno::WOULDBLOCK) => return Err(locked(disk, "another process")),
            Err(errno) => return Err(explain(errno)),
        }
        Ok(taken)
    }
}

impl LockGuard for OsLock {}

impl Drop for OsLock {
    fn drop(&mut self) {
        // `flock` first: who finds the entry free must find the file free as well.
        drop(self.file.take());
        lock(&LOCKED).remove(&self.directory);
    }
}

impl fmt::Debug for OsLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OsLock(device {}, inode {})", self.directory.0, self.directory.1)
    }
}

fn locked(disk: &OsDisk, holder: &str) -> Error {
    let text = format!("{} is open in {holder}: close it there", disk.path.display());
    Error::new(ErrorKind::Locked, text)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

/// Creates `path` and its missing parents, and makes their names durable.
fn create_missing(path: &Path) -> io::Result<()> {
    // `ancestors` of a relative path end with the empty one, which is the present directory.
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for created in missing {
        let parent = created.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_directory(&File::open(parent.unwrap_or(Path::new(".")))?)?;
    }
    Ok(())
}

fn failed(op: &str, what: impl fmt::Display, errno: Errno) -> Error {
    Error::io(format_args!("{op} {what}"), errno.into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Repeats a call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

fn write_all_at(file: &OwnedFd, bytes: &[u8], offset: u64) -> rustix::io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pwrite(file, &bytes[done..], offset + done as u64) {
            // A regular file that takes nothing and names no reason has no room.
            Ok(0) => return Err(Errno::NOSPC),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Bytes and length of a file, to stable storage.
#[cfg(not(any(target_vendor = "apple", target_os = "dragonfly", target_os = "haiku")))]
fn sync_data(file: impl AsFd) -> rustix::io::Result<()> {
    retry(|| rustix::fs::fdatasync(&file))
}

#[cfg(any(target_os = "dragonfly", target_os = "haiku"))]
fn sync_data(file: impl AsFd) -> rustix::io::Result<()> {
    retry(|| rustix::fs::fsync(&file))
}

/// `fsync` there leaves the bytes in the drive's cache; file systems without the stronger call
/// (SMB, for one) have only that.
#[cfg(target_vendor = "apple")]
fn sync_data(file: impl AsFd) -> rustix::io::Result<()> {
    match retry(|| rustix::fs::fcntl_fullfsync(&file)) {
        Err(Errno::NOTSUP | Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL) => {
            retry(|| rustix::fs::fsync(&file))
        }
        done => done,
    }
}

/// The entries of a directory, to stable storage.
fn sync_directory(dir: impl AsFd) -> rustix::io::Result<()> {
    #[cfg(target_vendor = "apple")]
    return sync_data(dir);
    #[cfg(not(target_vendor = "apple"))]
    retry(|| rustix::fs::fsync(&dir))
}

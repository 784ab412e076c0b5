//! A directory of the operating system. The only file of the crate that does real file I/O.
//!
//! Every call goes through the directory's descriptor, so moving or replacing the path does not
//! redirect an open store. Names are never followed through symbolic links. Interrupted calls are
//! repeated and short writes are completed here; nothing else is ever retried.
//!
//! - D1: after an append that failed, [`AppendFile::len`] stays at the last good length; the next
//!   bytes would stand behind a torn piece, so the file takes none
//! - The kernel reports a failed write-back once per descriptor, then calls the pages clean.
//!   So syncs of one file exclude each other, and the first failure answers all later ones
//! - The lock is `flock` on `LOCK`, and a set of (device, inode) in this process, because some
//!   file systems emulate `flock` with locks that a process never refuses to itself

//! - A log segment is mapped where [`may_map`] trusts the file system (see `mapped`), else written
//!   as every other file. Either way `fdatasync` makes it durable

#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use litemap::LiteMap;
use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::mapped::{self, Pages, Stores, may_map};
use super::{AppendFile, Disk, Listing, LockGuard, ReadFile, Room, Space, SyncFile};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::invariant;
use crate::base::names::FileName;

/// A real directory.
pub struct OsDisk {
    dir: OwnedFd,
    path: PathBuf,
    log_writes: LogWrites,
    /// The mapped log segments and spares, by their present names.
    pages: Mutex<LiteMap<FileName, Arc<Pages>>>,
}

/// How the bytes of log segments reach the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogWrites {
    /// As stores into mapped memory where the file system is known to bear it, else by `write`.
    Mapped,
    /// By `write`.
    Write,
}

impl OsDisk {
    /// Opens the directory at `path`; creates it, and its parents, for this user alone if they
    /// are missing.
    pub fn open_dir(path: &Path) -> Result<Arc<Self>> {
        Self::open_dir_with(path, LogWrites::Mapped)
    }

    /// The same, with a choice of how log segments are written.
    pub fn open_dir_with(path: &Path, log_writes: LogWrites) -> Result<Arc<Self>> {
        let explain = |source| Error::io(format_args!("open directory {}", path.display()), source);
        create_missing(path).map_err(explain)?;
        let dir = retry(|| rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty()))
            .map_err(|errno| explain(errno.into()))?;
        let log_writes = if may_map(&dir) { log_writes } else { LogWrites::Write };
        let pages = Mutex::default();
        Ok(Arc::new(Self { dir, path: path.to_path_buf(), log_writes, pages }))
    }

    fn open_file(&self, name: FileName, how: OFlags) -> rustix::io::Result<OwnedFd> {
        let how = how | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        retry(|| rustix::fs::openat(&self.dir, name.to_string(), how, OWNER_ONLY))
    }

    fn create_file(&self, name: FileName) -> rustix::io::Result<OwnedFd> {
        self.open_file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    /// A new segment in an empty file: mapped, unless the system will not have it.
    fn first_life(
        &self,
        name: FileName,
        file: Arc<OwnedFd>,
        bytes: u64,
    ) -> rustix::io::Result<Box<dyn AppendFile>> {
        if self.log_writes == LogWrites::Mapped {
            let first = mapped::first_step_bytes(bytes);
            let map = || {
                mapped::allocate(&file, 0, first)
                    .and_then(|()| Pages::map(Arc::clone(&file), first, bytes))
            };
            match map() {
                Ok(pages) => {
                    lock(&self.pages).insert(name, Arc::clone(&pages));
                    return Ok(Box::new(MappedAppend::new(pages, name)));
                }
                Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => return Err(errno),
                Err(_) => {}
            }
        }
        Ok(Box::new(OsAppend::new(Shared::new(file, name, None))))
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
        let file = self.create_file(name).map_err(|errno| failed("create", name, errno))?;
        Ok(Box::new(OsAppend::new(Shared::new(Arc::new(file), name, None))))
    }

    fn create_log(
        &self,
        name: FileName,
        spare: Option<FileName>,
        bytes: u64,
    ) -> Result<Box<dyn AppendFile>> {
        let fail = |errno| failed("create", name, errno);
        let Some(spare) = spare else {
            let file = self.create_file(name).map_err(fail)?;
            return self.first_life(name, Arc::new(file), bytes).map_err(|errno| {
                let _ = self.remove(name);
                fail(errno)
            });
        };
        self.rename(spare, name)?;
        let known = lock(&self.pages).get(&name).cloned();
        Ok(match known {
            Some(pages) => Box::new(MappedAppend::new(pages, name)),
            None => {
                let file = self.open_file(name, OFlags::WRONLY).map_err(fail)?;
                Box::new(OsAppend::new(Shared::new(Arc::new(file), name, None)))
            }
        })
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
            .map_err(|errno| failed("rename", format_args!("{from} to {to}"), errno))?;
        let mut pages = lock(&self.pages);
        let replaced = match pages.remove(&from) {
            Some(moved) => pages.insert(to, moved),
            None => pages.remove(&to),
        };
        drop(pages);
        drop(replaced);
        Ok(())
    }

    fn remove(&self, name: FileName) -> Result<()> {
        let unmapped = lock(&self.pages).remove(&name);
        drop(unmapped);
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
    file: Arc<OwnedFd>,
    name: FileName,
    /// Bytes of appends that returned `Ok`.
    appended: AtomicU64,
    /// The first failed sync. Held over the system call: see above.
    failure: Mutex<Option<Error>>,
    /// Its mapping, for a mapped log segment.
    pages: Option<Arc<Pages>>,
}

impl Shared {
    fn new(file: Arc<OwnedFd>, name: FileName, pages: Option<Arc<Pages>>) -> Arc<Self> {
        let (appended, failure) = (AtomicU64::new(0), Mutex::new(None));
        Arc::new(Self { file, name, appended, failure, pages })
    }
}

impl SyncFile for Shared {
    fn sync(&self) -> Result<u64> {
        let mut failure = lock(&self.failure);
        if let Some(error) = &*failure {
            return Err(error.context("an earlier sync failed"));
        }
        let covered = self.appended.load(Ordering::Acquire);
        match sync_data(&*self.file) {
            Ok(()) => Ok(covered),
            Err(errno) => {
                let error = failed("sync", self.name, errno);
                *failure = Some(error.clone());
                Err(error)
            }
        }
    }

    fn make_room(&self) -> Result<Room> {
        let Some(pages) = &self.pages else { return Ok(Room::Enough) };
        let end = self.appended.load(Ordering::Acquire);
        pages.make_room(end).map_err(|errno| failed("allocate", self.name, errno))
    }
}

/// So many bytes are told to go to the device at once.
const WRITE_BEHIND_BYTES: u64 = 1 << 20;

/// Linux begins to write dirty pages that are declared not to be needed, and keeps them while it
/// does. Whether it worked does not matter.
fn begin_to_write(file: &OwnedFd, offset: u64, bytes: u64) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(
        file,
        offset,
        std::num::NonZeroU64::new(bytes),
        rustix::fs::Advice::DontNeed,
    );
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, bytes);
}

struct OsAppend {
    shared: Arc<Shared>,
    len: u64,
    /// So much of it was told to go to the device.
    behind: u64,
    /// Until an append failed or the file was sealed.
    takes_more: bool,
}

impl OsAppend {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, len: 0, behind: 0, takes_more: true }
    }
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

    fn write_behind(&mut self) {
        let bytes = self.len - self.behind;
        if bytes >= WRITE_BEHIND_BYTES {
            begin_to_write(&self.shared.file, self.behind, bytes);
            self.behind = self.len;
        }
    }

    fn sync_handle(&self) -> Arc<dyn SyncFile> {
        Arc::clone(&self.shared) as _
    }

    fn trim(&mut self) -> Result<()> {
        retry(|| rustix::fs::ftruncate(&*self.shared.file, self.len))
            .map_err(|errno| failed("trim", self.shared.name, errno))
    }

    fn seal(&mut self, len: u64) -> Result<()> {
        let name = self.shared.name;
        invariant!(D2, len <= self.len, "seal {name} of {} bytes at {len}", self.len);
        self.takes_more = false;
        retry(|| rustix::fs::ftruncate(&*self.shared.file, len))
            .map_err(|errno| failed("seal", name, errno))?;
        self.len = len;
        self.shared.appended.store(len, Ordering::Release);
        Ok(())
    }
}

/// A log segment in mapped memory.
struct MappedAppend {
    shared: Arc<Shared>,
    stores: Stores,
    len: u64,
    /// Until an append failed or the file was sealed.
    takes_more: bool,
}

impl MappedAppend {
    fn new(pages: Arc<Pages>, name: FileName) -> Self {
        let stores = pages.writer();
        let shared = Shared::new(Arc::clone(pages.file()), name, Some(pages));
        Self { shared, stores, len: 0, takes_more: true }
    }
}

impl AppendFile for MappedAppend {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let name = self.shared.name;
        invariant!(D1, self.takes_more, "append to {name} after a failed append or a seal");
        if let Err(errno) = self.stores.store(self.len, bytes) {
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

    fn wants_room(&mut self) -> bool {
        self.stores.wants_room(self.len)
    }

    fn trim(&mut self) -> Result<()> {
        self.stores.truncate(self.len).map_err(|errno| failed("trim", self.shared.name, errno))
    }

    fn seal(&mut self, len: u64) -> Result<()> {
        let name = self.shared.name;
        invariant!(D2, len <= self.len, "seal {name} of {} bytes at {len}", self.len);
        self.takes_more = false;
        self.stores.truncate(len).map_err(|errno| failed("seal", name, errno))?;
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
static LOCKED: Mutex<LiteMap<(u64, u64), ()>> = Mutex::new(LiteMap::new());

struct OsLock {
    directory: (u64, u64),
    /// Closing it releases `flock`.
    file: Option<OwnedFd>,
}

impl OsLock {
    fn take(disk: &OsDisk) -> Result<Self> {
        let explain = |errno| failed("lock", disk.path.display(), errno);
        let stat = rustix::fs::fstat(&disk.dir).map_err(explain)?;
        #[allow(clippy::unnecessary_cast, reason = "narrower, or signed, on other systems")]
        let directory = (stat.st_dev as u64, stat.st_ino as u64);
        if lock(&LOCKED).insert(directory, ()).is_some() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::{SegmentNo, TableId};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const LOG: FileName = FileName::Log(SegmentNo(1));
    const TABLE: FileName = FileName::Table(TableId(2));

    fn disk() -> (tempfile::TempDir, Arc<OsDisk>) {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::open_dir(dir.path()).unwrap();
        (dir, disk)
    }

    fn shared(file: OwnedFd) -> Arc<Shared> {
        Shared::new(Arc::new(file), LOG, None)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn directories_and_files_are_made_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        let disk = OsDisk::open_dir(&path).unwrap();
        disk.create(LOG).unwrap().append(b"bytes").unwrap();
        assert_eq!((mode(&path), mode(&path.join("000000000001.log"))), (0o700, 0o600));
        assert_eq!(disk.describe(), path.display().to_string());
        let again = OsDisk::open_dir(&path).unwrap();
        assert_eq!(again.list().unwrap().files, [(LOG, 5)]);
    }

    #[test]
    fn a_path_that_is_no_directory_is_an_error_that_names_it() {
        let error = OsDisk::open_dir(Path::new("/dev/null/no-such-place")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("/dev/null/no-such-place"), "{error}");
    }

    #[test]
    fn symbolic_links_are_not_followed() {
        let (dir, disk) = disk();
        symlink("/etc/passwd", dir.path().join(LOG.to_string())).unwrap();
        assert_eq!(disk.open(LOG).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(disk.create(LOG).map(drop).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(disk.list().unwrap().foreign, [LOG.to_string()]);
    }

    #[test]
    fn everything_that_is_not_ours_is_listed_as_foreign() {
        let (dir, disk) = disk();
        std::fs::create_dir(dir.path().join("CURRENT")).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "x").unwrap();
        let listing = disk.list().unwrap();
        assert_eq!(
            (listing.files, listing.foreign.join(" ")),
            (vec![], "CURRENT notes.txt".into())
        );
    }

    /// Neither can be made like this on macOS.
    #[cfg(target_os = "linux")]
    #[test]
    fn pipes_and_names_that_are_no_text_are_foreign() {
        use std::os::unix::ffi::OsStrExt;
        let (dir, disk) = disk();
        let pipe = TABLE.to_string();
        rustix::fs::mknodat(&disk.dir, pipe.as_str(), FileType::Fifo, OWNER_ONLY, 0).unwrap();
        assert_eq!(disk.open(TABLE).unwrap_err().kind(), ErrorKind::Io);
        std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"odd\xff")), "x").unwrap();
        assert_eq!(disk.list().unwrap().foreign, [pipe.as_str(), "odd\u{fffd}"]);
    }

    #[test]
    fn d1_after_a_failed_append_only_a_seal_may_follow() {
        let (_dir, disk) = disk();
        disk.create(LOG).unwrap().append(b"good").unwrap();
        // A descriptor for reading refuses every write.
        let file = disk.open_file(LOG, OFlags::RDONLY).unwrap();
        let mut file = OsAppend { shared: shared(file), len: 4, behind: 0, takes_more: true };
        let error = file.append(b"more").unwrap_err();
        assert!(error.to_string().starts_with("append 000000000001.log: "), "{error}");
        assert_eq!(file.len(), 4);
        assert!(catch_unwind(AssertUnwindSafe(|| file.append(b"more"))).is_err());
        assert!(file.seal(4).is_err());
    }

    #[test]
    #[should_panic(expected = "invariant D2 is broken")]
    fn d2_a_seal_that_would_lengthen_is_refused() {
        let (_dir, disk) = disk();
        let _ = disk.create(LOG).unwrap().seal(1);
    }

    #[test]
    fn the_first_failed_sync_answers_all_later_ones() {
        // Pipes cannot be synced.
        let (pipe, _other_end) = io::pipe().unwrap();
        let file = shared(pipe.into());
        let first = file.sync().unwrap_err().to_string();
        assert!(first.starts_with("sync 000000000001.log: "), "{first}");
        assert_eq!(
            file.sync().unwrap_err().to_string(),
            format!("an earlier sync failed: {first}")
        );
    }

    #[test]
    fn a_sync_covers_what_was_appended_before_and_outlives_the_file() {
        let (_dir, disk) = disk();
        let mut file = disk.create(LOG).unwrap();
        let sync = file.sync_handle();
        assert_eq!(sync.sync().unwrap(), 0);
        file.append(b"12345").unwrap();
        assert_eq!(sync.sync().unwrap(), 5);
        file.seal(3).unwrap();
        drop(file);
        assert_eq!(sync.sync().unwrap(), 3);
    }

    #[test]
    fn a_read_past_the_end_says_what_is_missing() {
        let (_dir, disk) = disk();
        disk.create(TABLE).unwrap().append(b"12345").unwrap();
        let file = disk.open(TABLE).unwrap();
        for (offset, expected) in [(3, 7), (100, 104), (u64::MAX - 1, u64::MAX)] {
            let error = file.read_exact_at(&mut [0; 4], offset).unwrap_err();
            let place = error.corruption().unwrap();
            assert_eq!((place.file.as_str(), place.offset), ("000000000002.sst", offset));
            assert_eq!((&*place.part, &*place.found), ("file length", "5 bytes"));
            assert_eq!(place.expected, format!("at least {expected} bytes"));
        }
        file.read_exact_at(&mut [], 100).unwrap();
    }

    #[test]
    fn a_second_lock_is_refused_in_this_process_and_in_another() {
        let (dir, disk) = disk();
        let link = tempfile::tempdir().unwrap();
        symlink(dir.path(), link.path().join("link")).unwrap();
        let other = OsDisk::open_dir(&link.path().join("link")).unwrap();
        let guard = disk.lock().unwrap();
        let error = other.lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains("in this process"), "{error}");
        drop(guard);
        drop(other.lock().unwrap());
        // A descriptor of its own is to `flock` what another process is.
        let file = File::open(dir.path().join("LOCK")).unwrap();
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        let error = disk.lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains("in another process"), "{error}");
        drop(file);
        disk.lock().expect("a refusal leaves nothing behind");
    }

    #[test]
    fn a_directory_that_goes_away_is_an_error_and_no_panic() {
        let (dir, disk) = disk();
        let guard = disk.lock().unwrap();
        let mut log = disk.create(LOG).unwrap();
        let reader = disk.open(LOG).unwrap();
        dir.close().unwrap();
        log.append(b"into the void").unwrap();
        log.sync_handle().sync().unwrap();
        let mut out = [0; 4];
        reader.read_exact_at(&mut out, 0).unwrap();
        assert_eq!(&out, b"into");
        for error in [
            disk.create(TABLE).map(drop).unwrap_err(),
            disk.open(LOG).map(drop).unwrap_err(),
            disk.rename(LOG, TABLE).unwrap_err(),
            disk.sync_existing(LOG).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Io);
        }
        disk.remove(LOG).unwrap();
        let _ = (disk.list(), disk.sync_dir(), disk.space());
        drop(guard);
    }

    #[test]
    fn the_space_of_a_file_system_is_known() {
        let (_dir, disk) = disk();
        let space = disk.space().unwrap();
        assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes, "{space:?}");
    }
}

//! A directory of the operating system. The only folder of the crate that does real file I/O.
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
//!
//! - [`append`]: files that grow; [`lock`](mod@lock): one process at a time; [`calls`]: system calls

#![forbid(unsafe_code)]

mod append;
mod calls;
mod lock;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use litemap::LiteMap;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use self::append::OsAppend;
use self::calls::{failed, lock, retry, sync_data, sync_directory};
use self::lock::OsLock;
use super::mapped::{self, Pages, may_map};
use super::{AppendFile, Disk, Listing, LockGuard, ReadFile, Space};
use crate::base::error::{Error, Result};
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
                    return Ok(Box::new(OsAppend::mapped(pages, name)));
                }
                Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => return Err(errno),
                Err(_) => {}
            }
        }
        Ok(Box::new(OsAppend::written(file, name)))
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
        Ok(Box::new(OsAppend::written(Arc::new(file), name)))
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
            Some(pages) => Box::new(OsAppend::mapped(pages, name)),
            None => {
                let file = self.open_file(name, OFlags::WRONLY).map_err(fail)?;
                Box::new(OsAppend::written(Arc::new(file), name))
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

//! The lock of a directory.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use litemap::LiteMap;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::OsDisk;
use super::calls::{failed, lock, retry};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::names::FileName;
use crate::vfs::LockGuard;

/// Directories that this process has locked, by device and inode.
static LOCKED: Mutex<LiteMap<(u64, u64), ()>> = Mutex::new(LiteMap::new());

/// A locked directory, until it is dropped.
pub(super) struct OsLock {
    directory: (u64, u64),
    /// What `flock` holds.
    file: Option<OwnedFd>,
    /// Who locked it.
    process: u32,
}

impl OsLock {
    pub(super) fn take(disk: &OsDisk) -> Result<Self> {
        let explain = |errno| failed("lock", disk.path.display(), errno);
        let stat = rustix::fs::fstat(&disk.dir).map_err(explain)?;
        #[allow(clippy::unnecessary_cast, reason = "narrower, or signed, on other systems")]
        let directory = (stat.st_dev as u64, stat.st_ino as u64);
        if lock(&LOCKED).insert(directory, ()).is_some() {
            return Err(locked(disk, "this process"));
        }
        // From here on dropping gives the entry in the set back.
        let mut taken = Self { directory, file: None, process: std::process::id() };
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
        // `flock` first: who finds the entry free must find the file free as well. Closing the
        // file is not enough: a child of this process has it open too, from its `fork` to its `exec`.
        // But a child that drops what it has a copy of must not open its parent's store to others.
        if let Some(file) = self.file.take().filter(|_| self.process == std::process::id()) {
            let _ = rustix::fs::flock(&file, FlockOperation::Unlock);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_goes_with_the_store_though_a_child_has_its_descriptor_still() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::open_dir(dir.path()).unwrap();
        let lock = OsLock::take(&disk).unwrap();
        let file = lock.file.as_ref().expect("it is locked");
        let childs = rustix::io::fcntl_dupfd_cloexec(file, 0).unwrap();
        drop(lock);
        drop(OsLock::take(&disk).unwrap());
        drop(childs);
    }
}

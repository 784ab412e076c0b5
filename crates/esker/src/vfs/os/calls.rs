//! What every system call of this folder needs: repeated when interrupted, completed when short,
//! its errors named; and the syncs, which differ between systems.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::base::error::Error;

pub(super) fn failed(op: &str, what: impl fmt::Display, errno: Errno) -> Error {
    Error::io(format_args!("{op} {what}"), errno.into())
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Repeats a call that a signal interrupted.
pub(super) fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

pub(super) fn write_all_at(file: &OwnedFd, bytes: &[u8], offset: u64) -> rustix::io::Result<()> {
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
pub(super) fn sync_data(file: impl AsFd) -> rustix::io::Result<()> {
    retry(|| rustix::fs::fdatasync(&file))
}

#[cfg(any(target_os = "dragonfly", target_os = "haiku"))]
pub(super) fn sync_data(file: impl AsFd) -> rustix::io::Result<()> {
    retry(|| rustix::fs::fsync(&file))
}

/// `fsync` there leaves the bytes in the drive's cache; file systems without the stronger call
/// (SMB, for one) have only that.
#[cfg(target_vendor = "apple")]
pub(super) fn sync_data(file: impl AsFd) -> rustix::io::Result<()> {
    match retry(|| rustix::fs::fcntl_fullfsync(&file)) {
        Err(Errno::NOTSUP | Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL) => {
            retry(|| rustix::fs::fsync(&file))
        }
        done => done,
    }
}

/// The entries of a directory, to stable storage.
pub(super) fn sync_directory(dir: impl AsFd) -> rustix::io::Result<()> {
    #[cfg(target_vendor = "apple")]
    return sync_data(dir);
    #[cfg(not(target_vendor = "apple"))]
    retry(|| rustix::fs::fsync(&dir))
}

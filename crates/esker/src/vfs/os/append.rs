//! A file that grows at its end: by `write`, or for log segments by stores into mapped memory.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::calls::{failed, lock, retry, sync_data, write_all_at};
use crate::base::error::{Error, Result};
use crate::base::invariant;
use crate::base::names::FileName;
use crate::vfs::mapped::{Pages, Stores};
use crate::vfs::{AppendFile, Room, SyncFile};

/// So many bytes are told to go to the device at once.
const WRITE_BEHIND_BYTES: u64 = 1 << 20;

/// The writer of a file.
pub(super) struct OsAppend {
    shared: Arc<Shared>,
    way: Way,
    len: u64,
    /// Until an append failed or the file was sealed.
    takes_more: bool,
}

/// How bytes reach the operating system.
enum Way {
    /// By `write`. So much of the file was told to go to the device.
    Written { behind: u64 },
    /// As stores into the memory of a log segment.
    Mapped(Stores),
}

impl OsAppend {
    /// The writer of a file that `write` reaches.
    pub(super) fn written(file: Arc<OwnedFd>, name: FileName) -> Self {
        Self::new(Shared::new(file, name, None), Way::Written { behind: 0 })
    }

    /// The writer of a log segment in mapped memory.
    pub(super) fn mapped(pages: Arc<Pages>, name: FileName) -> Self {
        let way = Way::Mapped(pages.writer());
        Self::new(Shared::new(Arc::clone(pages.file()), name, Some(pages)), way)
    }

    fn new(shared: Arc<Shared>, way: Way) -> Self {
        Self { shared, way, len: 0, takes_more: true }
    }

    fn truncate(&mut self, len: u64) -> rustix::io::Result<()> {
        match &mut self.way {
            Way::Written { .. } => retry(|| rustix::fs::ftruncate(&*self.shared.file, len)),
            Way::Mapped(stores) => stores.truncate(len),
        }
    }

    /// The file ends at `len` from here on, for those who sync it too.
    fn set_len(&mut self, len: u64) {
        self.len = len;
        self.shared.appended.store(len, Ordering::Release);
    }
}

impl AppendFile for OsAppend {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let name = self.shared.name;
        invariant!(D1, self.takes_more, "append to {name} after a failed append or a seal");
        let appended = match &mut self.way {
            Way::Written { .. } => write_all_at(&self.shared.file, bytes, self.len),
            Way::Mapped(stores) => stores.store(self.len, bytes),
        };
        if let Err(errno) = appended {
            self.takes_more = false;
            return Err(failed("append", name, errno));
        }
        self.set_len(self.len + bytes.len() as u64);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn write_behind(&mut self) {
        let Way::Written { behind } = &mut self.way else { return };
        let bytes = self.len - *behind;
        if bytes >= WRITE_BEHIND_BYTES {
            begin_to_write(&self.shared.file, *behind, bytes);
            *behind = self.len;
        }
    }

    fn sync_handle(&self) -> Arc<dyn SyncFile> {
        Arc::clone(&self.shared) as _
    }

    fn wants_room(&mut self) -> bool {
        match &mut self.way {
            Way::Written { .. } => false,
            Way::Mapped(stores) => stores.wants_room(self.len),
        }
    }

    fn trim(&mut self) -> Result<()> {
        let name = self.shared.name;
        self.truncate(self.len).map_err(|errno| failed("trim", name, errno))
    }

    fn seal(&mut self, len: u64) -> Result<()> {
        let name = self.shared.name;
        invariant!(D2, len <= self.len, "seal {name} of {} bytes at {len}", self.len);
        self.takes_more = false;
        self.truncate(len).map_err(|errno| failed("seal", name, errno))?;
        self.set_len(len);
        Ok(())
    }
}

/// What the writer of a file and those who sync it have in common.
struct Shared {
    file: Arc<OwnedFd>,
    name: FileName,
    /// Bytes of appends that returned `Ok`.
    appended: AtomicU64,
    /// The first failed sync. Held over the system call: see the folder's text.
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

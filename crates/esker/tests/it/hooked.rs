//! A simulated disk with a hook before its operations, or with a page that cannot be read.

use std::sync::{Arc, Mutex};

use esker::Result;
use esker::internals::faults::{DiskOp, Errno, Fault, FaultPlan, FaultRule, When};
use esker::internals::names::FileName;
use esker::internals::{
    AppendFile, Disk, Listing, LockGuard, ReadFile, Room, SimDisk, Space, SyncFile,
};

pub const PAGE_BYTES: u64 = 4096;

type Hook = Box<dyn FnMut(DiskOp, Option<FileName>) -> bool + Send>;

/// A simulated disk that calls a hook before operations, until the hook says that it is done.
#[derive(Debug)]
pub struct HookedDisk {
    disk: Arc<SimDisk>,
    hook: Arc<HookCell>,
    scratch: Option<Scratch>,
}

/// A page that the device does not give out, however often it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Scratch {
    pub file: FileName,
    pub page: u64,
}

#[derive(Default)]
pub struct HookCell(Mutex<Option<Hook>>);

impl std::fmt::Debug for HookCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a hook")
    }
}

impl HookCell {
    pub fn set(&self, hook: impl FnMut(DiskOp, Option<FileName>) -> bool + Send + 'static) {
        *self.0.lock().unwrap() = Some(Box::new(hook));
    }

    /// The hook is away while it runs, so that it may use the disk.
    fn call(&self, op: DiskOp, name: Option<FileName>) {
        let Some(mut hook) = self.0.lock().unwrap().take() else { return };
        if !hook(op, name) {
            *self.0.lock().unwrap() = Some(hook);
        }
    }
}

impl HookedDisk {
    pub fn new(disk: &Arc<SimDisk>) -> (Arc<Self>, Arc<HookCell>) {
        let (disk, hook) = (Arc::clone(disk), Arc::<HookCell>::default());
        (Arc::new(Self { disk, hook: Arc::clone(&hook), scratch: None }), hook)
    }

    pub fn scratched(disk: &Arc<SimDisk>, scratch: Scratch) -> Arc<Self> {
        let (disk, hook) = (Arc::clone(disk), Arc::default());
        Arc::new(Self { disk, hook, scratch: Some(scratch) })
    }
}

struct HookedFile {
    file: Box<dyn AppendFile>,
    name: FileName,
    hook: Arc<HookCell>,
}

impl AppendFile for HookedFile {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.hook.call(DiskOp::Append, Some(self.name));
        self.file.append(bytes)
    }
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn sync_handle(&self) -> Arc<dyn SyncFile> {
        Arc::new(HookedSync {
            file: self.file.sync_handle(),
            name: self.name,
            hook: Arc::clone(&self.hook),
        })
    }
    fn wants_room(&mut self) -> bool {
        self.file.wants_room()
    }
    fn trim(&mut self) -> Result<()> {
        self.file.trim()
    }
    fn seal(&mut self, len: u64) -> Result<()> {
        self.hook.call(DiskOp::Seal, Some(self.name));
        self.file.seal(len)
    }
}

struct HookedSync {
    file: Arc<dyn SyncFile>,
    name: FileName,
    hook: Arc<HookCell>,
}

impl SyncFile for HookedSync {
    fn sync(&self) -> Result<u64> {
        self.hook.call(DiskOp::Sync, Some(self.name));
        self.file.sync()
    }
    fn make_room(&self) -> Result<Room> {
        self.file.make_room()
    }
}

impl Disk for HookedDisk {
    fn create(&self, name: FileName) -> Result<Box<dyn AppendFile>> {
        self.hook.call(DiskOp::Create, Some(name));
        let file = self.disk.create(name)?;
        Ok(Box::new(HookedFile { file, name, hook: Arc::clone(&self.hook) }))
    }
    fn create_log(
        &self,
        name: FileName,
        spare: Option<FileName>,
        bytes: u64,
    ) -> Result<Box<dyn AppendFile>> {
        self.hook.call(DiskOp::Create, Some(name));
        let file = self.disk.create_log(name, spare, bytes)?;
        Ok(Box::new(HookedFile { file, name, hook: Arc::clone(&self.hook) }))
    }
    fn open(&self, name: FileName) -> Result<Arc<dyn ReadFile>> {
        let file = Disk::open(&*self.disk, name)?;
        match self.scratch {
            Some(scratch) if scratch.file == name => Ok(Arc::new(ScratchedFile { file, scratch })),
            _ => Ok(file),
        }
    }
    fn rename(&self, from: FileName, to: FileName) -> Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: FileName) -> Result<()> {
        self.disk.remove(name)
    }
    fn list(&self) -> Result<Listing> {
        self.disk.list()
    }
    fn sync_dir(&self) -> Result<()> {
        self.disk.sync_dir()
    }
    fn sync_existing(&self, name: FileName) -> Result<()> {
        self.disk.sync_existing(name)
    }
    fn lock(&self) -> Result<Box<dyn LockGuard>> {
        self.disk.lock()
    }
    fn space(&self) -> Result<Space> {
        self.hook.call(DiskOp::Space, None);
        self.disk.space()
    }
    fn describe(&self) -> String {
        self.disk.describe()
    }
}

#[derive(Debug)]
struct ScratchedFile {
    file: Arc<dyn ReadFile>,
    scratch: Scratch,
}

impl ReadFile for ScratchedFile {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<()> {
        let bad = self.scratch.page * PAGE_BYTES..(self.scratch.page + 1) * PAGE_BYTES;
        if offset < bad.end && bad.start < offset + out.len() as u64 {
            return refused_read();
        }
        self.file.read_exact_at(out, offset)
    }
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn name(&self) -> FileName {
        self.file.name()
    }
}

/// EIO. The simulated disk has no other way to say so for one place.
fn refused_read() -> Result<()> {
    let disk = SimDisk::new();
    let rule = FaultRule::new(When::From(1), Fault::Error(Errno::IO)).op(DiskOp::List);
    disk.set_faults(FaultPlan::new(1).rule(rule));
    Disk::list(&*disk).map(drop)
}

//! Files with a page that the device does not give out, however often it is asked.

use std::sync::Arc;

use esker::internals::names::FileName;
use esker::internals::{
    AppendFile, CrashPolicy, Disk, Listing, LockGuard, PumpEnv, ReadFile, SimDisk, Space, open,
    repair,
};
use esker::{Depth, Error, Options, Result};

use crate::repair::{assert_losses_cover, contents, contents_of, opened};
use crate::verify::{closed_store, tables};

const PAGE_BYTES: u64 = 4096;

/// A disk of which one page cannot be read.
#[derive(Debug)]
struct Scratched {
    disk: Arc<SimDisk>,
    file: FileName,
    page: u64,
}

#[derive(Debug)]
struct ScratchedFile {
    file: Arc<dyn ReadFile>,
    page: u64,
}

impl ReadFile for ScratchedFile {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<()> {
        let bad = self.page * PAGE_BYTES..(self.page + 1) * PAGE_BYTES;
        if offset < bad.end && bad.start < offset + out.len() as u64 {
            // The simulated disk has no other way to say so for one place.
            return Err(refusal());
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

/// EIO, as a read answers it.
fn refusal() -> Error {
    use esker::internals::faults::{DiskOp, Errno, Fault, FaultPlan, FaultRule, When};
    let disk = SimDisk::new();
    let rule = FaultRule::new(When::From(1), Fault::Error(Errno::IO)).op(DiskOp::List);
    disk.set_faults(FaultPlan::new(1).rule(rule));
    Disk::list(&*disk).unwrap_err()
}

impl Disk for Scratched {
    fn create(&self, name: FileName) -> Result<Box<dyn AppendFile>> {
        self.disk.create(name)
    }
    fn create_log(
        &self,
        name: FileName,
        spare: Option<FileName>,
        bytes: u64,
    ) -> Result<Box<dyn AppendFile>> {
        self.disk.create_log(name, spare, bytes)
    }
    fn open(&self, name: FileName) -> Result<Arc<dyn ReadFile>> {
        let file = Disk::open(&*self.disk, name)?;
        if name != self.file {
            return Ok(file);
        }
        Ok(Arc::new(ScratchedFile { file, page: self.page }))
    }
    fn rename(&self, from: FileName, to: FileName) -> Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: FileName) -> Result<()> {
        Disk::remove(&*self.disk, name)
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
        self.disk.space()
    }
    fn describe(&self) -> String {
        self.disk.describe()
    }
}

#[test]
fn a_page_of_the_log_that_cannot_be_read_costs_its_records_and_no_others() {
    let options = Options::new().memory_budget(64 << 20).memtable_bytes(4 << 20);
    let disk = SimDisk::new();
    let db = open(disk.clone(), PumpEnv::new(1), &options).unwrap();
    for n in 0..900 {
        db.put(format!("{n:04}"), format!("{n} {}", "x".repeat(990))).unwrap();
    }
    db.sync().unwrap();
    db.put("last", "one").unwrap();
    let disk = disk.crash(CrashPolicy::ProcessCrash, 1);
    let logs = disk.files().into_iter().filter(|(name, _)| matches!(name, FileName::Log(_)));
    let (file, bytes) = logs.max_by_key(|(_, bytes)| *bytes).unwrap();
    assert!(bytes > 800 << 10, "{bytes}: more than is read at once");
    for page in [0, 70, 130] {
        let scratched = Scratched { disk: disk.clone(), file, page };
        let opened_anyway = open(
            Arc::new(Scratched { disk: disk.crash(CrashPolicy::ProcessCrash, 1), file, page }),
            PumpEnv::new(1),
            &options,
        );
        assert!(opened_anyway.is_err(), "a read error is never the end of the log");
        let to = SimDisk::new();
        let target: Arc<dyn Disk> = to.clone();
        let report = repair(&scratched, &target, 99).unwrap();
        let [loss] = &report.losses[..] else { panic!("{:?}", report.losses) };
        assert_eq!(loss.file, file.to_string());
        assert!(loss.what.contains("rror"), "it says that it was not read: {loss:?}");
        let found = contents(&opened(&to));
        let kept = found["default"].len() as u64;
        assert!(kept >= 901 - 6, "page {page}: {kept} of 901 keys");
        let seqs = loss.first_seq.zip(loss.last_seq);
        // Without the segment's header nobody knows with which number it began.
        assert!(seqs.map_or(page == 0, |(first, last)| last - first < 6), "{loss:?}");
    }
}

#[test]
fn a_page_of_a_table_that_cannot_be_read_costs_its_blocks_and_no_others() {
    let disk = closed_store();
    let expected = contents_of(&disk);
    for (file, bytes) in tables(&disk) {
        for page in 0..bytes.div_ceil(PAGE_BYTES) {
            let scratched = Scratched { disk: disk.clone(), file, page };
            let found = esker::internals::verify(&scratched, Depth::Full).unwrap().findings;
            assert!(found.iter().any(|finding| finding.file == file.to_string()));
            let to = SimDisk::new();
            let target: Arc<dyn Disk> = to.clone();
            let report = repair(&scratched, &target, 99).unwrap();
            assert_losses_cover(&report, &expected, &contents(&opened(&to)));
        }
    }
}

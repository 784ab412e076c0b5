//! What a simulated disk consists of: inodes, names, and what of both is not durable yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::failed;
use crate::base::error::{Error, Result};
use crate::base::hash;
use crate::base::names::FileName;
use crate::vfs::faults::{DiskOp, Errno, Fault, FaultPlan};

/// The number of a file, whatever it is called.
pub(super) type InodeNo = u64;

/// A whole disk.
pub(super) struct DiskState {
    /// Every file that has a name, may have one after a crash, or is open.
    pub files: BTreeMap<InodeNo, SimFile>,
    pub next_inode: InodeNo,
    /// The directory that the running system sees.
    pub names: BTreeMap<FileName, InodeNo>,
    /// The directory that is durable.
    pub durable_names: BTreeMap<FileName, InodeNo>,
    /// What leads from the one to the other.
    pub unsynced_names: Vec<NameChange>,
    pub foreign: BTreeSet<String>,
    pub is_locked: bool,
    pub capacity_bytes: u64,
    pub faults: FaultPlan,
    /// The number of the present operation; a process crash does not set it back.
    pub clock: u64,
    pub operations: u64,
    pub operations_hash: u64,
    pub crash_at: Option<u64>,
    pub has_crashed: bool,
    /// The places of the latest reads, for one that goes to a wrong place.
    pub latest_reads: VecDeque<(InodeNo, u64, u64)>,
}

/// So many are remembered.
const LATEST_READS: usize = 64;

impl Default for DiskState {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            next_inode: 1,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            foreign: BTreeSet::new(),
            is_locked: false,
            capacity_bytes: 1 << 40,
            faults: FaultPlan::new(0),
            clock: 0,
            operations: 0,
            operations_hash: 0,
            crash_at: None,
            has_crashed: false,
            latest_reads: VecDeque::new(),
        }
    }
}

impl DiskState {
    /// Counts an operation and lets it fail if it shall; a fault that is not simply an error is
    /// handed to the caller.
    pub fn begin(
        &mut self,
        op: DiskOp,
        files: &[FileName],
        offset: u64,
        bytes: &[u8],
    ) -> Result<Option<Fault>> {
        if self.crash_at.is_some_and(|k| self.operations >= k) {
            return Err(self.stand_still(op, files));
        }
        self.clock += 1;
        self.operations += 1;
        self.operations_hash = files.iter().fold(self.operations_hash, |so_far, name| {
            hash::page_checksum(name.to_string().as_bytes(), so_far, 0, 0)
        });
        self.operations_hash = hash::page_checksum(bytes, self.operations_hash, op as u64, offset);
        match self.faults.next(op, files) {
            Some(Fault::Error(errno)) => Err(Error::io(sentence(op, files), errno.into())),
            Some(Fault::Stop) => {
                self.crash_at = Some(self.operations);
                Err(self.stand_still(op, files))
            }
            other => Ok(other),
        }
    }

    /// Remembers a read; answers where another one of the same length found something.
    pub fn note_read(&mut self, inode: InodeNo, offset: u64, len: u64) -> Option<(InodeNo, u64)> {
        let fits = |(other, from, bytes): &&(InodeNo, u64, u64)| {
            let is_there = |file: &SimFile| from + bytes <= file.cached.len() as u64;
            *bytes == len
                && (*other, *from) != (inode, offset)
                && self.files.get(other).is_some_and(is_there)
        };
        let found = self.latest_reads.iter().find(fits).map(|(other, from, _)| (*other, *from));
        if self.latest_reads.len() == LATEST_READS {
            self.latest_reads.pop_front();
        }
        self.latest_reads.push_back((inode, offset, len));
        found
    }

    fn stand_still(&mut self, op: DiskOp, files: &[FileName]) -> Error {
        self.has_crashed = true;
        let source = std::io::Error::other("the machine has crashed");
        Error::io(sentence(op, files), source)
    }

    pub fn file(&self, inode: InodeNo) -> &SimFile {
        self.files.get(&inode).expect("a file that is named or open is kept")
    }

    pub fn file_mut(&mut self, inode: InodeNo) -> &mut SimFile {
        self.files.get_mut(&inode).expect("a file that is named or open is kept")
    }

    pub fn named(&self, name: FileName) -> Option<&SimFile> {
        self.names.get(&name).map(|inode| self.file(*inode))
    }

    pub fn lookup(&self, op: DiskOp, name: FileName) -> Result<InodeNo> {
        self.names.get(&name).copied().ok_or_else(|| failed(op, name, Errno::NOENT))
    }

    pub fn listing(&self) -> Vec<(FileName, u64)> {
        let len = |inode: &InodeNo| self.file(*inode).cached.len() as u64;
        self.names.iter().map(|(name, inode)| (*name, len(inode))).collect()
    }

    /// An empty file; its name must be free.
    pub fn create(&mut self, name: FileName) -> InodeNo {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.files.insert(inode, SimFile::default());
        self.change_names(NameOp::Create { name, inode });
        inode
    }

    /// `from` must exist.
    pub fn rename(&mut self, from: FileName, to: FileName) {
        if from != to {
            let inode = self.names[&from];
            self.change_names(NameOp::Rename { from, to, inode });
        }
    }

    pub fn remove(&mut self, name: FileName) {
        if self.names.contains_key(&name) {
            self.change_names(NameOp::Remove { name });
        }
    }

    fn change_names(&mut self, op: NameOp) {
        op.apply(&mut self.names);
        self.unsynced_names.push(NameChange { at: self.clock, op });
    }

    pub fn sync_names(&mut self) {
        self.durable_names = self.names.clone();
        self.unsynced_names.clear();
        self.forget_unreachable();
    }

    /// Drops files that nobody can reach any more, whatever happens.
    pub fn forget_unreachable(&mut self) {
        let mut reachable: BTreeSet<InodeNo> = self.names.values().copied().collect();
        reachable.extend(self.durable_names.values());
        reachable.extend(self.unsynced_names.iter().filter_map(|change| change.op.brings()));
        self.files.retain(|inode, file| file.handles > 0 || reachable.contains(inode));
    }

    /// What may still be written.
    pub fn free_bytes(&self) -> u64 {
        // Asked before every append, so no set. A crash that keeps some of two renames leaves a file
        // with two names, and it takes its room once.
        let mut named: Vec<InodeNo> = self.names.values().copied().collect();
        named.sort_unstable();
        let is_seen = |(inode, file): &(&InodeNo, &SimFile)| {
            file.handles > 0 || named.binary_search(inode).is_ok()
        };
        let seen = self.files.iter().filter(is_seen);
        let used: u64 = seen.map(|(_, file)| file.cached.len() as u64).sum();
        self.capacity_bytes.saturating_sub(used)
    }

    pub fn put_durable(&mut self, name: FileName, bytes: &[u8]) {
        // What was about to happen to the name must not undo this.
        self.sync_names();
        let inode = self.next_inode;
        self.next_inode += 1;
        self.files.insert(inode, SimFile::durable(Arc::new(bytes.to_vec())));
        self.names.insert(name, inode);
        self.durable_names.insert(name, inode);
        self.forget_unreachable();
    }

    /// Changes a file behind everybody's back. What is seen of it then is also what is durable.
    pub fn rot(&mut self, name: FileName, change: impl FnOnce(&mut Vec<u8>)) {
        let inode = *self.names.get(&name).unwrap_or_else(|| panic!("there is no {name}"));
        let file = self.file_mut(inode);
        let mut bytes = file.cached.to_vec();
        change(&mut bytes);
        file.unsynced.clear();
        file.cached = Arc::new(bytes);
        file.durable = Arc::clone(&file.cached);
    }
}

/// `rename CURRENT.tmp to CURRENT`, `append 000000000014.log`, `list`
fn sentence(op: DiskOp, files: &[FileName]) -> String {
    let names: Vec<String> = files.iter().map(FileName::to_string).collect();
    format!("{op} {}", names.join(" to ")).trim_end().to_owned()
}

/// One file.
#[derive(Clone, Default)]
pub(super) struct SimFile {
    /// What the running system reads.
    pub cached: Arc<Vec<u8>>,
    /// What is on the medium for certain.
    pub durable: Arc<Vec<u8>>,
    /// What leads from the one to the other, but for what a failed sync has lost.
    pub unsynced: Vec<FileChange>,
    /// How many open handles keep it alive.
    pub handles: u32,
    /// Whether it is open as a log segment (D4).
    pub has_writer: bool,
}

impl SimFile {
    /// A file that is on the medium as the system sees it.
    pub fn durable(bytes: Arc<Vec<u8>>) -> Self {
        Self { cached: Arc::clone(&bytes), durable: bytes, ..Self::default() }
    }

    /// Writes at `offset`, over what is there or behind it; `at` is the number of the operation.
    pub fn write(&mut self, at: u64, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let op = FileOp::Write { offset, bytes: bytes.to_vec() };
        op.apply(Arc::make_mut(&mut self.cached));
        self.unsynced.push(FileChange { at, op });
    }

    pub fn set_len(&mut self, at: u64, len: u64) {
        if len == self.cached.len() as u64 {
            return;
        }
        let op = FileOp::SetLen(len);
        op.apply(Arc::make_mut(&mut self.cached));
        self.unsynced.push(FileChange { at, op });
    }

    pub fn sync(&mut self) {
        if self.unsynced.is_empty() {
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        for change in self.unsynced.drain(..) {
            change.op.apply(durable);
        }
    }

    /// A failed sync that marks its pages clean: the bytes never reach the medium. The length
    /// is metadata and may.
    pub fn lose_unsynced(&mut self) {
        let mut len = self.durable.len() as u64;
        for change in &mut self.unsynced {
            len = change.op.len_after(len);
            change.op = FileOp::SetLen(len);
        }
    }
}

/// A change of a file, and the operation that made it.
#[derive(Clone)]
pub(super) struct FileChange {
    pub at: u64,
    pub op: FileOp,
}

#[derive(Clone)]
pub(super) enum FileOp {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

impl FileOp {
    pub fn apply(&self, image: &mut Vec<u8>) {
        image.resize(self.len_after(image.len() as u64) as usize, 0);
        if let Self::Write { offset, bytes } = self {
            let start = *offset as usize;
            image[start..start + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// The length that a file of `len` bytes has after it.
    pub fn len_after(&self, len: u64) -> u64 {
        match self {
            Self::Write { offset, bytes } => len.max(offset + bytes.len() as u64),
            Self::SetLen(len) => *len,
        }
    }
}

/// A change of the directory, and the operation that made it.
#[derive(Clone)]
pub(super) struct NameChange {
    pub at: u64,
    pub op: NameOp,
}

#[derive(Clone, Copy)]
pub(super) enum NameOp {
    Create { name: FileName, inode: InodeNo },
    Rename { from: FileName, to: FileName, inode: InodeNo },
    Remove { name: FileName },
}

impl NameOp {
    pub fn apply(self, names: &mut BTreeMap<FileName, InodeNo>) {
        match self {
            Self::Create { name, inode } => {
                names.insert(name, inode);
            }
            Self::Rename { from, to, inode } => {
                names.remove(&from);
                names.insert(to, inode);
            }
            Self::Remove { name } => {
                names.remove(&name);
            }
        }
    }

    /// The file that it gives a name.
    fn brings(self) -> Option<InodeNo> {
        match self {
            Self::Create { inode, .. } | Self::Rename { inode, .. } => Some(inode),
            Self::Remove { .. } => None,
        }
    }
}

//! What a crash can leave. A policy is a way to choose among the changes that were not durable.
//!
//! The policies of random choice explore; those that keep one kind of change and lose another
//! are what a missing sync does not survive. See the [disk model](super).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::state::{DiskState, FileChange, FileOp, InodeNo, NameChange, NameOp, SimFile};
use crate::base::invariant;
use crate::base::names::FileName;
use crate::base::random::Random;

/// Which of the changes that were not durable a crash keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CrashPolicy {
    /// Only the process died: everything is there and stays as unsynced as it was, so that a
    /// power cut may still take what the next process has read.
    ProcessCrash,
    /// Nothing.
    LoseUnsynced,
    /// Everything, and it is durable.
    KeepAll,
    /// All changes up to some operation, of files and of names.
    OperationPrefix,
    /// Of each file some prefix of its writes, the last one perhaps in part.
    FilePrefix,
    /// Any pages of 4 KiB.
    Pages,
    /// Any sectors of 512 bytes.
    Sectors,
    /// Any sectors, some of them torn.
    TornSectors,
    /// The newest length, the data behind some prefix of the writes missing.
    LengthWithoutData,
    /// All data, and any of the names' changes.
    DirectorySubset,
    /// The changes since some operation, those before it not.
    NewestKept,
    /// Names and lengths, no data.
    DataLost,
    /// Data, no change of a name.
    NamesLost,
    /// Removals, nothing else.
    OnlyRemovesKept,
    /// One bit of the seed for each change of a name, each sector and each length, in order: so
    /// that who counts seeds from 0 on has them all.
    Chosen,
}

impl CrashPolicy {
    /// All policies.
    pub const ALL: [Self; 15] = [
        Self::ProcessCrash,
        Self::LoseUnsynced,
        Self::KeepAll,
        Self::OperationPrefix,
        Self::FilePrefix,
        Self::Pages,
        Self::Sectors,
        Self::TornSectors,
        Self::LengthWithoutData,
        Self::DirectorySubset,
        Self::NewestKept,
        Self::DataLost,
        Self::NamesLost,
        Self::OnlyRemovesKept,
        Self::Chosen,
    ];
}

const SECTOR_BYTES: u64 = 512;
const PAGE_BYTES: u64 = 4096;

/// The disk that a crash makes of `state`.
pub(super) fn survivor(state: &DiskState, policy: CrashPolicy, seed: u64) -> DiskState {
    let random = &mut Random::new(seed);
    let mut survivor = DiskState {
        next_inode: state.next_inode,
        foreign: state.foreign.clone(),
        capacity_bytes: state.capacity_bytes,
        clock: state.clock,
        ..DiskState::default()
    };
    if policy == CrashPolicy::ProcessCrash {
        let closed = |(inode, file): (&InodeNo, &SimFile)| (*inode, file.closed());
        survivor.files = state.files.iter().map(closed).collect();
        survivor.names = state.names.clone();
        survivor.durable_names = state.durable_names.clone();
        survivor.unsynced_names = state.unsynced_names.clone();
        survivor.forget_unreachable();
        return survivor;
    }
    let (cut, names_drawn) = (some_cut(state, random), random.coin());
    let mut crash = Crash { policy, cut, names_drawn, random, bits: seed };
    survivor.names = crash.names(state);
    survivor.durable_names = survivor.names.clone();
    for inode in survivor.names.values() {
        let image = crash.image(state.file(*inode));
        survivor.files.insert(*inode, SimFile::durable(image));
    }
    survivor
}

/// How many bits [`CrashPolicy::Chosen`] asks for; the changes behind the 64th follow the first ones.
pub(super) fn choices(state: &DiskState) -> u64 {
    let files = state.files.values().filter(|file| !file.unsynced.is_empty());
    let of_files = files.map(|file| file.touched(SECTOR_BYTES).len() as u64 + 1);
    state.unsynced_names.len() as u64 + of_files.sum::<u64>()
}

/// One crash: what is decided once for the whole disk.
struct Crash<'a> {
    policy: CrashPolicy,
    /// The operation at which the policies that split time split it.
    cut: u64,
    /// Whether policies about data draw each change of a name, or keep them all.
    names_drawn: bool,
    random: &'a mut Random,
    /// The choices that are left.
    bits: u64,
}

impl Crash<'_> {
    /// The next choice.
    fn bit(&mut self) -> bool {
        let bit = self.bits & 1 == 1;
        self.bits = self.bits.rotate_right(1);
        bit
    }

    fn keeps_name(&mut self, change: &NameChange) -> bool {
        use CrashPolicy as P;
        match self.policy {
            P::ProcessCrash | P::KeepAll | P::DataLost => true,
            P::LoseUnsynced | P::NamesLost => false,
            P::OperationPrefix => change.at < self.cut,
            P::NewestKept => change.at >= self.cut,
            P::OnlyRemovesKept => matches!(change.op, NameOp::Remove { .. }),
            P::DirectorySubset => self.random.coin(),
            P::Chosen => self.bit(),
            P::FilePrefix | P::Pages | P::Sectors | P::TornSectors | P::LengthWithoutData => {
                !self.names_drawn || self.random.coin()
            }
        }
    }

    /// The directory: a change is kept if the policy says so and no change of one of its names
    /// was lost before it.
    fn names(&mut self, state: &DiskState) -> BTreeMap<FileName, InodeNo> {
        let mut names = state.durable_names.clone();
        let mut lost = LostNames::default();
        for change in &state.unsynced_names {
            if lost.allow(change.op) && self.keeps_name(change) {
                change.op.apply(&mut names);
                lost.settle(change.op);
            } else {
                lost.lose(change.op);
            }
        }
        names
    }

    /// The bytes of one file.
    fn image(&mut self, file: &SimFile) -> Arc<Vec<u8>> {
        use CrashPolicy as P;
        let all = file.unsynced.len();
        let newest_len = file.len_after(all);
        let image = match self.policy {
            _ if all == 0 => return Arc::clone(&file.durable),
            P::LoseUnsynced | P::OnlyRemovesKept => return Arc::clone(&file.durable),
            P::ProcessCrash | P::KeepAll | P::NamesLost | P::DirectorySubset => file.prefix(all),
            P::OperationPrefix => {
                file.prefix(file.unsynced.partition_point(|change| change.at < self.cut))
            }
            P::FilePrefix => self.torn_prefix(file),
            P::Pages => self.units(file, PAGE_BYTES),
            P::Sectors => self.units(file, SECTOR_BYTES),
            P::TornSectors => self.torn_sectors(file),
            P::LengthWithoutData => {
                let kept = if self.random.coin() { 0 } else { self.random.below(all as u64) };
                resized(file.prefix(kept as usize), newest_len)
            }
            P::NewestKept => self.newest(file),
            P::DataLost => resized(file.durable.to_vec(), newest_len),
            P::Chosen => self.chosen(file, newest_len),
        };
        file.assert_synced_bytes_survive(&image);
        Arc::new(image)
    }

    /// Some writes, and perhaps the first bytes of the next one.
    fn torn_prefix(&mut self, file: &SimFile) -> Vec<u8> {
        let kept = self.random.between(0, file.unsynced.len() as u64) as usize;
        let mut image = file.prefix(kept);
        if let Some(FileChange { op: FileOp::Write { offset, bytes }, .. }) =
            file.unsynced.get(kept)
        {
            let count = self.random.below(bytes.len() as u64) as usize;
            FileOp::Write { offset: *offset, bytes: bytes[..count].to_vec() }.apply(&mut image);
        }
        image
    }

    /// Each unit (a sector, a page) after some number of the writes that touched it.
    fn units(&mut self, file: &SimFile, unit_bytes: u64) -> Vec<u8> {
        let image = self.units_at_full_length(file, unit_bytes);
        let len = self.some_len(file);
        resized(image, len)
    }

    fn units_at_full_length(&mut self, file: &SimFile, unit_bytes: u64) -> Vec<u8> {
        let mut kept = file.touched(unit_bytes);
        for changes in kept.values_mut() {
            let count = match self.random.below(5) {
                0 | 1 => 0,
                2 | 3 => changes.len() as u64,
                _ => self.random.between(0, changes.len() as u64),
            };
            changes.truncate(count as usize);
        }
        file.assemble(unit_bytes, |unit, change| {
            kept.get(&unit).is_some_and(|changes| changes.last() >= Some(&change))
        })
    }

    /// Two draws of sectors, and in some sectors the first bytes of one and the rest of the
    /// other, or zeros or garbage where the rest was being written.
    fn torn_sectors(&mut self, file: &SimFile) -> Vec<u8> {
        let mut image = self.units_at_full_length(file, SECTOR_BYTES);
        let other = self.units_at_full_length(file, SECTOR_BYTES);
        let written = file.written();
        for sector in file.touched(SECTOR_BYTES).into_keys() {
            if self.random.coin() {
                continue;
            }
            let start = sector * SECTOR_BYTES + self.random.below(SECTOR_BYTES);
            let end = ((sector + 1) * SECTOR_BYTES).min(image.len() as u64);
            let remains = self.random.below(4);
            for at in start..end {
                let is_written = written.iter().any(|&(from, to)| (from..to).contains(&at));
                image[at as usize] = match remains {
                    0 if is_written => 0,
                    1 if is_written => self.random.next_u64() as u8,
                    _ => other[at as usize],
                };
            }
        }
        let len = self.some_len(file);
        resized(image, len)
    }

    /// Each sector old or new, and so the length.
    fn chosen(&mut self, file: &SimFile, newest_len: u64) -> Vec<u8> {
        let kept: BTreeSet<u64> =
            file.touched(SECTOR_BYTES).into_keys().filter(|_| self.bit()).collect();
        let image = file.assemble(SECTOR_BYTES, |sector, _| kept.contains(&sector));
        let len = if self.bit() { newest_len } else { file.durable.len() as u64 };
        resized(image, len)
    }

    /// The sectors that a write since the cut touched, as the system saw them last.
    fn newest(&mut self, file: &SimFile) -> Vec<u8> {
        let first = file.unsynced.partition_point(|change| change.at < self.cut);
        if first == file.unsynced.len() {
            return file.durable.to_vec();
        }
        let touched = file.touched(SECTOR_BYTES);
        let image =
            file.assemble(SECTOR_BYTES, |sector, _| touched[&sector].last() >= Some(&first));
        resized(image, file.len_after(file.unsynced.len()))
    }

    /// A length that the file had or grew through.
    fn some_len(&mut self, file: &SimFile) -> u64 {
        let all = file.unsynced.len();
        let step = match self.random.below(3) {
            0 => return file.durable.len() as u64,
            1 => return file.len_after(all),
            _ => self.random.below(all as u64) as usize,
        };
        let (before, after) = (file.len_after(step), file.len_after(step + 1));
        if before <= after {
            self.random.between(before, after)
        } else if self.random.coin() {
            before
        } else {
            after
        }
    }
}

/// Names of which a crash lost a change, so that it loses the later ones, too.
#[derive(Default)]
struct LostNames(BTreeMap<FileName, Loss>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// Only that the name came to be, for this file: a rename of the file brings it along.
    Creation(InodeNo),
    /// Something that later changes rest on.
    Change,
}

impl LostNames {
    fn allow(&self, op: NameOp) -> bool {
        match op {
            NameOp::Create { name, .. } | NameOp::Remove { name } => !self.0.contains_key(&name),
            NameOp::Rename { from, to, inode } => {
                !self.0.contains_key(&to)
                    && self.0.get(&from).is_none_or(|loss| *loss == Loss::Creation(inode))
            }
        }
    }

    fn lose(&mut self, op: NameOp) {
        match op {
            NameOp::Create { name, inode } => {
                self.0
                    .entry(name)
                    .and_modify(|loss| *loss = Loss::Change)
                    .or_insert(Loss::Creation(inode));
            }
            NameOp::Remove { name } => {
                self.0.insert(name, Loss::Change);
            }
            NameOp::Rename { from, to, .. } => {
                self.0.insert(from, Loss::Change);
                self.0.insert(to, Loss::Change);
            }
        }
    }

    /// A kept rename has taken its old name away, so the loss of that name's creation is over.
    fn settle(&mut self, op: NameOp) {
        if let NameOp::Rename { from, .. } = op {
            self.0.remove(&from);
        }
    }
}

impl SimFile {
    fn closed(&self) -> Self {
        Self { handles: 0, has_writer: false, ..self.clone() }
    }

    /// The length after so many of the unsynced changes.
    fn len_after(&self, changes: usize) -> u64 {
        let durable = self.durable.len() as u64;
        self.unsynced[..changes].iter().fold(durable, |len, change| change.op.len_after(len))
    }

    /// The bytes after so many of the unsynced changes.
    fn prefix(&self, changes: usize) -> Vec<u8> {
        let mut image = self.durable.to_vec();
        for change in &self.unsynced[..changes] {
            change.op.apply(&mut image);
        }
        image
    }

    /// For every unit that a write touched, the indexes of the changes that did.
    fn touched(&self, unit_bytes: u64) -> BTreeMap<u64, Vec<usize>> {
        let mut touched: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (index, change) in self.unsynced.iter().enumerate() {
            if let FileOp::Write { offset, bytes } = &change.op {
                let last = offset + bytes.len() as u64 - 1;
                for unit in offset / unit_bytes..=last / unit_bytes {
                    touched.entry(unit).or_default().push(index);
                }
            }
        }
        touched
    }

    /// The durable bytes, and of the writes those pieces (a unit, the index of a change) that
    /// `keeps` keeps; as long as the file ever was.
    fn assemble(&self, unit_bytes: u64, keeps: impl Fn(u64, usize) -> bool) -> Vec<u8> {
        let longest = (0..=self.unsynced.len()).map(|count| self.len_after(count)).max();
        let mut image = resized(self.durable.to_vec(), longest.unwrap_or_default());
        for (index, change) in self.unsynced.iter().enumerate() {
            let FileOp::Write { offset, bytes } = &change.op else { continue };
            let end = offset + bytes.len() as u64;
            let mut from = *offset;
            while from < end {
                let to = end.min((from / unit_bytes + 1) * unit_bytes);
                if keeps(from / unit_bytes, index) {
                    let piece = &bytes[(from - offset) as usize..(to - offset) as usize];
                    image[from as usize..to as usize].copy_from_slice(piece);
                }
                from = to;
            }
        }
        image
    }

    /// Where writes since the last sync stand, as ranges in order that do not overlap.
    fn written(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let writes = self.unsynced.iter().filter_map(|change| match &change.op {
            FileOp::Write { offset, bytes } => Some((*offset, offset + bytes.len() as u64)),
            FileOp::SetLen(_) => None,
        });
        for (from, to) in writes.collect::<BTreeSet<_>>() {
            match ranges.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => ranges.push((from, to)),
            }
        }
        ranges
    }

    fn assert_synced_bytes_survive(&self, image: &[u8]) {
        let lens = (0..=self.unsynced.len()).map(|count| self.len_after(count));
        let shortest = lens.min().unwrap_or_default();
        invariant!(D3, image.len() as u64 >= shortest, "{} of {shortest} bytes", image.len());
        // What was cut off and grown again is zeros, or as it was.
        let checked = shortest.min(self.durable.len() as u64) as usize;
        let mut from = 0;
        for (start, end) in self.written().into_iter().chain([(u64::MAX, u64::MAX)]) {
            let to = checked.min(usize::try_from(start).unwrap_or(usize::MAX)).max(from);
            invariant!(D3, image[from..to] == self.durable[from..to], "bytes {from} to {to}");
            from = checked.min(usize::try_from(end).unwrap_or(usize::MAX));
        }
    }
}

/// Some moment between the changes that are not durable.
fn some_cut(state: &DiskState, random: &mut Random) -> u64 {
    let writes = state.files.values().flat_map(|file| &file.unsynced).map(|change| change.at);
    let names = state.unsynced_names.iter().map(|change| change.at);
    let moments: Vec<u64> = writes.chain(names).collect::<BTreeSet<_>>().into_iter().collect();
    let chosen = random.between(0, moments.len() as u64) as usize;
    moments.get(chosen).copied().unwrap_or(u64::MAX)
}

fn resized(mut bytes: Vec<u8>, len: u64) -> Vec<u8> {
    bytes.resize(len as usize, 0);
    bytes
}

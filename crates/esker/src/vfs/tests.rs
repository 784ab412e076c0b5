//! The two disks are one to whoever uses them: any operations have the same outcome on both.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use proptest::prelude::*;

use super::os::{LogWrites, OsDisk};
use super::sim::SimDisk;
use super::{AppendFile, Disk, ReadFile};
use crate::base::error::Result;
use crate::base::key::{SegmentNo, TableId};
use crate::base::names::FileName;

const NAMES: [FileName; 5] = [
    FileName::Current,
    FileName::CurrentTmp,
    FileName::Log(SegmentNo(7)),
    FileName::Table(TableId(8)),
    FileName::Spare(9),
];

#[derive(Clone, Debug)]
enum Action {
    Create(FileName),
    CreateLog(FileName, Option<FileName>),
    Trim(FileName),
    Append(FileName, usize),
    Sync(FileName),
    Seal(FileName, u64),
    Close(FileName),
    Open(FileName),
    Read(FileName, u64, usize),
    Rename(FileName, FileName),
    Remove(FileName),
    SyncExisting(FileName),
    SyncDir,
    List,
}

fn action() -> impl Strategy<Value = Action> {
    let name = || prop::sample::select(&NAMES[..]);
    prop_oneof![
        3 => name().prop_map(Action::Create),
        2 => (name(), prop::option::of(name()))
            .prop_map(|(name, spare)| Action::CreateLog(name, spare)),
        1 => name().prop_map(Action::Trim),
        6 => (name(), 0..2_000usize).prop_map(|(name, len)| Action::Append(name, len)),
        1 => name().prop_map(Action::Sync),
        1 => (name(), 0..3_000u64).prop_map(|(name, len)| Action::Seal(name, len)),
        1 => name().prop_map(Action::Close),
        2 => name().prop_map(Action::Open),
        4 => (name(), 0..4_000u64, 0..2_000usize)
            .prop_map(|(name, offset, len)| Action::Read(name, offset, len)),
        2 => (name(), name()).prop_map(|(from, to)| Action::Rename(from, to)),
        2 => name().prop_map(Action::Remove),
        1 => name().prop_map(Action::SyncExisting),
        1 => Just(Action::SyncDir),
        2 => Just(Action::List),
    ]
}

/// A user of a disk, with the files it has open, by the name they were opened under.
struct User {
    disk: Arc<dyn Disk>,
    writers: BTreeMap<FileName, (Box<dyn AppendFile>, bool)>,
    readers: BTreeMap<FileName, Arc<dyn ReadFile>>,
}

impl User {
    fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, writers: BTreeMap::new(), readers: BTreeMap::new() }
    }

    /// What the action comes to, as a text; actions on files that are not open are left out.
    fn act(&mut self, number: usize, action: &Action) -> String {
        match *action {
            Action::Create(name) => {
                let made = self.disk.create(name);
                told(made.map(|file| drop(self.writers.insert(name, (file, true)))))
            }
            // A file has one writer at a time, whatever it is called meanwhile.
            Action::CreateLog(name, spare) if self.writers.is_empty() && spare != Some(name) => {
                let made = self.disk.create_log(name, spare, 1_000);
                told(made.map(|file| drop(self.writers.insert(name, (file, true)))))
            }
            Action::CreateLog(..) => String::new(),
            Action::Trim(name) => match self.writers.get_mut(&name) {
                Some((file, true)) => told(file.trim()),
                _ => String::new(),
            },
            Action::Append(name, len) => match self.writers.get_mut(&name) {
                Some((file, true)) => {
                    let bytes: Vec<u8> = (0..len).map(|at| (at / 3 + number) as u8).collect();
                    told(file.append(&bytes).map(|()| file.len()))
                }
                _ => String::new(),
            },
            Action::Sync(name) => match self.writers.get(&name) {
                Some((file, _)) => told(file.sync_handle().sync()),
                None => String::new(),
            },
            Action::Seal(name, len) => match self.writers.get_mut(&name) {
                Some((file, takes_more)) => {
                    *takes_more = false;
                    let len = len.min(file.len());
                    told(file.seal(len).map(|()| file.len()))
                }
                None => String::new(),
            },
            Action::Close(name) => format!("{}", self.writers.remove(&name).is_some()),
            Action::Open(name) => told(self.disk.open(name).map(|file| {
                let about = (file.len(), file.name());
                self.readers.insert(name, file);
                about
            })),
            Action::Read(name, offset, len) => match self.readers.get(&name) {
                Some(file) => {
                    let mut out = vec![0; len];
                    told(file.read_exact_at(&mut out, offset).map(|()| out))
                }
                None => String::new(),
            },
            Action::Rename(from, to) => told(self.disk.rename(from, to)),
            Action::Remove(name) => told(self.disk.remove(name)),
            Action::SyncExisting(name) => told(self.disk.sync_existing(name)),
            Action::SyncDir => told(self.disk.sync_dir()),
            Action::List => told(self.disk.list()),
        }
    }
}

fn told<T: Debug>(outcome: Result<T>) -> String {
    match outcome {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{error:?} {:?}", error.corruption()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn both_disks_answer_alike(actions in prop::collection::vec(action(), 1..80)) {
        let dir = tempfile::tempdir().unwrap();
        // A mapped segment is longer than what was appended: see `log_tests`.
        let real = OsDisk::open_dir_with(dir.path(), LogWrites::Write).unwrap();
        let mut real = User::new(real);
        let mut simulated = User::new(SimDisk::new());
        for (number, action) in actions.iter().enumerate() {
            let (one, other) = (real.act(number, action), simulated.act(number, action));
            prop_assert_eq!(one, other, "action {}: {:?}", number, action);
        }
    }
}

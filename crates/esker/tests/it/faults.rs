//! One history, and every operation of the disk that it needs: each fails once, each is the last
//! before a crash.

use std::sync::Arc;

use esker::internals::faults::{Errno, Fault, FaultPlan, FaultRule, When};
use esker::internals::{CrashPolicy, PumpEnv, SimDisk, open};
use esker::{Db, Keyspace, Options, WriteBatch};

/// What a history tried, in the order of commits, and what it was told.
#[derive(Debug, Default)]
struct Told {
    writes: Vec<Write>,
    /// A power cut may take no acknowledged write before this one.
    durable: usize,
    panics: Vec<String>,
}

#[derive(Clone, Debug)]
struct Write {
    key: String,
    places: Places,
    acknowledged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Places {
    Default,
    Users,
    Both,
}

impl Places {
    fn has(self, place: Self) -> bool {
        self == place || self == Self::Both
    }
}

fn value_of(key: &str) -> String {
    format!("{key}={}", "x".repeat(150))
}

impl Told {
    fn write(&mut self, db: &Db, users: Option<&Keyspace>, places: Places) {
        let places = if users.is_none() { Places::Default } else { places };
        let key = format!("{:04}", self.writes.len());
        let mut batch = WriteBatch::new();
        if places.has(Places::Default) {
            batch.put(&key, value_of(&key));
        }
        if let Some(users) = users.filter(|_| places.has(Places::Users)) {
            batch.put_in(users, &key, value_of(&key));
        }
        let acknowledged = db.write(batch).is_ok();
        self.writes.push(Write { key, places, acknowledged });
    }

    fn write_all(&mut self, db: &Db, users: Option<&Keyspace>, count: usize) {
        for n in 0..count {
            let places = [Places::Default, Places::Users, Places::Both][n % 3];
            self.write(db, users, places);
        }
    }

    fn note<T, E>(&mut self, synced: Result<T, E>) {
        if synced.is_ok() {
            let last = self.writes.iter().rposition(|write| write.acknowledged);
            self.durable = last.map_or(0, |last| last + 1);
        }
    }

    /// In the process that wrote it an acknowledged write is there, or its read fails.
    fn check_reads(&self, db: &Db, users: Option<&Keyspace>) {
        for write in self.writes.iter().filter(|write| write.acknowledged) {
            let places = [(Places::Default, Some(&**db)), (Places::Users, users)];
            for (_, keyspace) in places.into_iter().filter(|(place, _)| write.places.has(*place)) {
                let Some(Ok(found)) = keyspace.map(|keyspace| keyspace.get(&write.key)) else {
                    continue;
                };
                let expected = value_of(&write.key);
                assert_eq!(found.as_deref(), Some(expected.as_bytes()), "{write:?}");
            }
        }
    }

    /// Which of the writes `disk` holds: each whole or not at all, and nothing else.
    fn found_on(&self, disk: Arc<SimDisk>) -> Vec<bool> {
        let env = PumpEnv::new(7);
        let db = open(disk, env.clone(), &Options::tiny()).expect("it opens after the faults");
        let users = db.keyspace("users").unwrap();
        let found: Vec<bool> = self.writes.iter().map(|write| found(&db, &users, write)).collect();
        let expected = |place| {
            let writes = self.writes.iter().zip(&found);
            writes.filter(|(write, found)| **found && write.places.has(place)).count()
        };
        assert_eq!(db.iter().map(Result::unwrap).count(), expected(Places::Default));
        assert_eq!(users.iter().map(Result::unwrap).count(), expected(Places::Users));
        db.check().unwrap();
        db.put("alive", "1").unwrap();
        db.settle().unwrap();
        db.close().unwrap();
        assert_eq!(env.job_panics(), [""; 0]);
        found
    }

    /// Every acknowledged write is on `disk`; a failed one may be.
    fn check_acknowledged(&self, disk: Arc<SimDisk>) {
        for (write, found) in self.writes.iter().zip(self.found_on(disk)) {
            assert!(found || !write.acknowledged, "{write:?} was lost");
        }
    }
}

fn found(db: &Db, users: &Keyspace, write: &Write) -> bool {
    let places = [(Places::Default, &**db), (Places::Users, users)];
    let parts = places.into_iter().filter(|(place, _)| write.places.has(*place));
    let parts: Vec<bool> = parts
        .map(|(_, keyspace)| match keyspace.get(&write.key).unwrap() {
            Some(value) => {
                assert_eq!(value, *value_of(&write.key), "{write:?}");
                true
            }
            None => false,
        })
        .collect();
    assert!(parts.windows(2).all(|pair| pair[0] == pair[1]), "{write:?} is torn");
    parts[0]
}

/// The history; whatever fails, it goes on.
fn live(disk: &Arc<SimDisk>) -> Told {
    let mut told = Told::default();
    first_life(disk, &mut told);
    second_life(disk, &mut told);
    told
}

fn first_life(disk: &Arc<SimDisk>, told: &mut Told) {
    let env = PumpEnv::new(3);
    let Ok(db) = open(disk.clone(), env.clone(), &Options::tiny()) else { return };
    told.write_all(&db, None, 2);
    let users = db.keyspace("users").or_else(|_| db.keyspace("users")).ok();
    told.write_all(&db, users.as_ref(), 6);
    told.note(db.sync());
    told.write_all(&db, users.as_ref(), 14);
    let _ = db.flush();
    told.write_all(&db, users.as_ref(), 3);
    if let Ok(scratch) = db.keyspace("scratch") {
        let _ = scratch.put("k", "v");
    }
    let _ = db.compact();
    told.write_all(&db, users.as_ref(), 3);
    let _ = db.drop_keyspace("scratch");
    told.write_all(&db, users.as_ref(), 7);
    told.check_reads(&db, users.as_ref());
    drop(users);
    told.note(db.close());
    told.panics.extend(env.job_panics());
}

fn second_life(disk: &Arc<SimDisk>, told: &mut Told) {
    let env = PumpEnv::new(4);
    let Ok(db) = open(disk.clone(), env.clone(), &Options::tiny()) else { return };
    let users = db.keyspace("users").ok();
    told.write_all(&db, users.as_ref(), 9);
    let _ = db.settle();
    told.write_all(&db, users.as_ref(), 3);
    told.check_reads(&db, users.as_ref());
    // No close: the process is killed here.
    let killed = disk.crash(CrashPolicy::ProcessCrash, 1);
    killed.set_faults(FaultPlan::new(1));
    told.check_acknowledged(killed);
    told.panics.extend(env.job_panics());
}

fn each_operation_fails_once_with(fault: Fault) {
    for n in 1.. {
        let disk = SimDisk::new();
        disk.set_faults(FaultPlan::new(n).rule(FaultRule::new(When::Nth(n), fault)));
        let told = live(&disk);
        assert_eq!(told.panics, [""; 0], "operation {n}");
        let fired = disk.faults_fired();
        disk.set_faults(FaultPlan::new(1));
        told.check_acknowledged(disk);
        if fired == 0 {
            assert!(n > 40 && told.writes.iter().all(|write| write.acknowledged));
            return;
        }
    }
}

#[test]
fn every_operation_may_fail_with_an_io_error() {
    each_operation_fails_once_with(Fault::Error(Errno::IO));
}

#[test]
fn every_operation_may_fail_for_lack_of_space() {
    each_operation_fails_once_with(Fault::Error(Errno::NOSPC));
}

#[test]
fn every_append_may_end_early() {
    each_operation_fails_once_with(Fault::Short(30, Errno::IO));
    each_operation_fails_once_with(Fault::Short(100, Errno::NOSPC));
}

#[test]
fn a_crash_at_any_operation_leaves_a_prefix_with_all_that_was_synced() {
    for k in 0.. {
        let disk = SimDisk::new();
        disk.set_crash_at(k);
        let mut told = Told::default();
        first_life(&disk, &mut told);
        assert_eq!(told.panics, [""; 0], "operation {k}");
        // Neighbours meet different policies: all of them at every operation would take a minute.
        for n in 3 * k..3 * k + 3 {
            let policy = CrashPolicy::ALL[n as usize % CrashPolicy::ALL.len()];
            let found = told.found_on(disk.crash(policy, k));
            let prefix = found.iter().take_while(|found| **found).count();
            assert!(!found[prefix..].contains(&true), "{policy:?} at {k}: {found:?}");
            assert!(prefix >= told.durable, "{policy:?} at {k}: {prefix} of {}", told.durable);
        }
        if !disk.has_crashed() {
            return;
        }
    }
}

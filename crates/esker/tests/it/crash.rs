//! What is left after the process or the machine dies.

use esker::internals::{CrashPolicy, SimDisk};
use esker::{WriteBatch, WriteOptions};

use crate::{Bench, entries, pair};

#[test]
fn an_acknowledged_write_survives_the_death_of_the_process() {
    let Bench { db, disk } = Bench::new(1);
    db.put("k", "v").unwrap();
    let crashed = disk.crash(CrashPolicy::ProcessCrash, 1);
    assert_eq!(entries(&Bench::on(crashed, 2).db), [pair("k", "v")]);
}

#[test]
fn a_synced_write_survives_a_power_cut_under_every_policy() {
    for (seed, policy) in CrashPolicy::ALL.into_iter().enumerate() {
        let Bench { db, disk } = Bench::new(seed as u64);
        let mut batch = WriteBatch::new();
        batch.put("k", "v");
        db.write_with(batch, WriteOptions::sync()).unwrap();
        let crashed = disk.crash(policy, seed as u64);
        assert_eq!(entries(&Bench::on(crashed, 2).db), [pair("k", "v")], "{policy:?}");
    }
}

#[test]
fn t4_a_batch_over_keyspaces_is_never_torn_by_a_flush_of_one_of_them() {
    for seed in 0..200 {
        let Bench { db, disk } = Bench::new(seed);
        let users = db.keyspace("users").unwrap();
        let mut batch = WriteBatch::new();
        batch.put("k", "v");
        batch.put_in(&users, "k", "v");
        db.write(batch).unwrap();
        esker::internals::flush(&db).unwrap();
        let policy = CrashPolicy::ALL[seed as usize % CrashPolicy::ALL.len()];
        let after = Bench::on(disk.crash(policy, seed), 1);
        let theirs = after.db.keyspace("users").unwrap();
        assert_eq!(entries(&after.db), entries(&theirs), "{policy:?} {seed}");
    }
}

#[test]
fn what_a_reopened_store_showed_survives_the_next_power_cut() {
    for (seed, policy) in CrashPolicy::ALL.into_iter().enumerate() {
        let Bench { db, disk } = Bench::new(seed as u64);
        db.put("k", "v").unwrap();
        let disk = disk.crash(CrashPolicy::ProcessCrash, 1);
        let Bench { db: reopened, disk } = Bench::on(disk, 2);
        assert_eq!(entries(&reopened), [pair("k", "v")]);
        let disk = disk.crash(policy, seed as u64);
        assert_eq!(entries(&Bench::on(disk, 3).db), [pair("k", "v")], "{policy:?}");
        drop(db);
    }
}

#[test]
fn t1_a_power_cut_in_the_middle_of_anything_leaves_a_prefix() {
    for seed in 0..300_u64 {
        let disk = SimDisk::new();
        drop(Bench::on(disk.clone(), seed));
        disk.set_crash_at(disk.operations() + seed);
        let env = esker::internals::PumpEnv::new(seed);
        let mut acknowledged = 0;
        if let Ok(db) = esker::internals::open(disk.clone(), env, &esker::Options::tiny()) {
            for i in 0..60 {
                let value = "x".repeat(200);
                match db.put(format!("{i:03}"), value) {
                    Ok(()) => acknowledged = i + 1,
                    Err(_) => break,
                }
            }
        }
        let policy = CrashPolicy::ALL[seed as usize % CrashPolicy::ALL.len()];
        let Bench { db, .. } = Bench::on(disk.crash(policy, seed), 1);
        let left: Vec<_> = entries(&db).into_iter().map(|(key, _)| key).collect();
        let prefix: Vec<_> = (0..left.len()).map(|i| format!("{i:03}")).collect();
        assert_eq!(left, prefix, "{policy:?} {seed}");
        assert!(left.len() <= acknowledged + 1, "{policy:?} {seed}");
        db.check().unwrap();
    }
}

//! `quarantine`: a damaged table leaves its store, and nothing else does.

use std::sync::Arc;

use esker::internals::faults::{DiskOp, Errno, Fault};
use esker::internals::names::FileName;
use esker::internals::strike::{Look, Met, Strike};
use esker::internals::{CrashPolicy, Disk, PumpEnv, SimDisk, open, quarantine, repair, verify};
use esker::{Depth, ErrorKind, OnLoss, Options, Quarantine, TableLoss};

use crate::repair::{Contents, contents, contents_of, opened};
use crate::struck::small_store;
use crate::verify::{closed_store, picture, tables};

fn copy(disk: &SimDisk) -> Arc<SimDisk> {
    disk.crash(CrashPolicy::ProcessCrash, 1)
}

fn quarantined(disk: &Arc<SimDisk>, file: FileName, on_loss: OnLoss) -> esker::Result<Quarantine> {
    let disk: Arc<dyn Disk> = disk.clone();
    quarantine(&disk, &file.to_string(), on_loss)
}

/// What is lost with a table, which is taken out.
fn lost(disk: &Arc<SimDisk>, file: FileName) -> TableLoss {
    match quarantined(disk, file, OnLoss::Accept) {
        Ok(Quarantine::Lost(loss)) => loss,
        other => panic!("{file}: {other:?}"),
    }
}

fn aside(table: FileName) -> FileName {
    let FileName::Table(id) = table else { panic!("{table} is a table") };
    FileName::Quarantined(id)
}

/// Outside of the range of the loss all is as it was.
fn assert_only_the_range_differs(loss: &TableLoss, expected: &Contents, found: &Contents) {
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (keyspace, expected) in expected {
        let found = &found[keyspace];
        for key in expected.keys().chain(found.keys()) {
            let (first, last) = &loss.keys;
            let is_lost = loss.table.keyspace == *keyspace && (first..=last).contains(&key);
            assert!(is_lost || expected.get(key) == found.get(key), "{keyspace} {key:?}");
        }
    }
}

#[test]
fn a_damaged_table_is_taken_out_and_only_its_range_is_lost() {
    let killed = small_store();
    let closed = copy(&killed);
    opened(&closed).close().unwrap();
    for sound in [closed, killed] {
        let expected = contents_of(&sound);
        let live = verify(&*sound, Depth::Fast).unwrap().tables;
        let mut taken = 0;
        // An empty one was never written.
        for (table, _) in tables(&sound).into_iter().filter(|(_, bytes)| *bytes > 0) {
            let disk = copy(&sound);
            disk.damage(table, 100, 1);
            let bytes = disk.bytes(table);
            let before = picture(&disk);
            let told = quarantined(&disk, table, OnLoss::Tell);
            if told.as_ref().is_err_and(|error| error.to_string().contains("no such table")) {
                continue; // Merged away, and not removed yet.
            }
            assert!(picture(&disk) == before, "to tell changes nothing");
            let loss = lost(&disk, table);
            assert_eq!(told.unwrap(), Quarantine::WouldLose(loss.clone()));
            assert!(loss.entries > 0 && loss.first_seq <= loss.last_seq);
            assert!(!loss.findings.is_empty());
            assert_eq!(loss.file, table.to_string());
            assert_eq!(loss.set_aside, aside(table).to_string());
            assert_eq!((disk.bytes(table), disk.bytes(aside(table))), (None, bytes.clone()));

            let report = verify(&*disk, Depth::Full).unwrap();
            assert_eq!((report.findings, report.tables), (vec![], live - 1));
            assert!(report.notes.iter().any(|note| note.contains(&loss.set_aside)));
            let db = opened(&disk);
            assert_only_the_range_differs(&loss, &expected, &contents(&db));
            db.put("more", "goes on").unwrap();
            db.compact().unwrap();
            db.check().unwrap();
            db.close().unwrap();
            drop(opened(&disk));
            assert_eq!(disk.bytes(aside(table)), bytes, "nobody touches it");
            taken += 1;
        }
        assert_eq!(taken, live);
    }
}

#[test]
fn a_store_that_does_not_open_for_one_table_opens_without_it() {
    let sound = closed_store();
    let expected = contents_of(&sound);
    let (table, bytes) = tables(&sound)[1];
    let without_footer = copy(&sound);
    without_footer.damage(table, bytes - 10, 1);
    let without_file = copy(&sound);
    Disk::remove(&*without_file, table).unwrap();
    let shorter = copy(&sound);
    shorter.truncate(table, bytes - 64);
    for disk in [without_footer, without_file, shorter] {
        assert!(open(copy(&disk), PumpEnv::new(1), &Options::tiny()).is_err());
        let loss = lost(&disk, table);
        assert_only_the_range_differs(&loss, &expected, &contents(&opened(&disk)));
        assert_eq!(quarantined(&disk, table, OnLoss::Accept).unwrap(), Quarantine::LostBefore);
    }
}

#[test]
fn what_lost_nothing_is_refused() {
    let disk = closed_store();
    let before = picture(&disk);
    let refusal = |file: &str| {
        let disk: Arc<dyn Disk> = disk.clone();
        let error = quarantine(&disk, file, OnLoss::Accept).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        error.to_string()
    };
    let (table, bytes) = tables(&disk)[0];
    assert!(refusal(&table.to_string()).contains("is sound"));
    assert!(refusal("000000999999.sst").contains("no such table"));
    assert!(refusal("CURRENT").contains("no table is called so"));
    assert!(refusal("../000000000001.sst").contains("no table is called so"));
    assert!(picture(&disk) == before);
    let filter = (0..bytes).step_by(64).find(|offset| {
        let copy = copy(&disk);
        copy.damage(table, *offset, 1);
        let findings = verify(&*copy, Depth::Full).unwrap().findings;
        findings.iter().any(|finding| finding.part.starts_with("filter page"))
    });
    disk.damage(table, filter.expect("it has a filter"), 1);
    assert!(refusal(&table.to_string()).contains("has all its entries"));
}

#[test]
fn a_spoiled_read_is_no_reason_to_lose_a_table() {
    let sound = small_store();
    let (table, _) = tables(&sound)[1];
    for n in 1.. {
        let disk = copy(&sound);
        disk.arm(Some(Strike::at(n, Fault::FlipBit)));
        let refused = quarantined(&disk, table, OnLoss::Accept).unwrap_err();
        let fell = disk.arm(None).expect("it was armed").fell();
        let is_said = [ErrorKind::InvalidArgument, ErrorKind::Corruption].contains(&refused.kind());
        assert!(is_said, "{refused}");
        assert!(disk.bytes(table) == sound.bytes(table));
        if fell == 0 && n > 100 {
            break;
        }
    }
}

/// A killed store with a damaged table; what it holds that a power cut cannot take.
fn damaged_store() -> (Arc<SimDisk>, FileName, Contents) {
    let disk = small_store();
    let mut expected = contents_of(&disk);
    expected.get_mut("default").unwrap().remove(&b"last"[..]).expect("it was not synced");
    let live = |table: &FileName| {
        let told = quarantined(&disk, *table, OnLoss::Tell).unwrap_err();
        told.to_string().contains("is sound")
    };
    let (table, bytes) = tables(&disk).into_iter().filter(|(table, _)| live(table)).nth(1).unwrap();
    disk.damage(table, bytes - 10, 1);
    (disk, table, expected)
}

/// The table is in the store or out of it, whatever the last quarantine met, and the next one ends
/// it.
fn assert_old_or_new(left: &Arc<SimDisk>, table: FileName, bytes: &[u8], expected: &Contents) {
    let left = copy(left);
    let notes = verify(&*left, Depth::Fast).unwrap().notes;
    assert!(!notes.contains(&format!("{table}: unused, the next open removes it")));
    match open(copy(&left), PumpEnv::new(1), &Options::tiny()) {
        Err(error) => {
            assert!(error.to_string().contains(&table.to_string()), "as before: {error}");
            assert_eq!(left.bytes(table).as_deref(), Some(bytes));
        }
        Ok(db) => {
            drop(db);
            let reopened = copy(&left);
            drop(opened(&reopened));
            assert_eq!(reopened.bytes(aside(table)).as_deref(), Some(bytes), "{reopened:?}");
            assert_eq!(reopened.bytes(table), None);
        }
    }
    let again = quarantined(&left, table, OnLoss::Accept).expect("it can be repeated");
    assert_eq!(left.bytes(aside(table)).as_deref(), Some(bytes));
    assert_eq!(left.bytes(table), None);
    assert_eq!(verify(&*left, Depth::Full).unwrap().findings, []);
    let mut found = contents(&opened(&left.crash(CrashPolicy::LoseUnsynced, 1)));
    found.get_mut("default").unwrap().remove(&b"last"[..]);
    match again {
        Quarantine::Lost(loss) => assert_only_the_range_differs(&loss, expected, &found),
        other => assert_eq!(other, Quarantine::LostBefore),
    }
}

/// The operations of a quarantine.
fn operations(damaged: &SimDisk, table: FileName) -> Vec<Met> {
    let disk = copy(damaged);
    disk.arm(Some(Strike::never(Look::AtOperations)));
    lost(&disk, table);
    disk.arm(None).expect("it was armed").into_met()
}

#[test]
fn a_quarantine_that_is_interrupted_anywhere_has_happened_or_has_not() {
    let (damaged, table, expected) = damaged_store();
    let bytes = damaged.bytes(table).unwrap();
    let operations = operations(&damaged, table);
    // Between two changes of the disk one moment is as good as another.
    let reads = [DiskOp::List, DiskOp::Open, DiskOp::Read, DiskOp::Lock];
    let changes = operations.iter().zip(0..).filter(|(met, _)| !reads.contains(&met.op));
    for crash_at in changes.map(|(_, n)| n).chain([operations.len() as u64]) {
        let disk = copy(&damaged);
        disk.set_crash_at(crash_at);
        let finished = quarantined(&disk, table, OnLoss::Accept).is_ok();
        assert_eq!(finished, crash_at == operations.len() as u64);
        for policy in CrashPolicy::ALL {
            assert_old_or_new(&disk.crash(policy, crash_at), table, &bytes, &expected);
        }
    }
}

#[test]
fn whatever_fails_in_a_quarantine_it_has_happened_or_has_not() {
    let (damaged, table, expected) = damaged_store();
    let bytes = damaged.bytes(table).unwrap();
    let operations = operations(&damaged, table);
    assert!(operations.iter().any(|met| met.op == DiskOp::Rename));
    let faults = [
        Fault::Error(Errno::IO),
        Fault::Error(Errno::NOSPC),
        Fault::Short(1, Errno::IO),
        Fault::Short(100, Errno::NOSPC),
        Fault::SyncLost,
    ];
    for (met, n) in operations.iter().zip(1..) {
        for fault in faults.into_iter().filter(|fault| fault.can_happen_to(met.op)) {
            let disk = copy(&damaged);
            disk.arm(Some(Strike::at(n, fault)));
            let done = quarantined(&disk, table, OnLoss::Accept);
            assert!(disk.arm(None).is_some_and(|strike| strike.fell() == 1), "{n} {fault:?}");
            if let Err(error) = &done {
                let is_named = error.to_string().contains(&met.op.to_string())
                    || error.kind() == ErrorKind::InvalidArgument;
                assert!(is_named, "{met:?}: {error}");
            }
            for policy in [CrashPolicy::ProcessCrash, CrashPolicy::LoseUnsynced] {
                assert_old_or_new(&disk.crash(policy, n), table, &bytes, &expected);
            }
        }
    }
}

#[test]
fn a_repair_leaves_what_is_set_aside_alone() {
    let (disk, table, _) = damaged_store();
    lost(&disk, table);
    let expected = contents_of(&disk);
    let to = SimDisk::new();
    let target: Arc<dyn Disk> = to.clone();
    let report = repair(&*disk, &target, 99).unwrap();
    assert_eq!(report.losses, []);
    assert!(report.notes.iter().any(|note| note.contains(&aside(table).to_string())));
    assert_eq!(contents(&opened(&to)), expected);
}

#[test]
fn the_store_must_not_be_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let kind = |on_loss| {
        let refused = esker::quarantine(&path, "000000000017.sst", on_loss);
        refused.unwrap_err().kind()
    };
    assert_eq!(kind(OnLoss::Accept), ErrorKind::InvalidArgument);
    assert!(!path.exists());
    let db = esker::Db::open(&path).unwrap();
    assert_eq!([OnLoss::Tell, OnLoss::Accept].map(kind), [ErrorKind::Locked; 2]);
    db.close().unwrap();
    assert_eq!(kind(OnLoss::Accept), ErrorKind::InvalidArgument, "it has no such table");
}

//! What every crash policy promises, that it does not promise more, and what fails how.

use std::collections::BTreeSet;

use super::*;
use crate::base::key::{SegmentNo, TableId};
use crate::base::planted::{Bug, plant};
use crate::vfs::faults::{FaultRule, FileClass, When};

const LOG: FileName = FileName::Log(SegmentNo(1));
const OTHER_LOG: FileName = FileName::Log(SegmentNo(3));
const TABLE: FileName = FileName::Table(TableId(2));
const SEEDS: u64 = 60;

/// A file with these bytes, open; neither bytes nor name are synced.
fn write(disk: &SimDisk, name: FileName, bytes: &[u8]) -> Box<dyn AppendFile> {
    let mut file = disk.create(name).unwrap();
    file.append(bytes).unwrap();
    file
}

/// Every disk that any policy makes of this one, with the policy.
fn crashes(disk: &SimDisk) -> impl Iterator<Item = (CrashPolicy, Arc<SimDisk>)> {
    CrashPolicy::ALL
        .into_iter()
        .flat_map(move |policy| (0..SEEDS).map(move |seed| (policy, disk.crash(policy, seed))))
}

/// `count` bytes of which no sector, page or write looks like another.
fn pattern(first: u8, count: usize) -> Vec<u8> {
    (0..count).map(|at| first.wrapping_add((at / 7) as u8) | 1).collect()
}

/// All that over seeds becomes of `name` under `policy`: its bytes, or `None` if it is gone.
fn fates(disk: &SimDisk, policy: CrashPolicy, name: FileName) -> BTreeSet<Option<Vec<u8>>> {
    (0..300).map(|seed| disk.crash(policy, seed).bytes(name)).collect()
}

#[test]
fn d3_synced_bytes_of_synced_names_survive_every_crash() {
    let disk = SimDisk::new();
    let mut log = write(&disk, LOG, &pattern(1, 1_300));
    assert_eq!(log.sync_handle().sync().unwrap(), 1_300);
    disk.sync_dir().unwrap();
    // Behind that, in the same sector and the same directory, much that is not synced.
    for piece in 0..40 {
        log.append(&pattern(100 + piece, 100)).unwrap();
    }
    write(&disk, TABLE, b"unsynced");
    for (policy, after) in crashes(&disk) {
        let bytes = after.bytes(LOG).unwrap_or_else(|| panic!("{policy:?} lost the name"));
        assert!(bytes.starts_with(&pattern(1, 1_300)), "{policy:?} lost synced bytes");
        assert!(bytes.len() <= 5_300, "{policy:?}");
    }
}

#[test]
fn unsynced_bytes_vanish_under_every_policy_that_may_lose_data() {
    use CrashPolicy as P;
    let disk = SimDisk::new();
    let mut log = write(&disk, LOG, &pattern(1, 300));
    log.sync_handle().sync().unwrap();
    disk.sync_dir().unwrap();
    (0..6).for_each(|piece| log.append(&pattern(50 * piece, 3_000)).unwrap());
    let whole = disk.bytes(LOG);
    for policy in P::ALL {
        let fates = fates(&disk, policy, LOG);
        let keeps_all =
            matches!(policy, P::ProcessCrash | P::KeepAll | P::NamesLost | P::DirectorySubset);
        if keeps_all {
            assert_eq!(fates, BTreeSet::from([whole.clone()]), "{policy:?}");
        } else {
            assert!(fates.iter().any(|fate| *fate != whole), "{policy:?} never loses anything");
        }
        let is_drawn = matches!(policy, P::FilePrefix | P::Pages | P::Sectors | P::TornSectors);
        assert!(!is_drawn || fates.len() > 30, "{policy:?}: {} fates", fates.len());
    }
}

#[test]
fn prefixes_are_prefixes_and_lengths_without_data_are_zeros() {
    let disk = SimDisk::new();
    let mut log = disk.create(LOG).unwrap();
    disk.sync_dir().unwrap();
    let whole = pattern(9, 5_000);
    whole.chunks(500).for_each(|piece| log.append(piece).unwrap());
    for fate in fates(&disk, CrashPolicy::FilePrefix, LOG) {
        assert!(whole.starts_with(&fate.unwrap()));
    }
    for fate in fates(&disk, CrashPolicy::OperationPrefix, LOG) {
        let fate = fate.unwrap();
        assert!(whole.starts_with(&fate) && fate.len() % 500 == 0);
    }
    for fate in fates(&disk, CrashPolicy::LengthWithoutData, LOG) {
        let fate = fate.unwrap();
        let data = fate.iter().take_while(|byte| **byte != 0).count();
        assert!(fate.len() == 5_000 && data < 5_000, "{data} of {}", fate.len());
        assert!(whole.starts_with(&fate[..data]) && fate[data..].iter().all(|byte| *byte == 0));
    }
    assert_eq!(fates(&disk, CrashPolicy::DataLost, LOG), BTreeSet::from([Some(vec![0; 5_000])]));
}

#[test]
fn sectors_are_old_or_new_each_by_itself_and_torn_ones_are_neither() {
    let disk = SimDisk::new();
    let mut log = disk.create(LOG).unwrap();
    disk.sync_dir().unwrap();
    let whole = pattern(3, 8 * 512);
    log.append(&whole).unwrap();
    let mut holes = 0;
    for fate in fates(&disk, CrashPolicy::Sectors, LOG) {
        let fate = fate.unwrap();
        let written: Vec<bool> = fate
            .chunks(512)
            .zip(whole.chunks(512))
            .map(|(now, then)| {
                assert!(then.starts_with(now) || now.iter().all(|byte| *byte == 0));
                now[0] != 0
            })
            .collect();
        holes += usize::from(written.windows(2).any(|pair| pair == [false, true]));
    }
    assert!(holes > 20, "only {holes} crashes left a hole before a written sector");

    let is_torn = |now: &[u8], then: &[u8]| !then.starts_with(now) && now.iter().any(|b| *b != 0);
    let torn = fates(&disk, CrashPolicy::TornSectors, LOG)
        .into_iter()
        .flatten()
        .any(|fate| fate.chunks(512).zip(whole.chunks(512)).any(|(now, then)| is_torn(now, then)));
    assert!(torn, "no sector was ever torn");
}

#[test]
fn a_name_needs_its_own_sync() {
    use CrashPolicy as P;
    let disk = SimDisk::new();
    let table = write(&disk, TABLE, b"synced bytes");
    table.sync_handle().sync().unwrap();
    assert_eq!(disk.crash(P::LoseUnsynced, 0).bytes(TABLE), None);
    assert_eq!(disk.crash(P::NamesLost, 0).bytes(TABLE), None);
    assert_eq!(fates(&disk, P::DirectorySubset, TABLE).len(), 2, "there, or not");
    disk.sync_dir().unwrap();
    for (policy, after) in crashes(&disk) {
        assert_eq!(after.bytes(TABLE).as_deref(), Some(&b"synced bytes"[..]), "{policy:?}");
    }
}

#[test]
fn a_rename_is_atomic_and_brings_its_file_along() {
    let disk = SimDisk::new();
    write(&disk, FileName::Current, b"old").sync_handle().sync().unwrap();
    disk.sync_dir().unwrap();
    write(&disk, FileName::CurrentTmp, b"new").sync_handle().sync().unwrap();
    write(&disk, TABLE, b"between");
    disk.rename(FileName::CurrentTmp, FileName::Current).unwrap();
    let mut seen = BTreeSet::new();
    for (policy, after) in crashes(&disk) {
        let current = after.bytes(FileName::Current).expect("one of both");
        let is_new = current == b"new";
        assert!(is_new || current == b"old", "{policy:?}: {current:?}");
        assert!(!is_new || after.bytes(FileName::CurrentTmp).is_none(), "{policy:?}: two names");
        seen.insert(is_new);
    }
    assert_eq!(seen.len(), 2);
    let lost_between = (0..SEEDS).any(|seed| {
        let after = disk.crash(CrashPolicy::NewestKept, seed);
        after.bytes(FileName::Current).unwrap() == b"new" && after.bytes(TABLE).is_none()
    });
    assert!(lost_between, "a rename may survive when all creations before it are lost");
}

#[test]
fn changes_of_one_name_keep_their_order() {
    let disk = SimDisk::new();
    let first = write(&disk, LOG, b"first");
    first.sync_handle().sync().unwrap();
    disk.sync_dir().unwrap();
    // Moved away, and the name used again: the second may not push the first one out.
    disk.rename(LOG, OTHER_LOG).unwrap();
    write(&disk, LOG, b"second").sync_handle().sync().unwrap();
    disk.rename(LOG, TABLE).unwrap();
    for (policy, after) in crashes(&disk) {
        let somewhere = [LOG, OTHER_LOG].map(|name| after.bytes(name));
        assert!(somewhere.contains(&Some(b"first".to_vec())), "{policy:?}: {:?}", after.files());
    }
}

#[test]
fn removals_may_be_all_that_is_kept() {
    let disk = SimDisk::new();
    write(&disk, LOG, b"old").sync_handle().sync().unwrap();
    disk.sync_dir().unwrap();
    write(&disk, TABLE, b"new").sync_handle().sync().unwrap();
    disk.remove(LOG).unwrap();
    assert!(disk.crash(CrashPolicy::OnlyRemovesKept, 0).files().is_empty());
    let back = disk.crash(CrashPolicy::LoseUnsynced, 0);
    assert_eq!(back.bytes(LOG).as_deref(), Some(&b"old"[..]), "a removal that was lost");
}

#[test]
fn a_process_crash_keeps_everything_as_unsynced_as_it_was() {
    let disk = SimDisk::new();
    let _lock = disk.lock().unwrap();
    write(&disk, LOG, b"read by recovery");
    let after = disk.crash(CrashPolicy::ProcessCrash, 0);
    assert_eq!(after.bytes(LOG), disk.bytes(LOG));
    assert_eq!(after.crash(CrashPolicy::LoseUnsynced, 0).bytes(LOG), None);
    // What recovery must do before it believes what it has read.
    after.sync_existing(LOG).unwrap();
    after.sync_dir().unwrap();
    assert_eq!(after.crash(CrashPolicy::LoseUnsynced, 0).bytes(LOG), disk.bytes(LOG));
    after.lock().expect("the lock went with its process");
}

#[test]
fn the_dying_instance_cannot_touch_what_comes_after() {
    let disk = SimDisk::new();
    let mut log = write(&disk, LOG, b"before");
    let after = disk.crash(CrashPolicy::KeepAll, 0);
    log.append(b" and after").unwrap();
    log.sync_handle().sync().unwrap();
    disk.remove(LOG).unwrap();
    drop(log);
    assert_eq!(after.bytes(LOG).as_deref(), Some(&b"before"[..]));
}

#[test]
fn a_seal_happened_or_not() {
    let disk = SimDisk::new();
    let mut log = write(&disk, LOG, &[7; 1_000]);
    log.sync_handle().sync().unwrap();
    disk.sync_dir().unwrap();
    log.seal(600).unwrap();
    let lens: BTreeSet<usize> =
        crashes(&disk).map(|(_, after)| after.bytes(LOG).unwrap().len()).collect();
    assert_eq!(lens, BTreeSet::from([600, 1_000]));
    assert_eq!(log.sync_handle().sync().unwrap(), 600);
    assert!(crashes(&disk).all(|(_, after)| after.bytes(LOG).unwrap().len() == 600));
}

#[test]
fn a_file_written_over_keeps_its_old_bytes_as_the_old_state_of_its_sectors() {
    let disk = SimDisk::new();
    disk.put_file(FileName::Spare(1), &[1; 2_048]);
    disk.rename(FileName::Spare(1), LOG).unwrap();
    disk.sync_dir().unwrap();
    let mut state = disk.state();
    let inode = state.names[&LOG];
    let at = state.clock;
    state.file_mut(inode).write(at, 0, &[2; 1_024]);
    drop(state);
    for fate in fates(&disk, CrashPolicy::Sectors, LOG) {
        let fate = fate.unwrap();
        assert_eq!(fate.len(), 2_048);
        assert!(fate.chunks(512).all(|sector| sector == [1; 512] || sector == [2; 512]));
        assert_eq!(fate[1_024..], [1; 1_024], "not written");
    }
    assert_eq!(fates(&disk, CrashPolicy::Sectors, LOG).len(), 4, "each of two sectors by itself");
}

#[test]
fn crashes_follow_from_operations_policy_and_seed() {
    let run = || {
        let disk = SimDisk::new();
        let mut log = write(&disk, LOG, &pattern(1, 2_000));
        log.append(&pattern(2, 2_000)).unwrap();
        write(&disk, TABLE, &pattern(3, 3_000));
        disk
    };
    let (one, two) = (run(), run());
    assert_eq!(one.operations_hash(), two.operations_hash());
    for ((policy, one), (_, two)) in crashes(&one).zip(crashes(&two)) {
        assert_eq!(one.files(), two.files(), "{policy:?}");
        assert_eq!(one.bytes(LOG), two.bytes(LOG), "{policy:?}");
    }
    let before = one.operations_hash();
    one.sync_dir().unwrap();
    assert_ne!(one.operations_hash(), before);
}

#[test]
fn a_removed_file_that_is_open_reads_on_and_costs_space_until_closed() {
    let disk = SimDisk::new();
    disk.set_capacity(1_000);
    drop(write(&disk, TABLE, &[5; 800]));
    let reader = disk.open(TABLE).unwrap();
    disk.remove(TABLE).unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(disk.open(TABLE).unwrap_err().kind(), ErrorKind::Io);
    let mut out = [0; 800];
    reader.read_exact_at(&mut out, 0).unwrap();
    assert_eq!(out, [5; 800]);
    assert_eq!(disk.space().unwrap(), Space { free_bytes: 200, total_bytes: 1_000 });
    drop(reader);
    assert_eq!(disk.space().unwrap().free_bytes, 1_000);
}

#[test]
fn a_full_disk_takes_what_fits_and_is_free_again_when_files_go() {
    let disk = SimDisk::new();
    disk.set_capacity(1_000);
    drop(write(&disk, TABLE, &[1; 900]));
    let mut log = disk.create(LOG).unwrap();
    let error = log.append(&[2; 300]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.to_string().starts_with("append 000000000001.log: "), "{error}");
    assert_eq!((log.len(), disk.bytes(LOG).unwrap().len()), (0, 100));
    log.seal(0).unwrap();
    disk.remove(TABLE).unwrap();
    write(&disk, OTHER_LOG, &[3; 1_000]);
}

#[test]
fn d1_a_file_takes_nothing_after_a_failed_append_or_a_seal() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let disk = SimDisk::new();
    let short = FaultRule::new(When::Nth(2), Fault::Short(3, Errno::IO)).op(DiskOp::Append);
    disk.set_faults(FaultPlan::new(0).rule(short));
    let mut log = write(&disk, LOG, b"good");
    assert_eq!(log.append(b"broken").unwrap_err().kind(), ErrorKind::Io);
    assert_eq!((log.len(), disk.bytes(LOG).unwrap()), (4, b"goodbro".to_vec()));
    let more = catch_unwind(AssertUnwindSafe(|| log.append(b"more")));
    assert!(more.is_err(), "an append after a failed one");
    plant(Some(Bug::AppendAfterShortWrite));
    log.append(b"!").unwrap();
    plant(None);
    assert_eq!(disk.bytes(LOG).unwrap(), b"goodbro!", "the mistake leaves a torn piece behind");
    let mut table = write(&disk, TABLE, b"all");
    table.seal(3).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| table.append(b"more"))).is_err());
}

#[test]
#[should_panic(expected = "invariant D2 is broken")]
fn d2_a_seal_that_would_lengthen_is_refused() {
    let _ = write(&SimDisk::new(), LOG, b"four").seal(5);
}

#[test]
fn a_failed_sync_is_never_believed_again() {
    for fault in [Fault::Error(Errno::IO), Fault::SyncLost] {
        let disk = SimDisk::new();
        let log = write(&disk, LOG, b"in doubt");
        disk.sync_dir().unwrap();
        disk.set_faults(
            FaultPlan::new(0).rule(FaultRule::new(When::Nth(1), fault).op(DiskOp::Sync)),
        );
        assert_eq!(log.sync_handle().sync().unwrap_err().kind(), ErrorKind::Io);
        let error = log.sync_handle().sync().unwrap_err();
        assert!(error.to_string().contains("an earlier sync failed"), "{error}");
        assert_eq!(disk.faults_fired(), 1);
        // Reads see it; after a power cut it may or must be gone.
        assert_eq!(disk.bytes(LOG).as_deref(), Some(&b"in doubt"[..]));
        let kept = disk.crash(CrashPolicy::KeepAll, 0).bytes(LOG).unwrap();
        assert_eq!(kept == b"in doubt", fault != Fault::SyncLost);
    }
}

#[test]
fn what_a_failed_sync_lost_no_later_process_gets_back_by_syncing() {
    let disk = SimDisk::new();
    let log = write(&disk, LOG, b"lost");
    let lost = FaultRule::new(When::Nth(1), Fault::SyncLost);
    disk.set_faults(FaultPlan::new(0).rule(lost));
    log.sync_handle().sync().unwrap_err();
    let next = disk.crash(CrashPolicy::ProcessCrash, 0);
    next.sync_existing(LOG).unwrap();
    next.sync_dir().unwrap();
    assert_eq!(next.bytes(LOG).unwrap(), b"lost", "the cache has it");
    assert_eq!(next.crash(CrashPolicy::KeepAll, 0).bytes(LOG).unwrap(), [0; 4]);
}

#[test]
fn errors_happen_to_the_operation_they_were_ordered_for() {
    let disk = SimDisk::new();
    drop(write(&disk, TABLE, b"bytes"));
    let orders = [
        (DiskOp::Create, Errno::NOSPC, ErrorKind::NoSpace, "create 000000000001.log: "),
        (DiskOp::Open, Errno::MFILE, ErrorKind::Io, "open 000000000002.sst: "),
        (DiskOp::Rename, Errno::IO, ErrorKind::Io, "rename 000000000002.sst to 000000000001.log: "),
        (DiskOp::Remove, Errno::ROFS, ErrorKind::Io, "remove 000000000002.sst: "),
        (DiskOp::List, Errno::IO, ErrorKind::Io, "list: "),
        (DiskOp::SyncDir, Errno::DQUOT, ErrorKind::NoSpace, "sync the directory: "),
        (DiskOp::SyncExisting, Errno::IO, ErrorKind::Io, "sync 000000000002.sst: "),
        (DiskOp::Lock, Errno::IO, ErrorKind::Io, "lock LOCK: "),
        (DiskOp::Space, Errno::IO, ErrorKind::Io, "space: "),
    ];
    for (op, errno, kind, text) in orders {
        let rule = FaultRule::new(When::Nth(1), Fault::Error(errno)).op(op);
        disk.set_faults(FaultPlan::new(0).rule(rule));
        let error = match op {
            DiskOp::Create => disk.create(LOG).map(drop),
            DiskOp::Open => disk.open(TABLE).map(drop),
            DiskOp::Rename => disk.rename(TABLE, LOG),
            DiskOp::Remove => disk.remove(TABLE),
            DiskOp::List => disk.list().map(drop),
            DiskOp::SyncDir => disk.sync_dir(),
            DiskOp::SyncExisting => disk.sync_existing(TABLE),
            DiskOp::Lock => disk.lock().map(drop),
            _ => disk.space().map(drop),
        }
        .unwrap_err();
        assert_eq!(error.kind(), kind, "{op:?}");
        assert!(error.to_string().starts_with(text), "{error}");
        assert_eq!(disk.files(), [(TABLE, 5)], "{op:?} had no effect");
    }
}

#[test]
fn reads_can_be_wrong_or_refused() {
    let disk = SimDisk::new();
    drop(write(&disk, TABLE, &[0xa5; 64]));
    let read = |fault: Fault| {
        let rule = FaultRule::new(When::Nth(1), fault).op(DiskOp::Read).class(FileClass::Table);
        disk.set_faults(FaultPlan::new(11).rule(rule));
        let mut out = [0xff; 64];
        disk.open(TABLE).unwrap().read_exact_at(&mut out, 0).map(|()| out)
    };
    assert_eq!(read(Fault::Error(Errno::IO)).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(read(Fault::Zero).unwrap(), [0; 64]);
    let flipped: u32 = read(Fault::FlipBit).unwrap().iter().map(|b| (b ^ 0xa5).count_ones()).sum();
    assert_eq!(flipped, 1);
    assert_eq!(disk.bytes(TABLE).unwrap(), [0xa5; 64], "the medium is well");
}

#[test]
fn a_machine_that_has_crashed_stands_still() {
    let disk = SimDisk::new();
    let mut log = write(&disk, LOG, b"one ");
    let reader = disk.open(LOG).unwrap();
    assert_eq!(disk.operations(), 3);
    disk.set_crash_at(4);
    log.append(b"two").unwrap();
    assert!(!disk.has_crashed());
    let hash = disk.operations_hash();
    let errors = [
        log.append(b"three").unwrap_err(),
        log.sync_handle().sync().unwrap_err(),
        log.seal(0).unwrap_err(),
        reader.read_exact_at(&mut [0], 0).unwrap_err(),
        disk.create(TABLE).map(drop).unwrap_err(),
        disk.open(LOG).map(drop).unwrap_err(),
        disk.rename(LOG, TABLE).unwrap_err(),
        disk.remove(LOG).unwrap_err(),
        disk.list().unwrap_err(),
        disk.sync_dir().unwrap_err(),
        disk.sync_existing(LOG).unwrap_err(),
        disk.lock().map(drop).unwrap_err(),
        disk.space().unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().ends_with(": the machine has crashed"), "{error}");
    }
    assert!(disk.has_crashed());
    assert_eq!((disk.operations(), disk.operations_hash()), (4, hash));
    assert_eq!(disk.crash(CrashPolicy::KeepAll, 0).bytes(LOG).unwrap(), b"one two");
}

#[test]
fn bit_rot_is_there_before_and_after_a_crash() {
    let disk = SimDisk::new();
    drop(write(&disk, TABLE, &[0; 10]));
    disk.sync_dir().unwrap();
    disk.damage(TABLE, 3, 0x81);
    disk.overwrite(TABLE, 5, b"xy");
    disk.truncate(TABLE, 8);
    let rotten = Some(vec![0, 0, 0, 0x81, 0, b'x', b'y', 0]);
    assert_eq!(disk.bytes(TABLE), rotten);
    assert_eq!(disk.crash(CrashPolicy::LoseUnsynced, 0).bytes(TABLE), rotten);
}

#[test]
fn foreign_entries_are_listed_apart_and_survive() {
    let disk = SimDisk::new();
    disk.add_foreign("notes.txt");
    disk.put_file(TABLE, b"put");
    for (_, after) in crashes(&disk) {
        let listing = after.list().unwrap();
        assert_eq!(listing.files, [(TABLE, 3)]);
        assert_eq!(listing.foreign, ["notes.txt"]);
    }
}

#[test]
fn one_lock_at_a_time() {
    let disk = SimDisk::new();
    let guard = disk.lock().unwrap();
    assert_eq!(disk.lock().unwrap_err().kind(), ErrorKind::Locked);
    drop(guard);
    disk.lock().unwrap();
    assert_eq!(disk.files(), [(FileName::Lock, 0)]);
}

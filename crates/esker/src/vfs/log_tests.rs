//! Log segments of real directories: mapped and written ones behave alike, up to what stands
//! behind the last append.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::mapped::{self, Pages, may_map};
use super::os::{LogWrites, OsDisk};
use super::{Disk, Room};
use crate::base::error::ErrorKind;
use crate::base::key::SegmentNo;
use crate::base::names::FileName;

const LOG: FileName = FileName::Log(SegmentNo(1));
const SPARE: FileName = FileName::Spare(1);
const NEXT: FileName = FileName::Log(SegmentNo(2));
const MIB: u64 = 1 << 20;

/// Where segments can be mapped, if anywhere here.
fn mappable() -> Option<tempfile::TempDir> {
    let places = [std::env::temp_dir(), "/dev/shm".into(), ".".into()];
    let dirs = places.iter().filter_map(|place| tempfile::tempdir_in(place).ok());
    dirs.into_iter().find(|dir| std::fs::File::open(dir.path()).is_ok_and(may_map))
}

/// Runs a test on a disk that maps its segments, and on one that does not.
fn both(test: impl Fn(&Path, Arc<OsDisk>)) {
    for (dir, how) in
        [(mappable(), LogWrites::Mapped), (Some(tempfile::tempdir().unwrap()), LogWrites::Write)]
    {
        let Some(dir) = dir else { continue };
        test(dir.path(), OsDisk::open_dir_with(dir.path(), how).unwrap());
    }
}

fn pattern(seed: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u64 * 31 + seed * 17 + at as u64 / 251) as u8).collect()
}

fn bytes(dir: &Path, name: FileName) -> Vec<u8> {
    std::fs::read(dir.join(name.to_string())).unwrap()
}

#[test]
fn what_was_appended_is_there_for_others_at_once_and_a_seal_cuts_the_rest() {
    both(|dir, disk| {
        let mut log = disk.create_log(LOG, None, 10 * MIB).unwrap();
        let mut whole = Vec::new();
        for (seed, len) in [(1, 128), (2, 136), (3, 8), (4, 3), (5, 70_000), (6, 1)] {
            let piece = pattern(seed, len);
            log.append(&piece).unwrap();
            whole.extend(piece);
            assert!(bytes(dir, LOG).starts_with(&whole), "after {len} bytes");
        }
        assert_eq!(log.len(), whole.len() as u64);
        assert_eq!(log.sync_handle().sync().unwrap(), log.len());
        let sealed = log.len() - 1;
        log.seal(sealed).unwrap();
        assert_eq!(bytes(dir, LOG), whole[..whole.len() - 1]);
    });
}

#[test]
fn a_trimmed_segment_takes_more() {
    both(|dir, disk| {
        let mut log = disk.create_log(LOG, None, 10 * MIB).unwrap();
        let whole = pattern(1, 3_000_000);
        for piece in whole.chunks(100_000) {
            log.append(piece).unwrap();
            log.trim().unwrap();
            assert_eq!(bytes(dir, LOG).len() as u64, log.len());
        }
        assert_eq!(bytes(dir, LOG), whole);
    });
}

#[test]
fn a_spare_keeps_its_bytes_until_they_are_written_over() {
    both(|dir, disk| {
        let mut log = disk.create_log(LOG, None, MIB).unwrap();
        let old = pattern(1, 2_000_000);
        log.append(&old).unwrap();
        drop(log);
        disk.rename(LOG, SPARE).unwrap();
        let mut next = disk.create_log(NEXT, Some(SPARE), MIB).unwrap();
        let new = pattern(2, 1_000_000);
        assert!(next.is_empty() && bytes(dir, NEXT).starts_with(&old));
        next.append(&new).unwrap();
        assert_eq!(next.sync_handle().sync().unwrap(), 1_000_000);
        let now = bytes(dir, NEXT);
        assert!(now.starts_with(&new) && now[1_000_000..].starts_with(&old[1_000_000..]));
        let more = pattern(3, 5_000_000);
        next.append(&more).unwrap();
        let end = next.len();
        next.seal(end).unwrap();
        assert_eq!(bytes(dir, NEXT), [new, more].concat());
        assert_eq!(disk.list().unwrap().files, [(NEXT, end)]);
    });
}

#[test]
#[should_panic(expected = "invariant D4 is broken")]
fn d4_a_file_with_two_writers_is_refused() {
    let dir = mappable();
    let disk = match &dir {
        Some(dir) => OsDisk::open_dir(dir.path()).unwrap() as Arc<dyn Disk>,
        None => super::sim::SimDisk::new(),
    };
    let _log = disk.create_log(LOG, None, MIB).unwrap();
    disk.rename(LOG, SPARE).unwrap();
    let _ = disk.create_log(NEXT, Some(SPARE), MIB);
}

#[test]
fn a_small_log_is_small_and_room_is_made_ahead_of_a_growing_one() {
    let Some(dir) = mappable() else { return };
    let disk = OsDisk::open_dir(dir.path()).unwrap();
    let mut log = disk.create_log(LOG, None, 64 * MIB).unwrap();
    let beside = log.sync_handle();
    let len = || disk.list().unwrap().files[0].1;
    log.append(&[1; 128]).unwrap();
    assert!(log.wants_room(), "no page is ready yet");
    while beside.make_room().unwrap() == Room::Missing {}
    assert!(len() <= 2 * MIB, "{} bytes for a small log", len());
    assert!(!log.wants_room());
    let mut asked = 0;
    for _ in 0..160 {
        log.append(&[2; 65_536]).unwrap();
        if log.wants_room() {
            asked += 1;
            while beside.make_room().unwrap() == Room::Missing {}
        }
        assert!(len() <= log.len() + 6 * MIB && len() >= log.len());
    }
    assert!((3..=20).contains(&asked), "asked for room {asked} times in 10 MiB");
}

/// Also: a segment that outgrows its mapping is mapped again.
#[test]
fn appends_syncs_and_room_making_beside_each_other_lose_nothing() {
    let Some(dir) = mappable() else { return };
    let disk = OsDisk::open_dir(dir.path()).unwrap();
    let whole = pattern(7, 40_000_000);
    let mut log = disk.create_log(LOG, None, 4096).unwrap();
    let beside = log.sync_handle();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (done, beside) = (&done, &beside);
        let until_done = |act: &dyn Fn()| {
            while !done.load(Ordering::Acquire) {
                act();
            }
        };
        scope.spawn(move || until_done(&|| assert!(beside.make_room().is_ok())));
        scope.spawn(move || until_done(&|| assert!(beside.sync().is_ok())));
        for (at, piece) in whole.chunks(1_016).enumerate() {
            log.append(piece).unwrap();
            if at % 5_000 == 4_999 {
                log.trim().unwrap();
            }
        }
        done.store(true, Ordering::Release);
    });
    assert!(bytes(dir.path(), LOG).starts_with(&whole));
    let mut second = {
        drop(log);
        disk.rename(LOG, SPARE).unwrap();
        disk.create_log(NEXT, Some(SPARE), 4096).unwrap()
    };
    let again = pattern(8, 40_000_000);
    again.chunks(4_096).for_each(|piece| second.append(piece).unwrap());
    assert!(bytes(dir.path(), NEXT).starts_with(&again));
}

#[test]
fn an_append_that_finds_no_space_stores_nothing() {
    let Some(dir) = mappable() else { return };
    let path = dir.path().join("file");
    let file =
        std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let file: Arc<std::os::fd::OwnedFd> = Arc::new(file.into());
    mapped::allocate(&file, 0, 4096).unwrap();
    let pages = Pages::map(file, 4096, 4096).unwrap();
    let mut stores = pages.writer();
    stores.store(0, b"there is room for this").unwrap();
    // No file system has so much.
    let errno = stores.store((1 << 62) + 8, b"but not for this").unwrap_err();
    let error = crate::base::error::Error::io("append", errno.into());
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(pages.make_room(1 << 62).is_err());
    let there = std::fs::read(&path).unwrap();
    assert!(there.starts_with(b"there is room for this"));
    assert_eq!(there.len(), 4096);
}

//! What only a real directory shows: owners, links, pipes, descriptors that fail, two locks.

use super::*;
use crate::base::error::ErrorKind;
use crate::base::key::{SegmentNo, TableId};
use rustix::fs::FlockOperation;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};

const LOG: FileName = FileName::Log(SegmentNo(1));
const TABLE: FileName = FileName::Table(TableId(2));

fn disk() -> (tempfile::TempDir, Arc<OsDisk>) {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::open_dir(dir.path()).unwrap();
    (dir, disk)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn directories_and_files_are_made_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/c");
    let disk = OsDisk::open_dir(&path).unwrap();
    disk.create(LOG).unwrap().append(b"bytes").unwrap();
    assert_eq!((mode(&path), mode(&path.join("000000000001.log"))), (0o700, 0o600));
    assert_eq!(disk.describe(), path.display().to_string());
    let again = OsDisk::open_dir(&path).unwrap();
    assert_eq!(again.list().unwrap().files, [(LOG, 5)]);
}

#[test]
fn a_path_that_is_no_directory_is_an_error_that_names_it() {
    let error = OsDisk::open_dir(Path::new("/dev/null/no-such-place")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("/dev/null/no-such-place"), "{error}");
}

#[test]
fn symbolic_links_are_not_followed() {
    let (dir, disk) = disk();
    symlink("/etc/passwd", dir.path().join(LOG.to_string())).unwrap();
    assert_eq!(disk.open(LOG).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(disk.create(LOG).map(drop).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(disk.list().unwrap().foreign, [LOG.to_string()]);
}

#[test]
fn everything_that_is_not_ours_is_listed_as_foreign() {
    let (dir, disk) = disk();
    std::fs::create_dir(dir.path().join("CURRENT")).unwrap();
    std::fs::write(dir.path().join("notes.txt"), "x").unwrap();
    let listing = disk.list().unwrap();
    assert_eq!((listing.files, listing.foreign.join(" ")), (vec![], "CURRENT notes.txt".into()));
}

/// Neither can be made like this on macOS.
#[cfg(target_os = "linux")]
#[test]
fn pipes_and_names_that_are_no_text_are_foreign() {
    use std::os::unix::ffi::OsStrExt;
    let (dir, disk) = disk();
    let pipe = TABLE.to_string();
    rustix::fs::mknodat(&disk.dir, pipe.as_str(), FileType::Fifo, OWNER_ONLY, 0).unwrap();
    assert_eq!(disk.open(TABLE).unwrap_err().kind(), ErrorKind::Io);
    std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"odd\xff")), "x").unwrap();
    assert_eq!(disk.list().unwrap().foreign, [pipe.as_str(), "odd\u{fffd}"]);
}

#[test]
fn d1_after_a_failed_append_only_a_seal_may_follow() {
    let (_dir, disk) = disk();
    disk.create(LOG).unwrap().append(b"good").unwrap();
    // A descriptor for reading refuses every write.
    let file = disk.open_file(LOG, OFlags::RDONLY).unwrap();
    let mut file = OsAppend::written(Arc::new(file), LOG);
    let error = file.append(b"more").unwrap_err();
    assert!(error.to_string().starts_with("append 000000000001.log: "), "{error}");
    assert_eq!(file.len(), 0);
    assert!(catch_unwind(AssertUnwindSafe(|| file.append(b"more"))).is_err());
    assert!(file.seal(0).is_err());
}

#[test]
#[should_panic(expected = "invariant D2 is broken")]
fn d2_a_seal_that_would_lengthen_is_refused() {
    let (_dir, disk) = disk();
    let _ = disk.create(LOG).unwrap().seal(1);
}

#[test]
fn the_first_failed_sync_answers_all_later_ones() {
    // Pipes cannot be synced.
    let (pipe, _other_end) = io::pipe().unwrap();
    let file = OsAppend::written(Arc::new(pipe.into()), LOG).sync_handle();
    let first = file.sync().unwrap_err().to_string();
    assert!(first.starts_with("sync 000000000001.log: "), "{first}");
    assert_eq!(file.sync().unwrap_err().to_string(), format!("an earlier sync failed: {first}"));
}

#[test]
fn a_sync_covers_what_was_appended_before_and_outlives_the_file() {
    let (_dir, disk) = disk();
    let mut file = disk.create(LOG).unwrap();
    let sync = file.sync_handle();
    assert_eq!(sync.sync().unwrap(), 0);
    file.append(b"12345").unwrap();
    assert_eq!(sync.sync().unwrap(), 5);
    file.seal(3).unwrap();
    drop(file);
    assert_eq!(sync.sync().unwrap(), 3);
}

#[test]
fn a_read_past_the_end_says_what_is_missing() {
    let (_dir, disk) = disk();
    disk.create(TABLE).unwrap().append(b"12345").unwrap();
    let file = disk.open(TABLE).unwrap();
    for (offset, expected) in [(3, 7), (100, 104), (u64::MAX - 1, u64::MAX)] {
        let error = file.read_exact_at(&mut [0; 4], offset).unwrap_err();
        let place = error.corruption().unwrap();
        assert_eq!((place.file.as_str(), place.offset), ("000000000002.sst", offset));
        assert_eq!((&*place.part, &*place.found), ("file length", "5 bytes"));
        assert_eq!(place.expected, format!("at least {expected} bytes"));
    }
    file.read_exact_at(&mut [], 100).unwrap();
}

#[test]
fn a_second_lock_is_refused_in_this_process_and_in_another() {
    let (dir, disk) = disk();
    let link = tempfile::tempdir().unwrap();
    symlink(dir.path(), link.path().join("link")).unwrap();
    let other = OsDisk::open_dir(&link.path().join("link")).unwrap();
    let guard = disk.lock().unwrap();
    let error = other.lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains("in this process"), "{error}");
    drop(guard);
    drop(other.lock().unwrap());
    // A descriptor of its own is to `flock` what another process is.
    let file = File::open(dir.path().join("LOCK")).unwrap();
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let error = disk.lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains("in another process"), "{error}");
    drop(file);
    disk.lock().expect("a refusal leaves nothing behind");
}

#[test]
fn a_directory_that_goes_away_is_an_error_and_no_panic() {
    let (dir, disk) = disk();
    let guard = disk.lock().unwrap();
    let mut log = disk.create(LOG).unwrap();
    let reader = disk.open(LOG).unwrap();
    dir.close().unwrap();
    log.append(b"into the void").unwrap();
    log.sync_handle().sync().unwrap();
    let mut out = [0; 4];
    reader.read_exact_at(&mut out, 0).unwrap();
    assert_eq!(&out, b"into");
    for error in [
        disk.create(TABLE).map(drop).unwrap_err(),
        disk.open(LOG).map(drop).unwrap_err(),
        disk.rename(LOG, TABLE).unwrap_err(),
        disk.sync_existing(LOG).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Io);
    }
    disk.remove(LOG).unwrap();
    let _ = (disk.list(), disk.sync_dir(), disk.space());
    drop(guard);
}

#[test]
fn the_space_of_a_file_system_is_known() {
    let (_dir, disk) = disk();
    let space = disk.space().unwrap();
    assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes, "{space:?}");
}

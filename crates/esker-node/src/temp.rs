//! Temporary directories that do not outlive their node by much.
//!
//! A directory is made under a name that nobody sweeps, its lock file is locked, and only then it
//! takes its real name. So a directory with the real name whose lock is free belongs to a dead
//! node: harnesses kill theirs. Every new directory sweeps such ones, while it holds their lock,
//! so that two sweeps cannot meet. The lock dies with the process, however that ends.
//!
//! What a crash leaves: a directory, until the next node starts; an empty newborn one for good,
//! if the crash came between making and renaming it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

const PREFIX: &str = "esker-node-";
const NEWBORN_PREFIX: &str = "esker-newborn-";
const LOCK: &str = "LOCK";

/// A directory of this process's own, removed when it is dropped.
pub(crate) struct TempDir {
    path: PathBuf,
    _lock: File,
}

impl TempDir {
    /// Makes one in the system's place for temporary files, and removes those of the dead there.
    pub(crate) fn new() -> io::Result<Self> {
        Self::new_in(&std::env::temp_dir())
    }

    fn new_in(parent: &Path) -> io::Result<Self> {
        let (newborn, suffix) = make(parent)?;
        let lock = File::create_new(newborn.join(LOCK))?;
        lock.try_lock()?;
        let path = parent.join(format!("{PREFIX}{suffix}"));
        fs::rename(&newborn, &path)?;
        sweep(parent, fs::metadata(&path)?.uid());
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A failure leaves a directory whose lock is free: the next node's to sweep.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A new directory that only its owner may enter, and the end of its name. Process numbers are
/// used again, so the real name may belong to a dead node or to another thread; as long as the
/// newborn exists nobody else can take it.
fn make(parent: &Path) -> io::Result<(PathBuf, String)> {
    let mut counter = 0_u64;
    loop {
        let suffix = format!("{}-{counter}", std::process::id());
        let newborn = parent.join(format!("{NEWBORN_PREFIX}{suffix}"));
        match DirBuilder::new().mode(0o700).create(&newborn) {
            Ok(()) if !parent.join(format!("{PREFIX}{suffix}")).try_exists()? => {
                return Ok((newborn, suffix));
            }
            Ok(()) => fs::remove_dir(&newborn)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        counter += 1;
    }
}

/// Removes the directories of dead nodes of this user. Best effort: what cannot be read, locked
/// or removed is left.
fn sweep(parent: &Path, user: u32) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && entry.metadata().is_ok_and(|data| data.is_dir() && data.uid() == user);
        if !ours {
            continue;
        }
        let lock = OpenOptions::new().write(true).open(entry.path().join(LOCK));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(parent: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(parent)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_dropped_directory_is_gone_and_a_living_one_is_never_swept() {
        let parent = tempfile::tempdir().unwrap();
        let first = TempDir::new_in(parent.path()).unwrap();
        let second = TempDir::new_in(parent.path()).unwrap();
        assert!(first.path().is_dir() && second.path().is_dir());
        drop(first);
        assert_eq!(names(parent.path()).len(), 1);
        drop(second);
        assert!(names(parent.path()).is_empty());
    }

    #[test]
    fn the_dead_are_swept_and_strangers_are_left() {
        let parent = tempfile::tempdir().unwrap();
        let dead = parent.path().join("esker-node-dead");
        fs::create_dir_all(dead.join("store/deep")).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        for name in ["esker-node-without-lock", "esker-newborn-1-0", "something"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let taken = format!("esker-node-{}-0", std::process::id());
        fs::create_dir(parent.path().join(&taken)).unwrap();
        let living = TempDir::new_in(parent.path()).unwrap();
        let living = living.path().file_name().unwrap().to_str().unwrap();
        let mut expected = vec!["esker-newborn-1-0", "esker-node-without-lock", "something"];
        expected.extend([living, &taken]);
        expected.sort();
        assert_eq!(names(parent.path()), expected);
    }
}

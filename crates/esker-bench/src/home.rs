//! Where the store lies, and the note beside it that says what is in it.
//!
//! ```text
//! DIR/store/      the store, made anew by every fill
//! DIR/holds.json  what it holds; `null` while that changes
//! ```
//!
//! With the note a later run can read what an earlier one filled. A directory with something else
//! in it is refused, and so is one without the note: nothing is removed that no run has made.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::error::{Error, Result};

const STORE: &str = "store";
const NOTE: &str = "holds.json";

/// What a store holds: records as [`crate::entries`] numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Bytes of each key.
    pub key_bytes: usize,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Records of the fill.
    pub filled: u64,
    /// Records inserted since.
    pub inserted: u64,
}

impl Contents {
    /// How many records there are.
    pub fn records(&self) -> u64 {
        self.filled + self.inserted
    }

    /// Bytes of their keys and values.
    pub fn live_bytes(&self) -> u64 {
        self.records() * (self.key_bytes + self.value_bytes) as u64
    }
}

/// A directory for one store.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    /// Removes the directory in the end.
    _temporary: Option<TempDir>,
}

impl Home {
    /// The directory `dir`, created if it is not there, or a temporary one.
    pub fn open(dir: Option<&Path>) -> Result<Self> {
        let Some(dir) = dir else {
            let temporary = tempfile::Builder::new().prefix("esker-bench-").tempdir();
            let temporary = temporary.map_err(Error::io("creating a temporary directory"))?;
            return Ok(Self { dir: temporary.path().to_owned(), _temporary: Some(temporary) });
        };
        fs::create_dir_all(dir).map_err(Error::io(dir.display()))?;
        let home = Self { dir: dir.to_owned(), _temporary: None };
        let is_ours = home.note().exists();
        for name in fs::read_dir(dir).map_err(Error::io(dir.display()))? {
            let name = name.map_err(Error::io(dir.display()))?.file_name();
            if !is_ours || (name != STORE && name != NOTE) {
                return Err(Error::Usage(format!(
                    "{} holds {name:?}, which no run of this has made: choose an empty directory",
                    dir.display()
                )));
            }
        }
        Ok(home)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The store's own directory.
    pub fn store(&self) -> PathBuf {
        self.dir.join(STORE)
    }

    fn note(&self) -> PathBuf {
        self.dir.join(NOTE)
    }

    /// What an earlier run left, if that is known.
    pub fn contents(&self) -> Option<Contents> {
        serde_json::from_slice(&fs::read(self.note()).ok()?).ok()?
    }

    /// Notes what the store holds; `None` while nobody knows.
    pub fn note_contents(&self, contents: Option<&Contents>) -> Result<()> {
        let text = serde_json::to_string(&contents).expect("numbers are JSON");
        fs::write(self.note(), text + "\n").map_err(Error::io(self.note().display()))
    }

    /// Removes the store that an earlier fill made.
    pub fn remove_store(&self) -> Result<()> {
        match fs::remove_dir_all(self.store()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Io(self.store().display().to_string(), error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_home_is_removed() {
        let home = Home::open(None).unwrap();
        let dir = home.dir().to_owned();
        assert!(dir.is_dir());
        drop(home);
        assert!(!dir.exists());
    }

    #[test]
    fn a_directory_with_something_else_is_refused_and_left() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["letter", STORE] {
            let inside = dir.path().join(name);
            fs::create_dir_all(inside.join(name)).unwrap();
            let error = Home::open(Some(&inside)).unwrap_err();
            assert!(matches!(&error, Error::Usage(text) if text.contains(name)), "{error}");
            assert!(inside.join(name).exists());
        }
    }

    #[test]
    fn the_note_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(&dir.path().join("new"))).unwrap();
        assert_eq!(home.contents(), None);
        let contents = Contents { key_bytes: 16, value_bytes: 100, filled: 10, inserted: 3 };
        home.note_contents(Some(&contents)).unwrap();
        fs::create_dir(home.store()).unwrap();
        let home = Home::open(Some(home.dir())).unwrap();
        assert_eq!(home.contents(), Some(contents));
        assert_eq!((contents.records(), contents.live_bytes()), (13, 13 * 116));
        home.note_contents(None).unwrap();
        assert_eq!(home.contents(), None);
    }
}

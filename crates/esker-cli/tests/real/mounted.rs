//! File systems that are made for one test and vanish with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system, mounted until it is dropped.
pub struct Mounted {
    /// Holds the image, if it has one, and the place where it is mounted.
    home: TempDir,
    kind: Kind,
    is_mounted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tmpfs { bytes: u64 },
    Ext4,
}

impl Mounted {
    /// A file system in memory; why not, where this user may not mount.
    pub fn tmpfs(bytes: u64) -> Result<Self, String> {
        Self::new(Kind::Tmpfs { bytes })
    }

    /// ext4 in a file.
    pub fn ext4(bytes: u64) -> Result<Self, String> {
        let mounted = Self::prepared(Kind::Ext4)?;
        let image = std::fs::File::create(mounted.image()).and_then(|file| file.set_len(bytes));
        image.map_err(|error| format!("an image: {error}"))?;
        call(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(mounted.image()))?;
        mounted.mount()
    }

    fn new(kind: Kind) -> Result<Self, String> {
        Self::prepared(kind)?.mount()
    }

    fn prepared(kind: Kind) -> Result<Self, String> {
        let home = tempfile::tempdir().map_err(|error| error.to_string())?;
        std::fs::create_dir(home.path().join("mounted")).map_err(|error| error.to_string())?;
        Ok(Self { home, kind, is_mounted: false })
    }

    /// Mounts it again.
    pub fn mount(mut self) -> Result<Self, String> {
        let mut mount = Command::new("mount");
        match self.kind {
            Kind::Tmpfs { bytes } => {
                mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "esker-test"])
            }
            Kind::Ext4 => mount.args(["-t", "ext4", "-o", "loop"]).arg(self.image()),
        };
        call(mount.arg(self.path()))?;
        self.is_mounted = true;
        Ok(self)
    }

    /// Unmounts it and keeps what is in it.
    pub fn unmount(&mut self) -> Result<(), String> {
        call(Command::new("umount").arg(self.path()))?;
        self.is_mounted = false;
        Ok(())
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.home.path().join("mounted")
    }

    fn image(&self) -> PathBuf {
        self.home.path().join("image")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mounted {
            // Also while a program of a test that failed still runs in it.
            let _ = call(Command::new("umount").arg("--lazy").arg(self.path()));
        }
    }
}

/// Free bytes of the file system that holds `path`.
pub fn free_bytes(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).expect("a mounted file system");
    stat.f_bavail * stat.f_frsize
}

/// Runs a command; what it says if it fails.
fn call(command: &mut Command) -> Result<(), String> {
    let done = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim()))
}

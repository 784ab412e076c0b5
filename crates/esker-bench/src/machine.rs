//! Where and when a run was made: without that its figures say nothing.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::process::field;

/// Facts of a machine; what could not be learned is "unknown" or 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name for itself.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// The operating system and the kernel's release.
    pub kernel: String,
    /// The file system under the store.
    pub file_system: String,
}

impl Machine {
    /// The machine that this runs on, with the file system that holds `dir`.
    pub fn here(dir: &Path) -> Self {
        let unknown = || "unknown".to_owned();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease");
        let release = release.map_or_else(|_| unknown(), |text| text.trim().to_owned());
        Self {
            cpu: cpu().unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory_bytes().unwrap_or(0),
            kernel: format!("{} {release}", std::env::consts::OS),
            file_system: file_system(dir).unwrap_or_else(unknown),
        }
    }
}

fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, name) = text.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(name.trim().to_owned())
}

fn memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = field(&text, "MemTotal:")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn file_system(dir: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    file_system_of(&dir.canonicalize().ok()?, &mounts)
}

/// The type of the innermost mount that holds `dir`. A line has the place of the mount as its
/// fifth word, and the type of the file system behind a lone `-`.
fn file_system_of(dir: &Path, mounts: &str) -> Option<String> {
    let parsed = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        Some((before.split(' ').nth(4)?, after.split(' ').next()?))
    });
    let holding = parsed.filter(|(place, _)| dir.starts_with(place));
    // Of two mounts in one place the later one is seen.
    holding.max_by_key(|(place, _)| place.len()).map(|(_, kind)| kind.to_owned())
}

/// The time now as `2026-11-21T07:05:26Z`.
pub fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    date(seconds)
}

/// A moment in seconds since 1970. A calendar of 400 years repeats, and one that begins in March
/// has the leap day at its end.
fn date(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_799, "2024-02-28T23:59:59Z"),
            (1_740_787_200, "2025-03-01T00:00:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn the_innermost_mount_holds_a_directory() {
        let mounts = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:27 / /tmp rw - tmpfs tmpfs rw
31 22 0:28 / /tmpx rw shared:2 master:1 - xfs /dev/vdb rw
";
        let found = |dir| file_system_of(Path::new(dir), mounts);
        assert_eq!(found("/var/a").as_deref(), Some("ext4"));
        assert_eq!(found("/tmp/a").as_deref(), Some("tmpfs"));
        assert_eq!(found("/tmpx").as_deref(), Some("xfs"));
        assert_eq!(file_system_of(Path::new("/a"), ""), None);
    }
}

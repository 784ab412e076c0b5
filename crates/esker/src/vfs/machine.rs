//! What the machine has: memory, and whether a directory is there.

use std::path::Path;

/// Bytes of memory that this process may use: what the machine has, or less if a control group
/// says so.
pub fn memory_bytes() -> u64 {
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let allowed = limits.iter().filter_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        text.trim().parse::<u64>().ok()
    });
    allowed.chain([physical_bytes()]).min().unwrap_or(u64::MAX)
}

#[cfg(target_os = "linux")]
fn physical_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit.max(1)))
}

/// Where the system has no simple answer: what every machine of today has.
#[cfg(not(target_os = "linux"))]
fn physical_bytes() -> u64 {
    4 << 30
}

/// Whether `path` is a directory.
pub fn is_directory(path: &Path) -> bool {
    path.is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_some_memory() {
        assert!(memory_bytes() > 1 << 20);
    }
}

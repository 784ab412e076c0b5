//! What the operating system knows about this process and its files. Where it does not say, there
//! is no figure: nothing here fails a run.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of a block in the file system's own count, whatever its real blocks are.
const COUNTED_BLOCK_BYTES: u64 = 512;

/// Ticks of a second in which Linux tells processor time.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of all threads so far, the kernel's work for them included: on a machine with
/// other users it says more than the clock.
pub fn cpu_seconds() -> Option<f64> {
    cpu_ticks(&fs::read_to_string("/proc/self/stat").ok()?).map(|ticks| ticks / TICKS_PER_SECOND)
}

/// Words 14 and 15. The second one is a name in parentheses, which may hold blanks.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut words = behind_name.split_whitespace().skip(11);
    let (user, system) = (words.next()?, words.next()?);
    Some(user.parse::<f64>().ok()? + system.parse::<f64>().ok()?)
}

/// Lets the peak of resident memory begin anew; whether that was allowed.
pub fn reset_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The most memory that was resident since the last reset.
pub fn peak_bytes() -> Option<u64> {
    status("VmHWM:")
}

/// Resident memory that no file lies behind: what the process itself asked for.
pub fn anonymous_bytes() -> Option<u64> {
    status("RssAnon:")
}

fn status(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 = field(&text, name)?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Bytes that this process gave to its disks to write, counted when pages become dirty.
pub fn disk_bytes_written() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/io").ok()?, "write_bytes:")?.parse().ok()
}

/// What stands behind `name` at the beginning of a line.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Bytes of disk that the files under `dir` occupy.
pub fn allocated_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(data) if data.is_dir() => bytes += allocated_bytes(&entry.path())?,
            Ok(data) => bytes += data.blocks() * COUNTED_BLOCK_BYTES,
            // The store deletes files while it is looked at.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        let text = "Name:\tesker\nVmHWM:\t  1234 kB\n";
        assert_eq!(field(text, "VmHWM:"), Some("1234 kB"));
        assert_eq!(field(text, "HWM:"), None);
    }

    #[test]
    fn processor_time_stands_behind_a_name_with_blanks() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 1 2 3 4 250 50 0 0 20 0 1 0 9";
        assert_eq!(cpu_ticks(stat), Some(300.0));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn files_in_folders_count_too() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("a"), [1; 10_000]).unwrap();
        fs::write(dir.path().join("in/b"), [1; 10_000]).unwrap();
        for name in ["a", "in/b"] {
            fs::File::open(dir.path().join(name)).unwrap().sync_all().unwrap();
        }
        assert!(allocated_bytes(dir.path()).unwrap() >= 20_000);
        assert!(allocated_bytes(&dir.path().join("none")).is_err());
    }
}

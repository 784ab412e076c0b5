//! `dump`: a readable print of any file of a store, by its name.

use std::fmt::Write as _;
use std::path::Path;

use crate::base::batch::decode_ops;
use crate::base::error::{Error, Result};
use crate::base::names::FileName;
use crate::vfs::{Disk, ReadFile};

/// What the file at `path` holds.
pub(crate) fn dump(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(FileName::parse);
    let name = name.ok_or_else(|| {
        Error::invalid(format!("{}: no file of a store is called so", path.display()))
    })?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !crate::vfs::machine::is_directory(dir) {
        return Err(Error::invalid(format!("{} is no directory", dir.display())));
    }
    let disk = crate::vfs::os::OsDisk::open_dir(dir)?;
    let file = disk.open(name)?;
    match name {
        FileName::Table(_) | FileName::Quarantined(_) => crate::sstable::describe(&*file),
        FileName::Log(_) => crate::wal::describe(&file, &mut print_ops),
        FileName::Manifest(_) => crate::version::describe(&file),
        FileName::Current | FileName::CurrentTmp => read_text(&*file),
        FileName::Lock | FileName::Reserve | FileName::Spare(_) => {
            Ok(format!("{name}: {} bytes; its contents mean nothing\n", file.len()))
        }
    }
}

fn print_ops(payload: &[u8]) -> String {
    let mut out = String::new();
    for op in decode_ops(payload) {
        let _ = match op {
            Ok(op) => writeln!(
                out,
                "    keyspace {} {:?} {} ({} value bytes)",
                op.keyspace.0,
                op.kind,
                op.key.escape_ascii(),
                op.value.len()
            ),
            Err(bad) => writeln!(out, "    unreadable operation at byte {}", bad.offset),
        };
    }
    out
}

fn read_text(file: &dyn ReadFile) -> Result<String> {
    let mut bytes = vec![0; usize::try_from(file.len()).unwrap_or(usize::MAX).min(4096)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(format!("{}\n", bytes.escape_ascii()))
}

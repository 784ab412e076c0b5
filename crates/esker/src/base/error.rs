//! The one error type: few kinds that say what to do, and a place that says where.
//!
//! A caller branches on [`ErrorKind`]; a person reads the `Display` text. Damage on disk always
//! carries file, offset, part, expected and found ([`Corruption`]). Errors are cheap to clone,
//! because one failed group commit answers many writers and a failed iterator keeps its error.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

/// What every fallible call of the crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call was wrong: correct it. Nothing was written.
    InvalidArgument,
    /// Another process, or another handle in this one, has the store open: close that one.
    Locked,
    /// Bytes on disk are not what was written: restore or repair. See [`Error::corruption`].
    Corruption,
    /// The operating system refused an operation. For a write: it was not acknowledged.
    Io,
    /// An earlier write failed and the store takes no more of them: reads go on; reopen it.
    ReadOnly,
    /// The disk is full. Nothing of this write happened; it may be retried once there is space.
    NoSpace,
    /// The store cannot take this now: retry later.
    Busy,
    /// The file was written by a newer version, or uses a feature that this build lacks.
    Unsupported,
    /// Reserved for transactions: another commit came first; run the transaction again.
    Conflict,
    /// The engine met a bug and stopped believing its own state: reopen the store.
    Poisoned,
    /// The store or keyspace behind this handle is closed or dropped.
    Closed,
}

/// Where bytes on disk are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The file's name inside the store's directory.
    pub file: String,
    /// Byte offset in that file.
    pub offset: u64,
    /// Which part of the file it is, for example `block checksum`.
    pub part: Cow<'static, str>,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
}

/// An error: a kind to branch on and a text that says what happened, where, and what to do.
///
/// ```
/// let error = esker::Db::open("/dev/null/no-such-place").unwrap_err();
/// assert_eq!(error.kind(), esker::ErrorKind::Io);
/// ```
#[derive(Clone)]
pub struct Error(Arc<Details>);

struct Details {
    kind: ErrorKind,
    text: String,
    corruption: Option<Corruption>,
    source: Option<io::Error>,
}

impl Error {
    /// An error of `kind` with a sentence for a person.
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self(Arc::new(Details { kind, text: text.into(), corruption: None, source: None }))
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, text)
    }

    pub(crate) fn busy(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Busy, text)
    }

    pub(crate) fn closed(what: &str) -> Self {
        Self::new(ErrorKind::Closed, format!("{what} is closed"))
    }

    /// Damage at `offset` of `file`.
    pub(crate) fn corrupt(
        file: impl fmt::Display,
        offset: u64,
        part: impl Into<Cow<'static, str>>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Self::corrupt_part(&file, offset, part.into(), &expected, &found)
    }

    /// The same for all types of file, expected and found: many callers, one copy.
    fn corrupt_part(
        file: &dyn fmt::Display,
        offset: u64,
        part: Cow<'static, str>,
        expected: &dyn fmt::Display,
        found: &dyn fmt::Display,
    ) -> Self {
        let place = Corruption {
            file: file.to_string(),
            offset,
            part,
            expected: expected.to_string(),
            found: found.to_string(),
        };
        let text = format!(
            "{} at offset {}: {}: expected {}, found {}",
            place.file, place.offset, place.part, place.expected, place.found
        );
        Self(Arc::new(Details {
            kind: ErrorKind::Corruption,
            text,
            corruption: Some(place),
            source: None,
        }))
    }

    /// `what` (a verb and a file name) failed with `source`; a full disk or quota is `NoSpace`. What
    /// the system's own words leave open, what to do, stands behind them.
    pub(crate) fn io(what: impl fmt::Display, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => ErrorKind::NoSpace,
            _ => ErrorKind::Io,
        };
        let mut text = format!("{what}: {source}");
        if source.raw_os_error() == Some(Errno::MFILE.raw_os_error()) {
            text += "; a store keeps one for each of its tables: raise the limit (`ulimit -n`)";
        }
        Self(Arc::new(Details { kind, text, corruption: None, source: Some(source) }))
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The place of the damage, for [`ErrorKind::Corruption`].
    pub fn corruption(&self) -> Option<&Corruption> {
        self.0.corruption.as_ref()
    }

    /// The same error with `context` in front of its text.
    pub(crate) fn context(&self, context: impl fmt::Display) -> Self {
        Self(Arc::new(Details {
            kind: self.0.kind,
            text: format!("{context}: {}", self.0.text),
            corruption: self.0.corruption.clone(),
            source: self.0.source.as_ref().map(clone_io),
        }))
    }

    /// The same text under another kind, for a state that an earlier error left behind.
    pub(crate) fn with_kind(&self, kind: ErrorKind) -> Self {
        Self::new(kind, self.0.text.clone())
    }
}

fn clone_io(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.text)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corruption_names_file_offset_part_expected_and_found() {
        let error = Error::corrupt("000007.sst", 8192, "block checksum", "0x1", "0x2");
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert_eq!(
            error.to_string(),
            "000007.sst at offset 8192: block checksum: expected 0x1, found 0x2"
        );
        assert_eq!(error.context("get").corruption(), error.corruption());
    }

    #[test]
    fn a_full_disk_and_a_full_quota_are_no_space() {
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
            let error = Error::io("append 000001.log", errno.into());
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{errno}");
        }
    }

    #[test]
    fn without_descriptors_the_error_says_which_limit_to_raise() {
        let text = |errno: Errno| Error::io("open 000007.sst", errno.into()).to_string();
        assert!(text(Errno::MFILE).starts_with("open 000007.sst: "), "{}", text(Errno::MFILE));
        assert!(text(Errno::MFILE).contains("`ulimit -n`"), "{}", text(Errno::MFILE));
        assert!(!text(Errno::IO).contains("ulimit"), "{}", text(Errno::IO));
    }
}

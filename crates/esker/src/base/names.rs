//! File names: encode and parse. Nobody else spells them.
//!
//! ```text
//! CURRENT               names the manifest in force
//! CURRENT.tmp           the next CURRENT before its rename
//! LOCK                  held by the process that has the store open
//! RESERVE               space for one manifest snapshot when the disk is full
//! MANIFEST-000012       which files are the store
//! 000000000014.log      a log segment
//! 000000000017.sst      a table
//! 000000000013.spare    a log segment waiting to be used again
//! 000000000017.quarantined    a damaged table that was taken out of the store; nobody reads it
//! ```
//!
//! All numbers come from one counter and are never used twice. Parsing is strict: a name that
//! would not be spelled that way is foreign, is left alone and reported.

use std::fmt;

use crate::base::key::{SegmentNo, TableId};

/// A file of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// Names the manifest in force.
    Current,
    /// The next `CURRENT`, before its rename.
    CurrentTmp,
    /// Held by the process that has the store open.
    Lock,
    /// Space set aside for a manifest snapshot.
    Reserve,
    /// A manifest.
    Manifest(u64),
    /// A log segment.
    Log(SegmentNo),
    /// A table.
    Table(TableId),
    /// A former log segment, to be used again under a new number.
    Spare(u64),
    /// A damaged table that was taken out of the store, for its owner to look at or to delete;
    /// empty: one that is about to be.
    Quarantined(TableId),
}

impl FileName {
    /// The file called `name`; `None` if a store has no file that is spelled so.
    pub fn parse(name: &str) -> Option<Self> {
        let parsed = match name {
            "CURRENT" => Self::Current,
            "CURRENT.tmp" => Self::CurrentTmp,
            "LOCK" => Self::Lock,
            "RESERVE" => Self::Reserve,
            _ => {
                if let Some(number) = name.strip_prefix("MANIFEST-") {
                    Self::Manifest(number.parse().ok()?)
                } else {
                    let (number, suffix) = name.split_once('.')?;
                    let number = number.parse().ok()?;
                    match suffix {
                        "log" => Self::Log(SegmentNo(number)),
                        "sst" => Self::Table(TableId(number)),
                        "spare" => Self::Spare(number),
                        "quarantined" => Self::Quarantined(TableId(number)),
                        _ => return None,
                    }
                }
            }
        };
        (parsed.to_string() == name).then_some(parsed)
    }

    /// The number in the name, for files that have one.
    pub fn number(self) -> Option<u64> {
        match self {
            Self::Manifest(n)
            | Self::Spare(n)
            | Self::Log(SegmentNo(n))
            | Self::Table(TableId(n))
            | Self::Quarantined(TableId(n)) => Some(n),
            Self::Current | Self::CurrentTmp | Self::Lock | Self::Reserve => None,
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("CURRENT"),
            Self::CurrentTmp => f.write_str("CURRENT.tmp"),
            Self::Lock => f.write_str("LOCK"),
            Self::Reserve => f.write_str("RESERVE"),
            Self::Manifest(n) => write!(f, "MANIFEST-{n:06}"),
            Self::Log(n) => write!(f, "{:012}.log", n.0),
            Self::Table(n) => write!(f, "{:012}.sst", n.0),
            Self::Spare(n) => write!(f, "{n:012}.spare"),
            Self::Quarantined(n) => write!(f, "{:012}.quarantined", n.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_written() {
        for name in [
            FileName::Current,
            FileName::CurrentTmp,
            FileName::Lock,
            FileName::Reserve,
            FileName::Manifest(12),
            FileName::Manifest(u64::MAX),
            FileName::Log(SegmentNo(14)),
            FileName::Table(TableId(1_234_567_890_123)),
            FileName::Spare(0),
            FileName::Quarantined(TableId(17)),
        ] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
    }

    #[test]
    fn names_spelled_otherwise_are_foreign() {
        for name in [
            "",
            "current",
            "MANIFEST-12",
            "MANIFEST-+00012",
            "1.sst",
            "000000000001.SST",
            "000000000001.sst.bak",
            "+00000000001.log",
            "notes.txt",
            "MANIFEST-",
            "99999999999999999999999.log",
            "../CURRENT",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}

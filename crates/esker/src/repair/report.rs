//! What `verify`, `repair` and `quarantine` have to say: plain values, for a person or a program.

use crate::base::error::{Corruption, Error};
use crate::base::names::FileName;
use crate::base::range::KeyRange;

/// How thoroughly [`verify`](crate::verify) looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Depth {
    /// `CURRENT`, the manifest, footers and lengths of tables, headers of logs.
    Fast,
    /// Every byte: blocks, order, bounds, filters, sequence numbers, counts, and every record of
    /// the log.
    Full,
}

/// What is wrong with a store, and how much was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Everything that is not as it should be.
    pub findings: Vec<Finding>,
    /// Tables that were looked at.
    pub tables: u64,
    /// Their bytes.
    pub table_bytes: u64,
    /// Records of the log that were read; 0 for [`Depth::Fast`].
    pub log_records: u64,
    /// What is no damage but worth knowing, in sentences.
    pub notes: Vec<String>,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The file's name inside the store's directory.
    pub file: String,
    /// Byte offset in that file.
    pub offset: u64,
    /// Which part of the file it is, for example `block checksum`.
    pub part: String,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
    /// Of a table: whose it is.
    pub table: Option<TablePlace>,
    /// The first and the last key whose entries may be lost by it, if it is known to lose any.
    pub keys: Option<(Vec<u8>, Vec<u8>)>,
}

/// Where a table belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePlace {
    /// Name of the keyspace.
    pub keyspace: String,
    /// 0 to 6.
    pub level: usize,
}

/// What [`repair`](crate::repair) put together, and what it could not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// The keyspaces of the new store.
    pub keyspaces: Vec<RepairedKeyspace>,
    /// What could not be read. Empty: the new store shows what the old one did.
    pub losses: Vec<Loss>,
    /// Tables that were read.
    pub tables: u64,
    /// Records of the log that were read.
    pub log_records: u64,
    /// What is no loss but worth knowing, in sentences.
    pub notes: Vec<String>,
}

/// A keyspace of a repaired store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairedKeyspace {
    /// Its name; one like `keyspace-3` if the old one cannot be read.
    pub name: String,
    /// Its keys.
    pub keys: u64,
}

/// Something that could not be read.
///
/// In the range of its keys the new store may lack entries, and may show older values of keys and
/// keys that were deleted: what is lost may have superseded them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The file's name inside the old store's directory.
    pub file: String,
    /// Byte offset in that file at which it begins.
    pub offset: u64,
    /// Which part of the file it is, and what is wrong with it.
    pub what: String,
    /// The keyspace; `None`: perhaps any.
    pub keyspace: Option<String>,
    /// The first key that may be lost; `None`: as low as keys go.
    pub first_key: Option<Vec<u8>>,
    /// The last key that may be lost; `None`: as high as keys go.
    pub last_key: Option<Vec<u8>>,
    /// The lowest sequence number that may be lost, if that is known.
    pub first_seq: Option<u64>,
    /// The highest sequence number that may be lost, if that is known.
    pub last_seq: Option<u64>,
    /// Entries of the file that were read; `None` for a log.
    pub entries_kept: Option<u64>,
    /// Entries of the file that were not read, together, if the file or the manifest says how many
    /// there were.
    pub entries_lost: Option<u64>,
}

/// What [`quarantine`](crate::quarantine) may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnLoss {
    /// Say what would be lost, and change nothing.
    Tell,
    /// Take the table out of the store, and what it held with it.
    Accept,
}

/// What [`quarantine`](crate::quarantine) did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quarantine {
    /// Nothing, because the loss was not accepted.
    WouldLose(TableLoss),
    /// The table is out of the store.
    Lost(TableLoss),
    /// The table was out of the store before; its file is set aside now, if it was not.
    LostBefore,
}

/// A table that is no part of its store any more, or would be none.
///
/// In the range of its keys the store lacks the table's entries, and may show older values of keys
/// and keys that were deleted: what is lost may have superseded them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableLoss {
    /// The name of its file inside the store's directory.
    pub file: String,
    /// The name under which the file is set aside.
    pub set_aside: String,
    /// Where the table was.
    pub table: TablePlace,
    /// Its first and its last key.
    pub keys: (Vec<u8>, Vec<u8>),
    /// Its entries, as the manifest counts them.
    pub entries: u64,
    /// Those of them that are tombstones.
    pub tombstones: u64,
    /// The lowest sequence number of an entry.
    pub first_seq: u64,
    /// The highest sequence number of an entry.
    pub last_seq: u64,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

impl Finding {
    /// What an error of `file` says.
    pub(super) fn of(file: FileName, error: &Error) -> Self {
        Self::at(file, 0, error)
    }

    /// The same, from `offset` on, unless the error knows better.
    pub(super) fn at(file: FileName, offset: u64, error: &Error) -> Self {
        let place = place_of(file, offset, error);
        Self {
            file: place.file,
            offset: place.offset,
            part: place.part.into_owned(),
            expected: place.expected,
            found: place.found,
            table: None,
            keys: None,
        }
    }

    /// The same, of a table and perhaps of some of its keys.
    pub(super) fn in_table(self, table: Option<TablePlace>, keys: Option<&KeyRange>) -> Self {
        let keys = keys.map(|keys| (keys.lo().to_vec(), keys.hi().to_vec()));
        Self { table, keys, ..self }
    }
}

impl Loss {
    /// The loss of something in `file`, of which nothing is known but the error.
    pub(super) fn of(file: FileName, error: &Error) -> Self {
        Self::at(file, 0, error)
    }

    /// The same, from `offset` on, unless the error knows better.
    pub(super) fn at(file: FileName, offset: u64, error: &Error) -> Self {
        let place = place_of(file, offset, error);
        Self {
            what: format!("{}: expected {}, found {}", place.part, place.expected, place.found),
            file: place.file,
            offset: place.offset,
            keyspace: None,
            first_key: None,
            last_key: None,
            first_seq: None,
            last_seq: None,
            entries_kept: None,
            entries_lost: None,
        }
    }
}

/// Where damage is; a file that the system does not let be read is damaged from `offset` on.
fn place_of(file: FileName, offset: u64, error: &Error) -> Corruption {
    error.corruption().cloned().unwrap_or_else(|| Corruption {
        file: file.to_string(),
        offset,
        part: "reading".into(),
        expected: "bytes".to_owned(),
        found: error.to_string(),
    })
}

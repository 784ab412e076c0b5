//! Finding and reading the manifest.
//!
//! The manifest has a durable horizon as the log has: a record states how much of the file was
//! durable when it was written. A bad byte below that is damage. A bad byte above it ends the
//! manifest: the edit of a crash, which nothing was built on.

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::key::SeqNo;
use crate::base::limits::MANIFEST_RECORD_BYTES_MAX;
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::version::codec;
use crate::version::current::{MANIFEST_HEADER_BYTES, read_current, read_header};
use crate::version::fields::BadField;
use crate::version::levels::Broken;
use crate::version::{Manifest, StoreState};
use crate::vfs::{Disk, Listing};
use crate::wal::reader::{Hole, Next, RecordReader};
use crate::wal::record::{Mismatch, RecordHeader, RecordKind};

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No store (perhaps a lock file).
    Nothing,
    /// A creation that crashed: remove these files and create the store.
    Crashed(Vec<FileName>),
    /// A store.
    Store {
        /// Its state.
        state: StoreState,
        /// The manifest in force.
        manifest_number: u64,
    },
}

/// Reads the store's state from the manifest that `CURRENT` names.
pub fn read_manifest(disk: &dyn Disk, listing: &Listing) -> Result<Found> {
    let is_there = |name| listing.files.iter().any(|(file, _)| *file == name);
    if is_there(FileName::CurrentTmp) && planted::is_on(Bug::TemporaryRefused) {
        return Err(Error::corrupt(FileName::CurrentTmp, 0, "file", "none", "one"));
    }
    if !is_there(FileName::Current) {
        return without_current(listing);
    }
    let manifest_number = read_current(&*disk.open(FileName::Current)?)?;
    let name = FileName::Manifest(manifest_number);
    if !is_there(name) {
        return Err(Error::corrupt(
            FileName::Current,
            0,
            "manifest in force",
            name,
            "no such file",
        ));
    }
    let file = disk.open(name)?;
    let store_id = read_header(&*file, manifest_number)?;
    let start = MANIFEST_HEADER_BYTES as u64;
    let mut reader = RecordReader::new(file, store_id, start, MANIFEST_RECORD_BYTES_MAX);
    let state =
        Reading { name, horizon: 0, next_record: SeqNo::new(1) }.all(store_id, &mut reader)?;
    Ok(Found::Store { state, manifest_number })
}

/// Without `CURRENT` a directory is new, or a creation in it crashed, or it has lost something.
/// Creation writes nothing but these files before `CURRENT` is durable.
fn without_current(listing: &Listing) -> Result<Found> {
    let names = listing.files.iter().map(|(name, _)| *name);
    let (of_creation, others): (Vec<_>, Vec<_>) =
        names.filter(|name| *name != FileName::Lock).partition(|name| match name {
            FileName::Reserve | FileName::CurrentTmp => true,
            FileName::Manifest(number) => *number == Manifest::FIRST_NUMBER,
            _ => false,
        });
    if planted::is_on(Bug::NoCurrentIsNew) {
        return Ok(Found::Crashed(listing.files.iter().map(|(name, _)| *name).collect()));
    }
    if !others.is_empty() {
        let others: Vec<_> = others.iter().map(FileName::to_string).collect();
        let found = format!("none beside {}", others.join(", "));
        return Err(Error::corrupt(FileName::Current, 0, "CURRENT", "a file", found));
    }
    Ok(if of_creation.is_empty() { Found::Nothing } else { Found::Crashed(of_creation) })
}

struct Reading {
    name: FileName,
    /// So many first bytes were stated as durable.
    horizon: u64,
    next_record: SeqNo,
}

impl Reading {
    fn all(mut self, store_id: u64, reader: &mut RecordReader) -> Result<StoreState> {
        let end = reader.file_bytes();
        let mut state = None;
        let hole = loop {
            let (offset, header, payload) = match reader.next(end)? {
                Next::Record { offset, header, payload } => (offset, header, payload),
                Next::Hole(hole) => break hole,
                Next::End => break clean_end(end),
            };
            let kind = match self.check(&header)? {
                Ok(kind) => kind,
                Err(mismatch) => break Hole { offset, mismatch, is_short: false },
            };
            self.note(&header);
            self.next_record = self.next_record.plus(1);
            match (kind, &mut state) {
                (RecordKind::Mark, _) => {}
                (_, None) => {
                    // CURRENT named it only after its first record was durable.
                    self.horizon = self.horizon.max(offset + header.record_bytes());
                    state = Some(self.snapshot(store_id, offset, payload)?);
                }
                (_, Some(state)) => self.edit(state, offset, payload)?,
            }
        };
        reader.scan(hole.offset, self.next_record, &mut |header| self.note(&header))?;
        let Some(state) = state.filter(|_| hole.offset >= self.horizon) else {
            return Err(hole.mismatch.into_error(self.name, hole.offset));
        };
        state.check_one_place().map_err(|broken| self.broken(hole.offset, &broken))?;
        Ok(state)
    }

    /// Whether this record may come next. The outer error is a newer version's record.
    fn check(&self, header: &RecordHeader) -> Result<std::result::Result<RecordKind, Mismatch>> {
        let is_first = self.next_record == SeqNo::new(1);
        let Some(kind) = RecordKind::from_u8(header.kind) else {
            let text = format!("{}: record of unknown kind {}", self.name, header.kind);
            return Err(Error::new(ErrorKind::Unsupported, text));
        };
        if header.seq != self.next_record || header.op_count != 0 {
            let (expected, found) = (self.next_record.to_string(), header.seq.to_string());
            return Ok(Err(Mismatch::new("ordinal of a record", expected, found)));
        }
        Ok(match kind {
            RecordKind::Snapshot if is_first => Ok(kind),
            RecordKind::Edit | RecordKind::Mark if !is_first => Ok(kind),
            _ => Err(Mismatch::new("record kind", "snapshot, then edits", format!("{kind:?}"))),
        })
    }

    fn note(&mut self, header: &RecordHeader) {
        self.horizon = self.horizon.max(header.synced_upto);
    }

    fn snapshot(&self, store_id: u64, offset: u64, payload: &[u8]) -> Result<StoreState> {
        let (fixed, edit) = codec::decode(payload).map_err(|bad| self.bad(offset, &bad))?;
        let missing = BadField::Malformed("fixed options");
        let fixed = fixed.ok_or_else(|| self.bad(offset, &missing))?;
        let mut state = StoreState::empty(store_id, fixed);
        state.change(&edit).map_err(|broken| self.broken(offset, &broken))?;
        Ok(state)
    }

    fn edit(&self, state: &mut StoreState, offset: u64, payload: &[u8]) -> Result<()> {
        let (fixed, edit) = codec::decode(payload).map_err(|bad| self.bad(offset, &bad))?;
        if fixed.is_some() {
            return Err(self.bad(offset, &BadField::Malformed("fixed options")));
        }
        state.change(&edit).map_err(|broken| self.broken(offset, &broken))
    }

    fn bad(&self, offset: u64, bad: &BadField) -> Error {
        match bad {
            BadField::Malformed(what) => {
                Error::corrupt(self.name, offset, "field of a record", *what, "no such thing")
            }
            BadField::Unknown { list, tag } => {
                let text = format!("{}: unknown field {tag} of a {list}", self.name);
                Error::new(ErrorKind::Unsupported, text)
            }
        }
    }

    fn broken(&self, offset: u64, broken: &Broken) -> Error {
        Error::corrupt(self.name, offset, "edit", "one that fits the state", broken)
    }
}

fn clean_end(offset: u64) -> Hole {
    let mismatch = Mismatch::new("record", "a first one, or more of them", "the end");
    Hole { offset, mismatch, is_short: true }
}

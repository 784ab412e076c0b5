//! Writing the manifest: a snapshot of the state, then edits, each durable before the next.

use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::invariant;
use crate::base::key::SeqNo;
use crate::base::limits::MANIFEST_RECORD_BYTES_MAX;
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::version::codec;
use crate::version::current::{encode_current, encode_header};
use crate::version::{Edit, StoreState};
use crate::vfs::{AppendFile, Disk, SyncFile};
use crate::wal::record::{Place, Record, RecordKind};

/// So many bytes of edits are never too many.
const GROWTH_BYTES_MIN: u64 = 1 << 20;

/// The manifest in force, open for edits.
pub struct Manifest {
    store_id: u64,
    number: u64,
    file: Box<dyn AppendFile>,
    syncing: Arc<dyn SyncFile>,
    /// Its length.
    bytes: u64,
    /// Its length when it held nothing but the snapshot.
    snapshot_bytes: u64,
    /// How much of it is durable.
    synced: u64,
    /// The ordinal of the next record.
    next_record: SeqNo,
    /// Set while what stands at the end is not known (V7).
    is_in_doubt: bool,
}

impl Manifest {
    /// The number of a store's first manifest; by it a creation that crashed is recognised.
    pub const FIRST_NUMBER: u64 = 1;

    /// Writes a manifest that begins with `state`, and makes it the one in force (rule P4). After
    /// an error either manifest may be in force: both stay, and only another one may follow.
    pub fn create(disk: &Arc<dyn Disk>, number: u64, state: &StoreState) -> Result<Manifest> {
        let next = state.next_file;
        invariant!(V5, number < next, "manifest {number} where file {next} is next");
        let mut file = disk.create(FileName::Manifest(number))?;
        file.append(&encode_header(state.store_id, number))?;
        let mut manifest = Self {
            store_id: state.store_id,
            number,
            syncing: file.sync_handle(),
            bytes: file.len(),
            snapshot_bytes: 0,
            file,
            synced: 0,
            next_record: SeqNo::new(1),
            is_in_doubt: false,
        };
        let snapshot = codec::encode(Some(state.fixed), &state.as_edit());
        manifest.record(RecordKind::Snapshot, &snapshot)?;
        manifest.snapshot_bytes = manifest.bytes;
        if !planted::is_on(Bug::ManifestNotSynced) {
            manifest.sync()?;
        }
        if !planted::is_on(Bug::ManifestAndCurrentInOneSync) {
            disk.sync_dir()?;
        }
        switch_to(&**disk, number)?;
        Ok(manifest)
    }

    /// Appends an edit and makes it durable. After an error nobody knows whether the edit
    /// happened: no file may be deleted, and only a new manifest may follow.
    pub fn append(&mut self, edit: &Edit) -> Result<()> {
        self.record(RecordKind::Edit, &codec::encode(None, edit))?;
        self.sync()
    }

    /// Records that all edits so far are durable: to be called before any file is deleted,
    /// renamed or used again because of one of them.
    pub fn mark(&mut self) -> Result<()> {
        self.record(RecordKind::Mark, &[])
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether its edits have outgrown its snapshot, so that a new manifest is worth its bytes:
    /// each byte of a snapshot is then paid for by one of edits.
    pub fn has_outgrown(&self) -> bool {
        let edit_bytes = self.bytes - self.snapshot_bytes;
        edit_bytes > self.snapshot_bytes.saturating_add(GROWTH_BYTES_MIN)
    }

    /// The number in its name.
    pub fn number(&self) -> u64 {
        self.number
    }

    fn record(&mut self, kind: RecordKind, payload: &[u8]) -> Result<()> {
        invariant!(V7, !self.is_in_doubt, "a record behind a failed one");
        if payload.len() > MANIFEST_RECORD_BYTES_MAX {
            let text = format!("a manifest record of {} bytes", payload.len());
            return Err(Error::invalid(text));
        }
        let place = Place { store_id: self.store_id, file_number: self.number, offset: self.bytes };
        let mut record = Vec::new();
        let (seq, synced_upto) = (self.next_record, self.synced);
        Record { kind, seq, op_count: 0, synced_upto, payload }.encode(place, &mut record);
        self.is_in_doubt = true;
        self.file.append(&record)?;
        self.is_in_doubt = false;
        self.bytes += record.len() as u64;
        self.next_record = self.next_record.plus(1);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.is_in_doubt = true;
        let synced = self.syncing.sync()?;
        invariant!(V7, synced >= self.bytes, "{synced} of {} bytes synced", self.bytes);
        self.is_in_doubt = false;
        self.synced = self.bytes;
        Ok(())
    }
}

/// Makes `CURRENT` name this manifest, which is durable, and makes that durable.
fn switch_to(disk: &dyn Disk, number: u64) -> Result<()> {
    disk.remove(FileName::CurrentTmp)?;
    let mut file = disk.create(FileName::CurrentTmp)?;
    file.append(encode_current(number).as_bytes())?;
    if !planted::is_on(Bug::CurrentNotSynced) {
        file.sync_handle().sync()?;
    }
    disk.rename(FileName::CurrentTmp, FileName::Current)?;
    if planted::is_on(Bug::RenameNotSynced) { Ok(()) } else { disk.sync_dir() }
}

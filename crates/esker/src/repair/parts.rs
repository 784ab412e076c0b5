//! Which tables and logs a damaged store has: what its manifest says, or, without one, what the
//! files say of themselves.

use std::sync::Arc;

use litemap::LiteMap;

use crate::base::batch::decode_ops;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::key::{KeyspaceId, SeqNo, TableId, Tag};
use crate::base::names::FileName;
use crate::base::range::KeyRange;
use crate::memtable::{ChunkPool, Memtable};
use crate::repair::report::{Loss, RepairReport};
use crate::sstable::{read_owner, read_summary};
use crate::version::{FixedOptions, Found, StoreState, read_manifest, salvage_manifest};
use crate::vfs::{Disk, Listing};
use crate::wal::{self, LogLoss, LogPosition, RecoveredLog};

/// `max_bytes` of L0 where the old store's cannot be read: that of default options.
const LEVEL_BASE_BYTES: u64 = 640 << 20;

/// The name of a keyspace for entries of which nobody can say whose they are.
const UNKNOWN_KEYSPACE: &str = "unknown";

/// The first chunk of a memtable's arena.
const CHUNK_BYTES: usize = 64 << 10;

/// Everything that a store is put together from.
pub struct Parts {
    /// The old store's id: part of all its checksums.
    pub store_id: u64,
    pub fixed: FixedOptions,
    pub keyspaces: LiteMap<KeyspaceId, KeyspaceParts>,
    /// The log's entries.
    pub memtables: LiteMap<KeyspaceId, Arc<Memtable>>,
    /// The first number that no keyspace has used.
    pub next_keyspace: u32,
    /// The highest sequence number known to be in use.
    pub last_seq: SeqNo,
}

/// What there is of one keyspace.
pub struct KeyspaceParts {
    pub name: String,
    pub tables: Vec<TablePart>,
    /// Records of the log up to here are in tables.
    flushed_seq: SeqNo,
}

/// A table, and what is known of it without walking it.
#[derive(Clone, Debug)]
pub struct TablePart {
    pub id: TableId,
    pub range: Option<KeyRange>,
    pub entries: Option<u64>,
    pub seqs: Option<(SeqNo, SeqNo)>,
    /// Below this key it is dead: a sweep has moved what was there.
    pub swept_to: Option<Vec<u8>>,
}

impl Parts {
    /// Finds all there is; tells `report` what there is not.
    pub fn gather(disk: &dyn Disk, listing: &Listing, report: &mut RepairReport) -> Result<Self> {
        let set_aside = listing.files.iter().map(|(name, _)| name);
        let set_aside = set_aside.filter(|name| matches!(name, FileName::Quarantined(_)));
        report.notes.extend(set_aside.map(|name| format!("{name}: quarantined, and not read")));
        // A device that lied once is asked again.
        let read = || read_manifest(disk, listing);
        let found = read().or_else(|_| read());
        match found {
            Ok(Found::Store { state, .. }) => {
                let mut parts = Self::of_state(&state);
                parts.read_log(disk, Some(&state), report)?;
                Ok(parts)
            }
            Ok(_) => Err(Error::invalid(format!(
                "{}: the creation of this store was interrupted, and it holds nothing: open it",
                disk.describe()
            ))),
            Err(error) if error.kind() == ErrorKind::Unsupported => Err(error),
            Err(error) => {
                report.losses.push(Loss::of(FileName::Current, &error));
                report.notes.push(
                    "without its manifest a store cannot tell tables in use from ones that were \
                     merged away or belonged to dropped keyspaces: all that were found are read, \
                     and deleted keys may show"
                        .to_owned(),
                );
                Self::without_manifest(disk, listing, report)
            }
        }
    }

    fn of_state(state: &StoreState) -> Self {
        let mut keyspaces = LiteMap::new();
        for (id, keyspace) in state.keyspaces.iter() {
            let sweep = keyspace.version.sweep();
            let swept_to = |id| {
                sweep.filter(|sweep| sweep.tables.contains(&id)).map(|sweep| sweep.cursor.clone())
            };
            let tables = keyspace.version.tables().map(|(_, meta)| TablePart {
                id: meta.id,
                range: Some(meta.range.clone()),
                entries: Some(meta.entries),
                seqs: Some((meta.seq_min, meta.seq_max)),
                swept_to: swept_to(meta.id),
            });
            let tables = tables.collect();
            let (name, flushed_seq) = (keyspace.name.clone(), keyspace.flushed_seq);
            keyspaces.insert(*id, KeyspaceParts { name, tables, flushed_seq });
        }
        let StoreState { store_id, fixed, next_keyspace, last_seq, .. } = *state;
        let memtables = LiteMap::new();
        Self { store_id, fixed, keyspaces, memtables, next_keyspace, last_seq }
    }

    /// From what the files say of themselves; names of keyspaces from what is left of a manifest.
    fn without_manifest(
        disk: &dyn Disk,
        listing: &Listing,
        report: &mut RepairReport,
    ) -> Result<Self> {
        let state = salvage_manifest(disk, listing);
        let owners = owners(disk, listing, report);
        let store_id = state.as_ref().map(|state| state.store_id).or(most_frequent(&owners));
        let store_id = store_id.or_else(|| log_owner(disk, listing)).ok_or_else(|| {
            Error::invalid(format!(
                "{}: neither a manifest nor a table nor a log can be read: nothing can be repaired",
                disk.describe()
            ))
        })?;
        let fixed = FixedOptions { level_base_bytes: LEVEL_BASE_BYTES };
        let mut parts = Self {
            store_id,
            fixed: state.as_ref().map_or(fixed, |state| state.fixed),
            keyspaces: LiteMap::new(),
            memtables: LiteMap::new(),
            next_keyspace: 0,
            last_seq: SeqNo::ZERO,
        };
        parts.keyspace(KeyspaceId::DEFAULT, "default");
        for (id, keyspace) in state.iter().flat_map(|state| state.keyspaces.iter()) {
            parts.keyspace(*id, &keyspace.name);
        }
        for (id, owner) in owners {
            match owner {
                Some((owner, _)) if owner != store_id => {
                    let name = FileName::Table(id);
                    let error = Error::corrupt(name, 0, "store id", store_id, owner);
                    report.losses.push(Loss::of(name, &error));
                }
                Some((_, keyspace)) => parts.add_table(disk, keyspace, id),
                None => {
                    let keyspace = parts.guess(state.as_ref(), id);
                    parts.add_table(disk, keyspace, id);
                }
            }
        }
        parts.read_log(disk, None, report)?;
        for keyspace in parts.keyspaces.values().filter(|k| k.name.starts_with("keyspace-")) {
            let name = &keyspace.name;
            report.notes.push(format!("{name}: the name of this keyspace could not be read"));
        }
        Ok(parts)
    }

    /// Whose a table is that does not say so itself.
    fn guess(&mut self, state: Option<&StoreState>, id: TableId) -> KeyspaceId {
        let names_it = state.into_iter().flat_map(|state| state.keyspaces.iter());
        let named = names_it
            .filter(|(_, keyspace)| keyspace.version.tables().any(|(_, meta)| meta.id == id))
            .map(|(keyspace, _)| *keyspace)
            .next();
        if let Some(keyspace) = named {
            return keyspace;
        }
        if self.keyspaces.len() == 1 {
            return KeyspaceId::DEFAULT;
        }
        let unknown = self.keyspaces.iter().find(|(_, k)| k.name == UNKNOWN_KEYSPACE);
        let id = unknown.map_or(KeyspaceId(self.next_keyspace), |(id, _)| *id);
        self.keyspace(id, UNKNOWN_KEYSPACE);
        id
    }

    fn add_table(&mut self, disk: &dyn Disk, keyspace: KeyspaceId, id: TableId) {
        let opened = disk.open(FileName::Table(id));
        let summary = opened.and_then(|file| read_summary(&*file, self.store_id, id)).ok();
        let part = TablePart {
            id,
            range: summary.as_ref().map(|summary| summary.range.clone()),
            entries: summary.as_ref().map(|summary| summary.entries),
            seqs: summary.as_ref().map(|summary| (summary.seq_min, summary.seq_max)),
            swept_to: None,
        };
        self.keyspace(keyspace, &format!("keyspace-{}", keyspace.0)).tables.push(part);
    }

    /// The keyspace with this id, which gets this name if it is new.
    fn keyspace(&mut self, id: KeyspaceId, name: &str) -> &mut KeyspaceParts {
        if !self.keyspaces.contains_key(&id) {
            let flushed_seq = SeqNo::ZERO;
            let mut name = name.to_owned();
            while self.keyspaces.values().any(|keyspace| keyspace.name == name) {
                name.push('_');
            }
            let new = KeyspaceParts { name, tables: Vec::new(), flushed_seq };
            self.keyspaces.insert(id, new);
            self.next_keyspace = self.next_keyspace.max(id.0.saturating_add(1));
        }
        self.keyspaces.get_mut(&id).expect("it was just put there")
    }

    fn memtable(&mut self, id: KeyspaceId) -> &Memtable {
        if !self.memtables.contains_key(&id) {
            let memtable = Memtable::new(0, &Arc::new(ChunkPool::new(CHUNK_BYTES, 0)));
            self.memtables.insert(id, Arc::new(memtable));
        }
        &self.memtables[&id]
    }

    /// Reads the log into memtables: as an open would, or, if that finds damage, whatever is left.
    fn read_log(
        &mut self,
        disk: &dyn Disk,
        state: Option<&StoreState>,
        report: &mut RepairReport,
    ) -> Result<()> {
        if let Some(state) = state {
            let mut examine = || -> Result<RecoveredLog> {
                self.memtables = LiteMap::new();
                wal::examine(disk, self.store_id, &state.log, &mut |first, ops, at| {
                    self.replay(Some(state), first, ops, at)
                })
            };
            match examine().or_else(|_| examine()) {
                Ok(log) => {
                    report.log_records = log.records;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
                Err(_) => self.memtables = LiteMap::new(),
            }
        }
        let (store_id, log) = (self.store_id, state.map(|state| &state.log));
        let mut losses = Vec::new();
        let mut replay = |first, ops: &[u8], at| self.replay(state, first, ops, at);
        let note = &mut |loss: LogLoss| losses.push(loss);
        report.log_records = wal::salvage(disk, store_id, log, &mut replay, note)?;
        report.losses.extend(losses.into_iter().map(|lost| {
            let mut loss = Loss::at(FileName::Log(lost.at.segment), lost.at.offset, &lost.error);
            loss.first_seq = lost.first.map(SeqNo::get);
            loss.last_seq = lost.last.map(SeqNo::get);
            loss
        }));
        Ok(())
    }

    /// Takes in what no table holds of one batch.
    fn replay(
        &mut self,
        state: Option<&StoreState>,
        first: SeqNo,
        ops: &[u8],
        at: LogPosition,
    ) -> Result<()> {
        let mut seq = first;
        for op in decode_ops(ops).flatten() {
            self.last_seq = self.last_seq.max(seq);
            let is_known = self.keyspaces.contains_key(&op.keyspace);
            let is_dropped = state.is_some_and(|state| op.keyspace.0 < state.next_keyspace);
            if is_known || !is_dropped {
                if op.keyspace.0 == u32::MAX {
                    let name = FileName::Log(at.segment);
                    let part = "keyspace of an operation";
                    return Err(Error::corrupt(name, at.offset, part, "one", op.keyspace.0));
                }
                let name = format!("keyspace-{}", op.keyspace.0);
                if seq > self.keyspace(op.keyspace, &name).flushed_seq {
                    let memtable = self.memtable(op.keyspace);
                    memtable.insert(op.key, Tag::new(seq, op.kind), op.value);
                }
            }
            seq = seq.plus(1);
        }
        Ok(())
    }
}

/// All tables of a directory, and the store and keyspace that each says it belongs to.
fn owners(
    disk: &dyn Disk,
    listing: &Listing,
    report: &mut RepairReport,
) -> Vec<(TableId, Option<(u64, KeyspaceId)>)> {
    let tables = listing.files.iter().filter_map(|(name, bytes)| match name {
        FileName::Table(_) if *bytes == 0 => {
            report.notes.push(format!("{name}: empty, a table that was never written"));
            None
        }
        FileName::Table(id) => Some(*id),
        _ => None,
    });
    let owner = |id| {
        let read = || disk.open(FileName::Table(id)).and_then(|file| read_owner(&*file));
        let is_possible = |(_, keyspace): &(u64, KeyspaceId)| keyspace.0 < u32::MAX;
        (id, read().or_else(|_| read()).ok().filter(is_possible))
    };
    tables.map(owner).collect()
}

/// The store that most tables belong to.
fn most_frequent(owners: &[(TableId, Option<(u64, KeyspaceId)>)]) -> Option<u64> {
    let mut ids: Vec<u64> =
        owners.iter().filter_map(|(_, owner)| Some(owner.as_ref()?.0)).collect();
    ids.sort_unstable();
    ids.chunk_by(|a, b| a == b).max_by_key(|same| same.len()).map(|same| same[0])
}

/// The store that the first readable log segment belongs to.
fn log_owner(disk: &dyn Disk, listing: &Listing) -> Option<u64> {
    listing.files.iter().find_map(|(name, _)| match name {
        FileName::Log(_) => disk.open(*name).and_then(|file| wal::read_owner(&*file)).ok(),
        _ => None,
    })
}

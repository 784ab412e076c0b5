//! `verify`: everything that is wrong with a store that is not open. Changes nothing.

use std::path::Path;

use crate::base::batch::decode_ops;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::key::TableId;
use crate::base::names::FileName;
use crate::repair::report::{Depth, Finding, TablePlace, VerifyReport};
use crate::repair::{lock_store, open_existing, require_store};
use crate::sstable::{TableSummary, inspect, read_owner, read_summary};
use crate::version::{Found, StoreState, TableMeta, read_manifest};
use crate::vfs::{Disk, Listing};
use crate::wal::{LogLoss, check_headers, examine, salvage};

/// Looks for damage in the store in `dir`, which must not be open, and reports all of it. Nothing
/// is written, and nothing is recovered: what a crash left is judged as the next open would.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let db = esker::Db::open(dir.path())?;
/// db.put("k", "v")?;
/// db.close()?;
/// let report = esker::verify(dir.path(), esker::Depth::Full)?;
/// assert!(report.findings.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `InvalidArgument` if there is no store; `Locked` while it is open; `Unsupported` if a newer
/// version wrote it, or a codec is not built in; `Io` if the directory cannot be read. Damage is
/// no error: it is what is reported.
pub fn verify(dir: impl AsRef<Path>, depth: Depth) -> Result<VerifyReport> {
    verify_on(&*open_existing(dir.as_ref())?, depth)
}

/// [`verify`] on any disk.
pub(crate) fn verify_on(disk: &dyn Disk, depth: Depth) -> Result<VerifyReport> {
    verify_file(disk, depth, None)
}

/// The same for one file and the manifest alone.
pub(crate) fn verify_file(
    disk: &dyn Disk,
    depth: Depth,
    only: Option<FileName>,
) -> Result<VerifyReport> {
    let listing = disk.list()?;
    require_store(disk, &listing)?;
    let _lock = lock_store(disk, &listing)?;
    look(disk, &listing, depth, only)
}

/// The same where the caller holds others off.
pub(super) fn look(
    disk: &dyn Disk,
    listing: &Listing,
    depth: Depth,
    only: Option<FileName>,
) -> Result<VerifyReport> {
    let mut check = Check { disk, depth, listing, only, report: VerifyReport::default() };
    match read_manifest(disk, listing) {
        Ok(Found::Store { state, manifest_number }) => {
            check.tables(&state)?;
            if only.is_none_or(|only| matches!(only, FileName::Log(_))) {
                check.log(&state)?;
            }
            check.strangers(&state, manifest_number);
        }
        Ok(Found::Crashed(_) | Found::Nothing) => check.report.notes.push(
            "the creation of this store was interrupted: the next open creates it anew".to_owned(),
        ),
        Err(error) => {
            check.found(FileName::Current, error)?;
            check.tables_alone()?;
            check.report.notes.push(
                "without a manifest nobody knows which tables and logs belong to the store: \
                 tables were checked one by one, logs were not"
                    .to_owned(),
            );
        }
    }
    let foreign = listing.foreign.iter();
    check.report.notes.extend(foreign.map(|name| format!("{name}: not a file of the store")));
    Ok(check.report)
}

struct Check<'a> {
    disk: &'a dyn Disk,
    depth: Depth,
    listing: &'a Listing,
    /// The file that alone is looked at, beside the manifest.
    only: Option<FileName>,
    report: VerifyReport,
}

impl Check<'_> {
    /// Every table that the manifest names, against it.
    fn tables(&mut self, state: &StoreState) -> Result<()> {
        for (id, keyspace) in state.keyspaces.iter() {
            let tables = keyspace.version.tables();
            for (level, meta) in tables {
                if !self.looks_at(FileName::Table(meta.id)) {
                    continue;
                }
                let place = TablePlace { keyspace: keyspace.name.clone(), level };
                let summary = self.table(state.store_id, meta, &place)?;
                let compared = summary.map_or(Ok(()), |summary| meta.compare(*id, &summary));
                if let Err(error) = compared {
                    let finding = Finding::of(FileName::Table(meta.id), &error);
                    self.report.findings.push(finding.in_table(Some(place), Some(&meta.range)));
                }
            }
        }
        Ok(())
    }

    /// Checks one table; what it says of itself, if that can be read.
    fn table(
        &mut self,
        store_id: u64,
        meta: &TableMeta,
        place: &TablePlace,
    ) -> Result<Option<TableSummary>> {
        let name = FileName::Table(meta.id);
        let whole = |error: &Error| {
            Finding::of(name, error).in_table(Some(place.clone()), Some(&meta.range))
        };
        self.report.tables += 1;
        self.report.table_bytes += meta.bytes;
        let Some(bytes) = self.file_bytes(name) else {
            let error = Error::corrupt(name, 0, "table", "a file", "none");
            self.report.findings.push(whole(&error));
            return Ok(None);
        };
        if bytes != meta.bytes {
            let error = Error::corrupt(name, 0, "length of the table", meta.bytes, bytes);
            self.report.findings.push(whole(&error));
        }
        let file = match self.disk.open(name) {
            Ok(file) => file,
            Err(error) => {
                self.add(error.kind(), &error, whole(&error))?;
                return Ok(None);
            }
        };
        let (mut damages, mut summary) = (Vec::new(), None);
        match self.depth {
            Depth::Full => {
                summary = inspect(&*file, store_id, meta.id, &mut |damage| damages.push(damage));
            }
            Depth::Fast => match read_summary(&*file, store_id, meta.id) {
                Ok(found) => summary = Some(found),
                Err(error) => self.add(error.kind(), &error, whole(&error))?,
            },
        }
        for damage in damages {
            let keys = damage.keys.as_ref();
            let keys = if summary.is_none() { Some(&meta.range) } else { keys };
            let finding = Finding::of(name, &damage.error).in_table(Some(place.clone()), keys);
            self.add(damage.error.kind(), &damage.error, finding)?;
        }
        Ok(summary)
    }

    /// Every table in the directory, as it stands.
    fn tables_alone(&mut self) -> Result<()> {
        for (name, bytes) in &self.listing.files {
            let FileName::Table(id) = *name else { continue };
            if !self.looks_at(*name) {
                continue;
            }
            self.report.tables += 1;
            self.report.table_bytes += bytes;
            let opened = self.disk.open(*name);
            let owned = opened.and_then(|file| Ok((read_owner(&*file)?, file)));
            let ((store_id, _), file) = match owned {
                Ok(owned) => owned,
                Err(error) => {
                    self.found(*name, error)?;
                    continue;
                }
            };
            let mut damages = Vec::new();
            match self.depth {
                Depth::Full => {
                    _ = inspect(&*file, store_id, id, &mut |damage| damages.push(damage))
                }
                Depth::Fast => {
                    let error = read_summary(&*file, store_id, id).err();
                    error.map_or(Ok(()), |error| self.found(*name, error))?;
                }
            }
            for damage in damages {
                let finding = Finding::of(*name, &damage.error);
                let finding = finding.in_table(None, damage.keys.as_ref());
                self.add(damage.error.kind(), &damage.error, finding)?;
            }
        }
        Ok(())
    }

    /// The log as the next open would read it, and if that fails all that is wrong with it.
    fn log(&mut self, state: &StoreState) -> Result<()> {
        if self.depth == Depth::Fast {
            let mut errors = Vec::new();
            check_headers(self.disk, state.store_id, &state.log, &mut |e| errors.push(e));
            return errors
                .into_iter()
                .try_for_each(|(segment, error)| self.found(FileName::Log(segment), error));
        }
        let mut last = state.log.live_from;
        let examined = examine(self.disk, state.store_id, &state.log, &mut |_, ops, position| {
            last = position.segment;
            check_keyspaces(state, ops, position)
        });
        let error = match examined {
            Ok(log) => {
                self.report.log_records = log.records;
                return Ok(());
            }
            Err(error) => error,
        };
        let first = Finding::of(FileName::Log(last), &error);
        let mut losses = Vec::new();
        let log = Some(&state.log);
        let note = &mut |loss: LogLoss| losses.push(loss);
        let read = salvage(self.disk, state.store_id, log, &mut |_, _, _| Ok(()), note)?;
        self.report.log_records = read;
        // Of a file that cannot be read the salvage knows which one it is, and from where on.
        if error.corruption().is_some() || losses.is_empty() {
            self.add(error.kind(), &error, first.clone())?;
        }
        for loss in losses {
            let finding = Finding::at(FileName::Log(loss.at.segment), loss.at.offset, &loss.error);
            if (&finding.file, finding.offset) != (&first.file, first.offset) {
                self.report.findings.push(finding);
            }
        }
        Ok(())
    }

    /// Files that the store has no use for.
    fn strangers(&mut self, state: &StoreState, manifest: u64) {
        let tables = state.keyspaces.values().flat_map(|keyspace| keyspace.version.tables());
        let mut live: Vec<_> = tables.map(|(_, meta)| meta.id).collect();
        live.sort_unstable();
        let is_live = |id: &TableId| live.binary_search(id).is_ok();
        let files = &self.listing.files;
        // Neither may a quarantine have come to its end, nor to its edit.
        let is_set_aside = |id| files.contains(&(FileName::Quarantined(id), 0));
        let is_unused = |(name, bytes): &&(FileName, u64)| match name {
            FileName::Table(id) => !is_live(id) && !is_set_aside(*id),
            FileName::Quarantined(id) => *bytes == 0 && is_live(id),
            FileName::Manifest(number) => *number != manifest,
            FileName::CurrentTmp | FileName::Spare(_) => true,
            FileName::Log(segment) => {
                let sealed = state.log.sealed.iter().any(|sealed| sealed.segment == *segment);
                !sealed && *segment < state.log.live_from
            }
            FileName::Current | FileName::Lock | FileName::Reserve => false,
        };
        for file in files {
            let name = file.0;
            if is_unused(&file) {
                self.report.notes.push(format!("{name}: unused, the next open removes it"));
            } else if matches!(name, FileName::Quarantined(_)) {
                self.report.notes.push(format!("{name}: set aside by a quarantine"));
            }
        }
    }

    fn looks_at(&self, name: FileName) -> bool {
        self.only.is_none_or(|only| only == name)
    }

    fn file_bytes(&self, name: FileName) -> Option<u64> {
        self.listing.files.iter().find(|(file, _)| *file == name).map(|(_, bytes)| *bytes)
    }

    fn found(&mut self, file: FileName, error: Error) -> Result<()> {
        self.add(error.kind(), &error, Finding::of(file, &error))
    }

    /// Notes a finding, unless this build cannot judge.
    fn add(&mut self, kind: ErrorKind, error: &Error, finding: Finding) -> Result<()> {
        if kind == ErrorKind::Unsupported {
            return Err(error.clone());
        }
        self.report.findings.push(finding);
        Ok(())
    }
}

/// No operation names a keyspace that was never made.
fn check_keyspaces(
    state: &StoreState,
    ops: &[u8],
    position: crate::wal::LogPosition,
) -> Result<()> {
    let unknown = decode_ops(ops).flatten().find(|op| op.keyspace.0 >= state.next_keyspace);
    unknown.map_or(Ok(()), |op| {
        let (name, next) = (FileName::Log(position.segment), state.next_keyspace);
        let expected = format!("below {next}");
        let part = "keyspace of an operation";
        Err(Error::corrupt(name, position.offset, part, expected, op.keyspace.0))
    })
}

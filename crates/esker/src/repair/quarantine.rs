//! `quarantine`: takes one damaged table out of a store, on purpose and with its loss told.
//!
//! ```text
//! find         the table in the manifest, and damage in the table: twice, for a device may lie once
//! marker       an empty file 000000000017.quarantined, and its name is durable
//! edit         a new manifest of the same state, then the edit that removes the table: from here
//!              on the loss is a fact
//! set aside    000000000017.sst takes the marker's name
//! ```
//!
//! Whatever is interrupted, the manifest in force has the table or has it not. The next open goes
//! on from either: it removes the marker of a table that is still in its level, and gives a table
//! that is in none the marker's name instead of removing it. So does another quarantine. Nobody
//! reads a file that is set aside, and nobody deletes it but its owner.
//!
//! The log is left as it is; what a crash left in it is for the next open.

use std::path::Path;
use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::key::{KeyspaceId, TableId};
use crate::base::names::FileName;
use crate::repair::report::{Depth, Finding, OnLoss, Quarantine, TableLoss, TablePlace};
use crate::repair::verify::look;
use crate::repair::{lock_store, open_existing, require_store};
use crate::version::{
    Edit, Found, KeyspaceEdit, Manifest, StoreState, Sweep, TableMeta, Version, read_manifest,
};
use crate::vfs::{Disk, Listing};

/// Takes the table of this `file`, for example `000000000017.sst`, out of the store in `dir`, which
/// must not be open: an edit of its manifest, after which the store opens and merges without the
/// table. The file is kept under another name. What the table held is lost to the store; with
/// [`OnLoss::Tell`] nothing happens but that this is told. Where there is room for a copy of the
/// store, [`repair`](crate::repair()) loses less: it keeps every block of the table that is whole.
///
/// ```no_run
/// use esker::{OnLoss, Quarantine};
///
/// if let Quarantine::WouldLose(loss) =
///     esker::quarantine("shop", "000000000017.sst", OnLoss::Tell)?
/// {
///     println!("{} entries between {:?} and {:?}", loss.entries, loss.keys.0, loss.keys.1);
///     esker::quarantine("shop", "000000000017.sst", OnLoss::Accept)?;
/// }
/// # Ok::<(), esker::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` if there is no store, the store has no such table, or no entry of the table is
/// lost; `Locked` while the store is open; `Corruption` if its manifest is damaged; `Unsupported`
/// if a newer version wrote it, or a codec is not built in; `Io` or `NoSpace`, after which the
/// table is in the store or out of it, and the call can be repeated.
pub fn quarantine(dir: impl AsRef<Path>, file: &str, on_loss: OnLoss) -> Result<Quarantine> {
    let disk: Arc<dyn Disk> = open_existing(dir.as_ref())?;
    quarantine_on(&disk, file, on_loss)
}

/// [`quarantine`] on any disk.
pub(crate) fn quarantine_on(
    disk: &Arc<dyn Disk>,
    file: &str,
    on_loss: OnLoss,
) -> Result<Quarantine> {
    let Some(FileName::Table(id)) = FileName::parse(file) else {
        let text = format!(
            "{file}: no table is called so; one is called {}",
            FileName::Table(TableId(17))
        );
        return Err(Error::invalid(text));
    };
    require_store(&**disk, &disk.list()?)?;
    let _lock = match on_loss {
        OnLoss::Tell => lock_store(&**disk, &disk.list()?)?,
        OnLoss::Accept => Some(disk.lock()?),
    };
    let listing = disk.list()?;
    let Found::Store { state, manifest_number } = read_manifest(&**disk, &listing)? else {
        let text = format!("{}: the creation of this store was interrupted", disk.describe());
        return Err(Error::invalid(text));
    };
    let case = Case { disk, listing: &listing, state: &state, manifest_number, id };
    match (case.find(), on_loss) {
        (None, _) => case.was_lost(on_loss),
        (Some(place), OnLoss::Tell) => case.loss(&place).map(Quarantine::WouldLose),
        (Some(place), OnLoss::Accept) => {
            let loss = case.loss(&place)?;
            case.take_out(&place)?;
            Ok(Quarantine::Lost(loss))
        }
    }
}

/// One table of one store.
struct Case<'a> {
    disk: &'a Arc<dyn Disk>,
    listing: &'a Listing,
    state: &'a StoreState,
    manifest_number: u64,
    id: TableId,
}

/// Where the manifest has a table.
struct Home<'a> {
    keyspace: KeyspaceId,
    name: &'a str,
    level: usize,
    meta: &'a TableMeta,
    version: &'a Version,
}

impl<'a> Case<'a> {
    fn find(&self) -> Option<Home<'a>> {
        let id = self.id;
        self.state.keyspaces.iter().find_map(|(keyspace, of)| {
            let (level, meta) = of.version.tables().find(|(_, meta)| meta.id == id)?;
            let (name, version) = (of.name.as_str(), &*of.version);
            Some(Home { keyspace: *keyspace, name, level, meta, version })
        })
    }

    fn is_there(&self, name: FileName) -> bool {
        self.listing.files.iter().any(|(file, _)| *file == name)
    }

    /// What goes with the table, if it is damaged.
    fn loss(&self, home: &Home<'_>) -> Result<TableLoss> {
        let (name, meta) = (FileName::Table(self.id), home.meta);
        // What is lost twice is lost.
        self.lost_entries()?;
        let findings = self.lost_entries()?;
        Ok(TableLoss {
            file: name.to_string(),
            set_aside: FileName::Quarantined(self.id).to_string(),
            table: TablePlace { keyspace: home.name.to_owned(), level: home.level },
            keys: (meta.range.lo().to_vec(), meta.range.hi().to_vec()),
            entries: meta.entries,
            tombstones: meta.tombstones,
            first_seq: meta.seq_min.get(),
            last_seq: meta.seq_max.get(),
            findings,
        })
    }

    /// What is wrong with the table; an error if that took no entry.
    fn lost_entries(&self) -> Result<Vec<Finding>> {
        let name = FileName::Table(self.id);
        let report = look(&**self.disk, self.listing, Depth::Full, Some(name))?;
        let file = name.to_string();
        let findings: Vec<_> = report.findings.into_iter().filter(|f| f.file == file).collect();
        if findings.iter().any(|finding| finding.keys.is_some()) {
            return Ok(findings);
        }
        Err(Error::invalid(match findings.first() {
            None => format!("{name} is sound: nothing would be won by losing it"),
            Some(finding) => format!(
                "{name} has all its entries, and reads do without what is damaged, {}: `repair` makes a \
                 new one, and so does the next merge that rewrites the table",
                finding.part
            ),
        }))
    }

    /// Makes the edit, and sets the file aside.
    fn take_out(&self, home: &Home<'_>) -> Result<()> {
        let aside = FileName::Quarantined(self.id);
        match self.listing.files.iter().find(|(name, _)| *name == aside) {
            None => drop(self.disk.create(aside)?),
            Some((_, 0)) => {}
            Some(_) => {
                let text =
                    format!("{aside} is there already, and {} is in use", FileName::Table(self.id));
                return Err(Error::invalid(text));
            }
        }
        self.disk.sync_dir()?;
        let sweep = home.version.sweep().filter(|sweep| sweep.tables.contains(&self.id));
        let without = |sweep: &Sweep| Sweep {
            cursor: sweep.cursor.clone(),
            tables: sweep.tables.iter().copied().filter(|id| *id != self.id).collect(),
        };
        let edit = KeyspaceEdit {
            removed: vec![(home.level as u8, self.id)],
            sweep: sweep.map(without),
            ..KeyspaceEdit::default()
        };
        let edit = Edit { keyspaces: vec![(home.keyspace, edit)], ..Edit::default() };
        // A broken invariant shows before anything is written.
        let _ = self.state.apply(&edit);
        let mut manifest = self.new_manifest()?;
        manifest.append(&edit)?;
        manifest.mark()?;
        self.set_aside()
    }

    /// A manifest that says what the one in force says: nothing appends to a file of an earlier
    /// process.
    fn new_manifest(&self) -> Result<Manifest> {
        let number = self.state.first_free_number(self.manifest_number, self.listing)?;
        let state = StoreState { next_file: number + 1, ..self.state.clone() };
        Manifest::create(self.disk, number, &state)
    }

    fn set_aside(&self) -> Result<()> {
        let name = FileName::Table(self.id);
        if self.is_there(name) {
            self.disk.rename(name, FileName::Quarantined(self.id))?;
        }
        self.disk.sync_dir()
    }

    /// Of a table that is in no level.
    fn was_lost(&self, on_loss: OnLoss) -> Result<Quarantine> {
        let aside = FileName::Quarantined(self.id);
        if !self.is_there(aside) {
            let text = format!("{}: the store has no such table", FileName::Table(self.id));
            return Err(Error::invalid(text));
        }
        let is_unfinished =
            self.listing.files.contains(&(aside, 0)) && self.is_there(FileName::Table(self.id));
        if is_unfinished && on_loss == OnLoss::Accept {
            // What was read of the manifest in force may not be durable.
            self.new_manifest()?;
            self.set_aside()?;
        }
        Ok(Quarantine::LostBefore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::names::FileName;
    use crate::db::Db;
    use crate::db::options::{IfMissing, Options};
    use crate::env::pump::PumpEnv;
    use crate::vfs::sim::{CrashPolicy, SimDisk};

    fn opened(disk: &Arc<SimDisk>) -> Db {
        let settings = Options::tiny_and_wide().settle(64 << 20).unwrap();
        Db::open_on(disk.clone(), PumpEnv::new(7), settings, IfMissing::Create).unwrap()
    }

    fn state_of(disk: &SimDisk) -> StoreState {
        match read_manifest(disk, &disk.list().unwrap()).unwrap() {
            Found::Store { state, .. } => state,
            other => panic!("{other:?}"),
        }
    }

    fn swept(state: &StoreState) -> Vec<TableId> {
        let sweep = state.keyspaces[&KeyspaceId::DEFAULT].version.sweep();
        sweep.map_or_else(Vec::new, |sweep| sweep.tables.clone())
    }

    /// A killed store with a sweep of several tables under way.
    fn store_in_a_sweep() -> Arc<SimDisk> {
        let disk = SimDisk::new();
        let db = opened(&disk);
        for n in 0..2_000 {
            let key = format!("{:02}", n * 37 % 100);
            db.put(key, format!("{n} {}", "x".repeat(60))).unwrap();
            let left = disk.crash(CrashPolicy::ProcessCrash, 1);
            if swept(&state_of(&left)).len() > 1 {
                return left;
            }
        }
        panic!("no sweep of several tables was under way");
    }

    #[test]
    fn a_table_of_a_sweep_leaves_the_sweep_too() {
        let store = store_in_a_sweep();
        let all = swept(&state_of(&store));
        for id in &all {
            let disk = store.crash(CrashPolicy::ProcessCrash, 1);
            disk.damage(FileName::Table(*id), 100, 1);
            let quarantined: Arc<dyn Disk> = disk.clone();
            let file = FileName::Table(*id).to_string();
            let done = quarantine_on(&quarantined, &file, OnLoss::Accept).unwrap();
            assert!(matches!(done, Quarantine::Lost(_)), "{done:?}");
            let rest: Vec<_> = all.iter().copied().filter(|other| other != id).collect();
            assert_eq!(swept(&state_of(&disk)), rest);
            let db = opened(&disk);
            db.compact().unwrap();
            db.check().unwrap();
        }
    }
}

//! Installing an edit: manifest first, then views, then deletions.
//!
//! ```text
//! take the manifest -> build the edit from the present state -> append and sync it
//!   -> apply it, publish the views -> mark -> remove what no durable edit names any more
//! ```
//!
//! The edit is built after the manifest was taken, so what it was built from is still true when it
//! becomes durable (P15, P18: one writer of the set of tables).
//!
//! When the append fails nobody knows whether the edit is durable: the files that it names may be
//! neither used nor removed. The next edit then goes into a whole new manifest, written from the
//! state without the failed edit, and once that one is in force they are garbage.

use std::sync::atomic::Ordering;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::base::sync::MutexGuard;
use crate::db::store::{ManifestSlot, Store, Structure};
use crate::version::{Edit, Manifest, StoreState};

impl Store {
    /// Makes a change durable and visible, or neither.
    ///
    /// `build` makes the edit, under the structure's lock and with the manifest taken; `publish`
    /// makes it visible, under the same lock, once it is durable. What `build` found out besides
    /// goes to `publish`. `new_files` are the files that the edit makes part of the store.
    ///
    /// # Errors
    /// What `build` answered; `Io` or `NoSpace` of the manifest: then the change is not visible,
    /// and after a crash it may have happened or not.
    pub fn install<T, R>(
        &self,
        new_files: Vec<FileName>,
        build: impl FnOnce(&Structure) -> Result<(Edit, T)>,
        publish: impl FnOnce(&mut Structure, T) -> R,
    ) -> Result<R> {
        let manifest = self.take_manifest()?;
        let built = {
            let structure = self.structure();
            build(&structure).map(|(edit, found)| (self.complete(&structure, edit), found))
        };
        let ((edit, next), found) = match built {
            Ok(built) => built,
            Err(error) => {
                self.give_back_manifest(manifest);
                return Err(error);
            }
        };
        #[cfg(any(test, feature = "planted"))]
        self.retire_too_early(&next);
        let manifest = self.make_durable(manifest, &edit, new_files)?;
        let mut structure = self.structure();
        structure.state = next;
        let published = publish(&mut structure, found);
        self.finish_edit(structure, manifest);
        Ok(published)
    }

    /// An edit that changes nothing: if the one before is in doubt, a new manifest settles it.
    pub fn install_nothing(&self) -> Result<()> {
        self.install(Vec::new(), |_| Ok((Edit::default(), ())), |_, ()| ())
    }

    /// What every edit says besides, and the state after it.
    fn complete(&self, structure: &Structure, mut edit: Edit) -> (Edit, StoreState) {
        edit.next_file = self.next_file.load(Ordering::Relaxed);
        edit.horizon = Some(if planted::is_on(Bug::LengthTrustedBeforeSync) {
            self.syncer.appended_upto()
        } else {
            self.syncer.synced()
        });
        let next = structure.state.apply(&edit);
        (edit, next)
    }

    /// Writes the edit. If that fails, what it names is in doubt until there is a new manifest.
    fn make_durable(
        &self,
        manifest: Option<Manifest>,
        edit: &Edit,
        new_files: Vec<FileName>,
    ) -> Result<Manifest> {
        self.write_edit(manifest, edit).inspect_err(|_| {
            if planted::is_on(Bug::DoubtfulRemoved) {
                new_files.iter().for_each(|file| drop(self.disk.remove(*file)));
            }
            let mut structure = self.structure();
            structure.doubtful.extend(new_files);
            structure.manifest = ManifestSlot::Lost;
            drop(structure);
            self.env.notify();
        })
    }

    /// Waits for the manifest; `None` if it must be written anew.
    ///
    /// # Errors
    /// `Poisoned`: who had taken it may not bring it back.
    fn take_manifest(&self) -> Result<Option<Manifest>> {
        let mut taken = None;
        self.env.wait_until(&mut || {
            if taken.is_some() || self.health.is_poisoned() {
                return true;
            }
            let mut structure = self.structure();
            taken = match std::mem::replace(&mut structure.manifest, ManifestSlot::Taken) {
                ManifestSlot::Free(manifest) => Some(Some(manifest)),
                ManifestSlot::Lost => Some(None),
                ManifestSlot::Taken => None,
            };
            taken.is_some()
        });
        match taken {
            Some(manifest) => Ok(manifest),
            None => self.health.check_reads().and(Err(Error::closed("the store"))),
        }
    }

    fn give_back_manifest(&self, manifest: Option<Manifest>) {
        self.structure().manifest = match manifest {
            Some(manifest) => ManifestSlot::Free(manifest),
            None => ManifestSlot::Lost,
        };
        self.env.notify();
    }

    /// Appends the edit, in a new manifest if the old one is lost or has outgrown its snapshot.
    fn write_edit(&self, manifest: Option<Manifest>, edit: &Edit) -> Result<Manifest> {
        let mut manifest = match manifest {
            Some(manifest) if !manifest.has_outgrown() => manifest,
            old => self.renew_manifest(old.map(|m| m.number()))?,
        };
        match manifest.append(edit) {
            Ok(()) => Ok(manifest),
            Err(error) => {
                self.structure().doubtful.push(FileName::Manifest(manifest.number()));
                if error.kind() != ErrorKind::NoSpace || !self.release_reserve() {
                    return Err(error);
                }
                let mut manifest = self.renew_manifest(None)?;
                let number = manifest.number();
                manifest.append(edit).inspect_err(|_| {
                    self.structure().doubtful.push(FileName::Manifest(number));
                })?;
                Ok(manifest)
            }
        }
    }

    /// Writes the present state into a new manifest and puts it in force; what the old one had in
    /// doubt is garbage from then on, and so is every manifest before.
    fn renew_manifest(&self, old: Option<u64>) -> Result<Manifest> {
        let number = self.new_file_number();
        let state = {
            let mut structure = self.structure();
            structure.state.next_file = self.next_file.load(Ordering::Relaxed);
            structure.doubtful.extend(old.map(FileName::Manifest));
            structure.state.clone()
        };
        let created = Manifest::create(&self.disk, number, &state);
        let mut structure = self.structure();
        if created.is_ok() {
            let doubtful = std::mem::take(&mut structure.doubtful);
            structure.obsolete.extend(doubtful);
        } else {
            structure.doubtful.push(FileName::Manifest(number));
        }
        created
    }

    /// After the edit is published: mark, remove, give the manifest back.
    fn finish_edit(&self, mut structure: MutexGuard<'_, Structure>, mut manifest: Manifest) {
        let obsolete = std::mem::take(&mut structure.obsolete);
        drop(structure);
        let marked = manifest.mark();
        if marked.is_ok() {
            self.retire_files(&obsolete);
        }
        let mut structure = self.structure();
        structure.manifest = match marked {
            Ok(()) => ManifestSlot::Free(manifest),
            Err(_) => {
                structure.obsolete.extend(obsolete);
                structure.obsolete.push(FileName::Manifest(manifest.number()));
                ManifestSlot::Lost
            }
        };
        drop(structure);
        self.env.notify();
    }

    /// Gives up the space that was set aside for a full disk; `false` if there is none.
    fn release_reserve(&self) -> bool {
        let held = std::mem::take(&mut self.structure().reserve_held);
        held && self.disk.remove(FileName::Reserve).is_ok()
    }
}

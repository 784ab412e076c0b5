//! The tools for stores that are not open, tried where a copy of the disk was damaged, or a crash left
//! a sound one.
//!
//! - `verify` finds nothing in a sound store, and something wherever the store itself does;
//! - what `repair` makes shows a prefix of the history, but for the keys that it says are lost;
//! - so does a store out of which `quarantine` took the damaged table.

use crate::fault::Rot;
use crate::model::{State, show_bytes};
use crate::ops::Policy;
use crate::rng::Rng;
use crate::run::{Runner, Told, Trouble, skipped};
use crate::store::{Lost, Machine, Reason, Store};
use crate::verify;

/// A disk that was damaged.
struct Damaged<'a, M> {
    machine: &'a M,
    class: &'a str,
    file: &'a str,
    /// How many commits must be there; `None`: nobody can tell.
    floor: Option<usize>,
}

impl<M: Machine> Runner<M> {
    /// Damages a copy of the disk and looks what the store and the tools make of it: everything
    /// right, an error, or, where the log was damaged above its durable horizon, a shorter prefix.
    pub(crate) fn rot(&mut self, class: &str, rot: Rot, place: u64) -> Told {
        if self.is_troubled() && self.lossy {
            return skipped();
        }
        let copy = self.machine.crash(Policy::Kill, place);
        copy.limit(None);
        let mut rng = Rng::new(place);
        let files = copy.files(class);
        let files: Vec<_> = files.into_iter().filter(|(_, len)| *len > 0).collect();
        if files.is_empty() {
            return skipped();
        }
        is_sound(&copy)?;
        let (file, len) = rng.pick(&files);
        let offset = if rot == Rot::Gone { 0 } else { rng.below(*len) };
        copy.damage(file, rot, offset);
        let floor = self.horizon.floor(&self.model, file, rot, offset);
        let damaged = Damaged { machine: &copy, class, file, floor };
        let at = |trouble: Trouble| trouble.at(format_args!("{file} damaged at {offset}"));
        let told = self.open_damaged(&damaged);
        self.repair_damaged(&damaged).map_err(at)?;
        self.verify_damaged(&damaged, &told).map_err(at)?;
        match told {
            Ok(answer) => Ok(format!("{file} at {offset}: {answer}")),
            Err(Trouble::Refused(failure)) => {
                self.reached.count("rot noticed");
                Ok(format!("{file} at {offset}: {failure}"))
            }
            Err(trouble) => Err(at(trouble)),
        }
    }

    fn open_damaged(&mut self, damaged: &Damaged<'_, M>) -> Told {
        let copy = damaged.machine.crash(Policy::Kill, 0);
        let store = copy.open(self.take_seed())?;
        let found = verify::dump(&store)?;
        let Some(floor) = damaged.floor else {
            store.check()?;
            return Ok("whole in itself".to_owned());
        };
        let mut model = self.model.clone();
        let lost = model.recover(&found, floor)?;
        let mut handles = std::collections::BTreeMap::new();
        for space in found.into_keys() {
            let handle = store.keyspace(&space)?;
            handles.insert(space, handle);
        }
        verify::compare(&store, &handles, &model, &mut self.rng)?;
        self.reached.count("rot without harm");
        Ok(format!("{lost} commits lost"))
    }

    /// What the store noticed `verify` finds as well; and a table that has lost keys can be taken
    /// out, and no other.
    fn verify_damaged(&mut self, damaged: &Damaged<'_, M>, told: &Told) -> Result<(), Trouble> {
        let copy = damaged.machine.crash(Policy::Kill, 0);
        let findings = match copy.verify() {
            Ok(findings) => findings,
            // It has nothing to begin with.
            Err(_) if told.is_err() => return Ok(()),
            Err(failure) => return Err(Trouble::from(failure).at("verify").unexcused()),
        };
        if let (Err(Trouble::Refused(failure)), []) = (told, &findings[..]) {
            return Err(format!("verify finds nothing, and the store says: {failure}").into());
        }
        let takes_keys = findings.iter().any(|finding| finding.takes_keys);
        if damaged.class != "table" {
            return Ok(());
        }
        match copy.quarantine(damaged.file) {
            Ok(lost) if takes_keys => {
                self.reached.count("table quarantined");
                self.expect_but(&copy, &[lost], damaged).map_err(|t| t.at("after the quarantine"))
            }
            Ok(_) => Err("a table that has all its keys was taken out".to_owned().into()),
            Err(failure) if takes_keys => Err(Trouble::from(failure).at("quarantine").unexcused()),
            Err(_) => Ok(()),
        }
    }

    fn repair_damaged(&mut self, damaged: &Damaged<'_, M>) -> Result<(), Trouble> {
        let repair = damaged.machine.repair();
        let (repaired, lost) =
            repair.map_err(|failure| Trouble::from(failure).at("repair").unexcused())?;
        self.reached.count(if lost.is_empty() { "repaired whole" } else { "repaired with losses" });
        self.expect_but(&repaired, &lost, damaged).map_err(|trouble| trouble.at("after the repair"))
    }

    /// Nothing is wrong with what a crash leaves, and a repair makes of it what an open `found`.
    pub(crate) fn repair_sound(&mut self, image: &M, found: &State) -> Result<(), Trouble> {
        match image.verify() {
            // It was not yet a store.
            Err(failure) if failure.reason == Reason::InvalidArgument => return Ok(()),
            _ => is_sound(image)?,
        }
        let (repaired, lost) = match image.repair() {
            Err(failure) if failure.reason == Reason::InvalidArgument => return Ok(()),
            repaired => repaired.map_err(|failure| Trouble::from(failure).unexcused())?,
        };
        if !lost.is_empty() {
            return Err(format!("a repair has lost {lost:?} of what is whole").into());
        }
        let unexcused = |failure| Trouble::from(failure).at("after the repair").unexcused();
        let store = repaired.open(self.take_seed()).map_err(unexcused)?;
        if verify::dump(&store).map_err(unexcused)? != *found {
            return Err("a repair shows something else than an open".to_owned().into());
        }
        self.reached.count("crash repaired");
        Ok(())
    }

    /// Also where keys are lost nothing shows that nobody wrote there. Of a keyspace whose name is
    /// lost nobody can tell.
    fn nothing_is_made_up(&self, found: &State) -> Result<(), Trouble> {
        let spaces = self.model.spaces();
        for (space, pairs) in found.iter().filter(|(space, _)| spaces.contains(space)) {
            for (key, value) in pairs {
                if !self.model.ever_held(space, key, value) {
                    let (key, value) = (show_bytes(key), show_bytes(value));
                    return Err(format!("{space}:{key}: {value} was never written").into());
                }
            }
        }
        Ok(())
    }

    /// The store on `machine` opens, is sound, and shows a prefix of the history, but for what is
    /// lost.
    fn expect_but(
        &mut self,
        machine: &M,
        lost: &[Lost],
        damaged: &Damaged<'_, M>,
    ) -> Result<(), Trouble> {
        is_sound(machine)?;
        let opened = machine.open(self.take_seed()).map_err(Trouble::from);
        let store = opened.map_err(Trouble::unexcused)?;
        let found = verify::dump(&store).map_err(|failure| Trouble::from(failure).unexcused())?;
        store.check().map_err(|failure| Trouble::from(failure).at("check").unexcused())?;
        self.nothing_is_made_up(&found)?;
        // Without its manifest a store has lost the names of its keyspaces, and which of them were
        // dropped.
        let has_manifest = !["current", "manifest"].contains(&damaged.class);
        let Some(floor) = damaged.floor.filter(|_| has_manifest) else { return Ok(()) };
        let is_lost = |space: &_, key: &[u8]| lost.iter().any(|lost| lost.covers(space, key));
        let mut left: State = found;
        for (space, pairs) in &mut left {
            pairs.retain(|key, _| !is_lost(space, key));
        }
        self.model.without(&is_lost).recover(&left, floor)?;
        Ok(())
    }
}

fn is_sound<M: Machine>(machine: &M) -> Result<(), Trouble> {
    let findings = machine.verify().map_err(|failure| Trouble::from(failure).unexcused())?;
    match findings.first() {
        None => Ok(()),
        Some(finding) => Err(format!("verify finds in a sound store: {}", finding.text).into()),
    }
}

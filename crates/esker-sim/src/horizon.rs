//! What the log on disk is known to say about its own durability, for judging damage.
//!
//! A sync makes the log durable up to its end; the record of the next commit states so. Damage
//! below that length, with the stating record intact, must be noticed: it cannot be a crash.

use crate::fault::Rot;
use crate::model::Model;
use crate::store::Machine;

/// What is known of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Horizon {
    /// The last sync, if no commit followed it yet.
    synced: Option<Synced>,
    /// The last sync that a commit followed, and the file that this commit is in.
    stated: Option<(Synced, String)>,
}

/// A sync of the log.
#[derive(Clone, Debug)]
struct Synced {
    /// The log's files and their lengths then.
    files: Vec<(String, u64)>,
    /// How many commits there were.
    commits: usize,
}

impl Horizon {
    /// `last` is the newest file and its length without what is allocated ahead. Older files may
    /// have such a tail, too, but no commits come behind what was synced of them.
    pub(crate) fn synced<M: Machine>(
        &mut self,
        machine: &M,
        model: &Model,
        last: Option<(String, u64)>,
    ) {
        let mut files = machine.files("log");
        if let Some((name, len)) = last {
            files.iter_mut().filter(|(file, _)| *file == name).for_each(|(_, l)| *l = len);
        }
        self.synced = Some(Synced { files, commits: model.now() });
    }

    pub(crate) fn committed<M: Machine>(&mut self, machine: &M) {
        if let Some(synced) = self.synced.take() {
            let last = machine.files("log").pop();
            self.stated = last.map(|(name, _)| (synced, name));
        }
    }

    /// How many commits must be there if this damage passes without an error. `None`: a manifest
    /// that is cut between two records is an earlier one, word for word, beside the log of today.
    pub(crate) fn floor(&self, model: &Model, file: &str, rot: Rot, offset: u64) -> Option<usize> {
        if rot != Rot::Flip && file.starts_with("MANIFEST") {
            return None;
        }
        if !file.ends_with(".log") {
            return Some(model.now());
        }
        let Some((synced, stated_in)) = &self.stated else { return Some(0) };
        if rot != Rot::Flip && stated_in == file {
            // What states the length may be cut off as well.
            return Some(0);
        }
        let length = synced.files.iter().find(|(name, _)| name == file).map_or(0, |(_, len)| *len);
        Some(if offset < length { model.now() } else { synced.commits })
    }
}

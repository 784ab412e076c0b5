//! The whole state of a store: what a manifest, read to its end, says.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::key::{KeyspaceId, SegmentNo, SeqNo};
use crate::version::levels::Rule;
use crate::version::{Broken, Edit, KeyspaceCounters, KeyspaceEdit, Manifest, Version};
use crate::wal::{LogPosition, LogState};

/// Everything the manifest records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreState {
    /// Tells this store from every other one; part of all checksums.
    pub store_id: u64,
    /// Options that were fixed when the store was created.
    pub fixed: FixedOptions,
    /// The keyspaces.
    pub keyspaces: BTreeMap<KeyspaceId, KeyspaceState>,
    /// The first number that no keyspace has used.
    pub next_keyspace: u32,
    /// The first number that no file has used.
    pub next_file: u64,
    /// The highest sequence number known to be in use.
    pub last_seq: SeqNo,
    /// The log.
    pub log: LogState,
}

/// Options that cannot change after creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedOptions {
    /// The size of L0; each deeper level is ten times larger.
    pub level_base_bytes: u64,
}

/// One keyspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceState {
    /// What users call it.
    pub name: String,
    /// Records of the log up to here are in its tables.
    pub flushed_seq: SeqNo,
    /// Its tables.
    pub version: Arc<Version>,
    /// Work done for it.
    pub counters: KeyspaceCounters,
}

impl StoreState {
    /// A new store: the keyspace `default`, no tables, no log. Its first manifest has
    /// [`Manifest::FIRST_NUMBER`].
    pub fn new(store_id: u64, fixed: FixedOptions) -> Self {
        let next_file = Manifest::FIRST_NUMBER + 1;
        let created = vec![(KeyspaceId::DEFAULT, "default".to_owned())];
        Self::empty(store_id, fixed).apply(&Edit { created, next_file, ..Edit::default() })
    }

    /// What a manifest's first record changes into the state that it holds.
    pub(super) fn empty(store_id: u64, fixed: FixedOptions) -> Self {
        Self {
            store_id,
            fixed,
            keyspaces: BTreeMap::new(),
            next_keyspace: 0,
            next_file: 0,
            last_seq: SeqNo::ZERO,
            log: LogState { sealed: Vec::new(), live_from: SegmentNo(0), horizon: None },
        }
    }

    /// The edit that makes this state out of an [`empty`](Self::empty) one.
    pub(super) fn as_edit(&self) -> Edit {
        let whole = |keyspace: &KeyspaceState| KeyspaceEdit {
            added: keyspace.version.tables().map(|(n, table)| (n as u8, table.clone())).collect(),
            flushed_seq: Some(keyspace.flushed_seq),
            counters: Some(keyspace.counters),
            ..KeyspaceEdit::default()
        };
        let keyspaces = self.keyspaces.iter();
        Edit {
            created: keyspaces.clone().map(|(id, keyspace)| (*id, keyspace.name.clone())).collect(),
            keyspaces: keyspaces.map(|(id, keyspace)| (*id, whole(keyspace))).collect(),
            log: Some(self.log.clone()),
            next_file: self.next_file,
            next_keyspace: Some(self.next_keyspace),
            last_seq: Some(self.last_seq),
            ..Edit::default()
        }
    }

    /// The state after `edit`, which this process made itself: an edit that breaks an invariant
    /// is a bug and panics. Call it before the edit goes to the manifest.
    pub fn apply(&self, edit: &Edit) -> StoreState {
        let mut next = self.clone();
        let changed = next.change(edit).and_then(|()| next.check_one_place());
        changed.inspect_err(Broken::stop).expect("a broken invariant stops");
        next
    }

    /// Makes `edit`, apart from [`check_one_place`](Self::check_one_place). After an error this
    /// is no state of anything.
    pub(super) fn change(&mut self, edit: &Edit) -> Result<(), Broken> {
        self.next_file = self.next_file.max(edit.next_file);
        self.last_seq = self.last_seq.max(edit.last_seq.unwrap_or_default());
        for id in &edit.dropped {
            let is_there = *id != KeyspaceId::DEFAULT && self.keyspaces.remove(id).is_some();
            require(is_there, Rule::KeyspaceIsThere, || format!("{id:?} is dropped"))?;
        }
        for (id, name) in &edit.created {
            self.create_keyspace(*id, name)?;
        }
        self.next_keyspace = self.next_keyspace.max(edit.next_keyspace.unwrap_or_default());
        for (id, edit) in &edit.keyspaces {
            self.change_keyspace(*id, edit)?;
        }
        self.change_log(edit)
    }

    fn create_keyspace(&mut self, id: KeyspaceId, name: &str) -> Result<(), Broken> {
        let next = self.next_keyspace;
        let is_fresh = id.0 >= next && id.0 < u32::MAX;
        require(is_fresh, Rule::NeverBack, || format!("{id:?} is made where {next} is next"))?;
        let is_taken = self.keyspaces.values().any(|keyspace| keyspace.name == name);
        require(!is_taken, Rule::KeyspaceIsThere, || format!("two keyspaces {name:?}"))?;
        self.next_keyspace = id.0 + 1;
        let keyspace = KeyspaceState { name: name.to_owned(), ..KeyspaceState::default() };
        self.keyspaces.insert(id, keyspace);
        Ok(())
    }

    fn change_keyspace(&mut self, id: KeyspaceId, edit: &KeyspaceEdit) -> Result<(), Broken> {
        for (_, table) in &edit.added {
            let is_ours = table.id.0 < self.next_file;
            let next = self.next_file;
            require(is_ours, Rule::NeverBack, || format!("table {}, next is {next}", table.id))?;
            self.last_seq = self.last_seq.max(table.seq_max);
        }
        let missing = || Broken::new(Rule::KeyspaceIsThere, format!("{id:?} is changed"));
        let keyspace = self.keyspaces.get_mut(&id).ok_or_else(missing)?;
        if let Some(seq) = edit.flushed_seq {
            let old = std::mem::replace(&mut keyspace.flushed_seq, seq);
            require(old <= seq, Rule::NeverBack, || format!("flushed {seq} after {old}"))?;
        }
        if let Some(counters) = edit.counters {
            let old = std::mem::replace(&mut keyspace.counters, counters);
            let grown = old.totals().iter().zip(counters.totals()).all(|(old, new)| *old <= new);
            require(grown, Rule::NeverBack, || format!("{counters:?} after {old:?}"))?;
        }
        Arc::make_mut(&mut keyspace.version).change(edit)
    }

    fn change_log(&mut self, edit: &Edit) -> Result<(), Broken> {
        let stated = |position: Option<LogPosition>| position.filter(|at| at.offset > 0);
        let mut horizon = stated(self.log.horizon).max(stated(edit.horizon));
        if let Some(log) = &edit.log {
            let (old, new) = (self.log.live_from, log.live_from);
            require(old <= new, Rule::NeverBack, || format!("log from {new} after {old}"))?;
            let rising = log.sealed.windows(2).all(|pair| pair[0].segment < pair[1].segment);
            let below = log.sealed.last().is_none_or(|last| last.segment < new);
            let text = || format!("sealed segments {:?} below {new}", log.sealed);
            require(rising && below, Rule::NeverBack, text)?;
            horizon = horizon.max(stated(log.horizon));
            self.log = log.clone();
        }
        self.log.horizon = horizon;
        Ok(())
    }

    /// No table is in two places. Once per manifest, or per edit of our own: it looks at all.
    pub(super) fn check_one_place(&self) -> Result<(), Broken> {
        let tables = self.keyspaces.values().flat_map(|keyspace| keyspace.version.tables());
        let mut ids: Vec<_> = tables.map(|(_, table)| table.id).collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            None => Ok(()),
            Some(twice) => {
                Err(Broken::new(Rule::OnePlace, format!("table {} is in two places", twice[0])))
            }
        }
    }
}

fn require(holds: bool, rule: Rule, text: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken::new(rule, text())) }
}

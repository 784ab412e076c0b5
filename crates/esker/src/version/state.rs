//! The whole state of a store: what a manifest, read to its end, says.

use std::sync::Arc;

use litemap::LiteMap;

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
    pub keyspaces: LiteMap<KeyspaceId, KeyspaceState>,
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
            keyspaces: LiteMap::new(),
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
            sweep: keyspace.version.sweep().cloned(),
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
            if !is_there {
                return Err(Broken::new(Rule::KeyspaceIsThere, format!("{id:?} is dropped")));
            }
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
        if id.0 < next || id.0 == u32::MAX {
            return Err(back(format!("{id:?} is made where {next} is next")));
        }
        if self.keyspaces.values().any(|keyspace| keyspace.name == name) {
            return Err(Broken::new(Rule::KeyspaceIsThere, format!("two keyspaces {name:?}")));
        }
        self.next_keyspace = id.0 + 1;
        let keyspace = KeyspaceState { name: name.to_owned(), ..KeyspaceState::default() };
        self.keyspaces.insert(id, keyspace);
        Ok(())
    }

    fn change_keyspace(&mut self, id: KeyspaceId, edit: &KeyspaceEdit) -> Result<(), Broken> {
        for (_, table) in &edit.added {
            if table.id.0 >= self.next_file {
                return Err(back(format!("table {}, next is {}", table.id, self.next_file)));
            }
            self.last_seq = self.last_seq.max(table.seq_max);
        }
        let missing = || Broken::new(Rule::KeyspaceIsThere, format!("{id:?} is changed"));
        let keyspace = self.keyspaces.get_mut(&id).ok_or_else(missing)?;
        if let Some(seq) = edit.flushed_seq {
            let old = std::mem::replace(&mut keyspace.flushed_seq, seq);
            if seq < old {
                return Err(back(format!("flushed {seq} after {old}")));
            }
        }
        if let Some(counters) = edit.counters {
            let old = std::mem::replace(&mut keyspace.counters, counters);
            if old.totals().iter().zip(counters.totals()).any(|(old, new)| new < *old) {
                return Err(back(format!("{counters:?} after {old:?}")));
            }
        }
        Arc::make_mut(&mut keyspace.version).change(edit)
    }

    fn change_log(&mut self, edit: &Edit) -> Result<(), Broken> {
        let stated = |position: Option<LogPosition>| position.filter(|at| at.offset > 0);
        let mut horizon = stated(self.log.horizon).max(stated(edit.horizon));
        if let Some(log) = &edit.log {
            let (old, new) = (self.log.live_from, log.live_from);
            if new < old {
                return Err(back(format!("log from {new} after {old}")));
            }
            let rising = log.sealed.windows(2).all(|pair| pair[0].segment < pair[1].segment);
            if !rising || log.sealed.last().is_some_and(|last| last.segment >= new) {
                return Err(back(format!("sealed segments {:?} below {new}", log.sealed)));
            }
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

fn back(text: String) -> Broken {
    Broken::new(Rule::NeverBack, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::TableId;
    use crate::version::testing::{arbitrary_state, flush, table};
    use crate::wal::SealedSegment;
    use proptest::prelude::*;

    fn new() -> StoreState {
        StoreState::new(1, FixedOptions { level_base_bytes: 40 << 20 })
    }

    fn broken(state: &StoreState, edit: &Edit) -> Rule {
        let mut next = state.clone();
        next.change(edit).and_then(|()| next.check_one_place()).unwrap_err().rule()
    }

    fn in_default(edit: KeyspaceEdit) -> Edit {
        Edit { keyspaces: vec![(KeyspaceId::DEFAULT, edit)], next_file: 100, ..Edit::default() }
    }

    #[test]
    fn a_new_store_has_the_default_keyspace_and_nothing_else() {
        let state = new();
        let default = &state.keyspaces[&KeyspaceId::DEFAULT];
        assert_eq!((default.name.as_str(), state.keyspaces.len()), ("default", 1));
        assert_eq!((state.next_keyspace, state.next_file, state.last_seq), (1, 2, SeqNo::ZERO));
    }

    #[test]
    fn an_edit_changes_what_it_names() {
        let state = new().apply(&flush(7, 1, 9));
        assert_eq!(state.next_file, 8);
        assert_eq!(state.last_seq, SeqNo::new(9), "as high as the tables'");
        let users = KeyspaceId(1);
        let made = state.apply(&Edit {
            created: vec![(users, "users".to_owned())],
            last_seq: Some(SeqNo::new(20)),
            ..Edit::default()
        });
        assert_eq!((made.next_keyspace, made.next_file), (2, 8), "a lower next_file leaves it");
        assert_eq!(made.last_seq, SeqNo::new(20));
        let dropped = made.apply(&Edit { dropped: vec![users], ..Edit::default() });
        assert_eq!((dropped.keyspaces.len(), dropped.next_keyspace), (1, 2));
    }

    #[test]
    #[should_panic(expected = "V1")]
    fn v1_a_table_is_in_one_keyspace_only() {
        let state = new().apply(&flush(7, 1, 9));
        let added = vec![(3, Arc::new(table(7, "a", "b", 1, 2)))];
        let users = KeyspaceId(1);
        state.apply(&Edit {
            created: vec![(users, "users".to_owned())],
            keyspaces: vec![(users, KeyspaceEdit { added, ..KeyspaceEdit::default() })],
            ..Edit::default()
        });
    }

    #[test]
    #[should_panic(expected = "V2")]
    fn v2_our_own_edit_that_removes_what_is_not_there_is_a_bug() {
        let removed = vec![(0, TableId(7))];
        new().apply(&in_default(KeyspaceEdit { removed, ..KeyspaceEdit::default() }));
    }

    #[test]
    fn v5_nothing_goes_back() {
        let full = KeyspaceEdit {
            flushed_seq: Some(SeqNo::new(10)),
            counters: Some(KeyspaceCounters { flushes: 2, ..KeyspaceCounters::default() }),
            ..KeyspaceEdit::default()
        };
        let log = LogState { sealed: Vec::new(), live_from: SegmentNo(9), horizon: None };
        let state = new().apply(&Edit { log: Some(log.clone()), ..in_default(full.clone()) });
        let seq = KeyspaceEdit { flushed_seq: Some(SeqNo::new(9)), ..full.clone() };
        let fewer = KeyspaceCounters { flushes: 1, moves: 9, ..KeyspaceCounters::default() };
        let counters = KeyspaceEdit { counters: Some(fewer), ..full };
        let added = vec![(1, Arc::new(table(100, "a", "b", 1, 2)))];
        let number = KeyspaceEdit { added, ..KeyspaceEdit::default() };
        for edit in [seq, counters, number].map(in_default) {
            assert_eq!(broken(&state, &edit), Rule::NeverBack, "{edit:?}");
        }
        let created = vec![(KeyspaceId(0), "again".to_owned())];
        assert_eq!(broken(&state, &Edit { created, ..Edit::default() }), Rule::NeverBack);
        let sealed = |numbers: &[u64]| {
            numbers.iter().map(|n| SealedSegment { segment: SegmentNo(*n), bytes: 128 }).collect()
        };
        for log in [
            LogState { live_from: SegmentNo(8), ..log.clone() },
            LogState { sealed: sealed(&[3, 3]), ..log.clone() },
            LogState { sealed: sealed(&[9]), ..log },
        ] {
            let edit = Edit { log: Some(log), ..Edit::default() };
            assert_eq!(broken(&state, &edit), Rule::NeverBack, "{edit:?}");
        }
    }

    #[test]
    fn v5_the_horizon_stays_at_the_highest_that_was_stated() {
        let at = |segment, offset| Some(LogPosition { segment: SegmentNo(segment), offset });
        let mut state = new();
        for (stated, horizon) in
            [(at(4, 0), None), (at(3, 8), at(3, 8)), (at(2, 900), at(3, 8)), (at(4, 0), at(3, 8))]
        {
            state = state.apply(&Edit { horizon: stated, ..Edit::default() });
            assert_eq!(state.log.horizon, horizon);
        }
        let log = LogState { sealed: Vec::new(), live_from: SegmentNo(5), horizon: None };
        state = state.apply(&Edit { log: Some(log), ..Edit::default() });
        assert_eq!((state.log.live_from, state.log.horizon), (SegmentNo(5), at(3, 8)));
    }

    #[test]
    fn v6_keyspaces_are_there_and_have_names_of_their_own() {
        let state = new();
        let there = KeyspaceEdit::default();
        for edit in [
            Edit { keyspaces: vec![(KeyspaceId(1), there)], ..Edit::default() },
            Edit { dropped: vec![KeyspaceId(1)], ..Edit::default() },
            Edit { dropped: vec![KeyspaceId::DEFAULT], ..Edit::default() },
            Edit { created: vec![(KeyspaceId(1), "default".to_owned())], ..Edit::default() },
        ] {
            assert_eq!(broken(&state, &edit), Rule::KeyspaceIsThere, "{edit:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_state_is_the_edit_that_makes_it(state in arbitrary_state()) {
            let mut again = StoreState::empty(state.store_id, state.fixed);
            again.change(&state.as_edit()).unwrap();
            prop_assert_eq!(again, state);
        }
    }
}

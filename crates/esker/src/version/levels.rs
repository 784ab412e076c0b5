//! One immutable picture of the tables of a keyspace, level by level.

use std::fmt;
use std::sync::Arc;

use crate::base::invariant;
use crate::base::key::TableId;
use crate::base::limits::LEVELS;
use crate::version::{KeyspaceEdit, Sweep, TableMeta};

/// The tables of a keyspace. L0 has the newest first, the others are sorted by key range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    levels: [Vec<Arc<TableMeta>>; LEVELS],
    sweep: Option<Arc<Sweep>>,
}

impl Version {
    /// The tables of level `n`.
    pub fn level(&self, n: usize) -> &[Arc<TableMeta>] {
        &self.levels[n]
    }

    /// The sweep of L0 that is under way.
    pub fn sweep(&self) -> Option<&Sweep> {
        self.sweep.as_deref()
    }

    /// All tables with their levels, L0 first.
    pub fn tables(&self) -> impl Iterator<Item = (usize, &Arc<TableMeta>)> {
        self.levels.iter().enumerate().flat_map(|(n, level)| level.iter().map(move |t| (n, t)))
    }

    /// This picture with `edit` made; tables are removed before others are added.
    #[cfg(test)]
    pub fn apply(&self, edit: &KeyspaceEdit) -> Result<Version, Broken> {
        let mut next = self.clone();
        next.change(edit)?;
        Ok(next)
    }

    /// Makes `edit`. After an error this is no picture of anything.
    pub(super) fn change(&mut self, edit: &KeyspaceEdit) -> Result<(), Broken> {
        self.remove(&edit.removed)?;
        self.add(&edit.added)?;
        if let Some(sweep) = &edit.sweep {
            self.check_sweep_goes_on(sweep)?;
            self.sweep = Some(Arc::new(sweep.clone())).filter(|sweep| !sweep.tables.is_empty());
        }
        self.check_sweep()
    }

    /// A sweep that is under way goes up and takes nothing in.
    fn check_sweep_goes_on(&self, next: &Sweep) -> Result<(), Broken> {
        let Some(sweep) = self.sweep().filter(|_| !next.tables.is_empty()) else { return Ok(()) };
        let shrinks = next.tables.iter().all(|id| sweep.tables.contains(id));
        if shrinks && sweep.cursor <= next.cursor {
            return Ok(());
        }
        Err(Broken::new(Rule::SweepOfOldest, format!("a sweep {next:?} after {sweep:?}")))
    }

    /// The swept tables are the oldest of L0, and each has something left.
    fn check_sweep(&self) -> Result<(), Broken> {
        let Some(sweep) = self.sweep() else { return Ok(()) };
        let l0 = &self.levels[0];
        let oldest = l0.len().checked_sub(sweep.tables.len()).map(|fresh| &l0[fresh..]);
        let is_swept = |(meta, id): (&Arc<TableMeta>, &TableId)| {
            meta.id == *id && meta.range.hi() >= sweep.cursor.as_slice()
        };
        if oldest.is_some_and(|oldest| oldest.iter().zip(&sweep.tables).all(is_swept)) {
            return Ok(());
        }
        let ids: Vec<_> = l0.iter().map(|meta| meta.id).collect();
        Err(Broken::new(Rule::SweepOfOldest, format!("a sweep {sweep:?} where L0 is {ids:?}")))
    }

    fn remove(&mut self, removed: &[(u8, TableId)]) -> Result<(), Broken> {
        let mut wanted: Vec<(usize, TableId)> =
            removed.iter().map(|(level, id)| (usize::from(*level), *id)).collect();
        wanted.sort_unstable();
        let mut found = Vec::with_capacity(wanted.len());
        let mut levels: Vec<_> = wanted.iter().map(|(level, _)| *level).collect();
        levels.dedup();
        for level in levels {
            let tables = self.levels.get_mut(level).ok_or_else(|| no_level(level))?;
            tables.retain(|table| {
                let gone = wanted.binary_search(&(level, table.id)).is_ok();
                found.extend(gone.then_some((level, table.id)));
                !gone
            });
        }
        found.sort_unstable();
        if found == wanted {
            return Ok(());
        }
        let missing = wanted.iter().find(|table| found.binary_search(table).is_err());
        let text = missing.map_or("a table removed twice".to_owned(), |(level, id)| {
            format!("table {id} is removed from L{level}, where it is not")
        });
        Err(Broken::new(Rule::RemovedIsThere, text))
    }

    fn add(&mut self, added: &[(u8, Arc<TableMeta>)]) -> Result<(), Broken> {
        let mut touched = [false; LEVELS];
        for (level, table) in added {
            let level = usize::from(*level);
            self.levels.get_mut(level).ok_or_else(|| no_level(level))?.push(Arc::clone(table));
            touched[level] = true;
        }
        for level in (0..LEVELS).filter(|level| touched[*level]) {
            let tables = &mut self.levels[level];
            tables.sort_unstable_by(|a, b| match level {
                0 => b.seq_max.cmp(&a.seq_max),
                _ => a.range.lo().cmp(b.range.lo()),
            });
            if level == 0 { check_l0(tables)? } else { check_sorted(level, tables)? }
        }
        Ok(())
    }
}

/// L0: each table is older than the one before it, by all its entries.
fn check_l0(tables: &[Arc<TableMeta>]) -> Result<(), Broken> {
    for pair in tables.windows(2) {
        let (newer, older) = (&pair[0], &pair[1]);
        if older.seq_max >= newer.seq_min {
            let text = format!(
                "L0 tables {} (#{} to #{}) and {} (#{} to #{})",
                newer.id, newer.seq_min, newer.seq_max, older.id, older.seq_min, older.seq_max
            );
            return Err(Broken::new(Rule::L0InOrder, text));
        }
    }
    Ok(())
}

/// L1 and deeper: each table ends before the next one begins, and no key is in two.
fn check_sorted(level: usize, tables: &[Arc<TableMeta>]) -> Result<(), Broken> {
    for pair in tables.windows(2) {
        if pair[0].range.hi() >= pair[1].range.lo() {
            let text = format!("L{level} tables {} and {} overlap", pair[0].id, pair[1].id);
            return Err(Broken::new(Rule::LevelSorted, text));
        }
    }
    Ok(())
}

fn no_level(level: usize) -> Broken {
    Broken::new(Rule::RemovedIsThere, format!("there is no L{level}"))
}

/// What an edit would break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    rule: Rule,
    text: String,
}

/// The invariants of the folder that an edit can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    OnePlace,
    RemovedIsThere,
    LevelSorted,
    L0InOrder,
    NeverBack,
    KeyspaceIsThere,
    SweepOfOldest,
}

impl Broken {
    pub(super) fn new(rule: Rule, text: impl Into<String>) -> Self {
        Self { rule, text: text.into() }
    }

    #[cfg(test)]
    pub(super) fn rule(&self) -> Rule {
        self.rule
    }

    /// For an edit that this process made itself: a bug.
    pub(super) fn stop(&self) {
        let (rule, text) = (self.rule, &self.text);
        invariant!(V1, rule != Rule::OnePlace, "{text}");
        invariant!(V2, rule != Rule::RemovedIsThere, "{text}");
        invariant!(V3, rule != Rule::LevelSorted, "{text}");
        invariant!(V4, rule != Rule::L0InOrder, "{text}");
        invariant!(V5, rule != Rule::NeverBack, "{text}");
        invariant!(V6, rule != Rule::KeyspaceIsThere, "{text}");
        invariant!(V8, rule != Rule::SweepOfOldest, "{text}");
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::testing::table;

    fn added(tables: &[(u8, TableMeta)]) -> KeyspaceEdit {
        let added = tables.iter().map(|(level, table)| (*level, Arc::new(table.clone())));
        KeyspaceEdit { added: added.collect(), ..KeyspaceEdit::default() }
    }

    fn version(tables: &[(u8, TableMeta)]) -> Result<Version, Broken> {
        Version::default().apply(&added(tables))
    }

    fn ids(version: &Version, level: usize) -> Vec<u64> {
        version.level(level).iter().map(|table| table.id.0).collect()
    }

    #[test]
    fn tables_stand_in_the_order_of_their_level() {
        let version = version(&[
            (0, table(1, "a", "z", 1, 5)),
            (0, table(2, "a", "z", 6, 9)),
            (1, table(3, "m", "p", 1, 2)),
            (1, table(4, "b", "c", 1, 9)),
        ])
        .unwrap();
        assert_eq!(ids(&version, 0), [2, 1]);
        assert_eq!(ids(&version, 1), [4, 3]);
    }

    #[test]
    fn a_table_moves_by_leaving_one_level_and_entering_another() {
        let version = version(&[(1, table(1, "a", "b", 1, 2))]).unwrap();
        let removed = vec![(1, TableId(1))];
        let edit = KeyspaceEdit { removed, ..added(&[(2, table(1, "a", "b", 1, 2))]) };
        let moved = version.apply(&edit).unwrap();
        assert_eq!((ids(&moved, 1).len(), ids(&moved, 2)), (0, vec![1]));
        assert_eq!(ids(&version, 1), [1], "the old picture stays");
    }

    #[test]
    fn v2_a_table_is_removed_from_where_it_is_and_once() {
        let version = version(&[(1, table(1, "a", "b", 1, 2))]).unwrap();
        for removed in [
            vec![(2, TableId(1))],
            vec![(1, TableId(2))],
            vec![(1, TableId(1)); 2],
            vec![(7, TableId(1))],
        ] {
            let edit = KeyspaceEdit { removed, ..KeyspaceEdit::default() };
            assert_eq!(version.apply(&edit).unwrap_err().rule, Rule::RemovedIsThere);
        }
    }

    #[test]
    fn v3_deeper_levels_share_no_key_not_even_at_the_ends() {
        let both = |lo, hi| version(&[(1, table(1, "c", "f", 1, 2)), (1, table(2, lo, hi, 1, 2))]);
        for (lo, hi) in [("a", "b"), ("g", "z")] {
            assert!(both(lo, hi).is_ok());
        }
        for (lo, hi) in [("a", "c"), ("f", "g"), ("d", "e"), ("a", "z")] {
            assert_eq!(both(lo, hi).unwrap_err().rule, Rule::LevelSorted, "{lo} to {hi}");
        }
    }

    #[test]
    fn v4_tables_of_l0_share_no_sequence_number() {
        let both =
            |min, max| version(&[(0, table(1, "a", "z", 5, 9)), (0, table(2, "b", "c", min, max))]);
        for (min, max) in [(1, 4), (10, 12)] {
            assert!(both(min, max).is_ok());
        }
        for (min, max) in [(1, 5), (9, 12), (6, 7), (1, 12)] {
            assert_eq!(both(min, max).unwrap_err().rule, Rule::L0InOrder, "{min} to {max}");
        }
    }

    fn sweep(cursor: &str, tables: &[u64]) -> KeyspaceEdit {
        let tables = tables.iter().copied().map(TableId).collect();
        let sweep = Some(Sweep { cursor: cursor.into(), tables });
        KeyspaceEdit { sweep, ..KeyspaceEdit::default() }
    }

    #[test]
    fn v8_a_sweep_is_of_the_oldest_tables_and_goes_up() {
        let tables = [
            (0, table(1, "a", "k", 1, 1)),
            (0, table(2, "a", "z", 2, 2)),
            (0, table(3, "a", "z", 3, 3)),
        ];
        let start = version(&tables).unwrap();
        for (cursor, tables) in
            [("c", &[2][..]), ("c", &[3, 2]), ("c", &[1, 2]), ("p", &[2, 1]), ("c", &[4, 3, 2, 1])]
        {
            let error = start.apply(&sweep(cursor, tables)).unwrap_err();
            assert_eq!(error.rule, Rule::SweepOfOldest, "{cursor} {tables:?}");
        }
        let begun = start.apply(&sweep("c", &[2, 1])).unwrap();
        assert_eq!(begun.sweep().unwrap().cursor, b"c");
        let newer = added(&[(0, table(4, "a", "z", 4, 4))]);
        assert_eq!(begun.apply(&newer).unwrap().sweep(), begun.sweep(), "a flush leaves it");
        for edit in [
            sweep("b", &[2, 1]),
            sweep("d", &[3, 2, 1]),
            KeyspaceEdit { removed: vec![(0, TableId(1))], ..KeyspaceEdit::default() },
        ] {
            assert_eq!(begun.apply(&edit).unwrap_err().rule, Rule::SweepOfOldest, "{edit:?}");
        }
        let removed = vec![(0, TableId(1))];
        let on = begun.apply(&KeyspaceEdit { removed, ..sweep("n", &[2]) }).unwrap();
        let removed = vec![(0, TableId(2))];
        let over = on.apply(&KeyspaceEdit { removed, ..sweep("", &[]) }).unwrap();
        assert_eq!((over.sweep(), ids(&over, 0)), (None, vec![3]));
    }
}

//! What may vanish: the rules for dropping versions and tombstones, each with its proof. Pure.
//!
//! A merge shows the versions of one key newest first, `v1 > v2 > ...`. Who reads what is left?
//!
//! - the snapshots that are alive, at the numbers `s` that were copied when the merge began;
//! - every read to come, at a number at or above all versions of the merge, for these were visible
//!   before the numbers were copied. Reads under way keep the old tables and do not care.
//!
//! A reader at `r` sees the newest version at or below `r`. Snapshots cut the versions of a key
//! into *stripes*:
//!
//! ```text
//!    later reads    |  snapshot 6      |  snapshot 3
//!  put#9  put#8     |  put#5  put#4    |  delete#2  put#1
//!  KEPT   rule 1    |  KEPT   rule 1   |  rule 2    rule 1       (nothing older elsewhere)
//! ```
//!
//! **Rule 1, superseded.** Drop `v` if no snapshot lies at or above it and below the next newer
//! version `w`. *Proof:* `r` sees `v` only if `v <= r < w`. Such an `r` is no snapshot, and no
//! read to come, for these have `w <= r`. So nobody sees `v`, whatever became of `w`.
//!
//! **Rule 2, a tombstone over nothing.** A tombstone `t` that rule 1 keeps may vanish if nothing
//! older of its key is kept, and nothing older lies anywhere outside the merge. *Proof:* whoever
//! saw `t` was told "no value". Without it he sees the newest version below `t` that is left, and
//! there is none: "no value". Whoever saw something else sees it still. That no snapshot lies
//! below `t` is not needed: a lone `delete#9` may go in spite of a snapshot at 6. But an older
//! version that is kept *for* that snapshot needs the tombstone over it, or it would rise again:
//!
//! ```text
//!    later reads  |  snapshot 6
//!  delete#9       |  put#5             both stay; without delete#9 a later read would see put#5
//! ```
//!
//! **Rule 3, a tombstone over a tombstone.** If the next older version that rule 1 keeps is a
//! tombstone too, and nothing older lies outside the merge, `t` may vanish. *Proof:* whoever saw
//! `t` sees that older one instead, and is told the same; rule 2 then looks at the older one.
//!
//! So a tombstone *waits* until the next version that is kept, or the key's end, decides it; one
//! waits at a time. What lies outside and is newer (upper levels, memtables) is seen before
//! anything here either way. What lies outside and is older lies in deeper levels, or in L0 tables
//! that the merge left out; a plan names those ranges, and in them tombstones are kept at once.
//!
//! **A step of a sweep** merges a range of keys: of the oldest tables of L0, of all tables of L1
//! that the range meets. For a key in the range that is a merge of whole tables, so the rules hold
//! as they stand; for other keys nothing happens. Afterwards the range is dead in the swept tables
//! ([`crate::read::clamp`]). *Proof that it must be:* say rule 2 dropped `delete#9` of table 2 over
//! `put#4` of table 1, both swept. Were table 1 still read below the cursor, `put#4` would rise
//! again as soon as table 2, used up first, is gone. And neither may a later merge read what is
//! dead: it would take in entries twice, some of which the step had dropped for good.
//!
//! **A merge within L0** keeps its tombstones where an older table of L0, or any deeper table, may
//! hold the key. A swept table counts from its cursor on; below it L1 has taken its place, and is
//! named itself.

use crate::base::invariant;
use crate::base::key::{SeqNo, Tag};
use crate::base::planted::{self, Bug};
use crate::base::range::KeyRange;

/// Decides version by version, in THE order, what a merge keeps.
#[derive(Debug)]
pub struct Elider {
    /// Ascending.
    snapshots: Vec<SeqNo>,
    tombstones: Tombstones,
    /// How many of the ranges of [`Tombstones::KeptIn`] end before the present key.
    ranges_passed: usize,
    /// Whether the present key may have older versions outside the merge.
    older: Older,
    /// The version of the present key that was decided last.
    newer: Option<SeqNo>,
    /// The tombstone of the present key that waits.
    waiting: Option<Tag>,
    counts: ElidedCounts,
}

/// Where older versions of a key may lie outside the merge, so that its tombstones must be kept.
#[derive(Clone, Debug)]
pub enum Tombstones {
    /// Anywhere: a flush cannot know.
    Kept,
    /// In these ranges, disjoint and ascending.
    KeptIn(Vec<KeyRange>),
}

/// What becomes of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Write it.
    Keep,
    /// Write this tombstone of the same key, which has waited, and then the version.
    KeepUnder(Tag),
    /// Write nothing yet: it is a tombstone, and what comes next decides.
    Wait,
    /// Write nothing: nobody sees it.
    Superseded,
}

/// How many versions vanished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ElidedCounts {
    /// By rule 1.
    pub superseded: u64,
    /// Tombstones by rules 2 and 3.
    pub tombstones_dropped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Older {
    MayExist,
    Absent,
}

impl Elider {
    /// For the snapshots that are alive, ascending, copied after everything in the merge was
    /// visible.
    pub fn new(snapshots: Vec<SeqNo>, tombstones: Tombstones) -> Self {
        assert!(snapshots.is_sorted(), "snapshots come in ascending order");
        Self {
            snapshots,
            tombstones,
            ranges_passed: 0,
            older: Older::MayExist,
            newer: None,
            waiting: None,
            counts: ElidedCounts::default(),
        }
    }

    /// Ends the key before, if there was one, and begins `key`, which is greater.
    pub fn begin_key(&mut self, key: &[u8]) {
        self.end_key();
        self.older = self.older_of(key);
    }

    /// Ends the present key: a tombstone that still waits has nothing to hide (rule 2).
    pub fn end_key(&mut self) {
        self.newer = None;
        self.drop_waiting();
    }

    /// Decides the next version of the present key. Each is older than the one before (C4).
    pub fn decide(&mut self, tag: Tag) -> Fate {
        let seq = tag.seq();
        let newer = self.newer.replace(seq);
        if let Some(newer) = newer {
            invariant!(C4, seq < newer, "version {seq} of a key comes behind {newer}");
            if !self.is_seen(seq, newer) {
                self.counts.superseded += 1;
                return Fate::Superseded;
            }
        }
        if tag.is_delete() && self.older == Older::Absent {
            self.drop_waiting(); // rule 3
            self.waiting = Some(tag);
            return Fate::Wait;
        }
        self.waiting.take().map_or(Fate::Keep, Fate::KeepUnder)
    }

    /// What vanished so far.
    pub fn counts(&self) -> ElidedCounts {
        self.counts
    }

    /// Whether some reader sees a version: its number is at or above it and below the next newer
    /// version (rule 1).
    fn is_seen(&self, seq: SeqNo, newer: SeqNo) -> bool {
        let wrong = planted::is_on(Bug::SnapshotOffByOne);
        let at_or_above = self
            .snapshots
            .partition_point(|snapshot| *snapshot < seq || (wrong && *snapshot == seq));
        self.snapshots.get(at_or_above).is_some_and(|snapshot| *snapshot < newer)
    }

    /// Whether older versions of `key`, which is greater than all before, may lie outside.
    fn older_of(&mut self, key: &[u8]) -> Older {
        let Tombstones::KeptIn(ranges) = &self.tombstones else { return Older::MayExist };
        while ranges.get(self.ranges_passed).is_some_and(|range| range.hi() < key) {
            self.ranges_passed += 1;
        }
        match ranges.get(self.ranges_passed) {
            Some(range) if range.contains(key) => Older::MayExist,
            _ => Older::Absent,
        }
    }

    fn drop_waiting(&mut self) {
        self.counts.tombstones_dropped += u64::from(self.waiting.take().is_some());
    }
}

impl Tombstones {
    /// Kept in `ranges`, disjoint and ascending; dropped elsewhere if nobody needs them.
    pub fn from_deeper(ranges: Vec<KeyRange>) -> Self {
        let disjoint = ranges.windows(2).all(|pair| pair[0].hi() < pair[1].lo());
        assert!(disjoint, "deeper ranges are disjoint and ascend");
        Self::KeptIn(ranges)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::base::key::{Kind, compare};
    use crate::testing::{
        Entry, Scenario, parse_entries, parse_range, parse_seq, run_scenarios, show_entry,
    };

    /// What is kept of `entries`, which are in THE order, and each one's fate for `note`.
    fn elide(
        elider: &mut Elider,
        entries: &[Entry],
        mut note: impl FnMut(&Entry, Fate),
    ) -> Vec<Entry> {
        let mut kept: Vec<Entry> = Vec::new();
        let mut key: Option<&[u8]> = None;
        for entry in entries {
            if key != Some(&entry.0) {
                elider.begin_key(&entry.0);
                key = Some(&entry.0);
            }
            let fate = elider.decide(entry.1);
            note(entry, fate);
            match fate {
                Fate::Keep => kept.push(entry.clone()),
                Fate::KeepUnder(tombstone) => {
                    kept.push((entry.0.clone(), tombstone, Vec::new()));
                    kept.push(entry.clone());
                }
                Fate::Wait | Fate::Superseded => {}
            }
        }
        elider.end_key();
        kept
    }

    /// `merge snapshots 3 6 deeper [a-c]`, or `flush snapshots`; entries, one key a line.
    fn answer(scenario: &Scenario) -> String {
        let (command, deeper) = match scenario.command.split_once("deeper") {
            Some((command, deeper)) => (command, deeper),
            None => (scenario.command.as_str(), ""),
        };
        let snapshots = command.split_whitespace().skip(2).map(parse_seq).collect();
        let tombstones = match scenario.word(0) {
            "flush" => Tombstones::Kept,
            "merge" => {
                Tombstones::from_deeper(deeper.split_whitespace().map(parse_range).collect())
            }
            other => panic!("unknown command {other:?}"),
        };
        let mut elider = Elider::new(snapshots, tombstones);
        let entries: Vec<_> = scenario.input.iter().flat_map(|line| parse_entries(line)).collect();
        let mut answer = String::new();
        let kept = elide(&mut elider, &entries, |(key, tag, value), fate| {
            let fate = match fate {
                Fate::Keep => "keep".into(),
                Fate::KeepUnder(tombstone) => format!("keep under {tombstone:?}"),
                Fate::Wait => "wait".into(),
                Fate::Superseded => "superseded".into(),
            };
            writeln!(answer, "{}: {fate}", show_entry(key, *tag, value)).unwrap();
        });
        let kept: Vec<_> = kept.iter().map(|(key, tag, v)| show_entry(key, *tag, v)).collect();
        let ElidedCounts { superseded, tombstones_dropped } = elider.counts();
        let kept = if kept.is_empty() { "nothing".into() } else { kept.join(" ") };
        writeln!(answer, "kept {kept}").unwrap();
        writeln!(answer, "superseded {superseded}, tombstones dropped {tombstones_dropped}")
            .unwrap();
        answer
    }

    #[test]
    fn scenarios() {
        run_scenarios("elide", || answer);
    }

    /// What a reader at `seq` gets for `key`.
    fn read<'a>(entries: &'a [Entry], key: &[u8], seq: SeqNo) -> Option<&'a [u8]> {
        let versions = entries.iter().filter(|(k, tag, _)| k == key && tag.seq() <= seq);
        let newest = versions.max_by_key(|(_, tag, _)| *tag)?;
        (!newest.1.is_delete()).then_some(&newest.2)
    }

    const KEYS: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];

    #[derive(Clone, Debug)]
    struct Case {
        /// Older than everything in the merge, for the keys `b` and `c` alone.
        deeper: Vec<Entry>,
        merged: Vec<Entry>,
        snapshots: Vec<SeqNo>,
        readers: Vec<SeqNo>,
    }

    fn case() -> impl Strategy<Value = Case> {
        let version = (0..KEYS.len(), any::<bool>());
        let snapshots = prop::collection::btree_set(0..34u64, 0..6);
        (prop::collection::vec(version, 0..30), 0..3usize, snapshots).prop_map(
            |(versions, deeper, snapshots)| {
                let entries = versions.into_iter().enumerate().map(|(n, (key, delete))| {
                    let seq = SeqNo::new(n as u64 + 4);
                    let tag = Tag::new(seq, if delete { Kind::Delete } else { Kind::Put });
                    (KEYS[key].to_vec(), tag, if delete { Vec::new() } else { vec![n as u8] })
                });
                let mut merged: Vec<Entry> = entries.collect();
                merged.sort_by(|a, b| compare((&a.0, a.1), (&b.0, b.1)));
                let deeper = parse_entries("b#1,put=deep c#2,put=deep")[..deeper].to_vec();
                let snapshots: Vec<_> = snapshots.into_iter().map(SeqNo::new).collect();
                let to_come = (34..36).map(SeqNo::new);
                let readers = snapshots.iter().copied().chain(to_come).collect();
                Case { deeper, merged, snapshots, readers }
            },
        )
    }

    /// What all readers of a case get for all keys, from `merged` over what lies deeper.
    fn read_all(
        case: &Case,
        merged: &[Entry],
    ) -> BTreeMap<(&'static [u8], SeqNo), Option<Vec<u8>>> {
        let all: Vec<_> = merged.iter().chain(&case.deeper).cloned().collect();
        let pairs = KEYS.iter().flat_map(|key| case.readers.iter().map(move |seq| (*key, *seq)));
        pairs.map(|(key, seq)| ((key, seq), read(&all, key, seq).map(<[u8]>::to_vec))).collect()
    }

    proptest! {
        /// No reader can tell whether versions have vanished; the counts add up; and where nothing
        /// older can lie elsewhere nothing more could vanish.
        #[test]
        fn no_reader_notices_and_nothing_is_kept_in_vain(case in case()) {
            let deeper = vec![KeyRange::new("b", "c")];
            let mut elider = Elider::new(case.snapshots.clone(), Tombstones::from_deeper(deeper));
            let kept = elide(&mut elider, &case.merged, |_, _| {});
            let before = read_all(&case, &case.merged);
            prop_assert_eq!(&read_all(&case, &kept), &before, "kept {:?}", kept);

            let ElidedCounts { superseded, tombstones_dropped } = elider.counts();
            let dropped = (superseded + tombstones_dropped) as usize;
            prop_assert_eq!(kept.len() + dropped, case.merged.len());

            for (n, (key, ..)) in kept.iter().enumerate() {
                let mut less = kept.clone();
                less.remove(n);
                let alone = key == b"a" || key == b"d";
                prop_assert!(!alone || read_all(&case, &less) != before, "{:?} in vain", kept[n]);
            }
        }

        /// A flush keeps the newest version of every key, and a tombstone wherever one is seen.
        #[test]
        fn a_flush_drops_no_tombstone_that_a_reader_meets(case in case()) {
            let mut elider = Elider::new(case.snapshots.clone(), Tombstones::Kept);
            let kept = elide(&mut elider, &case.merged, |_, _| {});
            prop_assert_eq!(elider.counts().tombstones_dropped, 0);
            prop_assert_eq!(read_all(&case, &kept), read_all(&case, &case.merged));
            for key in KEYS {
                for seq in &case.readers {
                    let newest = |entries: &[Entry]| {
                        let all = entries.iter().filter(|e| e.0 == key && e.1.seq() <= *seq);
                        all.map(|e| e.1).max()
                    };
                    prop_assert_eq!(newest(&kept), newest(&case.merged));
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "invariant C4")]
    fn c4_versions_of_a_key_come_newest_first() {
        let mut elider = Elider::new(Vec::new(), Tombstones::Kept);
        elider.begin_key(b"a");
        for seq in [3, 4] {
            elider.decide(Tag::new(SeqNo::new(seq), Kind::Put));
        }
    }
}

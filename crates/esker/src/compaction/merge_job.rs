//! Do it: entries in, new tables out, a step at a time.
//!
//! Flushes and compactions are both this: a source of entries in order, an
//! [`Elider`](crate::compaction::elide::Elider) that says what vanishes, and [`Cuts`] that say
//! where one output ends and the next begins.
//!
//! ```text
//! source   a#9 a#4 | b#7 b#2 | c#5     no snapshots
//! elider   keep -  | keep -  | keep    a#4 and b#2 are superseded
//! cuts             |         ^ the output is large enough: c#5 opens the next one
//! outputs  [a#9 b#7] [c#5]
//! ```
//!
//! A step takes in a bounded number of bytes and finishes, and so syncs, at most one output. After
//! an error the job is over: what it wrote is named by nobody, and the caller removes it. The
//! directory is the caller's to sync.

use std::cmp::Ordering;
use std::fmt;

use crate::base::cursor::Cursor;
use crate::base::error::{Error, Result};
use crate::base::invariant;
use crate::base::key::{SeqNo, TableId, Tag};
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::base::range::KeyRange;
use crate::compaction::elide::{Elider, Fate};
use crate::compaction::pick::{Boundary, OVERLAP_OUTPUTS_MAX};
use crate::sstable::{TableSummary, TableWriter};

/// What an entry weighs in a step besides its key and its value: looking at it costs about this.
const ENTRY_OVERHEAD_BYTES: usize = 32;

/// An output's length is looked at when it may have grown by this share of what it may have.
const UNSEEN_SHARE: u64 = 64;

/// A merge on its way. Dropping it leaves unfinished files that nobody names.
pub struct MergeJob {
    source: Box<dyn Cursor>,
    elider: Elider,
    cuts: Cuts,
    /// The key that the source stood on last; `None` before the first.
    key: Option<Vec<u8>>,
    /// Whether a version of that key is written: then the rest goes into the same table.
    key_is_written: bool,
    output: Option<TableWriter>,
    outputs: Vec<TableSummary>,
    entries_in: u64,
    /// Entries from this key on are left to another merge.
    end: Option<Vec<u8>>,
    /// The tables that are merged; `None` of memtables, whose order is the engine's own affair.
    inputs: Option<Inputs>,
    /// The lowest sequence number of the present key so far.
    key_seq: SeqNo,
}

/// What the tables of a merge say of themselves. Entries that are otherwise are damage: a merge is
/// the first who sees all of a table, and what it wrote would be believed.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The first of them: who is to blame is not known.
    table: TableId,
    range: KeyRange,
    seq_min: SeqNo,
    seq_max: SeqNo,
}

/// Whether a job has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeProgress {
    /// Call `step` again.
    More,
    /// All outputs are finished and synced.
    Done,
}

/// What became of the entries so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeCounts {
    /// Entries that the source gave.
    pub entries_in: u64,
    /// Dropped because a newer entry of the same key hides them from every reader.
    pub superseded: u64,
    /// Dropped tombstones that had nothing left to hide.
    pub tombstones_dropped: u64,
}

/// Where outputs end: when they are large enough; or between tables of the next level, if they are
/// half as large or if they overlap so much of it that merging them down would take long.
#[derive(Clone, Debug)]
pub struct Cuts {
    output_bytes_max: u64,
    boundaries: Vec<Boundary>,
    /// Boundaries that lie behind.
    passed: usize,
    /// Bytes of the next level's tables that the open output has passed.
    overlapped_bytes: u64,
    /// What the open output took in since its length was looked at: that costs as much as a
    /// comparison of keys or two.
    unseen_bytes: u64,
}

impl MergeJob {
    /// A merge of `source`, from its first entry to its last.
    pub fn new(source: Box<dyn Cursor>, elider: Elider, cuts: Cuts) -> Self {
        Self {
            source,
            elider,
            cuts,
            key: None,
            key_is_written: false,
            output: None,
            outputs: Vec::new(),
            entries_in: 0,
            end: None,
            inputs: None,
            key_seq: SeqNo::MAX,
        }
    }

    /// The same, of tables, which may be damaged in ways that no checksum shows.
    #[must_use]
    pub fn of_tables(self, inputs: Option<Inputs>) -> Self {
        Self { inputs, ..self }
    }

    /// The same, up to the key `end`, which it leaves out.
    #[must_use]
    pub fn up_to(self, end: Option<Vec<u8>>) -> Self {
        Self { end, ..self }
    }

    /// Takes in about `step_bytes`, or less if an output was finished. `open` makes a new table.
    ///
    /// # Errors
    /// What a source, `open` or a table answers; the job is over then.
    pub fn step(
        &mut self,
        step_bytes: usize,
        open: &mut dyn FnMut() -> Result<TableWriter>,
    ) -> Result<MergeProgress> {
        if self.key.is_none() {
            self.source.seek_first()?;
        }
        let (mut taken_bytes, finished) = (0, self.outputs.len());
        while taken_bytes < step_bytes.max(1) && self.outputs.len() == finished {
            if !self.source.valid() || self.is_at_end() {
                self.finish()?;
                return Ok(MergeProgress::Done);
            }
            taken_bytes += self.take_entry(open)?;
            let moved = self.source.next();
            if moved.is_err() && planted::is_on(Bug::ReadErrorEndsTable) {
                self.finish()?;
                return Ok(MergeProgress::Done);
            }
            moved?;
        }
        Ok(MergeProgress::More)
    }

    fn is_at_end(&self) -> bool {
        self.end.as_ref().is_some_and(|end| self.source.key() >= end.as_slice())
    }

    /// The finished tables, in the order of keys.
    pub fn outputs(&self) -> &[TableSummary] {
        &self.outputs
    }

    /// What became of the entries so far.
    pub fn counts(&self) -> MergeCounts {
        let elided = self.elider.counts();
        MergeCounts {
            entries_in: self.entries_in,
            superseded: elided.superseded,
            tombstones_dropped: elided.tombstones_dropped,
        }
    }

    /// Decides the entry that the source stands on; returns what it weighed.
    fn take_entry(&mut self, open: &mut dyn FnMut() -> Result<TableWriter>) -> Result<usize> {
        let (key, tag) = (self.source.key(), self.source.tag());
        let order = self.key.as_deref().map_or(Ordering::Less, |last| last.cmp(key));
        if let Some(inputs) = &self.inputs
            && (order.is_gt() || order.is_eq() && tag.seq() >= self.key_seq)
        {
            return Err(inputs.out_of_order(key, tag));
        }
        if order.is_ne() {
            self.elider.begin_key(key);
            let buffer = self.key.get_or_insert_default();
            buffer.clear();
            buffer.extend_from_slice(key);
            self.key_is_written = false;
        }
        self.key_seq = tag.seq();
        self.entries_in += 1;
        let key_bytes = key.len();
        match self.elider.decide(tag) {
            Fate::Keep => self.write(tag, open)?,
            Fate::KeepUnder(tombstone) => {
                self.write(tombstone, open)?;
                self.write(tag, open)?;
            }
            Fate::Wait | Fate::Superseded => {}
        }
        Ok(key_bytes + self.source.value().len() + ENTRY_OVERHEAD_BYTES)
    }

    /// Writes a version of the present key: the one that the source stands on, or a tombstone.
    fn write(&mut self, tag: Tag, open: &mut dyn FnMut() -> Result<TableWriter>) -> Result<()> {
        let key = self.source.key();
        if !self.key_is_written {
            if self.output.as_ref().is_some_and(|output| self.cuts.is_due(key, output)) {
                self.finish_output()?;
            }
            self.key_is_written = true;
        }
        if self.output.is_none() {
            self.cuts.skip_to(self.source.key());
            self.output = Some(open()?);
        }
        let output = self.output.as_mut().expect("it was just opened");
        let (key, here) = (self.source.key(), self.source.tag());
        let value = if tag == here { self.source.value() } else { &[] };
        self.cuts.unseen_bytes += (key.len() + value.len()) as u64;
        output.add(key, tag, value)
    }

    fn finish_output(&mut self) -> Result<()> {
        let Some(output) = self.output.take() else { return Ok(()) };
        let summary = output.finish()?;
        if let Some(inputs) = &self.inputs {
            inputs.check_output(&summary)?;
        }
        if let Some(last) = self.outputs.last() {
            let (last, next) = (&last.range, &summary.range);
            invariant!(C6, last.hi() < next.lo(), "an output of {next:?} behind {last:?}");
        }
        self.outputs.push(summary);
        Ok(())
    }

    /// Ends the last key and the last output.
    fn finish(&mut self) -> Result<()> {
        self.elider.end_key();
        self.finish_output()?;
        let MergeCounts { entries_in, superseded, tombstones_dropped } = self.counts();
        let written: u64 = self.outputs.iter().map(|output| output.entries).sum();
        invariant!(
            C5,
            entries_in == written + superseded + tombstones_dropped,
            "{entries_in} in, {written} out, {superseded} superseded, {tombstones_dropped} dropped"
        );
        Ok(())
    }
}

impl Inputs {
    /// Of these tables; `None` of none.
    pub fn of<'a>(tables: impl Iterator<Item = &'a TableSummary>) -> Option<Self> {
        tables.fold(None, |all: Option<Self>, table| {
            let TableSummary { id, range, seq_min, seq_max, .. } = table;
            let (seq_min, seq_max) = (*seq_min, *seq_max);
            Some(match all {
                None => Self { table: *id, range: range.clone(), seq_min, seq_max },
                Some(all) => Self {
                    range: all.range.cover(range),
                    seq_min: all.seq_min.min(seq_min),
                    seq_max: all.seq_max.max(seq_max),
                    ..all
                },
            })
        })
    }

    fn out_of_order(&self, key: &[u8], tag: Tag) -> Error {
        let found = format!("{} {tag:?}", key.escape_ascii());
        self.corrupt("order of entries", "one behind all before", found)
    }

    fn check_output(&self, output: &TableSummary) -> Result<()> {
        let range = &output.range;
        let is_inside = self.range.contains(range.lo()) && self.range.contains(range.hi());
        if is_inside && output.seq_min >= self.seq_min && output.seq_max <= self.seq_max {
            return Ok(());
        }
        let text = |range: &KeyRange, seq_min, seq_max| {
            let (lo, hi) = (range.lo().escape_ascii(), range.hi().escape_ascii());
            format!("{lo} to {hi}, #{seq_min} to #{seq_max}")
        };
        let expected = text(&self.range, self.seq_min, self.seq_max);
        let found = text(range, output.seq_min, output.seq_max);
        Err(self.corrupt("entries", expected, found))
    }

    fn corrupt(&self, what: &str, expected: impl fmt::Display, found: String) -> Error {
        let part = format!("{what} of this table, or of one that is merged with it");
        Error::corrupt(FileName::Table(self.table), 0, part, expected, found)
    }
}

impl Cuts {
    /// One output, however large.
    pub fn none() -> Self {
        Self::at(u64::MAX, Vec::new())
    }

    /// Outputs of about `output_bytes_max`; `boundaries` are the tables that lie under them,
    /// ascending.
    pub fn at(output_bytes_max: u64, boundaries: Vec<Boundary>) -> Self {
        Self { output_bytes_max, boundaries, passed: 0, overlapped_bytes: 0, unseen_bytes: 0 }
    }

    /// An output begins with `key`: what ends before it is none of its business.
    fn skip_to(&mut self, key: &[u8]) {
        let behind = self.boundaries[self.passed..].partition_point(|b| *b.hi < *key);
        self.passed += behind;
        (self.overlapped_bytes, self.unseen_bytes) = (0, 0);
    }

    /// Whether the open output should end before `key`, which is greater than all before.
    fn is_due(&mut self, key: &[u8], output: &TableWriter) -> bool {
        let passed_before = self.passed;
        while let Some(boundary) = self.boundaries.get(self.passed).filter(|b| *b.hi < *key) {
            self.overlapped_bytes = self.overlapped_bytes.saturating_add(boundary.bytes);
            self.passed += 1;
        }
        let at_boundary = self.passed > passed_before;
        if !at_boundary && self.unseen_bytes < (self.output_bytes_max / UNSEEN_SHARE) {
            return false;
        }
        self.unseen_bytes = 0;
        let output_bytes = output.estimated_bytes();
        let overlap_max = OVERLAP_OUTPUTS_MAX.saturating_mul(self.output_bytes_max);
        let is_half = output_bytes >= self.output_bytes_max / 2;
        output_bytes >= self.output_bytes_max
            || (at_boundary && (is_half || self.overlapped_bytes > overlap_max))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::base::cursor::VecCursor;
    use crate::base::error::{Error, ErrorKind};
    use crate::base::key::{KeyspaceId, Kind, SeqNo, TableId, compare};
    use crate::base::range::KeyRange;
    use crate::cache::FramePool;
    use crate::compaction::elide::Tombstones;
    use crate::read::merge::MergeCursor;
    use crate::read::run::RunCursor;
    use crate::sstable::{Compression, Table, TableSettings};
    use crate::testing::{Entry, FailingCursor, parse_entries};
    use crate::vfs::sim::SimDisk;

    const STORE: u64 = 7;

    /// A disk, and tables numbered from 1 on.
    struct Tables {
        disk: Arc<SimDisk>,
        opened: u64,
    }

    impl Tables {
        fn new() -> Self {
            Self { disk: SimDisk::new(), opened: 0 }
        }

        fn open(&mut self) -> Result<TableWriter> {
            self.opened += 1;
            let settings = TableSettings {
                block_bytes: 1024,
                filter_bits_per_key: 10,
                compression: Compression::None,
            };
            let (keyspace, id) = (KeyspaceId::DEFAULT, TableId(self.opened));
            TableWriter::create(&*self.disk, STORE, keyspace, id, settings)
        }

        /// Runs a job to its end; returns the number of steps.
        fn run(&mut self, job: &mut MergeJob, step_bytes: usize) -> Result<usize> {
            for steps in 1.. {
                if job.step(step_bytes, &mut || self.open())? == MergeProgress::Done {
                    return Ok(steps);
                }
            }
            unreachable!()
        }

        fn entries(&self, summary: &TableSummary) -> Vec<Entry> {
            let cache = FramePool::for_tests(1 << 20);
            let table = Table::open(&*self.disk, STORE, summary.id, summary.bytes, &cache).unwrap();
            let mut cursor = table.cursor();
            let mut entries = Vec::new();
            cursor.seek_first().unwrap();
            while cursor.valid() {
                entries.push((cursor.key().to_vec(), cursor.tag(), cursor.value().to_vec()));
                cursor.next().unwrap();
            }
            entries
        }
    }

    fn job(entries: Vec<Entry>, cuts: Cuts) -> MergeJob {
        let elider = Elider::new(Vec::new(), Tombstones::from_deeper(Vec::new()));
        MergeJob::new(Box::new(VecCursor::new(entries)), elider, cuts)
    }

    /// `n` keys `k000`, `k001`, ... with incompressible-looking values of 1,000 bytes.
    fn puts(n: u64) -> Vec<Entry> {
        let put = |i| (format!("k{i:03}").into_bytes(), tag(i + 1, Kind::Put), vec![i as u8; 1000]);
        (0..n).map(put).collect()
    }

    fn tag(seq: u64, kind: Kind) -> Tag {
        Tag::new(SeqNo::new(seq), kind)
    }

    fn ranges(job: &MergeJob) -> Vec<String> {
        job.outputs().iter().map(|o| crate::testing::show_range(&o.range)).collect()
    }

    fn boundary(hi: &str, bytes: u64) -> Boundary {
        Boundary { hi: hi.into(), bytes }
    }

    #[test]
    fn outputs_are_cut_at_their_size() {
        let mut job = job(puts(100), Cuts::at(30_000, Vec::new()));
        Tables::new().run(&mut job, 1 << 20).unwrap();
        let (last, full) = job.outputs().split_last().unwrap();
        assert_eq!(full.len(), 3, "{:?}", ranges(&job));
        for output in full {
            assert!((30_000..34_000).contains(&output.bytes), "{output:?}");
        }
        assert!(last.bytes < 30_000);
    }

    #[test]
    fn outputs_half_as_large_are_cut_at_boundaries() {
        // 30,000 bytes are about 28 entries, half of that 14.
        let boundaries = ["k005", "k015", "k018", "k031", "k080"].map(|hi| boundary(hi, 1)).into();
        let mut job = job(puts(60), Cuts::at(30_000, boundaries));
        Tables::new().run(&mut job, 1 << 20).unwrap();
        assert_eq!(ranges(&job), ["[k000-k015]", "[k016-k031]", "[k032-k059]"]);
    }

    #[test]
    fn small_outputs_are_cut_at_a_boundary_if_much_lies_under_them() {
        let outputs_worth = |n: u64| n * 30_000;
        let boundaries = vec![
            boundary("k001", outputs_worth(20)),
            boundary("k003", outputs_worth(6)),
            boundary("k005", outputs_worth(25)),
            boundary("k007", outputs_worth(1)),
        ];
        let mut job = job(puts(10), Cuts::at(30_000, boundaries));
        Tables::new().run(&mut job, 1 << 20).unwrap();
        assert_eq!(ranges(&job), ["[k000-k003]", "[k004-k007]", "[k008-k009]"]);
    }

    #[test]
    fn c6_versions_of_a_key_stay_together() {
        let mut entries = parse_entries("a#1000,put=x");
        let versions =
            |n: u64| (1..n).rev().map(|seq| (b"b".to_vec(), tag(seq, Kind::Put), vec![7; 99]));
        entries.extend(versions(100));
        entries.extend(parse_entries("c#1001,put=y"));
        let snapshots = (1..100).map(SeqNo::new).collect();
        let elider = Elider::new(snapshots, Tombstones::Kept);
        let source = Box::new(VecCursor::new(entries.clone()));
        let mut job = MergeJob::new(source, elider, Cuts::at(1, Vec::new()));
        Tables::new().run(&mut job, 1).unwrap();
        assert_eq!(ranges(&job), ["[a-a]", "[b-b]", "[c-c]"]);
        assert_eq!(job.outputs()[1].entries, 99);
    }

    /// Keys that descend, as no sound source gives them.
    struct Descending(u8);

    impl Cursor for Descending {
        fn valid(&self) -> bool {
            self.0 < 2
        }
        fn seek_first(&mut self) -> Result<()> {
            Ok(())
        }
        fn seek_last(&mut self) -> Result<()> {
            Ok(())
        }
        fn seek(&mut self, _: &[u8], _: SeqNo) -> Result<()> {
            Ok(())
        }
        fn seek_before(&mut self, _: &[u8]) -> Result<()> {
            Ok(())
        }
        fn next(&mut self) -> Result<()> {
            self.0 += 1;
            Ok(())
        }
        fn prev(&mut self) -> Result<()> {
            Ok(())
        }
        fn key(&self) -> &[u8] {
            [&b"b"[..], b"a"][usize::from(self.0)]
        }
        fn tag(&self) -> Tag {
            tag(1, Kind::Put)
        }
        fn value(&self) -> &[u8] {
            b""
        }
    }

    #[test]
    #[should_panic(expected = "invariant C6")]
    fn c6_outputs_that_descend_are_refused() {
        let elider = Elider::new(Vec::new(), Tombstones::Kept);
        let mut job = MergeJob::new(Box::new(Descending(0)), elider, Cuts::at(0, Vec::new()));
        let _ = Tables::new().run(&mut job, 1 << 20);
    }

    fn inputs(lo: &str, hi: &str, seq_max: u64) -> Option<Inputs> {
        let (range, seq_max) = (KeyRange::new(lo, hi), SeqNo::new(seq_max));
        Some(Inputs { table: TableId(9), range, seq_min: SeqNo::ZERO, seq_max })
    }

    #[test]
    fn tables_whose_entries_descend_are_damage_and_no_panic() {
        let of_tables = |source: Box<dyn Cursor>, inputs| {
            let elider = Elider::new(Vec::new(), Tombstones::Kept);
            let mut job = MergeJob::new(source, elider, Cuts::none()).of_tables(inputs);
            let error = Tables::new().run(&mut job, 1 << 20).expect_err("damage");
            error.corruption().expect("damage").part.clone()
        };
        let entries = |text| Box::new(VecCursor::new(parse_entries(text)));
        let found = of_tables(Box::new(Descending(0)), inputs("a", "b", 9));
        assert!(found.starts_with("order of entries"), "{found}");
        let twice = of_tables(entries("a#4,delete a#4,put=1"), inputs("a", "b", 9));
        assert!(twice.starts_with("order of entries"), "{twice}");
        for inputs in [inputs("b", "c", 9), inputs("a", "a", 9), inputs("a", "b", 6)] {
            let outside = of_tables(entries("a#4,put=1 b#7,put=2"), inputs);
            assert!(outside.starts_with("entries of this table"), "{outside}");
        }
    }

    #[test]
    fn a_step_is_bounded() {
        let mut one_by_one = job(puts(10), Cuts::none());
        assert_eq!(Tables::new().run(&mut one_by_one, 1).unwrap(), 11);
        let mut three_by_three = job(puts(10), Cuts::none());
        assert_eq!(Tables::new().run(&mut three_by_three, 3000).unwrap(), 4);
        let mut cut_by_cut = job(puts(10), Cuts::at(2000, Vec::new()));
        let steps = Tables::new().run(&mut cut_by_cut, 1 << 20).unwrap();
        assert_eq!(steps, cut_by_cut.outputs().len());
    }

    #[test]
    fn a_step_of_a_sweep_leaves_out_what_lies_at_its_end_and_behind() {
        let mut job = job(puts(10), Cuts::none()).up_to(Some(b"k004".to_vec()));
        Tables::new().run(&mut job, 1 << 20).unwrap();
        assert_eq!(ranges(&job), ["[k000-k003]"]);
        assert_eq!(job.counts().entries_in, 4);
    }

    #[test]
    fn nothing_kept_makes_no_table() {
        for entries in ["", "a#3,delete", "a#3,delete a#2,put=x b#1,delete"] {
            let mut tables = Tables::new();
            let mut job = job(parse_entries(entries), Cuts::none());
            tables.run(&mut job, 1 << 20).unwrap();
            assert_eq!((job.outputs().len(), tables.opened), (0, 0), "{entries}");
        }
    }

    #[test]
    fn errors_of_sources_and_of_tables_come_through() {
        for good_moves in 0..=10 {
            let source = FailingCursor::new(VecCursor::new(puts(10)), good_moves);
            let elider = Elider::new(Vec::new(), Tombstones::Kept);
            let mut job = MergeJob::new(Box::new(source), elider, Cuts::none());
            let error = Tables::new().run(&mut job, 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io);
            assert!(job.outputs().is_empty());
        }
        let mut job = job(puts(10), Cuts::none());
        let full = &mut || Err(Error::new(ErrorKind::NoSpace, "planted"));
        assert_eq!(job.step(1, full).unwrap_err().kind(), ErrorKind::NoSpace);
    }

    /// What the rules keep of `merged`, in one go.
    fn elide(elider: &mut Elider, merged: &[Entry]) -> Vec<Entry> {
        let mut kept = Vec::new();
        for versions in merged.chunk_by(|a, b| a.0 == b.0) {
            elider.begin_key(&versions[0].0);
            for version in versions {
                match elider.decide(version.1) {
                    Fate::Keep => {}
                    Fate::KeepUnder(tombstone) => {
                        kept.push((version.0.clone(), tombstone, Vec::new()));
                    }
                    Fate::Wait | Fate::Superseded => continue,
                }
                kept.push(version.clone());
            }
        }
        elider.end_key();
        kept
    }

    proptest! {
        /// However sources, steps and cuts fall: the tables hold what the rules keep, in order.
        #[test]
        fn c5_every_entry_is_written_or_accounted_for(
            entries in prop::collection::vec((0..6u8, 0..4usize, any::<bool>()), 0..60),
            snapshots in prop::collection::btree_set(0..64u64, 0..4),
            output_bytes_max in prop_oneof![Just(0), Just(600), Just(u64::MAX)],
            step_bytes in 0..200usize,
        ) {
            let mut dealt = vec![Vec::new(); 4];
            let mut merged = Vec::new();
            for (n, (key, source, delete)) in entries.into_iter().enumerate() {
                let kind = if delete { Kind::Delete } else { Kind::Put };
                let value = if delete { Vec::new() } else { vec![n as u8; 40] };
                let entry = (vec![b'a' + key], tag(n as u64 + 1, kind), value);
                dealt[source].push(entry.clone());
                merged.push(entry);
            }
            let in_order = |a: &Entry, b: &Entry| compare((&a.0, a.1), (&b.0, b.1));
            merged.sort_by(in_order);
            dealt.iter_mut().for_each(|source| source.sort_by(in_order));
            let boxed = |entries| RunCursor::Other(Box::new(VecCursor::new(entries)));
            let source = Box::new(MergeCursor::new(dealt.into_iter().map(boxed).collect()));
            let elider = || {
                let deeper = Tombstones::from_deeper(vec![KeyRange::new("b", "c")]);
                Elider::new(snapshots.iter().copied().map(SeqNo::new).collect(), deeper)
            };
            let boundaries = vec![boundary("b", 1), boundary("d", 1)];
            let mut job = MergeJob::new(source, elider(), Cuts::at(output_bytes_max, boundaries));
            let mut tables = Tables::new();
            tables.run(&mut job, step_bytes).unwrap();

            let found: Vec<_> = job.outputs().iter().flat_map(|o| tables.entries(o)).collect();
            let mut all_at_once = elider();
            prop_assert_eq!(&found, &elide(&mut all_at_once, &merged));
            let counts = all_at_once.counts();
            prop_assert_eq!(job.counts(), MergeCounts {
                entries_in: merged.len() as u64,
                superseded: counts.superseded,
                tombstones_dropped: counts.tombstones_dropped,
            });
        }
    }
}

//! Many sorted sources as one: a tournament over cached heads.
//!
//! Each source stands on its next entry. A *loser tree* remembers who lost each match, so after
//! the winner's source has moved only the matches on the way from its leaf to the root are played
//! again: `log2 k` of them.
//!
//! ```text
//! winner = 2                                         sources 0..4 stand on  c#7  e#1  a#9  b#2
//! losers[1] = 0            lost the final            2 beat 3 (a < b), 0 beat 1 (c < e),
//! losers[2] = 1, [3] = 3   lost in the first round   2 beat 0 (a < c)
//! ```
//!
//! A match compares two integers, the *ranks*: 8 bytes of a key, behind what all keys of the tables
//! begin with, turned round when the merge goes back so that the lower one always wins. Only equal
//! ranks look at keys and tags.
//!
//! A winner that wins again and again plays no matches while its rank is below the lowest of the
//! others', and may lend a piece of its block, up to the next key that another source has.
//!
//! Going forward every source but the winner's stands on its first entry behind the current one;
//! going back, on its last before it. A change of direction moves all of them across.

use std::cmp::Ordering;

use crate::base::cursor::{Cursor, Direction};
use crate::base::error::{Error, Result};
use crate::base::invariant;
use crate::base::key::{SeqNo, Tag, compare, head, shared_prefix_bytes};
use crate::read::run::{Lender, RunCursor};
use crate::sstable::{Stretch, Terms};

/// A source that has won so often in a row may have many entries before any other's.
const WINS_BEFORE_LENDING: u32 = 3;

/// All entries of its sources in THE order. A merge of nothing has no entries.
///
/// See [`Cursor`] for the contract. Equal key and tag in two sources is a broken invariant (R1).
pub struct MergeCursor {
    sources: Vec<RunCursor>,
    /// Of each source if there are several; lower wins. `u64::MAX` also stands for one that has no
    /// entry left.
    ranks: Vec<u64>,
    winner: usize,
    /// The loser of each match: `losers[n]` was played between the winners of `2n` and `2n + 1`,
    /// where `k + i` is the leaf of source `i`. The first one is of no match.
    losers: Vec<usize>,
    direction: Direction,
    /// What all keys of the tables among the sources begin with: ranks are made of what follows.
    prefix: Vec<u8>,
    /// The winner wins without a match while its rank is below this: the lowest of the others'
    /// ranks, or 0 if it is not known.
    rival_rank: u64,
    /// How many matches the winner has won in a row.
    wins: u32,
    /// Whether the winner stands on an entry.
    valid: bool,
    failed: Option<Error>,
}

impl MergeCursor {
    /// A merge of `sources`, not positioned, whatever they stand on.
    pub fn new(sources: Vec<RunCursor>) -> Self {
        let matches = if sources.len() < 2 { 0 } else { sources.len() };
        Self {
            prefix: common_prefix(&sources),
            ranks: vec![u64::MAX; matches],
            winner: 0,
            losers: vec![0; matches],
            sources,
            direction: Direction::Forward,
            rival_rank: 0,
            wins: 0,
            valid: false,
            failed: None,
        }
    }

    /// Runs a motion; its error, if it has one, is every later motion's answer.
    fn guard(&mut self, motion: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = motion(self);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
            self.valid = false;
        }
        result
    }

    /// Moves all sources and plays all matches.
    fn position(
        &mut self,
        direction: Direction,
        mut seek: impl FnMut(&mut RunCursor) -> Result<()>,
    ) -> Result<()> {
        self.guard(|merge| {
            merge.direction = direction;
            for source in 0..merge.sources.len() {
                seek(&mut merge.sources[source])?;
                merge.look_at(source);
            }
            merge.play_all();
            Ok(())
        })
    }

    /// Moves the winner by one entry.
    fn step(&mut self, direction: Direction) -> Result<()> {
        if !self.valid {
            return self.failed.clone().map_or(Ok(()), Err);
        }
        self.guard(|merge| {
            let turned = merge.direction != direction;
            if turned {
                merge.turn(direction)?;
            }
            let source = &mut merge.sources[merge.winner];
            match direction {
                Direction::Forward => source.next()?,
                Direction::Back => source.prev()?,
            }
            let rank = merge.look_at(merge.winner);
            if turned {
                merge.play_all();
            } else if rank < merge.rival_rank {
                merge.wins += 1;
            } else {
                merge.play_from(merge.winner);
            }
            Ok(())
        })
    }

    /// Moves every source but the winner across the current entry.
    ///
    /// One move is enough, for none has an entry between where it stands and the current one; but
    /// a memtable may have gained some since.
    fn turn(&mut self, direction: Direction) -> Result<()> {
        self.direction = direction;
        let (before, rest) = self.sources.split_at_mut(self.winner);
        let (current, behind) = rest.split_first_mut().expect("the winner is a source");
        let here = (current.key(), current.tag());
        for cursor in before.iter_mut().chain(behind) {
            match (direction, cursor.valid()) {
                (Direction::Forward, false) => cursor.seek_first()?,
                (Direction::Back, false) => cursor.seek_last()?,
                (_, true) => {}
            }
            while cursor.valid() {
                let side = compare((cursor.key(), cursor.tag()), here);
                invariant!(R1, side.is_ne(), "{:?} {:?} in two sources", here.0, here.1);
                match (direction, side) {
                    (Direction::Forward, Ordering::Less) => cursor.next()?,
                    (Direction::Back, Ordering::Greater) => cursor.prev()?,
                    _ => break,
                }
            }
        }
        (0..self.sources.len()).for_each(|source| _ = self.look_at(source));
        Ok(())
    }

    /// Ranks the entry that a source has moved to.
    #[inline]
    fn look_at(&mut self, source: usize) -> u64 {
        let Some(rank) = self.ranks.get_mut(source) else { return u64::MAX };
        let cursor = &self.sources[source];
        *rank = match self.direction {
            _ if !cursor.valid() => u64::MAX,
            Direction::Forward => head_behind(&self.prefix, cursor.key()),
            Direction::Back => !head_behind(&self.prefix, cursor.key()),
        };
        *rank
    }

    /// Plays all matches.
    fn play_all(&mut self) {
        if !self.sources.is_empty() {
            self.winner = self.play(1);
            (self.rival_rank, self.wins) = (0, WINS_BEFORE_LENDING);
            self.valid = self.sources[self.winner].valid();
        }
    }

    /// Plays the matches below `node`, notes their losers and returns the winner.
    fn play(&mut self, node: usize) -> usize {
        let leaves = self.sources.len();
        if node >= leaves {
            return node - leaves;
        }
        let (a, b) = (self.play(2 * node), self.play(2 * node + 1));
        let (winner, loser) = if self.beats(a, b) { (a, b) } else { (b, a) };
        self.losers[node] = loser;
        winner
    }

    /// Plays the matches that `source` takes part in if it wins, after it has moved.
    fn play_from(&mut self, source: usize) {
        let mut winner = source;
        let mut node = (self.sources.len() + source) / 2;
        let mut rival_rank = u64::MAX;
        while node > 0 {
            let loser = self.losers[node];
            if self.beats(loser, winner) {
                self.losers[node] = winner;
                winner = loser;
            }
            rival_rank = rival_rank.min(self.ranks[loser]);
            node /= 2;
        }
        // Only on its own way has the winner met all others, or who beat them.
        (self.rival_rank, self.wins) =
            if winner == source { (rival_rank, self.wins + 1) } else { (0, 0) };
        self.winner = winner;
        self.valid = self.sources[winner].valid();
    }

    /// The source that stands on the next entry behind the winner's.
    fn rival(&self) -> Option<&RunCursor> {
        let mut node = (self.sources.len() + self.winner) / 2;
        let mut rival = None;
        while node > 0 {
            let loser = self.losers[node];
            rival = Some(rival.filter(|rival| self.beats(*rival, loser)).unwrap_or(loser));
            node /= 2;
        }
        rival.map(|rival| &self.sources[rival]).filter(|cursor| cursor.valid())
    }

    /// Whether source `a` comes before source `b` in the present direction.
    fn beats(&self, a: usize, b: usize) -> bool {
        if self.ranks[a] != self.ranks[b] {
            return self.ranks[a] < self.ranks[b];
        }
        let (a, b) = (&self.sources[a], &self.sources[b]);
        if !(a.valid() && b.valid()) {
            return a.valid();
        }
        let order = compare((a.key(), a.tag()), (b.key(), b.tag()));
        invariant!(R1, order.is_ne(), "{:?} {:?} in two sources", a.key(), a.tag());
        match self.direction {
            Direction::Forward => order.is_lt(),
            Direction::Back => order.is_gt(),
        }
    }

    #[inline]
    fn winner(&self) -> &RunCursor {
        assert!(self.valid, "the cursor stands on no entry");
        &self.sources[self.winner]
    }
}

/// The first 8 bytes behind the prefix. Keys without it come before all that have it, or behind.
#[inline]
fn head_behind(prefix: &[u8], key: &[u8]) -> u64 {
    match key.strip_prefix(prefix) {
        Some(suffix) => head(suffix),
        None if key < prefix => 0,
        None => u64::MAX,
    }
}

/// What all keys between the ends of the sources begin with. Of a single source nobody asks.
fn common_prefix(sources: &[RunCursor]) -> Vec<u8> {
    if sources.len() < 2 {
        return Vec::new();
    }
    let mut ends = sources.iter().filter_map(RunCursor::ends);
    let Some((first, last)) = ends.next() else { return Vec::new() };
    let shared = shared_prefix_bytes(first, last);
    let prefix_bytes = ends.fold(shared, |shared, (lo, hi)| {
        shared.min(shared_prefix_bytes(first, lo)).min(shared_prefix_bytes(first, hi))
    });
    first[..prefix_bytes].to_vec()
}

impl Lender for MergeCursor {
    fn lend(&self, terms: Terms<'_>, buffer: &mut Vec<u8>) -> Option<Stretch> {
        if !self.valid || self.direction != terms.direction || self.wins < WINS_BEFORE_LENDING {
            return None;
        }
        let rival = self.rival().map(Cursor::key);
        self.winner().lend(Terms { rival, ..terms }, buffer)
    }

    fn take_back(&mut self, stretch: &Stretch) {
        // The winner has passed nothing that anybody else has, so it is still the winner.
        self.sources[self.winner].take_back(stretch);
        self.look_at(self.winner);
    }
}

impl Cursor for MergeCursor {
    #[inline]
    fn valid(&self) -> bool {
        self.valid
    }
    fn seek_first(&mut self) -> Result<()> {
        self.position(Direction::Forward, |cursor| cursor.seek_first())
    }
    fn seek_last(&mut self) -> Result<()> {
        self.position(Direction::Back, |cursor| cursor.seek_last())
    }
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        if self.failed.is_none() && self.sources.len() > 1 {
            self.sources.iter_mut().for_each(|cursor| cursor.aim(key));
        }
        self.position(Direction::Forward, |cursor| cursor.seek(key, seq))
    }
    fn seek_before(&mut self, key: &[u8]) -> Result<()> {
        self.position(Direction::Back, |cursor| cursor.seek_before(key))
    }
    fn next(&mut self) -> Result<()> {
        self.step(Direction::Forward)
    }
    fn prev(&mut self) -> Result<()> {
        self.step(Direction::Back)
    }
    #[inline]
    fn key(&self) -> &[u8] {
        self.winner().key()
    }
    #[inline]
    fn tag(&self) -> Tag {
        self.winner().tag()
    }
    #[inline]
    fn value(&self) -> &[u8] {
        self.winner().value()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::base::cursor::VecCursor;
    use crate::base::key::Kind;
    use crate::testing::{
        Entry, FailingCursor, Scenario, parse_entries, parse_seq, run_scenarios, show_entry,
    };

    fn merge_of(sources: Vec<Vec<Entry>>) -> MergeCursor {
        MergeCursor::new(sources.into_iter().map(|s| boxed(VecCursor::new(s))).collect())
    }

    fn boxed(cursor: impl Cursor + 'static) -> RunCursor {
        RunCursor::Other(Box::new(cursor))
    }

    fn show(cursor: &dyn Cursor) -> Option<String> {
        cursor.valid().then(|| show_entry(cursor.key(), cursor.tag(), cursor.value()))
    }

    /// `merge` takes one source a line; each line of `walk` is a motion.
    fn answer(merge: &mut MergeCursor, scenario: &Scenario) -> String {
        if scenario.word(0) == "merge" {
            *merge = merge_of(scenario.input.iter().map(|line| parse_entries(line)).collect());
            return String::new();
        }
        let mut answer = String::new();
        for line in &scenario.input {
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                ["first"] => merge.seek_first(),
                ["last"] => merge.seek_last(),
                ["seek", key, seq] => merge.seek(key.as_bytes(), parse_seq(seq)),
                ["seek_before", key] => merge.seek_before(key.as_bytes()),
                ["next"] => merge.next(),
                ["prev"] => merge.prev(),
                _ => panic!("unknown motion {line:?}"),
            }
            .expect("these sources never fail");
            let here = show(merge).unwrap_or_else(|| "-".into());
            writeln!(answer, "{line}: {here}").expect("a string takes all");
        }
        answer
    }

    #[test]
    fn scenarios() {
        run_scenarios("merge", || {
            let mut merge = merge_of(Vec::new());
            move |scenario| answer(&mut merge, scenario)
        });
    }

    /// Keys that share heads, and heads of nothing but 0xff, which look like an exhausted source.
    const KEYS: [&[u8]; 8] = [
        b"",
        b"a",
        b"a\0",
        b"samehead",
        b"samehead1",
        b"samehead2",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ];

    #[derive(Clone, Debug)]
    enum Motion {
        First,
        Last,
        Seek(usize, u64),
        SeekBefore(usize),
        Next,
        Prev,
    }

    fn motion() -> impl Strategy<Value = Motion> {
        prop_oneof![
            1 => Just(Motion::First),
            1 => Just(Motion::Last),
            2 => (0..KEYS.len(), 0..50u64).prop_map(|(key, seq)| Motion::Seek(key, seq)),
            2 => (0..KEYS.len()).prop_map(Motion::SeekBefore),
            10 => Just(Motion::Next),
            10 => Just(Motion::Prev),
        ]
    }

    fn run(cursor: &mut dyn Cursor, motion: &Motion) -> Result<()> {
        match *motion {
            Motion::First => cursor.seek_first(),
            Motion::Last => cursor.seek_last(),
            Motion::Seek(key, seq) => cursor.seek(KEYS[key], SeqNo::new(seq)),
            Motion::SeekBefore(key) => cursor.seek_before(KEYS[key]),
            Motion::Next => cursor.next(),
            Motion::Prev => cursor.prev(),
        }
    }

    proptest! {
        /// A merge walks exactly like one cursor over all entries, however they are dealt out.
        #[test]
        fn walks_like_one_sorted_sequence(
            entries in prop::collection::vec((0..KEYS.len(), 0..9usize, any::<bool>()), 0..40),
            motions in prop::collection::vec(motion(), 1..80),
        ) {
            let mut dealt = vec![Vec::new(); 9];
            let mut all = Vec::new();
            for (seq, (key, source, delete)) in entries.into_iter().enumerate() {
                let kind = if delete { Kind::Delete } else { Kind::Put };
                let tag = Tag::new(SeqNo::new(seq as u64), kind);
                let entry = (KEYS[key].to_vec(), tag, vec![seq as u8]);
                dealt[source].push(entry.clone());
                all.push(entry);
            }
            let in_order = |a: &Entry, b: &Entry| compare((&a.0, a.1), (&b.0, b.1));
            all.sort_by(in_order);
            dealt.iter_mut().for_each(|source| source.sort_by(in_order));
            let sources = dealt.iter().filter(|source| !source.is_empty()).cloned().collect();
            let (mut merge, mut empties_too) = (merge_of(sources), merge_of(dealt));
            let mut model = VecCursor::new(all);
            for motion in &motions {
                run(&mut model, motion).unwrap();
                run(&mut merge, motion).unwrap();
                run(&mut empties_too, motion).unwrap();
                prop_assert_eq!(show(&merge), show(&model), "after {:?}", motion);
                prop_assert_eq!(show(&empties_too), show(&model), "after {:?}", motion);
            }
        }
    }

    #[test]
    fn a_new_merge_is_not_positioned() {
        let mut positioned = VecCursor::new(parse_entries("a#1,put=1"));
        positioned.seek_first().unwrap();
        let mut merge = MergeCursor::new(vec![boxed(positioned)]);
        assert!(!merge.valid());
        merge.next().unwrap();
        merge.prev().unwrap();
        assert!(!merge.valid());
    }

    #[test]
    fn an_error_is_every_later_motions_answer() {
        for good_moves in 0..8 {
            let failing = VecCursor::new(parse_entries("a#1,put=1 c#3,put=3 e#5,put=5"));
            let sound = VecCursor::new(parse_entries("b#2,put=2 d#4,put=4"));
            let failing = FailingCursor::new(failing, good_moves);
            let mut merge = MergeCursor::new(vec![boxed(sound), boxed(failing)]);
            let motions = [
                Motion::First,
                Motion::Next,
                Motion::Next,
                Motion::Prev,
                Motion::Prev,
                Motion::Last,
                Motion::SeekBefore(3),
                Motion::Next,
                Motion::First,
                Motion::Seek(0, 9),
                Motion::Next,
            ];
            let results: Vec<_> = motions.iter().map(|m| run(&mut merge, m).is_ok()).collect();
            let failed_at = results.iter().position(|ok| !ok).expect("a motion fails");
            assert!(results[failed_at..].iter().all(|ok| !ok), "{results:?}");
            assert!(!merge.valid());
        }
    }

    #[test]
    #[should_panic(expected = "invariant R1")]
    fn r1_an_entry_in_two_sources_is_refused() {
        let twice = || parse_entries("a#1,put=1 b#2,put=2");
        let mut merge = merge_of(vec![twice(), twice()]);
        merge.seek_first().unwrap();
    }

    #[test]
    #[should_panic(expected = "invariant R1")]
    fn r1_holds_below_the_first_entries_and_among_many() {
        let sources = ["a#1,put=1 z#9,put=9", "b#2,put=2 z#8,put=8", "c#3,put=3", "z#8,put=8"];
        let mut merge = merge_of(sources.map(parse_entries).into());
        merge.seek_first().unwrap();
        while merge.valid() {
            merge.next().unwrap();
        }
    }
}

//! The oracle: what a store must answer, kept as the whole history of its commits.
//!
//! A commit is a batch, or the creation or the end of a keyspace. Every key keeps all its
//! versions, so a read at any earlier commit is a look-up, and a snapshot is a number. After a
//! crash the store must hold the result of the first *R* commits for one *R* from the last that
//! was promised to survive up to the last attempted (guarantees G1 to G3): [`Model::recover`]
//! finds it by comparing, and forgets what came later.
//!
//! A write that was refused may show up whole after a crash, right behind the commits that came
//! before it, as long as nothing after it had to survive. It never shows up before a crash. Batches
//! and changes of the keyspaces are written to different files, so one of either may show up.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::ops::{Space, Span};

/// The bytes of a value.
pub type Bytes = Arc<[u8]>;

/// A key and its value.
pub type Pair = (Vec<u8>, Bytes);

/// What a whole store holds, by keyspace.
pub type State = BTreeMap<Space, BTreeMap<Vec<u8>, Bytes>>;

/// One step of the history, whole or not at all.
#[derive(Clone, Debug)]
pub enum Commit {
    /// Puts and deletes, the later winning.
    Batch(Vec<Change>),
    /// A keyspace begins.
    Create(Space),
    /// A keyspace ends, with all it holds.
    Drop(Space),
}

/// A put, or a delete where there is no value.
#[derive(Clone, Debug)]
pub struct Change {
    /// Where.
    pub space: Space,
    /// Which key.
    pub key: Vec<u8>,
    /// The value it has from here on.
    pub value: Option<Bytes>,
}

/// The history so far.
#[derive(Clone, Debug)]
pub struct Model {
    commits: Vec<Commit>,
    lives: Vec<Life>,
    /// How many commits were promised to survive a power cut.
    synced: usize,
    /// Refused commits, each with the number of commits before it.
    doubtful: Vec<(usize, Commit)>,
}

/// A keyspace from its creation to its end; its name may be used again by a later one.
#[derive(Clone, Debug)]
struct Life {
    space: Space,
    created: usize,
    dropped: Option<usize>,
    /// In the order of commits.
    versions: BTreeMap<Vec<u8>, Vec<Version>>,
}

/// The number of a commit, and the value from there on.
type Version = (usize, Option<Bytes>);

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// The history of a store that was just created.
    pub fn new() -> Self {
        let default = Life::new(Space::default_space(), 0);
        Self { commits: Vec::new(), lives: vec![default], synced: 0, doubtful: Vec::new() }
    }

    /// How many commits there are; a snapshot taken now is this number.
    pub fn now(&self) -> usize {
        self.commits.len()
    }

    /// How many of them were promised to survive a power cut.
    pub fn synced(&self) -> usize {
        self.synced
    }

    /// The store acknowledged `commit`.
    pub fn commit(&mut self, commit: Commit) {
        let number = self.commits.len() + 1;
        match &commit {
            Commit::Batch(changes) => {
                for change in changes {
                    let life = self.live_mut(&change.space).expect("the keyspace exists");
                    life.put(number, change);
                }
            }
            Commit::Create(space) => self.lives.push(Life::new(space.clone(), number)),
            Commit::Drop(space) => {
                self.live_mut(space).expect("the keyspace exists").dropped = Some(number);
            }
        }
        self.commits.push(commit);
    }

    /// The store refused `commit` with an error: it may be found after a crash.
    pub fn doubt(&mut self, commit: Commit) {
        self.doubtful.push((self.commits.len(), commit));
    }

    /// What was refused so far can never be found any more.
    pub fn forget_refused(&mut self) {
        self.doubtful.clear();
    }

    /// The store acknowledged that everything so far survives a power cut.
    pub fn mark_synced(&mut self) {
        self.synced = self.commits.len();
    }

    /// Whether the keyspace exists now.
    pub fn exists(&self, space: &Space) -> bool {
        self.live(space).is_some()
    }

    /// The keyspaces that exist now.
    pub fn spaces(&self) -> BTreeSet<Space> {
        let live = self.lives.iter().filter(|life| life.dropped.is_none());
        live.map(|life| life.space.clone()).collect()
    }

    /// The value of a key after the first `at` commits, in the keyspace that has the name now.
    pub fn get(&self, space: &Space, key: &[u8], at: usize) -> Option<&Bytes> {
        self.live(space)?.get(key, at)
    }

    /// What a range holds after the first `at` commits, in the keyspace that has the name now.
    pub fn pairs(&self, span: &Span, at: usize) -> Vec<Pair> {
        let Some(life) = self.live(&span.space) else { return Vec::new() };
        let keys = life.versions.keys().filter(|key| is_inside(span, key));
        keys.filter_map(|key| Some((key.clone(), life.get(key, at)?.clone()))).collect()
    }

    /// Every key that was ever written to the keyspace that has the name now.
    pub fn keys(&self, space: &Space) -> Vec<Vec<u8>> {
        self.live(space).map(|life| life.versions.keys().cloned().collect()).unwrap_or_default()
    }

    /// Everything after the first `at` commits.
    pub fn state(&self, at: usize) -> State {
        let existed =
            |life: &&Life| life.created <= at && life.dropped.is_none_or(|dropped| at < dropped);
        let pairs = |life: &Life| {
            let keys = life.versions.keys();
            keys.filter_map(|key| Some((key.clone(), life.get(key, at)?.clone()))).collect()
        };
        let lives = self.lives.iter().filter(existed);
        lives.map(|life| (life.space.clone(), pairs(life))).collect()
    }

    /// Whether a keyspace of this name was ever asked to hold this value under this key, by a write
    /// that was acknowledged or refused.
    pub fn ever_held(&self, space: &Space, key: &[u8], value: &Bytes) -> bool {
        let refused = self.doubtful.iter().filter_map(|(_, commit)| match commit {
            Commit::Batch(changes) => Some(changes),
            Commit::Create(_) | Commit::Drop(_) => None,
        });
        let is_it = |there: &Option<Bytes>| there.as_ref() == Some(value);
        let mut lives = self.lives.iter().filter(|life| life.space == *space);
        lives.any(|life| {
            life.versions.get(key).is_some_and(|all| all.iter().any(|(_, there)| is_it(there)))
        }) || refused
            .flatten()
            .any(|change| change.space == *space && change.key == key && is_it(&change.value))
    }

    /// The same history without the keys that are left out.
    pub fn without(&self, is_left_out: &dyn Fn(&Space, &[u8]) -> bool) -> Self {
        let mut left = self.clone();
        let refused = left.doubtful.iter_mut().map(|(_, commit)| commit);
        for commit in left.commits.iter_mut().chain(refused) {
            if let Commit::Batch(changes) = commit {
                changes.retain(|change| !is_left_out(&change.space, &change.key));
            }
        }
        for life in &mut left.lives {
            life.versions.retain(|key, _| !is_left_out(&life.space, key));
        }
        left
    }

    /// Finds the prefix of the history that the store shows after a crash, makes it the history,
    /// all of it durable, and returns how many commits were lost; or says why it is none. The
    /// first `floor` commits must have survived.
    pub fn recover(&mut self, found: &State, floor: usize) -> Result<usize, String> {
        let before = self.now();
        match self.find_prefix(found, floor) {
            Ok(kept) => self.cut(kept),
            Err(nearest) => *self = self.find_doubtful(found, floor).ok_or(nearest)?,
        }
        self.mark_synced();
        Ok(before.saturating_sub(self.now()))
    }

    /// Walks back from the present, comparing only what each commit changed.
    fn find_prefix(&self, found: &State, floor: usize) -> Result<usize, String> {
        let now = self.state(self.now());
        let mut differing = differences(&now, found);
        let mut nearest = (differing.len(), self.now());
        for at in (floor..=self.now()).rev() {
            if at < self.now() {
                self.undo(at, found, &mut differing);
            }
            if differing.is_empty() {
                return Ok(at);
            }
            nearest = nearest.min((differing.len(), at));
        }
        Err(self.describe_nearest(found, floor, nearest.1))
    }

    /// Brings `differing` from commit `at + 1` back to `at`.
    fn undo(&self, at: usize, found: &State, differing: &mut BTreeSet<Difference>) {
        match &self.commits[at] {
            Commit::Batch(changes) => {
                for Change { space, key, .. } in changes {
                    let there = found.get(space).and_then(|pairs| pairs.get(key));
                    let difference = (space.clone(), Some(key.clone()));
                    if self.get(space, key, at) == there {
                        differing.remove(&difference);
                    } else {
                        differing.insert(difference);
                    }
                }
            }
            Commit::Create(_) | Commit::Drop(_) => *differing = differences(&self.state(at), found),
        }
    }

    /// The history with what was refused and is there nevertheless, each in its place: at most one
    /// batch, with which the log ends, and one change of the keyspaces, with which the manifest
    /// ends. What follows a refused batch is not there; what follows a refused change may be.
    fn find_doubtful(&self, found: &State, floor: usize) -> Option<Self> {
        let is_batch = |at: &usize| matches!(self.doubtful[*at].1, Commit::Batch(_));
        let (batches, changes): (Vec<_>, Vec<_>) =
            (0..self.doubtful.len()).rev().partition(is_batch);
        or_none(&batches).find_map(|batch| {
            let mut change = or_none(&changes);
            change.find_map(|change| self.find_with(batch, change, found, floor))
        })
    }

    /// The history with this batch and this change of the keyspaces, which were refused.
    fn find_with(
        &self,
        batch: Option<usize>,
        change: Option<usize>,
        found: &State,
        floor: usize,
    ) -> Option<Self> {
        let mut refused: Vec<usize> = batch.into_iter().chain(change).collect();
        refused.sort_unstable();
        let refused: Vec<_> = refused.into_iter().map(|at| &self.doubtful[at]).collect();
        let last = batch.map_or(self.now(), |batch| self.doubtful[batch].0);
        let mut kept = (floor.max(refused.last()?.0)..=last).rev();
        kept.find_map(|kept| {
            let then = self.with(&refused, kept)?;
            (then.state(then.now()) == *found).then_some(then)
        })
    }

    /// The first `kept` commits, and each of `refused` behind as many of them as were before it;
    /// nothing if one cannot have followed the one in front of it.
    fn with(&self, refused: &[&(usize, Commit)], kept: usize) -> Option<Self> {
        let mut then = self.clone();
        let mut done = refused.first()?.0;
        then.cut(done);
        for (before, commit) in refused {
            then.follow(&self.commits[done..*before])?;
            then.follow(std::slice::from_ref(commit))?;
            done = *before;
        }
        then.follow(&self.commits[done..kept])?;
        Some(then)
    }

    /// Adds these commits, unless one cannot follow.
    fn follow(&mut self, commits: &[Commit]) -> Option<()> {
        for commit in commits {
            let can_follow = match commit {
                Commit::Batch(changes) => changes.iter().all(|change| self.exists(&change.space)),
                Commit::Create(space) => !self.exists(space),
                Commit::Drop(space) => self.exists(space),
            };
            if !can_follow {
                return None;
            }
            self.commit(commit.clone());
        }
        Some(())
    }

    fn describe_nearest(&self, found: &State, floor: usize, at: usize) -> String {
        let mut text = format!(
            "no prefix of the history: of {} commits {floor} had to survive; after {at} it differs least:",
            self.now()
        );
        let expected = self.state(at);
        for (space, key) in differences(&expected, found).into_iter().take(5) {
            let show = |state: &State| match (&key, state.get(&space)) {
                (_, None) => "no keyspace".to_owned(),
                (None, Some(_)) => "a keyspace".to_owned(),
                (Some(key), Some(pairs)) => show_value(pairs.get(key)),
            };
            let key = key.as_deref().map(show_bytes).unwrap_or_default();
            text +=
                &format!("\n  {space}:{key}: expected {}, found {}", show(&expected), show(found));
        }
        text
    }

    /// Forgets all but the first `at` commits.
    fn cut(&mut self, at: usize) {
        self.commits.truncate(at);
        self.doubtful.clear();
        self.lives.retain(|life| life.created <= at);
        for life in &mut self.lives {
            life.dropped = life.dropped.filter(|dropped| *dropped <= at);
            for versions in life.versions.values_mut() {
                versions.retain(|(number, _)| *number <= at);
            }
        }
    }

    fn live(&self, space: &Space) -> Option<&Life> {
        self.lives.iter().rev().find(|life| life.dropped.is_none() && life.space == *space)
    }

    fn live_mut(&mut self, space: &Space) -> Option<&mut Life> {
        self.lives.iter_mut().rev().find(|life| life.dropped.is_none() && life.space == *space)
    }
}

impl Life {
    fn new(space: Space, created: usize) -> Self {
        Self { space, created, dropped: None, versions: BTreeMap::new() }
    }

    fn put(&mut self, number: usize, change: &Change) {
        let versions = self.versions.entry(change.key.clone()).or_default();
        versions.push((number, change.value.clone()));
    }

    fn get(&self, key: &[u8], at: usize) -> Option<&Bytes> {
        let versions = self.versions.get(key)?;
        versions.iter().rev().find(|(number, _)| *number <= at)?.1.as_ref()
    }
}

/// Each of them, then none of them.
fn or_none(some: &[usize]) -> impl Iterator<Item = Option<usize>> {
    some.iter().copied().map(Some).chain([None])
}

/// A keyspace that only one side has, or a key whose value differs.
type Difference = (Space, Option<Vec<u8>>);

fn differences(a: &State, b: &State) -> BTreeSet<Difference> {
    let mut differing = BTreeSet::new();
    let empty = BTreeMap::new();
    for space in a.keys().chain(b.keys()) {
        if a.contains_key(space) != b.contains_key(space) {
            differing.insert((space.clone(), None));
        }
        let (a, b) = (a.get(space).unwrap_or(&empty), b.get(space).unwrap_or(&empty));
        for key in a.keys().chain(b.keys()).filter(|key| a.get(*key) != b.get(*key)) {
            differing.insert((space.clone(), Some(key.clone())));
        }
    }
    differing
}

/// Whether a key lies in a range.
pub fn is_inside(span: &Span, key: &[u8]) -> bool {
    let above = match &span.start {
        Bound::Unbounded => true,
        Bound::Included(start) => start.0.as_slice() <= key,
        Bound::Excluded(start) => start.0.as_slice() < key,
    };
    let below = match &span.end {
        Bound::Unbounded => true,
        Bound::Included(end) => key <= end.0.as_slice(),
        Bound::Excluded(end) => key < end.0.as_slice(),
    };
    above && below
}

/// Bytes for a person: the beginning, and how many there are if that is not all.
pub fn show_bytes(bytes: &[u8]) -> String {
    const SHOWN: usize = 24;
    let text = crate::ops::Text(bytes[..bytes.len().min(SHOWN)].to_vec());
    if bytes.len() <= SHOWN { text.to_string() } else { format!("{text}~{}", bytes.len()) }
}

/// What a read answered, for a person.
pub fn show_value(value: Option<&Bytes>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| show_bytes(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default() -> Space {
        Space::default_space()
    }

    fn put(key: &str, value: &str) -> Commit {
        let value = Some(value.as_bytes().into());
        Commit::Batch(vec![Change { space: default(), key: key.into(), value }])
    }

    fn delete(key: &str) -> Commit {
        Commit::Batch(vec![Change { space: default(), key: key.into(), value: None }])
    }

    fn history(commits: impl IntoIterator<Item = Commit>) -> Model {
        let mut model = Model::new();
        commits.into_iter().for_each(|commit| model.commit(commit));
        model
    }

    #[test]
    fn a_read_sees_the_commits_before_it() {
        let model = history([put("a", "1"), delete("a"), put("a", "2")]);
        let at = |n| model.get(&default(), b"a", n).map(|value| value.to_vec());
        assert_eq!(
            [at(0), at(1), at(2), at(3)],
            [None, Some(b"1".to_vec()), None, Some(b"2".to_vec())]
        );
    }

    #[test]
    fn a_crash_may_take_what_was_not_synced_and_nothing_else() {
        let mut model = history([put("a", "1"), put("b", "2")]);
        model.mark_synced();
        model.commit(put("a", "3"));
        model.commit(delete("b"));
        for at in 2..=4 {
            let mut crashed = model.clone();
            let found = crashed.state(at);
            assert_eq!(crashed.recover(&found, model.synced()), Ok(4 - at));
            assert_eq!((crashed.now(), crashed.synced()), (at, at));
            assert_eq!(crashed.state(crashed.now()), found);
            let killed = model.clone().recover(&found, model.now());
            assert_eq!(killed.is_ok(), at == 4);
        }
        let error = model.clone().recover(&model.state(1), 2).unwrap_err();
        assert!(error.contains("4 commits 2 had to survive"), "{error}");
    }

    #[test]
    fn a_hole_in_the_history_is_no_prefix() {
        let mut model = history([put("a", "1"), put("b", "2")]);
        let mut found = model.state(2);
        found.get_mut(&default()).unwrap().remove(&b"a"[..]);
        assert!(model.recover(&found, 0).is_err());
    }

    #[test]
    fn a_refused_write_may_come_back_whole_where_nothing_durable_follows() {
        let mut model = history([put("a", "1")]);
        model.doubt(put("a", "refused"));
        let with = history([put("a", "1"), put("a", "refused")]).state(2);
        assert_eq!(model.clone().recover(&with, 1), Ok(0));
        model.commit(put("b", "2"));
        assert_eq!(model.clone().recover(&with, 0), Ok(0));
        assert!(model.clone().recover(&with, 2).is_err());
    }

    #[test]
    fn a_refused_keyspace_may_be_there_with_what_followed() {
        let users = Space("users".into());
        let mut model = history([put("a", "1")]);
        model.doubt(Commit::Create(users.clone()));
        model.commit(put("b", "2"));
        let with = history([put("a", "1"), Commit::Create(users.clone()), put("b", "2")]);
        assert_eq!(model.clone().recover(&with.state(3), 2), Ok(0));
        // But a keyspace that was not dropped cannot be gone once it took a write.
        let mut model = history([Commit::Create(users.clone())]);
        model.doubt(Commit::Drop(users.clone()));
        let change = Change { space: users, key: b"a".into(), value: None };
        model.commit(Commit::Batch(vec![change]));
        assert!(model.recover(&Model::new().state(0), 2).is_err());
    }

    #[test]
    fn a_refused_keyspace_and_a_refused_write_may_both_be_there() {
        let users = || Commit::Create(Space("users".into()));
        let mut model = history([put("a", "1")]);
        model.doubt(users());
        model.commit(put("b", "2"));
        model.doubt(put("b", "refused"));
        let with = [put("a", "1"), users(), put("b", "2"), put("b", "refused")];
        assert_eq!(model.clone().recover(&history(with).state(4), 2), Ok(0));
        // But one that came after a write that had to survive is not there without that.
        let without = history([put("a", "1"), users(), put("b", "refused")]);
        assert!(model.clone().recover(&without.state(2), 2).is_err());
        // And not two writes: the first one's end is in front of the second.
        model.doubt(put("c", "refused"));
        let both = history([put("a", "1"), put("b", "refused"), put("c", "refused")]);
        assert!(model.recover(&both.state(3), 1).is_err());
    }

    #[test]
    fn keys_that_are_left_out_may_be_anything_and_the_others_are_a_prefix() {
        let mut model = history([put("a", "1"), put("b", "2"), put("a", "3")]);
        model.doubt(put("a", "4"));
        let is_b = |_: &Space, key: &[u8]| key == b"b";
        let mut found = model.state(3);
        found.get_mut(&default()).unwrap().remove(&b"b"[..]);
        assert!(model.clone().recover(&found, 3).is_err());
        assert_eq!(model.without(&is_b).recover(&found, 3), Ok(0));
        found.get_mut(&default()).unwrap().remove(&b"a"[..]);
        assert!(model.without(&is_b).recover(&found, 3).is_err());
        let held = |value: &[u8]| model.ever_held(&default(), b"a", &value.into());
        assert_eq!([held(b"1"), held(b"2"), held(b"4")], [true, false, true]);
    }

    #[test]
    fn a_keyspace_with_a_used_name_is_a_new_one() {
        let users = Space("users".into());
        let change = Change { space: users.clone(), key: b"a".into(), value: Some([1].into()) };
        let model = history([
            Commit::Create(users.clone()),
            Commit::Batch(vec![change]),
            Commit::Drop(users.clone()),
            Commit::Create(users.clone()),
        ]);
        assert_eq!(model.get(&users, b"a", 2), None, "a snapshot reads the keyspace of today");
        assert_eq!(model.state(2)[&users].len(), 1);
        assert!(!model.state(3).contains_key(&users));
        assert_eq!(model.state(4)[&users].len(), 0);
    }
}

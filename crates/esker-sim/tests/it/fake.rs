//! A store that keeps the state after every commit, in memory, and the mistakes it can make.
//!
//! It shares nothing with the model but the words: where the model keeps versions, this keeps
//! whole states.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use esker_sim::fault::{Fault, Rot, When};
use esker_sim::model::is_inside;
use esker_sim::ops::{Durability, Move, Policy, Space, Span};
use esker_sim::reaction::Health;
use esker_sim::store::{
    Answer, Cursor, Disarmed, Entry, Failure, Figures, Finding, Lost, Machine, Put, Reason, Store,
    Strike,
};

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    AcknowledgesSyncWithoutSyncing,
    BackwardScanRepeats,
    CloseLosesTail,
    ContainsSeesDeleted,
    CursorSeekBackIsSeek,
    DropKeyspaceForgetsAtCrash,
    EmptyKeyIsMissing,
    FlushLosesEmptyValues,
    GetAnswersOlder,
    HalfBatchAfterCrash,
    HoleAfterCrash,
    IteratorMoves,
    KeyspaceForgottenAtCrash,
    KillLosesAcknowledged,
    MultiGetSwaps,
    NewKeyspaceShowsOld,
    OldHandleWorks,
    PanicsAtSettle,
    PowerCutAfterRecoveryLoses,
    PrefixIgnored,
    PumpNeverEnds,
    RecoveryDependsOnSeed,
    RefusedWriteComesBackWithMore,
    RefusedWriteIsVisible,
    ScanStopsEarly,
    SnapshotLosesDeleted,
    SnapshotMoves,
}

impl Bug {
    pub const ALL: [Self; 27] = [
        Self::AcknowledgesSyncWithoutSyncing,
        Self::BackwardScanRepeats,
        Self::CloseLosesTail,
        Self::ContainsSeesDeleted,
        Self::CursorSeekBackIsSeek,
        Self::DropKeyspaceForgetsAtCrash,
        Self::EmptyKeyIsMissing,
        Self::FlushLosesEmptyValues,
        Self::GetAnswersOlder,
        Self::HalfBatchAfterCrash,
        Self::HoleAfterCrash,
        Self::IteratorMoves,
        Self::KeyspaceForgottenAtCrash,
        Self::KillLosesAcknowledged,
        Self::MultiGetSwaps,
        Self::NewKeyspaceShowsOld,
        Self::OldHandleWorks,
        Self::PanicsAtSettle,
        Self::PowerCutAfterRecoveryLoses,
        Self::PrefixIgnored,
        Self::PumpNeverEnds,
        Self::RecoveryDependsOnSeed,
        Self::RefusedWriteComesBackWithMore,
        Self::RefusedWriteIsVisible,
        Self::ScanStopsEarly,
        Self::SnapshotLosesDeleted,
        Self::SnapshotMoves,
    ];
}

thread_local! {
    static BUG: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Switches a mistake on for this thread, or all off.
pub fn plant(bug: Option<Bug>) {
    BUG.set(bug);
}

fn is_on(bug: Bug) -> bool {
    BUG.get() == Some(bug)
}

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A keyspace: the number of its creation, and what it holds.
type State = BTreeMap<Space, (usize, Rc<Pairs>)>;

#[derive(Clone)]
struct Disk {
    /// The state after each commit; the first is the state of a new store.
    history: Vec<Rc<State>>,
    /// How many commits survive a power cut.
    synced: usize,
    created: usize,
    /// The state that a refused write would have made, which a crash may find.
    refused: Option<Rc<State>>,
    faults: Vec<Fault>,
    /// Writes since the faults were injected.
    appends: u64,
    struck: u64,
}

impl Disk {
    fn now(&self) -> &Rc<State> {
        self.history.last().expect("the first state is always there")
    }

    fn commit(&mut self, change: impl FnOnce(&mut State)) {
        let mut state = State::clone(self.now());
        change(&mut state);
        self.history.push(Rc::new(state));
        self.refused = None;
    }

    /// Whether a fault strikes the next write.
    fn append_fails(&mut self) -> bool {
        self.appends += 1;
        let fails = self.faults.iter().any(|fault| {
            let concerns = fault.op.is_none_or(|op| op == "append");
            concerns
                && match fault.when {
                    When::Nth(n) => self.appends == n,
                    When::From(n) => self.appends >= n,
                    When::Percent(_) => false,
                }
        });
        self.struck += u64::from(fails);
        fails
    }
}

pub struct FakeMachine(Rc<RefCell<Disk>>);

impl Machine for FakeMachine {
    type Store = FakeStore;

    fn new(_: Option<u8>) -> Self {
        let empty = State::from([(Space::default_space(), (0, Rc::default()))]);
        Self(Rc::new(RefCell::new(Disk {
            history: vec![Rc::new(empty)],
            synced: 0,
            created: 0,
            refused: None,
            faults: Vec::new(),
            appends: 0,
            struck: 0,
        })))
    }

    fn open(&self, seed: u64) -> Answer<FakeStore> {
        let mut disk = self.0.borrow_mut();
        // What a recovery does not show is gone for good.
        disk.refused = None;
        if !is_on(Bug::PowerCutAfterRecoveryLoses) {
            disk.synced = disk.history.len() - 1;
        }
        if is_on(Bug::RecoveryDependsOnSeed) && seed % 2 == 1 && disk.history.len() > 3 {
            disk.history.pop();
        }
        Ok(FakeStore { disk: self.0.clone(), closed: Cell::new(false), counts: Cell::default() })
    }

    fn crash(&self, policy: Policy, seed: u64) -> Self {
        let mut disk = self.0.borrow().clone();
        let commits = disk.history.len() - 1;
        let kept = match policy {
            Policy::Kill if is_on(Bug::KillLosesAcknowledged) => disk.synced,
            Policy::Kill | Policy::KeepAll => commits,
            Policy::LoseAllUnsynced => disk.synced,
            _ => disk.synced + seed as usize % (commits - disk.synced + 1),
        };
        disk.history.truncate(kept + 1);
        let refused = disk.refused.take().filter(|_| kept == commits && seed.is_multiple_of(2));
        disk.history.extend(refused);
        (disk.faults, disk.struck) = (Vec::new(), 0);
        disk.synced = disk.synced.min(kept);
        damage(&mut disk);
        Self(Rc::new(RefCell::new(disk)))
    }

    fn inject(&self, faults: &[Fault]) {
        let mut disk = self.0.borrow_mut();
        disk.faults = faults.to_vec();
        (disk.appends, disk.struck) = (0, 0);
    }

    fn struck(&self) -> u64 {
        self.0.borrow().struck
    }

    fn refuses_a_second_store(&self) -> bool {
        true
    }

    fn stands_still(&self) -> bool {
        false
    }

    fn crash_choices(&self) -> u64 {
        0
    }

    fn arm(&self, _: Strike) {}

    fn disarm(&self) -> Disarmed {
        Disarmed::default()
    }

    fn hand_over(&self, _: &Self) {}

    fn limit(&self, _: Option<u64>) {}

    fn files(&self, _: &str) -> Vec<(String, u64)> {
        Vec::new()
    }

    fn damage(&self, _: &str, _: Rot, _: u64) {}

    fn verify(&self) -> Answer<Vec<Finding>> {
        Ok(Vec::new())
    }

    fn repair(&self) -> Answer<(Self, Vec<Lost>)> {
        Ok((self.crash(Policy::Kill, 0), Vec::new()))
    }

    fn quarantine(&self, _: &str) -> Answer<Lost> {
        FakeStore::fail(Reason::InvalidArgument)
    }

    fn digest(&self) -> u64 {
        self.0.borrow().history.len() as u64
    }
}

/// What mistaken recoveries make of a crash.
fn damage(disk: &mut Disk) {
    let last = disk.history.len() - 1;
    let Some(before) = last.checked_sub(1) else { return };
    let mut state = State::clone(&disk.history[last]);
    let earlier = &disk.history[before];
    if is_on(Bug::HalfBatchAfterCrash) {
        // One of the last batch's changes is missing.
        for (space, (_, pairs)) in &mut state {
            let Some((_, old)) = earlier.get(space) else { continue };
            let fresh = pairs.keys().find(|key| !old.contains_key(*key)).cloned();
            if let Some(key) = fresh {
                Rc::make_mut(pairs).remove(&key);
                break;
            }
        }
    }
    if is_on(Bug::HoleAfterCrash) && before > 2 {
        // A commit in the middle is missing: a key that it made is not there.
        let (_, then) = &disk.history[before - 1][&Space::default_space()];
        let (_, earlier) = &disk.history[before - 2][&Space::default_space()];
        let made = then.keys().find(|key| !earlier.contains_key(*key));
        let (_, pairs) = state.get_mut(&Space::default_space()).expect("it always exists");
        made.map(|key| Rc::make_mut(pairs).remove(key));
    }
    if is_on(Bug::KeyspaceForgottenAtCrash) {
        state.retain(|space, (created, _)| space.is_default() || *created % 2 == 0);
    }
    if is_on(Bug::DropKeyspaceForgetsAtCrash) {
        for (space, old) in earlier.iter() {
            state.entry(space.clone()).or_insert_with(|| old.clone());
        }
    }
    disk.history[last] = Rc::new(state);
}

pub struct FakeStore {
    disk: Rc<RefCell<Disk>>,
    closed: Cell<bool>,
    counts: Cell<Figures>,
}

/// A keyspace's name and the number of its creation.
pub struct Handle(Space, usize);

pub struct Snapshot(Rc<State>);

pub struct Scan {
    entries: VecDeque<Entry>,
    /// What it must not see: the live store.
    live: Option<(Rc<RefCell<Disk>>, Space)>,
    repeats: Option<Entry>,
}

impl FakeStore {
    fn fail<T>(reason: Reason) -> Answer<T> {
        Err(Failure { reason, text: format!("{reason:?}") })
    }

    fn pairs_in(&self, state: &State, at: &Handle) -> Answer<Rc<Pairs>> {
        if self.closed.get() {
            return Self::fail(Reason::Closed);
        }
        match state.get(&at.0) {
            Some((created, pairs)) if *created == at.1 => Ok(pairs.clone()),
            Some((_, pairs)) if is_on(Bug::NewKeyspaceShowsOld) => Ok(pairs.clone()),
            _ if is_on(Bug::OldHandleWorks) => Ok(Rc::default()),
            _ => Self::fail(Reason::Closed),
        }
    }

    fn pairs(&self, at: &Handle) -> Answer<Rc<Pairs>> {
        let now = self.disk.borrow().now().clone();
        self.pairs_in(&now, at)
    }

    /// A snapshot from before a keyspace sees it empty.
    fn pairs_then(&self, at: &Handle, then: &Snapshot) -> Answer<Rc<Pairs>> {
        let now = self.pairs(at)?;
        if is_on(Bug::SnapshotMoves) {
            return Ok(now);
        }
        let mut pairs = self.pairs_in(&then.0, at).unwrap_or_default();
        if is_on(Bug::SnapshotLosesDeleted) && self.counts.get().compactions > 0 {
            Rc::make_mut(&mut pairs).retain(|key, _| now.contains_key(key));
        }
        Ok(pairs)
    }

    fn mark_synced(&self) {
        let mut disk = self.disk.borrow_mut();
        disk.synced = disk.history.len() - 1;
    }

    fn durable(&self, count: impl FnOnce(&mut Figures)) -> Answer<()> {
        let mut figures = self.counts.get();
        count(&mut figures);
        self.counts.set(figures);
        self.mark_synced();
        Ok(())
    }

    fn scan(&self, pairs: Answer<Rc<Pairs>>, span: &Span) -> Scan {
        let pairs = pairs.unwrap_or_default();
        let inside = pairs.iter().filter(|(key, _)| is_inside(span, key));
        let mut entries: VecDeque<Entry> = inside.map(|(k, v)| (k.clone(), v.clone())).collect();
        if is_on(Bug::ScanStopsEarly) && entries.len() > 7 {
            entries.pop_back();
        }
        Scan { entries, live: None, repeats: None }
    }
}

impl Store for FakeStore {
    type Handle = Handle;
    type Snapshot = Snapshot;
    type Iterator = Scan;
    type Cursor = FakeCursor;

    fn keyspace(&self, name: &Space) -> Answer<Handle> {
        let mut disk = self.disk.borrow_mut();
        if let Some((created, _)) = disk.now().get(name) {
            return Ok(Handle(name.clone(), *created));
        }
        disk.created += 1;
        let created = disk.created;
        let revived = is_on(Bug::NewKeyspaceShowsOld)
            .then(|| disk.history.iter().rev().find_map(|state| state.get(name)).cloned())
            .flatten();
        let pairs = revived.map(|(_, pairs)| pairs).unwrap_or_default();
        disk.commit(|state| drop(state.insert(name.clone(), (created, pairs))));
        disk.synced = disk.history.len() - 1;
        Ok(Handle(name.clone(), created))
    }

    fn drop_keyspace(&self, name: &Space) -> Answer<()> {
        let mut disk = self.disk.borrow_mut();
        if name.is_default() || !disk.now().contains_key(name) {
            return Self::fail(Reason::InvalidArgument);
        }
        disk.commit(|state| drop(state.remove(name)));
        disk.synced = disk.history.len() - 1;
        Ok(())
    }

    fn keyspaces(&self) -> Answer<Vec<Space>> {
        Ok(self.disk.borrow().now().keys().cloned().collect())
    }

    fn put(&self, at: &Handle, key: &[u8], value: &[u8], how: Durability) -> Answer<()> {
        self.write(&[Put { space: at, key, value: Some(value) }], how)
    }

    fn delete(&self, at: &Handle, key: &[u8], how: Durability) -> Answer<()> {
        self.write(&[Put { space: at, key, value: None }], how)
    }

    fn write(&self, batch: &[Put<'_, Handle>], how: Durability) -> Answer<()> {
        for put in batch {
            self.pairs(put.space)?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        let mut disk = self.disk.borrow_mut();
        let fails = disk.append_fails();
        disk.commit(|state| {
            for Put { space, key, value } in batch {
                let Some((_, pairs)) = state.get_mut(&space.0) else { continue };
                let pairs = Rc::make_mut(pairs);
                match value {
                    Some(value) => drop(pairs.insert(key.to_vec(), value.to_vec())),
                    None => drop(pairs.remove(*key)),
                }
            }
        });
        if fails {
            if !is_on(Bug::RefusedWriteIsVisible) {
                disk.refused = disk.history.pop();
            }
            if is_on(Bug::RefusedWriteComesBackWithMore) {
                let mut state = State::clone(disk.now());
                let (_, pairs) = state.get_mut(&Space::default_space()).expect("always there");
                Rc::make_mut(pairs).insert(b"more".to_vec(), Vec::new());
                disk.refused = Some(Rc::new(state));
            }
            return Self::fail(Reason::Other);
        }
        drop(disk);
        if how == Durability::Sync && !is_on(Bug::AcknowledgesSyncWithoutSyncing) {
            self.mark_synced();
        }
        Ok(())
    }

    fn get(&self, at: &Handle, key: &[u8]) -> Answer<Option<Vec<u8>>> {
        let pairs = self.pairs(at)?;
        if is_on(Bug::EmptyKeyIsMissing) && key.is_empty() {
            return Ok(None);
        }
        if is_on(Bug::GetAnswersOlder) {
            let disk = self.disk.borrow();
            let older = disk.history.iter().rev().filter_map(|state| state.get(&at.0)?.1.get(key));
            let mut older: Vec<_> = older.cloned().collect();
            older.dedup();
            return Ok(older.get(1).or(pairs.get(key)).cloned());
        }
        Ok(pairs.get(key).cloned())
    }

    fn contains(&self, at: &Handle, key: &[u8]) -> Answer<bool> {
        let found = self.pairs(at)?.contains_key(key);
        let disk = self.disk.borrow();
        let ever = || {
            let mut states = disk.history.iter().filter_map(|state| state.get(&at.0));
            states.any(|(_, pairs)| pairs.contains_key(key))
        };
        Ok(found || is_on(Bug::ContainsSeesDeleted) && ever())
    }

    fn multi_get(&self, at: &Handle, keys: &[&[u8]]) -> Answer<Vec<Option<Vec<u8>>>> {
        let pairs = self.pairs(at)?;
        let mut found: Vec<_> = keys.iter().map(|key| pairs.get(*key).cloned()).collect();
        if is_on(Bug::MultiGetSwaps) && found.len() > 1 {
            found.swap(0, 1);
        }
        Ok(found)
    }

    fn range(&self, at: &Handle, span: &Span) -> Scan {
        let scan = self.scan(self.pairs(at), span);
        let live = is_on(Bug::IteratorMoves).then(|| (self.disk.clone(), span.space.clone()));
        Scan { live, ..scan }
    }

    fn prefix(&self, at: &Handle, prefix: &[u8]) -> Scan {
        let mut scan = self.scan(self.pairs(at), &Span::all(at.0.clone()));
        let all = is_on(Bug::PrefixIgnored);
        scan.entries.retain(|(key, _)| all || key.starts_with(prefix));
        scan
    }

    fn cursor(&self, at: &Handle) -> FakeCursor {
        FakeCursor::new(self.pairs(at))
    }

    fn cursor_at(&self, at: &Handle, then: &Snapshot) -> FakeCursor {
        FakeCursor::new(self.pairs_then(at, then))
    }

    fn snapshot(&self) -> Answer<Snapshot> {
        Ok(Snapshot(self.disk.borrow().now().clone()))
    }

    fn get_at(&self, at: &Handle, key: &[u8], then: &Snapshot) -> Answer<Option<Vec<u8>>> {
        Ok(self.pairs_then(at, then)?.get(key).cloned())
    }

    fn range_at(&self, at: &Handle, span: &Span, then: &Snapshot) -> Scan {
        self.scan(self.pairs_then(at, then), span)
    }

    fn flush(&self) -> Answer<()> {
        if is_on(Bug::FlushLosesEmptyValues) {
            let mut disk = self.disk.borrow_mut();
            let mut state = State::clone(disk.now());
            for (_, pairs) in state.values_mut() {
                Rc::make_mut(pairs).retain(|_, value| !value.is_empty());
            }
            *disk.history.last_mut().expect("the first state is always there") = Rc::new(state);
        }
        self.durable(|figures| figures.flushes += 1)
    }

    fn compact(&self) -> Answer<()> {
        self.durable(|figures| figures.compactions += 1)
    }

    fn compact_level(&self, _: &Handle, _: u8) -> Answer<()> {
        Ok(())
    }

    fn settle(&self) -> Answer<()> {
        assert!(!is_on(Bug::PanicsAtSettle), "a planted panic");
        self.durable(|figures| figures.compactions += 1)
    }

    fn sync(&self) -> Answer<()> {
        self.durable(|_| {})
    }

    fn check(&self) -> Answer<()> {
        Ok(())
    }

    fn health(&self) -> Health {
        Health::Healthy
    }

    fn resume(&self) -> Answer<()> {
        Ok(())
    }

    fn close(&self) -> Answer<()> {
        if is_on(Bug::CloseLosesTail) {
            let mut disk = self.disk.borrow_mut();
            let kept = disk.synced + 1;
            disk.history.truncate(kept);
        }
        self.mark_synced();
        self.closed.set(true);
        Ok(())
    }

    fn pump_one(&self) -> bool {
        is_on(Bug::PumpNeverEnds)
    }

    fn figures(&self) -> Figures {
        self.counts.get()
    }
}

impl Scan {
    /// A moving iterator drops what the live store no longer has.
    fn look(&mut self) {
        let Some((disk, space)) = &self.live else { return };
        let disk = disk.borrow();
        if let Some((_, pairs)) = disk.now().get(space) {
            self.entries.retain(|(key, _)| pairs.contains_key(key));
        }
    }
}

impl Iterator for Scan {
    type Item = Answer<Entry>;

    fn next(&mut self) -> Option<Answer<Entry>> {
        self.look();
        self.entries.pop_front().map(Ok)
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Answer<Entry>> {
        self.look();
        if let Some(entry) = self.repeats.take() {
            return Some(Ok(entry));
        }
        let entry = self.entries.pop_back();
        if is_on(Bug::BackwardScanRepeats) && self.entries.len() == 5 {
            self.repeats.clone_from(&entry);
        }
        entry.map(Ok)
    }
}

pub struct FakeCursor {
    entries: Vec<Entry>,
    at: Option<usize>,
}

impl FakeCursor {
    fn new(pairs: Answer<Rc<Pairs>>) -> Self {
        let entries = Pairs::clone(&pairs.unwrap_or_default()).into_iter().collect();
        Self { entries, at: None }
    }
}

impl Cursor for FakeCursor {
    fn go(&mut self, to: &Move) -> Answer<()> {
        let find =
            |wanted: &dyn Fn(&[u8]) -> bool| self.entries.iter().position(|(key, _)| wanted(key));
        let find_last =
            |wanted: &dyn Fn(&[u8]) -> bool| self.entries.iter().rposition(|(key, _)| wanted(key));
        self.at = match (to, self.at) {
            (Move::Seek(wanted), _) => find(&|key| key >= wanted.0.as_slice()),
            (Move::SeekBack(wanted), _) if is_on(Bug::CursorSeekBackIsSeek) => {
                find(&|key| key >= wanted.0.as_slice())
            }
            (Move::SeekBack(wanted), _) => find_last(&|key| key <= wanted.0.as_slice()),
            (Move::Next, Some(at)) => (at + 1 < self.entries.len()).then_some(at + 1),
            (Move::Prev, Some(at)) => at.checked_sub(1),
            (Move::Next | Move::Prev, None) => None,
        };
        Ok(())
    }

    fn entry(&self) -> Option<Entry> {
        self.at.map(|at| self.entries[at].clone())
    }
}

//! Runs a script on a store and on the model, side by side, and stops at the first difference.
//!
//! Every answer is compared where it is given. A refusal is a difference too, unless a fault of
//! the machine has struck since the store was opened; then a write may be refused (and is found
//! whole or not at all after the next recovery) and a read may fail, but never be wrong.
//!
//! - this file: the run and writes
//! - `life`: the store's life: opening, closing, crashes
//! - `workshop`: damage, and the tools for damaged stores
//! - `horizon`: which damage cannot be a crash
//! - `read`: reads, and what is held across operations
//! - [`crate::verify`]: everything compared at once

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use xxhash_rust::xxh3::Xxh3;

use crate::fault::{Effect, Fault};
use crate::horizon::Horizon;
use crate::model::{Change, Commit, Model};
use crate::ops::{Durability, Op, Place, Policy, Script, Slot, Space, Write};
use crate::reached::Reached;
use crate::read::{HeldCursor, HeldIterator, HeldSnapshot};
use crate::rng::Rng;
use crate::store::{Answer, Failure, Figures, Look, Machine, Met, Put, Reason, Store, Strike};
use crate::verify;

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How often it came by the places worth visiting.
    pub reached: Reached,
    /// A hash over all answers and all operations of the disks.
    pub digest: u64,
    /// The first difference between store and model, if there is one.
    pub broken: Option<Broken>,
}

/// Runs `script`, which has no faults of its own, and tells what each of its operations did to the
/// disk.
///
/// # Errors
/// As the outcome of a run says it.
pub fn watch<M: Machine>(script: &Script, look: Look) -> Result<Vec<Vec<Met>>, Broken> {
    let mut met = Vec::new();
    let outcome = play::<M>(script, Watcher::EachOperation(look, &mut met), &mut |_, _| {});
    outcome.broken.map_or(Ok(met), Err)
}

/// Where a store and the model parted.
#[derive(Clone, Debug)]
pub struct Broken {
    /// How many operations went well before; all of them if the final checks failed.
    pub after: usize,
    /// The operation as the script has it.
    pub op: String,
    /// What differs.
    pub what: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "operation {}, `{}`: {}", self.after + 1, self.op, self.what)
    }
}

/// What an operation answered, or why the run cannot go on as planned.
pub(crate) type Told = Result<String, Trouble>;

/// Why an operation has no right answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The store said no, which a fault of the machine excuses.
    Refused(Failure),
    /// Store and model differ, which nothing excuses.
    Differs(String),
}

impl Trouble {
    /// The same trouble, with where it was met in front.
    pub(crate) fn at(self, place: impl std::fmt::Display) -> Self {
        match self {
            Self::Refused(Failure { reason, text }) => {
                Self::Refused(Failure { reason, text: format!("{place}: {text}") })
            }
            Self::Differs(what) => Self::Differs(format!("{place}: {what}")),
        }
    }

    /// A refusal that nothing excuses.
    pub(crate) fn unexcused(self) -> Self {
        match self {
            Self::Refused(failure) => Self::Differs(format!("refused: {failure}")),
            differs => differs,
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl From<String> for Trouble {
    fn from(what: String) -> Self {
        Self::Differs(what)
    }
}

/// Whether an operation only reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    Only,
    No,
}

/// Runs `script` on a new machine. `trace` is told each operation and its answer. A panic of the
/// store is a difference like any other.
pub fn run<M: Machine>(script: &Script, trace: &mut dyn FnMut(&str, &str)) -> Outcome {
    play::<M>(script, Watcher::Nobody, trace)
}

/// Runs `script`, and tells what the disk was asked for once all faults of a strike had fallen, up to
/// the end of the strike.
pub fn run_and_look<M: Machine>(script: &Script) -> (Outcome, Vec<Met>) {
    let mut met = Vec::new();
    let outcome = play::<M>(script, Watcher::AfterStrikes(&mut met), &mut |_, _| {});
    (outcome, met)
}

/// Who looks on, and where it notes what the disk was asked for.
enum Watcher<'a> {
    Nobody,
    /// For each operation of the script, so closely.
    EachOperation(Look, &'a mut Vec<Vec<Met>>),
    /// With sites.
    AfterStrikes(&'a mut Vec<Met>),
}

fn play<M: Machine>(
    script: &Script,
    mut watcher: Watcher<'_>,
    trace: &mut dyn FnMut(&str, &str),
) -> Outcome {
    let mut reached = Reached::default();
    let mut hasher = Xxh3::new();
    let mut at = (0, String::new());
    RUNNING.set(true);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut runner = Runner::<M>::new(script);
        runner.looks = matches!(watcher, Watcher::AfterStrikes(_));
        let ran = runner.run_all(script, &mut watcher, &mut |index, op, answer| match answer {
            Some(answer) => {
                hasher.update(answer.as_bytes());
                trace(op, answer);
            }
            None => at = (index, op.to_owned()),
        });
        runner.note_figures();
        reached = std::mem::take(&mut runner.reached);
        if let Watcher::AfterStrikes(met) = &mut watcher {
            met.append(&mut runner.met);
        }
        hasher.update(&runner.machine.digest().to_le_bytes());
        runner.leave();
        ran
    }));
    RUNNING.set(false);
    let what = match ran {
        Ok(Ok(())) => None,
        Ok(Err(what)) => Some(what),
        Err(panic) => Some(format!("panic: {}", panic_text(&*panic))),
    };
    let broken = what.map(|what| Broken { after: at.0, op: at.1, what });
    Outcome { reached, digest: hasher.digest(), broken }
}

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// From now on a panic inside a run is told by its outcome alone, and not printed too.
pub fn hush_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !RUNNING.get() {
                print(info);
            }
        }));
    });
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

/// A store, its model, and what a client holds of both.
///
/// The order of fields is the order in which a panic drops them: what is held before the store.
pub(crate) struct Runner<M: Machine> {
    pub(crate) snapshots: BTreeMap<Slot, HeldSnapshot<M>>,
    pub(crate) iterators: BTreeMap<Slot, HeldIterator<M>>,
    pub(crate) cursors: BTreeMap<Slot, HeldCursor<M>>,
    pub(crate) handles: BTreeMap<Space, <M::Store as Store>::Handle>,
    pub(crate) store: Option<M::Store>,
    pub(crate) machine: M,
    pub(crate) options: Option<u8>,
    pub(crate) model: Model,
    pub(crate) horizon: Horizon,
    /// The faults that strike from now on.
    pub(crate) faults: Vec<Fault>,
    /// What a strike does that may not have fallen yet.
    pub(crate) strike: Vec<Effect>,
    /// Whether operations are noted once strikes have fallen.
    pub(crate) looks: bool,
    /// Those that were.
    pub(crate) met: Vec<Met>,
    /// Whether the disk may be full: then writes may be refused, and reads must go on.
    pub(crate) limited: bool,
    /// Whether a fault struck since the store was opened.
    pub(crate) troubled: bool,
    /// Whether a sync may have lost what it should have made durable. What then is in the
    /// machine's memory alone cannot be told from what is on its disk, by no store; so a
    /// restart of the process becomes a restart of the machine.
    pub(crate) lossy: bool,
    pub(crate) reached: Reached,
    /// What the store said of itself when it was opened.
    pub(crate) figures: Figures,
    /// Decides what the full comparisons look at.
    pub(crate) rng: Rng,
    /// Seeds for the environments, counting up from the script's.
    pub(crate) next_seed: u64,
}

impl<M: Machine> Runner<M> {
    fn new(script: &Script) -> Self {
        let seed = script.seed;
        Self {
            snapshots: BTreeMap::new(),
            iterators: BTreeMap::new(),
            cursors: BTreeMap::new(),
            handles: BTreeMap::new(),
            store: None,
            machine: M::new(script.options),
            options: script.options,
            model: Model::new(),
            horizon: Horizon::default(),
            faults: Vec::new(),
            strike: Vec::new(),
            looks: false,
            met: Vec::new(),
            limited: false,
            troubled: false,
            lossy: false,
            reached: Reached::default(),
            figures: Figures::default(),
            rng: Rng::new(seed),
            next_seed: seed,
        }
    }

    /// `told` hears of each operation before it (without an answer) and after it.
    fn run_all(
        &mut self,
        script: &Script,
        watcher: &mut Watcher<'_>,
        told: &mut dyn FnMut(usize, &str, Option<&str>),
    ) -> Result<(), String> {
        told(0, "the first open", None);
        let started = self.open(Policy::Kill).map(drop);
        self.excuse(started.and_then(|()| done()), Reads::No)?;
        for (index, op) in script.ops.iter().enumerate() {
            let line = op.to_string();
            told(index, &line, None);
            let reads = if op.is_read() { Reads::Only } else { Reads::No };
            if let Watcher::EachOperation(look, _) = watcher {
                self.machine.arm(Strike::Watch(*look));
            }
            let told_by_store = self.step(op);
            if let Watcher::EachOperation(_, met) = watcher {
                met.push(self.machine.disarm().met);
            }
            let answer = self.excuse(told_by_store, reads)?;
            self.check_health()?;
            told(index, &line, Some(&answer));
        }
        told(script.ops.len(), "the end", None);
        let finished = self.finish();
        self.excuse(finished, Reads::No).map(drop)
    }

    /// Lets a refusal pass if a fault struck, and that of a write also if the disk may be full.
    fn excuse(&mut self, told: Told, reads: Reads) -> Result<String, String> {
        match told {
            Ok(answer) => Ok(answer),
            Err(Trouble::Refused(failure)) if self.is_troubled() => {
                self.reached.count("operation refused under faults");
                Ok(format!("refused: {failure}"))
            }
            Err(Trouble::Refused(failure)) if self.limited && reads == Reads::No => {
                self.reached.count("operation refused by a full disk");
                Ok(format!("refused: {failure}"))
            }
            Err(trouble) => match trouble.unexcused() {
                Trouble::Differs(what) => Err(what),
                Trouble::Refused(failure) => Err(failure.text),
            },
        }
    }

    pub(crate) fn is_troubled(&mut self) -> bool {
        if self.machine.struck() > 0 {
            self.troubled = true;
            let faults = self.faults.iter().map(|fault| fault.effect);
            let mut effects = faults.chain(self.strike.iter().copied());
            self.lossy |= effects.any(|effect| effect == Effect::SyncLost);
        }
        self.troubled
    }

    /// Runs one operation. Where the machine stood still in the middle of a reopen, a crash is
    /// due first.
    fn step(&mut self, op: &Op) -> Told {
        if self.store.is_none()
            && !matches!(op, Op::Crash { .. } | Op::Strike { .. } | Op::FaultOff)
        {
            self.crash(Policy::Kill, 0)?;
        }
        match op {
            Op::Put { at, value, durability } => self.put(at, Some(value.bytes()), *durability),
            Op::Delete { at, durability } => self.put(at, None, *durability),
            Op::Batch { writes, durability } => self.batch(writes, *durability),
            Op::Get { at, snapshot } => self.get(at, *snapshot),
            Op::Contains { at } => self.contains(at),
            Op::MultiGet { space, keys } => self.multi_get(space, keys),
            Op::Scan { span, snapshot, walk } => self.scan(span, *snapshot, walk),
            Op::Prefix { at, walk } => self.prefix(at, walk),
            Op::Snapshot { slot } => self.snapshot(*slot),
            Op::Iterator { slot, span, snapshot } => self.iterator(*slot, span, *snapshot),
            Op::Step { slot, walk } => self.step_iterator(*slot, walk),
            Op::Cursor { slot, space, snapshot } => self.cursor(*slot, space, *snapshot),
            Op::Move { slot, moves } => self.move_cursor(*slot, moves),
            Op::Drop { held, slot } => self.drop_held(*held, *slot),
            Op::Keyspace { name } => self.keyspace(name),
            Op::DropKeyspace { name } => self.drop_keyspace(name),
            Op::Flush => self.durable("flush", Store::flush),
            Op::Compact => self.durable("compact", Store::compact),
            Op::Settle => self.durable("settle", Store::settle),
            Op::Sync => self.sync(),
            Op::CompactLevel { space, level } => self.compact_level(space, *level),
            Op::Check => self.check(),
            Op::Resume => self.resume(),
            Op::Health { one_of } => self.health(one_of),
            Op::Pump { steps } => Ok(self.pump(*steps)),
            Op::PumpIdle => self.pump_idle(),
            Op::Reopen { how } => self.reopen(*how),
            Op::Crash { policy, seed } => self.crash(*policy, *seed),
            Op::Fault(fault) => self.fault(fault),
            Op::FaultOff => self.fault_off(),
            Op::Strike { falls } => self.arm(falls),
            Op::Anew => self.anew(),
            Op::Images { most } => self.images(*most),
            Op::Capacity { free_bytes } => self.limit(*free_bytes),
            Op::CapacityOff => self.unlimit(),
            Op::Rot { class, rot, place } => self.rot(class, *rot, *place),
        }
    }

    pub(crate) fn store(&self) -> &M::Store {
        self.store.as_ref().expect("the store is open between operations")
    }

    pub(crate) fn put(&mut self, at: &Place, value: Option<Vec<u8>>, how: Durability) -> Told {
        let Some(handle) = self.handles.get(&at.space) else { return skipped() };
        let answer = match &value {
            Some(value) => self.store().put(handle, &at.key.0, value, how),
            None => self.store().delete(handle, &at.key.0, how),
        };
        self.written(answer, vec![change(at, value)], how)
    }

    fn batch(&mut self, writes: &[Write], how: Durability) -> Told {
        let changes: Vec<Change> = writes
            .iter()
            .map(|write| match write {
                Write::Put(at, value) => change(at, Some(value.bytes())),
                Write::Delete(at) => change(at, None),
            })
            .filter(|change| self.handles.contains_key(&change.space))
            .collect();
        let puts: Vec<Put<'_, _>> = changes
            .iter()
            .map(|change| Put {
                space: &self.handles[&change.space],
                key: &change.key,
                value: change.value.as_deref(),
            })
            .collect();
        let answer = self.store().write(&puts, how);
        drop(puts);
        self.written(answer, changes, how)
    }

    fn written(&mut self, answer: Answer<()>, changes: Vec<Change>, how: Durability) -> Told {
        // An empty batch does nothing, and so makes nothing durable either.
        if changes.is_empty() {
            answer?;
            return done();
        }
        self.committed(answer, Commit::Batch(changes))?;
        self.reached.count("write");
        if how == Durability::Sync {
            self.reached.count("write sync");
            self.model.mark_synced();
            self.note_synced();
        }
        done()
    }

    /// Enters a commit into the history, or into the doubts.
    fn committed(&mut self, answer: Answer<()>, commit: Commit) -> Result<(), Trouble> {
        match answer {
            Ok(()) => {
                self.model.commit(commit);
                self.horizon.committed(&self.machine);
                Ok(())
            }
            Err(failure) => {
                self.model.doubt(commit);
                Err(failure.into())
            }
        }
    }

    fn keyspace(&mut self, name: &Space) -> Told {
        let answer = self.store().keyspace(name);
        if self.model.exists(name) {
            self.handles.insert(name.clone(), answer?);
            return done();
        }
        let (handle, answer) = match answer {
            Ok(handle) => (Some(handle), Ok(())),
            Err(failure) => (None, Err(failure)),
        };
        self.committed(answer, Commit::Create(name.clone()))?;
        self.handles.extend(handle.map(|handle| (name.clone(), handle)));
        self.reached.count("keyspace create");
        self.model.mark_synced();
        done()
    }

    fn drop_keyspace(&mut self, name: &Space) -> Told {
        let answer = self.store().drop_keyspace(name);
        if name.is_default() || !self.model.exists(name) {
            return match answer {
                Err(failure) if failure.reason == Reason::InvalidArgument => done(),
                other => Err(format!("expected InvalidArgument, found {other:?}").into()),
            };
        }
        self.committed(answer, Commit::Drop(name.clone()))?;
        self.reached.count("keyspace drop");
        self.model.mark_synced();
        let handle = self.handles.remove(name).expect("existing keyspaces have handles");
        expect_closed("get", self.store().get(&handle, b"a"))?;
        expect_closed("put", self.store().put(&handle, b"a", b"", Durability::Default))?;
        done()
    }

    /// An operation after which everything before it survives a power cut.
    fn durable(&mut self, name: &'static str, call: impl Fn(&M::Store) -> Answer<()>) -> Told {
        call(self.store())?;
        self.reached.count(name);
        self.model.mark_synced();
        done()
    }

    pub(crate) fn sync(&mut self) -> Told {
        self.durable("sync", Store::sync)?;
        self.note_synced();
        done()
    }

    fn note_synced(&mut self) {
        let last = self.store().log_synced();
        self.horizon.synced(&self.machine, &self.model, last);
    }

    fn compact_level(&mut self, space: &Space, level: u8) -> Told {
        let Some(handle) = self.handles.get(space) else { return skipped() };
        self.store().compact_level(handle, level)?;
        self.reached.count("compact level");
        done()
    }

    pub(crate) fn check(&mut self) -> Told {
        self.reached.count("check");
        if !self.machine.refuses_a_second_store() {
            return Err("the store could be opened twice".to_owned().into());
        }
        let store = self.store.as_ref().expect("the store is open between operations");
        verify::compare(store, &self.handles, &self.model, &mut self.rng)?;
        done()
    }

    fn pump(&mut self, steps: u32) -> String {
        let made = (0..steps).take_while(|_| self.store().pump_one()).count();
        format!("{made} steps")
    }

    pub(crate) fn pump_idle(&mut self) -> Told {
        const STEPS_MAX: usize = 1_000_000;
        let made = (0..STEPS_MAX).take_while(|_| self.store().pump_one()).count();
        if made == STEPS_MAX {
            return Err(format!("background work does not end: {STEPS_MAX} steps").into());
        }
        Ok(format!("{made} steps"))
    }

    pub(crate) fn note_figures(&mut self) {
        if let Some(store) = &self.store {
            self.reached.note(self.figures, store.figures());
        }
    }
}

/// Asserts that a handle that is no more says so.
pub(crate) fn expect_closed<T: std::fmt::Debug>(
    what: &str,
    answer: Answer<T>,
) -> Result<(), Trouble> {
    match answer {
        Err(failure) if failure.reason == Reason::Closed => Ok(()),
        other => Err(format!("{what} by an old handle: expected Closed, found {other:?}").into()),
    }
}

fn change(at: &Place, value: Option<Vec<u8>>) -> Change {
    Change { space: at.space.clone(), key: at.key.0.clone(), value: value.map(Into::into) }
}

pub(crate) fn done() -> Told {
    Ok("ok".to_owned())
}

/// The answer where an operation refers to something that is not there.
pub(crate) fn skipped() -> Told {
    Ok("skipped".to_owned())
}

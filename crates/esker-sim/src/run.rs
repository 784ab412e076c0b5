//! Runs a script on a store and on the model, side by side, and stops at the first difference.
//!
//! Every answer is compared where it is given. After a crash the image is recovered three times
//! (guarantee G10 and rule P11): two clones of it must show the same state, a prefix of the
//! history; and a second power cut right after a recovery must leave what the recovery showed.
//! At the end background work runs out, a write and a sync succeed, and everything is compared
//! once more, before and after a clean close.
//!
//! - this file: the run, writes, and the life of the store
//! - [`crate::read`]: reads, and what is held across operations
//! - [`crate::verify`]: everything compared at once

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use xxhash_rust::xxh3::Xxh3;

use crate::model::{Change, Commit, Loss, Model};
use crate::ops::{Durability, Ending, Held, Op, Place, Policy, Script, Slot, Space, Write};
use crate::reached::Reached;
use crate::read::{HeldCursor, HeldIterator, HeldSnapshot};
use crate::rng::Rng;
use crate::store::{Answer, Machine, Put, Reason, Store};
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

/// What an operation answered, or how that is wrong.
pub(crate) type Told = Result<String, String>;

/// Runs `script` on a new machine. `trace` is told each operation and its answer. A panic of the
/// store is a difference like any other.
pub fn run<M: Machine>(script: &Script, trace: &mut dyn FnMut(&str, &str)) -> Outcome {
    let mut reached = Reached::default();
    let mut hasher = Xxh3::new();
    let mut at = (0, String::new());
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut runner = Runner::<M>::start(script.seed)?;
        let ran = runner.run_all(script, &mut |index, op, answer| match answer {
            Some(answer) => {
                hasher.update(answer.as_bytes());
                trace(op, answer);
            }
            None => at = (index, op.to_owned()),
        });
        runner.note_figures();
        reached = std::mem::take(&mut runner.reached);
        hasher.update(&runner.machine.digest().to_le_bytes());
        runner.leave();
        ran
    }));
    let what = match ran {
        Ok(Ok(())) => None,
        Ok(Err(what)) => Some(what),
        Err(panic) => Some(format!("panic: {}", panic_text(&*panic))),
    };
    let broken = what.map(|what| Broken { after: at.0, op: at.1, what });
    Outcome { reached, digest: hasher.digest(), broken }
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
    pub(crate) model: Model,
    pub(crate) reached: Reached,
    /// Decides what the full comparisons look at.
    pub(crate) rng: Rng,
    /// Seeds for the environments, counting up from the script's.
    next_seed: u64,
}

impl<M: Machine> Runner<M> {
    fn start(seed: u64) -> Result<Self, String> {
        let mut runner = Self {
            snapshots: BTreeMap::new(),
            iterators: BTreeMap::new(),
            cursors: BTreeMap::new(),
            handles: BTreeMap::new(),
            store: None,
            machine: M::new(),
            model: Model::new(),
            reached: Reached::default(),
            rng: Rng::new(seed),
            next_seed: seed,
        };
        runner.open()?;
        Ok(runner)
    }

    /// `told` hears of each operation before it (without an answer) and after it.
    fn run_all(
        &mut self,
        script: &Script,
        told: &mut dyn FnMut(usize, &str, Option<&str>),
    ) -> Result<(), String> {
        for (index, op) in script.ops.iter().enumerate() {
            let line = op.to_string();
            told(index, &line, None);
            let answer = self.step(op)?;
            told(index, &line, Some(&answer));
        }
        told(script.ops.len(), "the end", None);
        self.finish()
    }

    /// Runs one operation.
    fn step(&mut self, op: &Op) -> Told {
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
            Op::Cursor { slot, space } => self.cursor(*slot, space),
            Op::Move { slot, moves } => self.move_cursor(*slot, moves),
            Op::Drop { held, slot } => self.drop_held(*held, *slot),
            Op::Keyspace { name } => self.keyspace(name),
            Op::DropKeyspace { name } => self.drop_keyspace(name),
            Op::Flush => self.durable("flush", Store::flush),
            Op::Compact => self.durable("compact", Store::compact),
            Op::Settle => self.durable("settle", Store::settle),
            Op::Sync => self.durable("sync", Store::sync),
            Op::CompactLevel { space, level } => self.compact_level(space, *level),
            Op::Check => self.check(),
            Op::Pump { steps } => Ok(self.pump(*steps)),
            Op::PumpIdle => self.pump_idle(),
            Op::Reopen { how } => self.reopen(*how),
            Op::Crash { policy, seed } => self.crash(*policy, *seed),
        }
    }

    pub(crate) fn store(&self) -> &M::Store {
        self.store.as_ref().expect("the store is open between operations")
    }

    fn put(&mut self, at: &Place, value: Option<Vec<u8>>, how: Durability) -> Told {
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
        answer.map_err(|failure| format!("refused: {failure}"))?;
        self.reached.count("write");
        // An empty batch does nothing, and so makes nothing durable either.
        if !changes.is_empty() {
            self.model.commit(Commit::Batch(changes));
            if how == Durability::Sync {
                self.reached.count("write sync");
                self.model.mark_synced();
            }
        }
        done()
    }

    fn keyspace(&mut self, name: &Space) -> Told {
        let handle = self.store().keyspace(name).map_err(|failure| failure.text)?;
        if !self.model.exists(name) {
            self.reached.count("keyspace create");
            self.model.commit(Commit::Create(name.clone()));
            self.model.mark_synced();
        }
        self.handles.insert(name.clone(), handle);
        done()
    }

    fn drop_keyspace(&mut self, name: &Space) -> Told {
        let answer = self.store().drop_keyspace(name);
        if name.is_default() || !self.model.exists(name) {
            return match answer {
                Err(failure) if failure.reason == Reason::InvalidArgument => done(),
                other => Err(format!("expected InvalidArgument, found {other:?}")),
            };
        }
        answer.map_err(|failure| failure.text)?;
        self.reached.count("keyspace drop");
        self.model.commit(Commit::Drop(name.clone()));
        self.model.mark_synced();
        let handle = self.handles.remove(name).expect("existing keyspaces have handles");
        self.expect_closed("get", self.store().get(&handle, b"a"))?;
        self.expect_closed("put", self.store().put(&handle, b"a", b"", Durability::Default))?;
        done()
    }

    fn expect_closed<T: std::fmt::Debug>(
        &self,
        what: &str,
        answer: Answer<T>,
    ) -> Result<(), String> {
        match answer {
            Err(failure) if failure.reason == Reason::Closed => Ok(()),
            other => Err(format!("{what} by an old handle: expected Closed, found {other:?}")),
        }
    }

    /// An operation after which everything before it survives a power cut.
    fn durable(&mut self, name: &'static str, call: impl Fn(&M::Store) -> Answer<()>) -> Told {
        call(self.store()).map_err(|failure| failure.text)?;
        self.reached.count(name);
        self.model.mark_synced();
        done()
    }

    fn compact_level(&mut self, space: &Space, level: u8) -> Told {
        let Some(handle) = self.handles.get(space) else { return skipped() };
        self.store().compact_level(handle, level).map_err(|failure| failure.text)?;
        self.reached.count("compact level");
        done()
    }

    fn check(&mut self) -> Told {
        self.reached.count("check");
        let store = self.store.as_ref().expect("the store is open between operations");
        verify::compare(store, &self.handles, &self.model, &mut self.rng)?;
        done()
    }

    fn pump(&mut self, steps: u32) -> String {
        let made = (0..steps).take_while(|_| self.store().pump_one()).count();
        format!("{made} steps")
    }

    fn pump_idle(&mut self) -> Told {
        const STEPS_MAX: usize = 1_000_000;
        let made = (0..STEPS_MAX).take_while(|_| self.store().pump_one()).count();
        if made == STEPS_MAX {
            return Err(format!("background work does not end: {STEPS_MAX} steps"));
        }
        Ok(format!("{made} steps"))
    }

    fn reopen(&mut self, how: Ending) -> Told {
        self.note_figures();
        if how == Ending::Close {
            self.store().close().map_err(|failure| failure.text)?;
            self.expect_closed(
                "get",
                self.store().get(&self.handles[&Space::default_space()], b"a"),
            )?;
            self.reached.count("reopen after close");
        } else {
            self.reached.count("reopen after drop");
        }
        self.model.mark_synced();
        self.leave();
        self.open()?;
        self.check()
    }

    fn crash(&mut self, policy: Policy, seed: u64) -> Told {
        self.note_figures();
        self.reached.count_crash(policy);
        let (first, second) = (self.machine.crash(policy, seed), self.machine.crash(policy, seed));
        self.leave();
        let (found, twice) = recover_and_crash_again(&first, self.take_seed(), seed)?;
        same_state("a second crash right after recovery changed what it showed", &found, &twice)?;
        self.machine = second;
        let loss = match policy {
            Policy::Kill => Loss::Unacknowledged,
            _ => Loss::Unsynced,
        };
        let lost = self.model.recover(&found, loss)?;
        self.open()?;
        let again = verify::dump(self.store())?;
        same_state("two recoveries of one image differ", &found, &again)?;
        self.check()?;
        if lost > 0 {
            self.reached.count("commits lost to a crash");
        }
        Ok(format!("{lost} commits lost"))
    }

    /// Opens the store and takes a handle of every keyspace.
    fn open(&mut self) -> Result<(), String> {
        let seed = self.take_seed();
        let store = self.machine.open(seed).map_err(|failure| format!("open: {failure}"))?;
        for space in self.model.spaces() {
            let handle = store.keyspace(&space).map_err(|failure| failure.text)?;
            self.handles.insert(space, handle);
        }
        self.store = Some(store);
        Ok(())
    }

    /// Drops the store first and what is held after it: what is held owns what it needs.
    fn leave(&mut self) {
        self.store = None;
        self.handles.clear();
        for held in [Held::Cursor, Held::Iterator, Held::Snapshot] {
            self.drop_all(held);
        }
    }

    fn take_seed(&mut self) -> u64 {
        self.next_seed = self.next_seed.wrapping_add(1);
        self.next_seed
    }

    /// The store is alive (G11) and right, now and after a clean close.
    fn finish(&mut self) -> Result<(), String> {
        self.pump_idle()?;
        let at = Place { space: Space::default_space(), key: crate::ops::Text(b"end".to_vec()) };
        self.put(&at, Some(b"end".to_vec()), Durability::Default)?;
        self.durable("sync", Store::sync)?;
        self.check()?;
        self.reopen(Ending::Close)?;
        Ok(())
    }

    fn note_figures(&mut self) {
        if let Some(store) = &self.store {
            self.reached.note(store.figures());
        }
    }
}

/// Recovers a crashed machine, shows what it holds, and what it holds after a power cut that
/// takes everything the recovery did not sync.
fn recover_and_crash_again<M: Machine>(
    machine: &M,
    env_seed: u64,
    seed: u64,
) -> Result<(crate::model::State, crate::model::State), String> {
    let text = |failure: crate::store::Failure| format!("open after a crash: {failure}");
    let store = machine.open(env_seed).map_err(text)?;
    let found = verify::dump(&store)?;
    let again = machine.crash(Policy::LoseAllUnsynced, seed);
    drop(store);
    let store = again.open(env_seed).map_err(text)?;
    Ok((found, verify::dump(&store)?))
}

fn same_state<T: PartialEq>(what: &str, a: &T, b: &T) -> Result<(), String> {
    if a == b { Ok(()) } else { Err(what.to_owned()) }
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

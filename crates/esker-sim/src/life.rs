//! The life of the store in a running script: opened, closed, crashed.
//!
//! After a crash the image is recovered three times (guarantee G10 and rule P11): two clones of it
//! must show the same state, a prefix of the history; and a second power cut right after a
//! recovery must leave what the recovery showed. Some images are repaired without being opened. At
//! the end background work runs out, a write and a sync succeed (G11), and everything is compared
//! once more, before and after a clean close.

use crate::fault::{Effect, Fault};
use crate::horizon::Horizon;
use crate::model::{Model, State};
use crate::ops::{Durability, Ending, Held, Place, Policy, Space, Text};
use crate::reaction::Health;
use crate::run::{Runner, Told, Trouble, done, expect_closed, skipped};
use crate::store::{Disarmed, Machine, Store, Strike};
use crate::verify;

/// One crash in so many is verified and repaired as well.
const REPAIRED_IN: u64 = 8;

/// Power cuts in the middle of a recovery.
const CUTS: [Policy; 4] =
    [Policy::LoseAllUnsynced, Policy::RandomSectors, Policy::DirectorySubset, Policy::NewestKept];

impl<M: Machine> Runner<M> {
    /// Opens the store and shows what it holds; there is none where a strike made the machine stand
    /// still. If a fault keeps it from that, opening it again
    /// without faults must succeed, `then` having happened to the machine.
    pub(crate) fn open(&mut self, then: Policy) -> Result<State, Trouble> {
        self.machine.inject(&self.faults_of_recovery());
        let opened = match self.try_open() {
            // Only a crash goes on from here: the script's next operation, or one in its place.
            Err(Trouble::Refused(failure)) if self.machine.stands_still() => {
                self.is_troubled();
                self.leave();
                return Err(Trouble::Refused(failure));
            }
            Err(Trouble::Refused(_)) if self.limited || self.machine.struck() > 0 => {
                self.reached.count("open refused under faults");
                self.heal();
                self.limited = false;
                self.machine.limit(None);
                // A sync that lost its bytes: see `lossy`.
                let then = if self.lossy { Policy::LoseAllUnsynced } else { then };
                let machine = self.machine.crash(then, self.next_seed);
                self.machine.hand_over(&machine);
                self.leave();
                self.machine = machine;
                self.try_open()
            }
            opened => opened,
        };
        self.troubled = self.machine.struck() > 0;
        self.machine.inject(&self.faults);
        opened.map_err(|trouble| trouble.at("open").unexcused())
    }

    /// A log or a manifest that is read wrong at its very end looks as after a crash, and no store
    /// can tell: so nothing is read wrong from them while they are recovered. `rot` looks at what
    /// can be told.
    fn faults_of_recovery(&self) -> Vec<Fault> {
        let reads_wrong = |fault: &Fault| {
            let has_tail = fault.class.is_none_or(|class| ["log", "manifest"].contains(&class));
            has_tail && matches!(fault.effect, Effect::FlipBit | Effect::Zero | Effect::Misdirect)
        };
        self.faults.iter().filter(|fault| !reads_wrong(fault)).cloned().collect()
    }

    fn try_open(&mut self) -> Result<State, Trouble> {
        let seed = self.take_seed();
        let store = self.store.insert(self.machine.open(seed)?);
        self.figures = store.figures();
        let state = verify::dump(store)?;
        for space in state.keys() {
            self.handles.insert(space.clone(), store.keyspace(space)?);
        }
        Ok(state)
    }

    /// Drops the store first and what is held after it: what is held owns what it needs.
    pub(crate) fn leave(&mut self) {
        self.store = None;
        self.handles.clear();
        for held in [Held::Cursor, Held::Iterator, Held::Snapshot] {
            self.drop_all(held);
        }
    }

    pub(crate) fn take_seed(&mut self) -> u64 {
        self.next_seed = self.next_seed.wrapping_add(1);
        self.next_seed
    }

    pub(crate) fn reopen(&mut self, how: Ending) -> Told {
        if self.is_troubled() && self.lossy {
            return self.crash(Policy::LoseAllUnsynced, 0);
        }
        self.note_figures();
        let mut closed_well = false;
        match how {
            Ending::Drop => self.reached.count("reopen after drop"),
            Ending::Close => {
                self.reached.count("reopen after close");
                let closed = self.store().close();
                closed_well = closed.is_ok();
                if !self.is_troubled() && !self.limited {
                    closed?;
                }
                let default = &self.handles[&Space::default_space()];
                expect_closed("get", self.store().get(default, b"a"))?;
            }
        }
        self.leave();
        if self.is_troubled() && self.lossy {
            return self.crash(Policy::LoseAllUnsynced, 0);
        }
        self.cut_after_close(how, closed_well)?;
        if self.machine.stands_still() {
            return Ok("stands still: there is no store until a crash".to_owned());
        }
        let found = self.open(Policy::Kill)?;
        let floor = if self.lossy { self.model.synced() } else { self.model.now() };
        self.model.recover(&found, floor)?;
        self.check()
    }

    /// A power cut between a close and the next open: what a close that went well leaves is
    /// durable, all of it.
    fn cut_after_close(&mut self, how: Ending, closed_well: bool) -> Result<(), Trouble> {
        let seed = self.take_seed();
        let image = self.machine.crash(*self.rng.pick(&CUTS), seed);
        image.limit(None);
        let place = |trouble: Trouble| trouble.unexcused().at("a power cut after the close");
        let found = recover_twice(&image, seed, seed).map_err(place)?;
        let is_durable = how == Ending::Close && closed_well;
        let floor = if is_durable { self.model.now() } else { self.model.synced() };
        self.model.clone().recover(&found, floor).map_err(|what| place(what.into()))?;
        Ok(())
    }

    pub(crate) fn crash(&mut self, policy: Policy, seed: u64) -> Told {
        self.note_figures();
        let is_troubled = self.is_troubled();
        let policy = match policy {
            Policy::Kill if self.lossy => Policy::LoseAllUnsynced,
            policy => policy,
        };
        self.reached.count_crash(policy);
        let (first, second) = (self.machine.crash(policy, seed), self.machine.crash(policy, seed));
        let third = (!self.lossy && self.rng.below(REPAIRED_IN) == 0)
            .then(|| self.machine.crash(policy, seed));
        self.machine.hand_over(&second);
        self.leave();
        first.limit(None);
        let env_seed = self.take_seed();
        let found = recover_twice(&first, env_seed, seed).map_err(Trouble::unexcused)?;
        if let Some(third) = third {
            third.limit(None);
            self.repair_sound(&third, &found).map_err(|trouble| trouble.at("without an open"))?;
        }
        self.machine = second;
        self.lossy = false;
        let floor = match policy {
            // Everything acknowledged was written, and everything written is there.
            Policy::Kill => self.model.now(),
            Policy::KeepAll if !is_troubled => self.model.now(),
            _ => self.model.synced(),
        };
        let before = self.model.clone();
        let mut lost = self.model.recover(&found, floor)?;
        // What a power cut left is all durable, so that another one in the middle of the recovery
        // changes nothing.
        let then = if policy == Policy::Kill { Policy::Kill } else { *self.rng.pick(&CUTS) };
        let again = match self.open(then) {
            Ok(again) => again,
            Err(trouble) => {
                // What a dead process wrote is not durable before a recovery has ended; what a
                // power cut left is.
                if policy == Policy::Kill {
                    self.model = before;
                }
                return Err(trouble);
            }
        };
        if again != found && self.lossy {
            // The process died, the machine went on, and a sync of the recovery lost what only
            // the machine's memory had.
            self.model = before;
            lost = self.model.recover(&again, self.model.synced())?;
        } else if again != found {
            return Err("two recoveries of one image differ".to_owned().into());
        }
        self.horizon = Horizon::default();
        self.check()?;
        if lost > 0 {
            self.reached.count("commits lost to a crash");
        }
        Ok(format!("{lost} commits lost"))
    }

    /// Recovers every disk that a crash could leave now, or `most` of them, and goes on with the
    /// disk as it is.
    pub(crate) fn images(&mut self, most: u64) -> Told {
        if self.is_troubled() && self.lossy {
            return skipped();
        }
        let choices = self.machine.crash_choices();
        let all = 1_u64.checked_shl(choices as u32).filter(|all| *all <= most);
        let env_seed = self.take_seed();
        for n in 0..all.unwrap_or(most) {
            let seed = if all.is_some() { n } else { self.rng.word() };
            let image = self.machine.crash(Policy::Chosen, seed);
            image.limit(None);
            let at = |trouble: Trouble| trouble.unexcused().at(format_args!("image {seed}"));
            let found = recover_twice(&image, env_seed, seed).map_err(at)?;
            let mut model = self.model.clone();
            model.recover(&found, self.model.synced()).map_err(|what| at(what.into()))?;
            self.reached.count("image recovered");
        }
        Ok(format!("{choices} choices"))
    }

    pub(crate) fn fault(&mut self, fault: &Fault) -> Told {
        self.is_troubled();
        self.faults.push(fault.clone());
        self.machine.inject(&self.faults);
        done()
    }

    pub(crate) fn fault_off(&mut self) -> Told {
        self.heal();
        done()
    }

    pub(crate) fn arm(&mut self, falls: &[(u64, Effect)]) -> Told {
        self.is_troubled();
        self.end_strike();
        self.strike = falls.iter().map(|(_, effect)| *effect).collect();
        self.machine.arm(Strike::At { falls: falls.to_vec(), looks: self.looks });
        done()
    }

    /// Begins with another machine, and an empty directory.
    pub(crate) fn anew(&mut self) -> Told {
        let machine = M::new(self.options);
        self.machine.hand_over(&machine);
        self.leave();
        self.machine = machine;
        self.model = Model::new();
        self.horizon = Horizon::default();
        (self.limited, self.lossy) = (false, false);
        let found = self.open(Policy::LoseAllUnsynced)?;
        self.model.recover(&found, 0)?;
        done()
    }

    fn heal(&mut self) {
        self.is_troubled();
        self.faults.clear();
        self.end_strike();
        self.machine.inject(&[]);
    }

    fn end_strike(&mut self) {
        if std::mem::take(&mut self.strike).is_empty() {
            return;
        }
        let Disarmed { fell, met } = self.machine.disarm();
        (0..fell).for_each(|_| self.reached.count("strike fell"));
        self.met.extend(met);
    }

    pub(crate) fn limit(&mut self, free_bytes: u64) -> Told {
        self.limited = true;
        self.machine.limit(Some(free_bytes));
        done()
    }

    /// A disk that was full and has space again: background work runs out, and writes resume
    /// without a restart (G11).
    pub(crate) fn unlimit(&mut self) -> Told {
        self.limited = false;
        self.machine.limit(None);
        self.pump_idle()?;
        self.end_of_trouble("resumed")
    }

    fn end_of_trouble(&mut self, word: &str) -> Told {
        let word = word.as_bytes().to_vec();
        let at = Place { space: Space::default_space(), key: Text(word.clone()) };
        self.put(&at, Some(word), Durability::Default)?;
        self.sync()
    }

    /// The store is in one of these states, or without space on a disk that may be full.
    pub(crate) fn health(&mut self, one_of: &[Health]) -> Told {
        let health = self.store().health();
        if one_of.contains(&health) || (self.limited && health == Health::NoSpace) {
            return Ok(health.to_string());
        }
        let expected: Vec<_> = one_of.iter().map(ToString::to_string).collect();
        Err(format!("health: expected {}, found {health}", expected.join(" or ")).into())
    }

    /// Nothing but a fault may make a store say that something is wrong with it, and nothing but a
    /// full disk that its disk is full.
    pub(crate) fn check_health(&mut self) -> Result<(), String> {
        if self.is_troubled() {
            return Ok(());
        }
        let Some(store) = &self.store else { return Ok(()) };
        match (store.health(), self.limited) {
            (Health::Healthy, _) | (Health::NoSpace | Health::CompactionStopped, true) => Ok(()),
            (health, _) => Err(format!("the store is {health} without a reason")),
        }
    }

    /// Ends trouble without a restart. In a store that is healthy then no doubt is left: nothing that
    /// was refused can come back, and nothing may be refused any more.
    pub(crate) fn resume(&mut self) -> Told {
        let was_fenced = self.store().health() == Health::WriteFenced;
        self.is_troubled();
        self.store().resume()?;
        if was_fenced {
            self.reached.count("resume of a fenced store");
            self.model.mark_synced();
            self.model.forget_refused();
        }
        let health = self.store().health();
        let faults_are_over = self.faults.is_empty() && self.strike.is_empty() && !self.limited;
        if faults_are_over && health == Health::Healthy && self.troubled {
            self.reached.count("resume");
            // A failed iterator stays failed.
            self.drop_all(Held::Cursor);
            self.drop_all(Held::Iterator);
            (self.troubled, self.lossy) = (false, false);
        }
        Ok(health.to_string())
    }

    /// The store is alive and right, now and after a clean close.
    pub(crate) fn finish(&mut self) -> Told {
        self.heal();
        self.limited = false;
        self.machine.limit(None);
        if self.store.is_some() && self.is_troubled() && !self.machine.stands_still() {
            // With no fault left, nothing may keep it from this.
            self.resume().map_err(Trouble::unexcused)?;
        }
        if self.store.is_some() && self.is_troubled() {
            self.reopen(Ending::Drop)?;
        }
        if self.store.is_none() {
            self.crash(Policy::Kill, 0)?;
        }
        self.unlimit()?;
        self.end_of_trouble("end")?;
        self.check()?;
        self.reopen(Ending::Close)
    }
}

/// Recovers a crashed machine without faults and returns what the store holds, after a power cut
/// that takes everything the recovery did not sync changed nothing of it.
fn recover_twice<M: Machine>(machine: &M, env_seed: u64, seed: u64) -> Result<State, Trouble> {
    let store = machine.open(env_seed).map_err(|failure| Trouble::from(failure).at("open"))?;
    let found = verify::dump(&store)?;
    let again = machine.crash(Policy::LoseAllUnsynced, seed);
    drop(store);
    let place = "open after a second crash";
    let store = again.open(env_seed).map_err(|failure| Trouble::from(failure).at(place))?;
    if verify::dump(&store)? == found {
        return Ok(found);
    }
    Err("a second crash right after recovery changed what it showed".to_owned().into())
}

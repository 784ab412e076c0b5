//! Makes a script out of a seed.
//!
//! Swarm testing: each seed switches about half of all features off and turns some up high, draws
//! its own small set of keys and its own mix of value sizes. A seed without deletes and with
//! nothing but snapshots and compactions goes where an average of everything never would.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::fault::{DISK_OPS, Effect, Fault, Rot, When};
use crate::ops::{
    Durability, End, Ending, Filler, Held, Move, Op, Place, Policy, Script, Slot, Space, Span,
    Text, Walk, Write,
};
use crate::rng::Rng;

/// Snapshots, iterators and cursors held at once, of each.
const SLOTS: Slot = 4;

/// The kinds of operations, and how often each comes in a seed that leaves it as it is.
const KINDS: [(Kind, u64); 32] = [
    (Kind::Put, 30),
    (Kind::Delete, 10),
    (Kind::Batch, 10),
    (Kind::Get, 10),
    (Kind::Contains, 2),
    (Kind::MultiGet, 2),
    (Kind::Scan, 4),
    (Kind::Prefix, 2),
    (Kind::Snapshot, 4),
    (Kind::Iterator, 3),
    (Kind::Step, 8),
    (Kind::Cursor, 2),
    (Kind::Move, 6),
    (Kind::Drop, 6),
    (Kind::Keyspace, 2),
    (Kind::DropKeyspace, 1),
    (Kind::Flush, 3),
    (Kind::Compact, 1),
    (Kind::CompactLevel, 2),
    (Kind::Settle, 1),
    (Kind::Sync, 3),
    (Kind::Check, 1),
    (Kind::Pump, 15),
    (Kind::PumpIdle, 1),
    (Kind::Reopen, 1),
    (Kind::Crash, 2),
    (Kind::Fault, 1),
    (Kind::FaultOff, 1),
    (Kind::Resume, 1),
    (Kind::Capacity, 1),
    (Kind::CapacityOff, 1),
    (Kind::Rot, 1),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Put,
    Delete,
    Batch,
    Get,
    Contains,
    MultiGet,
    Scan,
    Prefix,
    Snapshot,
    Iterator,
    Step,
    Cursor,
    Move,
    Drop,
    Keyspace,
    DropKeyspace,
    Flush,
    Compact,
    CompactLevel,
    Settle,
    Sync,
    Check,
    Pump,
    PumpIdle,
    Reopen,
    Crash,
    Fault,
    FaultOff,
    Resume,
    Capacity,
    CapacityOff,
    Rot,
}

/// The script of a seed.
pub fn generate(seed: u64) -> Script {
    let mut generator = Generator::new(seed);
    let ops = match generator.rng.weighted(&[2, 6, 2]) {
        0 => generator.rng.between(30, 100),
        1 => generator.rng.between(100, 400),
        _ => generator.rng.between(400, 1200),
    };
    for at in 0..ops {
        let op = generator.planned(at).unwrap_or_else(|| generator.op());
        generator.note(&op);
        generator.ops.push(op);
    }
    Script { seed, options: None, ops: generator.ops }
}

/// How trouble ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relief {
    /// A disk that stands still is crashed.
    Restart,
    /// A log that cannot be read is recovered, most of it unsynced.
    Reread,
    /// A full disk gets space.
    Space,
}

/// The choices that hold for a whole seed, and what the script has open so far.
struct Generator {
    rng: Rng,
    weights: Vec<u64>,
    keys: Vec<Text>,
    /// Names that keyspaces may have.
    names: Vec<Space>,
    /// Weights of the sizes of values: short, empty, within a block, over a block, over several.
    sizes: [u64; 5],
    sync_percent: u64,
    /// Most writes of a batch.
    batch_max: u64,
    /// Whether every write also sets a key of its own, which tells apart all prefixes of the
    /// history.
    marks: bool,
    ops: Vec<Op>,
    /// After how many operations trouble ends, and how.
    planned: Option<(u64, Relief)>,
    writes: u64,
    spaces: BTreeSet<Space>,
    held: BTreeSet<(Held, Slot)>,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let weights = weights(&mut rng);
        let keys = keys(&mut rng);
        let names = ["users", "orders", "k3"].map(|name| Space(name.to_owned()));
        let sizes = [10, 2, 6, 2, 1].map(|weight| weight * [0, 1, 1, 6][rng.below(4) as usize]);
        Self {
            weights,
            keys,
            names: names.into_iter().take(rng.below(4) as usize).collect(),
            sizes: if sizes.iter().sum::<u64>() == 0 { [1; 5] } else { sizes },
            sync_percent: *rng.pick(&[0, 0, 10, 50, 100]),
            batch_max: *rng.pick(&[3, 10, 60]),
            marks: rng.percent(40),
            ops: Vec::new(),
            planned: None,
            writes: 0,
            spaces: BTreeSet::from([Space::default_space()]),
            held: BTreeSet::new(),
            rng,
        }
    }

    /// The end of trouble, where it is due.
    fn planned(&mut self, at: u64) -> Option<Op> {
        let (_, relief) = self.planned.take_if(|(due, _)| *due <= at)?;
        match relief {
            Relief::Space => Some(Op::CapacityOff),
            Relief::Reread => {
                let policy = *self.rng.pick(&[Policy::Kill, Policy::KeepAll]);
                Some(Op::Crash { policy, seed: 0 })
            }
            Relief::Restart => {
                // Else the next recovery stands still as well.
                if self.rng.percent(50) {
                    self.ops.push(Op::FaultOff);
                }
                Some(self.crash())
            }
        }
    }

    fn plan(&mut self, ops: u64, relief: Relief) {
        self.planned = Some((self.ops.len() as u64 + ops, relief));
    }

    fn op(&mut self) -> Op {
        match KINDS[self.rng.weighted(&self.weights)].0 {
            Kind::Put => self.put(),
            Kind::Delete => {
                let delete = Write::Delete(self.place());
                self.write(vec![delete])
            }
            Kind::Batch => self.batch(),
            Kind::Get => Op::Get { at: self.place(), snapshot: self.maybe_snapshot() },
            Kind::Contains => Op::Contains { at: self.place() },
            Kind::MultiGet => {
                let keys = (0..self.rng.below(6)).map(|_| self.key()).collect();
                Op::MultiGet { space: self.space(), keys }
            }
            Kind::Scan => {
                Op::Scan { span: self.span(), snapshot: self.maybe_snapshot(), walk: self.walk() }
            }
            Kind::Prefix => self.prefix(),
            Kind::Snapshot => Op::Snapshot { slot: self.slot() },
            Kind::Iterator => {
                let snapshot = self.maybe_snapshot();
                Op::Iterator { slot: self.slot(), span: self.span(), snapshot }
            }
            Kind::Step => Op::Step { slot: self.held_slot(Held::Iterator), walk: self.walk() },
            Kind::Cursor => {
                let snapshot = self.maybe_snapshot();
                Op::Cursor { slot: self.slot(), space: self.space(), snapshot }
            }
            Kind::Move => self.moves(),
            Kind::Drop => {
                let held = *self.rng.pick(&[Held::Snapshot, Held::Iterator, Held::Cursor]);
                Op::Drop { held, slot: self.held_slot(held) }
            }
            Kind::Keyspace => Op::Keyspace { name: self.name() },
            Kind::DropKeyspace => Op::DropKeyspace { name: self.name() },
            Kind::Flush => Op::Flush,
            Kind::Compact => Op::Compact,
            Kind::CompactLevel => {
                Op::CompactLevel { space: self.space(), level: self.rng.below(6) as u8 }
            }
            Kind::Settle => Op::Settle,
            Kind::Sync => Op::Sync,
            Kind::Check => Op::Check,
            Kind::Pump => Op::Pump { steps: *self.rng.pick(&[1, 2, 5, 20, 100]) },
            Kind::PumpIdle => Op::PumpIdle,
            Kind::Reopen => Op::Reopen { how: *self.rng.pick(&[Ending::Close, Ending::Drop]) },
            Kind::Crash => self.crash(),
            Kind::Fault => Op::Fault(self.fault()),
            Kind::FaultOff => Op::FaultOff,
            Kind::Resume => {
                // Under faults that go on it may fail.
                if self.rng.percent(80) {
                    self.ops.push(Op::FaultOff);
                }
                Op::Resume
            }
            Kind::Capacity => {
                let ops = self.rng.between(3, 60);
                self.plan(ops, Relief::Space);
                Op::Capacity { free_bytes: self.rng.below(20_000) }
            }
            Kind::CapacityOff => Op::CapacityOff,
            Kind::Rot => {
                let class = *self.rng.pick(&["current", "manifest", "log", "log", "table"]);
                let rot = *self.rng.pick(&[Rot::Flip, Rot::Flip, Rot::Cut, Rot::Gone]);
                Op::Rot { class, rot, place: self.rng.below(1000) }
            }
        }
    }

    /// Keeps track of what is open.
    fn note(&mut self, op: &Op) {
        match op {
            Op::Snapshot { slot } => drop(self.held.insert((Held::Snapshot, *slot))),
            Op::Iterator { slot, .. } => drop(self.held.insert((Held::Iterator, *slot))),
            Op::Cursor { slot, .. } => drop(self.held.insert((Held::Cursor, *slot))),
            Op::Drop { held, slot } => drop(self.held.remove(&(*held, *slot))),
            Op::Keyspace { name } => drop(self.spaces.insert(name.clone())),
            Op::DropKeyspace { name } if !name.is_default() => drop(self.spaces.remove(name)),
            Op::Reopen { .. } | Op::Crash { .. } => self.held.clear(),
            _ => {}
        }
    }

    fn crash(&mut self) -> Op {
        let (policy, _) = *self.rng.pick(&Policy::ALL);
        // Short numbers: a person may have to type them.
        Op::Crash { policy, seed: self.rng.below(1000) }
    }

    fn fault(&mut self) -> Fault {
        match self.rng.below(10) {
            // The power fails in the middle of something.
            0..4 => {
                let ops = self.rng.between(3, 20);
                self.plan(ops, Relief::Restart);
                let when = When::From(self.rng.between(1, 60));
                return Fault { when, op: None, class: None, effect: Effect::Eio };
            }
            // The next recovery cannot read all of the log.
            4 | 5 => {
                let ops = self.rng.between(1, 10);
                self.plan(ops, Relief::Reread);
                let when = When::Nth(self.rng.between(1, 5));
                return Fault { when, op: Some("read"), class: Some("log"), effect: Effect::Eio };
            }
            _ => {}
        }
        let nth = *self.rng.pick(&[1, 2, 5, 20]);
        let when = match self.rng.below(4) {
            0 => When::From(nth),
            1 => When::Percent(nth),
            _ => When::Nth(self.rng.between(1, nth)),
        };
        let mut class =
            *self.rng.pick(&[None, Some("log"), Some("log"), Some("table"), Some("manifest")]);
        let (op, effect) = match self.rng.below(8) {
            0 => (Some("append"), Effect::Short(self.rng.below(600))),
            1 => (Some("sync"), Effect::SyncLost),
            2 => {
                let effects = [Effect::FlipBit, Effect::Zero, Effect::Eio, Effect::Misdirect];
                (Some("read"), *self.rng.pick(&effects))
            }
            3 => (None, Effect::Eio),
            4 => (Some(*self.rng.pick(&["append", "create"])), Effect::Enospc),
            _ => (Some(*self.rng.pick(&DISK_OPS)), Effect::Eio),
        };
        if effect == Effect::Misdirect {
            // Other files have nothing that could be taken for what was asked for.
            class = Some("table");
        }
        Fault { when, op, class, effect }
    }

    fn put(&mut self) -> Op {
        let put = Write::Put(self.place(), self.value());
        self.write(vec![put])
    }

    fn batch(&mut self) -> Op {
        let writes = (0..self.rng.between(1, self.batch_max)).map(|_| {
            if self.rng.percent(75) {
                Write::Put(self.place(), self.value())
            } else {
                Write::Delete(self.place())
            }
        });
        let writes = writes.collect();
        self.batch_of(writes)
    }

    /// One write on its own, if this seed does not mark its writes.
    fn write(&mut self, mut writes: Vec<Write>) -> Op {
        if self.marks {
            return self.batch_of(writes);
        }
        let durability = self.durability();
        match writes.remove(0) {
            Write::Put(at, value) => Op::Put { at, value, durability },
            Write::Delete(at) => Op::Delete { at, durability },
        }
    }

    fn batch_of(&mut self, mut writes: Vec<Write>) -> Op {
        if self.marks {
            self.writes += 1;
            let key = Text(format!("zz/{}", self.writes).into_bytes());
            let at = Place { space: Space::default_space(), key };
            writes.push(Write::Put(at, Filler::text("")));
        }
        Op::Batch { writes, durability: self.durability() }
    }

    fn durability(&mut self) -> Durability {
        if self.rng.percent(self.sync_percent) {
            Durability::Sync
        } else {
            *self.rng.pick(&[Durability::Default, Durability::Os])
        }
    }

    fn value(&mut self) -> Filler {
        self.writes += 1;
        let text = Text(format!("v{}", self.writes).into_bytes());
        let len = match self.rng.weighted(&self.sizes) {
            0 => return Filler { text, len: None },
            1 => return Filler::text(""),
            2 => self.rng.between(20, 200),
            3 => self.rng.between(250, 700),
            _ => self.rng.between(2000, 9000),
        };
        Filler { text, len: Some(len as u32) }
    }

    fn place(&mut self) -> Place {
        Place { space: self.space(), key: self.key() }
    }

    fn space(&mut self) -> Space {
        let spaces: Vec<_> = self.spaces.iter().collect();
        (*self.rng.pick(&spaces)).clone()
    }

    /// A name to create or drop, now and then the one that cannot be dropped.
    fn name(&mut self) -> Space {
        if self.names.is_empty() || self.rng.percent(5) {
            return Space::default_space();
        }
        self.rng.pick(&self.names).clone()
    }

    /// One of the seed's keys; half of the draws fall into the first eighth.
    fn key(&mut self) -> Text {
        let keys = self.keys.len() as u64;
        let among = if self.rng.percent(50) { keys.div_ceil(8) } else { keys };
        self.keys[self.rng.below(among) as usize].clone()
    }

    fn span(&mut self) -> Span {
        let mut bound = || match self.rng.below(5) {
            0 | 1 => Bound::Unbounded,
            2 => Bound::Excluded(self.key()),
            _ => Bound::Included(self.key()),
        };
        let (start, end) = (bound(), bound());
        Span { space: self.space(), start, end }
    }

    fn prefix(&mut self) -> Op {
        let mut at = self.place();
        let len = at.key.0.len() as u64;
        at.key.0.truncate(self.rng.between(0, len) as usize);
        Op::Prefix { at, walk: self.walk() }
    }

    fn walk(&mut self) -> Walk {
        match self.rng.below(3) {
            0 => Walk::forward(),
            1 => Walk::backward(),
            _ => {
                let ends = [End::Front, End::Back];
                Walk((0..self.rng.between(2, 6)).map(|_| *self.rng.pick(&ends)).collect())
            }
        }
    }

    fn moves(&mut self) -> Op {
        let moves = (0..self.rng.between(1, 6)).map(|_| match self.rng.below(6) {
            0 => Move::Seek(self.key()),
            1 => Move::SeekBack(self.key()),
            2 | 3 => Move::Next,
            _ => Move::Prev,
        });
        let moves = moves.collect();
        Op::Move { slot: self.held_slot(Held::Cursor), moves }
    }

    fn slot(&mut self) -> Slot {
        self.rng.below(u64::from(SLOTS)) as Slot
    }

    /// A slot that holds something, if one does.
    fn held_slot(&mut self, held: Held) -> Slot {
        let slots: Vec<Slot> =
            self.held.iter().filter(|(other, _)| *other == held).map(|(_, slot)| *slot).collect();
        if slots.is_empty() { self.slot() } else { *self.rng.pick(&slots) }
    }

    fn maybe_snapshot(&mut self) -> Option<Slot> {
        let is_held = self.held.iter().any(|(held, _)| *held == Held::Snapshot);
        (is_held && self.rng.percent(50)).then(|| self.held_slot(Held::Snapshot))
    }
}

/// Nearly half of the kinds off, a fifth of them eightfold; at least one kind writes.
fn weights(rng: &mut Rng) -> Vec<u64> {
    let mut weights: Vec<u64> = KINDS
        .iter()
        .map(|(kind, weight)| match (rng.below(20), kind) {
            (0..9, _) => 0,
            (9..16, _) => *weight,
            // Recoveries compare everything, which takes its time.
            (_, Kind::Crash | Kind::Reopen | Kind::Check | Kind::Rot) => 2 * weight,
            _ => 8 * weight,
        })
        .collect();
    let writes = |(kind, _): &(Kind, u64)| matches!(kind, Kind::Put | Kind::Batch);
    let first = KINDS.iter().position(writes).expect("puts are a kind");
    if KINDS.iter().zip(&weights).all(|(kind, weight)| !writes(kind) || *weight == 0) {
        weights[first] = KINDS[first].1;
    }
    weights
}

/// The keys of a seed: few stems with numbers behind them, and the odd ones.
fn keys(rng: &mut Rng) -> Vec<Text> {
    const STEMS: [&[u8]; 7] =
        [b"", b"a", b"user/", b"\xff", b"\0", b"tenant/0000000000/", b"a\xff\xff"];
    let stems: Vec<&[u8]> = (0..rng.between(1, 3)).map(|_| *rng.pick(&STEMS)).collect();
    let count = *rng.pick(&[3, 12, 60, 300]);
    let mut keys = BTreeSet::new();
    while keys.len() < count {
        let mut key = rng.pick(&stems).to_vec();
        match rng.below(40) {
            0 => {}
            1 => key.push(0),
            2 => key.extend(vec![b'x'; rng.between(100, 400) as usize]),
            3 => key.extend([0xff; 2]),
            _ => key.extend(rng.below(2 * count as u64).to_string().bytes()),
        }
        keys.insert(key);
    }
    let mut keys: Vec<Text> = keys.into_iter().map(Text).collect();
    // Which keys are drawn most is not which sort first.
    for at in (1..keys.len()).rev() {
        keys.swap(at, rng.below(at as u64 + 1) as usize);
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_script_and_its_text_the_same_script() {
        for seed in 0..50 {
            let script = generate(seed);
            assert_eq!(script, generate(seed));
            assert_eq!(script.to_string().parse(), Ok(script));
        }
        assert_ne!(generate(1).ops, generate(2).ops);
    }

    #[test]
    fn seeds_leave_kinds_out_and_together_have_them_all() {
        let word = |op: &Op| op.to_string().split(' ').next().unwrap().to_owned();
        let words: Vec<BTreeSet<String>> =
            (0..60).map(|seed| generate(seed).ops.iter().map(word).collect()).collect();
        let all: BTreeSet<String> = words.iter().flatten().cloned().collect();
        assert_eq!(all.len(), 29, "{all:?}");
        assert!(words.iter().all(|words| words.len() < 28));
    }
}

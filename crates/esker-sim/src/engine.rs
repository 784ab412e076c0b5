//! Esker behind the simulation's face: the real store on a simulated disk, with background work
//! that a seed orders.

use std::ops::Bound;
use std::sync::Arc;

use esker::internals::faults::{
    DiskOp, Errno, Fault as DiskFault, FaultPlan, FaultRule, FileClass,
};
use esker::internals::names::FileName;
use esker::internals::strike::{Look as DiskLook, Strike as DiskStrike};
use esker::internals::{CrashPolicy, Disk, PumpEnv, Reserve, Scale, SimDisk};
use esker::{
    Compression, Db, Depth, ErrorKind, HealthState, Keyspace, OnLoss, Options, Quarantine,
    Snapshot, TableLoss, Value, WriteBatch, WriteOptions,
};

use crate::fault::{DISK_OPS, Effect, FILE_CLASSES, Fault, Rot, When};
use crate::ops::{Durability, Move, Policy, Space, Span, Text};
use crate::reaction::Health;
use crate::store::{
    Answer, Cursor, Disarmed, Entry, Failure, Figures, Finding, Look, Lost, Machine, Met, Put,
    Reason, Store, Strike,
};

/// A machine with a simulated disk.
pub struct Simulated {
    disk: Arc<SimDisk>,
    options: Option<u8>,
}

/// Esker, running on one.
pub struct Esker {
    db: Db,
    env: Arc<PumpEnv>,
}

impl Simulated {
    /// The disk itself, for tests that look closer.
    pub fn disk(&self) -> &Arc<SimDisk> {
        &self.disk
    }
}

impl Machine for Simulated {
    type Store = Esker;

    fn new(options: Option<u8>) -> Self {
        Self { disk: SimDisk::new(), options }
    }

    fn open(&self, seed: u64) -> Answer<Esker> {
        let env = PumpEnv::new(seed);
        let options = self
            .options
            .map_or_else(|| drawn_options(seed), |set| OPTION_SETS[usize::from(set) % 12]());
        let db = esker::internals::open(self.disk.clone(), env.clone(), &options)?;
        Ok(Esker { db, env })
    }

    fn crash(&self, policy: Policy, seed: u64) -> Self {
        Self { disk: self.disk.crash(crash_policy(policy), seed), options: self.options }
    }

    fn inject(&self, faults: &[Fault]) {
        let plan = faults.iter().fold(FaultPlan::new(0), |plan, fault| plan.rule(rule(fault)));
        self.disk.set_faults(plan);
    }

    fn struck(&self) -> u64 {
        self.disk.faults_fired()
    }

    fn arm(&self, strike: Strike) {
        self.disk.arm(Some(match strike {
            Strike::At { falls, looks } => {
                let strike =
                    falls.iter().fold(DiskStrike::never(DiskLook::Away), |strike, fall| {
                        strike.then(fall.0, disk_fault(fall.1))
                    });
                if looks { strike.looking(DiskLook::AtSites) } else { strike }
            }
            Strike::Watch(Look::AtOperations) => DiskStrike::never(DiskLook::AtOperations),
            Strike::Watch(Look::AtSites) => DiskStrike::never(DiskLook::AtSites),
        }));
    }

    fn disarm(&self) -> Disarmed {
        let Some(strike) = self.disk.arm(None) else { return Disarmed::default() };
        let fell = strike.fell();
        let met = strike.into_met().into_iter().map(|met| Met {
            op: op_name(met.op),
            class: met.class.map(class_name),
            site: met.site,
        });
        Disarmed { fell, met: met.collect() }
    }

    fn hand_over(&self, to: &Self) {
        to.disk.arm(self.disk.arm(None));
    }

    fn refuses_a_second_store(&self) -> bool {
        let second = esker::internals::open(self.disk.clone(), PumpEnv::new(0), &Options::tiny());
        second.is_err()
    }

    fn stands_still(&self) -> bool {
        self.disk.has_crashed()
    }

    fn crash_choices(&self) -> u64 {
        self.disk.crash_choices()
    }

    fn limit(&self, free_bytes: Option<u64>) {
        const PLENTY_BYTES: u64 = 1 << 40;
        let used_bytes: u64 = self.disk.files().iter().map(|(_, len)| len).sum();
        self.disk.set_capacity(free_bytes.map_or(PLENTY_BYTES, |free| used_bytes + free));
    }

    fn files(&self, class: &str) -> Vec<(String, u64)> {
        let files = self.disk.files().into_iter();
        let files = files.filter(|(name, _)| FileClass::of(*name) == file_class(class));
        files.map(|(name, len)| (name.to_string(), len)).collect()
    }

    fn damage(&self, file: &str, rot: Rot, offset: u64) {
        let name = FileName::parse(file).expect("a name out of `files`");
        match rot {
            Rot::Flip => self.disk.damage(name, offset, 1 << (offset % 8)),
            Rot::Cut => self.disk.truncate(name, offset),
            Rot::Gone => self.disk.lose(name),
        }
    }

    fn verify(&self) -> Answer<Vec<Finding>> {
        let findings = esker::internals::verify(&*self.disk, Depth::Full)?.findings.into_iter();
        let told = findings
            .map(|found| Finding { takes_keys: found.keys.is_some(), text: format!("{found:?}") });
        Ok(told.collect())
    }

    fn repair(&self) -> Answer<(Self, Vec<Lost>)> {
        /// Of the new store.
        const STORE_ID: u64 = 99;
        let disk = SimDisk::new();
        let to: Arc<dyn Disk> = disk.clone();
        let losses = esker::internals::repair(&*self.disk, &to, STORE_ID)?.losses.into_iter();
        let lost = losses.map(|loss| Lost {
            space: loss.keyspace.map(Space),
            first: loss.first_key,
            last: loss.last_key,
        });
        Ok((Self { disk, options: self.options }, lost.collect()))
    }

    fn quarantine(&self, table: &str) -> Answer<Lost> {
        let disk: Arc<dyn Disk> = self.disk.clone();
        let told = esker::internals::quarantine(&disk, table, OnLoss::Accept)?;
        let Quarantine::Lost(TableLoss { table, keys: (first, last), .. }) = told else {
            let text = format!("{table}: {told:?}");
            return Err(Failure { reason: Reason::Other, text });
        };
        Ok(Lost { space: Some(Space(table.keyspace)), first: Some(first), last: Some(last) })
    }

    fn digest(&self) -> u64 {
        self.disk.operations_hash()
    }
}

/// What a history has without options of its own. The shape of the levels stays as the first seed
/// that opens the store chose it.
fn drawn_options(seed: u64) -> Options {
    let options = if seed.is_multiple_of(2) { Options::tiny() } else { Options::tiny_and_wide() };
    options.compression_by_level(compression(seed / 2))
}

/// Options under which one history must have one outcome: each is far from the others in one
/// thing or in several. A script names one by its number.
pub const OPTION_SETS: [fn() -> Options; 12] = [
    Options::tiny,
    Options::tiny_and_wide,
    || Options::tiny().compression_by_level(compression(1)),
    || Options::tiny_and_wide().compression_by_level(compression(2)),
    || scaled(2 << 10, Scale { block_bytes: 32, ..scale() }),
    || scaled(2 << 10, Scale { block_bytes: 8 << 10, ..scale() }),
    || scaled(1 << 10, Scale { pool_bytes_max: 8 * 4096, step_bytes: 64, ..scale() }),
    || scaled(8 << 10, Scale { level_base_bytes: Some(4 << 10), ..scale() }),
    || scaled(64 << 10, Scale { level_base_bytes: Some(64 << 10), ..scale() }),
    || scaled(4 << 10, Scale { level_base_bytes: None, ..scale() }),
    || scaled(2 << 10, Scale { reserve: Reserve::Kept, ..scale() }),
    || Options::new().memory_budget(1 << 20),
];

fn scaled(memtable_bytes: u64, scale: Scale) -> Options {
    Options::tiny().memtable_bytes(memtable_bytes).with_scale(scale)
}

/// Small sizes that are no other set's.
fn scale() -> Scale {
    Scale {
        block_bytes: 512,
        level_base_bytes: Some(256),
        pool_bytes_max: 64 * 4096,
        step_bytes: 2048,
        chunk_bytes: 1 << 10,
        reserve: Reserve::None,
    }
}

/// How the levels are compressed until the store is opened again: not at all, all but L0 in one way,
/// each in another.
fn compression(seed: u64) -> [Compression; 7] {
    let (none, lz4) = (Compression::None, Compression::Lz4);
    let zstd = if Compression::Zstd.is_built_in() { Compression::Zstd } else { lz4 };
    match seed % 3 {
        0 => [none; 7],
        1 => [none, lz4, lz4, lz4, lz4, lz4, lz4],
        _ => [lz4, zstd, lz4, none, zstd, none, zstd],
    }
}

impl Store for Esker {
    type Handle = Keyspace;
    type Snapshot = Snapshot;
    type Iterator = Iter;
    type Cursor = esker::Cursor;

    fn keyspace(&self, name: &Space) -> Answer<Keyspace> {
        Ok(self.db.keyspace(&name.0)?)
    }

    fn drop_keyspace(&self, name: &Space) -> Answer<()> {
        Ok(self.db.drop_keyspace(&name.0)?)
    }

    fn keyspaces(&self) -> Answer<Vec<Space>> {
        Ok(self.db.keyspaces().into_iter().map(Space).collect())
    }

    fn put(&self, at: &Keyspace, key: &[u8], value: &[u8], how: Durability) -> Answer<()> {
        if how == Durability::Default {
            return Ok(at.put(key, value)?);
        }
        self.write(&[Put { space: at, key, value: Some(value) }], how)
    }

    fn delete(&self, at: &Keyspace, key: &[u8], how: Durability) -> Answer<()> {
        if how == Durability::Default {
            return Ok(at.delete(key)?);
        }
        self.write(&[Put { space: at, key, value: None }], how)
    }

    fn write(&self, puts: &[Put<'_, Keyspace>], how: Durability) -> Answer<()> {
        let mut batch = WriteBatch::new();
        for Put { space, key, value } in puts {
            match (value, space.name() == Space::DEFAULT) {
                (Some(value), true) => batch.put(key, value),
                (Some(value), false) => batch.put_in(space, key, value),
                (None, true) => batch.delete(key),
                (None, false) => batch.delete_in(space, key),
            }
        }
        match how {
            Durability::Default => self.db.write(batch)?,
            Durability::Os => {
                self.db.write_with(batch, WriteOptions::durability(esker::Durability::Os))?;
            }
            Durability::Sync => self.db.write_with(batch, WriteOptions::sync())?,
        }
        Ok(())
    }

    fn get(&self, at: &Keyspace, key: &[u8]) -> Answer<Option<Vec<u8>>> {
        Ok(at.get(key)?.map(Vec::from))
    }

    fn contains(&self, at: &Keyspace, key: &[u8]) -> Answer<bool> {
        Ok(at.contains_key(key)?)
    }

    fn multi_get(&self, at: &Keyspace, keys: &[&[u8]]) -> Answer<Vec<Option<Vec<u8>>>> {
        let values = at.multi_get(keys)?;
        Ok(values.into_iter().map(|value| value.map(Vec::from)).collect())
    }

    fn range(&self, at: &Keyspace, span: &Span) -> Iter {
        Iter(at.range(bounds(span)))
    }

    fn prefix(&self, at: &Keyspace, prefix: &[u8]) -> Iter {
        Iter(at.prefix(prefix))
    }

    fn cursor(&self, at: &Keyspace) -> esker::Cursor {
        at.cursor()
    }

    fn cursor_at(&self, at: &Keyspace, then: &Snapshot) -> esker::Cursor {
        then.keyspace(at).cursor()
    }

    fn snapshot(&self) -> Answer<Snapshot> {
        Ok(self.db.snapshot())
    }

    fn get_at(&self, at: &Keyspace, key: &[u8], then: &Snapshot) -> Answer<Option<Vec<u8>>> {
        Ok(then.keyspace(at).get(key)?.map(Vec::from))
    }

    fn range_at(&self, at: &Keyspace, span: &Span, then: &Snapshot) -> Iter {
        Iter(then.keyspace(at).range(bounds(span)))
    }

    fn flush(&self) -> Answer<()> {
        Ok(self.db.flush()?)
    }

    fn compact(&self) -> Answer<()> {
        Ok(self.db.compact()?)
    }

    fn compact_level(&self, at: &Keyspace, level: u8) -> Answer<()> {
        esker::internals::compact_level(at, usize::from(level))?;
        Ok(())
    }

    fn settle(&self) -> Answer<()> {
        Ok(self.db.settle()?)
    }

    fn sync(&self) -> Answer<()> {
        Ok(self.db.sync()?)
    }

    fn check(&self) -> Answer<()> {
        Ok(self.db.check()?)
    }

    fn health(&self) -> Health {
        match self.db.health() {
            HealthState::Healthy => Health::Healthy,
            HealthState::CorruptRanges(_) => Health::CorruptRanges,
            HealthState::CompactionStopped(_) => Health::CompactionStopped,
            HealthState::NoSpace(_) => Health::NoSpace,
            HealthState::WriteFenced(_) => Health::WriteFenced,
            HealthState::Closed => Health::Closed,
            // Also what this simulation has no word for yet.
            _ => Health::Poisoned,
        }
    }

    fn resume(&self) -> Answer<()> {
        Ok(self.db.resume()?)
    }

    fn close(&self) -> Answer<()> {
        Ok(self.db.clone().close()?)
    }

    fn pump_one(&self) -> bool {
        self.env.pump_one()
    }

    fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        for name in self.db.keyspaces() {
            let Ok(keyspace) = self.db.keyspace(&name) else { continue };
            let stats = keyspace.stats();
            figures.flushes += stats.flushes;
            figures.compactions += stats.compactions;
            figures.l0_merges += stats.l0_merges;
            figures.sweep_steps += stats.sweep_steps;
            for level in keyspace.levels() {
                figures.tables[level.level] += level.tables;
                figures.compressed_levels += usize::from(level.uncompressed_bytes > level.bytes);
            }
        }
        figures
    }

    fn log_synced(&self) -> Option<(String, u64)> {
        Some(esker::internals::log_synced(&self.db))
    }
}

/// The entries of a range, as vectors.
pub struct Iter(esker::Iter);

impl Iterator for Iter {
    type Item = Answer<Entry>;

    fn next(&mut self) -> Option<Answer<Entry>> {
        self.0.next().map(entry)
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Answer<Entry>> {
        self.0.next_back().map(entry)
    }
}

fn entry(entry: esker::Result<(Value, Value)>) -> Answer<Entry> {
    let (key, value) = entry?;
    Ok((key.into(), value.into()))
}

impl Cursor for esker::Cursor {
    fn go(&mut self, to: &Move) -> Answer<()> {
        match to {
            Move::Seek(key) => self.seek(&key.0)?,
            Move::SeekBack(key) => self.seek_back(&key.0)?,
            Move::Next => self.next()?,
            Move::Prev => self.prev()?,
        };
        Ok(())
    }

    fn entry(&self) -> Option<Entry> {
        Some((self.key()?.to_vec(), self.value()?.to_vec()))
    }
}

impl From<esker::Error> for Failure {
    fn from(error: esker::Error) -> Self {
        let reason = match error.kind() {
            ErrorKind::InvalidArgument => Reason::InvalidArgument,
            ErrorKind::Closed => Reason::Closed,
            ErrorKind::Corruption => Reason::Corruption,
            _ => Reason::Other,
        };
        Self { reason, text: format!("{error:?}") }
    }
}

fn bounds(span: &Span) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (as_bytes(&span.start), as_bytes(&span.end))
}

fn as_bytes(bound: &Bound<Text>) -> Bound<&[u8]> {
    bound.as_ref().map(|text| text.0.as_slice())
}

fn crash_policy(policy: Policy) -> CrashPolicy {
    match policy {
        Policy::Kill => CrashPolicy::ProcessCrash,
        Policy::LoseAllUnsynced => CrashPolicy::LoseUnsynced,
        Policy::KeepAll => CrashPolicy::KeepAll,
        Policy::GlobalPrefix => CrashPolicy::OperationPrefix,
        Policy::PerFilePrefix => CrashPolicy::FilePrefix,
        Policy::RandomPages => CrashPolicy::Pages,
        Policy::RandomSectors => CrashPolicy::Sectors,
        Policy::TornSectors => CrashPolicy::TornSectors,
        Policy::LengthWithoutData => CrashPolicy::LengthWithoutData,
        Policy::DirectorySubset => CrashPolicy::DirectorySubset,
        Policy::NewestKept => CrashPolicy::NewestKept,
        Policy::MetadataKept => CrashPolicy::DataLost,
        Policy::DataKept => CrashPolicy::NamesLost,
        Policy::RemovesKept => CrashPolicy::OnlyRemovesKept,
        Policy::Chosen => CrashPolicy::Chosen,
    }
}

fn rule(fault: &Fault) -> FaultRule {
    use esker::internals::faults::When as DiskWhen;
    let when = match fault.when {
        When::Nth(n) => DiskWhen::Nth(n),
        When::From(n) => DiskWhen::From(n),
        When::Percent(n) => DiskWhen::Rate(n as f64 / 100.0),
    };
    let rule = FaultRule::new(when, disk_fault(fault.effect));
    let rule = fault.op.map_or(rule, |op| rule.op(disk_op(op)));
    fault.class.map_or(rule, |class| rule.class(file_class(class)))
}

/// What an effect is to the disk.
pub(crate) fn disk_fault(effect: Effect) -> DiskFault {
    match effect {
        Effect::Eio => DiskFault::Error(Errno::IO),
        Effect::Enospc => DiskFault::Error(Errno::NOSPC),
        Effect::Emfile => DiskFault::Error(Errno::MFILE),
        Effect::Erofs => DiskFault::Error(Errno::ROFS),
        Effect::Short(bytes) => DiskFault::Short(bytes, Errno::IO),
        Effect::SyncLost => DiskFault::SyncLost,
        Effect::FlipBit => DiskFault::FlipBit,
        Effect::Zero => DiskFault::Zero,
        Effect::Misdirect => DiskFault::Misdirect,
        Effect::Stop => DiskFault::Stop,
    }
}

fn op_name(op: DiskOp) -> &'static str {
    let index = DiskOp::ALL.iter().position(|other| *other == op);
    DISK_OPS[index.expect("all operations have names")]
}

fn class_name(class: FileClass) -> &'static str {
    let index = FileClass::ALL.iter().position(|other| *other == class);
    FILE_CLASSES[index.expect("all classes have names")]
}

/// [`DISK_OPS`] has the order of [`DiskOp::ALL`].
fn disk_op(name: &str) -> DiskOp {
    let index = DISK_OPS.iter().position(|op| *op == name);
    DiskOp::ALL[index.expect("one of the operations")]
}

/// [`FILE_CLASSES`] has the order of [`FileClass::ALL`].
fn file_class(name: &str) -> FileClass {
    let index = FILE_CLASSES.iter().position(|class| *class == name);
    FileClass::ALL[index.expect("one of the classes")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_scripts_mean_the_disks() {
        for (op, means) in
            [("create", DiskOp::Create), ("seal", DiskOp::Seal), ("read", DiskOp::Read)]
        {
            assert_eq!(disk_op(op), means);
        }
        assert_eq!(DISK_OPS.len(), DiskOp::ALL.len());
        assert_eq!(disk_op("sync-dir"), DiskOp::SyncDir);
        assert_eq!(disk_op("sync-existing"), DiskOp::SyncExisting);
        assert_eq!(disk_op("sync"), DiskOp::Sync);
        assert_eq!(file_class("log"), FileClass::Log);
        assert_eq!(file_class("spare"), FileClass::Spare);
        assert_eq!(FILE_CLASSES.len(), FileClass::ALL.len());
    }
}

//! Opening: create or recover, in named steps.
//!
//! ```text
//! 1  lock the directory             a second opener gets Locked
//! 2  read the manifest              nothing, a creation that crashed, or a store
//! 3  open its tables                all of them must be there, with their lengths
//! 4  read the log                   into memtables, up to the crash; damage is an error
//! 5  write a new manifest           with the exact lengths of the segments it relies on
//! 6  create a new log segment       nothing ever appends to a file of an earlier process
//! 7  remove what nothing names      tables of unfinished jobs, old manifests, discarded logs;
//!                                   a table that a quarantine took out is set aside instead
//! 8  start the background workers
//! ```
//!
//! Steps 1 to 4 write nothing but the lock, so an open that fails leaves the directory as it was.
//! A crash between any two later steps leaves a store that opens the same way again: the old
//! manifest stays in force until the new one is, and what it names is removed after that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use litemap::LiteMap;

use crate::base::batch::decode_ops;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::key::{KeyspaceId, SegmentNo, SeqNo, Tag};
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::base::sync::{AtomicBool, AtomicU64, Mutex};
use crate::cache::FramePool;
use crate::db::commit::Writer;
use crate::db::contain::Scrub;
use crate::db::health::Health;
use crate::db::options::{IfMissing, Reserve, Settings};
use crate::db::pace::Pace;
use crate::db::queue::CommitQueue;
use crate::db::snapshot::Snapshots;
use crate::db::spares::Spares;
use crate::db::store::{KeyspaceCore, ManifestSlot, Segment, Store, Structure, Trouble, WrittenBy};
use crate::env::{Env, JobSource};
use crate::memtable::Memtable;
use crate::read::clamp::Clamp;
use crate::read::fences::Level;
use crate::read::view::View;
use crate::sstable::Table;
use crate::version::{FixedOptions, Found, Manifest, StoreState, Version, read_manifest};
use crate::vfs::{Disk, Listing};
use crate::wal::{Log, LogPosition, LogState, SealedSegment, recover};

/// No store writes this often, half of all sequence numbers there are: one that was found counted so
/// far is damaged, and those that are left last for every write to come.
const SEQ_FOUND_MAX: SeqNo = SeqNo::HALF;

/// The reserve file's size: room for one manifest snapshot and this much.
const RESERVE_BYTES_MIN: u64 = 64 << 10;

/// Numbers the stores that this process opened, for batches to be bound to.
static INSTANCES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

/// What steps 2 to 4 found.
struct Recovered {
    state: StoreState,
    memtables: LiteMap<KeyspaceId, Arc<Memtable>>,
    segments: VecDeque<Segment>,
    /// What the first new segment's header names as the one before.
    last_sealed: Option<SealedSegment>,
    next_seq: SeqNo,
    manifest_number: u64,
    log_number: SegmentNo,
}

/// Opens the store on `disk`, or creates it there.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    env: Arc<dyn Env>,
    settings: Settings,
    if_missing: IfMissing,
) -> Result<Arc<Store>> {
    if if_missing == IfMissing::Refuse {
        refuse_if_missing(&*disk)?;
    }
    let lock = if planted::is_on(Bug::NoLock) { None } else { Some(disk.lock()?) };
    let listing = disk.list()?;
    let recovered = match read_manifest(&*disk, &listing)? {
        Found::Nothing => new_store(&*env, &settings),
        Found::Crashed(files) => {
            files.iter().try_for_each(|file| disk.remove(*file))?;
            disk.sync_dir()?;
            new_store(&*env, &settings)
        }
        Found::Store { state, manifest_number } => {
            read_log(&*disk, &listing, state, manifest_number, &settings)?
        }
    };
    let pool = settings.frame_pool(&env);
    let views = open_tables(&*disk, &recovered, &pool)?;
    let create_log = || {
        Log::create(
            Arc::clone(&disk),
            recovered.state.store_id,
            recovered.log_number,
            recovered.last_sealed,
            recovered.next_seq,
            settings.memtable_bytes,
        )
    };
    let early = planted::is_on(Bug::LogBeforeManifest).then(create_log).transpose()?;
    let manifest = Manifest::create(&disk, recovered.manifest_number, &recovered.state)?;
    let log = early.map_or_else(create_log, Ok)?;
    let store = assemble(disk, env, settings, pool, recovered, views, manifest, log, &listing);
    *store.lock.lock().expect("nobody else has it yet") = lock;
    let listing = store.disk.list()?;
    store.remove_strangers(&listing)?;
    store.hold_reserve(&listing);
    let source: Arc<dyn JobSource> = Arc::clone(&store) as _;
    let workers = store
        .env
        .start(Arc::downgrade(&source))
        .map_err(|error| Error::io("start background workers", error))?;
    store.workers.lock().expect("nobody else has it yet").replace(workers);
    Ok(store)
}

fn refuse_if_missing(disk: &dyn Disk) -> Result<()> {
    let listing = disk.list()?;
    if listing.files.iter().any(|(name, _)| *name != FileName::Lock) {
        return Ok(());
    }
    Err(Error::invalid(format!("{} holds no store", disk.describe())))
}

/// Step 2, where there is no store: the state of an empty one.
fn new_store(env: &dyn Env, settings: &Settings) -> Recovered {
    let fixed = FixedOptions { level_base_bytes: settings.level_base_bytes };
    let mut state = StoreState::new(env.random_u64(), fixed);
    let manifest_number = Manifest::FIRST_NUMBER;
    let log_number = SegmentNo(manifest_number + 1);
    state.next_file = log_number.0 + 1;
    state.log = LogState { sealed: Vec::new(), live_from: log_number, horizon: None };
    let mut memtables = LiteMap::new();
    memtables.insert(KeyspaceId::DEFAULT, settings.memtable());
    Recovered {
        memtables,
        segments: VecDeque::new(),
        last_sealed: None,
        next_seq: SeqNo::new(1),
        manifest_number,
        log_number,
        state,
    }
}

/// Step 4: replays the log into memtables.
fn read_log(
    disk: &dyn Disk,
    listing: &Listing,
    mut state: StoreState,
    manifest_number: u64,
    settings: &Settings,
) -> Result<Recovered> {
    let mut memtables = LiteMap::new();
    for id in state.keyspaces.keys() {
        memtables.insert(*id, settings.memtable());
    }
    let mut last_seqs: LiteMap<SegmentNo, SeqNo> = LiteMap::new();
    let log = recover(disk, state.store_id, &state.log, &mut |first, payload, position| {
        let last = replay(&state, &memtables, first, payload, position)?;
        last_seqs.insert(position.segment, last);
        Ok(())
    })?;
    let next_seq = next_seq(&state, log.next_seq, manifest_number)?;
    let mut segments = VecDeque::new();
    let mut last_seq = SeqNo::ZERO;
    for sealed in &log.sealed {
        last_seq = last_seqs.get(&sealed.segment).copied().unwrap_or(last_seq);
        segments.push_back(Segment {
            number: sealed.segment,
            last_seq: Some(last_seq),
            bytes: Some(sealed.bytes),
            written_by: WrittenBy::Earlier,
        });
    }
    let oldest = memtables.values().filter_map(|m| m.seq_range().map(|(oldest, _)| oldest)).min();
    while segments.front().is_some_and(|s| s.is_flushed(oldest)) {
        segments.pop_front();
    }
    let manifest_number = state.first_free_number(manifest_number, listing)?;
    let log_number = SegmentNo(manifest_number + 1);
    state.next_file = log_number.0 + 1;
    state.last_seq = next_seq.minus_one();
    state.log = LogState {
        sealed: segments.iter().filter_map(Segment::sealed).collect(),
        live_from: log_number,
        horizon: log.sealed.last().map(|s| LogPosition { segment: s.segment, offset: s.bytes }),
    };
    let last_sealed = log.sealed.last().copied();
    Ok(Recovered { state, memtables, segments, last_sealed, next_seq, manifest_number, log_number })
}

/// The sequence number of the next write.
fn next_seq(state: &StoreState, of_log: Option<SeqNo>, manifest_number: u64) -> Result<SeqNo> {
    let found = of_log.unwrap_or(SeqNo::ZERO).max(state.last_seq);
    if found > SEQ_FOUND_MAX {
        let name = FileName::Manifest(manifest_number);
        let expected = format!("at most {SEQ_FOUND_MAX}, in the log and in tables too");
        return Err(Error::corrupt(name, 0, "last sequence number", expected, found));
    }
    Ok(of_log.unwrap_or(SeqNo::ZERO).max(state.last_seq.plus(1)))
}

/// Inserts what no table holds yet of one batch; returns the batch's last sequence number.
fn replay(
    state: &StoreState,
    memtables: &LiteMap<KeyspaceId, Arc<Memtable>>,
    first: SeqNo,
    payload: &[u8],
    position: LogPosition,
) -> Result<SeqNo> {
    let mut seq = first;
    let mut last = first;
    for op in decode_ops(payload) {
        let op = op.map_err(|bad| {
            let offset = position.offset + bad.offset as u64;
            let name = FileName::Log(position.segment);
            Error::corrupt(name, offset, "operation", "a known kind and lengths", "other bytes")
        })?;
        last = seq;
        match (memtables.get(&op.keyspace), state.keyspaces.get(&op.keyspace)) {
            (Some(memtable), Some(keyspace)) if seq > keyspace.flushed_seq => {
                memtable.insert(op.key, Tag::new(seq, op.kind), op.value);
            }
            (Some(_), _) => {}
            (None, _) if op.keyspace.0 < state.next_keyspace => {} // dropped since
            (None, _) => {
                return Err(Error::corrupt(
                    FileName::Log(position.segment),
                    position.offset,
                    "keyspace of an operation",
                    format!("below {}", state.next_keyspace),
                    op.keyspace.0,
                ));
            }
        }
        seq = seq.plus(1);
    }
    Ok(last)
}

/// Step 3: a view per keyspace. Names every table that is missing, not only the first.
fn open_tables(
    disk: &dyn Disk,
    recovered: &Recovered,
    pool: &Arc<FramePool>,
) -> Result<LiteMap<KeyspaceId, View>> {
    let store_id = recovered.state.store_id;
    let mut views = LiteMap::new();
    for (id, keyspace) in &recovered.state.keyspaces {
        let mut view = View::new(Arc::clone(&recovered.memtables[id]));
        view.levels = open_levels(&keyspace.version, &mut |meta| {
            let opened = Table::open(disk, store_id, meta.id, meta.bytes, pool);
            let table = opened.map_err(|error| {
                if error.kind() != ErrorKind::Io {
                    return error;
                }
                let missing = missing_tables(disk, &recovered.state);
                error.context(format!("keyspace {:?}, missing tables: {missing}", keyspace.name))
            })?;
            // Levels are laid out by what the manifest says.
            meta.compare(*id, table.summary())?;
            Ok(table)
        })?;
        view.clamp = clamp(&keyspace.version);
        views.insert(*id, view);
    }
    Ok(views)
}

/// What the sweep that is under way has left of L0.
pub(crate) fn clamp(version: &Version) -> Option<Clamp> {
    version.sweep().map(|sweep| Clamp::new(&sweep.cursor, sweep.tables.len()))
}

/// The levels of a view: a reader for each table of a version.
pub(crate) fn open_levels(
    version: &Version,
    open: &mut dyn FnMut(&crate::version::TableMeta) -> Result<Arc<Table>>,
) -> Result<[Level; crate::base::limits::LEVELS]> {
    let mut levels: [Level; crate::base::limits::LEVELS] = Default::default();
    for (n, level) in levels.iter_mut().enumerate() {
        *level = version.level(n).iter().map(|meta| open(meta)).collect::<Result<_>>()?;
    }
    Ok(levels)
}

fn missing_tables(disk: &dyn Disk, state: &StoreState) -> String {
    let Ok(listing) = disk.list() else { return String::from("unknown") };
    let there: Vec<_> = listing.files.iter().map(|(name, _)| *name).collect();
    let tables = state.keyspaces.values().flat_map(|k| k.version.tables());
    let names: Vec<_> = tables
        .map(|(_, meta)| FileName::Table(meta.id))
        .filter(|name| !there.contains(name))
        .map(|name| name.to_string())
        .collect();
    if names.is_empty() { String::from("none") } else { names.join(", ") }
}

#[expect(clippy::too_many_arguments, reason = "the one place where all parts of a store meet")]
fn assemble(
    disk: Arc<dyn Disk>,
    env: Arc<dyn Env>,
    settings: Settings,
    pool: Arc<FramePool>,
    recovered: Recovered,
    mut views: LiteMap<KeyspaceId, View>,
    manifest: Manifest,
    log: Log,
    listing: &Listing,
) -> Arc<Store> {
    let mut keyspaces = LiteMap::new();
    for (id, keyspace) in recovered.state.keyspaces.iter() {
        let view = views.remove(id).expect("every keyspace has a view");
        let core = KeyspaceCore::new(pool.domain(), *id, keyspace.name.clone(), view);
        keyspaces.insert(*id, core);
    }
    let mut segments = recovered.segments;
    segments.push_back(Segment {
        number: recovered.log_number,
        last_seq: None,
        bytes: None,
        written_by: WrittenBy::Us,
    });
    let syncer = log.syncer();
    let spares = Spares::new(recovered.log_number);
    let writer = Writer {
        log,
        next_seq: recovered.next_seq,
        active_bytes: recovered.memtables.values().map(|m| m.bytes() as u64).sum(),
        actives: recovered.memtables,
        segment_first_seq: recovered.next_seq,
        log_broken: None,
        drop_in_doubt: false,
        log_orphans: Vec::new(),
    };
    let queue = CommitQueue::new(writer);
    Arc::new(Store {
        disk,
        env,
        instance: INSTANCES.fetch_add(1, Ordering::Relaxed),
        store_id: recovered.state.store_id,
        pool,
        queue,
        syncer,
        spares,
        visible: AtomicU64::new(recovered.next_seq.minus_one().get()),
        snapshots: Snapshots::default(),
        memtable_bytes: AtomicU64::new(settings.memtable_bytes),
        settings,
        next_file: AtomicU64::new(recovered.state.next_file),
        log_bytes_written: AtomicU64::new(0),
        health: Health::new(),
        pace: Pace::default(),
        scrub: Scrub::default(),
        structure: Mutex::new(first_structure(recovered.state, manifest, keyspaces, segments)),
        workers: Mutex::new(None),
        closing: AtomicBool::new(false),
        lock: Mutex::new(None),
        foreign_files: listing.foreign.clone(),
    })
}

/// What is known when nothing has happened yet.
fn first_structure(
    state: StoreState,
    manifest: Manifest,
    keyspaces: LiteMap<KeyspaceId, Arc<KeyspaceCore>>,
    segments: VecDeque<Segment>,
) -> Structure {
    Structure {
        state,
        manifest: ManifestSlot::Free(manifest),
        keyspaces,
        segments,
        frozen: VecDeque::new(),
        flushing: false,
        flush_trouble: Trouble::default(),
        running: Vec::new(),
        manual: VecDeque::new(),
        compaction_trouble: Trouble::default(),
        named_tables: VecDeque::new(),
        obsolete: Vec::new(),
        doubtful: Vec::new(),
        reserve_held: false,
    }
}

impl Segment {
    /// Whether every record in it is in tables, when `oldest_unflushed` is the oldest that is not.
    pub fn is_flushed(&self, oldest_unflushed: Option<SeqNo>) -> bool {
        match (self.last_seq, oldest_unflushed) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(last), Some(oldest)) => last < oldest,
        }
    }

    /// How the manifest names it, if an earlier process wrote it.
    pub fn sealed(&self) -> Option<SealedSegment> {
        if self.written_by == WrittenBy::Us {
            return None;
        }
        self.bytes.map(|bytes| SealedSegment { segment: self.number, bytes })
    }
}

impl Store {
    /// Step 7: removes files with names of ours that the manifest does not know.
    fn remove_strangers(&self, listing: &Listing) -> Result<()> {
        let structure = self.structure();
        let ManifestSlot::Free(manifest) = &structure.manifest else { return Ok(()) };
        let keyspaces = structure.state.keyspaces.values();
        let tables = keyspaces.flat_map(|keyspace| keyspace.version.tables());
        let mut live_tables: Vec<_> = tables.map(|(_, meta)| meta.id).collect();
        live_tables.sort_unstable();
        let is_live = |id| live_tables.binary_search(id).is_ok();
        let strangers: Vec<_> = listing
            .files
            .iter()
            .filter(|(name, bytes)| match name {
                FileName::Current | FileName::Lock | FileName::Reserve => false,
                FileName::CurrentTmp | FileName::Spare(_) => true,
                FileName::Manifest(number) => *number != manifest.number(),
                FileName::Log(number) => !structure.segments.iter().any(|s| s.number == *number),
                FileName::Table(id) => !is_live(id),
                // Of a quarantine that did not come to its edit.
                FileName::Quarantined(id) => *bytes == 0 && is_live(id),
            })
            .map(|(name, _)| *name)
            .collect();
        drop(structure);
        strangers.iter().try_for_each(|name| match awaits_quarantine(listing, *name) {
            Some(aside) => self.disk.rename(*name, aside),
            None => self.disk.remove(*name),
        })
    }

    /// Sets space aside for a manifest when the disk is full. Without it the store works too.
    fn hold_reserve(&self, listing: &Listing) {
        if self.settings.scale.reserve == Reserve::None {
            return;
        }
        let there = listing.files.iter().any(|(name, _)| *name == FileName::Reserve);
        let made = there || self.make_reserve().is_ok();
        self.structure().reserve_held = made;
    }

    fn make_reserve(&self) -> Result<()> {
        let manifest_bytes = match &self.structure().manifest {
            ManifestSlot::Free(manifest) => manifest.bytes(),
            ManifestSlot::Taken | ManifestSlot::Lost => 0,
        };
        let bytes = RESERVE_BYTES_MIN + 2 * manifest_bytes;
        let mut file = self.disk.create(FileName::Reserve)?;
        file.append(&vec![0; usize::try_from(bytes).unwrap_or(usize::MAX).min(16 << 20)])
    }
}

/// The name under which a table that is in no level any more is set aside, if the quarantine that
/// took it out did not come to that: see `repair::quarantine`.
fn awaits_quarantine(listing: &Listing, name: FileName) -> Option<FileName> {
    let FileName::Table(id) = name else { return None };
    let aside = FileName::Quarantined(id);
    listing.files.contains(&(aside, 0)).then_some(aside)
}

impl Settings {
    /// A memtable of the configured scale.
    pub fn memtable(&self) -> Arc<Memtable> {
        let full_bytes = usize::try_from(self.memtable_bytes).unwrap_or(usize::MAX);
        Arc::new(Memtable::new(full_bytes, &self.chunks))
    }
}

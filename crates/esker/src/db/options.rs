//! `Options`: few, each with a reason; everything else is a constant.
//!
//! Values are plain data and are checked together, before anything is created or written.

use std::path::Path;
use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::limits::LEVELS;
use crate::cache::FramePool;
use crate::db::Db;
use crate::db::memory::{MEMTABLE_SHARE, frames_bytes};
use crate::env::Env;
use crate::epoch::Domain;
use crate::memtable::ChunkPool;
use crate::sstable::{Compression, PAGE_BYTES};

/// How durable a write is when it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// Handed to the operating system: survives the death of the process (`kill -9`), not a power
    /// cut. What a power cut leaves is still a prefix of all commits, in whole batches.
    #[default]
    Os,
    /// On stable storage: survives a power cut. Writers that wait at the same time share one sync.
    Sync,
}

/// How a store is opened. The defaults work; each setting says when to change it.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let db = esker::Options::new().memory_budget(256 << 20).open(dir.path())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    memory_budget: Option<u64>,
    memtable_bytes: Option<u64>,
    durability: Durability,
    compression: [Compression; LEVELS],
    scale: Scale,
}

/// Sizes that follow from the memtable's in production and that tests shrink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// A block of a table, before the last entry that makes it full.
    pub block_bytes: usize,
    /// `max_bytes` of L0 for a new store; `None`: ten memtables.
    pub level_base_bytes: Option<u64>,
    /// Most bytes of the frame pool.
    pub pool_bytes_max: usize,
    /// How much a background job does in one step.
    pub step_bytes: usize,
    /// The first chunk of a memtable's arena.
    pub chunk_bytes: usize,
    /// Whether space is set aside for a full disk.
    pub reserve: Reserve,
}

/// Whether a reserve file is kept and a low-space limit is heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// As in production.
    Kept,
    /// Not at all: tests of tiny disks.
    None,
}

/// Least and most bytes of a memtable.
const MEMTABLE_BYTES_MIN: u64 = 1 << 10;
const MEMTABLE_BYTES_MAX: u64 = 1 << 32;
const MEMORY_BUDGET_MIN: u64 = 1 << 20;

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// The defaults: a quarter of the memory that the process may use, `Durability::Os`.
    pub fn new() -> Self {
        Self {
            memory_budget: None,
            memtable_bytes: None,
            durability: Durability::Os,
            compression: [Compression::None; LEVELS],
            scale: Scale {
                block_bytes: 8 << 10,
                level_base_bytes: None,
                pool_bytes_max: usize::MAX,
                step_bytes: 1 << 20,
                chunk_bytes: 64 << 10,
                reserve: Reserve::Kept,
            },
        }
    }

    /// Most bytes of memory for memtables, cached blocks, indexes and filters together, at least
    /// 1 MiB. Default: a quarter of the memory that the process may use. More memory means fewer
    /// reads from the disk.
    #[must_use]
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.memory_budget = Some(bytes);
        self
    }

    /// Bytes of writes that are gathered in memory before they become a table: 1 KiB to 4 GiB, at
    /// most an eighth of the memory budget. Default: 64 MiB or an eighth of the budget, what is less. It
    /// caps the active memtables of all keyspaces together. Larger ones make fewer, larger tables
    /// and a longer log to read at open. When a store is created it also fixes `max_bytes` of its
    /// levels, 10 memtables for L0 and ten times more for each deeper one.
    #[must_use]
    pub fn memtable_bytes(mut self, bytes: u64) -> Self {
        self.memtable_bytes = Some(bytes);
        self
    }

    /// The durability of writes that do not name one. Default: [`Durability::Os`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How tables of L1 and deeper are compressed; those of L0 are not, because they are merged
    /// soon. Default: not at all, which is fastest as long as the data fit the memory budget. It
    /// holds for tables that are written from now on: a store may be opened with another one.
    #[must_use]
    pub fn compression(self, compression: Compression) -> Self {
        let mut levels = [compression; LEVELS];
        levels[0] = Compression::None;
        self.compression_by_level(levels)
    }

    /// The same for each level, L0 first. A table that is moved to another level without being
    /// rewritten stays as it is.
    #[must_use]
    pub fn compression_by_level(mut self, levels: [Compression; 7]) -> Self {
        self.compression = levels;
        self
    }

    /// Opens the store in the directory `path`, or creates it.
    ///
    /// # Errors
    /// `InvalidArgument` for options that contradict each other, before anything is created;
    /// `Locked` if the store is open already; `Corruption` and `Unsupported` for what is found;
    /// `Io` and `NoSpace` from the operating system.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Db> {
        Db::open_with(path.as_ref(), self, IfMissing::Create)
    }

    /// Opens the store in the directory `path`, which must hold one: nothing is created otherwise.
    ///
    /// # Errors
    /// As [`open`](Self::open); `InvalidArgument` if there is no store.
    pub fn open_existing(&self, path: impl AsRef<Path>) -> Result<Db> {
        Db::open_with(path.as_ref(), self, IfMissing::Refuse)
    }

    /// Everything scaled down to bytes and KiB, so that a short history fills every level.
    #[cfg(any(test, feature = "internals"))]
    pub fn tiny() -> Self {
        Self {
            memory_budget: Some(1 << 20),
            memtable_bytes: Some(2 << 10),
            durability: Durability::Os,
            compression: [Compression::None; LEVELS],
            scale: Scale {
                block_bytes: 256,
                level_base_bytes: Some(16),
                pool_bytes_max: 24 * PAGE_BYTES,
                step_bytes: 512,
                chunk_bytes: 1 << 10,
                reserve: Reserve::None,
            },
        }
    }

    /// As [`tiny`](Self::tiny), with fewer and larger levels: most of a short history is in L1, so
    /// that L0 is merged within itself and swept in many steps.
    #[cfg(any(test, feature = "internals"))]
    pub fn tiny_and_wide() -> Self {
        let tiny = Self::tiny();
        let scale = Scale { level_base_bytes: Some(1 << 10), ..tiny.scale };
        Self { memtable_bytes: Some(1 << 10), scale, ..tiny }
    }

    /// The same with other sizes.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn with_scale(self, scale: Scale) -> Self {
        Self { scale, ..self }
    }

    /// The values to run with, or why they cannot be.
    pub(crate) fn settle(&self, memory_bytes: u64) -> Result<Settings> {
        let budget = self.memory_budget.unwrap_or((memory_bytes / 4).max(MEMORY_BUDGET_MIN));
        if budget < MEMORY_BUDGET_MIN {
            return Err(Error::invalid(format!(
                "memory_budget of {budget} bytes: at least {MEMORY_BUDGET_MIN} are needed"
            )));
        }
        let memtable_bytes = self.memtable_bytes.unwrap_or((64 << 20).min(budget / MEMTABLE_SHARE));
        check_memtable_bytes(memtable_bytes)?;
        if memtable_bytes > budget / MEMTABLE_SHARE {
            return Err(Error::invalid(format!(
                "memtable_bytes of {memtable_bytes} is more than an eighth of the memory_budget of \
                 {budget} bytes, and four of them may be held at a time: raise the budget or lower it"
            )));
        }
        self.compression.iter().try_for_each(|compression| compression.check_built_in())?;
        Ok(Settings {
            memtable_bytes,
            memory_budget: budget,
            pool_bytes: usize::try_from(frames_bytes(budget, memtable_bytes))
                .unwrap_or(usize::MAX)
                .min(self.scale.pool_bytes_max),
            level_base_bytes: self.scale.level_base_bytes.unwrap_or(10 * memtable_bytes),
            durability: self.durability,
            compression: self.compression,
            // One memtable's worth is kept for the next one.
            chunks: Arc::new(ChunkPool::new(
                self.scale.chunk_bytes,
                usize::try_from(memtable_bytes).unwrap_or(usize::MAX),
            )),
            scale: self.scale.clone(),
        })
    }
}

/// `Ok` if a memtable may have this size.
pub(crate) fn check_memtable_bytes(bytes: u64) -> Result<()> {
    if (MEMTABLE_BYTES_MIN..=MEMTABLE_BYTES_MAX).contains(&bytes) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "memtable_bytes of {bytes}: {MEMTABLE_BYTES_MIN} to {MEMTABLE_BYTES_MAX} are allowed"
    )))
}

/// What to do in a directory without a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMissing {
    /// Make one.
    Create,
    /// Answer `InvalidArgument`.
    Refuse,
}

/// Checked options.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub memtable_bytes: u64,
    pub memory_budget: u64,
    /// What is left of the memory budget for blocks, indexes and filters.
    pub pool_bytes: usize,
    pub level_base_bytes: u64,
    pub durability: Durability,
    /// Of new tables of each level.
    pub compression: [Compression; LEVELS],
    /// Where memtables get their memory.
    pub chunks: Arc<ChunkPool>,
    pub scale: Scale,
}

impl Settings {
    /// A pool for all tables of a store, empty. Its frames hold a block, or a page of an index or
    /// of a filter.
    pub fn frame_pool(&self, env: &Arc<dyn Env>) -> Arc<FramePool> {
        let frame_bytes = self.scale.block_bytes.next_multiple_of(64).max(PAGE_BYTES);
        FramePool::new(Arc::clone(env), Domain::new(), self.pool_bytes, frame_bytes)
    }
}

/// How one write is done.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let db = esker::Db::open(dir.path())?;
/// let mut batch = esker::WriteBatch::new();
/// batch.put("k", "v");
/// db.write_with(batch, esker::WriteOptions::sync())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WriteOptions {
    pub(crate) durability: Option<Durability>,
}

impl WriteOptions {
    /// With the store's durability.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this durability.
    #[must_use]
    pub fn durability(durability: Durability) -> Self {
        Self { durability: Some(durability) }
    }

    /// On stable storage before it is acknowledged.
    #[must_use]
    pub fn sync() -> Self {
        Self::durability(Durability::Sync)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::ErrorKind;

    #[test]
    fn defaults_follow_from_the_memory_at_hand() {
        let settings = Options::new().settle(24 << 30).unwrap();
        assert_eq!(settings.memtable_bytes, 64 << 20);
        assert_eq!(settings.level_base_bytes, 640 << 20);
        let small = Options::new().settle(512 << 20).unwrap();
        assert_eq!(small.memtable_bytes, 16 << 20);
        let node = Options::new().memtable_bytes(4 << 20).settle(24 << 30).unwrap();
        assert_eq!(node.level_base_bytes, 41_943_040);
    }

    #[test]
    fn compression_is_off_in_l0_unless_that_is_said() {
        let compression = |options: Options| options.settle(24 << 30).unwrap().compression;
        assert_eq!(compression(Options::new()), [Compression::None; LEVELS]);
        if Compression::Lz4.is_built_in() {
            let lz4 = compression(Options::new().compression(Compression::Lz4));
            assert_eq!(lz4[0], Compression::None);
            assert_eq!(lz4[1..], [Compression::Lz4; LEVELS - 1]);
            let everywhere = Options::new().compression_by_level([Compression::Lz4; LEVELS]);
            assert_eq!(compression(everywhere), [Compression::Lz4; LEVELS]);
        }
    }

    #[test]
    fn a_compression_that_is_not_built_in_is_refused() {
        for compression in [Compression::Lz4, Compression::Zstd] {
            let opened = Options::new().compression(compression).settle(24 << 30);
            let Err(error) = opened else {
                assert!(compression.is_built_in());
                continue;
            };
            assert!(!compression.is_built_in());
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            let feature = format!("its feature `{}`", compression.name());
            assert!(error.to_string().contains(&feature), "{error}");
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for options in [
            Options::new().memory_budget(1),
            Options::new().memtable_bytes(1023),
            Options::new().memtable_bytes(u64::MAX),
            Options::new().memory_budget(1 << 20).memtable_bytes(1 << 20),
        ] {
            let error = options.settle(1 << 30).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{options:?}");
        }
    }
}

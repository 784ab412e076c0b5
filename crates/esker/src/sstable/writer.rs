//! `TableWriter`: entries in, one synced file out.
//!
//! Blocks are built one at a time into a buffer that goes to the file in large pieces; separators
//! and key hashes are kept until the end, 8 bytes a key and about 20 a block, because index and
//! filter depend on what comes last. A writer whose file failed stays failed.

use super::block::fingerprint;
use super::block_builder::BlockBuilder;
use super::filter::FilterShape;
use super::footer::{Footer, Properties};
use super::index::IndexBuilder;
use super::packed::Packer;
use super::page::{Place, Span, seal};
use super::{TableSettings, TableSummary};
use crate::base::error::{Error, Result};
use crate::base::hash::key_hash;
use crate::base::invariant;
use crate::base::key::{SeqNo, TableId, Tag, shared_prefix_bytes};
use crate::base::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::base::names::FileName;
use crate::base::planted::{self, Bug};
use crate::base::range::KeyRange;
use crate::vfs::{AppendFile, Disk};

/// Finished blocks are handed to the file once they are this long together.
const APPEND_BYTES: usize = 512 << 10;

/// Offsets of pieces are stored in lines of 64 bytes and 32 bits.
const FILE_BYTES_MAX: u64 = (u32::MAX as u64) * super::page::ALIGN as u64;

/// Writes one table. Dropping it unfinished leaves a file that nobody names.
pub struct TableWriter {
    output: Output,
    place: Place,
    settings: TableSettings,
    block: BlockBuilder,
    packer: Packer,
    index: IndexBuilder,
    /// Of distinct keys.
    hashes: Vec<u64>,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    last_tag: Option<Tag>,
    totals: Totals,
}

/// What is counted while entries come in.
#[derive(Debug, Default)]
struct Totals {
    entries: u64,
    tombstones: u64,
    seqs: Option<(SeqNo, SeqNo)>,
    key_bytes: u64,
    value_bytes: u64,
    /// Of finished blocks without compression.
    image_bytes: u64,
}

impl TableWriter {
    /// Creates the file of table `id`, which must not exist.
    pub fn create(
        disk: &dyn Disk,
        store_id: u64,
        id: TableId,
        settings: TableSettings,
    ) -> Result<Self> {
        assert!(settings.block_bytes <= VALUE_BYTES_MAX, "blocks of at most 64 MiB");
        assert!(settings.filter_bits_per_key <= 64, "at most 64 filter bits a key");
        Ok(Self {
            output: Output::new(disk.create(FileName::Table(id))?),
            place: Place { store_id, table: id },
            settings,
            block: BlockBuilder::default(),
            packer: Packer::new(settings.compression),
            index: IndexBuilder::default(),
            hashes: Vec::new(),
            first_key: Vec::new(),
            last_key: Vec::new(),
            last_tag: None,
            totals: Totals::default(),
        })
    }

    /// Adds the next entry, which must come after all before it in the order of
    /// [`compare`]. A tombstone has an empty value.
    pub fn add(&mut self, key: &[u8], tag: Tag, value: &[u8]) -> Result<()> {
        self.output.check()?;
        let same_key = self.check_entry(key, tag, value);
        let hash = match self.hashes.last() {
            Some(hash) if same_key => *hash,
            _ => key_hash(key),
        };
        let entry = (key, tag, value);
        if self.block.is_empty() {
            self.begin_block(key, same_key);
        }
        if !self.block.add(entry, fingerprint(hash), self.settings.block_bytes) {
            self.finish_block(same_key)?;
            self.begin_block(key, same_key);
            self.block.add(entry, fingerprint(hash), self.settings.block_bytes);
        }
        if self.last_tag.is_none() {
            self.first_key.extend_from_slice(key);
        }
        if !same_key {
            self.hashes.push(hash);
            self.last_key.clear();
            self.last_key.extend_from_slice(key);
        }
        self.last_tag = Some(tag);
        self.totals.count(key, tag, value);
        Ok(())
    }

    /// About how long the file would be if it were finished now.
    pub fn estimated_bytes(&self) -> u64 {
        let filter = FilterShape::new(self.hashes.len(), self.settings.filter_bits_per_key);
        self.output.end()
            + self.block.image_bytes() as u64
            + self.index.estimated_bytes() as u64
            + filter.bytes()
    }

    /// Writes index, filter, properties and footer, and syncs the file; to sync the directory is
    /// the caller's part. A writer without entries is a bug of the caller.
    pub fn finish(mut self) -> Result<TableSummary> {
        invariant!(S2, self.totals.entries > 0, "table {} has no entries", self.place.table);
        if !self.block.is_empty() {
            self.finish_block(false)?;
        }
        let data = Span::between(0, self.output.end());
        let properties = self.properties();
        let index_top = self.index.finish(
            properties.prefix_bytes(),
            self.place,
            data.end(),
            &mut self.output.buffer,
        );
        let index = Span::between(data.end(), self.output.end());
        properties.filter.build(&self.hashes, self.place, index.end(), &mut self.output.buffer);
        let filter = Span::between(index.end(), self.output.end());
        let nothing = Span::between(filter.end(), filter.end());
        properties.write(self.place, filter.end(), &mut self.output.buffer);
        let footer = Footer {
            place: self.place,
            data,
            index,
            filter,
            range_deletes: nothing,
            blobs: nothing,
            properties: Span::between(filter.end(), self.output.end()),
            index_top,
        };
        footer.write(&mut self.output.buffer);
        let bytes = self.output.finish()?;
        Ok(properties.summary(self.place.table, bytes, data.bytes))
    }

    /// Checks what the caller promises; returns whether the key is that of the last entry.
    fn check_entry(&self, key: &[u8], tag: Tag, value: &[u8]) -> bool {
        let mut same_key = false;
        if let Some(last_tag) = self.last_tag {
            let order = self.last_key.as_slice().cmp(key);
            same_key = order.is_eq();
            let ascending = order.is_lt() || same_key && tag < last_tag;
            invariant!(
                S1,
                ascending,
                "{} {:?} after {} {last_tag:?}",
                key.escape_ascii(),
                tag,
                self.last_key.escape_ascii()
            );
        }
        invariant!(S4, !tag.is_delete() || value.is_empty(), "{} {tag:?}", key.escape_ascii());
        invariant!(S7, key.len() <= KEY_BYTES_MAX, "a key of {} bytes", key.len());
        invariant!(S7, value.len() <= VALUE_BYTES_MAX, "a value of {} bytes", value.len());
        same_key
    }

    /// Gives the block that begins with `key` its separator: as much of `key` as is needed to be
    /// above the last key, `band` if `bandana` follows `banana`; all of it if the block goes on
    /// with versions of the last key.
    fn begin_block(&mut self, key: &[u8], same_key: bool) {
        let separator = match self.last_tag {
            None => &[],
            Some(_) if same_key => key,
            Some(_) => &key[..shared_prefix_bytes(&self.last_key, key) + 1],
        };
        let first = self.last_tag.is_none();
        let above_last = first || same_key || self.last_key.as_slice() < separator;
        invariant!(S5, above_last && separator <= key, "separator {}", separator.escape_ascii());
        self.index.add(separator, same_key, self.output.end());
    }

    fn finish_block(&mut self, goes_on: bool) -> Result<()> {
        let start = self.output.buffer.len();
        let offset = self.output.end();
        self.block.finish(goes_on, &mut self.output.buffer);
        self.totals.image_bytes += (self.output.buffer.len() - start) as u64;
        self.packer.pack(&mut self.output.buffer, start);
        seal(&mut self.output.buffer[start..], self.place, offset);
        if self.output.buffer.len() >= APPEND_BYTES { self.output.flush() } else { Ok(()) }
    }

    fn properties(&self) -> Properties {
        let (seq_min, seq_max) = self.totals.seqs.expect("a table has entries");
        let bits_per_key = self.settings.filter_bits_per_key;
        Properties {
            entries: self.totals.entries,
            tombstones: self.totals.tombstones,
            keys: self.hashes.len() as u64,
            data_blocks: self.index.children() as u64,
            seq_min,
            seq_max,
            key_bytes: self.totals.key_bytes,
            value_bytes: self.totals.value_bytes,
            image_bytes: self.totals.image_bytes,
            filter: FilterShape::new(self.hashes.len(), bits_per_key),
            settings: self.settings,
            range: KeyRange::new(self.first_key.as_slice(), self.last_key.as_slice()),
        }
    }
}

impl Totals {
    fn count(&mut self, key: &[u8], tag: Tag, value: &[u8]) {
        let (min, max) = self.seqs.unwrap_or((tag.seq(), tag.seq()));
        self.seqs = Some((min.min(tag.seq()), max.max(tag.seq())));
        self.entries += 1;
        self.tombstones += u64::from(tag.is_delete());
        self.key_bytes += key.len() as u64;
        self.value_bytes += value.len() as u64;
    }
}

/// The file, and what is not handed to it yet.
struct Output {
    file: Box<dyn AppendFile>,
    buffer: Vec<u8>,
    /// The first error, which every later call returns: the file has an unknown end.
    failed: Option<Error>,
}

impl Output {
    fn new(file: Box<dyn AppendFile>) -> Self {
        Self { file, buffer: Vec::with_capacity(APPEND_BYTES), failed: None }
    }

    /// Where the next byte will lie.
    fn end(&self) -> u64 {
        self.file.len() + self.buffer.len() as u64
    }

    fn check(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn flush(&mut self) -> Result<()> {
        self.check()?;
        invariant!(S7, self.end() <= FILE_BYTES_MAX, "a table of {} bytes", self.end());
        let appended = self.file.append(&self.buffer);
        self.file.write_behind();
        self.buffer.clear();
        self.failed = appended.as_ref().err().cloned();
        appended
    }

    /// Everything to stable storage; returns the length of the file.
    fn finish(mut self) -> Result<u64> {
        self.flush()?;
        let bytes = self.file.len();
        if planted::is_on(Bug::TableNotSynced) {
            return Ok(bytes);
        }
        let synced_bytes = self.file.sync_handle().sync()?;
        invariant!(S8, synced_bytes == bytes, "{synced_bytes} of {bytes} bytes synced");
        Ok(bytes)
    }
}

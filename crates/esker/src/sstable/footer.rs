//! Footer and properties: all that is read when a table is opened.
//!
//! The footer has a fixed length, ends the file, and says where everything is. The properties lie
//! before it and say what the table holds.

use super::filter::FilterShape;
use super::page::{
    ALIGN, At, CHECKSUM_BYTES, Place, Source, Span, check, pad, seal, u16_at, u32_at, u64_at,
};
use super::{Compression, TableSettings, TableSummary};
use crate::base::codec::{put_u16, put_u32, put_u64};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::key::{KeyspaceId, SeqNo, TableId, shared_prefix_bytes};
use crate::base::limits::KEY_BYTES_MAX;
use crate::base::range::KeyRange;
use crate::base::simd::LINE_BITS_MAX;
use crate::vfs::ReadFile;

/// Length of the footer in every version of the format.
pub(super) const FOOTER_BYTES: usize = 192;

/// `eskertbl`, read as bytes.
const MAGIC: u64 = u64::from_le_bytes(*b"eskertbl");

const VERSION: u32 = 1;

/// Length of the properties before the two keys.
const PROPERTIES_BYTES_MIN: usize = 96;

/// Feature bits that this build has: none are defined yet.
const FEATURES_KNOWN: u64 = 0;

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) place: Place,
    /// Whose entries they are: so that a table can be put in its place without a manifest.
    pub(super) keyspace: KeyspaceId,
    pub(super) data: Span,
    pub(super) index: Span,
    pub(super) filter: Span,
    /// Reserved: empty.
    pub(super) range_deletes: Span,
    /// Reserved: empty.
    pub(super) blobs: Span,
    pub(super) properties: Span,
    /// The top page of the index, inside `index`.
    pub(super) index_top: Span,
}

impl Footer {
    /// The sections in the order in which they lie.
    pub(super) fn sections(&self) -> [(&'static str, Span); 6] {
        [
            ("data", self.data),
            ("index", self.index),
            ("filter", self.filter),
            ("range deletes", self.range_deletes),
            ("blobs", self.blobs),
            ("properties", self.properties),
        ]
    }

    /// The index pages below the top: empty if that is a leaf.
    pub(super) fn leaves(&self) -> Span {
        Span::between(self.index.offset, self.index_top.offset)
    }

    /// Appends the footer, which begins where the properties end.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        put_u64(out, 0);
        put_u64(out, MAGIC);
        put_u32(out, VERSION);
        put_u32(out, 0);
        put_u64(out, FEATURES_KNOWN);
        put_u64(out, self.place.store_id);
        put_u64(out, self.place.table.0);
        for (_, span) in self.sections() {
            put_u64(out, span.offset);
            put_u64(out, span.bytes);
        }
        put_u64(out, self.index_top.offset);
        put_u64(out, self.index_top.bytes);
        put_u32(out, self.keyspace.0);
        out.resize(start + FOOTER_BYTES, 0);
        seal(&mut out[start..], self.place, self.properties.end());
    }

    /// Reads the footer of any table. Whose it is must be checked by the caller.
    pub(super) fn read(file: &dyn ReadFile) -> Result<Self> {
        let part = "footer";
        let Some(offset) = file.len().checked_sub(FOOTER_BYTES as u64) else {
            let at = At { file: file.name(), offset: 0, part };
            return Err(at.corrupt("place", "192 bytes at least", file.len()));
        };
        let at = At { file: file.name(), offset, part };
        let mut bytes = [0; FOOTER_BYTES];
        file.read_exact_at(&mut bytes, offset)?;
        if u64_at(&bytes, 8) != MAGIC {
            let found = bytes[8..16].escape_ascii();
            return Err(at.corrupt("magic", "eskertbl", found));
        }
        let place = Place { store_id: u64_at(&bytes, 32), table: TableId(u64_at(&bytes, 40)) };
        check(&bytes, place, at)?;
        let (version, features) = (u32_at(&bytes, 16), u64_at(&bytes, 24));
        if version != VERSION || features & !FEATURES_KNOWN != 0 {
            let text = format!(
                "{}: a table of version {version} with features {features:#x}; this build reads \
                 version {VERSION} with {FEATURES_KNOWN:#x}",
                at.file
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        at.require_zero(&bytes[20..24], "padding")?;
        at.require_zero(&bytes[164..], "padding")?;
        let span = |n: usize| Span {
            offset: u64_at(&bytes, 48 + 16 * n),
            bytes: u64_at(&bytes, 56 + 16 * n),
        };
        let footer = Self {
            place,
            keyspace: KeyspaceId(u32_at(&bytes, 160)),
            data: span(0),
            index: span(1),
            filter: span(2),
            range_deletes: span(3),
            blobs: span(4),
            properties: span(5),
            index_top: span(6),
        };
        footer.check_sections(at)?;
        Ok(footer)
    }

    /// Sections lie end to end from the front of the file to the footer, each in whole lines, and
    /// the top of the index at the index's end.
    fn check_sections(&self, at: At) -> Result<()> {
        let mut end = 0;
        for (name, span) in self.sections() {
            if span.offset != end || !span.bytes.is_multiple_of(ALIGN as u64) {
                let expected = format!("whole lines from offset {end} on");
                return Err(at.corrupt(name, expected, span));
            }
            end = span.end();
        }
        at.expect("place", end, at.offset)?;
        let empty = self.range_deletes.bytes == 0 && self.blobs.bytes == 0;
        at.require(empty, "reserved sections", "empty ones")?;
        let top = self.index_top;
        let in_place = top.bytes > 0
            && top.bytes.is_multiple_of(ALIGN as u64)
            && top.offset >= self.index.offset
            && top.offset.checked_add(top.bytes) == Some(self.index.end());
        at.require(in_place, "top of the index", "whole lines at the end of the index")
    }
}

/// What a table holds and how it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Properties {
    pub(super) entries: u64,
    pub(super) tombstones: u64,
    pub(super) keys: u64,
    pub(super) data_blocks: u64,
    pub(super) seq_min: SeqNo,
    pub(super) seq_max: SeqNo,
    pub(super) key_bytes: u64,
    pub(super) value_bytes: u64,
    /// Bytes of all blocks without compression, padding included.
    pub(super) image_bytes: u64,
    pub(super) filter: FilterShape,
    pub(super) settings: TableSettings,
    pub(super) range: KeyRange,
}

impl Properties {
    /// Bytes that all keys begin with: the smallest and the largest do.
    pub(super) fn prefix_bytes(&self) -> usize {
        shared_prefix_bytes(self.range.lo(), self.range.hi())
    }

    /// Of a whole file.
    pub(super) fn summary(&self, footer: &Footer) -> TableSummary {
        let bytes = footer.properties.end() + FOOTER_BYTES as u64;
        TableSummary {
            id: footer.place.table,
            keyspace: footer.keyspace,
            bytes,
            uncompressed_bytes: (bytes - footer.data.bytes).saturating_add(self.image_bytes),
            entries: self.entries,
            tombstones: self.tombstones,
            keys: self.keys,
            range: self.range.clone(),
            seq_min: self.seq_min,
            seq_max: self.seq_max,
            key_bytes: self.key_bytes,
            value_bytes: self.value_bytes,
            filter_bits: u64::from(self.filter.lines) * 8 * ALIGN as u64,
            data_blocks: self.data_blocks,
        }
    }

    /// Appends the properties, which will lie at `offset`.
    pub(super) fn write(&self, place: Place, offset: u64, out: &mut Vec<u8>) {
        let start = out.len();
        put_u64(out, 0);
        put_u64(out, self.entries);
        put_u64(out, self.tombstones);
        put_u64(out, self.keys);
        put_u64(out, self.data_blocks);
        put_u64(out, self.seq_min.get());
        put_u64(out, self.seq_max.get());
        put_u64(out, self.key_bytes);
        put_u64(out, self.value_bytes);
        put_u64(out, self.image_bytes);
        put_u32(out, self.settings.block_bytes as u32);
        put_u32(out, self.filter.lines);
        put_u16(out, self.settings.filter_bits_per_key as u16);
        out.push(self.filter.probes);
        out.push(self.settings.compression.code());
        put_u16(out, self.range.lo().len() as u16);
        put_u16(out, self.range.hi().len() as u16);
        out.extend_from_slice(self.range.lo());
        out.extend_from_slice(self.range.hi());
        pad(out, start);
        seal(&mut out[start..], place, offset);
    }

    /// Reads the properties that the footer points to.
    pub(super) fn read(source: Source<'_>, footer: &Footer) -> Result<Self> {
        let part = "properties";
        let bytes = source.read(footer.properties, part)?;
        let at = source.at(footer.properties.offset, part);
        at.require(bytes.len() >= PROPERTIES_BYTES_MIN, "length", "all fields")?;
        let word = |n: usize| u64_at(&bytes, CHECKSUM_BYTES + 8 * n);
        let (seq_min, seq_max) = (word(4), word(5));
        let seqs_in_order = seq_min <= seq_max && seq_max <= SeqNo::MAX.get();
        at.require(seqs_in_order, "sequence numbers", "56 bits, in order")?;
        // Whether this build has its codec is asked of each block: not all need be compressed.
        let Some(compression) = Compression::from_code(bytes[91]) else {
            let text = format!("{}: compression {}, which a newer esker reads", at.file, bytes[91]);
            return Err(Error::new(ErrorKind::Unsupported, text));
        };
        let properties = Self {
            entries: word(0),
            tombstones: word(1),
            keys: word(2),
            data_blocks: word(3),
            seq_min: SeqNo::new(seq_min),
            seq_max: SeqNo::new(seq_max),
            key_bytes: word(6),
            value_bytes: word(7),
            image_bytes: word(8),
            filter: FilterShape { lines: u32_at(&bytes, 84), probes: bytes[90] },
            settings: TableSettings {
                block_bytes: u32_at(&bytes, 80) as usize,
                filter_bits_per_key: u16_at(&bytes, 88).into(),
                compression,
            },
            range: read_range(&bytes, at)?,
        };
        properties.check(footer, at)?;
        Ok(properties)
    }

    fn check(&self, footer: &Footer, at: At) -> Result<()> {
        let counts = self.entries >= self.keys
            && self.entries >= self.tombstones
            && self.keys > 0
            && self.data_blocks > 0;
        at.require(counts, "counts", "entries, and no fewer than keys or tombstones")?;
        let unpacked = match self.settings.compression {
            Compression::None => self.image_bytes == footer.data.bytes,
            _ => self.image_bytes >= footer.data.bytes,
        };
        at.require(unpacked, "bytes without compression", "those of the blocks at least")?;
        let probes_max = u32::from(self.filter.probes) <= LINE_BITS_MAX;
        at.require(probes_max, "probes of the filter", "at most 8")?;
        at.expect("length of the filter", self.filter.bytes(), footer.filter.bytes)
    }
}

/// The smallest and the largest key, the last fields of the properties.
fn read_range(bytes: &[u8], at: At) -> Result<KeyRange> {
    let (lo_bytes, hi_bytes) = (u16_at(bytes, 92).into(), u16_at(bytes, 94).into());
    let keys = &bytes[PROPERTIES_BYTES_MIN..];
    let Some((lo, rest)) = keys.split_at_checked(lo_bytes) else {
        return Err(at.corrupt("smallest key", format!("{lo_bytes} bytes"), keys.len()));
    };
    let Some((hi, padding)) = rest.split_at_checked(hi_bytes) else {
        return Err(at.corrupt("largest key", format!("{hi_bytes} bytes"), rest.len()));
    };
    at.require_zero(padding, "padding")?;
    at.require(lo <= hi, "keys", "the smallest not after the largest")?;
    Ok(KeyRange::new(lo, hi))
}

const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);

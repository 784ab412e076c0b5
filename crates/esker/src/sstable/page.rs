//! Pieces of a table file: where they lie, how they are checked, how they are read.
//!
//! Blocks, index pages, filter pages and properties all begin with eight bytes of checksum over
//! the rest of the piece, bound to store, table and offset. So each can be read, believed and
//! dropped from memory alone, and one that lies at the wrong place is never believed.

use std::fmt;

use crate::base::error::{Error, Result};
use crate::base::hash::page_checksum;
use crate::base::key::TableId;
use crate::base::names::FileName;
use crate::vfs::ReadFile;

/// Every piece begins at a multiple of this: a cache line, and a line of the filter.
pub(super) const ALIGN: usize = 64;

/// Index and filter are cut into pieces of this size.
pub const PAGE_BYTES: usize = 8 << 10;

/// Bytes of the checksum at the front of a piece.
pub(super) const CHECKSUM_BYTES: usize = 8;

/// What the checksums of a table are bound to, besides the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) store_id: u64,
    pub(super) table: TableId,
}

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl Span {
    /// From `start` to `end`, which is not before it.
    pub(super) fn between(start: u64, end: u64) -> Self {
        Self { offset: start, bytes: end - start }
    }

    /// Where it ends. Spans are made of offsets in a file, so this does not overflow for those
    /// that were checked; for others it stops at the top.
    pub(super) fn end(self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.offset, self.end())
    }
}

/// Zero bytes up to the next multiple of [`ALIGN`], counted from `start`.
pub(super) fn pad(out: &mut Vec<u8>, start: usize) {
    out.resize(start + (out.len() - start).next_multiple_of(ALIGN), 0);
}

/// Puts the checksum at the front of a finished piece that will lie at `offset`.
pub(super) fn seal(piece: &mut [u8], place: Place, offset: u64) {
    let (front, rest) = piece.split_at_mut(CHECKSUM_BYTES);
    front
        .copy_from_slice(&page_checksum(rest, place.store_id, place.table.0, offset).to_le_bytes());
}

/// A piece being looked at: says where damage is.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) file: FileName,
    pub(super) offset: u64,
    pub(super) part: &'static str,
}

impl At {
    /// Damage in this piece: `what` of it is not as expected.
    pub(super) fn corrupt(
        &self,
        what: &str,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Error {
        self.corrupt_part(what, &expected, &found)
    }

    /// The same for all types of expected and found: many callers, one copy.
    fn corrupt_part(
        &self,
        what: &str,
        expected: &dyn fmt::Display,
        found: &dyn fmt::Display,
    ) -> Error {
        Error::corrupt(self.file, self.offset, format!("{} {what}", self.part), expected, found)
    }

    /// `Ok` if `found` is as expected.
    pub(super) fn expect<T: PartialEq + fmt::Display>(
        &self,
        what: &str,
        expected: T,
        found: T,
    ) -> Result<()> {
        if expected == found { Ok(()) } else { Err(self.corrupt(what, expected, found)) }
    }

    /// `Ok` if `holds`, else damage.
    pub(super) fn require(&self, holds: bool, what: &str, expected: &str) -> Result<()> {
        if holds { Ok(()) } else { Err(self.corrupt(what, expected, "otherwise")) }
    }

    /// `Ok` if all of `padding` is zero.
    pub(super) fn require_zero(&self, padding: &[u8], what: &str) -> Result<()> {
        let bits = padding.iter().fold(0, |bits, byte| bits | byte);
        if bits == 0 {
            return Ok(());
        }
        Err(self.corrupt(what, "zero bytes", format_args!("bits {bits:#04x}")))
    }
}

/// A kind of piece: what its bytes mean.
pub(super) trait Piece {
    /// What errors call it.
    const PART: &'static str;

    /// Checks the structure of bytes whose checksum was right. What passes can be used without a
    /// panic, however hostile it is.
    fn check(bytes: &[u8], at: At) -> Result<()>;
}

/// A table's file and what its checksums are bound to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) file: &'a dyn ReadFile,
    pub(super) place: Place,
}

impl Source<'_> {
    pub(super) fn at(&self, offset: u64, part: &'static str) -> At {
        At { file: self.file.name(), offset, part }
    }

    /// Reads a piece and checks its checksum. Allocates no more than the file is long.
    pub(super) fn read(&self, span: Span, part: &'static str) -> Result<Vec<u8>> {
        self.check_span(span, part)?;
        let mut bytes = vec![0; span.bytes as usize];
        self.read_into(&mut bytes, span.offset, part)?;
        Ok(bytes)
    }

    /// Reads a piece of this kind and checks all of it.
    pub(super) fn load<P: Piece>(&self, span: Span) -> Result<Vec<u8>> {
        let bytes = self.read(span, P::PART)?;
        P::check(&bytes, self.at(span.offset, P::PART))?;
        Ok(bytes)
    }

    /// `Ok` if there can be a piece at this place.
    pub(super) fn check_span(&self, span: Span, part: &'static str) -> Result<()> {
        if span.end() > self.file.len() || span.bytes < CHECKSUM_BYTES as u64 {
            let inside = format!("a piece of 0..{}", self.file.len());
            return Err(self.at(span.offset, part).corrupt("place", inside, span));
        }
        Ok(())
    }

    /// Reads a piece as long as `out` and checks its checksum.
    pub(super) fn read_into(&self, out: &mut [u8], offset: u64, part: &'static str) -> Result<()> {
        self.file.read_exact_at(out, offset)?;
        check(out, self.place, self.at(offset, part))
    }
}

/// `Ok` if the checksum at the front of `piece` is that of the rest, at this place.
pub(super) fn check(piece: &[u8], place: Place, at: At) -> Result<()> {
    let (front, rest) = piece.split_at(CHECKSUM_BYTES);
    let expected = page_checksum(rest, place.store_id, place.table.0, at.offset);
    let found = u64_at(front, 0);
    if expected == found {
        return Ok(());
    }
    Err(at.corrupt("checksum", format_args!("{expected:#018x}"), format_args!("{found:#018x}")))
}

/// The little-endian `u16` at `offset`, which the caller has checked to lie inside.
#[inline]
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, offset))
}

/// The little-endian `u32` at `offset`, which the caller has checked to lie inside.
#[inline]
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, offset))
}

/// The little-endian `u64` at `offset`, which the caller has checked to lie inside.
#[inline]
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, offset))
}

#[inline]
fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes[offset..offset + N].try_into().expect("a slice of N bytes")
}

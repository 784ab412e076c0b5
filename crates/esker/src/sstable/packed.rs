//! Blocks as a table with compression stores them, and their way back.
//!
//! The header of a block is never compressed, what follows it may be:
//!
//! ```text
//! image   [header, 40 bytes][prefix, fingerprints, heads, ..., values][0 to a line]
//!              |                             | compressed
//! stored  [header, 40 bytes][ ...                   ][0 to a line]
//! ```
//!
//! A block is stored compressed if that saves an eighth of its lines, else as its image. Loading
//! makes the image again, byte for byte what is stored without compression but for the checksum:
//! so whoever reads blocks does not know of compression. How long the image is says the header,
//! under the checksum and before any memory is asked for; why the index does not say it too is in
//! docs/decisions/0007-compression.md.

use super::block::BlockRef;
use super::block_layout::{HEADER_BYTES, Header};
use super::compression::{Compression, Encoder, decode};
use super::page::{ALIGN, At, Piece, Source, Span, pad};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// No image is longer: that of one entry as large as can be, or of more in what may be asked for.
const IMAGE_BYTES_MAX: usize = KEY_BYTES_MAX + VALUE_BYTES_MAX + 4 * ALIGN;

/// Where the compression and the two lengths stand in a header.
const IMAGE_BYTES_AT: usize = 8;
const STORED_BYTES_AT: usize = 12;
const COMPRESSION_AT: usize = 22;

/// Compresses the blocks of one table.
pub(super) struct Packer {
    compression: Compression,
    encoder: Encoder,
    buffer: Vec<u8>,
}

impl Packer {
    pub(super) fn new(compression: Compression) -> Self {
        Self { compression, encoder: Encoder::new(compression), buffer: Vec::new() }
    }

    /// Compresses the padded image that begins at `start` and ends `out`, if that is worth it.
    pub(super) fn pack(&mut self, out: &mut Vec<u8>, start: usize) {
        let header = Header::read(&out[start..]);
        let body = &out[start + HEADER_BYTES..start + header.image_bytes as usize];
        let Some(packed) = self.encoder.encode(body, &mut self.buffer) else { return };
        let stored_bytes = HEADER_BYTES + packed.len();
        if !is_worth_it(out.len() - start, stored_bytes.next_multiple_of(ALIGN)) {
            return;
        }
        out.truncate(start + HEADER_BYTES);
        out[start + COMPRESSION_AT] = self.compression.code();
        put_u32(&mut out[start..], STORED_BYTES_AT, stored_bytes as u32);
        out.extend_from_slice(packed);
        pad(out, start);
    }
}

/// Whether so many bytes fewer are worth the time that they cost: an eighth. Whole lines count.
fn is_worth_it(image_bytes: usize, stored_bytes: usize) -> bool {
    stored_bytes <= image_bytes - image_bytes / 8
}

/// A block of a table with compression, under its checksum.
#[derive(Debug)]
pub(super) struct Packed<'s> {
    stored: &'s [u8],
    header: Header,
    compression: Compression,
}

impl<'s> Packed<'s> {
    /// Looks at the front of a block whose checksum was right.
    pub(super) fn read(stored: &'s [u8], at: At) -> Result<Self> {
        at.require(stored.len() >= HEADER_BYTES, "length", "a header at least")?;
        let header = Header::read(stored);
        let compression = known(header.compression, at)?;
        let (image_bytes, stored_bytes) =
            (header.image_bytes as usize, header.stored_bytes as usize);
        if compression == Compression::None {
            // The rest is checked where all images are.
            return Ok(Self { stored, header, compression });
        }
        at.require(
            (HEADER_BYTES..=stored.len()).contains(&stored_bytes),
            "stored length",
            "a header at least, and at most what the index says",
        )?;
        at.require_zero(&stored[stored_bytes..], "padding")?;
        at.require(
            image_bytes > stored_bytes && image_bytes <= IMAGE_BYTES_MAX,
            "length",
            "more than what is stored, and at most that of one entry",
        )?;
        Ok(Self { stored, header, compression })
    }

    /// How long its image is, in whole lines.
    pub(super) fn image_bytes(&self) -> usize {
        match self.compression {
            Compression::None => self.stored.len(),
            _ => (self.header.image_bytes as usize).next_multiple_of(ALIGN),
        }
    }

    /// How it is compressed.
    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// Fills `out`, as long as the image, and checks all of it.
    pub(super) fn unpack(&self, out: &mut [u8], at: At) -> Result<()> {
        if self.compression == Compression::None {
            out.copy_from_slice(self.stored);
            return BlockRef::check(out, at);
        }
        let (front, body) = out.split_at_mut(HEADER_BYTES);
        let (body, padding) = body.split_at_mut(self.header.image_bytes as usize - HEADER_BYTES);
        front.copy_from_slice(&self.stored[..HEADER_BYTES]);
        front[COMPRESSION_AT] = Compression::None.code();
        front.copy_within(IMAGE_BYTES_AT..IMAGE_BYTES_AT + 4, STORED_BYTES_AT);
        padding.fill(0);
        let packed = &self.stored[HEADER_BYTES..self.header.stored_bytes as usize];
        decode(self.compression, packed, body).map_err(|found| {
            let expected = format!("{} bytes of {}", body.len(), self.compression.name());
            at.corrupt("compressed part", expected, found)
        })?;
        BlockRef::check(out, at)
    }
}

/// Reads a block of a table with or without compression and checks all of it; returns the image
/// and how it was compressed.
pub(super) fn load_image(source: Source<'_>, span: Span) -> Result<(Vec<u8>, Compression)> {
    let stored = source.read(span, BlockRef::PART)?;
    let at = source.at(span.offset, BlockRef::PART);
    let packed = Packed::read(&stored, at)?;
    let compression = packed.compression();
    if compression == Compression::None {
        BlockRef::check(&stored, at)?;
        return Ok((stored, compression));
    }
    let mut image = vec![0; packed.image_bytes()];
    packed.unpack(&mut image, at)?;
    Ok((image, compression))
}

/// The compression of this number, if this build can undo it.
fn known(code: u8, at: At) -> Result<Compression> {
    let (file, offset) = (at.file, at.offset);
    let text = match Compression::from_code(code) {
        Some(compression) if compression.is_built_in() => return Ok(compression),
        Some(compression) => {
            let name = compression.name();
            format!(
                "{file} at offset {offset}: a block compressed with {name}, which this build cannot \
                 read: build esker with its feature `{name}`"
            )
        }
        None => format!(
            "{file} at offset {offset}: a block with compression {code}, which a newer esker reads"
        ),
    };
    Err(Error::new(ErrorKind::Unsupported, text))
}

fn put_u32(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

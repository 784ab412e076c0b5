//! What can still be read of a damaged table: all blocks that are whole, found without the index.
//!
//! Blocks lie end to end and say how long they are, under a checksum that is bound to their place.
//! So a walk from the front needs nothing else: where no block stands, the next one begins at one
//! of the lines that follow. What was passed over is told as the keys between its neighbours.
//!
//! ```text
//! [block a..c][block d..f][  damage   ][block m..p] ...
//!                          ^ no block at this line, at the next, ..., until m: f to m are lost
//! ```
//!
//! Every line of the damage is tried with the length that its bytes happen to say; so that hostile
//! bytes cannot make this slow, all tries together hash some lengths of the file at most.

use std::sync::Arc;

use super::TableSummary;
use super::block::{Block, BlockRef};
use super::block_layout::{HEADER_BYTES, Header};
use super::footer::Footer;
use super::packed::load_image;
use super::page::{ALIGN, Piece, Place, Source, Span};
use super::reader::read_ends;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::key::{KeyspaceId, TableId, Tag, compare};
use crate::vfs::ReadFile;

/// Tries where no block stands may hash so many lengths of the file.
const FILE_LENGTHS_TRIED_MAX: u64 = 16;

/// After a read that the device refused the search goes on at the next multiple of this.
const UNREADABLE_BYTES: u64 = 4 << 10;

/// Walks the readable entries of a table file, in order.
pub struct SalvageCursor {
    file: Arc<dyn ReadFile>,
    place: Place,
    summary: Option<TableSummary>,
    /// Where the next block should begin, and where the last one ends.
    at: u64,
    end: u64,
    /// What tries may still hash.
    tries_bytes: u64,
    block: Option<Block<Vec<u8>>>,
    entry: usize,
    key: Vec<u8>,
    /// The last entry of the last block.
    last: Option<(Vec<u8>, Tag)>,
    entries: u64,
    lost: Vec<LostPiece>,
    /// Damage that is passed over just now.
    hole: Option<Error>,
}

/// A part of a table that no entry could be read from.
#[derive(Clone, Debug)]
pub struct LostPiece {
    /// What is wrong at its beginning.
    pub error: Error,
    /// The last key in front of it, if there is one.
    pub after: Option<Vec<u8>>,
    /// The first key behind it, if there is one.
    pub before: Option<Vec<u8>>,
}

/// The store and the keyspace that a table file says it belongs to.
pub fn read_owner(file: &dyn ReadFile) -> Result<(u64, KeyspaceId)> {
    let footer = Footer::read(file)?;
    Ok((footer.place.store_id, footer.keyspace))
}

impl SalvageCursor {
    /// On the first entry of the file of table `id`, if it has one that can be read.
    ///
    /// # Errors
    /// `Unsupported` alone: a newer version, or a codec that is not built in, lost nothing.
    pub fn new(file: Arc<dyn ReadFile>, store_id: u64, id: TableId) -> Result<Self> {
        let place = Place { store_id, table: id };
        let (mut summary, mut end, mut lost) = (None, file.len(), Vec::new());
        let read = || read_ends(&*file, place);
        match read().or_else(|_| read()) {
            Ok((footer, properties)) => {
                end = footer.data.end();
                summary = Some(properties.summary(&footer));
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
            Err(error) => lost.push(LostPiece { error, after: None, before: None }),
        }
        let mut cursor = Self {
            tries_bytes: FILE_LENGTHS_TRIED_MAX.saturating_mul(file.len()),
            file,
            place,
            summary,
            at: 0,
            end,
            block: None,
            entry: 0,
            key: Vec::new(),
            last: None,
            entries: 0,
            lost,
            hole: None,
        };
        cursor.next_block()?;
        Ok(cursor)
    }

    /// Whether it stands on an entry.
    pub fn valid(&self) -> bool {
        self.block.is_some()
    }

    /// To the next entry that can be read.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn next(&mut self) -> Result<()> {
        let Some(block) = &self.block else { return Ok(()) };
        if self.entry + 1 < block.entries() {
            self.stand_on(self.entry + 1);
            return Ok(());
        }
        self.last = Some((self.key.clone(), self.tag()));
        self.next_block()
    }

    /// The entry's key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The entry's tag.
    pub fn tag(&self) -> Tag {
        self.block().tag(self.entry)
    }

    /// The entry's value.
    pub fn value(&self) -> &[u8] {
        self.block().value(self.entry)
    }

    /// What the table says of itself, if that can be read.
    pub fn summary(&self) -> Option<&TableSummary> {
        self.summary.as_ref()
    }

    /// How many entries it has stood on.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// What was passed over so far.
    pub fn lost(&self) -> &[LostPiece] {
        &self.lost
    }

    fn block(&self) -> &Block<Vec<u8>> {
        self.block.as_ref().expect("the cursor stands on an entry")
    }

    fn stand_on(&mut self, entry: usize) {
        let block = self.block.as_ref().expect("the cursor stands on an entry");
        self.key.clear();
        block.append_key(entry, &mut self.key);
        self.entry = entry;
        self.entries += 1;
    }

    fn next_block(&mut self) -> Result<()> {
        self.block = None;
        while self.at < self.end {
            let load = || self.load(self.at);
            // Each line of damage is tried once; but not all that fails once is damage.
            let loaded = load().or_else(|error| match &self.hole {
                Some(_) if error.kind() != ErrorKind::Io => Err(error),
                _ => load(),
            });
            match loaded {
                Ok((block, bytes)) => {
                    self.at += bytes;
                    self.block = Some(block);
                    self.stand_on(0);
                    self.end_hole(Some(self.key.clone()));
                    return Ok(());
                }
                // Where the blocks end unknown, it may be a page of the index.
                Err(error) if error.kind() == ErrorKind::Unsupported && self.summary.is_some() => {
                    return Err(error);
                }
                Err(error) => self.pass_over(error),
            }
        }
        self.end_hole(None);
        Ok(())
    }

    /// The block at `offset`, and how many bytes of the file it takes.
    fn load(&self, offset: u64) -> Result<(Block<Vec<u8>>, u64)> {
        let source = Source { file: &*self.file, place: self.place };
        let at = source.at(offset, BlockRef::PART);
        let left_bytes = self.end - offset;
        at.require(left_bytes >= HEADER_BYTES as u64, "header", "40 bytes")?;
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut header, offset)?;
        let bytes = u64::from(Header::read(&header).stored_bytes).next_multiple_of(ALIGN as u64);
        let fits = (HEADER_BYTES as u64..=left_bytes).contains(&bytes);
        at.require(fits, "stored length", "a header at least, and inside the table")?;
        let (image, _) = load_image(source, Span { offset, bytes })?;
        let block = Block::trusted(image);
        if let Some((key, tag)) = &self.last {
            let mut first = Vec::new();
            block.append_key(0, &mut first);
            let ascends = compare((key, *tag), (&first, block.tag(0))).is_lt();
            at.require(ascends, "order", "entries after those of the block before")?;
        }
        Ok((block, bytes))
    }

    /// No block stands here: looks at the next line.
    fn pass_over(&mut self, error: Error) {
        let tried_bytes = match error.kind() {
            ErrorKind::Io => UNREADABLE_BYTES - self.at % UNREADABLE_BYTES,
            _ => ALIGN as u64,
        };
        let hashed = error.corruption().is_some_and(|place| place.part.ends_with("checksum"));
        let cost = if hashed { self.length_at(self.at) } else { ALIGN as u64 };
        self.hole.get_or_insert(error);
        self.at = self.at.saturating_add(tried_bytes);
        self.tries_bytes = self.tries_bytes.saturating_sub(cost);
        if self.tries_bytes == 0 {
            self.at = self.end;
        }
    }

    /// How long the bytes at `offset` say that they are.
    fn length_at(&self, offset: u64) -> u64 {
        let mut header = [0; HEADER_BYTES];
        let read = self.file.read_exact_at(&mut header, offset);
        read.map_or(0, |()| u64::from(Header::read(&header).stored_bytes))
    }

    fn end_hole(&mut self, before: Option<Vec<u8>>) {
        let Some(error) = self.hole.take() else { return };
        let after = self.last.as_ref().map(|(key, _)| key.clone());
        self.lost.push(LostPiece { error, after, before });
    }
}

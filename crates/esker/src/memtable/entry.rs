//! Entries: one version of one key each, written once into the arena and never changed.
//!
//! ```text
//! 0   u64  tag                       seqno << 8 | kind
//! 8   u32  value length
//! 12  u16  key length
//! 14  u8   1 if a chain follows      an older version of the key exists
//! 16  ptr older, ptr skip, u64 depth only with a chain: 24 bytes
//! ..  key, value
//! ```
//!
//! The versions of a key form a chain, newest first. `older` leads to the next one and `skip` some
//! way ahead, as in Myers' random-access lists: a version at depth `d` (so many are older) skips
//! to where two jumps of equal length that start at `older` end, and to `older` itself if the two
//! differ. The depths 7 6 5 4 3 2 1 skip to 0 3 4 3 0 1 0, so that from any version any older one
//! is O(log depth) steps away: take the skip if it does not lead too far, else `older`. Both links
//! are set before the entry is published, so readers need no care.

use std::marker::PhantomData;
use std::mem::size_of;
use std::ptr::NonNull;

use super::arena::Arena;
use crate::base::key::{SeqNo, Tag};
use crate::base::simd::prefetch_address;

/// Alignment of entries.
pub(super) const ENTRY_ALIGN: usize = align_of::<Header>();

#[repr(C)]
pub(super) struct Header {
    tag: u64,
    value_bytes: u32,
    key_bytes: u16,
    /// 1 if a [`Chain`] follows.
    chained: u8,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Chain {
    older: EntryPtr,
    skip: EntryPtr,
    /// How many versions are older.
    depth: u64,
}

const _: () = assert!(size_of::<Header>() == 16 && align_of::<Chain>() <= ENTRY_ALIGN);

/// Where an entry lies. What makes it usable is the memtable that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryPtr(NonNull<Header>);

// SAFETY: an entry is complete before its address is shared and never changes afterwards, so any
// thread may read it. That its memory is still there is what callers of `get` promise.
unsafe impl Send for EntryPtr {}
// SAFETY: as above.
unsafe impl Sync for EntryPtr {}

impl EntryPtr {
    /// From the raw form that nodes store.
    pub(super) fn from_raw(raw: *mut Header) -> Option<Self> {
        NonNull::new(raw).map(Self)
    }

    /// The raw form.
    pub(super) fn as_raw(self) -> *mut Header {
        self.0.as_ptr()
    }

    /// The entry itself.
    ///
    /// # Safety
    ///
    /// The pointer came from [`write`], and the arena that was given to it outlives `'a`.
    pub(super) unsafe fn get<'a>(self) -> Entry<'a> {
        Entry { at: self, memtable: PhantomData }
    }
}

/// A published entry, borrowed from the memtable that holds it.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    at: EntryPtr,
    memtable: PhantomData<&'a Header>,
}

impl<'a> Entry<'a> {
    pub(super) fn ptr(self) -> EntryPtr {
        self.at
    }

    /// Asks for the first two cache lines of the entry.
    pub(super) fn prefetch(self) {
        let first: *const Header = self.at.as_raw();
        prefetch_address(first);
        prefetch_address(first.wrapping_byte_add(64));
    }

    #[inline]
    pub(super) fn tag(self) -> Tag {
        Tag::from_u64(self.header().tag).expect("only tags with a kind are stored")
    }

    pub(super) fn key(self) -> &'a [u8] {
        let header = self.header();
        self.bytes(self.key_offset(), usize::from(header.key_bytes))
    }

    pub(super) fn value(self) -> &'a [u8] {
        let header = self.header();
        let offset = self.key_offset() + usize::from(header.key_bytes);
        self.bytes(offset, header.value_bytes as usize)
    }

    /// The next older version of the key.
    pub(super) fn older(self) -> Option<Self> {
        self.chain().map(|chain| self.same_memtable(chain.older))
    }

    /// The newest version, at or after this one in the chain, that a read at `seq` sees.
    pub(super) fn version_at(self, seq: SeqNo) -> Option<Self> {
        let limit = Tag::search(seq);
        match self.oldest_where(|tag| tag > limit) {
            None => Some(self),
            Some(unseen) => unseen.older(),
        }
    }

    /// The oldest version, at or after this one in the chain, whose tag is `newer`; `None` if
    /// this one's is not. `newer` must hold for a beginning of the chain and for nothing behind
    /// it. O(log versions).
    pub(super) fn oldest_where(self, newer: impl Fn(Tag) -> bool) -> Option<Self> {
        if !newer(self.tag()) {
            return None;
        }
        let mut at = self;
        while let Some(chain) = at.chain() {
            let (skip, older) = (at.same_memtable(chain.skip), at.same_memtable(chain.older));
            if newer(skip.tag()) {
                at = skip;
            } else if newer(older.tag()) {
                at = older;
            } else {
                break;
            }
        }
        Some(at)
    }

    /// How many older versions there are.
    pub(super) fn depth(self) -> u64 {
        self.chain().map_or(0, |chain| chain.depth)
    }

    /// Where the skip link leads; the oldest version skips to itself.
    pub(super) fn skip(self) -> Self {
        self.chain().map_or(self, |chain| self.same_memtable(chain.skip))
    }

    fn same_memtable(self, at: EntryPtr) -> Self {
        Self { at, memtable: PhantomData }
    }

    fn header(self) -> &'a Header {
        // SAFETY: `EntryPtr::get` had a promise that the entry is there for `'a`, complete and
        // unchanging; it is aligned because the arena is.
        unsafe { self.at.0.as_ref() }
    }

    fn chain(self) -> Option<Chain> {
        if self.header().chained == 0 {
            return None;
        }
        // SAFETY: a chain follows the header of an entry that says so; `write` put it there.
        Some(unsafe { self.at.0.add(1).cast::<Chain>().read() })
    }

    fn key_offset(self) -> usize {
        size_of::<Header>() + usize::from(self.header().chained) * size_of::<Chain>()
    }

    fn bytes(self, offset: usize, len: usize) -> &'a [u8] {
        // SAFETY: header, chain, key and value lie in one piece of the arena with the lengths
        // that the header states, complete and unchanging for `'a`.
        unsafe {
            let start = self.at.0.cast::<u8>().add(offset);
            std::slice::from_raw_parts(start.as_ptr(), len)
        }
    }
}

/// Writes a version of `key` in front of `older`, the newest one so far. The lengths were checked.
pub(super) fn write(
    arena: &mut Arena,
    key: &[u8],
    tag: Tag,
    value: &[u8],
    older: Option<Entry<'_>>,
) -> EntryPtr {
    let chain_bytes = if older.is_some() { size_of::<Chain>() } else { 0 };
    let key_offset = size_of::<Header>() + chain_bytes;
    let piece = arena.alloc(key_offset + key.len() + value.len());
    let header = Header {
        tag: tag.to_u64(),
        value_bytes: u32::try_from(value.len()).expect("a value within its limit"),
        key_bytes: u16::try_from(key.len()).expect("a key within its limit"),
        chained: u8::from(older.is_some()),
    };
    // SAFETY: the piece is ours alone, aligned for headers and chains, and as long as header,
    // chain, key and value together; neither key nor value can lie in it, because it is fresh.
    unsafe {
        piece.cast::<Header>().write(header);
        if let Some(older) = older {
            piece.add(size_of::<Header>()).cast::<Chain>().write(chain_before(older));
        }
        let body = piece.add(key_offset).as_ptr();
        body.copy_from_nonoverlapping(key.as_ptr(), key.len());
        body.add(key.len()).copy_from_nonoverlapping(value.as_ptr(), value.len());
    }
    EntryPtr(piece.cast())
}

/// The links of a version whose next older one is `older`.
fn chain_before(older: Entry<'_>) -> Chain {
    let first_jump = older.skip();
    let second_jump = first_jump.skip();
    let equally_long =
        older.depth() - first_jump.depth() == first_jump.depth() - second_jump.depth();
    let skip = if equally_long { second_jump } else { older };
    Chain { older: older.at, skip: skip.at, depth: older.depth() + 1 }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use super::*;
    use crate::base::key::Kind;
    use crate::memtable::chunk::ChunkPool;

    fn arena() -> Arena {
        Arena::new(&Arc::new(ChunkPool::new(1024, 0)), 0, ENTRY_ALIGN)
    }

    fn put(seq: u64) -> Tag {
        Tag::new(SeqNo::new(seq), Kind::Put)
    }

    /// `versions` versions of one key with the tags 0, 1, ...: the newest.
    fn chain(arena: &mut Arena, versions: u64) -> EntryPtr {
        let mut newest: Option<EntryPtr> = None;
        for seq in 0..versions {
            // SAFETY: the arena outlives this function, as its caller holds it.
            let older = newest.map(|ptr| unsafe { ptr.get() });
            newest = Some(write(arena, b"hot", put(seq), &seq.to_le_bytes(), older));
        }
        newest.expect("at least one version")
    }

    #[test]
    fn an_entry_reads_as_it_was_written() {
        let mut arena = arena();
        for (key, value) in [(&b""[..], &b""[..]), (b"k", b""), (b"", b"v"), (b"key", &[7; 3000])] {
            let ptr = write(&mut arena, key, put(3), value, None);
            // SAFETY: the arena lives to the end of the test.
            let entry = unsafe { ptr.get() };
            assert_eq!((entry.key(), entry.tag(), entry.value()), (key, put(3), value));
            assert!(entry.older().is_none());
        }
    }

    #[test]
    fn skips_are_those_of_the_worked_example() {
        let mut arena = arena();
        // SAFETY: the arena lives to the end of the test.
        let mut at = unsafe { chain(&mut arena, 8).get() };
        let mut skips = Vec::new();
        while let Some(older) = at.older() {
            skips.push(at.skip().depth());
            at = older;
        }
        assert_eq!(skips, [0, 3, 4, 3, 0, 1, 0]);
    }

    #[test]
    fn m4_any_version_is_logarithmically_many_steps_away() {
        let versions = 100_000;
        let mut arena = arena();
        // SAFETY: the arena lives to the end of the test.
        let newest = unsafe { chain(&mut arena, versions).get() };
        let log2 = u64::from(u64::BITS - versions.leading_zeros());
        for wanted in (0..versions).step_by(997).chain([0, 1, versions - 1]) {
            let questions = Cell::new(0);
            let found = newest.oldest_where(|tag| {
                questions.set(questions.get() + 1);
                tag >= put(wanted)
            });
            assert_eq!(found.map(Entry::tag), Some(put(wanted)));
            assert!(questions.get() <= 6 * log2, "{} questions for {wanted}", questions.get());
        }
        assert!(newest.oldest_where(|tag| tag >= put(versions)).is_none());
    }
}

//! Keys, sequence numbers, kinds, and the one order of entries.
//!
//! An *entry* is a user key, a [`Tag`] (sequence number and kind) and a value. Entries are
//! ordered by user key ascending (bytes compared as unsigned), then by tag descending, so the
//! newest version of a key comes first:
//!
//! ```text
//! a#9,put  <  a#4,delete  <  a#1,put  <  b#7,put
//! ```
//!
//! No two entries of a keyspace share key and sequence number except inside one batch, where the
//! last operation on a key wins and the earlier ones get lower sequence numbers. So the order is
//! total: every operation of a batch takes a sequence number of its own.

use std::cmp::Ordering;
use std::fmt;

/// The position of a commit in the order of commits: 56 bits, 0 is before every write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SeqNo(u64);

impl SeqNo {
    /// Before every write.
    pub const ZERO: Self = Self(0);
    /// After every possible write: a read at this number sees everything.
    pub const MAX: Self = Self((1 << 56) - 1);
    /// As many numbers are before it as behind.
    pub const HALF: Self = Self(1 << 55);

    /// The sequence number `n`; numbers over 56 bits are a bug of the caller.
    #[inline]
    pub fn new(n: u64) -> Self {
        assert!(n <= Self::MAX.0, "sequence number {n} needs more than 56 bits");
        Self(n)
    }

    /// The number itself.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The number before; zero stays zero.
    pub fn minus_one(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// `n` numbers later.
    #[inline]
    pub fn plus(self, n: u64) -> Self {
        Self::new(self.0 + n)
    }
}

impl fmt::Debug for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What an entry does to its key. The numbers are part of every format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The key has this value from here on.
    Put = 1,
    /// A tombstone: the key has no value from here on.
    Delete = 2,
}

impl Kind {
    /// Reserved numbers: merge, range delete, put with expiry, blob handle.
    pub const RESERVED: std::ops::RangeInclusive<u8> = 3..=6;

    /// The kind with this number; `None` for reserved and unknown ones.
    pub fn from_u8(n: u8) -> Option<Self> {
        match n {
            1 => Some(Self::Put),
            2 => Some(Self::Delete),
            _ => None,
        }
    }
}

/// Sequence number and kind in one word, `seqno << 8 | kind`, as all formats store it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u64);

impl Tag {
    /// The tag of an entry.
    pub fn new(seq: SeqNo, kind: Kind) -> Self {
        Self(seq.0 << 8 | kind as u64)
    }

    /// The tag that sorts before every tag of a sequence number at or below `seq`: where a
    /// search for the newest version visible at `seq` begins.
    pub fn search(seq: SeqNo) -> Self {
        Self(seq.0 << 8 | 0xff)
    }

    /// A stored word; `None` if its kind is not one that this build knows.
    pub fn from_u64(word: u64) -> Option<Self> {
        Kind::from_u8(word as u8).map(|_| Self(word))
    }

    /// The word to store.
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// The sequence number.
    pub fn seq(self) -> SeqNo {
        SeqNo(self.0 >> 8)
    }

    /// Whether the entry is a tombstone.
    pub fn is_delete(self) -> bool {
        self.0 as u8 == Kind::Delete as u8
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Kind::from_u8(self.0 as u8) {
            Some(Kind::Put) => write!(f, "#{},put", self.seq()),
            Some(Kind::Delete) => write!(f, "#{},delete", self.seq()),
            None => write!(f, "#{},search", self.seq()),
        }
    }
}

/// THE order: user key ascending, then tag descending (newest first).
///
/// It is total and antisymmetric because both parts are: byte-wise comparison of keys, and
/// reversed comparison of one integer.
pub fn compare(a: (&[u8], Tag), b: (&[u8], Tag)) -> Ordering {
    a.0.cmp(b.0).then_with(|| b.1.cmp(&a.1))
}

/// The first 8 bytes of `suffix` as a big-endian integer, padded with zeros: comparing heads
/// compares keys, and equal heads decide nothing.
///
/// `head(b"ab") < head(b"ab\x01")`, but `head(b"ab") == head(b"ab\0")`.
#[inline]
pub fn head(suffix: &[u8]) -> u64 {
    match suffix.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => short_head(suffix),
    }
}

/// Of less than 8 bytes: from loads that overlap, so that nothing is stored only to be loaded
/// again, which the processor waits for. Of `abcde`: `abcd` and `bcde` at their places, or'ed.
#[inline]
fn short_head(suffix: &[u8]) -> u64 {
    match (suffix.first_chunk::<4>(), suffix.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let word = |bytes: &[u8; 4]| u64::from(u32::from_be_bytes(*bytes));
            word(first) << 32 | word(last) << (64 - 8 * suffix.len())
        }
        _ => suffix.iter().rev().fold(0, |head, byte| head >> 8 | u64::from(*byte) << 56),
    }
}

/// How many leading bytes `a` and `b` share.
pub fn shared_prefix_bytes(a: &[u8], b: &[u8]) -> usize {
    let both = a.len().min(b.len());
    let (a, b) = (&a[..both], &b[..both]);
    let mut shared = 0;
    while let (Some(x), Some(y)) = (a[shared..].first_chunk(), b[shared..].first_chunk()) {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return shared + differ.trailing_zeros() as usize / 8;
        }
        shared += 8;
    }
    while shared < both && a[shared] == b[shared] {
        shared += 1;
    }
    shared
}

/// Identifies a keyspace for ever: numbers are never reused. The default keyspace is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId(pub u32);

impl KeyspaceId {
    /// The keyspace `default`, which always exists.
    pub const DEFAULT: Self = Self(0);
}

/// Identifies a table for ever; also the number in its file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u64);

/// Identifies a log segment for ever; also the number in its file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNo(pub u64);

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for SegmentNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_prefixes_are_as_long_as_byte_by_byte() {
        let long = b"0123456789abcdefghij";
        for len in 0..=long.len() {
            for at in 0..len {
                let mut other = long[..len].to_vec();
                other[at] ^= 0x40;
                assert_eq!(shared_prefix_bytes(&long[..len], &other), at, "{len} bytes");
            }
            assert_eq!(shared_prefix_bytes(&long[..len], long), len);
            assert_eq!(shared_prefix_bytes(long, &long[..len]), len);
        }
    }

    #[test]
    fn newest_version_of_a_key_comes_first() {
        let put = |seq| Tag::new(SeqNo::new(seq), Kind::Put);
        let order = [(&b"a"[..], put(9)), (b"a", put(4)), (b"a\0", put(1)), (b"b", put(7))];
        for pair in order.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
    }

    #[test]
    fn a_search_tag_lies_between_newer_and_visible_versions() {
        let search = Tag::search(SeqNo::new(5));
        assert!(Tag::new(SeqNo::new(6), Kind::Put) > search);
        assert!(Tag::new(SeqNo::new(5), Kind::Delete) < search);
    }

    #[test]
    fn a_head_is_the_first_bytes_padded_with_zeros() {
        let bytes = *b"\x81\0\xff3456789";
        for len in 0..=bytes.len() {
            let mut padded = [0; 8];
            padded[..len.min(8)].copy_from_slice(&bytes[..len.min(8)]);
            assert_eq!(head(&bytes[..len]), u64::from_be_bytes(padded), "{len} bytes");
        }
    }

    #[test]
    fn heads_order_as_keys_do_unless_equal() {
        let keys: [&[u8]; 6] = [b"", b"\0", b"a", b"ab", b"abcdefgh", b"abcdefgi"];
        for a in keys {
            for b in keys {
                if head(a) != head(b) {
                    assert_eq!(head(a).cmp(&head(b)), a.cmp(b));
                }
            }
        }
    }
}

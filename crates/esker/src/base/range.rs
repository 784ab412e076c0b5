//! Ranges of keys: the only place that knows inclusive from exclusive.
//!
//! A [`KeyRange`] has both ends inside: what a table, a set of tables or a merge covers.
//! [`Bounds`] are half open, `start` inside and `end` outside: what a scan is asked for. Every
//! kind of Rust range maps onto `Bounds`, because `k ++ 0x00` is the key right after `k`.

use std::ops::{Bound, RangeBounds};

/// All keys from `lo` to `hi`, both inside. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    lo: Vec<u8>,
    hi: Vec<u8>,
}

impl KeyRange {
    /// The range from `lo` to `hi`; `lo <= hi`.
    pub fn new(lo: impl Into<Vec<u8>>, hi: impl Into<Vec<u8>>) -> Self {
        let (lo, hi) = (lo.into(), hi.into());
        assert!(lo <= hi, "a key range has its ends in order");
        Self { lo, hi }
    }

    /// The smallest key.
    pub fn lo(&self) -> &[u8] {
        &self.lo
    }

    /// The largest key.
    pub fn hi(&self) -> &[u8] {
        &self.hi
    }

    /// Whether the two have a key in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.lo <= other.hi && other.lo <= self.hi
    }

    /// Whether `key` lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.lo.as_slice() <= key && key <= self.hi.as_slice()
    }

    /// The smallest range that covers both.
    pub fn cover(&self, other: &Self) -> Self {
        Self {
            lo: self.lo.as_slice().min(&other.lo).to_vec(),
            hi: self.hi.as_slice().max(&other.hi).to_vec(),
        }
    }

    /// The smallest range that covers all of `ranges`; `None` of none.
    pub fn cover_all<'a>(ranges: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        ranges.into_iter().fold(None, |all: Option<Self>, range| {
            Some(all.map_or_else(|| range.clone(), |all| all.cover(range)))
        })
    }
}

/// Keys at or above `start` and, if there is an `end`, below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The first key that may be inside.
    pub start: Vec<u8>,
    /// The first key that is outside again; `None`: all that follow are inside.
    pub end: Option<Vec<u8>>,
}

impl Bounds {
    /// All keys.
    pub fn all() -> Self {
        Self::default()
    }

    fn from_ends(start: Bound<&[u8]>, end: Bound<&[u8]>) -> Self {
        let start = match start {
            Bound::Unbounded => Vec::new(),
            Bound::Included(key) => key.to_vec(),
            Bound::Excluded(key) => right_after(key),
        };
        let end = match end {
            Bound::Unbounded => None,
            Bound::Included(key) => Some(right_after(key)),
            Bound::Excluded(key) => Some(key.to_vec()),
        };
        Self { start, end }
    }

    /// All keys that begin with `prefix`.
    pub fn from_prefix(prefix: &[u8]) -> Self {
        Self { start: prefix.to_vec(), end: right_after_prefix(prefix) }
    }

    /// The keys that lie in both.
    pub fn intersect(&self, other: &Self) -> Self {
        let end = match (&self.end, &other.end) {
            (Some(a), Some(b)) => Some(a.min(b).clone()),
            (a, b) => a.as_ref().or(b.as_ref()).cloned(),
        };
        Self { start: self.start.as_slice().max(&other.start).to_vec(), end }
    }

    /// Whether no key can lie inside.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether `key` lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && !self.is_past_end(key)
    }

    /// Whether `key` lies at or behind `end`.
    pub fn is_past_end(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_some_and(|end| end.as_slice() <= key)
    }

    /// Whether a range of keys has something inside.
    pub fn overlaps(&self, range: &KeyRange) -> bool {
        !self.is_empty() && self.start.as_slice() <= range.hi() && !self.is_past_end(range.lo())
    }
}

/// What may be given as a range of keys: every kind of Rust range over anything that is bytes
/// (`"a".."c"`, `b"a"..=b"c"`, `"a"..`, `..`), or a pair of [`Bound`]s.
///
/// Unlike [`std::ops::RangeBounds`] it lets `..` stand without naming a type.
pub trait KeyBounds {
    /// The same as a half-open range.
    #[doc(hidden)]
    fn to_bounds(&self) -> Bounds;
}

impl KeyBounds for std::ops::RangeFull {
    fn to_bounds(&self) -> Bounds {
        Bounds::all()
    }
}

macro_rules! key_bounds {
    ($($range:ty),*) => {$(
        impl<K: AsRef<[u8]>> KeyBounds for $range {
            fn to_bounds(&self) -> Bounds {
                let bytes = |bound: Bound<&K>| match bound {
                    Bound::Unbounded => Bound::Unbounded,
                    Bound::Included(key) => Bound::Included(key.as_ref().to_vec()),
                    Bound::Excluded(key) => Bound::Excluded(key.as_ref().to_vec()),
                };
                let (start, end) = (bytes(self.start_bound()), bytes(self.end_bound()));
                Bounds::from_ends(
                    start.as_ref().map(Vec::as_slice),
                    end.as_ref().map(Vec::as_slice),
                )
            }
        }
    )*};
}

key_bounds!(
    std::ops::Range<K>,
    std::ops::RangeInclusive<K>,
    std::ops::RangeFrom<K>,
    std::ops::RangeTo<K>,
    std::ops::RangeToInclusive<K>,
    (Bound<K>, Bound<K>)
);

/// The key right after `key`: nothing sorts between the two.
fn right_after(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// The first key after all that begin with `prefix`: its last byte below 0xff counted up, what
/// follows cut off. `None` if there is none (`""`, `"\xff"`): such a prefix ends with the keys.
fn right_after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_range_becomes_half_open() {
        let b = |start: &[u8], end: Option<&[u8]>| Bounds {
            start: start.to_vec(),
            end: end.map(<[u8]>::to_vec),
        };
        assert_eq!(("a".."c").to_bounds(), b(b"a", Some(b"c")));
        assert_eq!(("a"..="c").to_bounds(), b(b"a", Some(b"c\0")));
        assert_eq!(("a"..).to_bounds(), b(b"a", None));
        assert_eq!((..).to_bounds(), b(b"", None));
        let after = (Bound::Excluded("a"), Bound::<&str>::Unbounded);
        assert_eq!(after.to_bounds(), b(b"a\0", None));
    }

    #[test]
    fn a_prefix_ends_where_its_last_countable_byte_counts_up() {
        assert_eq!(Bounds::from_prefix(b"ab").end.as_deref(), Some(&b"ac"[..]));
        assert_eq!(Bounds::from_prefix(b"a\xff\xff").end.as_deref(), Some(&b"b"[..]));
        assert_eq!(Bounds::from_prefix(b"\xff").end, None);
        assert_eq!(Bounds::from_prefix(b"").end, None);
    }

    #[test]
    fn ranges_that_touch_in_one_key_overlap() {
        let range = |lo: &str, hi: &str| KeyRange::new(lo, hi);
        assert!(range("a", "c").overlaps(&range("c", "d")));
        assert!(!range("a", "b").overlaps(&range("c", "d")));
        assert!(("a".."c").to_bounds().overlaps(&range("b", "z")));
        assert!(!("a".."c").to_bounds().overlaps(&range("c", "z")));
        assert!(!("c".."a").to_bounds().overlaps(&range("a", "z")));
    }
}

//! What is checked of a data block's columns when it comes from disk: all that the accessors rely
//! on. A cold read waits for it, so what holds for nearly every block is seen by loops over whole
//! columns without a way out, of which compilers make vectors. Where such a loop says no, a slower
//! one looks at each entry, and says what is wrong if anything is.

use super::block::BlockRef;
use super::block_layout::{FIXED_SUFFIX, FIXED_VALUE, HEAD_SHIFT, HEADER_BYTES, WIDE};
use super::page::At;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::key::{Kind, Tag};
use crate::base::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Checks the columns of a block whose header is sound and whose columns lie inside it.
pub(super) fn check_columns(block: &BlockRef<'_>, at: At) -> Result<()> {
    check_padding(block, at)?;
    check_lengths(block, at)?;
    check_tags(block, at)?;
    check_order(block, at)
}

fn check_padding(block: &BlockRef<'_>, at: At) -> Result<()> {
    let layout = &block.layout;
    let prefix_end = HEADER_BYTES + block.shape.prefix_bytes;
    let fingerprints_end = layout.fingerprints + block.entries();
    at.require_zero(&block.image[prefix_end..layout.fingerprints], "padding")?;
    at.require_zero(&block.image[fingerprints_end..layout.heads], "padding")
}

/// Every key and value lies inside its column, and together they fill it.
fn check_lengths(block: &BlockRef<'_>, at: At) -> Result<()> {
    let shape = &block.shape;
    let columns = [
        (FIXED_SUFFIX, block.suffix_bytes, block.layout.key_offsets, shape.suffix_bytes),
        (FIXED_VALUE, block.value_bytes, block.layout.value_offsets, shape.value_bytes),
    ];
    for (fixed, each_bytes, column, total_bytes) in columns {
        if shape.has(fixed) {
            at.expect("length of a column", shape.entries * each_bytes, total_bytes)?;
        } else {
            let ascending = block.offsets_ascend(column);
            at.require(ascending, "offsets", "ascending from 0")?;
            let end = block.offsets(column, shape.entries - 1).end;
            at.expect("last offset", total_bytes, end)?;
        }
    }
    // Of most blocks all keys together are shorter than one may be, and all values.
    if shape.prefix_bytes + shape.suffix_bytes > KEY_BYTES_MAX {
        for n in 0..shape.entries {
            let key_bytes = shape.prefix_bytes + block.suffix(n).len();
            at.require(key_bytes <= KEY_BYTES_MAX, "key", "at most 65,535 bytes")?;
        }
    }
    if shape.value_bytes > VALUE_BYTES_MAX {
        for n in 0..shape.entries {
            at.require(block.value(n).len() <= VALUE_BYTES_MAX, "value", "at most 64 MiB")?;
        }
    }
    Ok(())
}

fn check_tags(block: &BlockRef<'_>, at: At) -> Result<()> {
    if block.are_all_puts() {
        return at.expect("tombstones", block.tombstones(), 0);
    }
    let mut found = 0;
    for n in 0..block.entries() {
        let word = block.tag_word(n);
        at.require(word >= block.tag_base, "tags", "at or over their base")?;
        match Tag::from_u64(word) {
            None if Kind::RESERVED.contains(&(word as u8)) => {
                let text = format!(
                    "{} at offset {}: an entry of kind {}, which this build does not have",
                    at.file, at.offset, word as u8
                );
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
            None => return Err(at.corrupt("kind", "1 (put) or 2 (delete)", word as u8)),
            Some(tag) if tag.is_delete() => {
                at.require(block.value_range(n).is_empty(), "tombstone", "no value")?;
                found += 1;
            }
            Some(_) => {}
        }
    }
    at.expect("tombstones", block.tombstones(), found)
}

/// Entries ascend, and the sampled heads are theirs.
fn check_order(block: &BlockRef<'_>, at: At) -> Result<()> {
    if let Some(heads_hold) = block.fixed_heads_ascend() {
        at.expect("distinct keys", true, block.is_distinct())?;
        return at.require(heads_hold, "sampled head", "those of the keys");
    }
    let mut distinct = true;
    let (mut last, mut last_head) = (block.suffix(0), block.suffix_head(0));
    for n in 1..block.entries() {
        let suffix = block.suffix(n);
        let suffix_head = block.suffix_head(n);
        // Nearly always the heads decide.
        if last_head >= suffix_head {
            let order = last.cmp(suffix);
            distinct &= order.is_ne();
            let order = order.then_with(|| block.tag_word(n).cmp(&block.tag_word(n - 1)));
            at.require(order.is_lt(), "order", "entries in ascending order")?;
        }
        (last, last_head) = (suffix, suffix_head);
    }
    at.expect("distinct keys", distinct, block.is_distinct())?;
    for group in 0..block.shape.heads() {
        let expected = block.suffix_head(group << HEAD_SHIFT);
        at.expect("sampled head", expected, block.head(group))?;
    }
    Ok(())
}

/// The loops over whole columns.
impl BlockRef<'_> {
    /// Whether the offsets of a column begin with 0 and never go down.
    fn offsets_ascend(&self, column: usize) -> bool {
        fn ascend<const N: usize>(column: &[u8], value: impl Fn([u8; N]) -> u32) -> bool {
            let (offsets, _) = column.as_chunks::<N>();
            let pairs = offsets.iter().zip(&offsets[1..]);
            let down = pairs.fold(false, |down, (a, b)| down | (value(*a) > value(*b)));
            !down && value(offsets[0]) == 0
        }
        let column = &self.image[column..][..(self.entries() + 1) * self.shape.offset_bytes()];
        if self.shape.has(WIDE) {
            ascend(column, u32::from_le_bytes)
        } else {
            ascend(column, |bytes| u16::from_le_bytes(bytes).into())
        }
    }

    /// Whether all entries are puts with tags at or over the base, which is nearly always so.
    fn are_all_puts(&self) -> bool {
        let column = &self.image[self.layout.tags..self.layout.value_offsets];
        let base = self.tag_base;
        let is_put = |word: u64| word as u8 == Kind::Put as u8;
        let hold = |word: u64| is_put(word) & (word >= base);
        match self.shape.tag_bytes {
            0 => is_put(base),
            2 => column.as_chunks().0.iter().fold(true, |all, distance| {
                all & hold(base.wrapping_add(u16::from_le_bytes(*distance).into()))
            }),
            4 => column.as_chunks().0.iter().fold(true, |all, distance| {
                all & hold(base.wrapping_add(u32::from_le_bytes(*distance).into()))
            }),
            _ => column.as_chunks().0.iter().fold(true, |all, distance| {
                all & hold(base.wrapping_add(u64::from_le_bytes(*distance)))
            }),
        }
    }

    /// If all suffixes have one length and the head of each is above that of the one before, which
    /// orders the entries: whether the sampled heads are those of their entries. Else `None`.
    fn fixed_heads_ascend(&self) -> Option<bool> {
        let step = self.suffix_bytes;
        let column = &self.image[self.layout.suffixes..];
        // Heads are loaded whole: the last one too must lie inside.
        let last = (self.entries() - 1) * step;
        if !self.shape.has(FIXED_SUFFIX) || step == 0 || column.len() < last + 8 {
            return None;
        }
        let mask = u64::MAX << (64 - 8 * step.min(8));
        let head = |bytes: &[u8]| u64::from_be_bytes(*bytes.first_chunk().expect("inside")) & mask;
        let (mut before, mut ascend) = (head(column), true);
        for n in 1..self.entries() {
            let next = head(&column[n * step..]);
            ascend &= before < next;
            before = next;
        }
        if !ascend {
            return None;
        }
        let sampled = &self.image[self.layout.heads..self.layout.tags];
        let (sampled, _) = sampled.as_chunks::<8>();
        let keys = sampled.iter().enumerate();
        Some(keys.fold(true, |all, (group, sampled)| {
            all & (u64::from_le_bytes(*sampled) == head(&column[(group << HEAD_SHIFT) * step..]))
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::key::{SeqNo, TableId, head};
    use crate::base::names::FileName;
    use crate::sstable::block::Block;
    use crate::sstable::block_builder::BlockBuilder;
    use crate::sstable::block_layout::Header;
    use crate::sstable::page::Piece;

    /// The check as FORMAT.md says it, entry by entry.
    fn is_sound(block: &BlockRef<'_>) -> bool {
        let entries = 0..block.entries();
        let fills = |fixed, each_bytes, column, total_bytes| {
            if block.shape.has(fixed) {
                return block.entries() * each_bytes == total_bytes;
            }
            let mut end = 0;
            let mut ranges = entries.clone().map(|n| block.offsets(column, n));
            ranges.all(|range| {
                let fits = range.start == end && range.end >= end;
                end = range.end;
                fits
            }) && end == total_bytes
        };
        let (shape, layout) = (&block.shape, &block.layout);
        if !fills(FIXED_SUFFIX, block.suffix_bytes, layout.key_offsets, shape.suffix_bytes)
            || !fills(FIXED_VALUE, block.value_bytes, layout.value_offsets, shape.value_bytes)
        {
            return false;
        }
        let tags: Vec<_> = entries.clone().map(|n| Tag::from_u64(block.tag_word(n))).collect();
        let are_right = tags.iter().zip(entries.clone()).all(|(tag, n)| {
            block.tag_word(n) >= block.tag_base
                && tag.is_some_and(|tag| !tag.is_delete() || block.value(n).is_empty())
        });
        let tombstones = tags.iter().flatten().filter(|tag| tag.is_delete()).count();
        let pairs = || entries.clone().skip(1).map(|n| (n - 1, n));
        let ascend = pairs().all(|(a, b)| {
            let order = block.suffix(a).cmp(block.suffix(b));
            order.then(block.tag_word(b).cmp(&block.tag_word(a))).is_lt()
        });
        let distinct = pairs().all(|(a, b)| block.suffix(a) != block.suffix(b));
        let mut sampled = entries.clone().step_by(1 << HEAD_SHIFT).enumerate();
        are_right
            && tombstones == block.tombstones()
            && ascend
            && distinct == block.is_distinct()
            && sampled.all(|(group, n)| block.head(group) == head(block.suffix(n)))
    }

    /// A block of these keys, each with so many versions, newest first.
    fn image(keys: &[(Vec<u8>, u64)], value_bytes: Option<usize>, deletes: bool) -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        for (n, (key, versions)) in keys.iter().enumerate() {
            for version in (0..*versions).rev() {
                let kind = if deletes && n % 3 == 1 { Kind::Delete } else { Kind::Put };
                let value =
                    vec![7; if kind == Kind::Put { value_bytes.unwrap_or(n % 5) } else { 0 }];
                let tag = Tag::new(SeqNo::new(1 + version * 1000 + n as u64), kind);
                builder.add((key, tag, &value), n as u8, usize::MAX);
            }
        }
        let mut image = Vec::new();
        builder.finish(false, &mut image);
        image
    }

    fn keys() -> impl Strategy<Value = Vec<(Vec<u8>, u64)>> {
        let key = prop_oneof![
            (0..90_u32).prop_map(|n| format!("k{n:04}").into_bytes()),
            (0..90_u32).prop_map(|n| format!("key:{n:015}").into_bytes()),
            prop::collection::vec(b'a'..b'd', 0..12),
        ];
        let alike = prop::bool::ANY;
        (
            prop::collection::btree_map(key, prop_oneof![9 => Just(1_u64), 1 => 2..4_u64], 1..60),
            alike,
        )
            .prop_map(|(keys, alike)| {
                let length = keys.keys().next().map_or(0, Vec::len);
                keys.into_iter().filter(|(key, _)| !alike || key.len() == length).collect()
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever byte of a column is changed: a block passes if it is sound, and only then.
        #[test]
        fn what_passes_is_sound(
            keys in keys(),
            value_bytes in prop_oneof![Just(None), (0..9_usize).prop_map(Some)],
            deletes: bool,
            changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 40),
        ) {
            let mut image = image(&keys, value_bytes, deletes);
            let at = At { file: FileName::Table(TableId(1)), offset: 0, part: BlockRef::PART };
            prop_assert!(BlockRef::check(&image, at).is_ok());
            let columns = Block::trusted(&image[..]).layout.heads..Block::trusted(&image[..]).layout.end;
            for (place, change) in changes {
                let place = columns.start + place.index(columns.len());
                image[place] ^= change;
                let checked = BlockRef::check(&image, at);
                let block = Block::with_header(&image[..], &Header::read(&image));
                let sound = block.is_some_and(|block| is_sound(&block));
                prop_assert_eq!(checked.is_ok(), sound, "byte {}: {:?}", place, checked);
                image[place] ^= change;
            }
        }
    }
}

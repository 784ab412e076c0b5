//! Builds data blocks: gathers entries, knows at every moment how long the block would be, and
//! lays the columns out.

use super::block_layout::{
    DISTINCT, ENTRIES_MAX, FIXED_SUFFIX, FIXED_VALUE, GOES_ON, HEAD_SHIFT, Header, Shape, WIDE,
};
use super::page::pad;
use crate::base::invariant;
use crate::base::key::{Tag, head, shared_prefix_bytes};

/// The entries of the block that is being filled.
#[derive(Debug, Default)]
pub(super) struct BlockBuilder {
    /// Whole keys, end to end. The prefix is known only when the last one is.
    keys: Vec<u8>,
    key_ends: Vec<usize>,
    values: Vec<u8>,
    value_ends: Vec<usize>,
    tags: Vec<u64>,
    fingerprints: Vec<u8>,
    tombstones: u16,
    sizes: Sizes,
    /// The block may grow by so much at least, as long as its columns stay as wide as they are.
    spare_bytes: usize,
}

/// What an entry adds to the columns besides key and value at most: a fingerprint, and what rounds
/// that column up, a head, a tag and two offsets.
const COLUMNS_BYTES_MAX: usize = 1 + 7 + 8 + 8 + 2 * 4;

/// What determines the length of the block.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    entries: usize,
    prefix_bytes: usize,
    key_bytes: usize,
    value_bytes: usize,
    /// Lengths of the first key and value, and whether all others have them too.
    first_key_bytes: usize,
    first_value_bytes: usize,
    keys_vary: bool,
    values_vary: bool,
    /// Whether some key has two versions.
    keys_repeat: bool,
    tag_min: u64,
    tag_max: u64,
}

impl Sizes {
    fn first(key: &[u8], tag: u64, value: &[u8]) -> Self {
        Self {
            entries: 1,
            prefix_bytes: key.len(),
            key_bytes: key.len(),
            value_bytes: value.len(),
            first_key_bytes: key.len(),
            first_value_bytes: value.len(),
            keys_vary: false,
            values_vary: false,
            keys_repeat: false,
            tag_min: tag,
            tag_max: tag,
        }
    }

    /// With one more entry behind those of before; `prefix` is what the others share.
    fn with(&self, prefix: &[u8], key: &[u8], tag: u64, value: &[u8]) -> Self {
        Self {
            entries: self.entries + 1,
            prefix_bytes: shared_prefix_bytes(prefix, key),
            key_bytes: self.key_bytes + key.len(),
            value_bytes: self.value_bytes + value.len(),
            keys_vary: self.keys_vary || key.len() != self.first_key_bytes,
            values_vary: self.values_vary || value.len() != self.first_value_bytes,
            tag_min: self.tag_min.min(tag),
            tag_max: self.tag_max.max(tag),
            ..*self
        }
    }

    /// Whether entries before this one take as many bytes in `other` as here.
    fn has_columns_of(&self, other: &Self) -> bool {
        self.prefix_bytes == other.prefix_bytes
            && self.keys_vary == other.keys_vary
            && self.values_vary == other.values_vary
            && self.tag_bytes() == other.tag_bytes()
            && !other.is_wide()
    }

    /// Bytes of one tag.
    fn tag_bytes(&self) -> usize {
        match self.tag_max - self.tag_min {
            0 => 0,
            1..=0xffff => 2,
            0x1_0000..=0xffff_ffff => 4,
            _ => 8,
        }
    }

    fn suffix_bytes(&self) -> usize {
        self.key_bytes - self.entries * self.prefix_bytes
    }

    fn is_wide(&self) -> bool {
        self.keys_vary && self.suffix_bytes() > usize::from(u16::MAX)
            || self.values_vary && self.value_bytes > usize::from(u16::MAX)
    }

    fn shape(&self) -> Shape {
        let flag = |set, flag| if set { flag } else { 0 };
        Shape {
            entries: self.entries,
            prefix_bytes: self.prefix_bytes,
            flags: flag(!self.keys_vary, FIXED_SUFFIX)
                | flag(!self.values_vary, FIXED_VALUE)
                | flag(!self.keys_repeat, DISTINCT)
                | flag(self.is_wide(), WIDE),
            tag_bytes: self.tag_bytes(),
            suffix_bytes: self.suffix_bytes(),
            value_bytes: self.value_bytes,
        }
    }
}

impl BlockBuilder {
    pub(super) fn is_empty(&self) -> bool {
        self.sizes.entries == 0
    }

    /// How long the block would be if it were finished now, without padding.
    pub(super) fn image_bytes(&self) -> usize {
        if self.is_empty() { 0 } else { self.sizes.shape().layout().end }
    }

    /// Adds an entry behind the others if the block then is no longer than `image_bytes_max`; the
    /// first one always. Returns whether it was added.
    pub(super) fn add(
        &mut self,
        (key, tag, value): (&[u8], Tag, &[u8]),
        fingerprint: u8,
        image_bytes_max: usize,
    ) -> bool {
        let word = tag.to_u64();
        let sizes = if self.is_empty() {
            Sizes::first(key, word, value)
        } else {
            let sizes = self.sizes.with(&self.keys[..self.sizes.prefix_bytes], key, word, value);
            if !self.has_room(&sizes, key.len() + value.len(), image_bytes_max) {
                return false;
            }
            Sizes { keys_repeat: sizes.keys_repeat || self.ends_with(key, fingerprint), ..sizes }
        };
        self.sizes = sizes;
        self.keys.extend_from_slice(key);
        self.key_ends.push(self.keys.len());
        self.values.extend_from_slice(value);
        self.value_ends.push(self.values.len());
        self.tags.push(word);
        self.fingerprints.push(fingerprint);
        self.tombstones += u16::from(tag.is_delete());
        true
    }

    /// Whether a block of these sizes, with an entry of `entry_bytes` more than now, is no longer
    /// than `image_bytes_max`. Lays the columns out only when it may matter.
    fn has_room(&mut self, sizes: &Sizes, entry_bytes: usize, image_bytes_max: usize) -> bool {
        if sizes.entries > ENTRIES_MAX {
            return false;
        }
        let growth_bytes = entry_bytes + COLUMNS_BYTES_MAX;
        if self.sizes.has_columns_of(sizes) && growth_bytes <= self.spare_bytes {
            self.spare_bytes -= growth_bytes;
            return true;
        }
        let spare_bytes = image_bytes_max.checked_sub(sizes.shape().layout().end);
        self.spare_bytes = spare_bytes.unwrap_or_default();
        spare_bytes.is_some()
    }

    /// Appends the block to `out`, padded and with a checksum of zero, and is empty again.
    /// `goes_on`: the next block begins with older versions of the last key.
    pub(super) fn finish(&mut self, goes_on: bool, out: &mut Vec<u8>) {
        let shape = self.sizes.shape();
        let start = out.len();
        self.header(&shape, goes_on).write(out);
        out.extend_from_slice(&self.keys[..shape.prefix_bytes]);
        out.resize(start + shape.layout().fingerprints, 0);
        out.extend_from_slice(&self.fingerprints);
        out.resize(start + shape.layout().heads, 0);
        for n in (0..shape.entries).step_by(1 << HEAD_SHIFT) {
            out.extend_from_slice(&head(self.suffix(n)).to_le_bytes());
        }
        for tag in &self.tags {
            let distance = (tag - self.sizes.tag_min).to_le_bytes();
            out.extend_from_slice(&distance[..shape.tag_bytes]);
        }
        if !shape.has(FIXED_VALUE) {
            put_offsets(out, &shape, self.value_ends.iter().copied());
        }
        if !shape.has(FIXED_SUFFIX) {
            let without_prefixes = |(n, end)| end - (n + 1) * shape.prefix_bytes;
            put_offsets(
                out,
                &shape,
                self.key_ends.iter().copied().enumerate().map(without_prefixes),
            );
        }
        for n in 0..shape.entries {
            out.extend_from_slice(self.suffix(n));
        }
        out.extend_from_slice(&self.values);
        invariant!(S6, out.len() - start == shape.layout().end, "{shape:?}");
        pad(out, start);
        self.clear();
    }

    fn header(&self, shape: &Shape, goes_on: bool) -> Header {
        let fixed = |flag, bytes| if shape.has(flag) { bytes } else { 0 };
        let image_bytes = u32::try_from(shape.layout().end).expect("one entry or few bytes");
        Header {
            image_bytes,
            stored_bytes: image_bytes,
            entries: shape.entries as u16,
            prefix_bytes: shape.prefix_bytes as u16,
            suffix_bytes: fixed(FIXED_SUFFIX, self.sizes.first_key_bytes - shape.prefix_bytes)
                as u16,
            compression: 0,
            flags: shape.flags | if goes_on { GOES_ON } else { 0 },
            value_bytes: fixed(FIXED_VALUE, self.sizes.first_value_bytes) as u32,
            tag_bytes: shape.tag_bytes as u8,
            head_shift: HEAD_SHIFT,
            tombstones: self.tombstones,
            tag_base: self.sizes.tag_min,
        }
    }

    /// Whether the last entry has this key.
    fn ends_with(&self, key: &[u8], fingerprint: u8) -> bool {
        let start = self.key_ends.iter().nth_back(1).map_or(0, |end| *end);
        self.fingerprints.last() == Some(&fingerprint) && &self.keys[start..] == key
    }

    fn suffix(&self, n: usize) -> &[u8] {
        let start = if n == 0 { 0 } else { self.key_ends[n - 1] };
        &self.keys[start + self.sizes.prefix_bytes..self.key_ends[n]]
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.key_ends.clear();
        self.values.clear();
        self.value_ends.clear();
        self.tags.clear();
        self.fingerprints.clear();
        self.tombstones = 0;
        self.sizes = Sizes::default();
        self.spare_bytes = 0;
    }
}

/// Appends a zero and `ends`, as wide as the shape says.
fn put_offsets(out: &mut Vec<u8>, shape: &Shape, ends: impl Iterator<Item = usize>) {
    for offset in std::iter::once(0).chain(ends) {
        out.extend_from_slice(&(offset as u32).to_le_bytes()[..shape.offset_bytes()]);
    }
}

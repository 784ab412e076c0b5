//! Decoders as plain functions of bytes: what a fuzzer calls.
//!
//! Each folder with a codec lists its [`Target`]s in its own `fuzz.rs`. A target hands an input to
//! one decoder and panics where something does not hold:
//!
//! - whatever the bytes are, the decoder answers;
//! - what was decoded, encoded again, decodes to the same;
//! - the beginning of an input decodes to an error or to a beginning of what all of it decodes to,
//!   never to something else;
//! - no more memory is asked for than [`Target::memory_bytes_max`] (who calls the target counts).
//!
//! A fuzzer does not guess checksums, so targets put the right ones over the input before they
//! decode it: the parsers behind them are what is looked for. Where a whole file or store is needed
//! the input is a list of [`Edit`]s of a valid one, so that few bytes of input reach deep into it.

use crate::base::batch::{Op, WriteBatch, decode_ops};
use crate::base::codec::Reader;
use crate::base::key::KeyspaceId;

/// A decoder, as a fuzzer sees it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called; its corpus lies in a folder of that name.
    pub name: &'static str,
    /// Decodes an input, and panics where a property does not hold.
    pub run: fn(&[u8]),
    /// Inputs that come from valid files, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Most bytes of memory that it may hold at once beside its input, of inputs up to 64 KiB.
    pub memory_bytes_max: usize,
}

/// What a target may hold that copies its input a few times and reads it through one window.
pub const FEW_COPIES_BYTES: usize = 2 << 20;

/// The targets of this folder.
pub const TARGETS: [Target; 1] =
    [Target { name: "batch", run: batch, seeds: batch_seeds, memory_bytes_max: FEW_COPIES_BYTES }];

/// One change of valid bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit<'a> {
    /// Which piece or file, to be taken modulo how many there are.
    pub piece: usize,
    /// Where in it, to be taken modulo its length.
    pub offset: usize,
    /// What happens there.
    pub change: Change<'a>,
}

/// What an [`Edit`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Other bytes stand there.
    Overwrite(&'a [u8]),
    /// It ends there.
    Cut,
}

/// The edits of an input, up to the first that is cut off:
///
/// ```text
/// edit := piece u8 | offset u16 | length u8, 0 for a cut | bytes
/// ```
pub fn edits(input: &[u8]) -> impl Iterator<Item = Edit<'_>> {
    let mut reader = Reader::new(input);
    std::iter::from_fn(move || {
        let [piece, low, high, len] = *reader.take(4)?.first_chunk()?;
        let change = match len {
            0 => Change::Cut,
            len => Change::Overwrite(reader.take(len.into())?),
        };
        let offset = u16::from_le_bytes([low, high]).into();
        Some(Edit { piece: piece.into(), offset, change })
    })
}

/// The input that [`edits`] reads as one edit.
pub fn edit(piece: u8, offset: u16, bytes: &[u8]) -> Vec<u8> {
    let [low, high] = offset.to_le_bytes();
    [&[piece, low, high, bytes.len() as u8], bytes].concat()
}

impl Edit<'_> {
    /// Writes over bytes that keep their length; does nothing to an empty piece.
    pub fn overwrite(&self, piece: &mut [u8]) {
        let Change::Overwrite(bytes) = self.change else { return };
        let Some(start) = self.offset.checked_rem(piece.len()) else { return };
        let len = bytes.len().min(piece.len() - start);
        piece[start..start + len].copy_from_slice(&bytes[..len]);
    }

    /// Changes bytes that may become fewer.
    pub fn apply(&self, file: &mut Vec<u8>) {
        match self.change {
            Change::Overwrite(_) => self.overwrite(file),
            Change::Cut => file.truncate(self.offset.checked_rem(file.len()).unwrap_or_default()),
        }
    }
}

/// About `count` lengths below `len`, the longest among them: where to cut an input.
pub fn cuts(len: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..len).step_by(len.div_ceil(count).max(1)).chain(len.checked_sub(1))
}

/// Encoded operations.
fn batch(input: &[u8]) {
    let ops: Vec<Op<'_>> = decode_ops(input).map_while(Result::ok).collect();
    let mut batch = WriteBatch::new();
    ops.iter().for_each(|op| batch.push(*op));
    assert_eq!(batch.len(), ops.len(), "what can be decoded can be written");
    assert!(input.starts_with(batch.ops()), "equal operations have equal bytes");
    for cut in cuts(input.len(), 64) {
        let fewer: Vec<Op<'_>> = decode_ops(&input[..cut]).map_while(Result::ok).collect();
        assert!(ops.starts_with(&fewer), "{fewer:?} from {cut} bytes");
    }
}

fn batch_seeds() -> Vec<Vec<u8>> {
    let mut batch = WriteBatch::new();
    batch.put("apple", "red");
    batch.delete("banana");
    batch.push_put(KeyspaceId(300), b"", b"");
    batch.push_put(KeyspaceId(1), &[b'k'; 200], &[b'v'; 200]);
    let all = batch.ops().to_vec();
    let reserved = (3..=6).flat_map(|kind| [kind, 0, 1, b'a', 1, b'b']).collect();
    vec![all, vec![2, 0, 1, b'a'], reserved]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_read_as_they_are_written_and_stay_inside() {
        let input = [edit(1, 300, b"xyz"), edit(2, 7, b""), vec![9, 9]].concat();
        let read: Vec<_> = edits(&input).collect();
        let change = Change::Overwrite(b"xyz");
        assert_eq!(read[0], Edit { piece: 1, offset: 300, change });
        assert_eq!((read[1].change, read.len()), (Change::Cut, 2));
        let mut file = vec![0; 301];
        read[0].apply(&mut file);
        assert_eq!(file[299..], [0, b'x']);
        read[1].apply(&mut file);
        assert_eq!(file.len(), 7);
        read.iter().for_each(|edit| edit.apply(&mut Vec::new()));
    }

    #[test]
    fn cuts_are_few_and_have_the_longest() {
        assert_eq!(cuts(0, 4).count(), 0);
        assert_eq!(cuts(3, 4).collect::<Vec<_>>(), [0, 1, 2, 2]);
        assert_eq!(cuts(100, 4).collect::<Vec<_>>(), [0, 25, 50, 75, 99]);
    }
}

//! The codecs: bytes in, fewer bytes out, and back.
//!
//! Which ones a build has is decided by features of the crate; what a file may name is the same in
//! every build, so that one that lacks a codec can say which. Decoding writes into a slice of the
//! length that the bytes must have, nothing else, and whatever they are ends in an error at worst.

use crate::base::error::{Error, Result};

/// How the blocks of a table are compressed.
///
/// `Lz4` and `Zstd` need the crate's feature of that name. A block that would not shrink by an
/// eighth is stored as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// LZ4: a few microseconds a block when it is read from the disk.
    Lz4,
    /// Zstandard: smaller than LZ4, and several times slower.
    Zstd,
}

/// The level that Zstandard runs at. On blocks of 8 KiB its default, 3, takes a third longer and
/// saves 2 % more.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 1;

/// Every compression that the format knows, by its number.
const ALL: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

impl Compression {
    /// Its number in files.
    pub(super) fn code(self) -> u8 {
        self as u8
    }

    /// The one of this number, also if this build has no codec for it.
    pub(super) fn from_code(code: u8) -> Option<Self> {
        ALL.get(usize::from(code)).copied()
    }

    /// Its name, which is that of the crate's feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Whether this build has its codec.
    pub fn is_built_in(self) -> bool {
        match self {
            Self::None => true,
            Self::Lz4 => cfg!(feature = "lz4"),
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }

    /// `Ok` if a store may be opened with it.
    pub(crate) fn check_built_in(self) -> Result<()> {
        if self.is_built_in() {
            return Ok(());
        }
        let name = self.name();
        Err(Error::invalid(format!(
            "compression {name}, which this build lacks: build esker with its feature `{name}`"
        )))
    }
}

/// Compresses, one block after the other.
pub(super) enum Encoder {
    None,
    #[cfg(feature = "lz4")]
    Lz4(lz4_flex::block::CompressTable),
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Encoder {
    /// The encoder of a compression that is built in; of another one that of none.
    pub(super) fn new(compression: Compression) -> Self {
        match compression {
            #[cfg(feature = "lz4")]
            Compression::Lz4 => Self::Lz4(lz4_flex::block::CompressTable::small()),
            #[cfg(feature = "zstd")]
            Compression::Zstd => zstd::bulk::Compressor::new(ZSTD_LEVEL)
                .map_or(Self::None, |encoder| Self::Zstd(Box::new(encoder))),
            _ => Self::None,
        }
    }

    /// The beginning of `out` that holds `bytes` compressed; `None` if they do not get shorter, or
    /// nothing is compressed.
    #[cfg_attr(
        not(any(feature = "lz4", feature = "zstd")),
        expect(clippy::ptr_arg, reason = "codecs make it longer")
    )]
    pub(super) fn encode<'o>(&mut self, bytes: &[u8], out: &'o mut Vec<u8>) -> Option<&'o [u8]> {
        let encoded_bytes = match self {
            Self::None => bytes.len(),
            #[cfg(feature = "lz4")]
            Self::Lz4(table) => {
                use lz4_flex::block;
                // It refuses less, even if less would do.
                out.resize(block::get_maximum_output_size(bytes.len()).max(out.len()), 0);
                // The table stays the one for short inputs: another finds other matches.
                if bytes.len() < usize::from(u16::MAX) {
                    block::compress_into_with_table(bytes, out, table).ok()?
                } else {
                    block::compress_into(bytes, out).ok()?
                }
            }
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => {
                out.resize(bytes.len().max(out.len()), 0);
                encoder.compress_to_buffer(bytes, out.as_mut_slice()).ok()?
            }
        };
        (encoded_bytes < bytes.len()).then(|| &out[..encoded_bytes])
    }
}

/// Fills `out` with what `bytes` are compressed; why it cannot, if they are not exactly that long,
/// or no such thing, or this build has no codec.
pub(super) fn decode(
    compression: Compression,
    bytes: &[u8],
    out: &mut [u8],
) -> std::result::Result<(), String> {
    let decoded: std::result::Result<usize, String> = match compression {
        #[cfg(feature = "lz4")]
        Compression::Lz4 => {
            lz4_flex::block::decompress_into(bytes, out).map_err(|error| error.to_string())
        }
        #[cfg(feature = "zstd")]
        Compression::Zstd => decode_zstd(bytes, out).map_err(|error| error.to_string()),
        _ => Err(format!("{} bytes that this build cannot read", bytes.len())),
    };
    let decoded_bytes = decoded?;
    if decoded_bytes == out.len() { Ok(()) } else { Err(format!("{decoded_bytes} bytes")) }
}

/// A decoder takes 100 KiB of memory and some time to make, so each thread keeps one.
#[cfg(feature = "zstd")]
fn decode_zstd(bytes: &[u8], out: &mut [u8]) -> std::io::Result<usize> {
    use std::cell::RefCell;
    thread_local! {
        static DECODER: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
            const { RefCell::new(None) };
    }
    DECODER.with_borrow_mut(|kept| {
        let decoder = match kept {
            Some(decoder) => decoder,
            None => kept.insert(zstd::bulk::Decompressor::new()?),
        };
        decoder.decompress_to_buffer(bytes, out)
    })
}

#[cfg(all(test, any(feature = "lz4", feature = "zstd")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn built_in() -> impl Iterator<Item = Compression> {
        ALL.into_iter().filter(|c| *c != Compression::None && c.is_built_in())
    }

    /// Bytes that repeat themselves, more or less.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = (proptest::collection::vec(any::<u8>(), 1..40), 1_usize..60);
        proptest::collection::vec(piece, 0..20).prop_map(|pieces| {
            pieces.into_iter().flat_map(|(piece, times)| piece.repeat(times)).collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_into_that_length_alone(bytes in bytes()) {
            for compression in built_in() {
                let mut encoder = Encoder::new(compression);
                let mut buffer = Vec::new();
                // Twice: nothing is kept from one to the next.
                for _ in 0..2 {
                    let Some(encoded) = encoder.encode(&bytes, &mut buffer) else { continue };
                    let mut out = vec![0xee; bytes.len()];
                    prop_assert_eq!(decode(compression, encoded, &mut out), Ok(()));
                    prop_assert_eq!(&out, &bytes);
                    for other in [bytes.len() - 1, bytes.len() + 1] {
                        prop_assert!(decode(compression, encoded, &mut vec![0; other]).is_err());
                    }
                }
            }
        }

        #[test]
        fn any_bytes_decode_to_something_or_an_error(
            bytes in bytes(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
            out_bytes in 0_usize..4000,
        ) {
            for compression in built_in() {
                let mut buffer = Vec::new();
                let encoded = Encoder::new(compression).encode(&bytes, &mut buffer);
                let mut encoded = encoded.unwrap_or(&bytes).to_vec();
                for (at, byte) in &changes {
                    if !encoded.is_empty() {
                        let at = at.index(encoded.len());
                        encoded[at] = *byte;
                    }
                }
                let _ = decode(compression, &encoded, &mut vec![0; bytes.len()]);
                let _ = decode(compression, &encoded, &mut vec![0; out_bytes]);
                let _ = decode(compression, &bytes, &mut vec![0; out_bytes]);
            }
        }
    }

    #[test]
    fn megabytes_are_encoded_and_decoded() {
        let bytes: Vec<u8> = (0..3_u32 << 20).map(|n| (n / 100).wrapping_mul(7) as u8).collect();
        for compression in built_in() {
            let (mut encoder, mut buffer) = (Encoder::new(compression), Vec::new());
            let encoded = encoder.encode(&bytes, &mut buffer).expect("it gets shorter");
            assert!(encoded.len() < bytes.len() / 4, "{compression:?}: {}", encoded.len());
            let mut out = vec![0; bytes.len()];
            assert_eq!(decode(compression, encoded, &mut out), Ok(()));
            assert!(out == bytes);
        }
    }
}

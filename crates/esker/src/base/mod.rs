//! Floor 0: the words that every other floor uses. No I/O, no threads, no clock.
//!
//! - [`key`]: sequence numbers, kinds, tags, ids, and THE order of entries
//! - [`planted`]: mistakes to test the tests with, in no shipped build
//! - [`range`]: inclusive and half-open ranges of keys
//! - [`batch`]: operations that happen together, in their one encoding
//! - [`codec`]: integers and lengths, read without running past the end
//! - [`cursor`]: the contract of everything that can be walked
//! - [`error`]: kinds that prescribe, places that locate
//! - `fuzz`: decoders as functions of any bytes, in no shipped build
//! - [`hash`]: key hash, and checksums bound to a place
//! - [`limits`]: every upper bound and why
//! - [`names`]: how files are called
//! - [`random`]: numbers that a seed determines
//! - [`simd`]: the inner loops of searches, with the vectors that the processor has
//! - [`sync`]: atomics and locks, also for the tests that loom or shuttle plays
//! - [`value`]: the bytes that a read hands out

pub mod batch;
pub mod codec;
pub mod cursor;
pub mod error;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod hash;
pub mod key;
pub mod limits;
pub mod names;
pub mod planted;
pub mod random;
pub mod range;
pub mod simd;
pub mod sync;
pub mod value;

/// Asserts a numbered invariant, also in release builds: a store that has lost one must stop
/// before it writes. The number names the sentence in the folder's `mod.rs`.
macro_rules! invariant {
    ($id:ident, $holds:expr $(, $($detail:tt)+)?) => {
        assert!(
            $holds,
            "invariant {} is broken{}",
            stringify!($id),
            $crate::base::detail(&[$(format!($($detail)+))?])
        )
    };
}
pub(crate) use invariant;

/// The text behind the number of a broken invariant.
pub(crate) fn detail(details: &[String]) -> String {
    details.iter().map(|detail| format!(": {detail}")).collect()
}

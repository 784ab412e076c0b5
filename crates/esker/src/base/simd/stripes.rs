//! XXH3 of long inputs, 64 bits, with vectors that are chosen at run time.
//!
//! The crate that knows all of XXH3 chooses its vectors when it is compiled, so an ordinary build
//! runs it with 16 bytes at a time. Here is the frame around the inner loop, which each set of
//! kernels brings along. Together they give the same numbers.
//!
//! Eight sums run side by side. Each takes in eight bytes of every *stripe* of 64, mixed with eight
//! of the secret, which moves on by eight bytes a stripe; after 16 stripes the sums are scrambled.

use xxhash_rust::const_xxh3::const_custom_default_secret;

/// Bytes that the sums take in at a time.
const STRIPE_BYTES: usize = 64;

/// Stripes between two scramblings: as many as the secret has places for.
const BLOCK_STRIPES: usize = (SECRET_BYTES - STRIPE_BYTES) / 8;

const SECRET_BYTES: usize = 192;

const PRIME32_1: u64 = 0x9e37_79b1;
const PRIME32_2: u64 = 0x85eb_ca77;
const PRIME32_3: u64 = 0xc2b2_ae3d;
const PRIME64_1: u64 = 0x9e37_79b1_85eb_ca87;
const PRIME64_2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const PRIME64_3: u64 = 0x1656_67b1_9e37_79f9;
const PRIME64_4: u64 = 0x85eb_ca77_c2b2_ae63;
const PRIME64_5: u64 = 0x27d4_eb2f_1656_67c5;

/// The eight sums.
pub(super) type Sums = [u64; 8];

/// 64 bytes of input, or of the secret.
pub(super) type Stripe = [u8; STRIPE_BYTES];

/// The hash of at least [`LONG_BYTES_MIN`](super::LONG_BYTES_MIN) bytes. For each pair of a stripe
/// and its part of the secret `take_in` mixes them to eight numbers, multiplies the halves of each
/// and adds the product to its sum; and it adds each eight bytes of the stripe to the sum beside.
#[inline(always)]
pub(super) fn hash_long(
    bytes: &[u8],
    seed: u64,
    take_in: impl Fn(&mut Sums, &[Stripe], &[u8]),
) -> u64 {
    let secret = secret(seed);
    let mut sums =
        [PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1];
    // The last stripe ends where the input does, and may overlap the one before: all others are
    // whole ones of what is before the last byte.
    let (stripes, _) = bytes[..bytes.len() - 1].as_chunks::<STRIPE_BYTES>();
    let blocks = stripes.chunks_exact(BLOCK_STRIPES);
    let rest = blocks.remainder();
    for block in blocks {
        take_in(&mut sums, block, &secret);
        scramble(&mut sums, &secret);
    }
    take_in(&mut sums, rest, &secret);
    let last = bytes.last_chunk().expect("a long input has a stripe");
    take_in(&mut sums, &[*last], &secret[SECRET_BYTES - STRIPE_BYTES - 7..]);
    merge(&sums, &secret, bytes.len())
}

/// The secret of this seed: the usual one, to which the seed is added and from which it is taken,
/// in turn.
#[inline(always)]
fn secret(seed: u64) -> [u8; SECRET_BYTES] {
    const USUAL: [u8; SECRET_BYTES] = const_custom_default_secret(0);
    let mut secret = USUAL;
    for pair in secret.as_chunks_mut::<16>().0 {
        let (words, _) = pair.as_chunks_mut::<8>();
        words[0] = u64::from_le_bytes(words[0]).wrapping_add(seed).to_le_bytes();
        words[1] = u64::from_le_bytes(words[1]).wrapping_sub(seed).to_le_bytes();
    }
    secret
}

/// The part of the secret for stripe `n` of a call.
#[inline(always)]
pub(super) fn part(secret: &[u8], n: usize) -> &Stripe {
    secret[8 * n..].first_chunk().expect("the secret has a part for each stripe")
}

#[inline(always)]
fn scramble(sums: &mut Sums, secret: &[u8; SECRET_BYTES]) {
    let secret = lanes_at(secret, SECRET_BYTES - STRIPE_BYTES);
    for n in 0..8 {
        sums[n] = (sums[n] ^ sums[n] >> 47 ^ secret[n]).wrapping_mul(PRIME32_1);
    }
}

/// The sums as one number.
#[inline(always)]
fn merge(sums: &Sums, secret: &[u8; SECRET_BYTES], bytes: usize) -> u64 {
    let secret = lanes_at(secret, 11);
    let mut merged = (bytes as u64).wrapping_mul(PRIME64_1);
    for n in [0, 2, 4, 6] {
        let (a, b) = (sums[n] ^ secret[n], sums[n + 1] ^ secret[n + 1]);
        let product = u128::from(a) * u128::from(b);
        merged = merged.wrapping_add(product as u64 ^ (product >> 64) as u64);
    }
    merged = (merged ^ merged >> 37).wrapping_mul(0x1656_6791_9e37_79f9);
    merged ^ merged >> 32
}

#[inline(always)]
fn lanes_at(secret: &[u8; SECRET_BYTES], at: usize) -> [u64; 8] {
    let (words, _) = secret[at..].as_chunks::<8>();
    std::array::from_fn(|n| u64::from_le_bytes(words[n]))
}

//! The kernels for vectors of 32 bytes.

use std::arch::x86_64::{
    __m256i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8, _mm256_add_epi64,
    _mm256_and_si256, _mm256_blendv_ps, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_cmpeq_epi8, _mm256_cmpgt_epi32, _mm256_cmpgt_epi64, _mm256_extract_epi64,
    _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_mul_epu32, _mm256_mullo_epi32,
    _mm256_permutevar8x32_epi32, _mm256_set1_epi8, _mm256_set1_epi32, _mm256_set1_epi64x,
    _mm256_setr_epi32, _mm256_setzero_si256, _mm256_shuffle_epi32, _mm256_slli_epi32,
    _mm256_sllv_epi32, _mm256_srli_epi32, _mm256_srli_epi64, _mm256_storeu_si256, _mm256_sub_epi64,
    _mm256_testc_si256, _mm256_xor_si256,
};

use super::scalar::LINE_POWERS;
use super::stripes::{Stripe, Sums};
use super::{Kernels, Line, as_bytes, narrow, scalar, stripes};

pub(super) static KERNELS: Kernels = Kernels {
    name: "avx2",
    heads_below,
    le_heads_below,
    matches,
    line_holds,
    line_add: scalar::line_add,
    hash_long,
};

#[target_feature(enable = "avx2")]
fn heads_below(heads: &[u64], target: u64) -> usize {
    le_heads_below(as_bytes(heads), target)
}

#[target_feature(enable = "avx2")]
fn le_heads_below(heads: &[[u8; 8]], target: u64) -> usize {
    let is_below = |head: &[u8; 8]| u64::from_le_bytes(*head) < target;
    let range = narrow(heads.len(), |at| is_below(&heads[at]));
    let (fours, rest) = heads[range.clone()].as_chunks::<4>();
    // The comparison is one of signed numbers: with their highest bits flipped, unsigned numbers
    // order as signed ones do. A lane that is less gives -1.
    let flip = _mm256_set1_epi64x(i64::MIN);
    let flipped_target = _mm256_xor_si256(_mm256_set1_epi64x(target as i64), flip);
    let mut below = _mm256_setzero_si256();
    for four in fours {
        let is_less = _mm256_cmpgt_epi64(flipped_target, _mm256_xor_si256(load(four), flip));
        below = _mm256_sub_epi64(below, is_less);
    }
    let count = _mm256_extract_epi64::<0>(below)
        + _mm256_extract_epi64::<1>(below)
        + _mm256_extract_epi64::<2>(below)
        + _mm256_extract_epi64::<3>(below);
    range.start + count as usize + rest.iter().filter(|head| is_below(head)).count()
}

#[target_feature(enable = "avx2")]
fn matches(column: &[u8], byte: u8) -> u64 {
    // Two vectors cover the column; where they overlap they say the same.
    if let (Some(first), Some(last)) = (column.first_chunk::<32>(), column.last_chunk::<32>()) {
        let wanted = _mm256_set1_epi8(byte as i8);
        let mask = |lanes| _mm256_movemask_epi8(_mm256_cmpeq_epi8(lanes, wanted)) as u32;
        let (first, last) = (u64::from(mask(load(first))), u64::from(mask(load(last))));
        return first | last << (column.len() - 32);
    }
    if let (Some(first), Some(last)) = (column.first_chunk::<16>(), column.last_chunk::<16>()) {
        let wanted = _mm_set1_epi8(byte as i8);
        let mask = |bytes: &[u8; 16]| {
            // SAFETY: 16 bytes that a reference leads to may be read, at any address.
            let lanes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
            _mm_movemask_epi8(_mm_cmpeq_epi8(lanes, wanted)) as u64
        };
        return mask(first) | mask(last) << (column.len() - 16);
    }
    scalar::matches(column, byte)
}

#[target_feature(enable = "avx2")]
fn line_holds(line: &Line, hash: u32, bits: u32) -> bool {
    // Eight bits, each a number of a 4-byte word and a bit of it; only the first `bits` count.
    let powers = load(&LINE_POWERS);
    let numbers = _mm256_mullo_epi32(_mm256_set1_epi32(hash as i32), powers);
    let numbers = _mm256_srli_epi32::<23>(numbers);
    let bit = _mm256_and_si256(numbers, _mm256_set1_epi32(31));
    let counts = _mm256_cmpgt_epi32(
        _mm256_set1_epi32(bits as i32),
        _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
    );
    let wanted = _mm256_sllv_epi32(_mm256_and_si256(counts, _mm256_set1_epi32(1)), bit);

    // The words out of both halves of the line: bit 3 of a word's number says which half.
    let word = _mm256_srli_epi32::<5>(numbers);
    let (halves, _) = line.as_chunks::<32>();
    let low = _mm256_permutevar8x32_epi32(load(&halves[0]), word);
    let high = _mm256_permutevar8x32_epi32(load(&halves[1]), word);
    let words = _mm256_blendv_ps(
        _mm256_castsi256_ps(low),
        _mm256_castsi256_ps(high),
        _mm256_castsi256_ps(_mm256_slli_epi32::<28>(word)),
    );
    _mm256_testc_si256(_mm256_castps_si256(words), wanted) == 1
}

#[target_feature(enable = "avx2")]
fn hash_long(bytes: &[u8], seed: u64) -> u64 {
    stripes::hash_long(bytes, seed, |sums, stripes, secret| take_in(sums, stripes, secret))
}

#[inline]
#[target_feature(enable = "avx2")]
fn take_in(sums: &mut Sums, stripes: &[Stripe], secret: &[u8]) {
    let (halves, _) = sums.as_chunks_mut::<4>();
    let mut held = [load(&halves[0]), load(&halves[1])];
    for (n, stripe) in stripes.iter().enumerate() {
        let (data, _) = stripe.as_chunks::<32>();
        let (secret, _) = stripes::part(secret, n).as_chunks::<32>();
        for half in 0..2 {
            let data = load(&data[half]);
            let mixed = _mm256_xor_si256(data, load(&secret[half]));
            let products = _mm256_mul_epu32(mixed, _mm256_srli_epi64::<32>(mixed));
            let beside = _mm256_shuffle_epi32::<0b01_00_11_10>(data);
            held[half] = _mm256_add_epi64(held[half], _mm256_add_epi64(products, beside));
        }
    }
    for half in 0..2 {
        // SAFETY: four numbers of 8 bytes that a mutable reference leads to may be written.
        unsafe { _mm256_storeu_si256(halves[half].as_mut_ptr().cast(), held[half]) };
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load<T: Lanes>(bytes: &T) -> __m256i {
    const { assert!(size_of::<T>() == 32) };
    // SAFETY: 32 bytes that a reference leads to may be read, at any address; and all of them are
    // initialised, because `Lanes` are arrays of numbers.
    unsafe { _mm256_loadu_si256(std::ptr::from_ref(bytes).cast()) }
}

/// Numbers without anything between them.
trait Lanes {}
impl Lanes for [u8; 32] {}
impl Lanes for [u32; 8] {}
impl Lanes for [u64; 4] {}
impl Lanes for [[u8; 8]; 4] {}

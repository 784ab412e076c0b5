//! The kernels for vectors of 64 bytes, with masks for the ends of columns.

use std::arch::x86_64::{
    _MM_PERM_BADC, _mm256_and_si256, _mm256_loadu_si256, _mm256_mask_testn_epi32_mask,
    _mm256_mullo_epi32, _mm256_set1_epi32, _mm256_sllv_epi32, _mm256_srli_epi32, _mm512_add_epi64,
    _mm512_castsi256_si512, _mm512_castsi512_si256, _mm512_cmplt_epu64_mask, _mm512_loadu_si512,
    _mm512_mask_cmpeq_epi8_mask, _mm512_mask_cmplt_epu64_mask, _mm512_maskz_loadu_epi8,
    _mm512_maskz_loadu_epi64, _mm512_mul_epu32, _mm512_permutexvar_epi32, _mm512_set1_epi8,
    _mm512_set1_epi64, _mm512_shuffle_epi32, _mm512_srli_epi64, _mm512_storeu_si512,
    _mm512_xor_si512,
};

use super::scalar::LINE_POWERS;
use super::stripes::{Stripe, Sums};
use super::{Kernels, Line, as_bytes, narrow, scalar, stripes};

pub(super) static KERNELS: Kernels = Kernels {
    name: "avx512",
    heads_below,
    le_heads_below,
    matches,
    line_holds,
    line_add: scalar::line_add,
    hash_long,
};

#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
fn heads_below(heads: &[u64], target: u64) -> usize {
    le_heads_below(as_bytes(heads), target)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
fn le_heads_below(heads: &[[u8; 8]], target: u64) -> usize {
    let range = narrow(heads.len(), |at| u64::from_le_bytes(heads[at]) < target);
    let (eights, rest) = heads[range.clone()].as_chunks::<8>();
    let target = _mm512_set1_epi64(target as i64);
    let mut below = range.start;
    for eight in eights {
        // SAFETY: 64 bytes that a reference leads to may be read, at any address.
        let lanes = unsafe { _mm512_loadu_si512(eight.as_ptr().cast()) };
        below += _mm512_cmplt_epu64_mask(lanes, target).count_ones() as usize;
    }
    let there = !(u8::MAX << rest.len());
    // SAFETY: only the lanes in `there` are read, and `rest` has as many heads.
    let lanes = unsafe { _mm512_maskz_loadu_epi64(there, rest.as_ptr().cast()) };
    below + _mm512_mask_cmplt_epu64_mask(there, lanes, target).count_ones() as usize
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn matches(column: &[u8], byte: u8) -> u64 {
    let there = match column.len() {
        0 => return 0,
        len => u64::MAX >> (64 - len),
    };
    // SAFETY: only the lanes in `there` are read, and the column has as many bytes.
    let lanes = unsafe { _mm512_maskz_loadu_epi8(there, column.as_ptr().cast()) };
    _mm512_mask_cmpeq_epi8_mask(there, lanes, _mm512_set1_epi8(byte as i8))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn line_holds(line: &Line, hash: u32, bits: u32) -> bool {
    // SAFETY: eight numbers of 4 bytes that a reference leads to may be read.
    let powers = unsafe { _mm256_loadu_si256(LINE_POWERS.as_ptr().cast()) };
    // SAFETY: 64 bytes that a reference leads to may be read, at any address.
    let line = unsafe { _mm512_loadu_si512(line.as_ptr().cast()) };

    // Eight bits, each a number of a 4-byte word and a bit of it; only the first `bits` count.
    let numbers = _mm256_mullo_epi32(_mm256_set1_epi32(hash as i32), powers);
    let numbers = _mm256_srli_epi32::<23>(numbers);
    let word = _mm512_castsi256_si512(_mm256_srli_epi32::<5>(numbers));
    let words = _mm512_castsi512_si256(_mm512_permutexvar_epi32(word, line));
    let bit = _mm256_and_si256(numbers, _mm256_set1_epi32(31));
    let wanted = _mm256_sllv_epi32(_mm256_set1_epi32(1), bit);
    let counts = !(u16::from(u8::MAX) << bits) as u8;
    _mm256_mask_testn_epi32_mask(counts, words, wanted) == 0
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn hash_long(bytes: &[u8], seed: u64) -> u64 {
    stripes::hash_long(bytes, seed, |sums, stripes, secret| take_in(sums, stripes, secret))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn take_in(sums: &mut Sums, stripes: &[Stripe], secret: &[u8]) {
    // SAFETY: eight numbers of 8 bytes that a reference leads to may be read.
    let mut held = unsafe { _mm512_loadu_si512(sums.as_ptr().cast()) };
    for (n, stripe) in stripes.iter().enumerate() {
        // SAFETY: 64 bytes that a reference leads to may be read, at any address.
        let data = unsafe { _mm512_loadu_si512(stripe.as_ptr().cast()) };
        // SAFETY: as above.
        let secret = unsafe { _mm512_loadu_si512(stripes::part(secret, n).as_ptr().cast()) };
        let mixed = _mm512_xor_si512(data, secret);
        let products = _mm512_mul_epu32(mixed, _mm512_srli_epi64::<32>(mixed));
        let beside = _mm512_shuffle_epi32::<_MM_PERM_BADC>(data);
        held = _mm512_add_epi64(held, _mm512_add_epi64(products, beside));
    }
    // SAFETY: the sums are 64 bytes that a mutable reference leads to.
    unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), held) };
}

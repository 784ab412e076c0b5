//! Every set against plain definitions, at every length around the widths of vectors.

use proptest::prelude::*;

use super::scalar::line_bits;
use super::{Kernels, LINE_BITS_MAX, LONG_BYTES_MIN, Line, available, kernels};

/// Lengths of columns: all up to some vectors, and some hundreds.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..140_usize, 1 => 140..700_usize]
}

/// Ascending heads, close together, far apart, or half of them with the highest bit set.
fn heads() -> impl Strategy<Value = Vec<u64>> {
    let one = prop_oneof![0..40_u64, any::<u64>(), (0..40_u64).prop_map(|n| u64::MAX - n)];
    lengths().prop_flat_map(move |len| prop::collection::vec(one.clone(), len)).prop_map(
        |mut heads| {
            heads.sort_unstable();
            heads
        },
    )
}

fn check_heads(heads: &[u64], target: u64, offset: usize) -> Result<(), TestCaseError> {
    let expected = heads.iter().filter(|head| **head < target).count();
    // What stands around the column must not count.
    let mut bytes = vec![0; offset];
    bytes.extend(heads.iter().flat_map(|head| head.to_le_bytes()));
    let end = bytes.len();
    bytes.extend([0; 64]);
    for set in available() {
        prop_assert_eq!(set.heads_below(heads, target), expected, "{}", set.name());
        let below = set.le_heads_below(&bytes[offset..end], target);
        prop_assert_eq!(below, expected, "{} at offset {}", set.name(), offset);
    }
    Ok(())
}

fn expected_bits(hash: u32, bits: u32) -> Line {
    let mut line = [0; 64];
    let mut g = hash;
    for _ in 0..bits {
        let bit = (g >> 23) as usize;
        line[bit / 8] |= 1 << (bit % 8);
        g = g.wrapping_mul(0x9e37_79b9);
    }
    line
}

fn contains(line: &Line, wanted: &Line) -> bool {
    line.iter().zip(wanted).all(|(have, want)| have & want == *want)
}

#[test]
fn hash_long_is_xxh3() {
    let bytes: Vec<u8> =
        (0..20_000_u32).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
    let lengths = (LONG_BYTES_MIN..2_200).chain([8_184, 8_192, 19_900]);
    for (n, length) in lengths.enumerate() {
        let seed = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let input = &bytes[n % 9..][..length];
        let expected = xxhash_rust::xxh3::xxh3_64_with_seed(input, seed);
        for set in available() {
            assert_eq!(set.hash_long(input, seed), expected, "{} of {length} bytes", set.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn heads_below_is_the_partition_point(
        heads in heads(), targets in prop::collection::vec(any::<u64>(), 4), offset in 0..9_usize,
    ) {
        let near = heads.iter().copied().step_by(7);
        let near: Vec<u64> = near.flat_map(|head| [head, head.wrapping_add(1)]).collect();
        for target in near.into_iter().chain(targets).chain([0, 20, u64::MAX / 2, u64::MAX]) {
            check_heads(&heads, target, offset)?;
        }
    }

    #[test]
    fn positions_are_where_the_byte_stands(
        column in lengths().prop_flat_map(|len| prop::collection::vec(0..4_u8, len)),
        spread in prop_oneof![Just(1_u8), Just(64), Just(85)],
        offset in 0..9_usize,
    ) {
        let mut padded = vec![spread; offset];
        padded.extend(column.iter().map(|n| n * spread));
        let end = padded.len();
        padded.extend([spread; 64]);
        let column = &padded[offset..end];
        for byte in [0, spread, spread.wrapping_mul(2), spread.wrapping_mul(3), 7, 0xff] {
            let expected: Vec<usize> = (0..column.len()).filter(|at| column[*at] == byte).collect();
            for set in available() {
                let found: Vec<usize> = set.positions(column, byte).collect();
                prop_assert_eq!(&found, &expected, "{}", set.name());
                let first = &column[..column.len().min(64)];
                let mask = first.iter().enumerate().filter(|(_, at)| **at == byte);
                let mask = mask.fold(0, |mask, (n, _)| mask | 1_u64 << n);
                prop_assert_eq!(set.matches(first, byte), mask, "{}", set.name());
            }
        }
    }

    #[test]
    fn lines_hold_what_was_added_and_tell_the_rest_as_the_format_says(
        added in prop::collection::vec(any::<u32>(), 0..60),
        probes in prop::collection::vec(any::<u32>(), 0..60),
        bits in 0..=LINE_BITS_MAX,
    ) {
        let mut expected = [0; 64];
        for hash in &added {
            let of_key = expected_bits(*hash, bits);
            expected.iter_mut().zip(of_key).for_each(|(byte, more)| *byte |= more);
        }
        for set in available() {
            let mut line = [0; 64];
            added.iter().for_each(|hash| set.line_add(&mut line, *hash, bits));
            prop_assert_eq!(line, expected, "{}", set.name());
            prop_assert!(added.iter().all(|hash| set.line_holds(&line, *hash, bits)));
            for hash in &probes {
                let holds = contains(&line, &expected_bits(*hash, bits));
                prop_assert_eq!(set.line_holds(&line, *hash, bits), holds, "{}", set.name());
            }
        }
    }

    #[test]
    fn one_missing_bit_is_enough(hash: u32, bits in 1..=LINE_BITS_MAX) {
        let missing: Vec<usize> = line_bits(hash, bits).collect();
        for set in available() {
            for bit in &missing {
                let mut line = [0xff; 64];
                line[bit / 8] &= !(1 << (bit % 8));
                prop_assert!(!set.line_holds(&line, hash, bits), "{} at {bit}", set.name());
            }
        }
    }
}

#[test]
fn every_length_around_a_vector_is_searched_whole() {
    for len in 0..=260 {
        let heads: Vec<u64> = (0..len).map(|n| u64::MAX / 300 * n).collect();
        for below in 0..=len {
            let target = if below == 0 { 0 } else { heads[below as usize - 1] + 1 };
            check_heads(&heads, target, 3).unwrap();
        }
    }
}

#[test]
fn the_scalar_set_is_the_last_resort_and_the_best_one_is_taken() {
    let names: Vec<&str> = available().map(Kernels::name).collect();
    assert_eq!(names.last(), Some(&"scalar"));
    let expected = std::env::var("ESKER_SIMD").unwrap_or_else(|_| names[0].to_owned());
    assert_eq!(kernels().name(), expected);
}

//! The inner loops of a search, over columns. Plain loops; vectors can replace them one by one.

/// The first of `0..n` for which `holds` is true, `n` if there is none. `holds` must be false up
/// to some point and true from there on.
pub(super) fn first_where(
    mut range: std::ops::Range<usize>,
    mut holds: impl FnMut(usize) -> bool,
) -> usize {
    while range.start < range.end {
        let middle = range.start + (range.end - range.start) / 2;
        if holds(middle) {
            range.end = middle;
        } else {
            range.start = middle + 1;
        }
    }
    range.start
}

/// Where in `column` `byte` stands, ascending.
///
/// Eight bytes at a time: `x` has a zero byte where the column has `byte`, and subtracting one
/// from each byte borrows into the high bit of a byte that was zero. The borrow can run on into
/// the byte above, so a hit is looked at again.
pub(super) fn positions_of(byte: u8, column: &[u8]) -> impl Iterator<Item = usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = LOW << 7;
    column.chunks(8).enumerate().flat_map(move |(n, chunk)| {
        let mut lanes = [!byte; 8];
        lanes[..chunk.len()].copy_from_slice(chunk);
        let x = u64::from_le_bytes(lanes) ^ (LOW * u64::from(byte));
        let mut hits = x.wrapping_sub(LOW) & !x & HIGH;
        std::iter::from_fn(move || {
            while hits != 0 {
                let lane = hits.trailing_zeros() as usize / 8;
                hits &= hits - 1;
                if lanes[lane] == byte {
                    return Some(n * 8 + lane);
                }
            }
            None
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_are_found_where_they_stand(
            column in proptest::collection::vec(0_u8..4, 0..100),
            spread in prop_oneof![Just(1_u8), Just(64), Just(85)],
        ) {
            let column: Vec<u8> = column.iter().map(|n| n * spread).collect();
            for byte in [0, spread, 2 * spread, 3_u8.wrapping_mul(spread), 7] {
                let expected: Vec<_> =
                    (0..column.len()).filter(|at| column[*at] == byte).collect();
                prop_assert_eq!(positions_of(byte, &column).collect::<Vec<_>>(), expected);
            }
        }

        #[test]
        fn the_first_is_the_partition_point(mut column: Vec<u8>, at: u8) {
            column.sort_unstable();
            prop_assert_eq!(
                first_where(0..column.len(), |n| column[n] >= at),
                column.partition_point(|byte| *byte < at)
            );
        }
    }
}

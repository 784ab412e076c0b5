//! The search where no column of heads can be compared at once: by halves.

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
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

//! CRC-32C of short pieces: a record of a log is two of them, 20 bytes and some hundred.
//!
//! The processor has an instruction for 8 bytes. The crate that computes long ones runs three of
//! them beside each other, which pays from a KiB on and costs a short piece more than its bytes.

/// Longer pieces are left to the crate.
const SHORT_BYTES_MAX: usize = 1 << 10;

/// Continues a CRC-32C over `bytes`.
#[inline]
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() <= SHORT_BYTES_MAX && std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor was just asked for the instructions.
        return unsafe { short(crc, bytes) };
    }
    crc32c::crc32c_append(crc, bytes)
}

/// One instruction for 8 bytes, as often as they fit.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn short(crc: u32, bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u32, _mm_crc32_u64};
    let (words, rest) = bytes.as_chunks::<8>();
    let state =
        words.iter().fold(u64::from(!crc), |state, w| _mm_crc32_u64(state, u64::from_le_bytes(*w)));
    let (halves, rest) = rest.as_chunks::<4>();
    let state =
        halves.iter().fold(state as u32, |state, h| _mm_crc32_u32(state, u32::from_le_bytes(*h)));
    !rest.iter().fold(state, |state, byte| _mm_crc32_u8(state, *byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pieces_give_what_the_crate_gives() {
        assert_eq!(crc32c_append(0, b"123456789"), 0xe306_9283, "the check value of CRC-32C");
        let bytes: Vec<u8> = (0..1_100_u32).map(|n| ((n * n) >> 3) as u8).collect();
        for len in (0..200).chain(1_000..1_100) {
            for crc in [0, 1, 0x8000_0000, u32::MAX] {
                let expected = crc32c::crc32c_append(crc, &bytes[..len]);
                assert_eq!(crc32c_append(crc, &bytes[..len]), expected, "{len} bytes");
                let (a, b) = bytes[..len].split_at(len / 3);
                assert_eq!(crc32c_append(crc32c_append(crc, a), b), expected, "{len} in two");
            }
        }
    }
}

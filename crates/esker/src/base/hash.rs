//! Hashes and checksums, and what they are bound to.
//!
//! A checksum over bytes alone would accept a well-formed page at the wrong place. So every
//! checksum is seeded with the file it belongs to and the offset it stands at: XXH3 for pages of
//! tables (22 GB/s), CRC-32C for records of logs and manifests (hardware, 10 ns a record).

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::base::planted::{self, Bug};
use crate::base::simd::crc::crc32c_append;
use crate::base::simd::{LONG_BYTES_MIN, kernels};

/// The hash of a key that filters and fingerprints are made from. Part of the table format.
pub fn key_hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// Checksum of `bytes` as they stand at `offset` of the table file with this number, in the
/// store with this id.
pub fn page_checksum(bytes: &[u8], store_id: u64, file_number: u64, offset: u64) -> u64 {
    let anywhere = planted::is_on(Bug::ChecksumWithoutPlace);
    let (file_number, offset) = if anywhere { (0, 0) } else { (file_number, offset) };
    let seed = place_seed(store_id, file_number, offset);
    if bytes.len() < LONG_BYTES_MIN {
        return xxh3_64_with_seed(bytes, seed);
    }
    kernels().hash_long(bytes, seed)
}

/// CRC-32C of `bytes` as they stand at `offset` of the log or manifest file with this number, in
/// the store with this id.
pub fn record_checksum(bytes: &[u8], store_id: u64, file_number: u64, offset: u64) -> u32 {
    let file_number = if planted::is_on(Bug::ChecksumWithoutSegment) { 0 } else { file_number };
    let seed = place_seed(store_id, file_number, offset);
    crc32c_append((seed ^ (seed >> 32)) as u32, bytes)
}

/// Continues a CRC-32C.
pub fn record_checksum_append(checksum: u32, bytes: &[u8]) -> u32 {
    crc32c_append(checksum, bytes)
}

/// Mixes a place into 64 bits: multiplications by odd constants, so that neighbouring numbers
/// and offsets give unrelated seeds.
fn place_seed(store_id: u64, file_number: u64, offset: u64) -> u64 {
    let mut seed = store_id ^ file_number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    seed = (seed ^ (seed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    seed ^= offset.wrapping_mul(0x94d0_49bb_1331_11eb);
    (seed ^ (seed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_bound_to_store_file_and_offset() {
        let page = page_checksum(b"page", 1, 2, 3);
        let record = record_checksum(b"record", 1, 2, 3);
        for (store, file, offset) in [(2, 2, 3), (1, 3, 3), (1, 2, 8195), (1, 2, 11)] {
            assert_ne!(page, page_checksum(b"page", store, file, offset));
            assert_ne!(record, record_checksum(b"record", store, file, offset));
        }
    }

    #[test]
    fn hashes_are_part_of_the_format() {
        assert_eq!(key_hash(b"user:42"), xxh3_64(b"user:42"));
        assert_eq!(key_hash(b""), 0x2d06_8005_38d3_94c2, "XXH3 of nothing, seed 0");
    }
}

//! Every upper bound, why it is what it is, and the one check at the door.
//!
//! [`check_key`] and [`check_value`] run before the first byte is written anywhere. Decoders use
//! the same constants to bound what bytes from disk can make them allocate.

use crate::base::error::{Error, Result};

/// Longest key. Lengths fit 16 bits in every format.
pub const KEY_BYTES_MAX: usize = 65_535;

/// Longest value. It must fit one block and one log record with room to spare.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// Longest encoded batch, and so the longest payload of a log record.
pub const BATCH_BYTES_MAX: usize = 128 << 20;

/// Most bytes that an operation's header (kind, keyspace, lengths) adds to key and value.
pub const OP_OVERHEAD_BYTES_MAX: usize = 1 + 5 + 5 + 5;

/// Longest name of a keyspace.
pub const KEYSPACE_NAME_BYTES_MAX: usize = 255;

/// Levels of a store: L0 to L6. Ten times larger each, L6 holds 10^7 memtables.
pub const LEVELS: usize = 7;

/// Longest payload of one record of a manifest. A table takes about 100 bytes and two keys.
pub const MANIFEST_RECORD_BYTES_MAX: usize = 512 << 20;

// The largest single write must be expressible as a batch.
const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX + OP_OVERHEAD_BYTES_MAX <= BATCH_BYTES_MAX);
// Lengths of records are stored in 32 bits.
const _: () = assert!(BATCH_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(MANIFEST_RECORD_BYTES_MAX <= u32::MAX as usize);

/// `Ok` if `key` may be stored.
#[inline]
pub fn check_key(key: &[u8]) -> Result<()> {
    if key.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!("key of {} bytes: at most {KEY_BYTES_MAX} are allowed", key.len())))
}

/// `Ok` if `value` may be stored.
#[inline]
pub fn check_value(value: &[u8]) -> Result<()> {
    if value.len() <= VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "value of {} bytes: at most {VALUE_BYTES_MAX} are allowed",
        value.len()
    )))
}

/// `Ok` if a keyspace may have this name.
pub fn check_keyspace_name(name: &str) -> Result<()> {
    if !name.is_empty() && name.len() <= KEYSPACE_NAME_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "keyspace name of {} bytes: 1 to {KEYSPACE_NAME_BYTES_MAX} are allowed",
        name.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_at_one_below_at_and_one_above() {
        let bytes = vec![0; VALUE_BYTES_MAX + 1];
        for (len, ok) in
            [(KEY_BYTES_MAX - 1, true), (KEY_BYTES_MAX, true), (KEY_BYTES_MAX + 1, false)]
        {
            assert_eq!(check_key(&bytes[..len]).is_ok(), ok, "key of {len}");
        }
        for (len, ok) in
            [(VALUE_BYTES_MAX - 1, true), (VALUE_BYTES_MAX, true), (VALUE_BYTES_MAX + 1, false)]
        {
            assert_eq!(check_value(&bytes[..len]).is_ok(), ok, "value of {len}");
        }
        assert!(check_keyspace_name("").is_err());
        assert!(check_keyspace_name(&"x".repeat(255)).is_ok());
        assert!(check_keyspace_name(&"x".repeat(256)).is_err());
    }
}

//! The shape of a store as arithmetic: targets, scores, amplifications.

use crate::base::limits::LEVELS;

/// L0 is due over this many tables.
pub const L0_TABLES_MAX: usize = 4;

/// `max_bytes` of a level: the base for L0, ten times more for each deeper one.
pub fn max_bytes(level_base_bytes: u64, level: usize) -> u64 {
    (0..level).fold(level_base_bytes, |bytes, _| bytes.saturating_mul(10))
}

/// How urgent a level is: over 1 it is due. The deepest level never is.
pub fn score(level_base_bytes: u64, level: usize, tables: usize, bytes: u64) -> f64 {
    if level == 0 {
        return tables as f64 / L0_TABLES_MAX as f64;
    }
    if level + 1 == LEVELS {
        return 0.0;
    }
    bytes as f64 / max_bytes(level_base_bytes, level) as f64
}

/// Bytes written to tables per byte that users wrote; 0 before the first flush.
pub fn write_amplification(table_bytes_written: u64, user_bytes: u64) -> f64 {
    if user_bytes == 0 { 0.0 } else { table_bytes_written as f64 / user_bytes as f64 }
}

/// Bytes of all tables per byte of the deepest level that holds one; 1 while at most one does.
pub fn space_amplification(level_bytes: &[u64]) -> f64 {
    match level_bytes.iter().rev().find(|bytes| **bytes > 0) {
        Some(deepest) => level_bytes.iter().sum::<u64>() as f64 / *deepest as f64,
        None => 1.0,
    }
}

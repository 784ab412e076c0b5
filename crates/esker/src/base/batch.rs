//! `WriteBatch`: operations that happen together, in one encoding for API, log and memtable.
//!
//! ```text
//! operation := kind u8 | keyspace varint | key length varint | key
//!              | value length varint | value          (the last two for a put alone)
//! ```
//!
//! The encoded operations are the payload of one log record, byte for byte; recovery reads them
//! back with [`decode_ops`]. Operation *i* of a batch gets sequence number *first + i*, so within a
//! batch the last operation on a key wins.

use crate::base::codec::{Reader, put_bytes, put_varint};
use crate::base::error::{Error, Result};
use crate::base::key::{KeyspaceId, Kind};
use crate::base::limits::{
    self, BATCH_BYTES_MAX, KEY_BYTES_MAX, OP_OVERHEAD_BYTES_MAX, VALUE_BYTES_MAX,
};

/// A group of puts and deletes that is written whole or not at all, also over keyspaces.
///
/// Building one cannot fail: an operation that breaks a limit is remembered, and the write that
/// takes the batch answers `InvalidArgument` before anything happens. An empty batch is fine and
/// does nothing.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let db = esker::Db::open(dir.path())?;
/// let mut batch = esker::WriteBatch::new();
/// batch.put("a", "1");
/// batch.delete("b");
/// db.write(batch)?;
/// assert_eq!(db.get("a")?.unwrap(), "1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    ops: Vec<u8>,
    count: u32,
    /// The store whose keyspace handles were used; `None` while only default ones were.
    store: Option<u64>,
    refused: Option<Error>,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value` in the default keyspace.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.push_put(KeyspaceId::DEFAULT, key.as_ref(), value.as_ref());
    }

    /// Removes `key` from the default keyspace; a key that is not there is no error.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.push_delete(KeyspaceId::DEFAULT, key.as_ref());
    }

    /// How many operations it holds.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether it holds no operation.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its encoded size in bytes; at most 128 MiB can be written.
    pub fn encoded_bytes(&self) -> usize {
        self.ops.len()
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.ops.clear();
        self.count = 0;
        (self.store, self.refused) = (None, None);
    }

    pub(crate) fn push_put(&mut self, keyspace: KeyspaceId, key: &[u8], value: &[u8]) {
        self.push(Op::put(keyspace, key, value));
    }

    pub(crate) fn push_delete(&mut self, keyspace: KeyspaceId, key: &[u8]) {
        self.push(Op::delete(keyspace, key));
    }

    /// Adds an operation.
    pub(crate) fn push(&mut self, op: Op<'_>) {
        if self.admit(op.check()) {
            op.encode(&mut self.ops);
            self.count += 1;
        }
    }

    /// Remembers the first refusal; a refused batch takes no more operations, so that it cannot
    /// grow without bound either.
    fn admit(&mut self, checked: Result<()>) -> bool {
        if self.refused.is_none() {
            self.refused = checked.err();
        }
        if self.refused.is_none() && self.ops.len() > BATCH_BYTES_MAX {
            self.refused = Some(too_long(self.ops.len()));
        }
        self.refused.is_none()
    }

    /// Notes that a handle of the store with this instance number was used.
    pub(crate) fn bind(&mut self, store: u64) {
        match self.store {
            None => self.store = Some(store),
            Some(bound) if bound == store => {}
            Some(_) => {
                self.admit(Err(Error::invalid("a batch holds keyspaces of two different stores")));
            }
        }
    }

    /// `Ok` if the store with this instance number may write it.
    pub(crate) fn check(&self, store: u64) -> Result<()> {
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        if self.store.is_some_and(|bound| bound != store) {
            return Err(Error::invalid("the batch holds keyspaces of another store"));
        }
        if self.ops.len() > BATCH_BYTES_MAX {
            return Err(too_long(self.ops.len()));
        }
        Ok(())
    }

    /// Whether it may hold operations on other keyspaces than the default one.
    pub(crate) fn names_keyspaces(&self) -> bool {
        self.store.is_some()
    }

    /// The encoded operations.
    pub(crate) fn ops(&self) -> &[u8] {
        &self.ops
    }
}

fn too_long(bytes: usize) -> Error {
    Error::invalid(format!("batch of {bytes} encoded bytes: at most {BATCH_BYTES_MAX} are allowed"))
}

/// One operation of an encoded batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op<'a> {
    /// Where it happens.
    pub keyspace: KeyspaceId,
    /// What it does.
    pub kind: Kind,
    /// The key.
    pub key: &'a [u8],
    /// The value; empty for a delete.
    pub value: &'a [u8],
}

impl<'a> Op<'a> {
    /// Sets a key.
    pub(crate) fn put(keyspace: KeyspaceId, key: &'a [u8], value: &'a [u8]) -> Self {
        Self { keyspace, kind: Kind::Put, key, value }
    }

    /// Removes a key.
    pub(crate) fn delete(keyspace: KeyspaceId, key: &'a [u8]) -> Self {
        Self { keyspace, kind: Kind::Delete, key, value: &[] }
    }

    /// `Ok` if it keeps the limits.
    pub(crate) fn check(&self) -> Result<()> {
        limits::check_key(self.key).and_then(|()| limits::check_value(self.value))
    }

    /// Appends it to encoded operations.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(OP_OVERHEAD_BYTES_MAX + self.key.len() + self.value.len());
        out.push(self.kind as u8);
        put_varint(out, u64::from(self.keyspace.0));
        put_bytes(out, self.key);
        if self.kind == Kind::Put {
            put_bytes(out, self.value);
        }
    }
}

/// Why encoded operations could not be read, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadOp {
    /// Byte offset of the operation inside the encoded batch.
    pub offset: usize,
    /// Its kind byte, if it is one that a newer version may understand.
    pub reserved_kind: Option<u8>,
}

/// Reads encoded operations one by one; after a bad one it ends.
pub fn decode_ops(encoded: &[u8]) -> impl Iterator<Item = std::result::Result<Op<'_>, BadOp>> {
    let mut reader = Reader::new(encoded);
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || reader.is_empty() {
            return None;
        }
        let offset = reader.position();
        let reserved_kind = encoded.get(offset).copied().filter(|n| Kind::RESERVED.contains(n));
        let op = decode_op(&mut reader).ok_or(BadOp { offset, reserved_kind });
        failed = op.is_err();
        Some(op)
    })
}

fn decode_op<'a>(reader: &mut Reader<'a>) -> Option<Op<'a>> {
    let kind = Kind::from_u8(reader.u8()?)?;
    let keyspace = KeyspaceId(reader.varint_u32()?);
    let key = reader.bytes(KEY_BYTES_MAX)?;
    let value = match kind {
        Kind::Put => reader.bytes(VALUE_BYTES_MAX)?,
        Kind::Delete => &[],
    };
    Some(Op { keyspace, kind, key, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::ErrorKind;

    #[test]
    fn operations_are_read_back_in_order() {
        let mut batch = WriteBatch::new();
        batch.put("a", "1");
        batch.push_put(KeyspaceId(300), b"", b"");
        batch.delete("b");
        let ops: Vec<_> = decode_ops(batch.ops()).map(|op| op.unwrap()).collect();
        assert_eq!(ops.len(), batch.len());
        assert_eq!(ops[0].value, b"1");
        assert_eq!((ops[1].keyspace, ops[1].key), (KeyspaceId(300), &b""[..]));
        assert_eq!((ops[2].kind, ops[2].key), (Kind::Delete, &b"b"[..]));
    }

    #[test]
    fn a_batch_cut_anywhere_is_a_bad_operation_or_a_shorter_batch() {
        let mut batch = WriteBatch::new();
        batch.put("key", "value");
        batch.delete("other");
        for len in 0..batch.ops().len() {
            let whole = decode_ops(&batch.ops()[..len]).filter(|op| op.is_ok()).count();
            assert!(whole < 2, "cut at {len}");
        }
        let reserved = decode_ops(&[3, 0, 0]).next().unwrap().unwrap_err();
        assert_eq!(reserved, BadOp { offset: 0, reserved_kind: Some(3) });
    }

    #[test]
    fn an_oversized_operation_refuses_the_whole_batch() {
        let mut batch = WriteBatch::new();
        batch.put(vec![0; KEY_BYTES_MAX + 1], "v");
        batch.put("fine", "v");
        assert!(batch.is_empty());
        assert_eq!(batch.check(1).unwrap_err().kind(), ErrorKind::InvalidArgument);
        batch.clear();
        assert!(batch.check(1).is_ok());
    }

    #[test]
    fn a_batch_of_two_stores_is_refused() {
        let mut batch = WriteBatch::new();
        batch.bind(1);
        assert!(batch.check(1).is_ok());
        assert!(batch.check(2).is_err());
        batch.bind(2);
        assert!(batch.check(1).is_err());
    }
}

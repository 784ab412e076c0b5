//! `Value`: the bytes that a read hands out.
//!
//! It owns or shares what it shows, so it outlives the store, is cheap to clone and may go to
//! other threads. Long values share the memory they were found in instead of being copied.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// The value of a key: derefs to `[u8]`, clones in nanoseconds, `Send + Sync + 'static`.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let db = esker::Db::open(dir.path())?;
/// db.put("k", "v")?;
/// let value: esker::Value = db.get("k")?.expect("it was just put");
/// assert_eq!(&*value, b"v");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Value(Bytes);

impl Value {
    /// A value of its own memory.
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }

    /// A value that shares `bytes`.
    pub fn share(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes in a vector of their own.
    pub fn to_vec(&self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl Deref for Value {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<Value> for Vec<u8> {
    fn from(value: Value) -> Self {
        value.0.into()
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Value {
    fn eq(&self, other: &T) -> bool {
        *self.0 == *other.as_ref()
    }
}

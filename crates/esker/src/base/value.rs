//! `Value`: the bytes that a read hands out.
//!
//! It owns or shares what it shows, so it outlives the store, is cheap to clone and may go to
//! other threads. Long values share the memory they were found in instead of being copied, and
//! short ones lie in the `Value` itself: most keys and counters cost no allocation.

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
#[derive(Clone)]
pub struct Value(Repr);

/// So many bytes fit beside their number in what [`Bytes`] takes anyway.
const SHORT_BYTES_MAX: usize = 22;

#[derive(Clone)]
enum Repr {
    /// The first `len` of `bytes`.
    Short {
        len: u8,
        bytes: [u8; SHORT_BYTES_MAX],
    },
    Long(Bytes),
}

const _: () = assert!(size_of::<Value>() == size_of::<Bytes>(), "no room is wasted");

impl Value {
    /// A value of its own memory.
    #[inline]
    pub fn copy_from(from: &[u8]) -> Self {
        if from.len() > SHORT_BYTES_MAX {
            return Self(Repr::Long(Bytes::copy_from_slice(from)));
        }
        let mut bytes = [0; SHORT_BYTES_MAX];
        bytes[..from.len()].copy_from_slice(from);
        Self(Repr::Short { len: from.len() as u8, bytes })
    }

    /// A value that shares `bytes`.
    pub fn share(bytes: Bytes) -> Self {
        Self(Repr::Long(bytes))
    }

    /// The bytes in a vector of their own.
    pub fn to_vec(&self) -> Vec<u8> {
        (**self).to_vec()
    }
}

impl Default for Value {
    fn default() -> Self {
        Self::copy_from(&[])
    }
}

impl Deref for Value {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Long(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Bytes::copy_from_slice(self), f)
    }
}

impl From<Value> for Vec<u8> {
    fn from(value: Value) -> Self {
        match value.0 {
            Repr::Short { .. } => value.to_vec(),
            Repr::Long(bytes) => bytes.into(),
        }
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Value {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

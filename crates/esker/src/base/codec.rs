//! Reading and writing bytes that go to disk: little-endian integers, varints, and a reader that
//! cannot run past its end.
//!
//! Nothing here panics on any input: a [`Reader`] answers `None` where the bytes end too early
//! or mean nothing, and its caller, who knows file and offset, makes the error.

/// Appends a little-endian `u16`.
pub fn put_u16(out: &mut Vec<u8>, n: u16) {
    out.extend_from_slice(&n.to_le_bytes());
}

/// Appends a little-endian `u32`.
pub fn put_u32(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&n.to_le_bytes());
}

/// Appends a little-endian `u64`.
pub fn put_u64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_le_bytes());
}

/// Appends `n` in 7-bit groups, lowest first, the high bit saying that more follow: 300 is
/// `ac 02`.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a varint length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Rounds `n` up to a multiple of `unit`, a power of two; `None` past the end of `u64`.
pub fn round_up(n: u64, unit: u64) -> Option<u64> {
    debug_assert!(unit.is_power_of_two());
    Some(n.checked_add(unit - 1)? & !(unit - 1))
}

/// Takes bytes from the front of a slice; `None` where there are too few.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, len: bytes.len() }
    }

    /// How many bytes were taken.
    pub fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether all bytes were taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    /// A byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A little-endian `u32`.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A little-endian `u64`.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A varint of at most 64 bits in its shortest form; longer forms of the same number are
    /// refused, so that equal values have equal bytes.
    pub fn varint(&mut self) -> Option<u64> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            n |= bits << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return shortest.then_some(n);
            }
        }
        None
    }

    /// A varint that fits a `u32`.
    pub fn varint_u32(&mut self) -> Option<u32> {
        self.varint()?.try_into().ok()
    }

    /// A varint length, at most `len_max`, and that many bytes.
    pub fn bytes(&mut self, len_max: usize) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        if len > len_max {
            return None;
        }
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_put_is_read_back(a: u16, b: u32, c: u64, d: u64, bytes: Vec<u8>) {
            let mut out = Vec::new();
            put_u16(&mut out, a);
            put_u32(&mut out, b);
            put_u64(&mut out, c);
            put_varint(&mut out, d);
            put_bytes(&mut out, &bytes);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.take(2), Some(&a.to_le_bytes()[..]));
            prop_assert_eq!(reader.u32(), Some(b));
            prop_assert_eq!(reader.u64(), Some(c));
            prop_assert_eq!(reader.varint(), Some(d));
            prop_assert_eq!(reader.bytes(usize::MAX), Some(&bytes[..]));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn no_bytes_make_a_reader_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.varint().is_some() {}
            let mut reader = Reader::new(&bytes);
            while reader.bytes(10).is_some() {}
        }
    }

    #[test]
    fn varints_have_one_form() {
        assert_eq!(Reader::new(&[0xac, 0x02]).varint(), Some(300));
        assert_eq!(Reader::new(&[0x80, 0x00]).varint(), None, "padded zero");
        assert_eq!(Reader::new(&[0xff; 10]).varint(), None, "over 64 bits");
        assert_eq!(Reader::new(&[0x80]).varint(), None, "cut off");
    }
}

//! Tagged, length-prefixed fields: how records of the manifest can grow.
//!
//! `field := tag varint | length varint | bytes`. An odd tag is optional: who does not know it
//! skips it. An even one is required: who does not know it must not go on.

use crate::base::codec::{Reader, put_bytes, put_varint};

/// Why a payload could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadField {
    /// It makes no sense, although its checksum holds.
    Malformed(&'static str),
    /// A newer version wrote it.
    Unknown {
        /// In which list of fields.
        list: &'static str,
        /// The required tag that this build does not know.
        tag: u64,
    },
}

/// What decoders of fields return.
pub type Decoded<T> = std::result::Result<T, BadField>;

/// Appends a field whose bytes `fill` writes.
pub fn put_field(out: &mut Vec<u8>, tag: u64, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    fill(&mut bytes);
    put_varint(out, tag);
    put_bytes(out, &bytes);
}

/// Hands each field of `list` to `field`, which answers `None` for a tag that it does not know.
pub fn read_fields<'a>(
    list: &'static str,
    mut reader: Reader<'a>,
    field: &mut dyn FnMut(u64, &mut Reader<'a>) -> Option<Decoded<()>>,
) -> Decoded<()> {
    while !reader.is_empty() {
        let tag = reader.varint().ok_or(BadField::Malformed(list))?;
        let bytes = reader.bytes(usize::MAX).ok_or(BadField::Malformed(list))?;
        let mut bytes = Reader::new(bytes);
        match field(tag, &mut bytes) {
            Some(decoded) => decoded?,
            None if tag % 2 == 1 => continue,
            None => return Err(BadField::Unknown { list, tag }),
        }
        if !bytes.is_empty() {
            return Err(BadField::Malformed(list));
        }
    }
    Ok(())
}

/// Fills `slot` with what a field holds; a field of which there may be one came twice otherwise.
pub fn once<T>(slot: &mut Option<T>, what: &'static str, value: Option<T>) -> Decoded<()> {
    let value = value.ok_or(BadField::Malformed(what))?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(BadField::Malformed(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> Decoded<u64> {
        let mut sum = 0;
        read_fields("test", Reader::new(bytes), &mut |tag, field| {
            (tag == 2).then(|| {
                sum += field.varint().ok_or(BadField::Malformed("number"))?;
                Ok(())
            })
        })?;
        Ok(sum)
    }

    #[test]
    fn unknown_optional_fields_are_skipped_and_required_ones_refused() {
        let mut bytes = Vec::new();
        put_field(&mut bytes, 2, |out| put_varint(out, 300));
        put_field(&mut bytes, 7, |out| out.extend_from_slice(b"from the future"));
        put_field(&mut bytes, 2, |out| put_varint(out, 1));
        assert_eq!(sum(&bytes), Ok(301));
        put_field(&mut bytes, 8, |_| {});
        assert_eq!(sum(&bytes), Err(BadField::Unknown { list: "test", tag: 8 }));
    }

    #[test]
    fn what_is_left_of_a_field_is_malformed() {
        let mut bytes = Vec::new();
        put_field(&mut bytes, 2, |out| out.extend_from_slice(&[1, 1]));
        assert_eq!(sum(&bytes), Err(BadField::Malformed("test")));
        assert_eq!(sum(&bytes[..2]), Err(BadField::Malformed("test")));
    }
}

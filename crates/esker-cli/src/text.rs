//! Keys and values as a person types and reads them.
//!
//! Typed, a key is its UTF-8 bytes, or hexadecimal digits with `--hex`. Shown, bytes that are
//! printable text stand as they are; others are escaped, every one of them so that the whole can
//! be read back: `\n`, `\t`, `\r`, `\\`, and `\x` with two digits.

use std::fmt::Write;

use clap::ValueEnum;

/// How bytes are typed and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Syntax {
    /// As text.
    Text,
    /// As hexadecimal digits, two a byte.
    Hex,
}

impl Syntax {
    /// The bytes that `typed` means, or why it means none.
    pub fn read(self, typed: &str) -> Result<Vec<u8>, String> {
        match self {
            Self::Text => Ok(typed.as_bytes().to_vec()),
            Self::Hex => read_hex(typed),
        }
    }

    /// `bytes` for a line of output.
    pub fn show(self, bytes: &[u8]) -> String {
        match (self, std::str::from_utf8(bytes)) {
            (Self::Hex, _) => bytes.iter().fold(String::new(), |mut shown, byte| {
                write!(shown, "{byte:02x}").expect("a string takes all");
                shown
            }),
            (Self::Text, Ok(text)) if !text.chars().any(char::is_control) => text.to_owned(),
            (Self::Text, _) => escape(bytes),
        }
    }
}

fn read_hex(typed: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = typed
        .chars()
        .map(|c| {
            let digit = c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            digit.ok_or_else(|| format!("{typed:?} is not hexadecimal: {c:?} is no digit"))
        })
        .collect::<Result<_, _>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(format!("{typed:?} is not hexadecimal: it has an odd number of digits"));
    }
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Control characters, backslashes and bytes that are no UTF-8, escaped.
fn escape(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => shown.push_str("\\n"),
                '\t' => shown.push_str("\\t"),
                '\r' => shown.push_str("\\r"),
                '\\' => shown.push_str("\\\\"),
                c if c.is_control() => {
                    escape_bytes(c.encode_utf8(&mut [0; 4]).as_bytes(), &mut shown)
                }
                c => shown.push(c),
            }
        }
        escape_bytes(chunk.invalid(), &mut shown);
    }
    shown
}

fn escape_bytes(bytes: &[u8], shown: &mut String) {
    for byte in bytes {
        write!(shown, "\\x{byte:02x}").expect("a string takes all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_text_stands_as_it_is() {
        for text in ["", "user:42", "{\"a\":\"b\\n\"}", "naïve → ünï"] {
            assert_eq!(Syntax::Text.show(text.as_bytes()), text);
            assert_eq!(Syntax::Text.read(text).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn anything_else_is_escaped() {
        assert_eq!(Syntax::Text.show(b"a\nb\t\\"), "a\\nb\\t\\\\");
        assert_eq!(Syntax::Text.show(b"\x00\x1b[2J\xff\xc3"), "\\x00\\x1b[2J\\xff\\xc3");
        assert_eq!(Syntax::Text.show("ü\u{85}".as_bytes()), "ü\\xc2\\x85");
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs() {
        assert_eq!(Syntax::Hex.read("00fFa1").unwrap(), [0, 0xff, 0xa1]);
        assert_eq!(Syntax::Hex.read("").unwrap(), []);
        assert_eq!(Syntax::Hex.show(&[0, 0xff, 0xa1]), "00ffa1");
        assert!(Syntax::Hex.read("abc").unwrap_err().contains("odd number of digits"));
        assert!(Syntax::Hex.read("0g").unwrap_err().contains("'g' is no digit"));
        assert!(Syntax::Hex.read("0é").unwrap_err().contains("'é' is no digit"));
    }
}

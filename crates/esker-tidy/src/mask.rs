//! Splits Rust source into code and comments, position by position.
//!
//! Both halves are as long as the source and have its line ends, so that an offset or a line
//! number means the same place in all three:
//!
//! ```text
//! source    let s = "a // b"; // why
//! code      let s = "      ";
//! comments                    // why
//! ```
//!
//! The contents of string and character literals are in neither half.

/// Source text, split.
pub struct Masked {
    /// The source with comments and the contents of literals blanked.
    pub code: String,
    /// The source with everything but comments blanked.
    pub comments: String,
}

/// Splits `source`.
pub fn mask(source: &str) -> Masked {
    let bytes = source.as_bytes();
    let mut code = blank(bytes);
    let mut comments = code.clone();
    let mut at = 0;
    while at < bytes.len() {
        let end;
        if bytes[at..].starts_with(b"//") {
            end = find(bytes, at, b"\n").unwrap_or(bytes.len());
            comments[at..end].copy_from_slice(&bytes[at..end]);
        } else if bytes[at..].starts_with(b"/*") {
            end = block_comment_end(bytes, at);
            comments[at..end].copy_from_slice(&bytes[at..end]);
        } else if let Some((open, close)) = literal(bytes, at) {
            end = close;
            code[at..open].copy_from_slice(&bytes[at..open]);
            code[end - 1] = bytes[end - 1];
        } else {
            end = at + 1;
            code[at] = bytes[at];
        }
        at = end;
    }
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Masked { code: text(&code), comments: text(&comments) }
}

/// Spaces for everything but line ends.
fn blank(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }).collect()
}

fn find(bytes: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    (from..bytes.len()).find(|at| bytes[*at..].starts_with(wanted))
}

/// The end of the block comment at `at`; such comments nest.
fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0;
    let mut i = at;
    while i < bytes.len() {
        if bytes[i..].starts_with(b"/*") {
            depth += 1;
            i += 2;
        } else if bytes[i..].starts_with(b"*/") {
            depth -= 1;
            i += 2;
            if depth == 0 {
                return i;
            }
        } else {
            i += 1;
        }
    }
    bytes.len()
}

/// If a literal begins at `at`: the end of its opening quote, and the end of all of it.
fn literal(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    if bytes[at] == b'\'' {
        return char_literal_end(bytes, at).map(|end| (at + 1, end));
    }
    if at > 0 && is_word(bytes[at - 1]) {
        return None;
    }
    let prefix = [&b"br"[..], b"cr", b"r", b"b", b"c", b""]
        .into_iter()
        .find(|prefix| bytes[at..].starts_with(prefix))?;
    let raw = prefix.ends_with(b"r");
    let mut open = at + prefix.len();
    let mut hashes = 0;
    while raw && bytes.get(open) == Some(&b'#') {
        hashes += 1;
        open += 1;
    }
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    open += 1;
    if raw {
        let close = [&b"\""[..], &vec![b'#'; hashes]].concat();
        let end = find(bytes, open, &close).map_or(bytes.len(), |end| end + close.len());
        return Some((open, end));
    }
    let mut i = open;
    while i < bytes.len() && bytes[i] != b'"' {
        i += if bytes[i] == b'\\' { 2 } else { 1 };
    }
    Some((open, (i + 1).min(bytes.len())))
}

/// The end of a character literal at `at`; `None` if the quote begins a lifetime.
fn char_literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let next = *bytes.get(at + 1)?;
    if next == b'\\' {
        return find(bytes, at + 3, b"'").map(|end| end + 1);
    }
    let length = match next {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    (bytes.get(at + 1 + length) == Some(&b'\'')).then_some(at + 2 + length)
}

/// Whether `byte` can be part of an identifier.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where `word` stands in `code`, not as a part of a longer identifier.
pub fn find_word<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    let ends = |at: usize| bytes.get(at).is_none_or(|byte| !is_word(*byte));
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        (*at == 0 || !is_word(bytes[at - 1]) || !is_word(word.as_bytes()[0]))
            && (ends(at + word.len()) || !is_word(word.as_bytes()[word.len() - 1]))
    })
}

/// The identifier at the start of `code`, empty if there is none.
pub fn leading_word(code: &str) -> &str {
    let end = code.bytes().position(|byte| !is_word(byte)).unwrap_or(code.len());
    &code[..end]
}

/// The offset behind the bracket that closes the one at `open`.
pub fn closing(code: &str, open: usize) -> usize {
    let bytes = code.as_bytes();
    let mut depth = 0;
    for (at, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    bytes.len()
}

/// The number of the line that holds `offset`, from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_leave_the_code() {
        let source = "let s = \"a // b\"; // why \"x\"\nf('\"', b'\\'', r#\"q\"q\"#); /* a /* b */ c */ g();";
        let masked = mask(source);
        assert_eq!(masked.code.len(), source.len());
        let code: String = masked.code.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(code, "let s = \" \"; f(' ', b' ', r#\" #); g();");
        assert!(masked.comments.contains("// why \"x\""));
        assert!(masked.comments.contains("/* a /* b */ c */"));
        assert!(!masked.comments.contains("a // b"));
    }

    #[test]
    fn lifetimes_are_code_and_unicode_keeps_its_place() {
        let source = "fn f<'a>(x: &'a str) { g('é', '×'); h(\"·\") } // ×";
        let masked = mask(source);
        assert_eq!(masked.code.len(), source.len());
        assert!(masked.code.contains("fn f<'a>(x: &'a str) {"));
        assert!(masked.code.contains("h(\"  \")"));
        assert!(masked.comments.ends_with("// ×"));
    }

    #[test]
    fn words_are_found_whole() {
        assert_eq!(find_word("unsafe_code unsafe {", "unsafe").collect::<Vec<_>>(), [12]);
        assert_eq!(find_word("xstd::fs std::fs::read", "std::fs").collect::<Vec<_>>(), [9]);
    }
}

//! Values as JSON text: how they are stored, compared, checked and written.
//!
//! A value is stored as the text it came in, without the white space outside its strings. So
//! every digit of a number (`1.0`, `1e400`, `18446744073709551616`), the order of an object's
//! members and the escapes of a string come back as they were, and a read copies bytes.
//!
//! lin-kv compares keys and values by their [`canonical`] text: members sorted by name (of equal
//! names the last one counts), strings written in one way, numbers by their digits.
//!
//! A store may hold bytes that no node wrote. [`stored_text`] never lets them break a line: what
//! is no JSON text is shown as a string.

use std::borrow::Cow;

use memchr::memchr2;
use serde_json::value::RawValue;

/// Most arrays and objects inside one another in a line.
pub(crate) const DEPTH_MAX: usize = 128;

/// Whether a JSON text opens more than [`DEPTH_MAX`] arrays and objects inside one another.
/// Any bytes may be asked about; a loop, so that no depth exhausts the stack.
pub(crate) fn is_too_deep(text: &[u8]) -> bool {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => at = string_end(text, at),
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Where the string ends whose text begins at `at`: behind its closing quote, or behind the text.
fn string_end(text: &[u8], mut at: usize) -> usize {
    while let Some(step) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += step + 1;
        if text[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    text.len()
}

/// A valid JSON text without the white space outside its strings.
pub(crate) fn compact(json: &str) -> Cow<'_, str> {
    let text = json.as_bytes();
    if !text.iter().any(|byte| is_space(*byte)) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    let (mut at, mut kept_from) = (0, 0);
    while let Some(byte) = text.get(at) {
        if *byte == b'"' {
            at = string_end(text, at + 1);
            continue;
        }
        if is_space(*byte) {
            out.push_str(&json[kept_from..at]);
            kept_from = at + 1;
        }
        at += 1;
    }
    out.push_str(&json[kept_from..]);
    Cow::Owned(out)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The one text of all JSON texts that mean the same as this valid and compact one.
///
/// ```text
/// {"b":[1.0,"\u0041"],"a":1,"a":2}   ->   {"a":2,"b":[1.0,"A"]}
/// ```
pub(crate) fn canonical(json: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    Canonical { text: json.as_bytes(), at: 0 }.value(&mut out);
    out
}

/// Walks a text that is known to be valid, compact and at most [`DEPTH_MAX`] deep.
struct Canonical<'a> {
    text: &'a [u8],
    at: usize,
}

impl Canonical<'_> {
    fn value(&mut self, out: &mut Vec<u8>) {
        match self.peek() {
            b'{' => self.object(out),
            b'[' => self.array(out),
            b'"' => self.string(out),
            _ => self.word(out),
        }
    }

    fn object(&mut self, out: &mut Vec<u8>) {
        let mut members = Vec::new();
        let mut text = Vec::new();
        self.at += 1;
        while self.peek() != b'}' {
            let start = text.len();
            self.string(&mut text);
            let name = start..text.len();
            self.at += 1;
            text.push(b':');
            self.value(&mut text);
            members.push((name, text.len()));
            self.skip_comma();
        }
        self.at += 1;
        // Stable: of equal names the last one stays last.
        members.sort_by(|(a, _), (b, _)| text[a.clone()].cmp(&text[b.clone()]));
        out.push(b'{');
        for (index, (name, end)) in members.iter().enumerate() {
            let next = members.get(index + 1);
            if next.is_some_and(|(next, _)| text[next.clone()] == text[name.clone()]) {
                continue;
            }
            out.extend_from_slice(&text[name.start..*end]);
            out.push(b',');
        }
        close(out, b'}');
    }

    fn array(&mut self, out: &mut Vec<u8>) {
        out.push(b'[');
        self.at += 1;
        while self.peek() != b']' {
            self.value(out);
            out.push(b',');
            self.skip_comma();
        }
        self.at += 1;
        close(out, b']');
    }

    /// A string in the one way this program writes it. A text with half of a surrogate pair has
    /// no such way, so it stays as it is.
    fn string(&mut self, out: &mut Vec<u8>) {
        let start = self.at;
        self.at = string_end(self.text, start + 1);
        let text = &self.text[start..self.at];
        match serde_json::from_slice::<String>(text) {
            Ok(meaning) => push_string(out, &meaning),
            Err(_) => out.extend_from_slice(text),
        }
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self, out: &mut Vec<u8>) {
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|byte| b",]}".contains(byte)).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..end]);
        self.at += end;
    }

    fn skip_comma(&mut self) {
        self.at += usize::from(self.peek() == b',');
    }

    fn peek(&self) -> u8 {
        self.text[self.at]
    }
}

/// Ends a list each of whose elements, if there are any, has a comma behind it.
fn close(out: &mut Vec<u8>, bracket: u8) {
    match out.last_mut() {
        Some(last) if *last == b',' => *last = bracket,
        _ => out.push(bracket),
    }
}

/// Writes `text` as a JSON string.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a vector takes every string");
}

/// Writes the bytes of a key. Nodes write keys in UTF-8 alone; what else a store holds is shown
/// with replacement characters.
pub(crate) fn push_key(out: &mut Vec<u8>, key: &[u8]) {
    push_string(out, &String::from_utf8_lossy(key));
}

/// The text of a stored value: compact, and no deeper than what a line may bring. Bytes that no
/// node wrote and that are no such text become a string.
pub(crate) fn stored_text(stored: &[u8]) -> Cow<'_, str> {
    match serde_json::from_slice::<&RawValue>(stored) {
        Ok(value) if !is_too_deep(stored) => compact(value.get()),
        _ => {
            let text = serde_json::to_string(&String::from_utf8_lossy(stored));
            Cow::Owned(text.expect("every string is written"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        let nested = |depth| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(!is_too_deep(&nested(DEPTH_MAX)));
        assert!(is_too_deep(&nested(DEPTH_MAX + 1)));
        assert!(!is_too_deep(&nested(3).repeat(100)), "side by side is not inside");
        assert!(!is_too_deep(format!("\"{}\\\"{}\"", "[".repeat(200), "[".repeat(200)).as_bytes()));
        assert!(!is_too_deep(format!("\"\\\\\",{}", "]".repeat(200)).as_bytes()));
        assert!(is_too_deep(format!("\"\\\\\",{}", "[".repeat(200)).as_bytes()));
        assert!(!is_too_deep(b"\"\\"), "a string that is cut off");
        assert!(is_too_deep(&vec![b'{'; 8 << 20]), "no stack is used");
    }

    #[test]
    fn compacting_drops_space_outside_strings_and_nothing_else() {
        for (from, to) in [
            ("1.0", "1.0"),
            (
                "{ \"b\" : [ 1 , 2.50 ] ,\t\"a\": null,\r\"a\":0 }",
                r#"{"b":[1,2.50],"a":null,"a":0}"#,
            ),
            (r#"" a \" b ""#, r#"" a \" b ""#),
            (r#"[ "\\" , " " ]"#, r#"["\\"," "]"#),
            ("[ ]", "[]"),
            ("[ \"\u{e9} \u{1f980}\" ]", "[\"\u{e9} \u{1f980}\"]"),
        ] {
            assert_eq!(compact(from), to);
        }
    }

    #[test]
    fn canonical_texts_are_equal_when_the_meaning_is() {
        let same = |a: &str, b: &str| canonical(a) == canonical(b);
        assert!(same(r#"{"a":1,"b":[{"d":1,"c":2}]}"#, r#"{"b":[{"c":2,"d":1}],"a":1}"#));
        assert!(same(r#""\u0041\/""#, r#""A/""#));
        assert!(same(r#"{"\u0061":1}"#, r#"{"a":1}"#));
        assert!(same(r#"{"a":1,"a":2}"#, r#"{"a":2}"#));
        assert!(!same("1", "1.0"));
        assert!(!same("1", "\"1\""));
        assert!(!same("[1,2]", "[2,1]"));
        assert!(!same("null", "\"null\""));
        assert!(!same(r#""\ud800""#, r#""\ud801""#));
        assert_eq!(canonical(r#"{"b":[1.0,"\u0041"],"a":1,"a":2}"#), br#"{"a":2,"b":[1.0,"A"]}"#);
        assert_eq!(canonical("[[],{},\"\",true]"), b"[[],{},\"\",true]");
    }

    #[test]
    fn bytes_that_are_no_json_are_shown_as_a_string() {
        assert_eq!(stored_text(b"1.0"), "1.0");
        assert_eq!(stored_text(b"hello"), "\"hello\"");
        assert_eq!(stored_text(b"{\n \"a\": 1 }"), "{\"a\":1}");
        assert_eq!(stored_text(b"1\n2"), "\"1\\n2\"");
        assert_eq!(stored_text(b"\xff"), "\"\u{fffd}\"");
        assert_eq!(stored_text(b""), "\"\"");
        let deep = ["[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1)].concat();
        assert_eq!(stored_text(deep.as_bytes()), format!("\"{deep}\""));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn pretty_text_compacts_to_compact_text(value in json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(compact(&pretty), serde_json::to_string(&value).unwrap());
        }

        #[test]
        fn canonical_text_means_the_same_and_is_a_fixed_point(value in json()) {
            let text = canonical(&serde_json::to_string(&value).unwrap());
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&text).unwrap(), value);
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(canonical(&text), text.as_bytes());
        }

        #[test]
        fn depth_of_any_bytes_is_answered(bytes in any::<Vec<u8>>()) {
            is_too_deep(&bytes);
        }
    }
}

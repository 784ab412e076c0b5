//! Hostile input of a node: lines, envelopes, values; see `base/fuzz.rs` of the engine.

use esker::internals::fuzz::Target;

use crate::envelope::Message;
use crate::line::{Content, Input, LineReader};
use crate::value::{canonical, compact, is_too_deep, stored_text};

/// A reader's buffer, twice, and what is made of a line.
const MEMORY_BYTES_MAX: usize = 16 << 20;

/// All targets of the node.
pub const TARGETS: [Target; 3] = [
    Target {
        name: "node_line",
        run: node_line,
        seeds: node_line_seeds,
        memory_bytes_max: MEMORY_BYTES_MAX,
    },
    Target {
        name: "node_envelope",
        run: node_envelope,
        seeds: node_envelope_seeds,
        memory_bytes_max: MEMORY_BYTES_MAX,
    },
    Target {
        name: "node_value",
        run: node_value,
        seeds: node_value_seeds,
        memory_bytes_max: MEMORY_BYTES_MAX,
    },
];

/// The lines of an input, whatever pieces it comes in.
fn node_line(input: &[u8]) {
    let mut expected: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    if expected.last().is_some_and(|last| last.is_empty()) {
        expected.pop();
    }
    let mut expected = expected.into_iter();
    let mut reader = LineReader::new(input);
    let mut number = 0;
    loop {
        let filled = reader.fill().expect("a slice can be read");
        for line in reader.lines() {
            number += 1;
            assert_eq!(line.number, number);
            assert_eq!(Some(line.content), expected.next().map(Content::Text));
        }
        if filled == Input::Ended {
            break;
        }
    }
    assert_eq!(expected.next(), None);
}

fn node_line_seeds() -> Vec<Vec<u8>> {
    [&b"one\ntwo\r\n\nno newline"[..], b"\n\n", b"\0\xff\n"].map(<[u8]>::to_vec).into()
}

/// A line, and every field of a body in every type.
fn node_envelope(input: &[u8]) {
    let Ok(message) = Message::parse(input) else { return };
    let is_string =
        |text: &str| serde_json::from_str::<String>(text).is_ok() || text.contains("\\u");
    assert!(is_string(message.address.src), "it is echoed");
    assert!(message.address.dest.is_none_or(is_string), "it is echoed");
    let Ok(request) = message.request else { return };
    for name in ["key", "value", "start", "ops", "limit", "reverse", "from", "node_ids"] {
        let _ = request.body.value(name);
        let _ = request.body.canonical(name);
        let _ = request.body.key(name);
        let _ = request.body.optional_string(name);
        let _ = request.body.optional_integer(name, 0..=1000);
        let _ = request.body.flag(name);
        let _ = request.body.elements(name, |_, element| {
            canonical(&compact(element.get()));
            Ok(())
        });
    }
}

fn node_envelope_seeds() -> Vec<Vec<u8>> {
    let bodies = [
        r#"{"type":"init","msg_id":1,"node_id":"n1","node_ids":["n1"]}"#,
        r#"{"type":"lsm_put","msg_id":2,"key":"x","value":{"b":[1.0,"\u0041"],"a":null}}"#,
        r#"{"type":"lsm_scan","start":"a","end":"z","prefix":"k","limit":3,"reverse":true}"#,
        r#"{"type":"lsm_batch","ops":[{"op":"put","key":"a","value":1},{"op":"delete","key":"b"}]}"#,
    ];
    let line = |body| format!(r#"{{"src":"c1","dest":"n1","body":{body}}}"#).into_bytes();
    bodies.map(line).into()
}

/// A value as it came in, or as it is found in a store.
fn node_value(input: &[u8]) {
    let text = stored_text(input);
    assert!(serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok(), "{text}");
    assert!(!is_too_deep(text.as_bytes()) && !text.contains('\n'), "it keeps to its line");
    assert_eq!(compact(&text), text);
    let canonical_text = canonical(&text);
    let again = String::from_utf8(canonical_text.clone()).expect("text of text");
    assert_eq!(canonical(&again), canonical_text, "there is one text of all that mean the same");
}

fn node_value_seeds() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"b":[1.0,"A"],"a":1,"a":2}"#,
        r#"[ 18446744073709551616, 1e-300, true, null ]"#,
        r#""half a pair: \ud800""#,
        "no JSON \u{1}",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

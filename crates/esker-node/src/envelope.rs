//! The envelope of a request: who asks whom, for what.
//!
//! ```json
//! {"src":"c1","dest":"n1","body":{"type":"lsm_get","msg_id":3,"key":"x"}}
//! ```
//!
//! A line is a message once it is a JSON object with a string `src`: then there is somebody to
//! answer. `src`, `dest` and `msg_id` stay the text they came in and are echoed as such, so a
//! reply cannot lose a digit or an escape of them. Everything borrows from the line.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::fields::{Fields, is_integer};
use crate::refusal::Refusal;
use crate::value::{DEPTH_MAX, is_too_deep};

const ENVELOPE_FIELDS: [&str; 3] = ["src", "dest", "body"];

/// Every field that the body of some request has.
const BODY_FIELDS: [&str; 20] = [
    "type",
    "msg_id",
    "key",
    "value",
    "start",
    "end",
    "prefix",
    "limit",
    "reverse",
    "ops",
    "source_level",
    "target_level",
    "memtable_size_bytes",
    "sstable",
    "entries",
    "from",
    "to",
    "create_if_not_exists",
    "node_id",
    "node_ids",
];

/// A request's body.
pub(crate) type Body<'a> = Fields<'a, { BODY_FIELDS.len() }>;

/// A line that is a message, and what it asks for, or why that cannot be told.
pub(crate) struct Message<'a> {
    pub(crate) address: Address<'a>,
    pub(crate) request: Result<Request<'a>, Refusal>,
}

/// Where a reply goes, and what it says about the request.
#[derive(Clone, Copy)]
pub(crate) struct Address<'a> {
    /// The request's `src`: a JSON string, quotes included.
    pub(crate) src: &'a str,
    /// The request's `dest`, if that is a string: the reply's `src` while the node has no name.
    pub(crate) dest: Option<&'a str>,
    /// The request's `msg_id`: the digits of an integer.
    pub(crate) msg_id: Option<&'a str>,
}

/// What a message asks for.
pub(crate) struct Request<'a> {
    pub(crate) kind: Cow<'a, str>,
    pub(crate) body: Body<'a>,
}

impl<'a> Message<'a> {
    /// Reads a line. The error is for standard error: there is nobody to answer.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, Cow<'static, str>> {
        if is_too_deep(line) {
            return Err(format!("nested over {DEPTH_MAX} deep").into());
        }
        let line = str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
        let envelope = Fields::parse(line, &ENVELOPE_FIELDS)
            .map_err(|error| format!("not a JSON object: {error}"))?;
        let string = |name| envelope.raw(name).map(RawValue::get).filter(|json| is_string(json));
        let src = string("src").ok_or("no string `src`")?;
        let address = Address { src, dest: string("dest"), msg_id: None };
        Ok(Self::open(address, envelope.raw("body")))
    }

    fn open(mut address: Address<'a>, body: Option<&'a RawValue>) -> Self {
        let request = body
            .filter(|body| body.get() != "null")
            .ok_or_else(|| Refusal::malformed("field `body` is missing"))
            .and_then(|body| {
                Body::parse(body.get(), &BODY_FIELDS)
                    .map_err(|error| Refusal::malformed(format!("field `body`: {error}")))
            })
            .and_then(|body| {
                address.msg_id = msg_id(&body)?;
                Ok(Request { kind: body.string("type")?, body })
            });
        Self { address, request }
    }
}

fn is_string(json: &str) -> bool {
    json.starts_with('"')
}

fn msg_id<'a>(body: &Body<'a>) -> Result<Option<&'a str>, Refusal> {
    match body.raw("msg_id").map(RawValue::get) {
        None | Some("null") => Ok(None),
        Some(json) if is_integer(json) => Ok(Some(json)),
        Some(_) => Err(Refusal::malformed("field `msg_id` must be an integer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(line: &[u8]) -> String {
        Message::parse(line).err().expect("nobody to answer").into_owned()
    }

    #[test]
    fn a_line_without_a_string_src_has_nobody_to_answer() {
        assert_eq!(notice(br#"{"dest":"n1","body":{}}"#), "no string `src`");
        assert_eq!(notice(br#"{"src":1,"body":{}}"#), "no string `src`");
        assert_eq!(notice(br#"{"src":null,"body":{}}"#), "no string `src`");
        assert!(notice(b"[]").starts_with("not a JSON object: "));
        assert!(notice(b"{\"src\":\"c1\"} x").starts_with("not a JSON object: "));
        assert!(notice(b"{\"src\":\"\xff\"}").starts_with("not UTF-8: "));
        let deep = |depth: usize| {
            format!(r#"{{"src":"c1","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
        };
        assert!(Message::parse(deep(DEPTH_MAX - 1).as_bytes()).is_ok());
        assert_eq!(notice(deep(DEPTH_MAX).as_bytes()), "nested over 128 deep");
    }

    #[test]
    fn a_body_that_cannot_be_read_is_refused_with_its_msg_id_where_it_has_one() {
        let refused = |body: &str| {
            let line = format!(r#"{{"src":"c1","dest":"n1","body":{body}}}"#);
            let message = Message::parse(line.as_bytes()).expect("a message");
            let refusal = message.request.err().expect("refused");
            (refusal.text, message.address.msg_id.map(str::to_owned))
        };
        assert_eq!(refused("null"), ("field `body` is missing".into(), None));
        assert!(refused("[]").0.starts_with("field `body`: "));
        assert_eq!(refused(r#"{"msg_id":7}"#), ("field `type` is missing".into(), Some("7".into())));
        let (text, msg_id) = refused(r#"{"msg_id":1.0,"type":"x"}"#);
        assert_eq!((text.as_str(), msg_id), ("field `msg_id` must be an integer", None));
    }
}

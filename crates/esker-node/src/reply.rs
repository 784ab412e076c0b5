//! Replies: numbered, in order, written straight into one buffer.
//!
//! ```json
//! {"src":"n1","dest":"c1","body":{"type":"lsm_get_ok","in_reply_to":3,"msg_id":2,"value":100}}
//! ```
//!
//! A handler writes its fields behind the head of an `_ok` reply; if it refuses after all, what it
//! wrote is cut off and the error takes its place under the same number. So no reply is built
//! twice or copied, and one that grows past [`REPLY_BYTES_MAX`] is noticed while it grows.

use std::ops::Range;

use crate::envelope::Address;
use crate::refusal::Refusal;
use crate::value::{push_key, push_string, stored_text};

/// Longest reply that lists entries.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// What an empty outbox keeps of its memory.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// The replies that were not sent yet, one line each.
#[derive(Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// From `init`: a JSON string, quotes included.
    node_id: Option<String>,
    next_msg_id: u64,
}

/// Where a reply lies in the outbox, in case it must be taken back.
pub(crate) struct Posted {
    pub(crate) bytes: Range<usize>,
    pub(crate) msg_id: u64,
    /// Whether it says `_ok`.
    pub(crate) ok: bool,
}

impl Outbox {
    /// The name under which the node speaks from now on: a JSON string, quotes included.
    pub(crate) fn set_node_id(&mut self, node_id: &str) {
        self.node_id = Some(node_id.to_owned());
    }

    /// Whether a reply would have a sender: before `init` only the request's `dest` can name it.
    pub(crate) fn can_answer(&self, to: &Address<'_>) -> bool {
        self.node_id.is_some() || to.dest.is_some()
    }

    /// Writes the reply `{kind}_ok` with the fields that `write` adds, or the error it returns.
    pub(crate) fn post(
        &mut self,
        to: &Address<'_>,
        kind: &str,
        write: impl FnOnce(&mut Reply<'_>) -> Result<(), Refusal>,
    ) -> Posted {
        let start = self.bytes.len();
        let msg_id = self.next_msg_id;
        self.next_msg_id += 1;
        self.head(to, &[kind, "_ok"], msg_id);
        let done = write(&mut Reply { out: &mut self.bytes, start });
        match &done {
            Ok(()) => self.bytes.extend_from_slice(b"}}\n"),
            Err(refusal) => {
                self.bytes.truncate(start);
                self.error(to, msg_id, refusal);
            }
        }
        Posted { bytes: start..self.bytes.len(), msg_id, ok: done.is_ok() }
    }

    /// Writes an error reply.
    pub(crate) fn refuse(&mut self, to: &Address<'_>, refusal: &Refusal) -> Posted {
        self.post(to, "", |_| Err(refusal.clone()))
    }

    /// Writes an error reply under a number that is already taken.
    pub(crate) fn error(&mut self, to: &Address<'_>, msg_id: u64, refusal: &Refusal) {
        let start = self.bytes.len();
        self.head(to, &["error"], msg_id);
        let mut reply = Reply { out: &mut self.bytes, start };
        reply.count("code", refusal.code as u64);
        reply.string("text", &refusal.text);
        self.bytes.extend_from_slice(b"}}\n");
    }

    fn head(&mut self, to: &Address<'_>, kind: &[&str], msg_id: u64) {
        let src = self.node_id.as_deref().or(to.dest).unwrap_or("null");
        let out = &mut self.bytes;
        push_all(out, &[r#"{"src":"#, src, r#","dest":"#, to.src, r#","body":{"type":""#]);
        push_all(out, kind);
        out.push(b'"');
        if let Some(request) = to.msg_id {
            push_all(out, &[r#","in_reply_to":"#, request]);
        }
        Reply { start: out.len(), out }.count("msg_id", msg_id);
    }

    /// The replies.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Moves the replies into `sent`, whose old content is forgotten and whose memory is used on,
    /// unless one long reply made it large.
    pub(crate) fn hand_over(&mut self, sent: &mut Vec<u8>) {
        sent.clear();
        sent.shrink_to(KEPT_BYTES_MAX);
        std::mem::swap(&mut self.bytes, sent);
    }

    /// Takes the replies from `start` on back.
    pub(crate) fn take_back(&mut self, start: usize) -> Vec<u8> {
        self.bytes.split_off(start)
    }

    /// Puts one that was taken back in again as it was.
    pub(crate) fn put_back(&mut self, reply: &[u8]) {
        self.bytes.extend_from_slice(reply);
    }
}

fn push_all(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A reply's own fields, in the order in which they are written.
pub(crate) struct Reply<'o> {
    out: &'o mut Vec<u8>,
    /// Where the reply begins.
    start: usize,
}

impl Reply<'_> {
    pub(crate) fn null(&mut self, name: &str) {
        self.name(name);
        push_all(self.out, &["null"]);
    }

    pub(crate) fn flag(&mut self, name: &str, flag: bool) {
        self.name(name);
        push_all(self.out, &[if flag { "true" } else { "false" }]);
    }

    pub(crate) fn count(&mut self, name: &str, count: u64) {
        self.name(name);
        serde_json::to_writer(&mut *self.out, &count).expect("a vector takes every number");
    }

    /// A measured figure: always with a fraction, `5.0` for five.
    pub(crate) fn figure(&mut self, name: &str, figure: f64) {
        self.name(name);
        serde_json::to_writer(&mut *self.out, &figure).expect("a vector takes every number");
    }

    /// A ratio: `0` and `1` without a fraction, as they are exact.
    pub(crate) fn ratio(&mut self, name: &str, ratio: f64) {
        if ratio == 0.0 || ratio == 1.0 {
            self.count(name, ratio as u64);
        } else {
            self.figure(name, ratio);
        }
    }

    pub(crate) fn string(&mut self, name: &str, text: &str) {
        self.name(name);
        push_string(self.out, text);
    }

    /// A stored value, or `null` for none.
    pub(crate) fn value(&mut self, name: &str, stored: Option<&[u8]>) {
        let Some(stored) = stored else { return self.null(name) };
        self.name(name);
        push_all(self.out, &[&stored_text(stored)]);
    }

    /// An object whose fields `write` adds.
    pub(crate) fn object(&mut self, name: &str, write: impl FnOnce(&mut Reply<'_>)) {
        self.name(name);
        self.element(write);
    }

    /// An array of objects, one for each of `items`.
    pub(crate) fn objects<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Reply<'_>, T),
    ) {
        self.name(name);
        self.out.push(b'[');
        for item in items {
            self.separate();
            self.element(|reply| write(reply, item));
        }
        self.out.push(b']');
    }

    /// `entries`: an array of keys and values. The first error of the source, or a reply that
    /// grew too long, ends it.
    pub(crate) fn entries<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        entries: impl IntoIterator<Item = Result<(K, V), Refusal>>,
    ) -> Result<(), Refusal> {
        self.name("entries");
        self.out.push(b'[');
        for entry in entries {
            let (key, value) = entry?;
            self.separate();
            self.element(|reply| {
                reply.name("key");
                push_key(reply.out, key.as_ref());
                reply.value("value", Some(value.as_ref()));
            });
            if self.out.len() - self.start > REPLY_BYTES_MAX - b"]}}".len() {
                return Err(too_long());
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn element(&mut self, write: impl FnOnce(&mut Reply<'_>)) {
        self.out.push(b'{');
        write(&mut Reply { start: self.start, out: self.out });
        self.out.push(b'}');
    }

    fn name(&mut self, name: &str) {
        self.separate();
        push_all(self.out, &["\"", name, "\":"]);
    }

    /// A comma, unless this is the first of an object or array.
    fn separate(&mut self) {
        if !matches!(self.out.last(), Some(b'{' | b'[')) {
            self.out.push(b',');
        }
    }
}

/// What a reply answers that would be too long.
pub(crate) fn too_long() -> Refusal {
    Refusal::malformed("the reply would be over 64 MiB: give a `limit`, or narrower bounds")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Code;

    fn address() -> Address<'static> {
        Address { src: "\"c1\"", dest: Some("\"n1\""), msg_id: Some("7") }
    }

    fn text(outbox: &Outbox) -> &str {
        str::from_utf8(outbox.bytes()).unwrap()
    }

    #[test]
    fn keys_come_in_order_and_replies_are_numbered() {
        let mut outbox = Outbox::default();
        outbox.post(&address(), "x", |reply| {
            reply.count("a", 1);
            reply.object("b", |b| b.figure("c", 5.0));
            reply.objects("d", [1, 2], |d, n| d.count("n", n));
            reply.value("e", None);
            Ok(())
        });
        outbox.set_node_id("\"n9\"");
        outbox.post(&Address { msg_id: None, ..address() }, "y", |reply| {
            reply.count("lost", 1);
            Err(Refusal::new(Code::Crash, "so"))
        });
        assert_eq!(
            text(&outbox),
            "{\"src\":\"n1\",\"dest\":\"c1\",\"body\":{\"type\":\"x_ok\",\"in_reply_to\":7,\
             \"msg_id\":0,\"a\":1,\"b\":{\"c\":5.0},\"d\":[{\"n\":1},{\"n\":2}],\"e\":null}}\n\
             {\"src\":\"n9\",\"dest\":\"c1\",\"body\":{\"type\":\"error\",\"msg_id\":1,\
             \"code\":13,\"text\":\"so\"}}\n"
        );
    }

    #[test]
    fn entries_are_cut_off_at_the_limit_to_the_byte() {
        let length = |value_bytes: usize| {
            let mut outbox = Outbox::default();
            let value = vec![b'1'; value_bytes];
            let posted =
                outbox.post(&address(), "scan", |reply| reply.entries([Ok(("k", &value[..]))]));
            let is_error = outbox.bytes().windows(9).take(80).any(|part| part == b"\"type\":\"e");
            (posted.bytes.len() - 1, is_error)
        };
        let (overhead, _) = length(1);
        let fits = REPLY_BYTES_MAX - (overhead - 1);
        assert_eq!(length(fits), (REPLY_BYTES_MAX, false));
        assert!(length(fits + 1).1);
    }

    #[test]
    fn a_long_reply_leaves_no_memory_behind() {
        let (mut outbox, mut sent) = (Outbox::default(), Vec::new());
        outbox.put_back(&vec![b'x'; 2 * KEPT_BYTES_MAX]);
        outbox.hand_over(&mut sent);
        assert_eq!((sent.len(), outbox.bytes.len()), (2 * KEPT_BYTES_MAX, 0));
        outbox.hand_over(&mut sent);
        assert!(sent.is_empty() && outbox.bytes.capacity() <= KEPT_BYTES_MAX);
    }
}

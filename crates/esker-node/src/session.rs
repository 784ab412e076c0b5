//! A node: one store, one conversation. Lines go in, replies come out in the same order.
//!
//! With `--durability sync` consecutive writes form a group: each is handed to the operating
//! system at once, one sync covers them all, and only then are their replies let go. A failed
//! sync turns every `_ok` of the group into error 11 under the same number. Any other request
//! ends the group before it is answered, so it finds the group's writes durable.
//!
//! Nothing here waits for input or output; `serve.rs` does.

use std::io::Write;

use serde_json::value::RawValue;

use crate::envelope::{Address, Body, Message, Request};
use crate::line::{Content, LINE_BYTES_MAX, Line};
use crate::refusal::{Code, Refusal};
use crate::reply::{Outbox, Posted};
use crate::requests::{self, Call, Class, Kind};
use crate::stop::Stop;
use crate::store::Store;
use crate::{Durability, NodeError, NodeOptions};

/// How many bytes of replies wait before they are sent although more lines are here.
const OUTBOX_BYTES_MAX: usize = 1 << 20;

/// Most writes under one sync, and most bytes of their lines.
const GROUP_WRITES_MAX: usize = 1_000;
const GROUP_BYTES_MAX: usize = 1 << 20;

/// A node with its open store.
pub(crate) struct Node {
    store: Store,
    outbox: Outbox,
    durability: Durability,
    /// Set by `init`.
    cluster: Option<Cluster>,
    stop: Stop,
}

/// What `init` said about the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cluster {
    /// This node is all of it.
    Alone,
    /// There are others, whom this node knows nothing about.
    Several,
}

/// Why [`Node::answer`] returned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Every line is answered, or somebody asks to stop.
    Done,
    /// The replies are to be sent before more are made.
    OutboxFull,
}

impl Node {
    pub(crate) fn open(
        options: &NodeOptions,
        stop: Stop,
        notices: &mut impl Write,
    ) -> Result<Self, NodeError> {
        let store = Store::open(options, notices)?;
        let durability = options.durability;
        Ok(Self { store, outbox: Outbox::default(), durability, cluster: None, stop })
    }

    pub(crate) fn close(self) -> Result<(), NodeError> {
        self.store.close()
    }

    /// The replies that are to be sent.
    pub(crate) fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Answers the lines, as long as the outbox has room and nobody asks to stop.
    pub(crate) fn answer<'l>(
        &mut self,
        lines: &mut impl Iterator<Item = Line<'l>>,
        notices: &mut impl Write,
    ) -> Turn {
        let mut group = Group::default();
        let turn = loop {
            if self.stop.is_set() {
                break Turn::Done;
            }
            if self.outbox.bytes().len() > OUTBOX_BYTES_MAX {
                break Turn::OutboxFull;
            }
            let Some(line) = lines.next() else { break Turn::Done };
            if let Err(why) = self.answer_line(&line, &mut group) {
                // Standard error may be closed; that is no reason to stop.
                let _ = writeln!(notices, "esker node: line {} ignored: {why}", line.number);
            }
        };
        self.end(&mut group);
        turn
    }

    /// The error says why there is nobody to answer.
    fn answer_line<'l>(&mut self, line: &Line<'l>, group: &mut Group<'l>) -> Result<(), String> {
        let Content::Text(text) = line.content else {
            return Err(format!("over {} MiB", LINE_BYTES_MAX >> 20));
        };
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        let message = Message::parse(text)?;
        let kind = message.request.as_ref().ok().and_then(|request| requests::find(&request.kind));
        let shares_its_sync = self.durability == Durability::Sync
            && kind.is_some_and(|kind| kind.class == Class::Write);
        if !shares_its_sync || !group.has_room(text.len()) {
            self.end(group);
        }
        let posted = self.reply(&message, kind)?;
        if shares_its_sync {
            group.bytes += text.len();
            group.members.push(Member { address: message.address, posted });
        }
        Ok(())
    }

    fn reply(&mut self, message: &Message<'_>, kind: Option<&Kind>) -> Result<Posted, String> {
        let to = &message.address;
        let done = match &message.request {
            Err(refusal) => Err(refusal.clone()),
            Ok(request) if request.kind == "init" => {
                self.init(&request.body).map(|()| self.outbox.post(to, "init", |_| Ok(())))
            }
            Ok(request) => self.admit(request, kind).map(|kind| self.carry_out(to, request, kind)),
        };
        match done {
            Ok(posted) => Ok(posted),
            Err(refusal) if self.outbox.can_answer(to) => Ok(self.outbox.refuse(to, &refusal)),
            Err(refusal) => Err(format!("no string `dest`, and no `init` yet: {}", refusal.text)),
        }
    }

    fn init(&mut self, body: &Body<'_>) -> Result<(), Refusal> {
        if self.cluster.is_some() {
            return Err(Refusal::malformed("a second `init`: this node has its name"));
        }
        body.string("node_id")?;
        let node_id = body.raw("node_id").map(RawValue::get).expect("it was just read");
        let mut cluster = Cluster::Alone;
        let mut first = None;
        body.elements("node_ids", |index, id| {
            if !id.get().starts_with('"') {
                return Err(Refusal::malformed(format!(
                    "field `node_ids[{index}]` must be a string"
                )));
            }
            if *first.get_or_insert(id.get()) != id.get() {
                cluster = Cluster::Several;
            }
            Ok(())
        })?;
        self.cluster = Some(cluster);
        self.outbox.set_node_id(node_id);
        Ok(())
    }

    /// The kind of a request that may be carried out now.
    fn admit<'k>(
        &self,
        request: &Request<'_>,
        kind: Option<&'k Kind>,
    ) -> Result<&'k Kind, Refusal> {
        let Some(cluster) = self.cluster else {
            let text = format!("`{}` before `init`", request.kind);
            return Err(Refusal::new(Code::TemporarilyUnavailable, text));
        };
        let Some(kind) = kind else {
            let text = format!("field `type`: `{}` is not known", request.kind);
            return Err(Refusal::new(Code::NotSupported, text));
        };
        if kind.is_lin_kv && cluster == Cluster::Several {
            let text = "lin-kv is served by a node that is alone in `node_ids`";
            return Err(Refusal::new(Code::NotSupported, text));
        }
        Ok(kind)
    }

    fn carry_out(&mut self, to: &Address<'_>, request: &Request<'_>, kind: &Kind) -> Posted {
        let Self { store, outbox, durability, stop, .. } = self;
        outbox.post(to, &request.kind, |reply| {
            (kind.handler)(&mut Call { store, body: &request.body, stop }, reply)?;
            if kind.class == Class::CompareAndSet && *durability == Durability::Sync {
                store.sync()?;
            }
            Ok(())
        })
    }

    /// Syncs the group's writes and lets its replies go. If that fails, those that say `_ok` are
    /// replaced.
    fn end(&mut self, group: &mut Group<'_>) {
        let Group { members, .. } = std::mem::take(group);
        if !members.iter().any(|member| member.posted.ok) {
            return;
        }
        let Err(refusal) = self.store.sync() else { return };
        let start = members[0].posted.bytes.start;
        let replies = self.outbox.take_back(start);
        for Member { address, posted } in members {
            if posted.ok {
                self.outbox.error(&address, posted.msg_id, &unsynced(&refusal));
            } else {
                let bytes = posted.bytes.start - start..posted.bytes.end - start;
                self.outbox.put_back(&replies[bytes]);
            }
        }
    }
}

/// What a write answers whose sync failed, whatever the reason.
fn unsynced(refusal: &Refusal) -> Refusal {
    let text = format!("not on stable storage: {}", refusal.text);
    Refusal::new(Code::TemporarilyUnavailable, text)
}

/// Writes whose replies wait for one sync. Their replies lie side by side in the outbox.
#[derive(Default)]
struct Group<'l> {
    members: Vec<Member<'l>>,
    bytes: usize,
}

struct Member<'l> {
    address: Address<'l>,
    posted: Posted,
}

impl Group<'_> {
    fn has_room(&self, line_bytes: usize) -> bool {
        self.members.is_empty()
            || self.members.len() < GROUP_WRITES_MAX && self.bytes + line_bytes <= GROUP_BYTES_MAX
    }
}

#[cfg(test)]
mod tests;

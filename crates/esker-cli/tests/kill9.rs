//! Kills the real node with `kill -9` at random moments and finds every acknowledged write.
//!
//! The supervisor (this test) keeps what was acknowledged in its own memory, outside of the dying
//! process. One writer sends pipelined puts, deletes and batches; a reply read from the node's
//! standard output is an acknowledgement. After each kill the node is started again on the same
//! directory, and every key must have the value of its last acknowledged write or of one attempted
//! after it; since the node works in order, what survives must be a prefix of the attempts.
//!
//! It says nothing about power cuts: the page cache outlives the process. That is the simulated
//! disk's part.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How often the node is killed.
const KILLS: u64 = 50;

/// Keys are few, so that each is overwritten often and old versions have chances to come back.
const KEYS: u64 = 40;

/// Writes that may wait for their replies: few enough that neither pipe fills up.
const IN_FLIGHT_MAX: usize = 30;

struct Node {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Node {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_esker"))
            .args(["node", "--memtable-bytes", "4096", "--data-dir"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut requests = child.stdin.take().expect("a pipe");
        let replies = BufReader::new(child.stdout.take().expect("a pipe"));
        let init = r#"{"src":"c0","dest":"n1","body":{"type":"init","msg_id":0,"node_id":"n1","node_ids":["n1"]}}"#;
        writeln!(requests, "{init}").expect("the node reads");
        let mut node = Self { child, requests, replies };
        let reply = node.reply().expect("the node answers init");
        assert!(reply.contains("init_ok"), "{reply}");
        node
    }

    /// The next reply; `None` once the node is dead.
    fn reply(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.replies.read_line(&mut line) {
            Ok(n) if n > 0 && line.ends_with('\n') => Some(line),
            _ => None,
        }
    }

    fn ask(&mut self, body: &str) -> String {
        writeln!(self.requests, r#"{{"src":"c1","dest":"n1","body":{body}}}"#).expect("it reads");
        self.reply().expect("the node answers")
    }
}

/// A write, as the model applies it. Attempt `n` writes the value `n`.
#[derive(Clone, Copy)]
enum Attempt {
    Put(u64),
    Delete(u64),
    /// Puts to a key and to the one after it, atomically.
    Batch(u64),
}

impl Attempt {
    fn random(random: &mut u64) -> Self {
        let key = next(random) % KEYS;
        match next(random) % 8 {
            0 => Self::Delete(key),
            1 | 2 => Self::Batch(key),
            _ => Self::Put(key),
        }
    }

    fn request(self, n: u64) -> String {
        let padding = "x".repeat(60);
        match self {
            Self::Put(key) => format!(
                r#"{{"type":"lsm_put","msg_id":{n},"key":"{key:03}","value":[{n},"{padding}"]}}"#
            ),
            Self::Delete(key) => {
                format!(r#"{{"type":"lsm_delete","msg_id":{n},"key":"{key:03}"}}"#)
            }
            Self::Batch(key) => {
                let put =
                    |key| format!(r#"{{"op":"put","key":"{key:03}","value":[{n},"{padding}"]}}"#);
                let (first, second) = (put(key), put((key + 1) % KEYS));
                format!(r#"{{"type":"lsm_batch","msg_id":{n},"ops":[{first},{second}]}}"#)
            }
        }
    }

    fn apply(self, n: u64, model: &mut BTreeMap<u64, u64>) {
        match self {
            Self::Put(key) => {
                model.insert(key, n);
            }
            Self::Delete(key) => {
                model.remove(&key);
            }
            Self::Batch(key) => {
                model.insert(key, n);
                model.insert((key + 1) % KEYS, n);
            }
        }
    }
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What the node holds: key to number of the attempt that wrote it.
fn contents(node: &mut Node) -> BTreeMap<u64, u64> {
    let reply = node.ask(r#"{"type":"lsm_scan","msg_id":1}"#);
    let reply: serde_json::Value = serde_json::from_str(&reply).expect("JSON");
    let entries = reply["body"]["entries"].as_array().expect("entries").clone();
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    entries
        .iter()
        .map(|entry| {
            let key = entry["key"].as_str().expect("a key").parse().expect("a number");
            (key, number(&entry["value"][0]))
        })
        .collect()
}

#[test]
fn every_acknowledged_write_survives_kill_9() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut random = 0x00e5_6b65;
    let mut model = BTreeMap::new();
    let mut attempts = 0;
    let mut acknowledged_in_all = 0;
    for kill in 0..KILLS {
        let mut node = Node::start(dir.path());
        assert_eq!(contents(&mut node), model, "after kill {kill}");
        let deadline = Instant::now() + Duration::from_micros(500 + next(&mut random) % 60_000);
        let pid = node.child.id();
        let mut sent = Vec::new();
        let mut acknowledged = 0;
        while Instant::now() < deadline {
            for _ in 0..=next(&mut random) % 20 {
                let attempt = Attempt::random(&mut random);
                attempts += 1;
                writeln!(
                    node.requests,
                    r#"{{"src":"c1","dest":"n1","body":{}}}"#,
                    attempt.request(attempts)
                )
                .expect("the node reads");
                sent.push((attempts, attempt));
            }
            while sent.len() - acknowledged > IN_FLIGHT_MAX {
                let reply = node.reply().expect("the node answers");
                assert!(!reply.contains("\"error\""), "{reply}");
                acknowledged += 1;
            }
        }
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid as i32).expect("a process"),
            rustix::process::Signal::KILL,
        )
        .expect("it can be killed");
        // What was written to the pipe before the kill was acknowledged too.
        while let Some(reply) = node.reply() {
            assert!(!reply.contains("\"error\""), "{reply}");
            acknowledged += 1;
        }
        node.child.wait().expect("it ends");
        acknowledged_in_all += acknowledged;
        let mut reopened = Node::start(dir.path());
        let found = contents(&mut reopened);
        drop(reopened.requests);
        assert!(reopened.child.wait().expect("it ends").success());
        model = surviving_prefix(model, &sent, acknowledged, &found)
            .unwrap_or_else(|| panic!("kill {kill}: {found:?} is no prefix"));
    }
    assert!(acknowledged_in_all > KILLS as usize * 10, "only {acknowledged_in_all} writes");
}

/// The model after the shortest prefix of `sent`, at least the acknowledged ones, that gives
/// what was found.
fn surviving_prefix(
    mut model: BTreeMap<u64, u64>,
    sent: &[(u64, Attempt)],
    acknowledged: usize,
    found: &BTreeMap<u64, u64>,
) -> Option<BTreeMap<u64, u64>> {
    for (i, (n, attempt)) in sent.iter().enumerate() {
        if i >= acknowledged && model == *found {
            return Some(model);
        }
        attempt.apply(*n, &mut model);
    }
    (model == *found).then_some(model)
}

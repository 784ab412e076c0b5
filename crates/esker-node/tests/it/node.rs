//! A node in this process, and lines for it.

use std::path::Path;

use esker_node::{Durability, NodeOptions, run};

/// What a conversation left.
#[derive(Debug)]
pub struct Said {
    /// The replies, one a line.
    pub replies: Vec<String>,
    /// What went to standard error, one a line.
    pub notices: Vec<String>,
}

impl Said {
    /// The body of reply `index`.
    pub fn body(&self, index: usize) -> serde_json::Value {
        let reply: serde_json::Value = serde_json::from_str(&self.replies[index]).unwrap();
        reply["body"].clone()
    }
}

/// Runs a node over the store in `data_dir`.
pub fn talk_in(data_dir: &Path, durability: Durability, input: &[u8]) -> Said {
    let options =
        NodeOptions { data_dir: Some(data_dir.to_owned()), durability, ..NodeOptions::default() };
    let (mut output, mut notices) = (Vec::new(), Vec::new());
    run(&options, input, &mut output, &mut notices).unwrap();
    Said { replies: lines(output), notices: lines(notices) }
}

/// Runs a node over a store of its own.
pub fn talk(input: impl AsRef<[u8]>) -> Said {
    let dir = tempfile::tempdir().unwrap();
    talk_in(dir.path(), Durability::Os, input.as_ref())
}

fn lines(bytes: Vec<u8>) -> Vec<String> {
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

/// The line of an `init` that is accepted.
pub const INIT: &str =
    r#"{"src":"c0","dest":"n1","body":{"type":"init","msg_id":0,"node_id":"n1","node_ids":["n1"]}}"#;

/// A request's line, its newline included. `fields` are what stands in the body beside
/// `msg_id`.
pub fn request(msg_id: u64, fields: &str) -> String {
    format!("{{\"src\":\"c1\",\"dest\":\"n1\",\"body\":{{\"msg_id\":{msg_id},{fields}}}}}\n")
}

/// `init` and then one request for each of `bodies`, numbered from 1.
pub fn session<S: AsRef<str>>(bodies: impl IntoIterator<Item = S>) -> String {
    let mut input = format!("{INIT}\n");
    for (index, fields) in bodies.into_iter().enumerate() {
        input += &request(index as u64 + 1, fields.as_ref());
    }
    input
}

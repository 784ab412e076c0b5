//! The program under test: `esker node`, spoken to over its pipes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use serde_json::Value;

/// A running node.
pub struct Node {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

/// The program with the arguments of a node whose memtables are small.
pub fn program(dir: &Path, durability: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_esker"));
    program.args(arguments(durability)).arg(dir);
    program
}

/// Its arguments, in front of the directory.
pub fn arguments(durability: &str) -> [&str; 6] {
    ["node", "--memtable-bytes", "4096", "--durability", durability, "--data-dir"]
}

impl Node {
    /// Starts a node in `dir`.
    pub fn start(dir: &Path, durability: &str) -> Self {
        Self::spawn(&mut program(dir, durability)).expect("the node answers init")
    }

    /// Starts a node as `command` says; why it does not answer, if it does not.
    pub fn spawn(command: &mut Command) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let requests = child.stdin.take();
        let replies = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut node = Self { child, requests, replies };
        let init = r#"{"type":"init","msg_id":0,"node_id":"n1","node_ids":["n1"]}"#;
        match node.send(init).then(|| node.reply()).flatten() {
            Some(reply) if reply.contains("init_ok") => Ok(node),
            other => {
                Err(format!("{command:?} answers init with {other:?}, {:?}", node.child.wait()))
            }
        }
    }

    /// Sends a request; false if the node is dead.
    pub fn send(&mut self, body: &str) -> bool {
        let requests = self.requests.as_mut().expect("only a kill or a close ends it");
        writeln!(requests, r#"{{"src":"c1","dest":"n1","body":{body}}}"#).is_ok()
    }

    /// Sends several in one `write`, so that they wait together.
    pub fn send_together(&mut self, bodies: &[String]) {
        let lines: String = bodies
            .iter()
            .map(|body| format!("{{\"src\":\"c1\",\"dest\":\"n1\",\"body\":{body}}}\n"))
            .collect();
        let requests = self.requests.as_mut().expect("only a kill or a close ends it");
        requests.write_all(lines.as_bytes()).expect("the node reads");
    }

    /// The next reply; `None` once the node is dead.
    pub fn reply(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.replies.read_line(&mut line) {
            Ok(n) if n > 0 && line.ends_with('\n') => Some(line),
            _ => None,
        }
    }

    /// The body of the reply to a request.
    pub fn ask(&mut self, body: &str) -> Value {
        assert!(self.send(body), "the node reads");
        let reply = self.reply().expect("the node answers");
        serde_json::from_str::<Value>(&reply).expect("JSON")["body"].take()
    }

    /// `kill -9`. What it wrote to its pipe before can still be read.
    pub fn kill(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            .expect("it can be killed");
    }

    /// Ends its input and waits for its end.
    pub fn close(mut self) -> ExitStatus {
        drop(self.requests.take());
        self.child.wait().expect("it ends")
    }
}

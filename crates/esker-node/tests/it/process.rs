//! A node with real pipes: in a thread of this process, and as a process of its own, which is
//! this test program run again for the one test [`child`].

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use esker_node::{NodeOptions, run, run_stdio};
use rustix::process::{Pid, Signal, kill_process};

use crate::node::{INIT, request, session};

/// Set for the child: where its store lies, empty for a temporary one.
const CHILD: &str = "ESKER_NODE_TEST_DATA_DIR";

#[test]
fn child() {
    let Some(data_dir) = std::env::var_os(CHILD) else { return };
    let data_dir = (!data_dir.is_empty()).then(|| data_dir.into());
    run_stdio(&NodeOptions { data_dir, ..NodeOptions::default() }).unwrap();
}

/// A node process and this end of its pipes.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
    errors: ChildStderr,
}

impl Process {
    fn spawn(data_dir: Option<&Path>, temp: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::child", "--nocapture"])
            .env(CHILD, data_dir.map_or("".as_ref(), Path::as_os_str))
            .env("TMPDIR", temp)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = child.stdout.take().map(BufReader::new);
        let errors = child.stderr.take().unwrap();
        Self { child, input, output, errors }
    }

    fn send(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The next reply. What the test program itself prints is skipped.
    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.output.as_mut().unwrap().read_line(&mut line).unwrap(), 0, "it ended");
            if let Some(start) = line.find('{') {
                return line[start..].to_owned();
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// How it ended, and what it said on standard error.
    fn end(mut self) -> (ExitStatus, String) {
        let mut errors = String::new();
        self.errors.read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap(), errors)
    }
}

fn put(n: u64) -> String {
    request(n, &format!(r#""type":"lsm_put","key":"k{n}","value":{n}"#))
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_signal_ends_a_waiting_node_quietly_and_cleanly() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let temp = tempfile::tempdir().unwrap();
        let mut node = Process::spawn(None, temp.path());
        node.send(&format!("{INIT}\n{}", put(1)));
        assert!(node.reply().contains("init_ok"));
        assert!(node.reply().contains("lsm_put_ok"));
        assert_eq!(names(temp.path()).len(), 1);
        // An unfinished line is not taken for a last one.
        node.send("not JSON, and not a line");
        node.signal(signal);
        let (status, errors) = node.end();
        assert!(status.success(), "{status}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.contains("a temporary store in"), "{errors}");
        assert!(names(temp.path()).is_empty(), "{:?}", names(temp.path()));
    }
}

#[test]
fn a_signal_ends_a_node_that_nobody_reads() {
    let temp = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut node = Process::spawn(Some(data.path()), temp.path());
    let value = "v".repeat(4 << 20);
    let write = format!(r#""type":"lsm_put","key":"x","value":"{value}""#);
    node.send(&session([
        &*write,
        r#""type":"lsm_get","key":"x""#,
        r#""type":"lsm_get","key":"x""#,
    ]));
    assert!(node.reply().contains("init_ok"));
    assert!(node.reply().contains("lsm_put_ok"));
    // Its first byte is here, so the node is writing 8 MiB into a pipe that holds far less.
    let mut first = [0];
    node.output.as_mut().unwrap().read_exact(&mut first).unwrap();
    node.signal(Signal::TERM);
    let (status, errors) = node.end();
    assert!(status.success() && errors.is_empty(), "{status}: {errors}");
    let db = esker::Db::open(data.path()).unwrap();
    assert_eq!(db.get("x").unwrap().unwrap().len(), value.len() + 2);
}

#[test]
fn a_signal_ends_a_benchmark_that_is_running() {
    let temp = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut node = Process::spawn(Some(data.path()), temp.path());
    node.send(&format!("{INIT}\n"));
    assert!(node.reply().contains("init_ok"));
    node.send(&request(1, r#""type":"lsm_benchmark","entries":1000000"#));
    while names(temp.path()).is_empty() {
        thread::yield_now();
    }
    node.signal(Signal::TERM);
    assert!(node.reply().contains("the node is stopping"));
    let (status, errors) = node.end();
    assert!(status.success() && errors.is_empty(), "{status}: {errors}");
    assert!(names(temp.path()).is_empty(), "{:?}", names(temp.path()));
}

#[test]
fn a_closed_output_ends_the_node_quietly() {
    let temp = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut node = Process::spawn(Some(data.path()), temp.path());
    node.send(&format!("{INIT}\n"));
    assert!(node.reply().contains("init_ok"));
    node.output = None;
    node.send(&put(1));
    let (status, errors) = node.end();
    // The test program around the node cannot print its own result either; its complaint counts
    // neither way.
    assert!(!errors.contains("esker node"), "{status}: {errors}");
    let db = esker::Db::open(data.path()).unwrap();
    assert_eq!(db.get("k1").unwrap().unwrap(), "1");
}

#[test]
fn what_was_answered_survives_kill_9() {
    let temp = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let mut node = Process::spawn(Some(data.path()), temp.path());
        node.send(&format!("{INIT}\n"));
        assert!(node.reply().contains("init_ok"));
        for n in 0..round {
            node.send(&request(n, &format!(r#""type":"lsm_get","key":"k{n}""#)));
            assert!(node.reply().contains(&format!(r#""value":{n}}}"#)));
        }
        node.send(&put(round));
        assert!(node.reply().contains("lsm_put_ok"));
        node.signal(Signal::KILL);
        assert!(!node.end().0.success());
    }
}

#[test]
fn a_killed_node_s_temporary_store_is_swept_and_a_living_one_s_is_not() {
    let temp = tempfile::tempdir().unwrap();
    let start = || {
        let mut node = Process::spawn(None, temp.path());
        node.send(&format!("{INIT}\n"));
        assert!(node.reply().contains("init_ok"));
        node
    };
    let (mut living, killed) = (start(), start());
    assert_eq!(names(temp.path()).len(), 2);
    killed.signal(Signal::KILL);
    killed.end();
    assert_eq!(names(temp.path()).len(), 2, "kill -9 leaves its store");
    let mut next = start();
    assert_eq!(names(temp.path()).len(), 2, "the next start sweeps it");
    living.send(&put(1));
    assert!(living.reply().contains("lsm_put_ok"));
    (living.input, next.input) = (None, None);
    assert!(living.end().0.success() && next.end().0.success());
    assert!(names(temp.path()).is_empty());
}

/// This end of the pipes of a node in a thread.
pub struct Client {
    input: PipeWriter,
    output: BufReader<PipeReader>,
}

impl Client {
    /// Sends whole lines and waits for as many replies. The node must not wait for more input.
    pub fn ask(&mut self, lines: &str) -> Vec<String> {
        self.input.write_all(lines.as_bytes()).unwrap();
        let replies = lines.lines().map(|_| {
            let mut reply = String::new();
            self.output.read_line(&mut reply).unwrap();
            reply
        });
        replies.collect()
    }
}

/// A node over the store in `data_dir`, which ends when the client is dropped.
pub fn spawn_in_thread(data_dir: &Path) -> (Client, JoinHandle<()>) {
    let (node_input, input) = io::pipe().unwrap();
    let (output, node_output) = io::pipe().unwrap();
    let options = NodeOptions { data_dir: Some(data_dir.to_owned()), ..NodeOptions::default() };
    let node = thread::spawn(move || run(&options, node_input, node_output, io::sink()).unwrap());
    (Client { input, output: BufReader::new(output) }, node)
}

#[test]
fn an_interactive_client_never_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (mut client, node) = spawn_in_thread(dir.path());
    assert!(client.ask(&format!("{INIT}\n"))[0].contains("init_ok"));
    for n in 0..100 {
        assert!(client.ask(&put(n))[0].contains("lsm_put_ok"));
    }
    drop(client);
    node.join().unwrap();
}

#[test]
fn a_client_may_write_everything_before_it_reads_anything() {
    let dir = tempfile::tempdir().unwrap();
    let (client, node) = spawn_in_thread(dir.path());
    let Client { mut input, output } = client;
    let requests = session((0..5_000).map(|n| format!(r#""type":"lsm_get","key":"{n}""#)));
    let writer = thread::spawn(move || input.write_all(requests.as_bytes()).unwrap());
    assert_eq!(output.lines().count(), 5_001);
    writer.join().unwrap();
    node.join().unwrap();
}

#[test]
fn a_file_is_an_input_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("requests");
    fs::write(&path, session((0..50_000).map(|n| format!(r#""type":"lsm_get","key":"{n}""#))))
        .unwrap();
    let mut output = Vec::new();
    run(&NodeOptions::default(), File::open(path).unwrap(), &mut output, io::sink()).unwrap();
    assert_eq!(output.lines().count(), 50_001);
}

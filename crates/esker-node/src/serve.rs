//! The conversation: read what is there, answer every complete line of it, write the replies.
//!
//! One `write` carries the replies to all lines of one `read`, so a pipelined client pays little
//! and an interactive one never waits: the node only reads when no complete line is left.
//!
//! **Threads.** The conversation runs on its caller's thread. [`run_stdio`] adds one that waits
//! for SIGTERM, SIGINT or SIGHUP. The node lies on a [`Desk`]: the conversation locks it while it
//! answers, not while it reads or writes, so a signal finds the node free soon, closes it and ends
//! the process although the conversation may hang in a `read` or `write` that nobody will end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::line::{Input, LineReader};
use crate::session::{Node, Turn};
use crate::stop::Stop;
use crate::{NodeError, NodeOptions};

/// How long a signal lets replies that are being written get through.
const FAREWELL: Duration = Duration::from_millis(500);

/// Serves one conversation: opens the store, answers `input` on `output` until it ends or nobody
/// reads the output any more, and closes the store. Notices for a person go to `notices`.
///
/// ```
/// let input = r#"{"src":"c1","dest":"n1","body":{"type":"init","msg_id":1,
///     "node_id":"n1","node_ids":["n1"]}}"#.replace('\n', "");
/// let (mut output, mut notices) = (Vec::new(), Vec::new());
/// esker_node::run(&Default::default(), input.as_bytes(), &mut output, &mut notices)?;
/// assert_eq!(
///     String::from_utf8(output)?,
///     "{\"src\":\"n1\",\"dest\":\"c1\",\"body\":{\"type\":\"init_ok\",\"in_reply_to\":1,\"msg_id\":0}}\n"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn run(
    options: &NodeOptions,
    input: impl Read,
    output: impl Write,
    mut notices: impl Write,
) -> Result<(), NodeError> {
    let desk = Desk::new(Node::open(options, Stop::default(), &mut notices)?);
    let served = converse(&desk, input, output, &mut notices);
    let closed = desk.take().map_or(Ok(()), Node::close);
    served.and(closed)
}

/// The same over standard input, output and error. SIGTERM, SIGINT and SIGHUP close the store and
/// end the process with status 0; then this function does not return.
pub fn run_stdio(options: &NodeOptions) -> Result<(), NodeError> {
    let stop = Stop::default();
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| NodeError::new("cannot watch for signals", &error))?;
    // Unbuffered: the line reader and the outbox are the buffers.
    let input = raw(&io::stdin(), "standard input")?;
    let output = raw(&io::stdout(), "standard output")?;
    let mut notices = io::stderr();
    let desk = Desk::new(Node::open(options, stop.clone(), &mut notices)?);
    thread::scope(|scope| {
        let _watch = Watch(signals.handle());
        scope.spawn(|| end_at_a_signal(signals, &stop, &desk));
        let served = converse(&desk, input, output, &mut notices);
        let Some(node) = desk.take() else { wait_for_the_end() };
        served.and(node.close())
    })
}

fn raw(stream: &impl AsFd, name: &str) -> Result<File, NodeError> {
    let owned = stream.as_fd().try_clone_to_owned();
    owned.map(File::from).map_err(|error| NodeError::new(format_args!("no {name}"), &error))
}

/// Answers `input` until it ends, the output is closed, or somebody took the node.
fn converse(
    desk: &Desk,
    input: impl Read,
    mut output: impl Write,
    notices: &mut impl Write,
) -> Result<(), NodeError> {
    let mut reader = LineReader::new(input);
    let mut replies = Vec::new();
    loop {
        let more = reader.fill().map_err(|error| NodeError::new("cannot read the input", &error))?;
        let mut lines = reader.lines();
        loop {
            let Some(turn) = desk.answer(&mut replies, |node| node.answer(&mut lines, notices))
            else {
                return Ok(());
            };
            let written = output.write_all(&replies).and_then(|()| output.flush());
            desk.written();
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(NodeError::new("cannot write the output", &error)),
            }
            if turn == Turn::Done {
                break;
            }
        }
        if more == Input::Ended {
            return Ok(());
        }
    }
}

/// Ends the thread that watches for signals when the conversation is over.
struct Watch(Handle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Waits for a signal, then closes the store and ends the process.
fn end_at_a_signal(mut signals: Signals, stop: &Stop, desk: &Desk) {
    if signals.forever().next().is_none() {
        return;
    }
    stop.set();
    let Some(node) = desk.take() else { return };
    let status = match node.close() {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "esker node: {error}");
            1
        }
    };
    desk.wait_for_writes(FAREWELL);
    process::exit(status);
}

/// Another thread has the node and ends the process when it has closed it.
fn wait_for_the_end() -> ! {
    loop {
        thread::park();
    }
}

/// Where the node lies while nobody works with it.
struct Desk {
    top: Mutex<DeskTop>,
    written: Condvar,
}

struct DeskTop {
    /// `None` once somebody took it, to close it.
    node: Option<Node>,
    /// Replies have left the node and are on their way out.
    is_writing: bool,
}

impl Desk {
    fn new(node: Node) -> Self {
        let top = DeskTop { node: Some(node), is_writing: false };
        Self { top: Mutex::new(top), written: Condvar::new() }
    }

    /// Lets the node work and fetches its replies; `None` if it was taken.
    fn answer(&self, replies: &mut Vec<u8>, work: impl FnOnce(&mut Node) -> Turn) -> Option<Turn> {
        let mut top = self.lock();
        let node = top.node.as_mut()?;
        let turn = work(node);
        node.outbox().hand_over(replies);
        top.is_writing = true;
        Some(turn)
    }

    fn written(&self) {
        self.lock().is_writing = false;
        self.written.notify_all();
    }

    fn take(&self) -> Option<Node> {
        self.lock().node.take()
    }

    fn wait_for_writes(&self, at_most: Duration) {
        let waited = self.written.wait_timeout_while(self.lock(), at_most, |top| top.is_writing);
        drop(waited);
    }

    fn lock(&self) -> MutexGuard<'_, DeskTop> {
        self.top.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

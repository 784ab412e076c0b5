//! How a command ends: its exit status, and the sentence for a person.
//!
//! | status | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | the key is not there |
//! | 2 | the command is wrong: its usage, or a directory that holds no store |
//! | 3 | bytes on disk are not what was written |
//! | 4 | another process has the store open |
//! | 5 | the operating system refused: no permission, no space, an I/O error |
//! | 6 | the store was written by a newer version |
//! | 7 | a bug of this program |
//! | 8 | something would be lost, and nobody accepted that: nothing was changed |

use std::fmt;
use std::io;
use std::process::ExitCode;

use esker::ErrorKind;
use esker_node::NodeError;

/// The table above, for the end of the help.
pub const STATUS_HELP: &str = "\
Exit status:
  0  done
  1  the key is not there
  2  the command is wrong: its usage, or a directory that holds no store
  3  bytes on disk are not what was written
  4  another process has the store open
  5  the operating system refused: no permission, no space, an I/O error
  6  the store was written by a newer version
  7  a bug of this program
  8  something would be lost, and nobody accepted that: nothing was changed";

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// The key is not in the store.
    Missing(String),
    /// A store is damaged, and standard output says how.
    Damaged(String),
    /// Something would be lost, and standard output says what.
    NotAccepted(String),
    /// The arguments contradict each other.
    Usage(String),
    /// The store says no.
    Store(esker::Error),
    /// The node could not start, go on, or end well.
    Node(NodeError),
    /// A benchmark has no figures to show.
    Bench(esker_bench::Error),
    /// The output cannot be written.
    Output(io::Error),
}

impl Failure {
    /// Says it on standard error, and the status to exit with. A reader who has gone (`| head`)
    /// wanted no more: that is no failure.
    pub fn report(&self) -> ExitCode {
        if let Self::Output(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return ExitCode::SUCCESS;
        }
        let advice = match self.kind() {
            Some(ErrorKind::Locked) => " (end that process, or ask it instead)",
            Some(ErrorKind::Corruption) => {
                " (`esker verify` lists all damage; restore the file from a copy, or `esker repair`)"
            }
            _ => "",
        };
        eprintln!("esker: {self}{advice}");
        ExitCode::from(self.status())
    }

    fn status(&self) -> u8 {
        match self {
            Self::Missing(_) => 1,
            Self::Damaged(_) => 3,
            Self::Usage(_) => 2,
            Self::NotAccepted(_) => 8,
            Self::Store(error) => status_of(error.kind()),
            Self::Node(error) => error.kind().map_or(5, status_of),
            Self::Bench(error) => match error {
                esker_bench::Error::Usage(_) => 2,
                esker_bench::Error::Io(..) => 5,
                esker_bench::Error::Store(error) => status_of(error.kind()),
                esker_bench::Error::Wrong(_) => 7,
            },
            Self::Output(_) => 5,
        }
    }

    /// What the store said no with, if it was the store.
    fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Store(error) => Some(error.kind()),
            Self::Node(error) => error.kind(),
            Self::Bench(esker_bench::Error::Store(error)) => Some(error.kind()),
            Self::Bench(_)
            | Self::Missing(_)
            | Self::Damaged(_)
            | Self::NotAccepted(_)
            | Self::Usage(_)
            | Self::Output(_) => None,
        }
    }
}

fn status_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidArgument => 2,
        ErrorKind::Corruption => 3,
        ErrorKind::Locked => 4,
        ErrorKind::Io | ErrorKind::NoSpace | ErrorKind::ReadOnly => 5,
        ErrorKind::Unsupported => 6,
        _ => 7,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(key) => write!(f, "no such key: {key}"),
            Self::Usage(text) | Self::Damaged(text) | Self::NotAccepted(text) => f.write_str(text),
            Self::Store(error) => write!(f, "{error}"),
            Self::Node(error) => write!(f, "{error}"),
            Self::Bench(error) => write!(f, "{error}"),
            Self::Output(error) => write!(f, "writing the answer: {error}"),
        }
    }
}

impl From<esker::Error> for Failure {
    fn from(error: esker::Error) -> Self {
        Self::Store(error)
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

impl From<esker_bench::Error> for Failure {
    fn from(error: esker_bench::Error) -> Self {
        Self::Bench(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

//! Why a run ended without figures.

use std::fmt;
use std::io;

/// What went wrong.
#[derive(Debug)]
pub enum Error {
    /// The settings contradict each other or the directory.
    Usage(String),
    /// The store says no.
    Store(esker::Error),
    /// The store answered, and not with what was written: no figure of this run is to be believed.
    Wrong(String),
    /// The operating system refused: what was tried, and why not.
    Io(String, io::Error),
}

/// What a run answers.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Says of an I/O error what was tried.
    pub(crate) fn io(what: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io(what.to_string(), error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Store(error) => write!(f, "{error}"),
            Self::Wrong(text) => write!(f, "the store answered wrongly: {text}"),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<esker::Error> for Error {
    fn from(error: esker::Error) -> Self {
        Self::Store(error)
    }
}

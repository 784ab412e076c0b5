//! Why a request was not carried out: a code of Maelstrom's table and a text that says where.

use std::borrow::Cow;

use esker::{Error, ErrorKind};

/// Longest text of an error reply; parts of it may come from a request.
const TEXT_BYTES_MAX: usize = 1_000;

/// The codes that a node answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    NotSupported = 10,
    TemporarilyUnavailable = 11,
    MalformedRequest = 12,
    Crash = 13,
    KeyDoesNotExist = 20,
    PreconditionFailed = 22,
}

/// The body of an error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn new<'t>(code: Code, text: impl Into<Cow<'t, str>>) -> Self {
        let mut text = text.into().into_owned();
        if text.len() > TEXT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
            text.push_str("...");
        }
        Self { code, text }
    }

    pub(crate) fn malformed<'t>(text: impl Into<Cow<'t, str>>) -> Self {
        Self::new(Code::MalformedRequest, text)
    }

    /// What a failed read answers.
    pub(crate) fn of_read(error: &Error) -> Self {
        let code = match error.kind() {
            ErrorKind::InvalidArgument => Code::MalformedRequest,
            ErrorKind::NoSpace | ErrorKind::ReadOnly | ErrorKind::Busy => {
                Code::TemporarilyUnavailable
            }
            _ => Code::Crash,
        };
        Self::new(code, error.to_string())
    }

    /// What a failed write, flush or merge answers: one that the operating system refused was
    /// not acknowledged and may be tried again.
    pub(crate) fn of_write(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Io => Self::new(Code::TemporarilyUnavailable, error.to_string()),
            _ => Self::of_read(error),
        }
    }
}

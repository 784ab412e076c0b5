//! `get`, `put`, `delete`, `scan`: what a store holds.

use std::io::Write;
use std::ops::Bound;

use clap::Args;
use esker::internals::Bounds;

use crate::commands::{Place, Spelling};
use crate::outcome::Failure;

/// Print the value of a key
///
/// A value that is printable text is printed as it is, any other one escaped (\n, \t, \xff).
#[derive(Args)]
#[command(after_help = "\
Example:
  $ esker put --dir shop apple red
  $ esker get --dir shop apple
  red
  $ esker get --dir shop --hex 6170706c65
  726564")]
pub struct Get {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    spelling: Spelling,
    /// The key
    key: String,
}

impl Get {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let key = self.spelling.read(&self.key)?;
        let value = self.place.with(|keyspace| Ok(keyspace.get(&key)?))?;
        let value = value.ok_or_else(|| Failure::Missing(self.key.clone()))?;
        Ok(writeln!(out, "{}", self.spelling.show(&value))?)
    }
}

/// Set a key to a value; creates the store and the keyspace if they are not there
#[derive(Args)]
#[command(after_help = "\
Example:
  $ esker put --dir shop apple red
  $ esker put --dir shop --keyspace stock apple 12
  $ esker get --dir shop --keyspace stock apple
  12")]
pub struct Put {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    spelling: Spelling,
    /// The key
    key: String,
    /// The value
    #[arg(allow_hyphen_values = true)]
    value: String,
}

impl Put {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let (key, value) = (self.spelling.read(&self.key)?, self.spelling.read(&self.value)?);
        self.place.with_created(|keyspace| Ok(keyspace.put(&key, &value)?))
    }
}

/// Remove a key; one that is not there is no error
#[derive(Args)]
#[command(after_help = "\
Example:
  $ esker put --dir shop apple red
  $ esker delete --dir shop apple
  $ esker scan --dir shop")]
pub struct Delete {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    spelling: Spelling,
    /// The key
    key: String,
}

impl Delete {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let key = self.spelling.read(&self.key)?;
        self.place.with(|keyspace| Ok(keyspace.delete(&key)?))
    }
}

/// Print entries in the order of keys, one a line: key, tab, value
#[derive(Args)]
#[command(after_help = "\
Example:
  $ esker put --dir shop apple red
  $ esker put --dir shop banana yellow
  $ esker put --dir shop cherry red
  $ esker scan --dir shop --start b
  banana\tyellow
  cherry\tred
  $ esker scan --dir shop --reverse --limit 1
  cherry\tred
  $ esker scan --dir shop --prefix ban
  banana\tyellow")]
pub struct Scan {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    spelling: Spelling,
    /// The first key that may be printed
    #[arg(long, value_name = "KEY")]
    start: Option<String>,
    /// The first key that is not printed any more
    #[arg(long, value_name = "KEY")]
    end: Option<String>,
    /// Only keys that begin so
    #[arg(long, value_name = "KEY")]
    prefix: Option<String>,
    /// At most so many entries, counted from the end where the scan begins
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// From the last key to the first
    #[arg(long)]
    reverse: bool,
}

impl Scan {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let bounds = self.bounds()?;
        self.place.with(|keyspace| {
            let start = Bound::Included(bounds.start);
            let end = bounds.end.map_or(Bound::Unbounded, Bound::Excluded);
            let entries = keyspace.range((start, end));
            let limit = self.limit.unwrap_or(usize::MAX);
            if self.reverse {
                self.print(entries.rev().take(limit), out)
            } else {
                self.print(entries.take(limit), out)
            }
        })
    }

    fn bounds(&self) -> Result<Bounds, Failure> {
        let read = |typed: &Option<String>| {
            typed.as_ref().map(|typed| self.spelling.read(typed)).transpose()
        };
        let asked = Bounds { start: read(&self.start)?.unwrap_or_default(), end: read(&self.end)? };
        Ok(asked.intersect(&Bounds::from_prefix(&read(&self.prefix)?.unwrap_or_default())))
    }

    fn print<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        entries: impl Iterator<Item = esker::Result<(K, V)>>,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        for entry in entries {
            let (key, value) = entry?;
            let (key, value) =
                (self.spelling.show(key.as_ref()), self.spelling.show(value.as_ref()));
            writeln!(out, "{key}\t{value}")?;
        }
        Ok(())
    }
}

//! One struct a command: its arguments, its help with an example, and what it does.
//!
//! - [`node`]: the node
//! - [`entries`]: `get`, `put`, `delete`, `scan`
//! - [`pictures`]: `levels`, `stats`, `check`, `dump`
//! - [`repair`]: `verify`, `repair`: stores that are damaged; [`quarantine`]: one table of them
//! - [`bench`]: workloads, measured
//!
//! The examples in the help are run by a test, and their output is compared.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use esker::{Db, Keyspace, Options};

use crate::outcome::Failure;
use crate::text::Syntax;

mod bench;
mod entries;
mod node;
mod pictures;
mod quarantine;
mod repair;

/// What the program can do.
#[derive(Subcommand)]
pub enum Command {
    Node(node::Node),
    Get(entries::Get),
    Put(entries::Put),
    Delete(entries::Delete),
    Scan(entries::Scan),
    Levels(pictures::Levels),
    Stats(pictures::Stats),
    Check(pictures::Check),
    Dump(pictures::Dump),
    Verify(repair::Verify),
    Repair(repair::Repair),
    Quarantine(quarantine::Quarantine),
    Bench(bench::Bench),
}

impl Command {
    /// Does it, with its answer written to `out`.
    pub fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        match self {
            Self::Node(command) => command.run(),
            Self::Get(command) => command.run(out),
            Self::Put(command) => command.run(),
            Self::Delete(command) => command.run(),
            Self::Scan(command) => command.run(out),
            Self::Levels(command) => command.run(out),
            Self::Stats(command) => command.run(out),
            Self::Check(command) => command.run(out),
            Self::Dump(command) => command.run(out),
            Self::Verify(command) => command.run(out),
            Self::Repair(command) => command.run(out),
            Self::Quarantine(command) => command.run(out),
            Self::Bench(command) => command.run(out),
        }
    }
}

/// When a write is answered.
#[derive(Clone, Copy, ValueEnum)]
enum Durability {
    /// Once the operating system has it: it survives the death of the process, not a power cut
    Os,
    /// Once it is on stable storage
    Sync,
}

/// Which keyspace of which store.
#[derive(Args)]
struct Place {
    /// The directory of the store
    #[arg(long, visible_alias = "data-dir")]
    dir: PathBuf,
    /// The keyspace
    #[arg(long, value_name = "NAME", default_value = "default")]
    keyspace: String,
}

impl Place {
    /// Lets `work` have the keyspace, then closes the store. Neither the store nor the keyspace
    /// is created if it is not there.
    fn with<T>(&self, work: impl FnOnce(&Keyspace) -> Result<T, Failure>) -> Result<T, Failure> {
        let db = Options::new().open_existing(&self.dir)?;
        let worked = match db.keyspaces().contains(&self.keyspace) {
            true => db.keyspace(&self.keyspace).map_err(Failure::from).and_then(|k| work(&k)),
            false => Err(Failure::Usage(format!(
                "{} has no keyspace {:?}; it has {}",
                self.dir.display(),
                self.keyspace,
                db.keyspaces().join(", ")
            ))),
        };
        closed(db, worked)
    }

    /// As [`with`](Self::with), but creates what is not there.
    fn with_created<T>(
        &self,
        work: impl FnOnce(&Keyspace) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let db = Options::new().open(&self.dir)?;
        let worked = db.keyspace(&self.keyspace).map_err(Failure::from).and_then(|k| work(&k));
        closed(db, worked)
    }
}

/// Closes the store; of two failures the earlier one is told.
fn closed<T>(db: Db, worked: Result<T, Failure>) -> Result<T, Failure> {
    let closed = db.close().map_err(Failure::from);
    worked.and_then(|answer| closed.map(|()| answer))
}

/// How keys and values are typed and shown.
#[derive(Args)]
struct Spelling {
    /// Keys and values are hexadecimal digits instead of text
    #[arg(long)]
    hex: bool,
}

impl Spelling {
    fn syntax(&self) -> Syntax {
        if self.hex { Syntax::Hex } else { Syntax::Text }
    }

    fn read(&self, typed: &str) -> Result<Vec<u8>, Failure> {
        self.syntax().read(typed).map_err(Failure::Usage)
    }

    fn show(&self, bytes: &[u8]) -> String {
        self.syntax().show(bytes)
    }
}

//! The program `esker`: the node, and the commands that look into a store.
//!
//! Without any argument it is `esker node` when its standard input is a pipe or a file, because
//! Maelstrom and similar harnesses start a bare binary, and its own help on a terminal.
//!
//! - [`commands`]: one struct a command, with its help, its example and what it does
//! - [`text`]: keys and values as a person types and reads them
//! - [`outcome`]: exit status and messages
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::commands::Command;
use crate::outcome::{Failure, STATUS_HELP};

mod commands;
mod outcome;
mod text;

/// An embedded, ordered key-value store: its node, and commands that look into a store.
#[derive(Parser)]
#[command(name = "esker", version, after_help = STATUS_HELP)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.len() < 2 {
        if io::stdin().is_terminal() {
            return print_help();
        }
        arguments = vec!["esker".into(), "node".into()];
    }
    let program = match Program::try_parse_from(arguments) {
        Ok(program) => program,
        Err(error) => error.exit(),
    };
    allow_open_files();
    let mut out = BufWriter::new(io::stdout().lock());
    let done = program.command.run(&mut out);
    let flushed = out.flush().map_err(Failure::Output);
    match done.and(flushed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Raises the limit on open files as far as this process may. A store keeps one open for each table,
/// and the usual 1,024 are there for programs that pass descriptors to `select`, which this one does
/// not. Where that is refused, the limit stays, and who meets it is told.
fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn print_help() -> ExitCode {
    match Program::command().print_help() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Failure::Output(error).report(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_fit_together() {
        Program::command().debug_assert();
    }
}

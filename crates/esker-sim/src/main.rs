//! The program `esker-sim`: runs seeds and campaigns, replays one history, cuts one down.
//!
//! Progress is drawn on a terminal only. A failure is one line that says how to replay it, and
//! exit status 1.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::campaigns::{Enumerate, Meta, Nth, Nth2};
use crate::commands::history::{Minimize, Replay};
use crate::commands::page::Page;
use crate::commands::seeds::Seeds;
use crate::commands::shapes::Shapes;

/// Runs seeded histories of Esker on a simulated machine, against a model.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run seeds until one fails
    Run(Seeds),
    /// Run one history and print each operation with its answer behind it
    Replay(Replay),
    /// Cut a failing history down to the operations that it takes, and print it
    Minimize(Minimize),
    /// Fail each operation of the disk in each scenario, in every way, and crash at each
    Nth(Nth),
    /// Crash at each operation, then fail or crash at each operation of the recovery
    Nth2(Nth2),
    /// Run all short histories and recover every image that a crash can leave
    Enumerate(Enumerate),
    /// Run histories under twelve sets of options
    Meta(Meta),
    /// Switch on mistakes of other stores, one at a time, and find each
    #[cfg(feature = "planted")]
    Planted(crate::commands::planted::Planted),
    /// Make docs/reliability.md from the records of campaigns
    Page(Page),
    /// Play the policy of compaction without a disk and print what it costs
    Shape(Shapes),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(seeds) => seeds.run(),
        Command::Replay(replay) => replay.run(),
        Command::Minimize(minimize) => minimize.run(),
        Command::Nth(nth) => nth.run(),
        Command::Nth2(nth2) => nth2.run(),
        Command::Enumerate(enumerate) => enumerate.run(),
        Command::Meta(meta) => meta.run(),
        #[cfg(feature = "planted")]
        Command::Planted(planted) => planted.run(),
        Command::Page(page) => page.run(),
        Command::Shape(shapes) => {
            shapes.print();
            Ok(ExitCode::SUCCESS)
        }
    }
}

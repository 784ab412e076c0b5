//! `esker-sim shape`: the policy of compaction without a disk.

use clap::Args;
use esker_sim::shape::report::{self, Row};

/// Which shapes.
#[derive(Args)]
pub struct Shapes {
    /// Bytes that the background can write for each one that the user writes
    #[arg(long, default_value_t = 8.0)]
    drain: f64,
    /// Only the data sizes whose name begins so
    #[arg(long, default_value = "")]
    data: String,
}

impl Shapes {
    /// Prints the table.
    pub fn print(&self) {
        println!("{}", Row::HEAD);
        for case in report::CASES.iter().filter(|case| case.name.starts_with(&self.data)) {
            let rules = [
                ("leveled", report::leveled(case.memtable_bytes)),
                ("tiered", report::tiered(case.memtable_bytes)),
            ];
            for (rule, policy) in rules {
                let (load, overwrite) = report::figures(case, policy, self.drain);
                if let Some(load) = load {
                    println!("{}", Row(case.name, "new", rule, load));
                }
                println!("{}", Row(case.name, "overwrite", rule, overwrite));
            }
        }
    }
}

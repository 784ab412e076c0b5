//! What a run measured, as it is kept in JSON: figures with their units in their names, and where
//! and when they were made.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clock::Tally;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::settings::Summary;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of the crate.
    pub esker: String,
    /// When it began.
    pub date: String,
    /// The command line.
    pub command: Vec<String>,
    /// Where.
    pub machine: Machine,
    /// What it was told.
    pub settings: Summary,
    /// Workloads and what was settled between them, in order.
    pub phases: Vec<Phase>,
}

/// One workload, or a `settle` between two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// The workload's name.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// Processor time of all threads meanwhile, background work included.
    pub cpu_seconds: Option<f64>,
    /// What was done at the same time: one part, or reads and writes; none of a `settle`.
    pub parts: Vec<Part>,
    /// What it wrote.
    pub disk: Disk,
    /// How much it needed.
    pub memory: Memory,
    /// How the tree was at its end.
    pub amplification: Amplification,
}

/// Operations of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Empty if the phase has no other part.
    pub name: String,
    /// What `entries` and `per_second` count.
    pub unit: String,
    pub entries: u64,
    /// What the latencies are of: a batch is one operation on many entries.
    pub operations: u64,
    pub seconds: f64,
    pub per_second: f64,
    pub latency: Latency,
}

/// Nanoseconds that operations took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub longest: u64,
}

/// Bytes that a phase wrote, and what lies on the disk after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Keys and values, as the engine counts them.
    pub user_bytes: u64,
    pub log_bytes: u64,
    pub flush_bytes: u64,
    pub compaction_bytes: u64,
    /// What the operating system charged to the process.
    pub process_bytes: Option<u64>,
    /// Allocated blocks of the store's directory.
    pub space_bytes: u64,
    /// Keys and values that are there.
    pub live_bytes: u64,
}

/// The most memory of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident, mapped files included.
    pub peak_bytes: Option<u64>,
    /// Resident and no file's; of ten looks a second.
    pub anonymous_bytes: Option<u64>,
    /// What the engine counts against its budget; of ten looks a second.
    pub engine_bytes: u64,
}

/// What [`esker::Stats`] says after a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Amplification {
    pub write: f64,
    pub read: u64,
    pub space: f64,
}

impl Phase {
    pub(crate) fn new(name: &str, parts: Vec<Part>) -> Self {
        Self {
            name: name.into(),
            seconds: parts.first().map_or(0.0, |part| part.seconds),
            cpu_seconds: None,
            parts,
            disk: Disk::default(),
            memory: Memory::default(),
            amplification: Amplification::default(),
        }
    }
}

impl Part {
    pub(crate) fn new(name: &str, unit: &str, tally: &Tally) -> Self {
        let seconds = tally.seconds();
        let at = |quantile| tally.latencies.value_at_quantile(quantile).min(tally.longest_nanos);
        Self {
            name: name.into(),
            unit: unit.into(),
            entries: tally.entries,
            operations: tally.operations,
            seconds,
            per_second: if seconds > 0.0 { tally.entries as f64 / seconds } else { 0.0 },
            latency: Latency {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p99_9: at(0.999),
                longest: tally.longest_nanos,
            },
        }
    }
}

impl Report {
    /// Writes it into a file.
    ///
    /// # Errors
    /// `Io`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("a report has only names for keys");
        fs::write(path, text + "\n").map_err(Error::io(format!("writing {}", path.display())))
    }

    /// Reads one that was saved.
    ///
    /// # Errors
    /// `Io`, and `Usage` for a file that is no report.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(Error::io(format!("reading {}", path.display())))?;
        serde_json::from_slice(&text).map_err(|error| {
            Error::Usage(format!("{} is no report of a run: {error}", path.display()))
        })
    }

    /// A small one, for tests of what is made of it.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let latency =
            Latency { p50: 480, p90: 900, p99: 12_345, p99_9: 1_500_000, longest: 2 << 30 };
        let part = |name: &str, unit: &str, per_second| Part {
            name: name.into(),
            unit: unit.into(),
            entries: 1_000_000,
            operations: 1_000_000,
            seconds: 1e6 / per_second,
            per_second,
            latency,
        };
        let mut fill = Phase::new("fillrandom", vec![part("", "puts", 1_234_567.8)]);
        fill.disk = Disk {
            user_bytes: 116_000_000,
            log_bytes: 140_000_000,
            flush_bytes: 118_000_000,
            compaction_bytes: 0,
            process_bytes: Some(260_000_000),
            space_bytes: 300_000_000,
            live_bytes: 116_000_000,
        };
        fill.memory =
            Memory { peak_bytes: None, anonymous_bytes: Some(150 << 20), engine_bytes: 128 << 20 };
        fill.amplification = Amplification { write: 1.02, read: 3, space: 1.0 };
        let mut settle = Phase::new("settle", Vec::new());
        settle.seconds = 1.5;
        let both = vec![part("reads", "gets", 900_000.0), part("writes", "puts", 60_000.0)];
        Self {
            esker: "0.1.0".into(),
            date: "2026-11-21T07:05:26Z".into(),
            command: vec!["esker".into(), "bench".into()],
            machine: Machine {
                cpu: "A Processor".into(),
                cores: 2,
                memory_bytes: 8 << 30,
                kernel: "linux 6.18".into(),
                file_system: "ext4".into(),
            },
            settings: crate::settings::Settings::default().summary(),
            phases: vec![fill, settle, Phase::new("readwhilewriting", both)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        Report::example().save(&path).unwrap();
        assert_eq!(Report::load(&path).unwrap(), Report::example());
        fs::write(&path, "{}").unwrap();
        assert!(matches!(Report::load(&path), Err(Error::Usage(_))));
        assert!(matches!(Report::load(&dir.path().join("none")), Err(Error::Io(..))));
    }
}

//! What a run is told, checked before it begins.

use std::path::PathBuf;

use esker::{Compression, Durability};
use serde::{Deserialize, Serialize};

use crate::entries::{KEY_BYTES_DEFAULT, KEY_BYTES_MAX, KEY_BYTES_MIN, Key};
use crate::error::{Error, Result};
use crate::workload::{DEFAULT, Workload};

/// Most threads of a run.
const THREADS_MAX: usize = 1024;

/// What is done, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many entries a fill puts.
    pub num: u64,
    /// How many operations each workload that does not fill does; `num` if not given.
    pub operations: Option<u64>,
    /// Bytes of a key.
    pub key_bytes: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Threads that share the operations.
    pub threads: usize,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// How tables of L1 and deeper are compressed.
    pub compression: Compression,
    /// Where the store is made and left; a temporary directory if not given.
    pub dir: Option<PathBuf>,
    /// What decides every draw.
    pub seed: u64,
    /// The engine's option of this name.
    pub memory_budget: Option<u64>,
    /// Most puts per second of the writer beside `readwhilewriting`'s readers.
    pub write_rate: Option<u64>,
    /// What is done, in this order.
    pub workloads: Vec<Workload>,
}

impl Default for Settings {
    fn default() -> Self {
        let workloads = DEFAULT.split(',').map(|name| name.parse().expect("a name from the table"));
        Self {
            num: 1_000_000,
            operations: None,
            key_bytes: KEY_BYTES_DEFAULT,
            value_bytes: 100,
            threads: 1,
            durability: Durability::Os,
            compression: Compression::None,
            dir: None,
            seed: 1,
            memory_budget: None,
            write_rate: None,
            workloads: workloads.collect(),
        }
    }
}

impl Settings {
    /// `Ok` if a run can begin in a store that holds `present` records.
    ///
    /// # Errors
    /// `Usage`.
    pub fn check(&self, present: u64) -> Result<()> {
        let refuse = |text: String| Err(Error::Usage(text));
        if self.num == 0 || self.operations == Some(0) || self.threads == 0 {
            return refuse("a run has at least one entry, one operation and one thread".into());
        }
        if self.threads > THREADS_MAX {
            return refuse(format!("at most {THREADS_MAX} threads"));
        }
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&self.key_bytes) {
            return refuse(format!("a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes"));
        }
        if self.num.max(present) > Key::number_max(self.key_bytes) / 4 {
            return refuse(format!("keys of {} bytes are too few", self.key_bytes));
        }
        if self.write_rate == Some(0) {
            return refuse("a writer without writes: leave the rate out".into());
        }
        let mut holds_entries = present > 0;
        for workload in &self.workloads {
            if !workload.fills() && !holds_entries {
                return refuse(format!("{workload} finds an empty store: put a fill before it"));
            }
            holds_entries = *workload != Workload::DeleteRandom;
        }
        Ok(())
    }

    /// What of this a report keeps.
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            num: self.num,
            operations: self.operations,
            key_bytes: self.key_bytes,
            value_bytes: self.value_bytes,
            threads: self.threads,
            durability: match self.durability {
                Durability::Os => "os".into(),
                Durability::Sync => "sync".into(),
            },
            compression: self.compression.name().into(),
            seed: self.seed,
            memory_budget: self.memory_budget,
            write_rate: self.write_rate,
        }
    }
}

/// The settings as a report has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub num: u64,
    pub operations: Option<u64>,
    pub key_bytes: usize,
    pub value_bytes: usize,
    pub threads: usize,
    pub durability: String,
    /// Absent from reports that are older than the option.
    #[serde(default = "no_compression")]
    pub compression: String,
    pub seed: u64,
    pub memory_budget: Option<u64>,
    pub write_rate: Option<u64>,
}

fn no_compression() -> String {
    Compression::None.name().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.check(0).unwrap_err().to_string()
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        assert!(Settings::default().check(0).is_ok());
        assert!(refusal(|s| s.num = 0).contains("at least one entry"));
        assert!(refusal(|s| s.threads = 0).contains("one thread"));
        assert!(refusal(|s| s.key_bytes = 7).contains("8 to 1024"));
        assert!(refusal(|s| (s.key_bytes, s.num) = (8, 25_000_001)).contains("too few"));
        assert!(refusal(|s| s.write_rate = Some(0)).contains("rate"));
    }

    #[test]
    fn a_store_is_filled_before_it_is_read() {
        let reads = |s: &mut Settings| s.workloads = vec![Workload::ReadRandom];
        assert!(refusal(reads).contains("readrandom finds an empty store"));
        let deleted = [Workload::FillSeq, Workload::DeleteRandom, Workload::ScanAll];
        assert!(refusal(|s| s.workloads = deleted.to_vec()).contains("scanall finds an empty"));
        let mut settings = Settings::default();
        reads(&mut settings);
        assert!(settings.check(10).is_ok());
    }
}

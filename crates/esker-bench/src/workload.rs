//! The workloads by name: what each does, what it needs, and how much of it a run does.

use std::fmt;
use std::str::FromStr;

use crate::settings::Settings;

/// Entries of a batch, and keys of one `multi_get`.
pub const BATCH_ENTRIES: u64 = 100;

/// Entries that a full scan walks between two looks at the clock: one alone would take less time
/// than the look.
pub const SCAN_PIECE_ENTRIES: u64 = 1000;

/// Most synced writes of a `fillsync` that was not told how many: disks take 0.1 to 10 ms for one.
const SYNCED_WRITES_MAX: u64 = 2_000;

/// What a run does, one after the other. What each is stands in its row of the table below.
#[expect(missing_docs, reason = "the table says it, also to users")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    FillSeq,
    FillRandom,
    Batches,
    FillSync,
    Overwrite,
    ReadRandom,
    ReadMissing,
    MultiGet,
    ScanAll,
    Seek10,
    Seek100,
    ReadWhileWriting,
    YcsbA,
    YcsbB,
    YcsbC,
    YcsbD,
    YcsbE,
    YcsbF,
    DeleteRandom,
}

/// Name, what one operation is called, and what the workload does.
const ALL: [(Workload, &str, &str, &str); 19] = {
    use Workload::*;
    [
        (FillSeq, "fillseq", "puts", "put every key into a new store, in order"),
        (
            FillRandom,
            "fillrandom",
            "puts",
            "put every key into a new store, each once, in no order",
        ),
        (Batches, "batches", "entries", "fillrandom in batches of 100"),
        (FillSync, "fillsync", "puts", "put keys into a new store, each synced to the disk"),
        (Overwrite, "overwrite", "puts", "put keys that are there, drawn evenly"),
        (ReadRandom, "readrandom", "gets", "get keys that are there, drawn evenly"),
        (ReadMissing, "readmissing", "gets", "get keys that are not there, between those that are"),
        (MultiGet, "multiget", "keys", "get 100 keys a call"),
        (ScanAll, "scanall", "entries", "walk over all entries with a cursor"),
        (Seek10, "seek10", "seeks", "a new cursor, a seek, 10 steps; a tenth as often as gets"),
        (Seek100, "seek100", "seeks", "a new cursor, a seek, 100 steps; a tenth as often as gets"),
        (ReadWhileWriting, "readwhilewriting", "gets", "readrandom beside one overwriting thread"),
        (YcsbA, "ycsb-a", "operations", "half gets, half puts; Zipf's law"),
        (YcsbB, "ycsb-b", "operations", "95 % gets, 5 % puts; Zipf's law"),
        (YcsbC, "ycsb-c", "operations", "gets; Zipf's law"),
        (YcsbD, "ycsb-d", "operations", "95 % gets of the latest, 5 % new keys"),
        (YcsbE, "ycsb-e", "operations", "95 % scans of 1 to 100 entries, 5 % new keys; a tenth"),
        (YcsbF, "ycsb-f", "operations", "half gets, half get, change and put; Zipf's law"),
        (DeleteRandom, "deleterandom", "deletes", "delete every key, in no order"),
    ]
};

/// What a run does that is not told.
pub const DEFAULT: &str = "fillrandom,readrandom,readmissing,multiget,scanall,seek10,seek100,\
readwhilewriting,ycsb-a,ycsb-b,ycsb-c,ycsb-d,ycsb-e,ycsb-f,overwrite,deleterandom,fillseq,batches,\
fillsync";

impl Workload {
    /// All of them, with what they do, for a help text.
    pub fn help() -> String {
        let line =
            |(_, name, _, about): &(Workload, &str, &str, &str)| format!("  {name:<17} {about}");
        ALL.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn row(self) -> &'static (Self, &'static str, &'static str, &'static str) {
        ALL.iter().find(|row| row.0 == self).expect("every workload has a row")
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What is counted per second.
    pub fn unit(self) -> &'static str {
        self.row().2
    }

    /// Whether it begins with an empty store.
    pub fn fills(self) -> bool {
        matches!(self, Self::FillSeq | Self::FillRandom | Self::Batches | Self::FillSync)
    }

    /// Whether it leaves a store behind that has not settled.
    pub fn writes(self) -> bool {
        self.fills()
            || !matches!(
                self,
                Self::ReadRandom
                    | Self::ReadMissing
                    | Self::MultiGet
                    | Self::ScanAll
                    | Self::Seek10
                    | Self::Seek100
                    | Self::YcsbC
            )
    }

    /// Whether the store settles before it, if something was written: all that read.
    pub fn wants_settled(self) -> bool {
        !self.fills() && !matches!(self, Self::Overwrite | Self::DeleteRandom)
    }

    /// On how many entries it works, of `present` ones in the store.
    pub fn entries(self, settings: &Settings, present: u64) -> u64 {
        let some = settings.operations.unwrap_or(settings.num);
        let fewer = settings.operations.unwrap_or(settings.num.div_ceil(10));
        match self {
            Self::FillSeq | Self::FillRandom | Self::Batches => settings.num,
            Self::FillSync => fewer.min(SYNCED_WRITES_MAX),
            Self::ScanAll | Self::DeleteRandom => present,
            Self::Seek10 | Self::Seek100 | Self::YcsbE => fewer,
            _ => some,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = ALL.iter().find(|row| row.1 == name);
        found.map(|row| row.0).ok_or_else(|| {
            let names: Vec<&str> = ALL.iter().map(|row| row.1).collect();
            format!("there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for row in ALL {
            assert_eq!(row.1.parse(), Ok(row.0));
            assert_eq!(row.0.to_string(), row.1);
        }
        assert!("fill".parse::<Workload>().unwrap_err().contains("fillseq, fillrandom"));
    }

    #[test]
    fn a_run_that_is_not_told_does_everything_once() {
        let workloads: Vec<Workload> =
            DEFAULT.split(',').map(|name| name.parse().unwrap()).collect();
        assert_eq!(workloads[0], Workload::FillRandom);
        assert_eq!(workloads.len(), ALL.len());
        for row in ALL {
            assert!(workloads.contains(&row.0), "{}", row.1);
        }
    }
}

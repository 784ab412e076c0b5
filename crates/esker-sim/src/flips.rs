//! Bit rot: one bit after the other is flipped in a store, and no answer may be wrong.
//!
//! A store of some size and several levels is made once and closed. Each flip is made in a copy of
//! the disk that shares all other files. Then the damaged file is verified, the store is opened and
//! read around the damage and elsewhere:
//!
//! - *detected*: `verify` names the file, or the store does not open; whatever is read is right or
//!   an error
//! - *harmless*: nothing is reported, and the whole store reads as before: the bit means nothing
//! - *silent*: anything else; there may be none
//!
//! Keys that lie outside of what `verify` names as damaged must be read, not refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use esker::internals::names::FileName;
use esker::internals::{CrashPolicy, PumpEnv, SimDisk, open, verify, verify_file};
use esker::{Db, Depth, ErrorKind, Finding, Options};

use crate::campaign::play_all;
use crate::campaign::record::Record;
use crate::rng::Rng;

/// Bytes of a value, about.
const VALUE_BYTES: u64 = 100;

/// Keys that are read in the damaged range, and outside of it.
const KEYS_READ: u64 = 20;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// How many bits to flip, one at a time.
    pub flips: usize,
    /// How many puts and deletes make the store.
    pub writes: u64,
    /// Bytes of its memtable; levels follow from it.
    pub memtable_bytes: u64,
    /// Decides the store and the places.
    pub seed: u64,
}

/// What the store must answer: of each key the last write to it, if that was a put.
type Model = BTreeMap<u64, Option<u64>>;

/// A bit of a file.
#[derive(Clone, Copy, Debug)]
struct Place {
    file: FileName,
    offset: u64,
    bit: u64,
}

/// What became of a flip that is not silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Reported,
    RefusedByOpen,
    Harmless,
}

/// What reads of a damaged store answered.
#[derive(Clone, Copy, Debug, Default)]
struct Reads {
    right: u64,
    refused: u64,
}

impl Campaign {
    /// Runs it on so many threads. `told` hears of every flip, and what is wrong about a silent one.
    pub fn run(&self, threads: usize, told: &mut (dyn FnMut(Option<&str>) + Send)) -> Record {
        let sample = Sample::new(self);
        let mut record = Record::new("flips");
        for figure in ["detected", "detected by open too", "harmless", "failures"] {
            record.add(figure, 0);
        }
        record.add("store bytes", sample.files.iter().map(|(_, bytes)| bytes).sum());
        record.add("tables", sample.tables);
        record.add("levels", sample.levels);
        let flip = |at: usize| {
            let mut rng = Rng::new(self.seed << 32 ^ at as u64);
            let (place, mut reads) = (sample.place(&mut rng), Reads::default());
            (place, sample.judge(place, &mut rng, &mut reads), reads)
        };
        play_all(self.flips, threads, &flip, &mut |_, (place, seen, reads)| {
            record.add("flips", 1);
            record.add(class(place.file), 1);
            record.add("reads right", reads.right);
            record.add("reads refused", reads.refused);
            match seen {
                Ok(Seen::Reported) => record.add("detected", 1),
                Ok(Seen::RefusedByOpen) => {
                    record.add("detected", 1);
                    record.add("detected by open too", 1);
                }
                Ok(Seen::Harmless) => record.add("harmless", 1),
                Err(what) => {
                    record.add("failures", 1);
                    let Place { file, offset, bit } = place;
                    return told(Some(&format!("{file}, byte {offset}, bit {bit}: {what}")));
                }
            }
            told(None);
        });
        record
    }

    fn options(&self) -> Options {
        let budget_bytes = 16 * self.memtable_bytes.max(1 << 20);
        Options::new().memory_budget(budget_bytes).memtable_bytes(self.memtable_bytes)
    }
}

/// The store before anything happened to it.
struct Sample {
    disk: Arc<SimDisk>,
    options: Options,
    files: Vec<(FileName, u64)>,
    model: Model,
    tables: u64,
    levels: u64,
}

impl Sample {
    fn new(campaign: &Campaign) -> Self {
        let (disk, options) = (SimDisk::new(), campaign.options());
        let db = open(disk.clone(), PumpEnv::new(campaign.seed), &options).expect("it is created");
        let (mut model, mut rng) = (Model::new(), Rng::new(campaign.seed));
        for version in 0..campaign.writes {
            let key = rng.below(campaign.writes);
            let value = (!rng.percent(10)).then_some(version);
            match value {
                Some(version) => db.put(key_of(key), value_of(key, version)),
                None => db.delete(key_of(key)),
            }
            .expect("nothing fails yet");
            model.insert(key, value);
        }
        let levels = db.levels();
        let tables = levels.iter().map(|level| level.tables as u64).sum();
        let levels = levels.iter().filter(|level| level.tables > 0).count() as u64;
        db.close().expect("nothing fails yet");
        let files = disk.files().into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        let sample = Self { disk, options, files, model, tables, levels };
        let sound = verify(&*sample.disk, Depth::Full).expect("it can be read");
        assert!(sound.findings.is_empty(), "{:?}", sound.findings);
        sample
    }

    /// A bit anywhere in the store's files, each as likely as any other.
    fn place(&self, rng: &mut Rng) -> Place {
        let mut offset = rng.below(self.files.iter().map(|(_, bytes)| bytes).sum());
        let bit = rng.below(8);
        for (file, bytes) in &self.files {
            if offset < *bytes {
                return Place { file: *file, offset, bit };
            }
            offset -= bytes;
        }
        unreachable!("the offset is below the sum")
    }

    /// Flips a bit in a copy and looks at what comes of it.
    fn judge(&self, place: Place, rng: &mut Rng, reads: &mut Reads) -> Result<Seen, String> {
        let disk = self.disk.crash(CrashPolicy::ProcessCrash, 0);
        disk.damage(place.file, place.offset, 1 << place.bit);
        let report = verify_file(&*disk, Depth::Full, place.file);
        let findings = match report {
            Ok(report) => report.findings,
            // A version or a codec of the future, by the look of it.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                return Err(format!("verify calls damage a newer version: {error}"));
            }
            Err(error) => return Err(format!("verify fails: {error}")),
        };
        let db = match open(disk, PumpEnv::new(1), &self.options) {
            Ok(db) => db,
            Err(error) if findings.is_empty() => {
                return Err(format!("verify is content, and open says {error}"));
            }
            Err(_) => return Ok(Seen::RefusedByOpen),
        };
        if findings.is_empty() {
            return self.read_all(&db).map(|()| Seen::Harmless);
        }
        self.read_some(&db, &findings, rng, reads).map(|()| Seen::Reported)
    }

    /// Without a finding all must be as it was.
    fn read_all(&self, db: &Db) -> Result<(), String> {
        let mut expected = self.model.iter().filter_map(|(key, version)| Some((*key, (*version)?)));
        for entry in db.iter() {
            let (key, value) = entry.map_err(|error| format!("unreported: {error}"))?;
            let (expected, version) = expected.next().ok_or("an entry too many")?;
            if *key != key_of(expected)[..] || *value != value_of(expected, version)[..] {
                return Err(format!("key {expected} is not what it was"));
            }
        }
        expected.next().map_or(Ok(()), |(key, _)| Err(format!("key {key} is missing")))
    }

    /// Keys where the damage is, which may be refused, and elsewhere, which may not.
    fn read_some(
        &self,
        db: &Db,
        findings: &[Finding],
        rng: &mut Rng,
        reads: &mut Reads,
    ) -> Result<(), String> {
        let damaged = |key: &[u8]| {
            findings.iter().any(|finding| match &finding.keys {
                Some((first, last)) => first.as_slice() <= key && key <= last.as_slice(),
                // Of a filter: the table is read without it.
                None => false,
            })
        };
        let first = findings.iter().find_map(|finding| finding.keys.as_ref()).map(|keys| &keys.0);
        let near = first.map_or(0, |first| number_of(first));
        for n in 0..2 * KEYS_READ {
            let keys = self.model.len() as u64;
            let key = if n < KEYS_READ { near + n } else { rng.below(keys) };
            let name = key_of(key);
            let expected = self.model.get(&key).copied().flatten();
            let expected = expected.map(|version| value_of(key, version));
            match db.get(&name) {
                Ok(found) if found.as_deref() == expected.as_deref() => reads.right += 1,
                Ok(_) => return Err(format!("key {key} is not what it was")),
                Err(_) if damaged(&name) => reads.refused += 1,
                Err(error) => return Err(format!("key {key} is out of the damage: {error}")),
            }
        }
        self.scan_some(db, near, reads)
    }

    /// A scan from the damage on is right until it fails, and then stays failed.
    fn scan_some(&self, db: &Db, near: u64, reads: &mut Reads) -> Result<(), String> {
        let expected = self.model.range(near..).filter_map(|(key, value)| Some((*key, (*value)?)));
        let mut scan = db.range(key_of(near)..);
        for (key, version) in expected.take(2 * KEYS_READ as usize) {
            match scan.next() {
                Some(Ok((name, value))) => {
                    if *name != key_of(key)[..] || *value != value_of(key, version)[..] {
                        return Err(format!("a scan has not key {key} as it was"));
                    }
                    reads.right += 1;
                }
                Some(Err(_)) => {
                    reads.refused += 1;
                    return match scan.next() {
                        Some(Ok(_)) => Err("a failed scan goes on".to_owned()),
                        _ => Ok(()),
                    };
                }
                None => return Err(format!("a scan ends before key {key}")),
            }
        }
        Ok(())
    }
}

fn class(file: FileName) -> &'static str {
    match file {
        FileName::Table(_) => "flips of tables",
        FileName::Log(_) => "flips of logs",
        _ => "flips of other files",
    }
}

fn key_of(key: u64) -> Vec<u8> {
    format!("key/{key:012}").into_bytes()
}

/// The number of a key, or of the first one behind what is no whole key.
fn number_of(key: &[u8]) -> u64 {
    let digits: String = key.iter().skip(4).map(|byte| char::from(*byte)).collect();
    format!("{digits:0<12}").parse().unwrap_or(0)
}

fn value_of(key: u64, version: u64) -> Vec<u8> {
    let mut value = format!("{key} at {version} ").into_bytes();
    let mut rng = Rng::new(key ^ version << 24);
    let length = VALUE_BYTES / 2 + rng.below(VALUE_BYTES);
    while (value.len() as u64) < length {
        value.extend_from_slice(&rng.word().to_le_bytes());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flipped_bit_of_a_small_store_is_silent() {
        let campaign = Campaign { flips: 150, writes: 40_000, memtable_bytes: 16 << 10, seed: 1 };
        let mut silent = Vec::new();
        let record = campaign.run(2, &mut |what| silent.extend(what.map(str::to_owned)));
        assert!(silent.is_empty(), "{silent:#?}");
        let figure = |name: &str| record.figures.get(name).copied().unwrap_or_default();
        assert!(figure("levels") > 1 && figure("flips") == 150, "{record}");
        assert!(figure("detected") > 130 && figure("reads refused") > 0, "{record}");
    }
}

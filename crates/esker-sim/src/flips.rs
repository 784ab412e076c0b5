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
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use esker::internals::names::FileName;
use esker::internals::{CrashPolicy, PumpEnv, SimDisk, open, verify, verify_file};
use esker::{Db, Depth, ErrorKind, Finding, Options};

use crate::rng::Rng;

/// Bytes of a value, about.
const VALUE_BYTES: u64 = 100;

/// Keys that are read in the damaged range, and outside of it.
const KEYS_READ: u64 = 20;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// How many bits to flip, one at a time.
    pub flips: u64,
    /// How many puts and deletes make the store.
    pub writes: u64,
    /// Bytes of its memtable; levels follow from it.
    pub memtable_bytes: u64,
    /// Decides the store and the places.
    pub seed: u64,
}

/// What became of the flips.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The store's files together.
    pub store_bytes: u64,
    /// Its tables.
    pub tables: u64,
    /// Its levels that hold something.
    pub levels: u64,
    /// Flips that were reported.
    pub detected: u64,
    /// Of these, the ones that an open answered with an error.
    pub refused_by_open: u64,
    /// Flips of bits that mean nothing.
    pub harmless: u64,
    /// Flips by class of file: tables, logs, others.
    pub by_class: [u64; 3],
    /// Reads that answered an error, all of them of damaged keys.
    pub reads_refused: u64,
    /// Reads that answered right.
    pub reads_right: u64,
    /// The flips that were neither, and how to see them again.
    pub silent: Vec<String>,
    /// How long it took.
    pub seconds: f64,
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

impl Campaign {
    /// Runs it; `progress` is told after each flip.
    pub fn run(&self, progress: &mut dyn FnMut()) -> Outcome {
        let begun = Instant::now();
        let sample = Sample::new(self);
        let mut outcome = Outcome {
            store_bytes: sample.files.iter().map(|(_, bytes)| bytes).sum(),
            tables: sample.tables,
            levels: sample.levels,
            ..Outcome::default()
        };
        let mut rng = Rng::new(self.seed ^ 1);
        for _ in 0..self.flips {
            let place = sample.place(&mut rng);
            outcome.by_class[class(place.file)] += 1;
            if let Err(what) = sample.judge(place, &mut rng, &mut outcome) {
                let Place { file, offset, bit } = place;
                outcome.silent.push(format!("{file}, byte {offset}, bit {bit}: {what}"));
            }
            progress();
        }
        outcome.seconds = begun.elapsed().as_secs_f64();
        outcome
    }

    fn options(&self) -> Options {
        Options::new()
            .memory_budget(16 * self.memtable_bytes.max(1 << 20))
            .memtable_bytes(self.memtable_bytes)
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
    fn judge(&self, place: Place, rng: &mut Rng, outcome: &mut Outcome) -> Result<(), String> {
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
            Err(_) => {
                outcome.detected += 1;
                outcome.refused_by_open += 1;
                return Ok(());
            }
        };
        if findings.is_empty() {
            self.read_all(&db)?;
            outcome.harmless += 1;
            return Ok(());
        }
        outcome.detected += 1;
        self.read_some(&db, &findings, rng, outcome)
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
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let damaged = |key: &[u8]| {
            findings.iter().any(|finding| match &finding.keys {
                Some((first, last)) => first.as_slice() <= key && key <= last.as_slice(),
                // Of a filter or of properties: the table serves nobody.
                None => true,
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
                Ok(found) if found.as_deref() == expected.as_deref() => outcome.reads_right += 1,
                Ok(_) => return Err(format!("key {key} is not what it was")),
                Err(_) if damaged(&name) => outcome.reads_refused += 1,
                Err(error) => return Err(format!("key {key} is out of the damage: {error}")),
            }
        }
        self.scan_some(db, near, outcome)
    }

    /// A scan from the damage on is right until it fails, and then stays failed.
    fn scan_some(&self, db: &Db, near: u64, outcome: &mut Outcome) -> Result<(), String> {
        let expected = self.model.range(near..).filter_map(|(key, value)| Some((*key, (*value)?)));
        let mut scan = db.range(key_of(near)..);
        for (key, version) in expected.take(2 * KEYS_READ as usize) {
            match scan.next() {
                Some(Ok((name, value))) => {
                    if *name != key_of(key)[..] || *value != value_of(key, version)[..] {
                        return Err(format!("a scan has not key {key} as it was"));
                    }
                    outcome.reads_right += 1;
                }
                Some(Err(_)) => {
                    outcome.reads_refused += 1;
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

impl Outcome {
    /// The figures as one JSON object.
    pub fn to_json(&self, campaign: &Campaign) -> String {
        let Campaign { flips, seed, .. } = campaign;
        let [tables, logs, others] = self.by_class;
        let mut figures = String::new();
        for (name, number) in [
            ("flips", *flips),
            ("flips of tables", tables),
            ("flips of logs", logs),
            ("flips of other files", others),
            ("detected", self.detected),
            ("of these refused by open", self.refused_by_open),
            ("harmless", self.harmless),
            ("silent", self.silent.len() as u64),
            ("reads right", self.reads_right),
            ("reads refused", self.reads_refused),
            ("store bytes", self.store_bytes),
            ("tables", self.tables),
            ("levels", self.levels),
        ] {
            write!(figures, "\"{name}\": {number}, ").expect("a string takes all");
        }
        format!(
            "{{\"campaign\": \"flips\", \"command\": \"esker-sim flips --flips {flips} --seed {seed}\", \
             \"figures\": {{{figures}\"seconds\": {:.1}}}, \"skipped\": []}}\n",
            self.seconds
        )
    }
}

fn class(file: FileName) -> usize {
    match file {
        FileName::Table(_) => 0,
        FileName::Log(_) => 1,
        _ => 2,
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
        let outcome = campaign.run(&mut || {});
        assert!(outcome.silent.is_empty(), "{:#?}", outcome.silent);
        assert!(outcome.levels > 1, "{outcome:?}");
        assert!(outcome.detected > 130 && outcome.reads_refused > 0, "{outcome:?}");
    }
}

//! Every byte of every file of a small store is damaged, one at a time: once closed cleanly, once
//! killed. The answer is right, an error, or, for a byte of the log above what is stated as
//! durable, a shorter prefix of whole batches.

use esker_sim::engine::{Esker, Simulated};
use esker_sim::fault::{FILE_CLASSES, Rot};
use esker_sim::model::{Change, Commit, Model};
use esker_sim::ops::{Durability, Policy, Space};
use esker_sim::store::{Machine, Put, Store};
use esker_sim::verify::dump;

/// A small store, what it holds, and how much of its log it states as durable.
struct Sample {
    machine: Simulated,
    store: Esker,
    model: Model,
    /// The log's files and their lengths at the last sync, and the commits up to it.
    synced: Vec<(String, u64)>,
    commits_synced: usize,
}

impl Sample {
    /// Two keyspaces, tables in three levels, and a log of which the beginning is durable. The
    /// seed decides how tables are compressed.
    fn new(seed: u64) -> Self {
        let machine = Simulated::new(None);
        let store = machine.open(seed).unwrap();
        let model = Model::new();
        let mut sample = Self { machine, store, model, synced: Vec::new(), commits_synced: 0 };
        let users = Space("users".to_owned());
        sample.store.keyspace(&users).unwrap();
        sample.model.commit(Commit::Create(users));
        for round in 0..2 {
            sample.batches(round * 10, 6);
            sample.store.flush().unwrap();
            let default = sample.store.keyspace(&Space::default_space()).unwrap();
            sample.store.compact_level(&default, 0).unwrap();
            if round == 0 {
                sample.store.compact_level(&default, 1).unwrap();
            }
        }
        sample.batches(40, 3);
        sample.store.flush().unwrap();
        sample.batches(50, 3);
        sample.store.sync().unwrap();
        sample.synced = sample.machine.files("log");
        let (last, len) = sample.store.log_synced().unwrap();
        sample.synced.iter_mut().filter(|(file, _)| *file == last).for_each(|(_, l)| *l = len);
        sample.commits_synced = sample.model.now();
        sample.batches(60, 3);
        sample
    }

    /// Batches over both keyspaces: two puts and a delete of what an earlier one put.
    fn batches(&mut self, first: usize, count: usize) {
        let spaces = [Space::default_space(), Space("users".to_owned())];
        let handles = spaces.clone().map(|space| self.store.keyspace(&space).unwrap());
        for n in first..first + count {
            let value = format!("value of {n}, long enough to fill blocks: {}", "x".repeat(n % 30));
            let changes: Vec<(usize, String, Option<String>)> = vec![
                (0, format!("key/{:02}", n * 7 % 40), Some(value.clone())),
                (1, format!("user/{:02}", n % 15), Some(value)),
                (0, format!("key/{:02}", n * 3 % 40), None),
            ];
            let puts: Vec<_> = changes
                .iter()
                .map(|(space, key, value)| Put {
                    space: &handles[*space],
                    key: key.as_bytes(),
                    value: value.as_ref().map(String::as_bytes),
                })
                .collect();
            self.store.write(&puts, Durability::Default).unwrap();
            let changes = changes.into_iter().map(|(space, key, value)| Change {
                space: spaces[space].clone(),
                key: key.into_bytes(),
                value: value.map(|value| value.into_bytes().into()),
            });
            self.model.commit(Commit::Batch(changes.collect()));
        }
    }

    /// How many commits must be there if damage at this place goes unnoticed.
    fn floor(&self, file: &str, offset: u64) -> usize {
        let is_log = file.ends_with(".log");
        let length = self.synced.iter().find(|(name, _)| name == file).map_or(0, |(_, len)| *len);
        if is_log && offset >= length { self.commits_synced } else { self.model.now() }
    }
}

/// Seeds of a store without compression, and of one with it in every other level.
const PLAIN: u64 = 1;
const COMPRESSED: u64 = 5;

/// What became of the flips of one disk.
#[derive(Debug, Default)]
struct Tally {
    right: u64,
    errors: u64,
    shorter: u64,
}

/// Flips a bit in every byte of every file, one at a time; `floor` as in [`Sample::floor`].
fn flip_all(disk: &Simulated, model: &Model, floor: &dyn Fn(&str, u64) -> usize) -> Tally {
    let mut tally = Tally::default();
    for (file, len) in FILE_CLASSES.iter().flat_map(|class| disk.files(class)) {
        for offset in 0..len {
            let copy = disk.crash(Policy::Kill, 0);
            copy.damage(&file, Rot::Flip, offset);
            let floor = floor(&file, offset);
            judge(&copy, model, floor, &mut tally)
                .unwrap_or_else(|what| panic!("{file}, byte {offset}: {what}"));
        }
    }
    tally
}

/// Every answer of a store is an error, or right for one and the same prefix of the history.
fn judge(disk: &Simulated, model: &Model, floor: usize, tally: &mut Tally) -> Result<(), String> {
    let Ok(store) = disk.open(1) else {
        tally.errors += 1;
        return Ok(());
    };
    let scanned = dump(&store);
    let mut then = model.clone();
    let mut lost = 0;
    let is_error = scanned.is_err();
    if let Ok(found) = scanned {
        lost = then.recover(&found, floor)?;
    } else if floor < model.now() {
        return Err("a scan fails where a log was damaged above its horizon".to_owned());
    }
    let errors = get_all(&store, &then)?;
    // Reads do without a filter that is damaged; a check tells of it.
    let is_told = is_error || errors > 0 || (lost == 0 && store.check().is_err());
    match (is_told, lost) {
        (true, _) => tally.errors += 1,
        (false, 0) => tally.right += 1,
        (false, _) => tally.shorter += 1,
    }
    Ok(())
}

/// Gets every key there ever was; returns how many answered an error.
fn get_all(store: &Esker, model: &Model) -> Result<u64, String> {
    let mut errors = 0;
    for space in model.spaces() {
        let Ok(handle) = store.keyspace(&space) else {
            errors += 1;
            continue;
        };
        for key in model.keys(&space) {
            let expected = model.get(&space, &key, model.now()).map(|value| value.to_vec());
            match store.get(&handle, &key) {
                Err(_) => errors += 1,
                Ok(found) if found == expected => {}
                Ok(found) => {
                    let key = String::from_utf8_lossy(&key).into_owned();
                    return Err(format!("get {key}: expected {expected:?}, found {found:?}"));
                }
            }
        }
    }
    Ok(errors)
}

#[test]
fn a_flipped_bit_in_a_closed_store_is_an_error_or_harmless() {
    closed_and_flipped(&Sample::new(PLAIN));
}

#[test]
fn a_flipped_bit_in_a_compressed_store_is_an_error_or_harmless() {
    let sample = Sample::new(COMPRESSED);
    assert!(sample.store.figures().compressed_levels > 1);
    closed_and_flipped(&sample);
}

fn closed_and_flipped(sample: &Sample) {
    sample.store.close().unwrap();
    let now = sample.model.now();
    let tally = flip_all(&sample.machine, &sample.model, &|_, _| now);
    println!("{tally:?}");
    assert_eq!(tally.shorter, 0);
    assert!(tally.errors > 20 * tally.right, "nearly every byte says something: {tally:?}");
}

#[test]
fn a_flipped_bit_in_a_killed_store_costs_at_most_the_log_above_its_horizon() {
    let sample = Sample::new(COMPRESSED);
    let killed = sample.machine.crash(Policy::Kill, 0);
    let tally = flip_all(&killed, &sample.model, &|file, offset| sample.floor(file, offset));
    println!("{tally:?}");
    assert!(tally.shorter > 0, "the tail of the log is there to be lost");
    // The rest is behind the logs' ends: allocated ahead, or of an earlier life.
    assert!(tally.errors > 5 * tally.right, "most bytes say something: {tally:?}");
}

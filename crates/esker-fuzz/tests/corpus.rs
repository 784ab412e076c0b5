//! Replays `fuzz/corpus`: a folder for each target, in it seeds made of valid files (`seed-` and a
//! number; `REWRITE=1 cargo test -p esker-fuzz` makes them) and inputs that fuzzing found.
//!
//! Then it changes them at random, without any guidance: `ESKER_FUZZ_EXECUTIONS=100000 cargo test -p
//! esker-fuzz`, from `ESKER_FUZZ_SEED`, of `ESKER_FUZZ_TARGET` alone if it is set. Whatever breaks is
//! left in a file, which a failure names.
//!
//! One test at a time: memory is counted, and other threads would be counted too.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use esker_fuzz::Target;

/// So many random inputs of each target, where nobody says how many.
const EXECUTIONS: u64 = 150;

/// Longest random input.
const INPUT_BYTES_MAX: usize = 4096;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// All inputs together: a corpus in a repository is a sample.
const CORPUS_BYTES_MAX: u64 = 256 << 10;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

/// The files of a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let listing = fs::read_dir(folder).expect("REWRITE=1 makes the folder");
    let mut files: Vec<_> = listing.map(|entry| entry.expect("it can be listed").path()).collect();
    files.sort();
    files
}

/// Writes the seeds of a target in place of those before.
fn rewrite_seeds(target: &Target) {
    let folder = corpus().join(target.name);
    fs::create_dir_all(&folder).expect("a folder can be made");
    for file in files(&folder) {
        let name = file.file_name().expect("a name").to_string_lossy();
        if name.starts_with("seed-") {
            fs::remove_file(&file).expect("a seed can be removed");
        }
    }
    for (n, seed) in (target.seeds)().iter().enumerate() {
        fs::write(folder.join(format!("seed-{n:02}")), seed).expect("a seed can be written");
    }
}

#[test]
fn every_input_of_the_corpus_is_answered_in_bounded_memory() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let rewrite = std::env::var_os("REWRITE").is_some();
    let mut all_bytes = 0;
    for target in esker_fuzz::targets() {
        if rewrite {
            rewrite_seeds(&target);
        }
        // What a target makes once is made now.
        let seeds = (target.seeds)();
        seeds.iter().for_each(|seed| (target.run)(seed));
        let mut most_held = 0;
        let mut inputs = BTreeSet::new();
        for file in files(&corpus().join(target.name)) {
            let input = fs::read(&file).expect("an input can be read");
            all_bytes += input.len() as u64;
            println!("{}", file.display());
            most_held = most_held.max(esker_fuzz::run(&target, &input));
            inputs.insert(input);
        }
        println!("{}: {} inputs, at most {most_held} bytes held", target.name, inputs.len());
        let missing = seeds.iter().position(|seed| !inputs.contains(seed));
        assert_eq!(missing, None, "{}: a seed is not in the corpus: REWRITE=1", target.name);
        for nothing_special in [&b""[..], &[0; 4096], &[0xff; 4096]] {
            esker_fuzz::run(&target, nothing_special);
        }
    }
    assert!(all_bytes <= CORPUS_BYTES_MAX, "a corpus of {all_bytes} bytes");
    let folders: BTreeSet<_> = files(&corpus()).into_iter().collect();
    let known = esker_fuzz::targets().into_iter().map(|target| corpus().join(target.name));
    assert_eq!(folders, known.collect(), "a folder for each target");
}

#[test]
fn random_changes_of_the_corpus_are_answered_in_bounded_memory() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let number = |name, or| std::env::var(name).map_or(or, |text| text.parse().expect("a number"));
    let executions = number("ESKER_FUZZ_EXECUTIONS", EXECUTIONS);
    let only = std::env::var("ESKER_FUZZ_TARGET");
    let mut random = Random(number("ESKER_FUZZ_SEED", 1));
    let mut figures = Vec::new();
    for target in esker_fuzz::targets() {
        if only.as_ref().is_ok_and(|only| only != target.name) {
            continue;
        }
        (target.seeds)().iter().for_each(|seed| (target.run)(seed));
        let inputs: Vec<_> = files(&corpus().join(target.name))
            .iter()
            .map(|file| fs::read(file).expect("an input can be read"))
            .collect();
        for _ in 0..executions {
            let input = random.change(&inputs);
            let ran = catch_unwind(AssertUnwindSafe(|| esker_fuzz::run(&target, &input)));
            if let Err(panic) = ran {
                let file = std::env::temp_dir().join(format!("esker-broken-{}", target.name));
                fs::write(&file, &input).expect("a file can be written");
                println!("{} breaks {}", file.display(), target.name);
                resume_unwind(panic);
            }
        }
        figures.push(format!("\"{} executions\": {executions}", target.name));
    }
    if let Some(file) = std::env::var_os("ESKER_RECORD") {
        let command = format!("ESKER_FUZZ_EXECUTIONS={executions} cargo test -p esker-fuzz");
        let figures = figures.join(", ");
        let record = format!(
            "{{\"campaign\": \"random bytes\", \"command\": \"{command}\", \"figures\": {{{figures}}}, \"skipped\": []}}\n"
        );
        fs::write(file, record).expect("the record can be written");
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A byte, more often than not one at an edge.
    fn byte(&mut self) -> u8 {
        match self.below(4) {
            0 => [0, 1, 0x7f, 0x80, 0xfe, 0xff][self.below(6)],
            1 => 1 << self.below(8),
            _ => self.next() as u8,
        }
    }

    /// One of the inputs with some changes.
    fn change(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut input = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(input.len());
            let run = (1 + self.below(8)).min(input.len() - at);
            match self.below(6) {
                0 | 1 if !input.is_empty() => input[at] = self.byte(),
                2 => input.insert(at, self.byte()),
                3 => drop(input.drain(at..at + run)),
                4 => {
                    let other = &inputs[self.below(inputs.len())];
                    let from = self.below(other.len());
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
                // As an edit of a valid file: which, where, how many bytes, and they.
                _ => {
                    let bytes = 1 + self.below(4);
                    let place = [self.byte(), self.next() as u8, self.below(16) as u8, bytes as u8];
                    input.extend_from_slice(&place);
                    (0..bytes).for_each(|_| input.push(self.byte()));
                }
            }
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }
}

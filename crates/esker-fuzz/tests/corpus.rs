//! Replays `fuzz/corpus`: a folder for each target, in it seeds made of valid files (`seed-` and a
//! number; `REWRITE=1 cargo test -p esker-fuzz` makes them) and inputs that fuzzing found.
//!
//! One test does all, because memory is counted and other threads would be counted too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use esker_fuzz::Target;

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

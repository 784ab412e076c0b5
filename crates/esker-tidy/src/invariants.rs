//! Numbered invariants: each is listed in its folder's `mod.rs`, asserted in code, and tested.
//!
//! ```text
//! //! - **W1** Segment numbers are never used twice.          in wal/mod.rs
//! invariant!(W1, next > self.active, "{next}");               in the code of wal/
//! fn w1_a_segment_number_is_never_used_twice() {              a test, in wal/ or in tests/
//! ```
//!
//! `W1:` does for `**W1**`. An id belongs to one folder. `L0` to `L9` are levels, not ids.

use std::collections::BTreeMap;

use crate::mask::{find_word, leading_word};
use crate::repo::{Finding, Repo, RustFile};

/// Finds invariants that are not listed once, not asserted, or not tested.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for folder in repo.engine_folders() {
        let mod_path = format!("crates/esker/src/{folder}/mod.rs");
        let listed = repo.rust_file(&mod_path).map(listed).unwrap_or_default();
        for (id, line) in &listed {
            if let Some(other) = owners.insert(id, folder) {
                let text = format!("{id} is listed twice, in {other}/ and in {folder}/");
                findings.push(Finding::new(&mod_path, *line, text));
            }
        }
        let asserted = asserted(repo, folder);
        for (id, line) in &listed {
            let finding = |text: String| Finding::new(&mod_path, *line, text);
            if !asserted.iter().any(|(other, ..)| other == id) {
                findings.push(finding(format!(
                    "{id} is not asserted: invariant!({id}, ...) in {folder}/"
                )));
            }
            if !is_tested(repo, folder, id) {
                let name = id.to_lowercase();
                findings.push(finding(format!("{id} has no test: fn {name}_... in {folder}/")));
            }
        }
        for (id, file, offset) in &asserted {
            if !listed.iter().any(|(other, _)| other == id) {
                let text =
                    format!("{id} is asserted and not listed: `//! - **{id}** ...` in {mod_path}");
                findings.push(file.finding(*offset, text));
            }
        }
    }
    findings
}

/// The ids that a header lists, and their lines.
fn listed(file: &RustFile) -> Vec<(&str, usize)> {
    let lines = file.header().enumerate();
    lines.filter_map(|(i, line)| Some((listed_id(line)?, i + 1))).collect()
}

/// The id that a line of a header lists: `- **W1** ...`, `- W1: ...` or `| **W1** | ...`.
fn listed_id(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(['-', '*', '|', ' ', '`']);
    let id = leading_word(line);
    let behind = line[id.len()..].trim_start_matches('`');
    let marked = behind.starts_with("**") || behind.starts_with(':');
    (is_id(id) && marked).then_some(id)
}

fn is_id(word: &str) -> bool {
    let digits = word.trim_start_matches(|c: char| c.is_ascii_uppercase());
    let letters = word.len() - digits.len();
    let is_level = word.len() == 2 && word.starts_with('L');
    (1..=2).contains(&letters)
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !is_level
}

/// What the code of `folder` asserts. A check of a whole structure, which only tests run, counts.
fn asserted<'a>(repo: &'a Repo, folder: &str) -> Vec<(&'a str, &'a RustFile, usize)> {
    let mut found = Vec::new();
    for (path, file) in repo.engine() {
        if !path.starts_with(&format!("{folder}/")) {
            continue;
        }
        for at in find_word(&file.code, "invariant!(") {
            let id = leading_word(file.code[at + "invariant!(".len()..].trim_start());
            if !id.is_empty() {
                found.push((id, file, at));
            }
        }
    }
    found
}

/// Whether a test's name begins with `id`.
fn is_tested(repo: &Repo, folder: &str, id: &str) -> bool {
    let homes = [format!("crates/esker/src/{folder}/"), "crates/esker/tests/".to_owned()];
    let start = format!("fn {}_", id.to_lowercase());
    repo.rust
        .iter()
        .filter(|file| homes.iter().any(|home| file.path.starts_with(home)))
        .any(|file| file.code.match_indices(&start).any(|(at, _)| file.is_test(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOD: &str =
        "//! The log.\n//!\n//! - **W1** Numbers grow.\n//! - W2: Lengths fit.\nmod log;";
    const LOG: &str = "fn f() {\n    invariant!(W1, a < b);\n    crate::base::invariant!(\n        W2, c);\n}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn w1_numbers_grow() {}\n    #[test]\n    fn w2_lengths_fit() {}\n}";

    fn found(mod_text: &str, log: &str) -> Vec<String> {
        let repo = Repo::of(&[
            ("crates/esker/src/lib.rs", "mod wal;"),
            ("crates/esker/src/wal/mod.rs", mod_text),
            ("crates/esker/src/wal/log.rs", log),
        ]);
        check(&repo).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn listed_asserted_and_tested_is_well() {
        assert_eq!(found(MOD, LOG), [""; 0]);
    }

    #[test]
    fn an_id_without_assertion_or_test_is_found() {
        let without_assertion = LOG.replace("invariant!(W1, a < b);", "");
        assert!(found(MOD, &without_assertion)[0].starts_with("W1 is not asserted"));
        let without_test = LOG.replace("w2_", "lengths_");
        assert!(found(MOD, &without_test)[0].starts_with("W2 has no test"));
    }

    #[test]
    fn an_id_that_nobody_lists_is_found() {
        let text = found(&MOD.replace("**W1**", "Numbers:"), LOG);
        assert!(text[0].starts_with("W1 is asserted and not listed"), "{text:?}");
    }

    #[test]
    fn an_id_belongs_to_one_folder() {
        let repo = Repo::of(&[
            ("crates/esker/src/lib.rs", "mod wal; mod vfs;"),
            ("crates/esker/src/wal/mod.rs", &MOD.replace("mod log;", LOG)),
            ("crates/esker/src/vfs/mod.rs", &MOD.replace("mod log;", LOG)),
        ]);
        assert_eq!(check(&repo).len(), 2);
    }

    #[test]
    fn levels_and_plain_words_are_no_ids() {
        assert_eq!(listed_id("- **L0** newest first"), None);
        assert_eq!(listed_id("- [`os`]: a directory"), None);
        assert_eq!(listed_id("- P4 of the rules says"), None);
        assert_eq!(listed_id("- **SHA256** sums"), None);
        assert_eq!(listed_id("| **S12** | sorted |"), Some("S12"));
    }
}

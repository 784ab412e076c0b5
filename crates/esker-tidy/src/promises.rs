//! Every test that docs/guarantees.md names exists, so that no promise stands without its test.

use crate::mask::{find_word, is_word, line_of};
use crate::repo::{Finding, Repo};

const PATH: &str = "docs/guarantees.md";

/// Finds names of tests that no test has. A name of a test is a word in backticks with at least
/// two underscores.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let Some(text) = repo.texts.get(PATH) else {
        return vec![Finding::new(PATH, 0, "say what is promised, and which test holds it")];
    };
    let mut findings = Vec::new();
    for (at, quote) in text.match_indices('`') {
        let name: &str = text[at + quote.len()..].split('`').next().unwrap_or_default();
        let is_name = name.bytes().all(is_word) && name.matches('_').count() > 1;
        if is_name && !is_test(repo, name) {
            findings.push(Finding::new(
                PATH,
                line_of(text, at),
                format!("no test is called `{name}`"),
            ));
        }
    }
    findings
}

fn is_test(repo: &Repo, name: &str) -> bool {
    let declaration = format!("fn {name}");
    repo.rust.iter().any(|file| find_word(&file.code, &declaration).any(|at| file.is_test(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, code: &str) -> usize {
        check(&Repo::of(&[(PATH, text), ("crates/a/src/lib.rs", code)])).len()
    }

    #[test]
    fn a_promise_names_a_test_that_exists() {
        let code = "#[cfg(test)]\nmod tests { #[test] fn a_write_stays() {} }";
        assert_eq!(found("Test: `a_write_stays` in `lib.rs`; `sync_file` is no test.", code), 0);
        assert_eq!(found("Test: `a_write_stay`.", code), 1);
        assert_eq!(found("Test: `a_write_stays`.", "fn a_write_stays() {}"), 1);
        assert_eq!(check(&Repo::of(&[])).len(), 1);
    }
}

//! What no file may contain: notes to oneself, code that is switched off, paths of one machine.

use crate::mask::{find_word, line_of};
use crate::repo::{Finding, Repo, RustFile};

/// Notes to oneself. In pieces, because this file is held to the rule as well.
const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Code that is not meant to stay, in tests neither.
const LEFT_OVER: [&str; 6] =
    ["todo!", "dbg!", "unimplemented!", "#[ignore", "allow(dead_code", "allow(unused"];

/// Where a path of one machine begins.
const MACHINES: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

/// The only place where dependencies come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Finds what should not be there.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &repo.texts {
        let found = |at: usize, what: String| Finding::new(path, line_of(text, at), what);
        for note in NOTES {
            let text =
                format!("{note}: do it, or write down what is missing where a user reads it");
            findings.extend(find_word(&repo.texts[path], note).map(|at| found(at, text.clone())));
        }
        for machine in MACHINES {
            let places = text.match_indices(machine).map(|(at, _)| at);
            let places = places.filter(|at| begins_a_path(text, *at));
            findings
                .extend(places.map(|at| found(at, format!("`{machine}`: a path of one machine"))));
        }
        for (at, c) in text.char_indices().filter(|(_, c)| is_pictograph(*c)) {
            findings.push(found(at, format!("U+{:04X}: say it in words", u32::from(c))));
        }
        if path.ends_with("Cargo.lock") {
            findings.extend(foreign_sources(path, text));
        }
    }
    for file in &repo.rust {
        for left_over in LEFT_OVER {
            let places = find_word(&file.code, left_over);
            findings
                .extend(places.map(|at| file.finding(at, format!("`{left_over}` does not stay"))));
        }
        findings.extend(code_in_comments(file));
    }
    findings
}

fn begins_a_path(text: &str, at: usize) -> bool {
    !text[..at].ends_with(|c: char| c.is_alphanumeric() || ['.', '_', '-', '/', '}'].contains(&c))
}

/// Emoji and other pictures; arrows and mathematical signs are letters to us.
fn is_pictograph(c: char) -> bool {
    matches!(u32::from(c), 0x1F000..=0x1FAFF | 0x2600..=0x27BF | 0x2B50..=0x2B55 | 0xFE0F)
}

/// Packages that do not come from crates.io.
fn foreign_sources(path: &str, lock: &str) -> Vec<Finding> {
    let lines = lock.lines().enumerate().filter(|(_, line)| line.starts_with("source = "));
    lines
        .filter(|(_, line)| !line.contains(REGISTRY))
        .map(|(i, _)| Finding::new(path, i + 1, "a package that is not from crates.io"))
        .collect()
}

/// Lines of `//` that were code once.
fn code_in_comments(file: &RustFile) -> Vec<Finding> {
    let mut found = Vec::new();
    for (i, line) in file.comments.lines().enumerate() {
        let Some(comment) = line.trim_start().strip_prefix("// ") else { continue };
        let is_statement = comment.ends_with(';') && comment.contains(['(', '=', ':']);
        let is_block = comment.ends_with('{')
            && ["fn ", "pub ", "if ", "for ", "match ", "impl ", "let "]
                .iter()
                .any(|word| comment.starts_with(word));
        if is_statement || is_block {
            found.push(Finding::new(
                &file.path,
                i + 1,
                "code in a comment: delete it, git remembers",
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&Repo::of(&[(path, text)])).len()
    }

    #[test]
    fn notes_to_oneself_are_found_everywhere() {
        for note in NOTES {
            assert_eq!(found("a.md", &format!("{note}: later")), 1);
            assert_eq!(found("crates/a/src/lib.rs", &format!("// {note} later")), 1);
            assert_eq!(found("a.md", &format!("{note}S and A{note}")), 0);
        }
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for machine in MACHINES {
            assert_eq!(found("a.md", &format!("see {machine}x")), 1);
            assert_eq!(found("a.md", &format!("see crates/frame{machine}x")), 0);
        }
    }

    #[test]
    fn pictures_are_found_and_arrows_are_not() {
        assert_eq!(found("a.md", "\u{1F680} \u{2705} \u{26A0}\u{FE0F}"), 4);
        assert_eq!(found("a.md", "a → b × c · d ≤ e ├─ f"), 0);
    }

    #[test]
    fn left_overs_are_found_in_code_only() {
        for left_over in ["todo!()", "dbg!(x)", "#[ignore]", "#[allow(dead_code)]"] {
            assert_eq!(found("crates/a/src/lib.rs", &format!("fn f() {{}}\n{left_over}")), 1);
            assert_eq!(found("crates/a/src/lib.rs", &format!("// {left_over}")), 0);
        }
    }

    #[test]
    fn code_in_comments_is_found_and_prose_is_not() {
        for code in ["// let x = f();", "// if a == b {", "//     self.f(x);"] {
            assert_eq!(found("crates/a/src/lib.rs", code), 1, "{code}");
        }
        for prose in ["// First this;", "/// let x = f();", "// a: one of {", "// see `f();` there"]
        {
            assert_eq!(found("crates/a/src/lib.rs", prose), 0, "{prose}");
        }
    }

    #[test]
    fn packages_come_from_crates_io() {
        let ours = format!("source = \"{REGISTRY}\"\n");
        assert_eq!(found("Cargo.lock", &ours), 0);
        assert_eq!(found("Cargo.lock", "source = \"git+https://example.org/x\"\n"), 1);
    }
}

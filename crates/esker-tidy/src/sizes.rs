//! Lengths: a file is read in one sitting, a function on one screen.
//!
//! Files aim at 350 lines of production code. One over 600 says why in its header, in a line that
//! begins with `Length:`. A function has at most 70 lines, tests included. [`LONG_FUNCTIONS`] is
//! the ratchet: it may only become shorter.

use std::collections::BTreeSet;

use crate::mask::{closing, find_word, leading_word, line_of};
use crate::repo::{Finding, Repo, RustFile};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Functions that may be longer: path, name, and how long.
pub const LONG_FUNCTIONS: [(&str, &str, usize); 0] = [];

/// Finds long files and functions.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = against_ratchet(repo, &LONG_FUNCTIONS);
    for file in &repo.rust {
        let lines = file.production_lines();
        let has_reason = || file.header().any(|line| line.starts_with("Length:"));
        if lines > FILE_LINES_MAX && !has_reason() {
            let text = format!(
                "{lines} lines of production code; over {FILE_LINES_MAX} need a line \
                 `//! Length: ...` that says why this is one thing"
            );
            findings.push(Finding::new(&file.path, 1, text));
        }
    }
    findings
}

fn against_ratchet(repo: &Repo, ratchet: &[(&str, &str, usize)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used: BTreeSet<&(&str, &str, usize)> = BTreeSet::new();
    for file in &repo.rust {
        for function in functions(file) {
            let entry =
                ratchet.iter().find(|(path, name, _)| *path == file.path && *name == function.name);
            let allowed = entry.map_or(FUNCTION_LINES_MAX, |entry| entry.2);
            if function.lines > FUNCTION_LINES_MAX {
                used.extend(entry);
            }
            if function.lines > allowed {
                let text = format!(
                    "`{}` has {} lines, more than {allowed}: cut it where its subject changes",
                    function.name, function.lines
                );
                findings.push(Finding::new(&file.path, function.line, text));
            }
        }
    }
    for (path, name, _) in ratchet.iter().filter(|entry| !used.contains(entry)) {
        findings.push(Finding::new(
            path,
            0,
            format!("`{name}` is short now: strike it from the ratchet"),
        ));
    }
    findings
}

struct Function<'a> {
    name: &'a str,
    line: usize,
    lines: usize,
}

/// The functions with a body, closures not counted.
fn functions(file: &RustFile) -> Vec<Function<'_>> {
    let code = &file.code;
    let mut found = Vec::new();
    for at in find_word(code, "fn") {
        let name = leading_word(code[at + 2..].trim_start());
        let Some(body) = body(code, at).filter(|_| !name.is_empty()) else { continue };
        let line = line_of(code, at);
        let lines = 1 + line_of(code, closing(code, body) - 1) - line;
        found.push(Function { name, line, lines });
    }
    found
}

/// Where the body of the function at `at` opens; `None` for a declaration.
fn body(code: &str, at: usize) -> Option<usize> {
    let bytes = code.as_bytes();
    let mut at = at;
    loop {
        match bytes.get(at)? {
            b'{' => return Some(at),
            b';' | b'}' | b')' => return None,
            b'(' | b'[' => at = closing(code, at),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, ratchet: &[(&str, &str, usize)]) -> Vec<String> {
        let repo = Repo::of(&[("crates/a/src/lib.rs", text)]);
        let mut findings = check(&repo);
        findings.retain(|finding| finding.text.contains("production"));
        findings.extend(against_ratchet(&repo, ratchet));
        findings.into_iter().map(|finding| finding.text).collect()
    }

    fn function(lines: usize) -> String {
        format!(
            "fn long<const N: usize>(x: [u8; 4]) -> u8 {{\n{}}}\n",
            "    f();\n".repeat(lines - 2)
        )
    }

    #[test]
    fn a_function_fits_a_screen() {
        assert_eq!(found(&function(70), &[]), [""; 0]);
        assert!(found(&function(71), &[])[0].starts_with("`long` has 71 lines"));
        let nested = format!("mod m {{ impl X {{ fn short(); {} }} }}", function(71));
        assert_eq!(found(&nested, &[]).len(), 1);
    }

    #[test]
    fn the_ratchet_only_becomes_shorter() {
        let entry = ("crates/a/src/lib.rs", "long", 80);
        assert_eq!(found(&function(80), &[entry]), [""; 0]);
        assert_eq!(found(&function(81), &[entry]).len(), 1);
        assert!(found(&function(70), &[entry])[0].contains("strike it"));
    }

    #[test]
    fn a_long_file_says_why() {
        let text = format!("//! A.\n{}", "fn f() {}\n".repeat(600));
        assert!(found(&text, &[])[0].starts_with("601 lines"));
        assert_eq!(found(&format!("//! Length: a table.\n{text}"), &[]), [""; 0]);
        let tests = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}", "fn f() {}\n".repeat(600));
        assert_eq!(found(&tests, &[]), [""; 0]);
    }
}

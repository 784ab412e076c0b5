//! No dead files: every Rust source is reached by `mod` declarations from the root of a crate.

use std::collections::{BTreeMap, BTreeSet};

use crate::mask::{closing, find_word, leading_word};
use crate::repo::{Finding, Repo, RustFile};

/// Finds sources that no crate compiles, and `mod` declarations that lead nowhere.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let reached = reach(repo);
    let dead = repo.rust.iter().filter(|file| !reached.contains_key(&file.path));
    let mut findings: Vec<Finding> = dead
        .map(|file| {
            Finding::new(&file.path, 1, "no `mod` declaration reaches this file: delete it")
        })
        .collect();
    for path in reached.keys().filter(|path| repo.rust_file(path).is_none()) {
        findings.push(Finding::new(path, 1, "declared as a module, but there is no such file"));
    }
    findings
}

/// Files that no shipped crate compiles: integration tests, and modules under `#[cfg(test)]`.
pub(crate) fn reached_by_tests_only(repo: &Repo) -> BTreeSet<String> {
    reach(repo)
        .into_iter()
        .filter(|(_, reach)| *reach == Reach::Tests)
        .map(|(path, _)| path)
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Tests,
    Production,
}

/// Every file that the roots lead to, and who compiles it.
fn reach(repo: &Repo) -> BTreeMap<String, Reach> {
    let mut reached = BTreeMap::new();
    let mut waiting: Vec<(String, Reach)> =
        repo.rust.iter().filter_map(|file| Some((file.path.clone(), root(&file.path)?))).collect();
    while let Some((path, reach)) = waiting.pop() {
        if reached.get(&path).is_some_and(|earlier| *earlier >= reach) {
            continue;
        }
        reached.insert(path.clone(), reach);
        let Some(file) = repo.rust_file(&path) else { continue };
        for child in children(repo, file) {
            let reach = if child.in_tests { Reach::Tests } else { reach };
            waiting.push((child.path, reach));
        }
    }
    reached
}

/// Whether Cargo takes the file at `path` for the root of a target.
fn root(path: &str) -> Option<Reach> {
    let parts: Vec<&str> = path.split('/').collect();
    let [first, _, inside @ ..] = parts.as_slice() else { return None };
    // A workspace of its own, whose programs cargo-fuzz finds in a folder of its choice.
    if parts[..2] == ["fuzz", "fuzz_targets"] && parts.len() == 3 {
        return Some(Reach::Production);
    }
    if *first != "crates" {
        return None;
    }
    match inside {
        ["build.rs"] | ["src", "lib.rs" | "main.rs"] | ["src", "bin", _] => Some(Reach::Production),
        ["src", "bin", _, "main.rs"] => Some(Reach::Production),
        ["tests" | "benches" | "examples", _] => Some(Reach::Tests),
        ["tests" | "benches" | "examples", _, "main.rs"] => Some(Reach::Tests),
        _ => None,
    }
}

struct Child {
    path: String,
    in_tests: bool,
}

/// The files that `file` declares as its modules.
fn children(repo: &Repo, file: &RustFile) -> Vec<Child> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let owns_its_folder = name == "mod.rs" || root(&file.path).is_some();
    let home = if owns_its_folder {
        folder.to_owned()
    } else {
        format!("{folder}/{}", name.trim_end_matches(".rs"))
    };
    let inline = inline_modules(&file.code);
    let mut found = Vec::new();
    for at in find_word(&file.code, "mod") {
        let rest = file.code[at + 3..].trim_start();
        let name = leading_word(rest);
        if name.is_empty() || !rest[name.len()..].trim_start().starts_with(';') {
            continue;
        }
        let mut base = home.clone();
        for module in inline.iter().filter(|module| module.span.contains(&at)) {
            base = format!("{base}/{}", module.name);
        }
        let beside = format!("{base}/{name}.rs");
        let below = format!("{base}/{name}/mod.rs");
        let path = if repo.texts.contains_key(&below) { below } else { beside };
        found.push(Child { path, in_tests: file.is_test(at) });
    }
    found
}

/// A module written inside its parent's file.
pub(crate) struct InlineModule<'a> {
    pub name: &'a str,
    pub span: std::ops::Range<usize>,
}

/// The inline modules of a file, outer ones first.
pub(crate) fn inline_modules(code: &str) -> Vec<InlineModule<'_>> {
    let mut found = Vec::new();
    for at in find_word(code, "mod") {
        let name_at = at + 3 + code[at + 3..].len() - code[at + 3..].trim_start().len();
        let name = leading_word(&code[name_at..]);
        let behind = &code[name_at + name.len()..];
        let open = name_at + name.len() + behind.len() - behind.trim_start().len();
        if !name.is_empty() && code[open..].starts_with('{') {
            found.push(InlineModule { name, span: open..closing(code, open) });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nobody_declares_is_dead() {
        let repo = Repo::of(&[
            ("crates/esker/src/lib.rs", "mod a;\n// mod dead;\nmod c { mod d; }"),
            ("crates/esker/src/a.rs", "pub mod b;"),
            ("crates/esker/src/a/b.rs", ""),
            ("crates/esker/src/c/d.rs", ""),
            ("crates/esker/src/dead.rs", ""),
            ("crates/esker/tests/it.rs", "mod common;"),
            ("crates/esker/tests/common/mod.rs", ""),
        ]);
        let findings = check(&repo);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].path, "crates/esker/src/dead.rs");
    }

    #[test]
    fn a_declaration_without_a_file_is_found() {
        let findings = check(&Repo::of(&[("crates/esker/src/lib.rs", "mod gone;")]));
        assert_eq!(findings[0].path, "crates/esker/src/gone.rs");
    }
}

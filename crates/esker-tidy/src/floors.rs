//! Floors: a file of the engine imports only from lower floors or from its own folder.
//!
//! Rust lets modules of one crate use each other in circles. Floors are what lets a newcomer read
//! one folder and stop. Tests may use anything; `lib.rs` (it re-exports), `internals.rs` (the back
//! door) and `testing.rs` (the runner of scenario files) stand outside the house.

use crate::mask::{closing, find_word, leading_word};
use crate::modules::inline_modules;
use crate::repo::{Finding, Repo, RustFile};

/// The floors, lowest first. Folders on one floor are siblings: they do not know each other.
pub const FLOORS: [(&str, &[&str]); 8] = [
    ("0", &["base"]),
    ("1a", &["vfs", "env", "epoch"]),
    ("1b", &["cache"]),
    ("2", &["sstable", "wal", "memtable"]),
    ("3", &["version"]),
    ("4", &["read"]),
    ("5", &["compaction"]),
    ("6", &["db", "repair"]),
];

/// Files that may name any floor.
const OUTSIDE: [&str; 3] = ["lib.rs", "internals.rs", "testing.rs"];

/// What the failure shows below the offending lines.
pub fn picture() -> String {
    let mut lines = vec!["A file imports from lower floors or from its own folder:".to_owned()];
    for (floor, folders) in FLOORS.iter().rev() {
        lines.push(format!("  {floor:<3} {}", folders.join(" | ")));
    }
    lines.push("Folders on one floor are siblings and do not know each other.".to_owned());
    lines.join("\n")
}

/// Finds imports that do not go down.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, file) in repo.engine() {
        if OUTSIDE.contains(&path) || file.is_test(0) {
            continue;
        }
        let Some((folder, _)) = path.split_once('/') else {
            findings.push(Finding::new(&file.path, 1, "a source belongs into a folder"));
            continue;
        };
        let Some(own) = floor_of(folder) else {
            let text = format!("the folder `{folder}` has no floor: give it one in floors.rs");
            findings.push(Finding::new(&file.path, 1, text));
            continue;
        };
        for import in imports(path, file) {
            if file.is_test(import.offset) || import.target == folder {
                continue;
            }
            let line = file.line_at(import.offset);
            let verdict = match floor_of(&import.target) {
                None => format!("`{}` is no folder of the engine", import.target),
                Some(target) if target > own => "this import goes up".to_owned(),
                Some(target) if target == own => "this import names a sibling".to_owned(),
                Some(_) => continue,
            };
            findings.push(file.finding(import.offset, format!("{verdict}: {line}")));
        }
    }
    findings
}

fn floor_of(folder: &str) -> Option<usize> {
    FLOORS.iter().position(|(_, folders)| folders.contains(&folder))
}

/// A path that leaves its module, and the folder where it arrives.
struct Import {
    offset: usize,
    target: String,
}

/// Every path that begins with `crate::` or `super::`, `use` or not.
fn imports(path: &str, file: &RustFile) -> Vec<Import> {
    let mut home: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    if home.last() == Some(&"mod") {
        home.pop();
    }
    let code = &file.code;
    let inline = inline_modules(code);
    let mut found = Vec::new();
    for start in find_word(code, "crate::") {
        let targets = first_segments(&code[start + "crate::".len()..]);
        found.extend(targets.into_iter().map(|target| Import { offset: start, target }));
    }
    for start in find_word(code, "super::") {
        if code[..start].ends_with("super::") {
            continue;
        }
        let supers = code[start..].match_indices("super::").enumerate();
        let supers = supers.take_while(|(i, (at, _))| *at == i * "super::".len()).count();
        let depth = inline.iter().filter(|module| module.span.contains(&start)).count();
        if supers < home.len() + depth {
            continue; // it ends inside the own folder
        }
        let targets = first_segments(&code[start + supers * "super::".len()..]);
        found.extend(targets.into_iter().map(|target| Import { offset: start, target }));
    }
    found.sort_by_key(|import| import.offset);
    found
}

/// The names with which a path goes on: `a::b` has `a`, `{a::b, c::{d, e}}` has `a` and `c`.
fn first_segments(code: &str) -> Vec<String> {
    let code = code.trim_start();
    if !code.starts_with('{') {
        let word = leading_word(code);
        return vec![if word.is_empty() { "*" } else { word }.to_owned()];
    }
    let inside = &code[1..closing(code, 0) - 1];
    let mut targets = Vec::new();
    let mut at = 0;
    while at < inside.len() {
        let entry = &inside[at..];
        if !entry.trim().is_empty() {
            targets.extend(first_segments(entry));
        }
        at += entry_length(entry) + 1;
    }
    targets
}

/// Up to the comma that ends the first entry of a group.
fn entry_length(group: &str) -> usize {
    let mut at = 0;
    while at < group.len() {
        match group.as_bytes()[at] {
            b',' => return at,
            b'{' => at = closing(group, at),
            _ => at += 1,
        }
    }
    group.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found when `code` stands in `path` of the engine.
    fn found(path: &str, code: &str) -> Vec<String> {
        let path = format!("crates/esker/src/{path}");
        let repo = Repo::of(&[(&path, code), ("crates/esker/src/lib.rs", "mod wal;")]);
        let findings = check(&repo).into_iter().filter(|finding| finding.path == path);
        findings.map(|finding| finding.text).collect()
    }

    #[test]
    fn imports_go_down() {
        assert!(found("wal/log.rs", "use crate::base::error::Result;").is_empty());
        assert!(found("wal/log.rs", "use crate::wal::record::Record;").is_empty());
        assert!(found("cache/mod.rs", "use crate::{base::key, vfs::Disk, env};").is_empty());
        let up = found("wal/log.rs", "use crate::version::Edit;");
        assert_eq!(up, ["this import goes up: use crate::version::Edit;"]);
    }

    #[test]
    fn siblings_do_not_know_each_other() {
        for (path, code) in [
            ("wal/log.rs", "fn f() { crate::memtable::Memtable::new() }"),
            ("sstable/reader.rs", "use crate::{base::key, wal::record};"),
            ("vfs/os.rs", "use crate::env::Env;"),
        ] {
            assert_eq!(found(path, code).len(), 1, "{code}");
            assert!(found(path, code)[0].starts_with("this import names a sibling"));
        }
    }

    #[test]
    fn groups_are_opened() {
        let code =
            "use crate::{\n    base::{error::Result, key},\n    db::{Db, Options},\n    read,\n};";
        assert_eq!(found("version/edit.rs", code).len(), 2);
    }

    #[test]
    fn super_may_stay_in_its_folder_and_not_leave_it_upwards() {
        assert!(found("wal/log.rs", "use super::record;").is_empty());
        assert!(found("wal/log.rs", "mod x { use super::super::record; }").is_empty());
        assert!(found("wal/log.rs", "use super::super::base::key;").is_empty());
        assert_eq!(found("wal/log.rs", "use super::super::db::Db;").len(), 1);
        assert_eq!(found("wal/mod.rs", "use super::{base, memtable};").len(), 1);
        assert_eq!(found("wal/mod.rs", "mod x { use super::super::db; }").len(), 1);
    }

    #[test]
    fn what_lib_re_exports_is_no_way_around_the_floors() {
        let text = found("base/error.rs", "use crate::Db;");
        assert_eq!(text, ["`Db` is no folder of the engine: use crate::Db;"]);
        assert_eq!(found("base/error.rs", "use crate::*;").len(), 1);
        assert_eq!(found("base/error.rs", "use crate::{self as root};").len(), 1);
    }

    #[test]
    fn tests_comments_and_strings_may_name_anything() {
        let code = "//! See [`crate::db`].\nfn f() { g(\"crate::db\") }\n#[cfg(test)]\nmod tests {\n    use crate::db::Db;\n}";
        assert!(found("wal/log.rs", code).is_empty());
    }

    #[test]
    fn a_folder_without_a_floor_is_found() {
        assert!(found("utils/mod.rs", "")[0].contains("has no floor"));
        assert!(found("helpers.rs", "")[0].contains("belongs into a folder"));
    }

    #[test]
    fn the_picture_has_the_top_first() {
        assert!(picture().contains("  6   db | repair\n  5   compaction\n"));
    }
}

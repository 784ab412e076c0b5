//! The repository as the rules see it: paths, texts, and Rust sources split into their parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use crate::mask::{closing, line_of, mask};
use crate::modules;

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the root of the repository.
    pub path: String,
    /// The line, from 1; 0 if the whole file is meant.
    pub line: usize,
    /// What is wrong and what would be right.
    pub text: String,
}

impl Finding {
    /// A finding in `line` of `path`.
    pub fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}

/// A Rust source file and its parts.
pub struct RustFile {
    /// From the root of the repository.
    pub path: String,
    /// All of it.
    pub text: String,
    /// Without comments and the contents of literals, see [`mask`].
    pub code: String,
    /// Comments alone.
    pub comments: String,
    /// What only tests compile, as offsets.
    tests: Vec<Range<usize>>,
}

impl RustFile {
    fn new(path: &str, text: &str) -> Self {
        let masked = mask(text);
        let tests = test_items(&masked.code);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: masked.code,
            comments: masked.comments,
            tests,
        }
    }

    /// Whether only tests compile what stands at `offset`.
    pub fn is_test(&self, offset: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&offset))
    }

    /// A finding at `offset`.
    pub fn finding(&self, offset: usize, text: impl Into<String>) -> Finding {
        Finding::new(&self.path, line_of(&self.text, offset), text)
    }

    /// The line that holds `offset`, trimmed.
    pub fn line_at(&self, offset: usize) -> &str {
        self.text.lines().nth(line_of(&self.text, offset) - 1).unwrap_or_default().trim()
    }

    /// The comment lines with which the file begins, without `//!`.
    pub fn header(&self) -> impl Iterator<Item = &str> {
        self.text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim)
    }

    /// How many lines come before the tests at the end of the file.
    pub fn production_lines(&self) -> usize {
        let all = self.text.lines().count();
        match self.tests.last() {
            Some(last) if self.code[last.end.min(self.code.len())..].trim().is_empty() => {
                line_of(&self.text, last.start) - 1
            }
            _ => all,
        }
    }

    /// The crate's folder, the path inside its `src`, and nothing for other files:
    /// `crates/esker/src/wal/record.rs` is `("esker", "wal/record.rs")`.
    pub fn in_crate(&self) -> Option<(&str, &str)> {
        let (name, path) = self.path.strip_prefix("crates/")?.split_once('/')?;
        Some((name, path.strip_prefix("src/")?))
    }

    /// For a source of the engine: its path inside `crates/esker/src`.
    pub fn in_engine(&self) -> Option<&str> {
        self.in_crate().filter(|(name, _)| *name == "esker").map(|(_, path)| path)
    }
}

/// Items under `#[cfg(test)]` and the like, each from its attribute to its end.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (start, _) in code.match_indices("#[cfg(") {
        let end_of_attribute = closing(code, start + 1);
        let condition = &code[start..end_of_attribute];
        if !condition.contains("test") || condition.contains("not(test") {
            continue;
        }
        if found.last().is_some_and(|last| last.contains(&start)) {
            continue;
        }
        let mut at = end_of_attribute;
        while code[at..].trim_start().starts_with("#[") {
            at += code[at..].find('[').expect("an attribute");
            at = closing(code, at);
        }
        let end = match code[at..].find(['{', ';']) {
            Some(i) if code.as_bytes()[at + i] == b'{' => closing(code, at + i),
            Some(i) => at + i + 1,
            None => code.len(),
        };
        found.push(start..end);
    }
    found
}

/// Version control, build output, and bytes that a fuzzer chose.
const NOT_OURS: [&str; 5] = [".git", "target", "fuzz/target", "fuzz/artifacts", "fuzz/corpus"];

/// All files of the repository.
pub struct Repo {
    /// Texts by path from the root, with `/` between folders.
    pub texts: BTreeMap<String, String>,
    /// All files and folders, also those that hold no text.
    pub paths: BTreeSet<String>,
    /// Rust sources, in the order of paths.
    pub rust: Vec<RustFile>,
}

impl Repo {
    /// Reads what lies under `root`, except build output and version control.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut texts = BTreeMap::new();
        let mut paths = BTreeSet::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(root.join(&folder))? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                if NOT_OURS.contains(&path.as_str()) {
                    continue;
                }
                paths.insert(path.clone());
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                } else if let Ok(text) = fs::read_to_string(entry.path()) {
                    texts.insert(path, text);
                }
            }
        }
        Ok(Self::new(texts, paths))
    }

    /// A made-up repository, for the tests of the rules.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let mut paths = BTreeSet::new();
        for (path, _) in files {
            paths.extend(path.match_indices('/').map(|(end, _)| path[..end].to_owned()));
            paths.insert((*path).to_owned());
        }
        let texts = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self::new(texts.collect(), paths)
    }

    fn new(texts: BTreeMap<String, String>, paths: BTreeSet<String>) -> Self {
        let rust = texts
            .iter()
            .filter(|(path, _)| path.ends_with(".rs"))
            .map(|(path, text)| RustFile::new(path, text))
            .collect();
        let mut repo = Self { texts, paths, rust };
        let in_tests = modules::reached_by_tests_only(&repo);
        for file in &mut repo.rust {
            if in_tests.contains(&file.path) {
                file.tests.clear();
                file.tests.push(0..file.text.len() + 1);
            }
        }
        repo
    }

    /// The Rust file at `path`.
    pub fn rust_file(&self, path: &str) -> Option<&RustFile> {
        let at = self.rust.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        Some(&self.rust[at])
    }

    /// Sources of the engine, each with its path inside `crates/esker/src`.
    pub fn engine(&self) -> impl Iterator<Item = (&str, &RustFile)> {
        self.rust.iter().filter_map(|file| Some((file.in_engine()?, file)))
    }

    /// Folders of the engine: `base`, `vfs`, ...
    pub fn engine_folders(&self) -> BTreeSet<&str> {
        self.engine().filter_map(|(path, _)| Some(path.split_once('/')?.0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "//! One.\n//! Two.\n\nfn a() {}\n\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn t() {}\n}\n";

    #[test]
    fn tests_at_the_end_are_no_production() {
        let repo = Repo::of(&[("crates/esker/src/lib.rs", FILE)]);
        let file = &repo.rust[0];
        assert_eq!(file.production_lines(), 5);
        assert!(file.is_test(FILE.find("fn t").unwrap()));
        assert!(!file.is_test(FILE.find("fn a").unwrap()));
        assert_eq!(file.header().collect::<Vec<_>>(), ["One.", "Two."]);
    }

    #[test]
    fn single_items_can_be_tests_too() {
        let text = "#[cfg(test)]\nuse a::b;\nfn c() {}\n#[cfg(not(test))]\nfn d() {}\n#[cfg(all(test, unix))]\nfn e() { x() }\nfn f() {}";
        let repo = Repo::of(&[("crates/esker/src/lib.rs", text)]);
        let file = &repo.rust[0];
        let is_test = |what| file.is_test(text.find(what).unwrap());
        assert!(is_test("use a"));
        assert!(is_test("fn e"));
        assert!(!is_test("fn c"));
        assert!(!is_test("fn d"));
        assert!(!is_test("fn f"));
        assert_eq!(file.production_lines(), 8);
    }

    #[test]
    fn files_of_test_modules_are_tests() {
        let repo = Repo::of(&[
            ("crates/esker/src/lib.rs", "mod wal;"),
            ("crates/esker/src/wal/mod.rs", "mod record;\n#[cfg(test)]\nmod tests;"),
            ("crates/esker/src/wal/record.rs", "fn a() {}"),
            ("crates/esker/src/wal/tests.rs", "fn b() {}"),
            ("crates/esker/tests/it/main.rs", "mod crash;"),
            ("crates/esker/tests/it/crash.rs", "fn c() {}"),
        ]);
        let tests: Vec<&str> = repo
            .rust
            .iter()
            .filter(|file| file.is_test(0))
            .map(|file| file.path.as_str())
            .collect();
        assert_eq!(
            tests,
            [
                "crates/esker/src/wal/tests.rs",
                "crates/esker/tests/it/crash.rs",
                "crates/esker/tests/it/main.rs"
            ]
        );
    }
}

//! What unit tests share: scenario files, and the notation of entries in them.
//!
//! A scenario is a command, its input, a line `----` and what must come out; blank lines lie
//! between scenarios, lines with `#` before one are remarks:
//!
//! ```text
//! # the tombstone hides a#4
//! scan at 9
//! a#7,delete a#4,put=1 b#5,put=2
//! ----
//! b=2
//! ```
//!
//! `REWRITE=1 cargo test -p esker` writes what came out into the files: the diff is the review.
//! A file is run from top to bottom by one runner, so a scenario may build on those before it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::base::cursor::Cursor;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::key::{Kind, SeqNo, Tag};
use crate::base::range::KeyRange;

/// One scenario, without what is expected.
#[derive(Debug, Default)]
pub struct Scenario {
    /// The first line.
    pub command: String,
    /// The lines between the command and `----`.
    pub input: Vec<String>,
}

impl Scenario {
    /// The word at `n` of the command; the command itself is word 0.
    pub fn word(&self, n: usize) -> &str {
        self.command.split_whitespace().nth(n).unwrap_or_else(|| panic!("{self:?} is too short"))
    }
}

/// Runs `testdata/<folder>/*.txt`, each with a new runner from `start`, and compares.
pub fn run_scenarios<R: FnMut(&Scenario) -> String>(folder: &str, start: impl Fn() -> R) {
    let rewrite = std::env::var_os("REWRITE").is_some();
    let mut differences = String::new();
    for path in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder)) {
        let text = std::fs::read_to_string(&path).expect("a scenario file can be read");
        let found = replay(&text, start());
        if found == text {
            continue;
        }
        if rewrite {
            std::fs::write(&path, found).expect("a scenario file can be written");
            continue;
        }
        let line = text.lines().zip(found.lines()).take_while(|(a, b)| a == b).count();
        let (expected, got) = (text.lines().nth(line), found.lines().nth(line));
        writeln!(
            differences,
            "{}:{}\n expected: {}\n    found: {}",
            path.display(),
            line + 1,
            expected.unwrap_or("(nothing)"),
            got.unwrap_or("(nothing)")
        )
        .expect("a string takes all");
    }
    assert!(differences.is_empty(), "REWRITE=1 accepts these:\n{differences}");
}

/// The scenario files of a folder, in order; an empty folder would test nothing.
fn files(folder: &Path) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(folder).expect("the folder of scenarios exists");
    let mut files: Vec<_> = listing
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scenarios in {}", folder.display());
    files
}

/// The text of a scenario file with what `run` answers in place of what was expected.
fn replay(text: &str, mut run: impl FnMut(&Scenario) -> String) -> String {
    let mut found = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        found.push_str(line);
        found.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut scenario = Scenario { command: line.to_owned(), input: Vec::new() };
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("no ---- behind {:?}", scenario));
            found.push_str(line);
            found.push('\n');
            if line == "----" {
                break;
            }
            scenario.input.push(line.to_owned());
        }
        while lines.next_if(|line| !line.is_empty()).is_some() {}
        let answer = run(&scenario);
        assert!(!answer.contains("\n\n"), "a blank line ends an answer: {answer:?}");
        if !answer.trim_end().is_empty() {
            found.push_str(answer.trim_end());
            found.push('\n');
        }
    }
    found
}

/// Key, tag and value.
pub type Entry = (Vec<u8>, Tag, Vec<u8>);

/// What `a#5,put=1` or `a#5,delete` says.
pub fn parse_entry(text: &str) -> Entry {
    let (key, rest) = text.split_once('#').unwrap_or_else(|| panic!("no # in {text:?}"));
    let (seq, rest) = rest.split_once(',').unwrap_or_else(|| panic!("no kind in {text:?}"));
    let (kind, value) = match rest.split_once('=') {
        Some(("put", value)) => (Kind::Put, value),
        None if rest == "delete" => (Kind::Delete, ""),
        _ => panic!("neither put=… nor delete: {text:?}"),
    };
    (key.into(), Tag::new(parse_seq(seq), kind), value.into())
}

/// All entries of a line, separated by blanks.
pub fn parse_entries(line: &str) -> Vec<Entry> {
    line.split_whitespace().map(parse_entry).collect()
}

/// A sequence number.
pub fn parse_seq(text: &str) -> SeqNo {
    SeqNo::new(text.parse().unwrap_or_else(|_| panic!("{text:?} is no sequence number")))
}

/// An entry as [`parse_entry`] reads it.
pub fn show_entry(key: &[u8], tag: Tag, value: &[u8]) -> String {
    let mut text = format!("{}{tag:?}", String::from_utf8_lossy(key));
    if !tag.is_delete() {
        write!(text, "={}", String::from_utf8_lossy(value)).expect("a string takes all");
    }
    text
}

/// `[a-m]`, both ends inside.
pub fn parse_range(text: &str) -> KeyRange {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let ends = inside.and_then(|inside| inside.split_once('-'));
    let (lo, hi) = ends.unwrap_or_else(|| panic!("{text:?} is no range of keys"));
    KeyRange::new(lo, hi)
}

/// A range as [`parse_range`] reads it.
pub fn show_range(range: &KeyRange) -> String {
    let text = String::from_utf8_lossy;
    format!("[{}-{}]", text(range.lo()), text(range.hi()))
}

/// `3MiB`, `40KiB` or `17` as a number of bytes.
pub fn parse_bytes(text: &str) -> u64 {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => panic!("unknown unit {other:?}"),
    };
    digits.parse::<u64>().unwrap_or_else(|_| panic!("{text:?} is no number of bytes")) * unit
}

/// A cursor whose motions fail, all from the `good_moves`th on.
pub struct FailingCursor<C> {
    source: C,
    good_moves: usize,
    failed: bool,
}

impl<C: Cursor> FailingCursor<C> {
    /// `source`, with `good_moves` motions that succeed.
    pub fn new(source: C, good_moves: usize) -> Self {
        Self { source, good_moves, failed: false }
    }

    fn spend(&mut self) -> Result<()> {
        if self.good_moves == 0 {
            self.failed = true;
            return Err(Error::new(ErrorKind::Io, "planted"));
        }
        self.good_moves -= 1;
        Ok(())
    }
}

impl<C: Cursor> Cursor for FailingCursor<C> {
    fn valid(&self) -> bool {
        !self.failed && self.source.valid()
    }
    fn seek_first(&mut self) -> Result<()> {
        self.spend()?;
        self.source.seek_first()
    }
    fn seek_last(&mut self) -> Result<()> {
        self.spend()?;
        self.source.seek_last()
    }
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.spend()?;
        self.source.seek(key, seq)
    }
    fn seek_before(&mut self, key: &[u8]) -> Result<()> {
        self.spend()?;
        self.source.seek_before(key)
    }
    fn next(&mut self) -> Result<()> {
        self.spend()?;
        self.source.next()
    }
    fn prev(&mut self) -> Result<()> {
        self.spend()?;
        self.source.prev()
    }
    fn key(&self) -> &[u8] {
        self.source.key()
    }
    fn tag(&self) -> Tag {
        self.source.tag()
    }
    fn value(&self) -> &[u8] {
        self.source.value()
    }
}

#[test]
fn a_scenario_file_keeps_all_but_its_answers() {
    let text = "# remark\n\nadd\n1 2\n----\n4\nwrong\n\nnothing\n----\nold\n";
    let found = replay(text, |scenario| match scenario.word(0) {
        "add" => "3\n".into(),
        _ => String::new(),
    });
    assert_eq!(found, "# remark\n\nadd\n1 2\n----\n3\n\nnothing\n----\n");
}

#[test]
fn entries_print_as_they_are_read() {
    for text in ["a#5,put=1", "k#7,delete", "#1,put="] {
        let (key, tag, value) = parse_entry(text);
        assert_eq!(show_entry(&key, tag, &value), text);
    }
    assert_eq!(parse_bytes("3MiB"), 3 << 20);
}

//! Conversations written down in `tests/transcripts/*.jsonl`:
//!
//! ```text
//! # a remark
//! == a title           a node over a new store
//! -- a title           the node ends; the next one opens the same store
//! > a line for the node
//! < the whole reply, byte for byte; `…` stands for anything
//! ! what a line on standard error contains
//! ```
//!
//! Requests, replies and notices are compared as three lists: the node sees all lines of a
//! section at once.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use esker_node::Durability;

use crate::node::talk_in;

#[derive(Default)]
struct Section {
    title: String,
    reopens: bool,
    requests: String,
    replies: Vec<String>,
    notices: Vec<String>,
}

#[test]
fn every_transcript_is_answered_as_written() {
    for durability in [Durability::Os, Durability::Sync] {
        for (name, text) in transcripts() {
            let mut dir = tempfile::tempdir().unwrap();
            for section in sections(&text) {
                if !section.reopens {
                    dir = tempfile::tempdir().unwrap();
                }
                let place = format!("{name}: {} ({durability:?})", section.title);
                check(&place, &section, dir.path(), durability);
            }
        }
    }
}

fn transcripts() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (path.file_name().unwrap().display().to_string(), fs::read_to_string(path).unwrap())
        })
        .collect();
    all.sort();
    assert!(all.len() >= 5, "the transcripts are here");
    all
}

fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines() {
        let (mark, rest) = line.split_at(line.len().min(2));
        let rest = rest.trim_start().to_owned();
        match (mark, sections.last_mut()) {
            ("==" | "--", _) => {
                let reopens = mark == "--";
                sections.push(Section { title: rest, reopens, ..Section::default() });
            }
            ("> ", Some(section)) => writeln!(section.requests, "{rest}").unwrap(),
            ("< ", Some(section)) => section.replies.push(rest),
            ("! ", Some(section)) => section.notices.push(rest),
            _ => assert!(line.is_empty() || line.starts_with('#'), "not a transcript: {line}"),
        }
    }
    sections
}

fn check(place: &str, section: &Section, dir: &Path, durability: Durability) {
    let said = talk_in(dir, durability, section.requests.as_bytes());
    for (found, expected) in said.replies.iter().zip(&section.replies) {
        assert!(matches(found, expected), "{place}\nexpected {expected}\nfound    {found}");
    }
    assert_eq!(said.replies.len(), section.replies.len(), "{place}: {:#?}", said.replies);
    for (found, expected) in said.notices.iter().zip(&section.notices) {
        assert!(
            found.contains(expected.as_str()),
            "{place}\nexpected {expected}\nfound    {found}"
        );
    }
    assert_eq!(said.notices.len(), section.notices.len(), "{place}: {:#?}", said.notices);
}

/// Whether `text` is `pattern`, in which `…` stands for anything.
fn matches(text: &str, pattern: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('…') else { return text == pattern };
    let Some(text) = text.strip_prefix(head) else { return false };
    text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| matches(&text[at..], rest))
}

#[test]
fn the_tour_is_answered_as_its_expected_replies_say() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let dir = tempfile::tempdir().unwrap();
    let tour = fs::read(examples.join("tour.jsonl")).unwrap();
    let expected = fs::read_to_string(examples.join("tour.expected.jsonl")).unwrap();
    let said = talk_in(dir.path(), Durability::Os, &tour);
    assert_eq!(said.replies, expected.lines().collect::<Vec<_>>());
    assert!(said.notices.is_empty());
}

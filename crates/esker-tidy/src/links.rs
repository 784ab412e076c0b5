//! Every path that a document or a comment mentions exists.
//!
//! Two kinds are followed. A Markdown link, `[text](target)`, is resolved from the folder of the
//! file that has it, its `#heading` included. A mention is a word in prose that is spelled like a
//! path of ours, such as `wal/FORMAT.md`: it must be the end of the path of some file. Web
//! addresses are not followed.

use crate::mask::line_of;
use crate::repo::{Finding, Repo};

/// Words with these endings are mentions of files.
const ENDINGS: [&str; 5] = [".md", ".rs", ".toml", ".jsonl", ".yml"];

/// Words with these beginnings are mentions, whatever their ending.
const BEGINNINGS: [&str; 5] = ["docs/", "crates/", "examples/", ".ci/", ".github/"];

/// Finds links and mentions that lead nowhere.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &repo.texts {
        let prose = match path.rsplit('/').next().unwrap_or(path) {
            "Cargo.lock" => continue,
            name if name.ends_with(".rs") => &repo.rust_file(path).expect("a Rust file").comments,
            name if name.ends_with(".md") || name.ends_with(".toml") || name.ends_with(".yml") => {
                text
            }
            "run" => text,
            _ => continue,
        };
        for (at, target) in links(prose) {
            if let Err(why) = follow(repo, path, target) {
                findings.push(Finding::new(path, line_of(prose, at), why));
            }
        }
        for (at, word) in mentions(prose) {
            if !is_end_of_a_path(repo, word) {
                let text = format!("`{word}` is mentioned, and there is no such file");
                findings.push(Finding::new(path, line_of(prose, at), text));
            }
        }
    }
    findings
}

/// The targets of `[text](target)`, without web addresses and names of Rust items.
fn links(prose: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (at, _) in prose.match_indices("](") {
        let rest = &prose[at + 2..];
        let Some(end) = rest.find([')', '\n', ' ']) else { continue };
        let target = &rest[..end];
        let is_web = target.contains("://") || target.starts_with("mailto:");
        let is_path = target.contains(['.', '/', '#']);
        if is_path && !is_web && !target.contains("::") {
            found.push((at, target));
        }
    }
    found
}

fn follow(repo: &Repo, from: &str, target: &str) -> Result<(), String> {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { from.to_owned() } else { resolve(from, file) };
    if !repo.paths.contains(&path) {
        return Err(format!("the link `{target}` leads to {path}, which does not exist"));
    }
    let text = repo.texts.get(&path).filter(|_| path.ends_with(".md") && !heading.is_empty());
    match text {
        Some(text) if !headings(text).any(|has| has == heading) => {
            Err(format!("the link `{target}` leads to a heading that {path} does not have"))
        }
        _ => Ok(()),
    }
}

/// `target` seen from the folder of `from`.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The headings of a document as links spell them: `## Lock order` is `lock-order`.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// Words that are spelled like paths of ours.
fn mentions(prose: &str) -> Vec<(usize, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || ['_', '.', '/', '-'].contains(&c);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = prose[at..].find(is_part) {
        let start = at + start;
        let length = prose[start..].find(|c| !is_part(c)).unwrap_or(prose.len() - start);
        at = start + length;
        let word = prose[start..at].trim_end_matches('.');
        let before = prose[..start].chars().next_back();
        let after = prose[at..].chars().next();
        let is_pattern = |c: Option<char>| c.is_some_and(|c| "*<>{}$~@:…".contains(c));
        if is_pattern(before) || (is_pattern(after) && after != Some(':')) || is_link(prose, start)
        {
            continue;
        }
        let stem = word.rsplit('/').next().unwrap_or(word);
        let is_file =
            ENDINGS.iter().any(|ending| stem.ends_with(ending) && stem.len() > ending.len());
        let is_ours = BEGINNINGS.iter().any(|beginning| word.starts_with(beginning));
        if (is_file || is_ours) && !word.starts_with(['/', '-']) && !word.contains("..") {
            found.push((start, word));
        }
    }
    found
}

/// Whether the word at `start` is the target of a link, which is followed as one.
fn is_link(prose: &str, start: usize) -> bool {
    prose[..start].ends_with("](")
}

fn is_end_of_a_path(repo: &Repo, word: &str) -> bool {
    let word = word.trim_start_matches("./").trim_end_matches('/');
    let end = format!("/{word}");
    repo.paths.contains(word) || repo.paths.iter().any(|path| path.ends_with(&end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let repo = Repo::of(&[
            (path, text),
            ("README.md", "# Esker\n\n## Lock order, twice\n"),
            ("docs/guarantees.md", "# Promises\n"),
            ("crates/esker/src/wal/record.rs", ""),
        ]);
        check(&repo).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn links_lead_to_files_and_headings() {
        for good in [
            "[a](guarantees.md) [b](../README.md#lock-order-twice) [c](#here)\n# Here",
            "[web](https://docs.rs/clap/latest.md) [item](crate::db::Db)",
            "[folder](../crates/esker/src/wal/)",
        ] {
            assert_eq!(found("docs/a.md", good), [""; 0], "{good}");
        }
        for bad in ["[a](gone.md)", "[a](README.md)", "[a](../README.md#gone)", "[a](#gone)"] {
            assert_eq!(found("docs/a.md", bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn mentions_in_prose_exist() {
        for good in [
            "See docs/guarantees.md, `record.rs` and (wal/record.rs).",
            "Not ours: https://example.org/x.md, *.rs, crates/*/Cargo.toml, $dir/out.jsonl, /etc/x.toml.",
            "An .rs file; crates/esker/src.",
        ] {
            assert_eq!(found("docs/a.md", good), [""; 0], "{good}");
        }
        for bad in ["See docs/gone.md.", "`log/record.rs`", "crates/gone", "Read DESIGN.md"] {
            assert_eq!(found("docs/a.md", bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn comments_are_prose_and_code_is_not() {
        let path = "crates/esker/src/lib.rs";
        assert_eq!(found(path, "/// See docs/gone.md.\nfn f() {}").len(), 1);
        assert_eq!(found(path, "fn f() { open(\"docs/gone.md\") }"), [""; 0]);
        assert_eq!(found("clippy.toml", "# why: docs/gone.md").len(), 1);
    }
}

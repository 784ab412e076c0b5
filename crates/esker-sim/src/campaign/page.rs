//! The page of figures, docs/reliability.md: made from the records of campaigns, never by hand.
//!
//! A record is what a campaign wrote, with the day and the commit in front:
//!
//! ```text
//! {"date": "2026-11-21", "commit": "1a2b3c4", "record": {"campaign": "nth", ...}}
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A record with its day and commit.
#[derive(Clone, Debug, PartialEq)]
struct Stamped {
    date: String,
    commit: String,
    campaign: String,
    command: String,
    figures: BTreeMap<String, u64>,
    skipped: Vec<String>,
}

/// What each campaign is about, in the order of the page.
const ABOUT: [(&str, &str); 14] = [
    (
        "seeds",
        "Histories that a seed draws: several keyspaces, batches, snapshots, iterators, flushes, \
         all kinds of compaction, reopens, crashes, faults of the disk, damage. Every answer is \
         compared with a model; every crash is recovered three times; what was damaged is opened, \
         verified, repaired, and put right by a quarantine. One history in fifty is run twice and must \
         do the same to the disk, operation by operation.",
    ),
    (
        "nth",
        "Each operation of the disk in each scenario fails once, in each way that it can, and is \
         the last before a crash. A *site* is a line of the engine that does something to a class \
         of files; a *pair* is a site and a way to fail. All pairs that the scenarios come by are \
         failed; so are those that they come by only after a fault, and after two, until none is \
         new. After each fault the state of health must be the one that the table of reactions asks \
         for. Not among the sites: `verify`, `repair`, `quarantine` and `dump`, each of whose \
         operations tests of their own fail; and the look into a directory that an open which must \
         not create a store begins with.",
    ),
    (
        "nth2",
        "The machine is crashed at each operation that changes the disk, and each operation of \
         the recovery fails, or is the last before another crash.",
    ),
    (
        "enumerate",
        "Every sequence of a dozen operations up to a length, and the disks that a crash can leave \
         at each moment of its last operation: all of them, or so many drawn ones where there are \
         more.",
    ),
    ("meta", "Histories without faults under twelve sets of options: sizes, compression, memory."),
    (
        "planted",
        "Mistakes that other stores made, and some of our own, switched on one at a time. Each \
         must be found, by seeds or, where the power has to fail between two certain operations, \
         by the crashes of the scenarios. docs/guarantees.md lists them.",
    ),
    ("flips", "Single bits flipped in a store of several levels; a silent one is a wrong answer."),
    ("kill9", "The real node, killed with `kill -9` at random moments."),
    ("syscall_order", "The system calls of the real program, traced."),
    ("disk_full", "The real program on a file system that fills up and gets space again."),
    ("fs_shutdown", "The real program on a file system that is shut down under it."),
    (
        "threads",
        "The small kernels under loom, which plays every order of their steps; whole stores with \
         their real threads under shuttle, by random and priority-based schedules; and the tests \
         of the engine under the address sanitizer.",
    ),
    ("fuzz", "Every decoder, and the whole store, given any bytes."),
    ("corpus", "The inputs that fuzzing found, kept and replayed by `cargo test`."),
];

/// The page, from the records in `records` and the sources in `sources`.
///
/// # Errors
/// If a record cannot be read.
pub fn page(records: &Path, sources: &Path) -> Result<String> {
    let mut stamped = Vec::new();
    for entry in std::fs::read_dir(records).with_context(|| records.display().to_string())? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&file)?;
            stamped.push(parse(&text).with_context(|| file.display().to_string())?);
        }
    }
    stamped.sort_by_key(|record| (place(&record.campaign), record.command.clone()));
    let mut out = String::from(HEAD);
    for records in stamped.chunk_by(|a, b| a.campaign == b.campaign) {
        no_seed_twice(records)?;
        section(&mut out, records);
    }
    unsafe_blocks(&mut out, sources)?;
    Ok(out)
}

const HEAD: &str = "# What was tried to break Esker

This page is made by `cargo run --release -p esker-sim -- page` from the records that campaigns left in
crates/esker-sim/record, and never written by hand. Each figure has its day, its commit and the command that
makes it again. What each promise means stands in [guarantees.md](guarantees.md), how to run the
campaigns in [CONTRIBUTING.md](../CONTRIBUTING.md).

Not measured: line coverage, and Miri, which the machine at hand does not have; who has it finds the
command in CONTRIBUTING.md.
";

fn parse(text: &str) -> Result<Stamped> {
    let value: Value = serde_json::from_str(text)?;
    let word = |value: &Value, key: &str| -> Result<String> {
        let word = value.get(key).and_then(Value::as_str);
        Ok(word.with_context(|| format!("no {key}"))?.to_owned())
    };
    let record = value.get("record").context("no record")?;
    let figures = record.get("figures").and_then(Value::as_object).context("no figures")?;
    let figures = figures.iter().filter_map(|(name, n)| Some((name.clone(), n.as_u64()?)));
    let skipped = record.get("skipped").and_then(Value::as_array).context("no skipped")?;
    Ok(Stamped {
        date: word(&value, "date")?,
        commit: word(&value, "commit")?,
        campaign: word(record, "campaign")?,
        command: word(record, "command")?,
        figures: figures.collect(),
        skipped: skipped.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}

/// Parts of one campaign that begin with other seeds are added up, so no seed may be in two of them.
fn no_seed_twice(records: &[Stamped]) -> Result<()> {
    let mut ranges: Vec<_> = records.iter().filter_map(|record| seeds(&record.command)).collect();
    ranges.sort_by_key(|range| range.start);
    match ranges.windows(2).find(|pair| pair[1].start < pair[0].end) {
        None => Ok(()),
        Some(pair) => bail!("seeds {:?} and {:?} overlap: remove a record", pair[0], pair[1]),
    }
}

/// What `--seeds 20000 --start 40000` in a command says.
fn seeds(command: &str) -> Option<Range<u64>> {
    let mut words = command.split(' ').skip_while(|word| *word != "--seeds").skip(1);
    let count: u64 = words.next()?.parse().ok()?;
    let start = words.skip_while(|word| *word != "--start").nth(1);
    let start = start.map_or(Some(0), |start| start.parse().ok())?;
    Some(start..start + count)
}

fn place(campaign: &str) -> usize {
    ABOUT.iter().position(|(name, _)| *name == campaign).unwrap_or(ABOUT.len())
}

/// One campaign. What was played in parts is added up.
fn section(out: &mut String, records: &[Stamped]) {
    let campaign = &records[0].campaign;
    let about = ABOUT.get(place(campaign)).map_or("", |(_, about)| about);
    let _ = writeln!(out, "\n## {campaign}\n\n{about}\n\n```sh");
    let mut figures = BTreeMap::<&str, u64>::new();
    for Stamped { date, commit, command, .. } in records {
        let _ = writeln!(out, "{command}    # {date}, at {commit}");
    }
    let _ = writeln!(out, "```\n");
    for (name, count) in records.iter().flat_map(|record| &record.figures) {
        *figures.entry(name).or_default() += count;
    }
    if !by_subject(out, &figures) {
        let _ = writeln!(out, "| count | of |\n| ---: | --- |");
        for (name, count) in figures {
            let _ = writeln!(out, "| {} | {name} |", grouped(count));
        }
    }
    for reason in records.iter().flat_map(|record| &record.skipped) {
        let _ = writeln!(out, "\nSkipped: {reason}");
    }
}

/// Figures of many subjects, `block executions` and `block broken`, as a table with a line for each
/// subject; `false` if these are no such figures.
fn by_subject(out: &mut String, figures: &BTreeMap<&str, u64>) -> bool {
    let mut lines = BTreeMap::<&str, BTreeMap<&str, u64>>::new();
    for (name, count) in figures {
        let Some((subject, what)) = name.split_once(' ') else { return false };
        lines.entry(subject).or_default().insert(what, *count);
    }
    let columns: Vec<&str> =
        lines.values().next().map(|line| line.keys().copied().collect()).unwrap_or_default();
    let alike = lines.values().all(|line| line.keys().eq(columns.iter()));
    if lines.len() < 2 || columns.len() < 2 || !alike {
        return false;
    }
    let _ =
        writeln!(out, "| | {} |\n| --- |{}", columns.join(" | "), " ---: |".repeat(columns.len()));
    for (subject, line) in lines {
        let counts: Vec<_> = line.values().map(|count| grouped(*count)).collect();
        let _ = writeln!(out, "| {subject} | {} |", counts.join(" | "));
    }
    true
}

/// `1234567` as `1,234,567`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Every `unsafe` block of the engine, with the reason that stands over it.
fn unsafe_blocks(out: &mut String, sources: &Path) -> Result<()> {
    let mut files = Vec::new();
    collect(sources, &mut files)?;
    files.sort();
    let mut rows = String::new();
    let mut count = 0;
    for file in &files {
        let text = std::fs::read_to_string(file)?;
        let name = file.strip_prefix(sources).unwrap_or(file).display().to_string();
        for (line, reason) in reasons(&text) {
            count += 1;
            let _ = writeln!(rows, "| {name}:{line} | {reason} |");
        }
    }
    let _ = writeln!(
        out,
        "\n## `unsafe` in the engine\n\n{count} blocks have a reason, each checked by the compiler's \
         lint to have one; they play under loom, stress tests with real threads, or both.\n\n\
         | where | why it is sound |\n| --- | --- |\n{}",
        rows.trim_end()
    );
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The reasons in a source file and the lines on which they begin.
fn reasons(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(first) = line.strip_prefix("// SAFETY: ") else { continue };
        let more = lines[at + 1..].iter().map_while(|line| line.strip_prefix("// "));
        let reason = std::iter::once(first).chain(more).collect::<Vec<_>>().join(" ");
        found.push((at + 1, reason.replace('|', "\\|")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_records_of_a_campaign_become_a_section() {
        let text = r#"{"date": "2026-11-21", "commit": "1a2b3c4", "record": {"campaign": "nth",
            "command": "esker-sim nth", "figures": {"runs": 38322}, "skipped": ["a mount"]}}"#;
        let mut out = String::new();
        let record = parse(text).unwrap();
        section(&mut out, &[record.clone(), record]);
        let command = "esker-sim nth    # 2026-11-21, at 1a2b3c4";
        for part in ["## nth", command, "| 76,644 | runs |", "Skipped: a mount"] {
            assert!(out.contains(part), "{part} in {out}");
        }
        assert!(parse("{}").is_err());
    }

    #[test]
    fn figures_of_many_subjects_are_a_table() {
        let figures = [("a runs", 1000), ("a broken", 0), ("b runs", 2), ("b broken", 1)];
        let mut out = String::new();
        assert!(by_subject(&mut out, &figures.into_iter().collect()));
        assert!(out.contains("| | broken | runs |"), "{out}");
        assert!(out.contains("| a | 0 | 1,000 |"), "{out}");
        let figures = [("seeds", 1), ("write sync", 2), ("write os", 3)];
        assert!(!by_subject(&mut out, &figures.into_iter().collect()));
    }

    #[test]
    fn parts_with_the_same_seeds_are_not_added_up() {
        let part = |command: &str| {
            let text = format!(
                r#"{{"date": "", "commit": "", "record": {{"campaign": "seeds",
                "command": "{command}", "figures": {{}}, "skipped": []}}}}"#
            );
            parse(&text).unwrap()
        };
        let first = part("esker-sim run --seeds 3000");
        let second = part("esker-sim run --seeds 20000 --start 3000 --jobs 2");
        let third = part("esker-sim run --seeds 20000 --start 20000 --jobs 2");
        assert!(no_seed_twice(&[second.clone(), first.clone()]).is_ok());
        assert!(no_seed_twice(&[third, first, second]).is_err());
        assert!(no_seed_twice(&[part("esker-sim nth --crashes 3"), part("esker-sim nth")]).is_ok());
    }

    #[test]
    fn a_reason_is_all_of_its_lines() {
        let text = "x\n  // SAFETY: the page is\n  // ours.\n  unsafe { read() }\n";
        assert_eq!(reasons(text), [(2, "the page is ours.".to_owned())]);
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}

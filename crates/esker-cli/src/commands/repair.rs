//! `verify`, `repair`: what is wrong with a store, and what is left of it.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use esker::{Depth, Finding, Loss, RepairReport, VerifyReport};
use serde_json::{Value, json};

use crate::commands::Spelling;
use crate::outcome::Failure;

/// Look for damage in a store that is not open, and report all of it
///
/// Changes nothing. Looks at CURRENT, the manifest, the footers of tables and the headers of logs;
/// with --full at every byte. The status is 3 if anything is not as it should be.
#[derive(Args)]
#[command(after_help = "\
Example:
  $ esker put --dir shop apple red
  $ esker verify --dir shop --full
  0 tables of 0 bytes, 1 record of the log: no damage found
  $ esker verify --dir shop --json | tr ',' '\\n' | grep findings
  {\"findings\":[]")]
pub struct Verify {
    /// The directory of the store
    #[arg(long, visible_alias = "data-dir")]
    dir: PathBuf,
    /// Read and check every byte
    #[arg(long)]
    full: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    spelling: Spelling,
}

impl Verify {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let depth = if self.full { Depth::Full } else { Depth::Fast };
        let report = esker::verify(&self.dir, depth)?;
        if self.json {
            writeln!(out, "{}", self.as_json(&report))?;
        } else {
            self.print(&report, out)?;
        }
        match report.findings.len() {
            0 => Ok(()),
            n => Err(Failure::Damaged(format!(
                "{} in {}: restore the files from a copy, or run `esker repair`",
                counted(n as u64, "finding"),
                self.dir.display()
            ))),
        }
    }

    fn print(&self, report: &VerifyReport, out: &mut dyn Write) -> Result<(), Failure> {
        print_findings(&report.findings, &self.spelling, out)?;
        for note in &report.notes {
            writeln!(out, "note: {note}")?;
        }
        let (tables, bytes) = (counted(report.tables, "table"), report.table_bytes);
        write!(out, "{tables} of {bytes} bytes")?;
        if self.full {
            write!(out, ", {} of the log", counted(report.log_records, "record"))?;
        }
        match report.findings.len() as u64 {
            0 => writeln!(out, ": no damage found")?,
            n => writeln!(out, ": {}", counted(n, "finding"))?,
        }
        Ok(())
    }

    fn as_json(&self, report: &VerifyReport) -> Value {
        json!({
            "findings": findings_json(&report.findings, &self.spelling),
            "full": self.full,
            "tables": report.tables,
            "table_bytes": report.table_bytes,
            "log_records": report.log_records,
            "notes": report.notes,
        })
    }
}

/// Each finding with its place, and the keys that it may have taken.
pub(super) fn print_findings(
    findings: &[Finding],
    spelling: &Spelling,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    for Finding { file, offset, part, expected, found, table, keys, .. } in findings {
        writeln!(out, "{file} at {offset}: {part}: expected {expected}, found {found}")?;
        if let Some(table) = table {
            writeln!(out, "  a table of keyspace {:?} in L{}", table.keyspace, table.level)?;
        }
        if let Some((first, last)) = keys {
            let (first, last) = (spelling.show(first), spelling.show(last));
            writeln!(out, "  with keys from {first} to {last}")?;
        }
    }
    Ok(())
}

/// The same as JSON.
pub(super) fn findings_json(findings: &[Finding], spelling: &Spelling) -> Vec<Value> {
    let finding = |finding: &Finding| {
        let key = |key: &Vec<u8>| spelling.show(key);
        json!({
            "file": finding.file,
            "offset": finding.offset,
            "part": finding.part,
            "expected": finding.expected,
            "found": finding.found,
            "keyspace": finding.table.as_ref().map(|table| &table.keyspace),
            "level": finding.table.as_ref().map(|table| table.level),
            "first_key": finding.keys.as_ref().map(|(first, _)| key(first)),
            "last_key": finding.keys.as_ref().map(|(_, last)| key(last)),
        })
    };
    findings.iter().map(finding).collect()
}

/// Make a new store of all that can be read of a damaged one
///
/// The old store is only read; the new directory must be empty or not there. Of each key the newest
/// version that can be read is kept. What could not be read is reported, with the range of its
/// keys: there, entries may be missing, and older values or deleted keys may show. The status is 3
/// if anything was lost; the new store is whole then, too.
#[derive(Args)]
#[command(after_help = "\
Example:
  $ esker put --dir shop apple red
  $ esker repair --dir shop --to mended
  keyspace \"default\": 1 key
  from 0 tables and 1 record of the log: nothing is lost
  $ esker scan --dir mended
  apple\tred")]
pub struct Repair {
    /// The directory of the damaged store
    #[arg(long, visible_alias = "data-dir")]
    dir: PathBuf,
    /// The directory of the new store
    #[arg(long, value_name = "NEWDIR")]
    to: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    spelling: Spelling,
}

impl Repair {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let report = esker::repair(&self.dir, &self.to)?;
        if self.json {
            writeln!(out, "{}", self.as_json(&report))?;
        } else {
            self.print(&report, out)?;
        }
        match report.losses.len() {
            0 => Ok(()),
            n => Err(Failure::Damaged(format!(
                "{} on the way to {}: compare the ranges above with a copy, if there is one",
                counted(n as u64, "loss"),
                self.to.display()
            ))),
        }
    }

    fn print(&self, report: &RepairReport, out: &mut dyn Write) -> Result<(), Failure> {
        for loss in &report.losses {
            self.print_loss(loss, out)?;
        }
        for note in &report.notes {
            writeln!(out, "note: {note}")?;
        }
        for keyspace in &report.keyspaces {
            writeln!(out, "keyspace {:?}: {}", keyspace.name, counted(keyspace.keys, "key"))?;
        }
        let tables = counted(report.tables, "table");
        let records = counted(report.log_records, "record");
        let lost = match report.losses.len() as u64 {
            0 => "nothing is lost".to_owned(),
            n => counted(n, "loss"),
        };
        Ok(writeln!(out, "from {tables} and {records} of the log: {lost}")?)
    }

    fn print_loss(&self, loss: &Loss, out: &mut dyn Write) -> Result<(), Failure> {
        writeln!(out, "lost: {} at {}: {}", loss.file, loss.offset, loss.what)?;
        let end = |key: &Option<Vec<u8>>, all: &str| {
            key.as_ref().map_or_else(|| all.to_owned(), |key| self.spelling.show(key))
        };
        let first = end(&loss.first_key, "the first one");
        let last = end(&loss.last_key, "the last one");
        let keyspace = loss.keyspace.as_deref().map(|name| format!(" of keyspace {name:?}"));
        writeln!(out, "  keys{} from {first} to {last}", keyspace.unwrap_or_default())?;
        match (loss.first_seq, loss.last_seq) {
            (Some(first), Some(last)) => writeln!(out, "  sequence numbers {first} to {last}")?,
            (Some(first), None) => writeln!(out, "  sequence numbers from {first} on")?,
            _ => {}
        }
        let kept = loss.entries_kept.map(|kept| format!("{kept} entries of the file kept"));
        let lost = loss.entries_lost.map(|lost| format!("{lost} lost"));
        match (kept, lost) {
            (Some(kept), Some(lost)) => writeln!(out, "  {kept}, {lost}")?,
            (Some(kept), None) => writeln!(out, "  {kept}")?,
            _ => {}
        }
        Ok(())
    }

    fn as_json(&self, report: &RepairReport) -> Value {
        let loss = |loss: &Loss| {
            let key = |key: &Option<Vec<u8>>| key.as_ref().map(|key| self.spelling.show(key));
            json!({
                "file": loss.file,
                "offset": loss.offset,
                "what": loss.what,
                "keyspace": loss.keyspace,
                "first_key": key(&loss.first_key),
                "last_key": key(&loss.last_key),
                "first_seq": loss.first_seq,
                "last_seq": loss.last_seq,
                "entries_kept": loss.entries_kept,
                "entries_lost": loss.entries_lost,
            })
        };
        let keyspaces = report.keyspaces.iter();
        let keyspaces: Vec<Value> =
            keyspaces.map(|k| json!({ "name": k.name, "keys": k.keys })).collect();
        json!({
            "losses": report.losses.iter().map(loss).collect::<Vec<_>>(),
            "keyspaces": keyspaces,
            "tables": report.tables,
            "log_records": report.log_records,
            "notes": report.notes,
        })
    }
}

/// `1 table`, `2 tables`, `2 losses`.
pub(super) fn counted(n: u64, what: &str) -> String {
    match (n, what.ends_with('s')) {
        (1, _) => format!("1 {what}"),
        (_, true) => format!("{n} {what}es"),
        (_, false) => format!("{n} {what}s"),
    }
}

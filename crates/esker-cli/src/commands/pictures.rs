//! `levels`, `stats`, `check`, `dump`: what a store looks like from inside.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::commands::Place;
use crate::outcome::Failure;
use crate::text::Syntax;

/// Print the levels of the tree: tables, bytes, and from which size on a level is merged down
///
/// The ratio is how many bytes each byte would be without compression.
#[derive(Args)]
#[command(after_help = "\
Example:
  $ esker put --dir shop apple red
  $ esker levels --dir shop | head -n 2
  level  tables            bytes        max bytes  ratio
  L0          0                0        671088640      -")]
pub struct Levels {
    #[command(flatten)]
    place: Place,
}

impl Levels {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let levels = self.place.with(|keyspace| Ok(keyspace.levels()))?;
        let mut line = |[level, tables, bytes, max_bytes, ratio]: [&str; 5]| {
            writeln!(out, "{level:<5} {tables:>7} {bytes:>16} {max_bytes:>16} {ratio:>6}")
        };
        line(["level", "tables", "bytes", "max bytes", "ratio"])?;
        for level in levels {
            let ratio = match level.bytes {
                0 => "-".to_owned(),
                bytes => format!("{:.2}", level.uncompressed_bytes as f64 / bytes as f64),
            };
            line([
                &format!("L{}", level.level),
                &level.tables.to_string(),
                &level.bytes.to_string(),
                &level.max_bytes.to_string(),
                &ratio,
            ])?;
        }
        Ok(())
    }
}

/// Print the figures of a keyspace and its store
#[derive(Args)]
#[command(after_help = "\
Example:
  $ esker put --dir shop apple red
  $ esker stats --dir shop | grep amplification
  write amplification              0.00
  read amplification                  1
  space amplification              1.00")]
pub struct Stats {
    #[command(flatten)]
    place: Place,
}

impl Stats {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let stats = self.place.with(|keyspace| Ok(keyspace.stats()))?;
        let mut line = |name: &str, value: String| writeln!(out, "{name:<24} {value:>12}");
        line("write amplification", format!("{:.2}", stats.write_amplification))?;
        line("read amplification", stats.read_amplification.to_string())?;
        line("space amplification", format!("{:.2}", stats.space_amplification))?;
        for (name, value) in [
            ("user bytes", stats.user_bytes),
            ("flushes", stats.flushes),
            ("flush bytes", stats.flush_bytes),
            ("compactions", stats.compactions),
            ("  of these only moves", stats.moves),
            ("  of these within L0", stats.l0_merges),
            ("steps of sweeps", stats.sweep_steps),
            ("compaction bytes read", stats.compaction_bytes_read),
            ("compaction bytes written", stats.compaction_bytes_written),
            ("compactions pending", stats.compactions_pending),
            ("writes paused, ms", stats.writes_paused_nanos / 1_000_000),
            ("writes stalled, ms", stats.writes_stalled_nanos / 1_000_000),
            ("tables", stats.tables),
            ("table bytes", stats.table_bytes),
            ("  without compression", stats.table_bytes_uncompressed),
            ("memtable bytes", stats.memtable_bytes),
        ] {
            line(name, value.to_string())?;
        }
        line("health", stats.health.to_string())?;
        line("corrupt ranges", stats.corrupt_ranges.len().to_string())?;
        for range in &stats.corrupt_ranges {
            let show = |key: &Vec<u8>| Syntax::Text.show(key);
            let (first, last) = (show(&range.first_key), show(&range.last_key));
            let readable = if range.is_readable { " (readable)" } else { "" };
            writeln!(
                out,
                "  {:?} L{} {first} to {last}{readable}: {}",
                range.keyspace, range.level, range.error
            )?;
        }
        Ok(())
    }
}

/// Read every byte of a store and compare what depends on each other
#[derive(Args)]
#[command(after_help = "\
Example:
  $ esker put --dir shop apple red
  $ esker check --dir shop
  no damage found")]
pub struct Check {
    /// The directory of the store
    #[arg(long, visible_alias = "data-dir")]
    dir: PathBuf,
}

impl Check {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let db = esker::Options::new().open_existing(&self.dir)?;
        let foreign = db.stats().foreign_files;
        let checked = db.check().map_err(Failure::from);
        super::closed(db, checked)?;
        for name in foreign {
            writeln!(out, "left alone, not a file of the store: {name}")?;
        }
        Ok(writeln!(out, "no damage found")?)
    }
}

/// Print what a file of a store says: a log segment, a table, a manifest, CURRENT
#[derive(Args)]
#[command(after_help = "\
Example:
  $ esker put --dir shop apple red
  $ esker dump shop/CURRENT | cut -d ' ' -f 3
  MANIFEST-000001")]
pub struct Dump {
    /// The file
    file: PathBuf,
}

impl Dump {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let text = esker::internals::dump(&self.file)?;
        writeln!(out, "{}", text.trim_end())?;
        Ok(())
    }
}

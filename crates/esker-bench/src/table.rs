//! A report for a person: lines about the run, a table of speed, a table of cost.
//!
//! Columns are as wide as what stands in them. Times and sizes carry their units.

use std::fmt;

use crate::report::{Part, Phase, Report};
use crate::settings::Summary;
use crate::workload::{BATCH_ENTRIES, SCAN_PIECE_ENTRIES};

/// Cells in rows; the first row is the head. Columns are aligned right, but the names in the first
/// one and units, which stand under an empty head.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|name| (*name).to_owned()).collect()] }
    }

    pub(crate) fn push(&mut self, row: Vec<String>) {
        debug_assert_eq!(row.len(), self.rows[0].len(), "a row has a cell a column");
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<_> = (0..self.rows[0].len()).map(|c| width(c).unwrap_or(0)).collect();
        for row in &self.rows {
            write!(f, "{:<width$}", row[0], width = widths[0])?;
            for ((cell, width), head) in row.iter().zip(&widths).zip(&self.rows[0]).skip(1) {
                match head.as_str() {
                    "" => write!(f, " {cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key_bytes, value_bytes, threads, durability, seed, .. } = self;
        let (num, s) = (count(self.num), if *threads == 1 { "" } else { "s" });
        write!(f, "{num} entries of {key_bytes} + {value_bytes} bytes, {threads} thread{s}, ")?;
        write!(f, "durability {durability}, ")?;
        if self.compression != "none" {
            write!(f, "compression {}, ", self.compression)?;
        }
        write!(f, "seed {seed}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.settings)?;
        let machine = &self.machine;
        writeln!(
            f,
            "esker {}, {}, {} cores, {}, {}, {}, {}\n",
            self.esker,
            machine.cpu,
            machine.cores,
            bytes(machine.memory_bytes),
            machine.kernel,
            machine.file_system,
            self.date
        )?;
        writeln!(f, "{}", speed(&self.phases))?;
        writeln!(
            f,
            "Times are of one operation: a batch of {BATCH_ENTRIES} in batches, a call for \
             {BATCH_ENTRIES} keys in multiget,\n{} entries in scanall. Before reads the store \
             settled.\n",
            count(SCAN_PIECE_ENTRIES)
        )?;
        writeln!(f, "{}", cost(&self.phases))?;
        write!(
            f,
            "Processor: the time of all threads, background work included. Log and tables: what the \
             engine\nwrote; disk: what the process was charged for. Space: allocated blocks of the \
             directory, also per byte\nof live keys and values. Memory: the peak of the process, of \
             what is anonymous (no file's), and of what\nthe engine counts. The engine's own \
             amplifications: bytes of tables written per byte put, runs that a\nread may look into, \
             bytes of tables per live byte.\n"
        )
    }
}

fn speed(phases: &[Phase]) -> Table {
    let head = ["workload", "per second", "", "median", "90 %", "99 %", "99.9 %", "longest"];
    let mut table = Table::new(&head);
    for (phase, part) in parts(phases) {
        let latency = &part.latency;
        let mut row =
            vec![part_name(phase, part), count(part.per_second as u64), part.unit.clone()];
        let times = [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.longest];
        row.extend(times.into_iter().map(nanos));
        table.push(row);
    }
    table
}

fn cost(phases: &[Phase]) -> Table {
    let mut table = Table::new(&[
        "workload",
        "time",
        "processor",
        "log",
        "tables",
        "disk",
        "space",
        "per live",
        "memory",
        "anonymous",
        "engine",
        "writes ×",
        "runs",
        "space ×",
    ]);
    for phase in phases {
        let (disk, memory, amplification) = (&phase.disk, &phase.memory, &phase.amplification);
        let per_live = match disk.live_bytes {
            0 => "-".into(),
            live => format!("{:.2}", disk.space_bytes as f64 / live as f64),
        };
        let known = |bytes_if_known: Option<u64>| bytes_if_known.map_or("-".into(), bytes);
        table.push(vec![
            phase.name.clone(),
            nanos((phase.seconds * 1e9) as u64),
            phase.cpu_seconds.map_or("-".into(), |seconds| nanos((seconds * 1e9) as u64)),
            bytes(disk.log_bytes),
            bytes(disk.flush_bytes + disk.compaction_bytes),
            known(disk.process_bytes),
            bytes(disk.space_bytes),
            per_live,
            known(memory.peak_bytes),
            known(memory.anonymous_bytes),
            bytes(memory.engine_bytes),
            format!("{:.2}", amplification.write),
            amplification.read.to_string(),
            format!("{:.2}", amplification.space),
        ]);
    }
    table
}

/// All parts with their phases.
pub(crate) fn parts(phases: &[Phase]) -> impl Iterator<Item = (&Phase, &Part)> {
    phases.iter().flat_map(|phase| phase.parts.iter().map(move |part| (phase, part)))
}

/// `readwhilewriting reads`.
pub(crate) fn part_name(phase: &Phase, part: &Part) -> String {
    format!("{} {}", phase.name, part.name).trim_end().to_owned()
}

/// `1,234,567`
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `480 ns`, `12.3 µs`, `1.50 ms`, `2.15 s`
pub(crate) fn nanos(nanos: u64) -> String {
    scaled(nanos as f64, 1000.0, &["ns", "µs", "ms", "s"])
}

/// `0 B`, `128 MiB`, `1.50 GiB`
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// Three digits and the unit that fits; whole numbers of the first unit.
fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let (mut number, mut unit) = (number, 0);
    while number >= 999.5 && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let decimals = match number {
        _ if unit == 0 => 0,
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.decimals$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_carry_units() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        for (number, text) in [
            (0, "0 ns"),
            (480, "480 ns"),
            (999, "999 ns"),
            (1_500, "1.50 µs"),
            (9_999, "10.0 µs"),
            (123_456, "123 µs"),
            (999_999, "1.00 ms"),
            (2_147_483_648, "2.15 s"),
            (5_000_000_000_000, "5000 s"),
        ] {
            assert_eq!(nanos(number), text);
        }
        for (number, text) in
            [(0, "0 B"), (512, "512 B"), (1 << 27, "128 MiB"), (3 << 29, "1.50 GiB")]
        {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let mut table = Table::new(&["what", "µs"]);
        table.push(vec!["a".into(), "12".into()]);
        table.push(vec!["longer".into(), "3".into()]);
        assert_eq!(table.to_string(), "what    µs\na       12\nlonger   3\n");
    }

    #[test]
    fn a_report_says_it_all() {
        let text = Report::example().to_string();
        let begins = "1,000,000 entries of 16 + 100 bytes, 1 thread, durability os, seed 1\nesker";
        assert!(text.starts_with(begins), "{text}");
        for line in [
            "workload                 per second       median    90 %     99 %   99.9 %  longest",
            "fillrandom                1,234,567 puts  480 ns  900 ns  12.3 µs  1.50 ms   2.15 s",
            "readwhilewriting writes      60,000 puts  480 ns  900 ns  12.3 µs  1.50 ms   2.15 s",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line}\n\n{text}");
        }
        let settled = text.lines().find(|line| line.starts_with("settle")).unwrap();
        assert!(settled.starts_with("settle            1.50 s          -"), "{settled}");
    }
}

//! Two reports side by side: what changed from the earlier one to the later one, as ratios.

use std::fmt;

use crate::report::{Part, Report};
use crate::table::{Table, count, nanos, part_name, parts};

/// Two reports.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// What the ratios are of.
    pub before: &'a Report,
    /// What is compared with it.
    pub after: &'a Report,
}

impl Comparison<'_> {
    /// What both have, in the order of the later one; the n-th of a name goes with the n-th.
    fn pairs(&self) -> Vec<(String, &Part, &Part)> {
        let named = |report| -> Vec<(String, &Part)> {
            let report: &Report = report;
            parts(&report.phases).map(|(phase, part)| (part_name(phase, part), part)).collect()
        };
        let mut before = named(self.before);
        let mut pairs = Vec::new();
        for (name, after) in named(self.after) {
            if let Some(at) = before.iter().position(|(other, _)| *other == name) {
                pairs.push((name, before.remove(at).1, after));
            }
        }
        pairs
    }
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, report) in [("before", self.before), ("after", self.after)] {
            writeln!(f, "{name:<6}  {}, esker {}, {}", report.date, report.esker, report.settings)?;
        }
        if self.before.machine != self.after.machine {
            writeln!(f, "They were made on different machines: the ratios say little.")?;
        }
        writeln!(f)?;
        let mut table = Table::new(&[
            "workload", "before", "after", "", "ratio", "99.9 %", "after", "ratio", "longest",
            "after",
        ]);
        let ratio = |after: f64, before: f64| match before > 0.0 {
            true => format!("{:.2}", after / before),
            false => "-".into(),
        };
        for (name, before, after) in self.pairs() {
            let (p99_9, later_p99_9) = (before.latency.p99_9, after.latency.p99_9);
            table.push(vec![
                name,
                count(before.per_second as u64),
                count(after.per_second as u64),
                format!("{}/s", after.unit),
                ratio(after.per_second, before.per_second),
                nanos(p99_9),
                nanos(later_p99_9),
                ratio(later_p99_9 as f64, p99_9 as f64),
                nanos(before.latency.longest),
                nanos(after.latency.longest),
            ]);
        }
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_have_is_compared() {
        let (before, mut after) = (Report::example(), Report::example());
        after.phases[0].parts[0].per_second *= 2.0;
        after.phases[2].parts[0].name = "scans".into();
        let text = Comparison { before: &before, after: &after }.to_string();
        let fill = text.lines().find(|line| line.starts_with("fillrandom")).unwrap();
        let words: Vec<&str> = fill.split_whitespace().collect();
        assert_eq!(words[..5], ["fillrandom", "1,234,567", "2,469,135", "puts/s", "2.00"]);
        assert!(!text.contains("scans") && text.contains("readwhilewriting writes"), "{text}");
        assert!(!text.contains("different machines"));
        after.machine.cores += 1;
        let text = Comparison { before: &before, after: &after }.to_string();
        assert!(text.contains("different machines"));
    }
}

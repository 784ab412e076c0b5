//! What a campaign found out, as JSON: one object, figures by name.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The figures of one campaign.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Its name.
    pub campaign: String,
    /// How to run it again.
    pub command: String,
    /// What was counted.
    pub figures: BTreeMap<String, u64>,
    /// What was left out, and why.
    pub skipped: Vec<String>,
}

impl Record {
    /// No figures yet. The command is that of this process, its program without a path.
    pub fn new(campaign: &str) -> Self {
        let command = std::iter::once("esker-sim".to_owned()).chain(std::env::args().skip(1));
        Self {
            campaign: campaign.to_owned(),
            command: command.collect::<Vec<_>>().join(" "),
            ..Self::default()
        }
    }

    /// Adds to a figure.
    pub fn add(&mut self, figure: &str, count: u64) {
        *self.figures.entry(figure.to_owned()).or_default() += count;
    }

    /// Writes it to a file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, file: &Path) -> std::io::Result<()> {
        let json = serde_json::json!({
            "campaign": self.campaign,
            "command": self.command,
            "figures": self.figures,
            "skipped": self.skipped,
        });
        std::fs::write(file, format!("{json:#}\n"))
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.campaign)?;
        self.figures.iter().try_for_each(|(name, count)| writeln!(f, "{count:>10}  {name}"))?;
        self.skipped.iter().try_for_each(|what| writeln!(f, "   skipped  {what}"))
    }
}

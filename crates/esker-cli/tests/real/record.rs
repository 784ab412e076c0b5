//! What a campaign leaves behind.

use std::fmt::Display;

/// The number in an environment variable, or what the short test does.
pub fn number(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable);
    text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// Figures and what was skipped, printed and written to the file that `ESKER_RECORD` names.
pub struct Record {
    campaign: &'static str,
    command: String,
    figures: Vec<(&'static str, u64)>,
    skipped: Vec<String>,
}

impl Record {
    /// Of the test `campaign`; `settings` are the variables with which it runs so again.
    pub fn new(campaign: &'static str, settings: impl Display) -> Self {
        let command = format!("{settings} cargo test -p esker-cli --test real {campaign}");
        Self { campaign, command, figures: Vec::new(), skipped: Vec::new() }
    }

    /// Adds to a figure.
    pub fn count(&mut self, name: &'static str, more: u64) {
        match self.figures.iter_mut().find(|(known, _)| *known == name) {
            Some((_, figure)) => *figure += more,
            None => self.figures.push((name, more)),
        }
    }

    /// What the system did not allow.
    pub fn skip(&mut self, reason: impl Display) {
        println!("SKIPPED {}: {reason}", self.campaign);
        self.skipped.push(reason.to_string());
    }

    /// Says all of it.
    pub fn write(self) {
        let figures: serde_json::Map<_, _> = self
            .figures
            .iter()
            .map(|(name, figure)| ((*name).to_owned(), (*figure).into()))
            .collect();
        let record = serde_json::json!({
            "campaign": self.campaign,
            "command": self.command,
            "figures": figures,
            "skipped": self.skipped,
        });
        println!("{record}");
        if let Some(file) = std::env::var_os("ESKER_RECORD") {
            std::fs::write(file, format!("{record}\n")).expect("the record can be written");
        }
    }
}

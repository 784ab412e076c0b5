//! `quarantine`: one damaged table leaves its store.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use esker::{OnLoss, TableLoss};
use serde_json::{Value, json};

use crate::commands::Spelling;
use crate::commands::repair::{counted, findings_json, print_findings};
use crate::outcome::Failure;

/// Take a damaged table out of a store that is not open
///
/// Says what goes with the table: its entries, and in the range of its keys older values and deleted
/// keys may show again. Without --accept-loss nothing is changed, and the status is 8. The table's
/// file is not deleted but set aside under another name. A sound table is refused. `esker repair`
/// loses less: of a damaged table it keeps every block that is whole; but it needs the room for a
/// second store.
#[derive(Args)]
#[command(after_help = "\
Example:
  $ esker put --dir shop apple red
  $ esker quarantine --dir shop --file 000000000017.sst || echo nothing is changed
  nothing is changed")]
pub struct Quarantine {
    /// The directory of the store
    #[arg(long, visible_alias = "data-dir")]
    dir: PathBuf,
    /// The table's file, as `esker verify` calls it
    #[arg(long, value_name = "TABLE")]
    file: String,
    /// Do it
    #[arg(long)]
    accept_loss: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    spelling: Spelling,
}

impl Quarantine {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let on_loss = if self.accept_loss { OnLoss::Accept } else { OnLoss::Tell };
        let outcome = match esker::quarantine(&self.dir, &self.file, on_loss)? {
            esker::Quarantine::WouldLose(loss) => {
                self.tell(Some(&loss), out)?;
                let text = "nothing was changed; --accept-loss takes the table out of the store";
                return Err(Failure::NotAccepted(text.to_owned()));
            }
            esker::Quarantine::Lost(loss) => Some(loss),
            _ => None,
        };
        self.tell(outcome.as_ref(), out)
    }

    /// What is lost; `None`: it was lost before.
    fn tell(&self, loss: Option<&TableLoss>, out: &mut dyn Write) -> Result<(), Failure> {
        if self.json {
            return Ok(writeln!(out, "{}", self.as_json(loss))?);
        }
        let Some(loss) = loss else {
            return Ok(writeln!(
                out,
                "{}: out of the store since an earlier quarantine",
                self.file
            )?);
        };
        print_findings(&loss.findings, &self.spelling, out)?;
        let will = if self.accept_loss { "lost" } else { "would be lost" };
        let (first, last) = (self.spelling.show(&loss.keys.0), self.spelling.show(&loss.keys.1));
        let entries = match loss.entries {
            1 => "1 entry".to_owned(),
            n => format!("{n} entries"),
        };
        let tombstones = counted(loss.tombstones, "tombstone");
        writeln!(out, "{will}: {}, {entries}, {tombstones} among them", loss.file)?;
        writeln!(
            out,
            "  keys of keyspace {:?} in L{} from {first} to {last}",
            loss.table.keyspace, loss.table.level
        )?;
        writeln!(out, "  sequence numbers {} to {}", loss.first_seq, loss.last_seq)?;
        writeln!(out, "  in that range older values and deleted keys may show again")?;
        if self.accept_loss {
            writeln!(out, "the file is kept as {}", loss.set_aside)?;
        }
        Ok(())
    }

    fn as_json(&self, loss: Option<&TableLoss>) -> Value {
        let loss = loss.map(|loss| {
            json!({
                "keyspace": loss.table.keyspace,
                "level": loss.table.level,
                "first_key": self.spelling.show(&loss.keys.0),
                "last_key": self.spelling.show(&loss.keys.1),
                "entries": loss.entries,
                "tombstones": loss.tombstones,
                "first_seq": loss.first_seq,
                "last_seq": loss.last_seq,
                "set_aside": loss.set_aside,
                "findings": findings_json(&loss.findings, &self.spelling),
            })
        });
        json!({ "file": self.file, "accepted": self.accept_loss, "loss": loss })
    }
}

//! `check`: reads every byte of every table, and compares what depends on each other.

use crate::base::error::{Error, Result};
use crate::base::limits::LEVELS;
use crate::base::names::FileName;
use crate::db::store::Store;

impl Store {
    /// The first thing that is not as it should be.
    pub fn check(&self) -> Result<()> {
        self.health.check_reads()?;
        let views: Vec<_> = {
            let structure = self.structure();
            structure
                .keyspaces
                .values()
                .map(|core| {
                    let version = structure.state.keyspaces[&core.id].version.clone();
                    (core.clone(), core.view(), version)
                })
                .collect()
        };
        for (core, view, version) in views {
            for level in 0..LEVELS {
                let metas = version.level(level);
                for table in view.levels[level].iter() {
                    let summary = table.summary();
                    let name = FileName::Table(summary.id);
                    let meta =
                        metas.iter().find(|meta| meta.id == summary.id).ok_or_else(|| {
                            Error::corrupt(name, 0, "level of a table", format!("L{level}"), "none")
                        })?;
                    meta.compare(core.id, summary)
                        .map_err(|error| error.context(format_args!("keyspace {:?}", core.name)))?;
                    table.verify()?;
                }
            }
        }
        Ok(())
    }
}

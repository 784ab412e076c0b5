//! Which job runs next: the store as a source of jobs.

use std::sync::Arc;

use crate::base::error::{Error, ErrorKind};
use crate::db::health::HealthState;
use crate::db::store::Store;
use crate::env::{Job, JobSource, Lane};

impl JobSource for Store {
    fn next_job(self: Arc<Self>, lane: Lane) -> Option<Box<dyn Job>> {
        self.health.check_reads().ok()?;
        match lane {
            Lane::Flush => self.next_flush().map(|job| Box::new(job) as _),
            Lane::Log => self.next_log_room().map(|job| Box::new(job) as _),
            Lane::Compaction => self.next_compaction().map(|job| Box::new(job) as _),
        }
    }

    fn job_panicked(&self, lane: Lane, message: &str) {
        let text = format!("a {lane:?} job panicked: {message}; reopen the store");
        let error = Error::new(ErrorKind::Poisoned, text);
        self.health.set(HealthState::Poisoned(error.clone()));
        self.queue.refuse_waiting(&error);
        self.env.notify();
    }
}

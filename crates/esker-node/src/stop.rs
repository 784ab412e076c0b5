//! A request to stop: set once by a signal, looked at between requests and inside long ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that is never taken back. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

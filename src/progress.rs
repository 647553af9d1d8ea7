//! How far something has come: the log is durable, the views are up to date. Followers wait for it.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use writ_schemas::ids::Seq;

/// The seq after the last entry that is done, and whether more will come.
#[derive(Debug, Default)]
pub struct Progress {
    at: Mutex<(Seq, bool)>,
    moved: Condvar,
}

impl Progress {
    /// The seq after the last durable entry.
    pub fn next(&self) -> Seq {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether nothing will be added any more.
    pub fn is_closed(&self) -> bool {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Waits until there is something at or after `seq`, the ledger closes, or `patience` is over. Returns the seq after the
    /// last durable entry.
    pub fn wait_beyond(&self, seq: Seq, patience: Duration) -> Seq {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.moved.wait_timeout_while(at, patience, |(next, closed)| *next <= seq && !*closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.0
    }

    /// Waits until nothing will be added any more, or `patience` is over.
    pub fn wait_closed(&self, patience: Duration) {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.moved.wait_timeout_while(at, patience, |(_, closed)| !*closed); // poisoned or not, the time is over
    }

    pub(crate) fn advance(&self, next: Seq) {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).0 = next;
        self.moved.notify_all();
    }

    pub(crate) fn close(&self) {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.moved.notify_all();
    }
}

//! Says when the collector does not take what it is sent, and when it does again: a line each, however many fail between.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::export::Rejected;
use crate::config::telemetry::Endpoint;
use crate::telemetry::labels::Label;
use crate::telemetry::metrics::Signal;

/// What the collector did with the last of each signal.
#[derive(Debug)]
pub(super) struct Health {
    endpoint: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failing: Vec<Signal>,
    rejecting: Vec<Signal>,
}

impl Health {
    pub(super) fn of(endpoint: &Endpoint) -> Health {
        Health { endpoint: endpoint.to_string(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request failed.
    pub(super) fn fails(&self, signal: Signal, why: &str) {
        let mut state = self.state();
        if state.failing.is_empty() {
            warn!(
                "the collector {} does not take {}: {why}; what finds no room until it does is dropped and counted",
                self.endpoint,
                signal.text()
            );
        }
        if !state.failing.contains(&signal) {
            state.failing.push(signal);
        }
    }

    /// A request did not.
    pub(super) fn works(&self, signal: Signal) {
        let mut state = self.state();
        let before = state.failing.len();
        state.failing.retain(|failing| *failing != signal);
        if before > 0 && state.failing.is_empty() {
            warn!("the collector {} takes everything again", self.endpoint);
        }
    }

    /// Of what it took, it did not take so many.
    pub(super) fn rejects(&self, signal: Signal, rejected: Rejected) {
        let mut state = self.state();
        if rejected == Rejected(0) {
            state.rejecting.retain(|rejecting| *rejecting != signal);
        } else if !state.rejecting.contains(&signal) {
            state.rejecting.push(signal);
            warn!("the collector {} rejects some of the {}", self.endpoint, signal.text());
        }
    }
}

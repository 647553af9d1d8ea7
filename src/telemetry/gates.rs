//! Measures the gates while they are asked.

use writ_kernel::decide::Observer;
use writ_schemas::decision::{Answer, Gate};
use writ_schemas::strict::Refusal;

use super::facts::{GateTime, Interval};
use super::metrics;
use crate::clock::Stopwatch;

/// Measures the gates.
#[derive(Debug)]
pub struct Gates {
    asked: Stopwatch,
    /// Those that were asked.
    pub times: Vec<GateTime>,
}

impl Gates {
    /// None was asked yet.
    #[must_use]
    pub fn new() -> Gates {
        Gates { asked: Stopwatch::start(), times: Vec::with_capacity(8) }
    }
}

impl Default for Gates {
    fn default() -> Gates {
        Gates::new()
    }
}

impl Observer for Gates {
    fn asks(&mut self, _: Gate) {
        self.asked = Stopwatch::start();
    }

    fn answered(&mut self, gate: Gate, answer: &Answer, refusal: Option<&Refusal>) {
        let code = refusal.filter(|_| *answer == Answer::Refused).map(|refusal| refusal.code);
        let took = Interval::since(self.asked);
        metrics::gate(gate, answer, code, took.length());
        self.times.push(GateTime { gate, took, answer: answer.as_str(), code });
    }
}

//! What the writer tells of itself to those who look from outside, while it works and while it stands still.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use writ_kernel::budget::BudgetWalk;
use writ_log::Storage;
use writ_schemas::decision::Verdict;
use writ_schemas::event::Event;
use writ_schemas::ids::{Seq, UnixMicros};

use super::{CLOCK_OFF_MAX, Sequencer};
use crate::clock::{Clock, Reading, Stopwatch};
use crate::telemetry::metrics;

/// How often the writer tells what its state holds.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// How many accounts of budgets it looks at each time: about a millisecond, however many there are. A hundred thousand are seen within half a
/// minute.
const ACCOUNTS_AT_ONCE: usize = 1024;

/// As of the last batch.
#[derive(Debug, Default)]
pub struct Vitals(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    /// When each open execution was decided.
    open: BTreeMap<Seq, UnixMicros>,
    /// What the clocks showed.
    reading: Option<Reading>,
}

/// What the writer tells of its state.
#[derive(Debug, Default)]
pub struct Telling {
    /// When it told last.
    since: Option<Stopwatch>,
    budgets: BudgetWalk,
}

impl Vitals {
    /// Of a ledger with these open executions, by when they were decided.
    #[must_use]
    pub fn of(open: BTreeMap<Seq, UnixMicros>) -> Vitals {
        Vitals(Mutex::new(Last { open, ..Last::default() }))
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch became durable.
    pub(super) fn follow(&self, first: Seq, now: UnixMicros, events: &[Event], reading: Option<Reading>) {
        let mut last = self.last();
        last.reading = reading;
        for (event, seq) in events.iter().zip(first.0..) {
            match event {
                Event::DecisionMade(decision) if decision.value().verdict == Verdict::Pass => {
                    last.open.insert(Seq(seq), now);
                }
                Event::ReceiptIssued(issued) => drop(last.open.remove(&issued.receipt.value().decision_seq)),
                _ => {}
            }
        }
    }

    /// Tells what changes by itself.
    pub fn tell(&self, clock: &Clock) {
        let last = self.last();
        let now = clock.now();
        let age = |decided: &UnixMicros| Duration::from_micros(now.0.saturating_sub(decided.0));
        metrics::executions_open(last.open.len(), last.open.values().next().map_or(Duration::ZERO, age));
        let off = last.reading.zip(clock.reading()).map_or(0, |(last, now)| off(last, now));
        metrics::clock(off, off.unsigned_abs() > CLOCK_OFF_MAX);
    }
}

/// By how many microseconds the wall clock has gained on the time since boot.
fn off(last: Reading, now: Reading) -> i64 {
    let expected = last.wall.plus(now.since_boot_us.saturating_sub(last.since_boot_us));
    let size = i64::try_from(expected.0.abs_diff(now.wall.0)).unwrap_or(i64::MAX);
    if now.wall < expected { -size } else { size }
}

impl<S: Storage + Clone> Sequencer<S> {
    /// Tells what the state holds, now and then, where anybody counts.
    pub(super) fn tell_state(&mut self) {
        let is_time = self.telling.since.is_none_or(|since| since.elapsed() >= TELL_EVERY);
        if !is_time || !metrics::is_installed() {
            return;
        }
        self.telling.since = Some(Stopwatch::start());
        let (state, now) = (&self.state, self.time.peek(&self.state));
        metrics::remembered(state);
        if let Some(used) = self.telling.budgets.step(state, now, ACCOUNTS_AT_ONCE) {
            metrics::budgets(&used);
        }
        let told = |name| (name, (state.stuck(name), state.left_alone_until(name) > now));
        metrics::connectors(&state.connectors_at_work().map(told).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_off_by_what_it_was_set() {
        let at = |since_boot_us, wall| Reading { since_boot_us, wall: UnixMicros(wall) };
        assert_eq!(off(at(5, 100), at(15, 110)), 0);
        assert_eq!(off(at(5, 100), at(15, 113)), 3);
        assert_eq!(off(at(5, 100), at(15, 80)), -30);
    }
}

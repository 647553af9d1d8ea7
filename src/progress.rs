//! How far something has come: the log is durable, the views are up to date. Followers wait for it.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use writ_schemas::ids::Seq;

use crate::clock::Stopwatch;
use crate::telemetry::metrics::Follower;

mod marks;

use marks::Marks;

/// The seq after the last entry that is done, and whether more will come.
#[derive(Debug, Default)]
pub struct Progress {
    at: Mutex<At>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct At {
    next: Seq,
    closed: bool,
    marks: Marks,
    /// The seq after the last entry that each follower has done.
    followers: BTreeMap<Follower, Seq>,
}

/// How far a follower lies behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// So many entries are durable, and not done.
    pub entries: u64,
    /// For how long the oldest of them has been durable, or the ledger been open.
    pub oldest: Duration,
}

impl Progress {
    fn at(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The seq after the last durable entry.
    pub fn next(&self) -> Seq {
        self.at().next
    }

    /// Whether nothing will be added any more.
    pub fn is_closed(&self) -> bool {
        self.at().closed
    }

    /// A follower has done everything below `next`.
    pub(crate) fn done(&self, follower: Follower, next: Seq) {
        self.at().followers.insert(follower, next);
    }

    /// How far each follower lies behind now: it rises while one is stuck, whether or not it says anything.
    pub(crate) fn lags(&self) -> Vec<(Follower, Lag)> {
        let (mut at, now) = (self.at(), Stopwatch::start());
        let slowest = at.followers.values().copied().min().unwrap_or(at.next);
        at.marks.forget(slowest);
        let lag = |done: Seq| match at.next.0.saturating_sub(done.0) {
            0 => Lag { entries: 0, oldest: Duration::ZERO },
            entries => Lag { entries, oldest: at.marks.age(done, now) },
        };
        at.followers.iter().map(|(follower, done)| (*follower, lag(*done))).collect()
    }

    /// Waits until there is something at or after `seq`, the ledger closes, or `patience` is over. Returns the seq after the
    /// last durable entry.
    pub fn wait_beyond(&self, seq: Seq, patience: Duration) -> Seq {
        let waited = self.moved.wait_timeout_while(self.at(), patience, |at| at.next <= seq && !at.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.next
    }

    /// Waits until nothing will be added any more, or `patience` is over.
    pub fn wait_closed(&self, patience: Duration) {
        let _ = self.moved.wait_timeout_while(self.at(), patience, |at| !at.closed); // poisoned or not, the time is over
    }

    pub(crate) fn advance(&self, next: Seq) {
        let mut at = self.at();
        at.next = next;
        at.marks.push(next, Stopwatch::start());
        drop(at);
        self.moved.notify_all();
    }

    pub(crate) fn close(&self) {
        self.at().closed = true;
        self.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_of_a_stuck_follower_grows_by_itself_and_ends_when_it_moves() {
        let progress = Progress::default();
        progress.advance(Seq(5));
        progress.done(Follower::Publisher, Seq(2));
        progress.done(Follower::Metering, Seq(5));
        let lag = |follower| progress.lags().into_iter().find(|(it, _)| *it == follower).map(|(_, lag)| lag);
        let first = lag(Follower::Publisher).expect("it follows");
        std::thread::sleep(Duration::from_millis(2));
        let later = lag(Follower::Publisher).expect("it follows");
        assert_eq!((first.entries, later.entries), (3, 3));
        assert!(later.oldest > first.oldest && first.oldest > Duration::ZERO);
        let none = Some(Lag { entries: 0, oldest: Duration::ZERO });
        assert_eq!(lag(Follower::Metering), none);
        assert_eq!(lag(Follower::ProofGraph), None, "nobody follows");
        progress.advance(Seq(6));
        progress.done(Follower::Publisher, Seq(6));
        assert_eq!(lag(Follower::Publisher), none);
        assert_eq!(lag(Follower::Metering).expect("it follows").entries, 1);
    }
}

//! When what became durable: how long the oldest entry has waited for a follower that is stuck.

use std::collections::VecDeque;
use std::time::Duration;

use writ_schemas::ids::Seq;

use crate::clock::Stopwatch;

/// A minute of batches at a hundred a second, without loss; what waits longer is known less exactly.
const MARKS_MAX: usize = 8192;

/// Entries below a seq, durable since a moment at the latest. Rising in both.
#[derive(Debug, Default)]
pub(super) struct Marks(VecDeque<(Seq, Stopwatch)>);

impl Marks {
    /// All entries below `next` are durable since then.
    pub(super) fn push(&mut self, next: Seq, since: Stopwatch) {
        if self.0.len() >= MARKS_MAX {
            self.thin();
        }
        self.0.push_back((next, since));
    }

    /// Makes one of two, which says of both that they have been durable for as long as the older one.
    fn thin(&mut self) {
        let mut marks = std::mem::take(&mut self.0).into_iter();
        while let Some((first, since)) = marks.next() {
            self.0.push_back((marks.next().map_or(first, |(next, _)| next), since));
        }
    }

    /// Nobody asks any more about entries below `next`.
    pub(super) fn forget(&mut self, next: Seq) {
        while self.0.front().is_some_and(|(mark, _)| *mark <= next) {
            self.0.pop_front();
        }
    }

    /// For how long this entry has been durable by then.
    pub(super) fn age(&self, seq: Seq, now: Stopwatch) -> Duration {
        let at = self.0.partition_point(|(mark, _)| *mark <= seq);
        self.0.get(at).map_or(Duration::ZERO, |(_, since)| since.until(&now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moments, each later than the one before.
    fn moments<const N: usize>() -> [Stopwatch; N] {
        std::array::from_fn(|_| {
            let before = Stopwatch::start();
            loop {
                let now = Stopwatch::start();
                if !before.until(&now).is_zero() {
                    return now;
                }
            }
        })
    }

    #[test]
    fn the_age_is_that_of_the_entry_not_of_the_newest() {
        let [first, second, now] = moments();
        let mut marks = Marks::default();
        marks.push(Seq(10), first);
        marks.push(Seq(20), second);
        assert_eq!(marks.age(Seq(9), now), first.until(&now));
        assert_eq!(marks.age(Seq(10), now), second.until(&now));
        assert_ne!(first.until(&now), second.until(&now));
        assert_eq!(marks.age(Seq(20), now), Duration::ZERO, "it is not durable yet");
        marks.forget(Seq(10));
        assert_eq!(marks.0.len(), 1);
        assert_eq!(marks.age(Seq(10), now), second.until(&now));
    }

    #[test]
    fn however_long_a_follower_is_stuck_its_oldest_entry_is_known_and_the_memory_is_bounded() {
        let [first, second, now] = moments();
        let mut marks = Marks::default();
        marks.push(Seq(1), first);
        for next in 2..100_000 {
            marks.push(Seq(next), second);
        }
        assert!(marks.0.len() <= MARKS_MAX);
        assert_eq!(marks.age(Seq(0), now), first.until(&now), "the first mark is kept");
        assert!(marks.0.iter().zip(marks.0.iter().skip(1)).all(|(a, b)| a.0 < b.0));
    }
}

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
    /// All entries below `next` are durable now.
    pub(super) fn push(&mut self, next: Seq) {
        if self.0.len() >= MARKS_MAX {
            self.thin();
        }
        self.0.push_back((next, Stopwatch::start()));
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

    /// For how long this entry has been durable.
    pub(super) fn age(&self, seq: Seq) -> Duration {
        let at = self.0.partition_point(|(mark, _)| *mark <= seq);
        self.0.get(at).map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause() {
        std::thread::sleep(Duration::from_millis(2));
    }

    #[test]
    fn the_age_is_that_of_the_entry_not_of_the_newest() {
        let mut marks = Marks::default();
        marks.push(Seq(10));
        pause();
        marks.push(Seq(20));
        assert!(marks.age(Seq(9)) > marks.age(Seq(10)));
        assert!(marks.age(Seq(10)) > Duration::ZERO);
        assert_eq!(marks.age(Seq(20)), Duration::ZERO, "it is not durable yet");
        marks.forget(Seq(10));
        assert_eq!(marks.0.len(), 1);
        assert!(marks.age(Seq(10)) > Duration::ZERO);
    }

    #[test]
    fn however_long_a_follower_is_stuck_its_oldest_entry_is_known_and_the_memory_is_bounded() {
        let mut marks = Marks::default();
        marks.push(Seq(1));
        pause();
        let since = Stopwatch::start();
        for next in 2..100_000 {
            marks.push(Seq(next));
        }
        assert!(marks.0.len() <= MARKS_MAX);
        assert!(marks.age(Seq(0)) > since.elapsed(), "the first mark is kept");
        assert!(marks.0.iter().zip(marks.0.iter().skip(1)).all(|(a, b)| a.0 < b.0));
    }
}

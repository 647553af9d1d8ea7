//! The bounded queue in front of the one writer: the back-pressure of the whole system.
//!
//! Three lanes. What comes from outside is bounded in number and bytes, and waits while too many executions are open. What people
//! and executors outside answer is bounded alike, but is not held back: it is what ends such executions. What the executor reports
//! is bounded by the calls under way, and never waits: otherwise the two could wait for each other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod lane;

use lane::Lane;
pub use lane::Waiting;

/// The most inputs from outside that wait: a few batches.
pub const OUTSIDE_MAX: usize = 8192;

/// The most bytes from outside that wait: 32 MiB, so that large intents cannot fill the memory.
pub const OUTSIDE_BYTES_MAX: usize = 32 << 20;

/// The most answers that wait; as many bytes as from outside.
pub const ANSWERS_MAX: usize = 1024;

/// Why an input was not taken; it is given back.
#[derive(Debug, PartialEq, Eq)]
pub enum NotTaken<T> {
    /// The queue is full.
    Full(T),
    /// The queue is closed.
    Closed(T),
}

impl<T> NotTaken<T> {
    /// The reason alone.
    pub fn reason(self) -> NotTaken<()> {
        match self {
            NotTaken::Full(_) => NotTaken::Full(()),
            NotTaken::Closed(_) => NotTaken::Closed(()),
        }
    }
}

/// What the writer takes in one go.
#[derive(Debug)]
pub struct Taken<T> {
    /// In order: inside first, then answers.
    pub inputs: Vec<T>,
    /// Whether nothing will come any more.
    pub closed: bool,
}

struct Lanes<T> {
    outside: Lane<T>,
    answers: Lane<T>,
    inside: Lane<T>,
    outside_closed: bool,
    closed: bool,
}

/// The queue.
pub struct Queue<T> {
    lanes: Mutex<Lanes<T>>,
    filled: Condvar,
    emptied: Condvar,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        let lanes = Lanes {
            outside: Lane::of(OUTSIDE_MAX),
            answers: Lane::of(ANSWERS_MAX),
            inside: Lane::of(usize::MAX),
            outside_closed: false,
            closed: false,
        };
        Queue { lanes: Mutex::new(lanes), filled: Condvar::new(), emptied: Condvar::new() }
    }
}

impl<T> Queue<T> {
    /// A thread that panicked while it held the lock left whole lanes behind: no operation here stops half-way.
    fn lanes(&self) -> MutexGuard<'_, Lanes<T>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an input of `bytes` into the outside lane if there is room.
    ///
    /// # Errors
    /// Gives it back if the lane is full or closed.
    pub fn offer(&self, input: T, bytes: usize) -> Result<(), NotTaken<T>> {
        self.offer_to(|lanes| &mut lanes.outside, input, bytes)
    }

    /// Puts an answer of `bytes` into the lane of answers if there is room.
    ///
    /// # Errors
    /// Gives it back if the lane is full or closed.
    pub fn answer(&self, input: T, bytes: usize) -> Result<(), NotTaken<T>> {
        self.offer_to(|lanes| &mut lanes.answers, input, bytes)
    }

    fn offer_to(
        &self,
        lane: impl FnOnce(&mut Lanes<T>) -> &mut Lane<T>,
        input: T,
        bytes: usize,
    ) -> Result<(), NotTaken<T>> {
        let mut lanes = self.lanes();
        if lanes.outside_closed {
            return Err(NotTaken::Closed(input));
        }
        let lane = lane(&mut lanes);
        if lane.is_full(bytes) {
            return Err(NotTaken::Full(input));
        }
        lane.push(input, bytes);
        self.filled.notify_one();
        Ok(())
    }

    /// Puts an input of `bytes` into the outside lane, waiting for room.
    ///
    /// # Errors
    /// Gives it back if the lane is closed.
    pub fn put(&self, input: T, bytes: usize) -> Result<(), NotTaken<T>> {
        let mut lanes = self.lanes();
        while !lanes.outside_closed && lanes.outside.is_full(bytes) {
            lanes = self.emptied.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
        if lanes.outside_closed {
            return Err(NotTaken::Closed(input));
        }
        lanes.outside.push(input, bytes);
        self.filled.notify_one();
        Ok(())
    }

    /// Puts an input into the inside lane. Lost if the queue is closed: opening finds out what became of it.
    pub fn report(&self, input: T) {
        let mut lanes = self.lanes();
        if !lanes.closed {
            lanes.inside.push(input, 0);
            self.filled.notify_one();
        }
    }

    /// Puts an input from outside that must not wait behind the others into the inside lane: what operators say is meant to
    /// stop the very load that fills the outside lane.
    ///
    /// # Errors
    /// Gives it back if the queue is closed, or the lane holds more than a writer at work ever leaves in it.
    pub fn urge(&self, input: T) -> Result<(), NotTaken<T>> {
        let mut lanes = self.lanes();
        if lanes.outside_closed {
            return Err(NotTaken::Closed(input));
        }
        if lanes.inside.len() >= OUTSIDE_MAX {
            return Err(NotTaken::Full(input));
        }
        lanes.inside.push(input, 0);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes what waits, at most `count_max` inputs and about `bytes_max` bytes of answers and from outside; waits at most `patience` for
    /// the first. `outside` says whether inputs from outside may be taken now.
    pub fn take(&self, count_max: usize, bytes_max: usize, outside: bool, patience: Duration) -> Taken<T> {
        let mut lanes = self.lanes();
        // What waited when the queue was closed is handed out, whatever holds it back: nobody is coming after it.
        let outside = outside || lanes.closed;
        if lanes.nothing_for(outside) && !lanes.closed {
            lanes = self.filled.wait_timeout(lanes, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        let (mut inputs, mut bytes) = (Vec::new(), 0);
        lanes.inside.take(&mut inputs, count_max, &mut bytes, bytes_max);
        lanes.answers.take(&mut inputs, count_max, &mut bytes, bytes_max);
        if outside {
            lanes.outside.take(&mut inputs, count_max, &mut bytes, bytes_max);
        }
        let closed = lanes.closed && lanes.nothing_for(true);
        self.emptied.notify_all();
        Taken { inputs, closed }
    }

    /// Takes nothing more from outside. What waits already is still handed out.
    pub fn close_outside(&self) {
        self.lanes().outside_closed = true;
        self.emptied.notify_all();
    }

    /// Whether nothing more is taken from outside: the end is near.
    pub fn is_closing(&self) -> bool {
        self.lanes().outside_closed
    }

    /// Takes nothing more at all. What waits already is still handed out.
    pub fn close(&self) {
        let mut lanes = self.lanes();
        lanes.outside_closed = true;
        lanes.closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    /// Takes nothing more at all, and drops what waits: nobody will take it any more, and whoever waits for its answer must
    /// hear that none comes.
    pub fn abandon(&self) {
        let mut lanes = self.lanes();
        lanes.outside_closed = true;
        lanes.closed = true;
        let waiting = (lanes.outside.clear(), lanes.answers.clear(), lanes.inside.clear());
        self.filled.notify_all();
        self.emptied.notify_all();
        drop(lanes);
        drop(waiting); // answers wake others, which may come back here
    }

    /// What waits: from outside, of answers, from inside.
    pub fn waiting(&self) -> [Waiting; 3] {
        let lanes = self.lanes();
        [lanes.outside.waiting(), lanes.answers.waiting(), lanes.inside.waiting()]
    }

    /// How many inputs wait.
    pub fn len(&self) -> usize {
        let lanes = self.lanes();
        lanes.outside.len() + lanes.answers.len() + lanes.inside.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Lanes<T> {
    fn nothing_for(&self, outside: bool) -> bool {
        let held = !outside || self.outside.is_empty();
        self.inside.is_empty() && self.answers.is_empty() && held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn inside_goes_first_and_outside_can_be_held_back() {
        let queue = Queue::default();
        assert_eq!(queue.offer(1, 1), Ok(()));
        queue.report(2);
        assert_eq!(queue.take(10, 10, false, NOW).inputs, [2]);
        assert_eq!(queue.take(10, 10, true, NOW).inputs, [1]);
    }

    #[test]
    fn what_waits_is_weighed_and_the_oldest_of_it_ages() {
        let queue = Queue::default();
        for (n, bytes) in [(1, 10), (2, 20)] {
            assert_eq!(queue.offer(n, bytes), Ok(()));
            std::thread::sleep(Duration::from_millis(2));
        }
        queue.report(3);
        let [outside, answers, inside] = queue.waiting();
        assert_eq!((outside.inputs, outside.bytes), (2, 30));
        assert_eq!(answers, Waiting::default());
        assert_eq!((inside.inputs, inside.bytes), (1, 0));
        assert!(queue.waiting()[0].oldest > outside.oldest && outside.oldest > Duration::from_millis(2));
        assert_eq!(queue.take(2, 10, true, NOW).inputs, [3, 1]);
        let [later, ..] = queue.waiting();
        assert_eq!((later.inputs, later.bytes), (1, 20));
        assert!(later.oldest > Duration::ZERO);
    }

    #[test]
    fn a_full_lane_gives_back() {
        let queue = Queue::default();
        assert_eq!(queue.offer(1, OUTSIDE_BYTES_MAX * 2), Ok(()), "one too large passes alone");
        assert_eq!(queue.offer(2, 1), Err(NotTaken::Full(2)));
        assert_eq!(queue.take(10, 10, true, NOW).inputs, [1]);
        for n in 0..OUTSIDE_MAX {
            assert_eq!(queue.offer(n, 1), Ok(()));
        }
        assert_eq!(queue.offer(2, 1), Err(NotTaken::Full(2)));
    }

    #[test]
    fn what_is_abandoned_is_dropped_and_nobody_waits_for_room() {
        let queue = Queue::default();
        let witness = std::sync::Arc::new(());
        assert_eq!(queue.offer(std::sync::Arc::clone(&witness), OUTSIDE_BYTES_MAX), Ok(()));
        queue.report(std::sync::Arc::clone(&witness));
        std::thread::scope(|scope| {
            let put = scope.spawn(|| queue.put(std::sync::Arc::default(), 1).is_err());
            std::thread::sleep(Duration::from_millis(10));
            queue.abandon();
            assert!(put.join().expect("no panic"), "it was given back");
        });
        assert_eq!(std::sync::Arc::strong_count(&witness), 1);
        assert!(queue.is_empty() && queue.take(10, 10, true, NOW).closed);
    }

    #[test]
    fn answers_are_bounded_and_not_held_back() {
        let queue = Queue::default();
        assert_eq!(queue.offer(0, 1), Ok(()));
        for n in 1..=ANSWERS_MAX {
            assert_eq!(queue.answer(n, 1), Ok(()));
        }
        assert_eq!(queue.answer(7, 1), Err(NotTaken::Full(7)));
        queue.report(5000);
        assert_eq!(queue.take(3, 10, false, NOW).inputs, [5000, 1, 2]);
        assert_eq!(queue.take(2000, 2000, false, NOW).inputs.len(), ANSWERS_MAX - 2);
        assert!(queue.take(10, 10, false, NOW).inputs.is_empty(), "what is held back waits");
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn closing_hands_out_what_waits() {
        let queue = Queue::default();
        assert_eq!(queue.offer(1, 1), Ok(()));
        queue.close();
        assert_eq!(queue.offer(2, 1), Err(NotTaken::Closed(2)));
        let held_back = queue.take(10, 10, false, NOW);
        assert_eq!((held_back.inputs, held_back.closed), (vec![1], true));
    }

    #[test]
    fn what_is_urgent_waits_behind_nothing_from_outside() {
        let queue = Queue::default();
        for n in 0..OUTSIDE_MAX {
            assert_eq!(queue.offer(n, 1), Ok(()));
        }
        assert_eq!(queue.urge(OUTSIDE_MAX), Ok(()));
        assert_eq!(queue.take(10, 10, false, NOW).inputs, [OUTSIDE_MAX]);
        for n in 0..OUTSIDE_MAX {
            assert_eq!(queue.urge(n), Ok(()));
        }
        assert_eq!(queue.urge(1), Err(NotTaken::Full(1)), "it has a limit of its own");
        queue.close_outside();
        assert_eq!(queue.urge(1), Err(NotTaken::Closed(1)));
    }
}

//! Until when what waits may still be sent.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Stopwatch;

/// A time that ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    since: Stopwatch,
    within: Duration,
}

impl Deadline {
    /// So long from now.
    pub(super) fn within(within: Duration) -> Deadline {
        Deadline { since: Stopwatch::start(), within }
    }

    /// What is left of it.
    pub(super) fn remaining(self) -> Duration {
        self.within.saturating_sub(self.since.elapsed())
    }
}

/// Begins the end.
#[derive(Debug)]
pub(super) struct Begin(watch::Sender<Option<Deadline>>);

impl Begin {
    pub(super) fn begin(&self, deadline: Deadline) {
        self.0.send_replace(Some(deadline));
    }
}

/// Whether the end has begun, and when it is there.
#[derive(Clone, Debug)]
pub(super) struct Stop(watch::Receiver<Option<Deadline>>);

pub(super) fn pair() -> (Begin, Stop) {
    let (begin, stop) = watch::channel(None);
    (Begin(begin), Stop(stop))
}

impl Stop {
    /// What is left, once the end has begun.
    pub(super) fn remaining(&self) -> Option<Duration> {
        self.0.borrow().map(Deadline::remaining)
    }

    /// Waits until the end begins.
    pub(super) async fn begun(&self) -> Deadline {
        let mut watched = self.0.clone();
        let begun = watched.wait_for(Option::is_some).await.ok().and_then(|begun| *begun);
        // Whoever would begin it is gone: there is no time left.
        begun.unwrap_or_else(|| Deadline::within(Duration::ZERO))
    }

    /// Waits until the end is there.
    pub(super) async fn expired(&self) {
        let deadline = self.begun().await;
        let remaining = deadline.remaining();
        // A timer is not due at once, even if there is nothing to wait for.
        if remaining > Duration::ZERO {
            tokio::time::sleep(remaining).await;
        }
    }
}

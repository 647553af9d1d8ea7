//! The only reader of time.
#![allow(clippy::disallowed_methods, reason = "this is the module that may")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use writ_schemas::ids::UnixMicros;

/// Wall time, or a time that a test sets.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    Wall,
    /// A time that only moves when told.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A manual clock that stands at `at`.
    #[must_use]
    pub fn manual(at: UnixMicros) -> Clock {
        Clock::Manual(Arc::new(AtomicU64::new(at.0)))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> UnixMicros {
        match self {
            Clock::Wall => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
            }
            Clock::Manual(at) => UnixMicros(at.load(Ordering::SeqCst)),
        }
    }
}

/// A moment on the monotonic clock, for measuring how long things take.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

//! The only reader of time.
#![allow(clippy::disallowed_methods, reason = "this is the module that may")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use writ_schemas::ids::UnixMicros;

/// Wall time, or a time that a test sets.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    Wall,
    /// A time that only moves when told.
    Manual(Arc<AtomicU64>),
}

/// What a date in a header of HTTP says, in any of its three forms (RFC 9110, 5.6.7).
#[must_use]
pub fn http_date(text: &str) -> Option<UnixMicros> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_micros()).ok().map(UnixMicros)
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

    /// The time now beside the time since boot; nothing for a clock that is set by hand anyway, or where the operating system
    /// does not tell.
    #[must_use]
    pub fn reading(&self) -> Option<Reading> {
        match self {
            Clock::Wall => Some(Reading { since_boot_us: since_boot()?, wall: self.now() }),
            Clock::Manual(_) => None,
        }
    }
}

/// What two clocks showed at one time: the wall clock, which can be set, and one that cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// Microseconds since the machine booted, those that it slept among them.
    pub since_boot_us: u64,
    /// The wall clock.
    pub wall: UnixMicros,
}

#[cfg(target_os = "linux")]
fn since_boot() -> Option<u64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_nsec).ok()?);
    seconds.checked_mul(1_000_000)?.checked_add(nanos / 1_000)
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Option<u64> {
    None
}

/// What names the time since the machine booted last; nothing where the operating system does not tell.
#[must_use]
pub fn boot() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let read = || std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned());
    BOOT.get_or_init(read).as_deref()
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

    /// The time from its start to that of a later one.
    #[must_use]
    pub fn until(&self, later: &Stopwatch) -> Duration {
        later.0.saturating_duration_since(self.0)
    }
}

/// What the wall clock showed at moments of this process, by what it shows now.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    wall: SystemTime,
    at: Instant,
}

impl Anchor {
    /// By the clocks now.
    #[must_use]
    pub fn now() -> Anchor {
        Anchor { wall: SystemTime::now(), at: Instant::now() }
    }

    /// What the wall clock showed then.
    #[must_use]
    pub fn wall_at(&self, moment: Stopwatch) -> SystemTime {
        let before = self.at.checked_duration_since(moment.0).and_then(|since| self.wall.checked_sub(since));
        before.unwrap_or_else(|| self.wall + moment.0.saturating_duration_since(self.at))
    }
}

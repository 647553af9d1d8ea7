//! Hours, days, months and steps, in UTC, by counting.

use crate::documents::Time;
use crate::policy::Window;

const MINUTE: u64 = 60_000_000;
const HOUR: u64 = 60 * MINUTE;
/// A day, in microseconds.
pub const DAY: u64 = 24 * HOUR;

/// From a minute of the day until just before another, on some days of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Monday is 0.
    pub days: Vec<u64>,
    /// Minutes since midnight.
    pub from: u64,
    /// Minutes since midnight, up to 1440.
    pub to: u64,
}

/// Whether a time is in one of the spans.
#[must_use]
pub fn in_hours(spans: &[Span], now: Time) -> bool {
    let (weekday, minute) = (weekday(now), now % DAY / MINUTE);
    spans.iter().any(|span| span.days.contains(&weekday) && span.from <= minute && minute < span.to)
}

/// The day of the week; Monday is 0. The first day of 1970 was a Thursday.
#[must_use]
pub fn weekday(now: Time) -> u64 {
    (now / DAY + 3) % 7
}

/// From when until when what is taken now counts; nothing where it counts for ever.
#[must_use]
pub fn counts(window: Window, now: Time) -> Option<(Time, Time)> {
    let whole = |length: u64| (now / length * length, now / length * length + length);
    match window {
        Window::Total => None,
        Window::Hour => Some(whole(HOUR)),
        Window::Day => Some(whole(DAY)),
        Window::Month => Some(month(now)),
        Window::Rolling(length) => {
            let (since, end_of_step) = whole(length / 32);
            Some((since, end_of_step + length))
        }
    }
}

/// The month around a time, by counting months since 1970.
fn month(now: Time) -> (Time, Time) {
    let mut start = 0;
    for year in 1970.. {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        for days in [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            let end = start + days * DAY;
            if now < end {
                return (start, end);
            }
            start = end;
        }
    }
    (start, start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_like_a_calendar() {
        // 2026-02-28T23:59:59.999999Z, a Saturday; then March begins.
        let last = 1_772_323_200_000_000 - 1;
        assert_eq!(weekday(last), 5);
        assert_eq!(month(last), (1_769_904_000_000_000, last + 1));
        assert_eq!(month(last + 1), (last + 1, 1_775_001_600_000_000));
        assert_eq!(counts(Window::Rolling(3200), 9_999), Some((9_900, 13_200)));
        let spans = [Span { days: vec![5], from: 1439, to: 1440 }];
        assert!(in_hours(&spans, last) && !in_hours(&spans, last + 1));
    }
}

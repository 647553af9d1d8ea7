//! A UTC day, counted from 1970-01-01, and its civil date by integer arithmetic.

use std::fmt;

use bincode::{Decode, Encode};
use serde::{Serialize, Serializer};
use writ_schemas::ids::UnixMicros;

const MICROS_PER_DAY: u64 = 24 * 3_600 * 1_000_000;

/// Days since 1970-01-01, UTC. Leap seconds do not exist in Unix time, so every day has the same length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Day(pub u64);

impl Day {
    /// The day that a time lies in.
    #[must_use]
    pub fn of(at: UnixMicros) -> Day {
        Day(at.0 / MICROS_PER_DAY)
    }

    /// Year, month and day of the month in the proleptic Gregorian calendar.
    ///
    /// Years are counted from 1 March here, so that the leap day is the last of its year, and in eras of 400 years, which
    /// all have 146097 days (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    fn civil(self) -> (u64, u64, u64) {
        /// From 0000-03-01 to 1970-01-01.
        const EPOCH: u64 = 719_468;
        let days = self.0.saturating_add(EPOCH);
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        (year, month, day)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        for (days, date) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (789, "1972-02-29"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_453, "2025-12-31"),
            (20_454, "2026-01-01"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(Day(days).to_string(), date, "{days}");
        }
        assert_eq!(Day::of(UnixMicros(MICROS_PER_DAY - 1)), Day(0));
        assert_eq!(Day::of(UnixMicros(MICROS_PER_DAY)), Day(1));
    }

    #[test]
    fn days_follow_each_other_through_two_eras() {
        let mut expected = (1970, 1, 1);
        for days in 0..300_000 {
            assert_eq!(Day(days).civil(), expected);
            let (year, month, day) = expected;
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, day) if day == length => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
    }

    #[test]
    fn the_end_of_time_has_a_date() {
        assert_eq!(Day::of(UnixMicros(u64::MAX)).to_string(), "586524-01-19");
    }
}

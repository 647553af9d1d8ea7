//! When an action may be asked for, and how often.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The limits of a rule, or the signed reason why there are none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// Each of these holds.
    Limits(Limits),
    /// None, for this reason.
    Exempt(String),
}

/// When, how often, and how soon after refusals. At least one of them is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Pauses after refusals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cool_down: Option<CoolDown>,
    /// Allowed hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// The rate of each principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// Spans of the week in a time zone; it is allowed in any of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// The spans, as a clock on the wall there shows them.
    pub spans: Vec<Span>,
    /// The zone's name in the IANA time zone database: `Europe/Berlin`, `UTC`.
    pub zone: String,
}

/// From a time of day until another, on some days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// The days.
    pub days: BTreeSet<Weekday>,
    /// From this minute on.
    pub from: TimeOfDay,
    /// Until just before this minute, on the same day.
    pub to: TimeOfDay,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "their names say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Minutes since midnight: `00:00` to `24:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// The minutes since midnight, 0 to 1440.
    #[must_use]
    pub fn minutes(self) -> u16 {
        self.0
    }
}

/// A text that is not `00:00` to `24:00`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time of day from 00:00 to 24:00")]
pub struct NotATime;

impl FromStr for TimeOfDay {
    type Err = NotATime;
    fn from_str(text: &str) -> Result<TimeOfDay, NotATime> {
        let digits = |text: &str| match text.as_bytes() {
            [b'0'..=b'9', b'0'..=b'9'] => text.parse::<u16>().map_err(|_| NotATime),
            _ => Err(NotATime),
        };
        let (hours, minutes) = text.split_once(':').ok_or(NotATime)?;
        let (hours, minutes) = (digits(hours)?, digits(minutes)?);
        let all = hours.saturating_mul(60).saturating_add(minutes);
        if minutes < 60 && all <= 24 * 60 { Ok(TimeOfDay(all)) } else { Err(NotATime) }
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<TimeOfDay, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// How often a principal may ask for an action: an even rate, and how many it may ask for at once after a pause (the generic
/// cell rate algorithm, ITU-T I.371).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many at once after a pause.
    pub burst: u32,
    /// How many in [`Rate::per_us`].
    pub count: u32,
    /// In how long, in microseconds.
    pub per_us: u64,
}

/// Pauses that grow while a principal keeps being refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoolDown {
    /// After how many refusals in a row the first pause comes.
    pub after: u32,
    /// How long each pause is, in microseconds; the last one is repeated.
    pub steps_us: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_four_digits() {
        for (text, minutes) in [("00:00", 0), ("09:30", 570), ("23:59", 1439), ("24:00", 1440)] {
            let time: TimeOfDay = text.parse().expect("a time");
            assert_eq!((time.minutes(), time.to_string().as_str()), (minutes, text));
        }
        for text in ["", "9:30", "09:3", "09:60", "24:01", "25:00", "+9:30", "09:30:00", "0930", "09: 0", "0٩:30"] {
            assert_eq!(text.parse::<TimeOfDay>(), Err(NotATime), "{text}");
        }
    }
}

//! Amounts, rates and pauses, found by going over the past.

use crate::documents::{Amount, Time, Word};
use crate::policy::{CoolDown, Rate};

/// An amount that a `PASS` took, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The decision.
    pub decision: u64,
    /// Whose.
    pub tenant: Word,
    /// How much of what.
    pub amount: Amount,
    /// What became of it.
    pub fate: Fate,
}

/// What became of an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet.
    Reserved,
    /// It is spent.
    Committed,
    /// It is free again.
    Released,
}

impl Taken {
    /// Whether it still counts.
    #[must_use]
    pub fn counts(&self, now: Time) -> bool {
        self.fate != Fate::Released && self.amount.until.is_none_or(|until| now < until)
    }
}

/// Something that matters to how a principal may ask for an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The tenant.
    pub tenant: Word,
    /// The principal.
    pub principal: Word,
    /// The action.
    pub action: Word,
    /// When.
    pub at: Time,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The temporal gate let an intent pass, at this rate.
    Counted(Rate),
    /// A later gate refused, with these pauses in force.
    Refused(CoolDown),
    /// A `PASS`.
    Passed,
}

/// How long one intent of a rate takes, in microseconds: rounded up, or more than `count` would fit.
#[must_use]
pub fn interval(rate: Rate) -> u64 {
    rate.per_us.div_ceil(u64::from(rate.count))
}

/// Until when the rate is used up by what was counted (the theoretical arrival time).
#[must_use]
pub fn paced_until<'a>(past: impl Iterator<Item = &'a Moment>) -> Time {
    past.fold(0, |until, moment| match &moment.what {
        What::Counted(rate) => until.max(moment.at) + interval(*rate),
        What::Refused(_) | What::Passed => until,
    })
}

/// Whether one more fits now: not more than `burst` at once.
#[must_use]
pub fn fits(rate: Rate, paced_until: Time, now: Time) -> bool {
    paced_until <= now + u64::from(rate.burst.saturating_sub(1)) * interval(rate)
}

/// Until when the principal pauses.
#[must_use]
pub fn cooling_until<'a>(past: impl Iterator<Item = &'a Moment>) -> Time {
    let (mut in_a_row, mut forgotten_at, mut until) = (0_u32, 0, 0);
    for moment in past {
        match &moment.what {
            What::Counted(_) => {}
            What::Passed => (in_a_row, until) = (0, 0),
            What::Refused(pauses) => {
                in_a_row = if forgotten_at <= moment.at { 1 } else { in_a_row + 1 };
                if let Some(step) = in_a_row.checked_sub(pauses.after) {
                    let step = usize::try_from(step).unwrap_or(usize::MAX).min(pauses.steps_us.len() - 1);
                    until = moment.at + pauses.steps_us.get(step).copied().unwrap_or(0);
                }
                // While it pauses nothing of it can be refused, so the time without a refusal begins when the pause ends:
                // otherwise the last pause could never come again.
                forgotten_at = until.max(moment.at) + pauses.steps_us.iter().max().copied().unwrap_or(0);
            }
        }
    }
    until
}

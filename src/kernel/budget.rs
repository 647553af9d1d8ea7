//! Budgets: what is reserved at the decision, committed or released at the receipt; several at once, in windows of time.
//!
//! An amount is taken out of an *account*: a budget of a tenant, or the share of a principal or action in it, in a window.
//! It says itself from when until when it counts, so what a window is matters only when it is taken.

use std::collections::BTreeMap;

use bincode::Encode;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;

use writ_schemas::decision::{Amount, Answer, BudgetFact, Facts};
use writ_schemas::errors::Code;
use writ_schemas::ids::{Name, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::policy::{Budget, Cost, Mode, Share, Spend, Spends, Window};
use writ_schemas::several::Several;
use writ_schemas::strict::{INTEGER_MAX, Refusal};

use crate::apply::Fault;
use crate::decide::Case;
use crate::policy::Policy;
use crate::state::{Expiring, State};
use crate::temporal::{PACE_MAX_US, Zones, note_zone, wall};

const HOUR_US: u64 = 3_600_000_000;

/// A rolling window moves in so many steps.
const STEPS: u64 = 32;

/// The shortest rolling window, in microseconds.
const ROLLING_MIN_US: u64 = 1_000_000;

/// The largest limit of a budget whose window ends. A line of a bill sums up a day of them.
const WINDOW_LIMIT_MAX: u64 = 1 << 43;

/// The most that an output may say that something cost: many of them, too, are summed up on one line of a bill.
const ACTUAL_MAX: u64 = WINDOW_LIMIT_MAX;

mod used;

pub use used::{BudgetWalk, Used};

/// The most budgets of a rule.
const SPENDS_MAX: usize = 8;

/// Whose money it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode)]
pub(crate) struct AccountKey {
    pub(crate) tenant: Name,
    pub(crate) budget: Name,
    pub(crate) principal: Option<Name>,
    pub(crate) action: Option<Name>,
    /// The beginning of its window; nothing where that never ends.
    pub(crate) since: Option<UnixMicros>,
    /// Its end: under another policy a longer or shorter window may begin at the same time.
    pub(crate) until: Option<UnixMicros>,
}

impl AccountKey {
    fn of(tenant: &Name, amount: &Amount) -> AccountKey {
        AccountKey {
            tenant: tenant.clone(),
            budget: amount.budget.clone(),
            principal: amount.principal.clone(),
            action: amount.action.clone(),
            since: amount.since,
            until: amount.until,
        }
    }

    /// Whether it is over at this time.
    fn is_over(&self, now: UnixMicros) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Whether it is of a tenant as a whole, for ever.
    pub(crate) fn is_plain(&self) -> bool {
        self.principal.is_none() && self.action.is_none() && self.since.is_none()
    }
}

/// What was taken out of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode)]
pub(crate) struct Account {
    pub(crate) reserved: u64,
    pub(crate) committed: u64,
}

/// The accounts of all budgets.
pub(crate) type Accounts = BTreeMap<AccountKey, Account>;

/// What a reservation is settled by: the integers that the output says where the rule asks for them, what was reserved
/// otherwise. More than was reserved is overdrawn.
///
/// `output` is what is kept beside the receipt, so that whoever has the log can tell what was charged.
pub(crate) fn charges(reservation: &Several<Amount>, output: Option<&[u8]>) -> Several<Amount> {
    let asked = reservation.iter().any(|it| it.actual.is_some());
    let said: Option<Value> = output.filter(|_| asked).and_then(|output| serde_json::from_slice(output).ok());
    let charge = |reserved: &Amount| {
        let said = said.as_ref().zip(reserved.actual.as_ref()).and_then(|(said, key)| said.get(key)?.as_u64());
        let amount = said.filter(|it| *it <= ACTUAL_MAX).unwrap_or(reserved.amount);
        let overdrawn = amount.checked_sub(reserved.amount).filter(|more| *more > 0);
        Amount { actual: None, amount, overdrawn, ..reserved.clone() }
    };
    reservation.iter().map(charge).collect()
}

/// The gate: each budget must hold.
pub(crate) fn ask(case: &Case<'_>, facts: &Facts) -> Result<Answer, Refusal> {
    let (policy, rule) = case.rules()?;
    if let Mode::Disabled(why) = &policy.bundle().gates.budget {
        return Ok(Answer::Disabled(why.clone()));
    }
    if let Spends::Exempt(why) = &rule.spends {
        return Ok(Answer::Exempt(why.clone()));
    }
    if facts.budget.is_empty() || facts.budget.len() != rule.spends.each().len() {
        return Err(Refusal::new(Code::BudgetError, "a budget is not in the policy"));
    }
    facts.budget.iter().try_for_each(holds)?;
    Ok(Answer::Passed)
}

fn holds(fact: &BudgetFact) -> Result<(), Refusal> {
    let BudgetFact { name, unit, limit, reserved, committed, .. } = fact;
    let Some(cost) = fact.cost else {
        let why = format!("what it costs of {name} is not an integer that is not negative");
        return Err(Refusal::new(Code::BudgetError, why));
    };
    let after = reserved.checked_add(*committed).and_then(|spent| spent.checked_add(cost));
    if after.is_none_or(|after| after > *limit) {
        return Err(Refusal::new(
            Code::BudgetExceeded,
            format!("{cost} {unit} more than {name} can hold: {committed} spent, {reserved} reserved, limit {limit}"),
        ));
    }
    Ok(())
}

/// The budgets that an intent spends, as its rule names them. `spent` says what is reserved and what is committed of each:
/// it is asked with an amount of nothing.
#[must_use]
pub fn facts(
    policy: &Policy,
    intent: &Intent,
    now: UnixMicros,
    spent: impl Fn(&Amount) -> (u64, u64),
) -> Several<BudgetFact> {
    let spends = policy.rule(&intent.action).map_or(&[][..], |rule| rule.spends.each());
    spends.iter().filter_map(|spend| fact(policy, intent, now, spend, &spent)).collect()
}

fn fact(
    policy: &Policy,
    intent: &Intent,
    now: UnixMicros,
    Spend { name, cost, .. }: &Spend,
    spent: &impl Fn(&Amount) -> (u64, u64),
) -> Option<BudgetFact> {
    let budget = policy.bundle().budgets.get(name)?;
    let share = |what, name: &Name| budget.per.contains(&what).then(|| name.clone());
    let window = window(&budget.window, policy.zones(), now);
    let (since, until) = window.unwrap_or_default();
    let nothing = Amount {
        action: share(Share::Action, &intent.action),
        actual: None,
        amount: 0,
        budget: name.clone(),
        overdrawn: None,
        principal: share(Share::Principal, &intent.principal),
        since,
        unit: budget.unit.clone(),
        until,
    };
    let (reserved, committed) = spent(&nothing);
    let cost = match cost {
        Cost::Fixed(cost) => Some(*cost),
        Cost::Arg(key) => intent.args.get(key).and_then(Value::as_u64),
    };
    let Amount { action, budget: name, principal, unit, .. } = nothing;
    let limit = budget.tenants.get(&intent.tenant).copied().unwrap_or(budget.limit);
    // Without a window it cannot be told what is left.
    let cost = cost.filter(|_| window.is_some());
    Some(BudgetFact { action, committed, cost, limit, name, principal, reserved, since, unit, until })
}

/// What a `PASS` with these facts reserves, by the rule that they were looked up for.
pub(crate) fn reservation(facts: &Facts, spends: &Spends) -> Several<Amount> {
    let amounts = facts.budget.iter().zip(spends.each()).filter_map(|(fact, Spend { actual, .. })| {
        let BudgetFact { action, name, principal, since, unit, until, .. } = fact.clone();
        let (actual, amount, budget) = (actual.clone(), fact.cost?, name);
        Some(Amount { action, actual, amount, budget, overdrawn: None, principal, since, unit, until })
    });
    amounts.collect()
}

/// From when until when an amount counts that is taken now. Nothing if no calendar can tell.
fn window(window: &Window, zones: &Zones, now: UnixMicros) -> Option<(Option<UnixMicros>, Option<UnixMicros>)> {
    let (since, until) = match window {
        Window::Total => return Some((None, None)),
        Window::Hour => {
            let since = UnixMicros(now.0 - now.0 % HOUR_US);
            (since, since.plus(HOUR_US))
        }
        Window::Day(zone) => {
            let zone = zones.get(zone)?;
            let day = wall(zone, now)?.date();
            (midnight(day, zone)?, midnight(day.tomorrow().ok()?, zone)?)
        }
        Window::Month(zone) => {
            let zone = zones.get(zone)?;
            let day = wall(zone, now)?.date();
            (midnight(day.first_of_month(), zone)?, midnight(day.last_of_month().tomorrow().ok()?, zone)?)
        }
        Window::RollingUs(long) => {
            let step = long.div_ceil(STEPS).max(1);
            let since = UnixMicros(now.0 - now.0 % step);
            (since, since.plus(step).plus(*long))
        }
    };
    Some((Some(since), Some(until)))
}

/// The first moment of a day there.
fn midnight(day: Date, zone: &TimeZone) -> Option<UnixMicros> {
    let moment = day.to_zoned(zone.clone()).ok()?.timestamp().as_microsecond();
    Some(UnixMicros(u64::try_from(moment).ok()?))
}

impl State {
    /// What is reserved and committed where this amount would be taken from, in all windows that still count: committed at most
    /// 2^53 - 1, which every reader of a decision holds, whatever was overdrawn.
    pub(crate) fn spent(&self, tenant: &Name, amount: &Amount, now: UnixMicros) -> (u64, u64) {
        let key = AccountKey::of(tenant, amount);
        if amount.since.is_none() {
            return self.accounts.get(&key).map_or((0, 0), |account| (account.reserved, account.committed));
        }
        let end = Some(UnixMicros(u64::MAX));
        let first = AccountKey { since: Some(UnixMicros(0)), until: None, ..key.clone() };
        let last = AccountKey { since: end, until: end, ..key };
        let counts = self.accounts.range(first..=last).filter(|(key, _)| !key.is_over(now));
        counts.fold((0, 0), |(reserved, committed), (_, account)| {
            (account.reserved.saturating_add(reserved), commit(account.committed, committed))
        })
    }

    pub(crate) fn reserve(&mut self, tenant: &Name, amount: &Amount) -> Result<(), Fault> {
        let key = AccountKey::of(tenant, amount);
        if let Some(until) = key.until {
            self.expiries.insert((until, Expiring::Account(key.clone())));
        }
        let account = self.accounts.entry(key).or_default();
        account.reserved = account.reserved.checked_add(amount.amount).ok_or(Fault::Account)?;
        Ok(())
    }

    /// Ends a reservation: what was charged is committed, nothing of it is reserved any more.
    pub(crate) fn settle(&mut self, tenant: &Name, amount: &Amount, charged: u64) -> Result<(), Fault> {
        let key = AccountKey::of(tenant, amount);
        let account = self.accounts.get_mut(&key).or_else(|| self.past.get_mut(&key));
        let Some(account) = account else {
            // An amount of nothing keeps no account alive whose window is over.
            return if amount.amount == 0 { Ok(()) } else { Err(Fault::Account) };
        };
        account.reserved = account.reserved.checked_sub(amount.amount).ok_or(Fault::Account)?;
        account.committed = commit(account.committed, charged);
        self.forget_account(&key);
        Ok(())
    }

    /// Forgets an account that counts no more; one from which something is reserved is put away until that is settled.
    pub(crate) fn forget_account(&mut self, key: &AccountKey) {
        if !key.is_over(self.last_at) {
            return;
        }
        let account = self.accounts.remove(key).or_else(|| self.past.remove(key));
        if let Some(account) = account.filter(|account| account.reserved > 0) {
            self.past.insert(key.clone(), account);
        }
    }
}

/// A sum of what was committed. What was overdrawn can bring it to its end, where it stays: nothing that costs passes then.
fn commit(committed: u64, amount: u64) -> u64 {
    committed.saturating_add(amount).min(INTEGER_MAX)
}

/// Checks a budget, and notes the zone that it names.
pub(crate) fn check(budget: &Budget, zones: &mut Zones) -> Result<(), String> {
    let limits = || std::iter::once(&budget.limit).chain(budget.tenants.values());
    if limits().any(|limit| *limit > INTEGER_MAX) {
        return Err("a limit beyond 2^53 - 1".to_owned());
    }
    if !budget.window.is_total() && limits().any(|limit| *limit > WINDOW_LIMIT_MAX) {
        return Err(
            "a limit beyond 2^43 in a window that ends: many of them are summed up on one line of a bill".to_owned()
        );
    }
    if let Some(zone) = budget.window.zone() {
        note_zone(zone, zones)?;
    }
    match &budget.window {
        Window::RollingUs(long) if !(ROLLING_MIN_US..=PACE_MAX_US).contains(long) => {
            Err("a rolling window is 1 second to 31 days long".to_owned())
        }
        Window::RollingUs(_) | Window::Total | Window::Hour | Window::Day(_) | Window::Month(_) => Ok(()),
    }
}

/// Checks what a rule spends.
pub(crate) fn check_spends(budgets: &BTreeMap<Name, Budget>, spends: &Spends) -> Result<(), String> {
    let each = spends.each();
    if matches!(spends, Spends::Budgets(_)) && !(1..=SPENDS_MAX).contains(&each.len()) {
        return Err(format!("spends 1 to {SPENDS_MAX} budgets"));
    }
    for (at, Spend { name, cost, actual }) in each.iter().enumerate() {
        let budget = budgets.get(name).ok_or_else(|| format!("spends {name}, which is not in budgets"))?;
        if matches!(cost, Cost::Fixed(cost) if *cost > INTEGER_MAX) {
            return Err("a cost beyond 2^53 - 1".to_owned());
        }
        for other in each.iter().take(at) {
            if other.name == *name {
                return Err(format!("spends {name} twice"));
            }
            // One use has one quantity in each unit, or a bill could not say which.
            let unit = budgets.get(&other.name).map(|it| &it.unit);
            if unit == Some(&budget.unit) && (&other.cost, &other.actual) != (cost, actual) {
                return Err(format!("{name} and {} count {} but do not cost the same", other.name, budget.unit));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! A bundle, checked and ready to be asked.
//!
//! All that can be known to be wrong with a bundle is known when it is loaded; a rule is found by its action, not by
//! scanning.

use std::collections::BTreeMap;
use std::fmt;

use writ_schemas::canonical;
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, Name};
use writ_schemas::policy::{
    Breaker, Bundle, Connector, ConnectorKind, Escalates, Mode, Requires, Retry, Rule, Spends, Timing,
};
use writ_schemas::strict::Refusal;

use crate::budget;
use crate::escalation;
use crate::expression::{Expression, Expressions};
use crate::outcome;
use crate::requirement::{self, Asks};
use crate::shape::{Shape, Shapes};
use crate::soundness;
use crate::temporal::{self, Zones};

/// The longest wait for a connector: 5 minutes in microseconds.
pub const TIMEOUT_MAX: u64 = 300_000_000;

/// The most attempts of a dispatch.
const ATTEMPTS_MAX: u32 = 16;

/// The longest wait before an attempt, and pause of a breaker: an hour in microseconds.
const PAUSE_MAX: u64 = 3_600_000_000;

/// For how long a connector without room holds partitions of Kafka, where its policy does not say: 5 minutes in microseconds. Most
/// services are back by then, and a record that is refused is not sent again.
pub const HOLD_US: u64 = 300_000_000;

/// The longest that it may: 7 days in microseconds. No intent lives longer.
const HOLD_MAX: u64 = 604_800_000_000;

/// The longest reason for an exemption, in bytes: it stands in every decision that it touches.
pub const REASON_LEN_MAX: usize = 200;

/// A policy bundle that can be put in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    digest: Digest,
    bundle: Bundle,
    by_action: BTreeMap<Name, usize>,
    asks: BTreeMap<Name, Asks>,
    rules: BTreeMap<Name, Digest>,
    expressions: Expressions,
    zones: Zones,
    shapes: BTreeMap<Name, Shapes>,
}

impl Policy {
    /// Checks a bundle and indexes its rules.
    ///
    /// # Errors
    /// `ERR_POLICY_INVALID`, with the place and the fault.
    pub fn compile(bundle: &Bundle) -> Result<Policy, Refusal> {
        let bytes = canonical::bytes(bundle).map_err(|e| invalid("bundle", e))?;
        let gates = &bundle.gates;
        let modes = [&gates.temporal, &gates.proof, &gates.budget, &gates.escalation];
        for (gate, mode) in ["temporal", "proof", "budget", "escalation"].into_iter().zip(modes) {
            if let Mode::Disabled(why) = mode {
                reason(&format!("gates.{gate}"), why)?;
            }
        }
        let (mut expressions, mut zones) = (Expressions::new(), Zones::new());
        for (name, requirement) in &bundle.requirements {
            requirement::compile(requirement, &mut expressions)
                .map_err(|why| invalid(format!("requirements.{name}"), why))?;
            soundness::check(requirement, &expressions).map_err(|why| invalid(format!("requirements.{name}"), why))?;
        }
        for (name, budget) in &bundle.budgets {
            budget::check(budget, &mut zones).map_err(|why| invalid(format!("budgets.{name}"), why))?;
        }
        let mut shapes = BTreeMap::new();
        for (name, connector) in &bundle.connectors {
            let place = |why| invalid(format!("connectors.{name}"), why);
            check_connector(connector).map_err(|why| place(why.to_owned()))?;
            shapes.insert(name.clone(), shapes_of(connector).map_err(place)?);
        }
        let (mut by_action, mut asks, mut rules) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (at, rule) in bundle.rules.iter().enumerate() {
            let place = || format!("rules[{at}] ({})", rule.action);
            check_rule(bundle, rule).map_err(|why| invalid(place(), why))?;
            check_timing(bundle, rule, &mut zones).map_err(|why| invalid(place(), why))?;
            check_escalation(bundle, rule, &mut expressions).map_err(|why| invalid(place(), why))?;
            asks.insert(rule.action.clone(), asks_of(bundle, rule));
            rules.extend(bundle.rule_digest(&rule.action).map(|digest| (rule.action.clone(), digest)));
            if by_action.insert(rule.action.clone(), at).is_some() {
                return Err(invalid(place(), "a second rule for this action"));
            }
        }
        let (digest, bundle) = (Digest::of(&bytes), bundle.clone());
        Ok(Policy { digest, bundle, by_action, asks, rules, expressions, zones, shapes })
    }

    /// The policy hash: the digest of the bundle's canonical JSON.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The bundle.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The rule for an action.
    #[must_use]
    pub fn rule(&self, action: &Name) -> Option<&Rule> {
        self.by_action.get(action).and_then(|at| self.bundle.rules.get(*at))
    }

    /// The digest of the rule for an action, by which answers are bound to it: see [`Bundle::rule_digest`].
    #[must_use]
    pub fn rule_digest(&self, action: &Name) -> Option<Digest> {
        self.rules.get(action).copied()
    }

    /// What the rule of an action looks at.
    pub(crate) fn asks(&self, action: &Name) -> Option<&Asks> {
        self.asks.get(action)
    }

    /// The expressions of its requirements and rules.
    #[must_use]
    pub fn expressions(&self) -> &Expressions {
        &self.expressions
    }

    /// The time zones that it names.
    pub(crate) fn zones(&self) -> &Zones {
        &self.zones
    }

    /// The pinned shapes of a connector.
    #[must_use]
    pub fn shapes(&self, connector: &Name) -> Option<&Shapes> {
        self.shapes.get(connector)
    }

    /// A connector by name.
    #[must_use]
    pub fn connector(&self, name: &Name) -> Option<&Connector> {
        self.bundle.connectors.get(name)
    }

    /// For how long partitions of Kafka are held while a connector has no room, in microseconds.
    #[must_use]
    pub fn hold_us(&self, connector: &Name) -> u64 {
        self.connector(connector).and_then(|it| it.hold_us).unwrap_or(HOLD_US)
    }
}

fn invalid(place: impl fmt::Display, why: impl fmt::Display) -> Refusal {
    Refusal::new(Code::PolicyInvalid, format!("{place}: {why}"))
}

fn reason(place: &str, why: &str) -> Result<(), Refusal> {
    if why.trim().is_empty() || why.len() > REASON_LEN_MAX {
        return Err(invalid(place, format!("give a reason of 1 to {REASON_LEN_MAX} bytes")));
    }
    Ok(())
}

/// The reason of an exemption.
fn exempt(place: &str, why: &str) -> Result<(), String> {
    reason(place, why).map_err(|refusal| refusal.detail)
}

fn check_connector(connector: &Connector) -> Result<(), &'static str> {
    if let Some(Retry { attempts, base_us, cap_us }) = &connector.retry {
        if !(2..=ATTEMPTS_MAX).contains(attempts) {
            return Err("retry.attempts is not between 2 and 16");
        }
        if *base_us == 0 || base_us > cap_us || *cap_us > PAUSE_MAX {
            return Err("retry.base_us is 0 or above retry.cap_us, or that is above an hour");
        }
    }
    if let Some(Breaker { failures, pause_us }) = &connector.breaker
        && (*failures == 0 || !(1..=PAUSE_MAX).contains(pause_us))
    {
        return Err("breaker.failures is 0, or breaker.pause_us is not between 1 microsecond and an hour");
    }
    if connector.hold_us.is_some_and(|hold_us| hold_us > HOLD_MAX) {
        return Err("hold_us is above 7 days");
    }
    match &connector.kind {
        ConnectorKind::Echo => Ok(()),
        ConnectorKind::Http { url, timeout_us } => {
            if !(url.starts_with("http://") || url.starts_with("https://")) {
                return Err("url does not begin with http:// or https://");
            }
            if !(1..=TIMEOUT_MAX).contains(timeout_us) {
                return Err("timeout_us is not between 1 microsecond and 5 minutes");
            }
            Ok(())
        }
        ConnectorKind::External { within_us, .. } => outcome::check(connector, *within_us),
    }
}

fn shapes_of(connector: &Connector) -> Result<Shapes, String> {
    let input = connector.input_schema.as_ref().map(Shape::compile).transpose();
    Ok(Shapes {
        input: input.map_err(|why| format!("input_schema: {why}"))?,
        output: Shape::compile(&connector.output_schema).map_err(|why| format!("output_schema: {why}"))?,
    })
}

fn check_rule(bundle: &Bundle, rule: &Rule) -> Result<(), String> {
    match &rule.requires {
        Requires::Requirement(name) if !bundle.requirements.contains_key(name) => {
            return Err(format!("requires {name}, which is not in requirements"));
        }
        Requires::Requirement(_) => {}
        Requires::Exempt(why) => exempt("requires.exempt", why)?,
    }
    match &rule.spends {
        Spends::Budget(_) | Spends::Budgets(_) => budget::check_spends(&bundle.budgets, &rule.spends)?,
        Spends::Exempt(why) => exempt("spends.exempt", why)?,
    }
    if !bundle.connectors.contains_key(&rule.connector) {
        return Err(format!("uses {}, which is not in connectors", rule.connector));
    }
    if rule.window_us == 0 {
        return Err("window_us is 0, so nothing could be dispatched".to_owned());
    }
    Ok(())
}

fn check_timing(bundle: &Bundle, rule: &Rule, zones: &mut Zones) -> Result<(), String> {
    match (&rule.timing, &bundle.gates.temporal) {
        (Some(Timing::Exempt(why)), _) => exempt("timing.exempt", why),
        (Some(timing), _) => temporal::check(timing, zones).map_err(|why| format!("timing: {why}")),
        (None, Mode::Disabled(_)) => Ok(()),
        (None, Mode::Enforced) => {
            Err("gates.temporal is enforced, so a rule has `timing`: limits, or a reason for none".to_owned())
        }
    }
}

fn check_escalation(bundle: &Bundle, rule: &Rule, expressions: &mut Expressions) -> Result<(), String> {
    match (&rule.escalates, &bundle.gates.escalation) {
        (Some(Escalates::Exempt(why)), _) => exempt("escalates.exempt", why),
        (Some(Escalates::To(approvers)), _) => {
            escalation::check(approvers).map_err(|why| format!("escalates: {why}"))?;
            if let Some(when) = approvers.when.as_ref().filter(|when| !expressions.contains_key(*when)) {
                let expression = Expression::compile(when).map_err(|why| format!("escalates.when: {why}"))?;
                expressions.insert(when.clone(), expression);
            }
            Ok(())
        }
        (None, Mode::Disabled(_)) => Ok(()),
        (None, Mode::Enforced) => {
            Err("gates.escalation is enforced, so a rule has `escalates`: whom to ask, or a reason for nobody"
                .to_owned())
        }
    }
}

/// What a rule looks at: its requirement, and the expression by which it asks people.
fn asks_of(bundle: &Bundle, rule: &Rule) -> Asks {
    let mut asks = match &rule.requires {
        Requires::Requirement(name) => bundle.requirements.get(name).map(Asks::of).unwrap_or_default(),
        Requires::Exempt(_) => Asks::default(),
    };
    if escalation::approvers(rule).is_some_and(|approvers| approvers.when.is_some()) {
        asks.everything();
    }
    asks
}

#[cfg(test)]
mod tests;

//! A bundle, checked and ready to be asked.
//!
//! All that can be known to be wrong with a bundle is known when it is loaded; a rule is found by its action, not by
//! scanning.

use std::collections::BTreeMap;
use std::fmt;

use writ_schemas::canonical;
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, Name};
use writ_schemas::policy::{Bundle, Connector, ConnectorKind, Cost, Mode, Requires, Rule, Spends};
use writ_schemas::strict::{INTEGER_MAX, Refusal};

use crate::expression::Expressions;
use crate::requirement::{self, Asks};
use crate::soundness;

/// The longest wait for a connector: 5 minutes in microseconds.
pub const TIMEOUT_MAX: u64 = 300_000_000;

/// The longest reason for an exemption, in bytes: it stands in every decision that it touches.
pub const REASON_LEN_MAX: usize = 200;

/// A policy bundle that can be put in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    digest: Digest,
    bundle: Bundle,
    by_action: BTreeMap<Name, usize>,
    asks: BTreeMap<Name, Asks>,
    expressions: Expressions,
}

impl Policy {
    /// Checks a bundle and indexes its rules.
    ///
    /// # Errors
    /// `ERR_POLICY_INVALID`, with the place and the fault.
    pub fn compile(bundle: &Bundle) -> Result<Policy, Refusal> {
        let bytes = canonical::bytes(bundle).map_err(|e| invalid("bundle", e))?;
        let gates = &bundle.gates;
        for (gate, mode) in [("temporal", &gates.temporal), ("escalation", &gates.escalation)] {
            match mode {
                Mode::Enforced => {
                    return Err(invalid(
                        format!("gates.{gate}"),
                        "this version cannot enforce it; disable it with a reason",
                    ));
                }
                Mode::Disabled(why) => reason(format!("gates.{gate}"), why)?,
            }
        }
        for (gate, mode) in [("proof", &gates.proof), ("budget", &gates.budget)] {
            if let Mode::Disabled(why) = mode {
                reason(format!("gates.{gate}"), why)?;
            }
        }
        let (mut asks, mut expressions) = (BTreeMap::new(), Expressions::new());
        for (name, requirement) in &bundle.requirements {
            asks.insert(name.clone(), Asks::of(requirement));
            requirement::compile(requirement, &mut expressions)
                .map_err(|why| invalid(format!("requirements.{name}"), why))?;
            soundness::check(requirement, &expressions).map_err(|why| invalid(format!("requirements.{name}"), why))?;
        }
        for (name, budget) in &bundle.budgets {
            if budget.limit > INTEGER_MAX || budget.tenants.values().any(|limit| *limit > INTEGER_MAX) {
                return Err(invalid(format!("budgets.{name}"), "a limit beyond 2^53 - 1"));
            }
        }
        for (name, connector) in &bundle.connectors {
            check_connector(connector).map_err(|why| invalid(format!("connectors.{name}"), why))?;
        }
        let mut by_action = BTreeMap::new();
        for (at, rule) in bundle.rules.iter().enumerate() {
            check_rule(bundle, rule).map_err(|why| invalid(format!("rules[{at}] ({})", rule.action), why))?;
            if by_action.insert(rule.action.clone(), at).is_some() {
                return Err(invalid(format!("rules[{at}] ({})", rule.action), "a second rule for this action"));
            }
        }
        Ok(Policy { digest: Digest::of(&bytes), bundle: bundle.clone(), by_action, asks, expressions })
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

    /// What a rule's requirement looks at; nothing where it needs none.
    pub(crate) fn asks(&self, rule: &Rule) -> Option<&Asks> {
        match &rule.requires {
            Requires::Requirement(name) => self.asks.get(name),
            Requires::Exempt(_) => None,
        }
    }

    /// The expressions of its requirements.
    #[must_use]
    pub fn expressions(&self) -> &Expressions {
        &self.expressions
    }

    /// A connector by name.
    #[must_use]
    pub fn connector(&self, name: &Name) -> Option<&Connector> {
        self.bundle.connectors.get(name)
    }
}

fn invalid(place: impl fmt::Display, why: impl fmt::Display) -> Refusal {
    Refusal::new(Code::PolicyInvalid, format!("{place}: {why}"))
}

fn reason(place: String, why: &str) -> Result<(), Refusal> {
    if why.trim().is_empty() || why.len() > REASON_LEN_MAX {
        return Err(invalid(place, format!("give a reason of 1 to {REASON_LEN_MAX} bytes")));
    }
    Ok(())
}

fn check_connector(connector: &Connector) -> Result<(), &'static str> {
    if !connector.output_schema.is_object() {
        return Err("output_schema is not a JSON Schema object");
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
    }
}

fn check_rule(bundle: &Bundle, rule: &Rule) -> Result<(), String> {
    match &rule.requires {
        Requires::Requirement(name) if !bundle.requirements.contains_key(name) => {
            return Err(format!("requires {name}, which is not in requirements"));
        }
        Requires::Requirement(_) => {}
        Requires::Exempt(why) => reason("requires.exempt".to_owned(), why).map_err(|refusal| refusal.detail)?,
    }
    match &rule.spends {
        Spends::Budget { name, .. } if !bundle.budgets.contains_key(name) => {
            return Err(format!("spends {name}, which is not in budgets"));
        }
        Spends::Budget { cost: Cost::Fixed(cost), .. } if *cost > INTEGER_MAX => {
            return Err("a cost beyond 2^53 - 1".to_owned());
        }
        Spends::Budget { .. } => {}
        Spends::Exempt(why) => reason("spends.exempt".to_owned(), why).map_err(|refusal| refusal.detail)?,
    }
    if !bundle.connectors.contains_key(&rule.connector) {
        return Err(format!("uses {}, which is not in connectors", rule.connector));
    }
    if rule.window_us == 0 {
        return Err("window_us is 0, so nothing could be dispatched".to_owned());
    }
    Ok(())
}

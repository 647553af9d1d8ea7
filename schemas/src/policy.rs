//! A policy bundle: rules, requirement graphs, budgets and connectors, as one content-addressed document.
//!
//! On disk a bundle is a directory with `policy.json`. What is hashed is its canonical JSON; operators put it in force by
//! signing an act that holds all of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::canonical;
use crate::ids::{Digest, KeyId, Name};

mod budget;
mod timing;

pub use budget::{Budget, Cost, Share, Spend, Spends, Window};
pub use timing::{CoolDown, Hours, Limits, NotATime, Rate, Span, TimeOfDay, Timing, Weekday};

/// Everything that decisions follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// A name for people.
    pub name: Name,
    /// Which of the gates that may be disabled are enforced.
    pub gates: GateModes,
    /// One rule for each action that may pass.
    pub rules: Vec<Rule>,
    /// The requirement graphs that rules name.
    #[serde(default)]
    pub requirements: BTreeMap<Name, Requirement>,
    /// The budgets that rules name.
    #[serde(default)]
    pub budgets: BTreeMap<Name, Budget>,
    /// The connectors that rules name. Paths of URLs must keep their names.
    #[serde(deserialize_with = "connectors")]
    pub connectors: BTreeMap<Name, Connector>,
}

fn connectors<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Name, Connector>, D::Error> {
    let connectors = BTreeMap::<Name, Connector>::deserialize(from)?;
    connectors.keys().try_for_each(Name::require_kept_by_paths)?;
    Ok(connectors)
}

impl Bundle {
    /// What people approve of when they approve an action: the digest of the canonical JSON of its rule, with the requirement and the
    /// connector that it names. Not of its budgets: they are asked again whatever people say. Nothing where the action has no rule, or
    /// the rule no canonical form.
    #[must_use]
    pub fn rule_digest(&self, action: &Name) -> Option<Digest> {
        let rule = self.rules.iter().find(|rule| rule.action == *action)?;
        let requirement = match &rule.requires {
            Requires::Requirement(name) => self.requirements.get(name),
            Requires::Exempt(_) => None,
        };
        let seen = RuleSeen { connector: self.connectors.get(&rule.connector), requirement, rule };
        canonical::bytes(&seen).ok().map(|bytes| Digest::of(&bytes))
    }
}

/// A rule with what it names.
#[derive(Serialize)]
struct RuleSeen<'a> {
    connector: Option<&'a Connector>,
    requirement: Option<&'a Requirement>,
    rule: &'a Rule,
}

/// The modes of the gates that a policy may disable. Freeze, trust, envelope and policy cannot be disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateModes {
    /// Allowed hours, rate.
    pub temporal: Mode,
    /// Proof requirements.
    pub proof: Mode,
    /// Budgets.
    pub budget: Mode,
    /// Approval by people.
    pub escalation: Mode,
}

/// Whether a gate is asked. There is no third way, and no default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It is asked.
    Enforced,
    /// It is not asked, for the reason that is signed with the policy.
    Disabled(String),
}

/// What an action needs, costs and does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The action that it is for; one rule an action.
    pub action: Name,
    /// What must be shown.
    pub requires: Requires,
    /// What it costs.
    pub spends: Spends,
    /// What carries it out.
    pub connector: Name,
    /// How long after the decision it may be dispatched, in microseconds; the intent's expiry cuts it.
    pub window_us: u64,
    /// When and how often. Where the gate is enforced, each rule says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
    /// Whether people are asked. Where the gate is enforced, each rule says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalates: Option<Escalates>,
}

/// The requirement of a rule, or the signed reason why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requires {
    /// The requirement of this name.
    Requirement(Name),
    /// Nothing, for this reason.
    Exempt(String),
}

/// Whom a rule asks, or the signed reason why it asks nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Escalates {
    /// These.
    To(Approvers),
    /// Nobody, for this reason.
    Exempt(String),
}

/// Who approves, how many of them, and in what time. The one who asks never counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvers {
    /// How many principals must grant it. One that refuses it is enough.
    pub quorum: u32,
    /// The role in which they are trusted.
    pub role: Name,
    /// An expression in CEL, as in requirements: they are asked only where it is true. Always, if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// How long after the first decision they may answer, in microseconds; the intent's expiry cuts it.
    pub within_us: u64,
}

/// What must be shown before an action may happen. Empty sets do not pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Requirement {
    /// Each of these.
    AllOf(Vec<Requirement>),
    /// At least one of these.
    AnyOf(Vec<Requirement>),
    /// At least so many of these.
    AtLeast {
        /// How many.
        count: u32,
        /// Of what.
        of: Vec<Requirement>,
    },
    /// Not this. Where this cannot be told, its opposite cannot be told either.
    Not(Box<Requirement>),
    /// Evidence that the intent names.
    Evidence(EvidenceNeed),
    /// An expression in CEL over `intent`, `evidence`, `budget` and `now`, which must be true. Where it fails, it cannot be told.
    Expression(String),
    /// A receipt `SUCCEEDED` of another action, earlier in the intent's session.
    Receipt {
        /// The action that it is of.
        action: Name,
    },
}

/// Which evidence counts. It was registered, has not expired, and its signer is trusted for the tenant now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceNeed {
    /// Whether it must speak of this very effect.
    pub about_effect: bool,
    /// The key that signed it; this or a role is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// The sort of artifact.
    pub kind: Name,
    /// How long ago it may have been issued, in microseconds. What claims to be issued in the future is not fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_us: Option<u64>,
    /// Whether evidence by the intent's own principal counts for nothing (separation of duties).
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_submitter: bool,
    /// Whether a `PASS` that it lets through uses it up: no other may be let through by it, unless that execution ends without having
    /// been done.
    #[serde(default, skip_serializing_if = "is_default")]
    pub once: bool,
    /// A role in which its signer is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Name>,
    /// How many principals must have signed such evidence: several keys of one principal count once.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub signers: u32,
}

impl EvidenceNeed {
    /// Whether it matters as which principal a signer is trusted.
    #[must_use]
    pub fn asks_principal(&self) -> bool {
        self.key.is_some() || self.not_submitter || self.signers != 1
    }
}

fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_one(signers: &u32) -> bool {
    *signers == 1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What carries out effects, and the shape that its answers must have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connector {
    /// What it is.
    pub kind: ConnectorKind,
    /// The pinned JSON Schema (draft 2020-12) of the args that it takes; any, if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// The pinned JSON Schema (draft 2020-12) of its output.
    pub output_schema: Value,
    /// How often it is tried again. Left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// When it is left alone for a while. Left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Breaker>,
    /// For how long partitions of Kafka are held while it has no room for what their records ask, in microseconds. Left out: 5
    /// minutes; 0: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_us: Option<u64>,
}

/// How often a connector that is declared idempotent is tried again, when it is certain that nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// The most attempts, the first one included.
    pub attempts: u32,
    /// The longest wait before the second attempt, in microseconds; it doubles from one to the next.
    pub base_us: u64,
    /// The longest wait before any, in microseconds.
    pub cap_us: u64,
}

/// When a connector that keeps failing is left alone for a while: what has passed waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    /// After how many failures in a row.
    pub failures: u32,
    /// For how long, in microseconds.
    pub pause_us: u64,
}

/// The kinds of connectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ConnectorKind {
    /// Answers with the args it was given; touches nothing.
    Echo,
    /// `POST`s the effect once, with `Idempotency-Key`, following no redirect.
    Http {
        /// Where to.
        url: String,
        /// How long to wait for the whole answer, in microseconds.
        timeout_us: u64,
    },
    /// Calls nobody: somebody outside carries the effect out, and reports its outcome.
    External {
        /// The role in which a key is trusted that reports.
        role: Name,
        /// How long after the dispatch the outcome may be reported, in microseconds.
        within_us: u64,
    },
}

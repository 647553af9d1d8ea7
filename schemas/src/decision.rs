//! A decision: the Guardian's signed answer to an intent.
//!
//! Fields are declared in the order of the canonical bytes, so that writing them needs no sorting.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use crate::dsse::Document;
use crate::errors::Code;
use crate::ids::{Digest, KeyId, LedgerId, Name, Seq, UnixMicros};
use crate::several::Several;

/// The version of `decide` that this library writes. A later kernel keeps every released one.
pub const SEMANTICS: u32 = 1;

/// The answer, with everything that it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Whom an `ESCALATE` asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Box<Asked>>,
    /// What is missing, for a person. Bounded.
    pub because: String,
    /// `OK`, or the code of the first gate that refused.
    pub code: Code,
    /// What a `PASS` authorises.
    pub execution: Option<ExecutionIntent>,
    /// What the gates looked at.
    pub facts: Facts,
    /// Every gate in its order, and how it answered.
    pub gates: Vec<GateAnswer>,
    /// The intent's id.
    pub id: Name,
    /// The digest of the intent's signed bytes.
    pub intent_digest: Digest,
    /// The entry that holds the intent.
    pub intent_seq: Seq,
    /// The ledger that decided.
    pub ledger: LedgerId,
    /// The time that it was decided at.
    pub now: UnixMicros,
    /// The digest of the policy bundle in force.
    pub policy: Option<Digest>,
    /// 0; later rounds follow an escalation.
    pub round: u32,
    /// The rules of `decide` that it followed.
    pub semantics: u32,
    /// The key that signed the intent.
    pub signer: KeyId,
    /// The intent's tenant.
    pub tenant: Name,
    /// The answer.
    pub verdict: Verdict,
}

impl Document for Decision {
    const PAYLOAD_TYPE: &'static str = "application/vnd.writ.decision.v1+json";
}

/// The answer in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// It may be done, once.
    Pass,
    /// It must not be done.
    Fail,
    /// People decide.
    Escalate,
}

impl Verdict {
    /// As printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
            Verdict::Escalate => "ESCALATE",
        }
    }
}

/// Whom an `ESCALATE` asks, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Until when they may answer.
    pub deadline: UnixMicros,
    /// How many principals must grant it.
    pub quorum: u32,
    /// The role in which they are trusted.
    pub role: Name,
    /// The rule that asks, as [`crate::policy::Bundle::rule_digest`] says: an answer names it.
    pub rule: Digest,
}

/// The gates, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Is the ledger frozen?
    Freeze,
    /// Is the key trusted for tenant and principal?
    Trust,
    /// Is the intent in time, and not too far ahead?
    Envelope,
    /// Is there a policy, with a rule for the action?
    Policy,
    /// Allowed hours, rate.
    Temporal,
    /// Is what must be shown shown?
    Proof,
    /// Can the budget hold the cost?
    Budget,
    /// Must people be asked?
    Escalation,
}

/// A gate and how it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateAnswer {
    /// Its answer.
    pub answer: Answer,
    /// The gate.
    pub gate: Gate,
}

/// How a gate answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It let the intent pass.
    Passed,
    /// It refused.
    Refused,
    /// It asks people.
    Asks,
    /// A gate before it refused, or the policy it would follow is missing.
    NotReached,
    /// The signed policy disables it, for this reason.
    Disabled(String),
    /// The signed rule exempts the action from it, for this reason.
    Exempt(String),
}

impl Answer {
    /// Its name, without a reason.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Answer::Passed => "passed",
            Answer::Refused => "refused",
            Answer::Asks => "asks",
            Answer::NotReached => "not_reached",
            Answer::Disabled(_) => "disabled",
            Answer::Exempt(_) => "exempt",
        }
    }
}

impl Gate {
    /// Every gate, in the order in which they are asked.
    pub const ALL: [Gate; 8] = [
        Gate::Freeze,
        Gate::Trust,
        Gate::Envelope,
        Gate::Policy,
        Gate::Temporal,
        Gate::Proof,
        Gate::Budget,
        Gate::Escalation,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Gate::Freeze => "freeze",
            Gate::Trust => "trust",
            Gate::Envelope => "envelope",
            Gate::Policy => "policy",
            Gate::Temporal => "temporal",
            Gate::Proof => "proof",
            Gate::Budget => "budget",
            Gate::Escalation => "escalation",
        }
    }
}

/// What the gates looked at, taken from the state before this decision. Replay recomputes all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// What people have said; absent where nobody was asked before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Box<ApprovalFact>>,
    /// The budgets that the rule spends.
    pub budget: Several<BudgetFact>,
    /// The evidence that the intent names, in its order; of one payload, a fact for each key that signed it.
    pub evidence: Vec<EvidenceFact>,
    /// Whether the intent's tenant and principal were frozen.
    pub frozen: bool,
    /// What was known of the signing key.
    pub key: Option<KeyFact>,
    /// How the principal has been asking; absent where the rule does not limit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<PaceFact>,
    /// Receipts of the session that the requirement asks for; absent where it asks for none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<ReceiptFact>,
    /// How many intents of the tenant waited for approval, where the rule may ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
}

/// How a principal has been asking for an action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaceFact {
    /// Until when it pauses after refusals.
    pub cooling_until: Option<UnixMicros>,
    /// Until when its rate is used up by what it asked for before: the theoretical arrival time of the generic cell rate
    /// algorithm.
    pub paced_until: Option<UnixMicros>,
}

/// What people have said of an intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalFact {
    /// Until when they may answer.
    pub deadline: UnixMicros,
    /// Whether that has been recorded as passed.
    pub passed: bool,
    /// Their answers, by seq.
    pub votes: Vec<VoteFact>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoteFact {
    /// Whether it grants what was asked.
    pub granted: bool,
    /// The principal as which its signer is trusted now; nothing once it is revoked.
    pub principal: Option<Name>,
    /// The roles in which its signer is trusted now; none once it is revoked.
    pub roles: BTreeSet<Name>,
    /// The rule that its signer saw.
    pub rule: Digest,
    /// The entry that recorded it.
    pub seq: Seq,
    /// Its signer.
    pub signer: KeyId,
}

/// What was known of an action in the intent's session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptFact {
    /// The action.
    pub action: Name,
    /// The last receipt `SUCCEEDED` of it; nothing if there is none.
    pub seq: Option<Seq>,
}

/// What was known of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFact {
    /// The principal that it is trusted as.
    pub principal: Name,
    /// The entry that revoked it.
    pub revoked: Option<Seq>,
    /// The tenant that it is trusted for.
    pub tenant: Name,
}

/// What was known of a piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceFact {
    /// Its digest, as the intent names it.
    pub digest: Digest,
    /// What is registered under it; nothing if it is unknown or of another tenant.
    pub known: Option<EvidenceKnown>,
}

/// A registered piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceKnown {
    /// The effect that it speaks of.
    pub effect: Option<Digest>,
    /// When it ends.
    pub expires_at: UnixMicros,
    /// When it says that it was made, where the requirement asks how old it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<UnixMicros>,
    /// Its kind.
    pub kind: Name,
    /// The principal as which its signer is trusted now, where the requirement asks who signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Name>,
    /// The roles in which the signer is trusted now; none once it is revoked.
    pub roles: BTreeSet<Name>,
    /// The entry that registered it.
    pub seq: Seq,
    /// Its signer.
    pub signer: KeyId,
    /// The decision that has used it up, where the requirement asks for evidence once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Seq>,
}

/// A budget just before the decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetFact {
    /// The action whose share it is, where each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Name>,
    /// Spent by receipts.
    pub committed: u64,
    /// What this intent costs; nothing if it cannot be told.
    pub cost: Option<u64>,
    /// The limit in force.
    pub limit: u64,
    /// Its name.
    pub name: Name,
    /// The principal whose share it is, where each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Name>,
    /// Promised to decisions whose receipts are not there yet.
    pub reserved: u64,
    /// From when on an amount that is taken now counts, where its window ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixMicros>,
    /// Its unit.
    pub unit: Name,
    /// Until when an amount that is taken now counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixMicros>,
}

/// What a `PASS` authorises: one run, in one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutionIntent {
    /// The connector of the policy in force.
    pub connector: Name,
    /// The digest of the canonical action and args.
    pub effect_digest: Digest,
    /// What the connector gets to tell one run from another.
    pub idempotency_key: Digest,
    /// From when on it must not be dispatched any more.
    pub not_after: UnixMicros,
    /// From when on it may be dispatched.
    pub not_before: UnixMicros,
    /// What was reserved for it.
    pub reservation: Several<Amount>,
    /// The evidence that it uses up, by digest; none where the requirement asks for none once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<Digest>,
}

/// An amount out of a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    /// The action whose share it is out of, where each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Name>,
    /// Of a reservation: the key of the output that says what it really was, where the rule asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
    /// How much.
    pub amount: u64,
    /// The budget's name.
    pub budget: Name,
    /// Of a receipt: by how much the amount is more than what was reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdrawn: Option<u64>,
    /// The principal whose share it is out of, where each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Name>,
    /// From when on it counts, where the budget's window ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixMicros>,
    /// Its unit.
    pub unit: Name,
    /// Until when it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixMicros>,
}

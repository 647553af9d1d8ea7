//! A decision: the Guardian's signed answer to an intent.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use crate::dsse::Document;
use crate::errors::Code;
use crate::ids::{Digest, KeyId, LedgerId, Name, Seq, UnixMicros};

/// The version of `decide` that this library writes. A later kernel keeps every released one.
pub const SEMANTICS: u32 = 1;

/// The answer, with everything that it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The ledger that decided.
    pub ledger: LedgerId,
    /// The rules of `decide` that it followed.
    pub semantics: u32,
    /// The entry that holds the intent.
    pub intent_seq: Seq,
    /// The digest of the intent's signed bytes.
    pub intent_digest: Digest,
    /// The key that signed the intent.
    pub signer: KeyId,
    /// The intent's tenant.
    pub tenant: Name,
    /// The intent's id.
    pub id: Name,
    /// 0; later rounds follow an escalation.
    pub round: u32,
    /// The time that it was decided at.
    pub now: UnixMicros,
    /// The digest of the policy bundle in force.
    pub policy: Option<Digest>,
    /// Every gate in its order, and how it answered.
    pub gates: Vec<GateAnswer>,
    /// What the gates looked at.
    pub facts: Facts,
    /// The answer.
    pub verdict: Verdict,
    /// `OK`, or the code of the first gate that refused.
    pub code: Code,
    /// What is missing, for a person. Bounded.
    pub because: String,
    /// What a `PASS` authorises.
    pub execution: Option<ExecutionIntent>,
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
    /// The gate.
    pub gate: Gate,
    /// Its answer.
    pub answer: Answer,
}

/// How a gate answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It let the intent pass.
    Passed,
    /// It refused.
    Refused,
    /// A gate before it refused, or the policy it would follow is missing.
    NotReached,
    /// The signed policy disables it, for this reason.
    Disabled(String),
    /// The signed rule exempts the action from it, for this reason.
    Exempt(String),
}

/// What the gates looked at, taken from the state before this decision. Replay recomputes all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Whether the ledger was frozen.
    pub frozen: bool,
    /// What was known of the signing key.
    pub key: Option<KeyFact>,
    /// The evidence that the intent names, in its order.
    pub evidence: Vec<EvidenceFact>,
    /// The budget that the rule spends.
    pub budget: Option<BudgetFact>,
}

/// What was known of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFact {
    /// The tenant that it is trusted for.
    pub tenant: Name,
    /// The principal that it is trusted as.
    pub principal: Name,
    /// The entry that revoked it.
    pub revoked: Option<Seq>,
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
    /// The entry that registered it.
    pub seq: Seq,
    /// Its kind.
    pub kind: Name,
    /// Its signer.
    pub signer: KeyId,
    /// The roles in which the signer is trusted now; none once it is revoked.
    pub roles: BTreeSet<Name>,
    /// The effect that it speaks of.
    pub effect: Option<Digest>,
    /// When it ends.
    pub expires_at: UnixMicros,
}

/// A tenant's budget just before the decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetFact {
    /// Its name.
    pub name: Name,
    /// Its unit.
    pub unit: Name,
    /// The limit in force.
    pub limit: u64,
    /// Promised to decisions whose receipts are not there yet.
    pub reserved: u64,
    /// Spent by receipts.
    pub committed: u64,
    /// What this intent costs; nothing if it cannot be told.
    pub cost: Option<u64>,
}

/// What a `PASS` authorises: one run, in one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutionIntent {
    /// The digest of the canonical action and args.
    pub effect_digest: Digest,
    /// The connector of the policy in force.
    pub connector: Name,
    /// What the connector gets to tell one run from another.
    pub idempotency_key: Digest,
    /// From when on it may be dispatched.
    pub not_before: UnixMicros,
    /// From when on it must not be dispatched any more.
    pub not_after: UnixMicros,
    /// What was reserved for it.
    pub reservation: Option<Amount>,
}

/// An amount out of a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    /// The budget's name.
    pub budget: Name,
    /// Its unit.
    pub unit: Name,
    /// How much.
    pub amount: u64,
}

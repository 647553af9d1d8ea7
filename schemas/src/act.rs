//! Administrative acts: statements by which operators change a ledger's rules. An API key alone never administers.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dsse::Document;
use crate::ids::{Digest, KeyId, LedgerId, Name, UnixMicros};
use crate::policy::Bundle;

/// The farthest that an act's `expires_at` may lie ahead: 7 days in microseconds; acts are remembered until then, so that
/// none is carried out twice.
pub const EXPIRY_AHEAD_MAX: u64 = 7 * 24 * 3_600 * 1_000_000;

/// A statement, and for which ledger and how long it may be submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// From when on it is refused.
    pub expires_at: UnixMicros,
    /// The ledger that it administers.
    pub ledger: LedgerId,
    /// Makes two equal statements two acts.
    pub nonce: Name,
    /// What is to hold from now on.
    pub statement: Statement,
}

/// What operators can state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Statement {
    /// Puts a policy bundle in force, and the one before it out of force.
    ActivatePolicy {
        /// The whole bundle: its digest is the policy hash of decisions.
        bundle: Bundle,
    },
    /// Trusts a key for one tenant and principal.
    TrustKey {
        /// The key.
        key: KeyId,
        /// For which tenant.
        tenant: Name,
        /// As which principal.
        principal: Name,
        /// In which roles; requirements ask for them.
        roles: BTreeSet<Name>,
    },
    /// Ends the trust in a key. What it signed before stays checkable.
    RevokeKey {
        /// The key.
        key: KeyId,
    },
    /// Refuses every intent and every dispatch: of the whole ledger, of a tenant, or of a principal.
    Freeze {
        /// Only of this principal of the tenant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        principal: Option<Name>,
        /// Why, for those who read the log.
        reason: String,
        /// Only of this tenant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant: Option<Name>,
    },
    /// Ends the freeze of the same extent.
    Thaw {
        /// The principal that was frozen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        principal: Option<Name>,
        /// The tenant that was frozen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant: Option<Name>,
    },
    /// Says what really became of an `UNCERTAIN` receipt.
    Reconcile {
        /// The receipt's digest.
        receipt: Digest,
        /// Whether the effect happened.
        applied: bool,
    },
    /// Answers an intent that waits for approval; signed by an approver, not by operators.
    Approve {
        /// Whether it may be done.
        granted: bool,
        /// The digest of the intent's signed bytes.
        intent: Digest,
        /// The policy that its signer saw.
        policy: Digest,
        /// Why, for those who read the log.
        reason: String,
        /// The rule that its signer saw, as [`Bundle::rule_digest`] says. Under another one the answer does not count.
        rule: Digest,
    },
    /// Has another key sign decisions and receipts from the next entry on; signed by operators, the old key and the new one.
    RotateDecisionKey {
        /// The new key.
        key: KeyId,
    },
    /// Says that the machine's clock is right, although it does not show what the ledger expects: it is about this late now.
    AdjustClock {
        /// What the operators' own clocks show.
        now: UnixMicros,
    },
    /// Says what became of an effect that is carried out outside; signed by who carried it out, not by operators.
    Report {
        /// Whether the effect happened.
        applied: bool,
        /// Why it did not happen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<String>,
        /// The digest of the decision's signed bytes.
        decision: Digest,
        /// What came of it, where it happened. Left out: null.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
    },
    /// Binds the partitions of one Kafka topic to this ledger.
    BindPartitions {
        /// The Kafka cluster's id.
        cluster: String,
        /// The topic's name.
        topic: String,
        /// The topic's id: another topic of the same name has another one.
        topic_id: String,
        /// How many partitions, from 0.
        partitions: u32,
    },
}

impl Document for Act {
    const PAYLOAD_TYPE: &'static str = "application/vnd.writ.act.v1+json";
}

//! A receipt: the signed record of how an execution ended.
//!
//! Fields are declared in the order of the canonical bytes, so that writing them needs no sorting.

use serde::{Deserialize, Serialize};

use crate::decision::Amount;
use crate::dsse::Document;
use crate::errors::Code;
use crate::ids::{Digest, Lamport, LedgerId, Name, Seq, UnixMicros};
use crate::several::Several;

/// How an execution ended, and where it stands among the receipts of its session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The intent's action.
    pub action: Name,
    /// More of the code, for a person: where an output drifted, what the connector answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// `OK`, or why it ended otherwise.
    pub code: Code,
    /// The connector that it was given to.
    pub connector: Name,
    /// The digest of that decision's signed bytes.
    pub decision_digest: Digest,
    /// The entry of the decision that authorised it.
    pub decision_seq: Seq,
    /// When it was dispatched; nothing if it never was.
    pub dispatched_at: Option<UnixMicros>,
    /// The effect that was authorised.
    pub effect_digest: Digest,
    /// When the ending was recorded.
    pub ended_at: UnixMicros,
    /// The intent's id.
    pub id: Name,
    /// Its place in the session: 1 for the first, one more than the receipt before it.
    pub lamport: Lamport,
    /// The ledger.
    pub ledger: LedgerId,
    /// The digest of the connector's canonical output, where there is one.
    pub output: Option<Digest>,
    /// The digest of the receipt before it in the session.
    pub previous: Option<Digest>,
    /// The intent's principal.
    pub principal: Name,
    /// The intent's session.
    pub session: Option<Name>,
    /// How it ended.
    pub status: Status,
    /// The intent's tenant.
    pub tenant: Name,
    /// What is charged: the amounts that this ending commits. Nothing for what did not happen, nor while it is uncertain.
    pub usage: Several<Amount>,
}

impl Document for Receipt {
    const PAYLOAD_TYPE: &'static str = "application/vnd.writ.receipt.v1+json";
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// The effect happened, and the output has its pinned shape.
    Succeeded,
    /// The effect did not happen, or happened with an output that is not the pinned one (see the code).
    Failed,
    /// Nobody here knows whether the effect happened.
    Uncertain,
    /// It was never dispatched, and never will be.
    Expired,
}

impl Status {
    /// As printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Succeeded => "SUCCEEDED",
            Status::Failed => "FAILED",
            Status::Uncertain => "UNCERTAIN",
            Status::Expired => "EXPIRED",
        }
    }
}

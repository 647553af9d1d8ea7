//! An intent: what a producer asks for, signed by it.
//!
//! Fields are declared in the order of the canonical bytes, so that writing them needs no sorting.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::canonical;
use crate::dsse::Document;
use crate::ids::{Digest, Name, UnixMicros, kept_by_paths};

/// The farthest that `expires_at` may lie ahead: 7 days in microseconds. Ids are remembered until then, so this bounds the
/// memory of ids.
pub const EXPIRY_AHEAD_MAX: u64 = 7 * 24 * 3_600 * 1_000_000;

/// The most evidence that an intent may name.
pub const EVIDENCE_MAX: usize = 64;

/// What a producer asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// What is to be done; policy rules are found by it.
    pub action: Name,
    /// With what.
    pub args: Map<String, Value>,
    /// Digests of the evidence that it relies on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Digest>,
    /// From when on it must not be done any more. Mandatory; at most [`EXPIRY_AHEAD_MAX`] ahead.
    pub expires_at: UnixMicros,
    /// The producer's id for it; unique in the tenant until it expires. Paths of URLs must keep it
    /// ([`Name::is_kept_by_paths`]).
    #[serde(deserialize_with = "kept_by_paths")]
    pub id: Name,
    /// Which agent asks; its key must be trusted for it.
    pub principal: Name,
    /// The conversation that it belongs to; receipts are chained within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Name>,
    /// On whose behalf, and out of whose budgets. Paths of URLs must keep it, too.
    #[serde(deserialize_with = "kept_by_paths")]
    pub tenant: Name,
}

impl Document for Intent {
    const PAYLOAD_TYPE: &'static str = "application/vnd.writ.intent.v1+json";
}

/// The part of an intent that reaches the world.
#[derive(Serialize)]
struct Effect<'a> {
    action: &'a Name,
    args: &'a Map<String, Value>,
}

impl Intent {
    /// The canonical bytes of action and args: what a connector is given, and what the effect digest is over.
    ///
    /// # Errors
    /// Args that JSON cannot say; strict parsing lets none in.
    pub fn effect(&self) -> Result<Vec<u8>, serde_json::Error> {
        canonical::bytes(&Effect { action: &self.action, args: &self.args })
    }

    /// The digest of the effect: what evidence names, and what a decision authorises.
    ///
    /// # Errors
    /// As [`Intent::effect`].
    pub fn effect_digest(&self) -> Result<Digest, serde_json::Error> {
        self.effect().map(|bytes| Digest::of(&bytes))
    }
}

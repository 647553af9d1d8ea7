//! Evidence: an artifact (approval, scan, ticket) registered by hash with its signer.

use serde::{Deserialize, Serialize};

use crate::dsse::Document;
use crate::ids::{Digest, LedgerId, Name, UnixMicros};

/// The longest that evidence is remembered: 30 days in microseconds. It bounds the state.
pub const VALIDITY_MAX: u64 = 30 * 24 * 3_600 * 1_000_000;

/// A signed statement that an artifact exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The artifact's digest, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Digest>,
    /// The effect it speaks of, where it speaks of one only: the effect digest of an intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Digest>,
    /// From when on it proves nothing any more. Mandatory; at most [`VALIDITY_MAX`] after its registration.
    pub expires_at: UnixMicros,
    /// When it was made.
    pub issued_at: UnixMicros,
    /// What sort of artifact; requirements ask for it by this name.
    pub kind: Name,
    /// For which ledger; a statement for one cannot be shown to another.
    pub ledger: LedgerId,
    /// For which tenant.
    pub tenant: Name,
}

impl Document for Evidence {
    const PAYLOAD_TYPE: &'static str = "application/vnd.writ.evidence.v1+json";
}

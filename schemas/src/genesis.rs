//! Genesis: entry 0's document, in which a ledger says who it is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::checkpoint::origin_is_valid;
use crate::dsse::Document;
use crate::ids::{KeyId, LedgerId, UnixMicros};
use crate::keys;

/// Who a ledger is. Signed by its decision key and by every operator, so that pinning any of those keys pins the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Signs checkpoints; a separate one, because it signs another format.
    pub checkpoint_key: KeyId,
    /// When it was made.
    pub created_at: UnixMicros,
    /// Signs decisions and receipts.
    pub decision_key: KeyId,
    /// The ledger's id.
    pub ledger: LedgerId,
    /// The keys whose quorum may administer it.
    pub operators: Vec<KeyId>,
    /// The name under which its checkpoints are published.
    pub origin: String,
    /// How many of them an administrative act needs; at least 1.
    pub quorum: u32,
    /// How documents are authenticated.
    pub signing_mode: SigningMode,
}

impl Genesis {
    /// Whether it can rule a ledger: distinct operators, a quorum of 1 to all of them, keys that can sign, and an origin that can name
    /// a log.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let distinct: BTreeSet<&KeyId> = self.operators.iter().collect();
        let quorum = usize::try_from(self.quorum).unwrap_or(usize::MAX);
        distinct.len() == self.operators.len()
            && (1..=distinct.len()).contains(&quorum)
            && self.operators.iter().chain([&self.decision_key, &self.checkpoint_key]).all(keys::can_sign)
            && origin_is_valid(&self.origin)
    }
}

/// How decisions and receipts are authenticated; fixed for a ledger's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SigningMode {
    /// Each carries its own signature.
    Each,
}

impl Document for Genesis {
    const PAYLOAD_TYPE: &'static str = "application/vnd.writ.genesis.v1+json";
}

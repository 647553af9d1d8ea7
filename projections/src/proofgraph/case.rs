//! A case: what became of one tenant's id, by seq.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use serde::Serialize;
use writ_schemas::ids::Seq;

/// What became of an id. Where several intents answered to it, this is the one that got farthest, and of those the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct Case {
    /// The intent's entry.
    pub intent: Seq,
    /// Its decision.
    pub decision: Seq,
    /// How far it got.
    pub standing: Standing,
    /// Its receipts.
    pub receipts: Vec<Seq>,
    /// The act that settled an uncertain receipt.
    pub reconciled: Option<Seq>,
}

/// The cases that share a key, by the last letter of their ids.
pub(crate) type Cases = BTreeMap<u8, Case>;

/// How far an intent got with its claim to an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Refused before trust and envelope were established: the id is not its own.
    Unclaimed,
    /// Refused later, or up to people.
    Claimed,
    /// Its decision was `PASS`.
    Passed,
}

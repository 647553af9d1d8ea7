//! Kafka: intents in, decisions and receipts out.
//!
//! - [`cluster`]: addresses, topics, limits
//! - [`topic_ids`]: the one safe wrapper of a call that the client library has no safe form of
//! - [`intake`]: reads bound partitions from where the log says; the log, not the broker, knows how far intake got
//! - [`outlet`]: publishes what is durable, each thing once, with its progress in the same transaction
//! - [`producer`]: sends intents, as a client does
//! - [`answers`]: hears what became of them, as a client does

pub mod cluster;
pub mod topic_ids;
pub mod intake;
pub mod outlet;
pub mod producer;
pub mod answers;

/// Intents, keyed by tenant.
pub const INTENTS: &str = "writ.intents.v1";
/// Signed decisions.
pub const DECISIONS: &str = "writ.decisions.v1";
/// Signed receipts.
pub const RECEIPTS: &str = "writ.receipts.v1";
/// Records that became no decision.
pub const REFUSALS: &str = "writ.refusals.v1";
/// How far each ledger has published; compacted.
pub const PROGRESS: &str = "writ.progress.v1";

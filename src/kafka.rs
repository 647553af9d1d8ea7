//! Kafka: intents in, decisions and receipts out.
//!
//! - [`failure`]: what went wrong, in registered codes
//! - [`context`]: what the client library tells while it works
//! - [`topic_description`]: the one safe wrapper of a call that the client library has no safe form of
//! - [`topics`]: what brokers say of topics
//! - [`cluster`]: how clients are made, and topics
//! - [`intake`]: reads bound partitions from where the log says; the log, not the broker, knows how far intake got
//! - [`intake_lag`]: how much of them waits
//! - [`transactions`]: outputs in transactions, each thing once, whatever the brokers answer
//! - [`progress_topic`]: how far a ledger has published, in the same transaction
//! - [`broker`]: what `transactions` needs, by the client library
//! - [`publisher`]: publishes what is durable
//! - [`producer`]: sends intents, as a client does
//! - [`answers`]: hears what became of them, as a client does

pub mod failure;
pub mod context;
pub mod topic_description;
pub mod topics;
pub mod cluster;
pub mod intake;
pub mod intake_lag;
pub mod transactions;
pub mod progress_topic;
pub mod broker;
pub mod publisher;
pub mod producer;
pub mod answers;

use std::time::Duration;

/// How long a broker may take to answer before it counts as unavailable.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Intents, keyed by tenant. This and the others, behind the prefix that is configured.
pub const INTENTS: &str = "writ.intents.v1";
/// Signed decisions.
pub const DECISIONS: &str = "writ.decisions.v1";
/// Signed receipts.
pub const RECEIPTS: &str = "writ.receipts.v1";
/// Records that became no decision.
pub const REFUSALS: &str = "writ.refusals.v1";
/// How far each ledger has published; compacted.
pub const PROGRESS: &str = "writ.progress.v1";

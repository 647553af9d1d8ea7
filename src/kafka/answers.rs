//! Hears what became of intents that were sent, as any client does: decisions and refusals.
//!
//! What is already decided is decided once: sent again, it adds nothing to any topic. So decisions are read from the start of
//! their topic. A refusal answers one record, and every record that is refused gets its own, so refusals are read from the
//! end as it was before the records were sent.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::message::{BorrowedMessage, Message};
use serde::Deserialize;
use tracing::warn;

use writ_kernel::decide::claims_id;
use writ_schemas::decision::Decision;
use writ_schemas::dsse::Signed;
use writ_schemas::ids::{Digest, Seq};

use crate::clock::Stopwatch;
use crate::error::Result;
use crate::kafka::cluster::{Cluster, assign};
use crate::kafka::context::Consumer;
use crate::kafka::failure::{Asked, failure, is_topic_refused};
use crate::kafka::topic_description::Right;
use crate::kafka::{DECISIONS, INTENTS, REFUSALS};

/// What the ledger said.
#[derive(Clone, Debug)]
pub enum Heard {
    /// It decided after the listener began.
    Decided(Signed<Decision>),
    /// It had decided before.
    Known(Signed<Decision>),
    /// It refused a record after the listener began.
    Refused(Refused),
}

/// A refusal, as far as a client needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct Refused {
    /// The digest of the record.
    pub digest: Digest,
    /// Why, by name. A later ledger may know names that this library does not.
    pub code: String,
    /// Why, for a person.
    pub detail: String,
    /// The entry that says so.
    pub seq: Seq,
}

/// A listener. What is sent after it was opened is answered within its hearing.
pub struct Answers {
    consumer: Consumer,
    decisions: String,
    refusals: String,
    /// The end of each partition of the decisions when the listener began.
    decided_until: BTreeMap<i32, i64>,
}

impl Answers {
    /// Begins to listen.
    ///
    /// # Errors
    /// `ERR_KAFKA_UNAVAILABLE`; `ERR_KAFKA_TOPIC` if a topic is missing; that the brokers refuse this client.
    pub fn listen(cluster: &Cluster) -> Result<Answers> {
        let (decisions, refusals) = (cluster.topic(DECISIONS), cluster.topic(REFUSALS));
        cluster.require(&[(INTENTS, Right::Write), (DECISIONS, Right::Read), (REFUSALS, Right::Read)])?;
        let consumer = cluster.consumer("writ-submit", &[("fetch.wait.max.ms", "100")], &[])?;
        let asking = cluster.ask_uncommitted()?;
        let (decided_until, refused_until) = (asking.ends(&decisions)?, asking.ends(&refusals)?);
        let of_decisions = decided_until.keys().map(|partition| (decisions.as_str(), *partition, Offset::Beginning));
        let of_refusals =
            refused_until.iter().map(|(partition, end)| (refusals.as_str(), *partition, Offset::Offset(*end)));
        assign(&consumer, &of_decisions.chain(of_refusals).collect::<Vec<_>>())?;
        Ok(Answers { consumer, decisions, refusals, decided_until })
    }

    /// Hands over what it hears until `heard` breaks off. Returns whether that was within `patience`.
    ///
    /// # Errors
    /// `ERR_KAFKA_AUTHORIZATION` if it may not read a topic.
    pub fn hear(&self, patience: Duration, mut heard: impl FnMut(Heard) -> ControlFlow<()>) -> Result<bool> {
        let started = Stopwatch::start();
        while started.elapsed() < patience {
            let message = match self.consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => message,
                Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_topic_refused) => {
                    return Err(failure(Asked::Read(&format!("{} or {}", self.decisions, self.refusals)), &error));
                }
                // The client library reconnects by itself, and there is an end to patience.
                Some(Err(error)) => {
                    warn!(%error, "Kafka");
                    continue;
                }
                None => continue,
            };
            if self.understand(&message).is_some_and(|it| heard(it).is_break()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a message says; nothing if it says nothing that lasts, or nothing that can be read.
    fn understand(&self, message: &BorrowedMessage<'_>) -> Option<Heard> {
        let value = message.payload().unwrap_or_default();
        if message.topic() == self.refusals {
            return serde_json::from_slice(value).ok().map(Heard::Refused);
        }
        let decision = Signed::<Decision>::from_envelope(value).ok()?;
        if self.decided_until.get(&message.partition()).is_none_or(|end| message.offset() >= *end) {
            return Some(Heard::Decided(decision));
        }
        // An earlier answer that took no id does not stand for the next one: the same intent is decided again.
        claims_id(decision.value()).then_some(Heard::Known(decision))
    }
}

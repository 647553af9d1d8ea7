//! Sends intents, as any client does: used by `writ submit --kafka` and by the demo.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use writ_schemas::decision::Decision;
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::ids::Digest;

use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::kafka::cluster::{self, PATIENCE, failure};
use crate::kafka::{DECISIONS, INTENTS};

/// Sends records to the intents topic, keyed by tenant, and returns when the broker has all of them.
///
/// # Errors
/// `ERR_KAFKA_UNAVAILABLE`; some records may then have arrived, and sending all of them again is safe.
pub fn send(bootstrap: &str, records: &[(String, Vec<u8>)]) -> Result<()> {
    let producer: BaseProducer = cluster::client(bootstrap)
        .set("enable.idempotence", "true")
        .set("delivery.timeout.ms", "15000")
        .create()
        .map_err(|e| failure("producer", &e))?;
    for (key, value) in records {
        let mut record = BaseRecord::to(INTENTS).key(key).payload(value);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(rdkafka::error::RDKafkaErrorCode::QueueFull) {
                return Err(failure(INTENTS, &error));
            }
            record = back;
            producer.poll(Duration::from_millis(50));
        }
    }
    producer.flush(PATIENCE).map_err(|e| failure(INTENTS, &e))
}

/// Waits for the decisions on `wanted`, the digests of intents, reading the decisions topic from its start: a re-sent intent finds its first answer.
///
/// # Errors
/// `ERR_KAFKA_UNAVAILABLE` if they have not all come within `patience`.
pub fn wait_for_decisions(
    bootstrap: &str,
    mut wanted: BTreeSet<Digest>,
    patience: Duration,
    mut seen: impl FnMut(&Signed<Decision>),
) -> Result<()> {
    let consumer: BaseConsumer = cluster::client(bootstrap)
        .set("group.id", "writ-submit")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .create()
        .map_err(|e| failure("consumer", &e))?;
    let metadata = consumer.fetch_metadata(Some(DECISIONS), PATIENCE).map_err(|e| failure(DECISIONS, &e))?;
    let mut assignment = TopicPartitionList::new();
    for topic in metadata.topics() {
        for partition in topic.partitions() {
            let added = assignment.add_partition_offset(DECISIONS, partition.id(), Offset::Beginning);
            added.map_err(|e| failure(DECISIONS, &e))?;
        }
    }
    consumer.assign(&assignment).map_err(|e| failure(DECISIONS, &e))?;
    let started = Stopwatch::start();
    while !wanted.is_empty() {
        if started.elapsed() > patience {
            let missing = wanted.len();
            return Err(Failure::new(Code::KafkaUnavailable, format!("{missing} decisions have not come in time")));
        }
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else { continue };
        let Ok(decision) = Signed::<Decision>::from_envelope(message.payload().unwrap_or_default()) else { continue };
        if wanted.remove(&decision.value().intent_digest) {
            seen(&decision);
        }
    }
    Ok(())
}

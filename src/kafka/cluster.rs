//! Addresses, topics, limits.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};

use writ_schemas::errors::Code;

use crate::error::{Failure, Result};
use crate::kafka::{DECISIONS, INTENTS, PROGRESS, RECEIPTS, REFUSALS, topic_ids};

/// How long a broker may take to answer before it counts as unavailable.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// The largest record of the intents topic: above the largest intent, so that one that is too large is refused by us, with
/// a code and an answer, and not by a library.
pub const RECORD_BYTES_MAX: usize = 4 << 20;

/// The partitions of the topics that `writ init` makes.
pub const PARTITIONS: i32 = 4;

/// What every client here is made from.
#[must_use]
pub fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("client.id", "writ")
        .set("message.max.bytes", (RECORD_BYTES_MAX + 64 * 1024).to_string())
        .set("receive.message.max.bytes", (256 << 20).to_string())
        .set("socket.keepalive.enable", "true")
        .set("log_level", "3");
    config
}

/// What every consumer here is made from, `group` by name only: partitions are assigned by hand, and no offset is committed,
/// because where reading goes on is never the broker's to say. It reads what was committed.
#[must_use]
pub fn consumer(bootstrap: &str, group: &str) -> ClientConfig {
    let mut config = client(bootstrap);
    config.set("group.id", group).set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    config
}

/// The end of each partition of a topic, open transactions included: whatever is published later lies behind it.
///
/// # Errors
/// `ERR_KAFKA_UNAVAILABLE`; `ERR_KAFKA_TOPIC` if there is no such topic.
pub fn ends(bootstrap: &str, topic: &str) -> Result<BTreeMap<i32, i64>> {
    let everything: BaseConsumer = consumer(bootstrap, "writ-ends")
        .set("isolation.level", "read_uncommitted")
        .create()
        .map_err(|e| failure("consumer", &e))?;
    let metadata = everything.fetch_metadata(Some(topic), PATIENCE).map_err(|e| failure(topic, &e))?;
    let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
    let ends: BTreeMap<i32, i64> = partitions
        .map(|partition| {
            let marks = everything.fetch_watermarks(topic, partition.id(), PATIENCE);
            marks.map(|(_, end)| (partition.id(), end)).map_err(|e| failure(topic, &e))
        })
        .collect::<Result<_>>()?;
    if ends.is_empty() {
        return Err(Failure::new(Code::KafkaTopic, format!("{topic} does not exist")));
    }
    Ok(ends)
}

/// What a reader of these partitions is assigned.
///
/// # Errors
/// None in practice: the partitions are those that the broker named.
pub fn assign(consumer: &BaseConsumer, from: &[(&str, i32, Offset)]) -> Result<()> {
    let mut assignment = TopicPartitionList::new();
    for (topic, partition, offset) in from {
        assignment.add_partition_offset(topic, *partition, *offset).map_err(|e| failure(topic, &e))?;
    }
    consumer.assign(&assignment).map_err(|e| failure("assignment", &e))
}

/// A failure of the client library.
pub fn failure(what: &str, error: &KafkaError) -> Failure {
    let code = match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch) => {
            Code::KafkaFenced
        }
        Some(
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition,
        ) => Code::KafkaTopic,
        Some(_) | None => Code::KafkaUnavailable,
    };
    Failure::new(code, format!("{what}: {error}"))
}

/// A topic as the broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The Kafka cluster's id.
    pub cluster: String,
    /// The topic's id.
    pub topic_id: String,
    /// How many partitions.
    pub partitions: u32,
}

/// Describes a topic.
///
/// # Errors
/// `ERR_KAFKA_UNAVAILABLE`, or `ERR_KAFKA_TOPIC` if there is no such topic.
pub fn describe(bootstrap: &str, topic: &str) -> Result<Topic> {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create().map_err(|e| failure("client", &e))?;
    let inner = admin.inner();
    let metadata = inner.fetch_metadata(Some(topic), PATIENCE).map_err(|e| failure(bootstrap, &e))?;
    let described = metadata.topics().iter().find(|it| it.name() == topic && it.error().is_none());
    let partitions = described.map_or(0, |it| it.partitions().len());
    if partitions == 0 {
        return Err(Failure::new(Code::KafkaTopic, format!("{topic} does not exist")));
    }
    let broker = metadata.brokers().first().map_or(-1, |broker| broker.id());
    Ok(Topic {
        cluster: inner.fetch_cluster_id(PATIENCE).unwrap_or_default(),
        topic_id: topic_ids::describe(inner, broker, topic, PATIENCE)?,
        partitions: u32::try_from(partitions).unwrap_or(u32::MAX),
    })
}

/// Makes the topics that are missing.
///
/// # Errors
/// `ERR_KAFKA_UNAVAILABLE`, or what the broker says.
pub fn create_topics(bootstrap: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create().map_err(|e| failure("client", &e))?;
    admin.inner().fetch_metadata(None, PATIENCE).map_err(|e| failure(bootstrap, &e))?;
    let bytes = RECORD_BYTES_MAX.to_string();
    let plain = |name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(-1)).set("max.message.bytes", &bytes);
    let topics = [
        // The broker then measures what a record really weighs, and nobody can send a small one that inflates.
        plain(INTENTS).set("compression.type", "uncompressed"),
        plain(DECISIONS),
        plain(RECEIPTS),
        plain(REFUSALS),
        NewTopic::new(PROGRESS, 1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact"),
    ];
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(Code::Io, e))?;
    let results =
        runtime.block_on(admin.create_topics(topics.iter(), &options)).map_err(|e| failure("create topics", &e))?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(Failure::new(Code::KafkaTopic, format!("{name}: {code}"))),
        }
    }
    Ok(())
}

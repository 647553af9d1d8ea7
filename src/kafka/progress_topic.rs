//! How far each ledger has published: its last committed record in a compacted topic, by the ledger's id.

use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;

use writ_schemas::errors::Code;
use writ_schemas::ids::{LedgerId, Seq, hex, unhex};

use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::kafka::cluster::{Cluster, assign};
use crate::kafka::failure::{Asked, failure, is_topic_refused};
use crate::kafka::topics::Asking;
use crate::kafka::transactions::{Published, Record};
use crate::kafka::{PATIENCE, PROGRESS};

/// The topic's one partition.
const PARTITION: i32 = 0;

/// Where the records of one ledger are read.
pub struct ProgressTopic {
    cluster: Cluster,
    topic: String,
    ledger: LedgerId,
}

impl ProgressTopic {
    /// Of this ledger.
    #[must_use]
    pub fn of(cluster: &Cluster, ledger: LedgerId) -> ProgressTopic {
        ProgressTopic { cluster: cluster.clone(), topic: cluster.topic(PROGRESS), ledger }
    }

    /// The furthest that this ledger has ever begun to publish, whether that was committed or not: all of it was durable in its log.
    /// Another ledger's open transaction does not hide it.
    ///
    /// # Errors
    /// `ERR_KAFKA_UNAVAILABLE`, `ERR_KAFKA_TOPIC`, `ERR_KAFKA_POSITION` for a record that cannot be read; that this client is refused.
    pub fn furthest(&self) -> Result<Published> {
        self.end(&self.cluster.ask_uncommitted()?)?;
        let records = self.read("read_uncommitted")?;
        Ok(records.into_iter().map(|record| record.at).max().unwrap_or_default())
    }

    /// The last committed record, or nothing while it cannot be told: committed records are read only up to the first transaction that is
    /// open, which may be another ledger's, and the last one may lie behind it.
    ///
    /// # Errors
    /// As [`ProgressTopic::furthest`].
    pub fn committed(&self) -> Result<Option<Record>> {
        // In this order: a transaction that begins in between hides nothing that was there before.
        let (end, stable) = (self.end(&self.cluster.ask_uncommitted()?)?, self.end(&self.cluster.ask()?)?);
        if stable < end {
            return Ok(None);
        }
        Ok(Some(self.read("read_committed")?.pop().unwrap_or_default()))
    }

    /// The end of the topic's one partition: records of a ledger that lie in two have no order.
    fn end(&self, asking: &Asking) -> Result<i64> {
        let ends = asking.ends(&self.topic)?;
        match ends.get(&PARTITION) {
            Some(end) if ends.len() == 1 => Ok(*end),
            _ => {
                let why = format!("{} has {} partitions, and is to have one", self.topic, ends.len());
                Err(Failure::new(Code::KafkaTopic, why))
            }
        }
    }

    /// The records of this ledger, in order. "To the end" is the partition's end of file, not an offset: control records occupy offsets.
    fn read(&self, isolation: &str) -> Result<Vec<Record>> {
        let musts =
            [("isolation.level", isolation), ("enable.partition.eof", "true"), ("auto.offset.reset", "earliest")];
        let consumer = self.cluster.consumer("writ", &[], &musts)?;
        assign(&consumer, &[(&self.topic, PARTITION, Offset::Beginning)])?;
        let (key, mut records) = (self.ledger.to_string(), Vec::new());
        let started = Stopwatch::start();
        while started.elapsed() <= PATIENCE * 2 {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(records),
                Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_topic_refused) => {
                    return Err(failure(Asked::Read(&self.topic), &error));
                }
                Some(Ok(message)) if message.key() == Some(key.as_bytes()) => {
                    records.push(self.parse(message.payload().unwrap_or_default())?);
                }
                // The client library tries again, and there is an end to patience.
                Some(Ok(_) | Err(_)) | None => {}
            }
        }
        let why = format!("{} does not come to its end", self.topic);
        Err(consumer.context().take_refusal().unwrap_or(Failure::new(Code::KafkaUnavailable, why)))
    }

    fn parse(&self, value: &[u8]) -> Result<Record> {
        let refuse = |why: &dyn std::fmt::Display| Failure::new(Code::KafkaPosition, format!("{}: {why}", self.topic));
        let Json { head, instance, next } = writ_schemas::strict::parse(value, 1024).map_err(|e| refuse(&e))?;
        let head = unhex(&head).ok_or_else(|| refuse(&"its head is not 64 hex digits"))?;
        let instance = unhex(&instance).ok_or_else(|| refuse(&"its instance is not 32 hex digits"))?;
        Ok(Record { at: Published { next, head }, instance })
    }
}

/// A record's value.
#[derive(serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
struct Json {
    head: String,
    instance: String,
    next: Seq,
}

/// A record's value, as canonical JSON.
#[must_use]
pub fn value(record: Record) -> String {
    let Record { at: Published { next, head }, instance } = record;
    format!("{{\"head\":\"{}\",\"instance\":\"{}\",\"next\":{next}}}", hex(&head), hex(&instance))
}

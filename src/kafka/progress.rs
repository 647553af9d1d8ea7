//! How far each ledger has published: its last committed record in a compacted topic, by the ledger's id.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;

use writ_schemas::errors::Code;
use writ_schemas::ids::{LedgerId, Seq, hex, unhex};

use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::kafka::PATIENCE;
use crate::kafka::PROGRESS;
use crate::kafka::cluster::{Cluster, assign};
use crate::kafka::context::Consumer;
use crate::kafka::failure::{Asked, failure, is_topic_refused};
use crate::kafka::transactions::{Published, Record};

/// Where the records of one ledger are read.
pub struct Progress {
    cluster: Cluster,
    topic: String,
    ledger: LedgerId,
}

impl Progress {
    /// Of this ledger.
    #[must_use]
    pub fn of(cluster: &Cluster, ledger: LedgerId) -> Progress {
        Progress { cluster: cluster.clone(), topic: cluster.topic(PROGRESS), ledger }
    }

    /// The furthest that this ledger has ever begun to publish, whether that was committed or not: all of it was durable in its log.
    /// Another ledger's open transaction does not hide it.
    ///
    /// # Errors
    /// `ERR_KAFKA_UNAVAILABLE`, `ERR_KAFKA_TOPIC`, `ERR_KAFKA_POSITION` for a record that cannot be read; that this client is refused.
    pub fn furthest(&self) -> Result<Published> {
        let records = self.read("read_uncommitted")?;
        Ok(records.into_iter().map(|record| record.at).max().unwrap_or_default())
    }

    /// The last committed record, or nothing while it cannot be told: committed records are read only up to the first transaction that is
    /// open, which may be another ledger's, and the last one may lie behind it.
    ///
    /// # Errors
    /// As [`Progress::furthest`].
    pub fn committed(&self) -> Result<Option<Record>> {
        // In this order: a transaction that begins in between hides nothing that was there before.
        let (ends, stable) =
            (self.cluster.ask_uncommitted()?.ends(&self.topic)?, self.cluster.ask()?.ends(&self.topic)?);
        if ends.iter().any(|(partition, end)| stable.get(partition).is_none_or(|stable| stable < end)) {
            return Ok(None);
        }
        Ok(Some(self.read("read_committed")?.pop().unwrap_or_default()))
    }

    /// The records of this ledger, in order. "To the end" is the partition's end of file, not an offset: control records occupy offsets.
    fn read(&self, isolation: &str) -> Result<Vec<Record>> {
        let musts =
            [("isolation.level", isolation), ("enable.partition.eof", "true"), ("auto.offset.reset", "earliest")];
        let partitions = self.cluster.ask()?.ends(&self.topic)?;
        // Records of a ledger that lie in two have no order.
        if partitions.len() != 1 {
            let why = format!("{} has {} partitions, and is to have one", self.topic, partitions.len());
            return Err(Failure::new(Code::KafkaTopic, why));
        }
        let consumer = self.cluster.consumer("writ", &[], &musts)?;
        let from: Vec<_> = partitions.keys().map(|it| (self.topic.as_str(), *it, Offset::Beginning)).collect();
        assign(&consumer, &from)?;
        let (mut ended, mut records) = (BTreeSet::new(), Vec::new());
        let started = Stopwatch::start();
        while ended.len() < partitions.len() {
            if started.elapsed() > PATIENCE * 2 {
                let why = format!("{} does not come to its end", self.topic);
                return Err(consumer.context().take_refusal().unwrap_or(Failure::new(Code::KafkaUnavailable, why)));
            }
            self.take(&consumer, &mut ended, &mut records)?;
        }
        Ok(records)
    }

    fn take(&self, consumer: &Consumer, ended: &mut BTreeSet<i32>, records: &mut Vec<Record>) -> Result<()> {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_topic_refused) => {
                return Err(failure(Asked::Read(&self.topic), &error));
            }
            Some(Ok(message)) if message.key() == Some(self.ledger.to_string().as_bytes()) => {
                records.push(self.parse(message.payload().unwrap_or_default())?);
            }
            // The client library tries again, and there is an end to patience.
            Some(Ok(_) | Err(_)) | None => {}
        }
        Ok(())
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

//! Reads bound partitions, from where the log says.
//!
//! The source of every intent is in its entry, so the log knows how far intake got, and exactly-once intake needs nothing of
//! the broker but its records. A position above the broker's high watermark, or another topic id, is refused; one below the
//! low watermark is a gap, and is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use tracing::{error, warn};

use writ_kernel::state::Binding;
use writ_schemas::errors::Code;
use writ_schemas::event::{Partition, Source, SourceGap};

use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::holds::{Hold, Holds};
use crate::intake;
use crate::kafka::PATIENCE;
use crate::kafka::cluster::{Cluster, assign};
use crate::kafka::context::Consumer;
use crate::kafka::failure::{Asked, failure};
use crate::kafka::intake_lag::Read;
use crate::kafka::topic_description::Right;
use crate::queue::Queue;
use crate::sequencer::{Input, Submission};
use crate::space::Space;
use crate::telemetry::context::TraceContext;
use crate::telemetry::facts::{Arrival, Fact, Interval, Poll};
use crate::telemetry::metrics;
use crate::telemetry::tracer::Tracer;

/// The most records that are parsed together: enough to keep every core busy, few enough to stay in the cache.
const RECORDS_MAX: usize = 256;

/// How often it looks whether the disk has room again.
const SHORT_PAUSE: Duration = Duration::from_millis(100);

/// How long nothing may come before the client is asked whether it still knows the cluster.
const SILENCE: Duration = Duration::from_secs(5);

/// How long it is asked. One that was told of a cluster without brokers, as a broker says that was frozen for longer than its session, may
/// ask nobody any more, for good (librdkafka's issue 5301).
const DOUBT: Duration = Duration::from_secs(15);

/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// The reader of one topic.
pub struct Intake {
    cluster: Cluster,
    consumer: Consumer,
    /// The offset after the last record that was read, by partition.
    next: BTreeMap<u32, u64>,
    /// The same, for whoever watches.
    read: Read,
    /// Since when nothing has shown that the client reaches the cluster.
    silent: Stopwatch,
    topic: Arc<str>,
    binding: Binding,
    feed: Feed,
}

/// What a reader hands records to, and what it heeds.
#[derive(Clone)]
pub struct Feed {
    /// The queue of the writer.
    pub queue: Arc<Queue<Input>>,
    /// The ledger's room on the disk.
    pub space: Arc<Space>,
    /// Which partitions the writer holds.
    pub holds: Arc<Holds>,
    /// Who traces.
    pub tracer: Tracer,
}

impl Intake {
    /// Connects, checks that the topic is the one that was bound, and seeks to the log's positions. It leaves alone the partitions that the
    /// writer holds.
    ///
    /// # Errors
    /// `ERR_KAFKA_TOPIC`, `ERR_KAFKA_POSITION`, `ERR_KAFKA_UNAVAILABLE`; that the brokers refuse this client.
    pub fn connect(
        cluster: &Cluster,
        topic: &str,
        binding: &Binding,
        positions: &BTreeMap<Partition, u64>,
        feed: Feed,
    ) -> Result<Intake> {
        let described = cluster.ask()?.describe_for(topic, Right::Read)?;
        if described.topic_id != binding.topic_id || described.cluster != binding.cluster {
            return Err(Failure::new(
                Code::KafkaTopic,
                format!(
                    "{topic} has id {} in cluster {}, another one was bound",
                    described.topic_id, described.cluster
                ),
            ));
        }
        if described.partitions != binding.partitions {
            return Err(Failure::new(
                Code::KafkaTopic,
                format!("{topic} has {} partitions, {} were bound", described.partitions, binding.partitions),
            ));
        }
        let consumer = client(cluster)?;
        let mut intake = Intake {
            cluster: cluster.clone(),
            consumer,
            next: BTreeMap::new(),
            read: Read::of(Arc::from(topic), binding.partitions),
            silent: Stopwatch::start(),
            topic: Arc::from(topic),
            binding: binding.clone(),
            feed,
        };
        let mut gaps = Vec::new();
        for number in 0..binding.partitions {
            let (next, gap) = intake.start(number, positions.get(&intake.partition(number)).copied())?;
            gaps.extend(gap);
            intake.next.insert(number, next);
        }
        intake.read.reached(&intake.next);
        intake.assign_all(&BTreeSet::new())?;
        // Only then: what fails before is tried again, and would find them again.
        gaps.into_iter().for_each(|gap| intake.feed.queue.report(Input::Gap(gap)));
        Ok(intake)
    }

    /// Reads each partition from where it stands, but for those that are left alone.
    fn assign_all(&self, left: &BTreeSet<u32>) -> Result<()> {
        let read = self.next.iter().filter(|(number, _)| !left.contains(number));
        let place = |(number, next): (&u32, &u64)| {
            let offset = Offset::Offset(i64::try_from(*next).unwrap_or(i64::MAX));
            (&*self.topic, i32::try_from(*number).unwrap_or(i32::MAX), offset)
        };
        assign(&self.consumer, &read.map(place).collect::<Vec<_>>())
    }

    /// Asks a client from which nothing comes whether it still knows the cluster, and puts another in its place if it does not say so. In
    /// an outage that is of no use, and does no harm.
    fn look_after_client(&mut self, left: &BTreeSet<u32>) -> Result<()> {
        if self.silent.elapsed() < SILENCE {
            return Ok(());
        }
        if self.consumer.fetch_watermarks(&self.topic, 0, ANSWER).is_ok() {
            self.silent = Stopwatch::start();
        } else if self.silent.elapsed() > SILENCE + DOUBT {
            warn!(topic = %self.topic, "the reader of Kafka hears of no broker; a new one goes on from where it was");
            self.silent = Stopwatch::start();
            match client(&self.cluster) {
                Ok(consumer) => {
                    self.consumer = consumer;
                    self.assign_all(left)?;
                }
                Err(failure) => warn!(%failure, "the reader of Kafka stays"),
            }
        }
        Ok(())
    }

    /// How far it has read.
    #[must_use]
    pub fn read(&self) -> Read {
        self.read.clone()
    }

    fn partition(&self, number: u32) -> Partition {
        Partition { topic_id: self.binding.topic_id.clone(), number }
    }

    /// Where reading starts: the log's position, if the broker still has it; and what is missing otherwise.
    fn start(&self, number: u32, position: Option<u64>) -> Result<(u64, Option<SourceGap>)> {
        let expected = position.unwrap_or(0);
        let (low, high) = self.watermarks(number)?;
        if expected > high {
            return Err(Failure::new(
                Code::KafkaPosition,
                format!("{}/{number}: the log has read up to {expected}, the broker ends at {high}", self.topic),
            ));
        }
        if expected < low {
            error!(topic = %self.topic, number, expected, low, "records are gone before they were read");
            let gap = SourceGap { partition: self.partition(number), expected, found: low };
            return Ok((low, Some(gap)));
        }
        Ok((expected, None))
    }

    fn watermarks(&self, number: u32) -> Result<(u64, u64)> {
        let partition = i32::try_from(number).unwrap_or(i32::MAX);
        let marks = self.consumer.fetch_watermarks(&self.topic, partition, PATIENCE);
        let (low, high) = marks.map_err(|e| failure(Asked::Read(&self.topic), &e))?;
        Ok((u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0)))
    }

    /// Reads until it is told to stop; nothing while the disk is short of room.
    ///
    /// # Errors
    /// Kafka refuses for good: an authorisation, a topic that is gone, records that were deleted while it read.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        let mut left = BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            self.read.reached(&self.next);
            if self.feed.space.is_short() {
                std::thread::sleep(SHORT_PAUSE);
                continue;
            }
            if !self.heed(&mut left)? {
                return Ok(());
            }
            let polled = Stopwatch::start();
            let mut records = Vec::new();
            let mut sources = Vec::new();
            let mut patience = Duration::from_millis(100);
            while records.len() < RECORDS_MAX {
                match self.consumer.poll(patience) {
                    None => break,
                    Some(Ok(message)) => {
                        let source = self.source(&message);
                        if let Source::Kafka { partition, offset } = &source {
                            self.next.insert(partition.number, offset.saturating_add(1));
                        }
                        sources.push((source, caller(&message)));
                        records.push(message.payload().unwrap_or_default().to_vec());
                    }
                    Some(Err(error)) => self.survive(&error)?,
                }
                patience = Duration::ZERO;
            }
            if records.is_empty() {
                self.look_after_client(&left)?;
            } else {
                self.silent = Stopwatch::start();
            }
            if !records.is_empty() && !self.hand_over(polled, records, sources) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Leaves alone what the writer holds, and reads what it holds no more from where it says. `left` are those that are left alone.
    /// False once the queue is closed.
    ///
    /// A partition that is left is not assigned any more, so that nothing of it is fetched either, and what was is dropped.
    fn heed(&mut self, left: &mut BTreeSet<u32>) -> Result<bool> {
        for (partition, hold) in self.feed.holds.of(&self.binding.topic_id) {
            if left.insert(partition.number) {
                let gone = self.one(partition.number, Offset::Invalid)?;
                self.consumer.incremental_unassign(&gone).map_err(|e| failure(Asked::Cluster, &e))?;
            }
            if let Hold::ResumesAt(offset) = hold {
                self.next.insert(partition.number, offset);
                let offset = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
                let again = self.one(partition.number, offset)?;
                self.consumer.incremental_assign(&again).map_err(|e| failure(Asked::Cluster, &e))?;
                left.remove(&partition.number);
                self.feed.holds.heeded(&partition);
                // Whatever was read of it before is in the queue by now.
                if self.feed.queue.put(Input::Resumed(partition), 0).is_err() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// One partition, as the client library takes it.
    fn one(&self, number: u32, offset: Offset) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let added = list.add_partition_offset(&self.topic, number, offset);
        added.map_err(|e| failure(Asked::Read(&self.topic), &e))?;
        Ok(list)
    }

    /// Parses on every core and queues in order. Waiting for room here is what pauses Kafka: nothing more is polled.
    fn hand_over(
        &self,
        polled: Stopwatch,
        records: Vec<Vec<u8>>,
        sources: Vec<(Source, Option<TraceContext>)>,
    ) -> bool {
        let took = Interval::since(polled);
        metrics::kafka_read(records.len());
        let tracer = &self.feed.tracer;
        let own = if tracer.is_on() { tracer.root() } else { None };
        let poll = Arc::new(Poll { topic: Arc::clone(&self.topic), own });
        let (count, mut callers, mut linked) = (records.len(), Vec::new(), false);
        let sizes: Vec<usize> = records.iter().map(Vec::len).collect();
        let submitted = intake::read_records(records);
        let parsed = Stopwatch::start();
        for (((what, raw), (source, caller)), bytes) in submitted.into_iter().zip(sources).zip(sizes) {
            let own = tracer.begin(caller);
            if own.is_some_and(|own| own.sampled) {
                linked = true;
                callers.extend(caller);
            }
            let arrival = Arrival { read: took.until, parsed, own, caller, poll: Some(Arc::clone(&poll)) };
            let submission = Submission { what, raw, source, arrival, reply: None };
            if self.feed.queue.put(Input::Submit(submission), bytes).is_err() {
                return false;
            }
        }
        if linked {
            tracer.record(|| Fact::Polled { poll, took, records: count, callers });
        }
        true
    }

    fn source(&self, message: &BorrowedMessage<'_>) -> Source {
        let number = u32::try_from(message.partition()).unwrap_or(u32::MAX);
        Source::Kafka { partition: self.partition(number), offset: u64::try_from(message.offset()).unwrap_or(0) }
    }

    /// The client library reconnects by itself; only what cannot mend itself ends intake.
    fn survive(&self, error: &KafkaError) -> Result<()> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Err(failure(Asked::Read(&self.topic), error)),
            // A group is a name only.
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => Ok(()),
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::BadCompression
                | RDKafkaErrorCode::BadMessage
                | RDKafkaErrorCode::Fatal,
            ) => Err(Failure::new(Code::KafkaPosition, format!("reading intents: {error}"))),
            Some(_) | None => {
                warn!(%error, "Kafka");
                Ok(())
            }
        }
    }
}

/// A client that reads intents.
fn client(cluster: &Cluster) -> Result<Consumer> {
    let defaults =
        [("fetch.message.max.bytes", "8388608"), ("fetch.wait.max.ms", "50"), ("queued.max.messages.kbytes", "32768")];
    cluster.consumer("writ", &defaults, &[("auto.offset.reset", "error")])
}

/// The span that a record came from.
fn caller(message: &BorrowedMessage<'_>) -> Option<TraceContext> {
    let value = message.headers()?.iter().find(|header| header.key == "traceparent")?.value?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

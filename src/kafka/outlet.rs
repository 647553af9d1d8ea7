//! Publishes what is durable: decisions, receipts and refusals, each once, in the order of the log.
//!
//! The outputs and the record of how far this ledger has published are one transaction, so a reader of committed records
//! sees each thing once, whatever crashed. The producer's `transactional.id` is the ledger's id: connecting fences any other
//! process that publishes for this ledger.
//!
//! **Invariant:** reads the log only up to what the sequencer has committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tracing::{debug_span, warn};

use writ_log::Reader;
use writ_schemas::canonical;
use writ_schemas::entry::Entry;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, EventKind};
use writ_schemas::ids::{LedgerId, Seq, hex, unhex};

use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::kafka::cluster::{self, PATIENCE, failure};
use crate::kafka::{DECISIONS, PROGRESS, RECEIPTS, REFUSALS};
use crate::progress::Progress;
use crate::telemetry;

/// The most outputs of one transaction.
const OUTPUTS_MAX: usize = 2000;

/// How long the outlet waits before it tries a transaction again.
const PAUSE: Duration = Duration::from_millis(200);

/// The publisher of one ledger.
pub struct Outlet {
    producer: BaseProducer,
    bootstrap: String,
    ledger: LedgerId,
    at: Published,
    /// What the last progress record says: entries after it had nothing to publish.
    recorded: Published,
}

/// How far a ledger has published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// The seq after the last entry that was published.
    pub next: Seq,
    /// The hash of that entry: a count alone would accept any log that is long enough.
    pub head: [u8; 32],
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It is committed.
    Committed,
    /// The process is ending, and the broker is away.
    NotNow,
    /// What became of it is not known, and this producer will never find out.
    Unknown,
}

/// Something to publish.
struct Output {
    topic: &'static str,
    key: String,
    value: Vec<u8>,
    headers: OwnedHeaders,
}

impl Outlet {
    /// Connects and fences, and only then reads how far this ledger has published.
    ///
    /// # Errors
    /// `ERR_KAFKA_UNAVAILABLE`, or what the broker says.
    pub fn connect(bootstrap: &str, ledger: LedgerId) -> Result<Outlet> {
        let producer: BaseProducer = cluster::client(bootstrap)
            .set("transactional.id", format!("writ-{ledger}"))
            .set("transaction.timeout.ms", "30000")
            .set("enable.idempotence", "true")
            .set("compression.type", "none")
            .set("linger.ms", "5")
            .create()
            .map_err(|e| failure("producer", &e))?;
        producer.init_transactions(PATIENCE).map_err(|e| failure("fencing", &e))?;
        let at = read_progress(bootstrap, ledger)?;
        Ok(Outlet { producer, bootstrap: bootstrap.to_owned(), ledger, at, recorded: at })
    }

    /// How far this ledger has published.
    #[must_use]
    pub fn published(&self) -> Published {
        self.at
    }

    /// Publishes until the ledger closes and all of it is out. Once `stop` is set, a broker that is away is not waited for:
    /// what is left goes out after the next start.
    ///
    /// # Errors
    /// `ERR_KAFKA_FENCED`: another process publishes for this ledger, and this one must end at once. Or the log could not be
    /// read. A broker that is away is waited for.
    pub fn run(&mut self, log: &Reader, progress: &Progress, stop: &AtomicBool) -> Result<()> {
        loop {
            let until = progress.wait_beyond(self.at.next, Duration::from_millis(500));
            if until == self.at.next {
                if progress.is_closed() {
                    return Ok(());
                }
                continue;
            }
            while self.at.next < until {
                let (outputs, at) = self.collect(log, until)?;
                let waits = || {
                    telemetry::kafka_lag(progress.next().0.saturating_sub(self.at.next.0));
                    !stop.load(Ordering::Relaxed)
                };
                let ended =
                    if outputs.is_empty() { None } else { Some(self.publish_until_done(&outputs, at, &waits)?) };
                match ended {
                    None => self.at = at,
                    Some(Ended::Committed) => (self.at, self.recorded) = (at, at),
                    Some(Ended::NotNow) => return Ok(()),
                    Some(Ended::Unknown) => match self.again(at, &waits)? {
                        Some(again) => *self = again,
                        None => return Ok(()),
                    },
                }
            }
            telemetry::kafka_lag(progress.next().0.saturating_sub(self.at.next.0));
        }
    }

    /// The outputs of the next entries, and how far it looked.
    fn collect(&self, reader: &Reader, until: Seq) -> Result<(Vec<Output>, Published)> {
        let (mut outputs, mut at) = (Vec::new(), self.at);
        for located in reader.entries(self.at.next)?.until(until) {
            let entry = located?.entry;
            if outputs.len() >= OUTPUTS_MAX {
                break;
            }
            at = Published { next: entry.header.seq.next(), head: entry.hash() };
            outputs.extend(self.output(&entry)?);
        }
        Ok((outputs, at))
    }

    fn output(&self, entry: &Entry) -> Result<Option<Output>> {
        let seq = entry.header.seq;
        let wanted =
            [EventKind::DecisionMade, EventKind::ReceiptIssued, EventKind::RecordRefused, EventKind::RecordsOverQuota];
        if !wanted.contains(&entry.header.kind) {
            return Ok(None);
        }
        let output = |topic, kind, content_type, key: String, value| Output {
            topic,
            key,
            value,
            headers: self.headers(seq, kind, content_type),
        };
        const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
        Ok(match entry.event()? {
            Event::DecisionMade(decision) => {
                let key = decision.value().tenant.to_string();
                Some(output(DECISIONS, "writ.decision.v1", DSSE, key, decision.to_envelope()))
            }
            Event::ReceiptIssued(issued) => {
                let key = issued.receipt.value().tenant.to_string();
                Some(output(RECEIPTS, "writ.receipt.v1", DSSE, key, issued.receipt.to_envelope()))
            }
            Event::RecordRefused(refused) => {
                let value = canonical::bytes(&refused.to_json(seq)).map_err(|e| Failure::new(Code::Schema, e))?;
                Some(output(REFUSALS, "writ.refusal.v1", "application/json", self.ledger.to_string(), value))
            }
            Event::RecordsOverQuota(over) => {
                let value = canonical::bytes(&over.to_json(seq)).map_err(|e| Failure::new(Code::Schema, e))?;
                Some(output(REFUSALS, "writ.over-quota.v1", "application/json", self.ledger.to_string(), value))
            }
            _ => None,
        })
    }

    /// CloudEvents 1.0, Kafka binding, binary mode.
    fn headers(&self, seq: Seq, kind: &str, content_type: &str) -> OwnedHeaders {
        let (id, source) = (format!("{}/{seq}", self.ledger), format!("/ledgers/{}", self.ledger));
        let pairs = [
            ("ce_specversion", "1.0"),
            ("ce_id", &id),
            ("ce_source", &source),
            ("ce_type", kind),
            ("content-type", content_type),
        ];
        pairs
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }))
    }

    /// One transaction, tried again until it is committed. A broker that is away is waited for as long as `waits` says so;
    /// being fenced is final.
    fn publish_until_done(&self, outputs: &[Output], at: Published, waits: &dyn Fn() -> bool) -> Result<Ended> {
        loop {
            waits();
            let took = Stopwatch::start();
            let committed = match self.produce(outputs, at) {
                // A commit that timed out may have happened: it is asked for again until it is known.
                Ok(()) => self.until_known(waits, || self.producer.commit_transaction(PATIENCE)),
                Err(error) => Err(Some(error)),
            };
            match committed {
                Ok(()) => {
                    telemetry::kafka_published(outputs.len());
                    telemetry::stage("publish", took.elapsed());
                    return Ok(Ended::Committed);
                }
                Err(None) => return Ok(Ended::NotNow),
                Err(Some(error)) => {
                    self.survive(&error)?;
                    warn!(%error, "a transaction cannot be committed; it is aborted and tried again");
                }
            }
            match self.until_known(waits, || self.producer.abort_transaction(PATIENCE)) {
                Ok(()) if !waits() => return Ok(Ended::NotNow),
                Ok(()) => std::thread::sleep(PAUSE),
                Err(None) => return Ok(Ended::NotNow),
                Err(Some(error)) => {
                    self.survive(&error)?;
                    warn!(%error, "a transaction cannot be aborted; a new producer finds out what became of it");
                    return Ok(Ended::Unknown);
                }
            }
        }
    }

    /// Another outlet in the place of this one, once the broker answers. A transaction that is still open ends when it
    /// connects, and what is recorded then is what was recorded before, or what this one `attempted`.
    fn again(&self, attempted: Published, waits: &dyn Fn() -> bool) -> Result<Option<Outlet>> {
        while waits() {
            match Outlet::connect(&self.bootstrap, self.ledger) {
                Ok(again) if [self.recorded, attempted].contains(&again.recorded) => return Ok(Some(again)),
                Ok(_) => return Err(Failure::new(Code::KafkaFenced, "another process has published for this ledger")),
                Err(failure) if failure.code == Code::KafkaUnavailable => warn!(%failure, "the broker does not answer"),
                Err(failure) => return Err(failure),
            }
            std::thread::sleep(PAUSE);
        }
        Ok(None)
    }

    /// Fails if neither an abort nor another producer mends it: this one is fenced, or Kafka refuses for good. What made a
    /// producer unusable hides behind later errors, so it is asked for.
    fn survive(&self, error: &KafkaError) -> Result<()> {
        use RDKafkaErrorCode::{
            MessageSizeTooLarge, TopicAuthorizationFailed, TransactionalIdAuthorizationFailed, UnknownTopic,
        };
        let refused = [TopicAuthorizationFailed, TransactionalIdAuthorizationFailed, UnknownTopic, MessageSizeTooLarge];
        let root = self.producer.client().fatal_error().map(|(code, _)| KafkaError::Global(code));
        for error in root.iter().chain([error]) {
            let failure = failure("publishing", error);
            if failure.code == Code::KafkaFenced || error.rdkafka_error_code().is_some_and(|it| refused.contains(&it)) {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Repeats the end of a transaction while the broker does not answer. No error in hand means that the process ends
    /// first: what became of the transaction is then found out at the next start, from the progress record.
    ///
    /// The pause polls. An abort turns what was not sent into delivery reports and waits until they are taken, which only a
    /// poll does: without it no abort would ever end, however long the broker is back.
    fn until_known(
        &self,
        waits: &dyn Fn() -> bool,
        end: impl Fn() -> std::result::Result<(), KafkaError>,
    ) -> std::result::Result<(), Option<KafkaError>> {
        loop {
            match end() {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && !error.is_fatal() => {
                    warn!(%error, "the broker does not answer");
                }
                Err(error) => return Err(Some(error)),
            }
            if !waits() {
                return Err(None);
            }
            self.producer.poll(PAUSE);
        }
    }

    fn produce(&self, outputs: &[Output], at: Published) -> std::result::Result<(), KafkaError> {
        let _span = debug_span!("publish", outputs = outputs.len()).entered();
        self.producer.begin_transaction()?;
        for output in outputs {
            self.send(
                BaseRecord::to(output.topic).key(&output.key).payload(&output.value).headers(output.headers.clone()),
            )?;
        }
        let (key, value) = (self.ledger.to_string(), progress_record(at));
        self.send(BaseRecord::to(PROGRESS).key(&key).payload(&value))
    }

    fn send(
        &self,
        mut record: BaseRecord<'_, String, impl rdkafka::message::ToBytes + ?Sized>,
    ) -> std::result::Result<(), KafkaError> {
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.producer.poll(Duration::from_millis(50));
                }
                Err((error, _)) => return Err(error),
            }
        }
    }
}

/// How far the ledger has published: the last committed progress record of its id. "To the end" is the partition's end of
/// file, not an offset: control records occupy offsets.
fn read_progress(bootstrap: &str, ledger: LedgerId) -> Result<Published> {
    let consumer: BaseConsumer = cluster::consumer(bootstrap, &format!("writ-progress-{ledger}"))
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .create()
        .map_err(|e| failure("consumer", &e))?;
    let ends = cluster::ends(bootstrap, PROGRESS)?;
    wait_until_stable(&consumer, &ends)?;
    cluster::assign(&consumer, &ends.keys().map(|it| (PROGRESS, *it, Offset::Beginning)).collect::<Vec<_>>())?;
    let (mut ended, mut at) = (BTreeSet::new(), Published::default());
    let started = Stopwatch::start();
    while ended.len() < ends.len() {
        match consumer.poll(Duration::from_millis(200)) {
            None if started.elapsed() > PATIENCE * 2 => {
                return Err(Failure::new(Code::KafkaUnavailable, format!("{PROGRESS} does not come to its end")));
            }
            None => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(error)) => warn!(%error, "reading progress"),
            Some(Ok(message)) if message.key() == Some(ledger.to_string().as_bytes()) => {
                at = parse_progress(message.payload().unwrap_or_default())?;
            }
            Some(Ok(_)) => {}
        }
    }
    Ok(at)
}

/// Waits until no transaction is open below what the topic holds now. Committed records are read only up to the first open
/// transaction, which may be another ledger's, and our own last record may lie behind it.
fn wait_until_stable(committed: &BaseConsumer, ends: &BTreeMap<i32, i64>) -> Result<()> {
    let stable = |partition| {
        let marks = committed.fetch_watermarks(PROGRESS, partition, PATIENCE);
        marks.map(|(_, end)| end).map_err(|e| failure(PROGRESS, &e))
    };
    let started = Stopwatch::start();
    for (partition, end) in ends {
        while stable(*partition)? < *end {
            if started.elapsed() > PATIENCE * 4 {
                return Err(Failure::new(Code::KafkaUnavailable, format!("{PROGRESS}: a transaction stays open")));
            }
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

fn progress_record(at: Published) -> String {
    format!("{{\"head\":\"{}\",\"next\":{}}}", hex(&at.head), at.next)
}

fn parse_progress(value: &[u8]) -> Result<Published> {
    #[derive(serde::Deserialize, serde::Serialize)]
    #[serde(deny_unknown_fields)]
    struct Record {
        head: String,
        next: Seq,
    }
    let refuse = |why: &dyn std::fmt::Display| Failure::new(Code::KafkaPosition, format!("{PROGRESS}: {why}"));
    let Record { head, next } = writ_schemas::strict::parse(value, 1024).map_err(|e| refuse(&e))?;
    let head = unhex(&head).ok_or_else(|| refuse(&"its head is not 64 hex digits"))?;
    Ok(Published { next, head })
}

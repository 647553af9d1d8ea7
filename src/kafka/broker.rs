//! What [`transactions`](super::transactions) needs of a cluster, by the client library.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};

use writ_schemas::errors::Code;
use writ_schemas::ids::LedgerId;

use crate::clock::Stopwatch;
use crate::error::Failure;
use crate::kafka::PROGRESS;
use crate::kafka::cluster::Cluster;
use crate::kafka::context;
use crate::kafka::failure::{Asked, failure, is_unauthorised};
use crate::kafka::progress_topic::{self, ProgressTopic};
use crate::kafka::transactions::{Broker, Record, TransactionalProducer, Trouble};

/// After this time the broker ends a transaction, so that a process that died holds up readers no longer than this.
const TRANSACTION_TIMEOUT_MS: &str = "30000";

/// Something to publish.
pub struct Output {
    /// The topic's full name.
    pub topic: String,
    /// By which records are spread over partitions.
    pub key: String,
    /// What is published.
    pub value: Vec<u8>,
    /// Name and value of each header.
    pub headers: Vec<(&'static str, String)>,
}

/// The cluster for one ledger.
pub struct Publishing {
    cluster: Cluster,
    ledger: LedgerId,
    progress: ProgressTopic,
    started: Stopwatch,
}

impl Publishing {
    /// For this ledger. Its id is the transactional id, which is what fences.
    #[must_use]
    pub fn of(cluster: &Cluster, ledger: LedgerId) -> Publishing {
        let progress = ProgressTopic::of(cluster, ledger);
        Publishing { cluster: cluster.clone(), ledger, progress, started: Stopwatch::start() }
    }

    /// How far this ledger has published, or began to.
    #[must_use]
    pub fn progress(&self) -> &ProgressTopic {
        &self.progress
    }
}

impl Broker for Publishing {
    type Output = Output;
    type Producer = Transactional;

    fn producer(&self) -> Result<Transactional, Trouble> {
        let id = format!("writ-{}", self.ledger);
        // What waits for company only waits: a batch is sent at once.
        let defaults = [("compression.type", "none"), ("linger.ms", "0")];
        let musts = [("transactional.id", id.as_str()), ("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS)];
        let library = self.cluster.producer(&defaults, &musts).map_err(trouble_of)?;
        let (topic, key) = (self.cluster.topic(PROGRESS), self.ledger.to_string());
        Ok(Transactional { library, id, topic, key })
    }

    fn recorded(&self) -> Result<Record, Trouble> {
        match self.progress.committed() {
            Ok(Some(record)) => Ok(record),
            Ok(None) => {
                let why = "another ledger's transaction is open, and hides how far this one has published";
                Err(Trouble::Later(Failure::new(Code::KafkaUnavailable, why)))
            }
            Err(failure) => Err(trouble_of(failure)),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A transactional producer of the client library.
pub struct Transactional {
    library: context::Producer,
    id: String,
    topic: String,
    key: String,
}

impl Transactional {
    /// What a failure of the library means. What made a producer unusable hides behind later errors, so it is asked for.
    fn trouble(&self, asked: Asked<'_>, error: &KafkaError) -> Trouble {
        let root = self.library.client().fatal_error().map(|(code, _)| KafkaError::Global(code));
        for error in root.iter().chain([error]) {
            if error.rdkafka_error_code().is_some_and(is_final) {
                return Trouble::Final(failure(asked, error));
            }
        }
        let is_later = match error {
            KafkaError::Transaction(error) => error.is_retriable() && !error.is_fatal(),
            KafkaError::Flush(_) => true,
            _ => false,
        };
        // The error itself says at most that time is over.
        if let Some(why) = self.library.context().take_refusal() {
            return Trouble::Lost(why);
        }
        let why = failure(asked, root.as_ref().filter(|_| !is_later).unwrap_or(error));
        if is_later && root.is_none() { Trouble::Later(why) } else { Trouble::Lost(why) }
    }

    /// Sends one record: false if the library's queue is full.
    fn send_to(
        &self,
        topic: &str,
        key: &str,
        value: &[u8],
        headers: &[(&'static str, String)],
    ) -> Result<bool, Trouble> {
        let headers = headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
            all.insert(Header { key, value: Some(value) })
        });
        match self.library.send(BaseRecord::to(topic).key(key).payload(value).headers(headers)) {
            Ok(()) => Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(false),
            Err((error, _)) => Err(self.trouble(Asked::Write(topic), &error)),
        }
    }
}

impl TransactionalProducer for Transactional {
    type Output = Output;

    fn fence(&mut self, patience: Duration) -> Result<(), Trouble> {
        let fenced = self.library.init_transactions(patience);
        self.unstored()?;
        fenced.map_err(|e| self.trouble(Asked::Publish(&self.id), &e))
    }

    fn begin(&mut self) -> Result<(), Trouble> {
        self.library.begin_transaction().map_err(|e| self.trouble(Asked::Publish(&self.id), &e))
    }

    fn send(&mut self, output: &Output) -> Result<bool, Trouble> {
        self.send_to(&output.topic, &output.key, &output.value, &output.headers)
    }

    fn send_record(&mut self, record: Record) -> Result<bool, Trouble> {
        self.send_to(&self.topic, &self.key, progress_topic::value(record).as_bytes(), &[])
    }

    fn unstored(&mut self) -> Result<usize, Trouble> {
        let left = context::serve(&self.library);
        if let Some((error, topic)) = self.library.context().take_undelivered() {
            return Err(self.trouble(Asked::Write(&topic), &error));
        }
        Ok(left)
    }

    fn commit(&mut self, patience: Duration) -> Result<(), Trouble> {
        self.library.commit_transaction(patience).map_err(|e| self.trouble(Asked::Publish(&self.id), &e))
    }
}

/// What a failure outside of a transaction means for a process that is at work: its certificates, topics and brokers were there when it
/// began, and may be again.
fn trouble_of(failure: Failure) -> Trouble {
    match failure.code {
        Code::KafkaAuthorization | Code::KafkaPosition | Code::KafkaFenced => Trouble::Final(failure),
        _ => Trouble::Lost(failure),
    }
}

/// Whether neither another transaction nor another producer mends it.
fn is_final(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{InvalidTransactionTimeout, MessageSizeTooLarge, UnknownTopic};
    is_unauthorised(code) || matches!(code, UnknownTopic | MessageSizeTooLarge | InvalidTransactionTimeout)
}

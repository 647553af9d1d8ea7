//! What brokers say of topics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};

use writ_schemas::act::Statement;
use writ_schemas::errors::Code;

use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::kafka::PATIENCE;
use crate::kafka::context::Consumer;
use crate::kafka::failure::{Asked, failure, is_unauthorised, lacking};
use crate::kafka::topic_description::{self, Right};

/// How long the library is asked at once, before what it has to say is looked at.
const SLICE: Duration = Duration::from_millis(500);

/// How long what it has to say is listened to.
const EVENTS_PATIENCE: Duration = Duration::from_millis(50);

/// How long it waits before it asks for a topic again.
const PAUSE: Duration = Duration::from_millis(50);

/// How often a client is refused before it believes it.
const REFUSALS_MIN: u32 = 2;

/// A topic as the broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The Kafka cluster's id.
    pub cluster: String,
    /// The topic's id.
    pub topic_id: String,
    /// How many partitions.
    pub partitions: u32,
    /// What this client may do with it, where the broker says it.
    pub rights: Option<BTreeSet<Right>>,
}

impl Topic {
    /// The statement that binds its partitions to a ledger.
    #[must_use]
    pub fn binding(self) -> Statement {
        let Topic { name, cluster, topic_id, partitions, rights: _ } = self;
        Statement::BindPartitions { cluster, topic: name, topic_id, partitions }
    }
}

/// A client that asks about topics.
pub struct Asking {
    pub(super) client: Consumer,
    pub(super) asks_for_tokens: bool,
}

impl Asking {
    /// What a broker says of a topic, or of all.
    pub(super) fn metadata(&self, topic: Option<&str>) -> Result<Metadata> {
        let asked = topic.map_or(Asked::Cluster, Asked::Describe);
        let since = Stopwatch::start();
        let (mut refused, mut refusals) = (None, 0);
        loop {
            let error = match self.client.fetch_metadata(topic, SLICE) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            // A client that has read nothing has nothing but events. They come one at a time, lines of the log before errors.
            let served = Stopwatch::start();
            while served.elapsed() < EVENTS_PATIENCE {
                let _ = self.client.poll(EVENTS_PATIENCE); // it is told to the context as well
            }
            if let Some(why) = self.client.context().take_refusal() {
                (refused, refusals) = (Some(why), refusals + 1);
            }
            if error.rdkafka_error_code().is_some_and(is_unauthorised) {
                return Err(failure(asked, &error));
            }
            // A connection that breaks at the wrong moment looks like a refusal, once.
            let is_certain = refusals >= REFUSALS_MIN && !self.asks_for_tokens;
            if is_certain || since.elapsed() > PATIENCE {
                if let Some(why) = refused {
                    return Err(why);
                }
                return Err(self.client.context().explained(failure(asked, &error)));
            }
        }
    }

    /// The partitions of a topic.
    fn partitions(&self, topic: &str) -> Result<(Metadata, Vec<i32>)> {
        let metadata = self.metadata(Some(topic))?;
        let described = metadata.topics().iter().find(|it| it.name() == topic);
        let error = described.and_then(MetadataTopic::error).map(RDKafkaErrorCode::from);
        // A topic that has no leader now is there.
        if let Some(code) = error.filter(|code| *code != RDKafkaErrorCode::UnknownTopicOrPartition) {
            return Err(failure(Asked::Describe(topic), &KafkaError::Global(code)));
        }
        let described = described.filter(|_| error.is_none()).map(MetadataTopic::partitions);
        let partitions: Vec<i32> = described.unwrap_or_default().iter().map(|it| it.id()).collect();
        if partitions.is_empty() {
            return Err(Failure::new(Code::KafkaTopic, format!("{topic} does not exist")));
        }
        Ok((metadata, partitions))
    }

    /// Waits until a topic that was made is there: the broker that says so is not the one that is asked next.
    ///
    /// # Errors
    /// As [`Asking::ends`], once its time is over.
    pub fn wait_for(&self, topic: &str) -> Result<()> {
        let since = Stopwatch::start();
        loop {
            match self.partitions(topic) {
                Err(failure)
                    if matches!(failure.code, Code::KafkaTopic | Code::KafkaUnavailable)
                        && since.elapsed() < PATIENCE =>
                {
                    std::thread::sleep(PAUSE);
                }
                there => return there.map(drop),
            }
        }
    }

    /// The end of each partition of a topic.
    ///
    /// # Errors
    /// `ERR_KAFKA_UNAVAILABLE`; `ERR_KAFKA_TOPIC` if there is no such topic; that this client is refused.
    pub fn ends(&self, topic: &str) -> Result<BTreeMap<i32, i64>> {
        let end = |partition| {
            let marks = self.client.fetch_watermarks(topic, partition, PATIENCE);
            marks.map(|(_, end)| (partition, end)).map_err(|e| failure(Asked::Describe(topic), &e))
        };
        self.partitions(topic)?.1.into_iter().map(end).collect()
    }

    /// Describes a topic.
    ///
    /// # Errors
    /// As [`Asking::ends`].
    pub fn describe(&self, topic: &str) -> Result<Topic> {
        let (metadata, partitions) = self.partitions(topic)?;
        let broker = metadata.brokers().first().map_or(-1, |broker| broker.id());
        let described = topic_description::of(self.client.client(), broker, topic, PATIENCE)?;
        let unnamed = || Failure::new(Code::KafkaUnavailable, format!("{topic}: its cluster does not say its id"));
        Ok(Topic {
            name: topic.to_owned(),
            cluster: self.client.client().fetch_cluster_id(PATIENCE).ok_or_else(unnamed)?,
            topic_id: described.id,
            partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
            rights: described.rights,
        })
    }

    /// Describes a topic that this client is going to use.
    ///
    /// # Errors
    /// `ERR_KAFKA_AUTHORIZATION` without the right to do so; as [`Asking::ends`].
    pub fn describe_for(&self, topic: &str, right: Right) -> Result<Topic> {
        let lacks = || {
            lacking(match right {
                Right::Read => Asked::Read(topic),
                Right::Write => Asked::Write(topic),
            })
        };
        match self.describe(topic) {
            Ok(described) if described.rights.as_ref().is_some_and(|rights| !rights.contains(&right)) => Err(lacks()),
            // Whoever may read or write a topic may describe it.
            Err(failure) if failure.code == Code::KafkaAuthorization => Err(lacks()),
            described => described,
        }
    }
}

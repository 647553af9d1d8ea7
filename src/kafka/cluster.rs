//! A cluster: how its clients are made, its topics, limits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::producer::BaseProducer;
use rdkafka::{Offset, TopicPartitionList};
use tracing::warn;
use zeroize::Zeroizing;

use writ_schemas::act::Statement;
use writ_schemas::errors::Code;

use crate::clock::Stopwatch;
use crate::config::{Kafka, Properties, Property};
use crate::error::{Failure, Result};
use crate::kafka::context::{Context, Hidden};
use crate::kafka::failure::{Asked, failure, is_unauthorised, lacking};
use crate::kafka::topic_description::Right;
use crate::kafka::{DECISIONS, INTENTS, PROGRESS, RECEIPTS, REFUSALS, topic_description};
use crate::secret;

/// How long a broker may take to answer before it counts as unavailable.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// How long the library is asked at once, before what it has to say is looked at.
const SLICE: Duration = Duration::from_millis(500);

/// How long what it has to say is listened to.
const EVENTS_PATIENCE: Duration = Duration::from_millis(50);

/// How long a start waits before it asks again.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a start goes on asking for a token that is refused: whoever gives them may be away, and the library does not tell that from a
/// wrong secret.
const TOKEN_PATIENCE: Duration = Duration::from_secs(60);

/// The largest record of the intents topic: above the largest intent, so that one that is too large is refused by us, with
/// a code and an answer, and not by a library.
pub const RECORD_BYTES_MAX: usize = 4 << 20;

/// The partitions of the topics that `writ init` makes.
pub const PARTITIONS: i32 = 4;

/// Two names of the same property of librdkafka, of those that have a default here.
const ALIASES: [(&str, &str); 4] = [
    ("linger.ms", "queue.buffering.max.ms"),
    ("compression.type", "compression.codec"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("delivery.timeout.ms", "message.timeout.ms"),
];

/// A consumer of the client library.
pub type Consumer = BaseConsumer<Context>;

/// A producer of the client library.
pub type Producer = BaseProducer<Context>;

/// How the clients of a cluster are made. Its secrets have been read.
#[derive(Clone)]
pub struct Cluster {
    bootstrap: String,
    prefix: String,
    client: Vec<(String, Zeroizing<String>)>,
    consumer: Vec<(String, Zeroizing<String>)>,
    producer: Vec<(String, Zeroizing<String>)>,
    hidden: Arc<Hidden>,
}

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

impl Cluster {
    /// The cluster that a configuration names: reads its secrets, and has librdkafka look at each property. Connects to nobody.
    ///
    /// # Errors
    /// `ERR_SECRET`; `ERR_CONFIG` for a property that librdkafka does not know, or a value that it does not take.
    pub fn of(kafka: &Kafka) -> Result<Cluster> {
        let Some(bootstrap) = kafka.bootstrap.clone() else {
            return Err(Failure::new(Code::Config, "kafka.bootstrap is missing: where the cluster is"));
        };
        let mut secrets = Vec::new();
        let cluster = Cluster {
            bootstrap,
            prefix: kafka.prefix.clone(),
            client: resolve(&kafka.client, &mut secrets)?,
            consumer: resolve(&kafka.consumer, &mut secrets)?,
            producer: resolve(&kafka.producer, &mut secrets)?,
            hidden: Arc::default(),
        };
        let cluster = Cluster { hidden: Arc::new(Hidden::of(secrets)), ..cluster };
        for of_kind in [&cluster.consumer, &cluster.producer] {
            let config = cluster.settings(of_kind, &[], &[])?;
            config.create_native_config().map_err(|e| cluster.misconfigured(&e))?;
        }
        Ok(cluster)
    }

    /// One without TLS.
    ///
    /// # Errors
    /// As [`Cluster::of`].
    pub fn at(bootstrap: &str) -> Result<Cluster> {
        Cluster::of(&Kafka::at(bootstrap))
    }

    /// The full name of a topic.
    #[must_use]
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A consumer of what was committed, `group` by name only: partitions are assigned by hand, and no offset is committed, because where
    /// reading goes on is never the broker's to say. `defaults` give way to what is configured, `musts` do not.
    ///
    /// # Errors
    /// `ERR_CONFIG`.
    pub fn consumer(&self, group: &str, defaults: &[(&str, &str)], musts: &[(&str, &str)]) -> Result<Consumer> {
        let ours = [("group.id", group), ("enable.auto.commit", "false"), ("isolation.level", "read_committed")];
        self.create(&self.consumer, defaults, &[&ours, musts].concat())
    }

    /// A producer, idempotent: what it sends again stands in its topic once.
    ///
    /// # Errors
    /// `ERR_CONFIG`.
    pub fn producer(&self, defaults: &[(&str, &str)], musts: &[(&str, &str)]) -> Result<Producer> {
        self.create(&self.producer, defaults, &[&[("enable.idempotence", "true"), ("acks", "all")], musts].concat())
    }

    fn create<T: FromClientConfigAndContext<Context>>(
        &self,
        of_kind: &[(String, Zeroizing<String>)],
        defaults: &[(&str, &str)],
        musts: &[(&str, &str)],
    ) -> Result<T> {
        let config = self.settings(of_kind, defaults, musts)?;
        config.create_with_context(Context::new(Arc::clone(&self.hidden))).map_err(|e| self.misconfigured(&e))
    }

    fn settings(
        &self,
        of_kind: &[(String, Zeroizing<String>)],
        defaults: &[(&str, &str)],
        musts: &[(&str, &str)],
    ) -> Result<ClientConfig> {
        let mut config = ClientConfig::new();
        let record_bytes_max = (RECORD_BYTES_MAX + 64 * 1024).to_string();
        let common = [
            ("client.id", "writ"),
            ("message.max.bytes", &record_bytes_max),
            ("receive.message.max.bytes", "268435456"),
            ("socket.keepalive.enable", "true"),
            // A library that carries its own OpenSSL does not know where this machine keeps its roots.
            ("ssl.ca.location", "probe"),
            ("https.ca.location", "probe"),
        ];
        for (name, value) in common.iter().chain(defaults) {
            config.set(*name, *value);
        }
        let configured = || self.client.iter().chain(of_kind);
        for (name, value) in configured() {
            let other = ALIASES.iter().find_map(|(one, other)| match name {
                name if name == one => Some(other),
                name if name == other => Some(one),
                _ => None,
            });
            if let Some(other) = other {
                config.remove(other);
            }
            config.set(name, value.as_str());
        }
        for (instead, of) in [("ssl.ca.pem", "ssl.ca.location"), ("https.ca.pem", "https.ca.location")] {
            if configured().any(|(name, _)| name == instead) {
                config.remove(of);
            }
        }
        for (name, value) in [("bootstrap.servers", self.bootstrap.as_str())].iter().chain(musts) {
            config.set(*name, *value);
        }
        // Which lines are kept is the log's own to say. Lines of `debug` are its most detailed.
        let is_debugged = configured().any(|(name, _)| name == "debug");
        config.set_log_level(if is_debugged { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
        Ok(config)
    }

    /// What the library says of a configuration, without the values that it repeats.
    fn misconfigured(&self, error: &KafkaError) -> Failure {
        let said = match error {
            KafkaError::ClientConfig(_, why, name, _) => format!("{name}: {why}"),
            other => other.to_string(),
        };
        Failure::new(Code::Config, format!("kafka: {}", self.hidden.in_text(&said)))
    }

    /// Asks until Kafka answers, for whoever can wait for it: it says why it waits. What no waiting mends is told at once.
    ///
    /// # Errors
    /// Those of `ask` that do not pass.
    pub fn patiently<T>(&self, ask: impl Fn() -> Result<T>) -> Result<T> {
        let since = Stopwatch::start();
        loop {
            match ask() {
                Err(failure) if self.may_pass(&failure, since.elapsed()) => {
                    warn!(%failure, "waiting for Kafka");
                    std::thread::sleep(PAUSE);
                }
                answer => return answer,
            }
        }
    }

    fn may_pass(&self, failure: &Failure, waited: Duration) -> bool {
        match failure.code {
            Code::KafkaUnavailable => true,
            Code::KafkaAuthentication => self.asks_for_tokens() && waited < TOKEN_PATIENCE,
            _ => false,
        }
    }

    /// Whether somebody else than the broker says who this is.
    #[must_use]
    pub fn asks_for_tokens(&self) -> bool {
        self.client.iter().any(|(name, value)| {
            matches!(name.as_str(), "sasl.mechanism" | "sasl.mechanisms") && value.eq_ignore_ascii_case("OAUTHBEARER")
        })
    }

    /// What a broker says of a topic, or of all.
    fn metadata(&self, client: &Consumer, topic: Option<&str>) -> Result<Metadata> {
        let asked = topic.map_or(Asked::Cluster, Asked::Describe);
        let since = Stopwatch::start();
        let mut refused = None;
        loop {
            let error = match client.fetch_metadata(topic, SLICE) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            // A client that has read nothing has nothing but events. They come one at a time, lines of the log before errors.
            let served = Stopwatch::start();
            while served.elapsed() < EVENTS_PATIENCE {
                let _ = client.poll(EVENTS_PATIENCE); // it is told to the context as well
            }
            refused = client.context().take_refusal().or(refused);
            if error.rdkafka_error_code().is_some_and(is_unauthorised) {
                return Err(failure(asked, &error));
            }
            match refused.take() {
                Some(why) if !self.asks_for_tokens() || since.elapsed() > PATIENCE => return Err(why),
                why => refused = why,
            }
            if since.elapsed() > PATIENCE {
                return Err(client.context().explained(failure(asked, &error)));
            }
        }
    }

    /// The partitions of a topic, and a client that can ask for more.
    fn partitions(&self, topic: &str, isolation: &str) -> Result<(Consumer, Metadata, Vec<i32>)> {
        let client = self.consumer("writ", &[], &[("isolation.level", isolation)])?;
        let metadata = self.metadata(&client, Some(topic))?;
        let described = metadata.topics().iter().find(|it| it.name() == topic);
        match described.and_then(MetadataTopic::error).map(RDKafkaErrorCode::from) {
            Some(code) if is_unauthorised(code) => {
                return Err(failure(Asked::Describe(topic), &KafkaError::Global(code)));
            }
            Some(_) | None => {}
        }
        let partitions: Vec<i32> = described.map_or_else(Vec::new, |topic| {
            if topic.error().is_some() { Vec::new() } else { topic.partitions().iter().map(|it| it.id()).collect() }
        });
        if partitions.is_empty() {
            return Err(Failure::new(Code::KafkaTopic, format!("{topic} does not exist")));
        }
        Ok((client, metadata, partitions))
    }

    /// The end of each partition of a topic, open transactions included: whatever is published later lies behind it.
    ///
    /// # Errors
    /// `ERR_KAFKA_UNAVAILABLE`; `ERR_KAFKA_TOPIC` if there is no such topic; that this client is refused.
    pub fn ends(&self, topic: &str) -> Result<BTreeMap<i32, i64>> {
        let (everything, _, partitions) = self.partitions(topic, "read_uncommitted")?;
        let end = |partition| {
            let marks = everything.fetch_watermarks(topic, partition, PATIENCE);
            marks.map(|(_, end)| (partition, end)).map_err(|e| failure(Asked::Describe(topic), &e))
        };
        partitions.into_iter().map(end).collect()
    }

    /// Describes a topic.
    ///
    /// # Errors
    /// As [`Cluster::ends`].
    pub fn describe(&self, topic: &str) -> Result<Topic> {
        let (client, metadata, partitions) = self.partitions(topic, "read_committed")?;
        let broker = metadata.brokers().first().map_or(-1, |broker| broker.id());
        let described = topic_description::of(client.client(), broker, topic, PATIENCE)?;
        Ok(Topic {
            name: topic.to_owned(),
            cluster: client.client().fetch_cluster_id(PATIENCE).unwrap_or_default(),
            topic_id: described.id,
            partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
            rights: described.rights,
        })
    }

    /// Describes a topic that this client is going to use.
    ///
    /// # Errors
    /// `ERR_KAFKA_AUTHORIZATION` without the right to do so; as [`Cluster::ends`].
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

    /// Whether this client may do what it is going to do. Without it a missing right would show late, and where several topics are
    /// written together, not at which of them.
    ///
    /// # Errors
    /// As [`Cluster::describe_for`].
    pub fn require(&self, rights: &[(&str, Right)]) -> Result<()> {
        rights.iter().try_for_each(|(name, right)| self.describe_for(&self.topic(name), *right).map(drop))
    }

    /// Makes the topics that are missing.
    ///
    /// # Errors
    /// `ERR_KAFKA_UNAVAILABLE`, that this client is refused, or what the broker says.
    pub fn create_topics(&self) -> Result<()> {
        // It tells why nobody can be asked, which an admin client does not.
        let probe = self.consumer("writ", &[], &[])?;
        let known = self.metadata(&probe, None)?;
        let bytes = RECORD_BYTES_MAX.to_string();
        let names = [INTENTS, DECISIONS, RECEIPTS, REFUSALS, PROGRESS].map(|name| self.topic(name));
        let topics =
            names.iter().filter(|name| known.topics().iter().all(|it| it.name() != name.as_str())).map(|name| {
                let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(-1));
                match name.strip_prefix(&self.prefix).unwrap_or(name) {
                    // The broker then measures what a record really weighs, and nobody can send a small one that inflates.
                    INTENTS => topic.set("max.message.bytes", &bytes).set("compression.type", "uncompressed"),
                    PROGRESS => NewTopic::new(name, 1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact"),
                    _ => topic.set("max.message.bytes", &bytes),
                }
            });
        let topics: Vec<NewTopic<'_>> = topics.collect();
        if topics.is_empty() {
            return Ok(());
        }
        let admin: AdminClient<Context> = self.create(&[], &[], &[])?;
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Failure::new(Code::Io, e))?;
        let made = runtime.block_on(admin.create_topics(&topics, &options));
        for result in made.map_err(|e| failure(Asked::Cluster, &e))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) if is_unauthorised(code) => {
                    return Err(failure(Asked::Create(&name), &KafkaError::Global(code)));
                }
                Err((name, code)) => return Err(Failure::new(Code::KafkaTopic, format!("{name}: {code}"))),
            }
        }
        Ok(())
    }
}

/// Reads the values of properties, and keeps those that are secrets.
fn resolve(properties: &Properties, secrets: &mut Vec<Zeroizing<String>>) -> Result<Vec<(String, Zeroizing<String>)>> {
    let value = |value: &Property| match value {
        Property::Text(text) => Ok(Zeroizing::new(text.clone())),
        Property::Number(number) => Ok(Zeroizing::new(number.to_string())),
        Property::Flag(flag) => Ok(Zeroizing::new(flag.to_string())),
        Property::Secret(place) => secret::read(place).inspect(|secret| secrets.push(secret.clone())),
    };
    let mut value = value;
    properties.iter().map(|(name, of)| value(of).map(|value| (name.clone(), value))).collect()
}

/// What a reader of these partitions is assigned.
///
/// # Errors
/// None in practice: the partitions are those that the broker named.
pub fn assign(consumer: &Consumer, from: &[(&str, i32, Offset)]) -> Result<()> {
    let mut assignment = TopicPartitionList::new();
    for (topic, partition, offset) in from {
        let added = assignment.add_partition_offset(topic, *partition, *offset);
        added.map_err(|e| failure(Asked::Read(topic), &e))?;
    }
    consumer.assign(&assignment).map_err(|e| failure(Asked::Cluster, &e))
}

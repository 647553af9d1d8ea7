//! A cluster: how its clients are made, and its topics.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tracing::warn;
use zeroize::Zeroizing;

use writ_schemas::errors::Code;

use crate::clock::Stopwatch;
use crate::config::{Kafka, Properties, Property};
use crate::error::{Failure, Result};
use crate::kafka::context::{Consumer, Context, Hidden, Producer};
use crate::kafka::failure::{Asked, failure, is_unauthorised};
use crate::kafka::topic_description::Right;
use crate::kafka::topics::Asking;
use crate::kafka::{DECISIONS, INTENTS, PATIENCE, PROGRESS, RECEIPTS, REFUSALS};
use crate::secret;

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
            let config = cluster.settings(of_kind, &[], &[]);
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
        let config = self.settings(of_kind, defaults, musts);
        config.create_with_context(Context::new(Arc::clone(&self.hidden))).map_err(|e| self.misconfigured(&e))
    }

    fn settings(
        &self,
        of_kind: &[(String, Zeroizing<String>)],
        defaults: &[(&str, &str)],
        musts: &[(&str, &str)],
    ) -> ClientConfig {
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
        config
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
        [&self.client, &self.consumer, &self.producer].into_iter().flatten().any(|(name, value)| {
            matches!(name.as_str(), "sasl.mechanism" | "sasl.mechanisms") && value.eq_ignore_ascii_case("OAUTHBEARER")
        })
    }

    /// A client that asks about topics; of their ends, as far as records of transactions are committed.
    ///
    /// # Errors
    /// `ERR_CONFIG`.
    pub fn ask(&self) -> Result<Asking> {
        self.ask_as("read_committed")
    }

    /// The same, open transactions included: whatever is published later lies behind those ends.
    ///
    /// # Errors
    /// `ERR_CONFIG`.
    pub fn ask_uncommitted(&self) -> Result<Asking> {
        self.ask_as("read_uncommitted")
    }

    fn ask_as(&self, isolation: &str) -> Result<Asking> {
        let client = self.consumer("writ", &[], &[("isolation.level", isolation)])?;
        Ok(Asking { client, asks_for_tokens: self.asks_for_tokens() })
    }

    /// Whether this client may do what it is going to do. Without it a missing right would show late, and where several topics are
    /// written together, not at which of them.
    ///
    /// # Errors
    /// As [`Asking::describe_for`].
    pub fn require(&self, rights: &[(&str, Right)]) -> Result<()> {
        let asking = self.ask()?;
        rights.iter().try_for_each(|(name, right)| asking.describe_for(&self.topic(name), *right).map(drop))
    }

    /// Makes the topics that are missing.
    ///
    /// # Errors
    /// `ERR_KAFKA_UNAVAILABLE`, that this client is refused, or what the broker says.
    pub fn create_topics(&self) -> Result<()> {
        // It tells why nobody can be asked, which an admin client does not.
        let asking = self.ask()?;
        let known = asking.metadata(None)?;
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
        topics.iter().try_for_each(|topic| asking.wait_for(topic.name))
    }
}

/// Reads the values of properties, and keeps those that are secrets.
fn resolve(properties: &Properties, secrets: &mut Vec<Zeroizing<String>>) -> Result<Vec<(String, Zeroizing<String>)>> {
    let mut value = |value: &Property| match value {
        Property::Text(text) => Ok(Zeroizing::new(text.clone())),
        Property::Number(number) => Ok(Zeroizing::new(number.to_string())),
        Property::Flag(flag) => Ok(Zeroizing::new(flag.to_string())),
        Property::Secret(place) => secret::read(place).inspect(|secret| secrets.push(secret.clone())),
    };
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

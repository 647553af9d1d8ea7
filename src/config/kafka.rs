//! The `[kafka]` table of `writ.toml`: which cluster, and how its clients are set up.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The longest prefix: a topic's name has at most 249 characters (`org.apache.kafka.common.internals.Topic`).
const PREFIX_LEN_MAX: usize = 200;

/// What is said elsewhere, or what exactly-once stands on, and why nobody else sets it. Both names of a property are here.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "`bootstrap` of the table says it"),
    ("metadata.broker.list", "`bootstrap` of the table says it"),
    ("enable.auto.commit", "the log knows how far intake got, not the broker"),
    ("auto.commit.enable", "the log knows how far intake got, not the broker"),
    ("enable.auto.offset.store", "the log knows how far intake got, not the broker"),
    ("auto.offset.reset", "where reading goes on, the log says: another place would lose records, or read them twice"),
    ("enable.partition.eof", "reading to an end needs it"),
    ("isolation.level", "only what was committed is read"),
    ("group.id", "it is the ledger's"),
    ("transactional.id", "it is the ledger's: it keeps a second process from publishing"),
    ("transaction.timeout.ms", "a transaction is given up before the broker ends it"),
    ("enable.idempotence", "without it a record may be stored twice"),
    ("enable.gapless.guarantee", "without it a record may be stored twice"),
    ("partitioner", "records of one key stay in one partition"),
    ("acks", "only what all replicas have is published"),
    ("request.required.acks", "only what all replicas have is published"),
];

/// Properties of librdkafka that are secrets.
const SECRET: &[&str] = &[
    "sasl.password",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];

/// The property by which librdkafka loads code.
const LOADS_CODE: &str = "plugin.library.paths";

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kafka {
    /// The bootstrap servers, `HOST:PORT[,HOST:PORT...]`.
    pub bootstrap: Option<String>,
    /// What stands in front of the name of each topic.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Properties of every client, by their names in librdkafka's `CONFIGURATION.md`.
    #[serde(skip_serializing_if = "Properties::is_empty")]
    pub client: Properties,
    /// The same of consumers only.
    #[serde(skip_serializing_if = "Properties::is_empty")]
    pub consumer: Properties,
    /// The same of producers only.
    #[serde(skip_serializing_if = "Properties::is_empty")]
    pub producer: Properties,
}

/// Properties of librdkafka.
pub type Properties = BTreeMap<String, Property>;

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Property {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// What is not written here, but elsewhere.
    Secret(Secret),
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// In this file, which only its owner may open; a relative path is relative to the folder of the configuration file.
    File(PathBuf),
    /// In this variable of the environment.
    Env(String),
    /// This program with its arguments prints it.
    Command(Vec<String>),
}

impl Secret {
    pub(super) fn within(&mut self, folder: &Path) {
        if let Secret::File(path) = self {
            *path = folder.join(&path);
        }
    }
}

impl fmt::Display for Secret {
    /// Where it is. Arguments of a command may be secret themselves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::File(path) => write!(f, "file {}", path.display()),
            Secret::Env(name) => write!(f, "variable {name}"),
            Secret::Command(command) => write!(f, "command {}", command.first().map_or("", String::as_str)),
        }
    }
}

impl Kafka {
    /// A cluster without TLS.
    #[must_use]
    pub fn at(bootstrap: &str) -> Kafka {
        Kafka { bootstrap: Some(bootstrap.to_owned()), ..Kafka::default() }
    }

    /// The table that is configured, with the bootstrap servers that are said on the command line, where there are some.
    #[must_use]
    pub fn chosen(table: Option<Kafka>, bootstrap: Option<&str>) -> Option<Kafka> {
        match (table, bootstrap) {
            (Some(table), None) => Some(table),
            (None, None) => None,
            (table, Some(bootstrap)) => {
                Some(Kafka { bootstrap: Some(bootstrap.to_owned()), ..table.unwrap_or_default() })
            }
        }
    }

    /// Whether it names something that is run.
    #[must_use]
    pub fn names_commands(&self) -> bool {
        self.tables()
            .iter()
            .flat_map(|(_, properties)| properties.iter())
            .any(|(name, value)| name == LOADS_CODE || matches!(value, Property::Secret(Secret::Command(_))))
    }

    /// What is wrong with it, as far as it shows without asking librdkafka.
    ///
    /// # Errors
    /// In words.
    pub fn check(&self) -> Result<(), String> {
        if self.bootstrap.as_ref().is_some_and(|servers| servers.trim().is_empty()) {
            return Err("kafka.bootstrap is empty".to_owned());
        }
        let of_a_topic = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.prefix.len() > PREFIX_LEN_MAX || !self.prefix.chars().all(of_a_topic) {
            return Err(format!("kafka.prefix is to be at most {PREFIX_LEN_MAX} of A-Z a-z 0-9 . _ -"));
        }
        for (table, properties) in self.tables() {
            for (full, value) in properties {
                // By this prefix librdkafka takes a property for one of topics, and knows it all the same.
                let name = full.strip_prefix("topic.").unwrap_or(full);
                if let Some((_, why)) = OURS.iter().find(|(ours, _)| *ours == name) {
                    return Err(format!("kafka.{table}: {name} is not to be set: {why}"));
                }
                if SECRET.contains(&name) && !matches!(value, Property::Secret(_)) {
                    return Err(format!(
                        "kafka.{table}: {name} is a secret, which this file is not to hold: {{ file = \"…\" }}, {{ env = \"…\" }} or {{ command = […] }}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The same, where relative paths of secrets are relative to `folder`.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Kafka {
        for properties in [&mut self.client, &mut self.consumer, &mut self.producer] {
            for value in properties.values_mut() {
                if let Property::Secret(secret) = value {
                    secret.within(folder);
                }
            }
        }
        self
    }

    fn tables(&self) -> [(&'static str, &Properties); 3] {
        [("client", &self.client), ("consumer", &self.consumer), ("producer", &self.producer)]
    }
}

impl<'de> Deserialize<'de> for Property {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Property, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Property;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a whole number, true, false, or where a secret is: { file = \"…\" }, { env = \"…\" }, { command = […] }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Property, E> {
                Ok(Property::Text(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Property, E> {
                Ok(Property::Number(number))
            }

            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Property, E> {
                Ok(Property::Flag(flag))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Property, A::Error> {
                let secret = match map.next_key::<String>()?.as_deref() {
                    Some("file") => Secret::File(map.next_value()?),
                    Some("env") => Secret::Env(map.next_value()?),
                    Some("command") => Secret::Command(map.next_value()?),
                    other => return Err(de::Error::unknown_field(other.unwrap_or(""), &["file", "env", "command"])),
                };
                if map.next_key::<String>()?.is_some() {
                    return Err(de::Error::custom("a secret is in one place: file, env or command"));
                }
                Ok(Property::Secret(secret))
            }
        }
        from.deserialize_any(Of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Kafka, String> {
        let kafka: Kafka = toml::from_str(text).map_err(|e| e.to_string())?;
        kafka.check().map(|()| kafka)
    }

    #[track_caller]
    fn refused(text: &str, why: &str) {
        let said = parse(text).expect_err("is refused");
        assert!(said.contains(why), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn what_is_read_is_written_again() {
        let text = r#"
            bootstrap = "a:1,b:2"
            prefix = "prod."
            [client]
            "security.protocol" = "SASL_SSL"
            "sasl.password" = { file = "password" }
            "ssl.key.password" = { env = "KEY" }
            "socket.timeout.ms" = 9000
            [producer]
            "sasl.oauthbearer.client.secret" = { command = ["pass", "kafka"] }
            "socket.keepalive.enable" = false
        "#;
        let kafka = parse(text).expect("is fine");
        assert_eq!(parse(&toml::to_string(&kafka).expect("has a form")), Ok(kafka.clone()));
        assert!(kafka.names_commands());
        let password = &kafka.within(Path::new("/etc/writ")).client["sasl.password"];
        assert_eq!(*password, Property::Secret(Secret::File("/etc/writ/password".into())));
    }

    #[test]
    fn what_is_ours_is_refused_by_name_under_each_name_and_in_each_table() {
        for (name, _) in OURS {
            for (table, prefix) in [("client", ""), ("consumer", "topic."), ("producer", "")] {
                let text = format!("[{table}]\n\"{prefix}{name}\" = \"x\"");
                refused(&text, &format!("kafka.{table}: {name} is not to be set"));
            }
        }
    }

    #[test]
    fn a_secret_is_not_written_here() {
        for name in SECRET {
            refused(&format!("[client]\n\"{name}\" = \"hunter2\""), &format!("{name} is a secret"));
        }
    }

    #[test]
    fn what_is_no_value_is_named() {
        refused("prefix = \"a b\"", "kafka.prefix");
        refused("bootstrap = \" \"", "kafka.bootstrap");
        refused("[client]\n\"linger.ms\" = 0.5", "a whole number");
        refused("[client]\n\"sasl.password\" = { flie = \"x\" }", "flie");
        refused("[client]\n\"sasl.password\" = { file = \"x\", env = \"y\" }", "in one place");
        refused("bootstraps = \"a:1\"", "bootstraps");
    }
}

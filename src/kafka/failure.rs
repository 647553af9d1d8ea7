//! What went wrong with Kafka, in registered codes: an answer that cannot be had now is told from one that will never come.

use std::fmt;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use writ_schemas::errors::Code;

use crate::error::Failure;

/// What is asked of a cluster. Each needs a right (an ACL), which is named where it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// Whether it is there. Needs no right.
    Cluster,
    /// What a topic is.
    Describe(&'a str),
    /// To make a topic.
    Create(&'a str),
    /// The records of a topic.
    Read(&'a str),
    /// To store records in a topic.
    Write(&'a str),
    /// To store records that are sent again only once; whoever may write to a topic may, since Kafka 3.0.
    Idempotent,
    /// To publish under this transactional id, and nobody else any more.
    Publish(&'a str),
}

impl Asked<'_> {
    fn right(&self) -> String {
        match self {
            Asked::Cluster => "any right at all".to_owned(),
            Asked::Describe(topic) => format!("DESCRIBE on topic {topic}"),
            Asked::Create(topic) => format!("CREATE on topic {topic}, or on the cluster"),
            Asked::Read(topic) => format!("READ on topic {topic}"),
            Asked::Write(topic) => format!("WRITE on topic {topic}"),
            Asked::Idempotent => "IDEMPOTENT_WRITE on the cluster".to_owned(),
            Asked::Publish(id) => format!("WRITE on transactional id {id}"),
        }
    }
}

/// The failure of a right that is missing.
#[must_use]
pub fn lacking(asked: Asked<'_>) -> Failure {
    Failure::new(Code::KafkaAuthorization, asked.right())
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asked::Cluster | Asked::Idempotent => f.write_str("the cluster"),
            Asked::Describe(topic) | Asked::Create(topic) | Asked::Read(topic) | Asked::Write(topic) => {
                f.write_str(topic)
            }
            Asked::Publish(id) => write!(f, "transactional id {id}"),
        }
    }
}

/// A failure of the client library. Its words never hold what is configured: see [`super::cluster`].
#[must_use]
pub fn failure(asked: Asked<'_>, error: &KafkaError) -> Failure {
    use RDKafkaErrorCode as Of;
    let code = match error.rdkafka_error_code() {
        Some(code) if is_unauthorised(code) => return lacking(denied(asked, code)),
        Some(Of::Fenced | Of::ProducerFenced | Of::InvalidProducerEpoch) => Code::KafkaFenced,
        Some(Of::UnknownTopic | Of::UnknownTopicOrPartition | Of::UnknownPartition) => Code::KafkaTopic,
        Some(Of::Authentication | Of::SaslAuthenticationFailed) => Code::KafkaAuthentication,
        Some(Of::SSL) => Code::KafkaTls,
        Some(_) | None => Code::KafkaUnavailable,
    };
    Failure::new(code, format!("{asked}: {error}"))
}

/// What was not allowed. A transaction as a whole is refused for a topic that is not named.
fn denied(asked: Asked<'_>, code: RDKafkaErrorCode) -> Asked<'_> {
    match (asked, code) {
        (Asked::Publish(_), RDKafkaErrorCode::TopicAuthorizationFailed) => {
            Asked::Write("of the decisions, the receipts, the refusals or the progress")
        }
        (Asked::Write(_), RDKafkaErrorCode::ClusterAuthorizationFailed) => Asked::Idempotent,
        (asked, _) => asked,
    }
}

/// Whether a broker answers that this user may not use a topic. That it may not use a group matters to nobody here: a group is a name only.
#[must_use]
pub fn is_topic_refused(code: RDKafkaErrorCode) -> bool {
    code == RDKafkaErrorCode::TopicAuthorizationFailed
}

/// Whether a broker answers that this user may not do what was asked.
#[must_use]
pub fn is_unauthorised(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
    )
}

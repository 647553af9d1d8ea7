//! What librdkafka tells its owner while it works: log lines, errors, deliveries.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};
use tracing::{debug, error, info, warn};
use zeroize::Zeroizing;

use writ_schemas::errors::Code;

use crate::error::Failure;

/// The shortest secret that is looked for in texts: a shorter one is found in words that have nothing to do with it.
const HIDDEN_LEN_MIN: usize = 4;

/// Secrets that nobody is to read in what a library says.
#[derive(Default)]
pub struct Hidden(Vec<Zeroizing<String>>);

impl Hidden {
    /// Of the secrets in use.
    #[must_use]
    pub fn of(secrets: Vec<Zeroizing<String>>) -> Hidden {
        let mut secrets: Vec<_> = secrets.into_iter().filter(|secret| secret.len() >= HIDDEN_LEN_MIN).collect();
        // One that begins with another is found whole.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Hidden(secrets)
    }

    /// The text without them.
    #[must_use]
    pub fn in_text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "[secret]"))
    }
}

/// A consumer of the client library.
pub type Consumer = BaseConsumer<Context>;

/// A producer of the client library.
pub type Producer = BaseProducer<Context>;

/// Serves what a producer has to tell, and returns how much of what was sent is not known to be stored. It asks with no patience, as often
/// as there is something to hear: with any, `poll` returns only when that is over, whatever it has heard before.
pub fn serve(producer: &Producer) -> usize {
    let mut left = producer.in_flight_count();
    while left > 0 {
        producer.poll(Duration::ZERO);
        match producer.in_flight_count() {
            now if now < left => left = now,
            _ => break,
        }
    }
    usize::try_from(left).unwrap_or(0)
}

/// The context of every client here.
pub struct Context {
    hidden: Arc<Hidden>,
    /// Why no broker can be asked at all; the library itself tries for ever.
    refused: Mutex<Option<Failure>>,
    /// Why a broker is away, as it said last. A broker that refuses a client's certificate just goes away.
    away: Mutex<Option<String>>,
    /// Why the first record since the last time was not stored, and of which topic it is.
    undelivered: Mutex<Option<(KafkaError, String)>>,
}

impl Context {
    /// For a client that knows these secrets.
    #[must_use]
    pub fn new(hidden: Arc<Hidden>) -> Context {
        Context { hidden, refused: Mutex::new(None), away: Mutex::new(None), undelivered: Mutex::new(None) }
    }

    /// The same failure, with what was last said of why a broker is away.
    #[must_use]
    pub fn explained(&self, failure: Failure) -> Failure {
        match self.away.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(why) if failure.code == Code::KafkaUnavailable => {
                Failure { detail: format!("{} ({why})", failure.detail), ..failure }
            }
            Some(_) | None => failure,
        }
    }

    /// Why a broker refused this client, or could not be trusted, since the last time; it shows once the client was polled.
    pub fn take_refusal(&self) -> Option<Failure> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Why a record was not stored, since the last time, and the topic that it was for.
    pub fn take_undelivered(&self) -> Option<(KafkaError, String)> {
        self.undelivered.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        let line = self.hidden.in_text(message);
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                error!(target: "librdkafka", "{fac}: {line}");
            }
            // What it cannot do now, it tries again.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => warn!(target: "librdkafka", "{fac}: {line}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => info!(target: "librdkafka", "{fac}: {line}"),
            RDKafkaLogLevel::Debug => debug!(target: "librdkafka", "{fac}: {line}"),
        }
    }

    /// Each of these is a line of the log as well.
    fn error(&self, error: KafkaError, reason: &str) {
        let code = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                Code::KafkaAuthentication
            }
            Some(RDKafkaErrorCode::UnsupportedSASLMechanism) => Code::KafkaAuthentication,
            Some(RDKafkaErrorCode::SSL) => Code::KafkaTls,
            code => {
                let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
                // That all are away says less than why one is.
                if code != Some(RDKafkaErrorCode::AllBrokersDown) || away.is_none() {
                    *away = Some(self.hidden.in_text(reason));
                }
                return;
            }
        };
        let failure = Failure::new(code, self.hidden.in_text(reason));
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut first = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| (error.clone(), message.topic().to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_cut_out_of_texts() {
        let secret = |text: &str| Zeroizing::new(text.to_owned());
        let hidden = Hidden::of(vec![secret("hunter2"), secret("a")]);
        assert_eq!(hidden.in_text("a user with hunter2 and hunter2"), "a user with [secret] and [secret]");
    }

    #[test]
    fn what_cannot_mend_itself_is_kept_until_it_is_asked_for() {
        let context = Context::new(Arc::default());
        context.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "all brokers down");
        assert_eq!(context.take_refusal(), None);
        for (code, told) in [
            (RDKafkaErrorCode::Authentication, Code::KafkaAuthentication),
            (RDKafkaErrorCode::SaslAuthenticationFailed, Code::KafkaAuthentication),
            (RDKafkaErrorCode::SSL, Code::KafkaTls),
        ] {
            context.error(KafkaError::Global(code), "why");
            assert_eq!(context.take_refusal(), Some(Failure::new(told, "why")));
            assert_eq!(context.take_refusal(), None);
        }
    }
}

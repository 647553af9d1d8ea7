//! The `http` connector: one attempt, one answer, and an honest word about what is not known.
//!
//! `POST` of the canonical effect with `Idempotency-Key`; no redirect is followed, nothing is tried again here. 2xx is done, and
//! its output is `null` where it has no body. 4xx (but 408 and 429) is refused; 5xx, a redirect, a time-out or a broken answer is
//! unknown, because the effect may have happened. A failure to connect is certain, nothing was sent; so is 429, by which a server
//! says that it did nothing yet (RFC 6585), and 503 with `Retry-After`, by which it says when to ask again (RFC 9110, 15.6.4).

use std::io::Read;
use std::time::Duration;

use tracing::debug;

use writ_schemas::dsse::DOCUMENT_BYTES_MAX;
use writ_schemas::ids::Digest;

use super::Outcome;

/// One call.
pub struct Call {
    /// Where to.
    pub url: String,
    /// For the whole of it, in microseconds.
    pub timeout_us: u64,
    /// The body: canonical action and args.
    pub effect: Vec<u8>,
    /// Tells one run from another.
    pub key: Digest,
}

impl Call {
    /// Makes the call.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_micros(self.timeout_us)))
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .build()
            .into();
        let sent = agent
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", writ_schemas::ids::hex(&self.key.0))
            .send(self.effect.as_slice());
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => {
                debug!(%error, "no answer");
                let why = format!("no answer: {error}");
                return if nothing_was_sent(&error) { Outcome::Unavailable(why) } else { Outcome::Unknown(why) };
            }
        };
        let status = response.status().as_u16();
        let answered = format!("answered {status}");
        match status {
            200..=299 => {
                let mut body = Vec::new();
                let limit = u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX) + 1;
                match response.body_mut().as_reader().take(limit).read_to_end(&mut body) {
                    // Done, and nothing to say of it: 204, or a length of 0.
                    Ok(_) if body.is_empty() => Outcome::Done(b"null".to_vec()),
                    Ok(_) => Outcome::Done(body),
                    Err(error) => Outcome::Unknown(format!("{answered}, then broke off: {error}")),
                }
            }
            408 => Outcome::Unknown(answered),
            429 => Outcome::Unavailable(answered),
            400..=499 => Outcome::Refused(answered),
            _ => Outcome::Unknown(answered),
        }
    }
}

fn nothing_was_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::BadUri(_) => true,
        ureq::Error::Timeout(which) => matches!(which, ureq::Timeout::Resolve | ureq::Timeout::Connect),
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        _ => false,
    }
}

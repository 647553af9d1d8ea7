//! The `http` connector: one attempt, one answer, and an honest word about what is not known.
//!
//! `POST` of the canonical effect with `Idempotency-Key`; no redirect is followed, nothing is tried again here. 2xx is done, and
//! its output is `null` where it has no body. 4xx (but 408 and 429) is refused; 5xx, a redirect, a time-out or a broken answer is
//! unknown, because the effect may have happened. A failure to connect is certain, nothing was sent; so is 429, by which a server
//! says that it did nothing yet (RFC 6585), and 503 with `Retry-After`, by which it says when to ask again (RFC 9110, 15.6.4).

use std::io::Read;
use std::time::Duration;

use tracing::debug;
use ureq::http::header::{DATE, RETRY_AFTER};
use ureq::http::{HeaderMap, Uri};

use writ_schemas::dsse::DOCUMENT_BYTES_MAX;
use writ_schemas::ids::{Digest, UnixMicros};

use super::Outcome;
use crate::clock::{Clock, http_date};
use crate::telemetry::context::TraceContext;

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
    /// The call's span, which the server is told (`traceparent`).
    pub trace: Option<TraceContext>,
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Call {
    /// Where it goes; nothing if its URL names no host.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let uri: Uri = self.url.parse().ok()?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        Some(Place { host: uri.host()?.to_owned(), port })
    }

    /// Makes the call: what came of it, and the status if there was an answer.
    #[must_use]
    pub fn run(&self) -> (Outcome, Option<u16>) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_micros(self.timeout_us)))
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .build()
            .into();
        let mut request = agent
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", writ_schemas::ids::hex(&self.key.0));
        if let Some(trace) = &self.trace {
            request = request.header("traceparent", trace.to_string());
        }
        let sent = request.send(self.effect.as_slice());
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => {
                debug!(%error, "no answer");
                let why = format!("no answer: {error}");
                let sent = if nothing_was_sent(&error) { Outcome::Unavailable(why, 0) } else { Outcome::Unknown(why) };
                return (sent, None);
            }
        };
        let status = response.status().as_u16();
        let answered = format!("answered {status}");
        let asked = asked_us(response.headers(), Clock::Wall.now());
        let asks = |us: u64| format!("{answered}, to be asked again in {} s", us.div_ceil(1_000_000));
        let outcome = match (status, asked) {
            (200..=299, _) => {
                let mut body = Vec::new();
                let limit = u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX) + 1;
                match response.body_mut().as_reader().take(limit).read_to_end(&mut body) {
                    // Done, and nothing to say of it: 204, or a length of 0.
                    Ok(_) if body.is_empty() => Outcome::Done(b"null".to_vec()),
                    Ok(_) => Outcome::Done(body),
                    Err(error) => Outcome::Unknown(format!("{answered}, then broke off: {error}")),
                }
            }
            (408, _) => Outcome::Unknown(answered),
            (429 | 503, Some(us)) => Outcome::Unavailable(asks(us), us),
            (429, None) => Outcome::Unavailable(answered, 0),
            (400..=499, _) => Outcome::Refused(answered),
            _ => Outcome::Unknown(answered),
        };
        (outcome, Some(status))
    }
}

/// For how many microseconds `Retry-After` asks, in either of its forms (RFC 9110, 10.2.3). A date is counted from the answer's own
/// `Date`, so that it does not matter whose clock is wrong; from `now` where it has none. What is in neither form asks nothing.
fn asked_us(headers: &HeaderMap, now: UnixMicros) -> Option<u64> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text(RETRY_AFTER)?;
    if !asked.is_empty() && asked.bytes().all(|digit| digit.is_ascii_digit()) {
        return Some(asked.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1_000_000));
    }
    let from = text(DATE).and_then(http_date).unwrap_or(now);
    Some(http_date(asked)?.0.saturating_sub(from.0))
}

fn nothing_was_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::BadUri(_) => true,
        ureq::Error::Timeout(which) => matches!(which, ureq::Timeout::Resolve | ureq::Timeout::Connect),
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // The moment of RFC 9110, 5.6.7.
        const NOW: UnixMicros = UnixMicros(784_111_777_000_000);
        const SECOND: u64 = 1_000_000;
        let rows: [(&str, &str, Option<u64>); 15] = [
            ("120", "", Some(120 * SECOND)),
            ("0", "", Some(0)),
            (" 7 ", "", Some(7 * SECOND)),
            ("99999999999999999999999", "", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", "", Some(60 * SECOND)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", "", Some(60 * SECOND)),
            ("Sun Nov  6 08:50:37 1994", "", Some(60 * SECOND)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", "", Some(0)),
            // By the server's own clock, which is an hour ahead; or cannot be read.
            ("Sun, 06 Nov 1994 09:50:37 GMT", "Sun, 06 Nov 1994 09:49:37 GMT", Some(60 * SECOND)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", "yesterday", Some(60 * SECOND)),
            ("soon", "", None),
            ("-1", "", None),
            ("1.5", "", None),
            ("", "", None),
            ("2030-01-01T00:00:00Z", "", None),
        ];
        for (asked, date, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, asked.parse().expect("a value"));
            if !date.is_empty() {
                headers.insert(DATE, date.parse().expect("a value"));
            }
            assert_eq!(asked_us(&headers, NOW), expected, "{asked:?} {date:?}");
        }
        assert_eq!(asked_us(&HeaderMap::new(), NOW), None);
    }
}

//! One request, and what its answer means.
//!
//! **Invariant:** what the collector says is not told, whether it takes nothing or a part: it may quote a header, which is a secret.
//!
//! What may be sent again is as in the OTLP specification ("Failures", "OTLP/gRPC Throttling").

use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::connection::{Collector, Connection};
use super::export::Rejected;
use super::health::Health;
use super::stop::Stop;
use crate::telemetry::metrics::{self, Signal};
use crate::visible;

/// How long a collector may take to answer: what the specification of exporters has by default.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// The longest pause that a collector may ask for: what the SDK allows.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(600);

/// How much is quoted of what went wrong, in characters.
const WHY_LEN_MAX: usize = 300;

/// Whether the same may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// The collector does not want it.
    Never,
    /// It may go better next time.
    Later,
    /// The same, and the collector wants to be left alone for so long.
    After(Duration),
}

/// Sends requests.
#[derive(Clone)]
pub(super) struct Delivery {
    connection: Arc<Connection>,
    health: Arc<Health>,
    /// When it ends.
    pub(super) stop: Stop,
}

impl Delivery {
    pub(super) fn new(connection: Arc<Connection>, health: Arc<Health>, stop: Stop) -> Delivery {
        Delivery { connection, health, stop }
    }

    /// Sends one request.
    pub(super) async fn attempt<F: Future<Output = Result<Rejected, Status>>>(
        &self,
        signal: Signal,
        send: impl FnOnce(Collector) -> F,
    ) -> Result<Rejected, Again> {
        let collector = self.connection.collector();
        let reason = collector.reason.clone();
        let answer = tokio::select! {
            biased; // nothing is sent once it is too late
            () = self.stop.expired() => Err(late("no answer before the end")),
            answer = send(collector) => answer.map_err(|status| (why(&status, reason.known()), again(&status))),
            () = tokio::time::sleep(ANSWER_PATIENCE) => Err(late("no answer within 10 s")),
        };
        match answer {
            Ok(rejected) => {
                reason.forget();
                self.health.works(signal);
                self.health.rejects(signal, rejected);
                Ok(rejected)
            }
            Err((why, again)) => {
                metrics::telemetry_export_failed(signal);
                self.health.fails(signal, &quoted(&why));
                Err(again)
            }
        }
    }
}

fn late(why: &str) -> (String, Again) {
    (why.to_owned(), Again::Later)
}

fn again(status: &Status) -> Again {
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    match (status.code(), asked) {
        (Code::ResourceExhausted | Code::Unavailable, Some(pause)) => Again::After(pause.min(PAUSE_MAX)),
        (
            Code::Unavailable
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::DataLoss,
            _,
        ) => Again::Later,
        // Whatever answers with something that is no gRPC, or whose certificate is not to be trusted, may be replaced by a collector.
        (Code::Unknown | Code::Internal, _) if std::error::Error::source(status).is_some() => Again::Later,
        _ => Again::Never,
    }
}

/// What went wrong.
fn why(status: &Status, reason: Option<String>) -> String {
    let mut why = format!("{:?}", status.code());
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let words = error.to_string();
        if !why.ends_with(&words) {
            why = format!("{why}: {words}");
        }
        source = error.source();
    }
    // Of what the other side said when it closed the connection, gRPC knows nothing.
    match reason {
        Some(reason) if !why.contains(&reason) => format!("{why}: {reason}"),
        _ => why,
    }
}

fn quoted(text: &str) -> String {
    visible::text(&text.chars().take(WHY_LEN_MAX).collect::<String>())
}

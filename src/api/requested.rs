//! A request that brings intents, as traces tell it.

use axum::http::HeaderMap;
use axum::response::Response;

use crate::clock::Stopwatch;
use crate::error::Failure;
use crate::telemetry::context::TraceContext;
use crate::telemetry::facts::{Arrival, Fact, Interval};
use crate::telemetry::tracer::Tracer;

/// A request that is being answered.
pub(super) struct Requested {
    tracer: Tracer,
    own: Option<TraceContext>,
    caller: Option<TraceContext>,
    since: Stopwatch,
}

impl Requested {
    /// Its caller says of which trace it is (`traceparent`), or it begins one.
    pub(super) fn with(headers: &HeaderMap, tracer: &Tracer) -> Requested {
        let caller = headers.get("traceparent").and_then(|value| value.to_str().ok()?.parse().ok());
        Requested { tracer: tracer.clone(), own: tracer.begin(caller), caller, since: Stopwatch::start() }
    }

    /// One intent of it, whose bytes were here at `read`, and which is parsed now.
    pub(super) fn arrival(&self, read: Stopwatch) -> Arrival {
        let own = self.tracer.child(self.own);
        Arrival { read, parsed: Stopwatch::start(), own, caller: self.own, poll: None }
    }

    /// It is answered.
    pub(super) fn answered(self, answer: &Result<Response, Failure>) {
        let Some(own) = self.own.filter(|own| own.sampled) else { return };
        let status = match answer {
            Ok(response) => response.status().as_u16(),
            Err(failure) => failure.code.entry().http,
        };
        let (caller, took) = (self.caller, Interval::since(self.since));
        self.tracer.tell(|| Fact::Requested { own, caller, took, status });
    }
}

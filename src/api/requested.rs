//! A request that brings intents, as traces tell it.

use std::sync::atomic::{AtomicUsize, Ordering};

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
    intents: AtomicUsize,
}

impl Requested {
    /// Its caller says of which trace it is (`traceparent`), or it begins one.
    pub(super) fn with(headers: &HeaderMap, tracer: &Tracer) -> Requested {
        let caller = headers.get("traceparent").and_then(|value| value.to_str().ok()?.parse().ok());
        let (own, since, intents) = (tracer.begin(caller), Stopwatch::start(), AtomicUsize::new(0));
        Requested { tracer: tracer.clone(), own, caller, since, intents }
    }

    /// One intent of it, whose bytes were here at `read`, and which is parsed now.
    pub(super) fn arrival(&self, read: Stopwatch) -> Arrival {
        let is_first = self.intents.fetch_add(1, Ordering::Relaxed) == 0;
        let own = self.tracer.child(self.own);
        // A caller's flag speaks for one intent, however many lines it sends.
        let asked = self.caller.is_some_and(|caller| caller.sampled) && !is_first;
        let own = own.map(|own| TraceContext { sampled: own.sampled && !(asked && self.tracer.is_spent()), ..own });
        Arrival { read, parsed: Stopwatch::start(), own, caller: self.own, poll: None }
    }

    /// It is answered.
    pub(super) fn answered(self, answer: &Result<Response, Failure>) {
        let Some(own) = self.own else { return };
        let (status, failed) = match answer {
            Ok(response) => (response.status().as_u16(), None),
            Err(failure) => (failure.code.entry().http, Some(failure.code)),
        };
        let (caller, took) = (self.caller, Interval::since(self.since));
        self.tracer.record(|| Fact::Requested { own, caller, took, status, failed });
    }
}

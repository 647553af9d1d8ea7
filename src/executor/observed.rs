//! What is told of one call of a connector, to those who observe it.

use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, ContextGuard};

use writ_schemas::errors::Code;
use writ_schemas::event::TraceParent;
use writ_schemas::ids::{Name, Seq};
use writ_schemas::intent::Intent;

use super::Outcome;
use super::http::Place;
use crate::clock::Stopwatch;
use crate::sequencer::Input;
use crate::telemetry::context::TraceContext;
use crate::telemetry::facts::{Call, Fact, Http, Interval, Passed};
use crate::telemetry::metrics::{self, CallResult};
use crate::telemetry::tracer::Tracer;

/// A call that is about to be made.
pub(super) struct Observed {
    tracer: Tracer,
    /// The intent's span, and the call's.
    spans: Option<(TraceContext, TraceContext)>,
    passed: Passed,
    from: Stopwatch,
}

/// A call that was answered.
pub(super) struct Answered {
    call: Observed,
    took: Interval,
    http: Option<Http>,
    failed: Option<Code>,
}

impl Observed {
    /// Of an intent whose entry names this span.
    pub(super) fn of(trace: TraceParent, tracer: &Tracer, intent: &Intent, connector: &Name) -> Observed {
        let intent_span: Option<TraceContext> = trace.and_then(|text| text.parse().ok());
        let spans = intent_span.zip(tracer.child(intent_span));
        let passed = Passed { action: intent.action.clone(), connector: connector.clone() };
        Observed { tracer: tracer.clone(), spans, passed, from: Stopwatch::start() }
    }

    /// The call's own span, which the connector is told.
    pub(super) fn own(&self) -> Option<TraceContext> {
        self.spans.map(|(_, own)| own)
    }

    /// Until it is dropped, log lines of this thread know their span.
    pub(super) fn attached(&self) -> Option<ContextGuard> {
        let context = self.own().map(|own| Context::new().with_remote_span_context(own.to_otel(false)));
        context.map(Context::attach)
    }

    /// It was answered, over HTTP by whom and with which status.
    pub(super) fn answered(self, outcome: &Outcome, http: Option<(Place, Option<u16>)>) -> Answered {
        let took = Interval::since(self.from);
        let (result, failed) = match outcome {
            Outcome::Done(_) => (CallResult::Done, None),
            Outcome::Refused(_) => (CallResult::Refused, Some(Code::ConnectorRefused)),
            Outcome::Unavailable(..) => (CallResult::Unavailable, Some(Code::ConnectorUnavailable)),
            Outcome::Unknown(_) => (CallResult::Unknown, Some(Code::ConnectorUncertain)),
        };
        metrics::connector(&self.passed.connector, result, took.length());
        if let Some(code) = failed {
            metrics::stage_error(metrics::Stage::Connector, code);
        }
        let http = http.map(|(Place { host, port }, status)| Http { host, port, status });
        Answered { call: self, took, http, failed }
    }
}

impl Answered {
    /// Its answer was judged.
    pub(super) fn judged(self, decision: Seq, ended: &Input) {
        let judged = Interval::since(self.took.until);
        metrics::stage(metrics::Stage::Judge, judged.length());
        let Answered { call: Observed { tracer, spans, passed, .. }, took, http, failed } = self;
        let code = match ended {
            Input::Ended(ending, _) => ending.code,
            _ => Code::ConnectorUnavailable,
        };
        if failed.is_none() && code != Code::Ok {
            metrics::stage_error(metrics::Stage::Judge, code);
        }
        let Some((intent, own)) = spans else { return };
        tracer.record(|| {
            Fact::Called(Box::new(Call { decision, own, intent, passed, took, judged, http, failed, code }))
        });
    }
}

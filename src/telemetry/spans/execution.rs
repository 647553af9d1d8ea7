//! An execution, from its `PASS` to its receipt.

use std::rc::Rc;

use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::SpanData;

use writ_schemas::errors::Code;

use super::{Committed, Held, Out, names};
use crate::clock::Stopwatch;
use crate::telemetry::context::TraceContext;
use crate::telemetry::facts::{Call, Interval, Passed, Receipt};
use crate::telemetry::span::Span;

/// The most calls of an execution that are told.
const CALLS_MAX: usize = 16;

/// An open execution.
pub(super) struct Execution {
    intent: TraceContext,
    /// Its span.
    pub(super) own: TraceContext,
    passed: Passed,
    since: Stopwatch,
    /// What is told of its intent only if its end matters.
    pub(super) held: Option<Held>,
    /// Where its dispatch was recorded.
    pub(super) dispatched: Option<Rc<Committed>>,
    /// The calls of its connector: one that did nothing may be made again.
    calls: Vec<Call>,
}

impl Execution {
    /// Of an intent that passed.
    pub(super) fn new(intent: TraceContext, passed: Passed, since: Stopwatch, held: Option<Held>) -> Execution {
        Execution { intent, own: intent.execution(), passed, since, held, dispatched: None, calls: Vec::new() }
    }

    /// Of an intent that passed before this process was there: what is known of it begins with the call.
    pub(super) fn resumed(call: &Call) -> Execution {
        Execution::new(call.intent, call.passed.clone(), call.took.from, None)
    }

    /// Its connector was called; the oldest of many such calls are forgotten.
    pub(super) fn called(&mut self, call: Call) {
        if self.calls.len() >= CALLS_MAX {
            self.calls.remove(0);
        }
        self.calls.push(call);
    }

    /// Whether it is told whatever its end.
    pub(super) fn sampled(&self) -> bool {
        self.intent.sampled
    }

    /// Its spans, now that it has ended.
    pub(super) fn tell<F: FnMut(SpanData)>(self, out: &mut Out<F>, receipt: &Receipt, committed: &Committed) {
        let durable = committed.appended.until;
        let took = Interval { from: self.since, until: durable };
        let action = self.passed.action.to_string();
        let failed = Some(receipt.code).filter(|code| *code != Code::Ok);
        let execution = Span::new(format!("execute_tool {action}"), self.own, took).below(self.intent);
        let execution =
            execution.with(names::GEN_AI_OPERATION_NAME, "execute_tool").with(names::GEN_AI_TOOL_NAME, action);
        let execution = execution.with(names::CONNECTOR, self.passed.connector.to_string());
        let ended = |span: Span| {
            span.with(names::RECEIPT_STATUS, receipt.status.as_str()).with(names::CODE, receipt.code.as_str())
        };
        out.span(ended(execution).error(failed));
        if let Some(dispatched) = &self.dispatched {
            dispatched.tell(out, vec![self.own]);
            let took = Interval { from: self.since, until: dispatched.appended.until };
            out.span(out.child(self.own, "dispatch", took).linked([dispatched.own], false));
        }
        let ending_since = self.calls.last().map_or(committed.began, |call| call.judged.until);
        for call in &self.calls {
            tell_call(out, self.own, call);
        }
        let took = Interval { from: ending_since, until: durable };
        out.span(ended(out.child(self.own, "receipt", took)).linked([committed.own], false));
    }
}

fn tell_call<F: FnMut(SpanData)>(out: &mut Out<F>, execution: TraceContext, call: &Call) {
    let span = |name| Span::new(name, call.own, call.took).below(execution);
    let span = match &call.http {
        None => span("echo"),
        Some(http) => {
            let span = span("POST").kind(SpanKind::Client).with(names::HTTP_REQUEST_METHOD, "POST");
            let span =
                span.with(names::SERVER_ADDRESS, http.host.clone()).with(names::SERVER_PORT, i64::from(http.port));
            match http.status {
                Some(status) => span.with(names::HTTP_RESPONSE_STATUS_CODE, i64::from(status)),
                None => span,
            }
        }
    };
    out.span(span.error(call.failed));
    let judge = out.child(execution, "judge", call.judged);
    out.span(judge.with(names::CODE, call.code.as_str()));
}

//! One span, as it is put together.

use std::borrow::Cow;

use opentelemetry::trace::{Link, SpanId, SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use writ_schemas::errors::Code;

use super::context::TraceContext;
use super::conventions::ERROR_TYPE;
use super::facts::Interval;
use crate::clock::Anchor;

/// A span that is put together.
#[derive(Debug)]
pub(super) struct Span {
    name: Cow<'static, str>,
    kind: SpanKind,
    own: TraceContext,
    parent: Option<(SpanId, bool)>,
    took: Interval,
    attributes: Vec<KeyValue>,
    links: Vec<Link>,
    status: Status,
}

impl Span {
    /// A span of this process.
    pub(super) fn new(name: impl Into<Cow<'static, str>>, own: TraceContext, took: Interval) -> Span {
        let (attributes, links) = (Vec::new(), Vec::new());
        let own = TraceContext { sampled: true, ..own };
        let (kind, status) = (SpanKind::Internal, Status::Unset);
        Span { name: name.into(), kind, own, parent: None, took, attributes, links, status }
    }

    /// Where it is in its trace.
    pub(super) fn context(&self) -> TraceContext {
        self.own
    }

    /// Of another kind.
    pub(super) fn kind(self, kind: SpanKind) -> Span {
        Span { kind, ..self }
    }

    /// Below a span of this process.
    pub(super) fn below(self, parent: TraceContext) -> Span {
        Span { parent: Some((parent.span, false)), ..self }
    }

    /// Below a span of another process, if there is one.
    pub(super) fn called_by(self, caller: Option<TraceContext>) -> Span {
        Span { parent: caller.map(|caller| (caller.span, true)), ..self }
    }

    /// With an attribute.
    pub(super) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Span {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// With links to other spans, of other processes or of this one.
    pub(super) fn linked(mut self, to: impl IntoIterator<Item = TraceContext>, are_remote: bool) -> Span {
        self.links.extend(to.into_iter().map(|to| Link::new(to.to_otel(are_remote), Vec::new(), 0)));
        self
    }

    /// With an error, if there is one.
    pub(super) fn error(mut self, code: Option<Code>) -> Span {
        if let Some(code) = code {
            self.status = Status::error(code.as_str());
            self.attributes.push(KeyValue::new(ERROR_TYPE, code.as_str()));
        }
        self
    }

    /// As the SDK exports it.
    pub(super) fn finish(self, anchor: &Anchor, scope: &InstrumentationScope) -> SpanData {
        let mut links = SpanLinks::default();
        links.links = self.links;
        let (parent_span_id, parent_span_is_remote) = self.parent.unwrap_or((SpanId::INVALID, false));
        SpanData {
            span_context: self.own.to_otel(false),
            parent_span_id,
            parent_span_is_remote,
            span_kind: self.kind,
            name: self.name,
            start_time: anchor.wall_at(self.took.from),
            end_time: anchor.wall_at(self.took.until),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: self.status,
            instrumentation_scope: scope.clone(),
        }
    }
}

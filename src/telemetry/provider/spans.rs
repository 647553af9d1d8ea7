//! Spans, as they are sent.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::trace::SpanData;
use tonic::Status;

use super::connection::Collector;
use super::export::{Export, Rejected};
use super::queue::{Queue, Tally};
use crate::telemetry::metrics::Signal;

/// The most links of a span: a batch has one to each intent in it. The SDK's own limit, 128, would cut most of them.
pub const LINKS_MAX: usize = 1024;

/// How many links cost as much as a span.
const LINKS_OF_A_SPAN: usize = 8;

/// The signal.
#[derive(Debug)]
pub(super) enum Traces {}

impl Export for Traces {
    type Item = SpanData;
    type Request = ExportTraceServiceRequest;
    const SIGNAL: Signal = Signal::Traces;

    fn cost(span: &SpanData) -> usize {
        1 + span.links.links.len() / LINKS_OF_A_SPAN
    }

    fn request(spans: Vec<SpanData>, resource: &ResourceAttributesWithSchema) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest { resource_spans: group_spans_by_resource_and_scope(spans, resource) }
    }

    async fn send(to: Collector, request: ExportTraceServiceRequest) -> Result<Rejected, Status> {
        let answer = TraceServiceClient::new(to.channel.clone()).export(to.request(request)).await?;
        let partial = answer.into_inner().partial_success;
        Ok(Rejected::of(partial.map(|partial| partial.rejected_spans)))
    }
}

/// Takes spans.
#[derive(Clone)]
pub struct SpanSink(Queue<Traces>);

impl SpanSink {
    pub(super) fn of(queue: Queue<Traces>) -> SpanSink {
        SpanSink(queue)
    }

    /// What became of all of them so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.0.tally()
    }

    /// As [`Queue::give_up`].
    pub(super) fn give_up(&self) {
        self.0.give_up();
    }

    /// Takes a span, or drops and counts it. It waits for nobody. Of its links it keeps [`LINKS_MAX`].
    pub fn push(&self, mut span: SpanData) {
        let links = &mut span.links;
        let above = links.links.len().saturating_sub(LINKS_MAX);
        links.links.truncate(LINKS_MAX);
        links.dropped_count = links.dropped_count.saturating_add(u32::try_from(above).unwrap_or(u32::MAX));
        self.0.push(span);
    }
}

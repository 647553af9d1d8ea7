//! What is sent: one signal each.

use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;

use super::connection::Collector;
use crate::telemetry::metrics::Signal;

/// How many of those sent the collector did not take, which it is not to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejected(pub(super) usize);

impl Rejected {
    /// What the answer says. A collector that rejects a negative number rejects none.
    pub(super) fn of(count: Option<i64>) -> Rejected {
        Rejected(usize::try_from(count.unwrap_or(0)).unwrap_or(0))
    }
}

/// One signal: what it consists of, and how it is sent.
pub(super) trait Export: Send + Sync + 'static {
    /// One of what is sent.
    type Item: Send + 'static;
    /// Many of them, as OTLP has them.
    type Request: Clone + Send + Sync + 'static;
    /// As which it is counted.
    const SIGNAL: Signal;

    /// What it costs to hold it.
    fn cost(item: &Self::Item) -> usize;
    /// Many of them, of this resource.
    fn request(items: Vec<Self::Item>, resource: &ResourceAttributesWithSchema) -> Self::Request;
    /// Asks the collector to take them.
    fn send(
        collector: Collector,
        request: Self::Request,
    ) -> impl Future<Output = Result<Rejected, tonic::Status>> + Send;
}

//! Log lines, as they are sent.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use tonic::Status;

use super::connection::Collector;
use super::export::{Export, Rejected};
use super::queue::{Queue, Tally};
use crate::telemetry::metrics::Signal;

/// A line, and the part of the program that said it.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The target of the event.
    pub target: &'static str,
    /// What it says.
    pub record: LogRecord,
}

/// The signal.
#[derive(Debug)]
pub(super) enum Logs {}

impl Export for Logs {
    type Item = Line;
    type Request = ExportLogsServiceRequest;
    const SIGNAL: Signal = Signal::Logs;

    fn cost(_: &Line) -> usize {
        1
    }

    fn request(lines: Vec<Line>, resource: &ResourceAttributesWithSchema) -> ExportLogsServiceRequest {
        let mut by_target = BTreeMap::<&str, Vec<LogRecord>>::new();
        for line in lines {
            by_target.entry(line.target).or_default().push(line.record);
        }
        let scope = |(target, log_records): (&str, _)| {
            let scope = InstrumentationScope { name: target.to_owned(), ..InstrumentationScope::default() };
            ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }
        };
        let scope_logs = by_target.into_iter().map(scope).collect();
        let resource = Resource { attributes: resource.attributes.0.clone(), ..Resource::default() };
        let logs = ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() };
        ExportLogsServiceRequest { resource_logs: vec![logs] }
    }

    async fn send(to: Collector, request: ExportLogsServiceRequest) -> Result<Rejected, Status> {
        let answer = LogsServiceClient::new(to.channel.clone()).export(to.request(request)).await?;
        let partial = answer.into_inner().partial_success;
        Ok(Rejected::of(partial.map(|partial| partial.rejected_log_records)))
    }
}

/// Takes log lines.
#[derive(Clone)]
pub struct LogSink(Queue<Logs>);

impl LogSink {
    pub(super) fn of(queue: Queue<Logs>) -> LogSink {
        LogSink(queue)
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

    /// Takes a line, or drops and counts it. It waits for nobody.
    pub fn push(&self, line: Line) {
        self.0.push(line);
    }
}

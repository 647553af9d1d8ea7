//! A collector in this process: it says what it is told to say, and remembers what it was sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::runtime::Runtime;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};
use writ::clock::Stopwatch;

/// What it says of a request that it does not take, or not whole. It may quote a secret.
const WORDS: &str = "hunter2";

/// What it says to each request.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    /// It takes all of it.
    Fine,
    /// Nothing, until it is to say something else; then that it took it.
    Nothing,
    /// It takes all of it, after a while.
    Slowly(Duration),
    /// It refuses it.
    Refused(Code),
    /// It takes all but so many.
    Partly(i64),
    /// It is to be left alone for so long.
    Exhausted(Option<Duration>),
}

/// What it was sent.
#[derive(Debug, Default)]
pub(crate) struct Got {
    /// How many requests of spans, also those that it did not take.
    pub(crate) requests: usize,
    /// When the requests of spans came.
    pub(crate) at: Vec<Duration>,
    /// Spans that it took.
    pub(crate) spans: Vec<Span>,
    /// How many spans each request had.
    pub(crate) batches: Vec<usize>,
    /// Log lines that it took, each with its target.
    pub(crate) logs: Vec<(String, LogRecord)>,
    /// Metrics that it took last.
    pub(crate) metrics: Vec<Metric>,
    /// The headers of the last request.
    pub(crate) headers: BTreeMap<String, String>,
    /// The attributes of the last resource.
    pub(crate) resource: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Service {
    says: Arc<Mutex<Says>>,
    got: Arc<Mutex<Got>>,
    since: Stopwatch,
}

/// The collector. It ends with this.
pub(crate) struct Collector {
    service: Service,
    runtime: Option<Runtime>,
    /// Its endpoint.
    pub(crate) url: String,
}

impl Service {
    fn got(&self) -> MutexGuard<'_, Got> {
        self.got.lock().expect("not poisoned")
    }

    /// What it is to say. It is looked at before a request is counted: whoever has waited for that may have it say something else.
    fn says(&self) -> Says {
        self.says.lock().expect("not poisoned").clone()
    }

    /// How many it does not take, unless it takes nothing.
    async fn answer<T>(&self, says: Says, request: &Request<T>, resource: Option<Resource>) -> Result<i64, Status> {
        let headers = request.metadata().clone().into_headers();
        let text = |value: &axum::http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        self.got().headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let attributes = resource.unwrap_or_default().attributes.into_iter();
        self.got().resource = attributes.map(|it| (it.key, string(it.value.and_then(|it| it.value)))).collect();
        match says {
            Says::Fine => Ok(0),
            Says::Nothing => loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if !matches!(self.says(), Says::Nothing) {
                    return Ok(0);
                }
            },
            Says::Slowly(pause) => {
                tokio::time::sleep(pause).await;
                Ok(0)
            }
            Says::Refused(code) => Err(Status::new(code, WORDS)),
            Says::Partly(count) => Ok(count),
            Says::Exhausted(pause) => {
                let details = match pause {
                    Some(pause) => ErrorDetails::with_retry_info(Some(pause)),
                    None => ErrorDetails::new(),
                };
                Err(Status::with_error_details(Code::ResourceExhausted, "too much", details))
            }
        }
    }
}

fn string(value: Option<Value>) -> String {
    match value {
        Some(Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let says = self.says();
        {
            let at = self.since.elapsed();
            let mut got = self.got();
            got.requests += 1;
            got.at.push(at);
        }
        let resource = request.get_ref().resource_spans.first().and_then(|it| it.resource.clone());
        let rejected = self.answer(says, &request, resource).await?;
        let spans = request.into_inner().resource_spans.into_iter().flat_map(|it| it.scope_spans);
        let spans: Vec<Span> = spans.flat_map(|it| it.spans).collect();
        let mut got = self.got();
        got.batches.push(spans.len());
        got.spans.extend(spans);
        let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message: WORDS.to_owned() };
        Ok(Response::new(ExportTraceServiceResponse { partial_success: (rejected != 0).then_some(partial) }))
    }
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let resource = request.get_ref().resource_logs.first().and_then(|it| it.resource.clone());
        let rejected = self.answer(self.says(), &request, resource).await?;
        for scope in request.into_inner().resource_logs.into_iter().flat_map(|it| it.scope_logs) {
            let target = scope.scope.unwrap_or_default().name;
            self.got().logs.extend(scope.log_records.into_iter().map(|record| (target.clone(), record)));
        }
        let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: WORDS.to_owned() };
        Ok(Response::new(ExportLogsServiceResponse { partial_success: (rejected != 0).then_some(partial) }))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let resource = request.get_ref().resource_metrics.first().and_then(|it| it.resource.clone());
        let rejected = self.answer(self.says(), &request, resource).await?;
        let metrics = request.into_inner().resource_metrics.into_iter().flat_map(|it| it.scope_metrics);
        self.got().metrics = metrics.flat_map(|it| it.metrics).collect();
        let partial = ExportMetricsPartialSuccess { rejected_data_points: rejected, error_message: WORDS.to_owned() };
        Ok(Response::new(ExportMetricsServiceResponse { partial_success: (rejected != 0).then_some(partial) }))
    }
}

impl Collector {
    /// One that says this, without TLS.
    pub(crate) fn saying(says: Says) -> Collector {
        Collector::at("127.0.0.1:0", says, None)
    }

    /// One that says this, at this address.
    pub(crate) fn at(address: &str, says: Says, tls: Option<ServerTlsConfig>) -> Collector {
        let service = Service { says: Arc::new(Mutex::new(says)), got: Arc::default(), since: Stopwatch::start() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).expect("a port");
        let bound = listener.local_addr().expect("an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).expect("a configuration");
        }
        let serve = server
            .add_service(TraceServiceServer::new(service.clone()))
            .add_service(LogsServiceServer::new(service.clone()))
            .add_service(MetricsServiceServer::new(service.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        runtime.spawn(serve);
        Collector { service, runtime: Some(runtime), url: format!("{scheme}://{bound}") }
    }

    /// One that shows `server.pem`, and takes clients of `ca.pem` only.
    pub(crate) fn secured() -> Collector {
        let read = |name| std::fs::read(super::secured::tls(name)).expect("a file");
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(read("server.pem"), read("server.key")))
            .client_ca_root(Certificate::from_pem(read("ca.pem")));
        Collector::at("127.0.0.1:0", Says::Fine, Some(tls))
    }

    /// From now on it says this.
    pub(crate) fn says(&self, says: Says) {
        *self.service.says.lock().expect("not poisoned") = says;
    }

    /// What it was sent so far.
    pub(crate) fn got(&self) -> MutexGuard<'_, Got> {
        self.service.got()
    }

    /// Waits until it was sent this.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, until: impl Fn(&Got) -> bool) {
        let since = Stopwatch::start();
        while !until(&self.got()) {
            if since.elapsed() > Duration::from_secs(60) {
                let got = self.got();
                panic!("the collector was not sent {what}: {:?} {:?} {:?}", got.at, got.spans, got.logs);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

//! The way to the collector: spans, log lines and metrics as OTLP over gRPC.
//!
//! - `connection`, `connector`, `tls`: a channel to the collector, made anew when the files of TLS change
//! - `queue`, `lane`: what waits, bounded, and who sends it on
//! - `export`: one signal, as it is sent
//! - `delivery`: one request, and what its answer means
//! - `health`: says when the collector takes nothing any more, and when it does again
//! - `metric_exporter`: metrics, as the SDK's reader hands them over
//! - [`logs`], `spans`: what is sent
//! - `stop`: until when
//!
//! It has a runtime of its own, with two workers: with one, a request could wait for itself (opentelemetry-rust#2715).
//!
//! **Invariant:** whoever hands something over never waits. What finds no room, or is not delivered in time, is dropped and counted.
//!
//! **Invariant:** no line that is logged on a thread of this runtime goes to the collector: exporting a line would make the next one.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use tokio::runtime::Runtime;

use writ_schemas::ids::hex;

use super::Settings;
use super::recorder;
use crate::error::Result;
use crate::folder::random;
use crate::threads;

mod connection;
mod connector;
mod export;
mod delivery;
mod health;
mod lane;
pub mod logs;
mod metric_exporter;
mod queue;
mod spans;
mod stop;
mod tls;

use connection::Connection;
use delivery::Delivery;
use export::Export;
use health::Health;
use lane::Lane;
use logs::Logs;
use metric_exporter::MetricExporter;
use spans::Traces;
use stop::Deadline;

pub use logs::LogSink;
pub use queue::{BATCH_MAX, QUEUE_MAX, Tally};
pub use spans::{LINKS_MAX, SpanSink};

/// What is exported. Without an endpoint it takes nothing, and counts nothing as dropped.
#[derive(Clone, Default)]
pub struct Provider(Option<Arc<Running>>);

struct Running {
    spans: SpanSink,
    logs: LogSink,
    meters: SdkMeterProvider,
    stop: stop::Begin,
    /// Nothing once it was stopped.
    runtime: Mutex<Option<(Runtime, Ended)>>,
}

/// Each of [`TASKS`] tells when it has ended.
struct Ended {
    tell: Sender<()>,
    ended: Receiver<()>,
}

/// What is waited for when it stops: what sends spans and log lines, and the reader of metrics.
const TASKS: usize = 3;

/// How much longer than they may take they are waited for, so that they say themselves why they dropped something.
const GRACE: Duration = Duration::from_millis(100);

thread_local! {
    static EXPORTS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is one of those that export.
pub(super) fn exports() -> bool {
    EXPORTS.get()
}

impl Provider {
    /// Starts exporting. A collector that is away is waited for by nobody.
    ///
    /// # Errors
    /// `ERR_CONFIG` if a file of TLS is missing, broken, expired or does not fit; `ERR_SECRET` if a header cannot be had; `ERR_THREADS`.
    pub fn start(settings: &Settings) -> Result<Provider> {
        let Some(endpoint) = &settings.endpoint else { return Ok(Provider::default()) };
        let runtime = threads::runtime_with(|| EXPORTS.set(true))?;
        let connection = {
            let _entered = runtime.enter();
            Arc::new(Connection::open(endpoint, &settings.tls, &settings.headers)?)
        };
        let (begin, stop) = stop::pair();
        let delivery = Delivery::new(connection, Arc::new(Health::of(endpoint)), stop);
        let resource = resource(settings)?;
        let (tell, ended) = channel();
        let (spans, waiting) = queue::pair::<Traces>();
        spawn(&runtime, Lane::new(waiting, delivery.clone(), &resource, settings.batch_timeout), tell.clone());
        let (logs, waiting) = queue::pair::<Logs>();
        spawn(&runtime, Lane::new(waiting, delivery.clone(), &resource, settings.batch_timeout), tell.clone());
        let exporter = MetricExporter::new(runtime.handle().clone(), delivery);
        let reader = PeriodicReader::builder(exporter).with_interval(settings.metrics_interval).build();
        let meters = SdkMeterProvider::builder().with_resource(resource).with_reader(reader);
        let meters = meters.with_view(recorder::view).build();
        let running = Running {
            spans: SpanSink::of(spans),
            logs: LogSink::of(logs),
            meters,
            stop: begin,
            runtime: Mutex::new(Some((runtime, Ended { tell, ended }))),
        };
        Ok(Provider(Some(Arc::new(running))))
    }

    /// Takes spans, where they are exported.
    #[must_use]
    pub fn spans(&self) -> Option<SpanSink> {
        self.0.as_ref().map(|running| running.spans.clone())
    }

    /// Takes log lines, where they are exported.
    #[must_use]
    pub fn logs(&self) -> Option<LogSink> {
        self.0.as_ref().map(|running| running.logs.clone())
    }

    /// Takes what is counted and measured, where it is exported.
    #[must_use]
    pub fn meter(&self) -> Option<Meter> {
        let scope = || InstrumentationScope::builder("writ").with_version(env!("CARGO_PKG_VERSION")).build();
        self.0.as_ref().map(|running| running.meters.meter_with_scope(scope()))
    }

    /// Sends what waits, as far as that goes `within` this time; what does not is dropped and counted. Whoever stops it a second time
    /// waits until the first is done. It may be called on any thread but those that export.
    pub fn stop(&self, within: Duration) {
        let Some(running) = &self.0 else { return };
        let mut runtime = running.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((runtime, Ended { tell, ended })) = runtime.take() else { return };
        let deadline = Deadline::within(within);
        running.stop.begin(deadline);
        let meters = running.meters.clone();
        // The reader has no time limit of its own: after ours its thread is left alone.
        let _left_alone = threads::spawn("metrics", move || {
            let _ = meters.shutdown(); // what it did not deliver was said
            let _ = tell.send(());
        });
        for _ in 0..TASKS {
            if ended.recv_timeout(deadline.remaining().saturating_add(GRACE)).is_err() {
                break;
            }
        }
        runtime.shutdown_background();
        // Where those that send get no time to, they do not say what becomes of what they have.
        running.spans.give_up();
        running.logs.give_up();
    }
}

fn spawn<E: Export>(runtime: &Runtime, lane: Lane<E>, tell: Sender<()>) {
    runtime.spawn(async move {
        lane.run().await;
        let _ = tell.send(()); // nobody may wait for it any more
    });
}

/// Who exports: what the settings say, and an id of this process.
fn resource(settings: &Settings) -> Result<Resource> {
    let mut attributes = settings.resource.clone();
    if !attributes.contains_key("service.instance.id") {
        attributes.insert("service.instance.id".to_owned(), hex(&random::<16>()?));
    }
    let attributes = attributes.into_iter().map(|(name, value)| KeyValue::new(name, value));
    Ok(Resource::builder_empty().with_detector(Box::new(TelemetryResourceDetector)).with_attributes(attributes).build())
}

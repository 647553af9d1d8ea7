//! Telemetry of a process that serves a ledger: started before everything else, and stopped after it.
//!
//! **Invariant:** the end of the process waits for telemetry for `PATIENCE` at most, whatever the collector does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{Level, warn};

use super::exposition::Exposition;
use super::log_layer::record;
use super::logging::{EXPORTED, of_failure};
use super::provider::Provider;
use super::provider::logs::Line;
use super::tracer::{Sampling, Tracer};
use super::{ended, metrics};
use crate::clock::Stopwatch;
use crate::config::telemetry::Settings;
use crate::error::{Failure, Result};
use crate::folder::Folder;
use crate::threads::panicked;

/// How long what waits may still be sent at the end.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How long spans may still be made of what was told, of that.
const SPANS_PATIENCE: Duration = Duration::from_millis(300);

/// What is exported from this process, and what tells of traces: a process that ends in the middle of its work has to find them.
static RUNNING: Mutex<Running> = Mutex::new(Running { folder: None, provider: None, tracer: Tracer::off() });

#[derive(Clone)]
struct Running {
    folder: Option<Folder>,
    provider: Option<Provider>,
    tracer: Tracer,
}

/// Telemetry at work. When it is dropped, it is stopped.
pub struct Telemetry {
    /// What `/metrics` says.
    pub metrics: Exposition,
    /// What the pipeline tells for traces.
    pub tracer: Tracer,
    spans: Option<JoinHandle<()>>,
    provider: Provider,
}

impl Telemetry {
    /// Starts counting what becomes of the ledger in this folder, and exporting where there is an endpoint. Once a process. `publishes` says
    /// whether entries are published.
    ///
    /// # Errors
    /// As [`Provider::start`] and [`metrics::install`].
    pub fn start(settings: &Settings, folder: &Folder, publishes: bool) -> Result<Telemetry> {
        let provider = Provider::start(settings)?;
        let metrics = metrics::install(provider.meter())?;
        ended::begin(folder);
        if let Some(sink) = provider.logs() {
            EXPORTED.open(sink);
        }
        let sampling = Sampling {
            ratio: settings.sample_ratio,
            remote_per_second: settings.remote_per_second,
            ends_per_second: settings.ends_per_second,
            slow: settings.slow,
            identify: settings.identify,
        };
        let (tracer, spans) = match provider.spans() {
            Some(sink) => {
                let (tracer, thread) = Tracer::start(sampling, publishes, move |span| sink.push(span))?;
                (tracer, Some(thread))
            }
            None => (Tracer::off(), None),
        };
        *running() = Running { folder: Some(folder.clone()), provider: Some(provider.clone()), tracer: tracer.clone() };
        Ok(Telemetry { metrics, tracer, spans, provider })
    }

    /// Stops it, and says what was not delivered. What ended the work, if it did not end by itself, is counted and told before.
    pub fn stop(mut self, failure: Option<&Failure>) {
        self.end(failure);
    }

    fn end(&mut self, failure: Option<&Failure>) {
        if let Some(failure) = failure {
            tell(running().folder.clone().as_ref(), &self.provider, failure);
        }
        (self.tracer, running().tracer) = (Tracer::off(), Tracer::off());
        // It ends when the last tracer is gone, which a task of a client that hangs may still hold.
        wait(|| self.spans.as_ref().is_none_or(JoinHandle::is_finished));
        stop(&self.provider);
    }
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the spans of what was told, a little.
fn wait(until: impl Fn() -> bool) {
    let since = Stopwatch::start();
    while !until() && since.elapsed() < SPANS_PATIENCE {
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        let panicked = std::thread::panicking().then(|| panicked("main"));
        self.end(panicked.as_ref());
    }
}

/// The process ends because of this, while it is at work: it is counted, and told to the collector before this returns, as far as that goes
/// in time.
pub fn fatal(failure: &Failure) {
    let Running { folder, provider, tracer } = running().clone();
    let provider = provider.unwrap_or_default();
    tell(folder.as_ref(), &provider, failure);
    wait(|| tracer.is_idle());
    stop(&provider);
}

fn tell(folder: Option<&Folder>, provider: &Provider, failure: &Failure) {
    ended::end(folder, failure.code);
    if let Some(logs) = provider.logs() {
        logs.push(Line { target: "writ", record: record(of_failure(failure), Level::ERROR) });
    }
}

fn stop(provider: &Provider) {
    let lost = || {
        let tallies = [provider.spans().map(|it| it.tally()), provider.logs().map(|it| it.tally())];
        tallies.map(|tally| tally.unwrap_or_default().export)
    };
    let [spans_before, lines_before] = lost();
    provider.stop(PATIENCE);
    let [spans, lines] = lost();
    let (spans, lines) = (spans.saturating_sub(spans_before), lines.saturating_sub(lines_before));
    if spans > 0 || lines > 0 {
        warn!(spans, lines, "the collector did not take in time what waited at the end");
    }
}

//! What the pipeline holds of tracing: it gives spans their ids, and takes facts. It never waits: what finds the queue full is dropped
//! and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use opentelemetry_sdk::trace::SpanData;

use super::context::TraceContext;
use super::facts::Fact;
use super::metrics;
use super::sampler::Sampler;
use super::spans::{Ends, Spans};
use crate::error::Result;
use crate::threads;

/// The most facts that wait, where a batch is as many as it has intents: of a kilobyte each, 32 MB.
const FACTS_MAX: usize = 32_768;

/// Gives ids, and takes facts. One that is off passes on what callers said.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<On>>);

#[derive(Debug)]
struct On {
    sampler: Sampler,
    facts: Sender<Fact>,
    waiting: Arc<AtomicUsize>,
    identify: bool,
}

/// What is traced.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// The share of traces without a caller, 0 to 1.
    pub ratio: f64,
    /// How many traces a second are sampled because their callers ask for it.
    pub remote_per_second: u32,
    /// How many traces a second are kept because of their end.
    pub ends_per_second: u32,
    /// A decision that took longer is such an end.
    pub slow: Duration,
    /// Whether tenant and id of intents are told.
    pub identify: bool,
}

impl Tracer {
    /// One that is off.
    #[must_use]
    pub const fn off() -> Tracer {
        Tracer(None)
    }

    /// Starts the thread that makes spans and gives them to `push`. It ends when no tracer is left.
    ///
    /// # Errors
    /// `ERR_THREADS`.
    pub fn start(
        sampling: Sampling,
        publishes: bool,
        push: impl FnMut(SpanData) + Send + 'static,
    ) -> Result<(Tracer, JoinHandle<()>)> {
        let Sampling { ratio, remote_per_second, ends_per_second, slow, identify } = sampling;
        let (facts, heard) = channel::<Fact>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&waiting);
        let thread = threads::spawn("traces", move || {
            let mut spans = Spans::new(push, Ends { per_second: ends_per_second, slow }, publishes);
            for fact in heard {
                let count = fact.count();
                spans.record(fact);
                taken.fetch_sub(count, Ordering::Release);
            }
        })?;
        let sampler = Sampler::new(ratio, remote_per_second);
        Ok((Tracer(Some(Arc::new(On { sampler, facts, waiting, identify }))), thread))
    }

    /// Whether anybody traces.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether operators want to see tenants and ids.
    #[must_use]
    pub fn identifies(&self) -> bool {
        self.0.as_ref().is_some_and(|on| on.identify)
    }

    /// The first span here of a trace that a caller began, or that begins here.
    #[must_use]
    pub fn begin(&self, caller: Option<TraceContext>) -> Option<TraceContext> {
        self.0.as_ref().map_or(caller, |on| Some(on.sampler.begin(caller)))
    }

    /// A span of a trace of its own, which is told whatever the ratio: those that link to it are sampled.
    #[must_use]
    pub fn root(&self) -> Option<TraceContext> {
        self.0.as_ref().map(|on| on.sampler.root())
    }

    /// Whether one more intent may not be sampled only because its caller asks for it.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.0.as_ref().is_some_and(|on| on.sampler.is_spent())
    }

    /// A span below another.
    #[must_use]
    pub fn child(&self, of: Option<TraceContext>) -> Option<TraceContext> {
        of.map(|of| self.0.as_ref().map_or(of, |on| on.sampler.child(of)))
    }

    /// Whether spans are made of all that was told.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.as_ref().is_none_or(|on| on.waiting.load(Ordering::Relaxed) == 0)
    }

    /// Records what happened.
    pub fn record(&self, fact: impl FnOnce() -> Fact) {
        let Some(on) = &self.0 else { return };
        let fact = fact();
        let count = fact.count();
        if on.waiting.fetch_add(count, Ordering::Relaxed) >= FACTS_MAX || on.facts.send(fact).is_err() {
            on.waiting.fetch_sub(count, Ordering::Relaxed);
            metrics::telemetry_dropped(metrics::Signal::Facts, metrics::DropReason::Queue, count);
        }
    }
}

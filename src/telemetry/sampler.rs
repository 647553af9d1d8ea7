//! Which traces are recorded.
//!
//! Whoever has no parent is sampled by a ratio of its trace id. Whoever has one goes by the parent's flag, but callers are not
//! trusted: of those who ask to be sampled so many a second are, and the others go by the ratio, by chance and not by the id
//! that they chose. A trace that is not sampled may still be kept at its end, if that end matters; so many a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, Sampler as RatioSampler, SamplingDecision, ShouldSample,
};

use super::context::TraceContext;
use super::labels::Why;
use super::metrics;
use crate::clock::Stopwatch;

/// Decides at the beginning of a trace.
#[derive(Debug)]
pub struct Sampler {
    ratio: RatioSampler,
    remote: Allowance,
    ids: RandomIdGenerator,
}

impl Sampler {
    /// Samples this share, 0 to 1, of traces without a parent; and of those whose callers ask for it, so many a second.
    #[must_use]
    pub fn new(ratio: f64, remote_per_second: u32) -> Sampler {
        let ratio = RatioSampler::TraceIdRatioBased(ratio);
        Sampler { ratio, remote: Allowance::of(remote_per_second), ids: RandomIdGenerator::default() }
    }

    /// The first span here of a trace that begins, or that a caller began.
    #[must_use]
    pub fn begin(&self, caller: Option<TraceContext>) -> TraceContext {
        let (trace, why) = match caller {
            None => {
                let trace = self.ids.new_trace_id();
                (trace, self.by_ratio(trace))
            }
            Some(caller) if !caller.sampled => (caller.trace, Why::Unsampled),
            Some(caller) if self.remote.take() => (caller.trace, Why::Parent),
            Some(caller) => (caller.trace, self.by_ratio(self.ids.new_trace_id())),
        };
        metrics::trace(why);
        TraceContext { trace, span: self.ids.new_span_id(), sampled: why != Why::Unsampled }
    }

    /// Whether one more may not be sampled only because its caller asks for it.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        !self.remote.take()
    }

    /// A span of a trace of its own, for what several traces link to.
    #[must_use]
    pub fn root(&self) -> TraceContext {
        TraceContext { trace: self.ids.new_trace_id(), span: self.ids.new_span_id(), sampled: true }
    }

    /// Another span below one.
    #[must_use]
    pub fn child(&self, of: TraceContext) -> TraceContext {
        of.with_span(self.ids.new_span_id())
    }

    fn by_ratio(&self, trace: TraceId) -> Why {
        let result = self.ratio.should_sample(None, trace, "", &SpanKind::Internal, &[], &[]);
        if result.decision == SamplingDecision::RecordAndSample { Why::Ratio } else { Why::Unsampled }
    }
}

/// So many a second.
#[derive(Debug)]
pub struct Allowance {
    per_second: u32,
    taken: Mutex<(Stopwatch, u32)>,
}

impl Allowance {
    /// An allowance that is whole.
    #[must_use]
    pub fn of(per_second: u32) -> Allowance {
        Allowance { per_second, taken: Mutex::new((Stopwatch::start(), 0)) }
    }

    /// Whether there is one left in this second.
    pub fn take(&self) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.0.elapsed() >= Duration::from_secs(1) {
            *taken = (Stopwatch::start(), 0);
        }
        let (_, count) = &mut *taken;
        *count = count.saturating_add(1);
        *count <= self.per_second
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::SpanId;

    use super::*;

    fn caller(trace: u128, sampled: bool) -> Option<TraceContext> {
        Some(TraceContext { trace: TraceId::from(trace), span: SpanId::from(7), sampled })
    }

    #[test]
    fn a_ratio_samples_its_share_of_traces() {
        let sampled = |ratio| {
            let sampler = Sampler::new(ratio, 0);
            (0..10_000).filter(|_| sampler.begin(None).sampled).count()
        };
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 10_000));
        let tenth = sampled(0.1);
        assert!((700..1300).contains(&tenth), "{tenth}"); // ten standard deviations
    }

    #[test]
    fn a_trace_goes_on_with_its_id_and_goes_by_the_flag() {
        let sampler = Sampler::new(1.0, 1000);
        let (yes, no) = (sampler.begin(caller(5, true)), sampler.begin(caller(6, false)));
        assert_eq!((yes.trace, yes.sampled), (TraceId::from(5), true));
        assert_eq!((no.trace, no.sampled), (TraceId::from(6), false));
        assert_ne!(yes.span, SpanId::from(7));
        let child = sampler.child(yes);
        assert_eq!((child.trace, child.sampled), (yes.trace, true));
        assert_ne!(child.span, yes.span);
    }

    #[test]
    fn callers_do_not_switch_sampling_on_for_everybody() {
        // The lowest of all ids: a ratio of any size would sample it.
        let sampler = Sampler::new(0.01, 3);
        let sampled = (0..2000).filter(|_| sampler.begin(caller(1, true)).sampled).count();
        // A busy machine may take some seconds for them, each with an allowance of its own.
        assert!((3..500).contains(&sampled), "{sampled}");
    }
}

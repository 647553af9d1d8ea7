//! Facts to spans. It runs on a thread of its own, and what it remembers of what is under way is bounded.
//!
//! An intent's spans come from several facts, in the order in which the pipeline tells them: the batch that answers it, the call of its
//! connector, the batch of its receipt, its publication, the views. Those of an intent that is not sampled are kept as facts while
//! its execution is open, so that an end that matters can still be told from its beginning.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData};

use writ_schemas::errors::{Class, Code};
use writ_schemas::event::Source;
use writ_schemas::ids::Seq;

use super::context::TraceContext;
use super::conventions as names;
use super::facts::{Batch, Fact, Intent, Interval, Poll, Topics};
use super::labels::{Why, is_error_inside};
use super::metrics::{self, DropReason, Signal};
use super::sampler::Allowance;
use super::span::Span;
use crate::clock::{Anchor, Stopwatch};

mod execution;
mod followed;

use execution::Execution;
use followed::{Followed, Output, Parent};

/// The most executions, waiting intents and entries that it remembers, each: twice as many executions as may be open within this process.
pub const REMEMBERED_MAX: usize = 16_384;

/// The most requests of which it remembers that they are told.
const REQUESTS_MAX: usize = 1024;

/// Which traces are kept because of their end.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// How many a second, and as many that are slow.
    pub per_second: u32,
    /// A decision that took longer is slow.
    pub slow: Duration,
}

/// Makes spans.
pub struct Spans<F> {
    out: Out<F>,
    ends: Allowance,
    slow_ends: Allowance,
    slow: Duration,
    /// Open executions, by their decision.
    open: BTreeMap<Seq, Execution>,
    /// Intents that wait for people, by their entry.
    waiting: BTreeMap<Seq, TraceContext>,
    followed: Followed,
    /// Requests that are not sampled, and brought an intent that is told.
    kept_requests: BTreeSet<[u8; 8]>,
}

/// Where spans go.
struct Out<F> {
    push: F,
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
    anchor: Anchor,
}

impl<F: FnMut(SpanData)> Out<F> {
    fn span(&mut self, span: Span) {
        (self.push)(span.finish(&self.anchor, &self.scope));
    }

    /// A span below another.
    fn child(&self, of: TraceContext, name: impl Into<std::borrow::Cow<'static, str>>, took: Interval) -> Span {
        Span::new(name, self.own(of), took).below(of)
    }

    fn own(&self, of: TraceContext) -> TraceContext {
        of.with_span(self.ids.new_span_id())
    }

    /// A trace of its own.
    fn root(&self) -> TraceContext {
        TraceContext { trace: self.ids.new_trace_id(), span: self.ids.new_span_id(), sampled: true }
    }
}

/// A batch, of which there is a span if anybody in it has one.
struct Committed {
    own: TraceContext,
    first: Seq,
    entries: usize,
    began: Stopwatch,
    signed: Interval,
    appended: Interval,
    is_told: Cell<bool>,
}

impl Committed {
    /// Once.
    fn tell<F: FnMut(SpanData)>(&self, out: &mut Out<F>, links: Vec<TraceContext>) {
        if self.entries == 0 || self.is_told.replace(true) {
            return;
        }
        let took = Interval { from: self.began, until: self.appended.until };
        let entries = i64::try_from(self.entries).unwrap_or(i64::MAX);
        let span = Span::new("batch", self.own, took).linked(links, false);
        out.span(span.with(names::BATCH_ENTRIES, entries).with("writ.seq.first", number(self.first)));
        out.span(out.child(self.own, "sign", self.signed));
        out.span(out.child(self.own, "append", self.appended));
    }
}

/// What is kept of an intent that is not sampled.
struct Held {
    intent: Intent,
    own: TraceContext,
    committed: Rc<Committed>,
}

impl<F: FnMut(SpanData)> Spans<F> {
    /// Gives spans to `push`. `publishes` says whether entries are published.
    pub fn new(push: F, ends: Ends, publishes: bool) -> Spans<F> {
        let scope = InstrumentationScope::builder("writ").with_version(env!("CARGO_PKG_VERSION")).build();
        let out = Out { push, ids: RandomIdGenerator::default(), scope, anchor: Anchor::now() };
        let (open, waiting) = (BTreeMap::new(), BTreeMap::new());
        let Ends { per_second, slow } = ends;
        Spans {
            out,
            ends: Allowance::of(per_second),
            slow_ends: Allowance::of(per_second),
            slow,
            open,
            waiting,
            followed: Followed::by(publishes),
            kept_requests: BTreeSet::new(),
        }
    }

    /// Takes in what happened.
    pub fn record(&mut self, fact: Fact) {
        self.out.anchor = Anchor::now();
        match fact {
            Fact::Polled { poll, took, records, callers } => self.polled(&poll, took, records, callers),
            Fact::Requested { own, caller, took, status, failed } => {
                if own.sampled || self.kept_requests.remove(&own.span.to_bytes()) {
                    self.requested(own, caller, took, status, failed);
                }
            }
            Fact::Reopened { decision, intent, passed, since } => {
                self.open.insert(decision, Execution::new(intent, passed, since, None));
            }
            Fact::Awaited { intent, own } => _ = self.waiting.insert(intent, own),
            Fact::Durable(batch) => self.durable(*batch),
            Fact::Called(call) => {
                self.open.entry(call.decision).or_insert_with(|| Execution::resumed(&call)).called(*call);
                bound(&mut self.open);
            }
            Fact::Published { topics, until, took, records } => {
                let outputs = self.followed.published(until);
                self.published(&topics, outputs, took, records);
            }
            Fact::Applied { view, until, took } => {
                for parent in self.followed.applied(view, until) {
                    let took = Interval { from: parent.since, until: took.until };
                    let span = self.out.child(parent.of, format!("apply {view}"), took);
                    self.out.span(span.with(names::VIEW, view));
                }
            }
        }
    }

    fn polled(&mut self, poll: &Poll, took: Interval, records: usize, callers: Vec<TraceContext>) {
        let Some(own) = poll.own else { return };
        let span = messaging(Span::new(format!("poll {}", poll.topic), own, took), "poll", "receive", &poll.topic);
        let records = i64::try_from(records).unwrap_or(i64::MAX);
        let span = span.kind(SpanKind::Client).with(names::MESSAGING_BATCH_MESSAGE_COUNT, records);
        self.out.span(span.linked(callers, true));
    }

    fn requested(
        &mut self,
        own: TraceContext,
        caller: Option<TraceContext>,
        took: Interval,
        status: u16,
        failed: Option<Code>,
    ) {
        const ROUTE: &str = "/v1/intents";
        let span = Span::new(format!("POST {ROUTE}"), own, took).kind(SpanKind::Server).called_by(caller);
        let span = span.with(names::HTTP_REQUEST_METHOD, "POST").with(names::HTTP_ROUTE, ROUTE);
        let span = span.with(names::URL_SCHEME, "http").with(names::HTTP_RESPONSE_STATUS_CODE, i64::from(status));
        self.out.span(span.error(failed.filter(|_| status >= 500)));
    }

    fn durable(&mut self, batch: Batch) {
        let Batch { first, entries, began, signed, appended, intents, dispatched, receipts } = batch;
        let is_told = Cell::new(false);
        let committed = Rc::new(Committed { own: self.out.root(), first, entries, began, signed, appended, is_told });
        let mut links = Vec::new();
        for intent in intents {
            links.extend(self.answered(intent, &committed));
        }
        for decision in dispatched {
            if let Some(execution) = self.open.get_mut(&decision) {
                execution.dispatched = Some(Rc::clone(&committed));
                links.extend(execution.sampled().then_some(execution.own));
            }
        }
        for receipt in receipts {
            let Some(mut execution) = self.open.remove(&receipt.decision) else { continue };
            if !(execution.sampled() || matters(receipt.code) && self.keeps()) {
                continue;
            }
            if let Some(held) = execution.held.take() {
                self.tell(&held.intent, held.own, &held.committed);
                held.committed.tell(&mut self.out, vec![held.own]);
            }
            let own = execution.own;
            links.push(own);
            execution.tell(&mut self.out, &receipt, &committed);
            self.followed.insert(receipt.seq, Output::Receipt, own, committed.appended.until);
        }
        if !links.is_empty() {
            committed.tell(&mut self.out, links);
        }
        bound(&mut self.open);
        bound(&mut self.waiting);
    }

    /// An intent was answered. Returns its span, if it is sampled.
    fn answered(&mut self, intent: Intent, committed: &Rc<Committed>) -> Option<TraceContext> {
        let before = || intent.intent.and_then(|seq| self.waiting.get(&seq).copied());
        let own = intent.arrival.as_ref().map_or_else(before, |arrival| arrival.own)?;
        let durable = committed.appended.until;
        let slow = intent.arrival.as_ref().is_some_and(|arrival| arrival.read.until(&durable) > self.slow);
        let keeps = |allowance: &Allowance| allowance.take().then(|| metrics::trace(Why::End)).is_some();
        let ends = || (matters(intent.code) && keeps(&self.ends)) || (slow && keeps(&self.slow_ends));
        let sampled = own.sampled || ends();
        if let Some(arrival) = intent.arrival.as_ref().filter(|_| sampled && !own.sampled) {
            let request = arrival.caller.filter(|_| arrival.poll.is_none());
            self.kept_requests.extend(request.map(|request| request.span.to_bytes()));
            while self.kept_requests.len() > REQUESTS_MAX {
                self.kept_requests.pop_first();
            }
        }
        let own = TraceContext { sampled, ..own };
        if let Some(seq) = intent.intent.filter(|_| intent.verdict == "ESCALATE") {
            self.waiting.insert(seq, own);
        } else if let Some(seq) = intent.intent.filter(|_| intent.round > 0) {
            self.waiting.remove(&seq);
        }
        let execution = intent.seq.zip(intent.passed.clone());
        if sampled {
            self.tell(&intent, own, committed);
            if let Some(seq) = intent.seq {
                let what = if intent.verdict == "REFUSED" { Output::Refusal } else { Output::Decision };
                self.followed.insert(seq, what, own, committed.appended.until);
            }
        }
        if let Some((decision, passed)) = execution {
            let held = (!sampled).then(|| Held { intent, own, committed: Rc::clone(committed) });
            let execution = Execution::new(own, passed, committed.appended.until, held);
            self.open.insert(decision, execution);
        }
        sampled.then_some(own)
    }

    /// The spans of an intent until it was answered.
    fn tell(&mut self, intent: &Intent, own: TraceContext, committed: &Committed) {
        let durable = committed.appended.until;
        let out = &mut self.out;
        if let Some(arrival) = &intent.arrival {
            let took = Interval { from: arrival.read, until: durable };
            let linked = arrival.caller.filter(|_| arrival.poll.is_some());
            let span = match (&arrival.poll, &intent.source) {
                (Some(poll), Source::Kafka { partition, offset }) => {
                    let span = Span::new(format!("process {}", poll.topic), own, took).kind(SpanKind::Consumer);
                    messaging(span, "process", "process", &poll.topic)
                        .with(names::MESSAGING_DESTINATION_PARTITION_ID, partition.number.to_string())
                        .with(names::MESSAGING_KAFKA_OFFSET, i64::try_from(*offset).unwrap_or(i64::MAX))
                        .linked(linked, true)
                        .linked(poll.own.filter(|_| arrival.own.is_some_and(|own| own.sampled)), false)
                }
                _ => Span::new("process intent", own, took),
            };
            let span = match arrival.caller {
                Some(request) if arrival.poll.is_none() => span.below(request),
                caller => span.called_by(caller),
            };
            let span = span.with(names::VERDICT, intent.verdict);
            let span = span.with(names::CODE, intent.code.as_str());
            let span = match &intent.identity {
                Some((tenant, id)) => {
                    span.with(names::TENANT, tenant.to_string()).with(names::INTENT_ID, id.to_string())
                }
                None => span,
            };
            out.span(span.error(Some(intent.code).filter(|code| matters(*code))));
            out.span(out.child(own, "parse", Interval { from: arrival.read, until: arrival.parsed }));
            out.span(out.child(own, "queue", Interval { from: arrival.parsed, until: intent.decided.from }));
        }
        let decide = out.child(own, "decide", intent.decided);
        let decided = decide.context();
        let decide = decide.with(names::VERDICT, intent.verdict).with(names::CODE, intent.code.as_str());
        let decide = decide.with(names::ROUND, i64::from(intent.round));
        out.span(match intent.intent {
            Some(seq) => decide.with(names::SEQ, number(seq)),
            None => decide,
        });
        for gate in &intent.gates {
            let span = out.child(decided, format!("gate {}", gate.gate.as_str()), gate.took);
            let span = span.with(names::GATE, gate.gate.as_str()).with(names::GATE_ANSWER, gate.answer);
            out.span(span.error(gate.code));
        }
        if let Some(seq) = intent.seq {
            let commit = out.child(own, "commit", Interval { from: intent.decided.until, until: durable });
            out.span(commit.with(names::SEQ, number(seq)).linked([committed.own], false));
        }
    }

    fn published(&mut self, topics: &Topics, outputs: Vec<(Output, Parent)>, took: Interval, records: usize) {
        if outputs.is_empty() {
            return;
        }
        let transaction = self.out.root();
        for (output, of) in outputs {
            let topic = output.topic(topics);
            let span = self.out.child(of.of, format!("send {topic}"), Interval { from: of.since, until: took.until });
            let span = messaging(span, "send", "send", topic).kind(SpanKind::Producer);
            self.out.span(span.linked([transaction], false));
        }
        let records = i64::try_from(records).unwrap_or(i64::MAX);
        let span = Span::new("transaction", transaction, took).kind(SpanKind::Client);
        self.out.span(span.with(names::MESSAGING_SYSTEM, "kafka").with(names::MESSAGING_BATCH_MESSAGE_COUNT, records));
    }

    /// Whether one more trace is kept because of its end.
    fn keeps(&self) -> bool {
        let keeps = self.ends.take();
        if keeps {
            metrics::trace(Why::End);
        }
        keeps
    }
}

/// Whether a trace that ends so is kept though nobody sampled it: an error inside a gate, an execution of which nobody knows what became
/// of it, or that did not keep its contract.
fn matters(code: Code) -> bool {
    is_error_inside(code) || matches!(code.entry().class, Class::Indeterminate | Class::Stop)
}

fn messaging(span: Span, name: &'static str, kind: &'static str, topic: &str) -> Span {
    span.with(names::MESSAGING_SYSTEM, "kafka")
        .with(names::MESSAGING_OPERATION_NAME, name)
        .with(names::MESSAGING_OPERATION_TYPE, kind)
        .with(names::MESSAGING_DESTINATION_NAME, topic.to_owned())
}

fn number(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

/// Forgets the oldest of too many.
fn bound<T>(remembered: &mut BTreeMap<Seq, T>) {
    while remembered.len() > REMEMBERED_MAX {
        remembered.pop_first();
        metrics::telemetry_dropped(Signal::Facts, DropReason::Limit, 1);
    }
}

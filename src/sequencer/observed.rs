//! What the writer tells of its work to those who observe it: when each intent was decided, and when its batch was signed and written.

use writ_schemas::decision::{Decision, Verdict};
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, Source};
use writ_schemas::ids::Seq;
use writ_schemas::intent::Intent;

use super::Answer;
use crate::clock::Stopwatch;
use crate::telemetry::facts::{self, Arrival, Fact, Interval, Passed, Receipt};
use crate::telemetry::gates::Gates;
use crate::telemetry::tracer::Tracer;
use crate::telemetry::{labels, metrics};

/// An intent that is being answered.
pub(super) struct Observed {
    pub(super) arrival: Arrival,
    pub(super) source: Source,
    /// Since when.
    pub(super) from: Stopwatch,
}

impl Observed {
    /// It became no decision, as the entry `seq` says, if there is one.
    pub(super) fn undecided(self, answer: &Answer, seq: Option<Seq>) -> facts::Intent {
        let (verdict, code) = match answer {
            Answer::Refused(refusal) => ("REFUSED", refusal.code),
            _ => ("KNOWN", Code::Ok),
        };
        facts::Intent {
            arrival: Some(self.arrival),
            source: self.source,
            decided: Interval::since(self.from),
            gates: Vec::new(),
            verdict,
            code,
            intent: None,
            seq,
            round: 0,
            passed: None,
            identity: None,
        }
    }

    /// It was decided.
    pub(super) fn decided(self, decision: &Decision, intent: &Intent, gates: Gates, tracer: &Tracer) -> facts::Intent {
        let Observed { arrival, source, from } = self;
        let seq = decision.intent_seq.next();
        let arrival = Some(arrival);
        facts::Intent { arrival, ..of(source, from, decision, intent, gates, tracer, seq) }
    }
}

/// An intent that was waiting was decided again, by the entry `seq`.
pub(super) fn decided_again(
    from: Stopwatch,
    decision: &Decision,
    intent: &Intent,
    gates: Gates,
    tracer: &Tracer,
    seq: Seq,
) -> facts::Intent {
    of(Source::Local, from, decision, intent, gates, tracer, seq)
}

fn of(
    source: Source,
    from: Stopwatch,
    decision: &Decision,
    intent: &Intent,
    gates: Gates,
    tracer: &Tracer,
    seq: Seq,
) -> facts::Intent {
    let decided = Interval::since(from);
    metrics::stage(metrics::Stage::Decide, decided.length());
    if labels::is_error_inside(decision.code) {
        metrics::stage_error(metrics::Stage::Decide, decision.code);
    }
    let execution = decision.execution.as_ref().filter(|_| tracer.is_on() && decision.verdict == Verdict::Pass);
    let passed = |connector| Passed { action: intent.action.clone(), connector };
    facts::Intent {
        arrival: None,
        source,
        decided,
        gates: gates.times,
        verdict: decision.verdict.as_str(),
        code: decision.code,
        intent: Some(decision.intent_seq),
        seq: Some(seq),
        round: decision.round,
        passed: execution.map(|execution| passed(execution.connector.clone())),
        identity: tracer.identifies().then(|| (intent.tenant.clone(), intent.id.clone())),
    }
}

/// When a batch was signed and written.
pub(super) struct Stages {
    began: Stopwatch,
    entries: usize,
    signed: Interval,
    appended: Interval,
}

impl Stages {
    /// Of a batch that began then, and needs neither if it has no entries.
    pub(super) fn of(began: Stopwatch) -> Stages {
        let none = Interval { from: began, until: began };
        Stages { began, entries: 0, signed: none, appended: none }
    }

    /// It is signed.
    pub(super) fn signed(&mut self, from: Stopwatch) {
        self.signed = Interval::since(from);
        metrics::stage(metrics::Stage::Sign, self.signed.length());
    }

    /// It is durable.
    pub(super) fn appended(&mut self, from: Stopwatch, entries: usize) {
        (self.appended, self.entries) = (Interval::since(from), entries);
        metrics::append(self.appended.length(), entries);
    }

    /// Tells what became durable with it.
    pub(super) fn tell(mut self, first: Seq, events: &[Event], intents: Vec<facts::Intent>, tracer: &Tracer) {
        if self.entries == 0 {
            self.appended = Interval::since(Stopwatch::start());
        }
        for intent in &intents {
            let Some(arrival) = &intent.arrival else { continue };
            metrics::stage(metrics::Stage::Queue, arrival.parsed.until(&intent.decided.from));
            if intent.intent.is_some() {
                metrics::decision(&intent.source, arrival.read.until(&self.appended.until));
            }
        }
        let Stages { began, entries, signed, appended } = self;
        let mut receipts = Vec::new();
        let mut dispatched = Vec::new();
        for (event, seq) in events.iter().zip(first.0..) {
            match event {
                Event::ReceiptIssued(issued) => {
                    metrics::stage(metrics::Stage::Receipt, began.until(&appended.until));
                    let receipt = issued.receipt.value();
                    let (decision, status, code) = (receipt.decision_seq, receipt.status, receipt.code);
                    receipts.push(Receipt { decision, seq: Seq(seq), status, code });
                }
                Event::DispatchStarted(decision) => dispatched.push(*decision),
                _ => {}
            }
        }
        if entries > 0 || !intents.is_empty() {
            tracer.record(|| {
                let batch = facts::Batch { first, entries, began, signed, appended, intents, dispatched, receipts };
                Fact::Durable(Box::new(batch))
            });
        }
    }
}

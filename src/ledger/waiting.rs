//! What the executor must be handed at opening.

use std::collections::BTreeMap;

use writ_kernel::state::State;
use writ_schemas::decision::{Decision, Verdict};
use writ_schemas::entry::Header;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, IntentAdmitted};
use writ_schemas::ids::{Digest, Seq, UnixMicros};

use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::telemetry::facts::{Fact, Passed};
use crate::telemetry::tracer::Tracer;

/// The intents of every `PASS` without a receipt, and when each was decided, gathered while the log is folded: looking for them afterwards would
/// walk the log once for each.
#[derive(Default)]
pub(super) struct Waiting {
    admitted: Option<(Seq, IntentAdmitted)>,
    /// By the digest of the intent.
    escalated: BTreeMap<Digest, (Seq, IntentAdmitted)>,
    passed: BTreeMap<Seq, IntentAdmitted>,
    decided: BTreeMap<Seq, UnixMicros>,
}

impl Waiting {
    pub(super) fn follow(&mut self, Header { seq, recorded_at, .. }: Header, event: Event) {
        match event {
            Event::IntentAdmitted(admitted) => self.admitted = Some((seq, admitted)),
            Event::DecisionMade(decision) => {
                let Decision { verdict, intent_digest, .. } = decision.value();
                if *verdict == Verdict::Pass {
                    self.decided.insert(seq, recorded_at);
                }
                let intent = self.admitted.take().or_else(|| self.escalated.remove(intent_digest));
                match (verdict, intent) {
                    (Verdict::Pass, Some((_, intent))) => _ = self.passed.insert(seq, intent),
                    (Verdict::Escalate, Some(intent)) => _ = self.escalated.insert(*intent_digest, intent),
                    (Verdict::Pass | Verdict::Escalate, None) | (Verdict::Fail, _) => {}
                }
            }
            Event::ReceiptIssued(issued) => {
                let decision = issued.receipt.value().decision_seq;
                self.passed.remove(&decision);
                self.decided.remove(&decision);
            }
            _ => {}
        }
    }

    /// Tells whoever traces what is open, and what waits for people.
    pub(super) fn tell(&self, state: &State, tracer: &Tracer) {
        let span = |admitted: &IntentAdmitted| admitted.trace.as_ref()?.parse().ok();
        for (decision, admitted) in &self.passed {
            if let Some((intent, open)) = span(admitted).zip(state.open().get(decision)) {
                let passed = Passed { action: open.action.clone(), connector: open.connector.clone() };
                let (decision, since) = (*decision, Stopwatch::start());
                tracer.record(|| Fact::Reopened { decision, intent, passed, since });
            }
        }
        for (intent, admitted) in self.escalated.values() {
            let Some(own) = span(admitted) else { continue };
            tracer.record(|| Fact::Awaited { intent: *intent, own });
        }
    }

    /// The intent of a decision, its signature checked again before anything is done with it.
    pub(super) fn take(&mut self, decision: Seq) -> Result<IntentAdmitted> {
        let admitted = self.passed.remove(&decision).filter(|admitted| admitted.intent.verify());
        admitted.ok_or_else(|| {
            Failure::new(Code::SignatureInvalid, format!("the intent of decision {decision} is not signed"))
        })
    }

    /// When every `PASS` without a receipt was decided.
    pub(super) fn into_decided(self) -> BTreeMap<Seq, UnixMicros> {
        self.decided
    }
}

//! What the executor must be handed at opening.

use std::collections::BTreeMap;

use writ_schemas::decision::{Decision, Verdict};
use writ_schemas::entry::Header;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, IntentAdmitted};
use writ_schemas::ids::{Digest, Seq, UnixMicros};

use crate::error::{Failure, Result};

/// The intents of every `PASS` without a receipt, and when each was decided, gathered while the log is folded: looking for them afterwards would
/// walk the log once for each.
#[derive(Default)]
pub(super) struct Waiting {
    admitted: Option<IntentAdmitted>,
    /// By the digest of the intent.
    escalated: BTreeMap<Digest, IntentAdmitted>,
    passed: BTreeMap<Seq, IntentAdmitted>,
    decided: BTreeMap<Seq, UnixMicros>,
}

impl Waiting {
    pub(super) fn follow(&mut self, Header { seq, recorded_at, .. }: Header, event: Event) {
        match event {
            Event::IntentAdmitted(admitted) => self.admitted = Some(admitted),
            Event::DecisionMade(decision) => {
                let Decision { verdict, intent_digest, .. } = decision.value();
                if *verdict == Verdict::Pass {
                    self.decided.insert(seq, recorded_at);
                }
                let intent = self.admitted.take().or_else(|| self.escalated.remove(intent_digest));
                match (verdict, intent) {
                    (Verdict::Pass, Some(intent)) => _ = self.passed.insert(seq, intent),
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

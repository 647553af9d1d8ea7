//! What follows from the log before an entry, held against what the entry says: decisions, the derived part of receipts,
//! dispatches, admissions, state hashes, byte by byte; that an output has its pinned shape; that positions only rise. Salts,
//! connectors' outputs and signatures are inputs: recorded and verified elsewhere, never derived.
//!
//! Replay asks it of every entry; opening a ledger asks it of every entry that no checkpoint vouches for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use writ_kernel::admission;
use writ_kernel::apply::Fault;
use writ_kernel::decide::{Identity, decide, decide_again, identify};
use writ_kernel::execution::{self, Dispatch, Ending};
use writ_kernel::policy::Policy;
use writ_kernel::state::State;
use writ_schemas::decision::Decision;
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::entry::Entry;
use writ_schemas::errors::Code;
use writ_schemas::event::{
    DispatchRetried, Event, EventKind, INLINE_OUTPUT_MAX, Partition, ReceiptIssued, RecordRefused, Source,
};
use writ_schemas::ids::{Seq, UnixMicros};
use writ_schemas::receipt::{Receipt, Status};
use writ_schemas::strict::Refusal;

use crate::executor::content::ContentStore;
use crate::executor::output;

/// A fold of the log that can say of each entry whether it follows.
pub struct Derivation {
    state: State,
    content: ContentStore,
    /// The policy under which each open execution was dispatched: by its shapes the output was judged.
    dispatched: BTreeMap<Seq, Arc<Policy>>,
    /// The decision of the intent that was just admitted.
    expected: Option<Signed<Decision>>,
    decided: u64,
    hashes: u64,
}

/// An entry that does not follow from those before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// The entry.
    pub seq: Seq,
    /// What it is.
    pub kind: &'static str,
    /// Each field that differs.
    pub fields: Vec<Difference>,
}

impl Divergence {
    /// The divergence of an entry in these fields.
    #[must_use]
    pub fn new(seq: Seq, event: &Event, fields: Vec<Difference>) -> Divergence {
        Divergence { seq, kind: event.kind().as_str(), fields }
    }
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields: Vec<&str> = self.fields.iter().map(|it| it.field.as_str()).collect();
        write!(f, "entry {} ({}): {}", self.seq, self.kind, fields.join(", "))
    }
}

/// A field on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its path, `facts/budget/limit`.
    pub field: String,
    /// What the log says.
    pub recorded: Value,
    /// What follows from the log before it.
    pub derived: Value,
}

impl Derivation {
    /// A fold of nothing yet, over a ledger whose long outputs are in `content`.
    #[must_use]
    pub fn new(content: ContentStore) -> Derivation {
        Derivation {
            state: State::default(),
            content,
            dispatched: BTreeMap::new(),
            expected: None,
            decided: 0,
            hashes: 0,
        }
    }

    /// The state after the last entry.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The same, for whoever goes on with it.
    #[must_use]
    pub fn into_state(self) -> State {
        self.state
    }

    /// Intents that were decided again.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.decided
    }

    /// State hashes that were compared.
    #[must_use]
    pub fn hashes(&self) -> u64 {
        self.hashes
    }

    /// Folds in an entry that somebody else vouches for.
    ///
    /// # Errors
    /// It does not follow the state.
    pub fn believe(&mut self, entry: &Entry, event: &Event) -> Result<(), Fault> {
        self.state.apply(entry.header.seq, entry.header.recorded_at, event)?;
        match event {
            Event::DispatchStarted(decision) => {
                self.dispatched.extend(self.state.policy().map(|policy| (*decision, Arc::clone(policy))));
            }
            Event::DispatchRetried(retried) => drop(self.dispatched.remove(&retried.decision)),
            Event::ReceiptIssued(issued) => drop(self.dispatched.remove(&issued.receipt.value().decision_seq)),
            _ => {}
        }
        Ok(())
    }

    /// Holds an entry against what follows from those before it, and folds it in.
    ///
    /// # Errors
    /// The fields that differ. There is no going on after that.
    pub fn check(&mut self, entry: &Entry, event: &Event) -> Result<(), Divergence> {
        let seq = entry.header.seq;
        self.compare(entry, event).map_err(|fields| Divergence::new(seq, event, fields))?;
        self.believe(entry, event).map_err(|fault| {
            let follows = "an event that follows the state";
            Divergence::new(seq, event, vec![difference("event", fault.to_string(), follows)])
        })
    }

    /// Holds the end of the log against what follows: an intent and its decision are in one batch, and so are a report, or a
    /// deadline for one, and its receipt.
    ///
    /// # Errors
    /// The intent that was not decided, or the execution that has no receipt.
    pub fn check_end(&self) -> Result<(), Divergence> {
        let (kind, missing) = match self.state.ending().map(|ending| ending.code) {
            Some(Code::OutcomeMissing) => (EventKind::DeadlinePassed, "receipt"),
            Some(_) => (EventKind::OutcomeReconciled, "receipt"),
            None if self.state.awaits_decision() => (EventKind::IntentAdmitted, "decision"),
            None => return Ok(()),
        };
        let seq = Seq(self.state.next().0.saturating_sub(1));
        let fields = one(missing, "nothing", format!("a {missing} in the same batch"));
        Err(Divergence { seq, kind: kind.as_str(), fields })
    }

    /// What the log says against what follows from the log before it.
    fn compare(&mut self, entry: &Entry, event: &Event) -> Result<(), Vec<Difference>> {
        let (seq, at, ledger) = (entry.header.seq, entry.header.recorded_at, entry.header.ledger);
        self.compare_due(event, at)?;
        if self.state.awaits_decision() && at != self.state.last_at() {
            return Err(one("recorded_at", at.0, self.state.last_at().0));
        }
        match event {
            Event::IntentAdmitted(admitted) => {
                self.compare_source(&admitted.source)?;
                let intent = &admitted.intent;
                let signer = intent.signer().ok_or_else(|| one("intent", "not one signature", "one signature"))?;
                match identify(&self.state, intent, at) {
                    Identity::New => {}
                    Identity::Known(_) | Identity::Reused => {
                        return Err(one("intent", "admitted", "known before: no entry"));
                    }
                    Identity::Stranger(refusal) => return Err(one("intent", "admitted", refusal.to_string())),
                }
                let decision = decide(&self.state, ledger, intent, signer, seq, at, &mut ());
                self.expected = Some(document(decision)?);
                Ok(())
            }
            Event::DecisionMade(recorded) => {
                self.decided += 1;
                let expected = match self.expected.take() {
                    Some(expected) => expected,
                    None => match decide_again(&self.state, ledger, at, &mut ()) {
                        Some((_, decision)) => document(decision)?,
                        None => return Err(one("decision", "made", "nothing before it asks for one")),
                    },
                };
                same(recorded, &expected)
            }
            Event::DispatchStarted(decision) => match execution::dispatch(&self.state, *decision, at) {
                Ok(Dispatch::Start) => Ok(()),
                Ok(Dispatch::Expire(code)) => Err(one("dispatch", "started", code.as_str())),
                Ok(Dispatch::Wait(until)) => Err(one("dispatch", "started", format!("not before {}", until.0))),
                Err(refusal) => Err(one("dispatch", "started", refusal.to_string())),
            },
            Event::DispatchRetried(recorded) => {
                let DispatchRetried { decision, because, asked_us, .. } = recorded;
                match execution::retry(&self.state, *decision, because, *asked_us, at) {
                    Some(derived) if derived == *recorded => Ok(()),
                    Some(derived) => Err(one("due", recorded.due.0, derived.due.0)),
                    None => Err(one("retry", recorded.attempts, "it had failed for good")),
                }
            }
            Event::ReceiptIssued(issued) => self.compare_receipt(issued, at),
            Event::RecordRefused(refused) => self.compare_refusal(refused),
            Event::EvidenceRegistered(evidence) => admitted(admission::evidence(&self.state, evidence, at)),
            Event::DeadlinePassed(intent) => match self.state.due(at) {
                Some(due) if due == *intent => Ok(()),
                due => Err(one("deadline", intent.to_string(), due.map_or(Value::Null, |due| due.to_string().into()))),
            },
            Event::OutcomeReconciled(act)
            | Event::ApprovalRecorded(act)
            | Event::PolicyActivated(act)
            | Event::KeyTrusted(act)
            | Event::KeyRevoked(act)
            | Event::LedgerKeyRotated(act)
            | Event::ClockAdjusted(act)
            | Event::Frozen(act)
            | Event::Thawed(act)
            | Event::PartitionsBound(act) => admitted(admission::act(&self.state, act, at)),
            Event::StateHashed(recorded) => {
                self.hashes += 1;
                let derived = self.state.hash();
                if *recorded == derived {
                    return Ok(());
                }
                Err(one("state_hash", recorded.to_string(), derived.to_string()))
            }
            Event::SourceAdvanced(positions) if positions.is_empty() => Err(one("positions", "none", "at least one")),
            Event::SourceAdvanced(positions) => {
                positions.iter().try_for_each(|it| self.compare_position("next", &it.partition, it.next))
            }
            Event::SourceGap(gap) => self.compare_position("found", &gap.partition, gap.found),
            Event::RecordsOverQuota(over) if !over.is_valid() => {
                Err(one("count", over.count.to_string(), "as many as there is room for, at least one"))
            }
            Event::RecordsOverQuota(over) => {
                let position = self.state.positions().get(&over.partition).copied().unwrap_or_default();
                if over.first < position {
                    return Err(one("first", over.first, format!("{position} or later")));
                }
                self.compare_position("next", &over.partition, over.next)
            }
            Event::LedgerOpened(_) | Event::CheckpointSigned(_) | Event::TailCut(_) => Ok(()),
        }
    }

    /// A deadline that has passed is recorded before anything else is decided or done; what speaks of the log itself may come
    /// between.
    fn compare_due(&self, event: &Event, at: UnixMicros) -> Result<(), Vec<Difference>> {
        let kinds = [
            EventKind::DeadlinePassed,
            EventKind::DecisionMade,
            EventKind::SourceAdvanced,
            EventKind::RecordsOverQuota,
            EventKind::StateHashed,
            EventKind::CheckpointSigned,
            EventKind::TailCut,
            EventKind::ClockAdjusted,
        ];
        // What must come next is not held up, and the fold lets nothing else come.
        match self.state.due(at).filter(|_| self.state.ending().is_none()) {
            Some(due) if !kinds.contains(&event.kind()) => {
                Err(one("event", event.kind().as_str(), format!("DeadlinePassed of {due}")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A record is read once: one before the position that the log has was passed over when it came again.
    fn compare_source(&self, source: &Source) -> Result<(), Vec<Difference>> {
        match source {
            Source::Kafka { partition, offset } => {
                let next = self.state.positions().get(partition).copied().unwrap_or_default();
                if *offset >= next { Ok(()) } else { Err(one("source", *offset, format!("{next} or later"))) }
            }
            Source::Local | Source::Http => Ok(()),
        }
    }

    /// A position is recorded only where it rises.
    fn compare_position(&self, field: &str, partition: &Partition, next: u64) -> Result<(), Vec<Difference>> {
        match self.state.positions().get(partition) {
            Some(position) if next <= *position => Err(one(field, next, format!("beyond {position}"))),
            Some(_) | None => Ok(()),
        }
    }

    /// An output is an input, but whether it has its pinned shape follows from it and from the policy of its dispatch.
    fn compare_output(&self, issued: &ReceiptIssued) -> Result<(), Vec<Difference>> {
        let Receipt { decision_seq, connector, status, code, output, because, .. } = issued.receipt.value();
        let Some(policy) = self.dispatched.get(decision_seq) else { return Ok(()) };
        let shape = policy.shapes(connector).map(|shapes| &shapes.output);
        if shape.is_some() && *code == Code::ConnectorUnknown {
            return Err(one("code", code.as_str(), format!("the policy has {connector}")));
        }
        let Some(digest) = output else { return Ok(()) };
        let bytes = match &issued.output {
            Some(inline) => Cow::Borrowed(inline),
            None => Cow::Owned(
                self.content.get(digest).map_err(|failure| one("output", digest.to_string(), failure.to_string()))?,
            ),
        };
        let value = match output::canonical_output(&bytes) {
            Ok((value, canonical)) if canonical == **bytes => value,
            Ok(_) | Err(_) => return Err(one("output", digest.to_string(), "canonical JSON")),
        };
        let (expected, why) = match shape.map(|shape| shape.holds(&value)) {
            Some(true) => (Status::Succeeded, Code::Ok),
            Some(false) => (Status::Failed, Code::ConnectorContractDrift),
            None => (Status::Failed, Code::ConnectorUnknown),
        };
        let sides = [("code", code.as_str(), why.as_str()), ("status", status.as_str(), expected.as_str())];
        let fields: Vec<Difference> = sides
            .into_iter()
            .filter(|(_, recorded, derived)| recorded != derived)
            .map(|(field, recorded, derived)| difference(field, recorded, derived))
            .collect();
        if !fields.is_empty() {
            return Err(fields);
        }
        // The first ledgers did not say where an output drifted.
        let derived = shape.filter(|_| because.is_some()).map(|shape| shape.difference(&value));
        let derived = derived.map(|why| Refusal::new(*code, why).detail).filter(|why| !why.is_empty());
        if *because == derived { Ok(()) } else { Err(one("because", because.clone(), derived)) }
    }

    fn compare_receipt(&self, issued: &ReceiptIssued, at: UnixMicros) -> Result<(), Vec<Difference>> {
        let recorded = &issued.receipt;
        let receipt = recorded.value();
        if let Some(told) = self.state.ending() {
            if told.output.is_some() != issued.output.is_some() {
                return Err(one("output", issued.output.is_some(), "what was reported, beside its receipt"));
            }
            let derived = execution::conclude(&self.state, receipt.ledger, told, issued.output.as_deref(), at)
                .map_err(|refusal| one("receipt", "issued", refusal.to_string()))?;
            return same(recorded, &document(derived)?);
        }
        if issued.output.as_ref().is_some_and(|inline| inline.len() > INLINE_OUTPUT_MAX) {
            return Err(one("output", "beside its receipt", "in the content store"));
        }
        self.compare_output(issued)?;
        let Receipt { decision_seq: decision, status, code, output, .. } = *receipt;
        if status == Status::Expired {
            match execution::dispatch(&self.state, decision, at) {
                Ok(Dispatch::Expire(derived)) if derived == code => {}
                Ok(Dispatch::Expire(derived)) => return Err(one("code", code.as_str(), derived.as_str())),
                Ok(Dispatch::Start | Dispatch::Wait(_)) => {
                    return Err(one("status", status.as_str(), "it could have been dispatched"));
                }
                Err(refusal) => return Err(one("status", status.as_str(), refusal.to_string())),
            }
        }
        let ending = Ending { decision, status, code, output, because: receipt.because.clone() };
        let derived = execution::conclude(&self.state, receipt.ledger, &ending, issued.output.as_deref(), at)
            .map_err(|refusal| one("receipt", "issued", refusal.to_string()))?;
        same(recorded, &document(derived)?)
    }

    /// A refused record is an input, but that an id was taken follows from the log.
    fn compare_refusal(&self, refused: &RecordRefused) -> Result<(), Vec<Difference>> {
        self.compare_source(&refused.source)?;
        let taken = refused.claims.as_ref().is_none_or(|(tenant, id)| self.state.decision_of(tenant, id).is_some());
        if taken { Ok(()) } else { Err(one("claims", "an id that was used", "an id that is free")) }
    }
}

fn document<T: Document>(value: T) -> Result<Signed<T>, Vec<Difference>> {
    execution::document(value).map_err(|refusal| one("document", "canonical", refusal.to_string()))
}

fn admitted(derived: Result<Option<Event>, Refusal>) -> Result<(), Vec<Difference>> {
    match derived {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(one("statement", "recorded", "recorded before")),
        Err(refusal) => Err(one("statement", "recorded", refusal.to_string())),
    }
}

/// A field that differs.
pub(crate) fn difference(field: &str, recorded: impl Into<Value>, derived: impl Into<Value>) -> Difference {
    Difference { field: field.to_owned(), recorded: recorded.into(), derived: derived.into() }
}

fn one(field: &str, recorded: impl Into<Value>, derived: impl Into<Value>) -> Vec<Difference> {
    vec![difference(field, recorded, derived)]
}

/// Two documents, byte by byte; where they differ, field by field.
fn same<T: Document>(recorded: &Signed<T>, derived: &Signed<T>) -> Result<(), Vec<Difference>> {
    if recorded.payload() == derived.payload() {
        return Ok(());
    }
    let json = |document: &Signed<T>| serde_json::from_slice(document.payload()).unwrap_or(Value::Null);
    let mut fields = Vec::new();
    walk("", &json(recorded), &json(derived), &mut fields);
    if fields.is_empty() {
        fields.push(difference("bytes", "other bytes", "the canonical bytes"));
    }
    Err(fields)
}

fn walk(path: &str, recorded: &Value, derived: &Value, fields: &mut Vec<Difference>) {
    let under = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}/{key}") };
    match (recorded, derived) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let side = |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or(Value::Null);
                walk(&under(key), &side(left), &side(right), fields);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (at, (left, right)) in left.iter().zip(right).enumerate() {
                walk(&under(&at.to_string()), left, right, fields);
            }
        }
        _ if recorded == derived => {}
        _ => fields.push(difference(path, recorded.clone(), derived.clone())),
    }
}

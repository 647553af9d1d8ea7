//! Folds the log from zero into fresh state, decides every intent again, rebuilds every view, and compares.
//!
//! What is derived must come out as it stands in the log, byte by byte: decisions, the derived part of receipts, dispatches,
//! admissions, state hashes. Salts, connectors' outputs and signatures are inputs: recorded and verified, never derived. It
//! stops at the first divergence and shows both sides.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use writ_kernel::admission;
use writ_kernel::decide::{Identity, decide, identify};
use writ_kernel::execution::{self, Dispatch, Ending};
use writ_kernel::state::State;
use writ_projections::follower::Follower;
use writ_projections::metering::Metering;
use writ_projections::projection::Projection;
use writ_projections::proofgraph::ProofGraph;
use writ_projections::store::MemoryStore;
use writ_schemas::decision::Decision;
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::entry::Entry;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, RecordRefused};
use writ_schemas::ids::{Digest, Seq, UnixMicros};
use writ_schemas::receipt::{Receipt, Status};

use crate::error::{Failure, Result};
use crate::folder::Folder;
use crate::verify::{Audit, Broken, Pins, Report};

/// What replay found. Equal for equal ledgers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// What verification on the way found.
    #[serde(flatten)]
    pub verified: Report,
    /// Intents that were decided again.
    pub decided_again: u64,
    /// State hashes in the log that were compared.
    pub state_hashes: u64,
    /// The hash of the state after the last entry.
    pub state_hash: Digest,
    /// The digest of each view, rebuilt.
    pub views: BTreeMap<&'static str, Digest>,
    /// The first event at which replay differs.
    pub divergence: Option<Divergence>,
}

/// The first event at which replay differs, with both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// The entry.
    pub seq: Seq,
    /// What it is.
    pub kind: &'static str,
    /// Each field that differs.
    pub fields: Vec<Difference>,
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

/// Replays a ledger, up to and including `until` if one is given.
///
/// # Errors
/// It could not be read at all. A ledger that diverges is a [`Replayed`] that says so.
pub fn replay(folder: &Folder, pins: &Pins, until: Option<Seq>, progress: &mut dyn FnMut(u64)) -> Result<Replayed> {
    let mut audit = Audit::open(folder, pins)?;
    let mut fold = Fold::default();
    audit.run(&mut |entry, event| {
        progress(entry.header.seq.0);
        if until.is_some_and(|until| entry.header.seq > until) {
            return Ok(());
        }
        fold.step(entry, event)
    });
    let mut verified = audit.report();
    if let Some(divergence) = &fold.divergence {
        verified.ok = false;
        verified.broken = Some(divergence.broken());
    }
    let (state_hash, views) = (fold.state.hash(), fold.views()?);
    Ok(Replayed {
        verified,
        decided_again: fold.decided,
        state_hashes: fold.hashes,
        state_hash,
        views,
        divergence: fold.divergence,
    })
}

impl Divergence {
    fn broken(&self) -> Broken {
        let fields: Vec<&str> = self.fields.iter().map(|it| it.field.as_str()).collect();
        let what = format!("entry {} ({}): {}", self.seq, self.kind, fields.join(", "));
        Broken { code: Code::ReplayDiverged, seq: Some(self.seq), what }
    }
}

/// Fresh state and fresh views, an entry at a time.
#[derive(Default)]
struct Fold {
    state: State,
    expected: Option<Signed<Decision>>,
    graph: Option<Follower<ProofGraph, MemoryStore>>,
    metering: Option<Follower<Metering, MemoryStore>>,
    decided: u64,
    hashes: u64,
    divergence: Option<Divergence>,
}

/// A [`Divergence`] was found and kept; the walk ends.
struct Diverged(Broken);

impl From<Diverged> for Broken {
    fn from(diverged: Diverged) -> Broken {
        diverged.0
    }
}

impl Fold {
    fn step(&mut self, entry: &Entry, event: &Event) -> std::result::Result<(), Diverged> {
        let (seq, at) = (entry.header.seq, entry.header.recorded_at);
        let mut fields = self.compare(entry, event).err().unwrap_or_default();
        if fields.is_empty()
            && let Err(fault) = self.state.apply(seq, at, event)
        {
            fields.push(difference("event", fault.to_string(), "an event that follows the state"));
        }
        if fields.is_empty()
            && let Err(error) = self.derive(entry, event)
        {
            fields.push(difference("view", error, "an entry that every view takes in"));
        }
        if fields.is_empty() {
            return Ok(());
        }
        let divergence = Divergence { seq, kind: event.kind().as_str(), fields };
        let broken = divergence.broken();
        self.divergence = Some(divergence);
        Err(Diverged(broken))
    }

    /// What the log says against what follows from the log before it.
    fn compare(&mut self, entry: &Entry, event: &Event) -> std::result::Result<(), Vec<Difference>> {
        let (seq, at, ledger) = (entry.header.seq, entry.header.recorded_at, entry.header.ledger);
        match event {
            Event::IntentAdmitted(admitted) => {
                let intent = &admitted.intent;
                let signer = intent.signer().ok_or_else(|| one("intent", "not one signature", "one signature"))?;
                if identify(&self.state, intent) != Identity::New {
                    return Err(one("intent", "admitted", "known before: no entry"));
                }
                let decision = decide(&self.state, ledger, intent, signer, seq, at);
                self.expected = Some(document(decision)?);
                Ok(())
            }
            Event::DecisionMade(recorded) => {
                self.decided += 1;
                let expected = self.expected.take().ok_or_else(|| one("decision", "made", "no intent before it"))?;
                same(recorded, &expected)
            }
            Event::DispatchStarted(decision) => match execution::dispatch(&self.state, *decision, at) {
                Ok(Dispatch::Start) => Ok(()),
                Ok(Dispatch::Expire(code)) => Err(one("dispatch", "started", code.as_str())),
                Err(refusal) => Err(one("dispatch", "started", refusal.to_string())),
            },
            Event::ReceiptIssued(issued) => self.compare_receipt(&issued.receipt, at),
            Event::RecordRefused(refused) => self.compare_refusal(refused),
            Event::EvidenceRegistered(evidence) => admitted(admission::evidence(&self.state, evidence, at)),
            Event::StateHashed(recorded) => {
                self.hashes += 1;
                let derived = self.state.hash();
                if *recorded == derived {
                    return Ok(());
                }
                Err(one("state_hash", recorded.to_string(), derived.to_string()))
            }
            Event::LedgerOpened(_)
            | Event::SourceAdvanced(_)
            | Event::CheckpointSigned(_)
            | Event::TailCut(_)
            | Event::SourceGap(_) => Ok(()),
            other => match other.act() {
                Some(act) => admitted(admission::act(&self.state, act, at)),
                None => Err(one("event", other.kind().as_str(), "an event that replay derives")),
            },
        }
    }

    fn compare_receipt(&self, recorded: &Signed<Receipt>, at: UnixMicros) -> std::result::Result<(), Vec<Difference>> {
        let receipt = recorded.value();
        let Receipt { decision_seq: decision, status, code, output, .. } = *receipt;
        if status == Status::Expired {
            match execution::dispatch(&self.state, decision, at) {
                Ok(Dispatch::Expire(derived)) if derived == code => {}
                Ok(Dispatch::Expire(derived)) => return Err(one("code", code.as_str(), derived.as_str())),
                Ok(Dispatch::Start) => return Err(one("status", status.as_str(), "it could have been dispatched")),
                Err(refusal) => return Err(one("status", status.as_str(), refusal.to_string())),
            }
        }
        let ending = Ending { decision, status, code, output };
        let derived = execution::conclude(&self.state, receipt.ledger, ending, at)
            .map_err(|refusal| one("receipt", "issued", refusal.to_string()))?;
        same(recorded, &document(derived)?)
    }

    /// A refused record is an input, but that an id was taken follows from the log.
    fn compare_refusal(&self, refused: &RecordRefused) -> std::result::Result<(), Vec<Difference>> {
        let taken = refused.claims.as_ref().is_none_or(|(tenant, id)| self.state.decision_of(tenant, id).is_some());
        if taken { Ok(()) } else { Err(one("claims", "an id that was used", "an id that is free")) }
    }

    fn derive(&mut self, entry: &Entry, event: &Event) -> std::result::Result<(), String> {
        fn stage<P: Projection>(
            follower: &mut Option<Follower<P, MemoryStore>>,
            projection: P,
            entry: &Entry,
            event: &Event,
        ) -> std::result::Result<(), String> {
            if follower.is_none() {
                let opened = Follower::open(projection, MemoryStore::default(), entry.header.ledger, |_| None);
                *follower = Some(opened.map_err(|e| e.to_string())?.0);
            }
            match follower {
                Some(follower) => follower.stage_event(entry, event).map(drop).map_err(|e| e.to_string()),
                None => Ok(()),
            }
        }
        stage(&mut self.graph, ProofGraph, entry, event)?;
        stage(&mut self.metering, Metering, entry, event)
    }

    fn views(&mut self) -> Result<BTreeMap<&'static str, Digest>> {
        let mut views = BTreeMap::new();
        if let Some(graph) = &mut self.graph {
            views.insert(ProofGraph::NAME, graph.digest().map_err(|e| Failure::new(e.code(), e))?);
        }
        if let Some(metering) = &mut self.metering {
            views.insert(Metering::NAME, metering.digest().map_err(|e| Failure::new(e.code(), e))?);
        }
        Ok(views)
    }
}

fn document<T: Document>(value: T) -> std::result::Result<Signed<T>, Vec<Difference>> {
    execution::document(value).map_err(|refusal| one("document", "canonical", refusal.to_string()))
}

fn admitted(
    derived: std::result::Result<Option<Event>, writ_schemas::strict::Refusal>,
) -> std::result::Result<(), Vec<Difference>> {
    match derived {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(one("statement", "recorded", "recorded before")),
        Err(refusal) => Err(one("statement", "recorded", refusal.to_string())),
    }
}

fn difference(field: &str, recorded: impl Into<Value>, derived: impl Into<Value>) -> Difference {
    Difference { field: field.to_owned(), recorded: recorded.into(), derived: derived.into() }
}

fn one(field: &str, recorded: impl Into<Value>, derived: impl Into<Value>) -> Vec<Difference> {
    vec![difference(field, recorded, derived)]
}

/// Two documents, byte by byte; where they differ, field by field.
fn same<T: Document>(recorded: &Signed<T>, derived: &Signed<T>) -> std::result::Result<(), Vec<Difference>> {
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

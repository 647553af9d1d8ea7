//! Answers questions about what happened, from the views and the log, as JSON that a program can read.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use writ_kernel::expression::Found;
use writ_kernel::policy::Policy;
use writ_kernel::requirement::{self, Explained};
use writ_log::{Lock, LogError, Reader};
use writ_projections::metering::Meter;
use writ_projections::proofgraph::{Graph, Limits, Relation};
use writ_schemas::act::Statement;
use writ_schemas::canonical;
use writ_schemas::decision::{Answer, Decision, Gate, GateAnswer};
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::entry::Entry;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Name, Seq, hex};
use writ_schemas::intent::Intent;
use writ_schemas::policy::{Bundle, ConnectorKind, Requires};
use writ_schemas::strict::Refusal;

use crate::error::{Failure, Result};
use crate::executor::content::ContentStore;
use crate::folder::Folder;
use crate::ledger;
use crate::views::{Shelf, brought_up, brought_up_aside};

/// The most waiting intents that are listed at once.
pub const APPROVALS_MAX: usize = 64;
/// The most dispatches in one answer.
const DISPATCHES_MAX: usize = 256;

/// No further one is put into an answer whose documents have this many bytes: 4 MiB.
const DISPATCHES_BYTES_MAX: usize = 4 << 20;

/// What questions are put to.
#[derive(Clone)]
pub struct Library {
    /// The ledger's folder.
    pub folder: Folder,
    /// Its log.
    pub reader: Reader,
    /// Its views.
    pub views: Shelf,
}

impl Library {
    /// The views of a folder that nobody serves, brought up to date.
    ///
    /// # Errors
    /// `ERR_LOG_LOCKED` if a process that does not answer holds it; otherwise as [`brought_up`].
    pub fn open(folder: &Folder) -> Result<Library> {
        let ledger = ledger::genesis(folder)?.ledger;
        let views = match Lock::acquire(&folder.lock()) {
            Ok(_lock) => brought_up(folder, ledger)?,
            Err(locked @ LogError::Locked(_)) => return Err(locked.into()),
            // Who cannot take the lock can write nothing here, and needs none.
            Err(_) => brought_up_aside(folder, ledger)?,
        };
        Ok(Library { folder: folder.clone(), reader: Reader::open(folder.log())?, views })
    }

    /// Waits until the views hold every entry before `next`.
    ///
    /// # Errors
    /// `ERR_OVERLOADED` if they have not caught up within `patience`.
    pub fn wait_for(&self, next: Seq, patience: Duration) -> Result<()> {
        let views = self.views.current()?;
        if views.progress.wait_beyond(Seq(next.0.saturating_sub(1)), patience) >= next {
            return Ok(());
        }
        if views.progress.is_closed() {
            return Err(Failure::new(Code::ViewDamaged, "they ended while this question waited for them"));
        }
        Err(Failure::new(Code::Overloaded, "the views have not caught up with the log"))
    }
}

/// A signed document: parsed for people, and as the exact envelope.
#[must_use]
pub fn document<T: Document>(signed: &Signed<T>) -> Value {
    json!({
        "digest": signed.digest(),
        "envelope": String::from_utf8_lossy(&signed.to_envelope()),
        "payload": serde_json::from_slice::<Value>(signed.payload()).unwrap_or(Value::Null),
    })
}

/// An event as JSON.
#[must_use]
pub fn event(event: &Event) -> Value {
    match event {
        Event::LedgerOpened(genesis) => document(genesis),
        Event::IntentAdmitted(admitted) => {
            with(document(&admitted.intent), [("source", json!(admitted.source)), ("trace", json!(admitted.trace))])
        }
        Event::RecordRefused(refused) => json!({
            "claims": refused.claims, "code": refused.code, "detail": refused.detail, "digest": refused.digest,
            "length": refused.length, "prefix": String::from_utf8_lossy(&refused.prefix), "source": refused.source,
        }),
        Event::SourceAdvanced(positions) => json!({ "positions": positions }),
        Event::DecisionMade(decision) => document(decision),
        Event::DispatchStarted(decision) => json!({ "decision": decision }),
        Event::DispatchRetried(retried) => json!({
            "attempts": retried.attempts, "because": retried.because, "decision": retried.decision, "due": retried.due,
        }),
        Event::ReceiptIssued(issued) => {
            with(document(&issued.receipt), [("output", issued.output.as_deref().map_or(Value::Null, output))])
        }
        Event::EvidenceRegistered(evidence) => document(evidence),
        Event::DeadlinePassed(of) => json!({ "of": of }),
        Event::StateHashed(hash) => json!({ "state_hash": hash }),
        Event::CheckpointSigned(note) => json!({ "note": note }),
        Event::TailCut(cut) => json!({ "segment": cut.segment, "offset": cut.offset, "bytes": cut.bytes }),
        Event::SourceGap(gap) => json!({ "partition": gap.partition, "expected": gap.expected, "found": gap.found }),
        other => other.act().map_or(Value::Null, document),
    }
}

/// An entry as JSON.
///
/// # Errors
/// `ERR_LOG_DAMAGED` if its payload is not an event.
pub fn entry(entry: &Entry) -> Result<Value> {
    Ok(placed(entry, &entry.event()?))
}

fn placed(entry: &Entry, decoded: &Event) -> Value {
    let header = &entry.header;
    json!({
        "event": event(decoded),
        "hash": hex(&entry.hash()),
        "kind": header.kind.as_str(),
        "previous": hex(&header.previous),
        "recorded_at": header.recorded_at,
        "seq": header.seq,
    })
}

/// An object with further fields.
fn with<const N: usize>(mut value: Value, fields: [(&str, Value); N]) -> Value {
    if let Value::Object(object) = &mut value {
        object.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    }
    value
}

/// An output, as the JSON that it is.
fn output(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or(Value::Null)
}

fn view(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::ViewDamaged, error)
}

impl Library {
    /// What became of an intent: intent, decision, dispatch, receipt, with the seqs of their entries.
    ///
    /// # Errors
    /// `ERR_NOT_FOUND`, or the log or a view failed.
    pub fn case(&self, tenant: &Name, id: &Name) -> Result<Value> {
        let (views, log) = (self.views.current()?, |seq| self.event(seq));
        let case = Graph::new(&views.graph, &log).case(tenant, id).map_err(view)?;
        let case = case.ok_or_else(|| Failure::new(Code::NotFound, format!("{tenant}/{id}")))?;
        let receipts = case.receipts.iter().map(|seq| self.receipt(*seq)).collect::<Result<Vec<Value>>>()?;
        Ok(json!({
            "decision": self.entry(case.decision)?,
            "id": id,
            "intent": self.entry(case.intent)?,
            "receipts": receipts,
            "reconciled": case.reconciled.map(|seq| self.entry(seq)).transpose()?,
            "tenant": tenant,
        }))
    }

    /// The decision of an intent, and its rule's requirement with what was found of each part. Null where the gate of proof
    /// requirements was not asked.
    ///
    /// # Errors
    /// As [`Library::case`].
    pub fn explanation(&self, tenant: &Name, id: &Name) -> Result<Value> {
        let (views, log) = (self.views.current()?, |seq| self.event(seq));
        let graph = Graph::new(&views.graph, &log);
        let case = graph.case(tenant, id).map_err(view)?;
        let case = case.ok_or_else(|| Failure::new(Code::NotFound, format!("{tenant}/{id}")))?;
        let (Event::IntentAdmitted(admitted), Event::DecisionMade(decision)) =
            (self.event(case.intent)?, self.event(case.decision)?)
        else {
            return Err(Failure::new(Code::ViewDamaged, "a case that points to other entries"));
        };
        let (intent, decision) = (admitted.intent.value(), decision.value());
        let parents = graph.node(case.decision).map_err(view)?.map(|node| node.parents).unwrap_or_default();
        let policy = parents.iter().find(|parent| parent.relation == Relation::Under);
        let explained = match policy.map(|parent| self.event(parent.seq)).transpose()? {
            Some(Event::PolicyActivated(act)) => match &act.value().statement {
                Statement::ActivatePolicy { bundle } => explain(bundle, intent, decision),
                _ => None,
            },
            _ => None,
        };
        Ok(json!({
            "because": decision.because, "code": decision.code, "decision": case.decision, "gates": decision.gates, "id": id,
            "requirement": explained, "tenant": tenant, "verdict": decision.verdict,
        }))
    }

    /// The intents that wait for approval, of one tenant or of all: what is asked, whom, until when, and what was said so far. The
    /// first [`APPROVALS_MAX`] of them, and how many there are.
    ///
    /// # Errors
    /// The log or a view failed.
    pub fn approvals(&self, tenant: Option<&Name>) -> Result<Value> {
        let (views, log) = (self.views.current()?, |seq| self.event(seq));
        let graph = Graph::new(&views.graph, &log);
        let all = graph.waiting(tenant).map_err(view)?;
        let mut waiting = Vec::new();
        for seq in all.iter().take(APPROVALS_MAX) {
            let Event::DecisionMade(decision) = self.event(*seq)? else { continue };
            let decision = decision.value();
            let Event::IntentAdmitted(admitted) = self.event(decision.intent_seq)? else { continue };
            let intent = admitted.intent.value();
            waiting.push(json!({
                "action": intent.action, "answers": self.answers(&graph, decision.intent_seq)?, "args": intent.args,
                "asks": decision.asks, "decision": seq, "id": intent.id, "intent": decision.intent_digest,
                "principal": intent.principal, "tenant": intent.tenant,
            }));
        }
        Ok(json!({ "count": all.len(), "waiting": waiting }))
    }

    /// What was dispatched to somebody outside of a tenant and is not reported, in the order of the decisions: the signed intent, the
    /// signed decision with its execution intent, and until when the outcome is due. As many as an answer holds, beyond the
    /// decision `after`.
    ///
    /// # Errors
    /// The log or a view failed.
    pub fn dispatches(&self, tenant: &Name, connector: &Name, after: Option<Seq>) -> Result<Value> {
        let (views, log) = (self.views.current()?, |seq| self.event(seq));
        let graph = Graph::new(&views.graph, &log);
        let (mut dispatches, mut bytes, mut complete) = (Vec::new(), 0_usize, true);
        let mut policies: BTreeMap<Seq, Option<u64>> = BTreeMap::new();
        let elsewhere = |(of_tenant, of_connector): &(Name, Name)| of_tenant != tenant || of_connector != connector;
        for (seq, dispatched) in graph.dispatched(after).map_err(view)? {
            if dispatched.of.as_ref().is_some_and(elsewhere) {
                continue; // before anything is read of the log
            }
            let Event::DecisionMade(decision) = self.event(seq)? else { continue };
            let of = |it: &Decision| it.execution.as_ref().is_some_and(|execution| execution.connector == *connector);
            if decision.value().tenant != *tenant || !of(decision.value()) {
                continue;
            }
            let within = match policies.get(&dispatched.policy) {
                Some(within) => *within,
                None => {
                    let within = within(&self.event(dispatched.policy)?, connector);
                    policies.insert(dispatched.policy, within);
                    within
                }
            };
            let Some(within_us) = within else { continue };
            let Event::IntentAdmitted(admitted) = self.event(decision.value().intent_seq)? else { continue };
            bytes = bytes.saturating_add(decision.payload().len() + admitted.intent.payload().len());
            if dispatches.len() >= DISPATCHES_MAX || bytes > DISPATCHES_BYTES_MAX && !dispatches.is_empty() {
                complete = false;
                break;
            }
            dispatches.push(json!({
                "decision": document(&decision), "decision_seq": seq, "dispatched_seq": dispatched.dispatch,
                "due": dispatched.at.plus(within_us), "id": decision.value().id, "intent": document(&admitted.intent),
            }));
        }
        Ok(json!({ "complete": complete, "connector": connector, "dispatches": dispatches, "tenant": tenant }))
    }

    /// What approvers have said of an intent.
    fn answers(&self, graph: &Graph<'_>, intent: Seq) -> Result<Vec<Value>> {
        let answers = graph.answers(intent).map_err(view)?.into_iter().map(|seq| {
            let said = self.event(seq)?;
            Ok(match said.act().map(|act| (&act.value().statement, act.signer())) {
                Some((Statement::Approve { granted, reason, .. }, signer)) => {
                    json!({ "granted": granted, "reason": reason, "seq": seq, "signer": signer })
                }
                _ => Value::Null,
            })
        });
        answers.collect()
    }

    /// What the graph's nodes say of themselves.
    fn event(&self, seq: Seq) -> std::result::Result<Event, Refusal> {
        let found = self.reader.get(seq).map_err(|e| Refusal::new(e.code(), e))?;
        found.ok_or_else(|| Refusal::new(Code::LogDamaged, format!("entry {seq} is missing")))?.entry.event()
    }

    /// A receipt's entry, its output fetched from the content store if it is not beside it.
    fn receipt(&self, seq: Seq) -> Result<Value> {
        let found = self.reader.get(seq)?.ok_or_else(|| Failure::new(Code::NotFound, format!("entry {seq}")))?;
        let mut event = found.entry.event()?;
        if let Event::ReceiptIssued(issued) = &mut event
            && let (Some(digest), None) = (&issued.receipt.value().output, &issued.output)
        {
            issued.output = Some(ContentStore::at(self.folder.content()).get(digest)?);
        }
        Ok(placed(&found.entry, &event))
    }

    /// One entry.
    ///
    /// # Errors
    /// `ERR_NOT_FOUND`, or the log failed.
    pub fn entry(&self, seq: Seq) -> Result<Value> {
        let found = self.reader.get(seq)?;
        entry(&found.ok_or_else(|| Failure::new(Code::NotFound, format!("entry {seq}")))?.entry)
    }

    /// Usage, line by line, each with the entries of the receipts that it was counted from.
    ///
    /// # Errors
    /// The view failed.
    pub fn usage(&self, tenant: Option<&Name>) -> Result<Value> {
        let views = self.views.current()?;
        let meter = Meter::new(&views.metering);
        let lines = meter.usage(tenant).map_err(view)?;
        let lines = lines.into_iter().map(|line| {
            let sources = meter.usage_sources(&line).map_err(view)?;
            Ok(with(json!(line), [("receipts", json!(sources))]))
        });
        Ok(json!({ "lines": lines.collect::<Result<Vec<Value>>>()? }))
    }

    /// What an entry stands on: the nodes, the same as a tree for people, and in DOT.
    ///
    /// # Errors
    /// `ERR_NOT_FOUND` if the entry is no node, or the view failed.
    pub fn graph(&self, seq: Seq) -> Result<Value> {
        let (views, log) = (self.views.current()?, |seq| self.event(seq));
        let graph = Graph::new(&views.graph, &log);
        let missing = || Failure::new(Code::NotFound, format!("entry {seq} is no node of the graph"));
        let tree = graph.tree(seq, Limits::default()).map_err(view)?.ok_or_else(missing)?;
        let part = graph.ancestors(seq, Limits::default()).map_err(view)?.ok_or_else(missing)?;
        Ok(json!({ "dot": part.to_dot(), "graph": part.to_json(), "tree": tree.to_string() }))
    }

    /// The entry that an intent's graph is best shown from: its receipt, else its decision, else itself.
    ///
    /// # Errors
    /// `ERR_NOT_FOUND`, or the view failed.
    pub fn last_of(&self, tenant: &Name, id: &Name) -> Result<Seq> {
        let (views, log) = (self.views.current()?, |seq| self.event(seq));
        let case = Graph::new(&views.graph, &log).case(tenant, id).map_err(view)?;
        let case = case.ok_or_else(|| Failure::new(Code::NotFound, format!("{tenant}/{id}")))?;
        Ok(case.reconciled.or(case.receipts.last().copied()).unwrap_or(case.decision))
    }
}

/// How long after its dispatch an outcome may be reported, if the policy that this event puts in force has the connector outside.
fn within(activated: &Event, connector: &Name) -> Option<u64> {
    match &activated.act()?.value().statement {
        Statement::ActivatePolicy { bundle } => match bundle.connectors.get(connector)?.kind {
            ConnectorKind::External { within_us, .. } => Some(within_us),
            ConnectorKind::Echo | ConnectorKind::Http { .. } => None,
        },
        _ => None,
    }
}

/// The requirement of a decision, if the gate was asked, held against what the decision says was found.
fn explain(bundle: &Bundle, intent: &Intent, decision: &Decision) -> Option<Explained> {
    let asked = |gate: &GateAnswer| gate.gate == Gate::Proof && matches!(gate.answer, Answer::Passed | Answer::Refused);
    let policy = Policy::compile(bundle).ok()?;
    let rule = policy.rule(&intent.action).filter(|_| decision.gates.iter().any(asked))?;
    let Requires::Requirement(name) = &rule.requires else { return None };
    let found = Found {
        facts: &decision.facts,
        intent,
        effect: intent.effect_digest().ok()?,
        signer: decision.signer,
        now: decision.now,
    };
    let requirement = bundle.requirements.get(name)?;
    let told = requirement::tell(requirement, policy.expressions(), &found);
    Some(Explained::of(requirement, &told, &found))
}

/// JSON as one canonical line: stable from run to run.
#[must_use]
pub fn line(value: &Value) -> String {
    canonical::bytes(value).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

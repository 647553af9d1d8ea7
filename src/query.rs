//! Answers questions about what happened, from the views and the log, as JSON that a program can read.
//!
//! - `approvals`: what waits for people, and what they said
//! - `lists`: long answers, a part at a time
//! - `explanation`: why an intent was decided as it was

use std::time::Duration;

use serde_json::{Value, json};

use writ_log::{Lock, LogError, Reader};
use writ_projections::proofgraph::{Graph, Limits};
use writ_projections::value::ReadError;
use writ_schemas::canonical;
use writ_schemas::decision::Verdict;
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::entry::Entry;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Name, Seq, hex};
use writ_schemas::strict::Refusal;

use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::executor::content::ContentStore;
use crate::folder::Folder;
use crate::threads;
use crate::views::{Shelf, brought_up, brought_up_aside};

mod approvals;
mod explanation;
mod lists;

use explanation::Policies;

/// How often it looks how far the views have come.
const TICK: Duration = Duration::from_millis(5);

/// What questions are put to.
#[derive(Clone)]
pub struct Library {
    /// The ledger's folder.
    pub folder: Folder,
    /// Its log.
    pub reader: Reader,
    /// Its views.
    pub views: Shelf,
    policies: Policies,
}

impl Library {
    /// The views of a folder that nobody serves, brought up to date.
    ///
    /// # Errors
    /// `ERR_LOG_LOCKED` if a process that does not answer holds it; otherwise as [`brought_up`].
    pub fn open(folder: &Folder) -> Result<Library> {
        let reader = Reader::open(folder.log())?;
        let views = match Lock::acquire(&folder.lock()) {
            Ok(_lock) => brought_up(folder, reader.clone())?,
            Err(locked @ LogError::Locked(_)) => return Err(locked.into()),
            // Who cannot take the lock can write nothing here, and needs none.
            Err(_) => brought_up_aside(reader.clone())?,
        };
        Ok(Library::of(folder, reader, views))
    }

    /// The log and the views of a folder.
    #[must_use]
    pub fn of(folder: &Folder, reader: Reader, views: Shelf) -> Library {
        Library { folder: folder.clone(), reader, views, policies: Policies::default() }
    }

    /// Waits until the views hold every entry before `next`.
    ///
    /// # Errors
    /// `ERR_OVERLOADED` if they have not caught up within `patience`.
    pub fn wait_for(&self, next: Seq, patience: Duration) -> Result<()> {
        let since = Stopwatch::start();
        while !self.knows(next)? {
            if since.elapsed() > patience {
                return Err(Failure::new(Code::Overloaded, "the views have not caught up with the log"));
            }
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    /// Whether the views hold every entry before `next`; not, if they are still to come.
    ///
    /// # Errors
    /// What ended them.
    pub fn knows(&self, next: Seq) -> Result<bool> {
        match self.views.progress() {
            Ok(progress) if progress.next() >= next => Ok(true),
            Ok(progress) if progress.is_closed() => {
                Err(Failure::new(Code::ViewDamaged, "they ended while this question waited for them"))
            }
            Ok(_) => Ok(false),
            Err(failure) if failure.code == Code::Overloaded => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// The answer to a question, and up to which entry the views knew of the log when it was asked: `as_of`.
    ///
    /// # Errors
    /// Those of the question; `ERR_PANICKED` if that panics.
    pub fn answer(&self, question: impl FnOnce(&Library) -> Result<Value>) -> Result<Value> {
        threads::contained("a question", || {
            let as_of = self.views.progress()?.next();
            Ok(with(question(self)?, [("as_of", json!(as_of.0.saturating_sub(1)))]))
        })
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
            "asked_us": retried.asked_us, "attempts": retried.attempts, "because": retried.because, "decision": retried.decision,
            "due": retried.due,
        }),
        Event::ReceiptIssued(issued) => {
            with(document(&issued.receipt), [("output", issued.output.as_deref().map_or(Value::Null, output))])
        }
        Event::EvidenceRegistered(evidence) => document(evidence),
        Event::DeadlinePassed(of) => json!({ "of": of }),
        Event::StateHashed(hash) => json!({ "state_hash": hash }),
        Event::CheckpointSigned(note) => json!({ "note": note }),
        Event::TailCut(cut) => json!({ "segment": cut.segment, "offset": cut.offset, "bytes": cut.bytes }),
        Event::RecordsOverQuota(over) => json!({
            "count": over.count, "first": over.first, "next": over.next, "partition": over.partition,
        }),
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

/// What the log does not give is no fault of the views.
fn view(error: ReadError) -> Failure {
    Failure::new(error.code(), error)
}

impl Library {
    /// What became of an intent: intent, decision, dispatch, receipt, with the seqs of their entries.
    ///
    /// # Errors
    /// `ERR_NOT_FOUND`, or the log or a view failed.
    pub fn case(&self, tenant: &Name, id: &Name) -> Result<Value> {
        let (views, log) = (self.views.current()?, |seq| self.event(seq));
        let graph = Graph::new(&views.graph, &log);
        let case = graph.case(tenant, id).map_err(view)?;
        let case = case.ok_or_else(|| Failure::new(Code::NotFound, format!("{tenant}/{id}")))?;
        let receipts = case.receipts.iter().map(|seq| self.receipt(*seq)).collect::<Result<Vec<Value>>>()?;
        let found = json!({
            "decision": self.entry(case.decision)?,
            "id": id,
            "intent": self.entry(case.intent)?,
            "receipts": receipts,
            "reconciled": case.reconciled.map(|seq| self.entry(seq)).transpose()?,
            "tenant": tenant,
        });
        // While it waits: who answers has to name the rule in force.
        if let Event::DecisionMade(decision) = self.event(case.decision)?
            && decision.value().verdict == Verdict::Escalate
            && let Event::IntentAdmitted(admitted) = self.event(case.intent)?
        {
            let asks_now = approvals::asks_now(self.in_force(&graph)?.as_deref(), &admitted.intent.value().action);
            return Ok(with(found, [("asks_now", asks_now)]));
        }
        Ok(found)
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

/// JSON as one canonical line: stable from run to run.
#[must_use]
pub fn line(value: &Value) -> String {
    canonical::bytes(value).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

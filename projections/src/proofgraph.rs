//! The ProofGraph: who caused what. Every intent, attestation, effect, trust event and checkpoint is a node, with edges to
//! what it stands on.
//!
//! The view holds the shape of the graph and nothing that documents say: nodes point to the log by seq, and a query reads
//! there what a node says of itself. So the view is small, and a payload that is erased from the log is not kept here.
//!
//! Keys: `n/` block (the nodes of a few consecutive entries, each with its first children) - `c/` parent, run (its further
//! children) - `i/` tenant, id but for its last letter (cases) - `k/` key (seq of its trust) - `q/` tenant, principal
//! (sequence) - `e/` digest of an intent that waits for approval - `s/` tenant, session (its last receipt) - `u/` digest (a receipt that waits for its reconciliation) -
//! `o/` decision seq (what was dispatched, in a ledger with external connectors, and has no receipt) - `x/policy`, `x/freeze`,
//! `x/checkpoint` (seq of the last one) - `x/external` (seq of the first policy with an external connector) - `x/outcome` (seq of the
//! last report, or deadline for one).

use bincode::{Decode, Encode};
use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::{Answer, Decision, Gate, Verdict};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Digest, KeyId, Name, Seq, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::policy::ConnectorKind;
use writ_schemas::receipt::{Receipt, Status};

use crate::projection::{FoldError, Place, Projection, View};

pub mod node;
mod block;
pub mod case;
pub mod query;
pub mod tree;
pub mod export;
mod label;

pub use case::{Case, Standing};
pub use node::{Node, NodeKind, Parent, Relation};
pub use query::{Graph, Limits, Log, Subgraph};
pub use tree::{Shown, Tree};

use block::Block;
use case::Cases;
use node::Placed;

/// The fold of the ProofGraph.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProofGraph;

/// The seq of the last policy activation.
const POLICY: &[u8] = b"x/policy";
/// The seq of the last freeze of the whole ledger; then tenant and principal, for those of less.
const FREEZE: &[u8] = b"x/freeze";
/// The seq of the last checkpoint in the log.
const CHECKPOINT: &[u8] = b"x/checkpoint";

/// The seq of the first policy that has a connector outside. Without one nothing is kept of dispatches.
const EXTERNAL: &[u8] = b"x/external";
/// The seq of the last report of what was open, or deadline for one: a receipt right after it relies on it.
const OUTCOME: &[u8] = b"x/outcome";

/// Entry 0, which every trust event goes back to.
const GENESIS: Seq = Seq(0);

impl Projection for ProofGraph {
    const NAME: &'static str = "proofgraph";
    const VERSION: u32 = 6;

    fn fold(&self, place: &Place, event: &Event, view: &mut View<'_>) -> Result<(), FoldError> {
        let seq = place.seq;
        match event {
            Event::LedgerOpened(_) => Draft::new(NodeKind::TrustEvent).place(seq, view),
            Event::IntentAdmitted(admitted) => intent_node(seq, admitted.intent.value(), view),
            Event::DecisionMade(decision) => decision_node(seq, decision.value(), view),
            Event::ReceiptIssued(issued) => receipt_node(seq, &issued.receipt, view),
            Event::OutcomeReconciled(act) => reconciliation_node(seq, act, view),
            Event::EvidenceRegistered(evidence) => evidence_node(seq, evidence.signer(), view),
            Event::ApprovalRecorded(act) => approval_node(seq, act, view),
            Event::DeadlinePassed(of) => deadline_node(seq, of, view),
            Event::DispatchStarted(decision) => dispatched(*decision, place, view),
            Event::DispatchRetried(retried) => not_dispatched(retried.decision, view),
            Event::PolicyActivated(act)
            | Event::KeyTrusted(act)
            | Event::KeyRevoked(act)
            | Event::LedgerKeyRotated(act)
            | Event::ClockAdjusted(act)
            | Event::Frozen(act)
            | Event::Thawed(act)
            | Event::PartitionsBound(act) => trust_node(seq, act.value(), view),
            Event::CheckpointSigned(_) => checkpoint_node(seq, view),
            Event::RecordRefused(_)
            | Event::SourceAdvanced(_)
            | Event::StateHashed(_)
            | Event::TailCut(_)
            | Event::SourceGap(_)
            | Event::RecordsOverQuota(_) => Ok(()),
        }
    }
}

/// Collects the parents of a new node, then places it.
struct Draft {
    kind: NodeKind,
    principal_seq: Option<u64>,
    parents: Vec<Parent>,
}

impl Draft {
    fn new(kind: NodeKind) -> Draft {
        Draft { kind, principal_seq: None, parents: Vec::new() }
    }

    /// A parent once; absent where there is none.
    fn parent(mut self, relation: Relation, seq: Option<Seq>) -> Draft {
        if let Some(seq) = seq.filter(|seq| self.parents.iter().all(|parent| parent.seq != *seq)) {
            self.parents.push(Parent { seq, relation });
        }
        self
    }

    /// A parent that is no node is an error: the log does not refer to what it does not hold.
    fn place(self, seq: Seq, view: &mut View<'_>) -> Result<(), FoldError> {
        let Draft { kind, principal_seq, parents } = self;
        let mut lamport = 1;
        for parent in &parents {
            let after = adopt(parent.seq, seq, view)?.checked_add(1).ok_or(FoldError::Overflow("a Lamport clock"))?;
            lamport = after.max(lamport);
        }
        let (key, at) = block::place_of(seq);
        let mut block = Block(view.get(&key)?.unwrap_or_default());
        block.set(at, &Placed { kind, lamport, principal_seq, parents, children: Vec::new() })?;
        view.put(key, block.0)
    }
}

/// Makes one node the child of another, and tells the parent's Lamport clock.
fn adopt(parent: Seq, child: Seq, view: &mut View<'_>) -> Result<u64, FoldError> {
    let (key, at) = block::place_of(parent);
    let mut block = Block(view.get(&key)?.unwrap_or_default());
    let mut placed = block.node(at)?.ok_or(FoldError::UnknownEntry(parent))?;
    if placed.children.len() < node::CHILDREN_HERE {
        placed.children.push(child);
        block.set(at, &placed)?;
        view.put(key, block.0)?;
    } else {
        let (key, offset) = node::run_of(parent, child);
        let mut run = view.get(&key)?.unwrap_or_default();
        run.extend_from_slice(&offset.to_be_bytes());
        view.put(key, run)?;
    }
    Ok(placed.lamport)
}

fn trust_of(key: Option<KeyId>, view: &View<'_>) -> Result<Option<Seq>, FoldError> {
    match key {
        Some(key) => view.read(&node::trust_key(&key)),
        None => Ok(None),
    }
}

fn intent_node(seq: Seq, intent: &Intent, view: &mut View<'_>) -> Result<(), FoldError> {
    let sequence_key = node::sequence_key(&intent.tenant, &intent.principal);
    let before: u64 = view.read(&sequence_key)?.unwrap_or(0);
    let sequence = before.checked_add(1).ok_or(FoldError::Overflow("a principal's sequence"))?;
    view.write(sequence_key, &sequence)?;
    Draft { principal_seq: Some(sequence), ..Draft::new(NodeKind::Intent) }.place(seq, view)
}

fn decision_node(seq: Seq, decision: &Decision, view: &mut View<'_>) -> Result<(), FoldError> {
    let trust = trust_of(Some(decision.signer), view)?;
    let policy = match decision.policy {
        Some(_) => view.read(POLICY)?,
        None => None,
    };
    let mut draft = Draft::new(NodeKind::Attestation).parent(Relation::Answers, Some(decision.intent_seq));
    for fact in &decision.facts.evidence {
        draft = draft.parent(Relation::ReliesOn, fact.known.as_ref().map(|known| known.seq));
    }
    for vote in decision.facts.approval.iter().flat_map(|approval| &approval.votes) {
        draft = draft.parent(Relation::ReliesOn, Some(vote.seq));
    }
    let waits = node::waiting_key(&decision.intent_digest);
    if decision.round > 0 {
        let before: Option<Waits> = view.read(&waits)?;
        let before = before.ok_or(FoldError::UnknownDocument(decision.intent_digest))?;
        draft = draft.parent(Relation::Follows, Some(before.decision)).parent(Relation::ReliesOn, before.deadline);
    }
    if decision.verdict == Verdict::Escalate {
        let (tenant, intent) = (decision.tenant.clone(), decision.intent_seq);
        view.write(waits, &Waits { tenant, intent, decision: seq, deadline: None })?;
    } else if decision.round > 0 {
        view.delete(waits)?;
    }
    draft.parent(Relation::SignedBy, trust).parent(Relation::Under, policy).place(seq, view)?;
    if let Some(execution) = &decision.execution
        && view.get(EXTERNAL)?.is_some()
    {
        view.write(node::authorised_key(seq), &(&decision.tenant, &execution.connector))?;
    }
    open_case(seq, decision, view)
}

/// An intent that waits for approval.
#[derive(Encode, Decode)]
pub(crate) struct Waits {
    pub(crate) tenant: Name,
    intent: Seq,
    /// The decision that asked.
    pub(crate) decision: Seq,
    /// The entry that ended the wait.
    deadline: Option<Seq>,
}

fn approval_node(seq: Seq, act: &Signed<Act>, view: &mut View<'_>) -> Result<(), FoldError> {
    let mut draft = Draft::new(NodeKind::Attestation);
    if let Statement::Approve { intent, .. } = &act.value().statement {
        let waits: Option<Waits> = view.read(&node::waiting_key(intent))?;
        draft = draft.parent(Relation::Approves, Some(waits.ok_or(FoldError::UnknownDocument(*intent))?.intent));
    }
    draft.parent(Relation::SignedBy, trust_of(act.signer(), view)?).place(seq, view)
}

/// A dispatch that has no receipt. Whether it is outside is in the log: the policy, and the connector of the decision.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Dispatched {
    /// Its entry.
    pub dispatch: Seq,
    /// When that was recorded.
    pub at: UnixMicros,
    /// The entry of the policy then in force.
    pub policy: Seq,
    /// Tenant and connector; nothing if the decision is older than the first connector outside.
    pub of: Option<(Name, Name)>,
}

fn dispatched(decision: Seq, place: &Place, view: &mut View<'_>) -> Result<(), FoldError> {
    if view.get(EXTERNAL)?.is_none() {
        return Ok(());
    }
    match view.read(POLICY)? {
        Some(policy) => {
            let of = view.read(&node::authorised_key(decision))?;
            let dispatched = Dispatched { dispatch: place.seq, at: place.at, policy, of };
            view.write(node::dispatched_key(decision), &dispatched)
        }
        None => Ok(()),
    }
}

fn not_dispatched(decision: Seq, view: &mut View<'_>) -> Result<(), FoldError> {
    if view.get(EXTERNAL)?.is_some() { view.delete(node::dispatched_key(decision)) } else { Ok(()) }
}

/// Its receipt is there.
fn closed(decision: Seq, view: &mut View<'_>) -> Result<(), FoldError> {
    if view.get(EXTERNAL)?.is_some() {
        view.delete(node::authorised_key(decision))?;
    }
    not_dispatched(decision, view)
}

fn deadline_node(seq: Seq, of: &Digest, view: &mut View<'_>) -> Result<(), FoldError> {
    let key = node::waiting_key(of);
    let waits: Option<Waits> = view.read(&key)?;
    // A decision's outcome was due, unless an intent's approval was: what follows is its receipt.
    if waits.is_none() && view.get(EXTERNAL)?.is_some() {
        Draft::new(NodeKind::Attestation).parent(Relation::RootedIn, Some(GENESIS)).place(seq, view)?;
        return view.write(OUTCOME.to_vec(), &seq);
    }
    let waits = waits.ok_or(FoldError::UnknownDocument(*of))?;
    Draft::new(NodeKind::Attestation).parent(Relation::Ends, Some(waits.decision)).place(seq, view)?;
    view.write(key, &Waits { deadline: Some(seq), ..waits })
}

/// A stranger may answer to anybody's id with an intent that is refused; it must not hide the case that the id stands for.
fn open_case(seq: Seq, decision: &Decision, view: &mut View<'_>) -> Result<(), FoldError> {
    let (key, letter) = node::case_of(&decision.tenant, &decision.id);
    let mut cases: Cases = view.read(&key)?.unwrap_or_default();
    let standing = standing(decision);
    if cases.get(&letter).is_some_and(|before| before.standing > standing) {
        return Ok(());
    }
    let case = Case { intent: decision.intent_seq, decision: seq, standing, receipts: Vec::new(), reconciled: None };
    cases.insert(letter, case);
    view.write(key, &cases)
}

/// Changes the case of an id, if it has one that `fits`.
fn change_case(
    (tenant, id): (&Name, &Name),
    view: &mut View<'_>,
    fits: impl FnOnce(&Case) -> bool,
    change: impl FnOnce(&mut Case),
) -> Result<(), FoldError> {
    let (key, letter) = node::case_of(tenant, id);
    let mut cases: Cases = view.read(&key)?.unwrap_or_default();
    match cases.get_mut(&letter).filter(|case| fits(case)) {
        Some(case) => change(case),
        None => return Ok(()),
    }
    view.write(key, &cases)
}

fn standing(decision: &Decision) -> Standing {
    let passed = |gate: Gate| decision.gates.iter().any(|one| one.gate == gate && one.answer == Answer::Passed);
    if decision.verdict == Verdict::Pass {
        Standing::Passed
    } else if decision.round > 0 || (passed(Gate::Trust) && passed(Gate::Envelope)) {
        Standing::Claimed
    } else {
        Standing::Unclaimed
    }
}

/// The last receipt of a session, which the next one follows.
#[derive(Encode, Decode)]
struct Last {
    receipt: Digest,
    seq: Seq,
}

/// A receipt that waits for its reconciliation.
#[derive(Encode, Decode)]
struct Uncertain {
    seq: Seq,
    tenant: Name,
    id: Name,
}

fn receipt_node(seq: Seq, signed: &Signed<Receipt>, view: &mut View<'_>) -> Result<(), FoldError> {
    let receipt = signed.value();
    let digest = signed.digest();
    let session = receipt.session.as_ref().map(|session| node::session_key(&receipt.tenant, session));
    let follows = match (&receipt.previous, &session) {
        (Some(previous), Some(session)) => {
            let last: Option<Last> = view.read(session)?;
            Some(last.filter(|last| last.receipt == *previous).ok_or(FoldError::UnknownDocument(*previous))?.seq)
        }
        (Some(previous), None) => return Err(FoldError::UnknownDocument(*previous)),
        (None, _) => None,
    };
    let told: Option<Seq> = view.read(OUTCOME)?;
    Draft::new(NodeKind::Effect)
        .parent(Relation::AuthorisedBy, Some(receipt.decision_seq))
        .parent(Relation::ReliesOn, told.filter(|told| told.next() == seq))
        .parent(Relation::Follows, follows)
        .place(seq, view)?;
    closed(receipt.decision_seq, view)?;
    if let Some(session) = session {
        view.write(session, &Last { receipt: digest, seq })?;
    }
    if receipt.status == Status::Uncertain {
        let (tenant, id) = (receipt.tenant.clone(), receipt.id.clone());
        let uncertain = Uncertain { seq, tenant, id };
        view.write(node::uncertain_key(&digest), &uncertain)?;
        if receipt.code == Code::OutcomeMissing {
            // A late report names the decision.
            view.write(node::uncertain_key(&receipt.decision_digest), &uncertain)?;
        }
    }
    let id = (&receipt.tenant, &receipt.id);
    change_case(id, view, |case| case.decision == receipt.decision_seq, |case| case.receipts.push(seq))
}

fn reconciliation_node(seq: Seq, act: &Signed<Act>, view: &mut View<'_>) -> Result<(), FoldError> {
    let mut draft = Draft::new(NodeKind::Attestation);
    if let Statement::Reconcile { receipt, .. } = &act.value().statement {
        let uncertain: Option<Uncertain> = view.read(&node::uncertain_key(receipt))?;
        draft = settle(draft, seq, &uncertain.ok_or(FoldError::UnknownDocument(*receipt))?, view)?;
    }
    if let Statement::Report { decision, .. } = &act.value().statement {
        match view.read(&node::uncertain_key(decision))? {
            Some(late) => draft = settle(draft, seq, &late, view)?,
            None => view.write(OUTCOME.to_vec(), &seq)?,
        }
        let trust = trust_of(act.signer(), view)?;
        return draft.parent(Relation::SignedBy, trust).place(seq, view);
    }
    draft.parent(Relation::RootedIn, Some(GENESIS)).place(seq, view)
}

/// What became of an uncertain receipt: a node that says so, and its case.
fn settle(draft: Draft, seq: Seq, uncertain: &Uncertain, view: &mut View<'_>) -> Result<Draft, FoldError> {
    let Uncertain { seq: receipt, tenant, id } = uncertain;
    let of = |case: &Case| case.receipts.contains(receipt);
    change_case((tenant, id), view, of, |case| case.reconciled = Some(seq))?;
    Ok(draft.parent(Relation::Reconciles, Some(*receipt)))
}

fn evidence_node(seq: Seq, signer: Option<KeyId>, view: &mut View<'_>) -> Result<(), FoldError> {
    let trust = trust_of(signer, view)?;
    Draft::new(NodeKind::Attestation).parent(Relation::SignedBy, trust).place(seq, view)
}

fn trust_node(seq: Seq, act: &Act, view: &mut View<'_>) -> Result<(), FoldError> {
    // What this act ends, and under which key later nodes find it. What a later policy or trust replaces is no parent of
    // it: a decision does not stand on the rules of last year.
    let (ended, found_by) = match &act.statement {
        Statement::ActivatePolicy { .. } => (None, Some(POLICY.to_vec())),
        Statement::TrustKey { key, .. } => (None, Some(node::trust_key(key))),
        Statement::RevokeKey { key } => (trust_of(Some(*key), view)?, None),
        Statement::Freeze { tenant, principal, .. } => (None, Some(freeze_key(tenant.as_ref(), principal.as_ref()))),
        Statement::Thaw { tenant, principal } => (view.read(&freeze_key(tenant.as_ref(), principal.as_ref()))?, None),
        Statement::Reconcile { .. }
        | Statement::Report { .. }
        | Statement::Approve { .. }
        | Statement::RotateDecisionKey { .. }
        | Statement::AdjustClock { .. }
        | Statement::BindPartitions { .. } => (None, None),
    };
    if let Statement::ActivatePolicy { bundle } = &act.statement
        && bundle.connectors.values().any(|it| matches!(it.kind, ConnectorKind::External { .. }))
        && view.get(EXTERNAL)?.is_none()
    {
        view.write(EXTERNAL.to_vec(), &seq)?;
    }
    let draft = Draft::new(NodeKind::TrustEvent);
    draft.parent(Relation::Ends, ended).parent(Relation::RootedIn, Some(GENESIS)).place(seq, view)?;
    match found_by {
        Some(key) => view.write(key, &seq),
        None => Ok(()),
    }
}

/// Where the seq of the last freeze of this extent lies.
fn freeze_key(tenant: Option<&Name>, principal: Option<&Name>) -> Vec<u8> {
    let names =
        [tenant, principal].into_iter().flatten().flat_map(|name| [b"/".as_slice(), name.as_str().as_bytes(), &[0]]);
    std::iter::once(FREEZE).chain(names).collect::<Vec<_>>().concat()
}

fn checkpoint_node(seq: Seq, view: &mut View<'_>) -> Result<(), FoldError> {
    let before: Option<Seq> = view.read(CHECKPOINT)?;
    Draft::new(NodeKind::Checkpoint).parent(Relation::Follows, before.or(Some(GENESIS))).place(seq, view)?;
    view.write(CHECKPOINT.to_vec(), &seq)
}

#[cfg(test)]
#[path = "proofgraph/tests.rs"]
mod tests;

//! The ProofGraph: who caused what. Every intent, attestation, effect, trust event and checkpoint is a node, with edges to
//! what it stands on.
//!
//! Keys: `n/` seq (node) - `c/` parent seq, child seq (edge) - `d/` digest of a signed document (seq) - `i/` tenant, id
//! (case) - `k/` key (seq of its trust) - `q/` tenant, principal (sequence) - `x/policy`, `x/freeze`, `x/checkpoint` (seq of
//! the last one). Nodes point to the log by seq; documents are not copied.

use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::{Answer, Decision, Gate, Verdict};
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::event::Event;
use writ_schemas::evidence::Evidence;
use writ_schemas::genesis::Genesis;
use writ_schemas::ids::{KeyId, Name, Seq};
use writ_schemas::intent::Intent;
use writ_schemas::receipt::Receipt;

use crate::projection::{FoldError, Place, Projection, View};

pub mod node;
pub mod case;
pub mod query;
pub mod tree;
pub mod export;
mod label;

pub use case::{Case, Standing};
pub use node::{Node, NodeKind, Parent, Relation};
pub use query::{Graph, Limits, Subgraph};
pub use tree::{Shown, Tree};

/// The fold of the ProofGraph.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProofGraph;

/// The seq of the last policy activation.
const POLICY: &[u8] = b"x/policy";
/// The seq of the last freeze.
const FREEZE: &[u8] = b"x/freeze";
/// The seq of the last checkpoint in the log.
const CHECKPOINT: &[u8] = b"x/checkpoint";

/// Entry 0, which every trust event goes back to.
const GENESIS: Seq = Seq(0);

impl Projection for ProofGraph {
    const NAME: &'static str = "proofgraph";
    const VERSION: u32 = 1;

    fn fold(&self, place: &Place, event: &Event, view: &mut View<'_>) -> Result<(), FoldError> {
        let seq = place.seq;
        match event {
            Event::LedgerOpened(genesis) => genesis_node(seq, genesis, view),
            Event::IntentAdmitted(admitted) => intent_node(seq, &admitted.intent, view),
            Event::DecisionMade(decision) => decision_node(seq, decision, view),
            Event::ReceiptIssued(issued) => receipt_node(seq, &issued.receipt, view),
            Event::OutcomeReconciled(act) => reconciliation_node(seq, act, view),
            Event::EvidenceRegistered(evidence) => evidence_node(seq, evidence, view),
            Event::PolicyActivated(act)
            | Event::KeyTrusted(act)
            | Event::KeyRevoked(act)
            | Event::Frozen(act)
            | Event::Thawed(act)
            | Event::PartitionsBound(act) => trust_node(seq, act, view),
            Event::CheckpointSigned(note) => checkpoint_node(seq, note, view),
            Event::RecordRefused(_)
            | Event::SourceAdvanced(_)
            | Event::DispatchStarted(_)
            | Event::StateHashed(_)
            | Event::TailCut(_)
            | Event::SourceGap(_) => Ok(()),
        }
    }
}

/// Collects the parents of a new node, then places it.
struct Draft {
    node: Node,
}

impl Draft {
    fn new(seq: Seq, kind: NodeKind, label: String) -> Draft {
        let node = Node {
            seq,
            kind,
            label,
            tenant: None,
            id: None,
            principal: None,
            principal_seq: None,
            lamport: 1,
            parents: Vec::new(),
        };
        Draft { node }
    }

    fn of_case(mut self, tenant: &Name, id: &Name) -> Draft {
        self.node.tenant = Some(tenant.clone());
        self.node.id = Some(id.clone());
        self
    }

    /// A parent once; absent where there is none. A parent that is no node is an error: the log does not refer to what it
    /// does not hold.
    fn parent(mut self, relation: Relation, seq: Option<Seq>, view: &View<'_>) -> Result<Draft, FoldError> {
        let Some(seq) = seq.filter(|seq| self.node.parents.iter().all(|parent| parent.seq != *seq)) else {
            return Ok(self);
        };
        let parent = node_at(seq, view)?;
        let after = parent.lamport.checked_add(1).ok_or(FoldError::Overflow("a Lamport clock"))?;
        self.node.lamport = self.node.lamport.max(after);
        self.node.parents.push(Parent { seq, relation });
        Ok(self)
    }

    fn place(self, view: &mut View<'_>) -> Result<(), FoldError> {
        for parent in &self.node.parents {
            view.put(node::child_key(parent.seq, self.node.seq), Vec::new())?;
        }
        view.write(node::node_key(self.node.seq), &self.node)
    }
}

fn node_at(seq: Seq, view: &View<'_>) -> Result<Node, FoldError> {
    view.read(&node::node_key(seq))?.ok_or(FoldError::UnknownEntry(seq))
}

/// Makes a document findable by its digest. Bytes that stand twice in the log are found where they stood last.
fn index<T: Document>(seq: Seq, signed: &Signed<T>, view: &mut View<'_>) -> Result<(), FoldError> {
    view.write(node::digest_key(&signed.digest()), &seq)
}

fn trust_of(key: Option<KeyId>, view: &View<'_>) -> Result<Option<Seq>, FoldError> {
    match key {
        Some(key) => view.read(&node::trust_key(&key)),
        None => Ok(None),
    }
}

fn genesis_node(seq: Seq, genesis: &Signed<Genesis>, view: &mut View<'_>) -> Result<(), FoldError> {
    index(seq, genesis, view)?;
    Draft::new(seq, NodeKind::TrustEvent, label::genesis(genesis.value())).place(view)
}

fn intent_node(seq: Seq, signed: &Signed<Intent>, view: &mut View<'_>) -> Result<(), FoldError> {
    index(seq, signed, view)?;
    let intent = signed.value();
    let sequence_key = node::sequence_key(&intent.tenant, &intent.principal);
    let before: u64 = view.read(&sequence_key)?.unwrap_or(0);
    let sequence = before.checked_add(1).ok_or(FoldError::Overflow("a principal's sequence"))?;
    view.write(sequence_key, &sequence)?;
    let mut draft = Draft::new(seq, NodeKind::Intent, label::intent(intent)).of_case(&intent.tenant, &intent.id);
    draft.node.principal = Some(intent.principal.clone());
    draft.node.principal_seq = Some(sequence);
    draft.place(view)
}

fn decision_node(seq: Seq, signed: &Signed<Decision>, view: &mut View<'_>) -> Result<(), FoldError> {
    index(seq, signed, view)?;
    let decision = signed.value();
    let trust = trust_of(Some(decision.signer), view)?;
    let policy = match decision.policy {
        Some(_) => view.read(POLICY)?,
        None => None,
    };
    let mut draft = Draft::new(seq, NodeKind::Attestation, label::decision(decision))
        .of_case(&decision.tenant, &decision.id)
        .parent(Relation::Answers, Some(decision.intent_seq), view)?;
    for fact in &decision.facts.evidence {
        draft = draft.parent(Relation::ReliesOn, fact.known.as_ref().map(|known| known.seq), view)?;
    }
    draft.parent(Relation::SignedBy, trust, view)?.parent(Relation::Under, policy, view)?.place(view)?;
    open_case(seq, decision, view)
}

/// A stranger may answer to anybody's id with an intent that is refused; it must not hide the case that the id stands for.
fn open_case(seq: Seq, decision: &Decision, view: &mut View<'_>) -> Result<(), FoldError> {
    let key = node::case_key(&decision.tenant, &decision.id);
    let standing = standing(decision);
    match view.read::<Case>(&key)? {
        Some(before) if before.standing > standing => Ok(()),
        Some(_) | None => {
            let case =
                Case { intent: decision.intent_seq, decision: seq, standing, receipts: Vec::new(), reconciled: None };
            view.write(key, &case)
        }
    }
}

fn standing(decision: &Decision) -> Standing {
    let passed = |gate: Gate| decision.gates.iter().any(|one| one.gate == gate && one.answer == Answer::Passed);
    if decision.verdict == Verdict::Pass {
        Standing::Passed
    } else if passed(Gate::Trust) && passed(Gate::Envelope) {
        Standing::Claimed
    } else {
        Standing::Unclaimed
    }
}

fn receipt_node(seq: Seq, signed: &Signed<Receipt>, view: &mut View<'_>) -> Result<(), FoldError> {
    index(seq, signed, view)?;
    let receipt = signed.value();
    let previous = match &receipt.previous {
        Some(digest) => Some(view.read(&node::digest_key(digest))?.ok_or(FoldError::UnknownDocument(*digest))?),
        None => None,
    };
    Draft::new(seq, NodeKind::Effect, label::receipt(receipt))
        .of_case(&receipt.tenant, &receipt.id)
        .parent(Relation::AuthorisedBy, Some(receipt.decision_seq), view)?
        .parent(Relation::Follows, previous, view)?
        .place(view)?;
    let key = node::case_key(&receipt.tenant, &receipt.id);
    match view.read::<Case>(&key)? {
        Some(mut case) if case.decision == receipt.decision_seq => {
            case.receipts.push(seq);
            view.write(key, &case)
        }
        Some(_) | None => Ok(()),
    }
}

fn reconciliation_node(seq: Seq, signed: &Signed<Act>, view: &mut View<'_>) -> Result<(), FoldError> {
    index(seq, signed, view)?;
    let mut draft = Draft::new(seq, NodeKind::Attestation, label::act(signed.value()));
    if let Statement::Reconcile { receipt: digest, .. } = &signed.value().statement {
        let receipt: Seq = view.read(&node::digest_key(digest))?.ok_or(FoldError::UnknownDocument(*digest))?;
        let effect = node_at(receipt, view)?;
        draft = draft.parent(Relation::Reconciles, Some(receipt), view)?;
        if let (Some(tenant), Some(id)) = (&effect.tenant, &effect.id) {
            draft = draft.of_case(tenant, id);
            let key = node::case_key(tenant, id);
            if let Some(mut case) = view.read::<Case>(&key)?.filter(|case| case.receipts.contains(&receipt)) {
                case.reconciled = Some(seq);
                view.write(key, &case)?;
            }
        }
    }
    draft.parent(Relation::RootedIn, Some(GENESIS), view)?.place(view)
}

fn evidence_node(seq: Seq, signed: &Signed<Evidence>, view: &mut View<'_>) -> Result<(), FoldError> {
    index(seq, signed, view)?;
    let evidence = signed.value();
    let trust = trust_of(signed.signer(), view)?;
    let mut draft = Draft::new(seq, NodeKind::Attestation, label::evidence(evidence));
    draft.node.tenant = Some(evidence.tenant.clone());
    draft.parent(Relation::SignedBy, trust, view)?.place(view)
}

fn trust_node(seq: Seq, signed: &Signed<Act>, view: &mut View<'_>) -> Result<(), FoldError> {
    index(seq, signed, view)?;
    let act = signed.value();
    let mut draft = Draft::new(seq, NodeKind::TrustEvent, label::act(act));
    // What this act ends, and under which key later nodes find it. What a later policy or trust replaces is no parent of
    // it: a decision does not stand on the rules of last year.
    let (ended, found_by) = match &act.statement {
        Statement::ActivatePolicy { .. } => (None, Some(POLICY.to_vec())),
        Statement::TrustKey { key, tenant, .. } => {
            draft.node.tenant = Some(tenant.clone());
            (None, Some(node::trust_key(key)))
        }
        Statement::RevokeKey { key } => (trust_of(Some(*key), view)?, None),
        Statement::Freeze { .. } => (None, Some(FREEZE.to_vec())),
        Statement::Thaw {} => (view.read(FREEZE)?, None),
        Statement::Reconcile { .. } | Statement::BindPartitions { .. } => (None, None),
    };
    draft.parent(Relation::Ends, ended, view)?.parent(Relation::RootedIn, Some(GENESIS), view)?.place(view)?;
    match found_by {
        Some(key) => view.write(key, &seq),
        None => Ok(()),
    }
}

fn checkpoint_node(seq: Seq, note: &str, view: &mut View<'_>) -> Result<(), FoldError> {
    let before: Option<Seq> = view.read(CHECKPOINT)?;
    Draft::new(seq, NodeKind::Checkpoint, label::checkpoint(note))
        .parent(Relation::Follows, before.or(Some(GENESIS)), view)?
        .place(view)?;
    view.write(CHECKPOINT.to_vec(), &seq)
}

#[cfg(test)]
#[path = "proofgraph/tests.rs"]
mod tests;

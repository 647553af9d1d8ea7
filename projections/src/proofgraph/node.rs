//! A node of the ProofGraph, its edges, and where they lie.

use std::fmt;

use bincode::{Decode, Encode};
use serde::Serialize;
use writ_schemas::ids::{Digest, KeyId, Name, Seq};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Encode, Decode)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NodeKind {
    /// What a producer asked for.
    Intent,
    /// What somebody stated under a signature: a decision, evidence, a reconciliation.
    Attestation,
    /// What was done to the world: a receipt.
    Effect,
    /// Who is trusted, and by which rules: genesis, keys, policy, freeze, partitions.
    TrustEvent,
    /// A signed head.
    Checkpoint,
    /// Reserved: two histories were made one.
    MergeDecision,
}

impl NodeKind {
    /// As printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NodeKind::Intent => "INTENT",
            NodeKind::Attestation => "ATTESTATION",
            NodeKind::Effect => "EFFECT",
            NodeKind::TrustEvent => "TRUST_EVENT",
            NodeKind::Checkpoint => "CHECKPOINT",
            NodeKind::MergeDecision => "MERGE_DECISION",
        }
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a node has to do with its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// A decision and its intent.
    Answers,
    /// A decision and a piece of evidence that it looked at.
    ReliesOn,
    /// A decision and the trust in its intent's key; evidence and the trust in its signer.
    SignedBy,
    /// A decision and the policy in force.
    Under,
    /// A receipt and its decision.
    AuthorisedBy,
    /// A receipt and the one before it in its session; a checkpoint and the one before it; a decision of a later round and the
    /// one before it.
    Follows,
    /// A reconciliation and its receipt.
    Reconciles,
    /// A trust event and the one that it ends; a deadline and the decision that asked.
    Ends,
    /// A trust event and genesis.
    RootedIn,
    /// An approver's answer and its intent.
    Approves,
}

impl Relation {
    /// As printed, between child and parent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Relation::Answers => "answers",
            Relation::ReliesOn => "relies on",
            Relation::SignedBy => "signed by",
            Relation::Under => "under",
            Relation::AuthorisedBy => "authorised by",
            Relation::Follows => "follows",
            Relation::Reconciles => "reconciles",
            Relation::Ends => "ends",
            Relation::RootedIn => "rooted in",
            Relation::Approves => "answers for",
        }
    }
}

/// An edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct Parent {
    /// The parent.
    pub seq: Seq,
    /// What the node has to do with it.
    pub relation: Relation,
}

/// A node, as a query gives it: its place in the graph from the view, what it says from the log. Its id is the seq of its
/// entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// The entry.
    pub seq: Seq,
    /// What it is.
    pub kind: NodeKind,
    /// What it says, for a person; one line.
    pub label: String,
    /// Whose it is, where it is somebody's.
    pub tenant: Option<Name>,
    /// The intent's id, for the nodes of one intent.
    pub id: Option<Name>,
    /// Who asked, of an intent.
    pub principal: Option<Name>,
    /// Which of its principal's intents this is: 1, 2, 3.
    pub principal_seq: Option<u64>,
    /// 1 for a node without parents, else one more than the highest of theirs.
    pub lamport: u64,
    /// What it stands on.
    pub parents: Vec<Parent>,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {} {}", self.seq, self.kind, self.label)
    }
}

/// A node's place in the graph, as the view holds it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Placed {
    pub(crate) kind: NodeKind,
    pub(crate) lamport: u64,
    pub(crate) principal_seq: Option<u64>,
    pub(crate) parents: Vec<Parent>,
    /// Its first children, at most [`CHILDREN_HERE`]. The others have keys of their own.
    pub(crate) children: Vec<Seq>,
}

/// Most nodes have a child or two. What has more - a key, a policy - has as many as there are decisions.
pub(crate) const CHILDREN_HERE: usize = 4;

/// Children beyond the first, by runs of this many consecutive entries: an offset in its run is 16 bits.
const RUN: u64 = 1024;

/// Where a further child of a node lies, and its offset there.
pub(crate) fn run_of(parent: Seq, child: Seq) -> (Vec<u8>, u16) {
    let key = [runs_prefix(parent).as_slice(), &(child.0 / RUN).to_be_bytes()].concat();
    (key, u16::try_from(child.0 % RUN).unwrap_or(u16::MAX))
}

/// What the keys of a node's further children begin with.
pub(crate) fn runs_prefix(parent: Seq) -> Vec<u8> {
    [b"c/".as_slice(), &parent.0.to_be_bytes()].concat()
}

/// The children of a run; `None` if it is none.
pub(crate) fn children_of_run(key: &[u8], prefix: &[u8], offsets: &[u8]) -> Option<Vec<Seq>> {
    let run = u64::from_be_bytes(key.strip_prefix(prefix)?.try_into().ok()?);
    let (offsets, []) = offsets.as_chunks::<2>() else { return None };
    let first = run.checked_mul(RUN)?;
    offsets.iter().map(|offset| first.checked_add(u64::from(u16::from_be_bytes(*offset))).map(Seq)).collect()
}

/// Where a receipt lies that waits for its reconciliation, by its digest.
pub(crate) fn uncertain_key(receipt: &Digest) -> Vec<u8> {
    [b"u/".as_slice(), &receipt.0].concat()
}

/// Where dispatches without a receipt lie.
pub(crate) const DISPATCHED: &[u8] = b"o/";

/// Where the dispatch of a decision lies.
pub(crate) fn dispatched_key(decision: Seq) -> Vec<u8> {
    [DISPATCHED, &decision.0.to_be_bytes()].concat()
}

/// Where tenant and connector of a decision lie that may be dispatched, until it has its receipt.
pub(crate) fn authorised_key(decision: Seq) -> Vec<u8> {
    [b"a/".as_slice(), &decision.0.to_be_bytes()].concat()
}

/// The decision of such a key.
pub(crate) fn decision_of(key: &[u8]) -> Option<Seq> {
    let (seq, rest) = key.strip_prefix(DISPATCHED)?.split_first_chunk::<8>()?;
    rest.is_empty().then(|| Seq(u64::from_be_bytes(*seq)))
}

/// Where intents lie that wait for approval.
pub(crate) const WAITING: &[u8] = b"e/";

/// Where one of them lies, by its digest.
pub(crate) fn waiting_key(intent: &Digest) -> Vec<u8> {
    [WAITING, &intent.0].concat()
}

/// Where the seq of the latest trust in a key lies.
pub(crate) fn trust_key(key: &KeyId) -> Vec<u8> {
    [b"k/".as_slice(), &key.0].concat()
}

/// Where the case of an id lies, and under which last letter. Ids that differ in it alone share a key: producers count, and a
/// key costs the store more than a case does.
pub(crate) fn case_of(tenant: &Name, id: &Name) -> (Vec<u8>, u8) {
    let mut key = pair_key("i/", tenant, id);
    let letter = key.pop().unwrap_or_default(); // ASCII, and no name is empty
    (key, letter)
}

/// Where the sequence of a principal lies.
pub(crate) fn sequence_key(tenant: &Name, principal: &Name) -> Vec<u8> {
    pair_key("q/", tenant, principal)
}

/// Where the last receipt of a session lies.
pub(crate) fn session_key(tenant: &Name, session: &Name) -> Vec<u8> {
    pair_key("s/", tenant, session)
}

/// No name holds a zero byte.
fn pair_key(area: &str, first: &Name, second: &Name) -> Vec<u8> {
    [area.as_bytes(), first.as_str().as_bytes(), &[0], second.as_str().as_bytes()].concat()
}

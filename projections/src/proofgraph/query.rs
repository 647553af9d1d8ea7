//! Asking the ProofGraph: a node, its ancestors, its descendants, and where an id stands.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use writ_schemas::event::Event;
use writ_schemas::ids::{Name, Seq};
use writ_schemas::strict::Refusal;

use super::block::{self, Block};
use super::case::{Case, Cases};
use super::label::Words;
use super::node::{self, Node, NodeKind, Parent, Placed, Relation};
use super::tree::Tree;
use super::{Dispatched, POLICY, Waits};
use crate::store::Store;
use crate::value::{self, ReadError};

/// How far a query goes. A key that is trusted for a year has millions of descendants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most edges between the start and a node.
    pub depth: u32,
    /// The most nodes.
    pub nodes: usize,
}

impl Default for Limits {
    /// 64 edges, 1024 nodes: more than a person reads, less than a megabyte.
    fn default() -> Limits {
        Limits { depth: 64, nodes: 1024 }
    }
}

/// A part of the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subgraph {
    /// Whether the limits left nothing out.
    pub complete: bool,
    /// Its nodes, by seq; parents may lie outside.
    #[serde(serialize_with = "nodes_as_list")]
    pub nodes: BTreeMap<Seq, Node>,
}

fn nodes_as_list<S: serde::Serializer>(nodes: &BTreeMap<Seq, Node>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(nodes.values())
}

/// The event of an entry that is in the log: what its node says of itself.
pub type Log<'a> = &'a dyn Fn(Seq) -> Result<Event, Refusal>;

/// Reads the view of [`ProofGraph`](super::ProofGraph), and the log for what its nodes say.
#[derive(Clone, Copy)]
pub struct Graph<'a> {
    store: &'a dyn Store,
    log: Log<'a>,
}

impl<'a> Graph<'a> {
    /// Reads this store and this log.
    #[must_use]
    pub fn new(store: &'a dyn Store, log: Log<'a>) -> Graph<'a> {
        Graph { store, log }
    }

    /// The node of an entry; `None` if the entry is none.
    ///
    /// # Errors
    /// The view or the log did not answer.
    pub fn node(&self, seq: Seq) -> Result<Option<Node>, ReadError> {
        self.placed(seq)?.map(|placed| self.describe(seq, placed)).transpose()
    }

    fn placed(&self, seq: Seq) -> Result<Option<Placed>, ReadError> {
        let (key, at) = block::place_of(seq);
        Block(self.store.get(&key)?.unwrap_or_default()).node(at)
    }

    fn describe(&self, seq: Seq, placed: Placed) -> Result<Node, ReadError> {
        let Placed { kind, lamport, principal_seq, parents, children: _ } = placed;
        let Words { label, mut tenant, mut id, principal } = Words::of(&(self.log)(seq)?);
        // What speaks of a receipt or an intent belongs to its case, but names it by digest alone.
        let speaks_of = |parent: &&Parent| match parent.relation {
            Relation::Reconciles | Relation::Approves => true,
            Relation::Ends => kind == NodeKind::Attestation,
            Relation::Answers
            | Relation::ReliesOn
            | Relation::SignedBy
            | Relation::Under
            | Relation::AuthorisedBy
            | Relation::Follows
            | Relation::RootedIn => false,
        };
        if let Some(parent) = parents.iter().find(speaks_of) {
            let of = Words::of(&(self.log)(parent.seq)?);
            (tenant, id) = (of.tenant, of.id);
        }
        Ok(Node { seq, kind, label, tenant, id, principal, principal_seq, lamport, parents })
    }

    /// What became of an id.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn case(&self, tenant: &Name, id: &Name) -> Result<Option<Case>, ReadError> {
        let (key, letter) = node::case_of(tenant, id);
        Ok(value::read::<Cases>(self.store, &key)?.and_then(|mut cases| cases.remove(&letter)))
    }

    /// The entry that put the policy in force; nothing before there is one.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn policy(&self) -> Result<Option<Seq>, ReadError> {
        value::read(self.store, POLICY)
    }

    /// The decisions that ask people and wait for them, of a tenant or of all, in the order of their entries.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn waiting(&self, tenant: Option<&Name>) -> Result<Vec<Seq>, ReadError> {
        let waits = self.store.scan(node::WAITING).map(|pair| value::from_bytes::<Waits>(&pair?.1));
        let waits = waits.filter(|waits| match (waits, tenant) {
            (Ok(waits), Some(tenant)) => waits.tenant == *tenant,
            (Ok(_), None) | (Err(_), _) => true,
        });
        let decisions = waits.map(|waits| Ok(waits?.decision));
        let mut decisions = decisions.collect::<Result<Vec<Seq>, ReadError>>()?;
        decisions.sort_unstable();
        Ok(decisions)
    }

    /// What approvers have said of an intent, in the order of their entries.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn answers(&self, intent: Seq) -> Result<Vec<Seq>, ReadError> {
        let mut answers = Vec::new();
        for child in self.children(intent, Limits::default().nodes)? {
            let parents = self.placed(child)?.map(|placed| placed.parents).unwrap_or_default();
            if parents.iter().any(|it| (it.seq, it.relation) == (intent, Relation::Approves)) {
                answers.push(child);
            }
        }
        Ok(answers)
    }

    /// What was dispatched and has no receipt, in the order of the decisions from `from` on: all of it that may be outside.
    ///
    /// Each is an error if the view did not answer.
    pub fn dispatched(&self, from: Seq) -> impl Iterator<Item = Result<(Seq, Dispatched), ReadError>> {
        self.store.scan_from(node::DISPATCHED, &node::dispatched_key(from)).map(|pair| {
            let (key, bytes) = pair?;
            let seq = node::decision_of(&key).ok_or(ReadError::Value)?;
            Ok((seq, value::from_bytes(&bytes)?))
        })
    }

    /// The node and everything that it stands on; `None` if the entry is no node.
    ///
    /// # Errors
    /// The view or the log did not answer.
    pub fn ancestors(&self, seq: Seq, limits: Limits) -> Result<Option<Subgraph>, ReadError> {
        self.walk(seq, limits, |_, placed, _| Ok(placed.parents.iter().map(|parent| parent.seq).collect()))
    }

    /// The node and everything that stands on it; `None` if the entry is no node.
    ///
    /// # Errors
    /// The view or the log did not answer.
    pub fn descendants(&self, seq: Seq, limits: Limits) -> Result<Option<Subgraph>, ReadError> {
        self.walk(seq, limits, |seq, placed, most| self.children_of(seq, placed, most))
    }

    /// The node and what it stands on, to be printed; `None` if the entry is no node.
    ///
    /// # Errors
    /// The view or the log did not answer.
    pub fn tree(&self, seq: Seq, limits: Limits) -> Result<Option<Tree>, ReadError> {
        Tree::grow(self, seq, limits)
    }

    /// The first children of a node, at most so many; none if the entry is no node.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn children(&self, seq: Seq, most: usize) -> Result<Vec<Seq>, ReadError> {
        match self.placed(seq)? {
            Some(placed) => self.children_of(seq, &placed, most),
            None => Ok(Vec::new()),
        }
    }

    fn children_of(&self, seq: Seq, placed: &Placed, most: usize) -> Result<Vec<Seq>, ReadError> {
        let mut children = placed.children.clone();
        if children.len() == node::CHILDREN_HERE {
            let prefix = node::runs_prefix(seq);
            for pair in self.store.scan(&prefix) {
                if children.len() >= most {
                    break;
                }
                let (key, offsets) = pair?;
                children.extend(node::children_of_run(&key, &prefix, &offsets).ok_or(ReadError::Value)?);
            }
        }
        children.truncate(most);
        Ok(children)
    }

    /// Nearest first, so that a limit leaves out the farthest.
    fn walk(
        &self,
        start: Seq,
        limits: Limits,
        neighbours: impl Fn(Seq, &Placed, usize) -> Result<Vec<Seq>, ReadError>,
    ) -> Result<Option<Subgraph>, ReadError> {
        let Some(first) = self.placed(start)? else {
            return Ok(None);
        };
        let mut complete = true;
        let mut found = BTreeMap::from([(start, first.clone())]);
        let mut queue = VecDeque::from([(start, first, 0_u32)]);
        while let Some((seq, placed, depth)) = queue.pop_front() {
            // One more than can be new tells whether any was left out.
            for seq in neighbours(seq, &placed, limits.nodes.saturating_add(1))? {
                if found.contains_key(&seq) {
                    continue;
                }
                if depth >= limits.depth || found.len() >= limits.nodes {
                    complete = false;
                    break;
                }
                let neighbour = self.placed(seq)?.ok_or(ReadError::Value)?;
                found.insert(seq, neighbour.clone());
                queue.push_back((seq, neighbour, depth.saturating_add(1)));
            }
        }
        let nodes = found.into_iter().map(|(seq, placed)| Ok((seq, self.describe(seq, placed)?)));
        Ok(Some(Subgraph { complete, nodes: nodes.collect::<Result<_, ReadError>>()? }))
    }
}

//! Asking the ProofGraph: a node, its ancestors, its descendants, and where a document or an id stands.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use writ_schemas::ids::{Digest, Name, Seq};

use super::case::Case;
use super::node::{self, Node};
use super::tree::Tree;
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

/// Reads the view of [`ProofGraph`](super::ProofGraph).
#[derive(Clone, Copy)]
pub struct Graph<'a> {
    store: &'a dyn Store,
}

impl<'a> Graph<'a> {
    /// Reads this store.
    #[must_use]
    pub fn new(store: &'a dyn Store) -> Graph<'a> {
        Graph { store }
    }

    /// The node of an entry; `None` if the entry is none.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn node(&self, seq: Seq) -> Result<Option<Node>, ReadError> {
        value::read(self.store, &node::node_key(seq))
    }

    /// The entry of a signed document, by the digest of the signed bytes.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn by_digest(&self, digest: &Digest) -> Result<Option<Seq>, ReadError> {
        value::read(self.store, &node::digest_key(digest))
    }

    /// What became of an id.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn case(&self, tenant: &Name, id: &Name) -> Result<Option<Case>, ReadError> {
        value::read(self.store, &node::case_key(tenant, id))
    }

    /// The node and everything that it stands on; `None` if the entry is no node.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn ancestors(&self, seq: Seq, limits: Limits) -> Result<Option<Subgraph>, ReadError> {
        self.walk(seq, limits, |node, _| Ok(node.parents.iter().map(|parent| parent.seq).collect()))
    }

    /// The node and everything that stands on it; `None` if the entry is no node.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn descendants(&self, seq: Seq, limits: Limits) -> Result<Option<Subgraph>, ReadError> {
        self.walk(seq, limits, |node, most| self.children(node.seq, most))
    }

    /// The node and what it stands on, to be printed; `None` if the entry is no node.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn tree(&self, seq: Seq, limits: Limits) -> Result<Option<Tree>, ReadError> {
        Tree::grow(self, seq, limits)
    }

    /// The first children of a node, at most so many.
    ///
    /// # Errors
    /// The view did not answer.
    pub fn children(&self, seq: Seq, most: usize) -> Result<Vec<Seq>, ReadError> {
        let prefix = node::children_prefix(seq);
        self.store
            .scan(&prefix)
            .take(most)
            .map(|pair| {
                let (key, _) = pair?;
                let child = key.strip_prefix(prefix.as_slice()).and_then(|child| child.try_into().ok());
                child.map(|child| Seq(u64::from_be_bytes(child))).ok_or(ReadError::Value)
            })
            .collect()
    }

    /// Nearest first, so that a limit leaves out the farthest.
    fn walk(
        &self,
        start: Seq,
        limits: Limits,
        neighbours: impl Fn(&Node, usize) -> Result<Vec<Seq>, ReadError>,
    ) -> Result<Option<Subgraph>, ReadError> {
        let Some(first) = self.node(start)? else {
            return Ok(None);
        };
        let mut found = Subgraph { complete: true, nodes: BTreeMap::from([(start, first.clone())]) };
        let mut queue = VecDeque::from([(first, 0_u32)]);
        while let Some((node, depth)) = queue.pop_front() {
            // One more than can be new tells whether any was left out.
            let most = limits.nodes.saturating_add(1);
            for seq in neighbours(&node, most)? {
                if found.nodes.contains_key(&seq) {
                    continue;
                }
                if depth >= limits.depth || found.nodes.len() >= limits.nodes {
                    found.complete = false;
                    break;
                }
                let neighbour = self.node(seq)?.ok_or(ReadError::Value)?;
                found.nodes.insert(seq, neighbour.clone());
                queue.push_back((neighbour, depth.saturating_add(1)));
            }
        }
        Ok(Some(found))
    }
}

//! A node and what it stands on, as an indented tree for a terminal.

use std::collections::BTreeSet;
use std::fmt;

use writ_schemas::ids::Seq;

use super::node::{Node, Relation};
use super::query::{Graph, Limits};
use crate::value::ReadError;

/// The deepest tree: building and printing it recurse.
const DEPTH_MAX: u32 = 64;

/// How much of a node a tree shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The node and its branches.
    Whole,
    /// The node stands further up in the tree, with its branches.
    Above,
    /// The branches were left out: a limit, or the history before this one, which has a tree of its own.
    Cut,
}

/// A node, and what it stands on as branches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The node.
    pub node: Node,
    /// What the node above has to do with it; nothing at the top.
    pub relation: Option<Relation>,
    /// How much of it is shown.
    pub shown: Shown,
    /// What it stands on.
    pub branches: Vec<Tree>,
}

impl Tree {
    pub(super) fn grow(graph: &Graph<'_>, seq: Seq, limits: Limits) -> Result<Option<Tree>, ReadError> {
        let limits = Limits { depth: limits.depth.min(DEPTH_MAX), nodes: limits.nodes };
        match graph.node(seq)? {
            Some(node) => Growth { graph, limits, seen: BTreeSet::new() }.branch(node, None, 0).map(Some),
            None => Ok(None),
        }
    }

    fn lines(&self, f: &mut fmt::Formatter<'_>, indent: &str) -> fmt::Result {
        if let Some(relation) = self.relation {
            write!(f, "{} ", relation.as_str())?;
        }
        match self.shown {
            Shown::Whole => writeln!(f, "{}", self.node)?,
            Shown::Above => writeln!(f, "#{} {} (above)", self.node.seq, self.node.kind)?,
            Shown::Cut => writeln!(f, "{} …", self.node)?,
        }
        let Some((last, others)) = self.branches.split_last() else {
            return Ok(());
        };
        for branch in others {
            write!(f, "{indent}├─ ")?;
            branch.lines(f, &format!("{indent}│  "))?;
        }
        write!(f, "{indent}└─ ")?;
        last.lines(f, &format!("{indent}   "))
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines(f, "")
    }
}

struct Growth<'a> {
    graph: &'a Graph<'a>,
    limits: Limits,
    seen: BTreeSet<Seq>,
}

impl Growth<'_> {
    fn branch(&mut self, node: Node, relation: Option<Relation>, depth: u32) -> Result<Tree, ReadError> {
        let shown = self.shown(&node, relation, depth);
        let mut branches = Vec::new();
        if shown == Shown::Whole {
            self.seen.insert(node.seq);
            for parent in &node.parents {
                let above = self.graph.node(parent.seq)?.ok_or(ReadError::Value)?;
                branches.push(self.branch(above, Some(parent.relation), depth.saturating_add(1))?);
            }
        }
        Ok(Tree { node, relation, shown, branches })
    }

    /// Sessions and checkpoints are chains back to the start of the ledger; what went before is named, not told.
    fn shown(&self, node: &Node, relation: Option<Relation>, depth: u32) -> Shown {
        let before = relation == Some(Relation::Follows);
        if self.seen.contains(&node.seq) {
            Shown::Above
        } else if !node.parents.is_empty()
            && (before || depth >= self.limits.depth || self.seen.len() >= self.limits.nodes)
        {
            Shown::Cut
        } else {
            Shown::Whole
        }
    }
}

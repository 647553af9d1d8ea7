//! A part of the graph for other programs: Graphviz DOT, JSON.

use std::fmt::Write;

use serde_json::Value;

use super::node::NodeKind;
use super::query::Subgraph;

impl Subgraph {
    /// As a Graphviz digraph, edges from child to parent; parents outside of this part are left out.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut dot = "digraph proof {\n  rankdir=BT;\n  node [fontname=\"monospace\"];\n".to_owned();
        for node in self.nodes.values() {
            let label = quoted(&format!("#{} {}\n{}", node.seq, node.kind, node.label));
            // Writing to a String cannot fail.
            let _ = writeln!(dot, "  n{} [shape={}, label={label}];", node.seq, shape(node.kind));
        }
        for node in self.nodes.values() {
            for parent in node.parents.iter().filter(|parent| self.nodes.contains_key(&parent.seq)) {
                let label = quoted(parent.relation.as_str());
                let _ = writeln!(dot, "  n{} -> n{} [label={label}];", node.seq, parent.seq);
            }
        }
        dot.push_str("}\n");
        dot
    }

    /// As JSON: `complete`, and `nodes` in the order of the log, each with its parents.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::json!({ "complete": self.complete, "nodes": self.nodes.values().collect::<Vec<_>>() })
    }
}

fn shape(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Intent => "ellipse",
        NodeKind::Attestation => "box",
        NodeKind::Effect => "doubleoctagon",
        NodeKind::TrustEvent => "hexagon",
        NodeKind::Checkpoint => "note",
        NodeKind::MergeDecision => "diamond",
    }
}

/// A DOT string: quotes and backslashes escaped, line ends as `\n`.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_strings_end_where_they_should() {
        assert_eq!(quoted("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
    }
}

//! Entries of sampled traces that are still to be published, or to be applied by a view.

use std::collections::BTreeMap;

use writ_projections::metering::Metering;
use writ_projections::projection::Projection;
use writ_projections::proofgraph::ProofGraph;
use writ_schemas::ids::Seq;

use super::bound;
use crate::clock::Stopwatch;
use crate::kafka::publisher::Topics;
use crate::telemetry::context::TraceContext;

/// What an entry is to those who hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Decision,
    Receipt,
    Refusal,
}

impl Output {
    /// Where it is published.
    pub(super) fn topic(self, topics: &Topics) -> &str {
        match self {
            Output::Decision => &topics.decisions,
            Output::Receipt => &topics.receipts,
            Output::Refusal => &topics.refusals,
        }
    }
}

/// A span below which it is told, and since when it is durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent {
    pub(super) of: TraceContext,
    pub(super) since: Stopwatch,
}

/// The entries that are followed.
pub(super) struct Followed {
    publishes: bool,
    entries: BTreeMap<Seq, Entry>,
}

struct Entry {
    output: Output,
    parent: Parent,
    to_publish: bool,
    /// Of which views it is still to be heard.
    views: Vec<&'static str>,
}

impl Followed {
    /// By the views, and by Kafka if entries are published.
    pub(super) fn by(publishes: bool) -> Followed {
        Followed { publishes, entries: BTreeMap::new() }
    }

    /// An entry is durable.
    pub(super) fn insert(&mut self, seq: Seq, output: Output, of: TraceContext, since: Stopwatch) {
        let (parent, views) = (Parent { of, since }, vec![ProofGraph::NAME, Metering::NAME]);
        self.entries.insert(seq, Entry { output, parent, to_publish: self.publishes, views });
        bound(&mut self.entries);
    }

    /// What was published of these entries.
    pub(super) fn published(&mut self, from: Seq, until: Seq) -> Vec<(Output, Parent)> {
        let heard = self.entries.range_mut(from..until.max(from)).filter(|(_, entry)| entry.to_publish);
        let outputs = heard.map(|(_, entry)| {
            entry.to_publish = false;
            (entry.output, entry.parent)
        });
        let outputs = outputs.collect();
        self.forget();
        outputs
    }

    /// What the view has applied, up to this entry.
    pub(super) fn applied(&mut self, view: &'static str, until: Seq) -> Vec<Parent> {
        let mut parents = Vec::new();
        for (_, entry) in self.entries.range_mut(..until) {
            let before = entry.views.len();
            entry.views.retain(|other| *other != view);
            parents.extend((entry.views.len() < before).then_some(entry.parent));
        }
        self.forget();
        parents
    }

    fn forget(&mut self) {
        self.entries.retain(|_, entry| entry.to_publish || !entry.views.is_empty());
    }
}

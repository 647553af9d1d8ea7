//! Entries of sampled traces that are still to be published, or to be applied by a view.

use std::collections::BTreeMap;

use writ_projections::metering::Metering;
use writ_projections::projection::Projection;
use writ_projections::proofgraph::ProofGraph;
use writ_schemas::ids::Seq;

use super::bound;
use crate::clock::Stopwatch;
use crate::telemetry::context::TraceContext;
use crate::telemetry::facts::Topics;

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
    /// Nothing where nobody publishes.
    to_publish: Option<BTreeMap<Seq, (Output, Parent)>>,
    to_apply: [(&'static str, BTreeMap<Seq, Parent>); 2],
}

impl Followed {
    /// By the views, and by Kafka if entries are published.
    pub(super) fn by(publishes: bool) -> Followed {
        let to_apply = [ProofGraph::NAME, Metering::NAME].map(|view| (view, BTreeMap::new()));
        Followed { to_publish: publishes.then(BTreeMap::new), to_apply }
    }

    /// An entry is durable.
    pub(super) fn insert(&mut self, seq: Seq, output: Output, of: TraceContext, since: Stopwatch) {
        let parent = Parent { of, since };
        if let Some(to_publish) = &mut self.to_publish {
            to_publish.insert(seq, (output, parent));
            bound(to_publish);
        }
        for (_, entries) in &mut self.to_apply {
            entries.insert(seq, parent);
            bound(entries);
        }
    }

    /// What was published, up to this entry.
    pub(super) fn published(&mut self, until: Seq) -> Vec<(Output, Parent)> {
        self.to_publish.as_mut().map(|entries| before(entries, until)).unwrap_or_default()
    }

    /// What the view has applied, up to this entry.
    pub(super) fn applied(&mut self, view: &'static str, until: Seq) -> Vec<Parent> {
        let mut found = self.to_apply.iter_mut().filter(|(name, _)| *name == view);
        found.next().map(|(_, entries)| before(entries, until)).unwrap_or_default()
    }
}

/// Takes out what lies before an entry.
fn before<T>(entries: &mut BTreeMap<Seq, T>, until: Seq) -> Vec<T> {
    let later = entries.split_off(&until);
    std::mem::replace(entries, later).into_values().collect()
}

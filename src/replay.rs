//! Folds the log from zero into fresh state, decides every intent again, rebuilds every view, and compares.
//!
//! What is derived must come out as it stands in the log, byte by byte: decisions, the derived part of receipts, dispatches,
//! admissions, state hashes. Salts, connectors' outputs and signatures are inputs: recorded and verified, never derived. It
//! stops at the first divergence and shows both sides.

use std::collections::BTreeMap;

use serde::Serialize;

use writ_projections::follower::Follower;
use writ_projections::metering::Metering;
use writ_projections::projection::Projection;
use writ_projections::proofgraph::ProofGraph;
use writ_projections::store::MemoryStore;
use writ_schemas::entry::Entry;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Digest, Seq};

use crate::derivation::{Derivation, Divergence, difference};
use crate::error::{Failure, Result};
use crate::executor::content::ContentStore;
use crate::folder::Folder;
use crate::verify::{Audit, Broken, Pins, Report};

/// What replay found. Equal for equal ledgers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// What verification on the way found.
    #[serde(flatten)]
    pub verified: Report,
    /// Intents that were decided again.
    pub decided_again: u64,
    /// State hashes in the log that were compared.
    pub state_hashes: u64,
    /// The hash of the state after the last entry.
    pub state_hash: Digest,
    /// The digest of each view, rebuilt.
    pub views: BTreeMap<&'static str, Digest>,
    /// The first event at which replay differs.
    pub divergence: Option<Divergence>,
}

/// Replays a ledger, up to and including `until` if one is given.
///
/// # Errors
/// It could not be read at all. A ledger that diverges is a [`Replayed`] that says so.
pub fn replay(folder: &Folder, pins: &Pins, until: Option<Seq>, progress: &mut dyn FnMut(u64)) -> Result<Replayed> {
    let mut audit = Audit::open(folder, pins)?;
    let mut fold = Fold::new(Derivation::new(ContentStore::at(folder.content())));
    audit.run(&mut |entry, event| {
        progress(entry.header.seq.0);
        if until.is_some_and(|until| entry.header.seq > until) {
            return Ok(());
        }
        fold.step(entry, event)
    })?;
    let mut verified = audit.report();
    // A walk that was cut short on purpose, or by something broken, may end anywhere.
    if verified.ok && until.is_none_or(|until| until.next().0 >= verified.entries) {
        fold.divergence = fold.derivation.check_end().err();
    }
    if let Some(divergence) = &fold.divergence {
        verified.ok = false;
        verified.broken = Some(broken(divergence));
    }
    let (state_hash, views) = (fold.derivation.state().hash(), fold.views()?);
    Ok(Replayed {
        verified,
        decided_again: fold.derivation.decided(),
        state_hashes: fold.derivation.hashes(),
        state_hash,
        views,
        divergence: fold.divergence,
    })
}

fn broken(divergence: &Divergence) -> Broken {
    Broken { code: Code::ReplayDiverged, seq: Some(divergence.seq), what: divergence.to_string() }
}

/// Fresh state and fresh views, an entry at a time.
struct Fold {
    derivation: Derivation,
    graph: Option<Follower<ProofGraph, MemoryStore>>,
    metering: Option<Follower<Metering, MemoryStore>>,
    divergence: Option<Divergence>,
}

/// A [`Divergence`] was found and kept; the walk ends.
struct Diverged(Broken);

impl From<Diverged> for Broken {
    fn from(diverged: Diverged) -> Broken {
        diverged.0
    }
}

impl Fold {
    fn new(derivation: Derivation) -> Fold {
        Fold { derivation, graph: None, metering: None, divergence: None }
    }

    fn step(&mut self, entry: &Entry, event: &Event) -> std::result::Result<(), Diverged> {
        let found = self.derivation.check(entry, event).and_then(|()| {
            self.derive(entry, event).map_err(|error| {
                let taken = difference("view", error, "an entry that every view takes in");
                Divergence::new(entry.header.seq, event, vec![taken])
            })
        });
        found.map_err(|divergence| {
            let broken = broken(&divergence);
            self.divergence = Some(divergence);
            Diverged(broken)
        })
    }

    fn derive(&mut self, entry: &Entry, event: &Event) -> std::result::Result<(), String> {
        fn stage<P: Projection>(
            follower: &mut Option<Follower<P, MemoryStore>>,
            projection: P,
            entry: &Entry,
            event: &Event,
        ) -> std::result::Result<(), String> {
            if follower.is_none() {
                let opened = Follower::open(projection, MemoryStore::default(), entry.header.ledger, |_| None);
                *follower = Some(opened.map_err(|e| e.to_string())?.0);
            }
            match follower {
                Some(follower) => follower.stage_event(entry, event).map(drop).map_err(|e| e.to_string()),
                None => Ok(()),
            }
        }
        stage(&mut self.graph, ProofGraph, entry, event)?;
        stage(&mut self.metering, Metering, entry, event)
    }

    fn views(&mut self) -> Result<BTreeMap<&'static str, Digest>> {
        let mut views = BTreeMap::new();
        if let Some(graph) = &mut self.graph {
            views.insert(ProofGraph::NAME, graph.digest().map_err(|e| Failure::new(e.code(), e))?);
        }
        if let Some(metering) = &mut self.metering {
            views.insert(Metering::NAME, metering.digest().map_err(|e| Failure::new(e.code(), e))?);
        }
        Ok(views)
    }
}

//! The projections of one ledger: opens their stores, follows the log.
//!
//! - `host`: the thread that they live in, how they end and are begun anew, and the shelf where questions find them
//!
//! A new projection is a fold in `writ-projections`, a field here, and a line in `catch_up` and in replay.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::warn;

use writ_log::{Reader, files};
use writ_projections::follower::{Follower, ViewError};
use writ_projections::metering::Metering;
use writ_projections::projection::Projection;
use writ_projections::proofgraph::ProofGraph;
use writ_projections::sled_store::{SledStore, SledViews};
use writ_projections::store::StoreError;
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, Seq};

use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::folder::{Folder, remove};
use crate::progress::Progress;
use crate::space::Space;
use crate::telemetry::facts::{Fact, Interval};
use crate::telemetry::metrics;
use crate::telemetry::tracer::Tracer;
use crate::threads;

mod aside;
mod host;

use aside::aside;
pub use host::{Shelf, brought_up, brought_up_aside, host};

/// The views of one ledger, and where each stands.
pub struct Views {
    reader: Reader,
    sled: SledViews,
    graph: Follower<ProofGraph, SledStore>,
    metering: Follower<Metering, SledStore>,
    progress: Arc<Progress>,
    doubt: Doubt,
}

/// The stores of the views, for queries while another thread follows the log.
#[derive(Clone, Debug)]
pub struct Queries {
    /// The ProofGraph's.
    pub graph: SledStore,
    /// Metering's.
    pub metering: SledStore,
    /// How far both have come.
    pub progress: Arc<Progress>,
    doubt: Doubt,
}

/// What a question found wrong with the views, until these have looked into it.
type Doubt = Arc<Mutex<Option<Failure>>>;

/// Makes the folder of the views, if it is not there. One in which a file is no plain one is none of ours: sled would wait for it for
/// ever.
fn prepare(views: &Path) -> Result<()> {
    let io = |e| Failure::io(views, &e);
    match std::fs::symlink_metadata(views) {
        Err(e) if e.kind() == ErrorKind::NotFound => return files::make_folder(views).map_err(io),
        Err(e) => return Err(io(e)),
        Ok(meta) if meta.is_dir() && is_plain(views).map_err(io)? => return Ok(()),
        Ok(_) => {}
    }
    warn!("not only plain files are in the folder of the views; rebuilt from the log");
    remove(views)?;
    files::make_folder(views).map_err(io)
}

fn is_plain(folder: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        let (entry, kind) = entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind)))?;
        if !(kind.is_file() || kind.is_dir() && is_plain(&entry.path())?) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn store_failure(error: StoreError) -> Failure {
    Failure::new(error.code(), error)
}

fn failure(error: &ViewError) -> Failure {
    Failure::new(error.code(), error)
}

impl Views {
    /// Opens the views of a folder, which follow this reader of its log; those that are damaged, or do not fit the log, are begun anew. The caller holds the
    /// ledger's lock.
    ///
    /// # Errors
    /// The store cannot be read or written, or another process holds it.
    pub fn open(folder: &Folder, reader: Reader) -> Result<Views> {
        prepare(&folder.views())?;
        let sled = match SledViews::open(&folder.views()) {
            Err(StoreError::Damaged(why)) => {
                // All of it is derived, and the caller holds the ledger's lock.
                warn!(%why, "the views are damaged; rebuilt from the log");
                remove(&folder.views())?;
                prepare(&folder.views())?;
                SledViews::open(&folder.views())
            }
            opened => opened,
        };
        Views::of(sled.map_err(store_failure)?, reader)
    }

    /// The same for a ledger that is served: while its disk is short of room, beside the folder if they cannot be opened in it.
    ///
    /// # Errors
    /// As [`Views::open`].
    pub fn served(folder: &Folder, reader: Reader, space: &Space) -> Result<Views> {
        match threads::contained("views", || Views::open(folder, reader.clone())) {
            Err(failure) if space.is_short() => {
                warn!(%failure, "the views are begun beside the folder");
                aside(|place| Views::beside(place, reader.clone()))
            }
            opened => opened,
        }
    }

    /// Empty views that follow this reader, in a folder that is removed with them.
    fn beside(place: &Path, reader: Reader) -> Result<Views> {
        Views::of(aside::open(place)?, reader)
    }

    fn of(sled: SledViews, reader: Reader) -> Result<Views> {
        let ledger = reader.ledger();
        let hash_at = |seq: Seq| reader.get(seq).ok().flatten().map(|located| located.entry.hash());
        let store = |name| sled.store(name).map_err(store_failure);
        let (graph, stale) =
            Follower::open(ProofGraph, store(ProofGraph::NAME)?, ledger, hash_at).map_err(|e| failure(&e))?;
        if let Some(stale) = stale {
            warn!(view = ProofGraph::NAME, %stale, "rebuilt from the log");
        }
        let (metering, stale) =
            Follower::open(Metering, store(Metering::NAME)?, ledger, hash_at).map_err(|e| failure(&e))?;
        if let Some(stale) = stale {
            warn!(view = Metering::NAME, %stale, "rebuilt from the log");
        }
        let progress = Arc::new(Progress::default());
        progress.advance(graph.next().min(metering.next()));
        Ok(Views { reader, sled, graph, metering, progress, doubt: Doubt::default() })
    }

    /// The stores, for queries.
    #[must_use]
    pub fn queries(&self) -> Queries {
        Queries {
            graph: self.graph.store().clone(),
            metering: self.metering.store().clone(),
            progress: Arc::clone(&self.progress),
            doubt: Arc::clone(&self.doubt),
        }
    }

    /// Ends views of which a question has found that they are damaged. One that panicked may have done so for a reason of its own:
    /// then all of them is read.
    fn settle_doubt(&mut self) -> Result<()> {
        let doubt = self.doubt.lock().unwrap_or_else(PoisonError::into_inner).take();
        match doubt {
            None => Ok(()),
            Some(failure) if failure.code == Code::Panicked => self.digests().map(drop),
            Some(failure) => Err(failure),
        }
    }

    /// Applies every entry below `until`; all there are, if it is not given.
    ///
    /// # Errors
    /// The log or a store failed, or an entry does not follow.
    pub fn catch_up(&mut self, until: Option<Seq>) -> Result<()> {
        let from = self.graph.next().min(self.metering.next());
        let mut entries = self.reader.entries(from)?;
        if let Some(until) = until {
            entries = entries.until(until);
        }
        for located in entries {
            let entry = located?.entry;
            let undecoded = |refusal| failure(&ViewError::Entry { seq: entry.header.seq, refusal });
            let event = entry.event().map_err(undecoded)?;
            self.graph.stage_event(&entry, &event).map_err(|e| failure(&e))?;
            self.metering.stage_event(&entry, &event).map_err(|e| failure(&e))?;
        }
        self.graph.commit().map_err(|e| failure(&e))?;
        self.metering.commit().map_err(|e| failure(&e))?;
        self.progress.advance(self.next());
        Ok(())
    }

    /// Follows until the ledger closes.
    ///
    /// # Errors
    /// As [`Views::catch_up`]. The ledger itself goes on: views are derived.
    pub fn follow(&mut self, progress: &Progress, tracer: &Tracer) -> Result<()> {
        loop {
            progress.done(metrics::Follower::ProofGraph, self.graph.next());
            progress.done(metrics::Follower::Metering, self.metering.next());
            let next = self.next();
            let until = progress.wait_beyond(next, Duration::from_millis(500));
            self.settle_doubt()?;
            if next < until {
                let from = Stopwatch::start();
                self.catch_up(Some(until))?;
                let took = Interval::since(from);
                metrics::stage(metrics::Stage::View, took.length());
                for (view, until) in [(ProofGraph::NAME, self.graph.next()), (Metering::NAME, self.metering.next())] {
                    tracer.record(|| Fact::Applied { view, until, took });
                }
            } else if progress.is_closed() {
                return self.sled.flush().map_err(|e| Failure::new(e.code(), e));
            }
        }
    }

    /// The seq after the last entry that every view has applied.
    #[must_use]
    pub fn next(&self) -> Seq {
        self.graph.next().min(self.metering.next())
    }

    /// The digest of each view.
    ///
    /// # Errors
    /// A store failed.
    pub fn digests(&mut self) -> Result<std::collections::BTreeMap<&'static str, Digest>> {
        Ok([
            (ProofGraph::NAME, self.graph.digest().map_err(|e| failure(&e))?),
            (Metering::NAME, self.metering.digest().map_err(|e| failure(&e))?),
        ]
        .into())
    }
}

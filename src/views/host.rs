//! Where the views of a ledger at work live: a thread of their own, that lets them end alone and begins them anew; and the shelf where
//! questions find them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::error;

use writ_log::Reader;
use writ_schemas::errors::Code;

use super::aside::aside;
use super::{Queries, Views};
use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::folder::{Folder, remove};
use crate::ledger::Handle;
use crate::progress::Progress;
use crate::space::Space;
use crate::telemetry::metrics;
use crate::threads;

/// How long views that have ended stay away; twice as long each time, up to the largest.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);
const REBUILD_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Where questions find the views, also after they were begun anew.
#[derive(Clone, Debug)]
pub struct Shelf(Arc<Shelved>);

#[derive(Debug)]
struct Shelved {
    on: Mutex<On>,
}

/// What is on a shelf.
#[derive(Debug)]
enum On {
    /// Nothing yet: they are being brought up to the log. Who answered from them would deny what is in it.
    NotYet,
    Views(Queries),
    /// What ended them.
    Ended(Failure),
}

impl On {
    fn views(&self) -> Result<Queries> {
        match self {
            On::NotYet => Err(Failure::new(Code::Overloaded, "the views are still being brought up to the log")),
            On::Views(queries) => Ok(queries.clone()),
            On::Ended(failure) => Err(failure.clone()),
        }
    }
}

impl Drop for Shelved {
    /// Who lets go of sled last ends it.
    fn drop(&mut self) {
        let last = std::mem::replace(&mut *self.lock(), On::NotYet);
        let _ = let_go(last); // what it held comes from the log again
    }
}

impl Shelved {
    fn lock(&self) -> MutexGuard<'_, On> {
        self.on.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// An empty one, for views that are still to come.
    #[must_use]
    pub fn empty() -> Shelf {
        Shelf::with(On::NotYet)
    }

    fn with(on: On) -> Shelf {
        Shelf(Arc::new(Shelved { on: Mutex::new(on) }))
    }

    /// The views as they are now.
    ///
    /// # Errors
    /// `ERR_OVERLOADED` if they have never been there; what ended them, until they are there again.
    pub fn current(&self) -> Result<Queries> {
        self.0.lock().views()
    }

    /// How far they have come.
    ///
    /// # Errors
    /// As [`Shelf::current`].
    pub fn progress(&self) -> Result<Arc<Progress>> {
        match &*self.0.lock() {
            On::Views(queries) => Ok(Arc::clone(&queries.progress)),
            other => other.views().map(|queries| queries.progress),
        }
    }

    /// Tells the views what a question found wrong with them.
    pub fn doubt(&self, failure: &Failure) {
        if let Ok(queries) = self.current() {
            *queries.doubt.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.clone());
        }
    }

    fn put(&self, on: On) {
        let before = std::mem::replace(&mut *self.0.lock(), on);
        if let On::Views(queries) = &before {
            queries.progress.close(); // who waits for them waits for nothing
        }
        let _ = let_go(before);
    }
}

/// Lets views follow a ledger until it closes; questions find them once they have come to where the log was at first. Those that
/// fail or panic before it closes are begun anew: all of it is derived, so the ledger goes on. While its disk is short of room, they
/// are begun anew beside it.
pub fn host(views: Views, shelf: &Shelf, folder: &Folder, ledger: &Handle) {
    let Handle { progress, space, tracer, .. } = ledger;
    let reader = views.reader.clone();
    let (mut views, mut pause) = (Some(views), REBUILD_PAUSE);
    while !progress.is_closed() || views.is_some() {
        let since = Stopwatch::start();
        let hosted = threads::contained("views", || {
            let views = match &mut views {
                Some(views) => views,
                none => none.insert(rebuilt(folder, reader.clone(), space)?),
            };
            views.catch_up(Some(progress.next()))?;
            shelf.put(On::Views(views.queries()));
            threads::panic_if_asked("views");
            views.follow(progress, tracer)
        });
        let ended = let_go(views.take());
        let Err(failure) = hosted.and(ended) else { return };
        error!(%failure, "the views have ended; the ledger goes on, and they are begun anew from the log");
        metrics::views_lost();
        metrics::stage_error(metrics::Stage::View, failure.code);
        let why = format!("they are begun anew from the log, after: {failure}");
        shelf.put(On::Ended(Failure::new(Code::ViewDamaged, why)));
        if since.elapsed() > REBUILD_PAUSE_MAX {
            pause = REBUILD_PAUSE; // they stood long enough for that to be another reason
        }
        if failure.code == Code::DiskFull && pause == REBUILD_PAUSE {
            space.notice(); // they have a place elsewhere at once
        } else {
            progress.wait_closed(pause);
        }
        pause = pause.saturating_mul(2).min(REBUILD_PAUSE_MAX);
    }
}

/// The views of a folder that nobody serves, brought up to date; beside it if they cannot be in it.
///
/// # Errors
/// As [`Views::open`]; `ERR_VIEW_DAMAGED` also if sled panics.
pub fn brought_up(folder: &Folder, reader: Reader) -> Result<Shelf> {
    let here = bring_up(|| Views::open(folder, reader.clone()));
    here.or_else(|failure| brought_up_aside(reader).map_err(|_| failure))
}

/// The same beside the folder: nothing in it is written.
///
/// # Errors
/// As [`brought_up`].
pub fn brought_up_aside(reader: Reader) -> Result<Shelf> {
    aside(|place| bring_up(|| Views::beside(place, reader.clone())))
}

fn bring_up(open: impl FnOnce() -> Result<Views>) -> Result<Shelf> {
    let mut opened = None;
    let shelf = threads::contained("views", || {
        let views: &mut Views = opened.insert(open()?);
        views.catch_up(None)?;
        Ok(Shelf::with(On::Views(views.queries())))
    });
    let ended = let_go(opened);
    shelf.and_then(|shelf| ended.map(|()| shelf)).map_err(|failure| match failure.code {
        Code::Panicked => Failure::new(Code::ViewDamaged, failure.detail),
        _ => failure,
    })
}

/// Drops what holds sled, which panics where the disk does not take what it still has; in the middle of another panic that would
/// end the process.
fn let_go<T>(holder: T) -> Result<()> {
    threads::contained("views", || {
        drop(holder);
        Ok(())
    })
}

fn rebuilt(folder: &Folder, reader: Reader, space: &Space) -> Result<Views> {
    remove(&folder.views())?;
    if space.is_short() {
        return aside(|place| Views::beside(place, reader.clone()));
    }
    Views::open(folder, reader)
}

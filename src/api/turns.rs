//! Questions take turns: threads of their own answer them one after the other, and leave the processors to whoever decides.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use writ_schemas::errors::Code;

use crate::error::{Failure, Result};
use crate::threads;

/// The most questions of one listener that wait: for what they ask to know of, or for their turn.
const QUESTIONS_WAITING_MAX: usize = 256;

/// How much less of a busy processor they get than the threads of the writer: a tenth (nice(2), which Linux applies to a thread).
const NICENESS: i32 = 10;

/// The questions of one listener that wait, and who answers them: as many threads as half of the processors, at least one. They end
/// with it.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    places: Arc<Semaphore>,
    asked: SyncSender<Turn>,
}

type Turn = Box<dyn FnOnce() + Send>;

/// A place among those that wait; given back when it is dropped.
pub(super) struct Queued {
    _place: OwnedSemaphorePermit,
    asked: SyncSender<Turn>,
}

impl Turns {
    /// Starts the threads.
    ///
    /// # Errors
    /// `ERR_THREADS`.
    pub(super) fn start() -> Result<Turns> {
        let (asked, turns) = sync_channel(QUESTIONS_WAITING_MAX);
        let turns = Arc::new(Mutex::new(turns));
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 0..(processors / 2).max(1) {
            let turns = Arc::clone(&turns);
            threads::spawn("questions", move || answer(&turns))?;
        }
        Ok(Turns { places: Arc::new(Semaphore::new(QUESTIONS_WAITING_MAX)), asked })
    }

    /// How many have a place.
    pub(super) fn waiting(&self) -> usize {
        QUESTIONS_WAITING_MAX - self.places.available_permits()
    }

    /// A place for a question.
    ///
    /// # Errors
    /// `ERR_OVERLOADED` if too many wait already.
    pub(super) fn queue_up(&self) -> Result<Queued> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Failure::new(Code::Overloaded, "too many questions wait for their turn"))?;
        Ok(Queued { _place: place, asked: self.asked.clone() })
    }
}

impl Queued {
    /// The answer to a question, once it is its turn.
    ///
    /// # Errors
    /// Those of the question; `ERR_OVERLOADED` if it is not answered within `patience`.
    pub(super) async fn ask<T: Send + 'static>(
        self,
        patience: Duration,
        question: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let turn = move || {
            if !reply.is_closed() {
                let _ = reply.send(threads::contained("a question", question)); // whoever asked may have gone away
            }
        };
        let late = || Failure::new(Code::Overloaded, "other questions were there first");
        // Those that nobody waits for any more have no place, and may still be in the queue.
        self.asked.try_send(Box::new(turn)).map_err(|_| late())?;
        timeout(patience, answer).await.map_err(|_| late())?.map_err(|_| threads::panicked("of a question"))?
    }
}

fn answer(turns: &Mutex<Receiver<Turn>>) {
    // Where it may not, it takes its share like the others.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
    loop {
        let next = turns.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(turn) = next else { return };
        turn();
        std::thread::yield_now(); // who waits for the processor should not wait for a whole slice of it
    }
}

//! What of a ledger the edges use.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::timeout;

use writ_log::Spares;
use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::event::Source;
use writ_schemas::genesis::Genesis;
use writ_schemas::strict::Refusal;

use crate::clock::Clock;
use crate::error::{Failure, Result};
use crate::folder::Folder;
use crate::progress::Progress;
use crate::queue::{NotTaken, Queue};
use crate::sequencer::{Answer, Input, Submission, Submitted, Vitals};
use crate::space::{LOOK_EVERY, Space};
use crate::telemetry::facts::Arrival;
use crate::telemetry::labels::Label;
use crate::telemetry::metrics::{self, Answered, Lane};
use crate::telemetry::tracer::Tracer;

/// What of a ledger the edges use: they submit, and they follow.
#[derive(Clone)]
pub struct Handle {
    /// The folder.
    pub folder: Folder,
    /// Who the ledger is.
    pub genesis: Genesis,
    /// The time.
    pub clock: Clock,
    /// What is to be done.
    pub queue: Arc<Queue<Input>>,
    /// How far the log is durable.
    pub progress: Arc<Progress>,
    /// The ledger's room on the disk.
    pub space: Arc<Space>,
    /// What the writer tells of itself.
    pub vitals: Arc<Vitals>,
    /// Segments made ahead.
    pub spares: Spares,
    /// Who traces.
    pub tracer: Tracer,
}

impl Handle {
    /// Submits and waits for the durable answer.
    ///
    /// # Errors
    /// `ERR_OVERLOADED` if the queue is full, `ERR_DISK_FULL` while the writer stands still for want of room, `ERR_STOPPING` if the
    /// ledger ends first: asking again gives the same answer.
    pub async fn submit(&self, what: Submitted, source: Source, arrival: Arrival, bytes: usize) -> Result<Answer> {
        self.moves(std::iter::once(&what))?;
        // What stops the ledger goes first; what approvers and reporters say ends what producers wait for.
        let act = if let Submitted::Act(act) = &what { Some(&act.value().statement) } else { None };
        let is_answer = act.map(|it| matches!(it, Statement::Approve { .. } | Statement::Report { .. }));
        let answer = queued(what, source, arrival, |input| {
            let taken = match is_answer {
                Some(false) => self.queue.urge(input),
                Some(true) => self.queue.answer(input, bytes),
                None => self.queue.offer(input, bytes),
            };
            taken.map_err(NotTaken::reason)
        })?;
        self.heard(answer).await
    }

    /// Submits many things of this process from this thread, waiting for room; then waits for all, and answers in order.
    ///
    /// # Errors
    /// `ERR_STOPPING` if the ledger ends first.
    pub fn submit_all(&self, all: Vec<(Submitted, usize)>) -> Result<Vec<Answer>> {
        let put = |(what, bytes)| {
            let arrival = Arrival { own: self.tracer.begin(None), ..Arrival::now() };
            queued(what, Source::Local, arrival, |input| self.queue.put(input, bytes).map_err(NotTaken::reason))
        };
        let waiting: Vec<_> = all.into_iter().map(put).collect();
        waiting.into_iter().map(|answer| answer?.blocking_recv().map_err(stopping)).collect()
    }

    /// The same for things from `source`, not waiting for room: what finds the queue full is refused as `ERR_OVERLOADED`,
    /// each by itself. No thread waits for the answers: operators need threads, however many clients wait.
    ///
    /// # Errors
    /// `ERR_DISK_FULL` while the writer stands still for want of room, `ERR_STOPPING` if the ledger ends first.
    pub async fn offer_all(
        &self,
        all: Vec<(Submitted, usize)>,
        source: &Source,
        arrival: impl Fn() -> Arrival,
    ) -> Result<Vec<Answer>> {
        self.moves(all.iter().map(|(what, _)| what))?;
        let offer = |(what, bytes)| {
            let offer = |input| self.queue.offer(input, bytes).map_err(NotTaken::reason);
            queued(what, source.clone(), arrival(), offer)
        };
        let waiting: Vec<_> = all.into_iter().map(offer).collect();
        let mut answers = Vec::with_capacity(waiting.len());
        for answer in waiting {
            answers.push(match answer {
                Ok(answer) => self.heard(answer).await?,
                Err(full) if full.code == Code::Overloaded => Answer::Refused(Refusal::new(full.code, full.detail)),
                Err(closed) => return Err(closed),
            });
        }
        Ok(answers)
    }

    /// Tells what waits for the writer, who lies behind it, and what else changes by itself.
    pub fn tell(&self) {
        for (lane, waiting) in Lane::ALL.iter().zip(self.queue.waiting()) {
            metrics::queue(*lane, waiting);
        }
        for (follower, lag) in self.progress.lags() {
            metrics::lag(follower, lag.entries, lag.oldest);
        }
        self.vitals.tell(&self.clock);
        metrics::segments_prepared(self.spares.prepared());
    }

    /// The answer to what is in the queue; none is waited for while the writer waits itself.
    async fn heard(&self, mut answer: oneshot::Receiver<Answer>) -> Result<Answer> {
        loop {
            match timeout(LOOK_EVERY, &mut answer).await {
                Ok(heard) => return heard.map_err(stopping),
                Err(_) if self.space.is_out() => {
                    let why = "the writer waits for room; this may be decided then, and sending it again gives the same answer";
                    return Err(Failure::new(Code::DiskFull, why));
                }
                Err(_) => {}
            }
        }
    }

    /// Nobody is kept waiting by a writer that waits itself.
    fn moves<'a>(&self, all: impl Iterator<Item = &'a Submitted>) -> Result<()> {
        if !self.space.is_out() {
            return Ok(());
        }
        let refusal = self.space.refusal();
        all.filter(|what| is_intent(what)).for_each(|_| metrics::intent(Answered::Refused, refusal.code));
        Err(refusal.into())
    }
}

/// Puts it into the queue. What the queue takes is counted by the writer when it is answered, whether or not anybody still waits for that;
/// what the queue does not take, here.
fn queued(
    what: Submitted,
    source: Source,
    arrival: Arrival,
    put: impl FnOnce(Input) -> std::result::Result<(), NotTaken<()>>,
) -> Result<oneshot::Receiver<Answer>> {
    let (reply, answer) = oneshot::channel();
    let is_intent = is_intent(&what);
    let failure = match put(Input::Submit(Submission { what, raw: Vec::new(), source, arrival, reply: Some(reply) })) {
        Ok(()) => return Ok(answer),
        Err(NotTaken::Full(())) => {
            metrics::stage_error(metrics::Stage::Queue, Code::Overloaded);
            Failure::new(Code::Overloaded, "the writer's queue")
        }
        Err(NotTaken::Closed(())) => stopping(()),
    };
    if is_intent {
        metrics::intent(Answered::Refused, failure.code);
    }
    Err(failure)
}

fn is_intent(what: &Submitted) -> bool {
    matches!(what, Submitted::Intent(_) | Submitted::Unreadable(..))
}

fn stopping<T>(_: T) -> Failure {
    Failure::new(Code::Stopping, "the ledger ended first")
}

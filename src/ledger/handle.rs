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
        let intents = usize::from(matches!(what, Submitted::Intent(_) | Submitted::Unreadable(..)));
        let answered = self.hand_in(what, source, arrival, bytes).await;
        answered.inspect_err(|failure| turned_away(intents, failure.code))
    }

    async fn hand_in(&self, what: Submitted, source: Source, arrival: Arrival, bytes: usize) -> Result<Answer> {
        self.moves()?;
        let (reply, answer) = oneshot::channel();
        // What stops the ledger goes first; what approvers and reporters say ends what producers wait for.
        let act = if let Submitted::Act(act) = &what { Some(&act.value().statement) } else { None };
        let is_answer = act.map(|it| matches!(it, Statement::Approve { .. } | Statement::Report { .. }));
        let input = Input::Submit(Submission { what, raw: Vec::new(), source, arrival, reply: Some(reply) });
        let taken = match is_answer {
            Some(false) => self.queue.urge(input),
            Some(true) => self.queue.answer(input, bytes),
            None => self.queue.offer(input, bytes),
        };
        taken.map_err(|refused| match refused {
            NotTaken::Full(_) => {
                metrics::stage_error(metrics::Stage::Queue, Code::Overloaded);
                Failure::new(Code::Overloaded, "the writer's queue")
            }
            NotTaken::Closed(_) => Failure::new(Code::Stopping, "submitted too late"),
        })?;
        self.heard(answer).await
    }

    /// Submits many things of this process from this thread, waiting for room; then waits for all, and answers in order.
    ///
    /// # Errors
    /// `ERR_STOPPING` if the ledger ends first.
    pub fn submit_all(&self, all: Vec<(Submitted, usize)>) -> Result<Vec<Answer>> {
        let put = |input, bytes| self.queue.put(input, bytes).map_err(NotTaken::reason);
        let arrival = || Arrival { own: self.tracer.begin(None), ..Arrival::now() };
        let waiting = queue_each(all, &Source::Local, arrival, put)?;
        waiting
            .into_iter()
            .map(|answer| answer.map_or_else(overloaded, |it| it.blocking_recv().map_err(stopping)))
            .collect()
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
        let intents = all.len();
        let answered = self.offer_each(all, source, arrival).await;
        answered.inspect_err(|failure| turned_away(intents, failure.code))
    }

    async fn offer_each(
        &self,
        all: Vec<(Submitted, usize)>,
        source: &Source,
        arrival: impl Fn() -> Arrival,
    ) -> Result<Vec<Answer>> {
        self.moves()?;
        let offer = |input, bytes| self.queue.offer(input, bytes).map_err(NotTaken::reason);
        let mut answers = Vec::with_capacity(all.len());
        for answer in queue_each(all, source, arrival, offer)? {
            answers.push(match answer {
                Some(answer) => self.heard(answer).await?,
                None => {
                    turned_away(1, Code::Overloaded);
                    overloaded()?
                }
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
            metrics::lag(follower, lag);
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
    fn moves(&self) -> Result<()> {
        if self.space.is_out() { Err(self.space.refusal().into()) } else { Ok(()) }
    }
}

/// Puts each into the queue; nothing to wait for where it was full.
fn queue_each(
    all: Vec<(Submitted, usize)>,
    source: &Source,
    arrival: impl Fn() -> Arrival,
    queue: impl Fn(Input, usize) -> std::result::Result<(), NotTaken<()>>,
) -> Result<Vec<Option<oneshot::Receiver<Answer>>>> {
    all.into_iter()
        .map(|(what, bytes)| {
            let (reply, answer) = oneshot::channel();
            let (source, arrival) = (source.clone(), arrival());
            let input = Input::Submit(Submission { what, raw: Vec::new(), source, arrival, reply: Some(reply) });
            match queue(input, bytes) {
                Ok(()) => Ok(Some(answer)),
                Err(NotTaken::Full(_)) => {
                    metrics::stage_error(metrics::Stage::Queue, Code::Overloaded);
                    Ok(None)
                }
                Err(NotTaken::Closed(_)) => Err(stopping(())),
            }
        })
        .collect()
}

/// Intents that the writer never saw, so that it cannot count them.
fn turned_away(intents: usize, code: Code) {
    (0..intents).for_each(|_| metrics::intent(Answered::Refused, code));
}

fn stopping<T>(_: T) -> Failure {
    Failure::new(Code::Stopping, "the ledger ended first")
}

fn overloaded() -> Result<Answer> {
    Ok(Answer::Refused(Refusal::new(Code::Overloaded, "the writer's queue")))
}

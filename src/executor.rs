//! Carries out what passed, at most once.
//!
//! One thread holds the jobs. A job whose turn has come is *asked for* (the sequencer records `DispatchStarted`, or that it
//! expired), then *called* once that is durable, then *ended* by its receipt. What is under way is bounded for each kind of
//! connector, so a slow one holds up only its own kind. What is carried out outside is only asked for: from its dispatch on nothing
//! of it is here. An attempt that certainly did nothing may come again: it is asked for
//! anew, like the first.
//!
//! **Invariant:** no connector is called before its `DispatchStarted` is durable, and none twice for one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::warn;

use writ_kernel::execution::Ending;
use writ_kernel::policy::Policy;
use writ_kernel::shape::Shape;
use writ_kernel::state::Open;
use writ_log::Reader;
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, INLINE_OUTPUT_MAX, TraceParent};
use writ_schemas::ids::{Digest, Name, Seq};
use writ_schemas::intent::Intent;
use writ_schemas::policy::ConnectorKind;
use writ_schemas::receipt::Status;

use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::queue::Queue;
use crate::sequencer::{Carried, Effect, Input, JOB_BYTES_MAX, Job};
use crate::telemetry::metrics;
use crate::telemetry::tracer::Tracer;
use crate::threads;

pub mod content;
pub mod http;
mod observed;
pub mod output;
pub mod stage;

use content::ContentStore;
use observed::Observed;
use stage::{Stage, reached};

/// How many `echo` executions are under way at once: a batch and the next.
const ECHO_MAX: usize = 2048;

/// How long a process that is to finish waits for what is tried again.
const FINISH: Duration = Duration::from_secs(60);

/// What a connector answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did it, and gave this output.
    Done(Vec<u8>),
    /// It answered that it does not do it.
    Refused(String),
    /// It certainly did nothing, and may do it another time, but not before so many microseconds have passed.
    Unavailable(String, u64),
    /// Nobody knows.
    Unknown(String),
}

/// The executor's part of a ledger.
pub struct Executor {
    queue: Arc<Queue<Input>>,
    /// Where intents are that are not carried along.
    log: Reader,
    content: ContentStore,
    /// In force.
    policy: Option<Arc<Policy>>,
    /// Times here are counted from its start: no wall clock can hold up a job, or hurry it.
    since: Stopwatch,
    echo: Lane,
    http: Lane,
    /// Jobs for the outside, until they are dispatched: nobody is called, and nothing is under way here.
    external: Lane,
    /// Jobs that are asked for again at a time.
    later: BTreeMap<(Duration, Seq), Job>,
    /// How it is to end, and until when it waits for what is tried again.
    ending: Option<(Effect, Duration)>,
    /// Why a call could not read its intent.
    failed: Arc<OnceLock<Failure>>,
    tracer: Tracer,
}

/// The jobs of one kind of connector.
struct Lane {
    waiting: VecDeque<Job>,
    under_way: BTreeMap<Seq, Job>,
    under_way_max: usize,
}

impl Lane {
    fn new(under_way_max: usize) -> Lane {
        Lane { waiting: VecDeque::new(), under_way: BTreeMap::new(), under_way_max }
    }

    /// Whether whatever comes next waits for room.
    fn is_full(&self) -> bool {
        self.under_way.len() >= self.under_way_max
    }
}

impl Executor {
    /// An executor under the policy in force, for the log of this reader.
    #[must_use]
    pub fn new(queue: Arc<Queue<Input>>, log: Reader, content: ContentStore, policy: Option<Arc<Policy>>) -> Executor {
        let (echo, http, external) = (Lane::new(ECHO_MAX), Lane::new(1), Lane::new(ECHO_MAX));
        let (later, since) = (BTreeMap::new(), Stopwatch::start());
        let (failed, tracer) = (Arc::default(), Tracer::default());
        Executor { queue, log, content, policy, since, echo, http, external, later, ending: None, failed, tracer }
    }

    /// The same with so many calls over HTTP under way at once.
    #[must_use]
    pub fn calling(self, http_calls_max: usize) -> Executor {
        Executor { http: Lane::new(http_calls_max), ..self }
    }

    /// The same, and its calls are traced.
    #[must_use]
    pub fn traced(self, tracer: Tracer) -> Executor {
        Executor { tracer, ..self }
    }

    /// Works until it is told to end, and nothing is under way; or until the writer has ended.
    ///
    /// # Errors
    /// The log does not give an intent that it has.
    pub fn run(mut self, effects: &Receiver<Effect>) -> Result<()> {
        loop {
            match self.next(effects) {
                Ok(Effect::Ready(mut job)) => {
                    let lane = self.lane(&job.open.connector);
                    // What waits for room may wait long: it must not keep intake from the others, and is read again when its turn
                    // comes. What has its turn now is not read again.
                    if lane.is_full() {
                        job.carried = job.carried.filter(|carried| carried.weight.all() < JOB_BYTES_MAX / 2);
                    }
                    lane.waiting.push_back(*job);
                }
                Ok(Effect::Call(decision)) => self.call(decision)?,
                Ok(Effect::Later(decision, wait)) => {
                    let until = self.since.elapsed().saturating_add(wait);
                    let job = self.release(decision);
                    self.later.extend(job.map(|job| ((until, decision), Job { carried: None, ..job })));
                }
                Ok(Effect::Closed(decision)) => drop(self.release(decision)),
                Ok(Effect::Policy(policy)) => self.policy = Some(policy),
                Ok(end @ (Effect::Drain | Effect::Finish)) => {
                    self.ending = Some((end, self.since.elapsed().saturating_add(FINISH)));
                }
                Ok(Effect::Abandon) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(failure) = self.failed.get() {
                return Err(failure.clone());
            }
            self.wake();
            self.pump();
            metrics::executions(self.lanes().iter().map(|lane| lane.under_way.len()).sum());
            if self.is_done() {
                return Ok(());
            }
        }
    }

    /// What comes next, or that the first of those that wait for a time is due.
    fn next(&self, effects: &Receiver<Effect>) -> std::result::Result<Effect, RecvTimeoutError> {
        match self.later.first_key_value() {
            None => effects.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(((until, _), _)) => effects.recv_timeout(until.saturating_sub(self.since.elapsed())),
        }
    }

    /// Lets those whose time has come wait for their turn.
    fn wake(&mut self) {
        while let Some(first) = self.later.first_entry() {
            if first.key().0 > self.since.elapsed() {
                return;
            }
            let job = first.remove();
            self.lane(&job.open.connector).waiting.push_back(job);
        }
    }

    fn lanes(&self) -> [&Lane; 3] {
        [&self.echo, &self.http, &self.external]
    }

    fn lanes_mut(&mut self) -> [&mut Lane; 3] {
        [&mut self.echo, &mut self.http, &mut self.external]
    }

    fn release(&mut self, decision: Seq) -> Option<Job> {
        self.lanes_mut().into_iter().find_map(|lane| lane.under_way.remove(&decision))
    }

    fn is_done(&self) -> bool {
        let idle = self.lanes().iter().all(|lane| lane.under_way.is_empty());
        let empty = self.lanes().iter().all(|lane| lane.waiting.is_empty());
        // What comes again much later is left to the next opening.
        let soon = |end: &Duration| self.later.keys().any(|(until, _)| until <= end);
        match &self.ending {
            Some((Effect::Finish, end)) => idle && empty && !soon(end),
            Some(_) => idle,
            None => false,
        }
    }

    fn kind(&self, connector: &Name) -> Option<&ConnectorKind> {
        self.policy.as_ref().and_then(|policy| policy.connector(connector)).map(|connector| &connector.kind)
    }

    fn lane(&mut self, connector: &Name) -> &mut Lane {
        match self.kind(connector) {
            Some(ConnectorKind::Http { .. }) => &mut self.http,
            Some(ConnectorKind::External { .. }) => &mut self.external,
            Some(ConnectorKind::Echo) | None => &mut self.echo,
        }
    }

    /// Asks for as many dispatches as may be under way.
    fn pump(&mut self) {
        if matches!(self.ending, Some((Effect::Drain, _))) {
            return;
        }
        for lane in [&mut self.echo, &mut self.http, &mut self.external] {
            while !lane.is_full() {
                let Some(job) = lane.waiting.pop_front() else { break };
                reached(Stage::Passed);
                self.queue.report(Input::Dispatch(job.decision));
                lane.under_way.insert(job.decision, job);
            }
        }
    }

    /// The stages after dispatch. Each ends with a registered code, and every ending becomes a receipt.
    fn call(&mut self, decision: Seq) -> Result<()> {
        let Some(job) = self.lanes_mut().into_iter().find_map(|lane| lane.under_way.get_mut(&decision)) else {
            warn!(%decision, "a dispatch without its job; it becomes uncertain at the next opening");
            return Ok(());
        };
        threads::stand_still_at_the_end();
        reached(Stage::Dispatched);
        metrics::stage(metrics::Stage::Dispatch, job.since.elapsed());
        let (carried, open) = (job.carried.take(), job.open.clone());
        if matches!(self.kind(&open.connector), Some(ConnectorKind::External { .. })) {
            // Whoever carries it out reports what became of it, to the writer.
            drop(self.release(decision));
            return Ok(());
        }
        let intent = match carried {
            Some(Carried { intent, trace, .. }) => Held::Carried(intent, trace),
            None => Held::Logged(self.log.clone(), open.intent_seq),
        };
        let far = matches!(self.kind(&open.connector), Some(ConnectorKind::Http { .. }));
        let (policy, content, tracer) = (self.policy.clone(), self.content.clone(), self.tracer.clone());
        let attempt = Attempt { decision, intent, open, policy, content, tracer };
        if !far {
            self.queue.report(attempt.run()?);
            return Ok(());
        }
        let uncertain = Input::Ended(ending(decision, Status::Uncertain, Code::ConnectorUncertain), None);
        let (queue, failed) = (Arc::clone(&self.queue), Arc::clone(&self.failed));
        let spawned = threads::spawn("connector", move || {
            let mut report = Report { queue, ending: Some(uncertain) };
            report.ending = Some(attempt.run().unwrap_or_else(|failure| {
                let why = format!("its intent cannot be read: {failure}");
                let _ = failed.set(failure);
                Input::DidNothing(decision, why, 0)
            }));
        });
        if let Err(error) = spawned {
            warn!(%error, "no thread for a connector");
            self.queue.report(Input::DidNothing(decision, "no thread for it".to_owned(), 0));
        }
        Ok(())
    }
}

/// An intent, or where it is.
enum Held {
    Carried(Box<Signed<Intent>>, TraceParent),
    Logged(Reader, Seq),
}

impl Held {
    /// The intent, which is durable, and its span.
    fn read(self) -> Result<(Box<Signed<Intent>>, TraceParent)> {
        match self {
            Held::Carried(intent, trace) => Ok((intent, trace)),
            Held::Logged(log, seq) => match log.get(seq)?.map(|located| located.entry.event()) {
                Some(Ok(Event::IntentAdmitted(admitted))) => Ok((Box::new(admitted.intent), admitted.trace)),
                _ => Err(Failure::new(Code::LogDamaged, format!("entry {seq} is no intent"))),
            },
        }
    }
}

/// One call of a connector that is here or far: whoever waits for it runs it.
struct Attempt {
    decision: Seq,
    intent: Held,
    open: Open,
    policy: Option<Arc<Policy>>,
    content: ContentStore,
    tracer: Tracer,
}

impl Attempt {
    /// What came of it.
    ///
    /// # Errors
    /// The log does not give the intent. Nothing was called.
    fn run(self) -> Result<Input> {
        let Attempt { decision, intent, open, policy, content, tracer } = self;
        let failed = |code| Ok(Input::Ended(ending(decision, Status::Failed, code), None));
        let (intent, trace) = intent.read()?;
        let Some(effect) = intent.value().effect().ok().filter(|effect| Digest::of(effect) == open.effect) else {
            return failed(Code::EffectDigest);
        };
        let name = &open.connector;
        let found = policy.as_ref().and_then(|policy| policy.connector(name).zip(policy.shapes(name)));
        let Some((connector, shapes)) = found else { return failed(Code::ConnectorUnknown) };
        reached(Stage::Checked);
        let mut http = None;
        let observed = Observed::of(trace, &tracer, intent.value(), name);
        let _attached = observed.attached();
        let outcome = match &connector.kind {
            ConnectorKind::Echo => {
                Outcome::Done(writ_schemas::canonical::bytes(&intent.value().args).unwrap_or_default())
            }
            ConnectorKind::Http { url, timeout_us } => {
                let (url, timeout_us, trace) = (url.clone(), *timeout_us, observed.own());
                drop(intent); // a call may take long
                let call = http::Call { url, timeout_us, effect, key: open.idempotency_key, trace };
                let (outcome, status) = call.run();
                http = call.place().map(|place| (place, status));
                outcome
            }
            // Nobody is called: see `Executor::call`.
            ConnectorKind::External { .. } => return failed(Code::ConnectorUnknown),
        };
        let answered = observed.answered(&outcome, http);
        let concluded = conclude(decision, outcome, &shapes.output, &content);
        answered.judged(decision, &concluded);
        Ok(concluded)
    }
}

/// Reports the ending of a call when it is dropped: if its thread panics, that nobody knows.
struct Report {
    queue: Arc<Queue<Input>>,
    ending: Option<Input>,
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Some(ending) = self.ending.take() {
            self.queue.report(ending);
        }
    }
}

fn ending(decision: Seq, status: Status, code: Code) -> Ending {
    Ending { decision, status, code, output: None, because: None }
}

/// An answer to an ending: strict JSON, its canonical form, its pinned shape, its place in the content store.
fn conclude(decision: Seq, outcome: Outcome, shape: &Shape, content: &ContentStore) -> Input {
    reached(Stage::Answered);
    let told = |status, code, why| Input::Ended(Ending { because: Some(why), ..ending(decision, status, code) }, None);
    let bytes = match outcome {
        Outcome::Done(bytes) => bytes,
        Outcome::Refused(why) => return told(Status::Failed, Code::ConnectorRefused, why),
        Outcome::Unavailable(why, asked_us) => return Input::DidNothing(decision, why, asked_us),
        Outcome::Unknown(why) => return told(Status::Uncertain, Code::ConnectorUncertain, why),
    };
    let (value, canonical) = match output::canonical_output(&bytes) {
        Ok(both) => both,
        Err(refusal) => return told(Status::Uncertain, Code::OutputNotCanonical, refusal.to_string()),
    };
    let (status, code, because) = if shape.holds(&value) {
        (Status::Succeeded, Code::Ok, None)
    } else {
        (Status::Failed, Code::ConnectorContractDrift, Some(shape.difference(&value)))
    };
    reached(Stage::Judged);
    let digest = Digest::of(&canonical);
    let ending = Ending { decision, status, code, output: Some(digest), because };
    if canonical.len() <= INLINE_OUTPUT_MAX {
        return Input::Ended(ending, Some(canonical));
    }
    match content.put(&digest, &canonical) {
        Ok(()) => {
            reached(Stage::Kept);
            Input::Ended(ending, None)
        }
        Err(error) => {
            // The effect happened, but its output cannot be kept: somebody must look.
            warn!(%error, "content store");
            told(Status::Uncertain, Code::ContentIntegrity, error.to_string())
        }
    }
}

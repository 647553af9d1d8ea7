//! The one writer: batch, decide, apply, sign, append, COMMIT, effects.
//!
//! A plain thread owns log and state. It takes what waits in the queue, gives all of it one time, decides each input against
//! the state that the one before it left, signs on every core, and writes the batch once. Replies, dispatches and wake-ups
//! are handed out after that, and nowhere else.
//!
//! **Invariant:** nothing leaves before the COMMIT POINT in `Sequencer::commit`.
//!
//! **Invariant:** a failed append, sync or signature ends the writer with the state it ran ahead with. There is no rollback. Only a disk
//! without room is waited out, where the ledger keeps some of its own: the batch stays as it is, and nothing is told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Sender, SyncSender};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::info;

use writ_kernel::admission;
use writ_kernel::decide::{Identity, decide, decide_again, identify};
use writ_kernel::execution::{self, Dispatch, Ending, conclude};
use writ_kernel::outcome;
use writ_kernel::policy::Policy;
use writ_kernel::state::State;
use writ_log::{Log, Storage};
use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::Verdict;
use writ_schemas::dsse::Signed;
use writ_schemas::entry::Header;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, EventKind, IntentAdmitted, ReceiptIssued, Source};
use writ_schemas::ids::{KeyId, LedgerId, Seq};
use writ_schemas::intent::Intent;
use writ_schemas::receipt::Status;
use writ_schemas::strict::Refusal;

use crate::checkpoint::NoteSlot;
use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::executor::stage::{Stage, reached};
use crate::folder::{Folder, KeyRole};
use crate::progress::Progress;
use crate::queue::Queue;
use crate::signer::Signer;
use crate::space::Space;
use crate::telemetry::gates::Gates;
use crate::telemetry::metrics;
use crate::telemetry::tracer::Tracer;
use crate::threads;

mod batch;
mod message;
mod observed;
mod outside;
mod partitions;
mod quota;
mod refusals;
mod room;
mod timekeeper;
mod vitals;

pub use batch::chain_up;
use batch::{Batch, Reply, approximate_len, sign_and_encode};
use message::is_timeless;
pub use message::{Answer, Carried, Effect, Input, Job, Passed, Submission, Submitted};
use observed::{Observed, Stages};
pub use partitions::Partitions;
pub use quota::{REFUSALS_MAX, REFUSALS_PER_SECOND};
pub use timekeeper::{CLOCK_OFF_MAX, Timekeeper};
pub use vitals::{Telling, Vitals};

/// The most inputs of a batch. At 10 000 intents a second a batch of this size waits a tenth of a second.
pub const BATCH_INPUTS_MAX: usize = 1024;

/// A batch is closed when its payloads reach 4 MiB; with the largest single input it stays below the log's limit.
const BATCH_BYTES: usize = 4 << 20;

/// Inputs from outside wait while this many executions are open that are carried out here, or while intents on their way to the executor hold [`JOB_BYTES_MAX`], so that the
/// memory of jobs is bounded however slow a connector is. Where nothing is carried out, waiting would never end: intents are
/// refused instead.
pub const OPEN_MAX: usize = 8192;

/// So many executions may wait for a connector that is down: what is left of [`OPEN_MAX`] is for the others. Further intents for it
/// are refused, and records of Kafka wait as long as the policy says.
pub const STUCK_MAX: u64 = 1024;

/// 64 MiB: the largest batch many times over.
pub const JOB_BYTES_MAX: usize = 64 << 20;

/// At least this many entries lie between two `StateHashed` events; more when the state is heavy, so that hashing stays a
/// constant share of the work.
const STATE_HASH_EVERY: u64 = 8192;

/// A clean close hashes the state if at least this many entries came since the last time.
const STATE_HASH_AT_CLOSE: u64 = 32;

/// How long a dispatch waits before it is asked for again, while the disk is short of room: a second in microseconds.
const DISPATCH_PAUSE: u64 = 1_000_000;

/// How long the writer waits for inputs before it looks at what is due.
const PATIENCE: Duration = Duration::from_millis(200);

/// The writer's part of a ledger.
pub struct Sequencer<S> {
    /// The state after the last entry.
    pub state: State,
    /// The log.
    pub log: Log<S>,
    /// Where the keys are: the one that signs may be handed on.
    pub folder: Folder,
    /// Signs decisions and receipts.
    pub signer: Signer,
    /// Gives each batch its time.
    pub time: Timekeeper,
    /// What is to be done.
    pub queue: Arc<Queue<Input>>,
    /// To the executor.
    pub effects: Sender<Effect>,
    /// To the checkpointer.
    pub headers: SyncSender<Vec<Header>>,
    /// From the checkpointer.
    pub notes: Arc<NoteSlot>,
    /// To everybody who follows the log.
    pub progress: Arc<Progress>,
    /// Entries since the last `StateHashed`.
    pub since_hash: u64,
    /// What all jobs weigh.
    pub job_bytes: Arc<AtomicUsize>,
    /// Whether anybody takes the effects.
    pub passed: Passed,
    /// Whether there is room for new work.
    pub space: Arc<Space>,
    /// Where intake stands, and what of it waits.
    pub partitions: Partitions,
    /// Who traces.
    pub tracer: Tracer,
    /// For whoever looks from outside.
    pub vitals: Arc<Vitals>,
    /// What of the state is told.
    pub telling: Telling,
}

impl<S: Storage + Clone> Sequencer<S> {
    /// Writes until the queue is closed and empty.
    ///
    /// # Errors
    /// The log could not be written, the clock is behind, or an event does not follow the state: the process must end.
    pub fn run(mut self) -> Result<()> {
        // Taken from the queue, not decided yet: the batch before was full.
        let mut backlog = VecDeque::new();
        loop {
            if backlog.is_empty() {
                let taken = self.queue.take(BATCH_INPUTS_MAX, BATCH_BYTES, self.takes_from_outside(), PATIENCE);
                if taken.closed && taken.inputs.is_empty() {
                    return self.close();
                }
                backlog.extend(taken.inputs);
            }
            self.look_for_room();
            self.say_holds();
            self.tell_state();
            if backlog.is_empty() && !self.is_due() {
                continue;
            }
            if backlog.front().is_some_and(is_timeless) {
                self.timeless(&mut backlog)?;
            } else {
                self.batch(&mut backlog)?;
            }
        }
    }

    /// Whether there is something to do without an input.
    fn is_due(&self) -> bool {
        let now = self.time.peek(&self.state);
        self.partitions.passed_is_due() || self.state.due(now).is_some() || !self.ready(now).is_empty()
    }

    /// What operators say of the clock, in a batch of its own: the only one whose time is not checked before.
    fn timeless(&mut self, backlog: &mut VecDeque<Input>) -> Result<()> {
        let mut batch = Batch::at(self.time.peek(&self.state));
        if let Some(input) = backlog.pop_front() {
            self.decide(input, &mut batch)?;
        }
        let believed = !batch.events.is_empty();
        if believed {
            self.time.believe();
        }
        self.commit(batch)?;
        if believed {
            self.time.keep();
        }
        Ok(())
    }

    /// Records that wait are not taken: they are read again after the next start.
    fn close(mut self) -> Result<()> {
        // Nothing is recorded at a time that nobody believes. Who asked was told, and what was passed is read again.
        if self.time.check(&self.state).is_ok() {
            self.last_batch()?;
        }
        self.progress.close();
        Ok(())
    }

    fn last_batch(&mut self) -> Result<()> {
        let mut batch = self.begin()?;
        self.flush_passed(&mut batch)?;
        if self.since_hash + count(batch.events.len()) >= STATE_HASH_AT_CLOSE {
            let hash = self.state.hash();
            self.record(&mut batch, Event::StateHashed(hash))?;
        }
        self.commit(batch)?;
        self.time.keep();
        Ok(())
    }

    /// A batch at its time. What has come due is in it first: as many deadlines as it holds.
    fn begin(&mut self) -> Result<Batch> {
        let now = self.time.next(&self.state)?;
        let mut batch = Batch::at(now);
        while let Some(of) = self.state.due(now).filter(|_| !batch.is_full()) {
            self.record(&mut batch, Event::DeadlinePassed(of))?;
            self.judge_again(&mut batch)?;
            self.conclude_told(None, &mut batch)?;
        }
        Ok(batch)
    }

    fn batch(&mut self, backlog: &mut VecDeque<Input>) -> Result<()> {
        let mut batch = self.begin()?;
        // What waited comes before what came after it.
        self.go_on(self.ready(batch.now), &mut batch)?;
        while !batch.is_full() && batch.next_signer.is_none() {
            let Some(input) = backlog.pop_front_if(|input| !is_timeless(input)) else { break };
            self.decide(input, &mut batch)?;
        }
        if self.partitions.passed_is_due() {
            self.flush_passed(&mut batch)?;
        }
        if !batch.events.is_empty() {
            if let Some(note) = self.notes.take() {
                self.record(&mut batch, Event::CheckpointSigned(note))?;
            }
            let weight = u64::try_from(self.state.weight()).unwrap_or(u64::MAX);
            if self.since_hash + count(batch.events.len()) >= STATE_HASH_EVERY.max(weight) {
                let hash = self.state.hash();
                self.record(&mut batch, Event::StateHashed(hash))?;
            }
        }
        self.commit(batch)
    }

    /// One input against the state that the one before it left.
    fn decide(&mut self, input: Input, batch: &mut Batch) -> Result<()> {
        match input {
            // It is read again when its turn comes.
            Input::Submit(Submission { source: Source::Kafka { partition, .. }, .. })
                if self.partitions.is_held(&partition) =>
            {
                Ok(())
            }
            Input::Submit(submission) => self.submit(submission, batch),
            // Its receipt must be sure to have room.
            Input::Dispatch(decision) if self.space.is_short() => {
                batch.wait(decision, batch.now.plus(DISPATCH_PAUSE));
                Ok(())
            }
            Input::Dispatch(decision) => {
                reached(Stage::Asked);
                self.dispatch(decision, batch)
            }
            Input::Ended(ending, output) => {
                reached(Stage::Ended);
                self.conclude(ending, output, batch)
            }
            Input::DidNothing(decision, because, asked_us) => {
                match execution::retry(&self.state, decision, &because, asked_us, batch.now) {
                    Some(retried) => self.record(batch, Event::DispatchRetried(retried)),
                    None => {
                        let (status, code) = (Status::Failed, Code::ConnectorUnavailable);
                        let because = Some(because);
                        self.conclude(Ending { decision, status, code, output: None, because }, None, batch)
                    }
                }
            }
            Input::Gap(gap) => self.record(batch, Event::SourceGap(gap)),
            Input::Resumed(partition) => {
                self.partitions.resumed(&partition);
                Ok(())
            }
            Input::Barrier(reply) => {
                batch.replies.push((reply, Reply::Known(Answer::Already)));
                Ok(())
            }
        }
    }

    /// A `PASS` whose turn has come.
    fn dispatch(&mut self, decision: Seq, batch: &mut Batch) -> Result<()> {
        match execution::dispatch(&self.state, decision, batch.now) {
            Ok(Dispatch::Start) => self.record(batch, Event::DispatchStarted(decision)),
            Ok(Dispatch::Wait(until)) => {
                batch.wait(decision, until);
                Ok(())
            }
            Ok(Dispatch::Expire(code)) => {
                metrics::stage_error(metrics::Stage::Dispatch, code);
                let (status, output, because) = (Status::Expired, None, None);
                self.conclude(Ending { decision, status, code, output, because }, None, batch)
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    fn submit(&mut self, submission: Submission, batch: &mut Batch) -> Result<()> {
        if let Source::Kafka { partition, offset } = &submission.source
            && self.state.positions().get(partition).is_some_and(|next| offset < next)
        {
            return Ok(()); // read again after a restart or a hold; the log has its answer
        }
        if let Some(full) = self.waits_for(&submission, batch.now) {
            self.hold(submission, full);
            return Ok(());
        }
        let Submission { what, raw, source, arrival, reply } = submission;
        let from = Stopwatch::start();
        let before = batch.events.len();
        let is_intent = matches!(what, Submitted::Intent(_) | Submitted::Unreadable(..));
        let observed = Observed { arrival, source: source.clone(), from };
        let answer = match what {
            Submitted::Intent(intent) => match identify(&self.state, &intent, batch.now) {
                Identity::Stranger(refusal) => self.turn_away(source, refusal, &raw, batch)?,
                Identity::New => match self.no_room(intent.value(), &source) {
                    Some(refusal) => self.refuse(source, refusal, &raw, None, batch)?,
                    None => {
                        let signer =
                            intent.signer().ok_or_else(|| Failure::new(Code::SignatureInvalid, "not one signature"))?;
                        self.make_way(&source, batch)?;
                        return self.judge(intent, signer, observed, reply, batch);
                    }
                },
                Identity::Known(seq) => {
                    if let Source::Kafka { partition, offset } = source {
                        self.partitions.pass(partition, offset);
                    }
                    metrics::intent(metrics::Answered::Known, Code::Ok);
                    Answer::Known(seq)
                }
                Identity::Reused => {
                    let Intent { tenant, id, .. } = intent.value();
                    let refusal = Refusal::new(Code::IdReused, format!("{tenant}/{id} was used for other content"));
                    let claims = Some((tenant.clone(), id.clone()));
                    self.refuse(source, refusal, &raw, claims, batch)?
                }
            },
            Submitted::Unreadable(refusal, bytes) => self.turn_away(source, refusal, &bytes, batch)?,
            Submitted::Act(act) => {
                let agrees = self.time.agrees(&act);
                let admitted = agrees.and_then(|()| admission::act(&self.state, &act, batch.now));
                self.admit(admitted, batch)?
            }
            Submitted::Evidence(evidence) => {
                let admitted = match admission::evidence(&self.state, &evidence, batch.now) {
                    Ok(Some(_)) if self.space.is_short() => Err(self.space.refusal()),
                    admitted => admitted,
                };
                self.admit(admitted, batch)?
            }
        };
        if is_intent {
            let last = batch.events.last().filter(|_| batch.events.len() > before);
            let is_recorded = matches!(last, Some(Event::RecordRefused(_)));
            let seq = self.state.next().0.checked_sub(1).map(Seq).filter(|_| is_recorded);
            batch.intents.push(observed.undecided(&answer, seq));
        }
        if let Some(reply) = reply {
            batch.replies.push((reply, Reply::Known(answer)));
        }
        Ok(())
    }

    fn judge(
        &mut self,
        intent: Box<Signed<Intent>>,
        signer: KeyId,
        observed: Observed,
        reply: Option<oneshot::Sender<Answer>>,
        batch: &mut Batch,
    ) -> Result<()> {
        let intent_seq = self.state.next();
        let mut gates = Gates::new();
        let decision = decide(&self.state, self.ledger(), &intent, signer, intent_seq, batch.now, &mut gates);
        metrics::intent(decision.verdict, decision.code);
        let (source, trace) = (observed.source.clone(), observed.arrival.own.map(|own| own.to_string()));
        batch.intents.push(observed.decided(&decision, intent.value(), gates, &self.tracer));
        let decision = execution::document(decision)?;
        self.record(batch, Event::IntentAdmitted(IntentAdmitted { intent: *intent, source, trace }))?;
        if let Some(reply) = reply {
            batch.replies.push((reply, Reply::Decided(batch.events.len())));
        }
        self.record(batch, Event::DecisionMade(decision))
    }

    /// Decides an intent that was waiting, if the event just recorded asks for it.
    fn judge_again(&mut self, batch: &mut Batch) -> Result<()> {
        let (from, mut gates) = (Stopwatch::start(), Gates::new());
        let again = decide_again(&self.state, self.ledger(), batch.now, &mut gates);
        let Some((intent, decision)) = again else { return Ok(()) };
        metrics::intent(decision.verdict, decision.code);
        batch.intents.push(observed::decided_again(
            from,
            &decision,
            intent.value(),
            gates,
            &self.tracer,
            self.state.next(),
        ));
        let decision = execution::document(decision)?;
        self.record(batch, Event::DecisionMade(decision))
    }

    fn admit(&mut self, admitted: std::result::Result<Option<Event>, Refusal>, batch: &mut Batch) -> Result<Answer> {
        match admitted {
            Ok(Some(event)) => {
                let statement = event.act().map(|act| &act.value().statement);
                let output = statement.and_then(|it| outcome::reported(&self.state, it)).and_then(|(_, output)| output);
                if let Event::LedgerKeyRotated(act) = &event {
                    match self.next_signer(act) {
                        Ok(signer) => batch.next_signer = Some(signer),
                        Err(failure) => return Ok(Answer::Refused(Refusal::new(failure.code, failure.detail))),
                    }
                }
                let seq = self.state.next();
                self.record(batch, event)?;
                self.judge_again(batch)?;
                self.conclude_told(output, batch)?;
                Ok(Answer::Recorded(seq))
            }
            Ok(None) => Ok(Answer::Already),
            Err(refusal) => Ok(Answer::Refused(refusal)),
        }
    }

    /// Whoever signs once this act is recorded: an act after which nobody could sign is not recorded.
    fn next_signer(&self, act: &Signed<Act>) -> Result<Signer> {
        let Statement::RotateDecisionKey { key } = act.value().statement else {
            return Err(Failure::new(Code::Schema, "a rotation without a key"));
        };
        Signer::of(&self.folder, KeyRole::Decision, &[key])?.proven()
    }

    fn conclude(&mut self, ending: Ending, output: Option<Vec<u8>>, batch: &mut Batch) -> Result<()> {
        let receipt = conclude(&self.state, self.ledger(), &ending, output.as_deref(), batch.now)?;
        metrics::receipt(receipt.status, receipt.code);
        let receipt = execution::document(receipt)?;
        self.record(batch, Event::ReceiptIssued(ReceiptIssued { receipt, output }))
    }

    /// Puts an event in its place and folds it in at once, so that the next input of the batch sees it.
    fn record(&mut self, batch: &mut Batch, event: Event) -> Result<()> {
        self.state.apply(self.state.next(), batch.now, &event)?;
        if matches!(event, Event::PolicyActivated(_)) {
            batch.policies.extend(self.state.policy().map(Arc::clone));
            self.state.policy().into_iter().for_each(|policy| metrics::policy(policy));
        }
        if let Event::DispatchRetried(retried) = &event {
            batch.wait(retried.decision, retried.due);
        }
        batch.bytes += approximate_len(&event);
        batch.events.push(event);
        Ok(())
    }

    fn ledger(&self) -> LedgerId {
        self.log.chain().ledger
    }

    /// Signs and encodes the batch, writes it once, and only then hands out what follows from it.
    fn commit(&mut self, batch: Batch) -> Result<()> {
        let Batch { now, began, mut events, replies, intents, later, policies, next_signer, .. } = batch;
        let first = self.log.chain().next;
        let mut stages = Stages::of(began);
        if !events.is_empty() {
            let signed = Stopwatch::start();
            let failed = |stage| move |failure: &Failure| metrics::stage_error(stage, failure.code);
            let payloads = sign_and_encode(&mut events, &mut self.signer).inspect_err(failed(metrics::Stage::Sign))?;
            stages.signed(signed);
            let mut chain = *self.log.chain();
            let entries = chain_up(&mut chain, now, payloads)?;
            let has = |kind: EventKind| events.iter().any(|event| event.kind() == kind);
            let passes = |kind, stage| {
                if has(kind) {
                    reached(stage)
                }
            };
            passes(EventKind::DispatchStarted, Stage::DispatchDecided);
            passes(EventKind::ReceiptIssued, Stage::ReceiptSigned);
            threads::stand_still_at_the_end();
            let appended = Stopwatch::start();
            let (log, goes_on) = (&mut self.log, || !self.queue.is_closing());
            let append = || Ok(log.append(&entries)?);
            self.space.append(append, goes_on).inspect_err(failed(metrics::Stage::Append))?;
            stages.appended(appended, entries.len());
            self.vitals.follow(first, now, &events, self.time.last());
            let hashed = events.iter().rposition(|event| matches!(event, Event::StateHashed(_)));
            self.since_hash = match hashed {
                Some(at) => count(events.len() - 1 - at),
                None => self.since_hash + count(events.len()),
            };
            // ============================== COMMIT POINT ==============================
            // The batch is on the disk. From here on it may be told.
            passes(EventKind::DispatchStarted, Stage::DispatchDurable);
            passes(EventKind::ReceiptIssued, Stage::ReceiptDurable);
            let _ = self.headers.send(entries.iter().map(|entry| entry.header).collect());
        }
        stages.tell(first, &events, intents, &self.tracer);
        if let Some(signer) = next_signer {
            self.signer = signer;
        }
        self.progress.advance(self.log.chain().next);
        for (decision, wait) in later {
            let _ = self.effects.send(Effect::Later(decision, wait)); // the executor may have ended before
        }
        self.tell(first, events, replies, policies);
        Ok(())
    }

    /// Effects go out before replies: who has heard that all is decided may then ask the executor to finish all.
    fn tell(
        &self,
        first: Seq,
        events: Vec<Event>,
        replies: Vec<(oneshot::Sender<Answer>, Reply)>,
        mut policies: VecDeque<Arc<Policy>>,
    ) {
        let place = |at: usize| Seq(first.0 + count(at));
        let answers: Vec<_> = replies
            .into_iter()
            .filter_map(|(to, reply)| match (reply, &events) {
                (Reply::Known(answer), _) => Some((to, answer)),
                (Reply::Decided(at), events) => match events.get(at) {
                    Some(Event::DecisionMade(decision)) => {
                        Some((to, Answer::Decided(place(at), Arc::new(decision.clone()))))
                    }
                    _ => None,
                },
            })
            .collect();
        let mut intent = None;
        for (at, event) in events.into_iter().enumerate() {
            if let Some(effect) = self.effect(place(at), event, &mut intent, &mut policies)
                && self.effects.send(effect).is_err()
            {
                info!("the executor has ended; what passed is dispatched at the next opening");
            }
        }
        for (to, answer) in answers {
            let _ = to.send(answer); // whoever asked may have gone away
        }
    }

    /// What follows from one event. An intent waits in `intent` for its decision, which is the next event.
    fn effect(
        &self,
        seq: Seq,
        event: Event,
        intent: &mut Option<IntentAdmitted>,
        policies: &mut VecDeque<Arc<Policy>>,
    ) -> Option<Effect> {
        match event {
            Event::IntentAdmitted(admitted) => {
                *intent = Some(admitted);
                None
            }
            Event::DecisionMade(decision) => {
                // One that was decided again is not carried: the log has it.
                let carried = intent.take().map(|intent| Carried::of(intent, &self.job_bytes));
                let open = self.state.open().get(&seq).filter(|_| decision.value().verdict == Verdict::Pass)?.clone();
                Some(Effect::Ready(Box::new(Job { decision: seq, open, since: Stopwatch::start(), carried })))
            }
            Event::DispatchStarted(decision) => Some(Effect::Call(decision)),
            Event::ReceiptIssued(issued) => Some(Effect::Closed(issued.receipt.value().decision_seq)),
            Event::PolicyActivated(_) => policies.pop_front().map(Effect::Policy),
            _ => None,
        }
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

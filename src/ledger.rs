//! Opens a folder and starts its threads; ends them again.
//!
//! The order of opening is the contract of DESIGN: lock; read to the last durable mark; what lies beyond it is written and
//! synced again; recover; (fence the output producer, which is the caller's part between [`Opened`] and [`Opened::start`]);
//! then the open dispatches. Shutdown is a crash that was polite.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::warn;

use writ_kernel::execution::Ending;
use writ_kernel::state::State;
use writ_log::{Covered, DirStorage, Lock, Log, Reader, Spares, Storage};
use writ_schemas::checkpoint::Checkpoint;
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::entry::Entry;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::genesis::Genesis;
use writ_schemas::ids::{Seq, UnixMicros};
use writ_schemas::keys::SecretKey;
use writ_schemas::receipt::Status;

use crate::checkpoint::{self, Checkpointer, HEADERS_MAX, Head, LATEST, NoteSlot, Sealer};
use crate::clock::{Clock, Stopwatch};
use crate::derivation::{Derivation, Divergence};
use crate::error::{Failure, Result};
use crate::executor::Executor;
use crate::executor::content::ContentStore;
use crate::folder::{Folder, KeyRole};
use crate::holds::Holds;
use crate::progress::Progress;
use crate::queue::Queue;
use crate::sequencer::{
    Carried, Effect, Input, Job, Partitions, Passed, Sequencer, Telling, Timekeeper, Vitals, chain_up,
};
use crate::signer::Signer;
use crate::space::{LOOK_EVERY, Space};
use crate::telemetry::metrics;
use crate::telemetry::tracer::Tracer;
use crate::threads::{guarded, panicked, spawn};
use crate::verify::{DecisionKey, check_event};

mod acts;
mod founding;
mod handle;
mod storage;
mod waiting;

pub use handle::Handle;
use storage::Measured;
use waiting::Waiting;

pub use acts::{act, act_by, draft, rotation};
pub use founding::{Founding, Operators, create};

/// Appends one event that belongs to no sequencer: what makes the log, or what opening it did to it.
fn append(log: &mut Log<impl Storage + Clone>, now: UnixMicros, event: &Event) -> Result<Vec<Entry>> {
    let payload = event.to_payload().map_err(|e| Failure::new(Code::LogWrite, e))?;
    let mut chain = *log.chain();
    let entries = chain_up(&mut chain, now, vec![(event.kind(), payload)])?;
    log.append(&entries)?;
    Ok(entries)
}

/// A ledger that is locked and recovered, and does nothing yet.
pub struct Opened {
    folder: Folder,
    lock: Lock,
    log: Log<Measured>,
    state: State,
    head: Head,
    signed: u64,
    since_hash: u64,
    genesis: Genesis,
    clock: Clock,
    time: Timekeeper,
    queue: Arc<Queue<Input>>,
    waiting: Waiting,
    space: Arc<Space>,
    holds: Arc<Holds>,
    tracer: Tracer,
}

impl Opened {
    /// Locks, reads, recovers, and records what recovery cut.
    ///
    /// # Errors
    /// `ERR_LOG_LOCKED`, `ERR_LOG_DAMAGED`, `ERR_LOG_FORKED`, `ERR_LOG_MISSING`; `ERR_REPLAY_DIVERGED` and
    /// `ERR_CONTENT_INTEGRITY` for what no checkpoint covers; I/O failures.
    pub fn open(folder: &Folder, clock: Clock) -> Result<Opened> {
        folder.require()?;
        let lock = Lock::acquire(&folder.lock())?;
        // A kill at the end of making it left it empty. Otherwise it would say that the ledger is not whole.
        let _ = std::fs::remove_dir(folder.unfinished());
        let genesis = genesis(folder)?;
        let covered = checkpoint::latest(folder, &genesis.origin, &genesis.checkpoint_key)?;
        let covered = covered.ok_or_else(|| {
            Failure::new(Code::LogForked, format!("{} is missing", folder.checkpoints().join(LATEST).display()))
        })?;
        let (mut head, mut since_hash) = (Head::default(), 0);
        let mut waiting = Waiting::default();
        let content = ContentStore::at(folder.content());
        let mut derivation = Derivation::new(content.clone());
        let mut decision_key = DecisionKey::of(&genesis);
        let mut visit = |entry: &Entry| -> Result<()> {
            let event = entry.event()?;
            decision_key
                .follow(&event)
                .map_err(|why| Failure::new(why.code, format!("entry {}: {}", entry.header.seq, why.detail)))?;
            // The chain needs no key, and an old act has all its signatures. What no checkpoint covers yet is believed only
            // if it is signed and follows from what came before.
            if entry.header.seq.0 >= covered.size {
                check_event(&event, &genesis, &content)
                    .map_err(|why| Failure::new(why.code, format!("entry {}: {}", entry.header.seq, why.detail)))?;
                derivation.check(entry, &event).map_err(diverged)?;
                check_named(entry.header.seq, &event, &genesis, covered.size)?;
            } else {
                derivation.believe(entry, &event)?;
            }
            since_hash = if matches!(event, Event::StateHashed(_)) { 0 } else { since_hash + 1 };
            waiting.follow(entry.header, event);
            head.push(&entry.header);
            if head.tree.size() == covered.size && head.tree.root() != covered.root {
                return Err(Failure::new(Code::LogForked, format!("another root at size {}", covered.size)));
            }
            Ok(())
        };
        let writ_log::Opened { mut log, cut } = Log::open(
            Measured(DirStorage::writing(folder.log())),
            Some(genesis.ledger),
            Covered { size: covered.size, head: covered.head },
            folder.config()?.log.options(),
            &mut visit,
        )?;
        derivation.check_end().map_err(diverged)?;
        let time = Timekeeper::of(folder, clock.clone());
        // Once it is cut nothing shows it any more, so it is recorded before anything else can refuse.
        if let Some(cut) = cut {
            let state = derivation.state();
            let plausible = time.check(state).is_ok();
            let now = if plausible { time.peek(state) } else { state.last_at().plus(1) };
            let event = Event::TailCut(cut);
            for entry in append(&mut log, now, &event)? {
                derivation.believe(&entry, &event)?;
                head.push(&entry.header);
                since_hash += 1;
            }
        }
        Ok(Opened {
            folder: folder.clone(),
            lock,
            log,
            state: derivation.into_state(),
            head,
            signed: covered.size,
            since_hash,
            genesis,
            clock,
            time,
            queue: Arc::default(),
            waiting,
            space: Arc::default(),
            holds: Arc::default(),
            tracer: Tracer::default(),
        })
    }

    /// The same, and it keeps room on the disk: what it serves outlasts a full one.
    ///
    /// # Errors
    /// As [`Folder::config`].
    pub fn keeping_space(mut self) -> Result<Opened> {
        self.space = Arc::new(Space::kept(&self.folder, self.folder.config()?.log.segment_bytes));
        Ok(self)
    }

    /// The same, and what it does is traced.
    #[must_use]
    pub fn traced(self, tracer: Tracer) -> Opened {
        Opened { tracer, ..self }
    }

    /// Who traces.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Its room on the disk.
    #[must_use]
    pub fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The queue of the writer to be; what is put into it waits for the start.
    #[must_use]
    pub fn queue(&self) -> &Arc<Queue<Input>> {
        &self.queue
    }

    /// Which partitions the writer to be holds.
    #[must_use]
    pub fn holds(&self) -> &Arc<Holds> {
        &self.holds
    }

    /// Who the ledger is.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The state after the last entry.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A reader of its log, which knows its way in it: all readers of a process should come from this one.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.log.reader_over(DirStorage::reading(self.folder.log()))
    }

    /// Starts writer, checkpointer and executor, and hands the executor what was left open.
    ///
    /// `on_fatal` is called once if the ledger cannot go on: the process must then end, whatever else it does.
    ///
    /// # Errors
    /// A key file is missing, a signing command does not sign, an open intent cannot be read, or the machine has no threads left.
    pub fn start(self, on_fatal: impl Fn(&Failure) + Send + Sync + 'static) -> Result<Ledger> {
        self.start_with(Passed::CarriedOut, on_fatal)
    }

    /// The same, but where `passed` waits there is no executor: nothing is dispatched, whatever is open or passes.
    ///
    /// # Errors
    /// As [`Opened::start`].
    pub fn start_with(self, passed: Passed, on_fatal: impl Fn(&Failure) + Send + Sync + 'static) -> Result<Ledger> {
        let Opened { folder, lock, log, state, head, signed, since_hash, genesis, clock, time, queue, space, .. } =
            self;
        let (mut waiting, partitions, tracer) = (self.waiting, Partitions::of(self.holds), self.tracer);
        if passed == Passed::CarriedOut {
            time.check(&state)?;
        }
        let config = folder.config()?;
        let signer = Signer::of(&folder, KeyRole::Decision, state.decision_key().as_slice())?.proven()?;
        let checkpoint_signer = Signer::of(&folder, KeyRole::Checkpoint, &[genesis.checkpoint_key])?.proven()?;
        let progress = Arc::new(Progress::default());
        progress.advance(log.chain().next);
        let notes = Arc::new(NoteSlot::default());
        let (effects, effects_in) = mpsc::channel();
        let (headers, headers_in) = mpsc::sync_channel(HEADERS_MAX);
        let on_fatal = Arc::new(on_fatal);
        let job_bytes = Arc::default();

        waiting.tell(&state, &tracer);
        for (decision, open) in state.open() {
            if state.is_outside(*decision) {
                continue; // it goes on, whatever became of this process
            }
            if open.dispatched_at.is_some() {
                let ending = Ending {
                    decision: *decision,
                    status: Status::Uncertain,
                    code: Code::Interrupted,
                    output: None,
                    because: None,
                };
                queue.report(Input::Ended(ending, None));
            } else if passed == Passed::CarriedOut {
                let carried = Some(Carried::of(waiting.take(*decision)?, &job_bytes));
                let job = Job { decision: *decision, open: open.clone(), since: Stopwatch::start(), carried };
                let _ = effects.send(Effect::Ready(Box::new(job)));
            }
        }

        let reader = log.reader_over(DirStorage::reading(folder.log()));
        let vitals = Arc::new(Vitals::of(waiting.into_decided()));

        let content = ContentStore::at(folder.content()).drawing_on(Arc::clone(&space));
        let policy = state.policy().map(Arc::clone);
        policy.iter().for_each(|policy| metrics::policy(policy));
        let executor = Executor::new(Arc::clone(&queue), reader, content, policy);
        let executor = executor.calling(config.connector_calls_max).traced(tracer.clone());
        let sealer = Sealer {
            origin: genesis.origin.clone(),
            signer: checkpoint_signer,
            folder: folder.checkpoints(),
            signed,
            notes: Arc::clone(&notes),
            progress: Arc::clone(&progress),
            space: Arc::clone(&space),
        };
        let interval = Duration::from_millis(config.checkpoint_interval_ms);
        let checkpointer = Checkpointer::start(head, interval, sealer)?;
        let spares = log.spares();
        let preparing = prepare(spares.clone(), DirStorage::writing(folder.log()), Arc::clone(&space))?;
        let (writes, writer_ends) = mpsc::channel();
        let watch = watch(Arc::clone(&space), writer_ends)?;
        let sequencer = Sequencer {
            state,
            folder: folder.clone(),
            log,
            signer,
            time,
            queue: Arc::clone(&queue),
            effects: effects.clone(),
            headers,
            notes,
            progress: Arc::clone(&progress),
            since_hash,
            job_bytes,
            passed,
            space: Arc::clone(&space),
            partitions,
            tracer: tracer.clone(),
            vitals: Arc::clone(&vitals),
            telling: Telling::default(),
        };
        let last = LastWord { queue: Arc::clone(&queue), effects: effects.clone(), _writes: writes };
        let writer = guarded("sequencer", Arc::clone(&on_fatal), move || {
            let _last = last;
            sequencer.run()
        })?;
        let sealer = guarded("checkpointer", Arc::clone(&on_fatal), move || checkpointer.run(&headers_in))?;
        let carry_out = move || executor.run(&effects_in);
        let executor = match passed {
            Passed::CarriedOut => Some(guarded("executor", on_fatal, carry_out)?),
            Passed::Waits => None,
        };
        let others = [preparing].into_iter().chain(watch).collect();
        Ok(Ledger {
            folder,
            genesis,
            clock,
            queue,
            progress,
            effects,
            writer,
            sealer,
            others,
            executor,
            space,
            tracer,
            vitals,
            spares,
            _lock: lock,
        })
    }
}

/// Tells those who wait for the writer that it has ended, whether it closed the log, failed or panicked: what they wait for
/// lies in the queue, which they themselves keep alive.
struct LastWord {
    queue: Arc<Queue<Input>>,
    effects: Sender<Effect>,
    _writes: Sender<()>,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        self.queue.abandon();
        let _ = self.effects.send(Effect::Abandon); // the executor may have ended before
    }
}

/// A ledger at work.
pub struct Ledger {
    folder: Folder,
    genesis: Genesis,
    clock: Clock,
    queue: Arc<Queue<Input>>,
    progress: Arc<Progress>,
    effects: Sender<Effect>,
    writer: JoinHandle<Result<()>>,
    sealer: JoinHandle<Result<()>>,
    /// Those that cannot fail.
    others: Vec<JoinHandle<()>>,
    executor: Option<JoinHandle<Result<()>>>,
    space: Arc<Space>,
    tracer: Tracer,
    vitals: Arc<Vitals>,
    spares: Spares,
    _lock: Lock,
}

impl Ledger {
    /// What the edges use.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            folder: self.folder.clone(),
            genesis: self.genesis.clone(),
            clock: self.clock.clone(),
            queue: Arc::clone(&self.queue),
            progress: Arc::clone(&self.progress),
            space: Arc::clone(&self.space),
            tracer: self.tracer.clone(),
            vitals: Arc::clone(&self.vitals),
            spares: self.spares.clone(),
        }
    }

    /// Takes nothing more, ends everything that has passed, seals. Where nothing is carried out, as [`Ledger::stop`].
    ///
    /// # Errors
    /// What ended the writer or the checkpointer.
    pub fn finish(self) -> Result<()> {
        // The executor is told to finish only when it has heard of everything that waits to be decided.
        let (reply, decided) = oneshot::channel();
        if self.queue.put(Input::Barrier(reply), 0).is_ok() {
            let _ = decided.blocking_recv(); // a writer that has failed says so below
        }
        self.end(Effect::Finish)
    }

    /// Takes nothing more, waits for the calls under way, seals. What passed and was not dispatched waits for the next
    /// opening.
    ///
    /// # Errors
    /// What ended the writer or the checkpointer.
    pub fn stop(self) -> Result<()> {
        self.end(Effect::Drain)
    }

    fn end(self, how: Effect) -> Result<()> {
        self.queue.close_outside();
        let _ = self.effects.send(how);
        let died = |_| panicked("of the ledger");
        let executor = self.executor.map_or(Ok(Ok(())), JoinHandle::join);
        self.queue.close();
        // The lock is held until none of them is left, whatever became of the others.
        let (writer, sealer) = (self.writer.join(), self.sealer.join());
        let others: Vec<_> = self.others.into_iter().map(|other| other.join().map(Ok)).collect();
        [writer, sealer, executor].into_iter().chain(others).try_for_each(|ended| ended.map_err(died)?)
    }
}

/// Signs a document with a key file's key.
///
/// # Errors
/// JSON cannot say it.
pub fn sign<T: Document>(value: T, key: &SecretKey) -> Result<Signed<T>> {
    Ok(writ_kernel::execution::document(value)?.sign(key))
}

/// The genesis of a folder's log, its signatures checked.
///
/// # Errors
/// `ERR_LOG_DAMAGED` if entry 0 is not a genesis that its own keys signed.
pub fn genesis(folder: &Folder) -> Result<Genesis> {
    let entry = Reader::open(folder.log())?.get(Seq(0))?;
    match entry.map(|located| located.entry.event()) {
        Some(Ok(Event::LedgerOpened(signed))) if signed.verify() && signed.value().is_valid() => {
            Ok(signed.value().clone())
        }
        _ => Err(Failure::new(Code::LogDamaged, "entry 0 is not a signed genesis")),
    }
}

/// A checkpoint is named only after the file has it, so the file never covers less than what is named. What stands below the
/// end of the last checkpoint can only name smaller ones.
fn check_named(seq: Seq, event: &Event, genesis: &Genesis, covered: u64) -> Result<()> {
    let Event::CheckpointSigned(note) = event else { return Ok(()) };
    let named = Checkpoint::open(note.as_bytes(), &genesis.origin, &genesis.checkpoint_key)
        .map_err(|e| Failure::new(Code::LogDamaged, format!("entry {seq}: the checkpoint that it names: {e}")))?;
    if named.size > covered {
        let what = format!("entry {seq} names a checkpoint over {} entries, {LATEST} covers {covered}", named.size);
        return Err(Failure::new(Code::LogForked, what));
    }
    Ok(())
}

fn diverged(divergence: Divergence) -> Failure {
    Failure::new(Code::ReplayDiverged, divergence)
}

/// The thread that makes segments ahead. That it cannot is no failure of the ledger: the writer then makes its own.
fn prepare(spares: Spares, storage: DirStorage, space: Arc<Space>) -> Result<JoinHandle<()>> {
    spawn("segments", move || {
        while spares.wait() {
            if let Err(error) = spares.fill(&storage) {
                let failure = Failure::io(storage.dir(), &error);
                warn!("no segment is made ahead: {failure}");
                if failure.code == Code::DiskFull {
                    space.notice();
                }
            }
        }
        spares.clear(&storage);
    })
}

/// The thread that looks at the disk until the writer ends, where room is kept.
fn watch(space: Arc<Space>, writer_ends: Receiver<()>) -> Result<Option<JoinHandle<()>>> {
    if !space.is_kept() {
        return Ok(None);
    }
    let look = move || {
        while writer_ends.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            space.look();
        }
    };
    spawn("space", look).map(Some)
}

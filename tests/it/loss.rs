//! What a crash can take from the whole writer: at every write and every sync the process dies or the disk fails, then the
//! power goes, and of what was not synced every subset is lost.
//!
//! Whatever was told (an answer, something to dispatch, a header to sign) is in the log that opens afterwards; that log is
//! whole batches of what was written, in order, and nothing else; and the same intents submitted again are each decided once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use tokio::sync::oneshot;

use writ::checkpoint::NoteSlot;
use writ::clock::Clock;
use writ::error::Failure;
use writ::progress::Progress;
use writ::queue::Queue;
use writ::sequencer::{
    Answer, Effect, Input, Partitions, Passed, Sequencer, Submission, Submitted, Telling, Timekeeper,
};
use writ::signer::Signer;
use writ::telemetry::facts::Arrival;
use writ::telemetry::tracer::Tracer;
use writ_kernel::execution::Ending;
use writ_kernel::state::State;
use writ_log::storage::Fault;
use writ_log::{Covered, Log, LogError, MemStorage, Options, Storage, encoded_len, frame};
use writ_schemas::act::{Act, Statement};
use writ_schemas::entry::{Chain, Entry, Header};
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, Source};
use writ_schemas::evidence::Evidence;
use writ_schemas::genesis::{Genesis, SigningMode};
use writ_schemas::ids::{Digest, LedgerId, Name, Seq};
use writ_schemas::keys::SecretKey;
use writ_schemas::receipt::Status;

use crate::ledgers::{HOUR, NOW, Who, ask, bundle, name, sign};

const LEDGER: LedgerId = LedgerId([0x10; 16]);

/// Small, so that the workload fills several.
const OPTIONS: Options = Options { segment_bytes: 8192, segments_prepared: 0 };

/// The most sectors and names in flight: every subset of them is lost.
const UNSYNCED_MAX: usize = 13;

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

fn genesis() -> Genesis {
    Genesis {
        ledger: LEDGER,
        origin: "test.example/loss".to_owned(),
        operators: vec![key(11).id()],
        quorum: 1,
        decision_key: key(12).id(),
        checkpoint_key: key(13).id(),
        signing_mode: SigningMode::Each,
        created_at: NOW,
    }
}

/// What is submitted, batch by batch; each batch adds at least one entry. Executions are dispatched and end in between.
fn workload() -> VecDeque<Vec<Submitted>> {
    let act = |nonce: &str, statement| {
        let act = Act { ledger: LEDGER, nonce: name(nonce), expires_at: NOW.plus(HOUR), statement };
        Submitted::Act(Box::new(sign(act, &key(11))))
    };
    let intent = |ask: crate::ledgers::Ask| Submitted::Intent(Box::new(ask.intent(&[])));
    let ticket = Evidence {
        ledger: LEDGER,
        tenant: name("acme"),
        kind: name("ticket"),
        artifact: None,
        effect: None,
        issued_at: NOW,
        expires_at: NOW.plus(HOUR),
    };
    let one = ask("one", Who::Agent, "note", 1500).within("s");
    [
        vec![act("1", Who::Agent.trust()), act("2", Who::Approver.trust())],
        vec![act("3", Statement::ActivatePolicy { bundle: bundle(9) })],
        vec![intent(one), intent(ask("two", Who::Agent, "refund", 10))],
        vec![intent(ask("three", Who::Agent, "note", 1500).within("s")), intent(one)],
        vec![intent(ask("four", Who::Agent, "drift", 1500))],
        vec![Submitted::Evidence(Box::new(sign(ticket, &Who::Approver.key())))],
        // The id of the first again, with other content: refused, and no entry.
        vec![
            intent(ask("one", Who::Agent, "note", 11)),
            act("4", Statement::Freeze { principal: None, reason: "a drill".to_owned(), tenant: None }),
        ],
        vec![act("5", Statement::Thaw { principal: None, tenant: None })],
        vec![intent(ask("five", Who::Agent, "unknown", 2300))],
    ]
    .into()
}

/// Something that has left the writer.
enum Told {
    Answer(Answer),
    Effect(Effect),
    Headers(Vec<Header>),
}

impl Told {
    /// The seq of the entry that it follows from, if it follows from one.
    fn follows_from(&self, events: &[Event]) -> Option<Seq> {
        let find = |what: &dyn Fn(&Event) -> bool| {
            let at = events.iter().position(what).expect("an entry from which it follows");
            Some(Seq(u64::try_from(at).expect("small")))
        };
        match self {
            Told::Answer(Answer::Decided(seq, told)) => {
                let found = events.get(usize::try_from(seq.0).expect("small"));
                assert_eq!(found, Some(&Event::DecisionMade((**told).clone())), "another decision was told");
                Some(*seq)
            }
            Told::Answer(Answer::Known(seq) | Answer::Recorded(seq)) => Some(*seq),
            Told::Answer(Answer::Already | Answer::Refused(_)) => None,
            Told::Effect(Effect::Ready(job)) => Some(job.decision),
            Told::Effect(Effect::Call(decision)) => find(&|event| *event == Event::DispatchStarted(*decision)),
            Told::Effect(Effect::Later(decision, _)) => {
                find(&|event| matches!(event, Event::DispatchRetried(it) if it.decision == *decision))
            }
            Told::Effect(Effect::Closed(decision)) => {
                find(&|event| matches!(event, Event::ReceiptIssued(it) if it.receipt.value().decision_seq == *decision))
            }
            Told::Effect(Effect::Policy(_)) => find(&|event| matches!(event, Event::PolicyActivated(_))),
            Told::Effect(Effect::Drain | Effect::Finish | Effect::Abandon) => panic!("the writer ends nothing"),
            Told::Headers(headers) => headers.iter().map(|header| header.seq).max(),
        }
    }
}

/// Everything around one writer: who submits, who executes, and who writes down what each was told. It acts only while the
/// writer writes, so that one workload makes the same batches in every run.
struct World {
    workload: VecDeque<Vec<Submitted>>,
    queue: Arc<Queue<Input>>,
    effects: Receiver<Effect>,
    headers: Receiver<Vec<Header>>,
    waiting: Vec<oneshot::Receiver<Answer>>,
    /// What was told, and how many batches were durable when it was heard.
    told: Vec<(usize, Told)>,
    /// Every batch that was handed to the disk.
    written: Vec<Vec<Entry>>,
    /// How many of them the disk said it has.
    durable: usize,
}

impl World {
    fn submit(&mut self, what: Submitted) {
        let (reply, answer) = oneshot::channel();
        self.waiting.push(answer);
        let submission =
            Submission { what, raw: Vec::new(), source: Source::Local, arrival: Arrival::now(), reply: Some(reply) };
        assert!(self.queue.offer(Input::Submit(submission), 1).is_ok(), "the queue is open and has room");
    }

    /// Writes down what was told, and does what an executor does.
    fn hear(&mut self) {
        self.waiting.retain_mut(|answer| match answer.try_recv() {
            Ok(answer) => {
                self.told.push((self.durable, Told::Answer(answer)));
                false
            }
            Err(oneshot::error::TryRecvError::Empty) => true,
            Err(oneshot::error::TryRecvError::Closed) => false,
        });
        self.told.extend(self.headers.try_iter().map(|headers| (self.durable, Told::Headers(headers))));
        for effect in self.effects.try_iter() {
            match &effect {
                Effect::Ready(job) => self.queue.report(Input::Dispatch(job.decision)),
                Effect::Call(decision) => self.queue.report(ended(*decision, Status::Succeeded)),
                Effect::Closed(_)
                | Effect::Later(..)
                | Effect::Policy(_)
                | Effect::Drain
                | Effect::Finish
                | Effect::Abandon => {}
            }
            self.told.push((self.durable, Told::Effect(effect)));
        }
    }

    fn next(&mut self, batch: Vec<Entry>) {
        self.written.push(batch);
        self.hear();
        match self.workload.pop_front() {
            Some(group) => group.into_iter().for_each(|what| self.submit(what)),
            None => self.queue.close(),
        }
    }
}

fn ended(decision: Seq, status: Status) -> Input {
    let code = if status == Status::Succeeded { Code::Ok } else { Code::Interrupted };
    let output = (status == Status::Succeeded).then(|| b"{}".to_vec());
    let ending = Ending { decision, status, code, output: output.as_deref().map(Digest::of), because: None };
    Input::Ended(ending, output)
}

/// A disk that lets the world go on whenever a batch is written to it.
#[derive(Clone)]
struct Disk {
    memory: MemStorage,
    world: Rc<RefCell<World>>,
}

impl Disk {
    /// A writer that does not end when the disk fails ends for want of work, and is found out.
    fn heard(&self, result: io::Result<()>) -> io::Result<()> {
        if result.is_err() {
            self.world.borrow().queue.close();
        }
        result
    }
}

impl Storage for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.memory.list()
    }
    fn size(&self, name: &str) -> io::Result<u64> {
        self.memory.size(name)
    }
    fn prepare(&self, unfinished: &str, size: u64) -> io::Result<()> {
        self.heard(self.memory.prepare(unfinished, size))
    }
    fn adopt(&self, unfinished: &str, name: &str, head: &[u8]) -> io::Result<()> {
        let batch = batch_of(head.get(writ_log::segment::DATA_START as usize..).unwrap_or_default());
        let holds = !batch.is_empty();
        if holds {
            self.world.borrow_mut().next(batch);
        }
        self.heard(self.memory.adopt(unfinished, name, head))?;
        self.world.borrow_mut().durable += usize::from(holds);
        Ok(())
    }
    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.memory.read_at(name, offset, into)
    }
    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.world.borrow_mut().next(batch_of(bytes));
        self.heard(self.memory.write_at(name, offset, bytes))
    }
    fn sync(&self, name: &str) -> io::Result<()> {
        self.heard(self.memory.sync(name))?;
        self.world.borrow_mut().durable += 1;
        Ok(())
    }
    fn sync_names(&self) -> io::Result<()> {
        self.memory.sync_names()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.memory.remove(name)
    }
}

/// The entries of a batch as it is written: frame after frame.
fn batch_of(mut bytes: &[u8]) -> Vec<Entry> {
    let mut batch = Vec::new();
    while !bytes.is_empty() {
        let entry = frame::decode(bytes).expect("a frame").entry;
        bytes = &bytes[encoded_len(&entry)..];
        batch.push(entry);
    }
    batch
}

/// What became of a workload.
struct Ran {
    memory: MemStorage,
    result: Result<(), Failure>,
    /// Whether the log was there before the fault.
    created: bool,
    world: World,
}

/// The writer on `log`, with everything around it; `prepare` is called before it runs.
fn write<S: Storage + Clone>(
    workload: VecDeque<Vec<Submitted>>,
    open: impl FnOnce(&Rc<RefCell<World>>) -> Result<(State, Log<S>), Failure>,
) -> (Result<(), Failure>, World) {
    let queue = Arc::new(Queue::default());
    let (effects, effects_in) = mpsc::channel();
    let (headers, headers_in) = mpsc::sync_channel(1024);
    let world = Rc::new(RefCell::new(World {
        workload,
        queue: Arc::clone(&queue),
        effects: effects_in,
        headers: headers_in,
        waiting: Vec::new(),
        told: Vec::new(),
        written: Vec::new(),
        durable: 0,
    }));
    let result = open(&world).and_then(|(state, log)| {
        let sequencer = Sequencer {
            folder: writ::folder::Folder::at("nowhere"),
            state,
            log,
            signer: Signer::Held(Box::new(key(12))),
            time: Timekeeper::of(&writ::folder::Folder::at("nowhere"), Clock::manual(NOW)),
            queue,
            effects,
            headers,
            notes: Arc::new(NoteSlot::default()),
            progress: Arc::new(Progress::default()),
            // Enough for a state hash at the close.
            since_hash: 32,
            job_bytes: Arc::default(),
            passed: Passed::CarriedOut,
            space: Arc::default(),
            partitions: Partitions::default(),
            tracer: Tracer::default(),
            vitals: Arc::default(),
            telling: Telling::default(),
        };
        sequencer.run()
    });
    let mut world = Rc::into_inner(world).expect("the writer is gone").into_inner();
    world.hear();
    (result, world)
}

/// A new ledger, and the workload on it, until a fault ends it.
fn run(fault: Option<(u64, Fault)>) -> Ran {
    let memory = MemStorage::new();
    if let Some((at, fault)) = fault {
        memory.inject(at, fault);
    }
    let mut created = false;
    let (result, world) = write(workload(), |world| {
        let disk = Disk { memory: memory.clone(), world: Rc::clone(world) };
        let mut log = Log::create(disk, LEDGER, OPTIONS)?;
        created = true;
        let event = Event::LedgerOpened(sign(genesis(), &key(12)).sign(&key(11)));
        let payload = event.to_payload().expect("encodes");
        let entry = Chain::empty(LEDGER).append(event.kind(), NOW, [1; 16], payload);
        log.append(std::slice::from_ref(&entry))?;
        let mut state = State::default();
        state.apply(entry.header.seq, NOW, &event)?;
        Ok((state, log))
    });
    Ran { memory, result, created, world }
}

/// What a disk holds, by the log's own opening.
fn reopen(memory: &MemStorage) -> Result<(Log<MemStorage>, Vec<Entry>), LogError> {
    let mut entries = Vec::new();
    let mut visit = |entry: &Entry| -> Result<(), LogError> {
        entries.push(entry.clone());
        Ok(())
    };
    let opened = Log::open(memory.clone(), Some(LEDGER), Covered::NONE, OPTIONS, &mut visit)?;
    Ok((opened.log, entries))
}

fn events(entries: &[Entry]) -> Vec<Event> {
    entries.iter().map(|entry| entry.event().expect("an event")).collect()
}

/// Nothing was told but what follows from batches that the disk said it has.
fn only_durable_was_told(ran: &Ran, story: &str) {
    let world = &ran.world;
    let (events, durable) = (events(&world.written.concat()), world.written[..world.durable].concat().len());
    for (_, told) in &world.told {
        if let Some(seq) = told.follows_from(&events) {
            assert!(
                seq.0 < u64::try_from(durable).expect("small"),
                "{story}: entry {seq} was told, {durable} are durable"
            );
        }
    }
}

/// Holds one disk after the power cut against what was told before it; how many whole batches it has.
fn check(ran: &Ran, image: &MemStorage, story: &str) -> Option<usize> {
    let world = &ran.world;
    let (_, entries) = match reopen(image) {
        Ok(opened) => opened,
        Err(LogError::Missing) if !ran.created => return None,
        Err(error) => panic!("{story}: does not open: {error}"),
    };
    let whole = (0..=world.written.len()).find(|count| world.written[..*count].iter().flatten().eq(&entries));
    let whole = whole.unwrap_or_else(|| panic!("{story}: {} entries are not the first whole batches", entries.len()));
    assert!(whole >= world.durable, "{story}: {whole} batches, {} were durable and may have been told", world.durable);
    Some(whole)
}

/// The writer goes on from this disk: the whole workload submitted again, with an opening before each group of it, gives each
/// intent one decision, and those that were told before are told again.
fn goes_on(ran: &Ran, image: &MemStorage, story: &str) {
    let mut known = BTreeSet::new();
    for mut group in workload() {
        // Frozen, intents that are new now would fail.
        let freezes = |what: &Submitted| matches!(what, Submitted::Act(act) if matches!(act.value().statement, Statement::Freeze { .. }));
        group.retain(|what| !freezes(what));
        let (result, world) = write([group].into(), |world| resume(image, &mut world.borrow_mut()));
        assert_eq!(result, Ok(()), "{story}");
        known.extend(world.told.iter().filter_map(|(_, told)| match told {
            Told::Answer(Answer::Known(seq)) => Some(*seq),
            _ => None,
        }));
    }
    let events = events(&reopen(image).expect("opens").1);
    let mut decided: BTreeMap<Name, Vec<Seq>> = BTreeMap::new();
    for (seq, event) in (0..).map(Seq).zip(&events) {
        if let Event::DecisionMade(decision) = event {
            decided.entry(decision.value().id.clone()).or_default().push(seq);
        }
    }
    // A stranger's intent claims no id, so it is decided whenever it comes; nothing it could do happens twice.
    decided.remove(&name("five"));
    assert!(decided.values().all(|seqs| seqs.len() == 1) && decided.len() == 4, "{story}: {decided:?}");
    for (_, told) in &ran.world.told {
        if let Told::Answer(Answer::Decided(seq, decision)) = told {
            let stranger = decision.value().code == Code::KeyUnknown;
            assert!(known.contains(seq) || stranger, "{story}: decision {seq} was told and is not known any more");
        }
    }
}

/// Opens as a ledger is opened; then the one group is submitted, and nothing is executed.
fn resume(image: &MemStorage, world: &mut World) -> Result<(State, Log<MemStorage>), Failure> {
    let (log, entries) = reopen(image)?;
    let mut state = State::default();
    for (entry, event) in entries.iter().zip(events(&entries)) {
        state.apply(entry.header.seq, entry.header.recorded_at, &event)?;
    }
    for (decision, open) in state.open() {
        if open.dispatched_at.is_some() {
            world.queue.report(ended(*decision, Status::Uncertain));
        }
    }
    world.workload.pop_front().into_iter().flatten().for_each(|what| world.submit(what));
    world.queue.close();
    Ok((state, log))
}

/// Calls `each` with every disk that a power cut can leave; how many there are.
fn every_loss(memory: &MemStorage, mut each: impl FnMut(MemStorage)) -> usize {
    let unsynced = memory.unsynced();
    assert!(unsynced <= UNSYNCED_MAX, "{unsynced} sectors in flight: make the workload smaller");
    for kept in 0..1_usize << unsynced {
        let image = memory.image();
        image.power_cut(|number| kept & (1 << number) != 0);
        each(image);
    }
    1 << unsynced
}

#[test]
fn the_workload_does_something_of_everything() {
    let ran = run(None);
    assert_eq!(ran.result, Ok(()));
    let events = events(&reopen(&ran.memory).expect("opens").1);
    let count = |what: fn(&Event) -> bool| events.iter().filter(|event| what(event)).count();
    assert_eq!(count(|it| matches!(it, Event::DecisionMade(_))), 5);
    assert_eq!(count(crate::ledgers::passes), 3);
    assert_eq!(count(|it| matches!(it, Event::DispatchStarted(_))), 3);
    assert_eq!(count(|it| matches!(it, Event::ReceiptIssued(_))), 3);
    assert_eq!(count(|it| matches!(it, Event::StateHashed(_))), 1);
    let told = |what: fn(&Told) -> bool| ran.world.told.iter().filter(|(_, told)| what(told)).count();
    assert_eq!(told(|it| matches!(it, Told::Answer(_))), 13, "every submission is answered");
    assert_eq!(told(|it| matches!(it, Told::Effect(Effect::Call(_)))), 3);
    assert_eq!(told(|it| matches!(it, Told::Effect(Effect::Closed(_)))), 3);
    assert!(ran.memory.list().expect("lists").len() > 2, "several segments");
    assert_eq!(ran.world.durable, ran.world.written.len());
    only_durable_was_told(&ran, "no fault");
}

#[test]
fn no_power_cut_takes_what_was_told_and_none_invents() {
    let operations = run(None).memory.operations();
    let (mut states, mut resumed, mut largest) = (0, 0, 0);
    for at in 0..operations {
        for fault in [Fault::Die, Fault::Error] {
            let ran = run(Some((at, fault)));
            let story = format!("{fault:?} at operation {at} of {operations}");
            assert!(ran.result.is_err(), "{story}: the writer goes on");
            only_durable_was_told(&ran, &story);
            largest = largest.max(ran.memory.unsynced());
            let mut seen = BTreeSet::new();
            states += every_loss(&ran.memory, |image| {
                let whole = check(&ran, &image, &story);
                if let Some(whole) = whole.filter(|whole| *whole > 0)
                    && seen.insert(whole)
                {
                    goes_on(&ran, &image, &story);
                    resumed += 1;
                }
            });
        }
    }
    // The test tests something: whole batches were in flight.
    assert!(largest >= 10 && states > 4000 && resumed > 40, "{states} states, {resumed} resumed, {largest} in flight");
}

#[test]
fn a_disk_that_fails_ends_the_writer_and_nothing_of_the_batch_is_told() {
    let whole = run(None);
    let told_by = |durable: usize| whole.world.told.iter().filter(|(then, _)| *then <= durable).count();
    let mut failed = BTreeSet::new();
    for at in 0..whole.memory.operations() {
        let ran = run(Some((at, Fault::Error)));
        let failure = ran.result.as_ref().expect_err("the writer goes on");
        assert_eq!(failure.code, Code::LogWrite, "operation {at}: {failure}");
        only_durable_was_told(&ran, &format!("operation {at}"));
        // What was told is what an undisturbed run tells by the batches that are durable: no more, and no less.
        assert_eq!(ran.world.told.len(), told_by(ran.world.durable), "operation {at}");
        failed.insert(ran.world.durable);
    }
    assert_eq!(failed.len(), whole.world.written.len(), "each batch failed once");
}

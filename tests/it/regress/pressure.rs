//! More than a slow connector can carry out: operators are heard all the same, and the ledger can be stopped.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use writ::clock::Clock;
use writ::ledger::{self, Ledger};
use writ::queue::Queue;
use writ::sequencer::{Answer, BATCH_INPUTS_MAX, Input, OPEN_MAX, Submission, Submitted};
use writ::telemetry::facts::Arrival;
use writ_schemas::act::Statement;
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, EventKind, Source};
use writ_schemas::ids::{Digest, Seq};
use writ_schemas::intent::Intent;

use crate::service::Service;

use super::{TIMEOUT_MAX_US, call, ends, founded, open, silent};
use crate::ledgers::Kept;
use crate::scene::Served;

/// So many wait, beyond what may be open at once and the batch that comes last.
const HELD_BACK: usize = 512;

/// All of them.
const LOAD: usize = OPEN_MAX + BATCH_INPUTS_MAX + HELD_BACK;

/// A second, in microseconds.
const SECOND_US: u64 = 1_000_000;

/// A ledger whose connector does not answer, with so much to do that the rest waits in the queue.
struct Pressed {
    kept: Kept,
    ledger: Ledger,
    /// The answers that were heard.
    heard: Vec<(Seq, Code, Digest)>,
    /// Those of the intents that wait.
    waiting: Vec<oneshot::Receiver<Answer>>,
}

/// Puts an intent into the queue, and does not wait for its answer.
fn put(queue: &Queue<Input>, intent: Signed<Intent>) -> oneshot::Receiver<Answer> {
    let (reply, answer) = oneshot::channel();
    let what = Submitted::Intent(Box::new(intent));
    let input = Input::Submit(Submission {
        what,
        raw: Vec::new(),
        source: Source::Local,
        arrival: Arrival::now(),
        reply: Some(reply),
    });
    queue.put(input, 1).expect("it takes it");
    answer
}

fn decided(answer: Answer) -> (Seq, Code, Digest) {
    let Answer::Decided(seq, decision) = answer else { panic!("{answer:?}") };
    (seq, decision.value().code, decision.digest())
}

impl Pressed {
    fn by(far: &Service, timeout_us: u64) -> Pressed {
        let kept = founded(far, 2, timeout_us);
        let ledger = open(&kept);
        let queue = ledger.handle().queue;
        let mut answers: Vec<_> = (0..LOAD).map(|at| put(&queue, call(&format!("call-{at}")))).collect();
        let waiting = answers.split_off(OPEN_MAX);
        let heard = answers.into_iter().map(|answer| decided(answer.blocking_recv().expect("an answer"))).collect();
        Pressed { kept, ledger, heard, waiting }
    }

    /// Stops the ledger; every intent that it took has its answer, and every answer is in the log.
    fn stop(self) -> (Kept, Vec<(Seq, Code, Digest)>) {
        let Pressed { kept, ledger, mut heard, waiting } = self;
        assert!(!ledger.handle().queue.is_empty(), "nothing waits: this tests nothing");
        ledger.stop().expect("stops");
        heard.extend(waiting.into_iter().map(|answer| decided(answer.blocking_recv().expect("an answer"))));
        assert_eq!(heard.len(), LOAD);
        let log = decisions(&kept);
        for (seq, _, digest) in &heard {
            assert_eq!(log.get(seq), Some(digest), "decision {seq} was acknowledged");
        }
        (kept, heard)
    }
}

/// The digest of each decision in the log.
fn decisions(kept: &Kept) -> BTreeMap<Seq, Digest> {
    let entries = kept.entries().into_iter().map(|located| located.entry);
    let decisions = entries.filter(|entry| entry.header.kind == EventKind::DecisionMade);
    decisions
        .map(|entry| match entry.event() {
            Ok(Event::DecisionMade(decision)) => (entry.header.seq, decision.digest()),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_freeze_is_heard_while_the_queue_is_held_back_and_counts_before_what_waits() {
    let far = silent(1);
    ends("a freeze under load", move || {
        let pressed = Pressed::by(&far, TIMEOUT_MAX_US);
        let handle = pressed.ledger.handle();
        let freeze = Statement::Freeze { principal: None, reason: "enough".to_owned(), tenant: None };
        let act = ledger::act(&handle.folder, &handle.genesis, freeze, &Clock::Wall).expect("an act");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        // One thread for both: whoever waits for the answers to many lines must not hold it.
        let line = vec![(Submitted::Intent(Box::new(call("one-line"))), 1)];
        let answer = runtime.block_on(async {
            tokio::select! {
                biased;
                answers = handle.offer_all(line, &Source::Http, Arrival::now) => panic!("{answers:?} is what waits behind the load"),
                answer = handle.submit(Submitted::Act(Box::new(act)), Source::Local, Arrival::now(), 1) => answer,
            }
        });
        let Ok(Answer::Recorded(frozen)) = answer else { panic!("{answer:?}") };
        far.answer();
        let (_, heard) = pressed.stop();
        let (before, after): (Vec<_>, Vec<_>) = heard.into_iter().partition(|(seq, ..)| *seq < frozen);
        assert!(before.iter().all(|(_, code, _)| *code == Code::Ok));
        assert!(after.iter().all(|(_, code, _)| *code == Code::Frozen));
        assert!(after.len() >= HELD_BACK, "{} waited", after.len());
    });
}

/// In this process, and then in one of its own, which finds more executions waiting than may be open.
#[test]
fn a_ledger_under_load_whose_connector_hangs_stops_and_loses_no_answer() {
    let far = silent(1);
    let service = far.clone();
    let kept = ends("stopping under load", move || {
        let (kept, heard) = Pressed::by(&service, SECOND_US).stop();
        assert!(heard.iter().all(|(_, code, _)| *code == Code::Ok));
        kept
    });

    let (before, calls) = (decisions(&kept).len(), far.calls());
    let served = Served::at(kept.folder.root());
    let (http, one_more) = (served.http.clone(), call("one-more").to_envelope());
    let asks = std::thread::spawn(move || Served::ask_at(&http, "POST", "/v1/intents", "application/json", &one_more));
    assert!(far.was_called(calls + 1), "no call comes");
    assert!(!asks.is_finished(), "it was answered: this tests nothing");
    served.stop();
    // Its answer may come too late for the connection; what was answered is in the log.
    let (status, _) = asks.join().expect("an answer, or none");
    let after = decisions(&kept).len();
    assert!(after == before + 1 || (after == before && status != 200), "{before} {after} {status}");
}

#[test]
fn what_still_waits_to_be_decided_is_carried_out_before_the_end() {
    const INTENTS: usize = 256;
    let far = silent(1);
    far.answer();
    let kept = founded(&far, 32, TIMEOUT_MAX_US);
    let ledger = open(&kept);
    let queue = ledger.handle().queue;
    // Signed before, so that they come faster than the writer decides.
    let intents: Vec<Signed<Intent>> = (0..INTENTS).map(|at| call(&format!("call-{at}"))).collect();
    intents.into_iter().for_each(|intent| drop(put(&queue, intent)));
    ledger.finish().expect("finishes");
    let entries = kept.entries();
    let receipts = entries.iter().filter(|located| located.entry.header.kind == EventKind::ReceiptIssued);
    assert_eq!((far.calls(), receipts.count()), (INTENTS, INTENTS));
}

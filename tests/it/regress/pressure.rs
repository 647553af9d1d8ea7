//! More than a slow connector can carry out: operators are heard all the same, and the ledger can be stopped.

use tokio::sync::oneshot;

use writ::clock::Clock;
use writ::ledger::{self, Ledger};
use writ::sequencer::{Answer, BATCH_INPUTS_MAX, Input, OPEN_MAX, Submission, Submitted};
use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, Source};
use writ_schemas::ids::{Digest, Seq};

use super::{Far, TIMEOUT_MAX_US, call, ends, founded, open};
use crate::ledgers::Kept;

/// So many wait, beyond what may be open at once and the batch that comes last.
const HELD_BACK: usize = 512;

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

fn decided(answer: Answer) -> (Seq, Code, Digest) {
    let Answer::Decided(seq, decision) = answer else { panic!("{answer:?}") };
    (seq, decision.value().code, decision.digest())
}

impl Pressed {
    fn by(far: &Far, timeout_us: u64) -> Pressed {
        let kept = founded(far, 2, timeout_us);
        let ledger = open(&kept);
        let queue = ledger.handle().queue;
        let mut answers = Vec::new();
        for at in 0..OPEN_MAX + BATCH_INPUTS_MAX + HELD_BACK {
            let (reply, answer) = oneshot::channel();
            let what = Submitted::Intent(Box::new(call(&format!("call-{at}"))));
            let input = Input::Submit(Submission { what, source: Source::Local, trace: None, reply: Some(reply) });
            queue.put(input, 1).expect("open");
            answers.push(answer);
        }
        let waiting = answers.split_off(OPEN_MAX);
        let heard = answers.into_iter().map(|answer| decided(answer.blocking_recv().expect("an answer"))).collect();
        Pressed { kept, ledger, heard, waiting }
    }

    /// Stops the ledger; every intent that it took has its answer, and every answer is in the log.
    fn stop(self) -> Vec<(Seq, Code, Digest)> {
        let Pressed { kept, ledger, mut heard, waiting } = self;
        assert!(!ledger.handle().queue.is_empty(), "nothing waits: this tests nothing");
        ledger.stop().expect("stops");
        heard.extend(waiting.into_iter().map(|answer| decided(answer.blocking_recv().expect("an answer"))));
        let events = kept.events();
        for (seq, code, digest) in &heard {
            let event = events.get(usize::try_from(seq.0).expect("fits")).map(|event| match event {
                Event::DecisionMade(decision) => decision.digest(),
                other => panic!("entry {seq} is {other:?}"),
            });
            assert_eq!(event, Some(*digest), "{code} was acknowledged");
        }
        heard
    }
}

#[test]
fn a_freeze_is_heard_while_the_queue_is_held_back_and_counts_before_what_waits() {
    let far = Far::silent(1);
    ends("a freeze under load", move || {
        let pressed = Pressed::by(&far, TIMEOUT_MAX_US);
        let handle = pressed.ledger.handle();
        let freeze = Statement::Freeze { reason: "enough".to_owned() };
        let act = ledger::act(&handle.folder, &handle.genesis, freeze, &Clock::Wall).expect("an act");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let answer = runtime.block_on(handle.submit(Submitted::Act(Box::new(act)), Source::Local, None, 1));
        let Ok(Answer::Recorded(frozen)) = answer else { panic!("{answer:?}") };
        far.answer();
        let heard = pressed.stop();
        let (before, after): (Vec<_>, Vec<_>) = heard.into_iter().partition(|(seq, ..)| *seq < frozen);
        assert!(before.iter().all(|(_, code, _)| *code == Code::Ok));
        assert!(after.iter().all(|(_, code, _)| *code == Code::Frozen));
        assert!(after.len() >= HELD_BACK, "{} waited", after.len());
    });
}

#[test]
fn a_ledger_under_load_whose_connector_hangs_stops_and_loses_no_answer() {
    let far = Far::silent(1);
    ends("stopping under load", move || {
        let heard = Pressed::by(&far, SECOND_US).stop();
        assert_eq!(heard.len(), OPEN_MAX + BATCH_INPUTS_MAX + HELD_BACK);
        assert!(heard.iter().all(|(_, code, _)| *code == Code::Ok));
    });
}

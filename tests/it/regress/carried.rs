//! Intents on their way to the executor: what has its turn at once is never read again, however much is on its way; what waits for room
//! weighs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use writ::clock::{Clock, Stopwatch};
use writ::executor::Executor;
use writ::executor::content::ContentStore;
use writ::queue::Queue;
use writ::sequencer::{Carried, Effect, Input, JOB_BYTES_MAX, Job};
use writ_kernel::policy::Policy;
use writ_kernel::state::Open;
use writ_schemas::errors::Code;
use writ_schemas::event::{IntentAdmitted, Source};
use writ_schemas::ids::{Digest, Seq, UnixMicros};

use super::call;
use crate::ledgers::{Kept, Who, bundle, create, name};
use crate::scene::within;

/// A job for a connector, with its intent; it weighs among all.
fn job(seq: u64, connector: &str, all: &Arc<AtomicUsize>) -> Effect {
    let intent = call(&format!("i-{seq}"));
    let value = intent.value();
    let open = Open {
        intent_seq: Seq(0),
        decision: Digest::of(b"decision"),
        tenant: value.tenant.clone(),
        id: value.id.clone(),
        principal: value.principal.clone(),
        action: value.action.clone(),
        session: None,
        expires_at: value.expires_at,
        signer: Who::Agent.id(),
        effect: value.effect_digest().expect("canonical"),
        connector: name(connector),
        idempotency_key: Digest::of(b"key"),
        not_after: value.expires_at,
        reservation: Default::default(),
        uses: Vec::new(),
        dispatched_at: None,
        attempts: 0,
        due: UnixMicros(0),
    };
    let admitted = IntentAdmitted { intent, source: Source::Local, trace: None };
    let carried = Some(Carried::of(admitted, all));
    Effect::Ready(Box::new(Job { decision: Seq(seq), open, since: Stopwatch::start(), carried }))
}

#[test]
fn what_has_its_turn_is_carried_and_what_waits_is_not() {
    let kept = Kept::empty();
    create(&kept.folder, &Clock::Wall).expect("creates");
    let queue = Arc::new(Queue::default());
    // Half of what all may weigh is on its way already; and the log has no intent that could be read.
    let all = Arc::new(AtomicUsize::new(JOB_BYTES_MAX / 2));
    let policy = Arc::new(Policy::compile(&bundle(1)).expect("a policy"));
    let content = ContentStore::at(kept.folder.content());
    let log = writ_log::Reader::open(kept.folder.log()).expect("a log");
    let executor = Executor::new(Arc::clone(&queue), log, content, Some(policy)).calling(1);
    let (effects, ended) = channel();
    let thread = std::thread::spawn(move || executor.run(&ended));
    let send = |effect| effects.send(effect).expect("it runs");

    send(job(1, "echo", &all));
    send(Effect::Call(Seq(1)));
    let mut heard = Vec::new();
    within("an ending", || {
        heard.extend(queue.take(16, usize::MAX, true, Duration::from_millis(1)).inputs);
        heard.len() >= 2 || thread.is_finished()
    });
    assert!(matches!(heard.first(), Some(Input::Dispatch(Seq(1)))), "{heard:?}");
    assert!(matches!(heard.get(1), Some(Input::Ended(ending, Some(_))) if ending.code == Code::Ok), "{heard:?}");
    send(Effect::Closed(Seq(1)));

    // Of two for a connector that is called once at a time, only the first is carried.
    let weight = call("i-2").payload().len();
    send(job(2, "far", &all));
    send(job(3, "far", &all));
    within("the second to weigh nothing", || all.load(Ordering::Relaxed) == JOB_BYTES_MAX / 2 + weight);
    // What cannot be read is not called: the thread of the call finds out, and the executor ends.
    send(Effect::Closed(Seq(2)));
    send(Effect::Call(Seq(3)));
    within("an attempt that did nothing", || {
        heard.extend(queue.take(16, usize::MAX, true, Duration::from_millis(1)).inputs);
        heard.iter().any(|input| matches!(input, Input::DidNothing(Seq(3), ..)))
    });
    let _ = effects.send(Effect::Closed(Seq(3))); // it may have ended by then
    let ended = thread.join().expect("no panic").map_err(|failure| failure.code);
    assert_eq!(ended, Err(Code::LogDamaged));
}

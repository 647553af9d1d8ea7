//! What went wrong once and must not again: ledgers whose `http` connector is a service of the test, which counts its calls
//! and answers when it is told to.

use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Map, json};

use writ::checkpoint::LATEST;
use writ::clock::Clock;
use writ::error::Failure;
use writ::ledger::{self, Handle, Ledger, Opened};
use writ::sequencer::{Answer, Submitted};
use writ_schemas::act::Statement;
use writ_schemas::dsse::Signed;
use writ_schemas::intent::Intent;
use writ_schemas::policy::{Bundle, ConnectorKind};

use crate::ledgers::{HOUR, Kept, Who, bundle, create, name, sign};
use crate::scene::configure;
use crate::service::{Manner, Service};

mod carried;
mod folders;
mod outputs;
mod pressure;
mod room;

/// No test waits this long unless something hangs; a slow machine may.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a connector waits for an answer, where a test does not say otherwise: as long as a policy allows.
const TIMEOUT_MAX_US: u64 = 300_000_000;

/// Runs `body`, and fails if it does not come to an end. What hangs is left behind with the process of the test.
fn ends<T: Send + 'static>(what: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (ended, end) = mpsc::channel();
    let worker = std::thread::spawn(move || drop(ended.send(body())));
    match end.recv_timeout(PATIENCE) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs: {what}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(worker.join().expect_err("it sent nothing"))
        }
    }
}

/// A service that answers nothing until it is told to, and then with so many letters.
fn silent(letters: usize) -> Service {
    Service::new(Manner::Waits(json!({ "text": "x".repeat(letters) }).to_string().into_bytes()))
}

/// Waits until `far` was called so often, and no more.
fn called(far: &Service, calls: usize) {
    far.was_called(calls);
    assert_eq!(far.calls(), calls, "calls came");
}

/// A policy whose connector calls `far`, and waits `timeout_us` for its answer.
fn policy(far: &Service, timeout_us: u64) -> Bundle {
    let mut bundle = bundle(far.port);
    // Nothing expires because a machine is slow.
    bundle.rules.iter_mut().for_each(|rule| rule.window_us = HOUR);
    for connector in bundle.connectors.values_mut() {
        if let ConnectorKind::Http { timeout_us: patience, .. } = &mut connector.kind {
            *patience = timeout_us;
        }
    }
    bundle
}

/// A closed ledger that trusts the agent; its connector calls `far`, at most `calls_max` at a time, and waits `timeout_us`.
fn founded(far: &Service, calls_max: usize, timeout_us: u64) -> Kept {
    let kept = Kept::empty();
    create(&kept.folder, &Clock::Wall).expect("creates");
    configure(kept.folder.root(), &format!("checkpoint_interval_ms = 1\nconnector_calls_max = {calls_max}"));
    let bundle = policy(far, timeout_us);
    let ledger = open(&kept);
    for statement in [Who::Agent.trust(), Statement::ActivatePolicy { bundle }] {
        let act = ledger::act(&kept.folder, &kept.genesis(), statement, &Clock::Wall).expect("an act");
        let answers = ledger.handle().submit_all(vec![(Submitted::Act(Box::new(act)), 1)]).expect("answers");
        assert!(matches!(answers[..], [Answer::Recorded(_)]), "{answers:?}");
    }
    ledger.stop().expect("stops");
    kept
}

/// The writer of a folder that is there.
fn open(kept: &Kept) -> Ledger {
    let opened = Opened::open(&kept.folder, Clock::Wall).expect("opens");
    opened.start(|failure: &Failure| panic!("{failure}")).expect("starts")
}

/// An intent of the agent that calls the connector.
fn call(id: &str) -> Signed<Intent> {
    let intent = Intent {
        tenant: name("acme"),
        id: name(id),
        principal: name("agent-1"),
        session: None,
        action: name("call"),
        args: Map::new(),
        evidence: Vec::new(),
        expires_at: Clock::Wall.now().plus(HOUR),
    };
    sign(intent, &Who::Agent.key())
}

/// Submits an intent that calls the connector, and waits for its `PASS`.
fn pass(handle: &Handle, id: &str) {
    let answers = handle.submit_all(vec![(Submitted::Intent(Box::new(call(id))), 1)]).expect("answers");
    let [Answer::Decided(_, decision)] = &answers[..] else { panic!("{id}: {answers:?}") };
    assert!(decision.value().execution.is_some(), "{id}: {}", decision.value().because);
}

/// Waits until a checkpoint covers every entry, so that nothing more is written by itself.
fn sealed(kept: &Kept, handle: &Handle) {
    let covered = |note: &str| note.lines().nth(1) == Some(handle.progress.next().to_string().as_str());
    let latest = kept.folder.checkpoints().join(LATEST);
    while !std::fs::read_to_string(&latest).is_ok_and(|note| covered(&note)) {
        std::thread::yield_now();
    }
}

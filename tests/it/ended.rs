//! A writer that has failed while its process goes on: whoever waits for it hears of the failure, and nobody waits for ever.

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use writ::clock::Clock;
use writ::error::Failure;
use writ::ledger::{self, Ledger, Opened};
use writ::sequencer::Submitted;
use writ_schemas::act::Statement;
use writ_schemas::errors::Code;

use crate::ledgers::{Kept, NOW, Who, ask, bundle, create};
use crate::unserved::Endpoint;

/// Above all that a test waits for by itself.
const HANGS: Duration = Duration::from_secs(60);

#[track_caller]
fn fails_in_time(end: impl FnOnce(Ledger) -> Result<(), Failure> + Send + 'static, ledger: Ledger) {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(end(ledger)));
    let failure = ended.recv_timeout(HANGS).expect("it does not hang").expect_err("the writer has failed");
    assert_eq!(failure.code, Code::ClockBehind, "{failure}");
}

/// A ledger whose writer has failed with a call under way, since the clock went back an hour.
fn failed() -> (Kept, Ledger) {
    let (kept, endpoint, clock) = (Kept::empty(), Endpoint::new(), Clock::manual(NOW));
    create(&kept.folder, &clock).expect("creates");
    let opened = Opened::open(&kept.folder, clock.clone()).expect("opens");
    let ledger = opened.start(|_| {}).expect("starts");
    let handle = ledger.handle();
    for statement in [Who::Agent.trust(), Statement::ActivatePolicy { bundle: bundle(endpoint.port) }] {
        let act = ledger::act(&kept.folder, &handle.genesis, statement, &clock).expect("an act");
        handle.submit_all(vec![(Submitted::Act(Box::new(act)), 1)]).expect("answers");
    }
    let intent = |id, action| (Submitted::Intent(Box::new(ask(id, Who::Agent, action, 5).intent(&[]))), 1);
    handle.submit_all(vec![intent("a-call", "call")]).expect("answers");
    while endpoint.calls() == 0 {
        std::thread::yield_now();
    }
    let Clock::Manual(at) = &clock else { panic!("another clock") };
    at.fetch_sub(3_600_000_000, Ordering::SeqCst);
    let (handle, (done, answered)) = (handle.clone(), mpsc::channel());
    std::thread::spawn(move || done.send(handle.submit_all(vec![intent("late", "note")]).map(drop)));
    let failure = answered.recv_timeout(HANGS).expect("it does not hang").expect_err("nobody answers");
    assert_eq!(failure.code, Code::Stopping, "{failure}");
    (kept, ledger)
}

#[test]
fn a_ledger_whose_writer_has_failed_says_so_when_it_ends() {
    let (_kept, ledger) = failed();
    fails_in_time(Ledger::finish, ledger);
    let (kept, ledger) = failed();
    fails_in_time(Ledger::stop, ledger);
    // The lock is free, and what was told is there.
    Opened::open(&kept.folder, Clock::manual(NOW)).expect("opens");
}

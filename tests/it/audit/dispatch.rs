//! What must hold between a decision and its receipt. A doctored ledger passes `writ verify`, for everything in it is signed
//! by its own keys; replay names the entry, and whoever opens it for writing does not go on.

use serde_json::{Value, json};

use writ_schemas::errors::Code;
use writ_schemas::event::{Event, EventKind, ReceiptIssued};
use writ_schemas::ids::{Digest, Seq, UnixMicros};
use writ_schemas::receipt::{Receipt, Status};

use super::{PAID, asks, harmless, kept, last, told};
use crate::forged::{continued, forge};
use crate::ledgers::{Kept, sign};
use crate::scene::Scene;
use crate::service::Service;
use crate::transcripts::after;

/// An honest ledger, its service, and a copy of it.
fn honest(story: &str) -> (Scene, Service, Kept) {
    let (scene, service) = after(story);
    let kept = kept(&scene);
    (scene, service.expect("a service"), kept)
}

/// A moment after everything that is in a ledger.
fn next(kept: &Kept) -> UnixMicros {
    kept.entries().last().expect("entries").entry.header.recorded_at.plus(1)
}

fn end(kept: &Kept) -> Seq {
    kept.entries().last().expect("entries").entry.header.seq
}

/// Verification passes, replay names this entry and says these words of it.
#[track_caller]
fn replay_names(doctored: &Kept, seq: Seq, words: &str) {
    let (exit, said) = doctored.run("verify", &[]);
    assert_eq!((exit, &said["ok"]), (Some(0), &json!(true)), "the doctor was not good enough: {said}");
    let (exit, said) = doctored.run("replay", &[]);
    assert_eq!((exit, &said["divergence"]["seq"]), (Some(1), &json!(seq)), "{said}");
    let fields = said["divergence"]["fields"].to_string();
    assert!(fields.contains(words), "{words}: {fields}");
}

/// Opening it for writing fails with this code, tells no decision, and calls nothing.
#[track_caller]
fn opening_fails(scene: &Scene, service: &Service, doctored: &Kept, code: Code) {
    let (calls, before) = (service.calls(), doctored.entries().len());
    let run = asks(scene, &doctored.folder.root().to_string_lossy(), &harmless());
    told(&run, code);
    assert_eq!((&*run.out, service.calls(), doctored.entries().len()), ("", calls, before), "it went on");
}

/// Opening it for writing ends what was open with this receipt, and calls nothing.
#[track_caller]
fn opening_ends_it(scene: &Scene, service: &Service, doctored: &Kept, status: Status, code: Code) {
    let calls = service.calls();
    let run = asks(scene, &doctored.folder.root().to_string_lossy(), &harmless()).ended(1);
    assert!(["decided", "refused"].map(Value::from).contains(&run.json()["answer"]), "it opened: {run:?}");
    let Event::ReceiptIssued(issued) = last(doctored, EventKind::ReceiptIssued).1 else { panic!("a receipt") };
    let Receipt { status: ended, code: why, .. } = issued.receipt.value();
    assert_eq!((*ended, *why, service.calls()), (status, code, calls));
}

#[test]
fn a_missing_decision_is_an_error() {
    let (scene, service, kept) = honest(PAID);
    let nothing = continued(&kept, end(&kept), &[(next(&kept), Event::DispatchStarted(Seq(0)))]);
    replay_names(&nothing, end(&nothing), Code::DecisionMissing.as_str());
    opening_fails(&scene, &service, &nothing, Code::DecisionMissing);

    // An intent, and no decision of it.
    let Event::IntentAdmitted(admitted) = last(&kept, EventKind::IntentAdmitted).1 else { panic!("an intent") };
    let key = writ::keyfile::read(&scene.dir.path().join(super::AGENT), || Ok(None)).expect("a key");
    let mut intent = admitted.intent.value().clone();
    intent.id = "p-2".parse().expect("a name");
    let mut undecided = admitted;
    undecided.intent = sign(intent, &key);
    let undecided = continued(&kept, end(&kept), &[(next(&kept), Event::IntentAdmitted(undecided))]);
    replay_names(&undecided, end(&undecided), "a decision in the same batch");
    opening_fails(&scene, &service, &undecided, Code::ReplayDiverged);
}

#[test]
fn a_missing_execution_intent_is_an_error() {
    let (scene, service, kept) = honest(PAID);
    let (doctored, seq) = forge(&kept, EventKind::DecisionMade, "p-1", &[("execution", Value::Null)]);
    replay_names(&doctored, seq, "execution");
    opening_fails(&scene, &service, &doctored, Code::ExecutionIntentMissing);
}

#[test]
fn an_execution_intent_of_a_fail_is_an_error() {
    let (scene, service, kept) = honest(PAID);
    let fields = [("verdict", json!("FAIL")), ("code", json!(Code::ProofMissing))];
    let (doctored, seq) = forge(&kept, EventKind::DecisionMade, "p-1", &fields);
    replay_names(&doctored, seq, "verdict");
    opening_fails(&scene, &service, &doctored, Code::ExecutionIntentMissing);
}

#[test]
fn an_expired_execution_intent_is_not_carried_out() {
    let (scene, service, kept) = honest(&PAID.replace("within 1 hour", "within 3 seconds"));
    let (decided, event) = last(&kept, EventKind::DecisionMade);
    let Event::DecisionMade(decision) = event else { panic!("a decision") };
    let closes = decision.value().execution.as_ref().expect("a PASS").not_after;

    // Dispatched although its window is over.
    let late = continued(&kept, decided, &[(closes, Event::DispatchStarted(decided))]);
    replay_names(&late, end(&late), Code::WindowClosed.as_str());

    // Killed before the dispatch, and opened when the window is over: an honest log, and nothing is called.
    let waits = continued(&kept, decided, &[]);
    let left = closes.0.saturating_sub(writ::clock::Clock::Wall.now().0);
    std::thread::sleep(std::time::Duration::from_micros(left + 1));
    opening_ends_it(&scene, &service, &waits, Status::Expired, Code::WindowClosed);
    assert_eq!(waits.run("replay", &[]).0, Some(0));
}

#[test]
fn an_effect_digest_that_changed_after_the_decision_is_not_carried_out() {
    let (scene, service, kept) = honest(PAID);
    let (decided, _) = last(&kept, EventKind::DecisionMade);
    let fields = [("execution/effect_digest", json!(Digest([7; 32])))];
    let (doctored, seq) = forge(&continued(&kept, decided, &[]), EventKind::DecisionMade, "p-1", &fields);
    assert_eq!(seq, decided);
    replay_names(&doctored, seq, "execution/effect_digest");
    opening_ends_it(&scene, &service, &doctored, Status::Failed, Code::EffectDigest);
}

#[test]
fn the_same_execution_intent_twice_is_an_error() {
    let (scene, service, kept) = honest(PAID);
    let (decided, _) = last(&kept, EventKind::DecisionMade);
    let (dispatched, again) = last(&kept, EventKind::DispatchStarted);
    assert_eq!(again, Event::DispatchStarted(decided));
    let twice = continued(&kept, dispatched, &[(next(&kept), again.clone())]);
    replay_names(&twice, end(&twice), Code::DispatchRefused.as_str());
    opening_fails(&scene, &service, &twice, Code::DecisionMissing);

    // And once more after its receipt.
    let after_all = continued(&kept, end(&kept), &[(next(&kept), again)]);
    replay_names(&after_all, end(&after_all), Code::DecisionMissing.as_str());
    opening_fails(&scene, &service, &after_all, Code::DecisionMissing);
}

/// A decision authorises what no rule lets pass, and the key is revoked before its dispatch: replay says no, and at the dispatch the
/// key is asked for again.
#[test]
fn a_decision_for_a_revoked_key_is_not_carried_out() {
    let story = format!(
        "{PAID}
        When agent-1 asks to steal 300 cents as p-2
        Then p-2 is FAIL, ERR_POLICY_NO_RULE
        When the operators revoke the key of agent-1"
    );
    let (scene, service, kept) = honest(&story);
    let decisions = kept.events().into_iter().filter_map(|event| match event {
        Event::DecisionMade(decision) => Some(decision),
        _ => None,
    });
    let passed = decisions.into_iter().find(|decision| decision.value().execution.is_some()).expect("a PASS");
    let passed: Value = serde_json::from_slice(passed.payload()).expect("JSON");
    let fields = [
        ("verdict", json!("PASS")),
        ("code", json!("OK")),
        ("because", json!("")),
        ("gates", passed["gates"].clone()),
        ("execution", passed["execution"].clone()),
    ];
    let (doctored, seq) = forge(&kept, EventKind::DecisionMade, "p-2", &fields);
    replay_names(&doctored, seq, Code::PolicyNoRule.as_str());
    opening_ends_it(&scene, &service, &doctored, Status::Expired, Code::KeyRevoked);
}

/// The last receipt with another ending, signed by the ledger's own key.
fn another_outcome(kept: &Kept, change: impl FnOnce(&mut ReceiptIssued, &mut Receipt)) -> Event {
    let Event::ReceiptIssued(mut issued) = last(kept, EventKind::ReceiptIssued).1 else { panic!("a receipt") };
    let mut receipt = issued.receipt.value().clone();
    receipt.ended_at = next(kept);
    change(&mut issued, &mut receipt);
    issued.receipt = sign(receipt, &kept.folder.read_key(writ::folder::KeyRole::Decision).expect("a key"));
    Event::ReceiptIssued(issued)
}

#[test]
fn two_outcomes_for_one_dispatch_are_an_error() {
    let (scene, service, kept) = honest(PAID);
    let failed = another_outcome(&kept, |issued, receipt| {
        (issued.output, receipt.output) = (None, None);
        (receipt.status, receipt.code) = (Status::Failed, Code::ConnectorRefused);
    });
    for second in [failed, another_outcome(&kept, |_, _| {})] {
        let doctored = continued(&kept, end(&kept), &[(next(&kept), second)]);
        replay_names(&doctored, end(&doctored), Code::DecisionMissing.as_str());
        opening_fails(&scene, &service, &doctored, Code::DecisionMissing);
    }
}

/// What was uncertain ended as that. A receipt that comes later is none; operators reconcile, once.
#[test]
fn a_late_outcome_is_an_error() {
    let story =
        PAID.replace("answers {}", "hangs up").replace("SUCCEEDED and", "UNCERTAIN, ERR_CONNECTOR_UNCERTAIN, and");
    let (scene, service, kept) = honest(&story);
    let late = another_outcome(&kept, |issued, receipt| {
        let output = b"{}".to_vec();
        receipt.output = Some(Digest::of(&output));
        issued.output = Some(output);
        (receipt.status, receipt.code) = (Status::Succeeded, Code::Ok);
    });
    let doctored = continued(&kept, end(&kept), &[(next(&kept), late)]);
    replay_names(&doctored, end(&doctored), Code::DecisionMissing.as_str());
    opening_fails(&scene, &service, &doctored, Code::DecisionMissing);

    let Event::ReceiptIssued(issued) = last(&kept, EventKind::ReceiptIssued).1 else { panic!("a receipt") };
    let receipt = issued.receipt.digest().to_string();
    let reconcile = |how| crate::scene::writ(["reconcile", "--data", scene.data(), how, &receipt]);
    reconcile("--applied").ended(0);
    told(&reconcile("--not-applied"), Code::ReceiptUnknown);
    crate::scene::writ(["replay", "--data", scene.data()]).ended(0);
}

/// The policy that is in force when its turn comes has no such connector any more: nothing is called.
#[test]
fn a_connector_that_is_gone_is_not_called() {
    let (scene, service) = after(
        "Given that agents may pay
        And pay must begin within 1 hour
        And pay is carried out by a service that waits until it is told to answer
        And agent-1 is an agent
        And the ledger makes one call at a time
        And the ledger is served
        When agent-1 asks to pay 300 cents as p-1
        And agent-1 asks to pay 301 cents as p-2
        And the service is called
        And the policy changes: pay is carried out by the connector till
        And the service is told to answer
        Then the receipt of p-1 is SUCCEEDED and charges nothing
        And the receipt of p-2 is FAILED, ERR_CONNECTOR_UNKNOWN, and charges nothing",
    );
    assert_eq!(service.expect("a service").calls(), 1);
    crate::scene::writ(["replay", "--data", scene.data()]).ended(0);
}

//! What cannot follow: each entry that this kernel would not have written is refused, and says why.

use serde_json::json;

use writ_kernel::apply::Fault;
use writ_kernel::execution::{self, Ending};
use writ_kernel::state::State;
use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::Decision;
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::event::{DispatchRetried, Event, IntentAdmitted, Source};
use writ_schemas::genesis::Genesis;
use writ_schemas::ids::{Digest, KeyId, Seq};
use writ_schemas::receipt::Status;

use crate::desk::{
    ANN, BOB, CYD, DAN, DECISION_KEY, Desk, EVE, HOUR, OPERATORS, START, ZED, activate, applied, approve, ending,
    freeze, genesis, intent, issued, not_applied, policy, scan, signed, success, thaw, trust,
};

const NOTHING: Digest = Digest([9; 32]);

fn noise() -> Event {
    Event::StateHashed(NOTHING)
}

/// Each of these cannot follow, and says why.
fn refuses(desk: &Desk, cases: impl IntoIterator<Item = (&'static str, Event, Fault)>) {
    for (what, event, fault) in cases {
        assert_eq!(desk.fault(&event), Some(fault), "{what}");
    }
}

fn admitted(keys: &[KeyId]) -> Event {
    let intent = signed(intent("i-1", "note"), keys);
    Event::IntentAdmitted(IntentAdmitted { intent, source: Source::Local, trace: None })
}

fn made(decision: Decision) -> Event {
    Event::DecisionMade(execution::document(decision).expect("it can be written"))
}

fn retried(decision: Seq) -> Event {
    Event::DispatchRetried(DispatchRetried { decision, attempts: 1, due: START, because: String::new(), asked_us: 0 })
}

#[test]
fn an_entry_has_the_next_seq_and_no_earlier_time() {
    let mut desk = Desk::opened();
    desk.later(10);
    desk.record(noise());
    let apply = |seq: u64, at: u64| desk.state.clone().apply(Seq(seq), START.plus(at), &noise());
    assert_eq!(apply(2, 10), Ok(()), "the time of the last entry is no earlier one");
    assert_eq!(apply(2, 11), Ok(()));
    assert_eq!(apply(2, 9), Err(Fault::Place));
    assert_eq!(apply(1, 10), Err(Fault::Place));
    assert_eq!(apply(3, 10), Err(Fault::Place));
}

#[test]
fn genesis_is_entry_0_and_can_rule() {
    let opened = |genesis: Genesis| Event::LedgerOpened(signed(genesis, &[DECISION_KEY]));
    let first = |event: &Event| State::default().apply(Seq(0), START, event);
    assert_eq!(first(&opened(genesis())), Ok(()));
    assert_eq!(first(&opened(Genesis { quorum: 0, ..genesis() })), Err(Fault::Genesis));
    assert_eq!(first(&noise()), Err(Fault::Genesis));
    refuses(&Desk::opened(), [("a second one", opened(genesis()), Fault::Genesis)]);
}

#[test]
fn an_intent_is_followed_by_its_own_decision_and_by_nothing_else() {
    let mut desk = Desk::furnished();
    let intent = signed(intent("i-1", "note"), &[ANN]);
    let decision = desk.judge(&intent);
    refuses(&desk, [("a decision of nothing", made(decision.clone()), Fault::Pair)]);
    desk.admit(intent);
    assert!(desk.state.awaits_decision());
    let of = |change: fn(&mut Decision)| {
        let mut decision = decision.clone();
        change(&mut decision);
        made(decision)
    };
    refuses(
        &desk,
        [
            ("something else", noise(), Fault::Pair),
            ("another intent", admitted(&[ANN]), Fault::Pair),
            ("of other content", of(|it| it.intent_digest = NOTHING), Fault::Pair),
            ("of another entry", of(|it| it.intent_seq = Seq(1)), Fault::Pair),
            ("of another round", of(|it| it.round = 1), Fault::Pair),
        ],
    );
    assert_eq!(desk.fault(&made(decision.clone())), None);
    desk.decide(decision);
    assert!(!desk.state.awaits_decision());
}

#[test]
fn a_pass_authorises_an_execution_and_no_other_verdict_does() {
    let mut desk = Desk::furnished();
    let pass = signed(intent("i-1", "note"), &[ANN]);
    let fail = signed(intent("i-2", "nothing-known"), &[ANN]);
    let asks = signed(intent("i-3", "ask"), &[ANN]);
    let execution = desk.judge(&pass).execution;
    assert!(execution.is_some());
    for (what, intent, execution) in [
        ("a PASS without", pass, None),
        ("a FAIL with", fail, execution.clone()),
        ("an ESCALATE with", asks, execution),
    ] {
        let mut fork = desk.clone();
        let mut decision = desk.judge(&intent);
        decision.execution = execution;
        fork.admit(intent);
        refuses(&fork, [(what, made(decision), Fault::ExecutionIntent)]);
    }
    desk.pass(intent("i-1", "note"));
}

#[test]
fn an_escalation_says_whom_it_asks_and_that_only_once() {
    let mut desk = Desk::furnished();
    let asked = signed(intent("i-1", "ask"), &[ANN]);
    let decision = desk.judge(&asked);

    // The policy in force asks nobody about this one, so it was not kept whole.
    let note = signed(intent("i-2", "note"), &[ANN]);
    let (verdict, asks) = (decision.verdict, decision.asks.clone());
    let other = Decision { verdict, asks, execution: None, ..desk.judge(&note) };
    let mut fork = desk.clone();
    fork.admit(note);
    refuses(&fork, [("nothing to wait", made(other), Fault::Pair)]);

    let intent_seq = desk.admit(asked);
    let nobody = Decision { asks: None, ..decision.clone() };
    refuses(&desk, [("nobody is asked", made(nobody), Fault::Approval)]);
    let first = desk.decide(decision.clone());
    desk.does(approve(first.decision.intent_digest, false), &[BOB]);
    let again = Decision { round: 1, intent_seq, ..decision };
    refuses(&desk, [("what asked before asks again", made(again), Fault::Approval)]);
    assert_eq!(desk.again().map(|it| it.decision.code), Some(Code::ApprovalDenied));
}

#[test]
fn an_execution_is_open_until_it_ends_once() {
    let mut desk = Desk::furnished();
    let never = desk.pass(intent("i-1", "note")).seq;
    let started = desk.start(intent("i-2", "note")).seq;
    let receipt = |desk: &Desk, ending: &Ending| {
        issued(execution::document(desk.receipt(ending).expect("it fits")).expect("it can be written"))
    };
    let ended = receipt(&desk, &success(started));
    refuses(
        &desk,
        [
            ("a dispatch of nothing", Event::DispatchStarted(Seq(1)), Fault::Execution),
            ("a second dispatch", Event::DispatchStarted(started), Fault::Execution),
            ("a retry of nothing", retried(Seq(1)), Fault::Execution),
            ("a retry of what was not dispatched", retried(never), Fault::Execution),
        ],
    );
    desk.record(ended.clone());
    refuses(
        &desk,
        [
            ("a second ending", ended, Fault::Execution),
            ("a dispatch of what has ended", Event::DispatchStarted(started), Fault::Execution),
            ("a retry of what has ended", retried(started), Fault::Execution),
        ],
    );
    let unknown = desk.act(Statement::Reconcile { receipt: NOTHING, applied: true }, &OPERATORS);
    let report = desk.act(not_applied(NOTHING, "?"), &[DAN]);
    refuses(
        &desk,
        [
            ("a receipt that is not uncertain", Event::OutcomeReconciled(unknown), Fault::Execution),
            ("a report of nothing", Event::OutcomeReconciled(report), Fault::Execution),
        ],
    );
}

#[test]
fn a_report_and_its_receipt_are_a_pair() {
    let mut desk = Desk::furnished();
    let inside = desk.start(intent("i-1", "note")).seq;
    let outside = desk.start(intent("i-2", "ship"));
    let receipt = |desk: &Desk, ending: &Ending| {
        let mut state = desk.clone();
        // As a host would that knows nothing of reports.
        let mut receipt = state.end(&success(inside)).1;
        let Ending { decision, status, code, output, because } = ending.clone();
        (receipt.decision_seq, receipt.status, receipt.code) = (decision, status, code);
        (receipt.output, receipt.because) = (output, because);
        issued(execution::document(receipt).expect("it can be written"))
    };
    refuses(
        &desk,
        [
            ("a receipt that nobody reported", receipt(&desk, &success(outside.seq)), Fault::Outcome),
            ("a retry of what others carry out", retried(outside.seq), Fault::Outcome),
        ],
    );
    let other = receipt(&desk, &success(inside));
    let told = receipt(&desk, &success(outside.seq));
    let failed = receipt(&desk, &ending(outside.seq, Status::Failed, Code::ConnectorRefused));
    desk.does(applied(outside.digest, json!({})), &[DAN]);
    refuses(
        &desk,
        [
            ("something between", noise(), Fault::Outcome),
            ("a receipt of another execution", other, Fault::Outcome),
            ("a receipt that says something else", failed, Fault::Outcome),
        ],
    );
    assert_eq!(desk.fault(&told), None);
}

#[test]
fn answers_and_deadlines_belong_to_what_waits() {
    let mut desk = Desk::furnished();
    let first = desk.submit(intent("i-1", "ask"), ANN).decision.intent_digest;
    desk.later(1);
    let second = desk.submit(intent("i-2", "ask"), ANN).decision.intent_digest;
    let vote = |of, key| Event::ApprovalRecorded(desk.act(approve(of, true), &[key]));
    refuses(
        &desk,
        [
            ("of what does not wait", vote(NOTHING, BOB), Fault::Approval),
            ("of another tenant", vote(first, EVE), Fault::Approval),
            ("by a stranger", vote(first, ZED), Fault::Approval),
            ("too early", Event::DeadlinePassed(first), Fault::Approval),
        ],
    );
    assert_eq!(desk.fault(&vote(first, BOB)), None);
    desk.now = START.plus(HOUR - 1);
    refuses(&desk, [("a moment too early", Event::DeadlinePassed(first), Fault::Approval)]);
    desk.now = START.plus(HOUR);
    refuses(
        &desk,
        [
            ("not the first", Event::DeadlinePassed(second), Fault::Approval),
            ("of nothing", Event::DeadlinePassed(NOTHING), Fault::Approval),
        ],
    );
    assert_eq!(desk.fault(&Event::DeadlinePassed(first)), None);
}

#[test]
fn a_statement_belongs_to_its_event() {
    let mut desk = Desk::furnished();
    desk.administer(freeze(Some("acme"), None));
    let act = |statement| desk.act(statement, &OPERATORS);
    let bind = Statement::BindPartitions {
        cluster: "c".to_owned(),
        topic: "t".to_owned(),
        topic_id: "t-1".to_owned(),
        partitions: 1,
    };
    let make: [(fn(Signed<Act>) -> Event, Statement); 7] = [
        (Event::PolicyActivated, activate(policy())),
        (Event::KeyTrusted, trust(ZED, "acme", "zed", &[])),
        (Event::KeyRevoked, Statement::RevokeKey { key: ANN }),
        (Event::LedgerKeyRotated, Statement::RotateDecisionKey { key: ZED }),
        (Event::Frozen, freeze(None, None)),
        (Event::Thawed, thaw(Some("acme"), None)),
        (Event::PartitionsBound, bind),
    ];
    for (at, (event, _)) in make.iter().enumerate() {
        for (of, (_, statement)) in make.iter().enumerate() {
            let event = event(act(statement.clone()));
            let expected = (at != of).then_some(Fault::Statement);
            assert_eq!(desk.fault(&event), expected, "{} with {statement:?}", event.kind().as_str());
        }
    }
    let unknown = act(Statement::RevokeKey { key: ZED });
    let two = |statement| desk.act(statement, &[BOB, CYD]);
    refuses(
        &desk,
        [
            ("revoked and never trusted", Event::KeyRevoked(unknown), Fault::Statement),
            ("an answer that is none", Event::ApprovalRecorded(act(freeze(None, None))), Fault::Statement),
            ("an answer of two at once", Event::ApprovalRecorded(two(approve(NOTHING, true))), Fault::Statement),
            ("an outcome that is none", Event::OutcomeReconciled(act(freeze(None, None))), Fault::Statement),
            ("an intent that nobody signed", admitted(&[]), Fault::Statement),
            ("an intent that two have signed", admitted(&[ANN, BOB]), Fault::Statement),
            ("evidence of two at once", Event::EvidenceRegistered(signed(scan(), &[ANN, BOB])), Fault::Statement),
        ],
    );
}

#[test]
fn a_policy_that_does_not_compile_was_never_put_in_force() {
    let desk = Desk::furnished();
    let mut broken = policy();
    broken["rules"][0]["connector"] = json!("nowhere");
    let event = Event::PolicyActivated(desk.act(activate(broken), &OPERATORS));
    refuses(&desk, [("a connector that is not in it", event, Fault::Policy)]);
}

#[test]
fn every_fault_has_its_registered_code() {
    for (fault, code) in [
        (Fault::Place, Code::LogDamaged),
        (Fault::Genesis, Code::LogDamaged),
        (Fault::Pair, Code::LogDamaged),
        (Fault::Execution, Code::DecisionMissing),
        (Fault::ExecutionIntent, Code::ExecutionIntentMissing),
        (Fault::Outcome, Code::LogDamaged),
        (Fault::Approval, Code::LogDamaged),
        (Fault::Account, Code::LogDamaged),
        (Fault::Statement, Code::LogDamaged),
        (Fault::Policy, Code::LogDamaged),
    ] {
        assert_eq!(fault.code(), code, "{fault}");
    }
}

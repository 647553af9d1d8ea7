//! What asks people: it waits, and is decided again when they have answered, or cannot any more.

use serde_json::{Value, json};

use writ_kernel::decide::decide_again;
use writ_kernel::escalation::{INTENT_LEN_MAX, WAITING_MAX};
use writ_schemas::act::Statement;
use writ_schemas::decision::{Asked, Verdict};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Digest, UnixMicros};
use writ_schemas::intent::Intent;

use crate::desk::{
    ANN, BOB, CYD, DAY, Decided, Desk, EVE, HOUR, LEDGER, OPERATORS, START, activate, approve, args, freeze, intent,
    intent_of_beta, name, policy, rule_of, signed,
};

const ASKS: (Verdict, Code) = (Verdict::Escalate, Code::ApprovalNeeded);

fn ask(id: &str) -> Intent {
    intent(id, "ask")
}

/// Lets the deadline of what waits longest pass, now.
fn time_out(desk: &mut Desk) -> Decided {
    let due = desk.state.due(desk.now).expect("a deadline has passed");
    desk.record(Event::DeadlinePassed(due));
    desk.again().expect("it is decided again")
}

fn waiting(desk: &Desk) -> Vec<Digest> {
    desk.state.escalated().map(Signed::digest).collect()
}

/// The policy in which `ask` asks like this.
fn asking(escalates: Value) -> Value {
    let mut policy = policy();
    rule_of(&mut policy, "ask")["escalates"] = escalates;
    policy
}

fn to(quorum: u32, within_us: u64) -> Value {
    json!({"to": {"quorum": quorum, "role": "manager", "within_us": within_us}})
}

#[test]
fn who_is_asked_is_said_and_until_when() {
    let mut desk = Desk::furnished();
    desk.later(5);
    let asks = |desk: &Desk, intent| desk.judge(&signed(intent, &[ANN])).asks.map(|asks| *asks);
    let rule = desk.state.policy().and_then(|policy| policy.rule_digest(&name("ask"))).expect("a rule");
    let asked = |deadline| Some(Asked { deadline, quorum: 2, role: name("manager"), rule });
    assert_eq!(asks(&desk, ask("i-1")), asked(START.plus(HOUR)), "the intent's expiry cuts it");
    let long = Intent { expires_at: START.plus(2 * HOUR), ..ask("i-1") };
    assert_eq!(asks(&desk, long), asked(START.plus(HOUR + 5)));
    assert_eq!(asks(&desk, intent("i-1", "note")), None);
    let decided = desk.submit(ask("i-1"), ANN);
    assert_eq!((decided.answer(), decided.decision.execution), (ASKS, None));
    assert_eq!(waiting(&desk), [decided.decision.intent_digest]);
    assert!(!desk.state.awaits_decision());
}

#[test]
fn it_passes_when_the_quorum_has_granted_it() {
    let mut desk = Desk::furnished();
    let first = desk.submit(ask("i-1"), ANN);
    let of = first.decision.intent_digest;
    desk.does(approve(of, true), &[BOB]);
    assert!(desk.again().is_none(), "one of two");
    assert_eq!(waiting(&desk), [of]);
    desk.later(7);
    desk.does(approve(of, true), &[CYD]);
    assert!(desk.state.awaits_decision());
    let (again, decision) = decide_again(&desk.state, LEDGER, desk.now, &mut ()).expect("it must be decided");
    assert_eq!((again.digest(), decision.round, decision.intent_seq), (of, 1, first.decision.intent_seq));
    let votes: Vec<_> = decision.facts.approval.expect("they have answered").votes;
    let votes: Vec<_> = votes.into_iter().map(|vote| (vote.signer, vote.granted, vote.principal)).collect();
    assert_eq!(votes, [(BOB, true, Some(name("bob"))), (CYD, true, Some(name("cyd")))], "in the order of their seqs");
    let passed = desk.again().expect("it must be decided");
    assert_eq!(passed.answer(), (Verdict::Pass, Code::Ok));
    let window = passed.decision.execution.expect("it passes");
    assert_eq!((window.not_before, window.not_after), (START.plus(7), START.plus(HOUR)));
    assert_eq!(desk.state.decision_of(&name("acme"), &name("i-1")), Some(passed.seq), "the latest decision of its id");
    assert!(waiting(&desk).is_empty());
    assert!(desk.again().is_none());
    desk.now = START.plus(HOUR);
    assert_eq!(desk.state.due(desk.now), None, "its deadline is over with it");
    assert_eq!(desk.would(approve(of, true), &[BOB]), Err(Code::ApprovalUnknown));
}

#[test]
fn what_has_just_come_in_is_not_decided_again() {
    let mut desk = Desk::furnished();
    desk.submit(ask("i-1"), ANN);
    assert!(decide_again(&desk.state, LEDGER, desk.now, &mut ()).is_none(), "nobody has answered");
    // The same once more, as no host lets it in while it is known.
    assert_eq!(desk.judge(&signed(ask("i-1"), &[ANN])).facts.approval, None, "nobody was asked of this one");
    desk.admit(signed(ask("i-1"), &[ANN]));
    assert!(desk.state.awaits_decision());
    assert!(decide_again(&desk.state, LEDGER, desk.now, &mut ()).is_none(), "it is the first round of another entry");
}

#[test]
fn each_round_has_an_idempotency_key_of_its_own() {
    let mut desk = Desk::furnished();
    let of = desk.submit(ask("i-1"), ANN).decision.intent_digest;
    let mut free = desk.clone();
    free.administer(activate(asking(json!({"exempt": "free for all"}))));
    let first = free.judge(&signed(ask("i-1"), &[ANN])).execution.expect("it passes").idempotency_key;
    desk.does(approve(of, true), &[BOB]);
    desk.does(approve(of, true), &[CYD]);
    let second = desk.again().and_then(|again| again.decision.execution).expect("it passes").idempotency_key;
    assert_ne!(first, second);
}

#[test]
fn one_who_refuses_is_enough() {
    let mut desk = Desk::furnished();
    let of = desk.submit(ask("i-1"), ANN).decision.intent_digest;
    desk.does(approve(of, true), &[BOB]);
    desk.does(approve(of, false), &[CYD]);
    assert_eq!(desk.again().map(|again| again.answer()), Some((Verdict::Fail, Code::ApprovalDenied)));
    assert!(waiting(&desk).is_empty());
}

#[test]
fn the_deadline_comes_at_its_time_and_refuses() {
    let mut desk = Desk::furnished();
    let of = desk.submit(ask("i-1"), ANN).decision.intent_digest;
    desk.does(approve(of, true), &[BOB]);
    desk.now = START.plus(HOUR - 1);
    assert_eq!(desk.state.due(desk.now), None);
    desk.now = START.plus(HOUR);
    assert_eq!(desk.state.due(desk.now), Some(of));
    desk.record(Event::DeadlinePassed(of));
    let (_, decision) = decide_again(&desk.state, LEDGER, desk.now, &mut ()).expect("it must be decided");
    let fact = decision.facts.approval.expect("they were asked");
    assert_eq!((fact.passed, fact.deadline, fact.votes.len()), (true, START.plus(HOUR), 1));
    assert_eq!(desk.again().map(|again| again.decision.code), Some(Code::IntentExpired), "the gates before ask first");

    // With a deadline before the expiry, nobody but the gate itself refuses.
    let mut desk = Desk::under(asking(to(2, 60)));
    desk.submit(ask("i-1"), ANN);
    desk.later(60);
    assert_eq!(time_out(&mut desk).answer(), (Verdict::Fail, Code::ApprovalTimedOut));
    assert!(waiting(&desk).is_empty());
    assert_eq!(desk.state.due(UnixMicros(u64::MAX)), None);
}

#[test]
fn deadlines_pass_in_the_order_of_time_and_then_of_seq() {
    let mut desk = Desk::furnished();
    let long = desk.submit(Intent { expires_at: START.plus(100), ..ask("i-1") }, ANN).decision.intent_digest;
    let short = desk.submit(Intent { expires_at: START.plus(50), ..ask("i-2") }, ANN).decision.intent_digest;
    let twin = desk.submit(Intent { expires_at: START.plus(50), ..ask("i-3") }, ANN).decision.intent_digest;
    desk.later(100);
    let passed: Vec<Digest> = (0..3).map(|_| time_out(&mut desk).decision.intent_digest).collect();
    assert_eq!(passed, [short, twin, long]);
}

#[test]
fn a_deadline_lets_nothing_pass() {
    let disabled = {
        let mut policy = asking(to(2, 60));
        policy["gates"]["escalation"] = json!({"disabled": "a holiday"});
        policy
    };
    let late = (Verdict::Fail, Code::ApprovalTimedOut);
    for (what, policy, expected) in [
        ("two are still asked", asking(to(2, 60)), late),
        ("one is asked by now", asking(to(1, 60)), late),
        ("three are asked by now", asking(to(3, 60)), late),
        ("nobody is asked any more", asking(json!({"exempt": "free for all"})), late),
        ("the gate is disabled by now", disabled, late),
    ] {
        let mut desk = Desk::under(asking(to(2, 60)));
        let of = desk.submit(ask("i-1"), ANN).decision.intent_digest;
        desk.does(approve(of, true), &[BOB]);
        assert!(desk.again().is_none());
        desk.administer(activate(policy));
        desk.later(60);
        assert_eq!(time_out(&mut desk).answer(), expected, "{what}");
    }
}

#[test]
fn a_refusal_lets_nothing_pass() {
    let mut disabled = asking(to(2, 60));
    disabled["gates"]["escalation"] = json!({"disabled": "a holiday"});
    let mut sometimes = to(2, 60);
    sometimes["to"]["when"] = json!("intent.args.cents > 100");
    for (what, policy, granted) in [
        ("two are still asked", asking(to(2, 60)), None),
        ("one is asked by now", asking(to(1, 60)), Some((Verdict::Pass, Code::Ok))),
        ("the gate is disabled by now", disabled, Some((Verdict::Pass, Code::Ok))),
        ("it is too little to ask by now", asking(sometimes), Some((Verdict::Pass, Code::Ok))),
    ] {
        for (granted, expected) in [(false, Some((Verdict::Fail, Code::ApprovalDenied))), (true, granted)] {
            let mut desk = Desk::under(asking(to(2, 60)));
            let cents = Intent { args: args(json!({"cents": 1})), ..ask("i-1") };
            let of = desk.submit(cents, ANN).decision.intent_digest;
            desk.administer(activate(policy.clone()));
            desk.does(approve(of, granted), &[BOB]);
            assert_eq!(desk.again().map(|again| again.answer()), expected, "{what}, granted: {granted}");
        }
    }
}

#[test]
fn what_changed_while_it_waited_counts_when_it_is_decided_again() {
    for (what, statement, code) in [
        ("frozen", freeze(Some("acme"), Some("ann")), Code::Frozen),
        ("its signer is revoked", Statement::RevokeKey { key: ANN }, Code::KeyRevoked),
        (
            "no rule",
            activate({
                let mut policy = policy();
                rule_of(&mut policy, "ask")["action"] = json!("other");
                policy
            }),
            Code::PolicyNoRule,
        ),
    ] {
        let mut desk = Desk::under(asking(to(2, 60)));
        desk.submit(ask("i-1"), ANN);
        desk.administer(statement);
        desk.later(60);
        let again = time_out(&mut desk);
        assert_eq!(again.answer(), (Verdict::Fail, code), "{what}");
        assert_eq!(desk.state.decision_of(&name("acme"), &name("i-1")), Some(again.seq), "{what}: the latest decision");
    }
}

#[test]
fn the_answers_count_also_where_the_one_who_asked_is_not_trusted_any_more() {
    let mut desk = Desk::furnished();
    let of = desk.submit(ask("i-1"), ANN).decision.intent_digest;
    desk.administer(Statement::RevokeKey { key: ANN });
    desk.does(approve(of, true), &[BOB]);
    assert!(desk.again().is_none(), "one of two");
    desk.does(approve(of, true), &[CYD]);
    assert_eq!(desk.again().map(|again| again.answer()), Some((Verdict::Fail, Code::KeyRevoked)));
}

#[test]
fn people_are_asked_only_where_the_expression_says_so() {
    let mut escalates = to(2, 60);
    escalates["to"]["when"] = json!("intent.args.cents > 100");
    let desk = Desk::under(asking(escalates));
    let of = |value: Value| desk.answer(Intent { args: args(value), ..ask("i-1") });
    assert_eq!(of(json!({"cents": 100})), (Verdict::Pass, Code::Ok));
    assert_eq!(of(json!({"cents": 101})), ASKS);
    assert_eq!(of(json!({})), (Verdict::Fail, Code::ApprovalError), "it cannot be told");
}

#[test]
fn a_gate_that_is_disabled_asks_nobody() {
    let mut policy = policy();
    policy["gates"]["escalation"] = json!({"disabled": "a holiday"});
    assert_eq!(Desk::under(policy).answer(ask("i-1")), (Verdict::Pass, Code::Ok));
}

#[test]
fn of_one_tenant_256_wait_at_most() {
    let mut desk = Desk::furnished();
    assert_eq!(WAITING_MAX, 256);
    for number in 0..WAITING_MAX {
        let decision = desk.submit(ask(&format!("i-{number}")), ANN).decision;
        assert_eq!((decision.code, decision.facts.waiting), (Code::ApprovalNeeded, Some(number)));
    }
    assert_eq!(desk.answer(ask("one-more")), (Verdict::Fail, Code::ApprovalsFull));
    assert_eq!(desk.submit(intent_of_beta("i-1", "ask"), EVE).decision.code, Code::ApprovalNeeded);
    let of = *waiting(&desk).first().expect("they wait");
    desk.does(approve(of, false), &[BOB]);
    desk.again().expect("it is refused");
    assert_eq!(desk.answer(ask("one-more")), ASKS, "there is room again");
}

#[test]
fn what_waits_has_64_kib_at_most_as_it_was_received() {
    let desk = Desk::furnished();
    assert_eq!(INTENT_LEN_MAX, 65_536);
    let long = |bytes: usize| Intent { args: args(json!({"text": "x".repeat(bytes)})), ..ask("i-1") };
    let room = INTENT_LEN_MAX - signed(long(0), &[ANN]).payload().len();
    assert_eq!(desk.answer(long(room)), ASKS);
    assert_eq!(desk.answer(long(room + 1)), (Verdict::Fail, Code::ApprovalsFull));
}

#[test]
fn a_rule_asks_1_to_16_for_up_to_7_days() {
    let desk = Desk::furnished();
    for (quorum, within, expected) in [
        (0, 60, Err(Code::PolicyInvalid)),
        (1, 60, Ok(())),
        (16, 60, Ok(())),
        (17, 60, Err(Code::PolicyInvalid)),
        (2, 0, Err(Code::PolicyInvalid)),
        (2, 1, Ok(())),
        (2, 7 * DAY, Ok(())),
        (2, 7 * DAY + 1, Err(Code::PolicyInvalid)),
    ] {
        let statement = activate(asking(to(quorum, within)));
        assert_eq!(desk.would(statement, &OPERATORS), expected, "{quorum} within {within}");
    }
}

//! What is tried again, how often and when.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use writ_kernel::execution::{Dispatch, retry};
use writ_schemas::event::{DispatchRetried, Event};
use writ_schemas::ids::Seq;
use writ_schemas::intent::Intent;

use crate::desk::{Desk, HOUR, SECOND, START, activate, intent, policy, rule_of};

fn retrying(attempts: u32, base_us: u64, cap_us: u64) -> Value {
    let mut policy = policy();
    policy["connectors"]["web"]["retry"] = json!({"attempts": attempts, "base_us": base_us, "cap_us": cap_us});
    policy
}

/// What would be tried again now.
fn next(desk: &Desk, decision: Seq) -> Option<DispatchRetried> {
    retry(&desk.state, decision, "no answer", 0, desk.now)
}

fn call(id: &str) -> Intent {
    intent(id, "call")
}

#[test]
fn what_was_dispatched_is_tried_again_where_its_connector_says_so() {
    let mut desk = Desk::furnished();
    assert_eq!(next(&desk, Seq(3)), None, "it is not open");
    let waits = desk.pass(call("i-1")).seq;
    assert_eq!(next(&desk, waits), None, "it was not dispatched");
    desk.dispatch(waits);
    let again = next(&desk, waits).expect("it is tried again");
    assert_eq!((again.decision, again.attempts, again.because.as_str()), (waits, 1, "no answer"));
    for action in ["note", "ship"] {
        let decision = desk.start(intent(action, action)).seq;
        assert_eq!(next(&desk, decision), None, "{action}");
    }
    let mut nowhere = policy();
    rule_of(&mut nowhere, "call")["connector"] = json!("echo");
    nowhere["connectors"].as_object_mut().expect("connectors").remove("web");
    let mut moved = desk.clone();
    moved.administer(activate(nowhere));
    assert_eq!(next(&moved, waits), None, "the policy in force does not know its connector");
    let long = retry(&desk.state, waits, &"x".repeat(1000), 0, desk.now).expect("it is tried again");
    assert!(long.because.starts_with("xxx") && long.because.len() < 300, "{}", long.because);
}

#[test]
fn what_is_tried_again_waits_until_it_is_due() {
    let mut desk = Desk::furnished();
    let decision = desk.start(call("i-1")).seq;
    let again = next(&desk, decision).expect("it is tried again");
    let due = again.due;
    assert!(due > desk.now);
    desk.record(Event::DispatchRetried(again));
    assert_eq!(next(&desk, decision), None, "it is not dispatched now");
    assert_eq!(desk.turn(decision), Ok(Dispatch::Wait(due)));
    desk.now = due;
    assert_eq!(desk.turn(decision), Ok(Dispatch::Start));
    desk.dispatch(decision);
    let open = &desk.state.open()[&decision];
    assert_eq!((open.dispatched_at, open.attempts, open.due), (Some(due), 1, due));
}

#[test]
fn it_is_tried_so_often_and_no_more() {
    for attempts in [2, 3, 16] {
        let mut desk = Desk::under(retrying(attempts, 1, SECOND));
        let decision = desk.start(call("i-1")).seq;
        let mut made = 1;
        while let Some(again) = next(&desk, decision) {
            assert_eq!(again.attempts, made);
            made += 1;
            desk.now = again.due;
            desk.record(Event::DispatchRetried(again));
            desk.dispatch(decision);
        }
        assert_eq!(made, attempts, "the first one included");
    }
}

#[test]
fn it_is_tried_again_while_the_window_holds_then() {
    let mut desk = Desk::furnished();
    let decision = desk.start(call("i-1")).seq;
    let wait = next(&desk, decision).expect("it is tried again").due.0 - desk.now.0;
    let end = START.plus(HOUR).0;
    desk.now.0 = end - wait - 1;
    assert_eq!(next(&desk, decision).map(|again| again.due.0), Some(end - 1));
    desk.now.0 = end - wait;
    assert_eq!(next(&desk, decision), None);
}

/// What the connector asks for holds where it is longer than what the policy says, as far as the window goes.
#[test]
fn it_waits_as_long_as_the_connector_asks() {
    let mut desk = Desk::furnished();
    let decision = desk.start(call("i-1")).seq;
    let asks = |asked_us: u64| retry(&desk.state, decision, "answered 429", asked_us, desk.now);
    let alone = asks(0).expect("it is tried again");
    let wait = alone.due.0 - desk.now.0;
    for asked_us in [1, wait - 1, wait] {
        assert_eq!(asks(asked_us), Some(DispatchRetried { asked_us, ..alone.clone() }), "{asked_us}");
    }
    let left = START.plus(HOUR).0 - desk.now.0;
    for asked_us in [wait + 1, 60 * SECOND, left - 1] {
        let due = desk.now.plus(asked_us);
        assert_eq!(asks(asked_us), Some(DispatchRetried { due, asked_us, ..alone.clone() }), "{asked_us}");
    }
    for asked_us in [left, left + 1, u64::MAX] {
        assert_eq!(asks(asked_us), None, "{asked_us}: the window is over then");
    }
}

/// All waits of 200 executions before the attempt after this one.
fn waits(base_us: u64, cap_us: u64, attempts: u32) -> BTreeSet<u64> {
    let mut desk = Desk::under(retrying(16, base_us, cap_us));
    let mut wait = |number: u32| {
        let decision = desk.start(call(&format!("i-{number}"))).seq;
        if attempts > 1 {
            let before =
                DispatchRetried { decision, attempts: attempts - 1, due: START, because: String::new(), asked_us: 0 };
            desk.record(Event::DispatchRetried(before));
            desk.dispatch(decision);
        }
        next(&desk, decision).expect("it is tried again").due.0 - START.0
    };
    (0..200).map(&mut wait).collect()
}

#[test]
fn the_wait_doubles_up_to_the_cap_and_lies_between_half_of_it_and_all() {
    for (base, cap, attempts, expected) in [
        (1, 100, 1, 1..=1),
        (2, 100, 1, 1..=2),
        (4, 100, 1, 2..=4),
        (5, 100, 1, 3..=5),
        (4, 100, 2, 4..=8),
        (4, 100, 3, 8..=16),
        (4, 7, 2, 4..=7),
        (3, 3, 15, 2..=3),
    ] {
        assert_eq!(waits(base, cap, attempts), expected.collect(), "{base} up to {cap}, attempt {attempts}");
    }
}

#[test]
fn the_wait_is_the_same_whenever_it_is_asked_for() {
    let mut desk = Desk::furnished();
    let decision = desk.start(call("i-1")).seq;
    let wait = |desk: &Desk| next(desk, decision).expect("it is tried again").due.0 - desk.now.0;
    let first = wait(&desk);
    desk.later(9);
    assert_eq!(wait(&desk), first);
}

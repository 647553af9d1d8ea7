//! What is carried out outside: it is open until it is reported, or until its deadline, and what it was is known later.

use serde_json::json;

use writ_kernel::execution::{Dispatch, Ending};
use writ_kernel::outcome::OUTSIDE_MAX;
use writ_schemas::act::Statement;
use writ_schemas::canonical;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Digest, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::receipt::Status;

use crate::desk::{
    DAN, DAY, Decided, Desk, HOUR, OPERATORS, SECOND, START, activate, applied, args, ending, intent, not_applied,
    payment, policy, rule_of, success,
};

/// The receipt that must come next.
fn follow(desk: &mut Desk) -> Digest {
    let ending = desk.state.ending().expect("a receipt must come next").clone();
    desk.end(&ending).0
}

/// A ledger in which a payment of 40 was let out.
fn shipped() -> (Desk, Decided) {
    let mut policy = policy();
    rule_of(&mut policy, "pay")["connector"] = json!("dock");
    let mut desk = Desk::under(policy);
    let decided = desk.start(payment("i-1", 40));
    (desk, decided)
}

/// The same, and nothing was reported in time: with the receipt.
fn missed() -> (Desk, Decided, Digest) {
    let (mut desk, decided) = shipped();
    desk.later(HOUR);
    desk.record(Event::DeadlinePassed(decided.digest));
    let receipt = follow(&mut desk);
    (desk, decided, receipt)
}

#[test]
fn what_others_carry_out_is_outside_from_its_dispatch_to_its_receipt() {
    let mut desk = Desk::furnished();
    let inside = desk.start(intent("i-1", "note"));
    let outside = desk.pass(intent("i-2", "ship"));
    let is_outside = |desk: &Desk| [&inside, &outside].map(|it| desk.state.is_outside(it.seq));
    assert_eq!(
        (is_outside(&desk), desk.state.open_inside()),
        ([false, false], 1),
        "what waits for its dispatch there is not inside"
    );
    assert_eq!(desk.state.open_here(), 2, "but it is not outside either");
    desk.dispatch(outside.seq);
    assert_eq!((is_outside(&desk), desk.state.open_inside()), ([false, true], 1));
    assert_eq!(desk.state.open_here(), 1);
    assert_eq!(desk.state.ending(), None);
    desk.does(not_applied(outside.digest, "no ship"), &[DAN]);
    follow(&mut desk);
    assert_eq!((is_outside(&desk), desk.state.open_inside()), ([false, false], 1));
    desk.end(&success(inside.seq));
    assert_eq!(desk.state.open_inside(), 0);
}

#[test]
fn the_policy_of_the_dispatch_says_whether_it_is_outside() {
    let mut desk = Desk::furnished();
    let decided = desk.pass(intent("i-1", "note"));
    let mut moved = policy();
    moved["connectors"]["echo"] = moved["connectors"]["dock"].clone();
    desk.administer(activate(moved));
    desk.dispatch(decided.seq);
    assert!(desk.state.is_outside(decided.seq));
    // What comes later changes neither that nor the shape that its output must have.
    desk.administer(activate(policy()));
    assert!(desk.state.is_outside(decided.seq));
    assert_eq!(desk.state.open_inside(), 0, "where its connector is inside by now, too");
    desk.does(applied(decided.digest, json!([])), &[DAN]);
    assert_eq!(desk.state.ending().map(|ending| ending.code), Some(Code::ConnectorContractDrift));
}

#[test]
fn a_report_says_how_it_ends() {
    let canonical = |value| Some(Digest::of(&canonical::bytes(&value).expect("JSON")));
    let (shipped, mut desk) = {
        let (desk, decided) = shipped();
        (decided, desk)
    };
    let (of, decision) = (shipped.digest, shipped.seq);
    let because = |text: &str| Some(text.to_owned());
    let refused = ending(decision, Status::Failed, Code::ConnectorRefused);
    let done = Ending { output: canonical(json!({"b": 1, "a": 2})), ..success(decision) };
    for (what, report, expected, spent) in [
        ("it happened", applied(of, json!({"b": 1, "a": 2})), done, (0, 40)),
        ("it did not", not_applied(of, "no ship"), Ending { because: because("no ship"), ..refused.clone() }, (0, 0)),
        (
            "it did not, and nobody says why",
            Statement::Report { applied: false, because: None, decision: of, output: None },
            refused,
            (0, 0),
        ),
    ] {
        let mut desk = desk.clone();
        desk.does(report, &[DAN]);
        assert_eq!(desk.state.ending(), Some(&expected), "{what}");
        follow(&mut desk);
        assert_eq!((desk.state.ending(), desk.spent()), (None, spent), "{what}");
        assert_eq!(desk.state.due(UnixMicros(u64::MAX)), None, "its deadline is over with it");
    }
    for (what, output) in [("another shape", Some(json!("done"))), ("null, where it is left out", None)] {
        let mut desk = desk.clone();
        let report = Statement::Report { applied: true, because: None, decision: of, output: output.clone() };
        desk.does(report, &[DAN]);
        let ended = desk.state.ending().expect("it must end").clone();
        assert_eq!((ended.status, ended.code), (Status::Failed, Code::ConnectorContractDrift), "{what}");
        assert_eq!(ended.output, canonical(output.unwrap_or_default()), "{what}");
        assert!(ended.because.is_some_and(|because| !because.is_empty()), "{what}");
        follow(&mut desk);
        assert_eq!(desk.spent(), (0, 40), "the money is spent: {what}");
    }
    desk.does(not_applied(of, &"x".repeat(1000)), &[DAN]);
    let kept = desk.state.ending().and_then(|ending| ending.because.clone()).expect("something is kept");
    assert!(kept.starts_with("xxx") && kept.len() < 300, "{kept}");
}

#[test]
fn nothing_but_a_report_or_the_deadline_ends_it() {
    let (mut desk, shipped) = shipped();
    let lost = ending(shipped.seq, Status::Uncertain, Code::Interrupted);
    let refusal = |desk: &Desk, ending: &Ending| desk.receipt(ending).err().map(|refusal| refusal.code);
    for ending in [success(shipped.seq), lost.clone()] {
        assert_eq!(refusal(&desk, &ending), Some(Code::DispatchRefused));
    }
    let inside = desk.start(intent("i-2", "note"));
    desk.does(applied(shipped.digest, json!({})), &[DAN]);
    assert_eq!(refusal(&desk, &lost), Some(Code::DispatchRefused), "something else was reported");
    assert_eq!(refusal(&desk, &success(inside.seq)), Some(Code::DispatchRefused), "the other one comes first");
    assert_eq!(refusal(&desk, &success(shipped.seq)), None);
}

#[test]
fn the_deadline_makes_it_uncertain() {
    let mut desk = Desk::furnished();
    let decided = desk.pass(intent("i-1", "ship"));
    desk.later(5);
    desk.dispatch(decided.seq);
    let due = START.plus(HOUR + 5);
    assert_eq!(desk.state.due(UnixMicros(due.0 - 1)), None);
    assert_eq!(desk.state.due(due), Some(decided.digest));
    desk.now = due;
    desk.record(Event::DeadlinePassed(decided.digest));
    assert_eq!(desk.state.due(due), None);
    assert_eq!(desk.state.ending(), Some(&ending(decided.seq, Status::Uncertain, Code::OutcomeMissing)));
    follow(&mut desk);
    assert_eq!((desk.state.ending(), desk.state.open().len()), (None, 0));
}

#[test]
fn a_late_report_settles_what_was_uncertain() {
    for (report, spent) in [(true, (0, 40)), (false, (0, 0))] {
        let (mut desk, decided, receipt) = missed();
        assert_eq!(desk.spent(), (40, 0), "it is held");
        let of = decided.digest;
        let report = if report { applied(of, json!("any shape, by now")) } else { not_applied(of, "no ship") };
        desk.does(report.clone(), &[DAN]);
        assert_eq!((desk.spent(), desk.state.ending()), (spent, None), "no second receipt");
        desk.later(1);
        assert_eq!(desk.would(report, &[DAN]), Err(Code::OutcomeUnknown), "it is known by now");
        let reconcile = Statement::Reconcile { receipt, applied: true };
        assert_eq!(desk.would(reconcile, &OPERATORS), Err(Code::ReceiptUnknown));
    }
}

#[test]
fn what_operators_settled_is_not_reported_any_more() {
    let (mut desk, decided, receipt) = missed();
    assert_eq!(desk.would(not_applied(decided.digest, "no ship"), &[DAN]), Ok(()));
    desk.administer(Statement::Reconcile { receipt, applied: false });
    assert_eq!(desk.spent(), (0, 0));
    assert_eq!(desk.would(not_applied(decided.digest, "no ship"), &[DAN]), Err(Code::OutcomeUnknown));
}

#[test]
fn only_what_was_missed_outside_can_be_reported_late() {
    let mut desk = Desk::furnished();
    let inside = desk.start(intent("i-1", "note"));
    desk.lose(inside.seq);
    assert_eq!(desk.would(applied(inside.digest, json!({})), &[DAN]), Err(Code::OutcomeUnknown));
    let outside = desk.start(intent("i-2", "ship"));
    desk.does(not_applied(outside.digest, "no ship"), &[DAN]);
    follow(&mut desk);
    desk.later(1);
    assert_eq!(desk.would(applied(outside.digest, json!({})), &[DAN]), Err(Code::OutcomeUnknown));
}

#[test]
fn so_many_are_outside_at_once_and_the_next_one_waits_a_second() {
    let mut desk = Desk::furnished();
    let next = desk.pass(intent("next", "ship"));
    let short = desk.pass(Intent { expires_at: START.plus(7), ..intent("short", "ship") });
    let inside = desk.pass(intent("inside", "note"));
    let mut first = None;
    for number in 0..OUTSIDE_MAX {
        assert_eq!(desk.turn(next.seq), Ok(Dispatch::Start));
        let of = Intent { args: args(json!({"number": number})), ..intent(&format!("i-{number}"), "ship") };
        let decided = desk.pass(of);
        desk.record(Event::DispatchStarted(decided.seq));
        first.get_or_insert(decided);
    }
    assert_eq!(desk.turn(next.seq), Ok(Dispatch::Wait(START.plus(SECOND))));
    assert_eq!(desk.turn(short.seq), Ok(Dispatch::Wait(START.plus(7))), "no longer than its window");
    assert_eq!(desk.turn(inside.seq), Ok(Dispatch::Start), "it needs no room there");
    desk.does(not_applied(first.expect("some are outside").digest, "no ship"), &[DAN]);
    follow(&mut desk);
    assert_eq!(desk.turn(next.seq), Ok(Dispatch::Start));
    desk.dispatch(next.seq);
    let last = desk.pass(intent("last", "ship"));
    assert_eq!(desk.turn(last.seq), Ok(Dispatch::Wait(START.plus(SECOND))), "one place was free, and no more");
}

#[test]
fn a_connector_gives_1_microsecond_to_7_days_and_tries_nothing_again() {
    let desk = Desk::furnished();
    for (within, expected) in
        [(0, Err(Code::PolicyInvalid)), (1, Ok(())), (7 * DAY, Ok(())), (7 * DAY + 1, Err(Code::PolicyInvalid))]
    {
        let mut policy = policy();
        policy["connectors"]["dock"]["kind"]["external"]["within_us"] = json!(within);
        assert_eq!(desk.would(activate(policy), &OPERATORS), expected, "{within}");
    }
    let mut again = policy();
    again["connectors"]["dock"]["retry"] = again["connectors"]["web"]["retry"].clone();
    assert_eq!(desk.would(activate(again), &OPERATORS), Err(Code::PolicyInvalid));
}

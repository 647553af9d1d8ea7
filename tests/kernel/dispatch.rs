//! Whether a decision may be dispatched when its turn has come: once, in its window, and not while its connector is left
//! alone.

use serde_json::{Value, json};

use writ_kernel::execution::{Dispatch, Ending};
use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::event::{DispatchRetried, Event};
use writ_schemas::ids::{Digest, Seq, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::receipt::Status;

use crate::desk::{
    ANN, Desk, HOUR, SECOND, START, activate, ending, freeze, intent, name, payment, policy, success, thaw, trust,
};

/// The policy in which the connector of `call` is left alone after so many failures in a row.
fn breaking(failures: u32, pause_us: u64) -> Value {
    let mut policy = policy();
    policy["connectors"]["web"]["breaker"] = json!({"failures": failures, "pause_us": pause_us});
    policy
}

fn retried(decision: Seq, attempts: u32) -> Event {
    Event::DispatchRetried(DispatchRetried { decision, attempts, due: START, because: String::new(), asked_us: 0 })
}

fn noise() -> Event {
    Event::StateHashed(Digest([9; 32]))
}

#[test]
fn a_decision_is_dispatched_once() {
    let mut desk = Desk::furnished();
    assert_eq!(desk.turn(Seq(3)), Err(Code::DecisionMissing));
    let decision = desk.pass(intent("i-1", "note")).seq;
    assert_eq!(desk.turn(decision), Ok(Dispatch::Start));
    desk.dispatch(decision);
    assert_eq!(desk.turn(decision), Err(Code::DispatchRefused));
    desk.end(&success(decision));
    assert_eq!(desk.turn(decision), Err(Code::DecisionMissing));
}

#[test]
fn its_window_closes() {
    let mut desk = Desk::furnished();
    let decision = desk.pass(intent("i-1", "note")).seq;
    desk.now = START.plus(HOUR - 1);
    assert_eq!(desk.turn(decision), Ok(Dispatch::Start));
    desk.now = START.plus(HOUR);
    assert_eq!(desk.turn(decision), Ok(Dispatch::Expire(Code::WindowClosed)));
}

#[test]
fn freeze_and_revocation_are_asked_again() {
    let mut desk = Desk::furnished();
    let decision = desk.pass(intent("i-1", "note")).seq;
    for (tenant, principal, expected) in [
        (None, None, Dispatch::Expire(Code::Frozen)),
        (Some("acme"), None, Dispatch::Expire(Code::Frozen)),
        (Some("acme"), Some("ann"), Dispatch::Expire(Code::Frozen)),
        (Some("acme"), Some("bob"), Dispatch::Start),
        (Some("beta"), None, Dispatch::Start),
    ] {
        desk.administer(freeze(tenant, principal));
        assert_eq!(desk.turn(decision), Ok(expected), "{tenant:?} {principal:?}");
        desk.administer(thaw(tenant, principal));
        desk.later(1);
    }
    desk.administer(Statement::RevokeKey { key: ANN });
    assert_eq!(desk.turn(decision), Ok(Dispatch::Expire(Code::KeyRevoked)));
    desk.administer(trust(ANN, "acme", "ann", &[]));
    assert_eq!(desk.turn(decision), Ok(Dispatch::Start));
}

#[test]
fn a_connector_that_keeps_failing_is_left_alone_for_a_while() {
    let mut desk = Desk::under(breaking(2, 60 * SECOND));
    let calls: Vec<Seq> = (0..4).map(|at| desk.pass(intent(&format!("i-{at}"), "call")).seq).collect();
    let note = desk.pass(intent("i-4", "note")).seq;
    let fail = |desk: &mut Desk, call| {
        desk.dispatch(call);
        desk.end(&ending(call, Status::Failed, Code::ConnectorUnavailable));
    };
    fail(&mut desk, calls[0]);
    assert_eq!((desk.turn(calls[2]), desk.state.stuck(&name("web"))), (Ok(Dispatch::Start), 0));
    fail(&mut desk, calls[1]);
    let pause = START.plus(60 * SECOND);
    assert_eq!((desk.turn(calls[2]), desk.state.stuck(&name("web"))), (Ok(Dispatch::Wait(pause)), 2));
    assert_eq!((desk.turn(note), desk.state.stuck(&name("echo"))), (Ok(Dispatch::Start), 0), "another connector");
    desk.now = START.plus(60 * SECOND - 1);
    desk.record(noise());
    assert_eq!((desk.turn(calls[2]), desk.state.stuck(&name("web"))), (Ok(Dispatch::Wait(pause)), 2));
    desk.now = pause;
    desk.record(noise());
    assert_eq!((desk.turn(calls[2]), desk.state.stuck(&name("web"))), (Ok(Dispatch::Start), 0), "it is tried again");
    fail(&mut desk, calls[2]);
    let pause = START.plus(120 * SECOND);
    assert_eq!(desk.turn(calls[3]), Ok(Dispatch::Wait(pause)), "one more failure is enough");
}

#[test]
fn nobody_waits_longer_than_the_window_holds() {
    let mut desk = Desk::under(breaking(1, HOUR));
    let short = Intent { expires_at: START.plus(HOUR / 2), ..intent("i-1", "call") };
    let waits = desk.pass(short).seq;
    let fails = desk.start(intent("i-2", "call")).seq;
    desk.later(1);
    desk.end(&ending(fails, Status::Failed, Code::ConnectorUnavailable));
    assert_eq!(desk.turn(waits), Ok(Dispatch::Wait(START.plus(HOUR / 2))));
}

#[test]
fn the_failures_of_a_connector_are_counted_from_the_last_time_that_it_answered() {
    let output = Some(Digest::of(b"{}"));
    let of = |status, code| Ending { output: None, ..ending(Seq(0), status, code) };
    let (failed, uncertain) = (Status::Failed, Status::Uncertain);
    // After one failure: what an ending makes of it, and what it makes of a third that fails again.
    let (trips, counts_on, starts_over) = ([true, true], [false, true], [false, false]);
    for (between, expected) in [
        (of(failed, Code::ConnectorUnavailable), trips),
        (of(uncertain, Code::ConnectorUncertain), trips),
        (of(uncertain, Code::OutcomeMissing), trips),
        (of(failed, Code::ConnectorUnknown), counts_on),
        (of(failed, Code::EffectDigest), counts_on),
        (of(uncertain, Code::ContentIntegrity), counts_on),
        (of(uncertain, Code::Interrupted), counts_on),
        (Ending { output, ..of(Status::Succeeded, Code::Ok) }, starts_over),
        (Ending { output, ..of(failed, Code::ConnectorContractDrift) }, starts_over),
        (of(failed, Code::ConnectorRefused), starts_over),
        (of(uncertain, Code::OutputNotCanonical), starts_over),
    ] {
        let mut desk = Desk::under(breaking(2, HOUR));
        let calls: Vec<Seq> = (0..3).map(|at| desk.start(intent(&format!("i-{at}"), "call")).seq).collect();
        let waits = desk.pass(intent("i-3", "call")).seq;
        let trips = |desk: &Desk| desk.turn(waits) != Ok(Dispatch::Start);
        let fails = |at: usize| ending(calls[at], failed, Code::ConnectorUnavailable);
        desk.end(&fails(0));
        desk.end(&Ending { decision: calls[1], ..between.clone() });
        let second = trips(&desk);
        desk.end(&fails(2));
        assert_eq!([second, trips(&desk)], expected, "{}", between.code);
    }
}

#[test]
fn an_attempt_that_is_made_again_is_a_failure_too() {
    let mut desk = Desk::under(breaking(2, HOUR));
    let [first, second] = ["i-1", "i-2"].map(|id| desk.start(intent(id, "call")).seq);
    desk.record(retried(first, 1));
    assert_eq!(desk.turn(first), Ok(Dispatch::Start));
    desk.record(retried(second, 1));
    assert_eq!(desk.turn(first), Ok(Dispatch::Wait(START.plus(HOUR))));
}

#[test]
fn a_policy_without_a_breaker_forgets_the_failures() {
    let mut desk = Desk::under(breaking(1, HOUR));
    let [first, second] = ["i-1", "i-2"].map(|id| desk.start(intent(id, "call")).seq);
    let waits = desk.pass(intent("i-3", "call")).seq;
    desk.end(&ending(first, Status::Failed, Code::ConnectorUnavailable));
    assert_ne!(desk.turn(waits), Ok(Dispatch::Start));
    desk.administer(activate(policy()));
    assert_ne!(desk.turn(waits), Ok(Dispatch::Start), "the pause that was begun holds");
    desk.end(&ending(second, Status::Failed, Code::ConnectorUnavailable));
    assert_eq!(desk.turn(waits), Ok(Dispatch::Start));
}

#[test]
fn what_is_stuck_was_tried_or_waits_for_a_connector_that_is_down() {
    let mut desk = Desk::furnished();
    let stuck = |desk: &Desk| desk.state.stuck(&name("web"));
    let all: Vec<Seq> = (0..18).map(|at| desk.start(intent(&format!("i-{at}"), "call")).seq).collect();
    assert_eq!(stuck(&desk), 0);
    for (tried, waiting) in all[..15].iter().zip(1_u64..) {
        desk.record(retried(*tried, 1));
        assert_eq!((stuck(&desk), desk.state.stuck(&name("echo"))), (waiting, 0), "a few of a busy connector");
    }
    desk.dispatch(all[0]);
    desk.record(retried(all[0], 2));
    assert_eq!(stuck(&desk), 15, "two attempts of one are one execution");
    desk.record(retried(all[15], 1));
    assert_eq!(stuck(&desk), 18, "so many that it is down");
    desk.end(&success(all[17]));
    assert_eq!(stuck(&desk), 17, "one that was not tried again has ended");
    desk.dispatch(all[15]);
    desk.end(&success(all[15]));
    assert_eq!(stuck(&desk), 15);

    let mut desk = Desk::under(breaking(1, HOUR));
    let [first, _] = ["i-1", "i-2"].map(|id| desk.start(intent(id, "call")).seq);
    desk.pass(intent("i-3", "call"));
    desk.end(&ending(first, Status::Failed, Code::ConnectorUnavailable));
    assert_eq!(stuck(&desk), 2, "it is left alone");
    desk.later(HOUR);
    desk.record(noise());
    assert_eq!(stuck(&desk), 0);
}

#[test]
fn what_is_open_can_be_asked() {
    let mut desk = Desk::furnished();
    let session = Some(name("s-1"));
    let decided = desk.pass(Intent { session: session.clone(), ..payment("i-1", 9) });
    desk.later(4);
    desk.dispatch(decided.seq);
    let open: Vec<_> = desk.state.open().iter().collect();
    let [(seq, open)] = open[..] else { panic!("one is open") };
    let execution = decided.decision.execution.expect("it passed");
    assert_eq!((*seq, open.decision, open.intent_seq), (decided.seq, decided.digest, decided.decision.intent_seq));
    assert_eq!((open.tenant.as_str(), open.id.as_str(), open.principal.as_str()), ("acme", "i-1", "ann"));
    assert_eq!((open.action.as_str(), &open.session, open.expires_at), ("pay", &session, START.plus(HOUR)));
    assert_eq!(
        (open.signer, open.effect, open.idempotency_key),
        (ANN, execution.effect_digest, execution.idempotency_key)
    );
    assert_eq!((open.connector.as_str(), open.not_after), ("echo", START.plus(HOUR)));
    assert_eq!((&open.reservation, open.reservation[0].amount), (&execution.reservation, 9));
    assert_eq!((open.dispatched_at, open.attempts, open.due), (Some(START.plus(4)), 0, UnixMicros(0)));
}

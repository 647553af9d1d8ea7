//! How executions end: in which ways, what is charged, and where the receipt stands in its session.

use serde_json::json;

use writ_kernel::execution::{self, Dispatch, Ending};
use writ_schemas::act::Statement;
use writ_schemas::decision::Verdict;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Digest, Lamport, Seq};
use writ_schemas::intent::Intent;
use writ_schemas::receipt::{Receipt, Status};

use crate::desk::{Desk, HOUR, LEDGER, START, ending, intent, name, payment, policy, rule_of, success};

fn within(session: &str, intent: Intent) -> Intent {
    Intent { session: Some(name(session)), ..intent }
}

fn refusal(desk: &Desk, ending: &Ending) -> Option<Code> {
    desk.receipt(ending).err().map(|refusal| refusal.code)
}

#[test]
fn each_way_to_end_has_its_output_and_settles_what_was_reserved() {
    use Status::{Expired, Failed, Succeeded, Uncertain};
    let digest = Digest::of(b"{}");
    let (held, charged, free) = ((40, 0), (0, 40), (0, 0));
    for (status, code, output, spent) in [
        (Succeeded, Code::Ok, true, charged),
        (Failed, Code::ConnectorContractDrift, true, charged),
        (Failed, Code::ConnectorRefused, false, free),
        (Failed, Code::ConnectorUnavailable, false, free),
        (Failed, Code::ConnectorUnknown, false, free),
        (Failed, Code::EffectDigest, false, free),
        (Uncertain, Code::ConnectorUncertain, false, held),
        (Uncertain, Code::OutputNotCanonical, false, held),
        (Uncertain, Code::ContentIntegrity, false, held),
        (Uncertain, Code::Interrupted, false, held),
        (Uncertain, Code::OutcomeMissing, false, held),
        (Expired, Code::Frozen, false, free),
        (Expired, Code::KeyRevoked, false, free),
        (Expired, Code::WindowClosed, false, free),
    ] {
        let mut desk = Desk::furnished();
        let decision = desk.pass(payment("i-1", 40)).seq;
        if status != Expired {
            desk.dispatch(decision);
        }
        assert_eq!(desk.spent(), held);
        let of = |output| Ending { output, ..ending(decision, status, code) };
        assert_eq!(refusal(&desk, &of((!output).then_some(digest))), Some(Code::DispatchRefused), "{code}");
        let (_, receipt) = desk.end(&of(output.then_some(digest)));
        assert_eq!(desk.spent(), spent, "{code}");
        let charged: u64 = receipt.usage.iter().map(|amount| amount.amount).sum();
        assert_eq!(charged, spent.1, "{code}: the receipt says what is charged");
        assert!(desk.state.open().is_empty());
    }
}

#[test]
fn nothing_ends_in_another_way() {
    let mut desk = Desk::furnished();
    let (waits, started) = (desk.pass(intent("i-1", "note")).seq, desk.start(intent("i-2", "note")).seq);
    let output = Some(Digest::of(b"{}"));
    for (what, ending, code) in [
        ("a decision that is not open", success(Seq(3)), Code::DecisionMissing),
        ("success without a dispatch", success(waits), Code::DispatchRefused),
        ("a failure without one", ending(waits, Status::Failed, Code::ConnectorRefused), Code::DispatchRefused),
        ("expiry of what was dispatched", ending(started, Status::Expired, Code::WindowClosed), Code::DispatchRefused),
        (
            "success for a failure's reason",
            Ending { code: Code::ConnectorRefused, ..success(started) },
            Code::DispatchRefused,
        ),
        ("a failure called OK", ending(started, Status::Failed, Code::Ok), Code::DispatchRefused),
        (
            "drift that is uncertain",
            Ending { status: Status::Uncertain, code: Code::ConnectorContractDrift, output, ..success(started) },
            Code::DispatchRefused,
        ),
    ] {
        assert_eq!(refusal(&desk, &ending), Some(code), "{what}");
    }
    let with = desk.receipt(&Ending { output, ..ending(started, Status::Failed, Code::ConnectorRefused) });
    let without = desk.receipt(&ending(started, Status::Succeeded, Code::Ok));
    assert!(with.is_err_and(|refusal| refusal.detail.ends_with(" with an output")));
    assert!(without.is_err_and(|refusal| refusal.detail.ends_with(" without an output")));
}

#[test]
fn a_receipt_says_what_was_decided_and_how_it_ended() {
    let mut desk = Desk::furnished();
    let decided = desk.pass(within("s-1", payment("i-1", 40)));
    desk.later(2);
    desk.dispatch(decided.seq);
    desk.later(3);
    let ended = Ending { because: Some("as it should be".to_owned()), ..success(decided.seq) };
    let (_, receipt) = desk.end(&ended);
    let execution = decided.decision.execution.expect("it passed");
    let expected = Receipt {
        action: name("pay"),
        because: Some("as it should be".to_owned()),
        code: Code::Ok,
        connector: name("echo"),
        decision_digest: decided.digest,
        decision_seq: decided.seq,
        dispatched_at: Some(START.plus(2)),
        effect_digest: execution.effect_digest,
        ended_at: START.plus(5),
        id: name("i-1"),
        lamport: Lamport(1),
        ledger: LEDGER,
        output: Some(Digest::of(b"{}")),
        previous: None,
        principal: name("ann"),
        session: Some(name("s-1")),
        status: Status::Succeeded,
        tenant: name("acme"),
        usage: execution.reservation,
    };
    assert_eq!(receipt, expected);
    assert_eq!(Ending::of(&receipt), ended);
}

#[test]
fn what_others_say_of_an_ending_is_kept_short() {
    let mut desk = Desk::furnished();
    let decision = desk.start(intent("i-1", "note")).seq;
    let because = Some("x".repeat(1000));
    let (_, receipt) = desk.end(&Ending { because, ..ending(decision, Status::Failed, Code::ConnectorRefused) });
    let kept = receipt.because.expect("something is kept");
    assert!(kept.starts_with("xxx") && kept.len() < 300, "{kept}");
}

#[test]
fn receipts_are_chained_within_their_session() {
    let mut desk = Desk::furnished();
    let mut ended = |session: Option<&str>, id: &str| {
        let decision = desk.start(Intent { session: session.map(name), ..intent(id, "note") }).seq;
        let (digest, receipt) = desk.end(&success(decision));
        (digest, receipt.lamport.0, receipt.previous)
    };
    let (first, lamport, previous) = ended(Some("s-1"), "i-1");
    assert_eq!((lamport, previous), (1, None));
    let (_, lamport, previous) = ended(Some("s-2"), "i-2");
    assert_eq!((lamport, previous), (1, None), "another session");
    let (second, lamport, previous) = ended(Some("s-1"), "i-3");
    assert_eq!((lamport, previous), (2, Some(first)));
    let (_, lamport, previous) = ended(None, "i-4");
    assert_eq!((lamport, previous), (1, None), "no session");
    let (_, lamport, previous) = ended(Some("s-1"), "i-5");
    assert_eq!((lamport, previous), (3, Some(second)));
}

#[test]
fn a_session_lasts_until_the_last_of_its_intents_expires() {
    let mut desk = Desk::furnished();
    let until = |micros, id: &str| Intent { expires_at: START.plus(micros), ..within("s-1", intent(id, "note")) };
    let lamport = |desk: &Desk, decision| desk.receipt(&success(decision)).expect("it fits").lamport.0;
    let open = desk.start(until(4 * HOUR, "i-0")).seq;
    for (micros, id) in [(2 * HOUR, "i-1"), (HOUR, "i-2")] {
        let decision = desk.start(until(micros, id)).seq;
        desk.end(&success(decision));
    }
    for (at, expected) in [(HOUR, 3), (2 * HOUR - 1, 3), (2 * HOUR, 1)] {
        desk.now = START.plus(at);
        assert_eq!(lamport(&desk, open), expected, "before an entry at {at}");
        desk.record(Event::StateHashed(Digest([9; 32])));
        assert_eq!(lamport(&desk, open), expected, "after it");
    }
}

#[test]
fn only_what_succeeded_shows_that_something_was_done() {
    let mut policy = policy();
    rule_of(&mut policy, "call")["requires"] = json!({"requirement": "noted"});
    policy["requirements"] = json!({"noted": {"receipt": {"action": "note"}}});
    let mut desk = Desk::under(policy);
    for (at, (ended, code)) in [
        (ending(Seq(0), Status::Failed, Code::ConnectorRefused), Code::ProofMissing),
        (ending(Seq(0), Status::Uncertain, Code::Interrupted), Code::ProofMissing),
        (success(Seq(0)), Code::Ok),
        (ending(Seq(0), Status::Failed, Code::ConnectorRefused), Code::Ok),
    ]
    .into_iter()
    .enumerate()
    {
        let decision = desk.start(within("s-1", intent(&format!("i-{at}"), "note"))).seq;
        desk.end(&Ending { decision, ..ended });
        assert_eq!(desk.answer(within("s-1", intent("i-9", "call"))).1, code, "{at}");
    }
}

#[test]
fn what_was_uncertain_is_settled_when_it_is_known() {
    for (applied, spent) in [(true, (0, 40)), (false, (0, 0))] {
        let mut desk = Desk::furnished();
        let decision = desk.start(payment("i-1", 40)).seq;
        let receipt = desk.lose(decision);
        assert_eq!(desk.spent(), (40, 0));
        assert_eq!(desk.answer(payment("i-2", 961)), (Verdict::Fail, Code::BudgetExceeded), "what is held counts");
        desk.administer(Statement::Reconcile { receipt, applied });
        assert_eq!(desk.spent(), spent);
    }
}

#[test]
fn what_expired_is_not_dispatched_any_more() {
    let mut desk = Desk::furnished();
    let decision = desk.pass(payment("i-1", 40)).seq;
    desk.later(HOUR);
    assert_eq!(desk.turn(decision), Ok(Dispatch::Expire(Code::WindowClosed)));
    let (_, receipt) = desk.end(&ending(decision, Status::Expired, Code::WindowClosed));
    assert_eq!((receipt.dispatched_at, receipt.usage.len()), (None, 0));
    assert_eq!(desk.turn(decision), Err(Code::DecisionMissing));
}

#[test]
fn a_document_is_written_so_that_it_can_be_read_again() {
    let mut desk = Desk::furnished();
    let decision = desk.start(payment("i-1", 40)).seq;
    let receipt = desk.receipt(&success(decision)).expect("it fits");
    let document = execution::document(receipt.clone()).expect("it can be written");
    assert_eq!(document.value(), &receipt);
    assert!(document.signatures().is_empty());
}

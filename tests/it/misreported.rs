//! Of what is carried out outside, a ledger's owner can forge nothing either: each receipt says what was reported, or that nothing
//! was, and replay names what says otherwise.

use serde_json::json;

use writ::checkpoint::Head;
use writ::clock::Clock;
use writ::executor::content::ContentStore;
use writ::folder::KeyRole;
use writ::sequencer::{Answer, Submitted};
use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::Decision;
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::event::{DispatchRetried, Event, EventKind, INLINE_OUTPUT_MAX, ReceiptIssued, SourceGap};
use writ_schemas::ids::{Digest, Seq};
use writ_schemas::keys::SecretKey;
use writ_schemas::policy::Bundle;
use writ_schemas::receipt::{Receipt, Status};

use crate::forged::{check, forgery, rewritten};
use crate::ledgers::{Expected, HOUR, Kept, NOW, Who, Working, ask, sign};
use crate::planted::{appended, partition};
use crate::scene::within;

fn bundle() -> Bundle {
    let off = json!({"disabled": "not tested here"});
    let bundle = json!({
        "name": "outside", "gates": {"temporal": off, "proof": off, "budget": "enforced", "escalation": off},
        "rules": [{"action": "ship", "requires": {"exempt": "harmless"}, "connector": "robot", "window_us": 60_000_000,
                   "spends": {"budget": {"name": "cents", "cost": {"fixed": 1}}}}],
        "budgets": {"cents": {"unit": "cents", "limit": 100}},
        "connectors": {"robot": {"kind": {"external": {"role": "approver", "within_us": HOUR}},
                                 "output_schema": {"type": "object", "required": ["label"]}}},
    });
    serde_json::from_value(bundle).expect("a bundle")
}

/// The decision of an id, and its entry.
fn decided(kept: &Kept, id: &str) -> (Seq, Signed<Decision>) {
    let found = kept.entries().into_iter().find_map(|located| match located.entry.event() {
        Ok(Event::DecisionMade(decision)) if decision.value().id.as_str() == id => {
            Some((located.entry.header.seq, decision))
        }
        _ => None,
    });
    found.expect("a decision")
}

fn receipt_of(kept: &Kept, id: &str) -> Receipt {
    let found = kept.events().into_iter().find_map(|event| match event {
        Event::ReceiptIssued(issued) if issued.receipt.value().id.as_str() == id => {
            Some(issued.receipt.value().clone())
        }
        _ => None,
    });
    found.expect("a receipt")
}

fn told(decision: Digest, applied: bool, output: Option<serde_json::Value>) -> Statement {
    let because = (!applied).then(|| "the door is shut".to_owned());
    Statement::Report { applied, because, decision, output }
}

fn act(kept: &Kept, statement: Statement, key: &SecretKey) -> Signed<Act> {
    let nonce = format!("by-{}", Digest::of(format!("{statement:?}").as_bytes()));
    let act = Act {
        ledger: kept.genesis().ledger,
        nonce: nonce.parse().expect("a name"),
        expires_at: NOW.plus(5 * HOUR),
        statement,
    };
    sign(act, key)
}

fn ship(working: &mut Working, ids: &[&'static str]) {
    let table: Vec<_> = ids.iter().map(|id| (ask(id, Who::Agent, "ship", 1), Expected::Pass)).collect();
    let table: Vec<_> = table
        .into_iter()
        .map(|(ask, passes)| (crate::ledgers::Ask { expires_at: NOW.plus(9 * HOUR), ..ask }, passes))
        .collect();
    working.tell(&table, &[]);
}

fn report(working: &Working, id: &str, applied: bool, output: Option<serde_json::Value>) {
    let kept = working.copy();
    let (_, decision) = decided(&kept, id);
    let act = act(&kept, told(decision.digest(), applied, output), &Who::Approver.key());
    let answer = working.submit(Submitted::Act(Box::new(act)));
    assert!(matches!(answer, Answer::Recorded(_)), "{id}: {answer:?}");
}

fn dispatched(working: &Working, dispatches: usize) {
    let started = || working.copy().events().iter().filter(|event| event.kind() == EventKind::DispatchStarted).count();
    within("every dispatch", || started() >= dispatches);
}

/// An output that does not stand beside a receipt unless it was reported.
fn long() -> serde_json::Value {
    json!({"label": "x".repeat(INLINE_OUTPUT_MAX)})
}

/// Reported, refused, drifted, missed, missed and reported late, and still open.
fn ledger() -> Kept {
    let mut working = Working::start();
    for who in [Who::Agent, Who::Approver] {
        working.act(who.trust());
    }
    working.act(Statement::ActivatePolicy { bundle: bundle() });
    ship(&mut working, &["done", "refused", "drifted", "missed", "late"]);
    dispatched(&working, 5);
    report(&working, "done", true, Some(long()));
    report(&working, "refused", false, None);
    report(&working, "drifted", true, Some(json!({"lable": "DE-1"})));
    let mut working = Working::open(working.finish(), Clock::manual(NOW.plus(2 * HOUR)));
    ship(&mut working, &["open"]);
    dispatched(&working, 6);
    report(&working, "late", true, Some(json!({"label": "DE-2"})));
    working.finish()
}

#[test]
fn a_reported_output_stands_beside_its_receipt() {
    let closed = ledger();
    let mut place = None;
    let mut moved = Vec::new();
    let copy = rewritten(&closed, &mut |_, seq, event| {
        let Event::ReceiptIssued(issued) = event else { return };
        if issued.receipt.value().id.as_str() == "done" {
            (place, moved) = (Some(seq), issued.output.take().expect("it stands there"));
        }
    });
    assert!(moved.len() > INLINE_OUTPUT_MAX);
    ContentStore::at(copy.folder.content()).put(&Digest::of(&moved), &moved).expect("it can be kept");
    assert_eq!(copy.verified().broken, None, "the forgery is not good enough");
    let divergence = copy.replayed().divergence.expect("it is noticed");
    assert_eq!((Some(divergence.seq), divergence.fields[0].field.as_str()), (place, "output"));
}

#[test]
fn a_receipt_says_what_was_reported() {
    let closed = ledger();
    let replayed = closed.replayed();
    assert_eq!((replayed.verified.ok, &replayed.divergence), (true, &None), "{:?}", replayed.divergence);
    let statuses = ["done", "refused", "drifted", "missed", "late"].map(|id| receipt_of(&closed, id).status);
    use Status::{Failed, Succeeded, Uncertain};
    assert_eq!(statuses, [Succeeded, Failed, Failed, Uncertain, Uncertain]);

    let receipt = |story, id, fields: &[(&'static str, serde_json::Value)]| {
        check(&closed, &forgery(story, EventKind::ReceiptIssued, id, fields.iter().cloned()));
    };
    let (drift, refused) = (json!(Code::ConnectorContractDrift), json!(Code::ConnectorRefused));
    receipt("done, and said to have drifted", "done", &[("status", json!("FAILED")), ("code", drift)]);
    receipt("drifted, and said to be done", "drifted", &[("status", json!("SUCCEEDED")), ("code", json!("OK"))]);
    receipt("where it drifted", "drifted", &[("because", json!("/label does not fit"))]);
    receipt("why it was not done", "refused", &[("because", json!("nobody knows"))]);
    receipt(
        "not done, and said to be uncertain",
        "refused",
        &[("status", json!("UNCERTAIN")), ("code", json!(Code::Interrupted))],
    );
    receipt("missed, and said to be interrupted", "missed", &[("code", json!(Code::Interrupted))]);
    receipt("missed, and said not to be done", "missed", &[("status", json!("FAILED")), ("code", refused)]);
}

#[test]
fn what_is_outside_ends_by_a_report_or_its_deadline_and_by_nothing_else() {
    let closed = ledger();
    let (open, decision) = decided(&closed, "open");
    let report = |id: &str, key: SecretKey| {
        let (_, decision) = decided(&closed, id);
        Event::OutcomeReconciled(act(&closed, told(decision.digest(), true, Some(json!({"label": 1}))), &key))
    };
    let robot = || Who::Approver.key();
    let ended = |status, code, output: Option<&[u8]>| {
        let output = output.map(<[u8]>::to_vec);
        let receipt = Receipt {
            id: "open".parse().expect("a name"),
            decision_seq: open,
            decision_digest: decision.digest(),
            status,
            code,
            output: output.as_deref().map(Digest::of),
            ..receipt_of(&closed, "missed")
        };
        let receipt = sign(receipt, &closed.folder.read_key(KeyRole::Decision).expect("a key"));
        Event::ReceiptIssued(ReceiptIssued { receipt, output })
    };
    let interrupted = || ended(Status::Uncertain, Code::Interrupted, None);
    let done = || ended(Status::Succeeded, Code::Ok, Some(br#"{"label":1}"#));
    let retried =
        DispatchRetried { decision: open, attempts: 1, due: NOW.plus(9 * HOUR), because: "no".to_owned(), asked_us: 0 };
    let gap = || Event::SourceGap(SourceGap { partition: partition(), expected: 0, found: 1 });
    let passed = || Event::DeadlinePassed(decision.digest());
    let (soon, later) = (NOW.plus(2 * HOUR + HOUR / 2), NOW.plus(4 * HOUR));
    let rows = [
        ("a receipt that nobody reported", soon, vec![done()], "receipt"),
        ("one that was interrupted", soon, vec![interrupted()], "receipt"),
        ("a dispatch that comes again", soon, vec![Event::DispatchRetried(retried)], "retry"),
        ("a second dispatch", soon, vec![Event::DispatchStarted(open)], "dispatch"),
        ("a deadline that has not passed", soon, vec![passed()], "deadline"),
        ("a report by a stranger", soon, vec![report("open", Who::Stranger.key())], "statement"),
        ("a report by who asked", soon, vec![report("open", Who::Agent.key())], "statement"),
        ("a report of what was reported", soon, vec![report("done", robot())], "statement"),
        ("a report of what was reported late", soon, vec![report("late", robot())], "statement"),
        ("a report without its receipt", soon, vec![report("open", robot())], "receipt"),
        ("a report and something else", soon, vec![report("open", robot()), gap()], "event"),
        ("a deadline without its receipt", later, vec![passed()], "receipt"),
        ("a deadline and something else", later, vec![passed(), gap()], "event"),
        ("something else when it has passed", later, vec![gap()], "event"),
        ("a report when it has passed", later, vec![report("open", robot())], "event"),
    ];
    let key = closed.folder.read_key(KeyRole::Checkpoint).expect("a key");
    for (story, at, events, field) in rows {
        let longer = appended(&closed, at, &[events]);
        let mut head = Head::default();
        longer.entries().iter().for_each(|located| head.push(&located.entry.header));
        std::fs::write(longer.latest(), head.checkpoint(&closed.genesis().origin).sign(&key)).expect("writes");
        let report = longer.verified();
        assert_eq!((report.ok, report.broken), (true, None), "{story}: the forgery is not good enough");
        let divergence = longer.replayed().divergence.unwrap_or_else(|| panic!("{story}: replay saw nothing"));
        let fields: Vec<&str> = divergence.fields.iter().map(|it| it.field.as_str()).collect();
        assert_eq!((divergence.seq, fields), (Seq(report.entries - 1), vec![field]), "{story}");
    }
}

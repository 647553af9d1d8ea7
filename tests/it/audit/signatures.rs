//! Signatures that do not fit: in the log, whoever doctored it; and at the door.

use std::cell::Cell;

use serde_json::Value;

use writ_schemas::dsse::{Document, Signature, Signed};
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, EventKind};
use writ_schemas::ids::Seq;
use writ_schemas::keys::SecretKey;

use super::kept;
use crate::forged::rewritten;
use crate::ledgers::Kept;
use crate::scene::{Scene, Served, note, signed, writ};
use crate::transcripts::after;

/// A ledger that has each sort of signed document.
fn story() -> Kept {
    let (scene, _) = after(
        "Given that agents may pay
        And pay needs an approval by an approver
        And pay asks 1 manager within 1 hour, if intent.args.cents > 500
        And agents may wire
        And wire is carried out by a service that hangs up
        And agent-1 is an agent
        And ann is an approver
        And bob is a manager
        When ann signs an approval, called A
        And agent-1 asks to pay 300 cents as p-1, showing A
        And agent-1 asks to pay 600 cents as p-2, showing A
        And bob grants p-2
        And agent-1 asks to wire 300 cents as w-1
        And the operators find that w-1 happened
        And the operators freeze everything
        And the operators thaw everything",
    );
    let kept = kept(&scene);
    assert_eq!(kept.run("replay", &[]).0, Some(0), "it is sound before it is doctored");
    kept
}

fn spoilt<T: Document>(document: &Signed<T>) -> Signed<T> {
    let mut signatures: Vec<Signature> = document.signatures().to_vec();
    signatures[0].bytes[63] ^= 1;
    Signed::from_parts(document.payload().to_vec(), signatures).expect("still a document")
}

/// The same payload under the signature of somebody else who signed it well.
fn anothers<T: Document + Clone>(document: &Signed<T>) -> Signed<T> {
    Signed::unsigned(document.value().clone()).expect("canonical").sign(&SecretKey::from_seed(&[77; 32]))
}

/// A payload with one field changed under the old signature.
fn altered<T: Document>(document: &Signed<T>, pointer: &str, value: impl Into<Value>) -> Signed<T> {
    let mut payload: Value = serde_json::from_slice(document.payload()).expect("JSON");
    let (field, value) = (payload.pointer_mut(pointer).expect("a field"), value.into());
    assert_ne!(*field, value, "{pointer} is that already");
    *field = value;
    Signed::from_parts(payload.to_string().into_bytes(), document.signatures().to_vec()).expect("still a document")
}

/// Doctors the first event that `change` takes, and holds what verification and replay say of it: they name the entry, and
/// stop there.
#[track_caller]
fn doctored(story: &Kept, what: &str, change: &dyn Fn(&mut Event) -> bool) {
    let mut place: Option<Seq> = None;
    let copy = rewritten(story, &mut |_, seq, event| {
        if place.is_none() && change(event) {
            place = Some(seq);
        }
    });
    let place = place.unwrap_or_else(|| panic!("{what}: nothing was doctored"));
    for command in ["verify", "replay"] {
        let (exit, said) = copy.run(command, &[]);
        let broken = &said["broken"];
        assert_eq!(exit, Some(1), "{what}: {said}");
        assert_eq!(
            (&broken["seq"], &broken["code"]),
            (&place.0.into(), &Code::LogDamaged.as_str().into()),
            "{what}: {said}"
        );
        let why = broken["what"].as_str().expect("words");
        assert!(why.contains("sign"), "{what}: {why}");
    }
}

macro_rules! of {
    ($kind:ident, $it:ident => $change:expr) => {
        &|event: &mut Event| match event {
            Event::$kind($it) => {
                $change;
                true
            }
            _ => false,
        }
    };
}

#[test]
fn an_invalid_signature_of_a_decision_is_an_error() {
    let story = story();
    doctored(&story, "one bit", of!(DecisionMade, it => *it = spoilt(it)));
    doctored(&story, "another key", of!(DecisionMade, it => *it = anothers(it)));
    doctored(&story, "other words", of!(DecisionMade, it => *it = altered(it, "/round", 1)));
}

/// A key that signed well until it was handed on.
#[test]
fn a_decision_by_a_key_that_was_handed_on_is_an_error() {
    let scene = Scene::new();
    let before = scene.key("decision.key");
    writ(["key", "rotate", "--data", scene.data()]).ended(0);
    scene.submit(note("after").to_string().as_bytes(), &[]).ended(0);
    let handed_on = Cell::new(false);
    doctored(&kept(&scene), "the key before", &|event: &mut Event| match event {
        Event::LedgerKeyRotated(_) => {
            handed_on.set(true);
            false
        }
        Event::DecisionMade(it) if handed_on.get() => {
            *it = Signed::unsigned(it.value().clone()).expect("canonical").sign(&before);
            true
        }
        _ => false,
    });
}

#[test]
fn an_invalid_signature_of_an_execution_intent_is_an_error() {
    let story = story();
    // It is a part of the decision, and so is what it says.
    doctored(&story, "another connector", of!(DecisionMade, it => *it = altered(it, "/execution/connector", "say")));
    doctored(
        &story,
        "a longer window",
        of!(DecisionMade, it => *it = altered(it, "/execution/not_after", 9_000_000_000_000_000_u64)),
    );
}

#[test]
fn an_invalid_signature_of_evidence_is_an_error() {
    let story = story();
    doctored(&story, "one bit", of!(EvidenceRegistered, it => *it = spoilt(it)));
    doctored(&story, "another kind", of!(EvidenceRegistered, it => *it = altered(it, "/kind", "approvals")));
}

#[test]
fn an_invalid_signature_of_an_outcome_is_an_error() {
    let story = story();
    doctored(&story, "one bit", of!(ReceiptIssued, it => it.receipt = spoilt(&it.receipt)));
    doctored(&story, "another key", of!(ReceiptIssued, it => it.receipt = anothers(&it.receipt)));
    doctored(&story, "other words", of!(ReceiptIssued, it => it.receipt = altered(&it.receipt, "/status", "FAILED")));
    // What people found out afterwards.
    doctored(&story, "one bit of a finding", of!(OutcomeReconciled, it => *it = spoilt(it)));
    doctored(&story, "somebody's finding", of!(OutcomeReconciled, it => *it = anothers(it)));
    doctored(&story, "another finding", of!(OutcomeReconciled, it => *it = altered(it, "/statement/applied", false)));
}

#[test]
fn an_invalid_signature_of_a_policy_is_an_error() {
    let story = story();
    doctored(&story, "one bit", of!(PolicyActivated, it => *it = spoilt(it)));
    doctored(&story, "another key", of!(PolicyActivated, it => *it = anothers(it)));
    doctored(&story, "other words", of!(PolicyActivated, it => *it = altered(it, "/statement/bundle/name", "another")));
}

#[test]
fn an_invalid_signature_of_an_administrative_act_is_an_error() {
    let story = story();
    doctored(&story, "the trust in a key", of!(KeyTrusted, it => *it = spoilt(it)));
    doctored(&story, "a freeze", of!(Frozen, it => *it = spoilt(it)));
    doctored(&story, "a freeze by somebody", of!(Frozen, it => *it = anothers(it)));
    doctored(&story, "a thaw", of!(Thawed, it => *it = altered(it, "/nonce", "another")));
    doctored(&story, "an approval", of!(ApprovalRecorded, it => *it = spoilt(it)));
}

#[test]
fn an_invalid_signature_of_an_intent_is_an_error() {
    let story = story();
    doctored(&story, "one bit", of!(IntentAdmitted, it => it.intent = spoilt(&it.intent)));
    doctored(&story, "other words", of!(IntentAdmitted, it => it.intent = altered(&it.intent, "/args/cents", 301)));
}

/// What comes from outside is refused before it is anything.
#[test]
fn an_invalid_signature_is_refused_at_the_door() {
    let scene = Scene::new();
    let kept = kept(&scene);
    let mut intent: Value = serde_json::from_slice(&signed(&note("x"), &scene.key("producer.key"))).expect("JSON");
    let file = scene.dir.path().join("act.json").to_string_lossy().into_owned();
    let policy = scene.inside("policy").to_string_lossy().into_owned();
    writ(["policy", "sign", "--data", scene.data(), &policy, "--out", &file]).ended(0);
    let mut act: Value = serde_json::from_slice(&std::fs::read(&file).expect("reads")).expect("JSON");
    writ(["evidence", "add", "--data", scene.data(), "--tenant", "acme", "--kind", "ticket"]).ended(0);
    let Event::EvidenceRegistered(evidence) = super::last(&super::kept(&scene), EventKind::EvidenceRegistered).1 else {
        panic!("evidence")
    };
    let mut evidence: Value = serde_json::from_slice(&evidence.to_envelope()).expect("JSON");
    let served = Served::new(&scene);
    for (path, envelope) in [("/v1/intents", &mut intent), ("/v1/acts", &mut act), ("/v1/evidence", &mut evidence)] {
        let signature = envelope["signatures"][0]["sig"].as_str().expect("a signature").to_owned();
        let first = if signature.starts_with('A') { "B" } else { "A" };
        envelope["signatures"][0]["sig"] = Value::from(format!("{first}{}", &signature[1..]));
        let body = envelope.to_string();
        let (status, answer) = Served::ask_socket(&scene, "POST", path, "application/json", body.as_bytes());
        let code = Code::SignatureInvalid;
        assert!(status == code.entry().http && answer.contains(code.as_str()), "{path}: {status} {answer}");
    }
    served.stop();
    assert_eq!(super::entries(&scene).len(), kept.entries().len() + 1, "the evidence that was good, and nothing else");
}

//! The audit's table: each way in which something must not go on, as a test named after it, through the binary.
//!
//! Where an honest binary cannot get, a *doctored* ledger does: its owner wrote what no writer writes, signed it with the
//! ledger's own keys, chained it, and sealed it. Whoever looks at such a ledger, or opens it, must not go on.

use serde_json::{Value, json};

use writ_log::{Located, Reader};
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, EventKind};
use writ_schemas::ids::Seq;
use writ_schemas::receipt::Receipt;

use crate::ledgers::Kept;
use crate::scene::{Run, Scene, holds, hours_ahead, note, with, writ, writ_reading};
use crate::transcripts::after;

mod append;
mod clock;
mod dispatch;
mod keys;
mod signatures;

/// Whoever may ask in the stories.
const AGENT: &str = "agent-1-0.key";

/// A payment that passed and was carried out.
const PAID: &str = "
    Given that agents may pay
    And pay must begin within 1 hour
    And pay is carried out by a service that answers {}
    And agent-1 is an agent
    When agent-1 asks to pay 300 cents as p-1
    Then the receipt of p-1 is SUCCEEDED and charges nothing
    And the service was called once";

fn kept(scene: &Scene) -> Kept {
    Kept::copy_of(std::path::Path::new(scene.data()))
}

fn entries(scene: &Scene) -> Vec<Located> {
    let reader = Reader::open(scene.inside("log")).expect("a log");
    reader.entries(Seq(0)).expect("entries").map(|located| located.expect("a whole entry")).collect()
}

/// The last entry of this kind, and its event.
fn last(kept: &Kept, kind: EventKind) -> (Seq, Event) {
    let mut entries = kept.entries().into_iter().rev().map(|located| located.entry);
    let entry = entries.find(|entry| entry.header.kind == kind).expect("an entry of this kind");
    (entry.header.seq, entry.event().expect("an event"))
}

/// What `agent-1` is answered in this folder: one intent, and so an opening.
fn asks(scene: &Scene, folder: &str, intent: &Value) -> Run {
    let key = scene.dir.path().join(AGENT).to_string_lossy().into_owned();
    writ_reading(intent.to_string().as_bytes(), ["submit", "--json", "--data", folder, "--key", &key])
}

/// An intent that costs nobody anything.
fn harmless() -> Value {
    with(note("harmless"), "action", json!("nothing"))
}

/// The code that a command told on standard error, by which it ended.
#[track_caller]
fn told(run: &Run, code: Code) {
    assert_eq!(run.status, i32::from(code.entry().exit), "{run:?}");
    assert!(run.err.contains(code.as_str()), "{run:?}");
}

/// That the document is signed by the ledger's decision key, over the very bytes that are stored.
#[track_caller]
fn signed_by_the_ledger<T: Document>(scene: &Scene, stored: &Signed<T>, shown: &Value) {
    let folder = writ::folder::Folder::at(scene.data());
    let key = writ::ledger::genesis(&folder).expect("a genesis").decision_key;
    assert!(stored.verify());
    assert_eq!(stored.signer(), Some(key));
    let envelope = shown["envelope"].as_str().expect("an envelope");
    let told = Signed::<T>::from_envelope(envelope.as_bytes()).expect("a document");
    assert_eq!((told.payload(), told.signatures()), (stored.payload(), stored.signatures()), "what is told is stored");
}

/// That an intent is answered with a signed `FAIL` that is the last decision of the log.
#[track_caller]
fn signed_fail(story: &str, intent: &Value, code: Code) {
    let (scene, _) = after(story);
    let run = asks(&scene, scene.data(), intent).ended(1);
    let answer = run.json();
    let payload = &answer["decision"]["payload"];
    assert_eq!((&payload["verdict"], &payload["code"]), (&json!("FAIL"), &json!(code)), "{answer}");
    assert_eq!(payload["execution"], Value::Null);
    let (seq, event) = last(&kept(&scene), EventKind::DecisionMade);
    assert_eq!(answer["seq"], json!(seq), "it is in the log");
    let Event::DecisionMade(stored) = event else { panic!("{event:?}") };
    signed_by_the_ledger(&scene, &stored, &answer["decision"]);
    holds(scene.data());
}

fn pay(args: Value) -> Value {
    json!({"tenant": "acme", "id": "p-9", "principal": "agent-1", "action": "pay", "args": args,
           "expires_at": hours_ahead(1)})
}

#[test]
fn missing_evidence_is_a_signed_and_appended_fail() {
    let story = "Given that agents may pay
        And pay needs an approval by an approver
        And agent-1 is an agent";
    signed_fail(story, &pay(json!({"cents": 1})), Code::ProofMissing);
}

#[test]
fn a_budget_check_error_is_a_signed_and_appended_fail() {
    let story = "Given that agents may pay
        And the budget purse holds 500 cents
        And pay costs its cents of purse
        And agent-1 is an agent";
    for cents in [json!(-1), json!("many"), json!(1.5), Value::Null] {
        signed_fail(story, &pay(json!({ "cents": cents })), Code::BudgetError);
    }
    signed_fail(story, &pay(json!({})), Code::BudgetError);
}

/// The receipt of `p-1`, which is signed and in the log.
#[track_caller]
fn signed_receipt(scene: &Scene) -> Receipt {
    let (_, event) = last(&kept(scene), EventKind::ReceiptIssued);
    let Event::ReceiptIssued(issued) = event else { panic!("{event:?}") };
    let shown = writ(["show", "--json", "--data", scene.data(), "acme", "p-1"]).ended(0).json();
    signed_by_the_ledger(scene, &issued.receipt, &shown["receipts"][0]["event"]);
    holds(scene.data());
    issued.receipt.value().clone()
}

#[test]
fn an_output_without_a_canonical_form_is_uncertain_and_has_a_signed_receipt() {
    for output in ["{\"a\":1,\"a\":2}", "{\"a\":1e400}", "{", "9007199254740993", "[1,2] trailing"] {
        let story = "Given that agents may pay
            And pay is carried out by a service that answers @
            And the budget purse holds 500 cents
            And pay costs its cents of purse
            And agent-1 is an agent
            When agent-1 asks to pay 300 cents as p-1
            Then the receipt of p-1 is UNCERTAIN, ERR_OUTPUT_NOT_CANONICAL, and charges nothing
            And of purse 300 are reserved and 0 are spent";
        let (scene, _) = after(&story.replace('@', output));
        assert_eq!(signed_receipt(&scene).output, None, "nothing that is not canonical is kept");
    }
}

#[test]
fn output_drift_is_a_failure_that_is_charged_and_has_a_signed_receipt() {
    let (scene, _) = after(
        "Given that agents may pay
        And pay must answer with a receipt_number
        And the budget purse holds 500 cents
        And pay costs its cents of purse
        And agent-1 is an agent
        When agent-1 asks to pay 300 cents as p-1
        Then the receipt of p-1 is FAILED, ERR_CONNECTOR_CONTRACT_DRIFT, and charges 300 cents
        And of purse 0 are reserved and 300 are spent",
    );
    let receipt = signed_receipt(&scene);
    assert_eq!(receipt.code, Code::ConnectorContractDrift);
    assert!(receipt.output.is_some(), "the output that drifted is evidence");
}

/// A long text comes back from the echo, too long for the log.
fn with_a_long_output() -> (Scene, std::path::PathBuf) {
    let story = format!("{ECHOES}\nWhen agent-1 asks to say \"{}\" text as p-1\nThen p-1 is PASS", "x".repeat(6000));
    let (scene, _) = after(&story);
    let [file] = &crate::ledgers::files(&scene.inside("content"))[..] else { panic!("one output is kept") };
    let file = file.clone();
    (scene, file)
}

const ECHOES: &str = "Given that agents may say\nAnd agent-1 is an agent";

#[test]
fn a_violation_of_the_content_store_is_an_error() {
    let removed = |file: &std::path::Path| std::fs::remove_file(file).expect("removes");
    let changed = |file: &std::path::Path| {
        let text = std::fs::read_to_string(file).expect("reads");
        std::fs::write(file, text.replacen('x', "y", 1)).expect("writes");
    };
    for violate in [removed, changed] {
        let (scene, file) = with_a_long_output();
        signed_receipt(&scene);
        violate(&file);
        let verified = writ(["verify", "--json", "--data", scene.data()]).ended(1).json();
        assert_eq!(verified["broken"]["code"], json!(Code::ContentIntegrity), "{verified}");
        told(&writ(["show", "--data", scene.data(), "acme", "p-1"]), Code::ContentIntegrity);
        let replayed = writ(["replay", "--json", "--data", scene.data()]).ended(1).json();
        assert_eq!(replayed["broken"]["code"], json!(Code::ContentIntegrity), "{replayed}");
    }
}

/// The effect happened, and its output cannot be kept: somebody must look.
#[test]
fn an_output_that_cannot_be_kept_is_uncertain_and_has_a_signed_receipt() {
    let (scene, _) = after(ECHOES);
    let content = scene.inside("content");
    let _ = std::fs::remove_dir_all(&content);
    std::fs::write(&content, "a file where a folder must be").expect("writes");
    let say = with(with(note("p-1"), "action", json!("say")), "args", json!({"text": "x".repeat(6000)}));
    asks(&scene, scene.data(), &say).ended(0);
    std::fs::remove_file(&content).expect("removes");
    assert_eq!(signed_receipt(&scene).code, Code::ContentIntegrity);
}

//! People are asked: who may answer, what counts, and that each intent is decided once for good.

use std::time::Duration;

use serde_json::{Value, json};

use writ_schemas::act::{Act, Statement};
use writ_schemas::dsse::Signed;

use crate::desk::{Desk, approver};
use crate::scene::{Served, hours_ahead, note, with, within, writ};

fn bundle(quorum: u64, within_us: u64) -> Value {
    json!({
        "name": "escalation",
        "gates": {"temporal": "enforced", "proof": {"disabled": "not asked here"}, "budget": "enforced", "escalation": "enforced"},
        "rules": [{
            "action": "pay", "requires": {"exempt": "not asked here"}, "connector": "echo", "window_us": 60_000_000,
            "spends": {"budget": {"name": "cents", "cost": {"fixed": 60}}},
            "timing": {"limits": {"rate": {"count": 1, "per_us": 3_600_000_000_u64, "burst": 8}}},
            "escalates": {"to": {"role": "manager", "quorum": quorum, "within_us": within_us}},
        }],
        "budgets": {"cents": {"unit": "cents", "limit": 100}},
        "connectors": {"echo": {"kind": "echo", "output_schema": {"type": "object"}}},
    })
}

const HOUR: u64 = 3_600_000_000;

fn pay(id: &str) -> Value {
    with(note(id), "action", json!("pay"))
}

#[test]
fn it_passes_once_enough_others_in_the_role_have_granted_it() {
    let desk = Desk::under(&bundle(2, HOUR));
    let ada = desk.trust("ada.key", "ada", "manager");
    let ada_again = desk.trust("ada-2.key", "ada", "manager");
    let bob = desk.trust("bob.key", "bob", "manager");
    let agent = desk.trust("agent.key", "agent-1", "manager");
    desk.submit(&pay("1"), &[]);
    assert_eq!(desk.code("1"), "ERR_APPROVAL_NEEDED");

    let listed = writ(["approvals", "list", "--json", "--data", desk.0.data(), "--tenant", "acme"]).ended(0).lines();
    let waits = &listed[0];
    assert_eq!((&waits["id"], &waits["asks"]["quorum"], &waits["answers"]), (&json!("1"), &json!(2), &json!([])));
    let other = writ(["approvals", "list", "--json", "--data", desk.0.data(), "--tenant", "globex"]).ended(0).lines();
    assert!(other.is_empty(), "{other:?}");

    let refused = |key: &str| {
        let refused = desk.answer("grant", "1", key).ended(1).err;
        assert!(refused.contains("ERR_APPROVER_INVALID"), "{refused}");
        refused
    };
    assert!(refused(&agent).contains("who asks cannot answer"));
    assert!(refused(&approver(&desk)).contains("not in the role"));
    assert!(refused(&desk.0.inside("keys/operator.key").to_string_lossy()).contains("not trusted"));
    assert_eq!(desk.answer("grant", "1", &ada).ended(0).json()["verdict"], "ESCALATE");
    assert!(refused(&ada_again).contains("has answered"), "two keys of one person");
    assert!(refused(&ada).contains("has answered"));
    let shown = writ(["approvals", "list", "--data", desk.0.data()]).ended(0).out;
    assert!(shown.contains("1 granted") && shown.contains("2 in role manager"), "{shown}");

    assert_eq!(desk.answer("grant", "1", &bob).ended(0).json()["verdict"], "PASS");
    let decision = desk.decision("1");
    assert_eq!(
        (&decision["round"], &decision["facts"]["approval"]["votes"][1]["principal"]),
        (&json!(1), &json!("bob"))
    );
    assert_eq!(desk.case("1")["receipts"][0]["event"]["payload"]["status"], "SUCCEEDED");
    let refused = desk.answer("grant", "1", &bob).ended(1).err;
    assert!(refused.contains("ERR_APPROVAL_UNKNOWN"), "{refused}");
    let listed = writ(["approvals", "list", "--data", desk.0.data()]).ended(0).out;
    assert!(listed.contains("nothing waits"), "{listed}");
    desk.holds();
}

#[test]
fn one_refusal_is_enough() {
    let desk = Desk::under(&bundle(2, HOUR));
    let (ada, bob) = (desk.trust("ada.key", "ada", "manager"), desk.trust("bob.key", "bob", "manager"));
    desk.submit(&pay("1"), &[]);
    desk.answer("grant", "1", &ada).ended(0);
    assert_eq!(desk.answer("refuse", "1", &bob).ended(0).json()["code"], "ERR_APPROVAL_DENIED");
    assert_eq!(desk.decision("1")["execution"], Value::Null);
    assert_eq!(desk.case("1")["receipts"], json!([]));
    // Submitting it again gives the latest decision.
    desk.submit(&pay("1"), &[]);
    assert_eq!(desk.code("1"), "ERR_APPROVAL_DENIED");

    // Also under a policy that would ask nobody any more.
    desk.submit(&pay("2"), &[]);
    let mut later = bundle(2, HOUR);
    later["gates"]["escalation"] = json!({"disabled": "a holiday"});
    desk.activate(&later);
    assert_eq!(desk.answer("refuse", "2", &bob).ended(0).json()["code"], "ERR_APPROVAL_DENIED");
    assert_eq!(desk.case("2")["receipts"], json!([]));
    desk.holds();
}

#[test]
fn silence_is_a_refusal_when_the_deadline_passes() {
    let desk = Desk::under(&bundle(1, 300_000));
    let ada = desk.trust("ada.key", "ada", "manager");
    desk.submit(&pay("1"), &[]);
    desk.submit(&pay("2"), &[]);
    let served = Served::new(&desk.0);
    within("views", || served.ask("GET", "/health/ready", "", b"").0 == 200);
    within("both deadlines", || ["1", "2"].iter().all(|id| desk.code(id) != "ERR_APPROVAL_NEEDED"));
    assert_eq!([desk.code("1"), desk.code("2")], ["ERR_APPROVAL_TIMED_OUT"; 2]);
    served.stop();
    let refused = desk.answer("grant", "1", &ada).ended(1).err;
    assert!(refused.contains("ERR_APPROVAL_UNKNOWN"), "{refused}");
    let log = writ(["log", "show", "--json", "--data", desk.0.data()]).ended(0).lines();
    let passed: Vec<&Value> = log.iter().filter(|entry| entry["kind"] == "DeadlinePassed").collect();
    assert_eq!(passed.len(), 2);
    assert_eq!(passed[0]["event"]["of"], desk.decision("1")["intent_digest"], "in the order of their intents");
    desk.holds();
}

#[test]
fn the_round_that_passes_is_decided_by_all_gates_under_the_policy_then_in_force() {
    let desk = Desk::under(&bundle(1, HOUR));
    let ada = desk.trust("ada.key", "ada", "manager");
    // Two wait, each within the budget by itself: only the round that passes reserves.
    desk.submit(&pay("1"), &[]);
    desk.submit(&pay("2"), &[]);
    assert_eq!(desk.answer("grant", "1", &ada).ended(0).json()["code"], "OK");
    assert_eq!(desk.answer("grant", "2", &ada).ended(0).json()["code"], "ERR_BUDGET_EXCEEDED");

    // A policy that asks for more asks again, and everybody has to look again.
    let bob = desk.trust("bob.key", "bob", "manager");
    let mut richer = bundle(1, HOUR);
    richer["budgets"]["cents"]["limit"] = json!(1000);
    desk.activate(&richer);
    desk.submit(&pay("3"), &[]);
    richer["rules"][0]["escalates"]["to"]["quorum"] = json!(2);
    desk.activate(&richer);
    let refused = desk.answer("grant", "3", &ada).ended(1).err;
    assert!(
        refused.contains("ERR_APPROVER_INVALID") && refused.contains("another one than its signer saw"),
        "{refused}"
    );
    assert_eq!(desk.answer_anew("grant", "3", &ada).ended(0).json()["code"], "ERR_APPROVAL_NEEDED");
    assert_eq!(desk.answer_anew("grant", "3", &bob).ended(0).json()["code"], "OK");

    // The key of an approver counts if it is trusted when it is counted.
    desk.submit(&pay("4"), &[]);
    desk.answer("grant", "4", &ada).ended(0);
    let ada_id = writ::keyfile::read(std::path::Path::new(&ada), || Ok(None)).expect("a key").id().to_string();
    writ(["key", "revoke", "--data", desk.0.data(), &ada_id]).ended(0);
    assert_eq!(desk.answer("grant", "4", &bob).ended(0).json()["code"], "ERR_APPROVAL_NEEDED");
    let cleo = desk.trust("cleo.key", "cleo", "manager");
    assert_eq!(desk.answer("grant", "4", &cleo).ended(0).json()["code"], "OK");

    // Who has a new key may answer with it: the answer by the old one counts no more.
    desk.submit(&pay("6"), &[]);
    let dora = desk.trust("dora.key", "dora", "manager");
    desk.answer("grant", "6", &dora).ended(0);
    let dora_id = writ::keyfile::read(std::path::Path::new(&dora), || Ok(None)).expect("a key").id().to_string();
    writ(["key", "revoke", "--data", desk.0.data(), &dora_id]).ended(0);
    let dora = desk.trust("dora-2.key", "dora", "manager");
    desk.answer("grant", "6", &dora).ended(0);
    assert_eq!(desk.answer("grant", "6", &bob).ended(0).json()["code"], "OK");

    // A key that is revoked while its intent waits has no word any more.
    desk.submit(&pay("5"), &[]);
    desk.answer("grant", "5", &bob).ended(0);
    let producer = desk.0.key("producer.key").id().to_string();
    writ(["key", "revoke", "--data", desk.0.data(), &producer]).ended(0);
    assert_eq!(desk.answer("grant", "5", &cleo).ended(0).json()["code"], "ERR_KEY_REVOKED");
    desk.holds();
}

#[test]
fn an_answer_counts_while_the_rule_that_was_seen_is_in_force_and_the_list_says_where_it_does_not() {
    let desk = Desk::under(&bundle(2, HOUR));
    let (ada, bob) = (desk.trust("ada.key", "ada", "manager"), desk.trust("bob.key", "bob", "manager"));
    desk.submit(&pay("1"), &[]);
    desk.submit(&pay("2"), &[]);
    for id in ["1", "2"] {
        desk.answer("grant", id, &ada).ended(0);
    }
    let shown = || writ(["approvals", "list", "--data", desk.0.data()]).ended(0).out;
    // Another policy with the same rule.
    let mut later = bundle(2, HOUR);
    (later["name"], later["budgets"]["cents"]["limit"]) = (json!("later"), json!(1000));
    desk.activate(&later);
    let listed = shown();
    assert!(listed.contains("1 granted") && !listed.contains("does not count"), "{listed}");
    assert_eq!(desk.answer("grant", "1", &bob).ended(0).json()["code"], "OK");

    // The rule is the same, but who carries it out is not.
    later["connectors"]["echo"]["output_schema"] = json!({});
    desk.activate(&later);
    let listed = shown();
    for said in ["0 granted", "does not count: it is about another rule than the one in force", "--rule blake3:"] {
        assert!(listed.contains(said), "{said}: {listed}");
    }
    let listed = writ(["approvals", "list", "--json", "--data", desk.0.data()]).ended(0).lines();
    let (waits, decision) = (&listed[0], desk.decision("2"));
    assert_eq!((&waits["answers"][0]["counts"], &waits["answers"][0]["granted"]), (&json!(false), &json!(true)));
    assert_eq!(waits["answers"][0]["rule"], decision["asks"]["rule"], "what was seen");
    assert_ne!(waits["asks_now"]["rule"], decision["asks"]["rule"]);
    assert_eq!(desk.answer_anew("grant", "2", &bob).ended(0).json()["code"], "ERR_APPROVAL_NEEDED", "one of two");
    assert_eq!(desk.answer_anew("grant", "2", &ada).ended(0).json()["code"], "OK");
    desk.holds();
}

#[test]
fn what_waits_is_bounded() {
    let desk = Desk::under(&bundle(1, HOUR));
    let large = with(pay("large"), "args", json!({"text": "x".repeat(70_000)}));
    desk.submit(&large, &[]);
    assert_eq!(desk.code("large"), "ERR_APPROVALS_FULL");
    let mut open = bundle(1, HOUR);
    open["rules"][0]["timing"] = json!({"exempt": "as fast as it likes"});
    desk.activate(&open);
    let lines: Vec<String> = (0..257).map(|at| pay(&at.to_string()).to_string()).collect();
    desk.0.submit(lines.join("\n").as_bytes(), &[]);
    assert_eq!(desk.code("255"), "ERR_APPROVAL_NEEDED");
    assert_eq!(desk.code("256"), "ERR_APPROVALS_FULL");
    desk.holds();
}

/// A deadline lets nothing pass, also where nobody would be asked any more.
#[test]
fn silence_is_no_consent_under_a_later_policy_either() {
    let never = json!({"role": "manager", "quorum": 1, "within_us": HOUR, "when": "intent.args.n > 5"});
    for change in [json!({"exempt": "nobody is asked any more"}), json!({ "to": never })] {
        let desk = Desk::under(&bundle(1, 1_000_000));
        desk.submit(&with(pay("1"), "args", json!({"n": 1})), &[]);
        assert_eq!(desk.code("1"), "ERR_APPROVAL_NEEDED");
        let mut later = bundle(1, 1_000_000);
        later["rules"][0]["escalates"] = change;
        desk.activate(&later);
        std::thread::sleep(Duration::from_millis(1100));
        desk.submit(&with(pay("2"), "args", json!({"n": 1})), &[]);
        assert_eq!((desk.code("1").as_str(), desk.code("2").as_str()), ("ERR_APPROVAL_TIMED_OUT", "OK"));
        desk.holds();
    }
}

/// An answer to a decision that asks, by whoever has read it.
fn yes(asked: &Value) -> Statement {
    let digest = |of: &Value| of.as_str().and_then(|it| it.parse().ok()).expect("a digest");
    Statement::Approve {
        granted: true,
        intent: digest(&asked["intent_digest"]),
        policy: digest(&asked["policy"]),
        reason: "fine".to_owned(),
        rule: digest(&asked["asks"]["rule"]),
    }
}

/// The same words of two approvers are two answers.
#[test]
fn a_statement_that_two_approvers_sign_each_for_himself_counts_for_both() {
    let desk = Desk::under(&bundle(2, HOUR));
    let keys = [desk.trust("ada.key", "ada", "manager"), desk.trust("bob.key", "bob", "manager")];
    desk.submit(&pay("1"), &[]);
    let statement = yes(&desk.decision("1"));
    let act =
        Act { expires_at: hours_ahead(1), ledger: desk.0.ledger(), nonce: "n".parse().expect("a name"), statement };
    let unsigned = Signed::unsigned(act).expect("JSON");
    let served = Served::new(&desk.0);
    for (key, answer) in [(0, "recorded"), (0, "already"), (1, "recorded"), (1, "already")] {
        let key = writ::keyfile::read(std::path::Path::new(&keys[key]), || Ok(None)).expect("a key");
        let envelope = unsigned.clone().sign(&key).to_envelope();
        let (_, body) = served.ask("POST", "/v1/approvals", "application/json", &envelope);
        assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON")["answer"], answer, "{body}");
    }
    served.stop();
    assert_eq!(desk.code("1"), "OK");
    desk.holds();
}

/// Over a network an approver is heard; an operator is not, and neither is an answer for another ledger or too late.
#[test]
fn an_answer_over_the_network_is_an_approval_and_nothing_else() {
    let desk = Desk::under(&bundle(1, HOUR));
    let ada = desk.trust("ada.key", "ada", "manager");
    desk.submit(&pay("1"), &[]);
    let asked = desk.decision("1");
    let served = Served::new(&desk.0);
    let (soon, past) = (hours_ahead(1), hours_ahead(-1));
    let post = |file: &str, ledger, expires_at, statement| {
        let act = Act { expires_at, ledger, nonce: "n-1".parse().expect("a name"), statement };
        let key = writ::keyfile::read(std::path::Path::new(file), || Ok(None)).expect("a key");
        let envelope = Signed::unsigned(act).expect("JSON").sign(&key).to_envelope();
        let (_, body) = served.ask("POST", "/v1/approvals", "application/json", &envelope);
        let body: Value = serde_json::from_str(&body).expect("JSON");
        body["code"].as_str().or(body["answer"].as_str()).expect("an answer").to_owned()
    };
    let (operator, own) = (desk.0.inside("keys/operator.key").to_string_lossy().into_owned(), desk.0.ledger());
    let yes = || yes(&asked);
    assert_eq!(post(&operator, own, soon, Statement::Thaw { principal: None, tenant: None }), "ERR_ACT_REFUSED");
    assert_eq!(post(&ada, writ_schemas::ids::LedgerId([9; 16]), soon, yes()), "ERR_LEDGER_MISMATCH");
    assert_eq!(post(&ada, own, past, yes()), "ERR_ACT_REFUSED");
    assert_eq!(post(&ada, own, soon, yes()), "recorded");
    assert_eq!(post(&ada, own, soon, yes()), "already");
    served.stop();
    assert_eq!(desk.code("1"), "OK");
    desk.holds();
}

#[test]
fn a_freeze_stops_what_is_granted_and_an_act_is_recorded_once() {
    let desk = Desk::under(&bundle(1, HOUR));
    let ada = desk.trust("ada.key", "ada", "manager");
    desk.submit(&pay("1"), &[]);
    let act = |word: &[&str]| {
        writ([&word[..1], &["--data", desk.0.data(), "--tenant", "acme"], &word[1..]].concat()).ended(0)
    };
    let freeze = ["freeze", "--reason", "a drill"];
    let refused = |key: &str| {
        let refused = desk.answer("grant", "1", key).ended(1).err;
        assert!(refused.contains("ERR_FROZEN"), "{refused}");
    };
    act(&freeze);
    refused(&ada);
    act(&["thaw"]);
    act(&[&freeze[..], &["--principal", "ada"]].concat());
    refused(&ada);
    act(&["thaw", "--principal", "ada"]);
    assert_eq!(desk.answer("grant", "1", &ada).ended(0).json()["code"], "OK");
    desk.holds();
}

//! Proof requirements through the binary: for each sort there is an intent that only it refuses, and one that it lets pass;
//! what a policy author asks about them; and that no policy is loaded which is silly.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use writ_schemas::dsse::Signed;
use writ_schemas::evidence::Evidence;
use writ_schemas::keys::SecretKey;

use crate::desk::Desk;
use crate::scene::{Scene, Served, hours_ahead, init, with, writ};

/// A policy with an action for each sort of requirement; everything else lets it pass.
fn bundle(requirements: &[(&str, Value)]) -> Value {
    let rule = |action: &str, requires: Value| {
        json!({"action": action, "requires": requires, "spends": {"exempt": "not asked here"}, "connector": "echo",
               "window_us": 60_000_000})
    };
    let mut rules = vec![rule("quote", json!({"exempt": "only asks"}))];
    rules.extend(requirements.iter().map(|(action, _)| rule(action, json!({"requirement": action}))));
    json!({
        "name": "requirements",
        "gates": {"temporal": {"disabled": "not asked here"}, "proof": "enforced", "budget": "enforced",
                  "escalation": {"disabled": "not asked here"}},
        "rules": rules,
        "requirements": requirements.iter().map(|(action, needs)| ((*action).to_owned(), needs.clone())).collect::<serde_json::Map<_, _>>(),
        "connectors": {"echo": {"kind": "echo", "output_schema": {"type": "object"}}},
    })
}

fn evidence(rest: Value) -> Value {
    let mut need = json!({"kind": "approval", "role": "approver", "about_effect": false});
    for (name, value) in rest.as_object().expect("fields") {
        need[name] = value.clone();
    }
    json!({ "evidence": need })
}

fn desk(requirements: &[(&str, Value)]) -> Desk {
    Desk::under(&bundle(requirements))
}

const MISSING: &str = "ERR_PROOF_MISSING";

#[test]
fn each_sort_of_requirement_lets_pass_and_refuses() {
    let approver = evidence(json!({}));
    let receipt = json!({"receipt": {"action": "quote"}});
    let desk = desk(&[
        (
            "two-of-three",
            json!({"at_least": {"count": 2, "of": [approver, evidence(json!({"role": "auditor"})), receipt]}}),
        ),
        ("two-people", evidence(json!({"signers": 2}))),
        ("another-person", evidence(json!({"not_submitter": true}))),
        ("fresh", evidence(json!({"max_age_us": 60_000_000}))),
        ("after-a-quote", receipt.clone()),
        ("before-a-quote", json!({"all_of": [approver, {"not": receipt}]})),
    ]);
    let one = desk.0.inside("keys/approver.key").to_string_lossy().into_owned();
    let other = desk.trust("other.key", "approver-2", "approver");
    let again = desk.trust("again.key", "approver-1", "approver");
    let own = desk.trust("own.key", "agent-1", "approver");
    let auditor = desk.trust("auditor.key", "auditor-1", "auditor");
    let [one, other, again, own] = [&one, &other, &again, &own].map(|key| desk.approval(key, &[]));
    let audit = desk.approval(&auditor, &[]);

    #[rustfmt::skip] // A table is read by columns.
    let rows: [(&str, &str, Option<&str>, &[&str], &str); 16] = [
        ("k-1", "two-of-three",   None,      &[&one, &audit], "OK"),
        ("k-2", "two-of-three",   None,      &[&one, &other], MISSING),
        ("p-1", "two-people",     None,      &[&one, &other], "OK"),
        ("p-2", "two-people",     None,      &[&one],         MISSING),
        ("p-3", "two-people",     None,      &[&one, &again], MISSING), // two keys of one person
        ("a-1", "another-person", None,      &[&one],         "OK"),
        ("a-2", "another-person", None,      &[&own],         MISSING), // who submits cannot approve
        ("f-1", "fresh",          None,      &[&one],         "OK"),
        ("q-0", "before-a-quote", Some("s"), &[&one],         "OK"),
        ("q-1", "after-a-quote",  Some("s"), &[],             MISSING),
        ("q-2", "quote",          Some("s"), &[],             "OK"),
        ("q-3", "after-a-quote",  Some("s"), &[],             "OK"),
        ("q-4", "after-a-quote",  Some("t"), &[],             MISSING), // another session
        ("q-5", "after-a-quote",  None,      &[],             MISSING), // no session at all
        ("q-6", "before-a-quote", Some("s"), &[&one],         MISSING),
        ("k-3", "two-of-three",   Some("s"), &[&one],         "OK"),
    ];
    for (id, action, session, evidence, code) in rows {
        assert_eq!(desk.ask(id, action, session, evidence), code, "{id}");
    }
    desk.holds();

    // What is missing is told, part by part; of a served ledger and of one that is not.
    let told = writ(["policy", "explain", "--json", "--data", desk.0.data(), "acme", "k-2"]).ended(0).json();
    let parts: Vec<(bool, &str)> = told["requirement"]["parts"]
        .as_array()
        .expect("parts")
        .iter()
        .map(|part| (part["outcome"] == "met", part["asks"].as_str().expect("words")))
        .collect();
    assert_eq!(told["requirement"]["outcome"], "unmet");
    assert_eq!(
        parts,
        [
            (true, "evidence approval by a key in role approver"),
            (false, "evidence approval by a key in role auditor"),
            (false, "an earlier receipt of quote in this session"),
        ]
    );
    let shown = writ(["policy", "explain", "--data", desk.0.data(), "acme", "k-2"]).ended(0).out;
    assert!(shown.contains("  NO  at least 2 of 3\n    yes evidence approval by a key in role approver\n"), "{shown}");
}

#[test]
fn expressions_decide_and_what_cannot_be_told_is_a_refusal_of_its_own() {
    let small = json!({"expression": "intent.args.cents <= 5000"});
    let approved = json!({"expression": "evidence.exists(e, e.kind == 'approval' && 'approver' in e.roles)"});
    let listed = json!({"expression": "intent.args.tags.all(t, t.startsWith('ok-'))"});
    let desk = desk(&[("pay", json!({"any_of": [small, approved]})), ("tag", listed)]);
    let approval = desk.approval(&desk.0.inside("keys/approver.key").to_string_lossy(), &[]);
    let long = "x".repeat(20_000);
    #[rustfmt::skip] // A table is read by columns.
    let rows: [(&str, &str, Value, &[&str], &str); 10] = [
        ("1",  "pay", json!({"cents": 5000}),              &[],          "OK"),
        ("2",  "pay", json!({"cents": 5001}),              &[],          MISSING),
        ("3",  "pay", json!({"cents": 5001}),              &[&approval], "OK"),
        ("4",  "pay", json!({"cents": "many"}),            &[],          "ERR_PROOF_ERROR"),
        ("5",  "pay", json!({"cents": "many"}),            &[&approval], "OK"), // the other branch can be told
        ("6",  "pay", json!({"cents": 1, "text": long}),   &[],          "ERR_PROOF_ERROR"),
        ("7",  "tag", json!({"tags": ["ok-1", "ok-2"]}),   &[],          "OK"),
        ("8",  "tag", json!({"tags": ["ok-1", "no"]}),     &[],          MISSING),
        ("9",  "tag", json!({"tags": {"ok-1": 1}}),        &[],          "ERR_PROOF_ERROR"), // a map has no order
        ("10", "tag", json!({"tags": vec!["ok-1"; 65]}),   &[],          "ERR_PROOF_ERROR"),
    ];
    for (id, action, args, evidence, code) in rows {
        assert_eq!(desk.ask_with(id, action, args, None, evidence), code, "{id}");
    }
    desk.holds();
    let told = writ(["policy", "explain", "--data", desk.0.data(), "acme", "4"]).ended(0).out;
    assert!(
        told.contains("    ?   intent.args.cents <= 5000\n        _<=_ is not for such values")
            && told.contains("NO  evidence.exists("),
        "{told}"
    );
}

#[test]
fn evidence_of_a_revoked_key_stops_counting() {
    let scene = Scene::bare();
    let path = scene.dir.path().join("theirs.key").to_string_lossy().into_owned();
    let key = writ(["key", "new", &path]).ended(0).out.trim().to_owned();
    let mut need = evidence(json!({ "key": key }));
    need["evidence"].as_object_mut().expect("fields").remove("role");
    let bundle = scene.policy(bundle(&[("pay", need)]).to_string());
    writ(init(scene.data()).into_iter().chain(["--policy", &bundle])).ended(0);
    let trust = ["--tenant", "acme", "--principal", "approver-2", "--role", "anything"];
    writ(["key", "trust", "--data", scene.data(), &key].iter().chain(&trust)).ended(0);
    let desk = Desk(scene);
    let theirs = desk.approval(&path, &[]);
    let anothers = desk.approval(&desk.0.inside("keys/approver.key").to_string_lossy(), &[]);
    assert_eq!(desk.ask("1", "pay", None, &[&anothers]), MISSING);
    assert_eq!(desk.ask("2", "pay", None, &[&theirs]), "OK");
    writ(["key", "revoke", "--data", desk.0.data(), &key]).ended(0);
    assert_eq!(desk.ask("3", "pay", None, &[&theirs]), MISSING);
    desk.holds();
}

#[test]
fn a_policy_is_tested_without_a_ledger() {
    let scene = Scene::bare();
    writ(init(scene.data())).ended(0);
    let example = scene.inside("policy").to_string_lossy().into_owned();
    let tested = writ(["policy", "test", "--json", &example]).ended(0).json();
    assert_eq!((&tested["wrong"], &tested["untouched"]), (&json!(0), &json!([])), "{tested}");

    let needs = evidence(json!({"signers": 2, "not_submitter": true, "max_age_us": 60}));
    let bundle = scene.policy(bundle(&[("pay", needs), ("never-asked", evidence(json!({})))]).to_string());
    let cases = Path::new(&bundle).join("cases");
    fs::create_dir(&cases).expect("a folder");
    let by = |principal: &str, age_us: u64| json!({"kind": "approval", "principal": principal, "roles": ["approver"], "about_effect": true, "age_us": age_us});
    let case = |name: &str, evidence: Value, code: &str| {
        json!({"name": name, "intent": {"tenant": "acme", "principal": "agent-1", "action": "pay"},
               "facts": {"evidence": evidence},
               "expect": {"verdict": if code == "OK" { "PASS" } else { "FAIL" }, "code": code}})
    };
    let all = |last: Value| {
        let mut all = vec![
            case("two others", json!([by("b", 0), by("c", 60)]), "OK"),
            case("one and the submitter", json!([by("b", 0), by("agent-1", 0)]), MISSING),
            case("one is old", json!([by("b", 0), by("c", 61)]), MISSING),
            case("one twice", json!([by("b", 0), by("b", 0)]), MISSING),
        ];
        let mut frozen = case("frozen", json!([]), "ERR_FROZEN");
        frozen["facts"]["frozen"] = json!(true);
        let mut stranger = case("a stranger", json!([]), "ERR_KEY_UNKNOWN");
        stranger["facts"]["untrusted"] = json!(true);
        all.extend([frozen, stranger, last]);
        json!({ "cases": all }).to_string()
    };
    fs::write(cases.join("a.json"), all(case("nothing", json!([]), MISSING))).expect("a file");
    let tested = writ(["policy", "test", "--json", &bundle]).ended(0).json();
    assert_eq!(tested["wrong"], 0, "{tested}");
    assert_eq!(tested["untouched"], json!(["never-asked", "quote"]));

    fs::write(cases.join("a.json"), all(case("too hopeful", json!([]), "OK"))).expect("a file");
    let shown = writ(["policy", "test", &bundle]).ended(1).out;
    assert!(shown.contains("NO, expected OK") && shown.contains("7 cases, 1 not as expected"), "{shown}");

    // A fact under a name that the bundle does not have.
    for (facts, why) in [
        (json!({"spent": {"mony": 1}}), "misspelt: spent: the bundle has no budget mony"),
        (json!({"receipts": ["qoute"]}), "misspelt: receipts: the bundle has no rule for qoute"),
    ] {
        let mut misspelt = case("misspelt", json!([]), MISSING);
        misspelt["facts"] = facts;
        fs::write(cases.join("a.json"), all(misspelt)).expect("a file");
        let refused = writ(["policy", "test", &bundle]).ended(1).err;
        assert!(refused.contains("ERR_SCHEMA") && refused.contains(why), "{refused}");
    }

    fs::write(cases.join("a.json"), r#"{"cases": [{"name": "x", "intent": {}, "expects": 1}]}"#).expect("a file");
    let refused = writ(["policy", "test", &bundle]).ended(1);
    assert!(refused.err.contains("ERR_SCHEMA") && refused.err.contains("a.json: x: "), "{}", refused.err);
}

#[test]
fn what_is_odd_in_a_valid_bundle_is_told() {
    let scene = Scene::bare();
    let mut odd: Value = bundle(&[(
        "pay",
        json!({"all_of": [
            evidence(json!({"max_age_us": 3600})),
            {"receipt": {"action": "quotation"}},
        ]}),
    )]);
    odd["rules"][0]["window_us"] = json!(60);
    odd["connectors"]["echo"]["input_schema"] = json!({"properties": {"wait_us": {"maximum": 5}}});
    let dir = scene.policy(odd.to_string());
    let found = writ(["policy", "check", "--json", &dir]).ended(0).json();
    let (age, receipt, window) = (
        "requirements.pay.all_of.0.evidence.max_age_us: 3600 is in microseconds, a second is 1000000",
        "requirements.pay.all_of.1.receipt: no rule here leads to a receipt of quotation",
        "rules.0.window_us: 60 is in microseconds, a second is 1000000",
    );
    assert_eq!(found["doubts"], json!([age, receipt, window]));
    assert!(writ(["policy", "check", &dir]).ended(0).out.contains(&format!("is this meant?  {window}")));
}

#[test]
fn what_is_silly_is_not_loaded() {
    let leaf = evidence(json!({}));
    let silly = [
        (json!({"at_least": {"count": 3, "of": [leaf]}}), "requirements.pay: at least 3 of 1"),
        (json!({"all_of": [leaf, {"not": leaf}]}), "requirements.pay: nothing can meet it"),
        (json!({"not": leaf}), "requirements.pay: it passes for who shows nothing"),
        (json!({"any_of": [leaf, {"all_of": [leaf, {"receipt": {"action": "quote"}}]}]}), "makes no difference"),
        (evidence(json!({"rule": "approver"})), "rule"),
        (json!({"expression": "1+".repeat(2000) + "1"}), "at most 512"),
        (json!({"expression": "intent.args.a == ".to_owned() + &"1+".repeat(200) + "1"}), "nested deeper"),
        (json!({"expression": "evidence.all(a, ".repeat(12) + "true" + &")".repeat(12)}), "a loop in a loop"),
        (json!({"expression": "frobnicate(intent.tenant)"}), "frobnicate is not known here"),
        (json!({"expression": "intent.tennant == 'acme'"}), "intent has no field tennant"),
    ];
    for (needs, why) in silly {
        let scene = Scene::bare();
        let bundle = scene.policy(bundle(&[("pay", needs)]).to_string());
        let refused = writ(["policy", "check", &bundle]).ended(1);
        assert!(refused.err.contains("ERR_POLICY_INVALID") && refused.err.contains(why), "{why}: {}", refused.err);
    }
}

/// What one key has stated keeps nobody else from stating it: neither an accomplice nor a second approver.
#[test]
fn the_same_statement_by_two_keys_is_two_pieces_of_evidence() {
    let desk = desk(&[("pay", evidence(json!({}))), ("two", evidence(json!({"signers": 2})))]);
    let other = desk.trust("other.key", "approver-2", "approver");
    let statement = Evidence {
        artifact: None,
        effect: None,
        expires_at: hours_ahead(1),
        issued_at: hours_ahead(0),
        kind: "approval".parse().expect("a name"),
        ledger: desk.0.ledger(),
        tenant: "acme".parse().expect("a name"),
    };
    let unsigned = Signed::unsigned(statement).expect("JSON");
    let digest = unsigned.digest().to_string();
    let served = Served::new(&desk.0);
    let state = |key: &SecretKey| {
        let envelope = unsigned.clone().sign(key).to_envelope();
        let (status, body) = Served::ask_socket(&desk.0, "POST", "/v1/evidence", "application/json", &envelope);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).expect("JSON")["answer"].clone()
    };
    assert_eq!(state(&desk.0.key("producer.key")), "recorded", "an agent, in no role that is asked for");
    assert_eq!(desk.ask("1", "pay", None, &[&digest]), MISSING);
    assert_eq!(state(&desk.0.key("approver.key")), "recorded");
    assert_eq!(state(&desk.0.key("approver.key")), "already");
    assert_eq!(desk.ask("2", "pay", None, &[&digest]), "OK");
    assert_eq!(desk.ask("3", "two", None, &[&digest]), MISSING);
    assert_eq!(state(&writ::keyfile::read(Path::new(&other), || Ok(None)).expect("a key")), "recorded");
    assert_eq!(desk.ask("4", "two", None, &[&digest]), "OK");
    served.stop();
    desk.holds();
}

/// What the guide to policies shows is loaded and passes its own case.
#[test]
fn the_guide_is_true() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policy.md")).expect("the guide");
    let blocks: Vec<Value> = guide
        .split("```json\n")
        .skip(1)
        .map(|rest| serde_json::from_str(rest.split("```").next().expect("a block")).expect("JSON"))
        .collect();
    let [rule, requirement, budgets, timing, connectors, cases] = blocks.as_slice() else {
        panic!("{} blocks", blocks.len())
    };
    let mut bundle = bundle(&[("refund-is-justified", requirement.clone())]);
    let gates = ["temporal", "proof", "budget", "escalation"].map(|gate| (gate.to_owned(), json!("enforced")));
    bundle["gates"] = Value::Object(gates.into_iter().collect());
    let mut payout = with(rule.clone(), "action", json!("payments.payout"));
    payout["timing"] = timing.clone();
    payout["spends"] = json!({"budgets": [{"name": "payouts-a-day", "cost": {"arg": "amount_cents"}},
                                          {"name": "payout-calls", "cost": {"fixed": 1}}]});
    bundle["rules"] = json!([rule, payout]);
    bundle["budgets"] = budgets.clone();
    bundle["connectors"] = connectors.clone();
    let scene = Scene::bare();
    let bundle = scene.policy(bundle.to_string());
    let cases = scene.file("cases.json", cases.to_string());
    let tested = writ(["policy", "test", "--json", &bundle, "--cases", &cases]).ended(0).json();
    assert_eq!((&tested["wrong"], &tested["untouched"]), (&json!(0), &json!(["payments.payout"])), "{tested}");
}

//! The Executor through the binary: what is tried again and what is not, when a connector is left alone, what it takes and gives.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::scene::{Served, WRIT, note, with, within, writ};
use crate::shop::{Says, Shop};

/// One action, carried out by a shop.
fn bundle(shop: &Shop, more: &Value) -> Value {
    let mut connector =
        json!({"kind": {"http": {"url": shop.url, "timeout_us": 5_000_000}}, "output_schema": {"type": "object"}});
    for (name, value) in more.as_object().expect("fields") {
        connector[name] = value.clone();
    }
    let off = json!({"disabled": "not asked here"});
    json!({
        "name": "execution", "gates": {"temporal": off, "proof": off, "budget": "enforced", "escalation": off},
        "rules": [{"action": "ship", "requires": {"exempt": "not asked here"}, "connector": "shop", "window_us": 20_000_000,
                   "spends": {"budget": {"name": "cents", "cost": {"fixed": 60}}}}],
        "budgets": {"cents": {"unit": "cents", "limit": 100}},
        "connectors": {"shop": connector},
    })
}

fn ship(id: &str) -> Value {
    with(note(id), "action", json!("ship"))
}

/// The last receipt of an id: status, code, and more of it.
fn receipt(desk: &Desk, id: &str) -> (String, String, String) {
    let receipt = desk.case(id)["receipts"][0]["event"]["payload"].clone();
    let text = |field: &str| receipt[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("code"), text("because"))
}

fn ended(status: &str, code: &str, because: &str) -> (String, String, String) {
    (status.to_owned(), code.to_owned(), because.to_owned())
}

fn kinds(desk: &Desk) -> Vec<String> {
    let log = writ(["log", "show", "--json", "--data", desk.0.data()]).ended(0).lines();
    log.iter().map(|entry| entry["kind"].as_str().expect("a kind").to_owned()).collect()
}

fn count(desk: &Desk, kind: &str) -> usize {
    kinds(desk).iter().filter(|it| *it == kind).count()
}

const QUICK: &str = r#"{"retry": {"attempts": 3, "base_us": 20000, "cap_us": 40000}}"#;

fn quick() -> Value {
    serde_json::from_str(QUICK).expect("JSON")
}

#[test]
fn what_certainly_did_nothing_is_tried_again_and_each_time_is_an_event() {
    let shop = Shop::new(|call| if call < 2 { Says::Status(429) } else { Says::Body(r#"{"shipped":true}"#) });
    let desk = Desk::under(&bundle(&shop, &quick()));
    desk.submit(&ship("1"), &[]);
    assert_eq!(receipt(&desk, "1"), ended("SUCCEEDED", "OK", ""));
    assert_eq!([count(&desk, "DispatchStarted"), count(&desk, "DispatchRetried")], [3, 2]);
    let log = writ(["log", "show", "--json", "--data", desk.0.data()]).ended(0).lines();
    let mut due = 0;
    for entry in log {
        let at = entry["recorded_at"].as_u64().expect("a time");
        match entry["kind"].as_str() {
            Some("DispatchStarted") => assert!(at >= due, "before its time"),
            Some("DispatchRetried") => {
                assert_eq!(entry["event"]["because"], "answered 429");
                due = entry["event"]["due"].as_u64().expect("a time");
                assert!((10_000..=40_000).contains(&(due - at)), "waits {} us", due - at);
            }
            _ => {}
        }
    }
    let calls = shop.calls();
    assert!(calls.len() == 3 && calls.iter().all(|call| *call == calls[0]), "one key, one effect: {calls:?}");
    desk.holds();
}

#[test]
fn what_may_have_happened_or_was_refused_is_not_tried_again() {
    let rows = [
        (Says::Status(422), ended("FAILED", "ERR_CONNECTOR_REFUSED", "answered 422")),
        (Says::Status(408), ended("UNCERTAIN", "ERR_CONNECTOR_UNCERTAIN", "answered 408")),
        (
            Says::Head(200, "Content-Length: 2\r\n"),
            ended("UNCERTAIN", "ERR_CONNECTOR_UNCERTAIN", "answered 200, then broke off"),
        ),
        (Says::Body(" "), ended("UNCERTAIN", "ERR_OUTPUT_NOT_CANONICAL", "ERR_JSON_SYNTAX")),
        (Says::Half, ended("UNCERTAIN", "ERR_CONNECTOR_UNCERTAIN", "answered 200, then broke off")),
        (Says::Status(503), ended("UNCERTAIN", "ERR_CONNECTOR_UNCERTAIN", "answered 503")),
        (Says::Head(503, "Retry-After: soon\r\n"), ended("UNCERTAIN", "ERR_CONNECTOR_UNCERTAIN", "answered 503")),
        (Says::Head(502, "Retry-After: 1\r\n"), ended("UNCERTAIN", "ERR_CONNECTOR_UNCERTAIN", "answered 502")),
        (Says::Status(500), ended("UNCERTAIN", "ERR_CONNECTOR_UNCERTAIN", "answered 500")),
        (Says::Body(r#"{"a":1,"a":2}"#), ended("UNCERTAIN", "ERR_OUTPUT_NOT_CANONICAL", "ERR_JSON_DUPLICATE_KEY")),
        (Says::Nothing, ended("UNCERTAIN", "ERR_CONNECTOR_UNCERTAIN", "no answer")),
    ];
    for (says, (status, code, because)) in rows {
        let shop = Shop::new(move |_| says);
        let desk = Desk::under(&bundle(&shop, &quick()));
        desk.submit(&ship("1"), &[]);
        let found = receipt(&desk, "1");
        assert_eq!((&found.0, &found.1), (&status, &code), "{says:?}");
        assert!(found.2.starts_with(&because), "{says:?}: {}", found.2);
        assert_eq!((shop.calls().len(), count(&desk, "DispatchRetried")), (1, 0), "{says:?}");
        desk.holds();
    }
}

/// 2xx without a body is complete and certain: its output is `null`, where the schema takes that.
#[test]
fn done_without_a_word_is_done() {
    let silent = [
        Says::Head(204, ""),
        Says::Head(205, "Content-Length: 0\r\n"),
        Says::Head(200, "Content-Length: 0\r\n"),
        Says::Head(201, "Content-Type: application/json\r\nContent-Length: 0\r\n"),
        Says::Head(202, "Transfer-Encoding: chunked\r\n\r\n0\r\n"),
        Says::Head(200, ""), // without a length it ends with its connection
    ];
    for says in silent {
        let shop = Shop::new(move |_| says);
        let desk = Desk::under(&bundle(&shop, &json!({"output_schema": {"type": ["object", "null"]}})));
        desk.submit(&ship("1"), &[]);
        assert_eq!(receipt(&desk, "1"), ended("SUCCEEDED", "OK", ""), "{says:?}");
        let last = &desk.case("1")["receipts"][0]["event"];
        assert_eq!(last["output"], Value::Null, "{says:?}");
        assert_eq!(last["payload"]["output"], json!(writ_schemas::ids::Digest::of(b"null")), "{says:?}");
        desk.holds();
    }
    // What the schema does not take is drift: it happened, so it is charged.
    let shop = Shop::new(|_| Says::Head(204, ""));
    let desk = Desk::under(&bundle(&shop, &json!({})));
    desk.submit(&ship("1"), &[]);
    assert_eq!(receipt(&desk, "1"), ended("FAILED", "ERR_CONNECTOR_CONTRACT_DRIFT", "the whole does not fit /type"));
    desk.submit(&ship("2"), &[]);
    assert_eq!(desk.code("2"), "ERR_BUDGET_EXCEEDED", "60 of 100 are spent");
    desk.holds();
}

#[test]
fn attempts_end_and_what_never_happened_costs_nothing() {
    let shop = Shop::new(|call| if call < 3 { Says::Status(429) } else { Says::Status(200) });
    let desk = Desk::under(&bundle(&shop, &quick()));
    desk.submit(&ship("1"), &[]);
    assert_eq!(receipt(&desk, "1"), ended("FAILED", "ERR_CONNECTOR_UNAVAILABLE", "answered 429"));
    assert_eq!(shop.calls().len(), 3);
    desk.submit(&ship("2"), &[]);
    assert_eq!(receipt(&desk, "2").0, "SUCCEEDED", "the budget holds one");
    desk.submit(&ship("3"), &[]);
    assert_eq!(desk.code("3"), "ERR_BUDGET_EXCEEDED");
    desk.holds();

    // Without a word nothing is tried again, and neither is anything that would begin after its window.
    let shop = Shop::new(|_| Says::Status(429));
    let desk = Desk::under(&bundle(&shop, &json!({})));
    desk.submit(&ship("1"), &[]);
    assert_eq!(receipt(&desk, "1").1, "ERR_CONNECTOR_UNAVAILABLE");
    let slow = json!({"retry": {"attempts": 16, "base_us": 60_000_000, "cap_us": 60_000_000}});
    desk.activate(&bundle(&shop, &slow));
    desk.submit(&ship("2"), &[]);
    assert_eq!(receipt(&desk, "2").1, "ERR_CONNECTOR_UNAVAILABLE");
    assert_eq!((shop.calls().len(), count(&desk, "DispatchRetried")), (2, 0));
    desk.holds();
}

/// The server is asked again when it says, as far as the window goes.
#[test]
fn who_says_when_to_ask_again_is_not_asked_before() {
    let past = "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    for (status, lines, least_us) in
        [(429, "Retry-After: 1\r\n", 1_000_000), (503, "Retry-After: 1\r\n", 1_000_000), (429, past, 0), (503, past, 0)]
    {
        let shop = Shop::new(
            move |call| if call == 0 { Says::Head(status, lines) } else { Says::Body(r#"{"shipped":true}"#) },
        );
        let desk = Desk::under(&bundle(&shop, &quick()));
        desk.submit(&ship("1"), &[]);
        assert_eq!(receipt(&desk, "1"), ended("SUCCEEDED", "OK", ""), "{status} {lines}");
        let log = writ(["log", "show", "--json", "--data", desk.0.data()]).ended(0).lines();
        let of_kind = |kind: &str| log.iter().filter(|it| it["kind"] == kind).cloned().collect::<Vec<Value>>();
        let (retried, started) = (of_kind("DispatchRetried"), of_kind("DispatchStarted"));
        assert_eq!((retried.len(), started.len()), (1, 2));
        let micros = |value: &Value| value.as_u64().expect("a time");
        assert_eq!(micros(&retried[0]["event"]["asked_us"]), least_us);
        let waited = micros(&started[1]["recorded_at"]) - micros(&retried[0]["recorded_at"]);
        assert!(waited >= least_us.max(10_000), "waited {waited} us");
        desk.holds();
    }
    // Beyond the window it has failed at once, with that reason; what was reserved is free again.
    for lines in ["Retry-After: 3600\r\n", "Retry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\n"] {
        for status in [429, 503] {
            let shop = Shop::new(move |_| Says::Head(status, lines));
            let desk = Desk::under(&bundle(&shop, &quick()));
            for id in ["1", "2"] {
                desk.submit(&ship(id), &[]);
                let found = receipt(&desk, id);
                assert_eq!((found.0.as_str(), found.1.as_str()), ("FAILED", "ERR_CONNECTOR_UNAVAILABLE"), "{found:?}");
                assert!(found.2.starts_with(&format!("answered {status}, to be asked again in ")), "{}", found.2);
            }
            assert_eq!((shop.calls().len(), count(&desk, "DispatchRetried")), (2, 0));
            desk.holds();
        }
    }
}

#[test]
fn nothing_listens() {
    let shop = Shop::new(|_| Says::Nothing);
    let mut bundle = bundle(&shop, &quick());
    // A port of this machine that nobody listens on: it was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    bundle["connectors"]["shop"]["kind"]["http"]["url"] = json!(format!("http://{free}/"));
    let desk = Desk::under(&bundle);
    desk.submit(&ship("1"), &[]);
    assert_eq!(receipt(&desk, "1").1, "ERR_CONNECTOR_UNAVAILABLE");
    assert_eq!(count(&desk, "DispatchRetried"), 2);
    desk.holds();
}

/// What stops a dispatch stops the next attempt, too.
#[test]
fn a_freeze_between_attempts_ends_them() {
    let shop = Shop::new(|_| Says::Status(429));
    let waits = json!({"retry": {"attempts": 9, "base_us": 1_500_000, "cap_us": 1_500_000}});
    let desk = Desk::under(&bundle(&shop, &waits));
    let served = Served::new(&desk.0);
    desk.submit(&ship("1"), &[]);
    shop.wait_for(1);
    writ(["freeze", "--data", desk.0.data(), "--reason", "a drill", "--tenant", "acme"]).ended(0);
    within("a receipt", || desk.case("1")["receipts"] != json!([]));
    assert_eq!(receipt(&desk, "1"), ended("EXPIRED", "ERR_FROZEN", ""));
    assert_eq!(shop.calls().len(), 1);
    served.stop();
    desk.holds();
}

#[test]
fn a_wait_survives_a_kill() {
    let shop = Shop::new(|call| if call == 0 { Says::Status(429) } else { Says::Status(200) });
    let waits = json!({"retry": {"attempts": 9, "base_us": 3_000_000, "cap_us": 3_000_000}});
    let desk = Desk::under(&bundle(&shop, &waits));
    let served = Served::new(&desk.0);
    desk.submit(&ship("1"), &[]);
    // The event is durable once the log that is served shows it.
    within("a retry", || count(&desk, "DispatchRetried") > 0);
    drop(served); // kill -9
    assert_eq!(shop.calls().len(), 1, "it still waits");
    let mut again = Command::new(WRIT)
        .args(["serve", "--http", "127.0.0.1:0", "--data", desk.0.data()])
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    shop.wait_for(2);
    within("a receipt", || count(&desk, "ReceiptIssued") == 1);
    again.kill().and_then(|()| again.wait()).expect("it ends");
    desk.submit(&ship("2"), &[]); // opens it for writing, so that what the kill left is settled
    assert_eq!(receipt(&desk, "1"), ended("SUCCEEDED", "OK", ""));
    assert_eq!(shop.calls().len(), 2);
    desk.holds();
}

#[test]
fn a_connector_that_keeps_failing_is_left_alone_for_a_while() {
    let shop = Shop::new(|call| if call < 2 { Says::Status(500) } else { Says::Status(200) });
    let mut patient = bundle(&shop, &json!({"breaker": {"failures": 2, "pause_us": 3_600_000_000_u64}}));
    patient["budgets"]["cents"]["limit"] = json!(1000);
    patient["rules"][0]["window_us"] = json!(1_000_000);
    let desk = Desk::under(&patient);
    for id in ["1", "2"] {
        desk.submit(&ship(id), &[]);
        assert_eq!(receipt(&desk, id).0, "UNCERTAIN");
    }
    desk.submit(&ship("3"), &[]);
    assert_eq!(receipt(&desk, "3"), ended("EXPIRED", "ERR_WINDOW_CLOSED", ""), "it waited as long as its window held");
    assert_eq!(shop.calls().len(), 2);

    // A pause ends; and an answer makes good again.
    patient["connectors"]["shop"]["breaker"] = json!({"failures": 1, "pause_us": 300_000});
    patient["rules"][0]["window_us"] = json!(20_000_000);
    let shop = Shop::new(|call| if call == 0 { Says::Status(500) } else { Says::Status(200) });
    patient["connectors"]["shop"]["kind"]["http"]["url"] = json!(shop.url);
    let desk = Desk::under(&patient);
    let lines: Vec<String> = ["1", "2", "3"].map(|id| ship(id).to_string()).into();
    desk.submit(&ship("1"), &[]);
    desk.0.submit(lines[1..].join("\n").as_bytes(), &[]);
    assert_eq!(["1", "2", "3"].map(|id| receipt(&desk, id).0), ["UNCERTAIN", "SUCCEEDED", "SUCCEEDED"]);
    let at = |id: &str, field: &str| desk.case(id)["receipts"][0]["event"]["payload"][field].as_u64().expect("a time");
    assert!(at("2", "dispatched_at") >= at("1", "ended_at") + 300_000);
    desk.holds();
}

#[test]
fn what_a_connector_takes_and_gives_is_pinned() {
    let shop = Shop::new(|_| Says::Body(r#"{"shipped":"maybe","parcels":3}"#));
    let shapes = json!({
        "input_schema": {"type": "object", "required": ["order"], "properties": {"order": {"type": "integer"}}, "additionalProperties": false},
        "output_schema": {"type": "object", "properties": {"shipped": {"type": "boolean"}, "parcels": {"maximum": 2}}},
    });
    let desk = Desk::under(&bundle(&shop, &shapes));
    desk.submit(&with(ship("1"), "args", json!({"order": "one", "to": "DE"})), &[]);
    let decision = desk.decision("1");
    assert_eq!((&decision["verdict"], &decision["code"]), (&json!("FAIL"), &json!("ERR_INPUT_SCHEMA")));
    assert_eq!(decision["because"], "/order does not fit /properties/order/type");
    assert_eq!(decision["gates"][3], json!({"gate": "policy", "answer": "refused"}));
    assert_eq!(shop.calls(), []);
    desk.submit(&with(ship("2"), "args", json!({"order": 1})), &[]);
    let drift = "/parcels does not fit /properties/parcels/maximum";
    assert_eq!(receipt(&desk, "2"), ended("FAILED", "ERR_CONNECTOR_CONTRACT_DRIFT", drift));
    desk.holds();

    // Hostile args are not even looked at.
    desk.submit(&with(ship("3"), "args", json!({"order": vec![0; 40_000]})), &[]);
    assert_eq!(desk.decision("3")["because"], "action and args have more than 65536 bytes");

    let asking = (0..9).fold(json!({}), |below, _| json!({"allOf": [below], "unevaluatedProperties": false}));
    for (more, why) in [
        (json!({"input_schema": asking}), "input_schema: more than 4096 values"),
        (
            json!({"output_schema": {"pattern": "[01]*1[01]{600}x"}}),
            "output_schema: \"[01]*1[01]{600}x\" is no pattern",
        ),
        (json!({"input_schema": {"$ref": "#"}}), "input_schema: # refers to itself"),
        (json!({"input_schema": 5}), "input_schema: not a JSON Schema object"),
        (json!({"retry": {"attempts": 1, "base_us": 1, "cap_us": 1}}), "retry.attempts"),
        (json!({"retry": {"attempts": 17, "base_us": 1, "cap_us": 1}}), "retry.attempts"),
        (json!({"retry": {"attempts": 2, "base_us": 2, "cap_us": 1}}), "retry.base_us"),
        (json!({"breaker": {"failures": 0, "pause_us": 1}}), "breaker.failures"),
        (json!({"breaker": {"failures": 1, "pause_us": 0}}), "breaker.pause_us"),
    ] {
        let bundle = desk.0.policy(bundle(&shop, &more).to_string());
        let refused = writ(["policy", "check", &bundle]).ended(1).err;
        assert!(refused.contains("ERR_POLICY_INVALID") && refused.contains(why), "{more}: {refused}");
    }
}

/// What is kept of an answer can be read again, also where its canonical form is longer than what came.
#[test]
fn an_answer_that_grows_beyond_the_limit_is_uncertain() {
    // 4 bytes a number as it comes, 11 as it is written.
    let grows: &'static str = Box::leak(format!("[{}1]", "1e9,".repeat(200_000)).into_boxed_str());
    let shop = Shop::new(move |_| Says::Body(grows));
    let desk = Desk::under(&bundle(&shop, &json!({"output_schema": {}})));
    desk.submit(&ship("1"), &[]);
    let found = receipt(&desk, "1");
    assert_eq!((found.0.as_str(), found.1.as_str()), ("UNCERTAIN", "ERR_OUTPUT_NOT_CANONICAL"), "{}", found.2);
    desk.holds();
}

/// What costs nothing leaves nothing behind when its window is over, and its end is no surprise.
#[test]
fn a_cost_of_nothing_ends_after_its_window() {
    let shop = Shop::new(|_| Says::Nothing);
    let mut bundle = bundle(&shop, &json!({}));
    bundle["budgets"]["cents"]["window"] = json!({"rolling_us": 1_000_000});
    bundle["rules"][0]["spends"]["budget"]["cost"] = json!({"arg": "cents"});
    let desk = Desk::under(&bundle);
    desk.submit(&with(ship("1"), "args", json!({"cents": 0})), &[]);
    assert_eq!(receipt(&desk, "1").0, "UNCERTAIN");
    std::thread::sleep(Duration::from_millis(1200));
    let digest = desk.case("1")["receipts"][0]["event"]["digest"].as_str().expect("a digest").to_owned();
    writ(["reconcile", "--data", desk.0.data(), &digest, "--applied"]).ended(0);
    desk.submit(&with(ship("2"), "args", json!({"cents": 100})), &[]);
    assert_eq!(desk.code("2"), "OK");
    desk.holds();
}

/// One connector that is down takes no room from the others.
#[test]
fn enough_waits_for_a_connector_that_is_down() {
    let shop = Shop::new(|_| Says::Status(429));
    let down = json!({"retry": {"attempts": 16, "base_us": 3_600_000_000_u64, "cap_us": 3_600_000_000_u64}});
    let mut bundle = bundle(&shop, &down);
    bundle["rules"][0]["window_us"] = json!(36_000_000_000_u64);
    bundle["budgets"]["cents"]["limit"] = json!(1_000_000);
    bundle["connectors"]["echo"] = json!({"kind": "echo", "output_schema": {}});
    let mut other = bundle["rules"][0].clone();
    (other["action"], other["connector"]) = (json!("other"), json!("echo"));
    bundle["rules"] = json!([bundle["rules"][0], other]);
    let desk = Desk::under(&bundle);
    let long = |id: &str| with(ship(id), "expires_at", json!(crate::scene::hours_ahead(20)));
    let refused = |ids: std::ops::Range<usize>| {
        let lines: Vec<String> = ids.map(|at| long(&at.to_string()).to_string()).collect();
        let answers = desk.0.submit(lines.join("\n").as_bytes(), &["--json"]).lines();
        answers.iter().filter(|answer| answer["code"] == "ERR_OVERLOADED").count()
    };
    assert_eq!((refused(0..16), count(&desk, "DispatchRetried")), (0, 16));
    assert_eq!(refused(16..1025), 1, "1024 wait");
    desk.submit(&with(note("other"), "action", json!("other")), &[]);
    assert_eq!(receipt(&desk, "other").0, "SUCCEEDED");
    desk.holds();
}

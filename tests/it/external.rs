//! Effects that are carried out outside: who reports what became of them, what follows from it, and that it follows once.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::Decision;
use writ_schemas::dsse::Signed;
use writ_schemas::ids::{Digest, LedgerId, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::keys::SecretKey;

use crate::desk::Desk;
use crate::scene::{Run, Served, WRIT, finish, holds, hours_ahead, note, with, within, writ};

const HOUR: u64 = 3_600_000_000;

/// Two actions: what a robot ships, and what is echoed.
fn bundle(within_us: u64, cents: u64) -> Value {
    let off = json!({"disabled": "not asked here"});
    let rule = |action: &str, connector: &str, spends: Value| {
        json!({"action": action, "requires": {"exempt": "not asked here"}, "connector": connector,
               "window_us": 20_000_000, "spends": spends})
    };
    json!({
        "name": "external", "gates": {"temporal": off, "proof": off, "budget": "enforced", "escalation": off},
        "rules": [
            rule("ship", "robot", json!({"budget": {"name": "cents", "cost": {"fixed": 60}}})),
            rule("notes.add", "echo", json!({"exempt": "not asked here"})),
        ],
        "budgets": {"cents": {"unit": "cents", "limit": cents}},
        "connectors": {
            "echo": {"kind": "echo", "output_schema": {}},
            "robot": {"kind": {"external": {"role": "carrier", "within_us": within_us}},
                      "output_schema": {"type": "object", "required": ["label"]}},
        },
    })
}

fn ship(id: &str) -> Value {
    with(note(id), "action", json!("ship"))
}

/// A ledger, and the key file of a robot that may report.
struct Dock {
    desk: Desk,
    robot: String,
}

impl Dock {
    fn under(bundle: &Value) -> Dock {
        let desk = Desk::under(bundle);
        let robot = desk.trust("robot.key", "robot-1", "carrier");
        Dock { desk, robot }
    }

    fn report(&self, id: &str, more: &[&str]) -> Run {
        let report = ["outcome", "report", "--data", self.desk.0.data(), "acme", id, "--key", &self.robot];
        writ(report.iter().chain(more))
    }

    fn applied(&self, id: &str, output: &Value) -> Run {
        let output = self.desk.0.file(&format!("{id}.json"), output.to_string());
        self.report(id, &["--applied", "--output", &output])
    }

    fn not_applied(&self, id: &str, because: &str) -> Run {
        self.report(id, &["--not-applied", "--because", because])
    }

    /// The receipts of an id: status, code, and more of it.
    fn receipts(&self, id: &str) -> Vec<[String; 3]> {
        let case = self.desk.case(id);
        let receipts = case["receipts"].as_array().expect("receipts");
        let text =
            |receipt: &Value, field: &str| receipt["event"]["payload"][field].as_str().unwrap_or_default().to_owned();
        receipts.iter().map(|it| ["status", "code", "because"].map(|field| text(it, field))).collect()
    }

    fn is(&self, id: &str, receipt: [&str; 3]) {
        assert_eq!(self.receipts(id), [receipt.map(str::to_owned)], "{id}");
    }

    fn waits_for_receipt(&self, id: &str) {
        within(&format!("a receipt of {id}"), || !self.receipts(id).is_empty());
    }

    fn list(&self, tenant: &str) -> Vec<Value> {
        let data = self.desk.0.data();
        writ(["outcome", "list", "--json", "--data", data, "--tenant", tenant, "--connector", "robot"]).ended(0).lines()
    }

    fn listed(&self) -> Vec<String> {
        let all = self.list("acme");
        all.iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
    }

    fn kinds(&self) -> Vec<String> {
        let log = writ(["log", "show", "--json", "--data", self.desk.0.data()]).ended(0).lines();
        let kinds = log.iter().map(|entry| entry["kind"].as_str().expect("a kind").to_owned());
        kinds.filter(|kind| !["CheckpointSigned", "StateHashed"].contains(&kind.as_str())).collect()
    }

    /// What was used: the sum, and how many are counted, failed, uncertain.
    fn used(&self) -> [u64; 4] {
        let lines = writ(["usage", "show", "--json", "--data", self.desk.0.data()]).ended(0).lines();
        let line = lines.iter().find(|line| line["action"] == "ship").expect("a line");
        ["sum", "count", "failed", "uncertain"].map(|field| line[field].as_u64().expect("a number"))
    }

    /// The digest of the decision that an id has.
    fn decision(&self, id: &str) -> Digest {
        let case = self.desk.case(id);
        case["decision"]["event"]["digest"].as_str().and_then(|digest| digest.parse().ok()).expect("a digest")
    }

    fn key(&self, file: &str) -> SecretKey {
        writ::keyfile::read(std::path::Path::new(file), || Ok(None)).expect("a key")
    }
}

const OK: [&str; 3] = ["SUCCEEDED", "OK", ""];
const MISSING: [&str; 3] = ["UNCERTAIN", "ERR_OUTCOME_MISSING", ""];

fn label() -> Value {
    json!({"label": "DE-1"})
}

#[track_caller]
fn refused(run: Run, code: &str) {
    let said = run.ended(1).err;
    assert!(said.contains(code), "{code}: {said}");
}

#[test]
fn a_report_in_time_is_followed_by_its_receipt() {
    let dock = Dock::under(&bundle(HOUR, 120));
    dock.desk.submit(&ship("1"), &[]);
    dock.desk.submit(&ship("2"), &[]);
    dock.desk.submit(&ship("3"), &[]);
    assert_eq!(["1", "2", "3"].map(|id| dock.desk.code(id)), ["OK", "OK", "ERR_BUDGET_EXCEEDED"], "it is held");
    assert_eq!(dock.listed(), ["1", "2"]);
    assert_eq!((dock.receipts("1"), dock.receipts("2")), (vec![], vec![]));

    let answer = dock.applied("1", &label()).ended(0).json();
    assert_eq!((&answer["answer"], &answer["status"]), (&json!("recorded"), &json!("SUCCEEDED")));
    dock.is("1", OK);
    assert_eq!(dock.kinds().last_chunk(), Some(&["OutcomeReconciled".to_owned(), "ReceiptIssued".to_owned()]));
    assert_eq!(dock.desk.case("1")["receipts"][0]["event"]["output"], label());
    assert_eq!(dock.listed(), ["2"]);
    let shown = writ(["outcome", "list", "--data", dock.desk.0.data(), "--tenant", "acme", "--connector", "robot"]);
    assert!(shown.ended(0).out.contains(&dock.decision("2").to_string()));

    dock.not_applied("2", "the door is shut").ended(0);
    dock.is("2", ["FAILED", "ERR_CONNECTOR_REFUSED", "the door is shut"]);
    assert_eq!(dock.listed(), [""; 0]);
    dock.desk.submit(&ship("4"), &[]);
    assert_eq!(dock.desk.code("4"), "OK", "it is released");
    assert_eq!(dock.used(), [60, 1, 1, 0]);
    let tree = writ(["graph", "show", "--data", dock.desk.0.data(), "acme", "1"]).ended(0).out;
    assert!(tree.contains("reported: applied"), "{tree}");
    dock.desk.holds();
}

#[test]
fn what_came_of_it_is_held_against_the_shape_that_was_pinned_at_its_dispatch() {
    let dock = Dock::under(&bundle(HOUR, 1000));
    let ids = ["1", "2", "3", "4"];
    ids.iter().for_each(|id| dock.desk.submit(&ship(id), &[]));
    // What comes in force later says nothing of them: neither the shape, nor that there is no robot any more.
    let mut other = bundle(1, 1000);
    other["connectors"]["robot"] = json!({"kind": "echo", "output_schema": {"type": "string"}});
    dock.desk.activate(&other);
    assert_eq!(dock.listed(), ids);

    dock.applied("1", &label()).ended(0);
    dock.is("1", OK);
    dock.applied("2", &json!({"lable": 1})).ended(0);
    dock.is("2", ["FAILED", "ERR_CONNECTOR_CONTRACT_DRIFT", "the whole does not fit /required"]);
    dock.report("3", &["--applied"]).ended(0);
    dock.is("3", ["FAILED", "ERR_CONNECTOR_CONTRACT_DRIFT", "the whole does not fit /type"]);
    let long = json!({"label": "x".repeat(6000)});
    dock.applied("4", &long).ended(0);
    dock.is("4", OK);
    assert_eq!(dock.desk.case("4")["receipts"][0]["event"]["output"], long);
    let kept = std::fs::read_dir(dock.desk.0.inside("content")).expect("a folder").count();
    assert_eq!(kept, 0, "however long it is, it needs no file: the report is in the log");
    assert_eq!(dock.used(), [240, 2, 2, 0], "what drifted is charged");
    dock.desk.submit(&ship("5"), &[]);
    assert_eq!(dock.receipts("5").len(), 1, "the next one is an echo's");
    dock.desk.holds();
}

/// An act of the robot's, or of somebody else's.
fn act(ledger: LedgerId, expires_at: UnixMicros, statement: Statement) -> Signed<Act> {
    let act = Act { ledger, nonce: "n-1".parse().expect("a name"), expires_at, statement };
    Signed::unsigned(act).expect("JSON")
}

fn told(decision: Digest) -> Statement {
    Statement::Report { applied: true, because: None, decision, output: Some(label()) }
}

#[test]
fn who_may_report_what_and_that_it_is_told_once() {
    let dock = Dock::under(&bundle(HOUR, 1000));
    let desk = &dock.desk;
    desk.submit(&ship("1"), &[]);
    desk.submit(&note("echo"), &[]);
    desk.submit(&with(ship("refused"), "action", json!("unknown")), &[]);
    let human = desk.trust("human.key", "ada", "manager");
    let former = desk.trust("former.key", "robot-0", "carrier");
    writ(["key", "revoke", "--data", desk.0.data(), &dock.key(&former).id().to_string()]).ended(0);
    let foreign = desk.0.dir.path().join("foreign.key").to_string_lossy().into_owned();
    let key = writ(["key", "new", &foreign]).ended(0).out;
    let who = ["--tenant", "globex", "--principal", "robot-1", "--role", "carrier"];
    writ(["key", "trust", "--data", desk.0.data(), key.trim()].iter().chain(&who)).ended(0);
    let stranger = SecretKey::from_seed(&[77; 32]);

    let served = Served::new(&desk.0);
    let post = |act: &Signed<Act>| {
        let (status, body) = served.ask("POST", "/v1/outcomes", "application/json", &act.to_envelope());
        let body: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
        (status, body["code"].as_str().or(body["answer"].as_str()).unwrap_or_default().to_owned())
    };
    let (ledger, soon) = (desk.0.ledger(), hours_ahead(1));
    let (robot, one) = (dock.key(&dock.robot), dock.decision("1"));
    let fine = || act(ledger, soon, told(one));
    let of = |applied, because: Option<&str>, output| {
        let because = because.map(str::to_owned);
        act(ledger, soon, Statement::Report { applied, because, decision: one, output }).sign(&robot)
    };
    let large = json!({"label": "x".repeat(300_000)});
    let rows: Vec<(&str, Signed<Act>, u16, &str)> = vec![
        ("unknown key", fine().sign(&stranger), 403, "ERR_REPORTER_INVALID"),
        ("revoked key", fine().sign(&dock.key(&former)), 403, "ERR_REPORTER_INVALID"),
        ("another role", fine().sign(&dock.key(&human)), 403, "ERR_REPORTER_INVALID"),
        ("operator", fine().sign(&desk.0.key("operator.key")), 403, "ERR_REPORTER_INVALID"),
        ("two signatures", fine().sign(&robot).sign(&dock.key(&human)), 403, "ERR_REPORTER_INVALID"),
        ("another tenant", fine().sign(&dock.key(&foreign)), 404, "ERR_OUTCOME_UNKNOWN"),
        ("another ledger", act(LedgerId([9; 16]), soon, told(one)).sign(&robot), 409, "ERR_LEDGER_MISMATCH"),
        ("expired", act(ledger, hours_ahead(-1), told(one)).sign(&robot), 403, "ERR_ACT_REFUSED"),
        ("for too long", act(ledger, hours_ahead(200), told(one)).sign(&robot), 403, "ERR_ACT_REFUSED"),
        ("of nothing", act(ledger, soon, told(Digest([7; 32]))).sign(&robot), 404, "ERR_OUTCOME_UNKNOWN"),
        ("of an echo", act(ledger, soon, told(dock.decision("echo"))).sign(&robot), 404, "ERR_OUTCOME_UNKNOWN"),
        ("of a FAIL", act(ledger, soon, told(dock.decision("refused"))).sign(&robot), 404, "ERR_OUTCOME_UNKNOWN"),
        ("output of nothing", of(false, Some("no"), Some(label())), 400, "ERR_SCHEMA"),
        ("a reason for nothing", of(true, Some("why"), Some(label())), 400, "ERR_SCHEMA"),
        ("too large", of(true, None, Some(large)), 413, "ERR_TOO_LARGE"),
        (
            "another act",
            act(ledger, soon, Statement::Thaw { principal: None, tenant: None }).sign(&robot),
            403,
            "ERR_ACT_REFUSED",
        ),
    ];
    let before = dock.kinds();
    for (story, act, status, code) in rows {
        assert_eq!(post(&act), (status, code.to_owned()), "{story}");
    }
    assert_eq!(dock.kinds(), before, "nothing was recorded");

    let act = fine().sign(&robot);
    assert_eq!(post(&act), (200, "recorded".to_owned()));
    assert_eq!(post(&act), (200, "already".to_owned()));
    let (another, contradicts) = (of(true, None, Some(json!({"label": "DE-2"}))), of(false, Some("no"), None));
    for other in [another, contradicts] {
        assert_eq!(post(&other), (404, "ERR_OUTCOME_UNKNOWN".to_owned()));
    }
    served.stop();
    dock.is("1", OK);
    desk.holds();
}

#[test]
fn what_is_not_reported_in_time_is_uncertain_until_somebody_says() {
    let dock = Dock::under(&bundle(300_000, 180));
    let served = Served::new(&dock.desk.0);
    let ids = ["1", "2", "3"];
    ids.iter().for_each(|id| dock.desk.submit(&ship(id), &[]));
    ids.iter().for_each(|id| dock.waits_for_receipt(id));
    ids.iter().for_each(|id| dock.is(id, MISSING));
    assert_eq!(dock.listed(), [""; 0]);
    dock.desk.submit(&ship("4"), &[]);
    assert_eq!(dock.desk.code("4"), "ERR_BUDGET_EXCEEDED", "it is held");
    assert_eq!(dock.used(), [0, 0, 0, 3]);

    // Late, it settles the receipt as operators do: once.
    assert_eq!(dock.applied("1", &label()).ended(0).json()["status"], "UNCERTAIN");
    dock.not_applied("2", "it fell off").ended(0);
    let receipt = dock.desk.case("3")["receipts"][0]["event"]["digest"].as_str().expect("a digest").to_owned();
    writ(["reconcile", "--data", dock.desk.0.data(), &receipt, "--applied"]).ended(0);
    for id in ids {
        dock.is(id, MISSING);
        assert_ne!(dock.desk.case(id)["reconciled"], Value::Null, "{id}");
        refused(dock.applied(id, &label()), "ERR_OUTCOME_UNKNOWN");
        let receipt = dock.desk.case(id)["receipts"][0]["event"]["digest"].as_str().expect("a digest").to_owned();
        refused(writ(["reconcile", "--data", dock.desk.0.data(), &receipt, "--applied"]), "ERR_RECEIPT_UNKNOWN");
    }
    assert_eq!(dock.used(), [120, 2, 1, 0]);
    dock.desk.submit(&ship("5"), &[]);
    assert_eq!(dock.desk.code("5"), "OK", "what did not happen is released");
    let passed: Vec<String> = dock.kinds().into_iter().filter(|kind| kind != "DispatchStarted").collect();
    let pair = ["DeadlinePassed".to_owned(), "ReceiptIssued".to_owned()];
    assert!(passed.windows(2).filter(|two| **two == pair).count() >= 3, "each with its receipt: {passed:?}");
    served.stop();
    dock.desk.holds();
}

/// The deadline passes while nobody serves: the next opening records it before anything else.
#[test]
fn a_deadline_passes_while_nobody_serves() {
    let dock = Dock::under(&bundle(1, 1000));
    dock.desk.submit(&ship("1"), &[]);
    let late = dock.applied("1", &label()).ended(0).json();
    assert_eq!((&late["status"], &late["code"]), (&json!("UNCERTAIN"), &json!("ERR_OUTCOME_MISSING")));
    dock.is("1", MISSING);
    assert_eq!(dock.used(), [60, 1, 0, 0]);
    dock.desk.holds();
}

#[test]
fn one_that_misses_its_deadline_has_its_connector_left_alone() {
    let mut patient = bundle(200_000, 1000);
    patient["connectors"]["robot"]["breaker"] = json!({"failures": 1, "pause_us": HOUR});
    patient["rules"][0]["window_us"] = json!(1_000_000);
    let dock = Dock::under(&patient);
    let served = Served::new(&dock.desk.0);
    dock.desk.submit(&ship("1"), &[]);
    dock.waits_for_receipt("1");
    dock.desk.submit(&ship("2"), &[]);
    assert_eq!(dock.desk.code("2"), "OK");
    dock.waits_for_receipt("2");
    dock.is("1", MISSING);
    dock.is("2", ["EXPIRED", "ERR_WINDOW_CLOSED", ""]);
    refused(dock.applied("2", &label()), "ERR_OUTCOME_UNKNOWN");
    served.stop();
    dock.desk.holds();
}

#[test]
fn wherever_it_is_killed_what_is_outside_goes_on() {
    for stage in ["passed", "asked", "dispatch-decided", "dispatch-durable", "dispatched"] {
        let dock = Dock::under(&bundle(HOUR, 1000));
        let mut submit = Command::new(WRIT);
        submit.args(["submit", "--data", dock.desk.0.data()]).env("WRIT_KILL_AT", stage);
        let killed = finish(&mut submit, ship("1").to_string().as_bytes());
        assert_eq!(killed.status, 128 + 9, "{stage}: {}", killed.err);
        dock.desk.submit(&note("another"), &[]); // opens it for writing
        assert_eq!((dock.receipts("1"), dock.listed()), (vec![], vec!["1".to_owned()]), "{stage}");

        let output = dock.desk.0.file("label.json", label().to_string());
        let killed_at = |stage: &str| {
            let mut report = Command::new(WRIT);
            report.args(["outcome", "report", "--data", dock.desk.0.data(), "acme", "1", "--key", &dock.robot]);
            report.args(["--applied", "--output", &output]).env("WRIT_KILL_AT", stage);
            finish(&mut report, b"")
        };
        assert_eq!(killed_at("receipt-signed").status, 128 + 9, "{stage}");
        assert_eq!(dock.receipts("1"), [[""; 3]; 0], "{stage}: neither report nor receipt");
        assert_eq!(killed_at("receipt-durable").status, 128 + 9, "{stage}");
        refused(dock.applied("1", &label()), "ERR_OUTCOME_UNKNOWN");
        dock.is("1", OK);
        let count = |kind: &str| dock.kinds().iter().filter(|it| *it == kind).count();
        assert_eq!((count("OutcomeReconciled"), count("ReceiptIssued")), (1, 2), "{stage}");
        dock.desk.holds();
    }
}

#[test]
fn one_that_is_served_is_killed_while_it_is_outside() {
    let dock = Dock::under(&bundle(HOUR, 1000));
    let served = Served::new(&dock.desk.0);
    dock.desk.submit(&ship("1"), &[]);
    within("a dispatch", || !dock.listed().is_empty());
    drop(served); // kill -9
    let served = Served::new(&dock.desk.0);
    assert_eq!(dock.receipts("1"), [[""; 3]; 0]);
    dock.applied("1", &label()).ended(0);
    dock.is("1", OK);
    served.stop();
    dock.desk.holds();
}

#[test]
fn a_freeze_stops_a_dispatch_and_no_report() {
    let dock = Dock::under(&bundle(HOUR, 1000));
    dock.desk.submit(&ship("1"), &[]);
    let mut submit = Command::new(WRIT);
    submit.args(["submit", "--data", dock.desk.0.data()]).env("WRIT_KILL_AT", "asked");
    assert_eq!(finish(&mut submit, ship("2").to_string().as_bytes()).status, 128 + 9);
    refused(dock.applied("2", &label()), "ERR_OUTCOME_UNKNOWN"); // it was not dispatched
    writ(["freeze", "--data", dock.desk.0.data(), "--reason", "a drill", "--tenant", "acme"]).ended(0);
    dock.desk.submit(&ship("3"), &[]);
    assert_eq!(dock.desk.code("3"), "ERR_FROZEN");
    dock.is("2", ["EXPIRED", "ERR_FROZEN", ""]);
    refused(dock.applied("2", &label()), "ERR_OUTCOME_UNKNOWN");
    dock.applied("1", &label()).ended(0); // what happened did happen
    dock.is("1", OK);
    dock.desk.holds();
}

#[test]
fn what_is_outside_holds_up_nothing_and_is_found_over_the_network() {
    let dock = Dock::under(&bundle(HOUR, 1000));
    let served = Served::new(&dock.desk.0);
    let ids: Vec<String> = (1..=10).map(|id| format!("s-{id:02}")).collect();
    ids.iter().for_each(|id| dock.desk.submit(&ship(id), &[]));
    dock.desk.submit(&note("echo"), &[]);
    dock.waits_for_receipt("echo");
    within("every dispatch", || dock.listed().len() >= ids.len());
    assert_eq!(dock.listed(), ids);

    let ask = |path: &str| {
        let (status, body) = served.ask("GET", path, "application/json", b"");
        (status, serde_json::from_str::<Value>(&body).unwrap_or_else(|e| panic!("{e}: {body}")))
    };
    let (status, found) = ask("/v1/dispatches/acme/robot");
    assert_eq!((status, &found["items"], &found["next"]), (200, &json!(dock.list("acme")), &Value::Null));
    for (one, id) in found["items"].as_array().expect("dispatches").iter().zip(&ids) {
        let bytes = |document: &str| one[document]["envelope"].as_str().expect("an envelope").as_bytes().to_vec();
        let intent = Signed::<Intent>::from_envelope(&bytes("intent")).expect("a signed intent");
        let decision = Signed::<Decision>::from_envelope(&bytes("decision")).expect("a signed decision");
        let execution = decision.value().execution.as_ref().expect("an execution intent");
        assert_eq!(execution.effect_digest, intent.value().effect_digest().expect("an effect"));
        assert_eq!((decision.digest(), intent.value().id.as_str()), (dock.decision(id), id.as_str()));
        let dispatched = writ([
            "log",
            "show",
            "--json",
            "--data",
            dock.desk.0.data(),
            "--from",
            &one["dispatched_seq"].to_string(),
            "--to",
            &one["dispatched_seq"].to_string(),
        ])
        .ended(0)
        .json();
        assert_eq!(dispatched["event"]["decision"], one["decision_seq"]);
        assert_eq!(dispatched["recorded_at"].as_u64().map(|at| at + HOUR), one["due"].as_u64());
    }
    let first = ask("/v1/dispatches/acme/robot?limit=3").1;
    let next = first["next"].as_str().expect("there is more");
    let rest = ask(&format!("/v1/dispatches/acme/robot?cursor={next}")).1;
    let of = |answer: &Value| answer["items"].as_array().cloned().expect("items");
    assert_eq!([of(&first), of(&rest)].concat(), of(&found));
    for path in ["/v1/dispatches/globex/robot", "/v1/dispatches/acme/echo"] {
        assert_eq!(ask(path).1["items"], json!([]), "{path}");
    }
    served.stop();
    dock.desk.holds();
}

#[test]
fn a_policy_says_who_reports_and_until_when() {
    let refused = |change: &dyn Fn(&mut Value), why: &str| {
        let mut bundle = bundle(HOUR, 1000);
        change(&mut bundle["connectors"]["robot"]);
        let scene = crate::scene::Scene::bare();
        let bundle = scene.policy(bundle.to_string());
        let said = writ(["policy", "check", &bundle]).ended(1);
        assert!(format!("{}{}", said.out, said.err).contains(why), "{why}: {said:?}");
    };
    let week = 7 * 24 * HOUR;
    refused(&|robot| robot["kind"]["external"]["within_us"] = json!(0), "within_us");
    refused(&|robot| robot["kind"]["external"]["within_us"] = json!(week + 1), "within_us");
    refused(
        &|robot| robot["retry"] = json!({"attempts": 2, "base_us": 1, "cap_us": 1}),
        "retry does not go with external",
    );
    let longest = Dock::under(&bundle(week, 1000));
    longest.desk.submit(&ship("1"), &[]);
    assert_eq!(longest.listed(), ["1"]);
}

/// What is reported of a name is what was dispatched under it: the next intent of this name waits for that.
#[test]
fn an_id_stays_taken_while_its_execution_is_outside() {
    let dock = Dock::under(&bundle(HOUR, 1000));
    let short = with(ship("p"), "expires_at", json!(hours_ahead(0).0 + 5_000_000));
    let data = dock.desk.0.data();
    let submit = |intent: &Value| crate::scene::writ_reading(intent.to_string().as_bytes(), ["submit", "--data", data]);
    submit(&short).ended(0);
    let first = dock.decision("p");
    while hours_ahead(0).0 < short["expires_at"].as_u64().expect("a time") {
        std::thread::sleep(Duration::from_millis(50));
    }
    let next = ship("p");
    let refused = submit(&next).ended(1);
    assert!(format!("{refused:?}").contains("ERR_ID_REUSED"), "{refused:?}");
    assert_eq!(dock.decision("p"), first);
    dock.applied("p", &label()).ended(0);
    dock.is("p", OK);
    // It is free from then on.
    submit(&next).ended(0);
    assert_ne!(dock.decision("p"), first);
    assert_eq!(dock.listed(), ["p"]);
    holds(data);
}

//! Each gate by itself: an intent that only it refuses, and that passes without it.

use serde_json::{Value, json};

use crate::desk::{Desk, approver};
use crate::scene::{hours_ahead, with, writ};

const ALWAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const GATES: [&str; 8] = ["freeze", "trust", "envelope", "policy", "temporal", "proof", "budget", "escalation"];

/// Every gate is enforced, and the one action has something to say to each. What costs up to 100 needs nobody's approval.
fn strict() -> Value {
    json!({
        "name": "strict",
        "gates": {"temporal": "enforced", "proof": "enforced", "budget": "enforced", "escalation": "enforced"},
        "rules": [{
            "action": "pay", "requires": {"requirement": "approved"}, "connector": "echo", "window_us": 60_000_000,
            "spends": {"budgets": [{"name": "cents", "cost": {"arg": "cents"}}, {"name": "calls", "cost": {"fixed": 1}}]},
            "timing": {"limits": {"hours": {"zone": "Europe/Berlin", "spans": [{"days": ALWAYS, "from": "00:00", "to": "24:00"}]}}},
            "escalates": {"to": {"role": "manager", "quorum": 1, "within_us": 3_600_000_000_u64, "when": "intent.args.cents > 100"}},
        }],
        "requirements": {"approved": {"evidence": {"kind": "approval", "role": "approver", "about_effect": false}}},
        "budgets": {"cents": {"unit": "cents", "limit": 1000, "window": {"day": "Europe/Berlin"}, "per": ["principal"]},
                    "calls": {"unit": "requests", "limit": 100, "window": "hour"}},
        "connectors": {"echo": {"kind": "echo", "output_schema": {"type": "object"}}},
    })
}

/// A change of the strict policy.
fn changed(pointer: &str, value: Value) -> Value {
    let mut bundle = strict();
    *bundle.pointer_mut(pointer).expect("a place in the bundle") = value;
    bundle
}

/// Some span that does not hold today, tomorrow or yesterday, wherever the clock on the wall hangs.
fn another_day() -> Value {
    let days_since_epoch = hours_ahead(0).0 / (24 * 3_600_000_000);
    // 1970-01-01 was a Thursday.
    let day = ALWAYS[usize::try_from((days_since_epoch + 3 + 3) % 7).expect("small")];
    json!([{"days": [day], "from": "00:00", "to": "24:00"}])
}

fn pay(id: &str, cents: u64, evidence: &str) -> Value {
    json!({"tenant": "acme", "id": id, "principal": "agent-1", "action": "pay", "args": {"cents": cents},
           "evidence": [evidence], "expires_at": hours_ahead(1)})
}

/// That this gate refused, those before it did not, and those after it were not asked.
#[track_caller]
fn only(decision: &Value, gate: &str, answer: &str, code: &str) {
    assert_eq!(decision["code"], code, "{decision}");
    let at = GATES.iter().position(|it| *it == gate).expect("a gate");
    for (place, name) in GATES.iter().enumerate() {
        let expected = match place.cmp(&at) {
            std::cmp::Ordering::Less => "passed",
            std::cmp::Ordering::Equal => answer,
            std::cmp::Ordering::Greater => "not_reached",
        };
        assert_eq!(decision["gates"][place], json!({"gate": name, "answer": expected}), "{decision}");
    }
}

/// A desk under a policy, and evidence for it.
fn desk(bundle: &Value) -> (Desk, String) {
    let desk = Desk::under(bundle);
    let shown = desk.approval(&approver(&desk), &[]);
    (desk, shown)
}

#[test]
fn an_intent_that_every_gate_lets_pass() {
    let (desk, shown) = desk(&strict());
    desk.submit(&pay("1", 100, &shown), &[]);
    let decision = desk.decision("1");
    assert_eq!(decision["code"], "OK");
    assert!(decision["gates"].as_array().expect("gates").iter().all(|gate| gate["answer"] == "passed"), "{decision}");
    assert_eq!(decision["execution"]["reservation"].as_array().expect("two").len(), 2);
    assert_eq!(desk.case("1")["receipts"][0]["event"]["payload"]["usage"].as_array().expect("two").len(), 2);
    desk.holds();
}

#[test]
fn only_the_freeze() {
    let (desk, shown) = desk(&strict());
    let act = |args: &[&str]| writ([&args[..1], &["--data", desk.0.data()], &args[1..]].concat()).ended(0);
    let mut number = 0;
    let mut ask = || {
        number += 1;
        desk.submit(&pay(&number.to_string(), 1, &shown), &[]);
        desk.decision(&number.to_string())
    };
    for extent in [&[][..], &["--tenant", "acme"], &["--tenant", "acme", "--principal", "agent-1"]] {
        act(&[&["freeze", "--reason", "a drill"], extent].concat());
        only(&ask(), "freeze", "refused", "ERR_FROZEN");
        act(&[&["thaw"], extent].concat());
        assert_eq!(ask()["code"], "OK");
    }
    // Others are none of its business.
    act(&["freeze", "--reason", "a drill", "--tenant", "globex"]);
    act(&["freeze", "--reason", "a drill", "--tenant", "acme", "--principal", "agent-2"]);
    assert_eq!(ask()["code"], "OK");
    let refused = writ(["freeze", "--data", desk.0.data(), "--reason", "x", "--principal", "agent-1"]).ended(2);
    assert!(refused.err.contains("--tenant"), "{}", refused.err);
    desk.holds();
}

/// What is not worth an entry is refused, and has none.
#[track_caller]
fn refused(desk: &Desk, intent: &Value, more: &[&str], code: &str) {
    let entries = || writ(["log", "show", "--json", "--data", desk.0.data()]).ended(0).lines().len();
    let before = entries();
    let answer = desk.0.submit(intent.to_string().as_bytes(), &[&["--json"], more].concat()).ended(1).json();
    assert_eq!((&answer["answer"], &answer["code"]), (&json!("refused"), &json!(code)), "{answer}");
    // A checkpoint may have been named.
    assert!(entries() <= before + 1, "{code}");
}

#[test]
fn only_trust() {
    let (desk, shown) = desk(&strict());
    let stranger = desk.0.dir.path().join("stranger.key").to_string_lossy().into_owned();
    let id = writ(["key", "new", &stranger]).ended(0).out;
    refused(&desk, &pay("1", 1, &shown), &["--key", &stranger], "ERR_KEY_UNKNOWN");
    let who = ["--tenant", "acme", "--principal", "agent-1", "--role", "agent"];
    writ(["key", "trust", "--data", desk.0.data(), id.trim()].iter().chain(&who)).ended(0);
    desk.submit(&pay("2", 1, &shown), &["--key", &stranger]);
    assert_eq!(desk.code("2"), "OK");
    writ(["key", "revoke", "--data", desk.0.data(), id.trim()]).ended(0);
    refused(&desk, &pay("3", 1, &shown), &["--key", &stranger], "ERR_KEY_REVOKED");
    desk.submit(&with(pay("4", 1, &shown), "principal", json!("agent-2")), &[]);
    only(&desk.decision("4"), "trust", "refused", "ERR_TENANT_MISMATCH");
    desk.holds();
}

#[test]
fn only_the_envelope() {
    let (desk, shown) = desk(&strict());
    refused(&desk, &with(pay("1", 1, &shown), "expires_at", json!(hours_ahead(-1))), &[], "ERR_INTENT_EXPIRED");
    desk.submit(&with(pay("2", 1, &shown), "expires_at", json!(hours_ahead(24 * 8))), &[]);
    only(&desk.decision("2"), "envelope", "refused", "ERR_EXPIRY_TOO_FAR");
    desk.submit(&with(pay("3", 1, &shown), "expires_at", json!(hours_ahead(24 * 6))), &[]);
    assert_eq!(desk.code("3"), "OK");
}

#[test]
fn only_the_policy() {
    let (desk, shown) = desk(&strict());
    desk.submit(&with(pay("1", 1, &shown), "action", json!("pay-twice")), &[]);
    only(&desk.decision("1"), "policy", "refused", "ERR_POLICY_NO_RULE");
    desk.activate(&changed("/rules/0/action", json!("pay-twice")));
    desk.submit(&with(pay("2", 1, &shown), "action", json!("pay-twice")), &[]);
    assert_eq!(desk.code("2"), "OK");
}

#[test]
fn only_the_hours() {
    let (desk, shown) = desk(&changed("/rules/0/timing/limits/hours/spans", another_day()));
    desk.submit(&pay("1", 1, &shown), &[]);
    let decision = desk.decision("1");
    only(&decision, "temporal", "refused", "ERR_OUTSIDE_HOURS");
    assert!(decision["because"].as_str().expect("words").ends_with("in Europe/Berlin"), "{decision}");
    desk.activate(&changed("/gates/temporal", json!({"disabled": "a test"})));
    desk.submit(&pay("2", 1, &shown), &[]);
    assert_eq!(desk.code("2"), "OK");
    desk.holds();
}

#[test]
fn only_the_rate() {
    let rate = json!({"limits": {"rate": {"count": 1, "per_us": 3_600_000_000_u64, "burst": 2}}});
    let (desk, shown) = desk(&changed("/rules/0/timing", rate));
    for (id, code) in [("1", "OK"), ("2", "OK"), ("3", "ERR_RATE_EXCEEDED"), ("4", "ERR_RATE_EXCEEDED")] {
        desk.submit(&pay(id, 1, &shown), &[]);
        assert_eq!(desk.code(id), code, "{id}");
    }
    only(&desk.decision("3"), "temporal", "refused", "ERR_RATE_EXCEEDED");
    // Another principal has a rate of its own.
    let other = desk.trust("other.key", "agent-2", "agent");
    desk.submit(&with(pay("5", 1, &shown), "principal", json!("agent-2")), &["--key", &other]);
    assert_eq!(desk.code("5"), "OK");
    // What later gates refuse has used the rate, too.
    desk.submit(&with(pay("6", 5000, &shown), "principal", json!("agent-2")), &["--key", &other]);
    assert_eq!(desk.code("6"), "ERR_BUDGET_EXCEEDED");
    desk.submit(&with(pay("7", 1, &shown), "principal", json!("agent-2")), &["--key", &other]);
    assert_eq!(desk.code("7"), "ERR_RATE_EXCEEDED");
    desk.activate(&changed("/rules/0/timing", json!({"exempt": "a test"})));
    desk.submit(&pay("8", 1, &shown), &[]);
    assert_eq!(desk.code("8"), "OK");
    desk.holds();
}

#[test]
fn only_the_cool_down() {
    let ladder = json!({"limits": {"cool_down": {"after": 2, "steps_us": [1_000_000, 3_600_000_000_u64]}}});
    let (desk, shown) = desk(&changed("/rules/0/timing", ladder));
    let ask = |id: &str, cents: u64| {
        desk.submit(&pay(id, cents, &shown), &[]);
        desk.code(id)
    };
    assert_eq!(ask("1", 5000), "ERR_BUDGET_EXCEEDED");
    assert_eq!(ask("2", 1), "OK", "which starts the count anew");
    assert_eq!(ask("3", 5000), "ERR_BUDGET_EXCEEDED");
    // In one submission, so that no pause can end in between.
    let lines = ["4", "5", "6"].map(|id| pay(id, if id == "4" { 5000 } else { 1 }, &shown).to_string());
    desk.0.submit(lines.join("\n").as_bytes(), &[]);
    assert_eq!(
        ["4", "5", "6"].map(|id| desk.code(id)),
        ["ERR_BUDGET_EXCEEDED", "ERR_COOLING_DOWN", "ERR_COOLING_DOWN"]
    );
    only(&desk.decision("5"), "temporal", "refused", "ERR_COOLING_DOWN");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(ask("7", 5000), "ERR_BUDGET_EXCEEDED", "the first pause is over");
    assert_eq!(ask("8", 1), "ERR_COOLING_DOWN", "an hour now");
    desk.activate(&strict());
    assert_eq!(ask("9", 1), "OK");
    desk.holds();
}

#[test]
fn only_the_proof() {
    let (desk, shown) = desk(&strict());
    let nothing = "blake3:".to_owned() + &"0".repeat(64);
    desk.submit(&pay("1", 1, &nothing), &[]);
    only(&desk.decision("1"), "proof", "refused", "ERR_PROOF_MISSING");
    desk.submit(&pay("2", 1, &shown), &[]);
    assert_eq!(desk.code("2"), "OK");
    desk.activate(&changed("/gates/proof", json!({"disabled": "a test"})));
    desk.submit(&pay("3", 1, &nothing), &[]);
    assert_eq!(desk.code("3"), "OK");
}

#[test]
fn only_the_budget() {
    let (desk, shown) = desk(&changed("/budgets/calls/limit", json!(2)));
    for (id, cents, code) in
        [("1", 1, "OK"), ("2", 5000, "ERR_BUDGET_EXCEEDED"), ("3", 1, "OK"), ("4", 1, "ERR_BUDGET_EXCEEDED")]
    {
        desk.submit(&pay(id, cents, &shown), &[]);
        assert_eq!(desk.code(id), code, "{id}");
    }
    only(&desk.decision("4"), "budget", "refused", "ERR_BUDGET_EXCEEDED");
    desk.submit(&with(pay("5", 1, &shown), "args", json!({"cents": -1})), &[]);
    only(&desk.decision("5"), "budget", "refused", "ERR_BUDGET_ERROR");
    desk.submit(&with(pay("6", 1, &shown), "args", json!({})), &[]);
    only(&desk.decision("6"), "budget", "refused", "ERR_BUDGET_ERROR");
    desk.activate(&changed("/gates/budget", json!({"disabled": "a test"})));
    desk.submit(&pay("7", 1, &shown), &[]);
    assert_eq!(desk.code("7"), "OK");
    desk.holds();
}

#[test]
fn only_the_escalation() {
    let (desk, shown) = desk(&strict());
    desk.submit(&pay("1", 101, &shown), &[]);
    let decision = desk.decision("1");
    only(&decision, "escalation", "asks", "ERR_APPROVAL_NEEDED");
    assert_eq!((&decision["verdict"], &decision["asks"]["role"]), (&json!("ESCALATE"), &json!("manager")));
    desk.submit(&with(pay("2", 1, &shown), "args", json!({"cents": 1, "more": true})), &[]);
    assert_eq!(desk.code("2"), "OK", "not above the limit");
    desk.activate(&changed("/gates/escalation", json!({"disabled": "a test"})));
    desk.submit(&pay("3", 101, &shown), &[]);
    assert_eq!(desk.code("3"), "OK");
    desk.holds();
}

#[test]
fn a_rule_that_says_nothing_of_an_enforced_gate_is_not_loaded() {
    for (gate, field) in [("temporal", "timing"), ("escalation", "escalates")] {
        let mut bundle = strict();
        bundle["rules"][0].as_object_mut().expect("a rule").remove(field);
        let desk = Desk::under(&strict());
        let bundle = desk.0.policy(bundle.to_string());
        let refused = writ(["policy", "check", &bundle]).ended(1).err;
        assert!(refused.contains(&format!("gates.{gate} is enforced")), "{refused}");
    }
}

#[test]
fn limits_that_say_nothing_or_too_much_are_not_loaded() {
    let hours = |zone: &str, from: &str, to: &str| json!({"limits": {"hours": {"zone": zone, "spans": [{"days": ["mon"], "from": from, "to": to}]}}});
    let rate = |count: u64, per_us: u64, burst: u64| json!({"limits": {"rate": {"count": count, "per_us": per_us, "burst": burst}}});
    let ladder = |after: u64, steps: Value| json!({"limits": {"cool_down": {"after": after, "steps_us": steps}}});
    let to = |quorum: u64, within: u64, when: &str| json!({"to": {"role": "manager", "quorum": quorum, "within_us": within, "when": when}});
    let month = 31 * 24 * 3_600_000_000_u64;
    let rows = [
        ("/rules/0/timing", json!({"limits": {}}), "limits nothing"),
        ("/rules/0/timing", json!({"exempt": " "}), "give a reason"),
        ("/rules/0/timing", hours("Europe/Atlantis", "08:00", "18:00"), "no time zone"),
        ("/rules/0/timing", hours("europe/berlin", "08:00", "18:00"), "is written Europe/Berlin"),
        ("/rules/0/timing", hours("UTC", "18:00", "08:00"), "without a minute"),
        ("/rules/0/timing", hours("UTC", "8:00", "18:00"), "not a time of day"),
        ("/rules/0/timing", rate(0, 1, 1), "lets nothing pass"),
        ("/rules/0/timing", rate(1, 1, 0), "lets nothing pass"),
        ("/rules/0/timing", rate(1, 0, 1), "over nothing"),
        ("/rules/0/timing", rate(1, month, 2), "31 days"),
        ("/rules/0/timing", ladder(0, json!([1])), "at least one refusal"),
        ("/rules/0/timing", ladder(1, json!([])), "1 to 32 steps"),
        ("/rules/0/timing", ladder(1, json!([2, 1])), "goes down"),
        ("/rules/0/timing", ladder(1, json!([0])), "a pause of nothing"),
        ("/rules/0/escalates", to(0, 1, "true"), "a quorum is"),
        ("/rules/0/escalates", to(17, 1, "true"), "a quorum is"),
        ("/rules/0/escalates", to(1, 0, "true"), "within_us"),
        ("/rules/0/escalates", to(1, 1, "intent.nobody"), "escalates.when"),
        ("/budgets/cents/window", json!({"day": "Mars/Olympus"}), "no time zone"),
        ("/budgets/cents/window", json!({"rolling_us": 1}), "1 second to 31 days"),
        ("/rules/0/spends", json!({"budgets": []}), "1 to 8 budgets"),
        (
            "/rules/0/spends",
            json!({"budgets": [{"name": "cents", "cost": {"fixed": 1}}, {"name": "cents", "cost": {"fixed": 1}}]}),
            "twice",
        ),
        ("/budgets/calls/unit", json!("cents"), "do not cost the same"),
    ];
    let scene = crate::scene::Scene::bare();
    for (pointer, value, why) in rows {
        let bundle = scene.policy(changed(pointer, value.clone()).to_string());
        let refused = writ(["policy", "check", &bundle]).ended(1).err;
        assert!(refused.contains("ERR_POLICY_INVALID") && refused.contains(why), "{value}: {why}: {refused}");
    }
}

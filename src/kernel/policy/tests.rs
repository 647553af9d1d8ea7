//! What a policy author hears of a bundle that cannot be put in force, and what a bundle in force is asked.

use serde_json::{Value, json};

use super::*;

/// A bundle in which nothing is wrong: `pay` asks for all that there is, `look` for nothing.
fn shop() -> Value {
    json!({
        "name": "shop",
        "gates": {"temporal": "enforced", "proof": "enforced", "budget": "enforced", "escalation": "enforced"},
        "rules": [
            {
                "action": "pay",
                "requires": {"requirement": "quoted"},
                "spends": {"budget": {"name": "money", "cost": {"fixed": 1}}},
                "connector": "till",
                "window_us": 1,
                "timing": {"limits": {"rate": {"burst": 1, "count": 1, "per_us": 1}}},
                "escalates": {"to": {"quorum": 1, "role": "chief", "within_us": 1}},
            },
            {
                "action": "look",
                "requires": {"exempt": "it shows nothing"},
                "spends": {"exempt": "it costs nothing"},
                "connector": "till",
                "window_us": 1,
                "timing": {"exempt": "at any time"},
                "escalates": {"exempt": "nobody minds"},
            },
        ],
        "requirements": {"quoted": {"receipt": {"action": "quote"}}},
        "budgets": {"money": {"unit": "cents", "limit": 100, "tenants": {}}},
        "connectors": {"till": {"kind": "echo", "output_schema": {}}},
    })
}

/// The shop with something else at these places; `null` takes away what is there.
fn shop_with(changes: &[(&str, Value)]) -> Bundle {
    let mut bundle = shop();
    for (place, value) in changes {
        let (parent, key) = place.rsplit_once('/').expect("a place");
        match bundle.pointer_mut(parent).expect("its parent") {
            Value::Object(fields) if value.is_null() => _ = fields.remove(key).expect("it was there"),
            Value::Object(fields) => _ = fields.insert(key.to_owned(), value.clone()),
            Value::Array(items) => items.insert(key.parse().expect("an index"), value.clone()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => panic!("{place} has no parent"),
        }
    }
    serde_json::from_value(bundle).expect("a bundle")
}

fn policy_with(changes: &[(&str, Value)]) -> Policy {
    Policy::compile(&shop_with(changes)).expect("a sound bundle")
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// Each row: a place in the shop, what stands there, and the whole of what its author hears; empty where all is well.
fn check(rows: &[(&str, Value, &str)]) {
    for (place, value, heard) in rows {
        match Policy::compile(&shop_with(&[(place, value.clone())])) {
            Ok(_) => assert_eq!("", *heard, "{place} = {value} was taken"),
            Err(Refusal { code, detail }) => {
                assert_eq!((code, detail.as_str()), (Code::PolicyInvalid, *heard), "{place} = {value}");
            }
        }
    }
}

#[test]
fn whoever_switches_something_off_says_why_in_one_to_200_bytes() {
    for gate in ["temporal", "proof", "budget", "escalation"] {
        let place = format!("/gates/{gate}");
        let heard = format!("gates.{gate}: give a reason of 1 to 200 bytes");
        let disabled = |why: &str| json!({ "disabled": why });
        check(&[
            (&place, disabled(""), &heard),
            (&place, disabled(" \t\n"), &heard),
            (&place, disabled("x"), ""),
            (&place, disabled(&"x".repeat(200)), ""),
            (&place, disabled(&"x".repeat(201)), &heard),
            (&place, disabled(&"ä".repeat(100)), ""),
            (&place, disabled(&"ä".repeat(101)), &heard),
        ]);
    }
    for part in ["requires", "spends", "timing", "escalates"] {
        let place = format!("/rules/1/{part}");
        let heard = format!("rules[1] (look): {part}.exempt: give a reason of 1 to 200 bytes");
        let exempt = |why: &str| json!({ "exempt": why });
        check(&[
            (&place, exempt(" "), &heard),
            (&place, exempt("x"), ""),
            (&place, exempt(&"x".repeat(200)), ""),
            (&place, exempt(&"x".repeat(201)), &heard),
        ]);
    }
}

#[test]
fn a_connector_tries_again_within_bounds() {
    const ATTEMPTS: &str = "connectors.till: retry.attempts is not between 2 and 16";
    const BASE: &str = "connectors.till: retry.base_us is 0 or above retry.cap_us, or that is above an hour";
    const BREAKER: &str =
        "connectors.till: breaker.failures is 0, or breaker.pause_us is not between 1 microsecond and an hour";
    let retry = |attempts: u32, base_us: u64, cap_us: u64| json!({"kind": "echo", "output_schema": {}, "retry": {"attempts": attempts, "base_us": base_us, "cap_us": cap_us}});
    let breaker = |failures: u32, pause_us: u64| json!({"kind": "echo", "output_schema": {}, "breaker": {"failures": failures, "pause_us": pause_us}});
    let hold = |hold_us: u64| json!({"kind": "echo", "output_schema": {}, "hold_us": hold_us});
    #[rustfmt::skip] // A table is read by columns.
    check(&[
        ("/connectors/till", retry(1, 1, 1),                          ATTEMPTS),
        ("/connectors/till", retry(2, 1, 1),                          ""),
        ("/connectors/till", retry(16, 1, 2),                         ""),
        ("/connectors/till", retry(17, 1, 1),                         ATTEMPTS),
        ("/connectors/till", retry(2, 0, 1),                          BASE),
        ("/connectors/till", retry(2, 2, 1),                          BASE),
        ("/connectors/till", retry(2, 1, 3_600_000_000),              ""),
        ("/connectors/till", retry(2, 3_600_000_000, 3_600_000_000),  ""),
        ("/connectors/till", retry(2, 1, 3_600_000_001),              BASE),
        ("/connectors/till", breaker(0, 1),                           BREAKER),
        ("/connectors/till", breaker(1, 0),                           BREAKER),
        ("/connectors/till", breaker(1, 1),                           ""),
        ("/connectors/till", breaker(u32::MAX, 3_600_000_000),        ""),
        ("/connectors/till", breaker(1, 3_600_000_001),               BREAKER),
        ("/connectors/till", hold(0),                                 ""),
        ("/connectors/till", hold(604_800_000_000),                   ""),
        ("/connectors/till", hold(604_800_000_001),                   "connectors.till: hold_us is above 7 days"),
    ]);
}

#[test]
fn a_connector_says_where_it_calls_and_how_long_it_waits() {
    const URL: &str = "connectors.till: url does not begin with http:// or https://";
    const TIMEOUT: &str = "connectors.till: timeout_us is not between 1 microsecond and 5 minutes";
    const WITHIN: &str = "connectors.till: within_us is not between 1 microsecond and 7 days";
    let http = |url: &str, timeout_us: u64| json!({"http": {"url": url, "timeout_us": timeout_us}});
    let external = |within_us: u64| json!({"external": {"role": "runner", "within_us": within_us}});
    #[rustfmt::skip] // A table is read by columns.
    check(&[
        ("/connectors/till/kind", http("http://till", 1),             ""),
        ("/connectors/till/kind", http("https://till", 300_000_000),  ""),
        ("/connectors/till/kind", http("https://till", 300_000_001),  TIMEOUT),
        ("/connectors/till/kind", http("http://till", 0),             TIMEOUT),
        ("/connectors/till/kind", http("ftp://till", 1),              URL),
        ("/connectors/till/kind", http("//till?http://", 1),          URL),
        ("/connectors/till/kind", external(1),                        ""),
        ("/connectors/till/kind", external(0),                        WITHIN),
        ("/connectors/till/input_schema", json!(true), "connectors.till: input_schema: not a JSON Schema object"),
        ("/connectors/till/input_schema", json!({"type": "object"}),  ""),
        ("/connectors/till/output_schema", json!([]), "connectors.till: output_schema: not a JSON Schema object"),
    ]);
}

#[test]
fn a_rule_speaks_only_of_what_is_there() {
    let spend = |name: &str| json!({"name": name, "cost": {"fixed": 1}});
    #[rustfmt::skip] // A table is read by columns.
    check(&[
        ("/rules/0/requires", json!({"requirement": "scanned"}), "rules[0] (pay): requires scanned, which is not in requirements"),
        ("/rules/0/spends", json!({"budget": spend("time")}), "rules[0] (pay): spends time, which is not in budgets"),
        ("/rules/0/spends", json!({"budgets": [spend("money"), spend("time")]}), "rules[0] (pay): spends time, which is not in budgets"),
        ("/rules/0/spends", json!({"budgets": []}), "rules[0] (pay): spends 1 to 8 budgets"),
        ("/rules/0/spends", json!({"budgets": [spend("money")]}), ""),
        ("/rules/1/connector", json!("crane"), "rules[1] (look): uses crane, which is not in connectors"),
        ("/rules/0/window_us", json!(0), "rules[0] (pay): window_us is 0, so nothing could be dispatched"),
        ("/rules/1/action", json!("pay"), "rules[1] (pay): a second rule for this action"),
        ("/rules/1/action", json!("quote"), ""),
        ("/rules/0/timing", json!({"limits": {}}), "rules[0] (pay): timing: limits nothing: give a reason instead, {\"exempt\": ...}"),
        ("/rules/0/escalates/to/quorum", json!(0), "rules[0] (pay): escalates: a quorum is 1 to 16"),
        ("/rules/0/escalates/to/when", json!("1 == 1"), "rules[0] (pay): escalates.when: it asks about nothing, so it is always the same, in the expression 1 == 1"),
        ("/rules/0/escalates/to/when", json!("now > 1"), ""),
        ("/requirements/quoted", json!({"expression": "2 > 1"}), "requirements.quoted: it asks about nothing, so it is always the same, in the expression 2 > 1"),
        ("/requirements/quoted", json!({"not": {"receipt": {"action": "quote"}}}), "requirements.quoted: it passes for who shows nothing"),
        ("/requirements/unused", json!({"all_of": []}), "requirements.unused: an empty set, which nothing can meet"),
        ("/budgets/money/window", json!({"rolling_us": 1}), "budgets.money: a rolling window is 1 second to 31 days long"),
    ]);
}

#[test]
fn an_enforced_gate_is_answered_by_each_rule_and_a_disabled_one_by_none() {
    for (gate, part, heard) in [
        ("temporal", "timing", "gates.temporal is enforced, so a rule has `timing`: limits, or a reason for none"),
        (
            "escalation",
            "escalates",
            "gates.escalation is enforced, so a rule has `escalates`: whom to ask, or a reason for nobody",
        ),
    ] {
        let silent = format!("/rules/1/{part}");
        check(&[(&silent, Value::Null, &format!("rules[1] (look): {heard}"))]);
        let disabled = (&*format!("/gates/{gate}"), json!({"disabled": "a trial"}));
        policy_with(&[disabled.clone(), (&silent, Value::Null)]);
        // What a rule says of a gate that is disabled is checked all the same: it may be enforced tomorrow.
        let bad = shop_with(&[disabled, (&silent, json!({"exempt": ""}))]);
        assert!(Policy::compile(&bad).is_err(), "{part}");
    }
}

#[test]
fn a_policy_is_known_by_the_digest_of_its_canonical_json() {
    let policy = policy_with(&[]);
    // These members are written in the order of their names.
    assert_eq!(policy.digest(), Digest::of(shop().to_string().as_bytes()));
    assert_eq!(*policy.bundle(), shop_with(&[]));
    assert_ne!(policy_with(&[("/name", json!("shop-2"))]).digest(), policy.digest());
}

#[test]
fn a_rule_is_found_by_its_action() {
    let policy = policy_with(&[]);
    let rule = |action: &str| policy.rule(&name(action));
    assert_eq!(rule("pay"), policy.bundle().rules.first());
    assert_eq!(rule("look"), policy.bundle().rules.last());
    assert_eq!(rule("quote"), None, "a receipt is asked for, but no rule lets it be made");
    assert!(policy.connector(&name("till")).is_some_and(|till| till.kind == ConnectorKind::Echo));
    assert_eq!(policy.connector(&name("crane")), None);
}

#[test]
fn shapes_are_those_of_the_connector() {
    let policy = policy_with(&[
        ("/connectors/till/input_schema", json!({"required": ["amount"]})),
        ("/connectors/till/output_schema", json!({"required": ["paid"]})),
        ("/connectors/scale", json!({"kind": "echo", "output_schema": {}})),
    ]);
    let till = policy.shapes(&name("till")).expect("its shapes");
    let input = till.input.as_ref().expect("of its args");
    assert!(input.holds(&json!({"amount": 1})) && !input.holds(&json!({"paid": 1})));
    assert!(till.output.holds(&json!({"paid": 1})) && !till.output.holds(&json!({"amount": 1})));
    assert!(policy.shapes(&name("scale")).is_some_and(|shapes| shapes.input.is_none()));
    assert!(policy.shapes(&name("crane")).is_none());
}

#[test]
fn what_is_asked_at_a_decision_was_made_ready_when_it_was_loaded() {
    let desk = json!({"limits": {"hours": {"zone": "Europe/Berlin", "spans": [{"days": ["mon"], "from": "08:00", "to": "18:00"}]}}});
    let policy = policy_with(&[
        ("/rules/1/timing", desk),
        ("/budgets/money/window", json!({"day": "Asia/Tokyo"})),
        ("/rules/0/escalates/to/when", json!("intent.args.amount > 100")),
        ("/requirements/quoted", json!({"expression": "now > 5"})),
    ]);
    assert_eq!(policy.zones().keys().collect::<Vec<_>>(), ["Asia/Tokyo", "Europe/Berlin"]);
    assert_eq!(policy.expressions().keys().collect::<Vec<_>>(), ["intent.args.amount > 100", "now > 5"]);
    // An expression that stands in both places is compiled once.
    let both = policy_with(&[
        ("/rules/0/escalates/to/when", json!("now > 5")),
        ("/requirements/quoted", json!({"expression": "now > 5"})),
    ]);
    assert_eq!(both.expressions().keys().collect::<Vec<_>>(), ["now > 5"]);
}

#[test]
fn a_rule_looks_at_what_its_requirement_and_its_approvers_ask_for() {
    let asks = |changes: &[(&str, Value)], action: &str| policy_with(changes).asks(&name(action)).cloned();
    let quote = Asks { receipts: [name("quote")].into(), ..Asks::default() };
    assert_eq!(asks(&[], "pay"), Some(quote.clone()));
    assert_eq!(asks(&[], "look"), Some(Asks::default()), "nothing is asked for");
    assert_eq!(asks(&[], "quote"), None, "there is no rule");
    let when = ("/rules/0/escalates/to/when", json!("now > 1"));
    assert_eq!(
        asks(&[when], "pay"),
        Some(Asks { age: true, principal: true, ..quote }),
        "an expression may look at anything"
    );
}

#[test]
fn a_connector_without_room_holds_partitions_as_long_as_it_says() {
    let hold = |value: Value| policy_with(&[("/connectors/till/hold_us", value)]).hold_us(&name("till"));
    assert_eq!([json!(0), json!(7)].map(hold), [0, 7]);
    assert_eq!(policy_with(&[]).hold_us(&name("till")), 300_000_000);
}

//! Policy bundles that cannot be put in force, checked by `policy check` and refused by `policy activate` alike.

use serde_json::{Value, json};
use writ_schemas::errors::Code;

use super::{Row, row};
use crate::scene::{Run, Scene, writ};

pub(super) const ROWS: &[Row] = &[
    row("a bundle that is no JSON", Code::JsonSyntax, |it| text(it, "rules: []")),
    row("an empty bundle", Code::JsonSyntax, |it| text(it, "")),
    row("a bundle of {}", Code::PolicyInvalid, |it| text(it, "{}")),
    row("a bundle of 2 MB", Code::TooLarge, |it| text(it, &format!("{{\"name\":\"{}\"}}", "x".repeat(2_000_000)))),
    row("a bundle of 10 MB of rules", Code::TooLarge, |it| {
        let rule = example(it)["rules"][0].clone();
        let count = 10_000_000 / rule.to_string().len();
        changed(it, "/rules", Value::from(vec![rule; count]))
    }),
    row("the gate of time unset", Code::PolicyInvalid, |it| unset(it, "temporal")),
    row("the gate of proof unset", Code::PolicyInvalid, |it| unset(it, "proof")),
    row("the gate of budgets unset", Code::PolicyInvalid, |it| unset(it, "budget")),
    row("the gate of escalation unset", Code::PolicyInvalid, |it| unset(it, "escalation")),
    row("a bundle with a key twice", Code::JsonDuplicateKey, |it| text(it, r#"{"name":"a","name":"b"}"#)),
    row("a bundle 100 000 levels deep", Code::JsonDepth, |it| text(it, &"[".repeat(100_000))),
    row("an unknown field in a bundle", Code::PolicyInvalid, |it| changed(it, "/extra", json!(1))),
    row("an unknown field in a rule", Code::PolicyInvalid, |it| changed(it, "/rules/0/extra", json!(1))),
    row("an unknown connector", Code::PolicyInvalid, |it| changed(it, "/rules/0/connector", json!("fax"))),
    row("a connector that paths eat", Code::PolicyInvalid, |it| {
        changed(it, "/connectors/..", json!({ "kind": "echo", "output_schema": {} }))
    }),
    row("an unknown requirement", Code::PolicyInvalid, |it| {
        changed(it, "/rules/0/requires", json!({ "requirement": "nothing" }))
    }),
    row("an unknown budget", Code::PolicyInvalid, |it| {
        changed(it, "/rules/0/spends", json!({ "budget": { "name": "petty-cash", "cost": { "fixed": 1 } } }))
    }),
    row("an empty any_of", Code::PolicyInvalid, |it| {
        changed(it, "/requirements/refund-is-justified", json!({ "any_of": [] }))
    }),
    row("an empty all_of inside", Code::PolicyInvalid, |it| {
        changed(it, "/requirements/refund-is-justified", json!({ "any_of": [{ "all_of": [] }] }))
    }),
    row("a rule that says nothing to an enforced gate", Code::PolicyInvalid, |it| {
        changed(it, "/rules/0/timing", Value::Null)
    }),
    row("an exemption without a reason", Code::PolicyInvalid, |it| {
        changed(it, "/gates/temporal", json!({ "disabled": " " }))
    }),
    row("two rules for an action", Code::PolicyInvalid, |it| changed(it, "/rules/0/action", json!("notes.add"))),
    row("a window of nothing", Code::PolicyInvalid, |it| changed(it, "/rules/0/window_us", json!(0))),
    row("a negative limit", Code::PolicyInvalid, |it| changed(it, "/budgets/refunds/limit", json!(-1))),
    row("a limit of 1.5", Code::PolicyInvalid, |it| changed(it, "/budgets/refunds/limit", json!(1.5))),
    row("a limit of 2^53", Code::JsonNumber, |it| changed(it, "/budgets/refunds/limit", json!(1_u64 << 53))),
    row("an unknown kind of connector", Code::PolicyInvalid, |it| changed(it, "/connectors/echo/kind", json!("fax"))),
    row("a connector to nowhere", Code::PolicyInvalid, |it| {
        changed(it, "/connectors/echo/kind", json!({ "http": { "url": "ftp://x", "timeout_us": 1000 } }))
    }),
    row("a schema that is no schema", Code::PolicyInvalid, |it| schema(it, json!({ "type": "strnig" }))),
    row("a schema that is a text", Code::PolicyInvalid, |it| schema(it, json!("object"))),
    row("a schema with a broken pattern", Code::PolicyInvalid, |it| schema(it, json!({ "pattern": "(" }))),
    row("a schema from the network", Code::PolicyInvalid, |it| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let run = schema(it, json!({ "$ref": format!("http://{address}/schema.json") }));
        assert!(listener.accept().is_err(), "nothing is fetched");
        run
    }),
    row("a schema from a file", Code::PolicyInvalid, |it| schema(it, json!({ "$ref": "file:///etc/passwd" }))),
    row("a schema that refers to what it has not", Code::PolicyInvalid, |it| {
        schema(it, json!({ "$ref": "#/$defs/missing" }))
    }),
    row("a schema with a misspelt word", Code::PolicyInvalid, |it| {
        let run = schema(it, json!({"type": "object", "requried": ["a"]}));
        assert!(run.err.contains("requried is no keyword") && run.err.contains("nearest is required"), "{}", run.err);
        run
    }),
    row("a schema with an unknown format", Code::PolicyInvalid, |it| schema(it, json!({"format": "nonsense"}))),
    row("evidence by a key of small order", Code::PolicyInvalid, |it| {
        let key = format!("ed25519:{}", "0".repeat(64));
        let need = json!({"evidence": {"kind": "ticket", "key": key, "about_effect": false}});
        changed(it, "/requirements/refund-is-justified", need)
    }),
    row("a folder without policy.json", Code::InputFile, |it| {
        writ(["policy", "check", &it.dir.path().to_string_lossy()])
    }),
    row("a policy folder that is not there", Code::InputFile, |_| writ(["policy", "check", "/nowhere/policy"])),
    row("a new ledger with a bad policy", Code::PolicyInvalid, |it| {
        let fresh = it.dir.path().join("fresh");
        let run = writ(["init", "--data", &fresh.to_string_lossy(), "--policy", &it.policy("{}")]);
        assert!(!fresh.exists(), "nothing is made before the policy is known to be good");
        run
    }),
];

/// Checks a bundle and tries to put it in force: both must say the same.
fn text(scene: &Scene, text: &str) -> Run {
    let dir = scene.policy(text);
    let checked = writ(["policy", "check", &dir]);
    let activated = writ(["policy", "activate", "--data", scene.data(), &dir]);
    assert_eq!((checked.status, &checked.err), (activated.status, &activated.err));
    activated
}

fn example(scene: &Scene) -> Value {
    let bytes = std::fs::read(scene.inside("policy/policy.json")).expect("the example");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// The example without a word about a gate.
fn unset(scene: &Scene, gate: &str) -> Run {
    let mut gates = example(scene)["gates"].clone();
    gates.as_object_mut().expect("gates").remove(gate).expect("it was there");
    let run = changed(scene, "/gates", gates);
    assert!(run.err.contains(gate), "{}", run.err);
    run
}

/// The example with one value changed or added.
fn changed(scene: &Scene, pointer: &str, value: Value) -> Run {
    let mut bundle = example(scene);
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    bundle.pointer_mut(parent).expect("a place")[field] = value;
    text(scene, &bundle.to_string())
}

fn schema(scene: &Scene, schema: Value) -> Run {
    changed(scene, "/connectors/echo/output_schema", schema)
}

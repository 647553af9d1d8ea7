//! The published schemas and the Rust types accept and refuse the same documents.
//!
//! Every sample is changed in every place in every way that [`wrong_values`] and its like know, and each change is shown
//! to both sides. Where they differ, the difference stands in [`difference`] with its reason, or the test fails.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::{Draft, Registry, Validator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use writ_schemas::dsse::{DOCUMENT_BYTES_MAX, Document, Signed};
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::Seq;
use writ_schemas::intent::Intent;
use writ_schemas::strict;

use crate::golden;
use crate::samples::{self, signed};

const ALL: [&str; 9] = ["genesis", "intent", "decision", "receipt", "evidence", "act", "policy", "envelope", "refusal"];

fn schema(kind: &str) -> Value {
    golden::json(&format!("v1/{kind}.schema.json"))
}

fn validator(kind: &str) -> Validator {
    let policy = schema("policy");
    let id = policy["$id"].as_str().expect("an $id").to_owned();
    let registry = Registry::new().add(id, &policy).expect("the policy schema").prepare().expect("a registry");
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_registry(&registry)
        .build(&schema(kind))
        .unwrap_or_else(|e| panic!("schemas/v1/{kind}.schema.json: {e}"))
}

/// One kind of document: its samples, and whether the Rust side reads a value as it.
struct Kind {
    name: &'static str,
    samples: Vec<Value>,
    reads: fn(&Value) -> bool,
}

fn kind<T: Serialize + DeserializeOwned>(name: &'static str, samples: Vec<T>) -> Kind {
    let samples = samples.iter().map(|sample| serde_json::to_value(sample).expect("JSON")).collect();
    Kind { name, samples, reads: reads::<T> }
}

fn reads<T: DeserializeOwned + serde::Serialize>(value: &Value) -> bool {
    strict::parse::<T>(&serde_json::to_vec(value).expect("JSON"), DOCUMENT_BYTES_MAX).is_ok()
}

/// Whether this is an envelope of an intent, whatever its payload and however its signatures fit.
fn reads_envelope(value: &Value) -> bool {
    if !reads::<Value>(value) {
        return false;
    }
    match Signed::<Intent>::from_envelope(&serde_json::to_vec(value).expect("JSON")).map_err(|refusal| refusal.code) {
        Ok(_) | Err(Code::SignatureInvalid) => true,
        Err(Code::Envelope) => false,
        // The payload is not the intent any more; the envelope around it can still be one.
        Err(_) => value["payload"].is_string(),
    }
}

fn envelope<T: Document>(document: T, roles: &[&str]) -> Value {
    serde_json::from_slice(&signed(document, roles).to_envelope()).expect("JSON")
}

fn kinds() -> Vec<Kind> {
    let intent = samples::intents().remove(0);
    vec![
        kind("genesis", samples::geneses()),
        kind("intent", samples::intents()),
        kind("decision", samples::decisions()),
        kind("receipt", samples::receipts()),
        kind("evidence", samples::evidence()),
        kind("act", samples::acts()),
        kind("policy", samples::bundles()),
        Kind {
            name: "envelope",
            samples: vec![envelope(intent.clone(), &["producer"]), envelope(intent, &["operator-a", "operator-b"])],
            reads: reads_envelope,
        },
    ]
}

/// How a value was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Replaced,
    FieldRemoved,
    FieldUnknown,
    ItemTwice,
    /// `"x"` became `{"x": null}`.
    UnitAsObject,
}

struct Mutant {
    change: Change,
    /// A JSON pointer to what was changed.
    place: String,
    document: Value,
}

/// Values that are wrong almost everywhere.
fn wrong_values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(0),
        json!(4_294_967_296_u64),
        json!(strict::INTEGER_MAX + 1),
        json!("7"),
        json!(""),
        json!(" "),
        json!("né"),
        json!("x".repeat(129)),
        json!("ERR_NOT_REGISTERED"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"unknown": 1}),
    ]
}

/// Near misses of a text.
fn wrong_texts(text: &str) -> Vec<Value> {
    let cut = text.chars().take(text.chars().count().saturating_sub(1)).collect::<String>();
    let swapped = text.replacen(':', "=", 1);
    [
        text.to_uppercase(),
        text.to_lowercase(),
        format!("{text}0"),
        format!("{text}\n"),
        format!(" {text}"),
        cut,
        swapped,
    ]
    .into_iter()
    .map(Value::from)
    .collect()
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| places(value, &format!("{at}/{}", escaped(key)), out));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), out));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn mutants(document: &Value) -> Vec<Mutant> {
    let mut all = Vec::new();
    places(document, "", &mut all);
    let mut out = Vec::new();
    for place in all {
        let here = document.pointer(&place).expect("a place").clone();
        let mut with = |change, new: Value, place: String, at: &str| {
            let mut changed = document.clone();
            *changed.pointer_mut(at).expect("a place") = new;
            if changed != *document {
                out.push(Mutant { change, place, document: changed });
            }
        };
        for new in wrong_values() {
            with(Change::Replaced, new, place.clone(), &place);
        }
        match &here {
            Value::String(text) => {
                for new in wrong_texts(text) {
                    with(Change::Replaced, new, place.clone(), &place);
                }
                with(Change::UnitAsObject, json!({ text.as_str(): null }), place.clone(), &place);
            }
            Value::Array(items) => {
                if let Some(first) = items.first() {
                    let twice: Vec<_> = [first].into_iter().chain(items).collect();
                    with(Change::ItemTwice, json!(twice), place.clone(), &place);
                }
            }
            Value::Object(fields) => {
                let mut more = fields.clone();
                more.insert("unknown_field".into(), json!(1));
                with(Change::FieldUnknown, more.into(), place.clone(), &place);
                for name in fields.keys() {
                    let mut fewer: Map<String, Value> = fields.clone();
                    fewer.remove(name);
                    with(Change::FieldRemoved, fewer.into(), format!("{place}/{}", escaped(name)), &place);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    out
}

/// Why one side accepts what the other refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// A schema cannot say it: I-JSON's integers inside free JSON.
    FreeNumber,
    /// The schema holds the form of codes only, because their list grows; `error-codes.json` has the list.
    CodeList,
    /// A schema cannot say it: roles are a set, written in order and once.
    SortedSet,
    /// The schema has a bound that the type leaves to the next step (`signed`, the kernel's `Policy`, `decide`, `init`).
    LaterStep,
}

const DIFFERENCES: [Difference; 4] =
    [Difference::FreeNumber, Difference::CodeList, Difference::SortedSet, Difference::LaterStep];

/// The reason for a difference at this mutant, if it is a known one.
fn difference(kind: &str, mutant: &Mutant, schema_accepts: bool) -> Option<Difference> {
    let place = mutant.place.as_str();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| place.ends_with(suffix));
    if schema_accepts {
        return match kind {
            "intent" if place.starts_with("/args") => Some(Difference::FreeNumber),
            "policy" | "act" if place.contains("/output_schema") || place.contains("/input_schema") => {
                Some(Difference::FreeNumber)
            }
            "act" if place.starts_with("/statement/output") => Some(Difference::FreeNumber),
            "decision" | "receipt" if place == "/code" => Some(Difference::CodeList),
            "decision" | "act" if place.contains("/roles") => Some(Difference::SortedSet),
            _ => None,
        };
    }
    match mutant.change {
        Change::UnitAsObject => None,
        Change::ItemTwice if ends(&["/operators"]) => Some(Difference::LaterStep),
        Change::Replaced | Change::ItemTwice | Change::FieldUnknown | Change::FieldRemoved => match kind {
            "genesis" if ends(&["/origin", "/operators", "/quorum"]) => Some(Difference::LaterStep),
            "envelope" if place == "/signatures" => Some(Difference::LaterStep),
            "policy" | "act"
                if ends(&[
                    "/all_of",
                    "/any_of",
                    "/url",
                    "/timeout_us",
                    "/window_us",
                    "/within_us",
                    "/quorum",
                    "/budgets",
                    "/spans",
                    "/count",
                    "/per_us",
                    "/burst",
                    "/after",
                    "/steps_us",
                    "/rolling_us",
                    "/attempts",
                    "/base_us",
                    "/cap_us",
                    "/failures",
                    "/pause_us",
                ]) =>
            {
                Some(Difference::LaterStep)
            }
            "policy" | "act" if ends(&["/exempt", "/disabled", "/output_schema", "/input_schema"]) => {
                Some(Difference::LaterStep)
            }
            "policy" | "act" if place.contains("/steps_us") => Some(Difference::LaterStep),
            "policy" | "act" if ends(&["/role", "/key", "/signers", "/max_age_us", "/count", "/of"]) => {
                Some(Difference::LaterStep)
            }
            _ => None,
        },
    }
}

#[test]
fn every_schema_is_draft_2020_12_under_its_own_name() {
    for kind in ALL {
        let schema = schema(kind);
        assert_eq!(schema["$id"], format!("https://writ.example/schemas/v1/{kind}.schema.json"));
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(jsonschema::meta::is_valid(&schema), "{kind}");
    }
}

/// A definition of one name is the same in every file, so that each file can be read alone.
#[test]
fn one_name_has_one_meaning() {
    const ITS_OWN: [&str; 2] = ["budget", "evidence"];
    let mut seen: BTreeMap<String, (String, Value)> = BTreeMap::new();
    for kind in ALL {
        for (name, definition) in schema(kind)["$defs"].as_object().expect("$defs") {
            let (first, other) = seen.entry(name.clone()).or_insert_with(|| (kind.to_owned(), definition.clone()));
            assert!(
                other == definition || ITS_OWN.contains(&name.as_str()),
                "schemas/v1/{kind}.schema.json: $defs/{name} is another one than in {first}.schema.json: make them equal"
            );
        }
    }
}

/// Objects without `additionalProperties` are those that hold free JSON, and only those.
#[test]
fn every_object_is_closed() {
    fn open(value: &Value, at: &str, out: &mut Vec<String>) {
        if let Value::Object(fields) = value {
            if fields.get("type") == Some(&json!("object")) && !fields.contains_key("additionalProperties") {
                out.push(at.to_owned());
            }
            fields.iter().for_each(|(key, value)| open(value, &format!("{at}/{key}"), out));
        } else if let Value::Array(items) = value {
            items.iter().enumerate().for_each(|(index, value)| open(value, &format!("{at}/{index}"), out));
        }
    }
    let mut found = Vec::new();
    ALL.iter().for_each(|kind| open(&schema(kind), kind, &mut found));
    assert_eq!(found, ["intent/properties/args", "policy/$defs/connector/properties/output_schema"]);
}

#[test]
fn every_sample_fits_its_schema_and_its_type() {
    for kind in kinds() {
        let validator = validator(kind.name);
        for sample in &kind.samples {
            if let Err(e) = validator.validate(sample) {
                panic!("{} at {}: {e}\n{sample:#}", kind.name, e.instance_path());
            }
            assert!((kind.reads)(sample), "{}: {sample:#}", kind.name);
        }
    }
}

#[test]
fn every_change_is_judged_alike_by_schema_and_type() {
    let (mut seen, mut wrong, mut judged) = (BTreeSet::new(), Vec::new(), 0);
    for kind in kinds() {
        let validator = validator(kind.name);
        for mutant in kind.samples.iter().flat_map(mutants) {
            judged += 1;
            let schema_accepts = validator.is_valid(&mutant.document);
            if schema_accepts == (kind.reads)(&mutant.document) {
                continue;
            }
            match difference(kind.name, &mutant, schema_accepts) {
                Some(known) => _ = seen.insert(known),
                None => wrong.push(format!(
                    "{}{} {:?} to {}: the schema {}, the type does not",
                    kind.name,
                    mutant.place,
                    mutant.change,
                    mutant.document.pointer(&mutant.place).unwrap_or(&Value::Null),
                    if schema_accepts { "accepts it" } else { "refuses it" },
                )),
            }
        }
    }
    assert!(judged > 10_000, "only {judged} changes");
    let shown = wrong.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} differences; mend the schema or the type:\n{shown}", wrong.len());
    for known in DIFFERENCES {
        assert!(seen.contains(&known), "{known:?} does not occur any more: delete it from agreement.rs");
    }
}

/// A refusal is written and never read, so there is no type to agree with.
#[test]
fn refusals_fit_their_schema_and_near_misses_do_not() {
    let validator = validator("refusal");
    for sample in samples::refusals() {
        let json = sample.to_json(Seq(9));
        if let Err(e) = validator.validate(&json) {
            panic!("at {}: {e}\n{json:#}", e.instance_path());
        }
        for mutant in mutants(&json) {
            assert!(
                mutant.change == Change::Replaced || !validator.is_valid(&mutant.document),
                "{:?} {}",
                mutant.change,
                mutant.place
            );
        }
    }
    for (place, bad) in [
        ("/code", json!("nope")),
        ("/detail", json!("x".repeat(201))),
        ("/digest", json!("blake3:00")),
        ("/length", json!(-1)),
        ("/seq", json!("7")),
        ("/source", json!("kafka")),
        ("/source", json!({"kafka": {"offset": 1}})),
        ("/claims", json!({"tenant": "acme"})),
        ("/claims", json!("acme")),
    ] {
        let mut json = samples::refusals().remove(0).to_json(Seq(9));
        *json.pointer_mut(place).expect("a place") = bad;
        assert!(!validator.is_valid(&json), "{place}: {json:#}");
    }
}

/// Near misses that no mechanical change makes; text, because JSON values cannot hold some of them.
#[test]
fn near_misses_by_hand() {
    let digests = |count: usize| vec![format!("blake3:{}", "0".repeat(64)); count];
    let intent = |evidence: Value| json!({"tenant": "acme", "id": "i", "principal": "p", "action": "a", "args": {}, "evidence": evidence, "expires_at": 1});
    let evidence = |artifact: &str, expires: &str| {
        format!(
            r#"{{"ledger":"{}","tenant":"acme","kind":"k","issued_at":1,"expires_at":{expires}{artifact}}}"#,
            samples::LEDGER
        )
    };
    // Document, schema accepts, type accepts.
    let table: Vec<(&str, String, bool, bool)> = vec![
        ("intent", intent(json!(digests(64))).to_string(), true, true),
        // `decide` refuses it by name, so that its producer hears a decision.
        ("intent", intent(json!(digests(65))).to_string(), false, true),
        ("intent", intent(json!(["sha256:00"])).to_string(), false, false),
        ("evidence", evidence("", "2"), true, true),
        ("evidence", evidence(r#","artifact":null"#, "2"), true, true),
        ("evidence", evidence(r#","effect":"BLAKE3:00""#, "2"), false, false),
        ("evidence", evidence("", "9007199254740991"), true, true),
        ("evidence", evidence("", "9007199254740992"), false, false),
        // To JSON Schema 2.0 and 2 are one number. Here a time is written without a fraction.
        ("evidence", evidence("", "2.0"), true, false),
        (
            "act",
            json!({"ledger": samples::LEDGER, "nonce": "n", "expires_at": 1, "statement": {"kind": "thaw"}})
                .to_string(),
            true,
            true,
        ),
        (
            "act",
            json!({"ledger": samples::LEDGER, "nonce": "n", "expires_at": 1, "statement": {"kind": "unfreeze"}})
                .to_string(),
            false,
            false,
        ),
        (
            "act",
            json!({"ledger": samples::LEDGER, "nonce": "n", "expires_at": 1, "statement": "thaw"}).to_string(),
            false,
            false,
        ),
        (
            "act",
            json!({"ledger": samples::LEDGER, "nonce": "n", "expires_at": 1, "statement": {"thaw": {}}}).to_string(),
            false,
            false,
        ),
    ];
    for (name, text, schema_accepts, type_accepts) in table {
        let kind = kinds().into_iter().find(|kind| kind.name == name).expect("a kind");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (validator(name).is_valid(&value), (kind.reads)(&value)),
            (schema_accepts, type_accepts),
            "{name}: {text}"
        );
    }
}

/// Serde reads a list of a struct's values in order as that struct; no schema does.
#[test]
fn a_list_of_values_is_no_document() {
    let by_position = json!(["acme", "i", "p", null, "a", {}, [], 1]);
    assert!(!validator("intent").is_valid(&by_position));
}

#[test]
fn every_kind_of_event_with_a_payload_has_a_sample() {
    let kinds: BTreeSet<_> = samples::events().iter().map(Event::kind).collect();
    for event in samples::events() {
        let payload = event.to_payload().expect("encodes");
        assert_eq!(Event::from_payload(event.kind(), &payload), Ok(event));
    }
    let reserved = writ_schemas::event::EventKind::ALL.iter().filter(|kind| !kinds.contains(kind));
    for kind in reserved {
        let refusal = Event::from_payload(*kind, &[]).expect_err("reserved");
        assert!(refusal.detail.ends_with("has no payload yet"), "{}: give it a sample", kind.as_str());
    }
}

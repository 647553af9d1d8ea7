//! Lines that are no intent, or one that cannot be done.

use serde_json::{Value, json};
use writ_schemas::errors::Code;
use writ_schemas::intent::Intent;
use writ_schemas::keys::SecretKey;

use super::{Row, row};
use crate::scene::{Run, Scene, hours_ahead, note, refund, signed, signed_bytes, with, writ};

pub(super) const ROWS: &[Row] = &[
    row("malformed JSON", Code::JsonSyntax, |it| line(it, b"{\"tenant\": acme}")),
    row("half an object", Code::JsonSyntax, |it| line(it, b"{\"tenant\":\"acme\",")),
    row("two texts on a line", Code::JsonSyntax, |it| line(it, b"{} {}")),
    row("a number", Code::Schema, |it| line(it, b"7")),
    row("an array", Code::Schema, |it| line(it, b"[1,2]")),
    row("a null byte", Code::JsonSyntax, |it| line(it, b"{\"a\":\"\0\"}")),
    row("a wrong type", Code::Schema, |it| intent(it, with(note("x"), "args", json!("text")))),
    row("a number as tenant", Code::Schema, |it| intent(it, with(note("x"), "tenant", json!(7)))),
    row("null as session, which is none", Code::Ok, |it| intent(it, with(note("x"), "session", Value::Null))),
    row("an unknown field", Code::Schema, |it| intent(it, with(note("x"), "urgent", json!(true)))),
    row("a name with a space", Code::Schema, |it| intent(it, with(note("x"), "id", json!("a b")))),
    row("a name with an escape code", Code::Schema, |it| intent(it, with(note("x"), "id", json!("\u{1b}[31m")))),
    row("an id of one dot", Code::Schema, |it| intent(it, with(note("x"), "id", json!(".")))),
    row("an id of two dots", Code::Schema, |it| intent(it, with(note("x"), "id", json!("..")))),
    row("an id that leads upwards", Code::Schema, |it| intent(it, with(note("x"), "id", json!("../x")))),
    row("an id that leads upwards at its end", Code::Schema, |it| intent(it, with(note("x"), "id", json!("x/..")))),
    row("an id with an empty part", Code::Schema, |it| intent(it, with(note("x"), "id", json!("a//b")))),
    row("an id that begins with a slash", Code::Schema, |it| intent(it, with(note("x"), "id", json!("/x")))),
    row("an id that ends with a slash", Code::Schema, |it| intent(it, with(note("x"), "id", json!("x/")))),
    row("a tenant of two dots", Code::Schema, |it| intent(it, with(note("x"), "tenant", json!("..")))),
    row("an id with slashes and dots that paths keep", Code::Ok, |it| {
        intent(it, with(note("x"), "id", json!("a/.b/...")))
    }),
    row("a name of 129", Code::Schema, |it| intent(it, with(note("x"), "id", json!("x".repeat(129))))),
    row("evidence that is no digest", Code::Schema, |it| intent(it, with(note("x"), "evidence", json!(["sha1:00"])))),
    row("too much evidence", Code::Schema, |it| {
        intent(it, with(note("x"), "evidence", json!(vec![format!("blake3:{}", "0".repeat(64)); 65])))
    }),
    row("a key twice", Code::JsonDuplicateKey, |it| {
        line(it, note("x").to_string().replace('{', "{\"id\":\"y\",").as_bytes())
    }),
    row("a key twice, deep inside", Code::JsonDuplicateKey, |it| args(it, r#"{"a":[{"b":1,"b":1}]}"#)),
    row("a key twice by its escape", Code::JsonDuplicateKey, |it| args(it, r#"{"b":1,"\u0062":2}"#)),
    row("2^53", Code::JsonNumber, |it| args(it, r#"{"n":9007199254740992}"#)),
    row("2^53 + 1", Code::JsonNumber, |it| args(it, r#"{"n":9007199254740993}"#)),
    row("-(2^53 + 1)", Code::JsonNumber, |it| args(it, r#"{"n":-9007199254740993}"#)),
    row("2^64", Code::JsonNumber, |it| args(it, r#"{"n":18446744073709551616}"#)),
    row("1e400", Code::JsonNumber, |it| args(it, r#"{"n":1e400}"#)),
    row("NaN", Code::JsonSyntax, |it| args(it, r#"{"n":NaN}"#)),
    row("2^64 as the expiry", Code::JsonNumber, |it| {
        line(it, with(note("x"), "expires_at", json!(0)).to_string().replace(":0", ":18446744073709551616").as_bytes())
    }),
    row("a negative expiry", Code::Schema, |it| intent(it, with(note("x"), "expires_at", json!(-1)))),
    row("100 000 levels", Code::JsonDepth, |it| args(it, &format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)))),
    row("100 000 levels without an end", Code::JsonDepth, |it| line(it, "{\"a\":".repeat(100_000).as_bytes())),
    row("2 MiB of args", Code::TooLarge, |it| {
        intent(it, with(note("x"), "args", json!({ "text": "x".repeat(2 << 20) })))
    }),
    row("args just above the limit", Code::TooLarge, |it| {
        intent(it, with(note("x"), "args", json!({ "text": "x".repeat(1 << 20) })))
    }),
    row("3 MiB without an end of line", Code::TooLarge, |it| line(it, &vec![b'x'; 3 << 20])),
    row("invalid UTF-8", Code::JsonUtf8, |it| line(it, b"{\"tenant\":\"\xc3\x28\"}")),
    row("UTF-16", Code::JsonUtf8, |it| line(it, b"\xff\xfe{\0}\0")),
    row("a byte order mark", Code::JsonSyntax, |it| line(it, b"\xef\xbb\xbf{}")),
    row("a lone surrogate", Code::JsonSyntax, |it| args(it, r#"{"text":"\ud800"}"#)),
    row("no expires_at", Code::Schema, |it| {
        let mut bare = note("x");
        bare.as_object_mut().map(|fields| fields.remove("expires_at"));
        intent(it, bare)
    }),
    row("expired", Code::IntentExpired, |it| intent(it, with(note("x"), "expires_at", json!(hours_ahead(-1))))),
    row("expires in 8 days", Code::ExpiryTooFar, |it| {
        intent(it, with(note("x"), "expires_at", json!(hours_ahead(8 * 24))))
    }),
    row("an unknown action", Code::PolicyNoRule, |it| intent(it, with(note("x"), "action", json!("files.delete")))),
    row("missing evidence", Code::ProofMissing, |it| intent(it, refund("x", 5, &[]))),
    row("evidence that nobody registered", Code::ProofMissing, |it| {
        intent(it, refund("x", 5, &[&format!("blake3:{}", "0".repeat(64))]))
    }),
    row("a tampered envelope", Code::SignatureInvalid, |it| {
        let good = signed(&note("x"), &it.key("producer.key"));
        let other = signed(&note("y"), &it.key("producer.key"));
        let (good, other): (Value, Value) =
            (serde_json::from_slice(&good).expect("JSON"), serde_json::from_slice(&other).expect("JSON"));
        line(it, with(good, "payload", other["payload"].clone()).to_string().as_bytes())
    }),
    row("no signature", Code::SignatureInvalid, |it| envelope_with(it, "signatures", json!([]))),
    row("a signature that is no base64", Code::Envelope, |it| {
        let key = it.key("producer.key").id().to_string();
        envelope_with(it, "signatures", json!([{ "keyid": key, "sig": "*" }]))
    }),
    row("a key id of another kind", Code::Envelope, |it| {
        envelope_with(it, "signatures", json!([{ "keyid": "rsa:00", "sig": "AAAA" }]))
    }),
    row("another payload type", Code::Envelope, |it| {
        envelope_with(it, "payloadType", json!("application/vnd.writ.act.v1+json"))
    }),
    row("an envelope with one more field", Code::Envelope, |it| envelope_with(it, "note", json!("hi"))),
    row("half an envelope", Code::JsonSyntax, |it| {
        let good = signed(&note("x"), &it.key("producer.key"));
        line(it, good.get(..good.len() / 2).unwrap_or_default())
    }),
    row("a signed payload with a key twice", Code::JsonDuplicateKey, |it| {
        let twice = note("x").to_string().replace('{', "{\"id\":\"y\",");
        line(it, &signed_bytes::<Intent>(twice.as_bytes(), &it.key("producer.key")))
    }),
    row("a signed payload that is no JSON", Code::JsonSyntax, |it| {
        line(it, &signed_bytes::<Intent>(b"hello", &it.key("producer.key")))
    }),
    row("a signed payload with an unknown field", Code::Schema, |it| {
        let more = with(note("x"), "urgent", json!(true)).to_string();
        line(it, &signed_bytes::<Intent>(more.as_bytes(), &it.key("producer.key")))
    }),
    row("an unknown key", Code::KeyUnknown, |it| line(it, &signed(&note("x"), &SecretKey::from_seed(&[7; 32])))),
    row("the key of another principal", Code::TenantMismatch, |it| {
        intent(it, with(note("x"), "principal", json!("agent-2")))
    }),
    row("the key of another tenant", Code::TenantMismatch, |it| intent(it, with(note("x"), "tenant", json!("globex")))),
    row("an id with other content", Code::IdReused, |it| {
        intent(it, with(note("n-1"), "args", json!({ "text": "something else" })))
    }),
    row("the very same intent twice", Code::Ok, |it| {
        let same = signed(&note("twice"), &it.key("producer.key"));
        let first = line(it, &same).ended(0);
        let second = line(it, &same).ended(0);
        assert_eq!(
            (first.json()["answer"].as_str(), second.json()["answer"].as_str()),
            (Some("decided"), Some("known"))
        );
        assert_eq!(first.json()["seq"], second.json()["seq"]);
        second
    }),
    row("one bad line between good ones", Code::JsonSyntax, |it| {
        let lines = format!("{}\n{{\n\n{}\n", note("a"), note("b"));
        let run = line(it, lines.as_bytes());
        let mut answered: Vec<u64> = run.lines().iter().filter_map(|answer| answer["line"].as_u64()).collect();
        answered.sort_unstable();
        assert_eq!(answered, [1, 2, 3], "each line has its answer");
        run
    }),
    row("an empty input", Code::InputFile, |it| line(it, b"")),
    row("blank lines only", Code::InputFile, |it| line(it, b"\n  \n\r\n\n")),
    row("an input file that is not there", Code::InputFile, |it| {
        writ(["submit", "--data", it.data(), "/nowhere/intents.jsonl"])
    }),
    row("an input file that is a folder", Code::InputFile, |it| writ(["submit", "--data", it.data(), it.data()])),
];

/// Submits one line.
fn line(scene: &Scene, line: &[u8]) -> Run {
    scene.submit(line, &["--json"])
}

/// Submits an intent, which `writ submit` signs.
fn intent(scene: &Scene, intent: Value) -> Run {
    line(scene, intent.to_string().as_bytes())
}

/// Submits a note with these args, as they are.
fn args(scene: &Scene, args: &str) -> Run {
    line(scene, with(note("x"), "args", json!("ARGS")).to_string().replace("\"ARGS\"", args).as_bytes())
}

/// Submits a good envelope of which one field is another.
fn envelope_with(scene: &Scene, field: &str, value: Value) -> Run {
    let good = signed(&note("x"), &scene.key("producer.key"));
    line(scene, with(serde_json::from_slice(&good).expect("JSON"), field, value).to_string().as_bytes())
}

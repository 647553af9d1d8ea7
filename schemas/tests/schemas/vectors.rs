//! The published test vectors: computed again and compared, and read back as a stranger would.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use writ_schemas::canonical;
use writ_schemas::checkpoint::{Checkpoint, origin_is_valid, verifier_key};
use writ_schemas::dsse::{DOCUMENT_BYTES_MAX, Document, Signed, pae};
use writ_schemas::entry::{Chain, Entry, Header, commitment};
use writ_schemas::event::{Event, EventKind};
use writ_schemas::ids::{Digest, UnixMicros, hex, unhex};
use writ_schemas::intent::Intent;
use writ_schemas::keys::{self, SecretKey};
use writ_schemas::merkle::{Frontier, leaf};
use writ_schemas::strict;

use crate::golden;
use crate::samples::{self, LEDGER, T0, key, signed};

fn each(file: &str, list: &str, mut check: impl FnMut(&Value)) {
    let file = golden::json(file);
    let cases = file[list].as_array().unwrap_or_else(|| panic!("a list {list}"));
    assert!(!cases.is_empty(), "{list}");
    cases.iter().for_each(&mut check);
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("{field} in {case}"))
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    let text = text(case, field);
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn array<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    unhex(text(case, field)).unwrap_or_else(|| panic!("{N} bytes of hex: {field} in {case}"))
}

/// The second half of an Ed25519 signature plus the group order (RFC 8032, section 5.1): S is not reduced any more.
fn malleated(mut signature: [u8; 64]) -> [u8; 64] {
    let order: [u8; 32] = unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").expect("hex");
    let mut carry = 0_u16;
    for (s, l) in signature.iter_mut().skip(32).zip(order) {
        carry += u16::from(*s) + u16::from(l);
        *s = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    signature
}

#[test]
fn keys_and_signatures() {
    const FILE: &str = "vectors/keys.json";
    // Tests 1 to 3 of RFC 8032, section 7.1.
    let rfc = [
        ("RFC 8032 test 1", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", ""),
        ("RFC 8032 test 2", "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "72"),
        ("RFC 8032 test 3", "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", "af82"),
    ];
    let ours = samples::ROLES.map(|(role, byte)| (role, hex(&[byte; 32])));
    let seeds = rfc.iter().map(|(name, seed, _)| (*name, (*seed).to_owned())).chain(ours);
    let secret = |seed: &str| SecretKey::from_seed(&unhex(seed).expect("hex"));
    let keys = seeds.map(|(name, seed)| json!({"name": name, "seed": seed, "key": secret(&seed).id()}));

    let case = |name: &str, key: &Value, message: &[u8], signature: &[u8], accepted: bool| json!({"name": name, "key": key, "message": hex(message), "signature": hex(signature), "accepted": accepted});
    let mut signatures: Vec<Value> = rfc
        .iter()
        .map(|(name, seed, message)| {
            let message = bytes(&json!({ "message": message }), "message");
            case(name, &json!(secret(seed).id()), &message, &secret(seed).sign(&message), true)
        })
        .collect();
    let producer = key("producer");
    let good = producer.sign(b"m");
    let (mut neutral, mut forged) = ([0; 32], [0; 64]);
    neutral[0] = 1;
    forged[0] = 1;
    signatures.extend([
        case("another message", &json!(producer.id()), b"n", &good, false),
        case("another key", &json!(key("decision").id()), b"m", &good, false),
        case("S is not reduced (malleable)", &json!(producer.id()), b"m", &malleated(good), false),
        case("key and R of small order", &json!(format!("ed25519:{}", hex(&neutral))), b"m", &forged, false),
    ]);
    golden::check_json(FILE, &json!({"keys": keys.collect::<Vec<_>>(), "signatures": signatures}));

    each(FILE, "keys", |case| {
        assert_eq!(SecretKey::from_seed(&array(case, "seed")).id().to_string(), text(case, "key"))
    });
    each(FILE, "signatures", |case| {
        let key = text(case, "key").parse().expect("a key");
        let accepted = keys::verify(&key, &bytes(case, "message"), &array(case, "signature"));
        assert_eq!(Some(accepted), case["accepted"].as_bool(), "{case}");
    });
}

fn document<T: Document>(kind: &str, signed: &Signed<T>) -> Value {
    let envelope = String::from_utf8(signed.to_envelope()).expect("UTF-8");
    json!({
        "kind": kind,
        "payloadType": T::PAYLOAD_TYPE,
        "payload": String::from_utf8(signed.payload().to_vec()).expect("UTF-8"),
        "digest": signed.digest(),
        "pae_base64": STANDARD.encode(pae(T::PAYLOAD_TYPE, signed.payload())),
        "envelope": envelope,
    })
}

fn opened<T: Document>(case: &Value) {
    let signed = Signed::<T>::from_envelope(text(case, "envelope").as_bytes()).expect("a good envelope");
    assert_eq!(signed.digest().to_string(), text(case, "digest"));
    assert_eq!(signed.payload(), text(case, "payload").as_bytes());
    assert_eq!(STANDARD.encode(pae(T::PAYLOAD_TYPE, signed.payload())), text(case, "pae_base64"));
}

#[test]
fn documents_in_envelopes() {
    const FILE: &str = "vectors/dsse.json";
    let operators = ["operator-a", "operator-b"];
    let intent = signed(samples::intents().remove(0), &["producer"]);
    // As a producer may send it: fields in its own order, spaces, escapes. Kept and signed as received.
    let loose = r#"{ "id": "loose-1", "tenant": "acme", "principal": "agent:support-7", "action": "demo.echo",
  "args": {"z": 1.50, "a": "\u0041"}, "expires_at": 1790000000000001 }"#;
    let kept = Signed::<Intent>::from_parts(loose.as_bytes().to_vec(), vec![]).expect("an intent");
    let signature = writ_schemas::dsse::Signature {
        key: key("producer").id(),
        bytes: key("producer").sign(&pae(Intent::PAYLOAD_TYPE, kept.payload())),
    };
    let kept = Signed::<Intent>::from_parts(loose.as_bytes().to_vec(), vec![signature]).expect("an intent");
    let effect = |mut case: Value, intent: &Intent| {
        let effect = intent.effect().expect("JSON");
        case["effect"] = json!(String::from_utf8(effect.clone()).expect("UTF-8"));
        case["effect_digest"] = json!(Digest::of(&effect));
        case
    };
    let documents = [
        document("genesis", &signed(samples::geneses().remove(0), &["decision", "operator-a", "operator-b"])),
        effect(document("intent", &intent), intent.value()),
        effect(document("intent", &kept), kept.value()),
        document("decision", &signed(samples::decisions().remove(0), &["decision"])),
        document("receipt", &signed(samples::receipts().remove(0), &["decision"])),
        document("evidence", &signed(samples::evidence().remove(0), &["approver"])),
        document("act", &signed(samples::acts().remove(0), &operators)),
    ];

    let good = text(&documents[1], "envelope");
    let key_of = |role: &str| key(role).id().to_string();
    let payload = STANDARD.encode(intent.payload());
    let (envelope, signature) = good.split_once("\"signatures\":[").expect("signatures");
    let signature = signature.strip_suffix("]}").expect("one signature");
    let again = format!("{envelope}\"signatures\":[{signature},{signature}]}}");
    let refused: Vec<Value> = [
        ("of another kind", good.replace("intent.v1", "receipt.v1")),
        ("with an unknown field", good.replacen('{', "{\"alg\":\"none\",", 1)),
        ("signed by another key than keyid says", good.replace(&key_of("producer"), &key_of("approver"))),
        ("with the same signature twice", again),
        (
            "without a signature",
            format!(r#"{{"payload":"{payload}","payloadType":"{}","signatures":[]}}"#, Intent::PAYLOAD_TYPE),
        ),
        ("with base64 without padding", good.replace(&payload, payload.trim_end_matches('='))),
        ("with its payload cut", good.replace(&payload, &payload[..payload.len() - 8])),
        ("with a key twice", good.replacen('{', &format!("{{\"payloadType\":\"{}\",", Intent::PAYLOAD_TYPE), 1)),
    ]
    .into_iter()
    .filter(|(_, envelope)| envelope != good)
    .map(|(name, envelope)| {
        let refusal = Signed::<Intent>::from_envelope(envelope.as_bytes()).expect_err(name);
        json!({"name": name, "envelope": envelope, "code": refusal.code})
    })
    .collect();
    golden::check_json(FILE, &json!({"documents": documents, "refused_as_intent": refused}));

    each(FILE, "documents", |case| match text(case, "kind") {
        "genesis" => opened::<writ_schemas::genesis::Genesis>(case),
        "intent" => {
            opened::<Intent>(case);
            assert_eq!(Digest::of(text(case, "effect").as_bytes()).to_string(), text(case, "effect_digest"));
        }
        "decision" => opened::<writ_schemas::decision::Decision>(case),
        "receipt" => opened::<writ_schemas::receipt::Receipt>(case),
        "evidence" => opened::<writ_schemas::evidence::Evidence>(case),
        "act" => opened::<writ_schemas::act::Act>(case),
        other => panic!("a kind {other}"),
    });
    each(FILE, "refused_as_intent", |case| {
        let refusal = Signed::<Intent>::from_envelope(text(case, "envelope").as_bytes()).expect_err("refused");
        assert_eq!(refusal.code.as_str(), text(case, "code"), "{case}");
    });
}

#[test]
fn decisions_and_receipts_are_declared_in_canonical_order() {
    fn check<T: serde::Serialize>(documents: Vec<T>) {
        for document in documents {
            let (plain, sorted) = (serde_json::to_vec(&document), serde_json_canonicalizer::to_vec(&document));
            let text = |bytes: serde_json::Result<Vec<u8>>| String::from_utf8(bytes.expect("JSON")).expect("UTF-8");
            assert_eq!(
                text(plain),
                text(sorted),
                "declare fields as they sort: that they need no sorting is most of the speed"
            );
        }
    }
    check(samples::decisions());
    check(samples::receipts());
}

#[test]
fn canonical_json() {
    const FILE: &str = "vectors/canonical.json";
    let inputs = [
        // RFC 8785, sections 3.2.2 and 3.2.3.
        r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#,
        r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#,
        // By UTF-16 code units U+1F600 sorts before U+FB33; by code points or UTF-8 bytes after it.
        "{\"\u{fb33}\":2,\"\u{1f600}\":1,\"\":0}",
        r#"{"b":[{"d":1,"c":2}],"a":{"z":{},"y":[]}}"#,
        r#"{"10":1,"9":2,"1":3,"A":4,"a":5,"_":6}"#,
        "\t{ \"a\" : [ 1 , 2.0 , -0 , -0.0 ] }\r\n",
        r#"["\u0000\u0008\u0009\u000a\u000b\u000c\u000d\u001f\u007f\u2028","/","\/","\ud83d\ude00"]"#,
        // RFC 8785, appendix B, and the borders of ECMAScript's number format.
        "[5e-324,-5e-324,1.7976931348623157e308,9007199254740991,-9007199254740991]",
        "[1e21,1e-6,1e-7,123456789012345.6,0.1,1.0,1E0,100,1e2,4.35,0.000001,1e23,2.2250738585072014e-308]",
        "[333333333.3333332,333333333.33333325,333333333.3333333,333333333.3333334,333333333.33333343,1424953923781206.2]",
        "\"\"",
        "null",
    ];
    let form = |input: &str| {
        strict::check(input.as_bytes()).unwrap_or_else(|e| panic!("{input}: {e}"));
        let value: Value = serde_json::from_str(input).expect("JSON");
        String::from_utf8(canonical::bytes(&value).expect("canonical")).expect("UTF-8")
    };
    let cases: Vec<_> = inputs
        .iter()
        .map(|input| json!({"input": input, "canonical": form(input), "digest": Digest::of(form(input).as_bytes())}))
        .collect();
    golden::check_json(FILE, &json!({ "cases": cases }));
    each(FILE, "cases", |case| {
        assert_eq!(form(text(case, "input")), text(case, "canonical"));
        assert_eq!(form(text(case, "canonical")), text(case, "canonical"));
        assert_eq!(Digest::of(text(case, "canonical").as_bytes()).to_string(), text(case, "digest"));
    });
}

#[test]
fn strict_json() {
    const FILE: &str = "vectors/strict.json";
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let brackets_in_text = format!("[\"{}\"]", "[".repeat(100));
    let (deepest, too_deep) = (nested(strict::DEPTH_MAX), nested(strict::DEPTH_MAX + 1));
    let inputs: Vec<&[u8]> = vec![
        b"null",
        b" {} ",
        b"[1,-1,0,-0,0.5,1e300,9007199254740991,-9007199254740991]",
        br#"{"a":{"b":[1]},"b":"\ud83d\ude00"}"#,
        br#"{"a":{"k":1},"b":{"k":1}}"#,
        deepest.as_bytes(),
        brackets_in_text.as_bytes(),
        b"",
        b" ",
        b"{",
        b"{} {}",
        b"{'a':1}",
        b"[1,]",
        b"[01]",
        b"[+1]",
        b"[1.]",
        b"[NaN]",
        b"[nul]",
        b"// comment\n1",
        b"\xef\xbb\xbf{}",
        b"[\"tab\there\"]",
        br#"["\ud800"]"#,
        br#"["\udc00\ud800"]"#,
        br#"["\x41"]"#,
        br#"{"a":1,"a":1}"#,
        br#"{"a":1,"\u0061":2}"#,
        br#"[{"x":{"k":1,"k":2}}]"#,
        b"[9007199254740992]",
        b"[9007199254740993]",
        b"[-9007199254740992]",
        b"[18446744073709551616]",
        b"[1e400]",
        b"[-1e400]",
        too_deep.as_bytes(),
        b"[\"\xff\"]",
        b"[\"\xed\xa0\x80\"]",
        b"[\"\xc0\xaf\"]",
    ];
    let verdict = |input: &[u8]| strict::check(input).err().map(|refusal| refusal.code);
    let cases: Vec<_> = inputs
        .iter()
        .map(|input| json!({"input_base64": STANDARD.encode(input), "shown": String::from_utf8_lossy(input), "code": verdict(input)}))
        .collect();
    let limits = json!({
        "depth_max": strict::DEPTH_MAX,
        "integer_max": strict::INTEGER_MAX,
        "document_bytes_max": DOCUMENT_BYTES_MAX,
    });
    golden::check_json(FILE, &json!({"limits": limits, "cases": cases}));
    each(FILE, "cases", |case| {
        let input = STANDARD.decode(text(case, "input_base64")).expect("base64");
        assert_eq!(json!(verdict(&input)), case["code"], "{case}");
    });
}

fn entry(entry: &Entry) -> Value {
    let header = &entry.header;
    json!({
        "kind": header.kind.as_str(),
        "tag": header.kind.tag(),
        "version": header.version,
        "ledger": header.ledger,
        "seq": header.seq,
        "recorded_at": header.recorded_at,
        "previous": hex(&header.previous),
        "commitment": hex(&header.commitment),
        "salt": hex(&entry.salt),
        "payload": hex(&entry.payload),
        "payload_digest": entry.payload_digest(),
        "header": hex(&header.to_bytes()),
        "hash": hex(&entry.hash()),
        "leaf": hex(&leaf(&header.to_bytes())),
    })
}

#[test]
fn entries_and_their_chain() {
    const FILE: &str = "vectors/entries.json";
    // One event of each kind, in the order of the samples: an example of every encoding, not a history that a ledger
    // could have.
    let mut chain = Chain::empty(LEDGER);
    let mut seen = Vec::new();
    for event in samples::events() {
        if seen.iter().any(|(kind, _)| *kind == event.kind()) {
            continue;
        }
        let place = u8::try_from(seen.len()).expect("few kinds");
        let payload = event.to_payload().expect("encodes");
        let at = UnixMicros(T0 + u64::from(place / 2));
        seen.push((event.kind(), chain.append(event.kind(), at, [0xa0 + place; 16], payload)));
    }
    let entries: Vec<_> = seen.iter().map(|(_, one)| entry(one)).collect();
    let commitments: Vec<_> = [(0_u8, &b""[..]), (0, b"payload"), (1, b"payload"), (0xff, &[0; 100])]
        .iter()
        .map(|(salt, payload)| {
            let salt = [*salt; 16];
            json!({"salt": hex(&salt), "payload": hex(payload), "commitment": hex(&commitment(&salt, payload))})
        })
        .collect();
    let kinds: Vec<_> = EventKind::ALL.iter().map(|kind| json!({"kind": kind.as_str(), "tag": kind.tag()})).collect();
    golden::check_json(FILE, &json!({"kinds": kinds, "commitments": commitments, "entries": entries}));

    each(FILE, "commitments", |case| {
        assert_eq!(hex(&commitment(&array(case, "salt"), &bytes(case, "payload"))), text(case, "commitment"));
    });
    let mut chain = Chain::empty(LEDGER);
    each(FILE, "entries", |case| {
        let header = Header::from_bytes(&bytes(case, "header").try_into().expect("a header")).expect("of this format");
        let one = Entry { header, salt: array(case, "salt"), payload: bytes(case, "payload") };
        assert_eq!(chain.follow(&one), Ok(()));
        assert_eq!(entry(&one), *case);
        assert!(Event::from_payload(header.kind, &one.payload).is_ok());
    });
}

#[test]
fn merkle_roots() {
    const FILE: &str = "vectors/merkle.json";
    // The eight leaves that Certificate Transparency implementations test with, then 1, 2, 3, ... as single bytes.
    let mut inputs: Vec<String> =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
            .map(str::to_owned)
            .into();
    inputs.extend((1..=12_u8).map(|byte| hex(&[byte])));
    let mut tree = Frontier::default();
    let mut trees = vec![json!({"size": 0, "root": hex(&tree.root())})];
    let leaves: Vec<_> = inputs
        .iter()
        .map(|input| {
            let hash = leaf(&bytes(&json!({ "input": input }), "input"));
            tree.push(hash);
            trees.push(json!({"size": tree.size(), "root": hex(&tree.root())}));
            json!({"input": input, "leaf": hex(&hash)})
        })
        .collect();
    golden::check_json(FILE, &json!({"leaves": leaves, "roots": trees}));

    let mut hashes = Vec::new();
    each(FILE, "leaves", |case| {
        assert_eq!(hex(&leaf(&bytes(case, "input"))), text(case, "leaf"));
        hashes.push(array(case, "leaf"));
    });
    each(FILE, "roots", |case| {
        let mut tree = Frontier::default();
        let size = usize::try_from(case["size"].as_u64().expect("a size")).expect("small");
        hashes.iter().take(size).for_each(|hash| tree.push(*hash));
        assert_eq!(hex(&tree.root()), text(case, "root"));
    });
}

#[test]
fn checkpoints() {
    const FILE: &str = "vectors/checkpoints.json";
    let secret = key("checkpoint");
    let notes = [(0, [0; 32], 0), (1, [1; 32], 1), (1_000_000, [7; 32], 9)].map(|(size, root, head)| {
        let checkpoint = Checkpoint { origin: "writ.example/ledger/4c".into(), size, root, head: [head; 32] };
        let note = checkpoint.sign(&secret);
        json!({
            "origin": checkpoint.origin,
            "size": size,
            "root": hex(&checkpoint.root),
            "head": hex(&checkpoint.head),
            "key": secret.id(),
            "verifier_key": verifier_key(&checkpoint.origin, &secret.id()),
            "body": checkpoint.body(),
            "note": note,
        })
    });
    let good = text(&notes[1], "note");
    let (body, signature) = good.split_once("\n\n").expect("a note");
    let stranger = SecretKey::from_seed(&[9; 32]);
    let other = Checkpoint { origin: "writ.example/other".into(), size: 1, root: [1; 32], head: [1; 32] };
    let refused: Vec<_> = [
        ("of another log", other.sign(&secret)),
        ("by another key", Checkpoint { origin: "writ.example/ledger/4c".into(), ..other.clone() }.sign(&stranger)),
        ("with another size", good.replacen("\n1\n", "\n2\n", 1)),
        ("with a size that begins with 0", good.replacen("\n1\n", "\n01\n", 1)),
        ("without a signature", format!("{body}\n\n")),
        ("without the blank line", format!("{body}\n{signature}")),
        ("without its last newline", good.trim_end().to_owned()),
        ("with a hyphen for the dash", good.replace('—', "-")),
        ("with one more line", format!("{body}\nmore\n\n{signature}")),
        ("without its chain head", format!("{}\n\n{signature}", body.rsplit_once('\n').expect("lines").0)),
        ("that is empty", String::new()),
    ]
    .into_iter()
    .map(|(name, note)| {
        let why = Checkpoint::open(note.as_bytes(), "writ.example/ledger/4c", &secret.id()).expect_err(name);
        json!({"name": name, "note": note, "why": why.to_string()})
    })
    .collect();
    // A note that a witness has signed too opens as before.
    let cosigned = format!("{good}— witness.example AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n");
    golden::check_json(FILE, &json!({"notes": notes, "cosigned": [{"note": cosigned}], "refused": refused}));

    each(FILE, "notes", |case| {
        let key = text(case, "key").parse().expect("a key");
        let origin = text(case, "origin");
        assert!(origin_is_valid(origin));
        let opened = Checkpoint::open(text(case, "note").as_bytes(), origin, &key).expect("a good note");
        assert_eq!((opened.body().as_str(), json!(opened.size)), (text(case, "body"), case["size"].clone()));
        assert_eq!((hex(&opened.root).as_str(), hex(&opened.head).as_str()), (text(case, "root"), text(case, "head")));
        assert_eq!(verifier_key(origin, &key), text(case, "verifier_key"));
    });
    each(FILE, "cosigned", |case| {
        assert!(Checkpoint::open(text(case, "note").as_bytes(), "writ.example/ledger/4c", &secret.id()).is_ok());
    });
    each(FILE, "refused", |case| {
        let why = Checkpoint::open(text(case, "note").as_bytes(), "writ.example/ledger/4c", &secret.id());
        assert_eq!(why.expect_err("refused").to_string(), text(case, "why"), "{case}");
    });
}

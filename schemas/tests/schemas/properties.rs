//! Hostile input stops nothing, and what is accepted has one meaning.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use writ_schemas::canonical;
use writ_schemas::checkpoint::Checkpoint;
use writ_schemas::dsse::Signed;
use writ_schemas::event::{Event, EventKind};
use writ_schemas::ids::{hex, unhex};
use writ_schemas::intent::Intent;
use writ_schemas::strict;

use crate::samples::{self, key, signed};

/// What strict parsing accepts is JSON to everybody, and its canonical form stays as it is.
fn accepted_means_one_thing(text: &[u8]) -> Result<(), TestCaseError> {
    if strict::check(text).is_err() {
        return Ok(());
    }
    let value: Value = serde_json::from_slice(text).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let once = canonical::bytes(&value).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let again: Value = serde_json::from_slice(&once).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let twice = canonical::bytes(&again).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(&once, &twice);
    prop_assert_eq!(strict::check(&once), Ok(()), "what is accepted is accepted in its canonical form, too");
    Ok(())
}

/// JSON, and what looks like it.
fn nearly_json() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\\",
            "\\u0061",
            "\\ud800",
            "null",
            "true",
            "-",
            "-0",
            "e",
            ".",
            "01",
            "9007199254740991",
            "9007199254740992",
            "1e17",
            "1e400",
            "\"a\"",
            "\"a\":1",
            " ",
            "\n",
            "\u{1}",
            "é",
            "😀",
        ])
        .prop_map(str::to_owned),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        any::<i64>().prop_map(|number| number.to_string()),
        "\"[^\"\\\\]{0,8}\"",
    ];
    vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

/// Values that JSON can say.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::from),
        any::<f64>().prop_filter_map("a double whose canonical form is not a large integer", |number| {
            let large = (9_007_199_254_740_992.0..1e21).contains(&number.abs());
            serde_json::Number::from_f64(number).filter(|_| !large).map(Value::from)
        }),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((".{0,6}", inner), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A change to bytes. Places are taken modulo the length.
#[derive(Clone, Debug)]
struct Change {
    writes: Vec<(usize, u8)>,
    /// From where, how many.
    cut: (usize, usize),
    put: (usize, Vec<u8>),
}

/// The bytes after a change: some are overwritten, then a stretch is cut out, then a few are put in.
fn changed(mut bytes: Vec<u8>, change: &Change) -> Vec<u8> {
    let Change { writes, cut, put } = change;
    for (at, byte) in writes {
        let at = at % bytes.len().max(1);
        if let Some(place) = bytes.get_mut(at) {
            *place = *byte;
        }
    }
    let from = cut.0 % (bytes.len() + 1);
    bytes.drain(from..(from + cut.1).min(bytes.len()));
    let at = put.0 % (bytes.len() + 1);
    bytes.splice(at..at, put.1.iter().copied());
    bytes
}

fn change() -> impl Strategy<Value = Change> {
    let writes = vec((any::<usize>(), any::<u8>()), 0..4);
    let put = (any::<usize>(), vec(any::<u8>(), 0..3));
    (writes, (any::<usize>(), 0..3_usize), put).prop_map(|(writes, cut, put)| Change { writes, cut, put })
}

/// A payload that decodes is the one encoding of what it decodes to.
fn decodes_to_itself(kind: EventKind, payload: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(event) = Event::from_payload(kind, payload) {
        prop_assert_eq!(event.kind(), kind);
        let again = event.to_payload().map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(again.as_slice(), payload);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn strict_survives_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        accepted_means_one_thing(&bytes)?;
    }

    #[test]
    fn strict_survives_what_looks_like_json(text in nearly_json()) {
        accepted_means_one_thing(text.as_bytes())?;
    }

    #[test]
    fn strict_accepts_every_value_that_is_not_too_deep(value in json()) {
        let text = value.to_string();
        prop_assert_eq!(strict::check(text.as_bytes()), Ok(()));
        accepted_means_one_thing(text.as_bytes())?;
        prop_assert_eq!(strict::parse::<Value>(text.as_bytes(), text.len()).map(|read| read.to_string()), Ok(text));
    }

    #[test]
    fn any_bytes_are_an_event_or_a_refusal(kind in prop::sample::select(EventKind::ALL), bytes in vec(any::<u8>(), 0..400)) {
        decodes_to_itself(kind, &bytes)?;
    }

    #[test]
    fn a_changed_payload_is_an_event_or_a_refusal(
        event in prop::sample::select(samples::events()),
        change in change(),
        other in prop::sample::select(EventKind::ALL),
    ) {
        let payload = event.to_payload().expect("encodes");
        decodes_to_itself(other, &payload)?;
        decodes_to_itself(event.kind(), &changed(payload, &change))?;
    }

    #[test]
    fn any_length_in_a_payload_is_an_event_or_a_refusal(
        event in prop::sample::select(samples::events()),
        at in any::<usize>(),
        length in any::<u64>(),
        shift in 0..64_u32,
    ) {
        let mut payload = event.to_payload().expect("encodes");
        let at = at % payload.len();
        for (to, from) in payload.iter_mut().skip(at).zip((length >> shift).to_le_bytes()) {
            *to = from;
        }
        decodes_to_itself(event.kind(), &payload)?;
    }

    #[test]
    fn any_bytes_are_no_checkpoint(bytes in vec(any::<u8>(), 0..400), text in "(a\n)?[0-9a\n— +=]{0,60}\n\n(— a [A-Za-z0-9+/=]{0,20}\n){0,3}") {
        let key = key("checkpoint").id();
        prop_assert!(Checkpoint::open(&bytes, "a", &key).is_err());
        prop_assert!(Checkpoint::open(text.as_bytes(), "a", &key).is_err());
    }

    #[test]
    fn a_changed_note_is_refused_or_says_the_same(change in change(), size in any::<u64>(), root: [u8; 32], head: [u8; 32]) {
        let checkpoint = Checkpoint { origin: "writ.example/ledger/4c".into(), size, root, head };
        let note = checkpoint.sign(&key("checkpoint"));
        let open = |note: &[u8]| Checkpoint::open(note, &checkpoint.origin, &key("checkpoint").id());
        prop_assert_eq!(open(note.as_bytes()), Ok(checkpoint.clone()));
        if let Ok(other) = open(&changed(note.into_bytes(), &change)) {
            prop_assert_eq!(other, checkpoint);
        }
    }

    #[test]
    fn a_changed_envelope_is_refused_or_says_the_same(change in change()) {
        let intent = signed(samples::intents().remove(0), &["producer"]);
        let bytes = changed(intent.to_envelope(), &change);
        if let Ok(other) = Signed::<Intent>::from_envelope(&bytes) {
            prop_assert_eq!(other, intent);
        }
    }

    #[test]
    fn hex_goes_there_and_back(bytes: [u8; 32], text in "[0-9a-fA-Fx ]{0,70}") {
        prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        prop_assert_eq!(unhex::<32>(&text).map(|bytes| hex(&bytes)), unhex::<32>(&text).map(|_| text.clone()));
        prop_assert_eq!(unhex::<32>(&hex(&bytes).to_uppercase()).is_some(), !hex(&bytes).contains(|c: char| c.is_alphabetic()));
    }
}

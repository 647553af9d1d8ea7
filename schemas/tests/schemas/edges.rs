//! Each limit at its edge, and each word and default as it is written.

use serde_json::{Value, json};
use writ_schemas::act;
use writ_schemas::checkpoint::{BadNote, Checkpoint, NOTE_BYTES_MAX, origin_is_valid};
use writ_schemas::decision::Verdict;
use writ_schemas::dsse::{DOCUMENT_BYTES_MAX, ENVELOPE_BYTES_MAX, SIGNATURES_MAX, Signature, Signed};
use writ_schemas::entry::PAYLOAD_BYTES_MAX;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, EventKind, Partition, Position};
use writ_schemas::evidence;
use writ_schemas::genesis::Genesis;
use writ_schemas::ids::{KeyId, Name, Seq, UnixMicros};
use writ_schemas::intent::{self, Intent};
use writ_schemas::keys::SecretKey;
use writ_schemas::policy::{Budget, Bundle, Cost, EvidenceNeed, Spend, Spends, Window};
use writ_schemas::receipt::{Receipt, Status};
use writ_schemas::strict::{self, Refusal};

use crate::samples::{self, key, n};

/// Others rely on these figures: producers, witnesses, and every log that was written with them.
#[test]
fn limits_are_what_the_documents_say() {
    const DAY: u64 = 86_400_000_000;
    assert_eq!((intent::EXPIRY_AHEAD_MAX, act::EXPIRY_AHEAD_MAX, evidence::VALIDITY_MAX), (7 * DAY, 7 * DAY, 30 * DAY));
    assert_eq!((strict::INTEGER_MAX, strict::DEPTH_MAX), (9_007_199_254_740_991, 32));
    assert_eq!((DOCUMENT_BYTES_MAX, ENVELOPE_BYTES_MAX, PAYLOAD_BYTES_MAX), (1_048_576, 1_406_292, 1_471_828));
    assert_eq!((NOTE_BYTES_MAX, SIGNATURES_MAX, Name::LEN_MAX), (16_384, 16, 128));
}

#[test]
fn the_longest_name_is_one() {
    let longest = "x".repeat(128);
    assert_eq!(longest.parse::<Name>().map(|name| name.as_str().to_owned()), Ok(longest));
    assert!("x".repeat(129).parse::<Name>().is_err());
}

#[test]
fn the_end_of_time_and_of_places_is_no_overflow() {
    assert_eq!(UnixMicros(40).plus(2), UnixMicros(42));
    assert_eq!(UnixMicros(u64::MAX).plus(1), UnixMicros(u64::MAX));
    assert_eq!((Seq(0).next(), Seq(u64::MAX).next()), (Seq(1), Seq(u64::MAX)));
}

#[test]
fn an_origin_can_stand_in_a_note() {
    for good in ["a", "writ.example/ledger/4c", "~!", &"x".repeat(128)] {
        assert!(origin_is_valid(good), "{good}");
    }
    for bad in ["", "a b", "a+b", "+", "a\n", "né", &"x".repeat(129)] {
        assert!(!origin_is_valid(bad), "{bad}");
    }
}

#[test]
fn the_longest_note_opens() {
    let checkpoint = Checkpoint { origin: "writ.example/l".into(), size: 1, root: [1; 32], head: [2; 32] };
    let note = checkpoint.sign(&key("checkpoint"));
    let open = |note: &str| Checkpoint::open(note.as_bytes(), "writ.example/l", &key("checkpoint").id());
    // A witness with a name that fills what is left.
    let line = |name: usize| format!("— {} AAAAAAAAAAAAAAAA\n", "w".repeat(name));
    let room = NOTE_BYTES_MAX - note.len() - line(0).len();
    assert_eq!(open(&format!("{note}{}", line(room))), Ok(checkpoint));
    assert_eq!(open(&format!("{note}{}", line(room + 1))), Err(BadNote::Form));
}

/// Another's line in our name, or ours under another name, is not our signature; and does not make the note bad.
#[test]
fn a_note_is_ours_by_name_and_key() {
    let checkpoint = Checkpoint { origin: "writ.example/l".into(), size: 1, root: [1; 32], head: [2; 32] };
    let ours = checkpoint.sign(&key("checkpoint"));
    let (_, line) = ours.split_once("\n\n").expect("a note");
    let theirs = checkpoint.sign(&SecretKey::from_seed(&[9; 32]));
    let open = |note: &str| Checkpoint::open(note.as_bytes(), "writ.example/l", &key("checkpoint").id());
    assert_eq!(open(&theirs), Err(BadNote::Signature));
    assert_eq!(open(&format!("{theirs}{line}")), Ok(checkpoint));
    assert_eq!(open(&ours.replace("— writ.example/l", "— writ.example/m")), Err(BadNote::Signature));
}

/// An intent of so many bytes.
fn intent_of(bytes: usize) -> Intent {
    let mut intent = samples::intents().remove(1);
    intent.args.insert("note".into(), "".into());
    let bare = serde_json::to_vec(&intent).expect("JSON").len();
    intent.args.insert("note".into(), "x".repeat(bytes - bare).into());
    intent
}

#[test]
fn the_largest_document_goes_into_an_envelope_with_all_its_signatures() {
    let mut signed = Signed::unsigned(intent_of(DOCUMENT_BYTES_MAX)).expect("as large as it may be");
    for seed in 0..SIGNATURES_MAX {
        signed.add_signature(&SecretKey::from_seed(&[u8::try_from(seed).expect("few"); 32]));
    }
    assert_eq!(Signed::from_envelope(&signed.to_envelope()), Ok(signed.clone()));
    signed.add_signature(&SecretKey::from_seed(&[99; 32]));
    assert_eq!(code(Signed::<Intent>::from_envelope(&signed.to_envelope())), Some(Code::Envelope));
    assert_eq!(code(Signed::unsigned(intent_of(DOCUMENT_BYTES_MAX + 1))), Some(Code::TooLarge));
}

fn code<T>(result: Result<T, Refusal>) -> Option<Code> {
    result.err().map(|refusal| refusal.code)
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let with = |value: Value| {
        let mut intent = samples::intents().remove(1);
        intent.args.insert("x".into(), value);
        code(Signed::unsigned(intent))
    };
    // Two levels are the intent and its args.
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(with(json!(strict::INTEGER_MAX)), None);
    assert_eq!(with(json!(strict::INTEGER_MAX + 1)), Some(Code::JsonNumber));
    assert_eq!(with(nested(strict::DEPTH_MAX - 2)), None);
    assert_eq!(with(nested(strict::DEPTH_MAX - 1)), Some(Code::JsonDepth));
}

#[test]
fn the_largest_payload_is_an_event() {
    let event = |len: usize| Event::CheckpointSigned("x".repeat(len));
    let read = |event: &Event| Event::from_payload(event.kind(), &event.to_payload().expect("encodes"));
    let length = std::mem::size_of::<u64>();
    let largest = event(PAYLOAD_BYTES_MAX - length);
    assert_eq!(read(&largest), Ok(largest));
    let refusal = read(&event(PAYLOAD_BYTES_MAX - length + 1)).expect_err("too large");
    assert_eq!((refusal.code, refusal.detail.as_str()), (Code::LogDamaged, "a payload of 1471829 bytes"));
    // What takes more memory than bytes: the limit of what a length can ask for lies above it.
    let position = Position { partition: Partition { topic_id: String::new(), number: 1 }, next: 1 };
    let many = Event::SourceAdvanced(vec![position; PAYLOAD_BYTES_MAX / 20 - 1]);
    assert_eq!(read(&many), Ok(many));
}

#[test]
fn a_length_cannot_ask_for_more_than_the_limit() {
    let mut payload = Event::SourceAdvanced(vec![]).to_payload().expect("encodes");
    payload.copy_from_slice(&u64::try_from(PAYLOAD_BYTES_MAX).expect("small").to_le_bytes());
    let refusal = Event::from_payload(EventKind::SourceAdvanced, &payload).expect_err("nothing follows");
    assert!(refusal.detail.contains("LimitExceeded"), "{refusal}");
}

#[test]
fn one_signature_has_a_signer_and_all_must_fit() {
    let unsigned = Signed::unsigned(samples::intents().remove(0)).expect("JSON");
    let one = unsigned.clone().sign(&key("producer"));
    let two = one.clone().sign(&key("approver"));
    assert_eq!((unsigned.signer(), one.signer(), two.signer()), (None, Some(key("producer").id()), None));
    assert_eq!((unsigned.verify(), one.verify(), two.verify()), (false, true, true));
    assert_eq!(two.clone().sign(&key("approver")).signatures().len(), 2, "signing again changes nothing");
    let with = |signatures: Vec<Signature>| Signed::<Intent>::from_parts(one.payload().to_vec(), signatures);
    let (good, wrong) = (one.signatures()[0], Signature { key: key("approver").id(), ..one.signatures()[0] });
    for (signatures, fits) in
        [(vec![good], true), (vec![wrong], false), (vec![good, wrong], false), (vec![good, good], false)]
    {
        assert_eq!(with(signatures).map(|signed| signed.verify()), Ok(fits));
    }
    assert!(with(vec![good; SIGNATURES_MAX]).is_ok());
    assert_eq!(code(with(vec![good; SIGNATURES_MAX + 1])), Some(Code::Envelope));
}

/// DSSE readers take both alphabets; padding is not optional.
#[test]
fn an_envelope_may_use_the_other_alphabet() {
    // A signature with both letters in which the alphabets differ.
    let signed = (0..200_u8)
        .map(|seed| Signed::unsigned(intent_of(300)).expect("JSON").sign(&SecretKey::from_seed(&[seed; 32])))
        .find(|signed| {
            String::from_utf8_lossy(&signed.to_envelope())
                .rsplit_once("\"sig\"")
                .is_some_and(|(_, sig)| sig.contains('+') && sig.contains('/'))
        })
        .expect("one of them");
    let text = String::from_utf8(signed.to_envelope()).expect("UTF-8");
    let (before, sig) = text.rsplit_once("\"sig\"").expect("a signature");
    let other = format!("{before}\"sig\"{}", sig.replace('+', "-").replace('/', "_"));
    assert_eq!(Signed::from_envelope(other.as_bytes()), Ok(signed));
    assert_eq!(code(Signed::<Intent>::from_envelope(other.replace("==\"", "\"").as_bytes())), Some(Code::Envelope));
}

#[test]
fn a_genesis_must_be_able_to_rule() {
    let good = samples::geneses().remove(0);
    let [a, b] = [good.operators[0], good.operators[1]];
    let with = |change: &dyn Fn(&mut Genesis)| {
        let mut genesis = good.clone();
        change(&mut genesis);
        genesis.is_valid()
    };
    assert!(with(&|_| {}) && with(&|it| it.quorum = 1));
    assert!(!with(&|it| it.operators = vec![a, a]), "twice the same");
    assert!(!with(&|it| it.operators = vec![a, b, b]), "enough, but one of them twice");
    assert!(!with(&|it| it.operators.clear()), "nobody");
    assert!(!with(&|it| it.quorum = 0) && !with(&|it| it.quorum = 3) && !with(&|it| it.quorum = u32::MAX));
    assert!(!with(&|it| it.origin = "a b".into()), "a name that no note can have");
    let nobodys = KeyId([0; 32]);
    assert!(!with(&|it| it.operators = vec![a, nobodys]) && !with(&|it| it.decision_key = nobodys));
    assert!(!with(&|it| it.checkpoint_key = nobodys), "a key with which nobody can sign");
}

#[test]
fn words_are_printed_as_they_are_written() {
    let written = |value: Value| value.as_str().map(str::to_owned);
    for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Escalate] {
        assert_eq!(written(json!(verdict)).as_deref(), Some(verdict.as_str()));
    }
    for status in [Status::Succeeded, Status::Failed, Status::Uncertain, Status::Expired] {
        assert_eq!(written(json!(status)).as_deref(), Some(status.as_str()));
    }
    for code in Code::ALL {
        assert_eq!(
            (json!(code), serde_json::from_value::<Code>(json!(code)).ok()),
            (json!(code.as_str()), Some(*code))
        );
    }
}

/// What a document of this type says after it was read: `Err` with the place where it would be written otherwise.
fn read<T: serde::Serialize + serde::de::DeserializeOwned>(document: &Value) -> Result<Value, String> {
    strict::parse::<T>(document.to_string().as_bytes(), 10_000).map(|it| json!(it)).map_err(|refusal| refusal.detail)
}

/// An object with more fields.
fn with(mut base: Value, more: Value) -> Value {
    let (Value::Object(fields), Value::Object(more)) = (&mut base, more) else { panic!("objects") };
    fields.extend(more);
    base
}

#[test]
fn a_default_is_left_out_and_what_is_not_the_default_stays() {
    let need = |more| with(json!({"about_effect": true, "kind": "ticket"}), more);
    let budget = |more| with(json!({"unit": "cents", "limit": 7, "tenants": {}}), more);
    for more in [json!({}), json!({"signers": 2}), json!({"not_submitter": true}), json!({"max_age_us": 1})] {
        assert_eq!(read::<EvidenceNeed>(&need(more.clone())), Ok(need(more)));
    }
    for window in [json!("hour"), json!({"day": "UTC"}), json!({"month": "UTC"}), json!({"rolling_us": 7})] {
        let hourly = budget(json!({"window": window, "per": ["principal"]}));
        assert_eq!(read::<Budget>(&hourly), Ok(hourly));
    }
    assert_eq!(read::<Budget>(&budget(json!({"per": []}))), Ok(budget(json!({}))), "what is empty may be said");
    let refused = |place: &str| Err(format!("not the shape that is written at {place}"));
    assert_eq!(read::<EvidenceNeed>(&need(json!({"signers": 1}))), refused("/signers"));
    assert_eq!(read::<EvidenceNeed>(&need(json!({"not_submitter": false}))), refused("/not_submitter"));
    assert_eq!(read::<Budget>(&budget(json!({"window": "total"}))), refused("/window"));
    // Deep in a document, the place is told from its top.
    let mut bundle = json!(samples::bundles().remove(0));
    bundle["requirements"]["manager"]["all_of"][1]["any_of"][0]["evidence"]["signers"] = json!(1);
    assert_eq!(read::<Bundle>(&bundle), refused("/requirements/manager/all_of/1/any_of/0/evidence/signers"));
}

#[test]
fn what_is_of_the_wrong_kind_is_told_what_was_expected() {
    let intent = |more| with(json!(samples::intents().remove(1)), more);
    assert_eq!(
        read::<Intent>(&intent(json!({"tenant": 7}))),
        Err("tenant: invalid type: integer `7`, expected a string".to_owned())
    );
    assert_eq!(
        read::<Intent>(&intent(json!({"tenant": "a b"}))),
        Err("tenant: expected a name: 1 to 128 of A-Z a-z 0-9 . _ : @ / -".to_owned())
    );
    let decision = with(json!(samples::receipts().remove(0)), json!({"usage": 7}));
    assert_eq!(
        read::<Receipt>(&decision),
        Err("usage: invalid type: integer `7`, expected null, an object, or a list of at least two".to_owned())
    );
}

#[test]
fn evidence_asks_for_principals_only_where_it_matters_who_they_are() {
    let bare = EvidenceNeed {
        about_effect: true,
        key: None,
        kind: n("ticket"),
        max_age_us: Some(1),
        not_submitter: false,
        once: false,
        role: Some(n("manager")),
        signers: 1,
    };
    assert!(!bare.asks_principal());
    assert!(EvidenceNeed { key: Some(key("approver").id()), ..bare.clone() }.asks_principal());
    assert!(EvidenceNeed { not_submitter: true, ..bare.clone() }.asks_principal());
    assert!(EvidenceNeed { signers: 2, ..bare }.asks_principal());
}

#[test]
fn budgets_say_what_they_take_and_where_their_days_begin() {
    let spend = |name: &str| Spend { actual: None, cost: Cost::Fixed(1), name: n(name) };
    assert_eq!(Spends::Budget(spend("a")).each(), [spend("a")]);
    assert_eq!(Spends::Budgets(vec![spend("b"), spend("a")]).each(), [spend("b"), spend("a")]);
    assert_eq!(Spends::Exempt("free".into()).each(), []);
    for (window, zone) in [
        (Window::Total, None),
        (Window::Hour, None),
        (Window::Day("Europe/Berlin".into()), Some("Europe/Berlin")),
        (Window::Month("UTC".into()), Some("UTC")),
        (Window::RollingUs(7), None),
    ] {
        assert_eq!((window.zone(), window.is_total()), (zone, window == Window::Total));
    }
}

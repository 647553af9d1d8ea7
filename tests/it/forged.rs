//! Replay really decides: a ledger whose owner forged it, with its own keys and with everything made right again that depends
//! on what was changed, passes verification, and replay names the entry and the fields.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use writ::checkpoint::Head;
use writ::executor::content::ContentStore;
use writ::folder::KeyRole;
use writ::views::Views;
use writ_kernel::state::State;
use writ_log::{DirStorage, Log};
use writ_schemas::act::Statement;
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::entry::{Chain, Entry};
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, EventKind, IntentAdmitted, RecordRefused, Source, SourceGap};
use writ_schemas::ids::{Digest, Seq, UnixMicros};
use writ_schemas::keys::SecretKey;
use writ_schemas::strict::Refusal;

use crate::ledgers::{HOUR, Kept, NOW, SMALL, sign};
use crate::planted::{admitted, advanced, appended, partition};

/// Whoever has the keys of a ledger, and what the forgery has changed so far.
struct Forger {
    decision: SecretKey,
    operator: SecretKey,
    checkpoint: SecretKey,
    /// Documents that have another digest now.
    renamed: BTreeMap<Digest, Digest>,
    state: State,
    /// The forged events do not follow each other; state hashes stay as they were from there on.
    faulted: bool,
    chain: Chain,
    head: Head,
    heads: BTreeMap<u64, Head>,
    origin: String,
}

impl Forger {
    fn of(kept: &Kept) -> Forger {
        let key = |role| kept.folder.read_key(role).expect("a key");
        let genesis = kept.genesis();
        Forger {
            decision: key(KeyRole::Decision),
            operator: key(KeyRole::Operator),
            checkpoint: key(KeyRole::Checkpoint),
            renamed: BTreeMap::new(),
            state: State::default(),
            faulted: false,
            chain: Chain::empty(genesis.ledger),
            head: Head::default(),
            heads: BTreeMap::new(),
            origin: genesis.origin,
        }
    }

    /// The digest that a document has now.
    fn now(&self, digest: Digest) -> Digest {
        self.renamed.get(&digest).copied().unwrap_or(digest)
    }

    /// Makes an event right again that depends on what was changed before it.
    fn mend(&self, event: &mut Event) {
        match event {
            Event::ReceiptIssued(issued) => {
                let mut receipt = issued.receipt.value().clone();
                receipt.decision_digest = self.now(receipt.decision_digest);
                receipt.previous = receipt.previous.map(|previous| self.now(previous));
                issued.receipt = sign(receipt, &self.decision);
            }
            Event::OutcomeReconciled(act) => {
                let mut mended = act.value().clone();
                if let Statement::Reconcile { receipt, .. } = &mut mended.statement {
                    *receipt = self.now(*receipt);
                    *act = sign(mended, &self.operator);
                }
            }
            Event::StateHashed(hash) if !self.faulted => *hash = self.state.hash(),
            Event::CheckpointSigned(note) => {
                let size = note.lines().nth(1).and_then(|size| size.parse::<u64>().ok()).expect("a size");
                *note = self.heads[&size].checkpoint(&self.origin).sign(&self.checkpoint);
            }
            _ => {}
        }
    }

    fn put(&mut self, from: &Entry, event: &Event) -> Entry {
        let (seq, at) = (self.chain.next, from.header.recorded_at);
        self.faulted = self.faulted || self.state.apply(seq, at, event).is_err();
        let entry = self.chain.append(event.kind(), at, from.salt, event.to_payload().expect("encodes"));
        self.head.push(&entry.header);
        self.heads.insert(self.head.tree.size(), self.head.clone());
        entry
    }
}

/// The JSON of the document of an event; of a state hash, its digest.
fn json_of(event: &Event) -> Value {
    fn parsed<T: Document>(document: &Signed<T>) -> Value {
        serde_json::from_slice(document.payload()).expect("JSON")
    }
    match event {
        Event::DecisionMade(decision) => parsed(decision),
        Event::ReceiptIssued(issued) => parsed(&issued.receipt),
        Event::StateHashed(hash) => json!({ "state_hash": hash }),
        _ => Value::Null,
    }
}

fn with_json(event: &mut Event, json: Value, key: &SecretKey) {
    fn typed<T: serde::de::DeserializeOwned>(json: Value) -> T {
        serde_json::from_value(json).expect("still a document")
    }
    match event {
        Event::DecisionMade(decision) => *decision = sign(typed(json), key),
        Event::ReceiptIssued(issued) => {
            issued.receipt = sign(typed(json), key);
            if issued.receipt.value().output.is_none() {
                issued.output = None;
            }
        }
        Event::StateHashed(hash) => *hash = typed(json["state_hash"].clone()),
        other => panic!("{other:?} is not forged here"),
    }
}

/// A copy of a closed ledger whose owner set `fields` in the one event of this kind and id, and the entry that it is.
pub(crate) fn forge(closed: &Kept, kind: EventKind, id: &str, fields: &[(&str, Value)]) -> (Kept, Seq) {
    let mut forged = Vec::new();
    let copy = rewritten(closed, &mut |key, seq, event| {
        let mut json = json_of(event);
        if event.kind() == kind && (json["id"] == id || id.is_empty()) {
            for (field, value) in fields {
                let place = json.pointer_mut(&format!("/{field}")).unwrap_or_else(|| panic!("{id} has no {field}"));
                assert_ne!(place, value, "{id}: {field} is that already");
                *place = value.clone();
            }
            with_json(event, json, key);
            forged.push(seq);
        }
    });
    let [seq] = forged[..] else { panic!("{} entries of {id:?}", forged.len()) };
    (copy, seq)
}

/// A copy of a closed ledger whose owner changed some of its events. What depends on them is right again.
pub(crate) fn rewritten(closed: &Kept, change: &mut dyn FnMut(&SecretKey, Seq, &mut Event)) -> Kept {
    let mut forger = Forger::of(closed);
    let (mut batches, mut batch) = (Vec::new(), Vec::new());
    for located in closed.entries() {
        let mut event = located.entry.event().expect("an event");
        let before = digest_of(&event);
        forger.mend(&mut event);
        change(&forger.decision, located.entry.header.seq, &mut event);
        if let (Some(before), Some(after)) = (before, digest_of(&event)) {
            forger.renamed.insert(before, after);
        }
        batch.push(forger.put(&located.entry, &event));
        if located.place.last_of_batch {
            batches.push(std::mem::take(&mut batch));
        }
    }
    with_log(closed, &batches)
}

/// A copy of a closed ledger whose owner cut everything after an entry, added these events, a batch each, and sealed it.
pub(crate) fn continued(closed: &Kept, last: Seq, more: &[(UnixMicros, Event)]) -> Kept {
    let mut chain = Chain::empty(closed.genesis().ledger);
    let mut batches: Vec<Vec<Entry>> = vec![Vec::new()];
    for located in closed.entries().into_iter().filter(|located| located.entry.header.seq <= last) {
        chain.follow(&located.entry).expect("it follows");
        batches.last_mut().expect("a batch").push(located.entry);
        if located.place.last_of_batch {
            batches.push(Vec::new());
        }
    }
    batches.retain(|batch| !batch.is_empty());
    for (at, event) in more {
        batches.push(vec![chain.append(event.kind(), *at, [9; 16], event.to_payload().expect("encodes"))]);
    }
    with_log(closed, &batches)
}

/// A copy of a ledger with another log, sealed with its own key.
fn with_log(kept: &Kept, batches: &[Vec<Entry>]) -> Kept {
    let (copy, genesis) = (kept.copy(), kept.genesis());
    std::fs::remove_dir_all(copy.folder.log()).expect("removes");
    std::fs::create_dir(copy.folder.log()).expect("makes");
    let storage = DirStorage::writing(copy.folder.log());
    let mut log = Log::create(storage, genesis.ledger, SMALL).expect("creates");
    batches.iter().for_each(|batch| log.append(batch).expect("appends"));
    let mut head = Head::default();
    batches.iter().flatten().for_each(|entry| head.push(&entry.header));
    let key = kept.folder.read_key(KeyRole::Checkpoint).expect("a key");
    std::fs::write(copy.latest(), head.checkpoint(&genesis.origin).sign(&key)).expect("writes");
    copy
}

fn digest_of(event: &Event) -> Option<Digest> {
    match event {
        Event::DecisionMade(decision) => Some(decision.digest()),
        Event::ReceiptIssued(issued) => Some(issued.receipt.digest()),
        _ => None,
    }
}

/// A forgery that sets fields of one document, and by which fields replay must name it.
pub(crate) struct Forgery {
    story: &'static str,
    kind: EventKind,
    id: &'static str,
    fields: Vec<(&'static str, Value)>,
    /// Where these are others than those that were set.
    named: Option<&'static [&'static str]>,
}

pub(crate) fn forgery(
    story: &'static str,
    kind: EventKind,
    id: &'static str,
    fields: impl IntoIterator<Item = (&'static str, Value)>,
) -> Forgery {
    Forgery { story, kind, id, fields: fields.into_iter().collect(), named: None }
}

/// A receipt of an ending that no executor reports.
fn impossible(
    story: &'static str,
    id: &'static str,
    fields: impl IntoIterator<Item = (&'static str, Value)>,
) -> Forgery {
    Forgery { named: Some(&["receipt"]), ..forgery(story, EventKind::ReceiptIssued, id, fields) }
}

fn forgeries(closed: &Kept) -> Vec<Forgery> {
    use EventKind::{DecisionMade, ReceiptIssued, StateHashed};
    let other = || json!(Digest([7; 32]));
    let execution = execution_of(closed, "refund-1");
    vec![
        forgery("a PASS turned to FAIL", DecisionMade, "refund-1", [("verdict", json!("FAIL"))]),
        forgery(
            "a PASS turned to FAIL, with all that belongs to it",
            DecisionMade,
            "refund-1",
            [
                ("verdict", json!("FAIL")),
                ("code", json!(Code::ProofMissing)),
                ("because", json!("nothing was shown")),
                ("gates/5/answer", json!("refused")),
                ("gates/6/answer", json!("not_reached")),
                ("gates/7/answer", json!("not_reached")),
                ("execution", Value::Null),
            ],
        ),
        forgery("a FAIL turned to PASS", DecisionMade, "no-ticket", [("verdict", json!("PASS"))]),
        forgery(
            "a FAIL turned to PASS, with all that belongs to it",
            DecisionMade,
            "no-ticket",
            [
                ("verdict", json!("PASS")),
                ("code", json!("OK")),
                ("because", json!("")),
                ("gates/5/answer", json!("passed")),
                ("gates/6/answer", json!("passed")),
                ("gates/7/answer", json!({"disabled": "not tested here"})),
                ("execution", execution),
            ],
        ),
        forgery("a frozen ledger's FAIL", DecisionMade, "frozen", [("verdict", json!("PASS"))]),
        forgery("the code of a FAIL", DecisionMade, "too-much", [("code", json!(Code::ProofMissing))]),
        forgery(
            "a fact: an approver's roles",
            DecisionMade,
            "refund-2",
            [("facts/evidence/0/known/roles/0", json!("admin"))],
        ),
        forgery(
            "a fact: evidence that is not there",
            DecisionMade,
            "refund-1",
            [("facts/evidence/0/known", Value::Null)],
        ),
        forgery("a fact: a key was revoked", DecisionMade, "note-1", [("facts/key/revoked", json!(3))]),
        forgery("a fact: the freeze", DecisionMade, "note-2", [("facts/frozen", json!(true))]),
        forgery("a budget's limit", DecisionMade, "refund-1", [("facts/budget/limit", json!(1001))]),
        forgery("what is reserved", DecisionMade, "too-much", [("facts/budget/reserved", json!(7))]),
        forgery("what is committed", DecisionMade, "refund-3", [("facts/budget/committed", json!(7))]),
        forgery("what a decision reserves", DecisionMade, "refund-2", [("execution/reservation/amount", json!(1))]),
        forgery("the policy hash", DecisionMade, "refund-3", [("policy", other())]),
        forgery("the policy hash of a FAIL", DecisionMade, "no-rule", [("policy", Value::Null)]),
        forgery("what a receipt charges", ReceiptIssued, "refund-1", [("usage/amount", json!(1))]),
        forgery("how an execution ended", ReceiptIssued, "refund-2", [("status", json!("FAILED"))]),
        forgery(
            "an output that is not of the pinned shape",
            ReceiptIssued,
            "shape",
            [("status", json!("SUCCEEDED")), ("code", json!("OK"))],
        ),
        forgery(
            "an output that is of the pinned shape",
            ReceiptIssued,
            "note-2",
            [("status", json!("FAILED")), ("code", json!(Code::ConnectorContractDrift))],
        ),
        forgery(
            "a long output that is of the pinned shape",
            ReceiptIssued,
            "long",
            [("status", json!("FAILED")), ("code", json!(Code::ConnectorContractDrift))],
        ),
        forgery(
            "a success with the code of another",
            ReceiptIssued,
            "note-2",
            [("code", json!(Code::ConnectorContractDrift))],
        ),
        impossible("a success without an output", "note-2", [("output", Value::Null)]),
        impossible(
            "a failure that says that all is well",
            "far-away",
            [("status", json!("FAILED")), ("code", json!("OK"))],
        ),
        impossible("an uncertainty that is none", "far-away", [("code", json!(Code::WindowClosed))]),
        forgery("a receipt's place in its session", ReceiptIssued, "note-2", [("lamport", json!(9))]),
        forgery("a state hash", StateHashed, "", [("state_hash", other())]),
    ]
}

fn execution_of(kept: &Kept, id: &str) -> Value {
    let events = kept.events();
    let mut decisions = events.iter().filter(|event| event.kind() == EventKind::DecisionMade).map(json_of);
    decisions.find(|decision| decision["id"] == id).expect("a decision")["execution"].clone()
}

pub(crate) fn check(closed: &Kept, it: &Forgery) {
    let story = it.story;
    let (forged, seq) = forge(closed, it.kind, it.id, &it.fields);
    let mut expected: Vec<&str> = match it.named {
        Some(named) => named.to_vec(),
        None => it.fields.iter().map(|(field, _)| *field).collect(),
    };
    expected.sort_unstable();

    let report = forged.verified();
    assert_eq!((report.ok, report.broken), (true, None), "{story}: the forgery is not good enough");
    let replayed = forged.replayed();
    assert!(!replayed.verified.ok, "{story}");
    let divergence = replayed.divergence.unwrap_or_else(|| panic!("{story}: replay saw nothing"));
    let fields: Vec<&str> = divergence.fields.iter().map(|it| it.field.as_str()).collect();
    assert_eq!((divergence.seq, divergence.kind, fields), (seq, it.kind.as_str(), expected.clone()), "{story}");
    if it.named.is_none() {
        for (field, forged) in &it.fields {
            let side = divergence.fields.iter().find(|it| it.field == *field).expect("named above");
            assert!(side.recorded == *forged && side.derived != *forged, "{story}: {field}: both sides are shown");
        }
    }

    // The program says the same.
    let (exit, said) = forged.run("verify", &[]);
    assert_eq!((exit, &said["ok"]), (Some(0), &json!(true)), "{story}: {said}");
    let (exit, said) = forged.run("replay", &[]);
    assert_eq!((exit, &said["ok"], &said["divergence"]["seq"]), (Some(1), &json!(false), &json!(seq)), "{story}");
    let fields = said["divergence"]["fields"].as_array().expect("fields");
    let fields: Vec<&str> = fields.iter().filter_map(|it| it["field"].as_str()).collect();
    assert_eq!(fields, expected, "{story}");
}

#[test]
fn verification_passes_and_replay_names_what_was_forged() {
    let closed = Kept::closed();
    for forgery in forgeries(&closed) {
        check(&closed, &forgery);
    }
}

/// A ledger that its owner wrote on, and sealed: the events of each row, one batch.
/// What a receipt charges may stand in its output: a short one must be in the log, where everybody finds it.
#[test]
fn an_output_is_where_its_length_says() {
    let closed = Kept::closed();
    let content = ContentStore::at(closed.folder.content());
    for id in ["note-2", "long"] {
        let (mut place, mut moved) = (None, None);
        let copy = rewritten(&closed, &mut |_, seq, event| {
            let Event::ReceiptIssued(issued) = event else { return };
            let (receipt, output) = (issued.receipt.value(), &mut issued.output);
            if receipt.id.as_str() == id {
                let digest = receipt.output.expect("an output");
                place = Some(seq);
                match output.take() {
                    Some(short) => moved = Some((digest, short)),
                    None => *output = Some(content.get(&digest).expect("it was kept")),
                }
            }
        });
        if let Some((digest, short)) = &moved {
            ContentStore::at(copy.folder.content()).put(digest, short).expect("it can be kept");
        }
        match copy.verified().broken {
            Some(broken) => {
                assert_eq!((id, broken.seq, broken.code), ("note-2", place, Code::LogDamaged));
                let why = "a short output that is not beside its receipt";
                assert!(broken.what.contains(why), "{}", broken.what);
            }
            // Who reports an output has it there, and whether one was reported only replay knows.
            None => {
                let divergence = copy.replayed().divergence.expect("it is noticed");
                assert_eq!((id, Some(divergence.seq)), ("long", place));
                assert_eq!(divergence.fields.first().map(|it| it.field.as_str()), Some("output"));
            }
        }
    }
}

#[test]
fn verification_passes_and_replay_names_what_no_writer_adds() {
    let closed = Kept::closed();
    let kafka = |offset| Source::Kafka { partition: partition(), offset };
    let refused = |offset| {
        let refusal = Refusal::new(Code::Envelope, "not one");
        Event::RecordRefused(RecordRefused::new(kafka(offset), refusal, b"x", None))
    };
    let again = match admitted("again") {
        Event::IntentAdmitted(admitted) => Event::IntentAdmitted(IntentAdmitted { source: kafka(2), ..admitted }),
        other => other,
    };
    let gap = Event::SourceGap(SourceGap { partition: partition(), expected: 5, found: 4 });
    let rows = [
        ("a log that ends in an intent", vec![admitted("last")], "decision"),
        ("a position that falls", vec![advanced(5), advanced(3)], "next"),
        ("a position that stays", vec![advanced(5), advanced(5)], "next"),
        ("no position", vec![Event::SourceAdvanced(Vec::new())], "positions"),
        ("a gap that goes back", vec![advanced(5), gap], "found"),
        ("a refused record that was read before", vec![refused(7), refused(7)], "source"),
        ("an intent that was read before", vec![advanced(3), again], "source"),
    ];
    let key = closed.folder.read_key(KeyRole::Checkpoint).expect("a key");
    for (story, events, field) in rows {
        let longer = appended(&closed, NOW.plus(HOUR / 2), &[events]);
        let mut head = Head::default();
        longer.entries().iter().for_each(|located| head.push(&located.entry.header));
        std::fs::write(longer.latest(), head.checkpoint(&closed.genesis().origin).sign(&key)).expect("writes");
        let report = longer.verified();
        assert_eq!((report.ok, report.broken), (true, None), "{story}: the forgery is not good enough");
        let replayed = longer.replayed();
        let divergence = replayed.divergence.unwrap_or_else(|| panic!("{story}: replay saw nothing"));
        let fields: Vec<&str> = divergence.fields.iter().map(|it| it.field.as_str()).collect();
        assert_eq!((divergence.seq, fields), (Seq(report.entries - 1), vec![field]), "{story}");
        assert_eq!(replayed.verified.broken.map(|broken| broken.code), Some(Code::ReplayDiverged), "{story}");
    }
}

/// A forger that changes nothing makes the very ledger again, so what replay finds above is the one change and not the
/// forger's hand.
#[test]
fn a_forger_that_changes_nothing_makes_the_same_ledger() {
    let closed = Kept::closed();
    let (same, _) = forge(&closed, EventKind::StateHashed, "", &[]);
    let entries = |kept: &Kept| -> Vec<Entry> { kept.entries().into_iter().map(|located| located.entry).collect() };
    assert_eq!(entries(&same), entries(&closed));
    assert_eq!((same.verified(), same.replayed()), (closed.verified(), closed.replayed()));
    assert_eq!(std::fs::read(same.latest()).expect("reads"), std::fs::read(closed.latest()).expect("reads"));
}

#[test]
fn views_that_were_deleted_come_back_equal() {
    let closed = Kept::closed();
    let derived = closed.replayed().views;
    assert_eq!(derived.len(), 2);
    let digests = || {
        let mut views =
            Views::open(&closed.folder, writ_log::Reader::open(closed.folder.log()).expect("a log")).expect("opens");
        views.catch_up(None).expect("follows");
        views.digests().expect("digests")
    };
    assert_eq!(digests(), derived);
    assert_eq!(digests(), derived, "opened again");
    std::fs::remove_dir_all(closed.folder.views()).expect("removes");
    assert_eq!(digests(), derived, "deleted and opened again");
}

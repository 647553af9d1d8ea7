//! Administrative acts as files, on a ledger that three operators administer, two at a time.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use writ_schemas::act::{Act, Statement};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::ids::{LedgerId, UnixMicros};
use writ_schemas::keys::SecretKey;

use crate::scene::{Run, Scene, Served, holds, hours_ahead, init, note, writ, writ_reading};

const OPERATORS: [&str; 3] = ["ann", "bob", "eve"];

/// A ledger whose operators keep their keys beside it.
struct Shared {
    scene: Scene,
}

impl Shared {
    fn new() -> Shared {
        let shared = Shared { scene: Scene::bare() };
        OPERATORS.iter().chain(&["stranger"]).for_each(|name| drop(writ(["key", "new", &shared.key(name)]).ended(0)));
        let keys = OPERATORS.map(|name| shared.key(name));
        let keys = keys.iter().flat_map(|key| ["--operator-key", key]);
        writ(init(shared.data()).into_iter().chain(["--quorum", "2"]).chain(keys)).ended(0);
        shared
    }

    fn data(&self) -> &str {
        self.scene.data()
    }

    fn path(&self, name: &str) -> String {
        self.scene.dir.path().join(name).to_string_lossy().into_owned()
    }

    fn key(&self, name: &str) -> String {
        self.path(&format!("{name}.key"))
    }

    fn secret(&self, name: &str) -> SecretKey {
        writ::keyfile::read(Path::new(&self.key(name)), || Ok(None)).expect("a key")
    }

    /// A new act, signed by these.
    fn act(&self, name: &str, statement: &[&str], signers: &[&str]) -> String {
        let file = self.path(name);
        let place = ["--data", self.data(), "--out", &file];
        writ(["act", "new"].iter().chain(statement).chain(&place)).ended(0);
        signers.iter().for_each(|signer| drop(self.sign(&file, signer).ended(0)));
        file
    }

    /// The same through the library: of any ledger, with any expiry.
    fn made(&self, name: &str, ledger: LedgerId, expires_at: UnixMicros, signers: &[&str]) -> String {
        let nonce = name.parse().expect("a name");
        let mut act = Signed::unsigned(Act {
            ledger,
            nonce,
            expires_at,
            statement: Statement::Thaw { principal: None, tenant: None },
        })
        .expect("JSON");
        signers.iter().for_each(|signer| act.add_signature(&self.secret(signer)));
        self.scene.file(name, act.to_envelope())
    }

    fn sign(&self, file: &str, signer: &str) -> Run {
        writ(["act", "sign", file, "--key", &self.key(signer)])
    }

    fn submit(&self, file: &str) -> Run {
        writ(["act", "submit", "--data", self.data(), file])
    }

    fn ask(&self, id: &str) -> Run {
        self.scene.submit(note(id).to_string().as_bytes(), &["--json"])
    }

    fn entries(&self) -> u64 {
        writ(["verify", "--json", "--data", self.data()]).ended(0).json()["entries"].as_u64().expect("a count")
    }
}

#[track_caller]
fn refused(run: Run, code: Code, why: &str) {
    let entry = code.entry();
    let run = run.ended(i32::from(entry.exit));
    let told = [entry.code, entry.remedy, why].iter().all(|it| run.err.contains(it));
    assert!(told && !run.err.contains("panicked"), "{code}, {why:?} is not told: {}", run.err);
}

fn edited(file: &str, edit: impl FnOnce(&mut Value)) {
    let mut envelope = serde_json::from_slice(&fs::read(file).expect("reads")).expect("JSON");
    edit(&mut envelope);
    fs::write(file, envelope.to_string()).expect("writes");
}

#[test]
fn two_of_three_administer_and_the_ledger_verifies() {
    let shared = Shared::new();
    let keys = OPERATORS.map(|name| shared.secret(name).id());
    let genesis = writ::ledger::genesis(&writ::folder::Folder::at(shared.data())).expect("a genesis");
    assert_eq!((genesis.operators, genesis.quorum), (keys.to_vec(), 2));
    assert!(!shared.scene.inside("keys/operator.key").exists(), "no operator's key is made");
    shared.ask("first").ended(0);

    for pair in [["ann", "bob"], ["eve", "ann"], ["bob", "eve"]] {
        let [freeze, thaw] = ["freeze", "thaw"].map(|kind| format!("{kind}-{}.json", pair.concat()));
        let freeze = shared.act(&freeze, &["freeze", "--reason", "an exercise"], &pair);
        assert_eq!(shared.submit(&freeze).ended(0).json()["answer"], "recorded");
        let run = shared.ask(&format!("frozen-{}", pair.concat())).ended(1);
        assert_eq!(
            run.json()["decision"]["payload"]["code"].as_str().or(run.json()["code"].as_str()),
            Some("ERR_FROZEN")
        );
        let thaw = shared.act(&thaw, &["thaw"], &pair);
        shared.submit(&thaw).ended(0);
    }
    // All three, and in the process that serves it.
    let served = Served::new(&shared.scene);
    let all = shared.act("all.json", &["thaw"], &OPERATORS);
    assert_eq!(shared.submit(&all).ended(0).json()["answer"], "recorded");
    served.stop();
    for operator in keys {
        let pinned = shared.scene.file("operator.pub", operator.to_string());
        writ(["verify", "--data", shared.data(), "--public-key", &pinned]).ended(0);
    }
    holds(shared.data());
}

#[test]
fn below_quorum_nothing_is_recorded() {
    let shared = Shared::new();
    let before = shared.entries();
    let (below, unsigned) = (|n: u64| format!("signed by {n} of 3 operators, 2 needed"), "it is not signed");

    let act = shared.act("act.json", &["freeze", "--reason", "r"], &[]);
    refused(shared.submit(&act), Code::SignatureInvalid, unsigned);
    shared.sign(&act, "ann").ended(0);
    refused(shared.submit(&act), Code::ActRefused, &below(1));
    refused(shared.sign(&act, "ann"), Code::ActSigned, &shared.secret("ann").id().to_string());
    refused(shared.submit(&act), Code::ActRefused, &below(1));
    // A stranger may sign, and counts for nothing.
    shared.sign(&act, "stranger").ended(0);
    refused(shared.submit(&act), Code::ActRefused, &below(1));
    let strangers = shared.act("strangers.json", &["thaw"], &["stranger"]);
    refused(shared.submit(&strangers), Code::ActRefused, &below(0));
    assert_eq!(shared.entries(), before);

    shared.sign(&act, "eve").ended(0);
    assert_eq!(shared.submit(&act).ended(0).json()["answer"], "recorded");
    assert_eq!(shared.entries(), before + 1);
}

#[test]
fn one_key_twice_is_refused_by_name() {
    let shared = Shared::new();
    let before = shared.entries();
    let act = shared.act("act.json", &["thaw"], &["ann"]);
    edited(&act, |envelope| {
        let one = envelope["signatures"][0].clone();
        envelope["signatures"].as_array_mut().expect("a list").push(one);
    });
    let twice = format!("the signature by {} stands twice", shared.secret("ann").id());
    refused(shared.submit(&act), Code::SignatureInvalid, &twice);
    refused(shared.sign(&act, "bob"), Code::SignatureInvalid, &twice);
    refused(writ(["act", "show", &act]), Code::SignatureInvalid, &twice);
    assert_eq!(shared.entries(), before);
}

#[test]
fn what_was_altered_after_signing_is_refused_and_names_whose_signature_does_not_fit() {
    let shared = Shared::new();
    let before = shared.entries();
    let unfit = |name: &str| format!("the signature by {} does not fit", shared.secret(name).id());

    let act = shared.act("payload.json", &["freeze", "--reason", "good"], &["ann", "bob"]);
    edited(&act, |envelope| {
        let payload = STANDARD.decode(envelope["payload"].as_str().expect("text")).expect("base64");
        let text = String::from_utf8(payload).expect("UTF-8").replace("good", "evil");
        envelope["payload"] = json!(STANDARD.encode(text));
    });
    refused(shared.submit(&act), Code::SignatureInvalid, &unfit("ann"));
    refused(shared.sign(&act, "eve"), Code::SignatureInvalid, &unfit("ann"));

    // Bob's signature under eve's name.
    let act = shared.act("name.json", &["thaw"], &["ann", "bob"]);
    edited(&act, |envelope| envelope["signatures"][1]["keyid"] = json!(shared.secret("eve").id()));
    refused(shared.submit(&act), Code::SignatureInvalid, &unfit("eve"));

    // A signature over another act.
    let other = shared.act("other.json", &["thaw"], &["ann", "bob"]);
    let act = shared.act("mixed.json", &["thaw"], &["ann"]);
    let stolen: Value = serde_json::from_slice(&fs::read(other).expect("reads")).expect("JSON");
    edited(&act, |envelope| {
        envelope["signatures"].as_array_mut().expect("a list").push(stolen["signatures"][1].clone());
    });
    refused(shared.submit(&act), Code::SignatureInvalid, &unfit("bob"));
    assert_eq!(shared.entries(), before);
}

#[test]
fn an_act_holds_for_its_time_its_ledger_and_once() {
    let shared = Shared::new();
    let (before, ledger) = (shared.entries(), shared.scene.ledger());
    let both = ["ann", "bob"];

    let expired = shared.made("expired", ledger, hours_ahead(-1), &both);
    refused(shared.submit(&expired), Code::ActRefused, "expired");
    refused(shared.sign(&expired, "eve"), Code::ActRefused, "expired");
    let far = shared.made("far", ledger, hours_ahead(8 * 24), &both);
    refused(shared.submit(&far), Code::ActRefused, "7 days");
    let foreign = shared.made("foreign", LedgerId([7; 16]), hours_ahead(1), &both);
    refused(shared.submit(&foreign), Code::LedgerMismatch, "0707");
    // Another ledger of the same operators.
    let other = Shared { scene: Scene::bare() };
    let keys = OPERATORS.map(|name| shared.key(name));
    let keys = keys.iter().flat_map(|key| ["--operator-key", key]);
    writ(init(other.data()).into_iter().chain(["--quorum", "2"]).chain(keys)).ended(0);
    let theirs = shared.made("theirs", other.scene.ledger(), hours_ahead(1), &both);
    refused(shared.submit(&theirs), Code::LedgerMismatch, &other.scene.ledger().to_string());
    assert_eq!(other.submit(&theirs).ended(0).json()["answer"], "recorded");
    assert_eq!(shared.entries(), before);

    // Once: also with other signatures, and with more.
    let act = shared.act("act.json", &["freeze", "--reason", "r"], &both);
    assert_eq!(shared.submit(&act).ended(0).json()["answer"], "recorded");
    assert_eq!(shared.submit(&act).ended(0).json()["answer"], "already");
    shared.sign(&act, "eve").ended(0);
    assert_eq!(shared.submit(&act).ended(0).json()["answer"], "already");
    edited(&act, |envelope| drop(envelope["signatures"].as_array_mut().expect("a list").remove(0)));
    assert_eq!(shared.submit(&act).ended(0).json()["answer"], "already");
    assert_eq!(shared.entries(), before + 1);
}

/// Every statement there is can be written down, says in words what it is, and is recorded or refused for what it states.
#[test]
fn each_statement_can_be_written_down_and_says_what_it_is() {
    let shared = Shared::new();
    let (key, digest) = (shared.secret("stranger").id().to_string(), format!("blake3:{}", "0".repeat(64)));
    let policy = shared.scene.inside("policy").to_string_lossy().into_owned();
    let bind = json!({"kind": "bind_partitions", "cluster": "c", "topic": "t", "topic_id": "i", "partitions": 3});
    let bind = shared.scene.file("bind.json", bind.to_string());
    let trust = ["trust-key", &key, "--tenant", "acme", "--principal", "agent-2", "--role", "agent"];
    let rows: [(&[&str], &str, Option<Code>); 7] = [
        (&trust, "is trusted for tenant acme, principal agent-2, as agent", None),
        (&["revoke-key", &key], "is trusted no more", None),
        (&["activate-policy", &policy], "is in force", None),
        (&["reconcile", &digest, "--not-applied"], "did not happen", Some(Code::ReceiptUnknown)),
        (&["freeze", "--reason", "a\u{1b}[2Jb"], r#"because "a\u{1b}[2Jb""#, None),
        (&["thaw"], "the freeze ends", None),
        (&["statement", &bind], "partitions 0 to 3 (not included)", None),
    ];
    for (at, (statement, words, code)) in rows.into_iter().enumerate() {
        let act = shared.act(&format!("act-{at}.json"), statement, &["ann"]);
        let signing = shared.sign(&act, "bob").ended(0);
        let shown = writ(["act", "show", "--data", shared.data(), &act]).ended(0);
        for told in [&signing.out, &shown.out] {
            assert!(told.contains(words), "{statement:?}: {told}");
            assert!(!told.contains('\u{1b}'), "{statement:?}: {told:?}");
        }
        assert!(shown.out.contains("operators 2 of 3 have signed, 2 needed"), "{}", shown.out);
        match code {
            None => assert_eq!(shared.submit(&act).ended(0).json()["answer"], "recorded", "{statement:?}"),
            Some(code) => refused(shared.submit(&act), code, "is not an uncertain receipt"),
        }
    }
    holds(shared.data());
}

#[test]
fn what_is_no_statement_is_refused_before_anybody_signs() {
    let shared = Shared::new();
    let out = shared.path("never.json");
    let rows: [(&[u8], Code); 6] = [
        (b"{\"kind\":\"rob\"}", Code::Schema),
        (b"{\"kind\":\"thaw\",\"really\":true}", Code::Schema),
        (b"{\"kind\":\"thaw\",\"kind\":\"thaw\"}", Code::JsonDuplicateKey),
        (b"{\"kind\":\"thaw\"", Code::JsonSyntax),
        (b"\xff", Code::JsonUtf8),
        (&[b' '; (1 << 20) + 1], Code::TooLarge),
    ];
    for (statement, code) in rows {
        let args = ["act", "new", "statement", "-", "--data", shared.data(), "--out", &out];
        refused(writ_reading(statement, args), code, "");
    }
    let bundle = shared.scene.policy("{}");
    refused(
        writ(["act", "new", "activate-policy", &bundle, "--data", shared.data(), "--out", &out]),
        Code::PolicyInvalid,
        "",
    );
    assert!(!Path::new(&out).exists());

    // An act that is there is not written over: others may have signed it.
    let act = shared.act("act.json", &["thaw"], &["ann"]);
    refused(writ(["act", "new", "thaw", "--data", shared.data(), "--out", &act]), Code::LogExists, &act);
    refused(writ(["act", "sign", "/nowhere/act.json", "--key", &shared.key("ann")]), Code::InputFile, "/nowhere");
    refused(writ(["act", "sign", "-", "--key", &shared.key("ann")]), Code::Usage, "no file to sign");
    refused(writ(["act", "sign", &act]), Code::Usage, "");
    refused(writ(["act", "sign", &act, "--data", shared.data()]), Code::KeyFile, "operator.key");
    refused(shared.sign(&shared.scene.file("garbage.json", "{}"), "ann"), Code::Envelope, "garbage.json");
}

#[test]
fn where_one_operator_is_not_enough_the_short_commands_say_what_is() {
    let shared = Shared::new();
    let before = shared.entries();
    let (key, digest) = (shared.secret("stranger").id().to_string(), format!("blake3:{}", "0".repeat(64)));
    let policy = shared.scene.inside("policy").to_string_lossy().into_owned();
    let out = shared.path("never.json");
    let rows: [&[&str]; 7] = [
        &["freeze", "--reason", "r"],
        &["thaw"],
        &["reconcile", &digest, "--applied"],
        &["key", "trust", &key, "--tenant", "acme", "--principal", "p"],
        &["key", "revoke", &key],
        &["policy", "activate", &policy],
        &["policy", "sign", &policy, "--out", &out],
    ];
    for command in rows {
        let run = writ(command.iter().chain(&["--data", shared.data()]));
        refused(
            run,
            Code::ActRefused,
            "2 of this ledger's 3 operators have to sign: write it down with `writ act new`",
        );
    }
    assert_eq!(shared.entries(), before);
}

/// One operator is a quorum of one: the same files serve, and so does the folder's own key.
#[test]
fn one_operator_signs_acts_as_files_too() {
    let scene = Scene::new();
    let act = scene.dir.path().join("act.json").to_string_lossy().into_owned();
    writ(["act", "new", "freeze", "--reason", "r", "--data", scene.data(), "--out", &act]).ended(0);
    writ(["act", "sign", &act, "--data", scene.data()]).ended(0);
    assert_eq!(writ(["act", "submit", "--data", scene.data(), &act]).ended(0).json()["answer"], "recorded");
    writ(["thaw", "--data", scene.data()]).ended(0);
    holds(scene.data());
}

#[test]
fn a_quorum_that_cannot_be_is_refused_and_leaves_nothing() {
    let scene = Scene::bare();
    let path = |name: &str| scene.dir.path().join(name).to_string_lossy().into_owned();
    let keys: Vec<String> = (0..16).map(|n| path(&format!("{n}.key"))).collect();
    keys.iter().for_each(|key| drop(writ(["key", "new", key]).ended(0)));
    let init = |keys: &[&String], more: &[&str]| {
        let keys = keys.iter().flat_map(|key| ["--operator-key", key.as_str()]);
        writ(init(scene.data()).into_iter().chain(keys).chain(more.iter().copied()))
    };
    let all: Vec<&String> = keys.iter().collect();
    refused(init(&all[..2], &[]), Code::Usage, "--quorum");
    refused(init(&all[..2], &["--quorum", "0"]), Code::Usage, "a quorum of 0 of 2 operators");
    refused(init(&all[..2], &["--quorum", "3"]), Code::Usage, "a quorum of 3 of 2 operators");
    refused(init(&[all[0], all[0]], &["--quorum", "2"]), Code::Usage, "twice");
    refused(init(&all, &["--quorum", "2"]), Code::Usage, "at most 15");
    refused(init(&[], &["--quorum", "1"]), Code::Usage, "");
    refused(init(&[&path("none.key")], &[]), Code::KeyFile, "none.key");
    assert!(!Path::new(scene.data()).exists());

    init(&all[..15], &["--quorum", "15"]).ended(0);
    holds(scene.data());
}

//! The decision key is handed on: what was signed before stays checkable, what comes after is signed by the new key, and nobody
//! hands it on alone.

use serde_json::{Value, json};

use writ_schemas::act::{Act, Statement};
use writ_schemas::dsse::Signed;
use writ_schemas::keys::SecretKey;

use crate::scene::{Scene, Served, holds, hours_ahead, note, writ, writ_reading};

/// Who signed the decision of an id.
fn signer(scene: &Scene, id: &str) -> String {
    let case = writ(["show", "--json", "--data", scene.data(), "acme", id]).ended(0).json();
    let envelope = case["decision"]["event"]["envelope"].as_str().expect("an envelope").to_owned();
    let envelope: Value = serde_json::from_str(&envelope).expect("JSON");
    envelope["signatures"][0]["keyid"].as_str().expect("a key").to_owned()
}

fn submit_note(scene: &Scene, id: &str) {
    scene.submit(note(id).to_string().as_bytes(), &[]).ended(0);
}

#[test]
fn a_new_key_signs_from_the_next_entry_on() {
    let scene = Scene::new();
    let first = signer(&scene, "n-1");
    writ(["key", "rotate", "--data", scene.data()]).ended(0);
    submit_note(&scene, "after-1");
    let second = signer(&scene, "after-1");
    assert_ne!(first, second);
    holds(scene.data());

    // The first key is not needed any more; the second can be handed on as well, also while the ledger is served.
    std::fs::remove_file(scene.inside("keys/decision.key")).expect("it was there");
    let served = Served::new(&scene);
    submit_note(&scene, "after-2");
    writ(["key", "rotate", "--data", scene.data()]).ended(0);
    submit_note(&scene, "after-3");
    served.stop();
    let third = signer(&scene, "after-3");
    assert_eq!((signer(&scene, "after-2"), signer(&scene, "n-1")), (second.clone(), first));
    assert!(third != second);
    submit_note(&scene, "after-4");
    assert_eq!(signer(&scene, "after-4"), third);
    holds(scene.data());

    // Without the key that signs now, nothing starts.
    let file = format!("keys/decision-{}.key", third.trim_start_matches("ed25519:"));
    std::fs::remove_file(scene.inside(&file)).expect("it was there");
    let refused = scene.submit(note("after-5").to_string().as_bytes(), &[]).ended(2);
    assert!(refused.err.contains("ERR_KEY_FILE"), "{}", refused.err);
    holds(scene.data());
}

#[test]
fn operators_the_old_key_and_the_new_one_hand_it_on_together() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    let new = SecretKey::from_seed(&[77; 32]);
    let (operator, old) = (scene.key("operator.key"), scene.key("decision.key"));
    let post = |key: &SecretKey, by: &[&SecretKey]| {
        let act = Act {
            ledger: scene.ledger(),
            nonce: "n-1".parse().expect("a name"),
            expires_at: hours_ahead(1),
            statement: Statement::RotateDecisionKey { key: key.id() },
        };
        let act = by.iter().fold(Signed::unsigned(act).expect("JSON"), |act, key| act.sign(key));
        let (_, body) = Served::ask_socket(&scene, "POST", "/v1/acts", "application/json", &act.to_envelope());
        let body: Value = serde_json::from_str(&body).expect("JSON");
        body["code"].as_str().or(body["answer"].as_str()).expect("an answer").to_owned()
    };
    let refused = "ERR_ACT_REFUSED";
    assert_eq!(post(&new, &[&operator]), refused);
    assert_eq!(post(&new, &[&operator, &old]), refused);
    assert_eq!(post(&new, &[&operator, &new]), refused);
    assert_eq!(post(&new, &[&old, &new]), refused);
    for used in ["producer.key", "checkpoint.key", "operator.key", "decision.key"] {
        let used = scene.key(used);
        assert_eq!(post(&used, &[&operator, &old, &used]), refused, "a key of another use");
    }
    served.stop();
    holds(scene.data());
    let two = writ(["log", "show", "--json", "--data", scene.data()]).ended(0).lines();
    assert!(two.iter().all(|entry| entry["kind"] != json!("LedgerKeyRotated")));
}

/// An act after which nobody here could sign is not recorded, and whoever serves goes on.
#[test]
fn what_nobody_could_sign_after_is_refused() {
    let scene = Scene::new();
    let secret = scene.file("passphrase", "correct horse\n");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("permissions");
    let first = signer(&scene, "n-1");
    let sealed = ["key", "rotate", "--data", scene.data(), "--passphrase-file", &secret];
    let refused = writ(sealed).ended(2);
    assert!(refused.err.contains("ERR_KEY_FILE"), "{}", refused.err);

    // A key that is nowhere, or whose file is not where it is looked for, in a process that goes on.
    let served = Served::new(&scene);
    let key = scene.dir.path().join("new.key").to_string_lossy().into_owned();
    let new = writ(["key", "new", &key]).ended(0).out.trim().to_owned();
    let act = scene.dir.path().join("act.json").to_string_lossy().into_owned();
    let statement = json!({"kind": "rotate_decision_key", "key": new});
    writ_reading(
        statement.to_string().as_bytes(),
        ["act", "new", "statement", "-", "--data", scene.data(), "--out", &act],
    )
    .ended(0);
    let (operator, old) = (scene.inside("keys/operator.key"), scene.inside("keys/decision.key"));
    for by in [&*operator.to_string_lossy(), &*old.to_string_lossy(), &key] {
        writ(["act", "sign", &act, "--key", by]).ended(0);
    }
    let submit = || writ(["act", "submit", "--data", scene.data(), &act]);
    let refused = submit().ended(2);
    assert!(refused.err.contains("ERR_KEY_FILE"), "{}", refused.err);
    submit_note(&scene, "meanwhile");
    assert_eq!(signer(&scene, "meanwhile"), first);

    // With the file in its place the very same act is taken.
    let file = format!("keys/decision-{}.key", new.trim_start_matches("ed25519:"));
    std::fs::copy(&key, scene.inside(&file)).expect("copies");
    submit().ended(0);
    submit_note(&scene, "after");
    assert_eq!(signer(&scene, "after"), new);
    served.stop();
    holds(scene.data());
}

#[test]
fn a_key_that_was_handed_on_does_not_come_back_and_nobody_else_uses_it() {
    let scene = Scene::new();
    let refused = |statement: Value, by: &[&SecretKey]| {
        let statement: Statement = serde_json::from_value(statement).expect("a statement");
        let (nonce, expires_at) = ("n-1".parse().expect("a name"), hours_ahead(1));
        let act = Act { ledger: scene.ledger(), nonce, expires_at, statement };
        let act = by.iter().fold(Signed::unsigned(act).expect("JSON"), |act, key| act.sign(key));
        let file = scene.file("act.json", act.to_envelope());
        let run = writ(["act", "submit", "--data", scene.data(), &file]).ended(1);
        assert!(run.err.contains("ERR_ACT_REFUSED"), "{}", run.err);
    };
    let (operator, zero) = (scene.key("operator.key"), scene.key("decision.key"));
    let rotated = || {
        writ(["key", "rotate", "--data", scene.data()]).ended(0);
        let id = format!("by-{}", writ(["log", "show", "--json", "--data", scene.data()]).ended(0).lines().len());
        submit_note(&scene, &id);
        let key = signer(&scene, &id);
        scene.key(&format!("decision-{}.key", key.trim_start_matches("ed25519:")))
    };
    let (one, two) = (rotated(), rotated());
    for (back, name) in [(&zero, "genesis'"), (&one, "a later one")] {
        let file = format!("keys/decision-{}.key", back.id().to_string().trim_start_matches("ed25519:"));
        let _ = std::fs::copy(scene.inside("keys/decision.key"), scene.inside(&file));
        refused(json!({"kind": "rotate_decision_key", "key": back.id()}), &[&operator, &two, back]);
        let trust = json!({"kind": "trust_key", "key": back.id(), "tenant": "acme", "principal": name.replace([' ', '\''], "-"), "roles": []});
        refused(trust, &[&operator]);
    }
    holds(scene.data());
}

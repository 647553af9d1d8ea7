//! Keys that are not there, or do not sign.

use std::fs;

use writ_schemas::errors::Code;

use super::told;
use crate::scene::{Scene, holds, note, writ};
use crate::signer::Away;

#[test]
fn no_signing_key_is_an_error_at_start_and_at_export() {
    let scene = Scene::new();
    let policy = scene.inside("policy").to_string_lossy().into_owned();
    let out = scene.dir.path().join("act.json").to_string_lossy().into_owned();
    let entries = || writ(["verify", "--json", "--data", scene.data()]).ended(0).json()["entries"].clone();
    let before = entries();
    let data = scene.data();
    let line = scene.file("one.jsonl", note("late").to_string());
    let start: [&[&str]; 2] = [&["serve", "--data", data], &["submit", "--json", "--data", data, &line]];
    let sign: [&[&str]; 2] =
        [&["policy", "sign", "--data", data, &policy, "--out", &out], &["freeze", "--data", data, "--reason", "r"]];
    let evidence: [&[&str]; 1] = [&["evidence", "add", "--data", data, "--tenant", "acme", "--kind", "ticket"]];
    let rows = [
        ("decision.key", &start[..]),
        ("checkpoint.key", &start[..]),
        ("producer.key", &start[1..]),
        ("operator.key", &sign[..]),
        ("approver.key", &evidence[..]),
    ];
    let aside = scene.dir.path().join("aside");
    for (key, commands) in rows {
        fs::rename(scene.inside("keys").join(key), &aside).expect("renames");
        for command in commands {
            let run = writ(command.iter());
            told(&run, Code::KeyFile);
            assert!(run.out.is_empty() && run.err.contains(key), "{command:?}: {run:?}");
        }
        fs::rename(&aside, scene.inside("keys").join(key)).expect("renames");
    }
    assert!(!fs::exists(&out).expect("looks"), "nothing was exported");
    assert_eq!(entries(), before, "nothing was written");
    writ(start[1].iter()).ended(0);
}

/// The effect was under way; nobody signs for what became of it. The process ends, and at the next opening it is uncertain.
#[test]
fn a_receipt_that_cannot_be_signed_is_an_error_and_nothing_goes_on_as_if_it_were() {
    for fault in ["dies", "flipped", "garbage"] {
        let away = Away::new();
        // One answer to the probe, one for the decision, none for the receipt.
        away.spoilt("decision", fault, 2);
        let run = away.submit("p-1");
        told(&run, Code::SignerFailed);
        let shown = || writ(["show", "--json", "--data", away.scene.data(), "acme", "p-1"]).ended(0).json();
        assert_eq!(shown()["receipts"].as_array().map(Vec::len), Some(0), "{fault}: no receipt is in the log");
        away.verified();
        away.signed_by(&[]);
        away.submit("p-2").ended(0);
        assert_eq!(shown()["receipts"][0]["event"]["payload"]["code"], Code::Interrupted.as_str(), "{fault}");
        holds(away.scene.data());
    }
}

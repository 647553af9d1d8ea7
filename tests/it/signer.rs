//! Ledgers whose keys lie with a command: it signs, it fails, it lies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};
use writ_schemas::errors::Code;

use crate::scene::{Run, Scene, Served, WRIT, finish, holds, note, signed, writ};

/// The program of `signer/faulty.rs`, compiled once.
fn faulty() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let beside = Path::new(env!("CARGO")).with_file_name("rustc");
        let rustc = if beside.exists() { beside } else { PathBuf::from("rustc") };
        let (source, folder) = (Path::new(env!("CARGO_MANIFEST_DIR")), Path::new(env!("CARGO_TARGET_TMPDIR")));
        let (program, unfinished) =
            (folder.join("faulty-signer"), folder.join(format!("faulty-signer-{}", std::process::id())));
        let mut compile = Command::new(rustc);
        compile.args(["--edition", "2024", "-o"]).arg(&unfinished).arg(source.join("tests/it/signer/faulty.rs"));
        finish(&mut compile, b"").ended(0);
        fs::rename(unfinished, &program).expect("renames");
        program.to_string_lossy().into_owned()
    })
}

/// A ledger whose own keys lie outside of its folder.
pub(crate) struct Away {
    pub(crate) scene: Scene,
}

const ROLES: [&str; 3] = ["decision", "checkpoint", "operator"];

impl Away {
    pub(crate) fn new() -> Away {
        let scene = Scene::new();
        fs::create_dir(scene.dir.path().join("vault")).expect("a folder");
        for role in ROLES {
            let file = format!("{role}.key");
            fs::rename(scene.inside("keys").join(&file), scene.dir.path().join("vault").join(&file)).expect("moves");
        }
        let away = Away { scene };
        away.signed_by(&[]);
        away
    }

    fn key(&self, role: &str) -> String {
        self.scene.dir.path().join("vault").join(format!("{role}.key")).to_string_lossy().into_owned()
    }

    fn good(&self, role: &str) -> Vec<String> {
        [WRIT, "key", "signer", &self.key(role)].map(str::to_owned).to_vec()
    }

    /// Good signers, but for these.
    pub(crate) fn signed_by(&self, others: &[(&str, Vec<String>)]) {
        let mut text = "[signer]\ntimeout_ms = 60000\n".to_owned();
        for role in ROLES {
            let other = others.iter().find(|(of, _)| *of == role).map(|(_, command)| command.clone());
            text += &format!("{role} = {}\n", json!(other.unwrap_or_else(|| self.good(role))));
        }
        self.scene.configure(&text);
    }

    /// The signer of this role goes wrong after so many answers, the first of which is to the probe.
    pub(crate) fn spoilt(&self, role: &'static str, fault: &str, good: usize) {
        let command = [faulty(), fault, &good.to_string(), WRIT, &self.key(role)].map(str::to_owned).to_vec();
        self.signed_by(&[(role, command)]);
        if matches!(fault, "silent" | "deaf") {
            let path = self.scene.inside("writ.toml");
            let text = fs::read_to_string(&path).expect("reads").replace("= 60000", "= 300");
            fs::write(path, text).expect("writes");
        }
    }

    pub(crate) fn submit(&self, id: &str) -> Run {
        self.scene.submit(note(id).to_string().as_bytes(), &["--json"])
    }

    #[track_caller]
    pub(crate) fn verified(&self) -> Value {
        writ(["verify", "--json", "--data", self.scene.data()]).ended(0).json()
    }
}

#[track_caller]
fn failed(run: Run, why: &str) {
    let entry = Code::SignerFailed.entry();
    let run = run.ended(i32::from(entry.exit));
    let told = [entry.code, entry.remedy, why].iter().all(|it| run.err.contains(it));
    assert!(told && !run.err.contains("panicked"), "{why:?} is not told: {}", run.err);
}

#[test]
fn a_ledger_works_with_all_its_keys_away() {
    let away = Away::new();
    let scene = &away.scene;
    let lines: Vec<String> = (0..200).map(|n| note(&format!("many-{n}")).to_string()).collect();
    scene.submit(lines.join("\n").as_bytes(), &[]).ended(0);
    writ(["freeze", "--data", scene.data(), "--reason", "r"]).ended(0);
    away.submit("frozen").ended(1);
    writ(["thaw", "--data", scene.data()]).ended(0);

    let served = Served::new(scene);
    away.submit("served").ended(0);
    served.stop();
    let report = away.verified();
    assert_eq!(report["checkpoint"], report["entries"], "the seal is signed, too: {report}");
    holds(scene.data());
}

/// Each way to go wrong, at each moment: asked for a proof of itself, for a decision, for a receipt.
#[test]
fn a_signer_that_goes_wrong_ends_the_writer_and_nothing_unsigned_is_written() {
    let away = Away::new();
    let wrong = "a signature that is not by the ledger's key over what was asked";
    let form = "an answer that is not 128 hex digits";
    let faults = [
        ("dies", "it "),
        ("silent", "no answer within 300 ms"),
        ("deaf", "no answer within 300 ms"),
        ("flipped", wrong),
        ("stale", wrong),
        ("garbage", form),
        ("empty", form),
        ("long", form),
        ("short", form),
        ("endless", form),
    ];
    for (fault, why) in faults {
        eprintln!("{fault}");
        let before = away.verified()["entries"].as_u64().expect("a count");
        for good in [0, 1] {
            away.spoilt("decision", fault, good);
            let run = away.submit(&format!("{fault}-unsigned"));
            assert!(run.lines().is_empty(), "nothing is told: {run:?}");
            failed(run, why);
            assert_eq!(away.verified()["entries"].as_u64(), Some(before), "{fault} after {good}");
        }

        // The decision is signed, and the effect was under way when nobody signed for what became of it.
        let id = format!("{fault}-receipt");
        away.spoilt("decision", fault, 2);
        failed(away.submit(&id), why);
        away.verified();
        let shown = || writ(["show", "--json", "--data", away.scene.data(), "acme", &id]).ended(0).json();
        let before = shown();
        let verdict = before.pointer("/decision/event/payload/verdict");
        assert_eq!((verdict, &before["receipts"]), (Some(&json!("PASS")), &json!([])), "{fault}: {before}");

        away.signed_by(&[]);
        away.submit(&format!("{fault}-after")).ended(0);
        let after = shown();
        let status = after.pointer("/receipts/0/event/payload/status");
        assert_eq!(status, Some(&json!("UNCERTAIN")), "{fault}: {after}");
        holds(away.scene.data());
    }
}

#[test]
fn without_a_signed_checkpoint_the_writer_ends_and_the_log_is_whole() {
    let away = Away::new();
    for fault in ["dies", "flipped"] {
        away.spoilt("checkpoint", fault, 0);
        failed(away.submit(&format!("{fault}-0")), "which signs for checkpoint");
        away.spoilt("checkpoint", fault, 1);
        failed(away.submit(&format!("{fault}-1")), "which signs for checkpoint");
        away.verified();
        away.signed_by(&[]);
        away.submit(&format!("{fault}-after")).ended(0);
        let report = away.verified();
        assert_eq!(report["checkpoint"], report["entries"], "{fault}");
    }
}

#[test]
fn nobody_waits_for_who_signs_checkpoints() {
    let away = Away::new();
    away.spoilt("checkpoint", "held", 1);
    let held = away.key("checkpoint") + ".held";
    fs::write(&held, "").expect("writes");
    let served = Served::new(&away.scene);
    let producer = away.scene.key("producer.key");
    for n in 0..100 {
        let intent = signed(&note(&format!("held-{n}")), &producer);
        let (status, answer) = served.ask("POST", "/v1/intents", "application/json", &intent);
        assert_eq!(status, 200, "{answer}");
    }
    fs::remove_file(held).expect("removes");
    served.stop();
    let report = away.verified();
    assert_eq!(report["checkpoint"], report["entries"], "{report}");
}

#[test]
fn an_act_that_the_operator_did_not_sign_is_not_submitted() {
    let away = Away::new();
    let before = away.verified()["entries"].clone();
    for fault in ["dies", "flipped", "garbage"] {
        away.spoilt("operator", fault, 0);
        failed(writ(["freeze", "--data", away.scene.data(), "--reason", "r"]), "which signs for operator");
    }
    assert_eq!(away.verified()["entries"], before);
}

/// A signer that holds another key is no signer of this ledger, and neither is nobody.
#[test]
fn who_cannot_sign_is_found_before_anything_is_decided() {
    let away = Away::new();
    let before = away.verified()["entries"].clone();
    for (role, other) in [("decision", "checkpoint"), ("checkpoint", "operator"), ("decision", "operator")] {
        away.signed_by(&[(role, away.good(other))]);
        failed(away.submit("x"), "not by the ledger's key");
    }
    let answers_nothing = [WRIT, "errors", "--json"].map(str::to_owned).to_vec();
    away.signed_by(&[("decision", answers_nothing)]);
    failed(away.submit("x"), "which signs for decision");

    let (key, entry) = (away.scene.inside("keys/decision.key"), Code::KeyFile.entry());
    away.scene.configure("");
    let run = away.submit("x").ended(i32::from(entry.exit));
    assert!(run.err.contains(entry.code) && run.err.contains(&key.display().to_string()), "{}", run.err);
    assert_eq!(away.verified()["entries"], before);
}

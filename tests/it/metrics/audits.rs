//! Checks tell the ledger that is served what they found.

use std::os::unix::fs::FileExt;

use serde_json::Value;

use writ_schemas::ids::Seq;

use super::Shown;
use crate::scene::{Scene, Served, note, writ};

fn audits(shown: &Shown, check: &str) -> [f64; 3] {
    ["holds", "broken", "failed"]
        .map(|verdict| shown.of(&format!("writ_audits_total{{check=\"{check}\",verdict=\"{verdict}\"}}")))
}

fn age(shown: &Shown, check: &str) -> f64 {
    shown.of(&format!("writ_audit_age_seconds{{check=\"{check}\"}}"))
}

#[test]
fn what_a_check_finds_is_counted_by_whoever_serves() {
    let scene = Scene::new();
    scene.submit(note("1").to_string().as_bytes(), &[]).ended(0);
    // Nobody serves it: nothing is told, and nothing is missed.
    writ(["verify", "--data", scene.data()]).ended(0);
    let served = Served::new(&scene);
    let before = Shown::by(&served);
    assert_eq!((audits(&before, "verify"), age(&before, "verify")), ([0.0; 3], -1.0));
    writ(["verify", "--data", scene.data()]).ended(0);
    writ(["replay", "--data", scene.data()]).ended(0);
    writ(["replay", "--until", "1", "--data", scene.data()]).ended(0); // of a part: that is no audit
    let shown = Shown::by(&served);
    for check in ["verify", "replay"] {
        assert_eq!(audits(&shown, check), [1.0, 0.0, 0.0], "{check}");
        assert!((0.0..60.0).contains(&age(&shown, check)), "{check}: {}", age(&shown, check));
    }

    let log = writ_log::Reader::open(scene.inside("log")).expect("a log");
    let place = log.get(Seq(1)).expect("no damage").expect("an entry").place;
    let file = std::fs::OpenOptions::new().write(true).open(scene.inside("log").join(place.file())).expect("a segment");
    file.write_all_at(b"rotten", place.offset + 200).expect("writes");
    writ(["verify", "--data", scene.data()]).ended(1);
    let nobodys = scene.inside("nobodys.note").to_string_lossy().into_owned();
    writ(["verify", "--data", scene.data(), "--checkpoint", &nobodys]).ended(2);
    let shown = Shown::by(&served);
    assert_eq!(audits(&shown, "verify"), [1.0, 1.0, 0.0], "what cannot begin is no audit");
    assert!(age(&shown, "verify") > 0.0, "the last one that held");
    served.stop();
}

#[test]
fn audits_are_heard_on_the_socket_only_and_strictly() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    let good = br#"{"check":"verify","verdict":"holds"}"#;
    let tell = |content_type: &str, body: &[u8]| Served::ask_socket(&scene, "POST", "/v1/audits", content_type, body);
    assert_eq!(served.ask("POST", "/v1/audits", "application/json", good).0, 404);
    assert_eq!(Served::ask_socket(&scene, "GET", "/v1/audits", "", b"").0, 405);
    let long = format!(r#"{{"check":"verify","verdict":"{}"}}"#, "x".repeat(4096));
    for (content_type, body, code) in [
        ("text/plain", &good[..], "ERR_CONTENT_TYPE"),
        ("application/json", b"", "ERR_JSON_SYNTAX"),
        ("application/json", b"[]", "ERR_SCHEMA"),
        ("application/json", br#"{"check":"verify"}"#, "ERR_SCHEMA"),
        ("application/json", br#"{"check":"verify","verdict":"perhaps"}"#, "ERR_SCHEMA"),
        ("application/json", br#"{"check":"Verify","verdict":"holds"}"#, "ERR_SCHEMA"),
        ("application/json", br#"{"check":"verify","verdict":"holds","by":"me"}"#, "ERR_SCHEMA"),
        ("application/json", br#"{"check":"verify","check":"replay","verdict":"holds"}"#, "ERR_JSON_DUPLICATE_KEY"),
        ("application/json", long.as_bytes(), "ERR_TOO_LARGE"),
    ] {
        let (_, problem) = tell(content_type, body);
        let problem: Value = serde_json::from_str(&problem).expect("a problem");
        assert_eq!(problem["code"], code, "{}", String::from_utf8_lossy(body));
    }
    assert_eq!(Shown::by(&served).sum("writ_audits_total"), 0.0);
    let blank = br#" { "verdict" : "failed" , "check" : "replay" } "#;
    assert_eq!((tell("application/json", good).0, tell("application/json", blank).0), (200, 200));
    let shown = Shown::by(&served);
    assert_eq!((audits(&shown, "verify"), audits(&shown, "replay")), ([1.0, 0.0, 0.0], [0.0, 0.0, 1.0]));
    assert_eq!(age(&shown, "replay"), -1.0);
    served.stop();
}

#[test]
fn a_ledger_that_does_not_answer_keeps_no_check_waiting() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    served.signal("STOP");
    let ended = writ(["verify", "--data", scene.data()]);
    served.signal("CONT");
    ended.ended(0);
    served.stop();
}

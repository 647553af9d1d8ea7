//! The command line as people and programs use it: help that teaches, data on standard output, answers that stay the same.

use std::path::Path;

use serde_json::{Value, json};

use crate::scene::{Run, Scene, Served, holds, init, note, refund, with, writ, writ_reading};

/// The commands that the help of `words` lists.
pub(crate) fn commands(words: &[String]) -> Vec<Vec<String>> {
    let help = writ(words.iter().map(String::as_str).chain(["--help"])).ended(0).out;
    let listed = help.split_once("Commands:\n").map(|(_, rest)| rest).unwrap_or_default();
    let listed = listed.lines().take_while(|line| !line.is_empty()).filter(|line| line.starts_with("  "));
    let names = listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(|name| [words, &[name.to_owned()]].concat()).collect()
}

#[test]
fn every_command_teaches_by_an_example() {
    let mut todo = commands(&[]);
    assert!(todo.len() > 10, "{todo:?}");
    let mut seen = 0;
    while let Some(words) = todo.pop() {
        let inside = commands(&words);
        if inside.is_empty() {
            let run = writ(words.iter().map(String::as_str).chain(["--help"])).ended(0);
            let example = format!("Example:  writ {}", words.join(" "));
            let piped = run.out.contains("Example:") && run.out.contains(&format!("writ {}", words.join(" ")));
            assert!(run.out.contains(&example) || piped, "{words:?} shows no example of itself:\n{}", run.out);
            assert_eq!(run.err, "", "{words:?}");
            seen += 1;
        }
        todo.extend(inside);
    }
    assert!(seen >= 20, "only {seen} commands");
    writ(["--version"]).ended(0);
    writ(["help", "log", "show"]).ended(0);
}

#[test]
fn alone_it_shows_where_to_start() {
    let run = writ::<&str>([]).ended(2);
    assert_eq!(run.out, "");
    assert!(run.err.contains("Usage: writ") && run.err.contains("writ demo"), "{}", run.err);
}

/// A refund that passed, one that did not, and two notes; so that every question has something to say.
fn worked() -> Scene {
    let scene = Scene::new();
    let ticket = evidence(&scene, &[]);
    scene.submit(refund("r-2", 700, &[&ticket]).to_string().as_bytes(), &[]).ended(0);
    scene
}

/// Registers a ticket and returns its digest.
fn evidence(scene: &Scene, more: &[&str]) -> String {
    let add = ["evidence", "add", "--data", scene.data(), "--tenant", "acme", "--kind", "ticket"];
    let answer = writ(add.iter().chain(more)).ended(0).json();
    answer["evidence"].as_str().expect("a digest").to_owned()
}

/// A line of JSON without what differs from run to run.
fn stable(mut value: Value) -> Value {
    value.as_object_mut().map(|fields| fields.remove("elapsed_ms"));
    value
}

#[test]
fn answers_for_programs_are_the_same_twice() {
    let scene = worked();
    let data = scene.data();
    let bundle = scene.inside("policy").to_string_lossy().into_owned();
    let questions: [&[&str]; 11] = [
        &["verify", "--json", "--data", data],
        &["replay", "--json", "--data", data],
        &["log", "show", "--json", "--data", data],
        &["show", "acme", "r-2", "--json", "--data", data],
        &["usage", "show", "--json", "--data", data],
        &["usage", "show", "--tenant", "acme", "--json", "--data", data],
        &["graph", "show", "acme", "r-2", "--json", "--data", data],
        &["errors", "--json"],
        &["policy", "check", &bundle, "--json"],
        &["policy", "test", &bundle, "--json"],
        &["policy", "explain", "acme", "r-2", "--json", "--data", data],
    ];
    let ask = |words: &[&str]| {
        let run = writ(words).ended(0);
        assert_eq!(run.err, "", "{words:?}: a yes has nothing to say beside its data");
        let lines = run.lines().into_iter().map(stable).collect::<Vec<_>>();
        assert!(!lines.is_empty(), "{words:?}");
        lines
    };
    let first = questions.map(ask);
    assert_eq!(questions.map(ask), first);

    // Through the socket of a process that serves it, a question has the same answer.
    let served = Served::new(&scene);
    for (words, answer) in questions.iter().zip(&first) {
        assert_eq!(&ask(words), answer, "{words:?}, served");
    }
    served.stop();
    assert_eq!(questions.map(ask), first, "serving added nothing");
}

#[test]
fn what_is_piped_is_plain() {
    let scene = worked();
    let data = scene.data();
    let runs: [Run; 8] = [
        writ(["verify", "--data", data]),
        writ(["replay", "--data", data]),
        writ(["log", "show", "--data", data]),
        writ(["show", "acme", "r-2", "--data", data]),
        writ(["usage", "show", "--data", data]),
        writ(["graph", "show", "acme", "r-2", "--data", data]),
        writ(["errors"]),
        scene.submit(note("n-1").to_string().as_bytes(), &["--dry-run"]),
    ];
    for run in runs {
        assert!(!run.out.is_empty() && !run.out.contains('\u{1b}') && !run.err.contains('\u{1b}'), "{run:?}");
    }
    let reader = std::process::Command::new("sh")
        .args(["-c", "\"$0\" log show --data \"$1\" | head -n 1", crate::scene::WRIT, data])
        .output()
        .expect("sh runs");
    let told = String::from_utf8_lossy(&reader.stderr).into_owned();
    assert!(!told.contains("panicked"), "a reader that has enough is no fault: {told}");
}

#[test]
fn the_log_is_shown_from_and_to() {
    let scene = worked();
    let seqs = |more: &[&str]| {
        let run = writ(["log", "show", "--json", "--data", scene.data()].iter().chain(more)).ended(0);
        run.lines().iter().filter_map(|entry| entry["seq"].as_u64()).collect::<Vec<_>>()
    };
    let all = seqs(&[]);
    assert_eq!(all, (0..u64::try_from(all.len()).expect("few")).collect::<Vec<_>>());
    assert_eq!(seqs(&["--from", "3", "--to", "5"]), [3, 4, 5]);
    assert_eq!(seqs(&["--from", "5", "--to", "3"]), Vec::<u64>::new());
    assert_eq!(seqs(&["--to", "0"]), [0]);
    assert_eq!(seqs(&["--from", "100000"]), Vec::<u64>::new());
    assert_eq!(seqs(&["--to", "18446744073709551615"]), all);
    let lines = writ(["log", "show", "--data", scene.data()]).ended(0).out.lines().count();
    assert_eq!(lines, all.len());
}

#[test]
fn an_answer_from_what_a_crash_may_take_says_so() {
    let scene = worked();
    let (data, latest) = (scene.data(), scene.inside("checkpoints/latest"));
    let entries = |run: &Run| run.lines().len();
    let before = entries(&writ(["log", "show", "--data", data, "--json"]).ended(0));
    let checkpoint = std::fs::read(&latest).expect("a checkpoint");
    scene.submit(note("n-9").to_string().as_bytes(), &[]).ended(0);
    let questions: [&[&str]; 5] = [
        &["log", "show", "--data", data, "--json"],
        &["show", "--data", data, "acme", "n-9", "--json"],
        &["graph", "show", "--data", data, "acme", "n-9", "--json"],
        &["usage", "show", "--data", data, "--json"],
        &["submit", "--data", data, "--dry-run", "--json", &scene.file("again.jsonl", note("n-10").to_string())],
    ];
    let sealed = questions.map(|words| writ(words).ended(0));
    assert!(sealed.iter().all(|run| run.err.is_empty()), "{sealed:?}");

    // As a kill leaves it that comes before the next checkpoint.
    std::fs::write(&latest, &checkpoint).expect("written");
    let caution = format!("writ: entries from {before} on are beyond the last checkpoint");
    for (words, sealed) in questions.iter().zip(&sealed) {
        let run = writ(*words).ended(0);
        assert!(run.err.starts_with(&caution) && run.err.lines().count() == 1, "{words:?}: {run:?}");
        assert!(words[0] == "submit" || run.out == sealed.out, "{words:?}: {run:?}");
    }
    let last = (before - 1).to_string();
    let covered = writ(["log", "show", "--data", data, "--to", &last, "--json"]).ended(0);
    assert_eq!((entries(&covered), covered.err.as_str()), (before, ""), "what is covered needs no caution");

    scene.submit(note("n-11").to_string().as_bytes(), &[]).ended(0);
    assert_eq!(writ(questions[0]).ended(0).err, "", "opening for writing made it durable");
    writ(["verify", "--data", data]).ended(0);
}

#[test]
fn verification_takes_what_was_kept_elsewhere() {
    let scene = Scene::bare();
    let made = writ(init(scene.data()).into_iter().chain(["--json"])).ended(0).json();
    let keys = ["operator.pub", "decision.pub"].map(|name| {
        let key = if name == "operator.pub" { &made["operators"][0] } else { &made["decision_key"] };
        scene.file(name, key.as_str().expect("a key"))
    });
    let kept = scene.dir.path().join("kept").to_string_lossy().into_owned();
    std::fs::copy(scene.inside("checkpoints/latest"), &kept).expect("kept");
    scene.submit(note("n-1").to_string().as_bytes(), &[]).ended(0);
    for key in keys {
        let pinned = ["verify", "--data", scene.data(), "--public-key", &key, "--checkpoint", &kept, "--json"];
        let report = writ(pinned).ended(0).json();
        assert_eq!((&report["ok"], &report["notes"]), (&json!(true), &json!([])), "{report}");
        assert_eq!(report["ledger"], made["ledger"]);
    }
    let report = writ(["verify", "--data", scene.data(), "--json"]).ended(0).json();
    assert_eq!(report["notes"].as_array().map(Vec::len), Some(2), "without pins it says what it cannot know");
}

#[test]
fn a_dry_run_decides_and_adds_nothing() {
    let scene = Scene::new();
    let before = writ(["verify", "--data", scene.data(), "--json"]).ended(0).json();
    let lines = [note("new"), refund("r-9", 5, &[]), with(note("n-1"), "args", json!({}))].map(|it| it.to_string());
    let run = scene.submit(lines.join("\n").as_bytes(), &["--dry-run", "--json"]).ended(1);
    let answers = run.lines();
    let told = |at: usize, pointer: &str| answers[at].pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    assert_eq!(told(0, "/decision/payload/verdict"), "PASS");
    assert_eq!(told(1, "/decision/payload/code"), "ERR_PROOF_MISSING");
    assert_eq!(told(2, "/code"), "ERR_ID_REUSED");
    // What evidence about an effect has to name is told also of what is refused, and is what a PASS authorises.
    assert_eq!(told(0, "/effect"), told(0, "/decision/payload/execution/effect_digest"));
    let effect = writ_schemas::canonical::bytes(&json!({"action": "payments.refund", "args": {"amount_cents": 5}}));
    assert_eq!(told(1, "/effect"), writ_schemas::ids::Digest::of(&effect.expect("JSON")).to_string());
    let after = writ(["verify", "--data", scene.data(), "--json"]).ended(0).json();
    assert_eq!(stable(after), stable(before));
    writ(["show", "--data", scene.data(), "acme", "new"]).ended(1);
}

#[test]
fn evidence_budget_and_usage_tell_one_story() {
    let scene = Scene::new();
    let artifact = scene.file("ticket.pdf", "a customer complains");
    let ticket = evidence(&scene, &["--artifact", &artifact]);
    let code = |intent: Value| {
        let run = scene.submit(intent.to_string().as_bytes(), &["--json"]);
        run.json().pointer("/decision/payload/code").and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    assert_eq!(code(refund("r-2", 300_000, &[])), "ERR_PROOF_MISSING");
    assert_eq!(code(refund("r-3", 300_000, &[&ticket])), "OK");
    assert_eq!(code(refund("r-4", 200_001, &[&ticket])), "ERR_BUDGET_EXCEEDED", "the limit of acme is 500 000");
    assert_eq!(code(refund("r-5", 200_000, &[&ticket])), "OK");
    assert_eq!(code(refund("r-6", 1, &[&ticket])), "ERR_BUDGET_EXCEEDED");
    assert_eq!(code(with(refund("r-7", 1, &[&ticket]), "args", json!({}))), "ERR_BUDGET_ERROR");

    let lines = writ(["usage", "show", "--data", scene.data(), "--tenant", "acme", "--json"]).ended(0).lines();
    let of = |action: &str| lines.iter().find(|line| line["action"] == action).cloned().unwrap_or_default();
    assert_eq!(
        (&of("payments.refund")["sum"], &of("payments.refund")["count"]),
        (&json!(500_000), &json!(2)),
        "{lines:?}"
    );
    assert_eq!(of("notes.add")["count"], json!(3), "{lines:?}");
    let (day, unit) = (of("payments.refund")["day"].clone(), of("payments.refund")["unit"].clone());
    let (day, unit) = (day.as_str().expect("a day"), unit.as_str().expect("a unit"));
    let receipts =
        ["usage", "receipts", "--data", scene.data(), "--json", "acme", "payments.refund", day, "--unit", unit];
    let receipts = writ(receipts).ended(0).lines();
    assert_eq!(receipts.iter().filter_map(|source| source["amount"].as_u64()).sum::<u64>(), 500_000);
    for source in receipts {
        let seq = source["receipt"].as_u64().expect("a seq").to_string();
        let entry = writ(["log", "show", "--data", scene.data(), "--from", &seq, "--to", &seq, "--json"]).json();
        assert_eq!(entry["kind"], "ReceiptIssued", "a line of usage leads to its receipts");
    }
    let nobody = writ(["usage", "show", "--data", scene.data(), "--tenant", "nobody", "--json"]).ended(0);
    assert_eq!(nobody.out, "");
    let other_day = ["usage", "receipts", "--data", scene.data(), "acme", "payments.refund", "2001-01-01"];
    assert!(writ(other_day).ended(1).err.contains("ERR_NOT_FOUND"));
    writ(["replay", "--data", scene.data()]).ended(0);
}

#[test]
fn a_freeze_holds_until_the_thaw() {
    let scene = Scene::new();
    let (data, late) = (scene.data(), note("late").to_string());
    writ(["freeze", "--data", data, "--reason", "agent-1 misbehaves"]).ended(0);
    let frozen = scene.submit(late.as_bytes(), &[]).ended(1);
    assert!(frozen.out.contains("ERR_FROZEN") && frozen.err.contains("wait until an operator thaws it"), "{frozen:?}");
    let known = scene.submit(note("n-1").to_string().as_bytes(), &["--json"]);
    assert!(known.out.contains("ERR_ID_REUSED"), "an answer that was given stays: {known:?}");
    writ(["thaw", "--data", data]).ended(0);
    scene.submit(late.as_bytes(), &[]).ended(0);
    writ(["replay", "--data", data]).ended(0);
}

#[test]
fn keys_are_made_trusted_and_revoked() {
    let scene = Scene::new();
    let data = scene.data();
    let file = scene.dir.path().join("agent-2.key").to_string_lossy().into_owned();
    let made = writ(["key", "new", &file]).ended(0);
    let key = made.out.trim();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let code = |id: &str| {
        let line = with(note(id), "principal", json!("agent-2")).to_string();
        let run = scene.submit(line.as_bytes(), &["--key", &file, "--json"]);
        let answer = run.json();
        let decided = answer.pointer("/decision/payload/code").or(answer.get("code"));
        decided.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    assert_eq!(code("k-1"), "ERR_KEY_UNKNOWN");
    let trust = ["key", "trust", "--data", data, key, "--tenant", "acme", "--principal", "agent-2", "--role", "agent"];
    writ(trust).ended(0);
    assert_eq!(code("k-2"), "OK");
    writ(["key", "revoke", "--data", data, key]).ended(0);
    assert_eq!(code("k-3"), "ERR_KEY_REVOKED");
    writ(["key", "revoke", "--data", data, key]).ended(1);
    holds(data);
}

#[test]
fn a_policy_is_signed_in_one_place_and_activated_in_another() {
    let scene = Scene::new();
    let data = scene.data();
    let example = std::fs::read_to_string(scene.inside("policy/policy.json")).expect("the example");
    let other = scene.policy(example.replace("notes.add", "notes.write"));
    let act = scene.dir.path().join("act.json").to_string_lossy().into_owned();
    writ(["policy", "sign", "--data", data, &other, "--out", &act]).ended(0);
    scene.submit(note("before").to_string().as_bytes(), &[]).ended(0);
    writ(["policy", "activate", "--data", data, &act]).ended(0);
    let run = scene.submit(note("after").to_string().as_bytes(), &[]).ended(1);
    assert!(run.out.contains("ERR_POLICY_NO_RULE"), "{run:?}");

    let original = scene.inside("policy").to_string_lossy().into_owned();
    writ(["policy", "activate", "--data", data, &original]).ended(0);
    let again = writ(["policy", "activate", "--data", data, &act]).ended(0);
    assert!(again.out.contains("already"), "an act is carried out once: {again:?}");
    scene.submit(note("later").to_string().as_bytes(), &[]).ended(0);
    writ(["replay", "--data", data]).ended(0);
}

#[test]
fn intents_come_from_files_and_from_standard_input() {
    let scene = Scene::new();
    let file = scene.file("intents.jsonl", format!("{}\r\n\n{}", note("f-1"), note("f-2")));
    let data = scene.data();
    let from_file = writ(["submit", "--data", data, "--json", &file]).ended(0);
    let from_dash =
        writ_reading(note("f-3").to_string().as_bytes(), ["submit", "--data", data, "--json", "-"]).ended(0);
    assert_eq!((from_file.lines().len(), from_dash.lines().len()), (2, 1));
    let key = scene.inside("keys/producer.key").to_string_lossy().into_owned();
    let served = Served::new(&scene);
    let url = format!("http://{}", served.http);
    let line = note("f-4").to_string();
    let over_http = writ_reading(line.as_bytes(), ["submit", "--url", &url, "--key", &key, "--json"]).ended(0);
    let over_socket = writ_reading(line.as_bytes(), ["submit", "--data", data, "--json"]).ended(0);
    assert_eq!(over_http.json()["answer"], "decided");
    assert_eq!(over_socket.json()["answer"], "known");
    assert_eq!(over_socket.json()["decision"], over_http.json()["decision"]);
    served.stop();
    assert!(!Path::new(data).join("writ.sock").exists(), "a served ledger leaves no socket");
}

//! One table of everything that can be handed to `writ` wrongly, through the real binary: each row names the code, and with
//! it the exit status and the remedy.
//!
//! A new row is a line in one of the files below. A row that needs what this machine does not give (mounting, dropping a
//! capability) says so on standard error; with `WRIT_REQUIRE_ALL` set it fails instead.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use writ::api::LINES_MAX;
use writ_schemas::errors::Code;

use crate::scene::{Run, Scene, Served, holds, note, with, within, writ};

mod acts;
mod arguments;
mod clients;
mod clusters;
mod folders;
mod lines;
mod policies;
mod system;

/// One thing done wrongly, and what must be said about it.
struct Row {
    name: &'static str,
    /// The one code that is told; `OK` if it is a yes after all.
    code: Code,
    after: After,
    /// Sets it up beside a ledger of its own, and does it.
    how: fn(&Scene) -> Run,
}

/// What the ledger is afterwards.
#[derive(Clone, Copy, PartialEq)]
enum After {
    /// It passes `writ verify`, and what was decided before is still there.
    Sound,
    /// The row damaged it, and verification says so.
    Broken,
    /// Nothing is left of it that can be read, so verification cannot say either.
    Gone,
}

/// A row whose ledger is none the worse.
const fn row(name: &'static str, code: Code, how: fn(&Scene) -> Run) -> Row {
    Row { name, code, after: After::Sound, how }
}

/// A row that damages the ledger.
const fn damage(name: &'static str, code: Code, how: fn(&Scene) -> Run) -> Row {
    Row { name, code, after: After::Broken, how }
}

/// The exit status of a row that this machine cannot run.
const SKIPPED: i32 = -1;

/// What a row tells that cannot run here.
fn skipped(why: &str) -> Run {
    Run { status: SKIPPED, out: String::new(), err: why.to_owned() }
}

#[test]
fn each_bad_input_has_one_code_one_status_and_a_remedy() {
    let base = Scene::new();
    // Rows that wait for a Kafka that is not there come first, so that the others run meanwhile.
    let rows: Vec<&Row> = [system::SLOW, system::ROWS, lines::ROWS, acts::ROWS, policies::ROWS, folders::ROWS]
        .into_iter()
        .chain([arguments::ROWS, clusters::ROWS])
        .flatten()
        .collect();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len(), "two rows have the same name");
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..system::SLOW.len() + 4 {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let checked = std::panic::catch_unwind(AssertUnwindSafe(|| check(row, &base)));
                    let what = checked.unwrap_or_else(|_| vec!["the row itself failed, see above".to_owned()]);
                    let mut wrong = wrong.lock().expect("no row holds it");
                    wrong.extend(what.into_iter().map(|what| format!("{}: {what}", row.name)));
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no row holds it");
    assert!(wrong.is_empty(), "{} faults in {} rows:\n\n{}\n", wrong.len(), rows.len(), wrong.join("\n"));
}

/// What a row got wrong.
fn check(row: &Row, base: &Scene) -> Vec<String> {
    let scene = base.again();
    let run = (row.how)(&scene);
    if run.status == SKIPPED {
        eprintln!("SKIPPED {}: {}", row.name, run.err);
        let needed = std::env::var_os("WRIT_REQUIRE_ALL").is_some();
        return if needed { vec![format!("skipped: {}", run.err)] } else { Vec::new() };
    }
    let entry = row.code.entry();
    let told = format!("{}\n{}", run.out, run.err);
    let mut wrong = Vec::new();
    if run.status != i32::from(entry.exit) {
        wrong.push(format!("exit status {}, {} has {}", run.status, entry.code, entry.exit));
    }
    let expected: BTreeSet<&str> = [entry.code].into_iter().filter(|code| *code != "OK").collect();
    let codes = codes_in(&told);
    if codes != expected {
        wrong.push(format!("tells {codes:?}, not {expected:?}"));
    }
    if row.code != Code::Ok && !run.err.contains(entry.remedy) {
        wrong.push("standard error does not say what to do".to_owned());
    }
    for sign in ["panicked", "stack backtrace", "RUST_BACKTRACE"] {
        if told.contains(sign) {
            wrong.push(format!("tells {sign:?}"));
        }
    }
    if told.contains('\u{1b}') {
        wrong.push("colours what is piped".to_owned());
    }
    if !wrong.is_empty() {
        wrong.push(format!("it told:\n{}", told.chars().take(2000).collect::<String>()));
    }
    let verified = writ(["verify", "--data", scene.data()]);
    match row.after {
        After::Sound if verified.status != 0 => wrong.push(format!("the ledger is broken: {verified:?}")),
        After::Sound => {
            let key = base.inside("keys/producer.key").to_string_lossy().into_owned();
            let known = scene.submit(note("n-1").to_string().as_bytes(), &["--dry-run", "--key", &key]);
            if !known.out.contains("ERR_ID_REUSED") {
                wrong.push(format!("what was decided is lost: {known:?}"));
            }
        }
        After::Broken if verified.status != 1 => wrong.push(format!("verification does not see it: {verified:?}")),
        After::Gone if verified.status != 2 => wrong.push(format!("verification does not see it: {verified:?}")),
        After::Broken | After::Gone => {}
    }
    wrong
}

fn codes_in(text: &str) -> BTreeSet<&str> {
    let word = |c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    text.split(word).filter(|word| word.starts_with("ERR_")).collect()
}

#[test]
fn over_http_each_has_its_code_and_status_too() {
    const JSON: &str = "application/json";
    let scene = Scene::new();
    let served = Served::new(&scene);
    let big = vec![b' '; 2 << 20];
    let known = crate::scene::signed(&note("n-9"), &scene.key("producer.key"));
    let act = crate::scene::signed_bytes::<writ_schemas::act::Act>(b"{}", &scene.key("operator.key"));
    let eaten = with(note("x"), "id", json!("../x")).to_string();
    let eaten =
        crate::scene::signed_bytes::<writ_schemas::intent::Intent>(eaten.as_bytes(), &scene.key("producer.key"));
    let rows: [(&str, &str, &str, &str, &[u8], Code); 13] = [
        ("no body", "POST", "/v1/intents", JSON, b"", Code::RecordEmpty),
        ("no JSON", "POST", "/v1/intents", JSON, b"{", Code::JsonSyntax),
        ("not UTF-8", "POST", "/v1/intents", JSON, b"\"\xff\"", Code::JsonUtf8),
        ("no envelope", "POST", "/v1/intents", JSON, b"{}", Code::Envelope),
        ("2 MiB", "POST", "/v1/intents", JSON, &big, Code::TooLarge),
        ("an id that paths eat", "POST", "/v1/intents", JSON, &eaten, Code::Schema),
        ("a good one", "POST", "/v1/intents", JSON, &known, Code::Ok),
        ("an act from the network", "POST", "/v1/acts", JSON, &act, Code::NotFound),
        ("an unknown route", "GET", "/v2", JSON, b"", Code::NotFound),
        ("an unknown entry", "GET", "/v1/entries/99999", JSON, b"", Code::NotFound),
        ("an unknown intent", "GET", "/v1/decisions/acme/nobody", JSON, b"", Code::NotFound),
        ("no name", "GET", "/v1/decisions/acme/%20", JSON, b"", Code::Usage),
        ("an entry that is no number", "GET", "/v1/entries/first", JSON, b"", Code::Usage),
    ];
    for (name, method, path, kind, body, code) in rows {
        let (status, answer) = served.ask(method, path, kind, body);
        assert_eq!(status, code.entry().http, "{name}: {answer}");
        if code != Code::Ok {
            let problem: serde_json::Value =
                serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{name}: {e}: {answer}"));
            assert_eq!(problem["code"], code.as_str(), "{name}");
            assert_eq!(problem["remedy"], code.entry().remedy, "{name}");
        }
    }
    served.stop();
    holds(scene.data());
}

/// Each route of each side with each method: what is not taken is a problem with a registered code.
#[test]
fn every_route_answers_every_method_in_problem_documents() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    let routes = [
        "/v1/intents",
        "/v1/acts",
        "/v1/approvals",
        "/v1/outcomes",
        "/v1/evidence",
        "/v1/decisions/acme/n-1",
        "/v1/explanations/acme/n-1",
        "/v1/approvals/acme",
        "/v1/dispatches/acme/mail",
        "/v1/entries/0",
        "/v1/usage",
        "/v1/graph/acme/n-1",
        "/metrics",
        "/health/live",
        "/health/ready",
        "/v2",
        // What no route can take.
        "/v1/decisions/%ff/x",
        "/v1/decisions/acme/%ff",
        "/v1/decisions/%20/x",
        "/v1/approvals/%ff",
        "/v1/entries/-1",
        "/v1/entries/%ff",
        "/v1/usage/00",
        "/v1/usage?limit=0",
        "/v1/approvals/acme?cursor=x",
        "/v1/graph/acme/n-1?at_least=soon",
        "/v1/dispatches/acme/mail?cursor=00&cursor=01",
        "/v1/usage?tenant=%ff",
        "/v1/usage?tenant=%20",
    ];
    for route in routes {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FETCH"] {
            let over_http = served.ask(method, route, "application/json", b"");
            let over_socket = Served::ask_socket(&scene, method, route, "application/json", b"");
            for (status, body) in [over_http, over_socket] {
                if status == 200 {
                    continue;
                }
                let problem: serde_json::Value =
                    serde_json::from_str(&body).unwrap_or_else(|e| panic!("{method} {route}: {status} {e}: {body:?}"));
                let code: Code = problem["code"].as_str().and_then(|code| code.parse().ok()).expect("registered");
                assert_eq!(status, code.entry().http, "{method} {route}: {body}");
                let asked = method == "GET" || method == "POST";
                assert!(asked || matches!(code, Code::Method | Code::NotFound), "{method} {route}: {body}");
            }
        }
    }
    served.stop();
}

/// RFC 9110, 8.3.1.
#[test]
fn what_a_body_holds_is_said_in_any_case_and_with_parameters() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    let known = crate::scene::signed(&note("n-kind"), &scene.key("producer.key"));
    let ask = |kind: &str| served.ask("POST", "/v1/intents", kind, &known);
    let lines = [
        "application/x-ndjson",
        "application/x-ndjson; charset=utf-8",
        "Application/X-NDJSON",
        "application/x-ndjson ;q=1",
    ];
    for kind in lines {
        let (status, body) = ask(kind);
        assert!(status == 200 && body.ends_with("\n"), "{kind}: {status} {body}");
    }
    for kind in ["", "application/json", "APPLICATION/JSON;charset=UTF-8"] {
        let (status, body) = ask(kind);
        assert!(status == 200 && !body.ends_with("\n"), "{kind}: {status} {body}");
    }
    let not_read = ["text/plain", "application/x-ndjson+gzip", "application/json\r\nContent-Encoding: gzip", "x"];
    for kind in not_read {
        let (status, body) = ask(kind);
        assert!(status == 415 && body.contains(Code::ContentType.as_str()), "{kind}: {status} {body}");
    }
    let (status, body) = served.ask("POST", "/v1/approvals", "application/x-ndjson", &known);
    assert!(status == 415 && body.contains(Code::ContentType.as_str()), "{status} {body}");
    served.stop();
}

/// All or nothing: whoever sent too many lines can cut them and send them again.
#[test]
fn a_body_of_one_line_too_many_is_refused_whole() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    let mut lines = crate::scene::signed(&note("n-9"), &scene.key("producer.key"));
    lines.extend(b"\n{}".repeat(LINES_MAX));
    let entries = || {
        let (_, ready) = served.ask("GET", "/health/ready", "", b"");
        serde_json::from_str::<serde_json::Value>(&ready).expect("JSON")["entries"].clone()
    };
    within("views", || entries().is_u64());
    let before = entries();
    const LINES: (&str, &str, &str) = ("POST", "/v1/intents", "application/x-ndjson");
    let over_http = served.ask(LINES.0, LINES.1, LINES.2, &lines);
    let over_socket = Served::ask_socket(&scene, LINES.0, LINES.1, LINES.2, &lines);
    for (way, (status, answer)) in [("http", over_http), ("the socket", over_socket)] {
        assert_eq!(status, Code::TooLarge.entry().http, "{way}: {answer}");
        assert!(answer.contains(Code::TooLarge.as_str()), "{way}: {answer}");
    }
    assert_eq!(entries(), before, "nothing is recorded");

    let fewer = lines.strip_suffix(b"\n{}").expect("the last line");
    let (status, answers) = served.ask(LINES.0, LINES.1, LINES.2, fewer);
    assert_eq!((status, answers.lines().filter(|line| line.contains("\"answer\"")).count()), (200, LINES_MAX));
    assert_ne!(entries(), before);
    served.stop();
}

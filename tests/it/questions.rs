//! Questions over HTTP: long answers in parts, answers at once, and what happens when too many ask.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tower::ServiceExt;
use writ::api::audits::Audits;
use writ::api::host::Hosts;
use writ::api::limits::Limits;
use writ::api::{self, Api};
use writ::clock::Clock;
use writ::folder::Folder;
use writ::intake;
use writ::ledger::{Ledger, Opened};
use writ::query::Library;
use writ::sequencer::Submitted;
use writ::views::{Shelf, brought_up};
use writ_schemas::event::{Event, Source};
use writ_schemas::ids::Seq;

use crate::scene::{Scene, Served, note, refund, signed, within};

fn get(served: &Served, path: &str) -> (u16, Value) {
    let (status, body) = served.ask("GET", path, "", b"");
    (status, serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}")))
}

/// A list, so many items at once.
fn all(served: &Served, path: &str, limit: usize) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, answer) = get(served, &format!("{path}?at_least=head&limit={limit}{cursor}"));
        let items = answer["items"].as_array().unwrap_or_else(|| panic!("{status} {answer}")).clone();
        assert!(items.len() == limit || answer["next"].is_null(), "{answer}");
        found.extend(items);
        let Some(next) = answer["next"].as_str() else { return found };
        cursor = format!("&cursor={next}");
    }
}

#[test]
fn usage_and_its_receipts_come_in_parts_that_are_the_whole() {
    let scene = Scene::new();
    let lines: Vec<String> = (0..7).map(|n| refund(&format!("p-{n}"), 10 + n, &[]).to_string()).collect();
    scene.submit(lines.join("\n").as_bytes(), &[]);
    let more: Vec<String> = (4..20).map(|n| note(&format!("n-{n}")).to_string()).collect();
    scene.submit(more.join("\n").as_bytes(), &[]).ended(0);
    let served = Served::new(&scene);
    let lines = all(&served, "/v1/usage", 1000);
    assert_eq!(lines, all(&served, "/v1/usage", 1));
    for line in &lines {
        let path = format!("/v1/usage/{}", line["line"].as_str().expect("a name"));
        let receipts = all(&served, &path, 1000);
        for limit in [1, 3] {
            assert_eq!(receipts, all(&served, &path, limit), "{line}");
        }
        let of = |status: &str| receipts.iter().filter(|it| it["status"] == status).count();
        assert_eq!(json!([of("SUCCEEDED"), of("FAILED")]), json!([line["count"], line["failed"]]));
        let sum: u64 = receipts.iter().filter_map(|it| it["amount"].as_u64()).sum();
        assert_eq!(json!(sum), line["sum"]);
        assert!(line.get("receipts").is_none(), "a line has a bounded length");
    }
    let notes = lines.iter().find(|line| line["action"] == "notes.add").expect("a line");
    assert_eq!(notes["count"], json!(19));
    served.stop();
}

#[test]
fn an_answer_says_what_it_knows_of_and_knows_of_what_was_asked_for() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    for n in 0..20 {
        let id = format!("fresh-{n}");
        let intent = signed(&note(&id), &scene.key("producer.key"));
        let (status, answer) = served.ask("POST", "/v1/intents", "application/json", &intent);
        assert_eq!(status, 200, "{answer}");
        let seq = serde_json::from_str::<Value>(&answer).expect("JSON")["seq"].as_u64().expect("a seq");
        let (status, case) = get(&served, &format!("/v1/decisions/acme/{id}?at_least={seq}"));
        assert_eq!((status, &case["decision"]["seq"]), (200, &json!(seq)), "{case}");
        assert!(case["as_of"].as_u64().is_some_and(|as_of| as_of >= seq), "{case}");
    }
    for (query, code) in [
        ("at_least=99999999", "ERR_NOT_FOUND"),
        ("at_least=soon", "ERR_USAGE"),
        ("at_least=-1", "ERR_USAGE"),
        ("limit=0", "ERR_USAGE"),
        ("limit=x", "ERR_USAGE"),
        ("cursor=0", "ERR_USAGE"),
        ("cursor=xy", "ERR_USAGE"),
    ] {
        let (_, problem) = get(&served, &format!("/v1/usage?{query}"));
        assert_eq!(problem["code"], code, "{query}: {problem}");
    }
    assert_eq!(get(&served, "/v1/usage/00").1["code"], "ERR_USAGE");
    served.stop();
}

/// What the log does not give is no fault of the views: one entry cannot be shown, and all else can.
#[test]
fn an_entry_that_cannot_be_read_leaves_the_views_alone() {
    let scene = Scene::new();
    let more: Vec<String> = (4..40).map(|n| note(&format!("n-{n}")).to_string()).collect();
    scene.submit(more.join("\n").as_bytes(), &[]).ended(0);
    let log = writ_log::Reader::open(scene.inside("log")).expect("a log");
    let is_it = |it: &writ_log::Located| matches!(it.entry.event(), Ok(Event::IntentAdmitted(it)) if it.intent.value().id.as_str() == "n-5");
    let place =
        log.entries(Seq(0)).expect("a walk").map(|it| it.expect("no damage")).find(is_it).expect("an intent").place;
    let served = Served::new(&scene);
    within("views", || get(&served, "/v1/usage?at_least=head").0 == 200);
    let path = scene.inside("log").join(place.file());
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("a segment");
    file.write_all_at(b"rotten", place.offset + 200).expect("writes");
    let (_, problem) = get(&served, "/v1/decisions/acme/n-5");
    assert_eq!(problem["code"], "ERR_LOG_DAMAGED", "{problem}");
    let (_, problem) = get(&served, "/v1/graph/acme/n-5");
    assert_eq!(problem["code"], "ERR_LOG_DAMAGED", "{problem}");
    for path in ["/v1/usage", "/v1/decisions/acme/n-6", "/health/ready"] {
        assert_eq!(get(&served, path).0, 200, "{path}");
    }
    let (_, metrics) = served.ask("GET", "/metrics", "", b"");
    assert!(metrics.contains("writ_views_lost_total 0"), "{metrics}");
    served.stop();
}

/// A ledger at work in this process whose views stand still.
struct Behind {
    ledger: Ledger,
    router: Router,
    runtime: tokio::runtime::Runtime,
}

impl Behind {
    fn of(scene: &Scene, views: impl FnOnce(&Folder, &Opened) -> Shelf) -> Behind {
        let folder = Folder::at(Path::new(scene.data()));
        let opened = Opened::open(&folder, Clock::Wall).expect("opens");
        let library = Library::of(&folder, opened.reader(), views(&folder, &opened));
        let ledger = opened.start(|failure| panic!("{failure}")).expect("starts");
        let (source, limits, hosts) =
            (Source::Http, Limits::new(Duration::from_secs(5)).expect("threads"), Hosts::any());
        let router = api::public(Api {
            ledger: ledger.handle(),
            library,
            source,
            metrics: None,
            limits,
            hosts,
            audits: Audits::default(),
        });
        Behind { ledger, router, runtime: tokio::runtime::Runtime::new().expect("a runtime") }
    }

    fn get(&self, path: &str) -> (StatusCode, HeaderMap, Value) {
        let request = Request::get(path).header("Host", "writ").body(Body::empty()).expect("a request");
        self.runtime.block_on(async {
            let (parts, body) = self.router.clone().oneshot(request).await.expect("an answer").into_parts();
            let body = to_bytes(body, 1 << 20).await.expect("a body");
            (parts.status, parts.headers, serde_json::from_slice(&body).expect("JSON"))
        })
    }

    fn end(self) {
        self.runtime.shutdown_background();
        self.ledger.stop().expect("stops");
    }
}

#[test]
fn a_question_is_answered_at_once_while_the_views_are_behind() {
    let scene = Scene::new();
    let behind =
        Behind::of(&scene, |folder, opened| brought_up(folder, opened.reader()).expect("they come up to the log"));
    let before = behind.ledger.handle().progress.next();
    let intent = signed(&note("n-behind"), &scene.key("producer.key"));
    let submitted: Vec<(Submitted, usize)> = intake::read_all(vec![intent]).into_iter().map(|it| (it, 0)).collect();
    behind.ledger.handle().submit_all(submitted).expect("answers");
    assert!(behind.ledger.handle().progress.next() > before);
    let (status, _, usage) = behind.get("/v1/usage");
    assert_eq!((status, &usage["as_of"]), (StatusCode::OK, &json!(before.0 - 1)), "{usage}");
    let (_, _, problem) = behind.get("/v1/decisions/acme/n-behind");
    assert_eq!(problem["code"], "ERR_NOT_FOUND", "{problem}");
    let (status, ..) = behind.get(&format!("/v1/usage?at_least={}", before.0 - 1));
    assert_eq!(status, StatusCode::OK, "the views know of that");
    behind.end();
}

#[test]
fn who_asks_when_too_many_wait_is_told_when_to_come_again() {
    const MANY: usize = 256;
    let scene = Scene::new();
    let behind = Behind::of(&scene, |_, _| Shelf::empty());
    let mut waiting: Vec<JoinHandle<_>> = Vec::new();
    within("a refusal", || {
        // They wait for views that never come; who has given up comes again.
        waiting.retain(|it| !it.is_finished());
        waiting.resize_with(MANY, || {
            let request = Request::get("/v1/usage?at_least=0").header("Host", "writ").body(Body::empty());
            behind.runtime.spawn(behind.router.clone().oneshot(request.expect("a request")))
        });
        let (status, headers, problem) = behind.get("/v1/entries/0");
        let refused = status == StatusCode::TOO_MANY_REQUESTS;
        assert!(!refused || problem["code"] == "ERR_OVERLOADED", "{problem}");
        refused && headers.get("retry-after").is_some_and(|it| it == "1")
    });
    waiting.iter().for_each(JoinHandle::abort);
    behind.end();
}

//! How `/metrics` is asked: in both forms, by tools, by many at once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use writ::telemetry::declared::{ALL, Kind, Unit};

use crate::scene::{Scene, Served};

/// The headers and the body of an answer.
fn ask(served: &Served, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(&served.http).expect("a listener");
    let head = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: {accept}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_ascii_lowercase(), body.to_owned())
}

/// What Prometheus 2 sends.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

#[test]
fn whoever_asks_for_openmetrics_gets_it() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    let text = "content-type: text/plain; version=0.0.4; charset=utf-8";
    let open = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    for (accept, content_type) in [
        ("*/*", text),
        ("", text),
        ("text/plain", text),
        ("application/json", text),
        ("application/openmetrics-text;q=0", text),
        ("text/plain;q=0.9, application/openmetrics-text;q=0.1", text),
        ("application/openmetrics-text", open),
        ("Application/OpenMetrics-Text; version=1.0.0", open),
        ("text/plain;q=0.1, application/openmetrics-text;q=0.9", open),
        (PROMETHEUS, open),
    ] {
        let (head, body) = ask(&served, accept);
        assert!(head.contains(content_type), "{accept}: {head}");
        assert_eq!(body.ends_with("# EOF\n"), content_type == open, "{accept}");
    }
    let (_, text) = ask(&served, "");
    let (_, body) = ask(&served, PROMETHEUS);
    let mut families = body.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for series in ALL {
        let kind = match series.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // A counter's samples have the suffix, not its name.
        let name = series.name.trim_end_matches("_total");
        assert_eq!(families.next(), Some(&*format!("{name} {kind}")), "in the order of the table");
        assert!(body.contains(&format!("# HELP {name} {}\n", series.help)), "{name}");
        let unit = match series.unit {
            Unit::Count => None,
            Unit::Seconds => Some("seconds"),
            Unit::Bytes => Some("bytes"),
            Unit::Ratio => Some("ratio"),
        };
        let said = body.lines().find_map(|line| line.strip_prefix(&format!("# UNIT {name} ")));
        assert_eq!(said, unit, "{name}");
    }
    assert_eq!(families.next(), None);
    assert!(body.contains(",le=\"1.0\"}") && !body.contains("le=\"1\""), "bounds are decimal");
    assert!(text.contains(",le=\"1\"}") && !text.contains("le=\"1.0\""));
    // But for that, both say the same of the same series.
    let shown = |text: &str| -> Vec<String> {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.rsplit_once(' ').expect("a value").0.replace(".0\"}", "\"}")).collect()
    };
    assert_eq!(shown(&text), shown(&body));
    served.stop();
}

#[test]
fn promtool_finds_nothing_to_say() {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        assert!(std::env::var_os("WRIT_REQUIRE_ALL").is_none(), "promtool is needed");
        eprintln!("skipped: no promtool, which comes with prometheus");
        return;
    };
    let scene = Scene::new();
    let served = Served::new(&scene);
    // It reads the text format; of the other one it would call every name of a counter wrong.
    let (_, body) = ask(&served, "text/plain");
    child.stdin.take().expect("a pipe").write_all(body.as_bytes()).expect("it reads");
    let ended = child.wait_with_output().expect("it ends");
    let said = [ended.stdout, ended.stderr].concat();
    assert!(ended.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    served.stop();
}

#[test]
fn many_may_ask_at_once() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let (_, body) = ask(&served, "");
                assert!(body.contains("\nwrit_entries_total "), "whole");
            });
        }
    });
    served.stop();
}

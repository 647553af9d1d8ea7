//! `writ serve` with telemetry: what is refused at its start, what ended it, and that its end waits for no collector.

use std::fs::File;
use std::process::{Child, Command};
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use serde_json::{Value, json};
use writ_schemas::errors::Code;

use super::collector::{Collector, Got, Says};
use super::secured::tls;
use crate::desk::Desk;
use crate::scene::{Run, Scene, WRIT, finish, note, signal, with, within};

/// `writ serve` with these variables.
fn serve(scene: &Scene, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(WRIT);
    command.args(["serve", "--http", "127.0.0.1:0", "--data", scene.data()]).envs(variables.iter().copied());
    command
}

/// A process that serves, with what it says on standard error.
struct Serving {
    child: Child,
    said: String,
}

impl Serving {
    fn start(scene: &Scene, mut command: Command) -> Serving {
        let said = scene.file("said", "");
        let child = command.stderr(File::create(&said).expect("a file")).spawn().expect("it starts");
        let serving = Serving { child, said };
        within("an address", || serving.said().contains("on http://"));
        serving
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).expect("a file")
    }

    /// Asks it to end; how it ended, and what it said.
    fn stop(mut self) -> (Option<i32>, String) {
        signal(&self.child, "TERM");
        let status = self.child.wait().expect("a child");
        (status.code(), self.said())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(got: &Got, name: &str, label: &str) -> Option<f64> {
    let metric = got.metrics.iter().find(|metric| metric.name == name)?;
    let Some(Data::Sum(sum)) = &metric.data else { return None };
    let point = sum.data_points.iter().find(|point| format!("{:?}", point.attributes).contains(label))?;
    match point.value? {
        Number::AsDouble(number) => Some(number),
        Number::AsInt(number) => Some(number as f64),
    }
}

#[track_caller]
fn refused(run: Run, code: Code, named: &str) {
    let run = run.ended(i32::from(code.entry().exit));
    assert!(run.err.contains(code.as_str()) && run.err.contains(named), "{named}: {}", run.err);
    assert!(!run.err.contains("hunter2"), "{}", run.err);
}

#[test]
fn what_cannot_be_meant_is_refused_before_the_ledger_is_opened() {
    let scene = Scene::new();
    let to = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let secure = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1");
    let sampler = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
    let path = |name: &str| tls(name).to_string_lossy().into_owned();
    let (client, expired, key, other) =
        (path("client.pem"), path("expired.pem"), path("expired.key"), path("server.key"));
    let rows: &[(&[(&str, &str)], &str)] = &[
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "no url")], "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (&[to, ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere")], "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        (&[secure, ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere")], "/nowhere"),
        (
            &[secure, ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &client), ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &other)],
            "does not belong",
        ),
        (
            &[secure, ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &expired), ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key)],
            "expired",
        ),
        (&[sampler, ("OTEL_TRACES_SAMPLER_ARG", "NaN")], "OTEL_TRACES_SAMPLER_ARG"),
        (&[sampler, ("OTEL_TRACES_SAMPLER_ARG", "1.5")], "OTEL_TRACES_SAMPLER_ARG"),
        (&[sampler, ("OTEL_TRACES_SAMPLER_ARG", "-1")], "OTEL_TRACES_SAMPLER_ARG"),
        (&[("OTEL_BSP_SCHEDULE_DELAY", "0")], "OTEL_BSP_SCHEDULE_DELAY"),
        (&[to, ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0d")], "OTEL_EXPORTER_OTLP_HEADERS"),
        (&[to, ("OTEL_TRACES_EXPORTER", "console")], "OTEL_TRACES_EXPORTER"),
    ];
    for (variables, named) in rows {
        refused(finish(&mut serve(&scene, variables), b""), Code::Config, named);
    }
    for (table, named) in [
        ("sample_ratio = nan", "telemetry.sample_ratio"),
        ("batch_timeout_ms = 0", "telemetry.batch_timeout_ms"),
        ("endpoint = \"no url\"", "telemetry.endpoint"),
        ("headers.a = \"hunter2\"", "telemetry.headers.a"),
    ] {
        scene.configure(&format!("[telemetry]\n{table}\n"));
        refused(finish(&mut serve(&scene, &[]), b""), Code::Config, named);
    }
    scene.configure("[telemetry]\nendpoint = \"http://127.0.0.1:1\"\nheaders.a = { file = \"/nowhere\" }\n");
    refused(finish(&mut serve(&scene, &[]), b""), Code::Secret, "/nowhere");
}

#[test]
fn what_is_served_is_seen_at_the_collector() {
    let scene = Scene::new();
    let collector = Collector::saying(Says::Fine);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
        ("OTEL_SERVICE_NAME", "ledger-1"),
        ("OTEL_LOG_LEVEL", "debug"),
    ];
    let serving = Serving::start(&scene, serve(&scene, &variables));
    scene.submit(note("t-1").to_string().as_bytes(), &[]).ended(0);
    let (status, said) = serving.stop();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("nothing here takes them: OTEL_LOG_LEVEL"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    let got = collector.got();
    for name in ["process intent", "decide", "commit", "execute_tool notes.add", "receipt"] {
        assert_eq!(got.spans.iter().filter(|span| span.name == name).count(), 1, "{name}: {:#?}", got.spans);
    }
    assert_eq!(got.resource["service.name"], "ledger-1");
    assert_eq!(got.headers["authorization"], "Bearer hunter2");
    assert_eq!(number(&got, "writ_receipts_total", "SUCCEEDED"), Some(1.0));
    assert_eq!(number(&got, "writ_telemetry_dropped_total", "traces"), Some(0.0));
}

#[test]
fn a_collector_that_hangs_does_not_hold_up_the_end_and_one_line_says_so() {
    let scene = Scene::new();
    let collector = Collector::saying(Says::Nothing);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
    ];
    let serving = Serving::start(&scene, serve(&scene, &variables));
    scene.submit(note("t-1").to_string().as_bytes(), &[]).ended(0);
    collector.wait("a span", |got| got.requests > 0);
    let (status, said) = serving.stop();
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(said.matches("does not take").count(), 1, "{said}");
    assert!(said.contains("no answer") && said.contains("what waited at the end"), "{said}");
}

#[test]
fn a_collector_that_is_away_costs_one_line_and_another_when_it_is_there() {
    let scene = Scene::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = format!("http://{port}");
    let away = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_METRIC_EXPORT_INTERVAL", "100")];
    let serving = Serving::start(&scene, serve(&scene, &away));
    within("a line", || serving.said().contains("does not take"));
    std::thread::sleep(Duration::from_millis(500)); // several more fail
    scene.submit(note("t-1").to_string().as_bytes(), &[]).ended(0);
    let collector = Collector::at(&port.to_string(), Says::Fine, None);
    within("another line", || serving.said().contains("takes everything again"));
    let (status, said) = serving.stop();
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(
        (said.matches("does not take").count(), said.matches("takes everything again").count()),
        (1, 1),
        "{said}"
    );
    assert!(said.contains("refused"), "it says why: {said}");
    drop(collector);
}

#[test]
fn what_a_collector_says_of_what_it_does_not_take_is_not_told() {
    for (says, line) in
        [(Says::Partly(1), "rejects some"), (Says::Refused(tonic::Code::InvalidArgument), "does not take")]
    {
        let scene = Scene::new();
        let collector = Collector::saying(says);
        let to = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()), ("OTEL_METRIC_EXPORT_INTERVAL", "100")];
        let serving = Serving::start(&scene, serve(&scene, &to));
        within("a line", || serving.said().contains(line));
        let (status, said) = serving.stop();
        assert_eq!(status, Some(0), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_client_that_the_collector_does_not_trust_hears_so() {
    let scene = Scene::new();
    let collector = Collector::secured();
    let path = |name: &str| tls(name).to_string_lossy().into_owned();
    let (ca, other_ca, stranger, key) =
        (path("ca.pem"), path("other-ca.pem"), path("stranger.pem"), path("stranger.key"));
    let to = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str());
    let by_ca = ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.as_str());
    let as_stranger =
        [("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", stranger.as_str()), ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key)];
    let rows: [(&[(&str, &str)], &str); 3] = [
        (&[to, by_ca], "CertificateRequired"),
        (&[to, by_ca, as_stranger[0], as_stranger[1]], "UnknownCA"),
        (&[to, ("OTEL_EXPORTER_OTLP_CERTIFICATE", &other_ca)], "UnknownIssuer"),
    ];
    for (variables, why) in rows {
        let mut variables = variables.to_vec();
        variables.push(("OTEL_METRIC_EXPORT_INTERVAL", "100"));
        let serving = Serving::start(&scene, serve(&scene, &variables));
        within("a line", || serving.said().contains("does not take"));
        let (status, said) = serving.stop();
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains(why), "{why}: {said}");
    }
    assert!(collector.got().headers.is_empty(), "nobody is sent anything");
}

#[test]
fn of_two_processes_on_one_metrics_port_the_second_is_refused_and_the_collector_hears_it() {
    let scene = Scene::new();
    let collector = Collector::saying(Says::Fine);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = Command::new(WRIT);
    command.args(["serve", "--http", &address, "--data", scene.data()]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
    refused(finish(&mut command, b""), Code::PortBusy, &address);
    let got = collector.got();
    let [(target, line)] = got.logs.as_slice() else { panic!("one line: {:#?}", got.logs) };
    assert_eq!((target.as_str(), line.severity_text.as_str()), ("writ", "ERROR"));
    assert!(format!("{line:?}").contains(Code::PortBusy.as_str()), "{line:?}");
    assert_eq!(number(&got, "writ_fatal_total", Code::PortBusy.as_str()), Some(1.0));
}

#[test]
fn what_ends_the_writer_reaches_the_collector() {
    let scene = Scene::new();
    let collector = Collector::saying(Says::Fine);
    let mut command = serve(&scene, &[("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())]);
    command.env("WRIT_PANIC_IN", "checkpointer");
    let said = scene.file("said", "");
    let mut child = command.stderr(File::create(&said).expect("a file")).spawn().expect("it starts");
    let status = child.wait().expect("a child");
    assert_eq!(status.code(), Some(i32::from(Code::Panicked.entry().exit)));
    let got = collector.got();
    let told = |(_, line): &&(String, _)| format!("{line:?}").contains(Code::Panicked.as_str());
    assert_eq!(got.logs.iter().filter(told).count(), 1, "{:#?}", got.logs);
    assert_eq!(number(&got, "writ_fatal_total", Code::Panicked.as_str()), Some(1.0));
}

#[test]
fn lines_arrive_in_the_trace_of_their_intent_and_those_about_exporting_do_not() {
    let off = json!({"disabled": "not asked here"});
    let desk = Desk::under(&json!({
        "name": "logs", "gates": {"temporal": off, "proof": off, "budget": off, "escalation": off},
        "rules": [{"action": "ship", "requires": {"exempt": "not asked here"}, "spends": {"exempt": "not asked here"},
                   "connector": "nobody", "window_us": 60_000_000, "escalates": {"exempt": "not asked here"}}],
        "connectors": {"nobody": {"kind": {"http": {"url": "http://127.0.0.1:1", "timeout_us": 5_000_000}}, "output_schema": {}}},
    }));
    let collector = Collector::saying(Says::Fine);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2"),
        ("WRIT_LOG", "trace"),
    ];
    let serving = Serving::start(&desk.0, serve(&desk.0, &variables));
    desk.submit(&with(note("a"), "action", json!("ship")), &[]);
    collector.wait("a line", |got| got.logs.iter().any(|(target, _)| target == "writ::executor::http"));
    let (status, said) = serving.stop();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains(" h2::"), "what exports says something: {said}");
    assert!(!said.contains("hunter2"), "and no secret");
    let got = collector.got();
    let looped = |target: &String| ["h2", "tonic", "tower"].iter().any(|of| target.starts_with(of));
    assert!(!got.logs.iter().any(|(target, _)| looped(target)), "{:#?}", got.logs);
    let (_, line) = got.logs.iter().find(|(target, _)| target == "writ::executor::http").expect("it is there");
    let intent = got.spans.iter().find(|span| span.name == "process intent").expect("it is there");
    assert_eq!(line.trace_id, intent.trace_id);
    assert!(got.spans.iter().any(|span| span.span_id == line.span_id && span.trace_id == line.trace_id), "{line:?}");
}

#[test]
fn standard_error_is_json_where_that_is_asked_for() {
    let scene = Scene::new();
    let mut command = serve(&scene, &[]);
    command.args(["--log-format", "json"]);
    let serving = Serving::start(&scene, command);
    let (_, said) = serving.stop();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.len() >= 3, "{said}");
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"] == "INFO"), "{said}");
    let mut command = Command::new(WRIT);
    command.args(["--log-format", "json", "show", "--data", scene.data(), "acme", "nobody"]);
    let run = finish(&mut command, b"");
    let line: Value = serde_json::from_str(run.err.trim_end()).expect("one line of JSON");
    assert_eq!((line["level"].as_str(), line["fields"]["code"].as_str()), (Some("ERROR"), Some("ERR_NOT_FOUND")));
}

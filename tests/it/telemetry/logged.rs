//! Log lines: as text, as JSON, and at a collector, in their trace.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use serde_json::Value;
use tracing::{error, info, warn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use writ::telemetry::log_layer::LogLayer;
use writ::telemetry::logging::{Format, layer};
use writ::telemetry::provider::{Provider, QUEUE_MAX, Tally};

use super::collector::{Collector, Says};
use super::delivered::{all_settled, settings, span};

/// What was written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is written while this is said.
fn said(format: Format, say: impl FnOnce()) -> String {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = registry().with(layer(format, move || writer.clone()));
    tracing::subscriber::with_default(subscriber, say);
    let bytes = written.0.lock().expect("not poisoned").clone();
    String::from_utf8(bytes).expect("UTF-8")
}

/// In the trace of a span.
fn within_a_trace(say: impl FnOnce()) {
    let _attached = Context::new().with_remote_span_context(span(9, 0).span_context).attach();
    say();
}

#[test]
fn a_line_of_json_says_when_who_what_and_in_which_trace() {
    let lines = said(Format::Json, || {
        info!(count = 3, late = true, ratio = 0.5, name = "a", path = ?"b", "it\n{}", "\u{1b}[2Jgoes\u{202e}");
        within_a_trace(|| error!("it does not"));
    });
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(!lines[0].contains(['\u{1b}', '\u{202e}']), "{}", lines[0]);
    let parse = |line: &str| -> Value { serde_json::from_str(line).expect("JSON") };
    let (first, second) = (parse(lines[0]), parse(lines[1]));
    assert_eq!((first["level"].as_str(), first["message"].as_str()), (Some("INFO"), Some("it\n\u{1b}[2Jgoes\u{202e}")));
    assert_eq!(first["target"].as_str(), Some(module_path!()));
    let fields = serde_json::json!({"count": 3, "late": true, "ratio": 0.5, "name": "a", "path": "\"b\""});
    assert_eq!(first["fields"], fields);
    assert_eq!(first.get("trace_id"), None);
    let at = first["timestamp"].as_str().expect("a time");
    assert!(at.len() == "2026-12-01T12:00:00.000000Z".len() && at.ends_with('Z'), "{at}");
    assert_eq!(second["trace_id"], "00000000000000000000000000000009");
    assert_eq!(second["span_id"], "0000000000000009");
}

#[test]
fn a_line_of_text_is_for_people() {
    let line = said(Format::Text, || warn!(count = 3, "it goes"));
    let (at, rest) = line.trim_end().split_once(' ').expect("a time");
    assert_eq!(at.len(), "2026-12-01T12:00:00.000000Z".len(), "{line}");
    assert!(rest.ends_with("it goes count=3") && rest.contains("WARN"), "{line}");
}

#[test]
fn lines_arrive_in_their_trace() {
    let collector = Collector::saying(Says::Fine);
    let provider = Provider::start(&settings(&collector.url)).expect("starts");
    let layer = LogLayer::default();
    layer.open(provider.logs().expect("it exports"));
    tracing::subscriber::with_default(registry().with(layer), || {
        within_a_trace(|| warn!(count = 3, "it goes"));
        error!("{}", "x".repeat(5000));
    });
    provider.stop(Duration::from_secs(20));
    let got = collector.got();
    let [(target, first), (_, second)] = got.logs.as_slice() else { panic!("two lines: {:#?}", got.logs) };
    assert_eq!((target.as_str(), first.severity_text.as_str(), first.severity_number), (module_path!(), "WARN", 13));
    assert_eq!(first.trace_id, 9_u128.to_be_bytes());
    assert_eq!((first.span_id.as_slice(), first.flags), (9_u64.to_be_bytes().as_slice(), 1));
    assert_eq!(first.attributes[0].key, "count");
    assert!(first.time_unix_nano > 0 && second.trace_id.is_empty());
    let Some(Any::StringValue(text)) = second.body.as_ref().and_then(|body| body.value.clone()) else { panic!() };
    assert_eq!(text.chars().count(), 4097);
}

#[test]
fn lines_that_find_no_room_are_counted() {
    let collector = Collector::saying(Says::Nothing);
    let provider = Provider::start(&settings(&collector.url)).expect("starts");
    let layer = LogLayer::default();
    let sink = provider.logs().expect("it exports");
    layer.open(sink.clone());
    tracing::subscriber::with_default(registry().with(layer), || {
        (0..QUEUE_MAX * 2).for_each(|number| info!(number, "a line"));
    });
    provider.stop(Duration::from_millis(200));
    let Tally { exported, queue, export, rejected } = all_settled(|| sink.tally(), QUEUE_MAX * 2);
    assert_eq!((exported, rejected, queue + export), (0, 0, QUEUE_MAX * 2));
    assert!(queue > 0, "some find no room");
}

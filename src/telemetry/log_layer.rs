//! Log lines on their way to the collector.
//!
//! **Invariant:** what is said on a thread that exports stays here: it would be exported in its turn, and so on.

use std::sync::{Arc, OnceLock};

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use serde_json::Value;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::event::Event;
use super::provider::logs::Line;
use super::provider::{LogSink, exports};

/// Gives log lines to the collector, once it is known: logging starts before the configuration is read.
#[derive(Clone, Default)]
pub struct LogLayer(Arc<OnceLock<LogSink>>);

impl LogLayer {
    /// From now on log lines go there. The first one stays.
    pub fn open(&self, sink: LogSink) {
        let _ = self.0.set(sink);
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if let Some(sink) = self.0.get()
            && !exports()
        {
            let metadata = event.metadata();
            let record = record(Event::of(event), *metadata.level());
            sink.push(Line { target: metadata.target(), record });
        }
    }
}

/// An event, as OTLP has it.
pub(super) fn record(event: Event, level: Level) -> LogRecord {
    let severity = match level {
        Level::TRACE => SeverityNumber::Trace,
        Level::DEBUG => SeverityNumber::Debug,
        Level::INFO => SeverityNumber::Info,
        Level::WARN => SeverityNumber::Warn,
        Level::ERROR => SeverityNumber::Error,
    };
    let at = event.at.0.saturating_mul(1000);
    let attribute =
        |(key, value)| KeyValue { key, value: Some(AnyValue { value: Some(any(value)) }), ..KeyValue::default() };
    let context = event.context.as_ref();
    LogRecord {
        time_unix_nano: at,
        observed_time_unix_nano: at,
        severity_number: severity.into(),
        severity_text: level.to_string(),
        body: Some(AnyValue { value: Some(Any::StringValue(event.message)) }),
        attributes: event.fields.into_iter().map(attribute).collect(),
        flags: context.map_or(0, |context| u32::from(context.trace_flags().to_u8())),
        trace_id: context.map(|context| context.trace_id().to_bytes().to_vec()).unwrap_or_default(),
        span_id: context.map(|context| context.span_id().to_bytes().to_vec()).unwrap_or_default(),
        ..LogRecord::default()
    }
}

fn any(value: Value) -> Any {
    match value {
        Value::Bool(flag) => Any::BoolValue(flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Any::IntValue(number),
            (None, Some(number)) => Any::DoubleValue(number),
            (None, None) => Any::StringValue(number.to_string()),
        },
        Value::String(text) => Any::StringValue(text),
        other => Any::StringValue(other.to_string()),
    }
}

//! An event of `tracing`, taken apart: for a line of JSON, and for the collector.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};

use crate::clock::Clock;

/// The longest text of an event, in bytes. What is quoted may come from anywhere.
const TEXT_LEN_MAX: usize = 4096;

/// What an event says, and in which trace.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// When it was said.
    pub(super) at: writ_schemas::ids::UnixMicros,
    /// What it says.
    pub(super) message: String,
    /// What it says it about.
    pub(super) fields: Map<String, Value>,
    /// Whose work it speaks of, if somebody's.
    pub(super) context: Option<SpanContext>,
}

impl Event {
    /// What is said now, in the trace of this thread's work.
    pub(super) fn now() -> Event {
        let context = Context::map_current(|current| current.span().span_context().clone());
        Event {
            at: Clock::Wall.now(),
            message: String::new(),
            fields: Map::new(),
            context: Some(context).filter(SpanContext::is_valid),
        }
    }

    /// An event of `tracing`.
    pub(super) fn of(event: &tracing::Event<'_>) -> Event {
        let mut taken = Event::now();
        event.record(&mut taken);
        taken
    }

    fn take(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > TEXT_LEN_MAX {
        let end = (0..=TEXT_LEN_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

impl Visit for Event {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, shortened(value.to_owned()).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, shortened(format!("{value:?}")).into());
    }
}

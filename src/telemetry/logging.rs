//! Log lines, on standard error: as text for people, or as JSON for what collects them; and to the collector.

use std::fmt;
use std::io::Write;
use std::sync::{LazyLock, OnceLock};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tracing::{Level, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};
use writ_schemas::ids::UnixMicros;

use super::event::Event;
use super::log_layer::LogLayer;
use super::metrics;
use crate::clock::Clock;
use crate::error::Failure;
use crate::{config, visible};

/// How lines on standard error look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

static FORMAT: OnceLock<Format> = OnceLock::new();

/// What goes to the collector, once there is one.
pub(super) static EXPORTED: LazyLock<LogLayer> = LazyLock::new(LogLayer::default);

/// Starts logging to standard error: warnings, or what `WRIT_LOG` asks for.
pub fn start(default: &str, format: Format) {
    let format = *FORMAT.get_or_init(|| format);
    let filter = config::log_filter().unwrap_or_else(|| default.to_owned());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
    let layers = layer(format, || StandardError).and_then(EXPORTED.clone());
    let _ = tracing_subscriber::registry().with(layers.with_filter(filter)).try_init(); // a second start in one process keeps the first
}

/// Writes each event as a line.
pub fn layer<W>(format: Format, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    match format {
        Format::Text => layer.with_timer(WallTime).boxed(),
        Format::Json => layer.event_format(Lines).boxed(),
    }
}

/// A line that is no event: what a command tells whoever ran it.
pub fn note(level: Level, text: &str) {
    let line = match FORMAT.get() {
        Some(Format::Json) => {
            let event = Event { message: text.strip_prefix("writ: ").unwrap_or(text).to_owned(), ..Event::now() };
            line(event, level, "writ")
        }
        _ => format!("{text}\n"),
    };
    let _ = StandardError.write_all(line.as_bytes()); // it never fails
}

/// Why a command failed, where it says so in JSON.
#[must_use]
pub fn note_failure(failure: &Failure) -> bool {
    let is_json = FORMAT.get() == Some(&Format::Json);
    if is_json {
        let _ = StandardError.write_all(line(of_failure(failure), Level::ERROR, "writ").as_bytes()); // it never fails
    }
    is_json
}

/// A failure, as it is logged.
pub(super) fn of_failure(failure: &Failure) -> Event {
    let entry = failure.code.entry();
    let mut fields = Map::new();
    fields.insert("code".to_owned(), entry.code.into());
    fields.insert("detail".to_owned(), failure.detail.as_str().into());
    fields.insert("remedy".to_owned(), entry.remedy.into());
    Event { message: entry.message.to_owned(), fields, ..Event::now() }
}

/// An event as a line of JSON, in which nothing is hidden.
fn line(event: Event, level: Level, target: &str) -> String {
    let mut line = json!({
        "timestamp": rfc_3339(event.at),
        "level": level.as_str(),
        "target": target,
        "message": event.message,
        "fields": event.fields,
    });
    if let (Value::Object(line), Some(context)) = (&mut line, event.context) {
        line.insert("trace_id".to_owned(), context.trace_id().to_string().into());
        line.insert("span_id".to_owned(), context.span_id().to_string().into());
    }
    visible::json(&line.to_string()) + "\n"
}

fn rfc_3339(at: UnixMicros) -> String {
    let at = i64::try_from(at.0).ok().and_then(|at| Timestamp::from_microsecond(at).ok()).unwrap_or_default();
    format!("{at:.6}")
}

/// The time of a line of text, by our clock.
struct WallTime;

impl FormatTime for WallTime {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        out.write_str(&rfc_3339(Clock::Wall.now()))
    }
}

/// Formats events as lines of JSON.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &tracing::Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        out.write_str(&line(Event::of(event), *metadata.level(), metadata.target()))
    }
}

/// Standard error, which may go away or be full while the ledger goes on: what it does not take is counted. It takes whole lines; what
/// these quote is seen as what it is.
#[derive(Clone, Copy, Debug)]
pub struct StandardError;

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let seen = visible::lines(&String::from_utf8_lossy(line));
        if std::io::stderr().write_all(seen.as_bytes()).is_err() {
            metrics::line_lost();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

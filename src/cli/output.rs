//! What people see: tables, colour on a terminal, progress of long work.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::clock::Stopwatch;
use crate::config;
use crate::query;
use crate::telemetry::StandardError;

/// Why standard output took no more.
static REFUSED: OnceLock<ErrorKind> = OnceLock::new();

/// Why standard output took no more: a broken pipe if its reader has enough. Commands that change something go on to their
/// end; those that only print may end at once.
#[must_use]
pub(super) fn refused() -> Option<ErrorKind> {
    REFUSED.get().copied()
}

/// Prints one canonical JSON line.
pub(super) fn json(value: &Value) {
    line(query::line(value));
}

/// Prints a line for people.
pub(super) fn line(text: impl std::fmt::Display) {
    if let Err(error) = writeln!(std::io::stdout(), "{text}") {
        REFUSED.get_or_init(|| error.kind());
    }
}

/// Prints a line on standard error, if that takes it.
pub(super) fn note(text: impl std::fmt::Display) {
    let _ = StandardError.write_all(format!("{text}\n").as_bytes()); // it never fails
}

/// A table with these columns, or without a head where there are none; plain when it is piped.
#[must_use]
pub(super) fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    let terminal = std::io::stdout().is_terminal();
    table.load_style(if terminal { presets::UTF8_BORDERS_ONLY } else { presets::NOTHING });
    if terminal {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    if !columns.is_empty() {
        table.set_header(columns);
    }
    table
}

/// Whether standard output takes colour.
#[must_use]
pub(super) fn colour() -> bool {
    std::io::stdout().is_terminal() && !config::no_color()
}

/// A word in the colour of its meaning: green for what passed, red for what did not, yellow for what nobody knows yet.
#[must_use]
pub(super) fn verdict(word: &str) -> String {
    let code = match word {
        "PASS" | "SUCCEEDED" | "OK" | "yes" => 32,
        "UNCERTAIN" | "ESCALATE" | "EXPIRED" => 33,
        "FAIL" | "FAILED" | "REFUSED" | "NO" => 31,
        _ => return word.to_owned(),
    };
    if colour() { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word.to_owned() }
}

/// Progress on standard error: nothing unless it is a terminal and the work takes long.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    started: Stopwatch,
}

impl Progress {
    /// Progress of counting `what`.
    #[must_use]
    pub(super) fn of(what: &'static str) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} {human_pos} ({per_sec})");
            ProgressBar::new_spinner()
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
                .with_message(what)
        });
        Progress { bar, started: Stopwatch::start() }
    }

    /// Says how far it is.
    pub(super) fn at(&self, count: u64) {
        if let Some(bar) = &self.bar
            && count.is_multiple_of(256)
        {
            bar.set_position(count);
        }
    }

    /// Ends it, and says how long it took, in milliseconds.
    #[must_use]
    pub(super) fn end(self) -> u64 {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A string of a JSON value, or nothing.
#[must_use]
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

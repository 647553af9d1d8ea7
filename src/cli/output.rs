//! What people see: tables, colour on a terminal, progress of long work.
//!
//! **Invariant:** whatever goes out is [`visible`]: of what steers a terminal only the colours of [`verdict`] leave, and what draws a [`Screen`]. A text of others is made so
//! where it is taken ([`text`], [`compact`]), so that it can neither break a line nor take a colour.

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::OnceLock;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tracing::Level;

use crate::clock::Stopwatch;
use crate::config;
use crate::query;
use crate::telemetry::logging;
use crate::visible;

mod screen;

pub(super) use screen::Screen;

/// Why standard output took no more.
static REFUSED: OnceLock<ErrorKind> = OnceLock::new();

/// Begins what steers a terminal.
const ESCAPE: char = '\u{1b}';

/// What follows it for red, green, yellow, and the end of them.
const PAINTS: [&str; 4] = ["[31m", "[32m", "[33m", "[0m"];

/// Why standard output took no more: a broken pipe if its reader has enough. Commands that change something go on to their
/// end; those that only print may end at once.
#[must_use]
pub(super) fn refused() -> Option<ErrorKind> {
    REFUSED.get().copied()
}

/// Prints one line of JSON: the canonical one, but that what cannot be seen is escaped.
pub(super) fn json(value: &Value) {
    write(&visible::json(&query::line(value)));
}

/// Prints a line for people.
pub(super) fn line(text: impl std::fmt::Display) {
    write(&painted(&text.to_string(), if colour() { &PAINTS } else { &[] }));
}

fn write(line: &str) {
    if let Err(error) = writeln!(std::io::stdout(), "{line}") {
        REFUSED.get_or_init(|| error.kind());
    }
}

/// Visible lines, and of what follows [`ESCAPE`] these.
fn painted(text: &str, paints: &[&str]) -> String {
    let mut parts = text.split(ESCAPE);
    let mut out = visible::lines(parts.next().unwrap_or_default());
    for part in parts {
        let paint = paints.iter().find(|paint| part.starts_with(*paint)).copied().unwrap_or_default();
        let escape = ESCAPE.to_string();
        out.push_str(&if paint.is_empty() { visible::text(&escape) } else { escape + paint });
        out.push_str(&visible::lines(part.strip_prefix(paint).unwrap_or_default()));
    }
    out
}

/// Prints a line on standard error, if that takes it.
pub(super) fn note(text: impl std::fmt::Display) {
    logging::note(Level::INFO, &text.to_string());
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
    let [red, green, yellow, plain] = PAINTS;
    let paint = match word {
        "PASS" | "SUCCEEDED" | "OK" | "yes" => green,
        "UNCERTAIN" | "ESCALATE" | "EXPIRED" => yellow,
        "FAIL" | "FAILED" | "REFUSED" | "NO" => red,
        _ => return word.to_owned(),
    };
    if colour() { format!("{ESCAPE}{paint}{word}{ESCAPE}{plain}") } else { word.to_owned() }
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

/// A string of a JSON value, or nothing, in one line.
#[must_use]
pub(super) fn text(value: &Value, pointer: &str) -> String {
    visible::text(value.pointer(pointer).and_then(Value::as_str).unwrap_or_default())
}

/// A path in one line.
#[must_use]
pub(super) fn path(path: &Path) -> String {
    visible::text(&path.to_string_lossy())
}

/// A JSON value in one line.
#[must_use]
pub(super) fn compact(value: &Value) -> String {
    visible::text(&value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_steers_a_terminal_only_colours_leave_and_only_where_it_takes_them() {
        let text = "\u{1b}[32mPASS\u{1b}[0m \u{1b}[2Ja\u{9b}31m\nb\u{1b}[31;5mc\u{1b}";
        let coloured = "\u{1b}[32mPASS\u{1b}[0m \\u{1b}[2Ja\\u{9b}31m\nb\\u{1b}[31;5mc\\u{1b}";
        assert_eq!(painted(text, &PAINTS), coloured);
        assert_eq!(painted(text, &[]), coloured.replace('\u{1b}', "\\u{1b}"));
    }
}

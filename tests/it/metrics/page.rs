//! The table of metrics as people read it, and that nothing is counted past it.

use std::fmt::Write;
use std::path::Path;

use writ::telemetry::declared::{ALL, BUCKETS, Kind, Series, Unit};
use writ::telemetry::labels::Values;

const PAGE: &str = "docs/metrics.md";

const DOOR: &str = "\
# Metrics

What a ledger that is served counts and measures. `GET /metrics` shows it, on the HTTP address and on the ledger's socket, in the text
format of Prometheus, and in OpenMetrics 1.0 where `Accept` asks for `application/openmetrics-text`. Where an OTLP endpoint is set, a
collector is sent the same, under the same names, with the same values: a test holds the two against each other.

This page is written from the one table, `src/telemetry/declared.rs`: `WRIT_BLESS=1 cargo test --test it -- metrics::page`.

- Every series is there from the start, at 0: what would appear with its first event has no increase that an alert could see. (The
  OpenTelemetry SDK sends a histogram without labels only from its first value on.)
- Labels are bounded by their types: no tenants, no principals, no ids. Names of connectors and budgets are those of the signed policy,
  32 in the life of a process, in the order in which they came into force; `other` stands for all further ones: gauges say what waits at all of
  them, and the largest of the rest.
- What changes by itself, as ages do, is looked at each second. `/metrics` is rendered when it is asked, at most ten times a second,
  however many ask.
- Counters begin anew with each process; `process_start_time_seconds` says when that was.
";

/// The page, as the table says it.
fn page() -> String {
    let bounds: Vec<String> = BUCKETS.iter().map(ToString::to_string).collect();
    let mut page = format!("{DOOR}- The buckets of every histogram end at the same seconds: {}.\n", bounds.join(", "));
    page.push_str("\n| series | kind | labels | what it says |\n| --- | --- | --- | --- |\n");
    for series in ALL {
        let Series { name, kind, help, .. } = series;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let unit = match series.unit {
            Unit::Count => "",
            Unit::Seconds => ", seconds",
            Unit::Bytes => ", bytes",
            Unit::Ratio => ", part of 1",
        };
        let labels: Vec<String> = (series.labels)().into_iter().map(|(label, values)| of(label, &values)).collect();
        writeln!(page, "| `{name}` | {kind}{unit} | {} | {help} |", labels.join("; ")).expect("a text");
    }
    page
}

fn of(label: &str, values: &Values) -> String {
    match values {
        Values::Listed(values) => {
            let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            format!("`{label}`: {}", values.join(", "))
        }
        Values::InWords(words) => format!("`{label}`: {words}"),
        Values::Named { most, others } => format!("`{label}`: {most} names of the policy, `{others}`"),
    }
}

#[test]
fn the_page_of_metrics_is_the_table() {
    let table = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os("WRIT_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &table).expect("writes");
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let line = page.lines().zip(table.lines()).take_while(|(page, table)| page == table).count();
    assert!(
        page == table,
        "{PAGE}:{}: not what the table says\n  page:  {}\n  table: {}\nrun `WRIT_BLESS=1 cargo test --test it -- metrics::page`, then \
         read the difference in git",
        line + 1,
        page.lines().nth(line).unwrap_or("(end)"),
        table.lines().nth(line).unwrap_or("(end)"),
    );
}

#[test]
fn names_say_what_they_are() {
    for Series { name, kind, unit, help, .. } in ALL {
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        let bare = name.trim_end_matches("_total");
        for (suffix, of) in [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes), ("_ratio", Unit::Ratio)] {
            assert_eq!(bare.ends_with(suffix), *unit == of, "{name}");
        }
        assert!(*kind != Kind::Histogram || *unit == Unit::Seconds, "{name}: the buckets are of seconds");
        assert!(
            help.starts_with(|c: char| c.is_uppercase() || c.is_numeric()) && !help.ends_with('.'),
            "{name}: {help}"
        );
    }
    assert!(BUCKETS.windows(2).all(|pair| pair[0] < pair[1]));
}

/// Everything below a folder, with its path.
fn sources(folder: &Path, into: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|it| it == "rs") {
            into.push((path.to_string_lossy().into_owned(), std::fs::read_to_string(&path).expect("a source")));
        }
    }
}

/// The compiler names what is declared and counted by no function; and here is what no function is called for.
#[test]
fn what_is_declared_is_counted_and_nothing_past_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    ["src", "projections/src"].iter().for_each(|folder| sources(&root.join(folder), &mut all));
    for (path, text) in &all {
        for word in
            ["counter!(", "gauge!(", "histogram!(", "register_counter(", "register_gauge(", "register_histogram("]
        {
            assert!(!text.contains(word) || path.contains("src/telemetry/"), "{path}: {word}: declare it in the table");
        }
    }
    let functions = include_str!("../../../src/telemetry/metrics.rs");
    let names =
        functions.lines().filter_map(|line| line.strip_prefix("pub fn ").or(line.strip_prefix("pub(super) fn ")));
    let names: Vec<&str> = names.filter_map(|rest| rest.split('(').next()).collect();
    assert!(names.len() > 40, "{names:?}");
    let called = |name: &&str| {
        let call = format!("metrics::{name}(");
        let elsewhere = all.iter().any(|(path, text)| !path.ends_with("telemetry/metrics.rs") && text.contains(&call));
        elsewhere || functions.contains(&format!("    {name}("))
    };
    let idle: Vec<&&str> = names.iter().filter(|name| !called(name)).collect();
    assert!(idle.is_empty(), "nobody calls {idle:?}");
}

//! What people look at speaks of what there is: the metrics, labels and values that rules, dashboards and pages name are declared, each alert
//! has a page and two tests, and the pages' commands and codes exist.
//!
//! Whether the rules mean what they say, `promtool test rules ops/prometheus/tests/*.yml` shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use writ::telemetry::declared::{ALL, Kind, Series};
use writ::telemetry::labels::Values;
use writ_schemas::errors::Code;

use crate::scene::writ;

/// What Prometheus adds itself, what the rules add, and the bounds of buckets.
const OTHER_LABELS: [&str; 7] = ["instance", "job", "le", "slo", "severity", "alertname", "alertstate"];

/// The headings of a page, in order.
const HEADINGS: [&str; 4] = ["What it means", "How to see it", "What to do", "What not to do"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder, by name, with their text.
fn files(folder: &str, extension: &str) -> BTreeMap<String, String> {
    let listed = std::fs::read_dir(root().join(folder)).unwrap_or_else(|e| panic!("{folder}: {e}"));
    let paths = listed.map(|entry| entry.expect("lists").path());
    let wanted: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    assert!(!wanted.is_empty(), "{folder} has no {extension}");
    let named = |path: PathBuf| {
        let name = format!("{folder}/{}", path.file_name().expect("a name").to_string_lossy());
        (name, std::fs::read_to_string(&path).expect("reads"))
    };
    wanted.into_iter().map(named).collect()
}

fn rules() -> BTreeMap<String, String> {
    files("ops/prometheus/rules", "yml")
}

fn pages() -> BTreeMap<String, String> {
    let mut pages = files("docs/runbooks", "md");
    pages.insert("docs/slo.md".to_owned(), std::fs::read_to_string(root().join("docs/slo.md")).expect("reads"));
    pages
}

/// Every text that names metrics.
fn texts() -> BTreeMap<String, String> {
    let mut all = rules();
    all.extend(pages());
    all.extend(files("ops/prometheus/tests", "yml"));
    for (name, text) in files("ops/grafana/dashboards", "json") {
        let mut queries = Vec::new();
        collect_queries(&serde_json::from_str(&text).expect("JSON"), &mut queries);
        assert!(queries.len() > 10, "{name}: {} queries", queries.len());
        all.insert(name, queries.join("\n"));
    }
    all
}

/// Each `expr`, and each `query` of a variable.
fn collect_queries(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            out.extend(["expr", "query"].iter().filter_map(|key| map.get(*key)?.as_str()).map(str::to_owned));
            map.values().for_each(|value| collect_queries(value, out));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_queries(value, out)),
        _ => {}
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// The words of a text, each with what follows it.
fn words(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c| !is_word(c));
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        (!word.is_empty()).then_some((word, after))
    })
}

/// What is declared under this name, or, of a histogram, under the name of one of its series.
fn declared(name: &str) -> Option<&'static Series> {
    let of_histogram = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
    let exact = ALL.iter().find(|series| series.name == name && series.kind != Kind::Histogram);
    exact.or_else(|| ALL.iter().find(|it| it.kind == Kind::Histogram && Some(it.name) == of_histogram))
}

/// The comparisons of a selector `{a="b",c=~"d|e"}`: label, sign, value.
fn selector(after: &str) -> Vec<(String, String)> {
    let Some(inside) = after.strip_prefix('{') else { return Vec::new() };
    let mut found = Vec::new();
    let mut rest = inside;
    // `{{` begins a template, `{label, label}` in a page only names them.
    while let Some((label, comparison)) =
        rest.split_once(['=', '!', '}']).filter(|(label, _)| label.chars().all(is_word))
    {
        let Some((_, quoted)) = comparison.split_once('"') else { break };
        let Some((value, next)) = quoted.split_once('"') else { break };
        found.push((label.to_owned(), value.to_owned()));
        let Some(next) = next.strip_prefix(',') else { break };
        rest = next.trim_start();
    }
    found
}

/// Whether a value of a selector is one that the label can have: each alternative of a pattern, of which only the dot is known here.
fn can_be(values: &Values, pattern: &str) -> bool {
    let fits = |value: &str, pattern: &str| {
        value.len() == pattern.len() && value.bytes().zip(pattern.bytes()).all(|(v, p)| p == b'.' || v == p)
    };
    let one = |alternative: &str| match values {
        _ if alternative.starts_with('$') => true,
        Values::Listed(listed) => listed.iter().any(|value| fits(value, alternative)),
        Values::InWords(_) => alternative.parse::<Code>().is_ok(),
        Values::Named { .. } => true,
    };
    pattern.split('|').all(one)
}

#[test]
fn every_metric_label_and_value_that_is_named_is_declared() {
    let all_rules = rules().into_values().collect::<String>();
    let recorded: BTreeSet<&str> =
        all_rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    let known: BTreeSet<&str> =
        ALL.iter().flat_map(|it| (it.labels)()).map(|(label, _)| label).chain(OTHER_LABELS).collect();
    let (mut wrong, mut named) = (Vec::new(), BTreeSet::new());
    for (file, text) in texts() {
        for (word, after) in words(&text) {
            if word.starts_with("writ:") && word.len() > 5 && !word.ends_with(":WINDOW") && !recorded.contains(word) {
                wrong.push(format!("{file}: {word} is recorded by no rule"));
            }
            if word == "by"
                && let Some((labels, _)) = after.strip_prefix(" (").and_then(|it| it.split_once(')'))
            {
                let unknown = labels.split(", ").filter(|label| !known.contains(label));
                wrong.extend(unknown.map(|label| format!("{file}: by ({labels}): no metric has the label {label}")));
            }
            if !(word.starts_with("writ_") || word.starts_with("process_")) {
                continue;
            }
            // A page may speak of a histogram as a whole; a query cannot.
            let whole = file.ends_with(".md").then(|| ALL.iter().find(|series| series.name == word)).flatten();
            let Some(series) = declared(word).or(whole) else {
                wrong.push(format!("{file}: {word} is not declared"));
                continue;
            };
            named.insert(series.name);
            let labels = (series.labels)();
            for (label, value) in selector(after) {
                match labels.iter().find(|(name, _)| *name == label) {
                    Some((_, values)) if can_be(values, &value) => {}
                    None if OTHER_LABELS.contains(&&*label) => {}
                    _ => wrong.push(format!("{file}: {word} has no {label}=\"{value}\"")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What nobody looks at need not be counted.
    let unseen: Vec<_> = ALL.iter().map(|it| it.name).filter(|name| !named.contains(name)).collect();
    assert!(unseen.is_empty(), "no rule, dashboard or page names {unseen:?}");
}

/// A rule that alerts.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alert {
    name: String,
    severity: String,
    /// Which of the windows of an objective; empty for others.
    window: String,
}

/// The value of a key in `{key: value, key: value}` or `key: value`.
fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, value) = line.split_once(&format!("{key}: "))?;
    Some(value.split([',', '}']).next().unwrap_or_default().trim())
}

fn alerts() -> Vec<Alert> {
    let mut alerts = Vec::new();
    for (file, text) in rules() {
        for rule in text.split("\n      - ").filter(|rule| rule.starts_with("alert: ")) {
            let name = field(rule.lines().next().unwrap_or_default(), "alert").unwrap_or_default().to_owned();
            let labels = rule.lines().find(|line| line.trim().starts_with("labels:")).unwrap_or_default();
            let severity = field(labels, "severity").unwrap_or_default().to_owned();
            assert!(["page", "ticket"].contains(&&*severity), "{file}: {name}: {severity:?}");
            assert!(rule.contains(&format!("runbook_url: docs/runbooks/{name}.md")), "{file}: {name} names its page");
            assert!(rule.contains("summary: '{{ "), "{file}: {name} says in its summary which ledger");
            alerts.push(Alert { name, severity, window: field(labels, "window").unwrap_or_default().to_owned() });
        }
    }
    assert!(alerts.len() > 20, "{} alerts", alerts.len());
    alerts
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let mut severities: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for alert in alerts() {
        severities.entry(alert.name).or_default().insert(alert.severity);
    }
    let runbooks = files("docs/runbooks", "md");
    let titles: BTreeSet<String> = runbooks.keys().map(|file| title(file)).collect();
    assert_eq!(severities.keys().cloned().collect::<BTreeSet<_>>(), titles);
    for (file, text) in &runbooks {
        assert!(text.starts_with(&format!("# {}\n", title(file))), "{file} begins with its alert's name");
        let headings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, HEADINGS, "{file}");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(root().join("docs/runbooks").join(link).exists(), "{file}: {link}");
        }
    }
    let table = std::fs::read_to_string(root().join("docs/slo.md")).expect("reads");
    for (name, severities) in &severities {
        let severity = severities.iter().cloned().collect::<Vec<_>>().join(", ");
        let row = format!("| [{name}](runbooks/{name}.md) | {severity} | ");
        assert_eq!(table.matches(&row).count(), 1, "docs/slo.md has one row {row}");
    }
    assert_eq!(table.matches("](runbooks/").count(), severities.len(), "docs/slo.md has no other rows");
}

fn title(file: &str) -> String {
    Path::new(file).file_stem().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent() {
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for text in files("ops/prometheus/tests", "yml").into_values() {
        for case in text.split("eval_time: ").skip(1) {
            let name = field(case, "alertname").map(|it| it.lines().next().unwrap_or_default().to_owned());
            let name = name.expect("each case names its alert");
            let firing: BTreeSet<Option<&str>> =
                case.lines().filter(|line| line.contains("exp_labels:")).map(|line| field(line, "window")).collect();
            let of = alerts().into_iter().filter(|alert| alert.name == name);
            for alert in of {
                let window = Some(&*alert.window).filter(|window| !window.is_empty());
                if firing.contains(&window) {
                    fires.insert(alert)
                } else {
                    silent.insert(alert)
                };
            }
        }
    }
    let all: BTreeSet<Alert> = alerts().into_iter().collect();
    assert_eq!(all.difference(&fires).collect::<Vec<_>>(), Vec::<&Alert>::new(), "never fire");
    assert_eq!(all.difference(&silent).collect::<Vec<_>>(), Vec::<&Alert>::new(), "are never silent");
}

#[test]
fn the_codes_and_commands_of_pages_exist() {
    let mut wrong = Vec::new();
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    for (file, text) in pages() {
        for (word, _) in words(&text).filter(|(word, _)| word.starts_with("ERR_")) {
            if word.len() > "ERR_".len() && word.parse::<Code>().is_err() {
                wrong.push(format!("{file}: {word} is not registered"));
            }
        }
        let spans = text.split('`').skip(1).step_by(2);
        let lines = spans.flat_map(str::lines).filter(|line| line.starts_with("writ "));
        for line in lines {
            let line = line.split(['|', '#']).next().unwrap_or_default();
            let path: Vec<&str> =
                line.split(' ').skip(1).take_while(|word| word.bytes().all(|it| it.is_ascii_lowercase())).collect();
            let help = helps.entry(path.join(" ")).or_insert_with(|| {
                let run = writ(path.iter().copied().chain(["--help"]));
                if run.status == 0 { run.out } else { String::new() }
            });
            if help.is_empty() {
                wrong.push(format!("{file}: there is no `{line}`"));
            }
            for flag in line.split(' ').filter(|word| word.starts_with("--")) {
                if !help.is_empty() && !help.contains(flag) {
                    wrong.push(format!("{file}: `{line}` does not take {flag}"));
                }
            }
        }
    }
    assert!(helps.len() >= 10, "{:?}", helps.keys());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_compose_starts_is_pinned_reached_from_this_machine_only_and_there() {
    let compose = std::fs::read_to_string(root().join("docker-compose.yml")).expect("reads");
    let items = |key: &str| {
        let head = format!("    {key}:\n");
        let blocks = compose.split(&*head).skip(1);
        let lines = blocks.flat_map(|block| block.lines().take_while(|line| line.starts_with("      - ")));
        lines.map(|line| line.trim_start_matches([' ', '-']).trim_matches('"').to_owned()).collect::<Vec<_>>()
    };
    let (ports, volumes) = (items("ports"), items("volumes"));
    assert!(ports.len() >= 5 && volumes.len() >= 8, "{ports:?} {volumes:?}");
    for port in ports {
        assert!(port.starts_with("127.0.0.1:"), "{port} is reached from other machines");
    }
    for file in volumes.iter().filter_map(|volume| volume.strip_prefix("./")?.split(':').next()) {
        assert!(root().join(file).exists(), "{file} is mounted, and is not there");
    }
    for image in compose.lines().filter_map(|line| line.trim().strip_prefix("image: ")).filter(|image| *image != "writ")
    {
        let (_, tag) = image.split_once(':').unwrap_or_default();
        assert!(tag.split('.').count() == 3, "{image} is not pinned");
    }
}

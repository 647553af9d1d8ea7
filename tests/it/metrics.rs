//! What is counted is there from the start, at 0: an alert on an increase hears of the first event, too.
//!
//! - `page`: docs/metrics.md
//! - `counted`: what the log says
//! - `asked`: forms, tools, many at once
//! - `audits`: what checks tell

use std::collections::BTreeMap;

use writ::telemetry::declared::{ALL, Series};

use crate::scene::{Scene, Served};

mod page;
mod counted;
mod asked;
mod audits;

/// The values of `/metrics`, by series.
struct Shown(BTreeMap<String, f64>);

impl Shown {
    fn by(served: &Served) -> Shown {
        let (status, body) = served.ask("GET", "/metrics", "", b"");
        assert_eq!(status, 200);
        let lines = body.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let value = |line: &str| {
            line.rsplit_once(' ').map(|(series, value)| (series.to_owned(), value.parse().expect("a number")))
        };
        Shown(lines.map(|line| value(line).expect("a value")).collect())
    }

    fn of(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("{series} is not there"))
    }

    /// Of all series that begin so.
    fn sum(&self, start: &str) -> f64 {
        self.0.iter().filter(|(series, _)| series.starts_with(start)).map(|(_, value)| value).sum()
    }
}

#[test]
fn every_declared_series_is_there_from_the_start() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    let shown = Shown::by(&served);
    let (_, body) = served.ask("GET", "/metrics", "", b"");
    for Series { name, help, .. } in ALL {
        assert!(body.contains(&format!("# HELP {name} {help}\n")), "{name} is not explained: {body}");
        let is_of =
            |series: &&String| series.strip_prefix(name).is_some_and(|rest| !rest.starts_with(char::is_alphabetic));
        assert!(shown.0.keys().any(|series| is_of(&series)), "{name} is not there: {body}");
    }
    let declared = |series: &String| ALL.iter().any(|it| series.starts_with(it.name));
    assert!(shown.0.keys().all(declared), "nothing else is shown");
    // What counts events begins at 0, and opening wrote an entry at most.
    let events =
        ["writ_intents_total", "writ_receipts_total", "writ_gate_", "writ_fatal_total", "writ_stage_errors_total"];
    let of_events = |series: &str| events.iter().any(|name| series.starts_with(name));
    let counted: Vec<_> = shown.0.iter().filter(|(series, value)| of_events(series) && **value != 0.0).collect();
    assert!(counted.is_empty(), "they do not begin at 0: {counted:?}");
    served.stop();
}

//! Figures as lines: a screen for people, and one line for a log.
//!
//! A line that begins with `!` shows something that an alert of `docs/slo.md` would tell of.

use std::fmt::Display;

use super::figures::{Figures, Lag};

/// The order in which an intent passes the stages of a decision.
const STAGES: [&str; 5] = ["parse", "queue", "decide", "sign", "append"];

/// The objective of latency, in seconds.
const DECISION_MAX: f64 = 0.1;

/// The lines of a screen.
pub(super) fn screen(figures: &Figures, of: &str) -> Vec<String> {
    let Figures { decision, executions, kafka, disk, process, clock, audits, .. } = figures;
    let mut lines = Vec::new();
    let mut row = |wrong: bool, name: &str, text: String| {
        lines.push(format!("{} {name:<12} {text}", if wrong { '!' } else { ' ' }));
    };
    row(
        false,
        "writ",
        format!("{} at {of}, up {}, {} entries", figures.version, time(figures.up), count(figures.entries)),
    );
    let intents = joined(&figures.intents, |verdict, rate| format!("{verdict} {rate:.1}"));
    row(false, "intents/s", format!("{:.1}   {intents}", figures.intents.values().sum::<f64>()));
    let mut codes: Vec<_> = figures.codes.iter().collect();
    codes.sort_by(|a, b| b.1.total_cmp(a.1));
    let codes = codes.iter().take(6).map(|(code, rate)| format!("{code} {rate:.1}")).collect::<Vec<_>>().join("  ");
    row(is_ours(figures), "codes/s", or_none(codes));
    let slow = decision.p99.is_some_and(|p99| p99 > DECISION_MAX);
    row(slow, "decisions", format!("p50 {}  p99 {}", quantile(decision.p50), quantile(decision.p99)));
    let stages = STAGES.iter().filter_map(|stage| Some(format!("{stage} {}", time(*figures.stages.get(*stage)?))));
    row(false, "  stages p99", or_none(stages.collect::<Vec<_>>().join("  ")));
    let lanes = joined(&figures.queue, |lane, it| format!("{lane} {} ({})", count(it.inputs), time(it.oldest)));
    row(false, "queue", or_none(lanes));
    let behind = figures.followers.iter().any(|(name, lag)| is_behind(name, lag));
    let lags = joined(&figures.followers, |name, it| format!("{name} {} ({})", time(it.seconds), count(it.entries)));
    row(behind, "behind", or_none(lags));
    row(
        executions.uncertain > 0.0,
        "executions",
        format!(
            "open {}  under way {}  oldest {}  uncertain {}",
            count(executions.open),
            count(executions.under_way),
            time(executions.oldest),
            count(executions.uncertain)
        ),
    );
    // What stands for those beyond the names that are counted is there without them, too.
    for (name, it) in figures.connectors.iter().filter(|(name, it)| *name != "other" || it.calls > 0.0) {
        let (calls, failing, waiting) = (it.calls, it.failing * 100.0, count(it.waiting));
        let state = if it.breaker_open { "  breaker open" } else { "" };
        let text = format!("{calls:.1}/s  p99 {}  failing {failing:.0} %  waiting {waiting}{state}", quantile(it.p99));
        row(it.breaker_open || it.failing > 0.1, &format!("  {name}"), text);
    }
    row(
        kafka.held > 0.0,
        "kafka",
        format!(
            "read {:.1}/s  published {:.1}/s  not read {}  partitions held {}",
            kafka.read,
            kafka.published,
            count(kafka.unread),
            count(kafka.held)
        ),
    );
    let [free, reserve, memory] = [disk.free, disk.reserve, process.memory].map(bytes);
    let sync = quantile(disk.sync_p99);
    row(disk.short > 0.0, "disk", format!("{}  free {free}  reserve {reserve}  sync p99 {sync}", room(disk.short)));
    row(
        process.files > 0.8 * process.files_max,
        "process",
        format!(
            "memory {memory}  cpu {:.0} %  files {} of {}",
            process.cpu * 100.0,
            count(process.files),
            count(process.files_max)
        ),
    );
    row(clock.stopped, "clock", format!("{}  off {:.3} s", belief(clock.stopped), clock.off));
    let held = joined(&audits.age, |check, age| format!("{check} {} ago", time(*age)));
    row(audits.broken > 0.0, "audits held", format!("{}   broken {}", or_none(held), count(audits.broken)));
    lines
}

/// The same in a line, without what is looked up rather than watched.
pub(super) fn line(figures: &Figures) -> String {
    let Figures { decision, executions, disk, clock, .. } = figures;
    let of = |verdict: &str| figures.intents.get(verdict).copied().unwrap_or_default();
    let waiting: f64 = figures.queue.values().map(|it| it.inputs).sum();
    let behind = figures.followers.values().map(|it| it.seconds).fold(0.0, f64::max);
    let codes = joined(&figures.codes, |code, rate| format!("{code} {rate:.1}"));
    format!(
        "intents {:.1}/s  pass {:.1}  fail {:.1}  refused {:.1}  p50 {}  p99 {}  queue {}  behind {}  open {}  uncertain {}  disk {}  clock {}  {}",
        figures.intents.values().sum::<f64>(),
        of("PASS"),
        of("FAIL"),
        of("REFUSED"),
        quantile(decision.p50),
        quantile(decision.p99),
        count(waiting),
        time(behind),
        count(executions.open),
        count(executions.uncertain),
        room(disk.short),
        belief(clock.stopped),
        or_none(codes),
    )
}

/// Whether intents are refused for want of room, which is nobody else's fault.
fn is_ours(figures: &Figures) -> bool {
    ["ERR_OVERLOADED", "ERR_DISK_FULL"].iter().any(|code| figures.codes.contains_key(*code))
}

fn is_behind(follower: &str, lag: &Lag) -> bool {
    let bound = match follower {
        "checkpointer" => 5.0,
        "publisher" => 10.0,
        _ => 60.0,
    };
    lag.seconds > bound
}

fn joined<T>(all: &std::collections::BTreeMap<String, T>, show: impl Fn(&str, &T) -> String) -> String {
    all.iter().map(|(key, value)| show(key, value)).collect::<Vec<_>>().join("  ")
}

fn or_none(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

fn room(short: f64) -> &'static str {
    if short > 1.0 {
        "none: the writer stands still"
    } else if short > 0.0 {
        "short"
    } else {
        "ok"
    }
}

fn belief(stopped: bool) -> &'static str {
    if stopped { "not believed" } else { "ok" }
}

fn quantile(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), time)
}

fn count(number: f64) -> impl Display {
    format!("{number:.0}")
}

/// Seconds, in the unit that people would say them in.
fn time(seconds: f64) -> String {
    match seconds {
        s if s <= 0.0 => "0 s".to_owned(),
        s if s < 0.001 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}

fn bytes(number: f64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)].map(|(unit, power)| (unit, 2_f64.powi(power)));
    let fits = units.into_iter().find(|(_, size)| number >= *size);
    fits.map_or_else(|| format!("{number:.0} B"), |(unit, size)| format!("{:.1} {unit}", number / size))
}

#[cfg(test)]
mod tests {
    use super::super::exposition::Exposition;
    use super::*;

    fn figures(before: &str, now: &str) -> Figures {
        let [before, now] = [before, now].map(|text| Exposition::parse(text).expect("of the format"));
        Figures::between(&before, &now, 1.0, 1_000_090_000.0)
    }

    const CALM: &str = include_str!("calm.txt");
    const TROUBLE: &str = include_str!("trouble.txt");

    #[test]
    fn a_calm_ledger() {
        let shown = screen(&figures("", CALM), "./ledger");
        assert_eq!(shown.join("\n"), include_str!("calm.screen.txt").trim_end());
    }

    #[test]
    fn a_ledger_in_trouble_marks_each_row_of_it() {
        let figures = figures(CALM, TROUBLE);
        assert_eq!(screen(&figures, "./ledger").join("\n"), include_str!("trouble.screen.txt").trim_end());
        assert_eq!(
            line(&figures),
            "intents 20.0/s  pass 5.0  fail 5.0  refused 10.0  p50 255.0 ms  p99 495.1 ms  queue 8192  behind 75.0 s  open 40  uncertain 2  \
             disk short  clock not believed  ERR_FROZEN 5.0  ERR_OVERLOADED 10.0"
        );
    }

    #[test]
    fn a_stranger_that_says_nothing_has_a_screen_too() {
        let lines = screen(&figures("", ""), "http://x");
        assert!(lines.iter().all(|line| !line.starts_with('!')), "{lines:?}");
    }
}

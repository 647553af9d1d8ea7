//! What two expositions say of the time between them.
//!
//! **Invariant:** pure; what it is given may be a stranger's, so whatever is not there is nothing, and nothing is divided by it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::exposition::Exposition;

/// What a screen shows. Rates are a second, times in seconds; a quantile is absent where nothing happened.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    pub(super) version: String,
    pub(super) up: f64,
    pub(super) entries: f64,
    /// By verdict.
    pub(super) intents: BTreeMap<String, f64>,
    /// By code, of what did not pass.
    pub(super) codes: BTreeMap<String, f64>,
    pub(super) decision: Quantiles,
    /// The p99 of each.
    pub(super) stages: BTreeMap<String, f64>,
    pub(super) queue: BTreeMap<String, Waiting>,
    pub(super) followers: BTreeMap<String, Lag>,
    pub(super) executions: Executions,
    pub(super) connectors: BTreeMap<String, Connector>,
    pub(super) kafka: Kafka,
    pub(super) disk: Disk,
    pub(super) process: Process,
    pub(super) clock: ClockState,
    pub(super) audits: Audits,
}

/// Of a histogram.
#[derive(Debug, Default, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

/// A lane of the queue.
#[derive(Debug, Default, Serialize)]
pub(super) struct Waiting {
    pub(super) inputs: f64,
    pub(super) oldest: f64,
}

/// How far a follower lies behind.
#[derive(Debug, Default, Serialize)]
pub(super) struct Lag {
    pub(super) entries: f64,
    pub(super) seconds: f64,
}

/// Executions.
#[derive(Debug, Default, Serialize)]
pub(super) struct Executions {
    pub(super) open: f64,
    pub(super) under_way: f64,
    pub(super) oldest: f64,
    pub(super) uncertain: f64,
}

/// A connector.
#[derive(Debug, Default, Serialize)]
pub(super) struct Connector {
    pub(super) calls: f64,
    /// The share of them that was unavailable or unknown.
    pub(super) failing: f64,
    pub(super) p99: Option<f64>,
    pub(super) waiting: f64,
    pub(super) breaker_open: bool,
}

/// Kafka.
#[derive(Debug, Default, Serialize)]
pub(super) struct Kafka {
    pub(super) read: f64,
    pub(super) published: f64,
    pub(super) unread: f64,
    pub(super) held: f64,
}

/// The disk.
#[derive(Debug, Default, Serialize)]
pub(super) struct Disk {
    pub(super) short: f64,
    pub(super) free: f64,
    pub(super) reserve: f64,
    pub(super) sync_p99: Option<f64>,
}

/// The process.
#[derive(Debug, Default, Serialize)]
pub(super) struct Process {
    pub(super) memory: f64,
    pub(super) cpu: f64,
    pub(super) files: f64,
    pub(super) files_max: f64,
}

/// The clock.
#[derive(Debug, Default, Serialize)]
pub(super) struct ClockState {
    pub(super) off: f64,
    pub(super) stopped: bool,
}

/// Audits.
#[derive(Debug, Default, Serialize)]
pub(super) struct Audits {
    /// How long ago each check held; absent where it never did.
    pub(super) age: BTreeMap<String, f64>,
    pub(super) broken: f64,
}

/// The codes that are no refusals.
const NO_REFUSALS: [&str; 2] = ["OK", "ERR_APPROVAL_NEEDED"];

impl Figures {
    /// Of two expositions that lie so many seconds apart, at this Unix time.
    pub(super) fn between(before: &Exposition, now: &Exposition, seconds: f64, unix_seconds: f64) -> Figures {
        let change = Change { before, now, seconds: seconds.max(f64::MIN_POSITIVE) };
        let is = |metric, labels: &[_]| now.sum(metric, labels).unwrap_or_default();
        let owned = |by: BTreeMap<&str, f64>| by.into_iter().map(|(key, it)| (key.to_owned(), it)).collect();
        let each = |metric, by| now.sums(metric, &[], by).into_keys().collect::<Vec<_>>();
        let codes = change.rates("writ_intents_total", &[], "code");
        let codes = codes.into_iter().filter(|(code, rate)| !NO_REFUSALS.contains(code) && *rate > 0.0).collect();
        let stages = each("writ_stage_duration_seconds_count", "stage").into_iter().filter_map(|stage| {
            let p99 = change.quantile("writ_stage_duration_seconds", &[("stage", stage)], 0.99)?;
            Some((stage.to_owned(), p99))
        });
        let lanes = now.sums("writ_queue_inputs", &[], "lane").into_iter().map(|(lane, inputs)| {
            (lane.to_owned(), Waiting { inputs, oldest: is("writ_queue_oldest_seconds", &[("lane", lane)]) })
        });
        let lags = now.sums("writ_follower_lag_seconds", &[], "follower").into_iter().map(|(follower, seconds)| {
            let entries = is("writ_follower_lag_entries", &[("follower", follower)]);
            (follower.to_owned(), Lag { entries, seconds })
        });
        let connectors = each("writ_connector_calls_total", "connector");
        let ages = now.sums("writ_audit_age_seconds", &[], "check").into_iter().filter(|(_, age)| *age >= 0.0);
        let started = is("process_start_time_seconds", &[]);
        Figures {
            version: each("writ_build_info", "version").pop().unwrap_or_default().to_owned(),
            up: if started > 0.0 { (unix_seconds - started).max(0.0) } else { 0.0 },
            entries: is("writ_checkpoint_entries", &[])
                + is("writ_follower_lag_entries", &[("follower", "checkpointer")]),
            intents: owned(change.rates("writ_intents_total", &[], "verdict")),
            codes: owned(codes),
            decision: Quantiles {
                p50: change.quantile("writ_decision_duration_seconds", &[], 0.5),
                p99: change.quantile("writ_decision_duration_seconds", &[], 0.99),
            },
            stages: stages.collect(),
            queue: lanes.collect(),
            followers: lags.collect(),
            executions: Executions {
                open: is("writ_executions_open", &[]),
                under_way: is("writ_executions_under_way", &[]),
                oldest: is("writ_executions_oldest_seconds", &[]),
                uncertain: is("writ_state_items", &[("kind", "uncertain")]),
            },
            connectors: connectors.into_iter().map(|name| (name.to_owned(), change.connector(name))).collect(),
            kafka: Kafka {
                read: change.rate("writ_kafka_records_total", &[]),
                published: change.rate("writ_kafka_published_total", &[]),
                unread: is("writ_kafka_intake_lag_records", &[]),
                held: is("writ_kafka_partitions_held", &[]),
            },
            disk: Disk {
                short: is("writ_disk_short", &[]),
                free: is("writ_disk_free_bytes", &[]),
                reserve: is("writ_disk_reserve_bytes", &[]),
                sync_p99: change.quantile("writ_sync_duration_seconds", &[], 0.99),
            },
            process: Process {
                memory: is("process_resident_memory_bytes", &[]),
                cpu: change.rate("process_cpu_seconds_total", &[]),
                files: is("process_open_fds", &[]),
                files_max: is("process_max_fds", &[]),
            },
            clock: ClockState { off: is("writ_clock_off_seconds", &[]), stopped: is("writ_clock_stopped", &[]) > 0.0 },
            audits: Audits { age: owned(ages.collect()), broken: is("writ_audits_total", &[("verdict", "broken")]) },
        }
    }
}

/// What rose between two expositions.
struct Change<'a> {
    before: &'a Exposition,
    now: &'a Exposition,
    seconds: f64,
}

impl<'a> Change<'a> {
    /// How much a counter rose. One that fell was begun anew by another process.
    fn increase(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        let [before, now] = [self.before, self.now].map(|it| it.sum(metric, labels).unwrap_or_default());
        if now >= before { now - before } else { now }
    }

    fn rate(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        self.increase(metric, labels) / self.seconds
    }

    fn rates(&self, metric: &str, labels: &[(&str, &str)], by: &str) -> BTreeMap<&'a str, f64> {
        let values = self.now.sums(metric, labels, by).into_keys();
        values.map(|value| (value, self.rate(metric, &[labels, &[(by, value)]].concat()))).collect()
    }

    /// Within a bucket it is taken to be spread evenly, as Prometheus does; above the last bound it is that bound.
    fn quantile(&self, histogram: &str, labels: &[(&str, &str)], q: f64) -> Option<f64> {
        let buckets = format!("{histogram}_bucket");
        let mut bounds: Vec<(f64, &str)> =
            self.now.sums(&buckets, labels, "le").into_keys().filter_map(bound).collect();
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let counts =
            bounds.iter().map(|(bound, le)| (*bound, self.increase(&buckets, &[labels, &[("le", le)]].concat())));
        let counts: Vec<(f64, f64)> = counts.collect();
        let (_, all) = counts.last()?;
        let rank = q * all;
        let (mut lower, mut below) = (0.0, 0.0);
        for (upper, count) in &counts {
            if *count >= rank && *count > below {
                let inside = (rank - below) / (count - below);
                return Some(if upper.is_finite() { lower + (upper - lower) * inside } else { lower });
            }
            (lower, below) = (*upper, *count);
        }
        None
    }

    fn connector(&self, name: &str) -> Connector {
        let of = [("connector", name)];
        let results = self.rates("writ_connector_calls_total", &of, "result");
        let calls: f64 = results.values().sum();
        let bad: f64 = ["unavailable", "unknown"].iter().filter_map(|result| results.get(result)).sum();
        Connector {
            calls,
            failing: if calls > 0.0 { bad / calls } else { 0.0 },
            p99: self.quantile("writ_connector_duration_seconds", &of, 0.99),
            waiting: self.now.sum("writ_connector_waiting", &of).unwrap_or_default(),
            breaker_open: self.now.sum("writ_connector_breaker_open", &of).is_some_and(|it| it > 0.0),
        }
    }
}

fn bound(le: &str) -> Option<(f64, &str)> {
    le.parse().ok().filter(|bound: &f64| !bound.is_nan()).map(|bound| (bound, le))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(before: &str, now: &str) -> Figures {
        let [before, now] = [before, now].map(|text| Exposition::parse(text).expect("of the format"));
        Figures::between(&before, &now, 2.0, 0.0)
    }

    fn histogram(counts: [u32; 4]) -> String {
        let line =
            |(le, count)| format!("writ_decision_duration_seconds_bucket{{source=\"http\",le=\"{le}\"}} {count}\n");
        ["0.001", "0.01", "10", "+Inf"].into_iter().zip(counts).map(line).collect()
    }

    #[test]
    fn quantiles_are_those_of_the_time_between() {
        let before = histogram([100, 100, 100, 100]);
        let of = |counts| {
            let Quantiles { p50, p99 } = between(&before, &histogram(counts)).decision;
            [p50, p99].map(|it| it.map(|seconds| format!("{seconds:.4}")))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of([100, 100, 100, 100]), [None, None]);
        assert_eq!(of([200, 200, 200, 200]), [some("0.0005"), some("0.0010")]);
        assert_eq!(of([150, 200, 200, 200]), [some("0.0010"), some("0.0098")]);
        // Above the last bound nobody knows how far.
        assert_eq!(of([100, 100, 100, 200]), [some("10.0000"), some("10.0000")]);
        // A process that began anew counts from nothing.
        assert_eq!(of([0, 50, 50, 50]), [some("0.0055"), some("0.0099")]);
    }

    #[test]
    fn rates_are_a_second_and_begin_anew_with_the_process() {
        let intents = |pass, fail| {
            format!(
                "writ_intents_total{{verdict=\"PASS\",code=\"OK\"}} {pass}\nwrit_intents_total{{verdict=\"FAIL\",code=\"ERR_FROZEN\"}} {fail}\n"
            )
        };
        let figures = between(&intents(10, 5), &intents(30, 8));
        assert_eq!(figures.intents, BTreeMap::from([("FAIL".to_owned(), 1.5), ("PASS".to_owned(), 10.0)]));
        assert_eq!(figures.codes, BTreeMap::from([("ERR_FROZEN".to_owned(), 1.5)]));
        assert_eq!(between(&intents(10, 5), &intents(4, 5)).intents["PASS"], 2.0);
    }

    #[test]
    fn a_stranger_who_says_nothing_or_nonsense_gives_figures_that_are_numbers() {
        let nonsense = "writ_connector_calls_total{connector=\"\",result=\"unknown\"} -1\nwrit_intents_total{verdict=\"PASS\"} 1e308\n\
                        writ_decision_duration_seconds_bucket{le=\"NaN\"} 1\nwrit_decision_duration_seconds_bucket{le=\"-Inf\"} 9\n\
                        writ_decision_duration_seconds_bucket{le=\"+Inf\"} 3\nwrit_audit_age_seconds{check=\"verify\"} -1\n";
        for text in ["", nonsense] {
            let json = serde_json::to_value(between("", text)).expect("numbers");
            assert!(json.is_object());
        }
        assert!(between("", nonsense).audits.age.is_empty());
    }
}

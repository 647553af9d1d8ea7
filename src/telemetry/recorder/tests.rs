//! Whatever is counted comes out the same on both ways.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};

use super::*;
use crate::telemetry::declared::Handles;
use crate::telemetry::family::NAMES_MAX;

/// Values by name and labels, as Prometheus writes them.
type Values = BTreeMap<String, f64>;

/// Keeps what was exported last.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Values>>);

impl PushMetricExporter for Kept {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let mut values = Values::new();
        for metric in metrics.scope_metrics().flat_map(|scope| scope.metrics()) {
            let declared = ALL.iter().find(|series| series.name == metric.name()).expect("declared");
            assert_eq!(metric.description(), declared.help);
            flatten(metric.name(), metric.data(), &mut values);
        }
        *self.0.lock().expect("whole") = values;
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

/// The series of a metric as Prometheus would write them.
fn flatten(name: &str, data: &AggregatedMetrics, values: &mut Values) {
    let mut put = |suffix: &str, labels: &[String], value: f64| {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        assert_eq!(values.insert(format!("{name}{suffix}{labels}"), value), None, "{name}{suffix}{labels} twice");
    };
    match data {
        AggregatedMetrics::U64(MetricData::Sum(sum)) => {
            assert!(sum.is_monotonic() && sum.temporality() == Temporality::Cumulative);
            sum.data_points().for_each(|point| put("", &labels(point.attributes()), lossy(point.value())));
        }
        AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
            gauge.data_points().for_each(|point| put("", &labels(point.attributes()), point.value()));
        }
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
            assert_eq!(histogram.temporality(), Temporality::Cumulative);
            for point in histogram.data_points() {
                assert_eq!((point.min(), point.max()), (None, None));
                let labels = labels(point.attributes());
                let bounds = point.bounds().map(|bound| bound.to_string()).chain(["+Inf".to_owned()]);
                let mut below = 0;
                for (bound, count) in bounds.zip(point.bucket_counts()) {
                    below += count;
                    put("_bucket", &[labels.as_slice(), &[format!("le=\"{bound}\"")]].concat(), lossy(below));
                }
                put("_sum", &labels, point.sum());
                put("_count", &labels, lossy(point.count()));
            }
        }
        other => panic!("{name} is of no kind of ours: {other:?}"),
    }
}

fn labels<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> Vec<String> {
    attributes.map(|it| format!("{}=\"{}\"", it.key, it.value)).collect()
}

fn lossy(count: u64) -> f64 {
    count.to_string().parse().expect("a number")
}

/// The same of the text of `/metrics`.
fn shown(text: &str) -> Values {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let mut labels: Vec<&str> = labels.trim_end_matches('}').split(',').filter(|it| !it.is_empty()).collect();
            labels.sort_by_key(|label| (label.starts_with("le="), *label)); // attributes are sorted by name
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            (format!("{name}{labels}"), value.parse().expect("a number"))
        })
        .collect()
}

#[test]
fn both_ways_out_say_the_same_of_every_series_from_the_start() {
    let kept = Kept::default();
    let reader = PeriodicReader::builder(kept.clone()).with_interval(Duration::from_secs(3600)).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).with_view(view).build();
    let (recorder, recorded) = recorder(Some(provider.meter("writ"))).expect("a recorder");
    let both = || {
        provider.force_flush().expect("exports");
        (shown(&recorded.render()), std::mem::take(&mut *kept.0.lock().expect("whole")))
    };
    metrics::with_local_recorder(&recorder, || {
        let handles = Handles::begun();
        let (text, collected) = both();
        assert!(ALL.iter().all(|series| text.keys().any(|key| key.starts_with(series.name))));
        assert!(text.values().all(|value| *value == 0.0), "they begin at 0");
        same(&text, &collected);
        handles.exercise();
        let (text, collected) = both();
        assert!(text.keys().any(|key| key.contains("shop")));
        same(&text, &collected);
        handles.exercise();
        let (text, collected) = both();
        same(&text, &collected);
    });
}

fn same(text: &Values, collected: &Values) {
    // The SDK sends no histogram without labels before its first value.
    let is_sent = |key: &str, value: f64| value != 0.0 || !key.starts_with("writ_sync_duration_seconds");
    let text = text.iter().filter(|(key, value)| is_sent(key, **value)).collect::<BTreeMap<_, _>>();
    let missing: Vec<_> = text.keys().filter(|key| !collected.contains_key(**key)).collect();
    assert!(missing.is_empty(), "only on /metrics: {missing:?}");
    let more: Vec<_> = collected.keys().filter(|key| !text.contains_key(key)).collect();
    assert!(more.is_empty(), "only collected: {more:?}");
    for (key, value) in text {
        // Sums are added up in another order.
        let off = (value - collected[key]).abs();
        assert!(off <= value.abs() * 1e-12, "{key}: {value} on /metrics, {} collected", collected[key]);
    }
}

#[test]
fn names_of_policies_are_bounded_whatever_policies_come() {
    let (recorder, recorded) = recorder(None).expect("a recorder");
    metrics::with_local_recorder(&recorder, || {
        let handles = Handles::begun();
        for name in 0..1000 {
            let name = format!("connector-{name}");
            handles.connector_waiting.name(std::iter::once(name.as_str()));
            handles.connector_waiting.with(&name, (), |it| it.increment(1));
        }
        handles.connector_waiting.with("of-no-policy", (), |it| it.increment(1));
        let text = recorded.render();
        let waiting: Vec<&str> = text.lines().filter(|line| line.starts_with("writ_connector_waiting{")).collect();
        assert_eq!(waiting.len(), NAMES_MAX + 1, "{waiting:?}");
        assert!(waiting.contains(&"writ_connector_waiting{connector=\"other\"} 969"), "{waiting:?}");
        assert!(waiting.contains(&"writ_connector_waiting{connector=\"connector-31\"} 1"), "{waiting:?}");
    });
}

#[test]
fn what_is_above_the_bound_is_told_together() {
    let (recorder, recorded) = recorder(None).expect("a recorder");
    metrics::with_local_recorder(&recorder, || {
        let handles = Handles::begun();
        let names: Vec<String> = (0..NAMES_MAX + 3).map(|name| format!("name-{name}")).collect();
        handles.connector_waiting.name(names.iter().map(String::as_str));
        handles.budget_used.name(names.iter().map(String::as_str));
        let tell = |said: &[(usize, f64)]| {
            let said = || said.iter().map(|(at, value)| (names[*at].as_str(), *value));
            handles.connector_waiting.set(said(), |a, b| a + b);
            handles.budget_used.set(said(), f64::max);
            let shown = shown(&recorded.render());
            let of = |name: &str| {
                let waiting = shown[&format!("writ_connector_waiting{{connector=\"{name}\"}}")];
                (waiting, shown[&format!("writ_budget_used_ratio{{budget=\"{name}\"}}")])
            };
            (of("name-0"), of("name-1"), of("other"))
        };
        let last = NAMES_MAX;
        let said = [(0, 0.75), (last, 0.25), (last + 1, 0.5), (last + 2, 0.125)];
        assert_eq!(tell(&said), ((0.75, 0.75), (0.0, 0.0), (0.875, 0.5)));
        assert_eq!(tell(&said[2..]), ((0.0, 0.0), (0.0, 0.0), (0.625, 0.5)), "whatever is not said is over");
        assert_eq!(tell(&[]), ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0)));
    });
}

//! One recorder in front of both ways out: Prometheus asks at `/metrics`, a collector is sent the same.

use metrics::{KeyName, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_opentelemetry::{OpenTelemetryMetrics, OpenTelemetryRecorder};
use metrics_util::layers::FanoutBuilder;
use opentelemetry::metrics::Meter;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, Stream};

use writ_schemas::errors::Code;

use super::declared::{ALL, BUCKETS, Kind, Series, Unit};
use crate::error::{Failure, Result};

/// Says what each metric is. Recorders ask for it before they make a series.
fn describe(recorder: &dyn Recorder) {
    for series in ALL {
        let (name, help) = (KeyName::from_const_str(series.name), series.help.into());
        let unit = Some(match series.unit {
            Unit::Count | Unit::Ratio => metrics::Unit::Count,
            Unit::Seconds => metrics::Unit::Seconds,
            Unit::Bytes => metrics::Unit::Bytes,
        });
        match series.kind {
            Kind::Counter => recorder.describe_counter(name, unit, help),
            Kind::Gauge => recorder.describe_gauge(name, unit, help),
            Kind::Histogram => recorder.describe_histogram(name, unit, help),
        }
    }
}

/// How a meter provider collects ours: a histogram without a least and a greatest value, which is all that it could say of before the
/// first one.
#[must_use]
pub fn view(instrument: &Instrument) -> Option<Stream> {
    let histogram = Aggregation::ExplicitBucketHistogram { boundaries: BUCKETS.to_vec(), record_min_max: false };
    let is_ours = |series: &&Series| series.name == instrument.name() && series.kind == Kind::Histogram;
    ALL.iter().find(is_ours).and_then(|_| Stream::builder().with_aggregation(histogram).build().ok())
}

/// A recorder for both ways out, or for `/metrics` alone.
pub(super) fn recorder(meter: Option<Meter>) -> Result<(impl Recorder + Sync, PrometheusHandle)> {
    let prometheus = PrometheusBuilder::new().set_buckets(&BUCKETS).map_err(|e| refused(&e))?.build_recorder();
    let recorded = prometheus.handle();
    let mut fanout = FanoutBuilder::default().add_recorder(prometheus);
    if let Some(meter) = meter {
        fanout = fanout.add_recorder(OpenTelemetryRecorder::new(OpenTelemetryMetrics::new(meter)));
    }
    let fanout = fanout.build();
    describe(&fanout);
    Ok((fanout, recorded))
}

pub(super) fn refused(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::Config, format!("metrics: {why}"))
}

#[cfg(test)]
mod tests;

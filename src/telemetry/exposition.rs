//! What `/metrics` says.
//!
//! **Invariant:** however many ask, one rendering is made at a time, at most [`RENDERINGS_PER_SECOND`]; who asks while one is made shares
//! the next.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Mutex;

use super::declared::{ALL, Kind, Series, Unit};
use crate::clock::Stopwatch;
use crate::error::Result;
use crate::threads;

/// Enough for several scrapers, and little enough that whoever asks without end costs the ledger nothing.
pub const RENDERINGS_PER_SECOND: u32 = 10;

/// What is shown, in the forms that are asked for.
#[derive(Debug, Default)]
struct Rendered {
    /// The last request that this is new enough for.
    asked: u64,
    since: Option<Stopwatch>,
    text: Bytes,
    open_metrics: Bytes,
}

/// What `/metrics` says.
#[derive(Clone, Debug)]
pub struct Exposition {
    recorded: PrometheusHandle,
    asked: Arc<AtomicU64>,
    rendered: Arc<Mutex<Rendered>>,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Prometheus' text format.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Form {
    /// The form that this `Accept` prefers. Who says nothing gets the text.
    #[must_use]
    pub fn accepted(accept: &str) -> Form {
        let mut best = (Form::Text, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let form = match parts.next() {
                Some(kind) if kind.eq_ignore_ascii_case("application/openmetrics-text") => Form::OpenMetrics,
                Some(kind) if kind.eq_ignore_ascii_case("text/plain") => Form::Text,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse::<f64>().ok());
            if let Some(weight) = weight.filter(|weight| *weight > best.1) {
                best = (form, weight);
            }
        }
        best.0
    }

    /// Its media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Text => "text/plain; version=0.0.4; charset=utf-8",
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Exposition {
    /// Of what was recorded there.
    pub(super) fn of(recorded: PrometheusHandle) -> Exposition {
        Exposition { recorded, asked: Arc::default(), rendered: Arc::default() }
    }

    /// Folds what histograms recorded since the last time: they hold it until then.
    pub fn upkeep(&self) {
        self.recorded.run_upkeep();
    }

    /// Every metric in this form, as it was at this moment or later. All who share a rendering share its bytes.
    ///
    /// # Errors
    /// `ERR_PANICKED`.
    pub async fn render(&self, form: Form) -> Result<Bytes> {
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut rendered = self.rendered.lock().await;
        if rendered.asked < ticket {
            let pause = Duration::from_secs(1) / RENDERINGS_PER_SECOND;
            let since = rendered.since.as_ref().map_or(pause, Stopwatch::elapsed);
            tokio::time::sleep(pause.saturating_sub(since)).await;
            rendered.since = Some(Stopwatch::start());
            let (asked, recorded) = (self.asked.load(Ordering::SeqCst), self.recorded.clone());
            let forms = tokio::task::spawn_blocking(move || {
                let text = recorded.render();
                [Form::Text, Form::OpenMetrics].map(|form| Bytes::from(arranged(&text, form)))
            });
            let forms = forms.await.map_err(|_| threads::panicked("that renders metrics"))?;
            [rendered.text, rendered.open_metrics] = forms;
            rendered.asked = asked;
        }
        Ok(match form {
            Form::Text => rendered.text.clone(),
            Form::OpenMetrics => rendered.open_metrics.clone(),
        })
    }
}

/// What the recorder rendered, in the order of the table, and in this form.
fn arranged(text: &str, form: Form) -> String {
    let blocks = text.split("\n\n").filter_map(|block| {
        let samples: Vec<&str> = block.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        let kind = block.lines().find_map(|line| line.strip_prefix("# TYPE "))?;
        Some((kind.split(' ').next()?, samples))
    });
    let mut blocks: BTreeMap<&str, Vec<&str>> = blocks.collect();
    let mut out = String::with_capacity(text.len());
    for series in ALL {
        let Some(mut samples) = blocks.remove(series.name) else { continue };
        if series.kind != Kind::Histogram {
            samples.sort_unstable();
        }
        head(&mut out, series, form);
        for sample in samples {
            match form {
                Form::Text => out.push_str(sample),
                Form::OpenMetrics => out.push_str(&with_decimal(sample)),
            }
            out.push('\n');
        }
    }
    if form == Form::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn head(out: &mut String, series: &Series, form: Form) {
    let Series { name, kind, unit, help, .. } = series;
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    // In OpenMetrics the suffix belongs to the sample, not to the metric.
    let name = match form {
        Form::Text => name,
        Form::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
    };
    let unit = match unit {
        Unit::Count => None,
        Unit::Seconds => Some("seconds"),
        Unit::Bytes => Some("bytes"),
        Unit::Ratio => Some("ratio"),
    };
    let _ = writeln!(out, "# HELP {name} {help}"); // a String takes every line
    let _ = writeln!(out, "# TYPE {name} {kind}");
    if let Some(unit) = unit.filter(|_| form == Form::OpenMetrics) {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
}

/// OpenMetrics writes the bound of a bucket as a decimal number.
fn with_decimal(sample: &str) -> String {
    match sample.split_once("le=\"") {
        Some((before, rest)) => match rest.split_once('"') {
            Some((bound, after)) if bound.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{before}le=\"{bound}.0\"{after}")
            }
            _ => sample.to_owned(),
        },
        None => sample.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::task::JoinSet;

    #[test]
    fn many_who_ask_at_once_share_what_is_rendered() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || metrics::gauge!("writ_disk_short").set(1));
        let exposition = Exposition::of(recorder.handle());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        // What is rendered stays while it is held, so that each has an address of its own.
        let rendered: Vec<Bytes> = runtime.block_on(async {
            let mut asked = JoinSet::new();
            for form in [Form::Text, Form::OpenMetrics].repeat(50) {
                let exposition = exposition.clone();
                asked.spawn(async move { exposition.render(form).await.expect("renders") });
            }
            asked.join_all().await
        });
        let apart: BTreeSet<*const u8> = rendered.iter().map(|it| it.as_ptr()).collect();
        // In two forms: one for the first, if it asked alone; and one for all who asked while that was made.
        assert_eq!(rendered.len(), 100);
        assert!(apart.len() <= 4, "{} were made", apart.len());
        let again = runtime.block_on(exposition.render(Form::Text)).expect("renders");
        assert!(!apart.contains(&again.as_ptr()), "who asks later is shown what is so then");
    }

    #[test]
    fn openmetrics_is_given_to_whoever_prefers_it() {
        for (accept, form) in [
            ("", Form::Text),
            ("*/*", Form::Text),
            ("application/openmetrics-text", Form::OpenMetrics),
            ("application/openmetrics-text; version=1.0.0; q=0.5, text/plain; q=0.4", Form::OpenMetrics),
            ("application/openmetrics-text;q=0.4,text/plain;q=0.5", Form::Text),
            ("application/openmetrics-text;q=0", Form::Text),
            ("application/openmetrics-text;q=much", Form::Text),
            ("application/openmetrics-text;q=NaN", Form::Text),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept}");
        }
    }
}

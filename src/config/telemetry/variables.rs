//! The variables `OTEL_*`. Whoever takes one removes it, so that what is left is what nobody took.

use std::collections::BTreeMap;

use super::{Said, refuse};
use crate::config;
use crate::error::Result;

/// Variables of which one value says what is done here anyway; another would change what is exported.
const ONLY: &[(&str, &[&str])] = &[
    ("OTEL_TRACES_EXPORTER", &["otlp"]),
    ("OTEL_METRICS_EXPORTER", &["otlp"]),
    ("OTEL_LOGS_EXPORTER", &["otlp"]),
    ("OTEL_PROPAGATORS", &["tracecontext, and baggage is not passed on"]),
    ("OTEL_METRICS_EXEMPLAR_FILTER", &["always_off"]),
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", &["cumulative", "Cumulative", "CUMULATIVE"]),
    ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", &["explicit_bucket_histogram"]),
];

/// Beginnings of variables that would change what is exported, or where to.
const REFUSED: &[(&str, &str)] = &[
    ("OTEL_EXPORTER_OTLP_TRACES_", "all signals go the same way: OTEL_EXPORTER_OTLP_…"),
    ("OTEL_EXPORTER_OTLP_METRICS_", "all signals go the same way: OTEL_EXPORTER_OTLP_…"),
    ("OTEL_EXPORTER_OTLP_LOGS_", "all signals go the same way: OTEL_EXPORTER_OTLP_…"),
    ("OTEL_ATTRIBUTE_", "what a span or log line holds has limits of its own here"),
    ("OTEL_SPAN_", "what a span holds has limits of its own here"),
    ("OTEL_EVENT_", "what a span holds has limits of its own here"),
    ("OTEL_LINK_", "what a span holds has limits of its own here"),
    ("OTEL_LOGRECORD_", "what a log line holds has limits of its own here"),
    ("OTEL_CONFIG_FILE", "writ.toml is the configuration"),
    ("OTEL_EXPERIMENTAL_CONFIG_FILE", "writ.toml is the configuration"),
    ("OTEL_ENTITIES", "OTEL_RESOURCE_ATTRIBUTES says who exports"),
];

/// What is set and not empty: the specification has an empty one mean the same as none.
pub(super) struct Variables(BTreeMap<String, String>);

impl Variables {
    pub(super) fn none() -> Variables {
        Variables(BTreeMap::new())
    }

    pub(super) fn read() -> Result<Variables> {
        let mut set = BTreeMap::new();
        for (name, value) in config::variables("OTEL_") {
            let value = value.into_string().map_err(|_| refuse(&name, "it is not UTF-8"))?;
            set.insert(name, value);
        }
        Ok(Variables::of(set))
    }

    pub(super) fn of(mut set: BTreeMap<String, String>) -> Variables {
        set.retain(|_, value| !value.trim().is_empty());
        Variables(set)
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<Said<String>> {
        self.0.remove(name).map(|value| Said { value: value.trim().to_owned(), by: name })
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Result<Option<Said<bool>>> {
        let flag = |text: Said<String>| match text.value.to_ascii_lowercase().as_str() {
            "true" => Ok(Said { value: true, by: name }),
            "false" => Ok(Said { value: false, by: name }),
            _ => Err(refuse(name, "is to be true or false")),
        };
        self.text(name).map(flag).transpose()
    }

    pub(super) fn number(&mut self, name: &'static str) -> Result<Option<Said<u64>>> {
        let number = |text: Said<String>| match text.value.parse() {
            Ok(value) => Ok(Said { value, by: name }),
            Err(_) => Err(refuse(name, format!("{:?} is no whole number of milliseconds", text.value))),
        };
        self.text(name).map(number).transpose()
    }

    /// Parent-based samplers only: a trace that a producer began is whole, or is not there.
    pub(super) fn sampler(&mut self) -> Result<Option<Said<f64>>> {
        const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
        const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
        let argument = self.text(ARGUMENT);
        let sampler = self.text(SAMPLER);
        let constant = match sampler.as_ref().map(|sampler| sampler.value.as_str()) {
            Some("parentbased_traceidratio") => {
                let Some(argument) = argument else { return Ok(Some(Said { value: 1.0, by: SAMPLER })) };
                let value = argument.value.parse();
                let value = value.map_err(|_| refuse(ARGUMENT, format!("{:?} is no number", argument.value)))?;
                return Ok(Some(Said { value, by: ARGUMENT }));
            }
            Some("parentbased_always_on") => Some(1.0),
            Some("parentbased_always_off") => Some(0.0),
            Some(other) => {
                let why = "parentbased_traceidratio, parentbased_always_on or parentbased_always_off";
                return Err(refuse(SAMPLER, format!("{other:?} is not taken: it is to be {why}")));
            }
            None => None,
        };
        if argument.is_some() {
            return Err(refuse(ARGUMENT, "it says something only with OTEL_TRACES_SAMPLER=parentbased_traceidratio"));
        }
        Ok(constant.map(|value| Said { value, by: SAMPLER }))
    }

    /// Refuses what is left and would change what is exported; the names of the rest.
    pub(super) fn rest(self, exports: bool) -> Result<Vec<String>> {
        let mut named = Vec::new();
        for (name, value) in self.0 {
            // What is not passed on changes nothing of what is exported.
            let propagates = |by: &str| name == "OTEL_PROPAGATORS" && value.split(',').any(|it| it.trim() == by);
            if propagates("tracecontext") && value.split(',').all(|it| ["tracecontext", "baggage"].contains(&it.trim()))
            {
                named.extend(propagates("baggage").then_some(name));
                continue;
            }
            let only = ONLY.iter().find(|(only, _)| *only == name);
            if only.is_some_and(|(_, taken)| taken.contains(&value.trim())) {
                continue;
            }
            let refused = REFUSED.iter().find(|(refused, _)| name.starts_with(refused));
            match (only, refused) {
                (Some((_, taken)), _) if exports => {
                    let taken = taken.first().unwrap_or(&"");
                    return Err(refuse(&name, format!("{:?} is not taken: it is to be {taken}", value.trim())));
                }
                (None, Some((_, why))) if exports => return Err(refuse(&name, format!("it is not taken: {why}"))),
                _ => named.push(name),
            }
        }
        Ok(named)
    }
}

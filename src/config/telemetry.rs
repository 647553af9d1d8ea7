//! The `[telemetry]` table of `writ.toml`, and the standard variables `OTEL_*`, which go before it.
//!
//! What is given and not taken is refused where it would change what is exported, and named where it would not. It is never ignored.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writ_schemas::errors::Code;
use zeroize::Zeroizing;

use super::{Properties, Property, Secret};
use crate::error::{Failure, Result};

mod endpoint;
mod headers;
mod resource;
mod variables;

pub use endpoint::Endpoint;
pub(crate) use headers::is_sendable;
use variables::Variables;

/// How long spans and log lines are gathered, in milliseconds: an hour's would be told when nobody looks any more.
const BATCH_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 1..=60_000;

/// How far exports of metrics may lie apart, in milliseconds.
const METRICS_INTERVAL_MS: std::ops::RangeInclusive<u64> = 100..=3_600_000;

/// What is slow, in milliseconds.
const SLOW_MS: std::ops::RangeInclusive<u64> = 1..=3_600_000;

/// The most traces a second of one kind.
const PER_SECOND_MAX: u32 = 10_000;

/// The longest text that names the service, in bytes.
const TEXT_LEN_MAX: usize = 255;

/// The table. What is left out has a default, or comes from a variable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// With false, nothing is exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The collector. Without one nothing is exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Always `grpc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// `service.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// `service.version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_version: Option<String>,
    /// `deployment.environment.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Which part of all traces is exported, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_ratio: Option<f64>,
    /// How long spans and log lines are gathered before they are exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_timeout_ms: Option<u64>,
    /// How far exports of metrics lie apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_interval_ms: Option<u64>,
    /// Whether an endpoint without a scheme is asked without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// Certificates of the authorities that the collector's is trusted by; without it, the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our certificate, with its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// What is sent along with each export, by name: where the secret is.
    #[serde(skip_serializing_if = "Properties::is_empty")]
    pub headers: Properties,
    /// How many traces a second are exported only because a caller asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_per_second: Option<u32>,
    /// How many traces a second are exported only because of how they ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_per_second: Option<u32>,
    /// A decision that took longer is one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_ms: Option<u64>,
    /// Whether spans name tenants and intents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identify: Option<bool>,
}

impl Telemetry {
    /// Whether it names something that is run.
    #[must_use]
    pub fn names_commands(&self) -> bool {
        self.headers.values().any(|value| matches!(value, Property::Secret(Secret::Command(_))))
    }

    /// The same, where relative paths are relative to `folder`.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Telemetry {
        for path in [&mut self.ca_file, &mut self.certificate_file, &mut self.key_file].into_iter().flatten() {
            *path = folder.join(&path);
        }
        for value in self.headers.values_mut() {
            if let Property::Secret(secret) = value {
                secret.within(folder);
            }
        }
        self
    }
}

/// What is exported, how and where to: proven to be usable as far as that shows without opening a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The collector. Without one nothing is exported.
    pub endpoint: Option<Endpoint>,
    /// Attributes of the resource, `service.name` among them, in the order of their names.
    pub resource: BTreeMap<String, String>,
    /// Which part of all traces is exported, 0 to 1.
    pub sample_ratio: f64,
    /// How long spans and log lines are gathered before they are exported.
    pub batch_timeout: Duration,
    /// How far exports of metrics lie apart.
    pub metrics_interval: Duration,
    /// The files of TLS.
    pub tls: TlsFiles,
    /// What is sent along with each export, by name.
    pub headers: BTreeMap<String, Header>,
    /// How many traces a second are exported only because a caller asked for it.
    pub remote_per_second: u32,
    /// How many traces a second are exported only because of how they ended.
    pub ends_per_second: u32,
    /// A decision that took longer is one of these.
    pub slow: Duration,
    /// Whether spans name tenants and intents.
    pub identify: bool,
    /// Variables that are set, not taken, and change nothing of what is exported.
    pub not_taken: Vec<String>,
}

/// The files of TLS, each with the name by which it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Whom we trust; without it, whom the system trusts.
    pub ca: Option<NamedFile>,
    /// Our certificate and its key.
    pub identity: Option<(NamedFile, NamedFile)>,
}

/// A file, and the key or variable that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// `telemetry.ca_file`, or a variable.
    pub by: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

/// The value of a header: a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Header {
    /// Where it is.
    At(Secret),
    /// Itself, from a variable.
    Held(Zeroizing<String>),
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Header::At(secret) => write!(f, "At({secret})"),
            Header::Held(_) => f.write_str("Held(…)"),
        }
    }
}

/// A value, and the key or variable that says it.
struct Said<T> {
    value: T,
    by: &'static str,
}

impl<T> Said<T> {
    fn is(self, fine: impl FnOnce(&T) -> bool, to_be: &str) -> Result<T> {
        if fine(&self.value) { Ok(self.value) } else { Err(refuse(self.by, format!("is to be {to_be}"))) }
    }
}

fn refuse(by: &str, why: impl fmt::Display) -> Failure {
    Failure::new(Code::Config, format!("{by}: {why}"))
}

impl Settings {
    /// What the table and the environment say.
    ///
    /// # Errors
    /// `ERR_CONFIG` with the key or the variable.
    pub fn read(table: Option<&Telemetry>) -> Result<Settings> {
        Settings::of(table, Variables::read()?)
    }

    /// What the table says where no variable is set.
    ///
    /// # Errors
    /// `ERR_CONFIG` with the key.
    pub fn without_variables(table: Option<&Telemetry>) -> Result<Settings> {
        Settings::of(table, Variables::none())
    }

    fn of(table: Option<&Telemetry>, mut variables: Variables) -> Result<Settings> {
        let table = table.cloned().unwrap_or_default();
        let enabled = match variables.flag("OTEL_SDK_DISABLED")? {
            Some(disabled) => !disabled.value,
            None => table.enabled.unwrap_or(true),
        };
        let protocol = variables.text("OTEL_EXPORTER_OTLP_PROTOCOL").or(said(table.protocol, "telemetry.protocol"));
        if let Some(protocol) = protocol {
            protocol.is(|name| name == "grpc", "grpc: no other protocol is spoken here")?;
        }
        let insecure = variables.flag("OTEL_EXPORTER_OTLP_INSECURE")?.or(said(table.insecure, "telemetry.insecure"));
        let endpoint = variables.text("OTEL_EXPORTER_OTLP_ENDPOINT").or(said(table.endpoint, "telemetry.endpoint"));
        let endpoint = endpoint.map(|endpoint| Endpoint::parse(endpoint, insecure)).transpose()?;
        let tls = TlsFiles {
            ca: file(&mut variables, "OTEL_EXPORTER_OTLP_CERTIFICATE", table.ca_file, "telemetry.ca_file"),
            identity: identity(&mut variables, table.certificate_file, table.key_file)?,
        };
        if let Some(endpoint) = &endpoint
            && !endpoint.is_tls()
            && let Some(file) = tls.ca.as_ref().or(tls.identity.as_ref().map(|(certificate, _)| certificate))
        {
            return Err(refuse(file.by, format!("{endpoint} is asked without TLS, which has no certificates")));
        }
        let texts = [
            ("service.name", said(table.service_name, "telemetry.service_name")),
            ("service.version", said(table.service_version, "telemetry.service_version")),
            ("deployment.environment.name", said(table.environment, "telemetry.environment")),
        ];
        let sample_ratio = variables.sampler()?.or(said(table.sample_ratio, "telemetry.sample_ratio"));
        let batch_timeout = variables.number("OTEL_BSP_SCHEDULE_DELAY")?;
        let batch_timeout = batch_timeout.or(said(table.batch_timeout_ms, "telemetry.batch_timeout_ms"));
        let interval = variables.number("OTEL_METRIC_EXPORT_INTERVAL")?;
        let interval = interval.or(said(table.metrics_interval_ms, "telemetry.metrics_interval_ms"));
        let settings = Settings {
            resource: resource::of(texts, variables.text("OTEL_SERVICE_NAME"), variables.text(resource::VARIABLE))?,
            sample_ratio: match sample_ratio {
                Some(ratio) => ratio.is(|ratio| (0.0..=1.0).contains(ratio), "a number from 0 to 1")?,
                None => 0.1,
            },
            batch_timeout: milliseconds(batch_timeout, BATCH_TIMEOUT_MS, 1000)?,
            metrics_interval: milliseconds(interval, METRICS_INTERVAL_MS, 10_000)?,
            headers: headers::of(table.headers, variables.text(headers::VARIABLE))?,
            remote_per_second: per_second(table.remote_per_second, "telemetry.remote_per_second")?,
            ends_per_second: per_second(table.ends_per_second, "telemetry.ends_per_second")?,
            slow: milliseconds(said(table.slow_ms, "telemetry.slow_ms"), SLOW_MS, 250)?,
            identify: table.identify.unwrap_or(false),
            endpoint: endpoint.filter(|_| enabled),
            tls,
            not_taken: Vec::new(),
        };
        let not_taken = variables.rest(settings.endpoint.is_some())?;
        Ok(Settings { not_taken, ..settings })
    }
}

fn said<T>(value: Option<T>, by: &'static str) -> Option<Said<T>> {
    value.map(|value| Said { value, by })
}

fn file(
    variables: &mut Variables,
    variable: &'static str,
    path: Option<PathBuf>,
    key: &'static str,
) -> Option<NamedFile> {
    let given = variables.text(variable).map(|it| Said { value: PathBuf::from(it.value), by: it.by });
    given.or(said(path, key)).map(|Said { value: path, by }| NamedFile { by, path })
}

/// Our certificate and its key: one without the other is of no use.
fn identity(
    variables: &mut Variables,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<(NamedFile, NamedFile)>> {
    let certificate =
        file(variables, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate, "telemetry.certificate_file");
    let key = file(variables, "OTEL_EXPORTER_OTLP_CLIENT_KEY", key, "telemetry.key_file");
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(certificate), None) => Err(refuse(certificate.by, "the key of the certificate is missing: key_file")),
        (None, Some(key)) => Err(refuse(key.by, "the certificate of the key is missing: certificate_file")),
    }
}

fn milliseconds(said: Option<Said<u64>>, range: std::ops::RangeInclusive<u64>, default: u64) -> Result<Duration> {
    let to_be = format!("{} to {} milliseconds", range.start(), range.end());
    let number = said.map_or(Ok(default), |said| said.is(|number| range.contains(number), &to_be))?;
    Ok(Duration::from_millis(number))
}

fn per_second(number: Option<u32>, by: &'static str) -> Result<u32> {
    let to_be = format!("0 to {PER_SECOND_MAX}");
    said(number, by).map_or(Ok(10), |said| said.is(|number| *number <= PER_SECOND_MAX, &to_be))
}

#[cfg(test)]
mod tests;

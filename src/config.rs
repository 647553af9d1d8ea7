//! The only reader of the environment, and the configuration file `writ.toml`.
#![allow(clippy::disallowed_methods, reason = "this is the module that may")]

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use writ_log::files;
use writ_schemas::errors::Code;

use crate::error::{Failure, Result};
use crate::telemetry::context::TraceContext;

mod kafka;
pub mod telemetry;

pub use kafka::{Kafka, Properties, Property, Secret};
pub use telemetry::Telemetry;

/// The longest `writ.toml`, in bytes.
const FILE_BYTES_MAX: usize = 64 << 10;

/// `writ.toml`. Flags of the command line go before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The address of the HTTP API.
    pub http: Option<String>,
    /// That others than this machine may reach it: whoever does, reads everything.
    pub http_open: bool,
    /// Names under which it is asked, besides the address itself.
    pub http_hosts: Vec<String>,
    /// How often the head is signed while entries come, in milliseconds; at most 1000.
    pub checkpoint_interval_ms: u64,
    /// How many calls of `http` connectors may be under way at once.
    pub connector_calls_max: usize,
    /// How long a client may take to send the head of an HTTP request, and again its body, in milliseconds; at most 600000.
    pub request_patience_ms: u64,
    /// The file whose first line is the passphrase of encrypted key files; `WRIT_PASSPHRASE_FILE` goes before it.
    pub passphrase_file: Option<PathBuf>,
    /// How the log lies on this disk.
    pub log: LogLayout,
    /// The cluster, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Kafka>,
    /// What is exported about the ledger's work, and where to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    /// Commands that sign, instead of key files.
    #[serde(skip_serializing_if = "Signers::are_none")]
    pub signer: Signers,
}

/// How the log lies on this disk. It is no part of what the ledger says: each segment says its own size, and segments of one
/// log may differ. So it stands here and not in genesis, and may be changed at any time, for the segments to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogLayout {
    /// The size of new segments: a multiple of 512, from [`SEGMENT_BYTES_MIN`] to [`SEGMENT_BYTES_MAX`].
    pub segment_bytes: u64,
    /// How many segments are made ahead while the ledger is at work; at most [`SEGMENTS_PREPARED_MAX`]. With 0 the writer stands still while
    /// it makes one.
    pub segments_prepared: usize,
}

/// 64 KiB: below, a folder has a file for every few hundred entries.
pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;

/// 1 GiB: opening reads the unused end of the last segment.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Enough for a second of the fastest writing that a disk takes.
pub const SEGMENTS_PREPARED_MAX: usize = 16;

impl Default for LogLayout {
    fn default() -> LogLayout {
        let writ_log::Options { segment_bytes, segments_prepared } = writ_log::Options::default();
        LogLayout { segment_bytes, segments_prepared }
    }
}

impl LogLayout {
    /// The same for the log.
    #[must_use]
    pub fn options(self) -> writ_log::Options {
        writ_log::Options { segment_bytes: self.segment_bytes, segments_prepared: self.segments_prepared }
    }

    /// What is wrong with it.
    ///
    /// # Errors
    /// In words.
    pub fn check(self) -> std::result::Result<(), String> {
        let sizes = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if !sizes.contains(&self.segment_bytes) || !writ_log::segment::size_is_valid(self.segment_bytes) {
            return Err(format!(
                "log.segment_bytes must be a multiple of 512, {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"
            ));
        }
        if self.segments_prepared > SEGMENTS_PREPARED_MAX {
            return Err(format!("log.segments_prepared must be 0 to {SEGMENTS_PREPARED_MAX}"));
        }
        Ok(())
    }
}

/// For each role the program that signs and its arguments; nothing where a key file does. `docs/keys.md` has the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Signers {
    /// Signs decisions and receipts.
    pub decision: Option<Vec<String>>,
    /// Signs checkpoints.
    pub checkpoint: Option<Vec<String>>,
    /// Signs what `writ freeze` and the like state.
    pub operator: Option<Vec<String>>,
    /// How long each answer may take, in milliseconds; at most 600000.
    pub timeout_ms: u64,
}

impl Default for Signers {
    fn default() -> Signers {
        Signers { decision: None, checkpoint: None, operator: None, timeout_ms: 10_000 }
    }
}

impl Signers {
    fn are_none(&self) -> bool {
        *self == Signers::default()
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            http: None,
            http_open: false,
            http_hosts: Vec::new(),
            checkpoint_interval_ms: 1000,
            connector_calls_max: 32,
            request_patience_ms: 30_000,
            passphrase_file: None,
            log: LogLayout::default(),
            kafka: None,
            telemetry: None,
            signer: Signers::default(),
        }
    }
}

impl Config {
    /// Reads the configuration file of a ledger's folder; a missing one is the default.
    ///
    /// # Errors
    /// `ERR_CONFIG` with the line, or if it names commands and others than its owner may write it; an I/O failure.
    pub fn read(folder: &Path, path: &Path) -> Result<Config> {
        let refusal = |why: &dyn std::fmt::Display| Failure::new(Code::Config, format!("{}: {why}", path.display()));
        let refuse = |why: &str| Err(refusal(&why));
        let bytes = match files::read(folder, path, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => return Err(refusal(&error)),
            Err(error) => return Err(Failure::io(path, &error)),
        };
        let mut config: Config = toml::from_slice(&bytes).map_err(|e| refusal(&without_the_line(&bytes, &e)))?;
        if !(1..=1000).contains(&config.checkpoint_interval_ms) {
            return refuse("checkpoint_interval_ms must be 1 to 1000");
        }
        if !(1..=1024).contains(&config.connector_calls_max) {
            return refuse("connector_calls_max must be 1 to 1024");
        }
        if !(1..=600_000).contains(&config.request_patience_ms) {
            return refuse("request_patience_ms must be 1 to 600000");
        }
        if let Err(why) = config.log.check() {
            return refuse(&why);
        }
        if let Some(Err(why)) = config.kafka.as_ref().map(Kafka::check) {
            return refuse(&why);
        }
        if let Err(failure) = telemetry::Settings::without_variables(config.telemetry.as_ref()) {
            return refuse(&failure.detail);
        }
        let Signers { decision, checkpoint, operator, timeout_ms } = &config.signer;
        if [decision, checkpoint, operator].into_iter().flatten().any(Vec::is_empty) {
            return refuse("a signer is a program and its arguments: [\"program\", \"argument\"]");
        }
        if !config.signer.are_none()
            || config.kafka.as_ref().is_some_and(Kafka::names_commands)
            || config.telemetry.as_ref().is_some_and(Telemetry::names_commands)
        {
            for path in [path, folder] {
                let mode = std::fs::metadata(path).map_err(|e| Failure::io(path, &e))?.mode() & 0o7777;
                if mode & 0o022 != 0 {
                    let place = path.display();
                    return refuse(&format!(
                        "it names commands, and others may write {place} (mode {mode:04o}): chmod go-w {place}"
                    ));
                }
            }
        }
        if !(1..=600_000).contains(timeout_ms) {
            return refuse("signer.timeout_ms must be 1 to 600000");
        }
        config.kafka = config.kafka.map(|kafka| kafka.within(folder));
        config.telemetry = config.telemetry.map(|telemetry| telemetry.within(folder));
        Ok(config)
    }

    /// The `[kafka]` table of a file, which may be no ledger's.
    ///
    /// # Errors
    /// As [`Config::read`]; `ERR_CONFIG` if it is missing, or has no such table.
    pub fn read_kafka(path: &Path) -> Result<Kafka> {
        let refuse = |why: &dyn std::fmt::Display| Failure::new(Code::Config, format!("{}: {why}", path.display()));
        let path = &path.canonicalize().map_err(|e| refuse(&e))?;
        let config = Config::read(path.parent().unwrap_or(Path::new("/")), path)?;
        config.kafka.ok_or_else(|| refuse(&"it has no [kafka] table"))
    }

    /// The file's text.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }
}

/// What is wrong with a file, and in which line; not the line itself, which may hold a secret that stands where it should not.
fn without_the_line(bytes: &[u8], error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| bytes.get(..span.start));
    match before.map(|before| before.iter().filter(|byte| **byte == b'\n').count() + 1) {
        Some(line) => format!("line {line}: {}", error.message()),
        None => error.message().to_owned(),
    }
}

/// Which spans and events are logged, from `WRIT_LOG` (the syntax of `tracing-subscriber`'s filters).
#[must_use]
pub fn log_filter() -> Option<String> {
    std::env::var("WRIT_LOG").ok()
}

/// The file with the passphrase of encrypted key files, from `WRIT_PASSPHRASE_FILE`.
#[must_use]
pub fn passphrase_file() -> Option<PathBuf> {
    std::env::var_os("WRIT_PASSPHRASE_FILE").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// What a variable that the configuration names holds, if it is set, and UTF-8.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The variables that are set and whose names begin so.
#[must_use]
pub fn variables(prefix: &str) -> Vec<(String, OsString)> {
    let named = |(name, value): (OsString, OsString)| name.into_string().ok().map(|name| (name, value));
    std::env::vars_os().filter_map(named).filter(|(name, _)| name.starts_with(prefix)).collect()
}

/// The stage at which a debug build ends itself, from `WRIT_KILL_AT`: for tests. Read once.
#[must_use]
pub fn killed_at() -> Option<&'static str> {
    static STAGE: OnceLock<Option<String>> = OnceLock::new();
    STAGE.get_or_init(|| std::env::var("WRIT_KILL_AT").ok()).as_deref()
}

/// The thread in which a debug build panics, from `WRIT_PANIC_IN`: for tests. Read once.
#[must_use]
pub fn panics_in() -> Option<&'static str> {
    static THREAD: OnceLock<Option<String>> = OnceLock::new();
    THREAD.get_or_init(|| std::env::var("WRIT_PANIC_IN").ok()).as_deref()
}

/// The span that whoever started this process was in, from `TRACEPARENT` (OpenTelemetry: environment variables as context propagation
/// carriers).
#[must_use]
pub fn trace_parent() -> Option<TraceContext> {
    std::env::var("TRACEPARENT").ok()?.parse().ok()
}

/// Whether the user asked for no colour (no-color.org).
#[must_use]
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Where temporary folders go.
#[must_use]
pub fn temporary_folder() -> std::path::PathBuf {
    std::env::temp_dir()
}

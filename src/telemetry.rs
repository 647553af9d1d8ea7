//! What the ledger shows of itself while it works: metrics, log lines and traces. Nothing waits for it, and nothing depends on it.
//!
//! - [`declared`]: every metric there is
//! - [`labels`]: what their labels may be
//! - `family`: series of one name
//! - [`metrics`]: what is counted and measured, a function for each
//! - [`recorder`]: one for both ways out: `/metrics`, and a collector
//! - [`exposition`]: what `/metrics` says
//! - [`samples`]: looks each second at what changes by itself
//! - `process`: what the process takes of the machine
//! - [`logging`]: log lines, on standard error
//! - [`context`], [`sampler`]: where a span is in its trace, and which traces are recorded
//! - [`facts`], [`gates`], [`tracer`]: what the pipeline records for traces, and with whom
//! - [`spans`], [`conventions`]: facts to spans, on another thread; and the names of what they say
//! - [`provider`]: the way to the collector
//! - `event`, [`log_layer`]: log lines on the same way
//! - `ended`: what ended earlier processes
//! - [`running`]: all of it, in a process that serves a ledger

pub mod declared;
pub mod labels;
mod family;
pub mod metrics;
pub mod recorder;
pub mod exposition;
pub mod samples;
mod process;
pub mod logging;
pub mod context;
pub mod sampler;
pub mod facts;
pub mod gates;
pub mod tracer;
pub mod spans;
pub mod conventions;
mod span;
pub mod provider;
mod event;
pub mod log_layer;
mod ended;
pub mod running;

pub use crate::config::telemetry::Settings;

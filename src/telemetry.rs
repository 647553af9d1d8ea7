//! What the ledger shows of itself while it works: metrics, log lines and traces. Nothing waits for it, and nothing depends on it.
//!
//! - [`metrics`]: what is counted and measured, for `/metrics`
//! - [`logging`]: log lines, on standard error
//! - [`context`], [`sampler`]: where a span is in its trace, and which traces are recorded
//! - [`facts`], [`tracer`]: what the pipeline tells for traces, and to whom
//! - [`spans`], [`conventions`]: facts to spans, on another thread; and the names of what they say

pub mod metrics;
pub mod logging;
pub mod context;
pub mod sampler;
pub mod facts;
pub mod tracer;
pub mod spans;
pub mod conventions;
mod span;

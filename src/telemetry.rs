//! What the ledger shows of itself while it works: metrics and log lines.
//!
//! - [`metrics`]: what is counted and measured, for `/metrics`
//! - [`logging`]: log lines, on standard error

pub mod metrics;
pub mod logging;

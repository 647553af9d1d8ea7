//! Log lines, on standard error.

use std::io::Write;

use tracing_subscriber::EnvFilter;

use super::metrics;
use crate::{config, visible};

/// Starts logging to standard error: warnings, or what `WRIT_LOG` asks for.
pub fn start(default: &str) {
    let filter = config::log_filter().unwrap_or_else(|| default.to_owned());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
    let _ = tracing_subscriber::fmt() // a second start in one process keeps the first
        .with_env_filter(filter)
        .with_writer(|| StandardError)
        .log_internal_errors(false)
        .try_init();
}

/// Standard error, which may go away or be full while the ledger goes on: what it does not take is counted. It takes whole lines; what
/// these quote is seen as what it is.
#[derive(Clone, Copy, Debug)]
pub struct StandardError;

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let seen = visible::lines(&String::from_utf8_lossy(line));
        if std::io::stderr().write_all(seen.as_bytes()).is_err() {
            metrics::line_lost();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

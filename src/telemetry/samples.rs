//! The thread that looks, each second, at what changes by itself: ages, lags, what is held.
//!
//! **Invariant:** what it looks at is in memory, so that no disk and no broker can hold it up: histograms keep what they record until it
//! comes by.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::exposition::Exposition;
use super::{metrics, process};
use crate::error::Result;
use crate::threads;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Samples {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Samples {
    /// Looks now, and each second from now on.
    ///
    /// # Errors
    /// `ERR_THREADS`.
    pub fn start(exposition: Exposition, look: impl Fn() + Send + 'static) -> Result<Samples> {
        let (stop, stopped) = mpsc::channel();
        let thread = threads::spawn("metrics", move || {
            loop {
                look();
                if let Some(seen) = process::look() {
                    metrics::process(&seen);
                }
                exposition.upkeep();
                if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Samples { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it says itself why it panicked
        }
    }
}

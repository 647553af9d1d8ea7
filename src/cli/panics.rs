//! What a panic says, which is always a fault of the program: a registered code, where it was, and what whoever maintains it needs.

use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};

use tracing::Level;
use writ_schemas::errors::Code;

use crate::error::{Failure, Result};
use crate::telemetry::logging;
use crate::threads::{is_contained, panicked};

/// In the path of sled's sources. It panics where the disk fails, which is no fault of the program: where that is contained, it becomes
/// a failure of the views.
const SLED: &str = "/sled-";

/// Has every panic reported on standard error, in whichever thread it is.
pub(super) fn report() {
    set_hook(Box::new(|panic| {
        let of_sled = panic.location().is_some_and(|place| place.file().contains(SLED));
        if !(of_sled && is_contained()) {
            logging::note(Level::ERROR, &text(panic));
        }
    }));
}

/// A panic of the main thread as a failure: the process ends with its code, as after any other.
pub(super) fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| Err(panicked("main")))
}

fn text(panic: &PanicHookInfo<'_>) -> String {
    let why = Failure::new(Code::Panicked, panic.payload_as_str().unwrap_or("no words"));
    let thread = std::thread::current();
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    format!(
        "writ: {why}\n      writ {}, {} {}, thread {}, {place}\n{}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        thread.name().unwrap_or("without a name"),
        Backtrace::force_capture(),
    )
}

//! What the operating system tells the process: that it is to end, or that a file may grow no further.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use writ_schemas::errors::Code;

use crate::error::{Failure, Result};

/// Makes of a limit on the size of files (`ulimit -f`, setrlimit(2)) a failed write, which has a code, and not the end of the process.
/// Programs that are started keep their own way.
///
/// # Errors
/// `ERR_IO` if the operating system refuses.
pub fn survive_file_size_limit() -> Result<()> {
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop).map_err(refused)
}

/// Whether whoever started the process wants it to outlive the terminal: `nohup` has SIGHUP ignored. Where the operating system
/// does not tell, no.
#[must_use]
pub fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default(); // proc_pid_status(5)
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask & (1 << (SIGHUP - 1)) != 0
}

/// The signals that ask the process to end: INT, TERM, and HUP where it is not ignored.
#[must_use]
pub fn asking_to_end() -> Vec<i32> {
    [SIGINT, SIGTERM].into_iter().chain((!hangup_is_ignored()).then_some(SIGHUP)).collect()
}

/// Hears whether the process is asked to end, for work that stops between two of its steps. Who asks twice does not want to wait:
/// the second signal ends it at once.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// Listens from now on, for as long as the process lives.
    ///
    /// # Errors
    /// `ERR_IO` if the operating system refuses.
    pub fn listen() -> Result<Interrupt> {
        let (asked, by) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for signal in asking_to_end() {
            // In this order: the first signal finds nobody who has asked before.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked)).map_err(refused)?;
            flag::register(signal, Arc::clone(&asked)).map_err(refused)?;
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&by), number).map_err(refused)?;
        }
        Ok(Interrupt(by))
    }

    /// The number of the signal that came, if one did.
    #[must_use]
    pub fn by(&self) -> Option<u8> {
        u8::try_from(self.0.load(Ordering::SeqCst)).ok().filter(|signal| *signal != 0)
    }
}

fn refused(error: std::io::Error) -> Failure {
    Failure::new(Code::Io, format!("signals: {error}"))
}

//! Threads whose end is noticed: none is started without a name, and none ends without a word.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::runtime::Runtime;

use writ_schemas::errors::Code;

use crate::config;
use crate::error::{Failure, Result};

/// What a command may start at once: two threads of tokio's, one a core of rayon's, and some of its own. Libraries panic where they
/// get none.
const NEEDED: usize = 16;

/// Starts a thread.
///
/// # Errors
/// `ERR_THREADS` if the machine gives no more.
pub fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(body).map_err(|e| none_left(name, &e))
}

/// Starts as many threads as a command may need and ends them again, so that a machine that has none left is found before anything
/// depends on it.
///
/// # Errors
/// `ERR_THREADS`.
pub fn require() -> Result<()> {
    let gate = Mutex::new(());
    std::thread::scope(|scope| {
        let _closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
        (0..NEEDED).try_for_each(|_| {
            let wait = || drop(gate.lock().unwrap_or_else(PoisonError::into_inner));
            Builder::new().spawn_scoped(scope, wait).map(drop).map_err(|e| none_left("of this command", &e))
        })
    })
}

/// Starts rayon's threads, which it would start when they are first needed, and panic without them. Once a process.
///
/// # Errors
/// `ERR_THREADS`.
pub fn start_pool() -> Result<()> {
    rayon::ThreadPoolBuilder::new().build_global().map_err(|e| none_left("of the pool", &e))
}

/// A runtime for the async edges. One of its threads for blocking work is there from the start and stays: as long as there is one,
/// what finds no other waits for it.
///
/// # Errors
/// `ERR_THREADS`.
pub fn runtime() -> Result<Runtime> {
    runtime_with(|| ())
}

/// The same, where each of its threads begins with this.
///
/// # Errors
/// `ERR_THREADS`.
pub fn runtime_with(begin: impl Fn() + Send + Sync + 'static) -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = builder.worker_threads(2).thread_keep_alive(Duration::MAX).on_thread_start(begin);
    let runtime = builder.enable_all().build();
    let runtime = runtime.map_err(|e| none_left("of the runtime", &e))?;
    drop(runtime.spawn_blocking(|| ()));
    Ok(runtime)
}

/// A thread whose failure is its owner's: it is told at once, before anything waits for it. A panic counts.
///
/// # Errors
/// As [`spawn`].
pub fn guarded(
    name: &'static str,
    on_fatal: Arc<impl Fn(&Failure) + Send + Sync + 'static>,
    body: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<JoinHandle<Result<()>>> {
    struct Watch<F: Fn(&Failure)> {
        name: &'static str,
        fine: AtomicBool,
        on_fatal: Arc<F>,
    }
    impl<F: Fn(&Failure)> Drop for Watch<F> {
        fn drop(&mut self) {
            if !self.fine.load(Ordering::SeqCst) {
                (self.on_fatal)(&panicked(self.name));
            }
        }
    }
    spawn(name, move || {
        let watch = Watch { name, fine: AtomicBool::new(false), on_fatal };
        panic_if_asked(name);
        let result = body();
        watch.fine.store(true, Ordering::SeqCst);
        if let Err(failure) = &result {
            (watch.on_fatal)(failure);
        }
        result
    })
}

/// Runs what may panic, also for reasons of a library's own, and makes a failure with its words of it.
///
/// # Errors
/// What `body` does; `ERR_PANICKED`.
pub fn contained<T>(name: &str, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = CONTAINED.replace(true);
    let ended = catch_unwind(AssertUnwindSafe(body));
    CONTAINED.set(before);
    ended.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
        Err(Failure::new(Code::Panicked, format!("{name}: {words}")))
    })
}

/// Whether a panic of this thread would be contained.
#[must_use]
pub fn is_contained() -> bool {
    CONTAINED.get()
}

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

static ENDS: AtomicBool = AtomicBool::new(false);

/// The process is about to end: from now on [`stand_still_at_the_end`] does not return.
pub fn end_process() {
    ENDS.store(true, Ordering::SeqCst);
}

/// Where something would begin that others hear of: not in a process that ends.
pub fn stand_still_at_the_end() {
    while ENDS.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// The failure of a thread that panicked. What it said is on standard error.
#[must_use]
pub fn panicked(name: &str) -> Failure {
    Failure::new(Code::Panicked, format!("thread {name}"))
}

/// Panics, once, if a test asked a debug build for it.
///
/// # Panics
/// So that what follows from it is seen.
pub fn panic_if_asked(name: &str) {
    static DONE: AtomicBool = AtomicBool::new(false);
    let asked = cfg!(debug_assertions) && config::panics_in() == Some(name);
    assert!(!asked || DONE.swap(true, Ordering::SeqCst), "a test asked for it");
}

fn none_left(name: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::Threads, format!("thread {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_has_threads_gives_them_back() {
        for _ in 0..3 {
            assert_eq!(require(), Ok(()));
        }
    }

    #[test]
    fn a_panic_is_told() {
        let (told, heard) = std::sync::mpsc::channel();
        let on_fatal = Arc::new(move |failure: &Failure| told.send(failure.code).expect("somebody hears"));
        let ended = guarded("test", on_fatal, || panic!("for this test")).expect("starts").join();
        assert!(ended.is_err());
        assert_eq!(heard.recv(), Ok(Code::Panicked));
    }
}

//! A ledger at work with everything around it: views, and Kafka where it is wanted. What `serve` runs, and the demo.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::warn;

use writ_schemas::errors::Code;
use writ_schemas::ids::Seq;

use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::kafka::cluster::Cluster;
use crate::kafka::intake::{Feed, Intake};
use crate::kafka::intake_lag;
use crate::kafka::publisher::Publisher;
use crate::kafka::transactions::Published;
use crate::ledger::{Handle, Ledger, Opened};
use crate::query::Library;
use crate::sequencer::Passed;
use crate::threads::{guarded, panicked, spawn};
use crate::views::{Shelf, Views, host};

/// How long the views may take to end once the log is closed.
const VIEWS_PATIENCE: Duration = Duration::from_secs(10);

/// A ledger at work.
pub struct Service {
    ledger: Ledger,
    library: Library,
    views: JoinHandle<()>,
    kafka: Vec<JoinHandle<Result<()>>>,
    intake_lag: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Service {
    /// Starts everything around a ledger that is locked and recovered, in the order of DESIGN: fence the output producer,
    /// before anything is dispatched; then the writer, the views, the publisher and intake. A Kafka that is away is waited for.
    ///
    /// `on_fatal` is called if the ledger cannot go on, if another process publishes for it, or if Kafka refuses for good:
    /// the process must then end.
    ///
    /// # Errors
    /// As [`Opened::start`]; those of connecting to Kafka; `ERR_CONFIG` if what passed would be carried out by a ledger whose
    /// partitions are bound, without the Kafka that says how far it got.
    pub fn start(
        opened: Opened,
        kafka: Option<&Cluster>,
        passed: Passed,
        on_fatal: impl Fn(&Failure) + Send + Sync + Clone + 'static,
    ) -> Result<Service> {
        let (folder, ledger_id) = (opened.folder().clone(), opened.genesis().ledger);
        let connect = |cluster: &Cluster| cluster.patiently(|| Publisher::connect(cluster, ledger_id));
        let publisher = kafka.map(connect).transpose()?;
        match &publisher {
            Some(publisher) => require_published(publisher.furthest(), &opened)?,
            None if passed == Passed::CarriedOut && !opened.state().bindings().is_empty() => {
                let why = "partitions are bound to this ledger, and neither --kafka nor writ.toml says where";
                return Err(Failure::new(Code::Config, why));
            }
            None => {}
        }
        let (bindings, positions) = (opened.state().bindings().clone(), opened.state().positions().clone());
        // Whatever cannot be opened refuses here: after the start an open dispatch would be interrupted.
        let views = Views::served(&folder, opened.reader(), opened.space())?;
        let mut intakes = Vec::new();
        for (topic, binding) in &bindings {
            let Some(cluster) = kafka else { break };
            let connect = || {
                let feed = Feed {
                    queue: Arc::clone(opened.queue()),
                    space: Arc::clone(opened.space()),
                    holds: Arc::clone(opened.holds()),
                    tracer: opened.tracer().clone(),
                };
                Intake::connect(cluster, topic, binding, &positions, feed)
            };
            intakes.push(cluster.patiently(connect)?);
        }
        let reader = opened.reader();
        let ledger = opened.start_with(passed, on_fatal.clone())?;
        let handle = ledger.handle();
        let shelf = Shelf::empty();
        let library = Library::of(&folder, reader, shelf.clone());
        let (hosted, followed) = (folder.clone(), handle.clone());
        let views = spawn("views", move || host(views, &shelf, &hosted, &followed))?;

        let stop = Arc::new(AtomicBool::new(false));
        let (mut threads, mut lag) = (Vec::new(), None);
        if let Some(mut publisher) = publisher {
            let (log, followed, stopped) = (library.reader.clone(), handle, Arc::clone(&stop));
            let on_fatal = Arc::new(on_fatal);
            let publish = move || publisher.run(&log, &followed.progress, &stopped, &followed.tracer);
            threads.push(guarded("publisher", Arc::clone(&on_fatal), publish)?);
            let read: Vec<_> = intakes.iter().map(Intake::read).collect();
            if let Some(cluster) = kafka.filter(|_| !read.is_empty()) {
                lag = intake_lag::watch(cluster, read, Arc::clone(&stop));
            }
            for mut intake in intakes {
                let stop = Arc::clone(&stop);
                threads.push(guarded("intake", Arc::clone(&on_fatal), move || intake.run(&stop))?);
            }
            if bindings.is_empty() {
                warn!(
                    "no partitions are bound to this ledger: nothing is read from Kafka (writ init --kafka binds them)"
                );
            }
        }
        Ok(Service { ledger, library, views, kafka: threads, intake_lag: lag, stop })
    }

    /// What the edges submit to and follow.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.ledger.handle()
    }

    /// What questions are put to.
    #[must_use]
    pub fn library(&self) -> Library {
        self.library.clone()
    }

    /// Ends it: intake first, then what is under way, then the log; then views and publisher, which follow it to its end.
    ///
    /// # Errors
    /// What ended the writer.
    pub fn stop(self) -> Result<()> {
        self.end(Ledger::stop)
    }

    /// The same, but everything that has passed is carried out first.
    ///
    /// # Errors
    /// As [`Service::stop`].
    pub fn finish(self) -> Result<()> {
        self.end(Ledger::finish)
    }

    fn end(self, ledger: impl FnOnce(Ledger) -> Result<()>) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        ledger(self.ledger)?;
        for thread in self.kafka {
            thread.join().map_err(|_| panicked("of Kafka"))??;
        }
        if let Some(thread) = self.intake_lag {
            let _ = thread.join(); // its client goes before the Kafka does; a panic of it said so, and harms nobody
        }
        // All of it is derived, so nobody waits long for it: without threads, sled would wait for ever.
        let since = Stopwatch::start();
        while !self.views.is_finished() {
            if since.elapsed() > VIEWS_PATIENCE {
                warn!("the views do not end; what they lack, the next opening reads from the log");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.views.join().map_err(|_| panicked("views"))
    }
}

/// Output progress is an anchor outside the folder: a folder that was rewound, or that went another way since, must dispatch
/// nothing.
fn require_published(published: Published, opened: &Opened) -> Result<()> {
    let Published { next, head } = published;
    let forked = |why: String| Err(Failure::new(Code::LogForked, why));
    if next > opened.state().next() {
        return forked(format!("{next} entries were published, the log has {}", opened.state().next()));
    }
    let Some(last) = next.0.checked_sub(1).map(Seq) else { return Ok(()) };
    let located = opened.reader().get(last)?;
    if located.is_none_or(|located| located.entry.hash() != head) {
        return forked(format!("another entry {last} was published than the log has"));
    }
    Ok(())
}

//! Carries out what passed, at most once.
//!
//! One thread holds the jobs. A job whose turn has come is *asked for* (the sequencer records `DispatchStarted`, or that it
//! expired), then *called* once that is durable, then *ended* by its receipt. What is under way is bounded for each kind of
//! connector, so a slow one holds up only its own kind.
//!
//! **Invariant:** no connector is called before its `DispatchStarted` is durable, and none twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use tracing::{debug_span, warn};

use writ_kernel::execution::Ending;
use writ_schemas::errors::Code;
use writ_schemas::event::INLINE_OUTPUT_MAX;
use writ_schemas::ids::{Digest, Name, Seq};
use writ_schemas::policy::{Bundle, Connector, ConnectorKind};
use writ_schemas::receipt::Status;

use crate::clock::Stopwatch;
use crate::queue::Queue;
use crate::sequencer::{Effect, Input, Job};
use crate::telemetry;

pub mod content;
pub mod contract;
pub mod http;

use content::ContentStore;
use contract::Contract;

/// How many `echo` executions are under way at once: a batch and the next.
const ECHO_MAX: usize = 2048;

/// What a connector answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did it, and gave this output.
    Done(Vec<u8>),
    /// It did not do it.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// The executor's part of a ledger.
pub struct Executor {
    queue: Arc<Queue<Input>>,
    content: ContentStore,
    connectors: BTreeMap<Name, Arc<Ready>>,
    echo: Lane,
    http: Lane,
    ending: Option<Effect>,
}

/// A connector of the policy in force.
struct Ready {
    kind: ConnectorKind,
    contract: Option<Contract>,
}

/// The jobs of one kind of connector.
struct Lane {
    waiting: VecDeque<Job>,
    under_way: BTreeMap<Seq, Job>,
    under_way_max: usize,
}

impl Lane {
    fn new(under_way_max: usize) -> Lane {
        Lane { waiting: VecDeque::new(), under_way: BTreeMap::new(), under_way_max }
    }
}

impl Executor {
    /// An executor under the policy in force.
    #[must_use]
    pub fn new(
        queue: Arc<Queue<Input>>,
        content: ContentStore,
        policy: Option<&Bundle>,
        http_calls_max: usize,
    ) -> Executor {
        let mut executor = Executor {
            queue,
            content,
            connectors: BTreeMap::new(),
            echo: Lane::new(ECHO_MAX),
            http: Lane::new(http_calls_max),
            ending: None,
        };
        if let Some(bundle) = policy {
            executor.follow(bundle);
        }
        executor
    }

    /// Works until it is told to end, and nothing is under way; or until the writer has ended.
    pub fn run(mut self, effects: &Receiver<Effect>) {
        while let Ok(effect) = effects.recv() {
            match effect {
                Effect::Ready(job) => self.lane(&job.open.connector).waiting.push_back(*job),
                Effect::Call(decision) => self.call(decision),
                Effect::Closed(decision) => {
                    self.echo.under_way.remove(&decision);
                    self.http.under_way.remove(&decision);
                }
                Effect::Policy(bundle) => self.follow(&bundle),
                end @ (Effect::Drain | Effect::Finish) => self.ending = Some(end),
                Effect::Abandon => return,
            }
            self.pump();
            telemetry::executions(self.echo.under_way.len() + self.http.under_way.len());
            if self.is_done() {
                return;
            }
        }
    }

    fn is_done(&self) -> bool {
        let idle = [&self.echo, &self.http].iter().all(|lane| lane.under_way.is_empty());
        let empty = [&self.echo, &self.http].iter().all(|lane| lane.waiting.is_empty());
        match self.ending {
            Some(Effect::Finish) => idle && empty,
            Some(_) => idle,
            None => false,
        }
    }

    fn follow(&mut self, bundle: &Bundle) {
        self.connectors = bundle
            .connectors
            .iter()
            .map(|(name, Connector { kind, output_schema })| {
                let contract =
                    Contract::compile(output_schema).map_err(|why| warn!(connector = %name, %why, "schema")).ok();
                (name.clone(), Arc::new(Ready { kind: kind.clone(), contract }))
            })
            .collect();
    }

    fn lane(&mut self, connector: &Name) -> &mut Lane {
        match self.connectors.get(connector).map(|ready| &ready.kind) {
            Some(ConnectorKind::Http { .. }) => &mut self.http,
            Some(ConnectorKind::Echo) | None => &mut self.echo,
        }
    }

    /// Asks for as many dispatches as may be under way.
    fn pump(&mut self) {
        if matches!(self.ending, Some(Effect::Drain)) {
            return;
        }
        for lane in [&mut self.echo, &mut self.http] {
            while lane.under_way.len() < lane.under_way_max {
                let Some(job) = lane.waiting.pop_front() else { break };
                self.queue.report(Input::Dispatch(job.decision));
                lane.under_way.insert(job.decision, job);
            }
        }
    }

    /// The stages after dispatch. Each ends with a registered code, and every ending becomes a receipt.
    fn call(&mut self, decision: Seq) {
        let _span = debug_span!("call", decision = decision.0).entered();
        let Some(job) = self.echo.under_way.get(&decision).or_else(|| self.http.under_way.get(&decision)) else {
            warn!(%decision, "a dispatch without its job; it becomes uncertain at the next opening");
            return;
        };
        let end = move |status, code| Input::Ended(Ending { decision, status, code, output: None }, None);
        let Ok(effect) = job.intent.value().effect() else {
            return self.queue.report(end(Status::Failed, Code::EffectDigest));
        };
        if Digest::of(&effect) != job.open.effect {
            return self.queue.report(end(Status::Failed, Code::EffectDigest));
        }
        let Some(ready) = self.connectors.get(&job.open.connector).filter(|ready| ready.contract.is_some()).cloned()
        else {
            return self.queue.report(end(Status::Failed, Code::ConnectorUnknown));
        };
        match &ready.kind {
            ConnectorKind::Echo => {
                let args = writ_schemas::canonical::bytes(&job.intent.value().args).unwrap_or_default();
                let input = conclude(decision, Outcome::Done(args), &ready, &self.content);
                self.queue.report(input);
            }
            ConnectorKind::Http { url, timeout_us } => {
                let call =
                    http::Call { url: url.clone(), timeout_us: *timeout_us, effect, key: job.open.idempotency_key };
                let (queue, content) = (Arc::clone(&self.queue), self.content.clone());
                let ready = Arc::clone(&ready);
                let spawned = std::thread::Builder::new().name("connector".to_owned()).spawn(move || {
                    let mut report = Report { queue, ending: Some(end(Status::Uncertain, Code::ConnectorUncertain)) };
                    let took = Stopwatch::start();
                    let outcome = call.run();
                    telemetry::stage("connector", took.elapsed());
                    report.ending = Some(conclude(decision, outcome, &ready, &content));
                });
                if let Err(error) = spawned {
                    warn!(%error, "no thread for a connector");
                    self.queue.report(end(Status::Failed, Code::ConnectorRefused));
                }
            }
        }
    }
}

/// Reports the ending of a call when it is dropped: if its thread panics, that nobody knows.
struct Report {
    queue: Arc<Queue<Input>>,
    ending: Option<Input>,
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Some(ending) = self.ending.take() {
            self.queue.report(ending);
        }
    }
}

/// An answer to an ending: strict JSON, its canonical form, its pinned shape, its place in the content store.
fn conclude(decision: Seq, outcome: Outcome, ready: &Ready, content: &ContentStore) -> Input {
    let ending = |status, code, output| Ending { decision, status, code, output };
    let bytes = match outcome {
        Outcome::Done(bytes) => bytes,
        Outcome::Refused => return Input::Ended(ending(Status::Failed, Code::ConnectorRefused, None), None),
        Outcome::Unknown => return Input::Ended(ending(Status::Uncertain, Code::ConnectorUncertain, None), None),
    };
    let Ok((value, canonical)) = contract::canonical_output(&bytes) else {
        return Input::Ended(ending(Status::Uncertain, Code::OutputNotCanonical, None), None);
    };
    let (status, code) = match ready.contract.as_ref().map(|contract| contract.holds(&value)) {
        Some(true) => (Status::Succeeded, Code::Ok),
        Some(false) | None => (Status::Failed, Code::ConnectorContractDrift),
    };
    let digest = Digest::of(&canonical);
    if canonical.len() <= INLINE_OUTPUT_MAX {
        return Input::Ended(ending(status, code, Some(digest)), Some(canonical));
    }
    match content.put(&digest, &canonical) {
        Ok(()) => Input::Ended(ending(status, code, Some(digest)), None),
        Err(error) => {
            // The effect happened, but its output cannot be kept: somebody must look.
            warn!(%error, "content store");
            Input::Ended(ending(Status::Uncertain, Code::ContentIntegrity, None), None)
        }
    }
}

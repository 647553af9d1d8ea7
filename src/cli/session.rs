//! A way to a ledger: the socket of the process that serves it, or the folder itself, where nobody does.
//!
//! Either way the same router answers, so a command behaves the same.
//!
//! **Invariant:** an act or evidence dispatches nothing here: what is meant to stop effects must not cause them.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tower::ServiceExt;
use tracing::warn;

use writ_projections::page::Part;
use writ_schemas::errors::Code;
use writ_schemas::event::Source;
use writ_schemas::ids::Seq;

use super::output;
use crate::api::audits::Audits;
use crate::api::host::Hosts;
use crate::api::limits::Limits;
use crate::api::{self, Api};
use crate::checkpoint;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::error::{Failure, Result};
use crate::folder::Folder;
use crate::ledger::{self, Opened};
use crate::query::Library;
use crate::sequencer::Passed;
use crate::service::Service;
use crate::telemetry::running;
use crate::threads;

/// The largest answer read: as much as may be submitted, twice.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// How often a question is asked of a ledger that has too many of them, and how long between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// A way to a ledger.
pub(super) struct Session {
    runtime: tokio::runtime::Runtime,
    way: Way,
}

enum Way {
    Served(std::path::PathBuf),
    Own(Box<Own>),
}

struct Own {
    service: Service,
    router: Router,
}

impl Session {
    /// The way for intents. Where nobody serves the ledger, this process becomes its writer until [`Session::close`], and
    /// carries out what passed; but where partitions are bound, only Kafka knows whether the folder is the newest one, and
    /// what passed waits for `writ serve`.
    ///
    /// # Errors
    /// As [`Opened::open`]; `ERR_LOG_LOCKED` if it is locked and its socket does not answer.
    pub(super) fn open(folder: &Folder) -> Result<Session> {
        Session::by(folder, |opened| {
            if opened.state().bindings().is_empty() {
                return Passed::CarriedOut;
            }
            warn!("partitions of Kafka are bound to this ledger: what passed is carried out by `writ serve`");
            Passed::Waits
        })
    }

    /// The way for acts and evidence: where nobody serves the ledger, this process becomes its writer, and carries out
    /// nothing.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub(super) fn administer(folder: &Folder) -> Result<Session> {
        Session::by(folder, |_| Passed::Waits)
    }

    /// The way to whoever serves the ledger; nothing where nobody does.
    ///
    /// # Errors
    /// `ERR_THREADS`.
    pub(super) fn served(folder: &Folder) -> Result<Option<Session>> {
        let (runtime, socket) = (threads::runtime()?, folder.socket());
        let answers = runtime.block_on(UnixStream::connect(&socket)).is_ok();
        Ok(answers.then_some(Session { runtime, way: Way::Served(socket) }))
    }

    fn by(folder: &Folder, passed: impl FnOnce(&Opened) -> Passed) -> Result<Session> {
        folder.require()?;
        if let Some(session) = Session::served(folder)? {
            return Ok(session);
        }
        let runtime = threads::runtime()?;
        let limits = Limits::new(Duration::from_millis(Config::default().request_patience_ms))?;
        let opened = Opened::open(folder, Clock::Wall)?;
        let passed = passed(&opened);
        let service = Service::start(opened, None, passed, end_process)?;
        let (ledger, library) = (service.handle(), service.library());
        let (hosts, audits) = (Hosts::any(), Audits::default());
        let api = Api { ledger, library, source: Source::Local, metrics: None, limits, hosts, audits };
        let router = api::private(api);
        Ok(Session { runtime, way: Way::Own(Box::new(Own { service, router })) })
    }

    /// Asks or tells the ledger.
    ///
    /// # Errors
    /// What it answered, if that is a problem; `ERR_STOPPING` if it went away.
    pub(super) fn request(&self, method: &Method, path: &str, content_type: &str, body: Vec<u8>) -> Result<Vec<u8>> {
        self.runtime.block_on(self.exchange(method, path, content_type, body, ANSWER_BYTES_MAX))
    }

    /// The same, where nobody waits longer than this, or reads more.
    ///
    /// # Errors
    /// As [`Session::request`]; `ERR_STOPPING` if the answer did not come in time, or is longer.
    pub(super) fn request_within(
        &self,
        method: &Method,
        path: &str,
        body: Vec<u8>,
        patience: Duration,
        bytes_max: usize,
    ) -> Result<Vec<u8>> {
        let exchange = self.exchange(method, path, "application/json", body, bytes_max);
        let answered = self.runtime.block_on(async { tokio::time::timeout(patience, exchange).await });
        answered.map_err(|_| Failure::new(Code::Stopping, format!("{path}: no answer in time")))?
    }

    /// Tells the ledger something that it may miss: nobody waits longer for it than this.
    ///
    /// # Errors
    /// As [`Session::request`]; `ERR_STOPPING` if it did not answer in time.
    pub(super) fn tell(&self, path: &str, body: Vec<u8>, patience: Duration) -> Result<Vec<u8>> {
        self.request_within(&Method::POST, path, body, patience, ANSWER_BYTES_MAX)
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
        bytes_max: usize,
    ) -> Result<Vec<u8>> {
        let mut request =
            Request::builder().method(method).uri(path).header("Host", "writ").header("Content-Type", content_type);
        if let Some(trace) = config::trace_parent() {
            request = request.header("traceparent", trace.to_string());
        }
        let request = request.body(Body::from(body)).map_err(|e| Failure::new(Code::Usage, format!("{path}: {e}")))?;
        let (status, body) = match &self.way {
            Way::Served(socket) => over_socket(socket, request).await?,
            Way::Own(own) => {
                let response = own.router.clone().oneshot(request).await;
                let response = response.map_err(|e| Failure::new(Code::Io, e))?;
                (response.status(), response.into_body())
            }
        };
        let bytes = to_bytes(body, bytes_max).await.map_err(|e| Failure::new(Code::Stopping, e))?;
        if status.is_success() {
            return Ok(bytes.to_vec());
        }
        let problem: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Err(api::failure_of_problem(&problem))
    }

    /// Posts a signed document.
    ///
    /// # Errors
    /// As [`Session::request`].
    pub(super) fn post(&self, path: &str, envelope: Vec<u8>) -> Result<Value> {
        let bytes = self.request(&Method::POST, path, "application/json", envelope)?;
        serde_json::from_slice(&bytes).map_err(|e| Failure::new(Code::Io, format!("{path}: {e}")))
    }

    /// Asks a question. The answer knows of all that is durable.
    ///
    /// # Errors
    /// As [`Session::request`].
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        self.ask(&with_query(path, "at_least=head"))
    }

    /// Asks a question, also of a ledger that has too many of them: then again, a few times.
    fn ask(&self, path: &str) -> Result<Value> {
        let mut left = TRIES;
        let bytes = loop {
            match self.request(&Method::GET, path, "application/json", Vec::new()) {
                Err(failure) if failure.code == Code::Overloaded && left > 1 => left -= 1,
                answered => break answered?,
            }
            std::thread::sleep(PAUSE);
        };
        serde_json::from_slice(&bytes).map_err(|e| Failure::new(Code::Io, format!("{path}: {e}")))
    }

    /// Ends the session. A process that was the writer ends everything that it was to carry out, and seals.
    ///
    /// # Errors
    /// What ended the writer.
    pub(super) fn close(self) -> Result<()> {
        match self.way {
            Way::Served(_) => Ok(()),
            Way::Own(own) => own.service.finish(),
        }
    }
}

/// A name as one segment of a path: of what names may hold, only the slash would end it.
pub(super) fn encode(name: &str) -> String {
    name.replace('/', "%2F")
}

/// Who answers questions: the serving process if there is one, else the folder's views, which are brought up to date.
enum Asked {
    Served(Session),
    Own(Library),
}

impl Asked {
    fn of(folder: &Folder) -> Result<Asked> {
        folder.require()?;
        if let Some(session) = Session::served(folder)? {
            return Ok(Asked::Served(session));
        }
        let library = Library::open(folder)?;
        caution(durable(folder), library.views.current()?.progress.next());
        Ok(Asked::Own(library))
    }

    fn ask(&self, path: &str, own: impl FnOnce(&Library) -> Result<Value>) -> Result<Value> {
        match self {
            Asked::Served(session) => session.ask(path),
            Asked::Own(library) => library.answer(own),
        }
    }
}

/// Asks a question.
///
/// # Errors
/// What the question found, or that nothing could be asked.
pub(super) fn ask(folder: &Folder, path: &str, own: impl FnOnce(&Library) -> Result<Value>) -> Result<Value> {
    Asked::of(folder)?.ask(&with_query(path, "at_least=head"), own)
}

/// Asks for a list, one part after the other, and shows each. It ends early where nobody reads what is shown, or where `show` has seen
/// enough.
///
/// # Errors
/// As [`ask`].
pub(super) fn list(
    folder: &Folder,
    path: &str,
    own: impl Fn(&Library, &Part) -> Result<Value>,
    mut show: impl FnMut(&Value) -> ControlFlow<()>,
) -> Result<()> {
    let asked = Asked::of(folder)?;
    let mut part = Part::first(usize::MAX);
    loop {
        let of_part = match &part.cursor {
            None => with_query(path, "at_least=head"),
            Some(cursor) => with_query(path, &format!("cursor={cursor}")),
        };
        let answer = asked.ask(&of_part, |library| own(library, &part))?;
        if show(&answer).is_break() || output::refused().is_some() {
            return Ok(());
        }
        match answer["next"].as_str() {
            None => return Ok(()),
            Some(next) => part.cursor = Some(next.parse().map_err(|e| Failure::new(Code::Io, format!("{path}: {e}")))?),
        }
    }
}

/// Shows a list: each item as a line of JSON, or each part as people read it; or that there is nothing.
///
/// # Errors
/// As [`ask`].
pub(super) fn show(
    folder: &Folder,
    path: &str,
    own: impl Fn(&Library, &Part) -> Result<Value>,
    (as_json, print, nothing): (bool, impl Fn(&[Value]), &str),
) -> Result<()> {
    let mut none = true;
    list(folder, path, own, |answer| {
        let found = items(answer);
        none &= found.is_empty();
        if as_json {
            found.iter().for_each(output::json);
        } else if !found.is_empty() {
            print(found);
        }
        ControlFlow::Continue(())
    })?;
    if none && !as_json {
        output::line(nothing);
    }
    Ok(())
}

fn with_query(path: &str, query: &str) -> String {
    let sign = if path.contains('?') { '&' } else { '?' };
    format!("{path}{sign}{query}")
}

/// The items of a part.
pub(super) fn items(answer: &Value) -> &[Value] {
    answer["items"].as_array().map_or(&[], Vec::as_slice)
}

/// How many entries of a folder are known to be durable without opening it for writing: those that the last checkpoint
/// covers, for it is signed after they are.
///
/// A crash can leave entries that only the page cache shows. Opening for writing writes and syncs them again before anything
/// follows from them; a question must neither write the log nor resume what was open, so it says what it does not know.
pub(super) fn durable(folder: &Folder) -> Seq {
    let latest = ledger::genesis(folder)
        .and_then(|it| checkpoint::latest(folder, &it.origin, &it.checkpoint_key))
        .ok()
        .flatten();
    latest.map_or(Seq(0), |checkpoint| Seq(checkpoint.size))
}

/// Says on standard error that an answer, from entries before `next`, goes beyond what is `durable`.
pub(super) fn caution(durable: Seq, next: Seq) {
    if next > durable {
        output::note(format!(
            "writ: entries from {durable} on are beyond the last checkpoint: a crash may still take them, until the ledger is \
             opened for writing or a checkpoint covers them",
        ));
    }
}

async fn over_socket(socket: &Path, request: Request<Body>) -> Result<(axum::http::StatusCode, Body)> {
    let gone = |e: &dyn std::fmt::Display| Failure::new(Code::Stopping, format!("{}: {e}", socket.display()));
    let stream = UnixStream::connect(socket).await.map_err(|e| gone(&e))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| gone(&e))?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| gone(&e))?;
    Ok((response.status(), Body::new(response.into_body())))
}

/// A writer that cannot go on ends its process: nothing of what it did not make durable may be told. While telemetry tells the collector why,
/// nothing becomes durable any more, and no call begins.
pub(super) fn end_process(failure: &Failure) {
    threads::end_process();
    super::complain(failure);
    running::fatal(failure);
    std::process::exit(i32::from(failure.code.entry().exit.max(1)));
}

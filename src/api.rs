//! HTTP, on TCP and on the ledger's socket: the same router, so that whatever talks to a ledger says the same things.
//!
//! The socket carries everything. TCP carries what a network may: intents (signed by their producers), answers, health and
//! metrics; administrative acts go through the socket or are carried by hand, although they are signed too.
//!
//! Every error is a problem document (RFC 9457) with a registered code.
//!
//! - [`limits`]: what clients may take: memory, time, connections
//! - [`host`]: under which names it answers, and what it says to browsers
//! - [`audits`]: what checks of this ledger found
//! - `counted`: every request, for metrics
//! - `questions`: what happened, from the views and the log
//! - `turns`: who answers questions, one after the other
//! - `request`: where a request goes, and how its body is read
//! - `requested`: what traces tell of one that brings intents

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use writ_kernel::outcome::REPORT_BYTES_MAX;
use writ_log::Reader;
use writ_schemas::act::{Act, Statement};
use writ_schemas::dsse::{ENVELOPE_BYTES_MAX, Signed};
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, Source};
use writ_schemas::evidence::Evidence;
use writ_schemas::strict::Refusal;

use crate::clock::Stopwatch;
use crate::error::Failure;
use crate::intake;
use crate::ledger::Handle;
use crate::query::{self, Library};
use crate::sequencer::{Answer, Submitted};
use crate::telemetry::exposition::{Exposition, Form};
use crate::telemetry::facts::Arrival;
use crate::telemetry::metrics;
use crate::threads;

pub mod limits;
pub mod host;
pub mod audits;
mod counted;
mod questions;
mod request;
mod requested;
mod turns;

use audits::Audits;
use host::Hosts;
use limits::{Limits, Share};
use request::Content;
use requested::Requested;

/// The largest body of many intents, a line each: 20 MiB.
const LINES_BYTES_MAX: usize = 20 << 20;

/// The largest approval: a digest and a reason. 16 KiB.
const APPROVAL_BYTES_MAX: usize = 16 << 10;

/// The largest report, as an envelope: its payload in base 64, and room for the rest.
const OUTCOME_BYTES_MAX: usize = REPORT_BYTES_MAX / 3 * 4 + (8 << 10);

/// The most lines of such a body.
pub const LINES_MAX: usize = 4096;

/// How long a question waits until the views hold what it asks for, and how long for its turn.
const VIEW_PATIENCE: Duration = Duration::from_secs(5);

/// When a client that was not served may ask again, in seconds.
const RETRY_AFTER: &str = "1";

/// What every handler sees.
#[derive(Clone)]
pub struct Api {
    /// The ledger, to submit to.
    pub ledger: Handle,
    /// The views and the log, to ask.
    pub library: Library,
    /// Where intents that come this way came from.
    pub source: Source,
    /// The metrics of this process, if it counts.
    pub metrics: Option<Exposition>,
    /// What clients may take.
    pub limits: Limits,
    /// Under which names it answers.
    pub hosts: Hosts,
    /// What checks have found.
    pub audits: Audits,
}

/// The routes that a network may reach.
pub fn public(api: Api) -> Router {
    let routes = answers()
        .route("/v1/intents", post(intents))
        .route("/v1/approvals", post(approval))
        .route("/v1/outcomes", post(outcome));
    answering(routes, api)
}

/// The routes of the ledger's own socket: the public ones, and administration.
pub fn private(api: Api) -> Router {
    let routes = answers()
        .route("/v1/intents", post(intents))
        .route("/v1/acts", post(act))
        .route("/v1/approvals", get(questions::approvals).post(act))
        .route("/v1/outcomes", post(outcome))
        .route("/v1/evidence", post(evidence))
        .route("/v1/audits", post(audits::hear));
    answering(routes, api)
}

fn answers() -> Router<Api> {
    questions::routes()
        .route("/metrics", get(metrics))
        .route("/health/live", get(|| async { Json(json!({ "live": true })) }))
        .route("/health/ready", get(ready))
}

/// All routes there are, and what is said of every other request.
fn answering(routes: Router<Api>, api: Api) -> Router {
    routes
        .fallback(|| async { Failure::new(Code::NotFound, "no such route") })
        .method_not_allowed_fallback(|| async { Failure::new(Code::Method, "the route has other methods") })
        .layer(from_fn_with_state(api.hosts.clone(), host::guarded))
        .layer(from_fn_with_state(api.limits.clone(), limits::heard))
        .layer(from_fn(counted::counted))
        .with_state(api)
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let entry = self.code.entry();
        let status = StatusCode::from_u16(entry.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({
            "class": entry.class,
            "code": entry.code,
            "detail": self.detail,
            "remedy": entry.remedy,
            "status": entry.http,
            "title": entry.message,
            "type": format!("https://writ.example/errors/{}", entry.code),
        });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, kind, body.to_string()).into_response();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

/// The code and the words of a failure, as a problem document says them.
#[must_use]
pub fn failure_of_problem(problem: &Value) -> Failure {
    let code = problem["code"].as_str().and_then(|code| code.parse().ok()).unwrap_or(Code::Io);
    Failure::new(code, problem["detail"].as_str().unwrap_or_default())
}

type Answered = Result<Json<Value>, Failure>;

/// One envelope; or, as `application/x-ndjson`, one a line, answered a line each in order.
async fn intents(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let requested = Requested::with(request.headers(), &api.ledger.tracer);
    let answer = submitted(&api, request, &requested).await;
    requested.answered(&answer);
    answer
}

async fn submitted(api: &Api, request: Request, requested: &Requested) -> Result<Response, Failure> {
    let content = Content::of(&request)?;
    let bytes_max = match content {
        Content::One => ENVELOPE_BYTES_MAX + 1,
        Content::Lines => LINES_BYTES_MAX,
    };
    let received = api.limits.receive(request, bytes_max).await;
    let (_, body, _share) =
        received.inspect_err(|failure| metrics::intent(metrics::Answered::Refused, failure.code))?;
    let read = Stopwatch::start();
    if content == Content::One {
        let bytes = body.len();
        let what = read_off_thread(vec![body]).await?.pop();
        let what = what.ok_or_else(|| Failure::new(Code::RecordEmpty, "no bytes"))?;
        let answer = api.ledger.submit(what, api.source.clone(), requested.arrival(read), bytes).await?;
        return match answer {
            Answer::Refused(refusal) => Err(refusal.into()),
            answer => Ok(Json(api.told(answer).await?).into_response()),
        };
    }
    let records: Vec<Vec<u8>> =
        body.split(|byte| *byte == b'\n').filter(|it| !it.is_empty()).map(<[u8]>::to_vec).collect();
    if records.len() > LINES_MAX {
        return Err(Failure::new(Code::TooLarge, format!("{} lines, at most {LINES_MAX}", records.len())));
    }
    let sizes: Vec<usize> = records.iter().map(Vec::len).collect();
    let all: Vec<(Submitted, usize)> = read_off_thread(records).await?.into_iter().zip(sizes).collect();
    let answers = api.ledger.offer_all(all, &api.source, || requested.arrival(read)).await?;
    let reader = api.library.reader.clone();
    let out = blocking(move || {
        let mut out = String::new();
        for answer in answers {
            out.push_str(&query::line(&told(answer, &reader)?));
            out.push('\n');
        }
        Ok(out)
    });
    let out = out.await?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], out).into_response())
}

async fn read_off_thread(records: Vec<Vec<u8>>) -> Result<Vec<Submitted>, Failure> {
    blocking(move || Ok(intake::read_all(records))).await
}

async fn blocking<T: Send + 'static>(body: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(body).await.map_err(|_| threads::panicked("of a request"))?
}

/// An answer as JSON. A duplicate gets the decision that it got at first.
fn told(answer: Answer, log: &Reader) -> Result<Value, Failure> {
    Ok(match answer {
        Answer::Decided(seq, decision) => {
            json!({ "answer": "decided", "decision": query::document(&decision), "seq": seq })
        }
        Answer::Known(seq) => match log.get(seq)?.map(|located| located.entry.event()) {
            Some(Ok(Event::DecisionMade(decision))) => {
                json!({ "answer": "known", "decision": query::document(&decision), "seq": seq })
            }
            _ => return Err(Failure::new(Code::LogDamaged, format!("entry {seq} is not a decision"))),
        },
        Answer::Recorded(seq) => json!({ "answer": "recorded", "seq": seq }),
        Answer::Already => json!({ "answer": "already" }),
        Answer::Refused(Refusal { code, detail }) => json!({ "answer": "refused", "code": code, "detail": detail }),
    })
}

impl Api {
    async fn told(&self, answer: Answer) -> Result<Value, Failure> {
        let reader = self.library.reader.clone();
        blocking(move || told(answer, &reader)).await
    }
}

/// The bytes of one document, and the share of memory to keep until it is answered.
async fn document(api: &Api, request: Request, bytes_max: usize) -> Result<(Vec<u8>, Share), Failure> {
    if Content::of(&request)? != Content::One {
        return Err(Failure::new(Code::ContentType, "one document is taken here, as application/json"));
    }
    let (_, bytes, share) = api.limits.receive(request, bytes_max).await?;
    Ok((bytes, share))
}

async fn act(State(api): State<Api>, request: Request) -> Answered {
    let (bytes, _share) = document(&api, request, ENVELOPE_BYTES_MAX + 1).await?;
    let act = blocking(move || Ok(Signed::<Act>::from_envelope(&bytes)?)).await?;
    let bytes = act.payload().len();
    recorded(&api, Submitted::Act(Box::new(act)), bytes).await
}

/// An approver's answer: like an outcome, an act that a network may submit, since it is its signer's alone.
async fn approval(State(api): State<Api>, request: Request) -> Answered {
    let (bytes, _share) = document(&api, request, APPROVAL_BYTES_MAX).await?;
    let act = blocking(move || Ok(Signed::<Act>::from_envelope(&bytes)?)).await?;
    if !matches!(act.value().statement, Statement::Approve { .. }) {
        return Err(Failure::new(Code::ActRefused, "here only approvers are heard, and only their answers"));
    }
    let bytes = act.payload().len();
    recorded(&api, Submitted::Act(Box::new(act)), bytes).await
}

/// What became of an effect that was carried out outside.
async fn outcome(State(api): State<Api>, request: Request) -> Answered {
    let (bytes, _share) = document(&api, request, OUTCOME_BYTES_MAX).await?;
    let act = blocking(move || Ok(Signed::<Act>::from_envelope(&bytes)?)).await?;
    if !matches!(act.value().statement, Statement::Report { .. }) {
        return Err(Failure::new(Code::ActRefused, "here only those are heard who carry out, and only their reports"));
    }
    let bytes = act.payload().len();
    recorded(&api, Submitted::Act(Box::new(act)), bytes).await
}

async fn evidence(State(api): State<Api>, request: Request) -> Answered {
    let (bytes, _share) = document(&api, request, ENVELOPE_BYTES_MAX + 1).await?;
    let evidence = blocking(move || Ok(Signed::<Evidence>::from_envelope(&bytes)?)).await?;
    let bytes = evidence.payload().len();
    recorded(&api, Submitted::Evidence(Box::new(evidence)), bytes).await
}

async fn recorded(api: &Api, what: Submitted, bytes: usize) -> Answered {
    match api.ledger.submit(what, api.source.clone(), Arrival::now(), bytes).await? {
        Answer::Refused(refusal) => Err(refusal.into()),
        answer => Ok(Json(api.told(answer).await?)),
    }
}

async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Failure> {
    let Some(exposition) = api.metrics else {
        return Err(Failure::new(Code::NotFound, "this process does not count"));
    };
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let form = Form::accepted(accept);
    Ok(([(header::CONTENT_TYPE, form.content_type())], exposition.render(form).await?).into_response())
}

async fn ready(State(api): State<Api>) -> Result<Json<Value>, Failure> {
    if api.ledger.progress.is_closed() {
        return Err(Failure::new(Code::Stopping, "closed"));
    }
    if api.ledger.space.is_short() || api.ledger.space.is_out() {
        return Err(api.ledger.space.refusal().into());
    }
    api.library.views.progress()?;
    Ok(Json(json!({ "ledger": api.ledger.genesis.ledger, "ready": true, "entries": api.ledger.progress.next() })))
}

//! Questions. Each is answered at once from what the views hold, and says up to which entry that is: `as_of`. Who needs an answer that
//! knows of an entry asks for it: `?at_least=SEQ`, or `?at_least=head` for all that is durable.
//!
//! Long answers come in parts: `items`, and `next`, which is the `cursor` of the part behind them.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use writ_projections::metering::LineKey;
use writ_projections::page::{Cursor, Part};
use writ_schemas::errors::Code;
use writ_schemas::ids::{Name, Seq};

use super::Api;
use super::request::{Path, Query};
use crate::error::{Failure, Result};
use crate::query::Library;

/// How often a question that waits for the views looks again.
const TICK: Duration = Duration::from_millis(5);

type Asked = Result<Response>;

/// The routes of questions that a network may ask.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/decisions/{tenant}/{id}", get(case))
        .route("/v1/explanations/{tenant}/{id}", get(explanation))
        .route("/v1/approvals/{tenant}", get(approvals_of))
        .route("/v1/dispatches/{tenant}/{connector}", get(dispatches))
        .route("/v1/entries/{seq}", get(entry))
        .route("/v1/usage", get(usage))
        .route("/v1/usage/{line}", get(usage_receipts))
        .route("/v1/graph/{tenant}/{id}", get(graph))
}

/// What an answer must know of.
#[derive(Clone, Copy)]
enum AtLeast {
    /// Nothing in particular.
    Any,
    /// All that is durable.
    Head,
    /// This entry.
    Entry(Seq),
}

/// `at_least` of a query.
#[derive(Deserialize)]
pub(super) struct Fresh {
    at_least: Option<String>,
}

impl Fresh {
    fn read(&self) -> Result<AtLeast> {
        match self.at_least.as_deref() {
            None => Ok(AtLeast::Any),
            Some("head") => Ok(AtLeast::Head),
            Some(seq) => Ok(AtLeast::Entry(Seq(number("at_least", seq)?))),
        }
    }
}

/// `cursor` and `limit` of a query.
#[derive(Deserialize)]
pub(super) struct Paging {
    cursor: Option<String>,
    limit: Option<String>,
}

impl Paging {
    /// The part that is asked for; as much as an answer holds, if that is not said.
    fn part(&self) -> Result<Part> {
        let cursor = self.cursor.as_deref().map(|text| text.parse::<Cursor>()).transpose();
        let cursor = cursor.map_err(|e| Failure::new(Code::Usage, format!("cursor: {e}")))?;
        let limit = self.limit.as_deref().map_or(Ok(u64::MAX), |text| number("limit", text))?;
        match usize::try_from(limit).unwrap_or(usize::MAX) {
            0 => Err(Failure::new(Code::Usage, "limit: at least 1")),
            limit => Ok(Part { cursor, limit }),
        }
    }

    /// The same of a list whose places are numbers.
    fn numbered(&self) -> Result<Part> {
        let part = self.part()?;
        match &part.cursor {
            Some(cursor) if cursor.number().is_none() => {
                Err(Failure::new(Code::Usage, "cursor: it is the place of another list"))
            }
            Some(_) | None => Ok(part),
        }
    }
}

/// An answer is written where it is found, so that turns bound that, too.
fn said(answer: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(answer).map_err(|e| Failure::new(Code::Io, e))
}

fn json(answer: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], answer).into_response()
}

fn number(what: &str, text: &str) -> Result<u64> {
    text.parse().map_err(|e| Failure::new(Code::Usage, format!("{what}: {text:?}: {e}")))
}

fn name(text: &str) -> Result<Name> {
    text.parse().map_err(|e| Failure::new(Code::Usage, format!("{text:?}: {e}")))
}

impl Api {
    /// Asks the views. Questions take turns, so that they leave room for the writer.
    async fn ask(&self, fresh: &Fresh, question: impl FnOnce(&Library) -> Result<Value> + Send + 'static) -> Asked {
        let next = match fresh.read()? {
            AtLeast::Any => Seq(0),
            AtLeast::Head => self.ledger.progress.next(),
            AtLeast::Entry(seq) if seq >= self.ledger.progress.next() => {
                return Err(Failure::new(Code::NotFound, format!("entry {seq}")));
            }
            AtLeast::Entry(seq) => seq.next(),
        };
        let queued = self.limits.turns.queue_up()?;
        let (library, patience) = (self.library.clone(), super::VIEW_PATIENCE);
        // No thread waits: intents need them, however many questions there are.
        timeout(patience, known(&library, next))
            .await
            .map_err(|_| Failure::new(Code::Overloaded, "the views have not caught up with the log"))??;
        let broken = |failure: &Failure| matches!(failure.code, Code::ViewDamaged | Code::Panicked);
        let answer = queued.ask(patience, move || said(&library.answer(question)?)).await.inspect_err(|failure| {
            if broken(failure) {
                self.library.views.doubt(failure)
            }
        });
        answer.map(json)
    }
}

async fn known(library: &Library, next: Seq) -> Result<()> {
    while !library.knows(next)? {
        sleep(TICK).await;
    }
    Ok(())
}

async fn case(State(api): State<Api>, Path((tenant, id)): Path<(String, String)>, Query(fresh): Query<Fresh>) -> Asked {
    let (tenant, id) = (name(&tenant)?, name(&id)?);
    api.ask(&fresh, move |library| library.case(&tenant, &id)).await
}

async fn explanation(
    State(api): State<Api>,
    Path((tenant, id)): Path<(String, String)>,
    Query(fresh): Query<Fresh>,
) -> Asked {
    let (tenant, id) = (name(&tenant)?, name(&id)?);
    api.ask(&fresh, move |library| library.explanation(&tenant, &id)).await
}

async fn graph(
    State(api): State<Api>,
    Path((tenant, id)): Path<(String, String)>,
    Query(fresh): Query<Fresh>,
) -> Asked {
    let (tenant, id) = (name(&tenant)?, name(&id)?);
    api.ask(&fresh, move |library| library.graph(library.last_of(&tenant, &id)?)).await
}

pub(super) async fn approvals(
    State(api): State<Api>,
    Query(fresh): Query<Fresh>,
    Query(paging): Query<Paging>,
) -> Asked {
    let part = paging.numbered()?;
    api.ask(&fresh, move |library| library.approvals(None, &part)).await
}

async fn approvals_of(
    State(api): State<Api>,
    Path(tenant): Path<String>,
    Query(fresh): Query<Fresh>,
    Query(paging): Query<Paging>,
) -> Asked {
    let (tenant, part) = (name(&tenant)?, paging.numbered()?);
    api.ask(&fresh, move |library| library.approvals(Some(&tenant), &part)).await
}

async fn dispatches(
    State(api): State<Api>,
    Path((tenant, connector)): Path<(String, String)>,
    Query(fresh): Query<Fresh>,
    Query(paging): Query<Paging>,
) -> Asked {
    let (tenant, connector, part) = (name(&tenant)?, name(&connector)?, paging.numbered()?);
    api.ask(&fresh, move |library| library.dispatches(&tenant, &connector, &part)).await
}

#[derive(Deserialize)]
struct UsageOf {
    tenant: Option<String>,
}

async fn usage(
    State(api): State<Api>,
    Query(of): Query<UsageOf>,
    Query(fresh): Query<Fresh>,
    Query(paging): Query<Paging>,
) -> Asked {
    let (tenant, part) = (of.tenant.as_deref().map(name).transpose()?, paging.part()?);
    api.ask(&fresh, move |library| library.usage(tenant.as_ref(), &part)).await
}

async fn usage_receipts(
    State(api): State<Api>,
    Path(line): Path<String>,
    Query(fresh): Query<Fresh>,
    Query(paging): Query<Paging>,
) -> Asked {
    let named = line.parse().ok().and_then(|line| LineKey::named(&line));
    let line = named.ok_or_else(|| Failure::new(Code::Usage, format!("{line:?} is the name of no line of usage")))?;
    let part = paging.numbered()?;
    api.ask(&fresh, move |library| library.usage_receipts(&line, &part)).await
}

/// The log is asked, not the views: an entry is there as soon as it is durable.
async fn entry(State(api): State<Api>, Path(seq): Path<String>) -> Asked {
    let seq = Seq(number("an entry", &seq)?);
    if seq >= api.ledger.progress.next() {
        return Err(Failure::new(Code::NotFound, format!("entry {seq}")));
    }
    let (queued, library) = (api.limits.turns.queue_up()?, api.library.clone());
    Ok(json(queued.ask(super::VIEW_PATIENCE, move || said(&library.entry(seq)?)).await?))
}

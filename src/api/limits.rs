//! What clients may take of this process: the memory that bodies fill, the time to send a request, connections.
//!
//! **Invariant:** whatever clients send, or leave unsent, the bodies of one listener hold at most [`BODIES_BYTES_MAX`] bytes
//! together, and no request that has not arrived holds its connection for longer than twice the patience: once for its head,
//! once for its body; what is refused is read for as long again at most.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::Listener;
use hyper::body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use writ_schemas::errors::Code;

use super::turns::Turns;
use crate::error::{Failure, Result};
use crate::telemetry::metrics;

/// The most bytes of bodies that one listener holds: 64 MiB, three of the largest bodies and room for intents beside them. A
/// body is held about three times while its lines are parsed and answered.
pub const BODIES_BYTES_MAX: usize = 64 << 20;

/// How much of a body that is too large is read all the same: 64 MiB.
const DRAINED_BYTES_MAX: usize = 64 << 20;

/// Who pauses for so long while such a body is read has sent what there is, or waits for the answer.
const DRAINED_PAUSE: Duration = Duration::from_millis(500);

/// The most connections of one listener: half of the 1024 files that a process may usually open, so that clients cannot keep
/// the log from opening its next segment.
const CONNECTIONS_MAX: usize = 512;

/// What the clients of one listener may take. Each listener has its own: what a network fills must not keep operators out.
#[derive(Clone, Debug)]
pub struct Limits {
    patience: Duration,
    bytes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    /// Of its questions.
    pub(super) turns: Turns,
}

/// A share of the memory of all bodies; given back when it is dropped.
pub(super) type Share = OwnedSemaphorePermit;

impl Limits {
    /// Limits with nothing taken yet; a body must arrive within `patience`.
    ///
    /// # Errors
    /// `ERR_THREADS` if there are none to answer questions.
    pub fn new(patience: Duration) -> Result<Limits> {
        let [bytes, connections] = [BODIES_BYTES_MAX, CONNECTIONS_MAX].map(|most| Arc::new(Semaphore::new(most)));
        Ok(Limits { patience, bytes, connections, turns: Turns::start()? })
    }

    /// Tells how much of them is taken.
    pub fn tell(&self, listener: metrics::Listener) {
        let connections = CONNECTIONS_MAX - self.connections.available_permits();
        metrics::clients(
            listener,
            connections,
            BODIES_BYTES_MAX - self.bytes.available_permits(),
            self.turns.waiting(),
        );
    }

    /// The headers and the whole body of a request. Its bytes count until the share is dropped, which is when they were answered.
    ///
    /// # Errors
    /// `ERR_TOO_LARGE` above `bytes_max`; `ERR_OVERLOADED` if all bodies together are too much; `ERR_REQUEST_INCOMPLETE` if it
    /// does not arrive in time, or is cut off.
    pub(super) async fn receive(&self, request: Request, bytes_max: usize) -> Result<(HeaderMap, Vec<u8>, Share)> {
        let (Parts { headers, .. }, body) = request.into_parts();
        let received = timeout(self.patience, self.read(body, bytes_max)).await.unwrap_or_else(|_| {
            let why = format!("no whole body within {} ms", self.patience.as_millis());
            Err(Failure::new(Code::RequestIncomplete, why))
        });
        let (bytes, share) = received?;
        Ok((headers, bytes, share))
    }

    /// Counts what has arrived, not what was announced: an announcement costs a client nothing.
    async fn read(&self, mut body: Body, bytes_max: usize) -> Result<(Vec<u8>, Share)> {
        let too_large = || Failure::new(Code::TooLarge, format!("a body above {bytes_max} bytes"));
        if usize::try_from(body.size_hint().lower()).map_or(true, |announced| announced > bytes_max) {
            return Err(too_large());
        }
        let (mut bytes, mut share) = (Vec::new(), self.take(0)?);
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let cut_off = |e| Failure::new(Code::RequestIncomplete, format!("the body was cut off: {e}"));
            let Ok(data) = frame.map_err(cut_off)?.into_data() else { continue }; // trailers say nothing here
            if bytes.len() + data.len() > bytes_max {
                return Err(too_large());
            }
            share.merge(self.take(data.len())?);
            bytes.extend_from_slice(&data);
        }
        Ok((bytes, share))
    }

    fn take(&self, bytes: usize) -> Result<Share> {
        let taken = u32::try_from(bytes).ok().and_then(|it| Arc::clone(&self.bytes).try_acquire_many_owned(it).ok());
        taken.ok_or_else(|| Failure::new(Code::Overloaded, "the bodies of other requests fill the memory for them"))
    }
}

/// Lets a client that was refused hear so: who is still sending when the connection is closed hears nothing. What is left of the body
/// is read first, as far as [`drain`] goes; but who waits to be asked for it hears at once that nobody wants it.
pub(super) async fn heard(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let waits = parts.headers.contains_key(EXPECT);
    let mut rest = Rest(Arc::new(Mutex::new(body)));
    let response = next.run(Request::from_parts(parts, Body::new(rest.clone()))).await;
    if !response.status().is_success() && !waits {
        let _ = timeout(limits.patience, drain(&mut rest)).await; // then it took long enough
    }
    response
}

/// A body, of which what nobody has read can be read later.
#[derive(Clone)]
struct Rest(Arc<Mutex<Body>>);

impl Rest {
    fn body(&self) -> MutexGuard<'_, Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Rest {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut *self.body()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}

/// Reads a body and drops it, until it ends or pauses, or there were [`DRAINED_BYTES_MAX`] of it.
async fn drain(body: &mut Rest) {
    let mut left = DRAINED_BYTES_MAX;
    while let Ok(Some(Ok(frame))) = timeout(DRAINED_PAUSE, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, |data| data.len())) else { return };
        left = rest;
    }
}

/// Answers on a listener until the process ends. A connection on which no head of a request arrives within the patience is
/// closed, between two requests as before the first; `axum::serve` has no such limit.
pub async fn answer<L: Listener>(mut listener: L, router: Router, limits: Limits) {
    let patience = limits.patience;
    while let Ok(place) = Arc::clone(&limits.connections).acquire_owned().await {
        let (stream, _) = listener.accept().await;
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(patience);
            // A connection that breaks has nobody who could be told.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

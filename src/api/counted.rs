//! Counts every request by its route and the status of its answer.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;

use crate::clock::Stopwatch;
use crate::telemetry::metrics::{self, HttpStatus, Route};

/// Whoever asks for what there is not is counted as one: names of routes are not what somebody sends.
pub(super) async fn counted(request: Request, next: Next) -> Response {
    let since = Stopwatch::start();
    let route = Route::of(request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));
    let response = next.run(request).await;
    metrics::http_request(route, HttpStatus::of(response.status().as_str()), since.elapsed());
    response
}

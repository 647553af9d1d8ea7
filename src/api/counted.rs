//! Counts every request by its route and the status of its answer.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;

use crate::clock::Stopwatch;
use crate::telemetry::metrics::{self, HttpStatus, Route};

/// A request that is being answered. It is counted when it is let go of, since that is all that happens when its client gives up.
struct Asked {
    route: Route,
    since: Stopwatch,
    /// [`HttpStatus::Other`] until there is an answer.
    status: HttpStatus,
}

/// Whoever asks for what there is not is counted as one: names of routes are not what somebody sends.
pub(super) async fn counted(request: Request, next: Next) -> Response {
    let route = Route::of(request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));
    let mut asked = Asked { route, since: Stopwatch::start(), status: HttpStatus::Other };
    let response = next.run(request).await;
    asked.status = HttpStatus::of(response.status().as_str());
    response
}

impl Drop for Asked {
    fn drop(&mut self) {
        metrics::http_request(self.route, self.status, self.since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::telemetry::exposition::Form;

    #[test]
    fn whoever_gives_up_is_counted_once() {
        let exposition = metrics::install(None).expect("nobody else in this process counts");
        let router = Router::new()
            .route("/health/live", get(std::future::pending::<()>))
            .route("/health/ready", get(|| async {}))
            .layer(from_fn(counted));
        let ask = |path: &str| {
            let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
            router.clone().oneshot(request)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let text = runtime.block_on(async {
            tokio::select! {
                biased;
                response = ask("/health/live") => panic!("{response:?}"),
                () = std::future::ready(()) => {}
            }
            ask("/health/ready").await.expect("an answer");
            exposition.render(Form::Text).await.expect("renders")
        });
        let text = String::from_utf8_lossy(&text);
        for (route, status, count) in [
            ("/health/live", "200", 0),
            ("/health/live", "other", 1),
            ("/health/ready", "200", 1),
            ("/health/ready", "other", 0),
        ] {
            let line = format!("writ_http_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}\n");
            assert!(text.contains(&line), "{line}");
            let line = format!("writ_http_request_duration_seconds_count{{route=\"{route}\"}} 1\n");
            assert!(text.contains(&line), "{line}");
        }
    }
}

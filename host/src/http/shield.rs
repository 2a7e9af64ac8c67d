//! What holds for every request: a time limit, a panic that ends only its own answer, and headers
//! that keep a browser from guessing or keeping.
//!
//! Invariant: every request gets one answer, within the limit of its route.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::extract::{Request, State as Extract};
use axum::http::header::{CACHE_CONTROL, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// The header of an answer that is true only now.
pub(super) const LIVE: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];

/// Stands before every route and every path that is none.
pub(super) async fn shield(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = match unpanicked(next.run(request)).await {
        Some(response) => response,
        None => {
            tracing::error!(path, "HTTP handler panicked");
            let hint = "the log says what happened; report it";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error", hint).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Stands before a route whose answer may take so long.
pub(super) async fn limit(Extract(limit): Extract<Duration>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            tracing::warn!(path, "HTTP answer took too long");
            let error = format!("no answer within {} s", limit.as_secs());
            Problem::unavailable(error, "GET /health says what is slow").into_response()
        }
    }
}

/// Runs a future to its end; none when it panics.
async fn unpanicked<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        // Nothing of the future is touched again after a panic, and locks that handlers share are
        // read through poisoning.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

//! Answers of lines, a JSON object each, that may go on for as long as somebody listens.
//!
//! Not for what the lines say. Invariant: one that goes on is never silent for longer than [`PULSE`], so that a
//! connection whose client is gone is noticed.

use std::future::Future;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

/// How often an empty line is sent where there is nothing to tell.
const PULSE: Duration = Duration::from_secs(5);

/// The answer with these lines.
pub(super) fn answer(lines: Body) -> Response {
    ([(CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
}

/// The next lines, or an empty one where they do not come in time; none at the end.
pub(super) async fn next_or_pulse<L: Into<Bytes>>(lines: impl Future<Output = Option<L>>) -> Option<Bytes> {
    match tokio::time::timeout(PULSE, lines).await {
        Ok(lines) => lines.map(Into::into),
        Err(_) => Some(Bytes::from_static(b"\n")),
    }
}

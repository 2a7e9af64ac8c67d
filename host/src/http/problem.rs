//! Every answer that is no result: a status, what is wrong, and what helps.
//!
//! Invariant: the body is `{"error": "...", "hint": "..."}`, whatever went wrong; what a program may want
//! to know beside the words follows under further names.

use axum::Json;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::shield;

/// Why a request has no result.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    error: String,
    hint: String,
    further: Vec<(&'static str, String)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, error: error.into(), hint: hint.into(), further: Vec::new() }
    }

    /// The request cannot be understood.
    pub(super) fn bad(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, hint)
    }

    /// There is no such thing.
    pub(super) fn missing(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, hint)
    }

    /// The same with something for programs.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.further.push((name, value.into()));
        self
    }

    /// What is wrong.
    pub(super) fn error(&self) -> &str {
        &self.error
    }

    /// It cannot be answered now.
    pub(super) fn unavailable(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, hint)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let words = [("error", self.error), ("hint", self.hint)].into_iter().chain(self.further);
        let body: Map<String, Value> = words.map(|(name, value)| (name.to_owned(), value.into())).collect();
        (self.status, shield::LIVE, Json(body)).into_response()
    }
}

/// Answers for paths outside the table.
pub(super) async fn unknown_path(uri: Uri) -> Problem {
    Problem::missing(format!("no such path: {}", uri.path()), "GET /openapi.json lists all paths")
}

/// Answers for methods that a path does not have.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not allowed on {}", uri.path()),
        "the header Allow names what is; GET /openapi.json says what each does",
    )
}

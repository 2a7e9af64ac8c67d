//! `GET /tap`: live trades and results, a JSON object a line, for as long as somebody listens.
//!
//! Not a feed to build on: lines are left out where they are too many, and told. Invariant: the connection is never
//! silent for longer than [`PULSE`], so that one whose client is gone is noticed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Extract};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;

use super::State;
use super::problem::Problem;
use crate::pipeline::tap::{Listening, MOST_LISTENERS, MOST_PER_SECOND, Wish};

/// How many lines a second are told where no number is asked for.
const USUAL: u32 = 100;
/// How often an empty line is sent where there is nothing to tell.
const PULSE: Duration = Duration::from_secs(5);
/// What may be asked for, in words.
const ALLOWED: &str = "use of=trades, results or all, rate=1 to 100000 lines a second, and token=ADDRESS";

/// What the caller asks for, as text, so that faults can be told in words.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    token: Option<String>,
    rate: Option<String>,
    of: Option<String>,
}

impl Asked {
    fn wish(self) -> Result<Wish, Problem> {
        let (trades, results) = match self.of.as_deref() {
            None | Some("trades") => (true, false),
            Some("results") => (false, true),
            Some("all") => (true, true),
            Some(other) => return Err(Problem::bad(format!("nothing is called {other:?}"), ALLOWED)),
        };
        let per_second = match self.rate.as_deref() {
            None => USUAL,
            Some(text) => match text.parse() {
                Ok(rate @ 1..=MOST_PER_SECOND) => rate,
                _ => return Err(Problem::bad(format!("bad rate {text:?}"), ALLOWED)),
            },
        };
        Ok(Wish { token: self.token, per_second, trades, results })
    }
}

/// `GET /tap`
pub(super) async fn tap(
    Extract(state): Extract<Arc<State>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::bad(error.body_text(), ALLOWED))?;
    let listening = state.tap.listen(asked.wish()?).ok_or_else(|| {
        Problem::unavailable(format!("{MOST_LISTENERS} listen already"), "wait until one of them ends")
    })?;
    let lines = stream::unfold(listening, |listening| async {
        let (lines, listening) = next(listening).await?;
        Some((Ok::<_, Infallible>(lines), listening))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// The next lines, or an empty one.
async fn next(mut listening: Listening) -> Option<(Bytes, Listening)> {
    let lines = match tokio::time::timeout(PULSE, listening.next()).await {
        Ok(lines) => lines?.into(),
        Err(_) => Bytes::from_static(b"\n"),
    };
    Some((lines, listening))
}

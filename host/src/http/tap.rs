//! `GET /tap`: live trades and results, a JSON object a line, for as long as somebody listens.
//!
//! Not a feed to build on. Invariant: lines are left out where they are too many, and told.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Extract};
use axum::response::Response;
use futures_util::stream;
use serde::Deserialize;

use super::problem::Problem;
use super::{State, lines};
use crate::pipeline::tap::{MOST_LISTENERS, MOST_PER_SECOND, Wish};

/// How many lines a second are told where no number is asked for.
const USUAL: u32 = 100;
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
    let told = stream::unfold(listening, |mut listening| async {
        let next = lines::next_or_pulse(listening.next()).await?;
        Some((Ok::<_, Infallible>(next), listening))
    });
    Ok(lines::answer(Body::from_stream(told)))
}

//! The tokens that are alive, in an order of the caller's choice.
//!
//! Invariant: an answer holds [`MOST`] tokens at most.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Extract};
use serde::{Deserialize, Serialize};

use super::State;
use super::problem::Problem;
use crate::clock::rfc3339;
use crate::pipeline::status::{Sort, TokenStatus};

/// How many tokens are shown where no number is asked for.
const USUAL: usize = 100;
/// How many may be asked for.
const MOST: usize = 10_000;
/// What may be asked for, in words.
const ALLOWED: &str = "use sort=trades, last_trade or token, and limit=1 to 10000";

/// What the caller asks for, as text, so that faults can be told in words.
#[derive(Debug, Deserialize)]
pub(super) struct Wish {
    sort: Option<String>,
    limit: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Listing {
    tokens: Vec<Listed>,
    /// All tokens that are alive, shown or not.
    active_tokens: usize,
}

/// One token that is alive.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    token: String,
    /// Trades since it became known.
    trades: u64,
    /// The event time of its last trade.
    last_trade: Option<String>,
    shard: u32,
}

/// `GET /tokens`
pub(super) async fn tokens(
    Extract(state): Extract<Arc<State>>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Result<Json<Listing>, Problem> {
    let Query(wish) = wish.map_err(|error| Problem::bad(error.body_text(), ALLOWED))?;
    let sort = sort(wish.sort.as_deref())?;
    let limit = limit(wish.limit.as_deref())?;
    let tokens = state.live_tokens(limit, sort).await?;
    Ok(Json(Listing {
        tokens: tokens.into_iter().map(listed).collect(),
        active_tokens: state.active_tokens(),
    }))
}

fn sort(text: Option<&str>) -> Result<Sort, Problem> {
    match text {
        None | Some("trades") => Ok(Sort::Trades),
        Some("last_trade") => Ok(Sort::LastTrade),
        Some("token") => Ok(Sort::Token),
        Some(other) => Err(Problem::bad(format!("unknown sort {other:?}"), ALLOWED)),
    }
}

fn limit(text: Option<&str>) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(USUAL) };
    match text.parse() {
        Ok(limit @ 1..=MOST) => Ok(limit),
        _ => Err(Problem::bad(format!("bad limit {text:?}"), ALLOWED)),
    }
}

fn listed(status: TokenStatus) -> Listed {
    // A token that is known from a checkpoint only has no last trade of this process.
    let last_trade =
        (status.last_trade_ms > rfc3339::EARLIEST_MS).then(|| rfc3339::text(status.last_trade_ms));
    Listed { token: status.token, trades: status.trades, last_trade, shard: status.shard }
}

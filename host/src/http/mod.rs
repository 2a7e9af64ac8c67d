//! HTTP: what people, probes and dashboards read, and the operator's page.
//!
//! | path | answer |
//! |---|---|
//! | `GET /` | the page: the busiest tokens and their windows |
//! | `GET /health` | 200 or 503: everything known about how the service is |
//! | `GET /health/live` | 200, or 503 when a worker is wedged |
//! | `GET /health/ready` | 200, or 503 with the reasons |
//! | `GET /metrics` | Prometheus text; 404 with `METRICS_ENABLED=false` |
//! | `GET /tokens?sort=trades\|last_trade\|token&limit=N` | tokens that are alive |
//! | `GET /tokens/{address}` | all results of one token, as last flushed |
//! | `GET /partitions` | where each partition and each shard stands |
//! | `GET /rejections` | the last rejected records, latest first |
//!
//! Every other answer is `{"error": "...", "hint": "..."}`: unknown path 404, wrong method 405, a
//! fault of the program 500, no answer in time 503. `HEAD` works wherever `GET` does.
//!
//! Not for deciding anything: handlers read what other parts publish. Invariant: nothing here can
//! hold up the trade path, whatever clients do: connections, requests under way and the time that
//! each may take are bounded.

mod connection;
mod figure;
mod health;
mod metrics;
mod page;
mod positions;
mod problem;
mod server;
mod shield;
mod state;
#[cfg(test)]
mod tests;
mod token;
mod tokens;

pub use server::{BindError, Server};
pub use state::State;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;

/// No route of this table reads a body; one that does raises this limit for itself.
const BODY_LIMIT_BYTES: usize = 4_096;

/// The table above.
fn routes(state: State, metrics_enabled: bool) -> Router {
    let scrape = if metrics_enabled { get(metrics::metrics) } else { get(metrics::disabled) };
    Router::new()
        .route("/", get(page::page))
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", scrape)
        .route("/tokens", get(tokens::tokens))
        .route("/tokens/{address}", get(token::token))
        .route("/partitions", get(positions::partitions))
        .route("/rejections", get(positions::rejections))
        .fallback(problem::unknown_path)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(axum::middleware::from_fn(shield::shield))
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(Arc::new(state))
}

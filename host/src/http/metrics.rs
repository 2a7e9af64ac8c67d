//! The numbers for Prometheus.
//!
//! Invariant: one scrape at a time sets the gauges and reads them.

use std::sync::{Arc, PoisonError};

use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::State;
use super::problem::Problem;
use crate::metrics::Observed;

/// The text format that every Prometheus understands.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`
pub(super) async fn metrics(Extract(state): Extract<Arc<State>>) -> Result<Response, Problem> {
    let observed = observe(&state);
    let _alone = state.scrape.lock().unwrap_or_else(PoisonError::into_inner);
    match state.metrics.render(&observed) {
        Ok(text) => Ok(([(CONTENT_TYPE, PROMETHEUS_TEXT)], text).into_response()),
        Err(error) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the metrics cannot be written: {error}"),
            "report it",
        )),
    }
}

/// `GET /metrics` where they are switched off.
pub(super) async fn disabled() -> Problem {
    Problem::missing("metrics are switched off", "set METRICS_ENABLED=true")
}

/// Reads what stands elsewhere.
fn observe(state: &State) -> Observed {
    let shards = state.board.shards();
    let partitions = state.board.partitions();
    Observed {
        lag: partitions.iter().filter_map(|(id, status)| Some((*id, status.lag?))).collect(),
        source_lag: state
            .sources
            .partitions()
            .iter()
            .filter_map(|(id, status)| Some((*id, status.undecoded()?)))
            .collect(),
        clock_lag_s: shards
            .iter()
            .filter_map(|(id, status)| Some((*id, state.behind_seconds(status.clock_ms?))))
            .collect(),
        checkpoint_age_s: shards
            .iter()
            .filter_map(|(id, status)| Some((*id, state.checkpoint_age_seconds(status)?)))
            .collect(),
        active_tokens: shards.values().map(|status| status.tokens).sum(),
        workers: state.workers,
        plugin_memory_bytes: shards.values().map(|status| status.memory_bytes).sum(),
        uptime: state.uptime(),
    }
}

//! The numbers for Prometheus, and the same in the ancestor's groups as JSON.
//!
//! Invariant: one scrape at a time sets the gauges and reads them; rates and averages are over the last 10 s.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use axum::Json;
use axum::extract::State as Extract;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::{State, health};
use crate::clock::rfc3339;
use crate::metrics::{Observed, Process};
use crate::results::LEADING_KEY;

/// The text format that every Prometheus understands.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The form that is written for whoever asks for it.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`
pub(super) async fn metrics(
    Extract(state): Extract<Arc<State>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let observed = observe(&state);
    let _alone = state.scrape.lock().unwrap_or_else(PoisonError::into_inner);
    let (form, rendered) = match asks_for_open_metrics(&headers) {
        true => (OPEN_METRICS, state.metrics.render_open(&observed)),
        false => (PROMETHEUS_TEXT, state.metrics.render(&observed)),
    };
    match rendered {
        Ok(text) => Ok(([(CONTENT_TYPE, form)], text).into_response()),
        Err(error) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the metrics cannot be written: {error}"),
            "report it",
        )),
    }
}

/// Whether a scraper likes OpenMetrics more than anything else that it names.
fn asks_for_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = || headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let liking = |name: &str| {
        let named = accepted().flat_map(|value| value.split(',')).filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_named = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(name));
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok());
            is_named.then_some(quality.unwrap_or(1.0))
        });
        named.fold(0.0, f64::max)
    };
    let open = liking("application/openmetrics-text");
    open > 0.0 && open >= liking("text/plain")
}

/// `GET /metrics/json`
pub(super) async fn json(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    let (recent, process) = (state.metrics.recent(), Process::read());
    let ns = |ms: f64| (ms * 1e6).round() as u64;
    let at = |last: Option<Instant>| {
        let ago_ms = |at: Instant| i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX);
        last.map(|last| rfc3339::text(state.clock.now_ms().saturating_sub(ago_ms(last))))
    };
    // One pass over a token's panes gives all of its windows, so that each takes what the pass takes.
    let pass_ns = ns(recent.average_ms(|s| s.flush_seconds, |s| s.flushes));
    let windows = state.results().into_iter().find(|shape| *shape.key == *LEADING_KEY);
    let by_window: Map<String, Value> = windows
        .map(|shape| shape.groups.into_iter().map(|window| (window, pass_ns.into())).collect())
        .unwrap_or_default();
    let call_ns = ns(recent.average_ms(|s| s.store_seconds, |s| s.store_calls));
    Json(json!({
        "trade_processing": {
            "total_processed": recent.now.trades,
            "processing_rate_per_sec": recent.per_second(|s| s.trades),
            "avg_processing_time": ns(recent.average_ms(|s| s.batch_seconds, |s| s.batches)),
            "last_processed_at": at(recent.last.trades),
        },
        "aggregation_calculation": {
            "total_calculations": recent.now.rows,
            "calculation_rate_per_sec": recent.per_second(|s| s.rows),
            "avg_latency": pass_ns,
            "latency_by_window": by_window,
            "last_calculated_at": at(recent.last.rows),
        },
        "redis_operations": {
            "total_operations": recent.now.store_calls,
            "successful_operations": recent.now.store_calls - recent.now.store_errors,
            "failed_operations": recent.now.store_errors,
            "success_rate": recent.success_percent(),
            "avg_latency": call_ns,
            "latency_by_operation": { "write_results": call_ns },
            "last_operation_at": at(recent.last.store_calls),
        },
        "system_resources": {
            "active_tokens": state.active_tokens(),
            "worker_count": state.layout.workers,
            "goroutine_count": process.threads,
            "memory_usage_bytes": process.resident_bytes,
            "memory_allocated_bytes": process.data_bytes,
            "memory_system_bytes": process.reserved_bytes,
            "gc_pause_total_ns": 0,
            "last_updated_at": rfc3339::text(state.clock.now_ms()),
        },
        "uptime_seconds": state.uptime().as_secs_f64(),
    }))
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
        ready: health::is_ready(state),
        parts: state.health.checks().into_iter().map(|(part, check)| (part.as_str(), check.ok)).collect(),
        plugins: state.results().into_iter().map(|shape| shape.plugin).collect(),
        lag: partitions.iter().filter_map(|(id, status)| Some((*id, status.lag()?))).collect(),
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
        workers: state.layout.workers,
        plugin_memory_bytes: shards.values().map(|status| status.memory_bytes).sum(),
        uptime: state.uptime(),
    }
}

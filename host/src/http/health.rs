//! How the service is, for people and for probes.
//!
//! Invariant: the status code and the word `status` always say the same.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::State;
use crate::clock::rfc3339;

type Answer = (StatusCode, Json<Value>);

/// `GET /health`
pub(super) async fn health(Extract(state): Extract<Arc<State>>) -> Answer {
    let healthy = is_healthy(&state);
    let body = json!({
        "status": if healthy { "healthy" } else { "unhealthy" },
        "timestamp": rfc3339::text(state.clock.now_ms()),
        "service": "aggregator-service",
        "started": state.started(),
        "uptime_seconds": state.uptime().as_secs_f64(),
        "metrics_summary": {
            "active_tokens": state.active_tokens(),
            "worker_count": state.layout.workers,
            "trades_total": state.metrics.trades.get(),
        },
        "checks": checks(&state),
        "warnings": state.health.warnings(),
    });
    (code(healthy), Json(body))
}

/// `GET /health/live`
pub(super) async fn live(Extract(state): Extract<Arc<State>>) -> Answer {
    let wedged = state.wedged();
    let alive = wedged.is_empty();
    let body = json!({
        "status": if alive { "alive" } else { "wedged" },
        "timestamp": rfc3339::text(state.clock.now_ms()),
        "uptime_seconds": state.uptime().as_secs_f64(),
        "wedged_workers": wedged,
    });
    (code(alive), Json(body))
}

/// `GET /health/ready`
pub(super) async fn ready(Extract(state): Extract<Arc<State>>) -> Answer {
    let started = state.started();
    let mut reasons = reasons(&state);
    let healthy = reasons.is_empty();
    if !started {
        reasons.insert(0, "not started".to_owned());
    }
    let ready = reasons.is_empty();
    let body = json!({
        "status": if ready { "ready" } else { "not_ready" },
        "timestamp": rfc3339::text(state.clock.now_ms()),
        "started": started,
        "healthy": healthy,
        "reasons": reasons,
        "warnings": state.health.warnings(),
    });
    (code(ready), Json(body))
}

/// Whether the service has started and nothing keeps it from being healthy.
pub(super) fn is_ready(state: &State) -> bool {
    state.started() && is_healthy(state)
}

/// Whether every part works and every worker makes progress.
pub(super) fn is_healthy(state: &State) -> bool {
    reasons(state).is_empty()
}

/// Everything that keeps the service from being healthy.
pub(super) fn reasons(state: &State) -> Vec<String> {
    let failing = state.health.checks().into_iter().filter(|(_, check)| !check.ok);
    let mut reasons: Vec<String> =
        failing.map(|(part, check)| format!("{}: {}", part.as_str(), check.reason)).collect();
    let wedged = state.wedged();
    reasons.extend(wedged.iter().map(|worker| format!("worker {worker} makes no progress")));
    reasons
}

fn checks(state: &State) -> Map<String, Value> {
    let checks = state.health.checks().into_iter();
    checks
        .map(|(part, check)| {
            let word = if check.ok { "ok" } else { "failing" };
            let shown = json!({ "state": word, "reason": check.reason });
            (part.as_str().to_owned(), shown)
        })
        .collect()
}

fn code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

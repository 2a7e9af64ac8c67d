//! How hard the service works, and what may be changed about that while it runs.
//!
//! Invariant: every number is what the system or the part itself says at that moment; the groups and names
//! are the ancestor's, where it had them.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Json;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::State;
use super::problem::Problem;
use crate::clock::rfc3339;
use crate::maintenance::Requests;
use crate::metrics::Process;
use crate::pipeline::{Mode, Tuning};

/// How long giving memory back may take until the answer says that it goes on.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(8);

/// `GET /performance`
pub(super) async fn performance(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    let process = Process::read();
    let shards = state.board.shards();
    let plugin_bytes: usize = shards.values().map(|shard| shard.memory_bytes).sum();
    let cells: usize = shards.values().map(|shard| shard.cells.len()).sum();
    let pressure = &state.metrics.pressure;
    let recent = state.metrics.recent();
    let (batch_s, write_s) = state.metrics.slowest_s();
    // More than the largest bucket holds is no number.
    let slowest_ms = |bound: Option<f64>| bound.filter(|bound| bound.is_finite()).map(|bound| bound * 1e3);
    Json(json!({
        "memory": {
            "heap_alloc_mb": mib(process.anonymous_bytes),
            "heap_inuse_mb": mib(process.resident_bytes),
            "heap_sys_mb": mib(process.data_bytes),
            "resident_mb": mib(process.resident_bytes),
            "plugin_memory_mb": mib(plugin_bytes as u64),
            "plugin_memory_limit_mb": state.memory_limit.map(mib),
            "plugin_instances": cells,
        },
        "runtime": {
            "num_goroutines": process.threads,
            "gomaxprocs": state.layout.workers,
            "num_cpu": thread::available_parallelism().map_or(1, std::num::NonZero::get),
            "worker_utilisation": pressure.busy(),
            "backpressure": pressure.now().as_str(),
            "active_tokens": state.active_tokens(),
            "uptime_seconds": state.uptime().as_secs_f64(),
        },
        "latency": {
            "batch_ms": recent.average_ms(|sample| sample.batch_seconds, |sample| sample.batches),
            "batch_p99_at_most_ms": slowest_ms(batch_s),
            "write_ms": recent.average_ms(|sample| sample.store_seconds, |sample| sample.store_calls),
            "write_p99_at_most_ms": slowest_ms(write_s),
        },
        "tuning": tuning(&state.tuning),
        "maintenance": state.metrics.maintenance.counts(),
    }))
}

/// `POST /performance/gc`
pub(super) async fn gc(Extract(state): Extract<Arc<State>>) -> Result<Response, Problem> {
    let busy = || {
        Problem::unavailable(
            "memory is being given back already, or the service ends",
            "try again in a moment",
        )
    };
    let asked = state.giving_back.as_ref().and_then(Requests::give_back).ok_or_else(busy)?;
    let Ok(answer) = tokio::time::timeout(GIVEN_BACK_WITHIN, asked).await else {
        let body = json!({
            "status": "running",
            "message": "instances are being made anew; GET /performance shows what the plugins take",
        });
        return Ok((StatusCode::ACCEPTED, Json(body)).into_response());
    };
    let given = answer.map_err(|_| busy())?;
    let (before, after) = (given.before, given.after);
    let freed = before.anonymous_bytes.saturating_sub(after.anonymous_bytes);
    Ok(Json(json!({
        "status": "completed",
        "stats": {
            "heap_before_mb": mib(before.anonymous_bytes),
            "heap_after_mb": mib(after.anonymous_bytes),
            "memory_freed_mb": mib(freed),
            "gc_duration_ms": given.took.as_secs_f64() * 1e3,
            "resident_before_mb": mib(before.resident_bytes),
            "resident_after_mb": mib(after.resident_bytes),
            "plugin_memory_before_mb": mib(given.plugins_before_bytes as u64),
            "plugin_memory_after_mb": mib(given.plugins_after_bytes as u64),
            "instances_recreated": given.recreated,
            "allocator_trimmed": given.trimmed,
        },
    }))
    .into_response())
}

/// `POST /performance/optimize/throughput`
pub(super) async fn throughput(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    optimize(&state, Mode::Throughput, "fewer writes and larger batches")
}

/// `POST /performance/optimize/latency`
pub(super) async fn latency(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    optimize(&state, Mode::Latency, "results as soon as can be, in smaller batches")
}

/// `POST /performance/optimize/balanced`
pub(super) async fn balanced(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    optimize(&state, Mode::Balanced, "as configured")
}

fn optimize(state: &State, mode: Mode, message: &str) -> Json<Value> {
    state.tuning.choose(mode, state.clock.now_ms());
    Json(json!({ "status": "completed", "message": message, "values": tuning(&state.tuning) }))
}

/// The mode and what it means.
fn tuning(tuning: &Tuning) -> Value {
    let knobs = tuning.knobs();
    json!({
        "mode": tuning.mode(),
        "last_tune_time": tuning.chosen_ms().map(rfc3339::text),
        "flush_interval_ms": knobs.flush_interval.as_secs_f64() * 1e3,
        "batch_bytes": knobs.batch.bytes,
        "fetch_messages": knobs.batch.messages,
    })
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

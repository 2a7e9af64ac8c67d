//! How hard the service works, and what may be changed about that while it runs.
//!
//! Invariant: every number is what the system or the part itself says at that moment; the groups and names
//! are the ancestor's, where it had them.

use std::sync::Arc;
use std::thread;

use axum::Json;
use axum::extract::State as Extract;
use serde_json::{Value, json};

use super::State;
use crate::clock::rfc3339;
use crate::metrics::Process;
use crate::pipeline::{Mode, Tuning};

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
            "plugin_instances": cells,
        },
        "runtime": {
            "num_goroutines": process.threads,
            "gomaxprocs": state.workers,
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
    }))
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

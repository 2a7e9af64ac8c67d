//! Where partitions and shards stand, and what was rejected.
//!
//! Invariant: times are RFC 3339, spans are seconds.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use serde_json::{Value, json};

use super::State;
use crate::clock::rfc3339;

/// `GET /partitions`
pub(super) async fn partitions(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    let partitions = state.board.partitions().into_iter();
    let partitions: Vec<Value> = partitions
        .map(|(partition, status)| {
            json!({
                "partition": partition,
                "state": status.state,
                "fetched": status.fetched,
                "processed": status.processed,
                "end": status.end,
                "lag": status.lag,
                "newest": status.newest_ms.map(rfc3339::text),
                "problem": status.problem,
            })
        })
        .collect();
    let shards = state.board.shards().into_iter();
    let shards: Vec<Value> = shards
        .map(|(shard, status)| {
            json!({
                "shard": shard,
                "clock": status.clock_ms.map(rfc3339::text),
                "clock_lag_seconds": status.clock_ms.map(|at| state.behind_seconds(at)),
                "tokens": status.tokens,
                "worker": status.worker,
                "epoch": status.epoch,
                "memory_bytes": status.memory_bytes,
                "checkpoint_age_seconds": state.checkpoint_age_seconds(&status),
            })
        })
        .collect();
    let sources = state.sources.partitions().into_iter();
    let sources: Vec<Value> = sources
        .map(|(partition, status)| {
            json!({
                "partition": partition,
                "state": status.state,
                "fetched": status.fetched,
                "sent": status.decoded,
                "end": status.end,
                "lag": status.undecoded(),
                "newest": status.newest_ms.map(rfc3339::text),
                "problem": status.problem,
            })
        })
        .collect();
    let checkpoints = state.board.checkpoints().into_iter();
    let checkpoints: Vec<Value> = checkpoints
        .map(|checkpoint| {
            json!({
                "shard": checkpoint.shard,
                "plugin": &*checkpoint.plugin,
                "stored": rfc3339::text(checkpoint.at_ms),
                "bytes": checkpoint.bytes,
                "seconds": checkpoint.took_ms as f64 / 1000.0,
                "whole": checkpoint.whole,
            })
        })
        .collect();
    let mut answer = json!({ "partitions": partitions, "shards": shards, "checkpoints": checkpoints });
    if !sources.is_empty() {
        answer["sources"] = sources.into();
    }
    Json(answer)
}

/// `GET /rejections`
pub(super) async fn rejections(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    let last = state.rejections.last().into_iter();
    let rejections: Vec<Value> = last
        .map(|rejection| {
            json!({
                "reason": rejection.reason,
                "field": rejection.field,
                "partition": rejection.partition,
                "offset": rejection.offset,
                "index": rejection.index,
                "timestamp": rejection.timestamp_ms.map(rfc3339::text),
                "record": rejection.record,
            })
        })
        .collect();
    Json(json!({ "rejections": rejections }))
}

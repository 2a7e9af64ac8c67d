//! Where partitions and shards stand, and what was rejected.
//!
//! Invariant: times are RFC 3339, spans are seconds.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use serde_json::{Value, json};

use super::State;
use crate::clock::rfc3339;
use crate::pipeline::Layout;
use crate::pipeline::board::{CheckpointStatus, PartitionStatus, ShardStatus};

/// The shards that a partition feeds.
pub(super) fn fed<'a>(
    layout: &Layout,
    partition: i32,
    shards: &'a BTreeMap<u32, ShardStatus>,
) -> Vec<&'a ShardStatus> {
    let fed = shards.iter().filter(|(shard, _)| layout.feeds(partition, **shard));
    fed.map(|(_, status)| status).collect()
}

/// T of the shard that is furthest behind.
pub(super) fn clock_ms(fed: &[&ShardStatus]) -> Option<i64> {
    fed.iter().filter_map(|shard| shard.clock_ms).min()
}

/// How old the oldest checkpoint of these shards is, in seconds.
pub(super) fn checkpoint_age(state: &State, fed: &[&ShardStatus]) -> Option<f64> {
    fed.iter().filter_map(|shard| state.checkpoint_age_seconds(shard)).reduce(f64::max)
}

/// `GET /partitions`
pub(super) async fn partitions(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    let shards = state.board.shards();
    let partitions = state.board.partitions();
    let partitions = partitions.iter().map(|(id, status)| partition(&state, *id, status, &shards));
    let elsewhere = state.members.elsewhere().into_iter();
    let elsewhere = elsewhere.map(|(partition, owner)| json!({ "partition": partition, "owner": owner }));
    let mut answer = json!({
        "partitions": partitions.collect::<Value>(),
        "elsewhere": elsewhere.collect::<Value>(),
        "shards": shards.iter().map(|(id, status)| shard(&state, *id, status)).collect::<Value>(),
        "checkpoints": state.board.checkpoints().iter().map(checkpoint).collect::<Value>(),
    });
    let sources = state.sources.partitions();
    if !sources.is_empty() {
        answer["sources"] = sources.iter().map(|(id, status)| source(*id, status)).collect();
    }
    Json(answer)
}

fn partition(state: &State, id: i32, status: &PartitionStatus, shards: &BTreeMap<u32, ShardStatus>) -> Value {
    let fed = fed(&state.layout, id, shards);
    let clock_ms = clock_ms(&fed);
    json!({
        "partition": id,
        "owner": state.members.host(),
        "state": status.state,
        "fetched": status.fetched,
        "processed": status.processed,
        "end": status.end,
        "lag": status.lag(),
        "newest": status.newest_ms.map(rfc3339::text),
        "clock": clock_ms.map(rfc3339::text),
        "clock_lag_seconds": clock_ms.map(|at| state.behind_seconds(at)),
        "checkpoint_age_seconds": checkpoint_age(state, &fed),
        "problem": status.problem,
    })
}

fn shard(state: &State, id: u32, status: &ShardStatus) -> Value {
    json!({
        "shard": id,
        "clock": status.clock_ms.map(rfc3339::text),
        "clock_lag_seconds": status.clock_ms.map(|at| state.behind_seconds(at)),
        "tokens": status.tokens,
        "worker": status.worker,
        "epoch": status.epoch,
        "memory_bytes": status.memory_bytes,
        "checkpoint_age_seconds": state.checkpoint_age_seconds(status),
    })
}

/// A partition of a repartitioned feed's source.
fn source(id: i32, status: &PartitionStatus) -> Value {
    json!({
        "partition": id,
        "state": status.state,
        "fetched": status.fetched,
        "sent": status.decoded,
        "end": status.end,
        "lag": status.undecoded(),
        "newest": status.newest_ms.map(rfc3339::text),
        "problem": status.problem,
    })
}

fn checkpoint(checkpoint: &CheckpointStatus) -> Value {
    json!({
        "shard": checkpoint.shard,
        "plugin": &*checkpoint.plugin,
        "stored": rfc3339::text(checkpoint.at_ms),
        "bytes": checkpoint.bytes,
        "seconds": checkpoint.took_ms as f64 / 1000.0,
        "whole": checkpoint.whole,
    })
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

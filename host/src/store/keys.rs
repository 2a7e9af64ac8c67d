//! The names of all keys.
//!
//! Keys of the service's own begin with `aggregator:` and are hash-tagged by their scope, so that a
//! Redis Cluster keeps the keys of one shard together.
//!
//! Invariant: consumers read these names; they are part of the service's promise.

use super::checkpoint::Place;
use super::plugins::ChunkPlace;

/// The sorted set of active tokens.
pub(super) const ACTIVE: &str = "tokens:active";
/// The result key of the clock of the last write.
pub(super) const LAST_UPDATE: &str = "last_update";

/// How the service's shards come about.
pub(super) const LAYOUT: &str = "aggregator:{service}:layout";
/// Who serves where one host serves all.
pub(super) const LEASE: &str = "aggregator:{service}:lease";
/// Which hosts there are and what they run.
pub(super) const MEMBERS: &str = "aggregator:{service}:members";
/// Which plugins a restart runs.
pub(super) const PLUGINS: &str = "aggregator:{service}:plugins";

/// The key of one of a token's values.
pub(super) fn of_token(address: &str, result_key: &str) -> String {
    format!("token:{address}:{result_key}")
}

/// The scope of a shard.
pub(super) fn shard(shard: u32) -> String {
    format!("shard-{shard}")
}

/// The key of a scope's owner record.
pub(super) fn owner(scope: &str) -> String {
    format!("aggregator:{{{scope}}}:owner")
}

/// The key of the number of the last write that a scope has taken.
pub(super) fn written(scope: &str) -> String {
    format!("aggregator:{{{scope}}}:written")
}

/// The key of the head of a plugin's checkpoint.
pub(super) fn head(shard: u32, plugin: &str) -> String {
    format!("aggregator:{{{}}}:head:{plugin}", self::shard(shard))
}

/// The key of a page of a plugin's checkpoint.
pub(super) fn page(shard: u32, plugin: &str, (part, index): Place) -> String {
    format!("aggregator:{{{}}}:page:{plugin}:{part}:{index}", self::shard(shard))
}

/// The key of a chunk of a plugin's component.
pub(super) fn component(plugin: &str, (digest, index): ChunkPlace<'_>) -> String {
    format!("aggregator:{{service}}:plugin:{plugin}:{digest}:{index}")
}

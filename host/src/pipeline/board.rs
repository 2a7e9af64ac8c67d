//! The notice board: where each partition and shard stands, for HTTP, metrics and offset commits.
//!
//! Not for the data path: written a few times a second, read by people. Invariant: a position is
//! posted only when the store has accepted every row that it covers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::batch::Progress;

/// What is known of a partition.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PartitionStatus {
    /// `behind`, `live` or `end`.
    pub state: &'static str,
    /// The next offset to be fetched from the broker's answers.
    pub fetched: i64,
    /// The first offset whose results the store has not accepted; none before the first flush.
    pub processed: Option<i64>,
    /// The end of the partition as last seen.
    pub end: Option<i64>,
    /// Records between `processed` and `end`.
    pub lag: Option<i64>,
    /// The largest event time read, in unix milliseconds.
    pub newest_ms: Option<i64>,
    /// Why it cannot be fetched, if so.
    pub problem: Option<String>,
}

/// What is known of a shard.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ShardStatus {
    /// The clock of the default plugin's cell, in unix milliseconds.
    pub clock_ms: Option<i64>,
    /// Tokens that are alive.
    pub tokens: usize,
    /// The worker that owns it.
    pub worker: usize,
    /// The epoch under which this process owns it; none while it does not.
    pub epoch: Option<u64>,
    /// Linear memory of all its plugin instances.
    pub memory_bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    partitions: BTreeMap<i32, PartitionStatus>,
    shards: BTreeMap<u32, ShardStatus>,
    /// For each partition: what each shard that it feeds has accepted.
    accepted: BTreeMap<i32, BTreeMap<u32, i64>>,
}

/// The board.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Inner>,
}

impl Board {
    fn with<R>(&self, act: impl FnOnce(&mut Inner) -> R) -> R {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a partition up that these shards take from `next` on.
    pub fn assign(&self, partition: i32, next: i64, shards: impl Iterator<Item = u32>) {
        self.with(|inner| {
            let status =
                PartitionStatus { state: state(Progress::Behind), fetched: next, ..Default::default() };
            inner.partitions.insert(partition, status);
            inner.accepted.insert(partition, shards.map(|shard| (shard, next)).collect());
        });
    }

    /// Takes a partition down.
    pub fn revoke(&self, partition: i32) {
        self.with(|inner| {
            inner.partitions.remove(&partition);
            inner.accepted.remove(&partition);
        });
    }

    /// Changes what is known of an assigned partition.
    pub fn partition(&self, partition: i32, change: impl FnOnce(&mut PartitionStatus)) {
        self.with(|inner| {
            if let Some(status) = inner.partitions.get_mut(&partition) {
                change(status);
            }
        });
    }

    /// Changes what is known of a shard.
    pub fn shard(&self, shard: u32, change: impl FnOnce(&mut ShardStatus)) {
        self.with(|inner| change(inner.shards.entry(shard).or_default()));
    }

    /// Takes a shard down.
    pub fn drop_shard(&self, shard: u32) {
        self.with(|inner| inner.shards.remove(&shard));
    }

    /// Posts how far a shard's results have been accepted.
    pub fn accept(&self, shard: u32, vector: &[(i32, i64)]) {
        self.with(|inner| {
            for &(partition, next) in vector {
                if let Some(accepted) = inner.accepted.get_mut(&partition) {
                    accepted.insert(shard, next);
                    let processed = accepted.values().copied().min();
                    if let Some(status) = inner.partitions.get_mut(&partition) {
                        status.processed = processed;
                    }
                }
            }
        });
    }

    /// The offsets that may be committed: the smallest that all shards of a partition have accepted.
    pub fn committable(&self) -> Vec<(i32, i64)> {
        self.with(|inner| {
            inner
                .partitions
                .iter()
                .filter_map(|(partition, status)| Some((*partition, status.processed?)))
                .collect()
        })
    }

    /// All partitions, with their lag as of now.
    pub fn partitions(&self) -> BTreeMap<i32, PartitionStatus> {
        self.with(|inner| {
            for status in inner.partitions.values_mut() {
                let processed = status.processed.unwrap_or(0);
                status.lag = status.end.map(|end| (end - processed).max(0));
            }
            inner.partitions.clone()
        })
    }

    /// All shards.
    pub fn shards(&self) -> BTreeMap<u32, ShardStatus> {
        self.with(|inner| inner.shards.clone())
    }
}

/// A progress as a word.
pub fn state(progress: Progress) -> &'static str {
    match progress {
        Progress::Behind => "behind",
        Progress::Live => "live",
        Progress::End => "end",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_shard_has_accepted_may_be_committed() {
        let board = Board::default();
        board.assign(3, 10, [0, 1].into_iter());
        assert!(board.committable().is_empty());
        board.accept(0, &[(3, 50)]);
        assert_eq!(board.committable(), [(3, 10)]);
        board.accept(1, &[(3, 40)]);
        assert_eq!(board.committable(), [(3, 40)]);
        board.revoke(3);
        assert!(board.committable().is_empty());
    }
}

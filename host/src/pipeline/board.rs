//! The notice board: where each partition and shard stands, for HTTP, metrics and offset commits.
//!
//! Not for the data path: written a few times a second, read by people. Invariant: a position is
//! posted only when the store has accepted every row that it covers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::batch::Progress;
use super::cost::Cost;

/// What is known of a partition.
#[derive(Debug, Clone, Default)]
pub struct PartitionStatus {
    /// `behind`, `live` or `end`.
    pub state: &'static str,
    /// The next offset to be fetched from the broker's answers.
    pub fetched: i64,
    /// The first offset that has not been decoded.
    pub decoded: i64,
    /// The first offset whose results the store has not accepted; none before the first flush.
    pub processed: Option<i64>,
    /// The end of the partition as last seen.
    pub end: Option<i64>,
    /// The largest event time read, in unix milliseconds.
    pub newest_ms: Option<i64>,
    /// Why it cannot be fetched, if so.
    pub problem: Option<String>,
}

impl PartitionStatus {
    /// Records whose results the store has not accepted.
    pub fn lag(&self) -> Option<i64> {
        Some((self.end? - self.processed?).max(0))
    }

    /// Records that have not been decoded.
    pub fn undecoded(&self) -> Option<i64> {
        self.end.map(|end| (end - self.decoded).max(0))
    }
}

/// What is known of a shard.
#[derive(Debug, Clone, Default)]
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
    /// The part of it that is not of hidden cells.
    pub visible_memory_bytes: usize,
    /// Its cells.
    pub cells: Vec<CellStatus>,
    /// When its oldest checkpoint was stored, in monotonic milliseconds, for each of its cells.
    pub checkpoints_ms: BTreeMap<Arc<str>, u64>,
}

/// What is known of a cell.
#[derive(Debug, Clone)]
pub struct CellStatus {
    /// Its plugin.
    pub plugin: Arc<str>,
    /// The digest of the plugin's component.
    pub digest: Arc<str>,
    /// `shown`, `hidden`, `withheld`, `catching-up`, `failed` or `suspended`.
    pub state: &'static str,
    /// Its linear memory.
    pub memory_bytes: usize,
    /// What its calls have cost since it was made.
    pub cost: Cost,
    /// Its last failure.
    pub fault: Option<String>,
}

/// A checkpoint that was stored.
#[derive(Debug, Clone)]
pub struct CheckpointStatus {
    /// The shard.
    pub shard: u32,
    /// The plugin.
    pub plugin: Arc<str>,
    /// When, in unix milliseconds.
    pub at_ms: i64,
    /// Its size.
    pub bytes: u64,
    /// From its first page to the store's answer.
    pub took_ms: u64,
    /// Whether it holds the whole state.
    pub whole: bool,
}

/// How many stored checkpoints stay readable.
const CHECKPOINTS: usize = 50;

#[derive(Debug, Default)]
struct Inner {
    partitions: BTreeMap<i32, PartitionStatus>,
    shards: BTreeMap<u32, ShardStatus>,
    /// For each partition: what each shard that it feeds has accepted.
    accepted: BTreeMap<i32, BTreeMap<u32, i64>>,
    /// The last checkpoints stored.
    checkpoints: VecDeque<CheckpointStatus>,
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
    pub fn assign(&self, partition: i32, next: i64, decoded: i64, shards: impl Iterator<Item = u32>) {
        self.with(|inner| {
            let status = PartitionStatus {
                state: state(Progress::Behind),
                fetched: next,
                decoded,
                ..Default::default()
            };
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

    /// Puts a shard up.
    pub fn open_shard(&self, shard: u32) {
        self.with(|inner| {
            inner.shards.entry(shard).or_default();
        });
    }

    /// Changes what is known of a shard; nothing where it was taken down meanwhile.
    pub fn shard(&self, shard: u32, change: impl FnOnce(&mut ShardStatus)) {
        self.with(|inner| inner.shards.get_mut(&shard).map(change));
    }

    /// Takes a shard down.
    pub fn drop_shard(&self, shard: u32) {
        self.with(|inner| inner.shards.remove(&shard));
    }

    /// Posts a stored checkpoint.
    pub fn checkpoint(&self, status: CheckpointStatus, monotonic_ms: u64) {
        self.with(|inner| {
            if let Some(shard) = inner.shards.get_mut(&status.shard) {
                shard.checkpoints_ms.insert(Arc::clone(&status.plugin), monotonic_ms);
            }
            inner.checkpoints.push_back(status);
            if inner.checkpoints.len() > CHECKPOINTS {
                inner.checkpoints.pop_front();
            }
        });
    }

    /// The last checkpoints, latest first.
    pub fn checkpoints(&self) -> Vec<CheckpointStatus> {
        self.with(|inner| inner.checkpoints.iter().rev().cloned().collect())
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

    /// How far each partition was decoded.
    pub fn decoded(&self) -> Vec<(i32, i64)> {
        self.with(|inner| inner.partitions.iter().map(|(id, status)| (*id, status.decoded)).collect())
    }

    /// All partitions.
    pub fn partitions(&self) -> BTreeMap<i32, PartitionStatus> {
        self.with(|inner| inner.partitions.clone())
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
        board.assign(3, 10, 10, [0, 1].into_iter());
        assert!(board.committable().is_empty());
        board.accept(0, &[(3, 50)]);
        assert_eq!(board.committable(), [(3, 10)]);
        board.accept(1, &[(3, 40)]);
        assert_eq!(board.committable(), [(3, 40)]);
        board.revoke(3);
        assert!(board.committable().is_empty());
    }
}

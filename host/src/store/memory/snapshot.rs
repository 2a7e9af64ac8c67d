//! All that a store in memory holds at one moment: to look at, and to go back to.
//!
//! Invariant: a snapshot shares nothing with the memory that it was taken of.

use std::sync::{Arc, Mutex};

use super::super::checkpoint::Head;
use super::{Link, MemoryStore, State};

/// What a store in memory holds.
#[derive(Debug, Clone, Default)]
pub struct Snapshot(State);

impl Snapshot {
    /// The bytes that are stored of a token under a result key.
    #[must_use]
    pub fn value(&self, token: &str, result_key: &str) -> Option<&[u8]> {
        self.0.tokens.get(token)?.values.get(result_key).map(Vec::as_slice)
    }

    /// The active tokens with the times of their last trades, latest first.
    #[must_use]
    pub fn active(&self) -> Vec<(String, i64)> {
        self.0.active(usize::MAX)
    }

    /// The head of a cell's checkpoint.
    #[must_use]
    pub fn head(&self, shard: u32, plugin: &str) -> Option<&Head> {
        self.0.checkpoints.get(&(shard, plugin.into()))?.head.as_ref()
    }
}

impl MemoryStore {
    /// One more client of the same memory, as another process would be.
    #[must_use]
    pub fn client(&self, link: Arc<dyn Link>) -> Self {
        Self { state: Arc::clone(&self.state), link: Some(link), ..Self::default() }
    }

    /// What the memory holds now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.lock().clone())
    }

    /// Goes back to what the memory held once.
    pub fn restore(&self, snapshot: &Snapshot) {
        self.lock().clone_from(&snapshot.0);
    }
}

impl From<Snapshot> for MemoryStore {
    fn from(snapshot: Snapshot) -> Self {
        Self { state: Arc::new(Mutex::new(snapshot.0)), ..Self::default() }
    }
}
